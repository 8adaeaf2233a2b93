"""Deployments while tasks run: no task is lost, and a release that can't run doesn't."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import pytest

from tests.support.fleet import Fleet
from tests.support.live import Variables
from tests.support.load import Ledger, Line
from tests.support.releases import Deployments
from tests.support.servers import Server
from tests.support.site import Run, Site
from tests.support.waiting import wait_for

testinfra_hosts = ["ansible://redis"]
pytestmark = [pytest.mark.destructive, pytest.mark.usefixtures("host")]


def test_a_deployment_under_load_loses_nothing(ledger: Ledger, deployments: Deployments) -> None:
    old, new = deployments.current(), deployments.source()
    with ledger.load(100) as running:
        ledger.wait_for(300)
        deployments.deploy(**new.variables).succeeded()
        after = len(running.submitted) + 300
        wait_for(lambda: len(running.submitted) >= max(after, 10_000), what="10,000 tasks")
    report = ledger.finished(running)
    print(f"\nrolling deployment: {report}")
    assert (report.lost, report.twice) == ([], [])
    assert report.releases[old.name] > 300
    assert report.releases[new.name] > 300
    assert deployments.names() == {new.name}


def test_all_hosts_and_nodes_may_change_in_one_batch(ledger: Ledger, deployments: Deployments) -> None:
    """Nobody works for a moment, and still nothing is lost. The batches are text, as --extra-vars gives them."""
    new = deployments.source()
    with ledger.load(60) as running:
        ledger.wait_for(60)
        done = deployments.deploy(workers_batch="100%", celery_rollout_batch="2", **new.variables).succeeded()
    assert done.output.count("PLAY [Nodes, host by host]") == 1
    report = ledger.finished(running)
    print(f"\ndeployment in one batch: {report}")
    assert (report.lost, report.twice) == ([], [])
    assert deployments.names() == {new.name}


# what is wrong -> how its release is made, what is said of it, and its result in the trail
BROKEN: dict[str, tuple[dict[str, Any], str, str]] = {
    "crashes on import": (
        {"replacements": [("import redis\n", "import redis\nimport nothing_such\n")]},
        r"Release \w{12} isn't used, the running one is untouched: importing ledger failed: "
        r"ModuleNotFoundError: No module named 'nothing_such'",
        "refused",
    ),
    "registers no task": (
        {
            "replacements": [
                ('@app.task(name="ledger.work", max_retries=20)', ""),
                ('@app.task(name="ledger.tick")', ""),
            ]
        },
        r"isn't used, the running one is untouched: ledger registers no task",
        "refused",
    ),
    "needs what doesn't exist": (
        {"requirements": "celery[redis]==5.7.0\nno-such-package-as-this==1.0\n"},
        r"no-such-package-as-this",
        "",
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
        "reverted",
    ),
}
TOLD = {"refused": "was refused", "reverted": "failed and was reverted"}


@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_release_is_stopped_and_the_old_one_serves_throughout(
    how: str, ledger: Ledger, deployments: Deployments, fleet: Fleet, site: Site
) -> None:
    changes, said, result = BROKEN[how]
    old, worker = deployments.current(), fleet["worker1"]
    rollouts = worker.rollouts()
    broken = deployments.source(*changes.get("replacements", []), requirements=changes.get("requirements", ""))
    with ledger.load(60) as running:
        ledger.wait_for(60)
        done = deployments.deploy(celery_ready_timeout=10, **broken.variables)
        before = len(running.submitted)
        wait_for(lambda: len(running.submitted) > before + 60, what="more tasks")
    report = ledger.finished(running)
    print(f"\na release that {how}: {report}\n{tail(done.output)}")
    assert done.returncode != 0
    assert re.search(said, done.output)
    assert set(re.findall(r"failed on (worker\d)", done.output)) <= {"worker1"}  # it stops before the next host
    assert (report.lost, report.twice) == ([], [])
    assert set(report.releases) == {old.name}
    assert deployments.names() == {old.name}
    if not result:  # it never became a release
        assert worker.rollouts() == rollouts
        return
    last = worker.rollouts()[-1]
    live = worker.release().rpartition("/")[2]
    assert (last["result"], last["before"], last["release"] != live) == (result, live, True)
    assert [each for each in site.status()["problems"] if each.startswith(f"worker1's last rollout {TOLD[result]}")]


def tail(output: str) -> str:
    """The message that a person sees."""
    found = re.search(r"^(fatal: .*?)(?=^fatal:|^PLAY RECAP)", output, re.M | re.S)
    return found[1] if found else output[-2000:]


def test_a_configuration_that_breaks_nodes_is_put_back_too(
    deployments: Deployments, fleet: Fleet, app: str, variables: Variables
) -> None:
    """Not the release but a unit is wrong, and with it comes an environment: both go."""
    running = deployments.current()
    paths = [f"/etc/{app}/{app}.env", f"/etc/systemd/system/{app}-worker@quick.service.d/node.conf"]
    before = {name: [worker.host.file(path).content_string for path in paths] for name, worker in fleet.items()}
    nodes = [{**node, "memory_max": "20M"} for node in variables["celery_nodes"]]
    done = deployments.deploy(
        celery_ready_timeout=5, celery_nodes=nodes, app_settings={"LEDGER_NEW": "1"}, **running.variables
    )
    assert done.returncode != 0
    assert "The previous configuration was put back on worker1: 2 of 2 nodes answer again." in done.output
    assert {name: [worker.host.file(path).content_string for path in paths] for name, worker in fleet.items()} == before


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
    again: Run
    pids: tuple[dict[str, str], dict[str, str]]


@pytest.fixture(scope="module")
def rolled(broker: Server, app: str, fleet: Fleet, deployments: Deployments) -> Rolled:
    """A deployment with a command, which keeps two releases."""
    link, path = f"/opt/{app}/current", f"/var/log/{app}/migrated"
    first = next(iter(fleet.values()))

    def there() -> dict[str, set[str]]:
        listed = "ls -d /opt/%s/releases/*"
        return {name: set(worker.host.check_output(listed, app).split()) for name, worker in fleet.items()}

    for worker in fleet.values():
        worker.host.run("rm -f %s", path)
    if min(map(len, there().values())) < 2:  # nothing to remove
        deployments.deploy(**deployments.source().variables).succeeded()
    script = f"readlink {link} >> {path}; pwd >> {path}; echo $CELERY_GLOBAL_KEYPREFIX >> {path}"
    old, new = deployments.current(), deployments.source()
    variables = {**new.variables, "app_keep_releases": 2, "app_deploy_command": ["sh", "-c", script]}
    link_before, there_before = first.release(), there()
    book = Ledger(broker, app, "ticks")
    book.clear()
    wait_for(lambda: len(book.lines()) > 3, what="ticks of the old beat")
    deployments.deploy(**variables).succeeded()
    count = len(book.lines())
    wait_for(lambda: len(book.lines()) > count + 3, what="ticks of the new beat")
    ticks, there_after, pids = book.lines(), there(), fleet.main_pids()
    again = deployments.deploy(**variables)
    return Rolled(
        old=old.name,
        new=new.name,
        ticks=ticks,
        links=(link_before, first.release()),
        there=(there_before, there_after),
        written=[
            worker.host.file(path).content_string.split() for worker in fleet.values() if worker.host.file(path).exists
        ],
        again=again,
        pids=(pids, fleet.main_pids()),
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


def test_a_rollout_that_succeeded_is_the_last_one(rolled: Rolled, fleet: Fleet, site: Site) -> None:
    for worker in fleet.values():
        last = worker.rollouts()[-1]
        assert (last["result"], last["release"]) == ("live", rolled.links[1].rpartition("/")[2])
    assert not [each for each in site.status()["problems"] if "last rollout" in each]


def test_a_deployment_of_what_is_there_changes_nothing(rolled: Rolled) -> None:
    assert rolled.again.returncode == 0, rolled.again.output
    assert set(rolled.again.changed.values()) == {0}
    before, after = rolled.pids
    assert before == after


# -- going back


def test_rollback_goes_to_the_release_before_and_forth_again(
    rolled: Rolled, deployments: Deployments, ledger: Ledger
) -> None:
    with ledger.load(50) as running:
        ledger.wait_for(50)
        deployments.rollback().succeeded()
    assert deployments.names() == {rolled.old}
    report = ledger.finished(running)
    print(f"\nrollback: {report}")
    assert (report.lost, report.twice) == ([], [])
    deployments.rollback().succeeded()
    assert deployments.names() == {rolled.new}


def test_rollback_to_a_release_that_nobody_has_is_refused(deployments: Deployments) -> None:
    done = deployments.rollback(rollback_release="0123456789ab")
    assert done.returncode != 0
    assert "The release '0123456789ab' isn't on worker1, worker2" in done.text
    assert set(done.changed.values()) == {0}


# -- stopped, or interrupted


def test_a_command_that_fails_stops_the_deployment(deployments: Deployments) -> None:
    old = deployments.current()
    done = deployments.deploy(
        app_deploy_command=["sh", "-c", "echo no such table; exit 3"], **deployments.source().variables
    )
    assert done.returncode != 0
    assert "ended with 3:" in done.output
    assert "no such table" in done.output
    assert deployments.names() == {old.name}


@pytest.mark.parametrize("at", ["Build the release", "Switch environment", "Bring the nodes", "beat | Run it"])
def test_an_interrupted_deployment_is_made_up_for(at: str, deployments: Deployments, fleet: Fleet, app: str) -> None:
    """Ansible is killed in the middle; the next run of the same deployment ends it."""
    deployments.current()  # on both hosts
    new = deployments.source()
    deployments.kill_at(at, new)
    deployments.deploy(**new.variables).succeeded()
    assert deployments.names() == {new.name}
    for worker in fleet.values():
        running = worker.host.check_output("for p in $(pgrep -u %s); do readlink /proc/$p/cwd; done | sort -u", app)
        assert running.split() == [worker.release()]
        assert not worker.host.file(f"/var/lib/celeriac/{app}/undo").exists
    again = deployments.deploy(**new.variables)
    assert set(again.changed.values()) == {0}
