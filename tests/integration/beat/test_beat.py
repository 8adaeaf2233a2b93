"""Beat on two hosts: with redbeat one sends and the other stands by, with a file there is one, wherever it is put."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import pytest
import testinfra
from testinfra.host import Host

from tests.support.servers import Server

testinfra_hosts = ["ansible://redis"]
pytestmark = pytest.mark.destructive

SENDS, WAITS = "Sends what is due", "Waiting for the lock or the broker"
FILE_SCHEDULER = "celery.beat.PersistentScheduler"


@pytest.fixture(scope="session")
def workers(inventory: Any) -> dict[str, Host]:
    """Inventory name -> worker host."""
    return {
        name: testinfra.get_host(f"ansible://{name}?ansible_inventory={inventory.path}")
        for name in inventory.group("workers")
    }


class Ticks:
    """When the application's task ran, in seconds of the kernel's clock, which all test hosts share."""

    def __init__(self, broker: Server, app: str) -> None:
        self._client, self._key = broker.connect(), f"{app}:ticked"

    def since(self, begun: float) -> list[float]:
        times = [float(line.split()[1]) for line in self._client.lrange(self._key, 0, -1)]
        return sorted(moment for moment in times if moment >= begun)

    def gap(self, begun: float) -> float:
        """The longest time without one."""
        return max(later - earlier for earlier, later in pairwise(self.since(begun)))


def doubled(times: list[float]) -> int:
    """How many more ticks there were than seconds, one aside that a wait may move over the border."""
    return max(0, len(times) - 2 - int(times[-1] - times[0]))


@pytest.fixture
def ticks(host: Host, variables: Any, app: str) -> Ticks:
    return Ticks(Server(host, variables, variables["redis_instances"][0]), app)


@pytest.fixture
def unit(app: str) -> str:
    return f"{app}-beat.service"


@pytest.fixture
def states(workers: dict[str, Host], unit: str) -> Callable[[], dict[str, str]]:
    """What beat says it does, on the hosts where it runs."""

    def ask() -> dict[str, str]:
        shown = {}
        for name, worker in workers.items():
            command = "systemctl show --property=ActiveState,StatusText %s"
            said = dict(line.split("=", 1) for line in worker.run(command, unit).stdout.splitlines())
            if said.get("ActiveState") == "active":
                shown[name] = said["StatusText"]
        return shown

    return ask


@pytest.fixture
def sender(states: Callable, wait_for: Callable) -> Callable[[], str]:
    """Wait until one sends and the other waits; who sends."""

    def ask() -> str:
        wait_for(lambda: sorted(states().values()) == [SENDS, WAITS], timeout=60, what="one that sends, one that waits")
        return next(name for name, state in states().items() if state == SENDS)

    return ask


@pytest.fixture
def watch(ticks: Ticks, wait_for: Callable) -> Callable[[float, int], list[float]]:
    """Wait for some ticks after a moment; all of them."""

    def run(begun: float, count: int) -> list[float]:
        wait_for(lambda: len(ticks.since(begun)) >= count, timeout=count + 30, what=f"{count} ticks")
        return ticks.since(begun)

    return run


def test_of_two_one_sends(sender: Callable, watch: Callable) -> None:
    sender()
    times = watch(time.monotonic(), 20)
    print(f"\nboth alive: {len(times)} ticks in {times[-1] - times[0]:.1f} s")
    assert doubled(times) == 0


def test_a_stop_hands_over_at_once(
    workers: dict[str, Host],
    unit: str,
    sender: Callable,
    states: Callable,
    ticks: Ticks,
    watch: Callable,
    wait_for: Any,
) -> None:
    old = sender()
    begun = time.monotonic()
    watch(begun, 3)
    workers[old].check_output("systemctl stop %s", unit)
    (other,) = set(workers) - {old}
    wait_for(lambda: states() == {other: SENDS}, timeout=20, what="the other's turn")
    stopped = time.monotonic()
    watch(stopped, 3)
    print(f"\nTERM: longest time without a tick {ticks.gap(begun):.1f} s")
    assert ticks.gap(begun) < 6  # it looks for the lock each 2 s
    workers[old].check_output("systemctl start %s", unit)
    assert sender() == other
    assert doubled(watch(stopped, 10)) == 0


@pytest.mark.parametrize("what", ["process", "host"])
def test_the_other_takes_over_from_one_that_was_killed(
    what: str,
    host: Host,
    inventory: Any,
    workers: dict[str, Host],
    unit: str,
    variables: Any,
    sender: Callable,
    states: Callable,
    ticks: Ticks,
    watch: Callable,
    wait_for: Callable,
) -> None:
    """The ticks' own node runs on worker2, so that no tick is lost with a node."""
    if sender() != "worker1":
        workers["worker2"].check_output("systemctl stop %s", unit)
        wait_for(lambda: states() == {"worker1": SENDS}, timeout=20, what="worker1's turn")
        workers["worker2"].check_output("systemctl start %s", unit)
        assert sender() == "worker1"
    begun = time.monotonic()
    watch(begun, 5)
    if what == "process":
        workers["worker1"].check_output("systemctl kill --signal=KILL %s", unit)
    else:
        name = f"{inventory['worker1']['test_host_prefix']}-worker1"
        local = host.get_host("local://")
        local.check_output("docker kill %s", name)
    killed = time.monotonic()
    limit = variables["celery_beat_takeover_timeout"]
    wait_for(lambda: ticks.since(killed + 1.5), timeout=limit + 10, what="a tick of whoever took over")
    if what == "host":
        local.check_output("docker start %s", name)
        wait_for(lambda: "running" in workers["worker1"].run("systemctl is-system-running").stdout, timeout=60)
    sender()
    times = watch(killed, 10)
    gap = ticks.gap(begun)
    print(f"\nkilled {what}: longest time without a tick {gap:.1f} s, of {limit} s")
    assert gap <= limit + 2  # the tick itself, and its schedule
    assert doubled(ticks.since(begun)) == 0
    assert doubled([moment for moment in times if moment > killed + gap]) == 0


def test_redbeat_may_do_all_that_it_does_and_keeps_to_the_applications_keys(
    host: Host, variables: Any, app: str, ticks: Ticks, redis_cli: Callable
) -> None:
    refused = redis_cli("ACL", "LOG")
    assert not {"key", "channel", "command"} & set(re.findall(r"reason\n(\w+)", refused)), refused
    keys = redis_cli("--scan").split()
    assert f"{app}:redbeat::lock" in keys
    assert [key for key in keys if not key.startswith(f"{app}:")] == []


def test_no_password_in_any_argument(workers: dict[str, Host], variables: Any) -> None:
    for worker in workers.values():
        arguments = worker.check_output("cat /proc/[0-9]*/cmdline | tr '\\0' ' '")
        assert "celeriac_beat.py" in arguments
        assert variables["vault_redis_app_password"] not in arguments


def test_beats_journal_is_json(workers: dict[str, Host], unit: str) -> None:
    for name, worker in workers.items():
        said = worker.check_output(
            "journalctl --quiet --output=cat --lines=50 _SYSTEMD_UNIT=%s _TRANSPORT=stdout", unit
        )
        entries = [json.loads(line) for line in said.splitlines() if line]
        assert {entry["node"] for entry in entries} == {f"beat@{name}"}


# -- what beat is given


def test_a_scheduler_that_is_not_installed_is_refused_before_anything_is_switched(
    playbook: Callable, states: Callable
) -> None:
    before = states()
    run = playbook("playbooks/workers.yml", celery_beat_scheduler="nothing.such.Scheduler")
    assert run.returncode != 0
    assert "isn't used, the running one is untouched: beat's scheduler is nothing.such.Scheduler" in run.output
    assert states() == before


def test_a_beat_that_dies_fails_the_play_with_its_last_lines(playbook: Callable, sender: Callable) -> None:
    run = playbook("playbooks/workers.yml", "--tags=celery", celery_beat_scheduler="ticker.tick", celery_log_to="files")
    assert run.returncode != 0
    assert "TypeError" in run.output
    back = playbook("playbooks/workers.yml", "--tags=celery")
    assert back.returncode == 0, back.output
    sender()


# -- one, with its schedule in a file


@pytest.fixture
def on(playbook: Callable) -> Iterator[Callable[..., Any]]:
    """Have one beat with a file, on a host of the name; afterwards the inventory's own again."""

    def move(name: str, *arguments: str) -> Any:
        here = f"{{{{ inventory_hostname == '{name}' }}}}"
        play = ("playbooks/workers.yml", "--tags=celery", *arguments)
        run = playbook(*play, celery_beat_scheduler=FILE_SCHEDULER, celery_beat_enabled=here)
        assert run.returncode == 0, run.output
        return run

    yield move
    run = playbook("playbooks/workers.yml", "--tags=celery")
    assert run.returncode == 0, run.output


def test_a_move_stops_the_old_one_first(
    workers: dict[str, Host], unit: str, on: Callable, states: Callable, ticks: Ticks, watch: Callable
) -> None:
    on("worker1")
    assert set(states()) == {"worker1"}
    begun = time.monotonic()
    watch(begun, 3)
    on("worker2")
    assert set(states()) == {"worker2"}
    assert not workers["worker1"].service(unit).exists
    assert doubled(watch(time.monotonic(), 5)) == 0
    print(f"\nmoved: longest time without a tick {ticks.gap(begun):.1f} s")
    assert doubled(ticks.since(begun)) == 0
