"""status.yml: what it says, also where something is down."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Any

import pytest
from testinfra.host import Host

from tests.support.chatlite import Chatlite
from tests.support.fleet import Node, Worker
from tests.support.live import Variables
from tests.support.servers import Server
from tests.support.site import Run, Site

testinfra_hosts = ["ansible://workers"]
pytestmark = pytest.mark.usefixtures("host")

STATUS = "playbooks/status.yml"


@pytest.fixture(scope="module")
def told(site: Site) -> Run:
    """A run that says all that it can."""
    return site.playbook(STATUS, "-vvv", status_format="json").succeeded()


@pytest.fixture(scope="module")
def table(site: Site) -> list[str]:
    """The lines of the table, as a run in check mode says it."""
    output = site.playbook(STATUS, "--check").succeeded().output
    return [line for line in output.splitlines() if line.startswith("        ") and line.strip()]


def test_status_says_what_runs(host: Host, told: Run, site: Site, worker: Worker) -> None:
    said = told.status
    assert said["problems"] == []
    release = worker.release().rpartition("/")[2]
    for node in worker.nodes:
        (seen,) = [each for each in said["nodes"] if each["name"] == node.address]
        assert (seen["state"], seen["release"]) == ("running", release)
        assert sorted(seen["queues"]) == sorted(node.queues)
        assert seen["memory"] > 2**20
        assert host.file(f"/proc/{seen['pid']}").exists
    consumed = {queue["name"]: queue["consumers"] for queue in said["queues"]}
    assert set(consumed) >= {queue for node in worker.nodes for queue in node.queues}
    assert all(consumed.values())
    (beat,) = said["beat"]
    assert site.group("beat") == [beat["host"]]
    assert 0 <= beat["tick"] < 300  # it sends each 2 s, and may have to wait for a processor
    assert said["hosts"][0]["releases"][0]["release"] == release


def test_no_password_is_shown(told: Run, variables: Variables) -> None:
    assert [name for name in variables["preflight_secrets"] if str(variables[name]) in told.output] == []


def test_check_mode_says_the_same(told: Run, table: list[str]) -> None:
    said = {line.split()[0]: line.split()[1] for line in table if "@" in line.split()[0]}
    assert said == {node["name"]: node["state"] for node in told.status["nodes"]}


def test_the_table_fits_a_terminal(table: list[str]) -> None:
    assert any(line.split()[:2] == ["NODE", "STATE"] for line in table)
    assert max(map(len, table)) <= 120


@dataclass
class Trouble:
    """A stopped node, tasks that wait for it, a task that runs on another one, a host that is gone.

    :param took: seconds from the task's begin, at most, to the end of ``run``
    :param run: a strict status of it
    """

    stopped: Node
    busy: Node
    waiting: int
    took: float
    run: Run

    @property
    def said(self) -> dict[str, Any]:
        return self.run.status


@pytest.fixture(scope="module")
def trouble(site: Site, chatlite: Chatlite, worker: Worker, tmp_path_factory: pytest.TempPathFactory) -> Trouble:
    nobody = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1}
    gone = tmp_path_factory.mktemp("gone") / "gone.json"
    gone.write_text(json.dumps({"workers": {"hosts": {"gone1": nobody}}}))
    stopped = worker.node("crawler")
    stopped.stop()
    try:
        sent = chatlite.send("crawl_queue", 4)
        begun = time.monotonic()
        with chatlite.lasting("process_queue") as crawl:
            run = site.playbook(STATUS, "-i", str(gone), status_format="json", status_strict=True)
            took = time.monotonic() - begun
    finally:
        stopped.start()
    return Trouble(stopped, worker.node(crawl.node), len(sent), took, run)


@pytest.mark.destructive
def test_the_worst_comes_first_and_fails_a_strict_run(trouble: Trouble) -> None:
    assert trouble.run.returncode != 0
    assert trouble.said["nodes"][0]["name"] == trouble.stopped.address
    assert trouble.said["queues"][0] == {
        "name": "crawl_queue", "depth": trouble.waiting, "unacked": 0, "oldest": None, "consumers": []
    }  # fmt: skip
    *_, node, queue = trouble.said["problems"]
    assert node == f"{trouble.stopped.address} is stopped."
    assert queue.startswith(f"crawl_queue holds {trouble.waiting} tasks, and none of the nodes")


@pytest.mark.destructive
def test_a_running_task_is_seen_with_its_age(trouble: Trouble) -> None:
    (node,) = [each for each in trouble.said["nodes"] if each["name"] == trouble.busy.address]
    assert node["active"] == 1
    assert 0 < node["longest"] < trouble.took
    (queue,) = [each for each in trouble.said["queues"] if each["name"] == "process_queue"]
    assert queue["unacked"] == 1
    assert 0 < queue["oldest"] < trouble.took


@pytest.mark.destructive
def test_a_host_that_is_gone_is_named(trouble: Trouble) -> None:
    first, *_ = trouble.said["problems"]
    assert first.startswith("gone1 is unreachable: ")
    assert {node["state"] for node in trouble.said["nodes"]} == {"running", "stopped"}


@pytest.mark.destructive
def test_without_redis_it_says_what_the_hosts_know_and_fails_nothing(
    broker: Server, chatlite: Chatlite, site: Site
) -> None:
    broker.host.check_output("systemctl stop %s", broker.unit)
    try:
        said = site.status()
    finally:
        broker.host.check_output("systemctl start %s", broker.unit)
    first, *_ = said["problems"]
    assert "can't ask its nodes: " in first
    assert "Connection refused" in first
    assert {node["state"] for node in said["nodes"]} == {"not asked"}
    assert all(node["pid"] and node["release"] for node in said["nodes"])
    chatlite.wait_for_all()
