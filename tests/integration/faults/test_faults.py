"""Faults under steady load: what is lost, what runs twice, and when every node works again.

Nothing may be lost where a stop is graceful or a pool process dies. Where a main process, a host or Redis goes at once,
a message is lost that Redis gave out and the node hadn't recorded yet. A node has one connection to fetch by, and
fetches one message at a time, so it is one for each of them at most: docs/decisions/0017 has the reasons.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import cycle, islice

import pytest

from tests.support.fleet import Fleet, Node
from tests.support.load import Ledger
from tests.support.servers import Server
from tests.support.site import Site
from tests.support.soak import Soak
from tests.support.trial import Trials
from tests.support.waiting import wait_for

testinfra_hosts = ["ansible://redis"]
pytestmark = [pytest.mark.destructive, pytest.mark.slow]

SKEW = 600  # seconds that a clock is off


# -- nodes


@pytest.mark.soak
def test_a_killed_pool_process_loses_nothing(nodes: list[Node], trials: Trials, soak: Soak) -> None:
    kills = soak.size(2, 10)
    with trials.under_load(f"SIGKILL of {kills} pool processes") as trial:
        for node in islice(cycle(nodes), kills):
            trial.fault(partial(node.kill, node.children()[0]))
    assert trial.report.lost == []


@pytest.mark.soak
def test_a_killed_node_loses_one_message_at_most(nodes: list[Node], trials: Trials, soak: Soak) -> None:
    kills = soak.size(1, 10)
    with trials.under_load(f"SIGKILL of a main process, times {kills}", leaves=True) as trial:
        for node in islice(cycle(nodes), kills):
            trial.fault(partial(node.replaced, partial(node.kill, node.pid)))
    assert len(trial.report.lost) <= kills


@pytest.mark.soak
def test_a_pool_process_out_of_memory_loses_nothing(nodes: list[Node], trials: Trials) -> None:
    """The task that takes too much is one of the load's own, and the largest process is the one that runs it."""
    limited = [node for node in nodes if node.limit < sys.maxsize]
    with trials.under_load("a pool process out of memory") as trial:
        mains, pools = [node.pid for node in nodes], {node: set(node.children()) for node in limited}
        trial.load.hunger = 2 * limited[0].limit // 2**20
        wait_for(lambda: any(pools[node] - set(node.children()) for node in limited), what="a killed pool process")
        trial.back()
    assert trial.report.lost == []
    assert [node.pid for node in nodes] == mains


@pytest.mark.soak
def test_a_node_out_of_memory_loses_one_message_at_most(nodes: list[Node], trials: Trials) -> None:
    """The kernel is made to kill the main process. Then the task comes back, and costs a node a pool process."""
    limited = [node for node in nodes if node.limit < sys.maxsize]
    with trials.under_load("a main process out of memory", leaves=True) as trial:
        mains = {node: node.pid for node in limited}
        for node in limited:
            node.worker.host.check_output(f"echo 1000 > /proc/{node.pid}/oom_score_adj")

        def inject() -> None:
            trial.load.hunger = 2 * limited[0].limit // 2**20
            wait_for(lambda: any(node.pid != mains[node] for node in limited), what="a killed main process")
            for node in limited:
                node.worker.host.run(f"echo 0 > /proc/{mains[node]}/oom_score_adj")

        trial.fault(inject)
    assert len(trial.report.lost) <= 1


@pytest.mark.soak
def test_a_graceful_stop_loses_nothing_and_runs_nothing_twice(nodes: list[Node], trials: Trials, soak: Soak) -> None:
    results, stops = [], soak.size(2, 12)
    with trials.under_load(f"stop and start of a node, times {stops}") as trial:
        for node in islice(cycle(nodes), stops):
            since = time.monotonic()
            node.stop()
            results.append(node.show("Result"))
            node.start()
            trial.back(since)
    assert set(results) == {"success"}
    assert (trial.report.lost, trial.report.twice) == ([], [])


# -- hosts


@pytest.mark.soak
def test_a_restart_of_a_host_loses_nothing(site: Site, trials: Trials) -> None:
    with trials.under_load("restart of a worker host") as trial:
        trial.fault(lambda: site.docker("restart", "worker2", "-t", "60"))
    assert trial.report.lost == []


@pytest.mark.soak
def test_a_host_that_is_cut_off_loses_one_message_a_node_at_most(site: Site, trials: Trials, nodes: list[Node]) -> None:
    def inject() -> None:
        site.docker("kill", "worker2")
        site.docker("start", "worker2")

    with trials.under_load("power cut of a worker host", leaves=True) as trial:
        trial.fault(inject)
    assert len(trial.report.lost) <= len([node for node in nodes if node.worker.name == "worker2"])


def test_status_is_said_though_the_first_host_fails(site: Site, fleet: Fleet) -> None:
    first, second = fleet
    python = f"{{{{ '/nowhere' if inventory_hostname == '{first}' else '/usr/bin/python3' }}}}"
    said = site.playbook("playbooks/status.yml", ansible_python_interpreter=python).output.split()
    assert f"! {first} failed:" in " ".join(said)
    assert said[said.index(f"quick@{second}") + 1] == "running"


# -- Redis


@pytest.mark.soak
def test_a_restart_of_redis(broker: Server, trials: Trials, nodes: list[Node]) -> None:
    with trials.under_load("restart of Redis", leaves=True) as trial:
        broker.host.check_output("systemctl restart %s", broker.unit)
        trial.back()
    assert len(trial.report.lost) <= len(nodes)


@pytest.mark.soak
@pytest.mark.parametrize(
    ("how", "away", "back"),
    [
        ("stopped", "systemctl stop {unit}", "systemctl start {unit}"),
        ("frozen", "systemctl kill --signal=STOP {unit}", "systemctl kill --signal=CONT {unit}"),
    ],
)
def test_redis_is_gone_for_longer_than_clients_wait_for_it(
    how: str, away: str, back: str, broker: Server, trials: Trials, nodes: list[Node], soak: Soak
) -> None:
    """They wait for 5 seconds, the ``socket_timeout``."""
    seconds = soak.size(12, 60)
    with trials.under_load(f"Redis {how} for {seconds} s", leaves=True) as trial:
        broker.host.check_output(f"{away} && sleep {seconds}".format(unit=broker.unit))  # that long is the fault
        broker.host.check_output(back.format(unit=broker.unit))
        trial.back()
    assert len(trial.report.lost) <= len(nodes)


# -- disk and clock


@pytest.fixture
def full_log(nodes: list[Node], app: str) -> Iterator[Callable[[], Node]]:
    """Fills the log directory of a node, which has a small disk of its own."""
    node, log = nodes[0], f"/var/log/{app}"
    mount = f"mount -t tmpfs -o size=1M,mode=750,uid={app},gid={app} tmpfs {log}"
    node.stop()
    node.worker.host.check_output(mount)
    node.start()

    def fill() -> Node:
        node.worker.host.run("dd if=/dev/zero of=%s/filler bs=4k", log)
        assert node.worker.host.check_output("df --output=avail %s | tail -n 1", log).strip() == "0"
        return node

    yield fill
    node.stop()
    node.worker.host.check_output("umount %s", log)
    node.start()


@pytest.mark.soak
def test_a_node_works_and_restarts_with_a_full_log_directory(full_log: Callable[[], Node], trials: Trials) -> None:
    with trials.under_load("full log directory, then a restart of a node") as trial:
        node = full_log()
        trial.back()
        trial.fault(lambda: node.worker.host.check_output("systemctl restart %s", node.unit))
    assert trial.report.lost == []


@pytest.fixture
def clock(fleet: Fleet, app: str) -> Iterator[Callable[[int], None]]:
    """Puts the clock of one host's nodes off by seconds.

    Containers share the kernel's clock, so it is Python that tells another time. libfaketime would break time.sleep.
    """
    host, drop_in = fleet["worker2"].host, f"/run/systemd/system/{app}-worker@.service.d/zz-clock.conf"
    restart = f"systemctl daemon-reload && systemctl restart '{app}-worker@*'"

    def off(seconds: int) -> None:
        code = f"import time\n\nreal = time.time\ntime.time = lambda: real() + {seconds}\n"
        host.check_output("mkdir -p /run/clock $(dirname %s)", drop_in)
        host.check_output("printf %s > /run/clock/sitecustomize.py", code)
        host.check_output("printf '[Service]\\nEnvironmentFile=/run/clock/env\\n' > %s", drop_in)
        host.check_output(f"printf 'PYTHONPATH=/run/clock\\n' > /run/clock/env && {restart}")

    yield off
    host.check_output(f"rm -rf /run/clock {drop_in} && {restart}")


@pytest.mark.soak
@pytest.mark.parametrize("seconds", [SKEW, pytest.param(-SKEW, marks=pytest.mark.soak(only=True))])
def test_a_host_whose_clock_is_off_does_its_part(
    seconds: int, clock: Callable[[int], None], trials: Trials, ledger: Ledger
) -> None:
    def apart() -> bool:
        fetched = ledger.fetched()
        return bool(fetched) and max(fetched) - min(fetched) > SKEW / 2

    clock(seconds)
    with trials.under_load(f"clock of a worker host off by {seconds:+} s") as trial:
        wait_for(apart, what="messages that two clocks say were fetched at other times")
        trial.back()
    assert (trial.report.lost, trial.report.twice) == ([], [])
