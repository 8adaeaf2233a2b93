"""What celery beat is started with, and which of its schedulers may have a standby."""

from __future__ import annotations

# Schedulers without a lock: two of them send everything twice. "django" is how django-celery-beat calls its own.
LOCKLESS = {
    "celery.beat.PersistentScheduler",
    "celery.beat.Scheduler",
    "django",
    "django_celery_beat.schedulers.DatabaseScheduler",
}
# redbeat's lock lasts five of its intervals, and a standby looks at it once in each: six until it has it.
TAKEOVER_INTERVALS = 6


def celery_beat_options(scheduler: str, takeover_timeout: int) -> list[str]:
    """Which scheduler ``celery beat`` takes, and, where it may have a standby, how often it looks up.

    :param takeover_timeout: ``celery_beat_takeover_timeout``, in seconds
    """
    chosen = [f"--scheduler={scheduler}"]
    return chosen if lockless(scheduler) else [*chosen, f"--max-interval={takeover_timeout // TAKEOVER_INTERVALS}"]


def lockless(scheduler: str) -> bool:
    """Whether nothing keeps two beats with this scheduler from sending everything twice."""
    return scheduler.replace(":", ".") in LOCKLESS
