"""Galaxy, an application that nobody here wrote, as it comes from the package index."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from testinfra.host import Host

from tests.support.fleet import Worker
from tests.support.live import Variables
from tests.support.servers import Server
from tests.support.waiting import wait_for

testinfra_hosts = ["ansible://workers"]

TASK = "galaxy.cleanup_short_term_storage"
# All that Galaxy itself has to be asked, since its import takes many seconds.
ASK = f"""
import json
from galaxy.celery import celery_app as app
inspect = app.control.inspect(timeout=20, limit=2)  # as many as there are nodes
task = app.signature({TASK!r})
sent = [task.delay(), task.apply_async(queue="galaxy.external")]
for each in sent:
    each.get(timeout=60, propagate=False)
print(json.dumps({{
    "ping": inspect.ping(),
    "queues": {{node: sorted(queue["name"] for queue in found) for node, found in inspect.active_queues().items()}},
    "registered": inspect.registered(),
    "states": [each.state for each in sent],
}}))
"""
# What beat itself wrote down.
SCHEDULE = """
import json, shelve
with shelve.open("/var/lib/galaxy/beat-schedule", "r") as file:
    found = {entry.task: entry.schedule.run_every.total_seconds() for entry in file["entries"].values()}
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def said(worker: Worker) -> dict[str, Any]:
    """What the application says of its nodes and of tasks that it was given."""
    return dict(json.loads(worker.run("python", "-c", ASK).splitlines()[-1]))


@pytest.fixture
def schedule(worker: Worker) -> dict[str, float]:
    """Beat's schedule: task -> seconds."""
    return dict(json.loads(worker.run("python", "-c", SCHEDULE)))


def test_what_is_installed_is_the_requirement(worker: Worker, variables: Variables) -> None:
    name, version = variables["app_source"]["requirement"].split("==")
    assert worker.run("python", "-c", f"from importlib.metadata import version; print(version({name!r}))") == version


def test_each_node_answers_and_consumes_its_queues(said: dict[str, Any], worker: Worker) -> None:
    nodes = {node.address: sorted(node.queues) for node in worker.nodes}
    assert said["ping"] == {node: {"ok": "pong"} for node in nodes}
    assert said["queues"] == nodes


def test_its_own_tasks_are_registered(said: dict[str, Any], schedule: dict[str, float], variables: Variables) -> None:
    routed = set(variables["galaxy_settings"]["celery_conf"]["task_routes"])
    for node, tasks in said["registered"].items():
        # a task may be listed with its options: "name [rate_limit=…]"
        assert {task.split()[0] for task in tasks} >= routed | set(schedule), node


def test_its_own_periodic_tasks_are_in_beats_schedule(schedule: dict[str, float], variables: Variables) -> None:
    settings = variables["galaxy_settings"]
    assert schedule[TASK] == settings["short_term_storage_cleanup_interval"]
    assert schedule["galaxy.prune_history_audit_table"] == settings["history_audit_table_prune_interval"]
    assert all(task.startswith("galaxy.") for task in schedule)


def test_beat_has_its_periodic_task_run(host: Host, said: dict[str, Any]) -> None:
    """After ``said`` nobody but beat sends it."""

    def done() -> set[str]:
        log = host.check_output("cat /var/log/galaxy/internal*.log")
        return set(re.findall(rf"Task {re.escape(TASK)}\[(\S+)\] succeeded", log))

    before = done()
    wait_for(lambda: done() - before, what=f"{TASK} by beat")
    assert f"({TASK})" in host.check_output("grep 'Sending due task' /var/log/galaxy/beat.log")


def test_a_task_succeeds_on_either_queue(said: dict[str, Any]) -> None:
    assert said["states"] == ["SUCCESS", "SUCCESS"]


def test_the_database_was_made_by_the_deploy_command(host: Host) -> None:
    """The task fails without its table."""
    succeeded = r"Task galaxy\.prune_history_audit_table\[\S+\] succeeded"
    wait_for(lambda: host.run("grep -qE %s /var/log/galaxy/internal-1.log", succeeded).rc == 0)


def test_its_keys_are_below_its_prefix_and_the_acl_refused_nothing(
    broker: Server, said: dict[str, Any], app: str
) -> None:
    keys = broker.cli("--scan").split()
    assert keys
    assert [key for key in keys if not key.startswith(f"{app}:")] == []
    assert broker.refused() == ""
