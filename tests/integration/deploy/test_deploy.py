"""Deployments while tasks run: no task is lost, and a release that can't run doesn't."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Any

import pytest

from tests.support.fleet import Fleet
from tests.support.live import Variables
from tests.support.load import Ledger, Line, Report
from tests.support.releases import Deployments, Release
from tests.support.servers import Server
from tests.support.site import Run, Site
from tests.support.soak import Soak
from tests.support.waiting import wait_for

testinfra_hosts = ["ansible://redis"]
pytestmark = [pytest.mark.destructive, pytest.mark.usefixtures("host")]


# -- a deployment that can't come about


@dataclass(frozen=True)
class Broken:
    """What is wrong with a deployment, and what is said of it.

    :param said: a pattern of the output
    :param result: in worker1's trail, where the deployment gets that far
    :param replacements: texts of its release's ledger.py that stand for others
    :param requirements: its release's, instead of the locked ones
    :param memory: that its nodes have
    :param variables: more of them
    """

    said: str
    result: str = ""
    replacements: tuple[tuple[str, str], ...] = ()
    requirements: str = ""
    memory: str = ""
    variables: Mapping[str, Any] = field(default_factory=dict)


HANG = """\
from celery.signals import worker_init


@worker_init.connect
def hang(**_: object) -> None:
    time.sleep(3600)


@cache
"""
BROKEN = {
    "crashes on import": Broken(
        r"Release \w{12} isn't used, the running one is untouched: importing ledger failed: "
        r"ModuleNotFoundError: No module named 'nothing_such'",
        "refused",
        replacements=(("import redis\n", "import redis\nimport nothing_such\n"),),
    ),
    "needs what doesn't exist": Broken(
        r"no-such-package-as-this", requirements="celery[redis]==5.7.0\nno-such-package-as-this==1.0\n"
    ),
    "has a command that fails": Broken(
        r"ended with 3:\s+no such table",
        variables={"app_deploy_command": ["sh", "-c", "echo no such table; exit 3"]},
    ),
    "never answers": Broken(
        r"Release \w{12} failed on worker\d: .*\n\s+Release \w{12} was put back on worker\d: 2 of 2 nodes answer again",
        "reverted",
        replacements=(("@cache\n", HANG),),
    ),
    # not the release but a unit is wrong, and with it comes an environment: both go
    "has nodes without memory": Broken(
        r"The previous configuration was put back on worker1: 2 of 2 nodes answer again\.",
        "reverted",
        memory="20M",
        variables={"app_settings": {"LEDGER_NEW": "1"}},
    ),
}
RELEASED = [how for how in BROKEN if not BROKEN[how].memory]


@dataclass(frozen=True)
class Attempt:
    """A deployment that failed, and what it left.

    :param done: its run
    :param live: the directory of worker1's release before
    :param rollouts: what it added to worker1's trail
    :param state: host -> release, environment and units, before and after it
    """

    done: Run
    live: str
    rollouts: list[dict[str, Any]]
    state: tuple[dict[str, str], dict[str, str]]


@dataclass(frozen=True)
class Attempts:
    """Deployments that failed, under one load.

    :param old: the release that ran before
    :param made: what is wrong -> deployment
    :param problems: what status.yml says after the last one
    """

    old: str
    made: dict[str, Attempt]
    report: Report
    problems: list[str]


def state(fleet: Fleet, app: str) -> dict[str, str]:
    """Host -> what a deployment changes there, as digests."""
    command = f"readlink /opt/{app}/current; sha256sum /etc/{app}/{app}.env /etc/systemd/system/{app}-worker@*.d/*"
    return {name: str(worker.host.check_output(command)) for name, worker in fleet.items()}


def attempt(broken: Broken, deployments: Deployments, fleet: Fleet, variables: Variables) -> Attempt:
    """Try a deployment."""
    app, worker = str(variables["app_name"]), fleet["worker1"]
    given = dict(broken.variables)
    if broken.memory:
        nodes = [{**node, "memory_max": broken.memory} for node in variables["celery_nodes"]]
        given |= {"celery_nodes": nodes, **deployments.current().variables}
    else:
        given |= deployments.source(*broken.replacements, requirements=broken.requirements).variables
    before, written, live = state(fleet, app), len(worker.rollouts()), worker.release()
    done = deployments.deploy(**given)
    return Attempt(done, live, worker.rollouts()[written:], (before, state(fleet, app)))


@pytest.fixture(scope="module")
def attempts(book: Ledger, deployments: Deployments, fleet: Fleet, site: Site, variables: Variables) -> Attempts:
    """All of BROKEN, one after the other."""
    book.clear()
    old = deployments.current()
    with book.load() as running:
        book.wait_for(20)
        made = {how: attempt(broken, deployments, fleet, variables) for how, broken in BROKEN.items()}
        before = len(running.submitted)
        wait_for(lambda: len(running.submitted) > before + 20, what="more tasks")
    report = book.finished(running)
    print(f"\nreleases that can't run: {report}", *(tail(each.done.output) for each in made.values()), sep="\n")
    return Attempts(old.name, made, report, site.status()["problems"])


def tail(output: str) -> str:
    """The message that a person sees."""
    found = re.search(r"^(fatal: .*?)(?=^fatal:|^PLAY RECAP)", output, re.M | re.S)
    return found[1] if found else output[-2000:]


@pytest.mark.parametrize("how", RELEASED)
def test_a_broken_release_is_stopped_and_the_old_one_serves_throughout(how: str, attempts: Attempts) -> None:
    was_stopped(how, attempts)


def test_a_configuration_that_breaks_nodes_is_put_back_too(attempts: Attempts) -> None:
    was_stopped("has nodes without memory", attempts)


def was_stopped(how: str, attempts: Attempts) -> None:
    broken, made, report = BROKEN[how], attempts.made[how], attempts.report
    assert made.done.returncode != 0
    assert re.search(broken.said, made.done.output)
    assert set(re.findall(r"failed on (worker\d)", made.done.output)) <= {"worker1"}  # it stops before the next host
    before, after = made.state
    assert before == after
    assert (report.lost, report.twice) == ([], [])
    assert set(report.releases) == {attempts.old}


@pytest.mark.parametrize("how", BROKEN)
def test_a_rollout_that_failed_is_in_the_trail(how: str, attempts: Attempts) -> None:
    """One that ended before it isn't."""
    result, made = BROKEN[how].result, attempts.made[how]
    live = made.live.rpartition("/")[2]
    assert [each["result"] for each in made.rollouts] == [result] * bool(result)
    assert {each["before"] for each in made.rollouts} <= {live}
    assert {each["release"] != live for each in made.rollouts} <= {how in RELEASED}


def test_status_tells_that_the_last_rollout_failed(attempts: Attempts) -> None:
    assert [each for each in attempts.problems if each.startswith("worker1's last rollout failed and was reverted")]


# -- one that does, and what else it does


@dataclass(frozen=True)
class Rolled:
    """What a deployment left.

    :param old: the RELEASE before, ``new`` the one after
    :param ticks: beat's ticks as it sent them, from before the deployment to after it
    :param links: the releases' directories, before and after
    :param there: host -> the directories of all its releases, before and after
    :param written: what the command wrote, for each host that it ran on
    """

    old: str
    new: str
    report: Report
    ticks: list[Line]
    links: tuple[str, str]
    there: tuple[dict[str, set[str]], dict[str, set[str]]]
    written: list[list[str]]


class Releasing:
    """A deployment with a command, which keeps two releases, while tasks run and beat ticks."""

    def __init__(self, app: str, fleet: Fleet, deployments: Deployments, books: tuple[Ledger, Ledger]) -> None:
        self.app, self.fleet, self.deployments = app, fleet, deployments
        self.book, self.ticks = books
        self.path = f"/var/log/{app}/migrated"

    def there(self) -> dict[str, set[str]]:
        listed = "ls -d /opt/%s/releases/*"
        return {name: set(worker.host.check_output(listed, self.app).split()) for name, worker in self.fleet.items()}

    def written(self) -> list[list[str]]:
        files = [worker.host.file(self.path) for worker in self.fleet.values()]
        return [file.content_string.split() for file in files if file.exists]

    def roll(self, tasks: int) -> Rolled:
        """Deploy while at least so many tasks are submitted."""
        link, path = f"/opt/{self.app}/current", self.path
        for worker in self.fleet.values():
            worker.host.run("rm -f %s", path)
        if min(map(len, self.there().values())) < 2:  # nothing to remove
            self.deployments.deploy(**self.deployments.source().variables).succeeded()
        script = f"readlink {link} >> {path}; pwd >> {path}; echo $CELERY_GLOBAL_KEYPREFIX >> {path}"
        command = {"app_keep_releases": 2, "app_deploy_command": ["sh", "-c", script]}
        old, new, first = self.deployments.current(), self.deployments.source(), next(iter(self.fleet.values()))
        link_before, there_before = first.release(), self.there()
        self.book.clear()
        self.ticks.clear()
        with self.book.load() as running:
            self.book.wait_for(20)
            self.more_ticks()
            self.deployments.deploy(**new.variables, **command).succeeded()
            least = max(tasks, len(running.submitted) + 20)
            wait_for(lambda: len(running.submitted) >= least, what=f"{least} tasks")
            self.more_ticks()
        return Rolled(
            old=old.name,
            new=new.name,
            report=self.book.finished(running),
            ticks=sorted(self.ticks.lines(), key=lambda line: line.number),
            links=(link_before, first.release()),
            there=(there_before, self.there()),
            written=self.written(),
        )

    def more_ticks(self) -> None:
        least = len(self.ticks.lines()) + 3
        wait_for(lambda: len(self.ticks.lines()) >= least, what="more ticks")


@pytest.fixture(scope="module")
def rolled(broker: Server, app: str, fleet: Fleet, deployments: Deployments, book: Ledger, soak: Soak) -> Rolled:
    done = Releasing(app, fleet, deployments, (book, Ledger(broker, app, "ticks"))).roll(soak.size(100, 10_000))
    soak.measured("rolling deployment over two hosts", **done.report.figures)
    return done


@pytest.mark.soak
def test_a_deployment_under_load_loses_nothing(rolled: Rolled, deployments: Deployments) -> None:
    assert (rolled.report.lost, rolled.report.twice) == ([], [])
    assert set(rolled.report.releases) == {rolled.old, rolled.new}
    assert deployments.names() == {rolled.new}


def test_beat_comes_last_and_never_runs_twice(rolled: Rolled) -> None:
    """The old one's ticks come before the new one's, which are run by the new release alone."""
    (_, before), (_, after) = [
        (sender, list(ticks)) for sender, ticks in groupby(rolled.ticks, lambda tick: tick.sender)
    ]
    assert before[0].release == rolled.old
    assert {tick.release for tick in after} == {rolled.new}


def test_the_command_runs_once_on_one_host_before_any_is_switched(rolled: Rolled, app: str) -> None:
    assert rolled.written == [[*rolled.links, f"{app}:"]]


def test_old_releases_go_and_the_one_before_stays(rolled: Rolled) -> None:
    before, after = rolled.there
    for name in before:
        assert before[name] > {rolled.links[0]}
        assert after[name] == set(rolled.links)


def test_a_rollout_that_succeeded_is_the_last_one(rolled: Rolled, fleet: Fleet) -> None:
    for worker in fleet.values():
        last = worker.rollouts()[-1]
        assert (last["result"], last["release"]) == ("live", rolled.links[1].rpartition("/")[2])


# -- going back


def test_rollback_goes_to_the_release_before_and_forth_again(
    rolled: Rolled, deployments: Deployments, ledger: Ledger
) -> None:
    """Forth all hosts and nodes at once: nobody works for a moment, and still nothing is lost.

    The batches are text, as --extra-vars gives them.
    """
    with ledger.load() as running:
        ledger.wait_for(20)
        deployments.rollback().succeeded()
        assert deployments.names() == {rolled.old}
        forth = deployments.rollback(workers_batch="100%", celery_rollout_batch="2").succeeded()
    assert forth.output.count("PLAY [Nodes, host by host]") == 1
    assert deployments.names() == {rolled.new}
    report = ledger.finished(running)
    print(f"\nback and forth: {report}")
    assert (report.lost, report.twice) == ([], [])


def test_rollback_to_a_release_that_nobody_has_is_refused(deployments: Deployments) -> None:
    done = deployments.rollback(rollback_release="0123456789ab")
    assert done.returncode != 0
    assert "The release '0123456789ab' isn't on worker1, worker2" in done.text
    assert set(done.changed.values()) == {0}


# -- interrupted, and what is there already


@pytest.fixture(scope="module")
def made_up_for(deployments: Deployments, fleet: Fleet) -> Release:
    """Ansible is killed in the middle of a deployment, each time later; then the deployment may end."""
    deployments.current()  # on both hosts
    new = deployments.source()
    for at in ("Build the release", "Switch environment", "Bring the nodes", "beat | Run it"):
        deployments.kill_at(at, new)
    new = replace(new, variables={**new.variables, "app_deploy_command": ["true"]})
    deployments.deploy(**new.variables).succeeded()
    return new


def test_an_interrupted_deployment_is_made_up_for(
    made_up_for: Release, deployments: Deployments, fleet: Fleet, app: str
) -> None:
    assert deployments.names() == {made_up_for.name}
    for worker in fleet.values():
        running = worker.host.check_output("for p in $(pgrep -u %s); do readlink /proc/$p/cwd; done | sort -u", app)
        assert running.split() == [worker.release()]
        assert not worker.host.file(f"/var/lib/celeriac/{app}/undo").exists


def test_a_deployment_of_what_is_there_changes_nothing(
    made_up_for: Release, deployments: Deployments, fleet: Fleet
) -> None:
    before = fleet.main_pids()
    again = deployments.deploy(**made_up_for.variables).succeeded()
    assert set(again.changed.values()) == {0}  # nor was the command run again
    assert fleet.main_pids() == before
