"""Beat on two hosts with redbeat: one sends and the other stands by."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from datetime import datetime

import pytest

from tests.support.fleet import Fleet
from tests.support.live import Variables
from tests.support.servers import Server
from tests.support.site import Site
from tests.support.waiting import wait_for, wait_for_boot

testinfra_hosts = ["ansible://redis"]
pytestmark = [pytest.mark.destructive, pytest.mark.usefixtures("host")]

SENDS, WAITS = "Sends what is due", "Waiting for the lock or the broker"


class Beats:
    """Beat on two hosts, which sends a tick a second."""

    def __init__(self, fleet: Fleet, broker: Server, app: str) -> None:
        self.fleet, self._broker, self._app = fleet, broker, app

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
        wait_for(lambda: sorted(self.states().values()) == [SENDS, WAITS], what="one that sends, one that waits")
        return next(name for name, state in self.states().items() if state == SENDS)

    def other(self, name: str) -> str:
        """The other host."""
        (other,) = set(self.fleet) - {name}
        return other

    def sent(self, name: str) -> list[float]:
        """When the beat of a host sent a tick, by its log: seconds since the epoch, on a clock that both share."""
        log = f"/var/log/{self._app}/beat.log"
        lines = self.fleet[name].host.run(f"grep 'Sending due task' {log}").stdout.splitlines()
        return [datetime.fromisoformat(json.loads(line)["time"]).timestamp() for line in lines]

    def wait_for_ticks(self, name: str, count: int) -> list[float]:
        """Wait until the beat of a host has sent some more; those."""
        before = len(self.sent(name))
        wait_for(lambda: len(self.sent(name)) >= before + count, what=f"{count} ticks of {name}")
        return self.sent(name)[before:]

    def lock(self) -> tuple[str, float]:
        """Who holds the lock, as Redis knows it, and the seconds after which it is anybody's, below 0 if it is."""
        client, key = self._broker.connect(), f"{self._app}:redbeat::lock"
        left = int(str(client.pttl(key)))
        return str(client.get(key)), math.inf if left == -1 else left / 1000

    def systemctl(self, name: str, *arguments: str) -> None:
        """Run a verb of systemctl on the beat of a host."""
        worker = self.fleet[name]
        worker.host.check_output(f"systemctl {' '.join(arguments)} %s", worker.beat)


def doubled(times: list[float]) -> int:
    """How many more ticks were sent than seconds went by, one aside that a wait may move over the border."""
    return max(0, len(times) - 2 - int(times[-1] - times[0]))


@pytest.fixture
def beats(fleet: Fleet, broker: Server, app: str) -> Beats:
    return Beats(fleet, broker, app)


def test_of_two_one_sends(beats: Beats, broker: Server, app: str) -> None:
    sends = beats.sender()
    waits = beats.other(sends)
    before, ran = beats.sent(waits), broker.connect().llen(f"{app}:ticked")
    assert doubled(beats.wait_for_ticks(sends, 6)) == 0
    assert beats.sent(waits) == before
    wait_for(lambda: broker.connect().llen(f"{app}:ticked") > ran, what="a tick that was run")


def test_a_stop_hands_over_at_once(beats: Beats) -> None:
    """It gives the lock back; the other needn't wait until nobody has renewed it for a while."""
    old = beats.sender()
    other = beats.other(old)
    holder, _ = beats.lock()
    before = len(beats.sent(other))
    beats.systemctl(old, "stop")
    assert beats.lock()[0] != holder
    beats.wait_for_ticks(other, 3)
    assert beats.states() == {other: SENDS}
    last, first = beats.sent(old)[-1], beats.sent(other)[before]
    print(f"\nTERM: {first - last:.1f} s without a tick")
    assert last < first
    assert doubled([*beats.sent(old)[-3:], *beats.sent(other)[before:]]) == 0
    beats.systemctl(old, "start")
    assert beats.sender() == other


@pytest.mark.parametrize("what", ["process", "host"])
def test_the_other_takes_over_from_one_that_was_killed(
    what: str, site: Site, fleet: Fleet, variables: Variables, beats: Beats
) -> None:
    """Of a process that was killed, the next may be the other: systemd starts one in its place."""
    if beats.sender() != "worker1":
        beats.systemctl("worker2", "stop")
        wait_for(lambda: beats.states() == {"worker1": SENDS}, what="worker1's turn")
        beats.systemctl("worker2", "start")
        assert beats.sender() == "worker1"
    beats.wait_for_ticks("worker1", 1)
    begun = time.time()
    if what == "process":
        beats.systemctl("worker1", "kill", "--signal=KILL")
    else:
        site.docker("kill", "worker1")
    killed = time.time()
    limit = variables["celery_beat_takeover_timeout"]
    _, left = beats.lock()
    assert left < limit

    def next_ones() -> list[float]:
        times = [moment for name in fleet for moment in beats.sent(name)]
        return sorted(moment for moment in times if moment > killed)

    first = wait_for(next_ones, what="a tick of whoever took over")[0]
    print(f"\nkilled {what}: {first - begun:.1f} s without a tick, of {limit} s")
    if what == "host":
        site.docker("start", "worker1")
        wait_for_boot(fleet["worker1"].host)
    beats.wait_for_ticks(beats.sender(), 5)
    assert doubled(next_ones()) == 0


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


# -- what beat is given


def test_a_scheduler_that_is_not_installed_is_refused_before_anything_is_switched(site: Site, beats: Beats) -> None:
    before = beats.states()
    run = site.playbook("playbooks/workers.yml", "--limit=worker1", celery_beat_scheduler="nothing.such.Scheduler")
    assert run.returncode != 0
    assert "isn't used, the running one is untouched: beat's scheduler is nothing.such.Scheduler" in run.output
    assert beats.states() == before


@pytest.fixture
def again(fleet: Fleet) -> Iterator[None]:
    """Afterwards worker1 has the inventory's beat."""
    yield
    fleet["worker1"].converge().succeeded()


def test_a_beat_that_dies_fails_the_play_with_its_last_lines(fleet: Fleet, again: None) -> None:
    run = fleet["worker1"].converge(celery_beat_scheduler="ticker.tick")
    assert run.returncode != 0
    assert "TypeError" in run.output
