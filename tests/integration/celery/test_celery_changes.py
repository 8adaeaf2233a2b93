"""What a run of the playbook does to nodes that changed, came, left or don't come up, and to no others."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from testinfra.host import Host

from tests.support.fleet import Worker
from tests.support.live import Variables
from tests.support.site import Run

testinfra_hosts = ["ansible://workers"]
pytestmark = [pytest.mark.destructive, pytest.mark.slow]

Pids = dict[str, int]  # node -> its main process
SECRET = 'a "secret" $of its own'
BROKEN = "soon"  # instead of seconds


@dataclass(frozen=True)
class Changes:
    """Three runs, one after the other.

    :param came: with one node more, and another concurrency for the inventory's first
    :param environment: what that node had in its environment, and in the file of it user, group and mode
    :param broke: the same, with an environment in which the new node can't start
    :param left: with the inventory's nodes alone, after one that wrote a file of the second and died before the restart
    :param pids: the main processes, before the runs and after each
    """

    came: Run
    environment: tuple[list[str], tuple[str, str, int]]
    broke: Run
    left: Run
    pids: list[Pids]


@pytest.fixture(scope="module")
def changes(host: Host, app: str, worker: Worker, variables: Variables) -> Changes:
    new = worker.node("passing")
    pids: list[Pids] = []

    def note() -> None:
        pids.append({node.name: node.pid for node in [*worker.nodes, new]})

    def run(**environment: str) -> Run:
        passing = {"name": new.name, "queues": ["default"], "concurrency": 1, "environment": environment}
        first, *others = variables["celery_nodes"]
        done = worker.converge(celery_nodes=[{**first, "concurrency": 3}, *others, passing])
        note()
        return done

    note()
    came = run(PASSING_TOKEN=SECRET).succeeded()
    file = host.file(f"/etc/{app}/worker@{new.name}.env")
    environment = new.environment(), (file.user, file.group, file.mode)
    broke = run(CHATLITE_HEARTBEAT_SECONDS=BROKEN)
    host.check_output("touch /etc/systemd/system/%s.d/node.conf", worker.nodes[1].unit)
    left = worker.converge().succeeded()
    note()
    return Changes(came, environment, broke, left, pids)


def restarted(before: Pids, after: Pids) -> set[str]:
    """The nodes whose main process is another."""
    return {name for name in before if before[name] != after[name]}


def test_only_what_changed_is_restarted(changes: Changes, worker: Worker) -> None:
    before, after, *_ = changes.pids
    assert restarted(before, after) == {worker.nodes[0].name, "passing"}


def test_a_node_has_its_environment_which_nobody_else_sees(changes: Changes, host: Host, app: str) -> None:
    variables, file = changes.environment
    assert f"PASSING_TOKEN={SECRET}" in variables
    assert file == ("root", app, 0o640)
    assert SECRET not in changes.came.output + changes.left.output


def test_a_node_that_does_not_come_up_fails_the_play_with_its_log(changes: Changes, worker: Worker) -> None:
    """What it was before runs again, and the others all the time."""
    assert changes.broke.returncode != 0
    assert f"CHATLITE_HEARTBEAT_SECONDS is '{BROKEN}'" in changes.broke.text
    assert "The previous configuration was put back" in changes.broke.text
    _, before, after, _ = changes.pids
    assert restarted(before, after) == {"passing"}
    assert after["passing"] != 0


def test_a_node_that_left_the_inventory_is_gone(host: Host, app: str, changes: Changes, worker: Worker) -> None:
    passing = worker.node("passing")
    assert changes.pids[1]["passing"] != 0
    assert changes.pids[-1]["passing"] == 0
    assert not host.service(passing.unit).is_running
    assert passing.show("UnitFileState") == "disabled"
    assert not host.file(f"/etc/systemd/system/{passing.unit}.d").exists
    assert not host.file(f"/etc/systemd/system/{app}-workers.target.wants/{passing.unit}").exists
    assert not host.file(f"/etc/{app}/worker@passing.env").exists
    assert host.run("journalctl --no-pager --unit=%s | grep -q 'Deactivated successfully'", passing.unit).rc == 0


def test_a_restart_that_was_interrupted_is_made_up_for(changes: Changes, worker: Worker, host: Host) -> None:
    """A run that wrote files and died before the restart leaves nothing that the next run doesn't see."""
    *_, before, after = changes.pids
    assert restarted(before, after) == {worker.nodes[0].name, worker.nodes[1].name, "passing"}
    assert all(host.service(node.unit).is_running for node in worker.nodes)
