"""plugins/action/celery_rollout.py: what the module gets besides the task's arguments."""

from __future__ import annotations

import getpass
import socket

import pytest
from ansible_collections.celeriac.fleet.plugins.action import celery_rollout as plugin
from ansible_collections.celeriac.fleet.plugins.plugin_utils.celery_probe import program

from tests.support import looks
from tests.support.actions import sent

ARGUMENTS = {
    "app": "shop",
    "nodes": [{"name": "a", "unit": "shop-worker@a.service", "queues": ["default"]}],
    "target": "shop-workers.target",
    "fleet_queues": ["default"],
    "directory": "/opt/shop/current",
    "virtualenv": "/opt/shop/current/.venv",
    "environment_file": "/etc/shop/shop.env",
    "user": "shop",
}


def test_the_module_gets_what_runs_in_the_application_and_who_runs_it_from_where() -> None:
    who = {"by": getpass.getuser(), "controller": socket.gethostname()}
    given = {key: value for key, value in sent(plugin, ARGUMENTS).items() if key in ("app", "program", *who)}
    assert given == {"app": "shop", "program": program(), **who}


@pytest.mark.parametrize(
    ("check", "restart", "looked"), [(True, False, True), (True, True, False), (False, False, False)]
)
def test_only_what_asks_no_node_and_restarts_none_may_be_settled_by_a_look(
    check: bool, restart: bool, looked: bool
) -> None:
    action = looks.action(plugin, check=check)
    complete = action.prepared(looks.validated(plugin.module.ARGUMENT_SPEC, {**ARGUMENTS, "restart": restart}), {})
    assert bool(action.look(complete)) is looked
