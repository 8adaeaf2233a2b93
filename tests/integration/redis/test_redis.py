"""A Redis host: what the running server does, then its files."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
import redis
from testinfra.host import Host

testinfra_hosts = ["ansible://redis"]


@pytest.fixture
def instance(variables) -> dict:
    return variables["redis_instances"][0]


def unit(instance: dict) -> str:
    return f"redis-server@{instance['name']}"


def test_runs_on_debians_unit_and_the_packaged_instance_does_not(host: Host, instance: dict) -> None:
    service = host.service(unit(instance))
    assert service.is_running
    assert service.is_enabled
    assert host.service("redis-server").is_masked
    fragment = host.check_output("systemctl show --value --property=FragmentPath %s", unit(instance))
    assert fragment.startswith(("/lib/", "/usr/lib/"))


def test_never_started_on_the_packaged_configuration(host: Host) -> None:
    assert (
        host.check_output("journalctl --quiet --no-pager --unit=redis-server.service | grep -c Started || true") == "0"
    )
    assert not host.file("/var/log/redis/redis-server.log").exists


@pytest.mark.parametrize("command", ["PING", "INFO", "KEYS *", "FLUSHALL", "CONFIG GET *", "ACL LIST"])
def test_refuses_whoever_does_not_log_in(host: Host, instance: dict, command: str) -> None:
    answer = host.run(f"redis-cli -p {instance['port']} {command.replace('*', chr(39) + '*' + chr(39))}")
    assert answer.stdout.strip() == "NOAUTH Authentication required."


@pytest.mark.parametrize("login", [("default", ""), ("default", "guess"), ("admin", "guess"), ("nobody", "guess")])
def test_refuses_a_wrong_login(host: Host, instance: dict, login: tuple[str, str]) -> None:
    user, password = login
    answer = host.run(f"redis-cli -p {instance['port']} AUTH {user} '{password}'")
    assert "WRONGPASS" in answer.stdout


@pytest.mark.parametrize(
    ("directive", "value"),
    [
        ("maxmemory-policy", "noeviction"),
        ("appendonly", "yes"),
        ("appendfsync", "everysec"),
        ("save", "3600 1 300 100 60 10000"),
        ("protected-mode", "yes"),
        ("stop-writes-on-bgsave-error", "yes"),
    ],
)
def test_broker_keeps_what_it_accepted(redis_cli: Callable[..., str], directive: str, value: str) -> None:
    assert redis_cli("CONFIG", "GET", directive).splitlines() == [directive, value]


def test_memory_limit_is_the_inventorys(redis_cli: Callable[..., str], instance: dict) -> None:
    number, unit_ = re.fullmatch(r"(\d+)(mb|gb)", instance["maxmemory"]).groups()
    limit = int(number) * {"mb": 2**20, "gb": 2**30}[unit_]
    assert redis_cli("CONFIG", "GET", "maxmemory").splitlines() == ["maxmemory", str(limit)]


@pytest.mark.parametrize(
    "command", ["FLUSHALL", "CONFIG GET maxmemory", "KEYS *", "ACL LIST", "SHUTDOWN", "DEBUG SLEEP 0", "GET other:key"]
)
def test_application_may_not(redis_cli: Callable[..., str], app: str, command: str) -> None:
    assert "no permissions" in redis_cli("ACL", "DRYRUN", app, *command.split())


@pytest.mark.parametrize(
    "command", ["LPUSH {}:queue 1", "BRPOP {}:queue 1", "SET {}:celery-task-meta-1 x", "PUBLISH {}:/0.celery.pidbox x"]
)
def test_application_may(redis_cli: Callable[..., str], app: str, command: str) -> None:
    assert redis_cli("ACL", "DRYRUN", app, *command.format(app).split()) == "OK"


@pytest.mark.destructive
def test_data_survives_a_kill_and_the_unit_comes_back(
    host: Host, instance: dict, redis_cli: Callable[..., str], wait_for: Callable
) -> None:
    assert redis_cli("SET", "celeriac:test", "kept") == "OK"
    # kombu acknowledges in transactions, which the server replays as the default user
    transaction = (
        "redis.call('SET', 'celeriac:test:1', 'kept') redis.call('SET', 'celeriac:test:2', 'kept') return 'OK'"
    )
    assert redis_cli("EVAL", transaction, "0") == "OK"
    wait_for(lambda: "aof_pending_bio_fsync:0" in redis_cli("INFO", "persistence"), what="the fsync")
    before = host.check_output("systemctl show --value --property=MainPID %s", unit(instance))
    host.check_output("systemctl kill --signal=KILL %s", unit(instance))
    wait_for(lambda: redis_cli("PING") == "PONG", what="Redis")
    assert host.check_output("systemctl show --value --property=MainPID %s", unit(instance)) != before
    for key in ("celeriac:test", "celeriac:test:1", "celeriac:test:2"):
        assert redis_cli("GETDEL", key) == "kept"


@pytest.mark.destructive
def test_refuses_writes_loudly_when_memory_is_full_and_keeps_everything(redis_cli: Callable[..., str]) -> None:
    assert redis_cli("LPUSH", "celeriac:queue", "first") == "1"
    limit = redis_cli("CONFIG", "GET", "maxmemory").splitlines()[1]
    redis_cli("CONFIG", "SET", "maxmemory", "1")
    try:
        assert redis_cli("LPUSH", "celeriac:queue", "second").startswith("OOM")
        assert redis_cli("RPOP", "celeriac:queue") == "first"
    finally:
        redis_cli("CONFIG", "SET", "maxmemory", limit)


def test_listens_only_where_it_is_told_to(host: Host, instance: dict) -> None:
    listening = {
        line.split()[3].rsplit(":", 1)[0]
        for line in host.check_output("ss -Hltn").splitlines()
        if f":{instance['port']} " in line
    }
    addresses = set(host.check_output("hostname -I").split()) | {"127.0.0.1"}
    assert listening <= addresses
    assert "127.0.0.1" in listening


def test_another_host_can_log_in_with_the_password_only(host: Host, instance: dict, variables) -> None:
    """Over a real connection from this machine, where the instance listens beyond the loopback."""
    listening = [
        line.split()[3].rsplit(":", 1)[0]
        for line in host.check_output("ss -Hltn").splitlines()
        if f":{instance['port']} " in line
    ]
    beyond = [address for address in listening if not address.startswith("127.")]
    if not beyond or "test_host_prefix" not in variables:
        pytest.skip("not reachable from here: the instance listens on the loopback, or its host is no container")
    client = redis.Redis(beyond[0], instance["port"], socket_timeout=5)
    with pytest.raises(redis.AuthenticationError):
        client.ping()
    admin = next(user for user in variables["redis_users"] if user["name"] == "admin")
    client = redis.Redis(beyond[0], instance["port"], username="admin", password=admin["password"], socket_timeout=5)
    assert client.ping()


def test_sandbox(host: Host, instance: dict) -> None:
    said = host.check_output("systemd-analyze security --no-pager %s.service", unit(instance)).splitlines()[-1]
    assert float(re.search(r"service: ([\d.]+)", said).group(1)) <= 1.2


@pytest.mark.parametrize("path", ["/etc/redis/redis-{}.conf", "/etc/redis/users-{}.acl"])
def test_configuration_is_readable_by_redis_and_writable_by_root_alone(host: Host, instance: dict, path: str) -> None:
    file = host.file(path.format(instance["name"]))
    assert (file.user, file.group, file.mode) == ("root", "redis", 0o640)


def test_no_password_in_any_file(host: Host, instance: dict, variables) -> None:
    for user in variables["redis_users"]:
        assert host.run("grep -rlF -- %s /etc/redis /etc/systemd /run/systemd", user["password"]).rc == 1


def test_data_directory_is_private(host: Host, instance: dict) -> None:
    directory = host.file(f"/var/lib/redis/{instance['name']}")
    assert (directory.user, directory.group, directory.mode) == ("redis", "redis", 0o750)
