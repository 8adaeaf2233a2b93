"""Deployments while tasks run: no task is lost, and a release that can't run doesn't."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from testinfra.host import Host

from tests.support.live import Inventory
from tests.support.load import Ledger, Line
from tests.support.servers import Server

testinfra_hosts = ["ansible://redis"]
pytestmark = pytest.mark.destructive

ROOT = Path(__file__).resolve().parents[3]


def main_pids(workers: dict[str, Host], app: str) -> dict[str, str]:
    """Host -> the main processes of its nodes and of beat."""
    shown = "systemctl show --value --property=MainPID '%s-worker@*' '%s-beat.service'"
    return {name: worker.check_output(shown, app, app) for name, worker in workers.items()}


def test_a_deployment_under_load_loses_nothing(
    load: Callable,
    ledger: Ledger,
    deploy: Callable,
    source: Callable,
    current: Callable,
    releases: Callable,
    wait_for: Callable,
) -> None:
    old, new = current(), source()
    with load(rate=100) as running:
        wait_for(lambda: len(ledger.numbers()) > 300, what="the first tasks")
        done = deploy(**new.variables)
        assert done.returncode == 0, done.output
        after = len(running.submitted) + 300
        wait_for(lambda: len(running.submitted) >= max(after, 10_000), timeout=120, what="10,000 tasks")
    count = len(running.submitted)
    wait_for(lambda: len(ledger.numbers()) == count, timeout=180, what="every task")
    report = ledger.report(count)
    print(f"\nrolling deployment: {report}")
    assert (report.lost, report.twice) == ([], [])
    assert report.releases[old.name] > 300
    assert report.releases[new.name] > 300
    assert set(releases().values()) == {new.name}


def test_all_hosts_and_nodes_may_change_in_one_batch(
    load: Callable, ledger: Ledger, deploy: Callable, source: Callable, releases: Callable, wait_for: Callable
) -> None:
    """Nobody works for a moment, and still nothing is lost. The batches are text, as --extra-vars gives them."""
    new = source()
    with load(rate=60) as running:
        wait_for(lambda: len(ledger.numbers()) > 60, what="the first tasks")
        done = deploy(workers_batch="100%", celery_rollout_batch="2", **new.variables)
    assert done.returncode == 0, done.output
    assert done.output.count("PLAY [Nodes, host by host]") == 1
    count = len(running.submitted)
    wait_for(lambda: len(ledger.numbers()) == count, timeout=180, what="every task")
    report = ledger.report(count)
    print(f"\ndeployment in one batch: {report}")
    assert (report.lost, report.twice) == ([], [])
    assert set(releases().values()) == {new.name}


BROKEN = {
    "crashes on import": (
        {"replacements": [("import redis\n", "import redis\nimport nothing_such\n")]},
        r"Release \w{12} isn't used, the running one is untouched: importing ledger failed: "
        r"ModuleNotFoundError: No module named 'nothing_such'",
    ),
    "registers no task": (
        {
            "replacements": [
                ('@app.task(name="ledger.work", max_retries=20)', ""),
                ('@app.task(name="ledger.tick")', ""),
            ]
        },
        r"isn't used, the running one is untouched: ledger registers no task",
    ),
    "needs what doesn't exist": (
        {"requirements": "celery[redis]==5.7.0\nno-such-package-as-this==1.0\n"},
        r"no-such-package-as-this",
    ),
    "never answers": (
        {
            "replacements": [
                (
                    "@cache\n",
                    "from celery.signals import worker_init\n\n\n@worker_init.connect\ndef hang(**_: object) -> None:\n"
                    "    time.sleep(3600)\n\n\n@cache\n",
                )
            ]
        },
        r"Release \w{12} failed on worker\d: .*\n\s+Release \w{12} was put back on worker\d: 2 of 2 nodes answer again",
    ),
}


@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_release_is_stopped_and_the_old_one_serves_throughout(
    how: str,
    load: Callable,
    ledger: Ledger,
    deploy: Callable,
    source: Callable,
    current: Callable,
    releases: Callable,
    wait_for: Callable,
) -> None:
    changes, said = BROKEN[how]
    old = current()
    broken = source(*changes.get("replacements", []), requirements=changes.get("requirements", ""))
    with load(rate=60) as running:
        wait_for(lambda: len(ledger.numbers()) > 60, what="the first tasks")
        done = deploy(celery_ready_timeout=10, **broken.variables)
        before = len(running.submitted)
        wait_for(lambda: len(running.submitted) > before + 60, what="more tasks")
    count = len(running.submitted)
    wait_for(lambda: len(ledger.numbers()) == count, timeout=180, what="every task")
    report = ledger.report(count)
    print(f"\na release that {how}: {report}\n{tail(done.output)}")
    assert done.returncode != 0
    assert re.search(said, done.output)
    assert set(re.findall(r"failed on (worker\d)", done.output)) <= {"worker1"}  # it stops before the next host
    assert (report.lost, report.twice) == ([], [])
    assert set(report.releases) == {old.name}
    assert set(releases().values()) == {old.name}


def tail(output: str) -> str:
    """The message that a person sees."""
    found = re.search(r"^(fatal: .*?)(?=^fatal:|^PLAY RECAP)", output, re.M | re.S)
    return found[1] if found else output[-2000:]


def test_a_configuration_that_breaks_nodes_is_put_back_too(
    deploy: Callable, current: Callable, workers: dict[str, Host], app: str, variables: Any
) -> None:
    """Not the release but a unit is wrong, and with it comes an environment: both go."""
    running = current()
    paths = [f"/etc/{app}/{app}.env", f"/etc/systemd/system/{app}-worker@quick.service.d/node.conf"]
    before = {name: [worker.file(path).content_string for path in paths] for name, worker in workers.items()}
    nodes = [{**node, "memory_max": "20M"} for node in variables["celery_nodes"]]
    done = deploy(celery_ready_timeout=5, celery_nodes=nodes, app_settings={"LEDGER_NEW": "1"}, **running.variables)
    assert done.returncode != 0
    assert "The previous configuration was put back on worker1: 2 of 2 nodes answer again." in done.output
    assert {name: [worker.file(path).content_string for path in paths] for name, worker in workers.items()} == before


# -- without load: what else a deployment does


@dataclass(frozen=True)
class Rolled:
    """What a deployment left, and the same one once more.

    :param old: the RELEASE before, ``new`` the one after
    :param ticks: beat's ticks, from before the first one to after it
    :param links: the releases' directories, before and after
    :param there: host -> the directories of all its releases, before and after the first one
    :param written: what the command wrote by the end, for each host that it ran on
    :param pids: host -> its main processes, before and after the second one
    """

    old: str
    new: str
    ticks: list[Line]
    links: tuple[str, str]
    there: tuple[dict[str, set[str]], dict[str, set[str]]]
    written: list[list[str]]
    again: Any
    pids: tuple[dict[str, str], dict[str, str]]


@pytest.fixture(scope="module")
def rolled(
    broker: Server,
    app: str,
    workers: dict[str, Host],
    deploy: Callable,
    source: Callable,
    current: Callable,
    wait_for: Callable,
) -> Rolled:
    """A deployment with a command, which keeps two releases."""
    link, path = f"/opt/{app}/current", f"/var/log/{app}/migrated"
    first = next(iter(workers.values()))

    def there() -> dict[str, set[str]]:
        listed = "ls -d /opt/%s/releases/*"
        return {name: set(worker.check_output(listed, app).split()) for name, worker in workers.items()}

    for worker in workers.values():
        worker.run("rm -f %s", path)
    if min(map(len, there().values())) < 2:  # nothing to remove
        assert deploy(**source().variables).returncode == 0
    script = f"readlink {link} >> {path}; pwd >> {path}; echo $CELERY_GLOBAL_KEYPREFIX >> {path}"
    old, new = current(), source()
    variables = {**new.variables, "app_keep_releases": 2, "app_deploy_command": ["sh", "-c", script]}
    link_before, there_before = first.file(link).linked_to, there()
    book = Ledger(broker, app, "ticks")
    book.clear()
    wait_for(lambda: len(book.lines()) > 3, what="ticks of the old beat")
    done = deploy(**variables)
    assert done.returncode == 0, done.output
    count = len(book.lines())
    wait_for(lambda: len(book.lines()) > count + 3, what="ticks of the new beat")
    ticks, there_after, pids = book.lines(), there(), main_pids(workers, app)
    again = deploy(**variables)
    return Rolled(
        old=old.name,
        new=new.name,
        ticks=ticks,
        links=(link_before, first.file(link).linked_to),
        there=(there_before, there_after),
        written=[worker.file(path).content_string.split() for worker in workers.values() if worker.file(path).exists],
        again=again,
        pids=(pids, main_pids(workers, app)),
    )


def test_beat_comes_last_and_never_runs_twice(rolled: Rolled) -> None:
    """It ticks each second: two of them would tick twice."""
    first, last = rolled.ticks[0], rolled.ticks[-1]
    assert first.release == rolled.old
    assert len(rolled.ticks) <= last.time - first.time + 2
    assert [line.release for line in rolled.ticks[-3:]] == [rolled.new] * 3


def test_the_command_runs_once_on_one_host_before_any_is_switched(rolled: Rolled, app: str) -> None:
    assert rolled.written == [[*rolled.links, f"{app}:"]]


def test_old_releases_go_and_the_one_before_stays(rolled: Rolled) -> None:
    before, after = rolled.there
    for name in before:
        assert before[name] > {rolled.links[0]}
        assert after[name] == set(rolled.links)


def test_a_deployment_of_what_is_there_changes_nothing(rolled: Rolled) -> None:
    assert rolled.again.returncode == 0, rolled.again.output
    assert set(rolled.again.changed.values()) == {0}
    before, after = rolled.pids
    assert before == after


# -- going back


@pytest.fixture
def rollback(playbook: Callable) -> Callable:
    return lambda **variables: playbook("playbooks/rollback.yml", **variables)


def test_rollback_goes_to_the_release_before_and_forth_again(
    rolled: Rolled, rollback: Callable, releases: Callable, load: Callable, ledger: Ledger, wait_for: Callable
) -> None:
    with load(rate=50) as running:
        wait_for(lambda: len(ledger.numbers()) > 50, what="the first tasks")
        back = rollback()
        assert back.returncode == 0, back.output
    assert set(releases().values()) == {rolled.old}
    count = len(running.submitted)
    wait_for(lambda: len(ledger.numbers()) == count, timeout=180, what="every task")
    report = ledger.report(count)
    print(f"\nrollback: {report}")
    assert (report.lost, report.twice) == ([], [])
    assert rollback().returncode == 0
    assert set(releases().values()) == {rolled.new}


def test_rollback_to_a_release_that_nobody_has_is_refused(rollback: Callable) -> None:
    done = rollback(rollback_release="0123456789ab")
    assert done.returncode != 0
    assert "The release '0123456789ab' isn't on worker1, worker2" in " ".join(done.output.split())
    assert set(done.changed.values()) == {0}


# -- stopped, or interrupted


def test_a_command_that_fails_stops_the_deployment(
    deploy: Callable, source: Callable, current: Callable, releases: Callable
) -> None:
    old = current()
    done = deploy(app_deploy_command=["sh", "-c", "echo no such table; exit 3"], **source().variables)
    assert done.returncode != 0
    assert "ended with 3:" in done.output
    assert "no such table" in done.output
    assert set(releases().values()) == {old.name}


@pytest.mark.parametrize("at", ["Build the release", "Switch environment", "Bring the nodes", "beat | Run it"])
def test_an_interrupted_deployment_is_made_up_for(
    at: str,
    inventory: Inventory,
    deploy: Callable,
    source: Callable,
    current: Callable,
    releases: Callable,
    workers: dict[str, Host],
    app: str,
) -> None:
    """Ansible is killed in the middle; the next run of the same deployment ends it."""
    current()  # on both hosts
    new = source()
    kill_at(at, inventory, new.variables)
    done = deploy(**new.variables)
    assert done.returncode == 0, done.output
    assert set(releases().values()) == {new.name}
    for worker in workers.values():
        running = worker.check_output("for p in $(pgrep -u %s); do readlink /proc/$p/cwd; done | sort -u", app)
        assert running.split() == [worker.file(f"/opt/{app}/current").linked_to]
        assert not worker.file(f"/var/lib/celeriac/{app}/undo").exists
    again = deploy(**new.variables)
    assert set(again.changed.values()) == {0}


def kill_at(task: str, inventory: Inventory, variables: dict[str, Any]) -> None:
    """Kill a deployment, with all its processes, when it announces ``task`` for the last host."""
    command = [
        "ansible-playbook",
        "-i",
        inventory.path,
        str(ROOT / "playbooks/deploy.yml"),
        "-e",
        json.dumps(variables),
    ]
    environ = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"}
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=environ,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    assert process.stdout is not None
    try:
        said = []
        switching = False
        for line in process.stdout:
            said.append(line)
            switching = switching or "PLAY [Nodes, host by host]" in line or task == "Build the release"
            if switching and line.startswith("TASK") and task in line:
                break
        else:
            pytest.fail(f"{task} was never announced:\n{''.join(said)}")
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
