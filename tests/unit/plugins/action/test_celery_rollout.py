"""plugins/action/celery_rollout.py: what the module gets besides the task's arguments."""

from __future__ import annotations

import getpass
import socket

from ansible_collections.celeriac.fleet.plugins.action import celery_rollout as action
from ansible_collections.celeriac.fleet.plugins.plugin_utils.celery_probe import program

from tests.support.actions import sent


def test_the_module_gets_what_runs_in_the_application_and_who_runs_it_from_where() -> None:
    who = {"by": getpass.getuser(), "controller": socket.gethostname()}
    assert sent(action, {"app": "shop"}) == {"app": "shop", "program": program(), **who}
