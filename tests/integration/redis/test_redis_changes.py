"""What a further run changes on Redis hosts, and what it leaves alone. Each run is one for all hosts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import redis

from tests.support.live import Variables
from tests.support.servers import Server
from tests.support.site import Run, Site

pytestmark = pytest.mark.destructive

PASSWORD = "a password of a new user"


@pytest.fixture
def brokers(site: Site) -> dict[str, Server]:
    """Host -> its broker."""
    return site.servers("broker")


@pytest.fixture
def variables(site: Site) -> Variables:
    """The variables that all hosts have."""
    return site[site.group("redis")[0]]


class Converge:
    """Runs of playbooks/redis.yml, by turns with other variables than the inventory's."""

    def __init__(self, site: Site) -> None:
        self._site, self.differs = site, False

    def __call__(self, *arguments: str, **variables: Any) -> Run:
        self.differs = bool(variables)
        return self._site.playbook("playbooks/redis.yml", *arguments, **variables).succeeded()


@pytest.fixture
def converge(site: Site) -> Iterator[Converge]:
    """Afterwards the hosts are as the inventory says."""
    found = Converge(site)
    yield found
    if found.differs:
        found()


def pids(brokers: dict[str, Server]) -> dict[str, str]:
    """Host -> the main process of its broker."""
    return {host: broker.pid() for host, broker in brokers.items()}


def waiting(broker: Server) -> Any:
    """A connection that waits for a message as a worker's does."""
    connection: Any = broker.connect("shop", socket_timeout=60).connection_pool.get_connection()
    connection.send_command("BRPOP", "shop:queue", 0)
    return connection


def test_users_change_without_a_restart_and_without_losing_a_client(
    brokers: dict[str, Server], variables: Variables, converge: Converge
) -> None:
    before = pids(brokers)
    workers = {host: waiting(broker) for host, broker in brokers.items()}
    leaving = {host: broker.connect("replica") for host, broker in brokers.items()}
    assert all(client.ping() for client in leaving.values())
    kept = [dict(user) for user in variables["redis_users"] if user["name"] != "replica"]
    next(user for user in kept if user["name"] == "monitor")["password"] += "-changed"
    users = [*kept, {"name": "reader", "rules": ["~*", "+get", "+ping"], "password": PASSWORD}]
    converge(redis_users=users)
    for host, broker in brokers.items():
        assert broker.connect(user=None, username="reader", password=PASSWORD).get("nothing") is None
        with pytest.raises(redis.AuthenticationError):
            broker.connect("monitor").ping()
        with pytest.raises(redis.ConnectionError):
            leaving[host].ping()
        broker.cli("LPUSH", "shop:queue", "message")
        assert workers[host].read_response() == ["shop:queue", "message"]
    assert pids(brokers) == before
    assert set(converge(redis_users=users).changed.values()) == {0}


def test_a_change_of_users_that_was_interrupted_is_made_up_for(brokers: dict[str, Server], converge: Converge) -> None:
    before = pids(brokers)
    for broker in brokers.values():  # written, and not loaded
        broker.host.check_output("sed -i '/^user monitor /d' %s", f"/etc/{broker.flavor}/users-broker.acl")
        assert "monitor" in broker.cli("ACL", "USERS").splitlines()
    converge("--tags=redis_service")
    assert not any("monitor" in broker.cli("ACL", "USERS").splitlines() for broker in brokers.values())
    converge()
    assert all("monitor" in broker.cli("ACL", "USERS").splitlines() for broker in brokers.values())
    assert pids(brokers) == before


def test_an_instance_that_left_the_list_is_stopped_and_its_data_kept(
    brokers: dict[str, Server], variables: Variables, converge: Converge
) -> None:
    before = pids(brokers)
    passing = {"name": "passing", "port": 6399, "profile": "results", "maxmemory": "32mb"}
    for broker in brokers.values():  # which nobody here made, and nobody here may stop
        theirs = f"/etc/{broker.flavor}/{broker.flavor}-theirs.conf"
        text = 'port 6398\\nsave ""\\n'
        broker.host.check_output(f"printf '{text}' > {theirs} && chown {broker.flavor}: {theirs}")
        broker.host.check_output("systemctl start %s", f"{broker.flavor}-server@theirs")
    converge(redis_instances=[*variables["redis_instances"], passing])
    units = {host: f"{broker.flavor}-server@passing.service" for host, broker in brokers.items()}
    assert all(brokers[host].host.service(unit).is_running for host, unit in units.items())
    for broker in brokers.values():
        assert Server(broker.host, broker.variables, passing).cli("SET", "kept", "here") == "OK"
    said = " ".join(converge().output.split())
    for host, broker in brokers.items():
        data = f"/var/lib/{broker.flavor}/passing"
        assert f"{units[host]} is stopped and disabled. Its data stays in {data}." in said
        assert not broker.host.service(units[host]).is_running
        assert not broker.host.service(units[host]).is_enabled
        assert not broker.host.file(f"/etc/{broker.flavor}/{broker.flavor}-passing.conf").exists
        assert broker.host.check_output("grep -rl kept %s", data)
        assert broker.host.service(f"{broker.flavor}-server@theirs").is_running
        broker.host.check_output("systemctl stop %s", f"{broker.flavor}-server@theirs")
        broker.host.check_output("rm -r %s %s", data, f"/etc/{broker.flavor}/{broker.flavor}-theirs.conf")
    assert pids(brokers) == before


def test_a_new_package_restarts_once_and_keeps_the_data(brokers: dict[str, Server], converge: Converge) -> None:
    before = pids(brokers)
    since = {}
    for host, broker in brokers.items():
        assert broker.cli("SET", "celeriac:test", "kept") == "OK"
        names = (f"{broker.flavor}-server", f"{broker.flavor}-tools")
        broker.host.check_output("apt-get update -q && apt-get install -qy --reinstall %s %s", *names)
        assert broker.host.service(f"{broker.flavor}-server").is_masked
        since[host] = broker.host.check_output("date '+%F %T.%N'")
    assert pids(brokers) == before  # Debian restarts its packaged instance only
    converge()
    for host, broker in brokers.items():
        journal = "journalctl --quiet --output=cat --unit=%s --since=%s"
        assert broker.host.check_output(journal, broker.unit, since[host]).count("Started ") == 1
        assert broker.cli("GETDEL", "celeriac:test") == "kept"
    assert not set(pids(brokers).values()) & set(before.values())
    assert set(converge().changed.values()) == {0}


def test_a_lost_maintenance_password_is_made_anew(brokers: dict[str, Server], converge: Converge) -> None:
    for broker in brokers.values():
        assert broker.cli("SET", "celeriac:test", "kept") == "OK"
        broker.host.check_output("rm %s", f"/etc/{broker.flavor}/celeriac.env")
    converge()
    for broker in brokers.values():
        socket = f"/run/{broker.flavor}-broker/{broker.flavor}-server.sock"
        login = f"set -a; . /etc/{broker.flavor}/celeriac.env; {broker.flavor}-cli -s {socket} --user celeriac"
        assert broker.host.run(f"{login} --no-auth-warning PING").stdout.strip() == "PONG"
        assert broker.cli("GETDEL", "celeriac:test") == "kept"
    assert set(converge().changed.values()) == {0}


BROKER = {"name": "broker", "port": 6379, "profile": "broker", "maxmemory": "64mb"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"redis_instances": [{**BROKER, "maxmemory": "95%"}]}, "maxmemory"),
        ({"redis_instances": [{**BROKER, "config": {"maxmemory-policy": "allkeys-lru"}}]}, "maxmemory-policy"),
        ({"redis_users": [{"name": "a", "rules": ["+nonsense"], "password": PASSWORD}]}, "nonsense"),
    ],
)
def test_what_can_not_be_right_is_refused_and_nothing_is_touched(
    brokers: dict[str, Server], site: Site, change: dict[str, Any], said: str
) -> None:
    before = pids(brokers)
    run = site.playbook("playbooks/redis.yml", **change)
    assert run.returncode != 0
    assert said in run.output
    assert PASSWORD not in run.output
    assert set(run.changed.values()) == {0}
    assert pids(brokers) == before


def test_the_other_flavor_does_not_start_empty_beside_the_data(brokers: dict[str, Server], site: Site) -> None:
    """A switch would leave the queues behind."""
    before = pids(brokers)
    for flavor in ("redis", "valkey"):
        others = [host for host, broker in brokers.items() if broker.flavor != flavor]
        run = site.playbook("playbooks/redis.yml", f"--limit={','.join(others)}", redis_flavor=flavor)
        assert run.returncode != 0
        assert all(f"redis_flavor of {host} is {flavor}" in run.output for host in others), run.output
        assert set(run.changed.values()) == {0}
    assert pids(brokers) == before
