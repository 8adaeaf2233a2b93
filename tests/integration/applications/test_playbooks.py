"""Playbooks, where the workers run two applications."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from testinfra.host import Host

from tests.support.live import Inventory

testinfra_hosts = ["ansible://redis"]


@pytest.fixture
def pids(inventory: Inventory, workers: dict[str, Host]) -> Callable[[], dict[str, str]]:
    """Host -> what the main processes of its application are."""

    def ask() -> dict[str, str]:
        units = {name: str(inventory[name]["app_name"]) for name in workers}
        show = "systemctl show --value --property=MainPID {0}-worker@worker.service {0}-beat.service"
        return {name: workers[name].check_output(show.format(app)) for name, app in units.items()}

    return ask


@pytest.mark.destructive
def test_a_deployment_of_one_leaves_the_other_alone(playbook: Callable[..., Any], pids: Callable) -> None:
    before = pids()
    done = playbook("playbooks/deploy.yml", "--limit", "ticker", app_settings={"SAID": "by a test"})
    assert done.returncode == 0, done.output
    assert {host for host, changed in done.changed.items() if changed} == {"worker1-ticker"}
    after = pids()
    assert after["worker1"] == before["worker1"]
    assert after["worker1-ticker"] != before["worker1-ticker"]
    back = playbook("site.yml")
    assert back.returncode == 0, back.output
    assert {host for host, changed in back.changed.items() if changed} == {"worker1-ticker"}


@pytest.mark.parametrize(
    ("name", "variables"),
    [
        ("deploy", {"app_version": "v2"}),
        ("rollback", {}),
        ("restart-workers", {"restart_nodes": "worker"}),
        ("drain-node", {"drain_node": "worker"}),
        ("resume-node", {"resume_node": "worker"}),
        ("purge-queue", {"purge_queue": "ticks", "purge_confirm": "yes"}),
    ],
)
def test_what_is_for_one_application_asks_which(
    playbook: Callable[..., Any], pids: Callable, name: str, variables: dict[str, str]
) -> None:
    before = pids()
    done = playbook(f"playbooks/{name}.yml", **variables)
    assert done.returncode != 0
    said = "The hosts run ledger and ticker: choose one with --limit, by its group or its hosts."
    assert said in " ".join(done.output.split())
    assert not any(done.changed.values())
    assert pids() == before


def test_status_is_told_for_each(playbook: Callable[..., Any]) -> None:
    done = playbook("playbooks/status.yml", status_format="json", status_strict=True)
    assert done.returncode == 0, done.output
    told = [json.loads(line) for line in re.findall(r'^ *(\{"app".*)', done.output, re.MULTILINE)]
    nodes = {each["app"]: [node["name"] for node in each["nodes"]] for each in told}
    assert nodes == {"ledger": ["worker@worker1"], "ticker": ["worker@worker1"]}
