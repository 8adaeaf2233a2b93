"""Two applications on one machine: they share Redis, and nothing in it."""

from __future__ import annotations

from typing import Any

import pytest
import redis
from testinfra.host import Host

from tests.support.servers import Server
from tests.support.site import Site
from tests.support.systemd import show
from tests.support.waiting import wait_for

testinfra_hosts = ["ansible://workers"]

# What reads or changes a key, and what tells which keys or whose commands there are.
OF_A_KEY = ["GET", "TYPE", "DUMP", "TTL", "LLEN", "DEL", "HGETALL", "SMEMBERS"]
OF_ALL = [["KEYS", "*"], ["SCAN", "0"], ["RANDOMKEY"], ["MONITOR"]]
NOTES = {"ledger": "ledger:ticks", "ticker": "ticker:ticked"}  # what each application writes down


@pytest.fixture
def other(app: str, site: Site) -> str:
    """The application that this host doesn't run."""
    (other,) = {str(site[name]["app_name"]) for name in site.group("workers")} - {app}
    return other


def test_each_has_units_of_its_own(host: Host, app: str) -> None:
    """On the same machine: both are seen from each of its names."""
    running = host.check_output(
        "systemctl list-units --state=running --plain --no-legend '*-worker@*' '*-beat.service'"
    )
    assert {line.split()[0] for line in running.splitlines()} == {
        unit for name in ("ledger", "ticker") for unit in (f"{name}-worker@worker.service", f"{name}-beat.service")
    }
    assert show(host, f"{app}-worker@worker.service", "User") == app


def test_beat_and_nodes_work_side_by_side(broker: Server, app: str) -> None:
    """Each beat sends a tick a second, which a node of its application runs and notes down."""
    client = broker.connect()
    before = client.llen(NOTES[app])
    wait_for(lambda: client.llen(NOTES[app]) >= before + 3, what="more ticks")


def test_neither_reads_the_others_files(host: Host, app: str, other: str) -> None:
    places = f"/etc/{other} /opt/{other} /run/{other}-worker /usr/local/lib/{other}* /var/*/{other} /var/lib/*/{other}"
    files = host.run(f"find {places} -type f | wc -l").stdout
    assert int(files) > 10
    assert host.run(f"runuser --user {app} -- find {places} -type f -readable").stdout == ""


def test_neither_reads_the_others_processes(host: Host, app: str, other: str) -> None:
    environ = f"/proc/{show(host, f'{other}-worker@worker.service', 'MainPID')}/environ"
    assert "CELERY_BROKER_URL" in host.check_output(f"tr '\\0' ' ' < {environ}")
    assert "Permission denied" in host.run(f"runuser --user {app} -- cat {environ}").stderr


def test_neither_reaches_the_others_keys(broker: Server, app: str, other: str) -> None:
    keys = list(broker.connect().scan_iter())
    assert {key.partition(":")[0] for key in keys} == {app, other}
    theirs = next(key for key in keys if key.startswith(f"{other}:"))
    client: Any = broker.connect(app)
    for command in (*([name, theirs] for name in OF_A_KEY), *OF_ALL, ["PUBLISH", f"{other}:x", "y"]):
        with pytest.raises(redis.exceptions.NoPermissionError):
            client.execute_command(*command)
