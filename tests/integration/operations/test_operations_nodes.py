"""What drain-node.yml, restart-workers.yml and their kind refuse and foretell, and drains that come to nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest
from testinfra.host import Host

from tests.support.chatlite import Chatlite
from tests.support.fleet import Worker
from tests.support.site import Site
from tests.support.waiting import wait_for

testinfra_hosts = ["ansible://workers"]


@pytest.mark.parametrize(
    ("name", "asked", "said"),
    [
        (
            "status",
            {"status_format": "xml", "status_strict": "maybe"},
            ["status_format is 'xml': use one of table, json.", "status_strict is 'maybe': give true or false."],
        ),
        (
            "restart-workers",
            {"restart_nodes": "crawler,nope", "workers_batch": 0},
            [
                "restart_nodes is 'nope', which no host of this run has",
                "workers_batch is 0: give it a number of hosts or a share",
            ],
        ),
        (
            "drain-node",
            {"drain_timeout": "soon"},
            ["drain_node isn't set: give one of crawler", "drain_timeout is 'soon': give a whole number"],
        ),
        ("resume-node", {"resume_node": "nope"}, ["resume_node is 'nope', which no host of this run has"]),
        ("purge-queue", {}, ["purge_queue isn't set", "purge_confirm isn't yes"]),
        (
            "purge-queue",
            {"purge_queue": "_kombu.binding.default", "purge_confirm": "yes"},
            ["which is a key of Celery's own"],
        ),
        ("restore-queue", {}, ["restore_queue_dump isn't set"]),
        ("restore-queue", {"restore_queue_dump": "/var/backups/nope.jsonl"}, ["which no host of this run has"]),
    ],
)
def test_what_can_not_be_right_is_refused(site: Site, name: str, asked: dict[str, Any], said: list[str]) -> None:
    run = site.playbook(f"playbooks/{name}.yml", **asked)
    assert run.returncode != 0
    assert [sentence for sentence in said if sentence not in run.text] == []
    assert not any(run.changed.values())


def test_check_mode_says_what_would_happen(site: Site, worker: Worker) -> None:
    before, crawler = worker.main_pids(), worker.node("crawler")
    further = ["playbooks/drain-node.yml", "playbooks/resume-node.yml"]
    run = site.playbook(
        "playbooks/restart-workers.yml", *further, "--check", drain_node="crawler", resume_node="crawler"
    ).succeeded()
    restarted = run.text.partition("Would restart")[2].partition(" PLAY ")[0]
    assert [node.unit for node in worker.nodes if node.unit not in restarted] == []
    assert f"Would hold {crawler.unit}" in run.text
    assert "No other node consumes crawl_queue" in run.text
    assert "Would resume nothing" in run.text
    assert worker.main_pids() == before
    assert crawler.show("LoadState") == "loaded"


@pytest.mark.destructive
def test_a_node_that_does_not_finish_in_time_goes_on(site: Site, chatlite: Chatlite, worker: Worker) -> None:
    with chatlite.lasting() as crawl:
        run = site.playbook("playbooks/drain-node.yml", drain_node="crawler", drain_timeout=2)
    assert run.returncode != 0
    assert "Nothing is held on" in run.output
    assert f"app.tasks.crawl.crawl_site[{crawl.task}]" in run.output
    assert worker.node("crawler").show("LoadState") == "loaded"
    after = chatlite.send("crawl_queue", 1)
    wait_for(lambda: chatlite.states([crawl.task, *after]) == {"SUCCESS"}, what="both tasks")


@pytest.mark.destructive
def test_a_drain_that_was_killed_is_undone_by_resume(worker: Worker, site: Site, chatlite: Chatlite) -> None:
    """Such a node runs, and consumes nothing."""
    node = worker.node("crawler")
    worker.evaluate(
        f"result = app.control.cancel_consumer('crawl_queue', destination=[{node.address!r}], reply=True, limit=1)"
    )
    assert f"{node.address} consumes nothing, not crawl_queue." in site.status()["problems"]
    site.playbook("playbooks/resume-node.yml", resume_node="crawler").succeeded()
    assert chatlite.answers()["crawler"] == node.queues


@pytest.mark.destructive
def test_what_a_node_has_fetched_is_not_purged(host: Host, site: Site, chatlite: Chatlite) -> None:
    with chatlite.lasting() as crawl:
        sent = chatlite.send("crawl_queue", 8)
        run = site.playbook("playbooks/purge-queue.yml", purge_queue="crawl_queue", purge_confirm="yes").succeeded()
        (dump,) = [word for word in run.text.split() if word.endswith(".jsonl")]
    lines = host.file(dump).content_string.splitlines()[1:]
    purged = [json.loads(json.loads(line)["message"])["headers"]["id"] for line in lines]
    assert len(purged) >= 6  # the node may fetch one beside the one that runs
    fetched = [crawl.task, *set(sent) - set(purged)]
    wait_for(lambda: chatlite.states(fetched) == {"SUCCESS"}, what="what was fetched")
    assert chatlite.states(purged) == {"PENDING"}
