"""status.yml: what it says, also where something is down."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from testinfra.host import Host

from tests.support.chatlite import Chatlite
from tests.support.fleet import Worker
from tests.support.live import Variables
from tests.support.servers import Server
from tests.support.site import Site
from tests.support.waiting import wait_for

testinfra_hosts = ["ansible://workers"]
pytestmark = pytest.mark.usefixtures("host")


def test_status_says_what_runs(host: Host, site: Site, worker: Worker) -> None:
    said = site.status()
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
    assert beat["tick"] < 10
    assert said["hosts"][0]["releases"][0]["release"] == release


def test_check_mode_says_the_same(site: Site) -> None:
    checked, told = site.status("--check"), site.status()
    assert [node["name"] for node in checked["nodes"]] == [node["name"] for node in told["nodes"]]


def test_the_table_fits_a_terminal(site: Site) -> None:
    output = site.playbook("playbooks/status.yml").output
    shown = [line for line in output.splitlines() if line.startswith("        ")]
    assert any(line.split()[:2] == ["NODE", "STATE"] for line in shown)
    assert max(map(len, shown)) <= 120


def test_no_password_is_shown(site: Site, variables: Variables) -> None:
    output = site.playbook("playbooks/status.yml", "-vvv", status_format="json").output
    assert [name for name in variables["preflight_secrets"] if str(variables[name]) in output] == []


@pytest.mark.destructive
def test_the_worst_comes_first_and_fails_only_a_strict_run(site: Site, chatlite: Chatlite, worker: Worker) -> None:
    crawler = worker.node("crawler")
    crawler.stop()
    try:
        sent = chatlite.send("crawl_queue", 4)
        said = site.status()
        assert said["nodes"][0]["name"] == crawler.address
        assert said["queues"][0] == {
            "name": "crawl_queue", "depth": len(sent), "unacked": 0, "oldest": None, "consumers": []
        }  # fmt: skip
        assert said["problems"] == [
            f"{crawler.address} is stopped.",
            "crawl_queue holds 4 tasks, and no node consumes it.",
        ]
        strict = site.playbook("playbooks/status.yml", status_strict="true")
        assert strict.returncode != 0
        assert "! crawl_queue holds 4 tasks, and no node consumes it." in strict.output
    finally:
        crawler.start()
    wait_for(lambda: site.status()["problems"] == [], what="the node's answer")


@pytest.mark.destructive
def test_a_running_task_is_seen_with_its_age(chatlite: Chatlite, site: Site, worker: Worker) -> None:
    chatlite.crawl(15)
    said = site.status()
    (node,) = [each for each in said["nodes"] if each["name"] == worker.node("crawler").address]
    assert node["active"] == 1
    assert 0 < node["longest"] < 60
    (queue,) = [each for each in said["queues"] if each["name"] == "crawl_queue"]
    assert queue["unacked"] == 1
    assert 0 < queue["oldest"] < 60
    wait_for(lambda: all(not each["active"] for each in site.status()["nodes"]), what="the task's end")


@pytest.mark.destructive
def test_without_redis_it_says_what_the_hosts_know(broker: Server, site: Site) -> None:
    broker.host.check_output("systemctl stop %s", broker.unit)
    try:
        said = site.status()
    finally:
        broker.host.check_output("systemctl start %s", broker.unit)
    (first, *_) = said["problems"]
    assert "can't ask its nodes: " in first
    assert "Connection refused" in first
    assert {node["state"] for node in said["nodes"]} == {"not asked"}
    assert all(node["pid"] and node["release"] for node in said["nodes"])
    wait_for(lambda: site.status()["problems"] == [], what="the nodes' answers")


def test_a_host_that_is_gone_is_named(site: Site, tmp_path: Path) -> None:
    nobody = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1}
    (tmp_path / "gone.json").write_text(json.dumps({"workers": {"hosts": {"gone1": nobody}}}))
    said = site.status("-i", str(tmp_path / "gone.json"))
    (problem,) = said["problems"]
    assert problem.startswith("gone1 is unreachable: ")
    assert {node["state"] for node in said["nodes"]} == {"running"}
