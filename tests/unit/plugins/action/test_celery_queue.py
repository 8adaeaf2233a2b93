"""plugins/action/celery_queue.py: what the module gets besides the task's arguments."""

from __future__ import annotations

from ansible_collections.celeriac.fleet.plugins.action import celery_queue as action
from ansible_collections.celeriac.fleet.plugins.plugin_utils.celery_probe import program

from tests.support.actions import sent


def test_the_module_gets_what_runs_in_the_application() -> None:
    assert sent(action, {"app": "shop"}) == {"app": "shop", "program": program()}
