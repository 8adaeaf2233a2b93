"""plugins/plugin_utils/celery_beat.py: beat with a lock, and without."""

from __future__ import annotations

import pytest
from ansible_collections.celeriac.fleet.plugins.plugin_utils import celery_beat as celery

from tests.support.harness import defaults


@pytest.mark.parametrize(
    ("scheduler", "seconds", "options"),
    [
        ("celery.beat:PersistentScheduler", 30, []),
        ("django", 30, []),
        ("django_celery_beat.schedulers:DatabaseScheduler", 30, []),
        ("redbeat.RedBeatScheduler", 30, ["--max-interval=5"]),
        ("redbeat:RedBeatScheduler", 6, ["--max-interval=1"]),
        ("redbeat.RedBeatScheduler", 17, ["--max-interval=2"]),
    ],
)
def test_beat_with_a_lock_is_given_the_time_a_standby_has(scheduler: str, seconds: int, options: list[str]) -> None:
    assert celery.celery_beat_options(scheduler, seconds) == [f"--scheduler={scheduler}", *options]


def test_the_default_scheduler_has_no_lock() -> None:
    assert celery.lockless(defaults("celery")["celery_beat_scheduler"])
