"""Playbooks, where the workers run two applications."""

from __future__ import annotations

import json
import re

import pytest

from tests.support.fleet import Fleet
from tests.support.site import Site

testinfra_hosts = ["ansible://redis"]


@pytest.mark.destructive
def test_a_deployment_of_one_leaves_the_other_alone(site: Site, fleet: Fleet) -> None:
    before = fleet.main_pids()
    done = site.playbook("playbooks/deploy.yml", "--limit", "ticker", app_settings={"SAID": "by a test"}).succeeded()
    assert {host for host, changed in done.changed.items() if changed} == {"worker1-ticker"}
    after = fleet.main_pids()
    assert after["worker1"] == before["worker1"]
    assert after["worker1-ticker"] != before["worker1-ticker"]
    back = site.playbook("site.yml").succeeded()
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
def test_what_is_for_one_application_asks_which(site: Site, fleet: Fleet, name: str, variables: dict[str, str]) -> None:
    before = fleet.main_pids()
    done = site.playbook(f"playbooks/{name}.yml", **variables)
    assert done.returncode != 0
    said = "The hosts run ledger and ticker: choose one with --limit, by its group or its hosts."
    assert said in done.text
    assert not any(done.changed.values())
    assert fleet.main_pids() == before


def test_status_is_told_for_each(site: Site) -> None:
    done = site.playbook("playbooks/status.yml", status_format="json", status_strict=True).succeeded()
    told = [json.loads(line) for line in re.findall(r'^ *(\{"app".*)', done.output, re.MULTILINE)]
    nodes = {each["app"]: [node["name"] for node in each["nodes"]] for each in told}
    assert nodes == {"ledger": ["worker@worker1"], "ticker": ["worker@worker1"]}
