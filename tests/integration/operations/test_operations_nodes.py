"""drain-node.yml, resume-node.yml and restart-workers.yml: what happens to the tasks and to the nodes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from testinfra.host import Host

testinfra_hosts = ["ansible://workers"]


@pytest.fixture
def main_pids(variables, host: Host, unit: Callable, show: Callable) -> Callable[[], dict[str, str]]:
    """Node -> its main process."""
    nodes = variables.evaluate(f"celery_nodes | celeriac.fleet.celery_host_nodes('{host.backend.host}')")
    return lambda: {node["name"]: show(unit(node["name"]), "MainPID") for node in nodes}


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
def test_what_can_not_be_right_is_refused(playbook: Callable, name: str, asked: dict[str, str], said: str) -> None:
    run = playbook(f"playbooks/{name}.yml", **asked)
    assert run.returncode != 0
    assert said in run.output
    assert not any(run.changed.values())


def test_check_mode_says_what_would_happen(
    playbook: Callable, main_pids: Callable, unit: Callable, show: Callable, hostname: str
) -> None:
    before = main_pids()
    restart = playbook("playbooks/restart-workers.yml", "--check", restart_nodes="processor")
    assert f"Would restart {unit('processor1')}, {unit('processor2')}" in " ".join(restart.output.split())
    drain = playbook("playbooks/drain-node.yml", "--check", drain_node="crawler")
    assert f"Would hold {unit('crawler')}" in drain.output
    assert "No other node consumes crawl_queue" in drain.output
    assert "Would resume nothing" in playbook("playbooks/resume-node.yml", "--check", resume_node="crawler").output
    assert main_pids() == before
    assert show(unit("crawler"), "LoadState") == "loaded"


@pytest.mark.destructive
def test_only_the_nodes_that_were_named_restart(playbook: Callable, main_pids: Callable) -> None:
    before = main_pids()
    run = playbook("playbooks/restart-workers.yml", restart_nodes="crawler,processor2")
    assert run.returncode == 0, run.output
    after = main_pids()
    assert {name for name in before if before[name] != after[name]} == {"crawler", "processor2"}


@pytest.mark.destructive
def test_a_drained_node_finishes_its_task_and_is_held_until_it_is_resumed(
    host: Host,
    playbook: Callable,
    resumed: None,
    crawl: Callable,
    send: Callable,
    states: Callable,
    status: Callable,
    unit: Callable,
    hostname: str,
    wait_for: Callable,
) -> None:
    """Also by a boot, a rolling restart and site.yml; what it has not begun waits for whoever comes next."""
    running = crawl(4)
    later = send("crawl_queue", 1, countdown=3600)
    drained = playbook("playbooks/drain-node.yml", drain_node="crawler")
    assert drained.returncode == 0, drained.output
    assert states([running]) == {"SUCCESS"}
    assert states(later) == {"PENDING"}
    (queue,) = [each for each in status()["queues"] if each["name"] == "crawl_queue"]
    assert (queue["depth"], queue["unacked"], queue["consumers"]) == (1, 0, [])

    again = playbook("playbooks/drain-node.yml", drain_node="crawler")
    assert (again.returncode, set(again.changed.values())) == (0, {0})
    assert playbook("playbooks/restart-workers.yml").returncode == 0
    site = playbook("site.yml")
    assert site.returncode == 0, site.output
    host.get_host("local://").check_output("docker restart -t 60 %s", host.backend.get_variables()["ansible_host"])
    wait_for(
        lambda: host.run("systemctl is-system-running --wait").stdout.strip() == "running", timeout=90, what="boot"
    )
    wait_for(
        lambda: [node["state"] for node in status()["nodes"]].count("running") == 3, timeout=60, what="the other nodes"
    )
    nodes = {node["name"]: node["state"] for node in status()["nodes"]}
    assert nodes.pop(f"crawler@{hostname}") == "held"
    assert set(nodes.values()) == {"running"}

    assert playbook("playbooks/purge-queue.yml", purge_queue="crawl_queue", purge_confirm="yes").returncode == 0
    back = playbook("playbooks/resume-node.yml", resume_node="crawler")
    assert back.returncode == 0, back.output
    assert host.check_output("systemctl is-enabled %s", unit("crawler")) == "enabled"
    assert {node["state"] for node in status()["nodes"]} == {"running"}
    settled = playbook("playbooks/resume-node.yml", resume_node="crawler")
    assert set(settled.changed.values()) == {0}


@pytest.mark.destructive
def test_a_node_that_does_not_finish_in_time_goes_on(
    playbook: Callable,
    crawl: Callable,
    send: Callable,
    states: Callable,
    unit: Callable,
    show: Callable,
    wait_for: Callable,
) -> None:
    running = crawl(30)
    run = playbook("playbooks/drain-node.yml", drain_node="crawler", drain_timeout=2)
    assert run.returncode != 0
    assert "Nothing is held on" in run.output
    assert f"app.tasks.crawl.crawl_site[{running}]" in run.output
    assert show(unit("crawler"), "LoadState") == "loaded"
    after = send("crawl_queue", 1)
    wait_for(lambda: states([running, *after]) == {"SUCCESS"}, timeout=60, what="both tasks")


@pytest.mark.destructive
def test_a_drain_that_was_killed_is_undone_by_resume(
    in_app: Callable, playbook: Callable, status: Callable, hostname: str
) -> None:
    """Such a node runs, and consumes nothing."""
    node = f"crawler@{hostname}"
    in_app(f"result = app.control.cancel_consumer('crawl_queue', destination=[{node!r}], reply=True, limit=1)")
    assert f"{node} consumes nothing, not crawl_queue." in status()["problems"]
    back = playbook("playbooks/resume-node.yml", resume_node="crawler")
    assert back.returncode == 0, back.output
    assert status()["problems"] == []
