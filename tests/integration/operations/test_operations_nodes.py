"""drain-node.yml, resume-node.yml and restart-workers.yml: what happens to the tasks and to the nodes."""

from __future__ import annotations

import pytest

from tests.support.chatlite import Chatlite
from tests.support.fleet import Worker
from tests.support.site import Site
from tests.support.waiting import wait_for, wait_for_boot

testinfra_hosts = ["ansible://workers"]


def main_pids(worker: Worker) -> dict[str, int]:
    """Node -> its main process."""
    return {node.name: node.pid for node in worker.nodes}


@pytest.mark.parametrize(
    ("name", "asked", "said"),
    [
        ("status", {"status_format": "xml"}, "status_format is 'xml': use one of table, json."),
        ("status", {"status_strict": "maybe"}, "status_strict is 'maybe': give true or false."),
        (
            "restart-workers",
            {"restart_nodes": "crawler,nope"},
            "restart_nodes is 'nope', which no host of this run has",
        ),
        ("restart-workers", {"workers_batch": 0}, "workers_batch is 0: give it a number of hosts or a share"),
        ("drain-node", {}, "drain_node isn't set: give one of crawler"),
        ("drain-node", {"drain_node": "nope"}, "drain_node is 'nope', which no host of this run has"),
        (
            "drain-node",
            {"drain_node": "crawler", "drain_timeout": "soon"},
            "drain_timeout is 'soon': give a whole number",
        ),
        ("resume-node", {"resume_node": "nope"}, "resume_node is 'nope', which no host of this run has"),
        ("purge-queue", {"purge_confirm": "yes"}, "purge_queue isn't set"),
        ("purge-queue", {"purge_queue": "default"}, "purge_confirm isn't yes"),
        ("purge-queue", {"purge_queue": "a b", "purge_confirm": "yes"}, "purge_queue is 'a b': name it with letters"),
        ("purge-queue", {"purge_queue": "nope", "purge_confirm": "yes"}, "purge_queue is 'nope', which is empty"),
        (
            "purge-queue",
            {"purge_queue": "_kombu.binding.default", "purge_confirm": "yes"},
            "which is a key of Celery's own",
        ),
        ("restore-queue", {}, "restore_queue_dump isn't set"),
        ("restore-queue", {"restore_queue_dump": "/x/y.jsonl.part"}, "of a purge that was interrupted"),
        ("restore-queue", {"restore_queue_dump": "/var/backups/nope.jsonl"}, "which no host of this run has"),
    ],
)
def test_what_can_not_be_right_is_refused(site: Site, name: str, asked: dict[str, str], said: str) -> None:
    run = site.playbook(f"playbooks/{name}.yml", **asked)
    assert run.returncode != 0
    assert said in run.output
    assert not any(run.changed.values())


def test_check_mode_says_what_would_happen(site: Site, worker: Worker) -> None:
    before, crawler = main_pids(worker), worker.node("crawler")
    restart = site.playbook("playbooks/restart-workers.yml", "--check", restart_nodes="processor")
    assert f"Would restart {worker.node('processor1').unit}, {worker.node('processor2').unit}" in restart.text
    drain = site.playbook("playbooks/drain-node.yml", "--check", drain_node="crawler")
    assert f"Would hold {crawler.unit}" in drain.output
    assert "No other node consumes crawl_queue" in drain.output
    assert "Would resume nothing" in site.playbook("playbooks/resume-node.yml", "--check", resume_node="crawler").output
    assert main_pids(worker) == before
    assert crawler.show("LoadState") == "loaded"


@pytest.mark.destructive
def test_only_the_nodes_that_were_named_restart(site: Site, worker: Worker) -> None:
    before = main_pids(worker)
    site.playbook("playbooks/restart-workers.yml", restart_nodes="crawler,processor2").succeeded()
    after = main_pids(worker)
    assert {name for name in before if before[name] != after[name]} == {"crawler", "processor2"}


@pytest.mark.destructive
def test_a_drained_node_finishes_its_task_and_is_held_until_it_is_resumed(
    site: Site, resumed: None, chatlite: Chatlite, worker: Worker
) -> None:
    """Also by a boot, a rolling restart and site.yml; what it has not begun waits for whoever comes next."""
    running, _ = chatlite.crawl(4)
    later = chatlite.send("crawl_queue", 1, countdown=3600)
    site.playbook("playbooks/drain-node.yml", drain_node="crawler").succeeded()
    assert chatlite.states([running]) == {"SUCCESS"}
    assert chatlite.states(later) == {"PENDING"}
    (queue,) = [each for each in site.status()["queues"] if each["name"] == "crawl_queue"]
    assert (queue["depth"], queue["unacked"], queue["consumers"]) == (1, 0, [])

    again = site.playbook("playbooks/drain-node.yml", drain_node="crawler")
    assert (again.returncode, set(again.changed.values())) == (0, {0})
    site.playbook("playbooks/restart-workers.yml").succeeded()
    site.playbook("site.yml").succeeded()
    site.docker("restart", worker.name, "-t", "60")
    wait_for_boot(worker.host)
    wait_for(
        lambda: [node["state"] for node in site.status()["nodes"]].count("running") == 3,
        what="the other nodes",
    )
    nodes = {node["name"]: node["state"] for node in site.status()["nodes"]}
    assert nodes.pop(worker.node("crawler").address) == "held"
    assert set(nodes.values()) == {"running"}

    site.playbook("playbooks/purge-queue.yml", purge_queue="crawl_queue", purge_confirm="yes").succeeded()
    site.playbook("playbooks/resume-node.yml", resume_node="crawler").succeeded()
    assert worker.node("crawler").show("UnitFileState") == "enabled"
    assert {node["state"] for node in site.status()["nodes"]} == {"running"}
    settled = site.playbook("playbooks/resume-node.yml", resume_node="crawler")
    assert set(settled.changed.values()) == {0}


@pytest.mark.destructive
def test_a_node_that_does_not_finish_in_time_goes_on(site: Site, chatlite: Chatlite, worker: Worker) -> None:
    running, _ = chatlite.crawl(30)
    run = site.playbook("playbooks/drain-node.yml", drain_node="crawler", drain_timeout=2)
    assert run.returncode != 0
    assert "Nothing is held on" in run.output
    assert f"app.tasks.crawl.crawl_site[{running}]" in run.output
    assert worker.node("crawler").show("LoadState") == "loaded"
    after = chatlite.send("crawl_queue", 1)
    wait_for(lambda: chatlite.states([running, *after]) == {"SUCCESS"}, what="both tasks")


@pytest.mark.destructive
def test_a_drain_that_was_killed_is_undone_by_resume(worker: Worker, site: Site) -> None:
    """Such a node runs, and consumes nothing."""
    node = worker.node("crawler").address
    worker.evaluate(f"result = app.control.cancel_consumer('crawl_queue', destination=[{node!r}], reply=True, limit=1)")
    assert f"{node} consumes nothing, not crawl_queue." in site.status()["problems"]
    site.playbook("playbooks/resume-node.yml", resume_node="crawler").succeeded()
    assert site.status()["problems"] == []
