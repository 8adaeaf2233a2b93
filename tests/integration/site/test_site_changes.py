"""A whole environment, of which a part moves or is away for a while."""

from __future__ import annotations

import json

import pytest
from testinfra.host import Host

from tests.support.chatlite import Chatlite
from tests.support.fleet import Fleet, Worker
from tests.support.site import Site
from tests.support.waiting import wait_for_boot

# one host asks for the whole environment
testinfra_hosts = ["ansible://beat"]
pytestmark = pytest.mark.destructive


def test_beat_moves_to_another_host_and_never_runs_twice(host: Host, site: Site, worker: Worker) -> None:
    other_name = next(name for name in site.group("workers") if name != worker.name)
    other, unit = site.host(other_name), worker.beat

    def moment(each: Host, timestamp: str) -> int:
        """Microseconds of the kernel's clock, which containers share; 0 if it never was."""
        return int(each.check_output("systemctl show --value --property=%sTimestampMonotonic %s", timestamp, unit))

    nodes = ["playbooks/workers.yml", "--tags=celery"]
    site.playbook(*nodes, celery_beat_enabled=f"{{{{ inventory_hostname == '{other_name}' }}}}").succeeded()
    assert other.service(unit).is_running
    assert not host.service(unit).exists
    stopped = host.check_output("journalctl --quiet --unit=%s --output=json --lines=1 --grep='^Stopped'", unit)
    assert int(json.loads(stopped)["__MONOTONIC_TIMESTAMP"]) < moment(other, "InactiveExit")
    site.playbook(*nodes).succeeded()
    assert host.service(unit).is_running
    assert not other.service(unit).exists


def test_everything_is_back_after_a_restart_of_the_broker_host(site: Site, fleet: Fleet, chatlite: Chatlite) -> None:
    broker = site.group("redis")[0]
    site.docker("restart", broker, "-t", "60")
    wait_for_boot(site.host(broker))
    chatlite.wait_for_nodes(len(fleet.nodes))
    assert chatlite.smoke()["ok"]
