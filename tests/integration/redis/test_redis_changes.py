"""What a further run changes on Redis hosts, what it leaves alone, and that it shows no secret.

A run of the playbook on all hosts takes longer than all that can be read off it. So a run has several changes, each
with tests of its own, and it starts where the one before it ended: the order of this file counts.
"""

from __future__ import annotations

import json
import os
import ssl
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import redis

from tests.support.files import carry
from tests.support.leaks import PLACES, with_urls
from tests.support.live import Variables, tls_of
from tests.support.redis_certificates import self_signed
from tests.support.servers import ONCE, Server, renewal
from tests.support.site import Run, Site
from tests.support.waiting import PATIENCE

pytestmark = pytest.mark.destructive

PLAYBOOK = "playbooks/redis.yml"
PASSWORD = "a password of a new user"
Servers = dict[str, Server]  # by host


class Converge:
    """Runs of the playbook, by turns with other variables than the inventory's."""

    def __init__(self, site: Site) -> None:
        self._site, self.differs = site, False

    def __call__(self, *arguments: str, **variables: Any) -> Run:
        self.differs = bool(variables)
        return self._site.playbook(PLAYBOOK, *arguments, **variables).succeeded()


@pytest.fixture(scope="module")
def converge(site: Site) -> Iterator[Converge]:
    """Afterwards the hosts are as the inventory says."""
    found = Converge(site)
    yield found
    if found.differs:
        found()


@pytest.fixture(scope="module")
def variables(site: Site) -> Variables:
    """The variables that all hosts have."""
    return site[site.group("redis")[0]]


@pytest.fixture(scope="module")
def brokers(site: Site) -> Servers:
    """The broker of each host, which speaks no TLS."""
    return site.servers("broker")


@pytest.fixture(scope="module")
def encrypted(site: Site, variables: Variables) -> Servers:
    """An instance of each host that speaks TLS."""
    return site.servers(next(each["name"] for each in variables["redis_instances"] if tls_of(each, variables)))


def pids(servers: Servers) -> dict[str, str]:
    """Host -> the main process of its server."""
    return {host: server.pid() for host, server in servers.items()}


def certificates(servers: Servers) -> dict[str, bytes]:
    """Host -> the certificate that its server shows to a client that trusts the role's own authority."""
    return {
        host: server.handshake(ssl.create_default_context(cafile=str(server.ca))) for host, server in servers.items()
    }


def each_its_own(values: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Variables that differ from host to host: variable -> host -> value."""
    return {"its_own": values, **{name: f"{{{{ its_own.{name}[inventory_hostname] }}}}" for name in values}}


# -- runs that refuse

BROKER = {"name": "broker", "port": 6379, "profile": "broker", "maxmemory": "64mb"}
WRONG = [
    ("redis_instances", [{**BROKER, "maxmemory": "95%"}], "maxmemory"),
    ("redis_instances", [{**BROKER, "config": {"maxmemory-policy": "allkeys-lru"}}], "maxmemory-policy"),
    ("redis_users", [{"name": "a", "rules": ["+nonsense"], "password": PASSWORD}], "nonsense"),
]


def test_what_can_not_be_right_is_refused_and_nothing_is_touched(
    brokers: Servers, variables: Variables, site: Site
) -> None:
    """A wrong value on each host, another one each."""
    before = pids(brokers)
    wrong = dict(zip(brokers, WRONG, strict=True))
    values = {
        name: {host: value if name == which else variables[name] for host, (which, value, _) in wrong.items()}
        for name in ("redis_instances", "redis_users")
    }
    run = site.playbook(PLAYBOOK, **each_its_own(values))
    assert run.returncode != 0
    for host, (name, _, said) in wrong.items():
        failure = run.text.partition(f"fatal: [{host}]: ")[2].partition("fatal: [")[0]
        assert name in failure
        assert said in failure
    assert PASSWORD not in run.output
    assert set(run.changed.values()) == {0}
    assert pids(brokers) == before


def test_the_other_flavor_does_not_start_empty_beside_the_data(brokers: Servers, site: Site) -> None:
    """A switch would leave the queues behind."""
    before = pids(brokers)
    others = {host: "redis" if broker.flavor == "valkey" else "valkey" for host, broker in brokers.items()}
    run = site.playbook(PLAYBOOK, **each_its_own({"redis_flavor": others}))
    assert run.returncode != 0
    assert all(f"redis_flavor of {host} is {other}" in run.output for host, other in others.items()), run.output
    assert set(run.changed.values()) == {0}
    assert pids(brokers) == before


# -- a run that restarts nothing

PASSING = {"name": "passing", "port": 6399, "profile": "results", "maxmemory": "32mb"}


@dataclass
class Changed:
    """What runs and who is connected before a run in which users come and go, certificates are renewed, and an
    instance joins.

    :ivar workers: connections that wait for a message as a worker's does
    :ivar leaving: connections of a user who isn't there after it
    :ivar encrypted: connections over TLS, with their ids
    """

    variables: dict[str, Any]
    pids: dict[str, str]
    pids_of_encrypted: dict[str, str]
    certificates: dict[str, bytes]
    workers: dict[str, Any]
    leaving: dict[str, redis.Redis]
    encrypted: dict[str, tuple[redis.Redis, int]]


def waiting(broker: Server) -> Any:
    """A connection that waits for a message as a worker's does."""
    connection: Any = broker.connect("shop", socket_timeout=PATIENCE).connection_pool.get_connection()
    connection.send_command("BRPOP", "shop:queue", 0)
    return connection


def foreign(broker: Server) -> tuple[str, str]:
    """Unit and configuration of an instance that nobody here made, and nobody here may stop."""
    return f"{broker.flavor}-server@theirs.service", f"/etc/{broker.flavor}/{broker.flavor}-theirs.conf"


@pytest.fixture(scope="module")
def changed(brokers: Servers, encrypted: Servers, variables: Variables, converge: Converge) -> Changed:
    """The run, and what was before it."""
    kept = [dict(user) for user in variables["redis_users"] if user["name"] != "replica"]
    next(user for user in kept if user["name"] == "plain")["password"] += "-changed"
    reader = {"name": "reader", "instances": ["broker"], "rules": ["~*", "+get", "+ping"], "password": PASSWORD}
    for broker in brokers.values():
        unit, configuration = foreign(broker)
        broker.host.check_output("printf 'port 6398\\nsave \"\"\\n' > %s", configuration)
        broker.host.check_output("chown %s: %s && systemctl start %s", broker.flavor, configuration, unit)
    clients = {host: server.connect() for host, server in encrypted.items()}
    before = Changed(
        {
            "redis_users": [*kept, reader],
            "redis_instances": [*variables["redis_instances"], PASSING],
            **renewal(brokers.values()),
        },
        pids(brokers),
        pids(encrypted),
        certificates(encrypted),
        {host: waiting(broker) for host, broker in brokers.items()},
        {host: broker.connect("replica", retry=ONCE) for host, broker in brokers.items()},
        {host: (client, client.client_id()) for host, client in clients.items()},
    )
    assert all(client.ping() for client in before.leaving.values())
    converge("--diff", **before.variables)
    return before


def test_users_change_without_a_restart_and_without_losing_a_client(changed: Changed, brokers: Servers) -> None:
    for host, broker in brokers.items():
        assert broker.connect(user=None, username="reader", password=PASSWORD).get("nothing") is None
        with pytest.raises(redis.AuthenticationError):
            broker.connect("plain", retry=ONCE).ping()
        with pytest.raises(redis.ConnectionError):
            changed.leaving[host].ping()
        broker.cli("LPUSH", "shop:queue", "message")
        assert changed.workers[host].read_response() == ["shop:queue", "message"]
    assert pids(brokers) == changed.pids


def test_renewal_disconnects_nobody(changed: Changed, encrypted: Servers) -> None:
    shown = certificates(encrypted)
    assert all(shown[host] != old for host, old in changed.certificates.items())
    assert all(client.client_id() == before for client, before in changed.encrypted.values())
    assert pids(encrypted) == changed.pids_of_encrypted


def test_what_was_changed_is_not_changed_again(changed: Changed, converge: Converge) -> None:
    assert set(converge(**changed.variables).changed.values()) == {0}


def test_a_certificate_that_does_not_load_leaves_the_old_one(changed: Changed, encrypted: Servers, site: Site) -> None:
    old = certificates(encrypted)
    for server in encrypted.values():
        file = f"/etc/{server.flavor}/tls/redis.crt"
        server.host.check_output("cp -p %s /root/redis.crt && echo broken > %s", file, file)
    try:
        run = site.playbook(PLAYBOOK, "--tags=redis_service", **changed.variables)
        assert run.returncode != 0
        assert run.text.count("keeps the users and certificates that it has") >= len(encrypted)
        assert certificates(encrypted) == old
    finally:
        for server in encrypted.values():
            server.host.check_output(
                "cat /root/redis.crt > %s && rm /root/redis.crt", f"/etc/{server.flavor}/tls/redis.crt"
            )


# -- a run after one that was interrupted, with the inventory's own variables again


@pytest.fixture(scope="module")
def back(changed: Changed, brokers: Servers, site: Site, converge: Converge) -> Run:
    """The run. Before it, a user of the caches is on the disk and not loaded, and there is data in what is to leave."""
    for broker in brokers.values():
        assert broker.host.service(f"{broker.flavor}-server@passing.service").is_running
        assert Server(broker.host, broker.variables, PASSING).cli("SET", "kept", "here") == "OK"
    for cache in site.servers("cache").values():
        assert cache.cli("ACL", "DELUSER", "monitor") == "1"
        cache.host.check_output("touch %s", f"/etc/{cache.flavor}/users-cache.acl")
    return converge()


def test_a_change_of_users_that_was_interrupted_is_made_up_for(back: Run, site: Site) -> None:
    assert all("monitor" in cache.cli("ACL", "USERS").splitlines() for cache in site.servers("cache").values())


def test_an_instance_that_left_the_list_is_stopped_and_its_data_kept(
    back: Run, changed: Changed, brokers: Servers
) -> None:
    for broker in brokers.values():
        unit, data = f"{broker.flavor}-server@passing.service", f"/var/lib/{broker.flavor}/passing"
        assert f"{unit} is stopped and disabled. Its data stays in {data}." in back.text
        assert not broker.host.service(unit).is_running
        assert not broker.host.service(unit).is_enabled
        assert not broker.host.file(f"/etc/{broker.flavor}/{broker.flavor}-passing.conf").exists
        assert broker.host.check_output("grep -rl kept %s", data)
        theirs, configuration = foreign(broker)
        assert broker.host.service(theirs).is_running
        broker.host.check_output("systemctl stop %s && rm -r %s %s", theirs, configuration, data)
    assert pids(brokers) == changed.pids


# -- a run with a new package, and with certificates of another authority


@dataclass
class Updated:
    """A run, and what was before it.

    :ivar since: when the package had come, as journalctl takes it
    :ivar how: how each host is given its certificate: its content, or its path on the host
    """

    certificate: str
    key: str
    how: dict[str, str]
    pids: dict[str, str]
    run: Run = field(init=False)
    since: dict[str, str] = field(default_factory=dict)


@pytest.fixture(scope="module")
def updated(back: Run, brokers: Servers, converge: Converge) -> Iterator[Updated]:
    ways = ["content", "path"] * len(brokers)
    certificate, key = self_signed("given", [broker.address for broker in brokers.values()])
    found = Updated(certificate, key, dict(zip(brokers, ways, strict=False)), pids(brokers))
    given = {"ca_certificate": certificate, "certificate": certificate, "private_key": key}
    paths = {part: f"/etc/ssl/given-{part}.pem" for part in given}
    for host, broker in brokers.items():
        assert broker.cli("SET", "celeriac:test", "kept") == "OK"
        found.since[host] = reinstalled(broker)
        carry(
            broker.variables["ansible_host"], {paths[part]: text.encode() for part, text in given.items()}, mode=0o640
        )
        broker.host.check_output("chgrp %s /etc/ssl/given-*.pem", broker.flavor)
    assert pids(brokers) == found.pids  # Debian restarts its packaged instance only
    found.run = converge(
        **each_its_own(
            {
                f"redis_tls_{part}": {
                    host: text if way == "content" else paths[part] for host, way in found.how.items()
                }
                for part, text in given.items()
            }
        )
    )
    yield found
    for broker in brokers.values():
        broker.host.check_output("rm -f /etc/ssl/given-*.pem")


def reinstalled(broker: Server) -> str:
    """Install the package again, and say when that was done."""
    broker.host.check_output(
        "apt-get install -qy --reinstall %s %s", f"{broker.flavor}-server", f"{broker.flavor}-tools"
    )
    assert broker.host.service(f"{broker.flavor}-server").is_masked
    return str(broker.host.check_output("date '+%F %T.%N'"))


def test_a_new_package_restarts_once_and_keeps_the_data(updated: Updated, brokers: Servers) -> None:
    for host, broker in brokers.items():
        journal = "journalctl --quiet --output=cat --unit=%s --since=%s"
        assert broker.host.check_output(journal, broker.unit, updated.since[host]).count("Started ") == 1
        assert broker.cli("GETDEL", "celeriac:test") == "kept"
    assert not set(pids(brokers).values()) & set(updated.pids.values())


@pytest.mark.parametrize("how", ["content", "path"])
def test_certificates_can_be_given(updated: Updated, encrypted: Servers, how: str) -> None:
    """Those of another authority, for the address of each host."""
    given, context = updated.certificate, ssl.create_default_context(cadata=updated.certificate)
    shown = {host: encrypted[host].handshake(context) for host, each in updated.how.items() if each == how}
    assert shown
    assert set(shown.values()) == {ssl.PEM_cert_to_DER_cert(given)}
    assert updated.key not in updated.run.output


# -- a run that makes every secret anew, and says all that it can


@dataclass
class Renewed:
    """The run, and one with the inventory's own variables after it.

    :ivar changed: variables with new passwords
    """

    changed: dict[str, str]
    run: Run


@pytest.fixture(scope="module")
def renewed(updated: Updated, brokers: Servers, converge: Converge) -> Renewed:
    for broker in brokers.values():
        assert broker.cli("SET", "celeriac:test", "kept") == "OK"
        broker.host.check_output("rm %s", f"/etc/{broker.flavor}/celeriac.env")
    changed = {"vault_redis_app_password": 'changed, with "quotes" and #%@ in it'}
    run = converge("--diff", "-vvv", redis_maxclients=4321, **renewal(brokers.values()), **changed)
    converge()
    return Renewed(changed, run)


def test_a_lost_maintenance_password_is_made_anew(renewed: Renewed, brokers: Servers) -> None:
    for broker in brokers.values():
        socket = f"/run/{broker.flavor}-broker/{broker.flavor}-server.sock"
        login = f"set -a; . /etc/{broker.flavor}/celeriac.env; {broker.flavor}-cli -s {socket} --user celeriac"
        assert broker.host.run(f"{login} --no-auth-warning PING").stdout.strip() == "PONG"
        assert broker.cli("GETDEL", "celeriac:test") == "kept"


def test_certificates_are_the_authoritys_again_when_none_are_given(renewed: Renewed, encrypted: Servers) -> None:
    assert len(set(certificates(encrypted).values())) == len(encrypted)


def test_what_was_restarted_is_not_restarted_again(renewed: Renewed, converge: Converge) -> None:
    """Be it for a new package, a new maintenance password or other certificates."""
    assert set(converge().changed.values()) == {0}


@pytest.fixture
def secrets(renewed: Renewed, variables: Variables, brokers: Servers) -> dict[str, str]:
    """Passwords, the authority's passphrase, and what each host has of its own."""
    found = {f"password of {user['name']}": str(user["password"]) for user in variables["redis_users"]}
    found |= {"passphrase": variables["redis_tls_ca_passphrase"], **renewed.changed}
    for host, broker in brokers.items():
        directory = f"/etc/{broker.flavor}"
        own = broker.host.check_output(
            f"sed -n 's/^REDISCLI_AUTH=//p' {directory}/celeriac.env; sed -n 2p {directory}/tls/redis.key"
        ).split()
        assert [len(line) for line in own] == [64, 64]
        found |= {f"maintenance password of {host}": own[0], f"TLS key of {host}": own[1]}
    return with_urls(found)


def test_no_secret_is_seen_in_a_run_or_after_it(
    renewed: Renewed, secrets: dict[str, str], brokers: Servers, site: Site
) -> None:
    run = renewed.run
    assert all(count >= 3 for count in run.changed.values()), run.changed
    assert "+maxclients 4321\n" in run.output
    assert "+secret\n" in run.output
    said = run.output.replace(json.dumps(renewed.changed)[1:-1], "")  # the command line that the test itself gave
    assert [name for name, secret in secrets.items() if secret in said or json.dumps(secret)[1:-1] in said] == []
    seen = {
        (host, place): found
        for host, broker in brokers.items()
        for place, search in PLACES.items()
        if (found := search(broker.host, secrets))
    }
    assert seen == {}
    facts = subprocess.run(
        ["ansible", "redis", "-i", site.path, "-m", "ansible.builtin.setup"],
        env={**os.environ, "ANSIBLE_NOCOLOR": "1"},
        text=True,
        capture_output=True,
        check=True,
    ).stdout
    assert [name for name, secret in secrets.items() if secret in facts] == []
