"""What the application reads from its environment, checked once at import."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from celery.exceptions import ImproperlyConfigured

#: Seconds after which a task gets SoftTimeLimitExceeded, and after which its process is killed.
TASK_SOFT_TIME_LIMIT = 300
TASK_TIME_LIMIT = 600

#: Celery reads these two itself; without them it would quietly try localhost.
REQUIRED = ("CELERY_BROKER_URL", "CELERY_RESULT_BACKEND")

#: Celery's result backend appends "_" to a prefix that ends otherwise, the broker does not.
PREFIX_ENDINGS = (":", "_", "-", ".")


@dataclass(frozen=True, slots=True)
class Settings:
    """Values of the environment, typed. Times are seconds."""

    keyprefix: str
    visibility_timeout: int
    seeds: tuple[str, ...]
    heartbeat_seconds: int
    recrawl_seconds: int
    user_agent: str

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Settings:
        """Read the settings from ``environ``.

        Raises:
            ImproperlyConfigured: a variable is missing or can't be right; the message names it and never shows a URL.
        """
        for name in REQUIRED:
            if not environ.get(name, "").strip():
                raise ImproperlyConfigured(
                    f"{name} is not set: give the Redis URL, e.g. redis://user:pass@host:6379/0."
                )

        keyprefix = environ.get("CELERY_GLOBAL_KEYPREFIX", "")
        if keyprefix and not keyprefix.endswith(PREFIX_ENDINGS):
            raise ImproperlyConfigured(
                f"CELERY_GLOBAL_KEYPREFIX is {keyprefix!r}: end it with one of {' '.join(PREFIX_ENDINGS)}, "
                "or broker and result backend would use different prefixes."
            )

        visibility_timeout = _seconds(environ, "CELERY_VISIBILITY_TIMEOUT", 3600)
        if visibility_timeout <= TASK_TIME_LIMIT:
            raise ImproperlyConfigured(
                f"CELERY_VISIBILITY_TIMEOUT is {visibility_timeout}: it must exceed task_time_limit "
                f"({TASK_TIME_LIMIT} s), or Redis hands running tasks to a second worker."
            )

        return cls(
            keyprefix=keyprefix,
            visibility_timeout=visibility_timeout,
            seeds=tuple(dict.fromkeys(environ.get("CHATLITE_SEEDS", "").split())),
            heartbeat_seconds=_seconds(environ, "CHATLITE_HEARTBEAT_SECONDS", 60),
            recrawl_seconds=_seconds(environ, "CHATLITE_RECRAWL_SECONDS", 3600),
            user_agent=environ.get("CHATLITE_USER_AGENT", "").strip() or "chatlite/1.0",
        )


def _seconds(environ: Mapping[str, str], name: str, default: int) -> int:
    """Return the variable as whole seconds, at least 1; raises ImproperlyConfigured naming it."""
    text = environ.get(name, "").strip() or str(default)
    if not (text.isascii() and text.isdigit() and int(text) >= 1):
        raise ImproperlyConfigured(f"{name} is {text!r}: give whole seconds, at least 1.")
    return int(text)
