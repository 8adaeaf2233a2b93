"""Beat on two hosts: with redbeat one sends and the other stands by, with a file there is one, wherever it is put."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import cast

import pytest

from tests.support.fleet import Fleet
from tests.support.live import Variables
from tests.support.servers import Server
from tests.support.site import Site
from tests.support.waiting import wait_for, wait_for_boot

testinfra_hosts = ["ansible://redis"]
pytestmark = [pytest.mark.destructive, pytest.mark.usefixtures("host")]

SENDS, WAITS = "Sends what is due", "Waiting for the lock or the broker"
FILE_SCHEDULER = "celery.beat.PersistentScheduler"


class Ticks:
    """When the application's task ran, in seconds of the kernel's clock, which all test hosts share."""

    def __init__(self, broker: Server, app: str) -> None:
        self._client, self._key = broker.connect(), f"{app}:ticked"

    def since(self, begun: float) -> list[float]:
        """All after a moment."""
        lines = cast(list[str], self._client.lrange(self._key, 0, -1))
        times = [float(line.split()[1]) for line in lines]
        return sorted(moment for moment in times if moment >= begun)

    def gap(self, begun: float) -> float:
        """The longest time without one."""
        return max(later - earlier for earlier, later in pairwise(self.since(begun)))

    def watch(self, begun: float, count: int) -> list[float]:
        """Wait for some after a moment; all of them."""
        wait_for(lambda: len(self.since(begun)) >= count, timeout=count + 30, what=f"{count} ticks")
        return self.since(begun)


def doubled(times: list[float]) -> int:
    """How many more ticks there were than seconds, one aside that a wait may move over the border."""
    return max(0, len(times) - 2 - int(times[-1] - times[0]))


class Beats:
    """Beat on two hosts."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet

    def states(self) -> dict[str, str]:
        """What beat says it does, on the hosts where it runs."""
        shown = {}
        for name, worker in self.fleet.items():
            command = "systemctl show --property=ActiveState,StatusText %s"
            said = dict(line.split("=", 1) for line in worker.host.run(command, worker.beat).stdout.splitlines())
            if said.get("ActiveState") == "active":
                shown[name] = said["StatusText"]
        return shown

    def sender(self) -> str:
        """Wait until one sends and the other waits; who sends."""
        wait_for(
            lambda: sorted(self.states().values()) == [SENDS, WAITS], timeout=60, what="one that sends, one that waits"
        )
        return next(name for name, state in self.states().items() if state == SENDS)

    def wait_for_only(self, name: str) -> None:
        """Wait until beat runs on one host alone, and sends."""
        wait_for(lambda: self.states() == {name: SENDS}, timeout=20, what=f"{name}'s turn")

    def systemctl(self, name: str, *arguments: str) -> None:
        """Run a verb of systemctl on the beat of a host."""
        worker = self.fleet[name]
        worker.host.check_output(f"systemctl {' '.join(arguments)} %s", worker.beat)


@pytest.fixture
def ticks(broker: Server, app: str) -> Ticks:
    return Ticks(broker, app)


@pytest.fixture
def beats(fleet: Fleet) -> Beats:
    return Beats(fleet)


def test_of_two_one_sends(beats: Beats, ticks: Ticks) -> None:
    beats.sender()
    times = ticks.watch(time.monotonic(), 20)
    print(f"\nboth alive: {len(times)} ticks in {times[-1] - times[0]:.1f} s")
    assert doubled(times) == 0


def test_a_stop_hands_over_at_once(fleet: Fleet, beats: Beats, ticks: Ticks) -> None:
    old = beats.sender()
    begun = time.monotonic()
    ticks.watch(begun, 3)
    beats.systemctl(old, "stop")
    (other,) = set(fleet) - {old}
    beats.wait_for_only(other)
    stopped = time.monotonic()
    ticks.watch(stopped, 3)
    print(f"\nTERM: longest time without a tick {ticks.gap(begun):.1f} s")
    assert ticks.gap(begun) < 6  # it looks for the lock each 2 s
    beats.systemctl(old, "start")
    assert beats.sender() == other
    assert doubled(ticks.watch(stopped, 10)) == 0


@pytest.mark.parametrize("what", ["process", "host"])
def test_the_other_takes_over_from_one_that_was_killed(
    what: str, site: Site, fleet: Fleet, variables: Variables, beats: Beats, ticks: Ticks
) -> None:
    """The ticks' own node runs on worker2, so that no tick is lost with a node."""
    if beats.sender() != "worker1":
        beats.systemctl("worker2", "stop")
        beats.wait_for_only("worker1")
        beats.systemctl("worker2", "start")
        assert beats.sender() == "worker1"
    begun = time.monotonic()
    ticks.watch(begun, 5)
    if what == "process":
        beats.systemctl("worker1", "kill", "--signal=KILL")
    else:
        site.docker("kill", "worker1")
    killed = time.monotonic()
    limit = variables["celery_beat_takeover_timeout"]
    wait_for(lambda: ticks.since(killed + 1.5), timeout=limit + 10, what="a tick of whoever took over")
    if what == "host":
        site.docker("start", "worker1")
        wait_for_boot(fleet["worker1"].host)
    beats.sender()
    times = ticks.watch(killed, 10)
    gap = ticks.gap(begun)
    print(f"\nkilled {what}: longest time without a tick {gap:.1f} s, of {limit} s")
    assert gap <= limit + 2  # the tick itself, and its schedule
    assert doubled(ticks.since(begun)) == 0
    assert doubled([moment for moment in times if moment > killed + gap]) == 0


def test_redbeat_may_do_all_that_it_does_and_keeps_to_the_applications_keys(app: str, broker: Server) -> None:
    assert broker.refused() == ""
    keys = broker.cli("--scan").split()
    assert f"{app}:redbeat::lock" in keys
    assert [key for key in keys if not key.startswith(f"{app}:")] == []


def test_no_password_in_any_argument(fleet: Fleet, variables: Variables) -> None:
    for worker in fleet.values():
        arguments = worker.host.check_output("cat /proc/[0-9]*/cmdline | tr '\\0' ' '")
        assert "celeriac_beat.py" in arguments
        assert variables["vault_redis_app_password"] not in arguments


def test_beats_journal_is_json(fleet: Fleet) -> None:
    for name, worker in fleet.items():
        said = worker.host.check_output(
            "journalctl --quiet --output=cat --lines=50 _SYSTEMD_UNIT=%s _TRANSPORT=stdout", worker.beat
        )
        entries = [json.loads(line) for line in said.splitlines() if line]
        assert {entry["node"] for entry in entries} == {f"beat@{name}"}


# -- what beat is given


def test_a_scheduler_that_is_not_installed_is_refused_before_anything_is_switched(site: Site, beats: Beats) -> None:
    before = beats.states()
    run = site.playbook("playbooks/workers.yml", celery_beat_scheduler="nothing.such.Scheduler")
    assert run.returncode != 0
    assert "isn't used, the running one is untouched: beat's scheduler is nothing.such.Scheduler" in run.output
    assert beats.states() == before


def test_a_beat_that_dies_fails_the_play_with_its_last_lines(site: Site, beats: Beats) -> None:
    run = site.playbook(
        "playbooks/workers.yml", "--tags=celery", celery_beat_scheduler="ticker.tick", celery_log_to="files"
    )
    assert run.returncode != 0
    assert "TypeError" in run.output
    site.playbook("playbooks/workers.yml", "--tags=celery").succeeded()
    beats.sender()


# -- one, with its schedule in a file


@pytest.fixture
def on(site: Site) -> Iterator[Callable[[str], None]]:
    """Have one beat with a file, on a host of the name; afterwards the inventory's own again."""

    def move(name: str) -> None:
        variables = {
            "celery_beat_scheduler": FILE_SCHEDULER,
            "celery_beat_enabled": f"{{{{ inventory_hostname == '{name}' }}}}",
        }
        site.playbook("playbooks/workers.yml", "--tags=celery", **variables).succeeded()

    yield move
    site.playbook("playbooks/workers.yml", "--tags=celery").succeeded()


def test_a_move_stops_the_old_one_first(fleet: Fleet, on: Callable[[str], None], beats: Beats, ticks: Ticks) -> None:
    on("worker1")
    assert set(beats.states()) == {"worker1"}
    begun = time.monotonic()
    ticks.watch(begun, 3)
    on("worker2")
    assert set(beats.states()) == {"worker2"}
    assert not fleet["worker1"].host.service(fleet["worker1"].beat).exists
    assert doubled(ticks.watch(time.monotonic(), 5)) == 0
    print(f"\nmoved: longest time without a tick {ticks.gap(begun):.1f} s")
    assert doubled(ticks.since(begun)) == 0
