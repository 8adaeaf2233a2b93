"""A Redis host: what the running server does, then its files."""

from __future__ import annotations

import re
import shlex

import pytest
import redis
from testinfra.host import Host

from tests.support.live import Variables
from tests.support.redis_conf import directives
from tests.support.servers import ONCE, Server
from tests.support.systemd import exposure

testinfra_hosts = ["ansible://redis"]

PERSISTENT = {
    "maxmemory-policy": "noeviction",
    "appendonly": "yes",
    "appendfsync": "everysec",
    "save": "3600 1 300 100 60 10000",
    "stop-writes-on-bgsave-error": "yes",
}
CACHE = {"maxmemory-policy": "allkeys-lru", "appendonly": "no", "save": ""}
UNITS = {"": 1, "k": 1000, "kb": 2**10, "m": 1000**2, "mb": 2**20, "g": 1000**3, "gb": 2**30}


def size(text: str) -> str:
    """A number of bytes as CONFIG GET writes it; what isn't one unchanged."""
    match = re.fullmatch(r"(\d+)(k|kb|m|mb|g|gb)", text)
    return str(int(match[1]) * UNITS[match[2]]) if match else text


def test_runs_on_debians_unit(server: Server) -> None:
    service = server.host.service(server.unit)
    assert service.is_running
    assert service.is_enabled
    fragment = server.host.check_output("systemctl show --value --property=FragmentPath %s", server.unit)
    assert fragment.startswith(("/lib/", "/usr/lib/"))


def test_the_packaged_instance_never_runs(host: Host, flavor: str) -> None:
    assert host.service(f"{flavor}-server").is_masked
    started = host.check_output("journalctl --quiet --no-pager --unit=%s | grep -c Started || true", f"{flavor}-server")
    assert started == "0"
    assert not host.file(f"/var/log/{flavor}/{flavor}-server.log").exists


def test_instances_are_those_of_the_inventory(host: Host, flavor: str, variables: Variables) -> None:
    shown = host.check_output("systemctl list-units --plain --no-legend %s %s", "redis-server*", "valkey-server*")
    wanted = {f"{flavor}-server@{instance['name']}.service" for instance in variables["redis_instances"]}
    assert {line.split()[0] for line in shown.splitlines()} == wanted


# -- what the server has


def test_the_server_has_what_its_configuration_says(server: Server) -> None:
    """Every directive, read back."""
    file = server.host.file(f"/etc/{server.flavor}/{server.flavor}-{server.name}.conf")
    lines = server.cli("CONFIG", "GET", "*").split("\n")
    running = dict(zip(lines[::2], lines[1::2], strict=False))
    written = directives(file.content_string)
    said = {name: size(" ".join(word.decode() for word in arguments)) for name, arguments in written.items()}
    assert {name: running.get(name) for name in said} == said


def test_profile_decides_on_eviction_and_persistence(server: Server) -> None:
    profile = CACHE if server.instance["profile"] == "cache" else PERSISTENT
    expected = {**profile, **server.instance.get("config", {})}
    found = {directive: server.cli("CONFIG", "GET", directive).split("\n")[1:] for directive in expected}
    assert found == {directive: [value] if value else [] for directive, value in expected.items()}


def test_memory_limit_is_the_inventorys(server: Server) -> None:
    limit = int(server.cli("CONFIG", "GET", "maxmemory").splitlines()[1])
    if share := re.fullmatch(r"(\d+)%", str(server.instance["maxmemory"])):
        total = int(server.host.check_output("awk '/^MemTotal:/ {print $2}' /proc/meminfo")) * 1024
        assert 0 <= total * int(share[1]) / 100 - limit < 2**20
    else:
        assert str(limit) == size(str(server.instance["maxmemory"]))


def test_every_client_has_a_descriptor(server: Server) -> None:
    clients = int(server.cli("CONFIG", "GET", "maxclients").splitlines()[1])
    assert clients == server.instance.get("maxclients", clients)
    limits = server.host.check_output("cat /proc/%s/limits", server.pid())
    descriptors = re.search(r"Max open files +(\d+)", limits)
    assert descriptors
    assert int(descriptors[1]) >= clients + 32


def test_backlog_is_what_the_kernel_gives(server: Server) -> None:
    backlog = server.cli("CONFIG", "GET", "tcp-backlog").splitlines()[1]
    lines = [line.split() for line in server.host.check_output("ss -Hltn").splitlines() if f":{server.port} " in line]
    assert {line[2] for line in lines} == {backlog}


def test_a_large_dataset_has_time_to_load_and_save(server: Server) -> None:
    shown = server.host.check_output(
        "systemctl show --property=TimeoutStartUSec --property=TimeoutStopUSec %s", server.unit
    )
    assert sorted(shown.splitlines()) == ["TimeoutStartUSec=infinity", "TimeoutStopUSec=infinity"]


def test_kernel_gives_memory_for_a_fork(host: Host) -> None:
    if host.run("systemd-detect-virt --quiet --container").rc == 0:
        assert not host.file("/etc/sysctl.d/60-redis.conf").exists  # nothing that would have no effect
    else:
        assert host.sysctl("vm.overcommit_memory") == 1


# -- who gets in


@pytest.mark.parametrize("command", ["PING", "INFO", "KEYS *", "FLUSHALL", "CONFIG GET *", "ACL LIST"])
def test_refuses_whoever_does_not_log_in(server: Server, command: str) -> None:
    quoted = command.replace("*", "'*'")
    assert server.host.run(f"{server.options} {quoted}").stdout.strip() == "NOAUTH Authentication required."


@pytest.mark.parametrize("login", [("default", ""), ("default", "guess"), ("admin", "guess"), ("nobody", "guess")])
def test_refuses_a_wrong_login(server: Server, login: tuple[str, str]) -> None:
    user, guess = login
    assert "WRONGPASS" in server.host.run(f"{server.options} AUTH {user} '{guess}'").stdout


def test_a_password_alone_is_enough_for_the_default_user_only(server: Server) -> None:
    """As with requirepass, for clients that can't send a name."""
    passwords = {user["name"]: user["password"] for user in server.users}
    alone = passwords.get("default")
    for name, password in passwords.items():
        answer = server.host.run(f"{server.options} AUTH {shlex.quote(password)}").stdout.strip()
        assert (answer == "OK") is (password == alone), name


def test_any_password_works(server: Server) -> None:
    """Whatever characters it has; that a user may not PING is another matter."""
    said = {user["name"]: server.cli("PING", user=user["name"]) for user in server.users}
    assert {name: answer for name, answer in said.items() if answer != "PONG" and "NOPERM" not in answer} == {}


def test_the_socket_asks_for_a_password_too(server: Server) -> None:
    socket = f"/run/{server.flavor}-{server.name}/{server.flavor}-server.sock"
    answer = server.host.run(f"{server.flavor}-cli -s {socket} PING").stdout
    assert answer.strip() == "NOAUTH Authentication required."
    file = server.host.file(socket)
    assert (file.user, file.mode) == (server.flavor, 0o700)


def test_users_are_those_of_the_inventory(server: Server) -> None:
    here = {user["name"] for user in server.users}
    assert set(server.cli("ACL", "USERS").splitlines()) == {*here, "default", "celeriac"}


def test_another_host_can_log_in_with_the_password_only(reachable: Server) -> None:
    with pytest.raises(redis.AuthenticationError):
        reachable.connect(user=None, retry=ONCE).ping()
    assert reachable.connect().ping()


def test_listens_only_where_it_is_told_to(server: Server) -> None:
    lines = server.host.check_output("ss -Hltn").splitlines()
    listening = {line.split()[3].rsplit(":", 1)[0] for line in lines if f":{server.port} " in line}
    assert "127.0.0.1" in listening
    assert listening <= set(server.host.check_output("hostname -I").split()) | {"127.0.0.1"}


# -- what a user may do

# profile -> commands that are allowed, and that are not; {} is the user's key prefix
MATRIX: dict[str, tuple[list[str], list[str]]] = {
    "celery": (
        [
            "LPUSH {}queue 1",
            "BRPOP {}queue 1",
            "SET {}celery-task-meta-1 x",
            "PUBLISH {}/0.celery.pidbox x",
            "ZADD {}unacked_index 1 x",
            "HSET {}unacked x y",
        ],
        [
            "FLUSHALL",
            "FLUSHDB",
            "CONFIG GET maxmemory",
            "CONFIG SET maxmemory 0",
            "KEYS *",
            "SCAN 0",
            "ACL LIST",
            "ACL SETUSER me on",
            "SHUTDOWN",
            "DEBUG SLEEP 0",
            "EVAL x 0",
            "MONITOR",
            "CLIENT KILL ID 1",
            "REPLICAOF no one",
            "MODULE LIST",
            "SAVE",
        ],
    ),
    "monitor": (
        ["PING", "INFO", "LLEN any", "DBSIZE", "SLOWLOG GET", "LATENCY LATEST", "MEMORY STATS", "CLIENT LIST"],
        ["GET any", "LRANGE any 0 -1", "SET any x", "CONFIG GET *", "KEYS *", "FLUSHALL", "ACL LIST", "PUBLISH any x"],
    ),
    "replica": (
        ["PSYNC ? -1", "REPLCONF ACK 1", "PING"],
        ["GET any", "SET any x", "INFO", "CONFIG GET *", "REPLICAOF no one", "SYNC", "ACL LIST"],
    ),
    "admin": (["FLUSHALL", "CONFIG GET *", "ACL LIST", "GET any"], []),
    "maintenance": (
        ["PING", "INFO", "BGSAVE", "LASTSAVE", "DBSIZE", "ACL SETUSER me on", "ACL USERS", "CONFIG SET maxmemory 0"],
        ["GET any", "SET any x", "KEYS *", "FLUSHALL", "SHUTDOWN", "DEBUG SLEEP 0", "REPLICAOF no one", "LLEN any"],
    ),
}
MAINTENANCE = {"name": "celeriac", "profile": "maintenance"}


@pytest.mark.parametrize("profile", MATRIX)
def test_a_user_may_what_its_profile_says(server: Server, profile: str) -> None:
    asked = [user for user in [*server.users, MAINTENANCE] if user.get("profile") == profile]
    if not asked:
        pytest.skip(f"the instance has no user of the profile {profile}")
    allowed, denied = MATRIX[profile]
    for user in asked:
        commands = [command.format(user.get("key_prefix", "")) for command in [*allowed, *denied]]
        lines = server.cli(*(f"ACL DRYRUN {user['name']} {each}" for each in commands), separate=True).splitlines()
        said = dict(zip(commands, lines, strict=True))
        assert [command for command, answer in said.items() if answer == "OK"] == commands[: len(allowed)], said
        assert all("no permissions" in answer for answer in said.values() if answer != "OK"), said


OTHERS = ["GET other:key", "LPUSH queue 1", "PUBLISH other x", "SUBSCRIBE other", "PSUBSCRIBE *"]


def test_an_application_has_its_own_keys_only(server: Server) -> None:
    prefixed = [user["name"] for user in server.users if user.get("key_prefix")]
    if not prefixed:
        pytest.skip("the instance has no user with a key prefix")
    for name in prefixed:
        said = server.cli(*(f"ACL DRYRUN {name} {command}" for command in OTHERS), separate=True).splitlines()
        assert len(said) == len(OTHERS)
        assert all("no permissions" in answer for answer in said), said


# -- files and sandbox


def test_sandbox(server: Server) -> None:
    assert exposure(server.host, server.unit) <= 1.2


@pytest.mark.parametrize(
    ("path", "user", "group", "mode"),
    [
        ("/etc/{flavor}", "root", "{flavor}", 0o750),
        ("/etc/{flavor}/{flavor}-{name}.conf", "root", "{flavor}", 0o640),
        ("/etc/{flavor}/users-{name}.acl", "root", "{flavor}", 0o640),
        ("/etc/{flavor}/celeriac.env", "root", "{flavor}", 0o600),
        ("/var/lib/{flavor}/{name}", "{flavor}", "{flavor}", 0o750),
        ("/usr/local/sbin/redis-check-config", "root", "root", 0o755),
    ],
)
def test_owners_and_modes(server: Server, path: str, user: str, group: str, mode: int) -> None:
    names = {"flavor": server.flavor, "name": server.name}
    file = server.host.file(path.format_map(names))
    assert (file.user, file.group, file.mode) == (user.format_map(names), group.format_map(names), mode)


def test_the_server_can_not_write_its_configuration(server: Server) -> None:
    assert server.cli("CONFIG", "REWRITE").startswith("ERR")
    assert server.cli("ACL", "SAVE").startswith("ERR")


def test_no_password_in_any_file(host: Host, variables: Variables) -> None:
    for user in variables["redis_users"]:
        found = host.run("grep -rlF -- %s /etc/redis /etc/valkey /etc/systemd /run/systemd", user["password"])
        assert found.stdout == ""


@pytest.mark.parametrize(
    ("kind", "text", "said"),
    [
        ("", "maxmemory-policy allkeys\n", "maxmemory-policy"),
        ("", 'requirepass two words"\n', "Unbalanced quotes"),
        ("", "nonsense yes\n", "'nonsense yes'"),
        ("", "tls-cert-file /nowhere\ntls-key-file /nowhere\n", "configure TLS"),
        ("--acl", "user a on +nonsense\n", "nonsense"),
        ("--acl", "user a on >plain ~* +@everything\n", "everything"),
        ("--acl", "usr a on\n", "should start with user keyword"),
    ],
)
def test_the_server_itself_refuses_a_wrong_file(host: Host, kind: str, text: str, said: str) -> None:
    host.check_output("printf %%s %s > /tmp/wrong.conf", text)
    checked = host.run(f"redis-check-config {kind} /tmp/wrong.conf")
    host.check_output("rm /tmp/wrong.conf")
    assert checked.rc == 1
    assert said in checked.stderr
    assert host.run("pgrep -f 'redis-check[-]'").rc == 1  # nothing is left running


def test_the_server_itself_takes_what_is_there(server: Server) -> None:
    directory = f"/etc/{server.flavor}"
    assert server.host.run(f"redis-check-config {directory}/{server.flavor}-{server.name}.conf").rc == 0
    assert server.host.run(f"redis-check-config --acl {directory}/users-{server.name}.acl").rc == 0
