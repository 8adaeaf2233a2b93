"""The redis role's files, rendered from the inventories' variables and read by Redis' own rules."""

from __future__ import annotations

import re
from hashlib import sha256
from typing import Any

import pytest
from ansible_collections.celeriac.fleet.plugins.plugin_utils import redis_instances as redis

from tests.support import units
from tests.support.harness import ENVIRONMENTS, REDIS_HOST, SECRETS, File, Inventory, files
from tests.support.redis_conf import directives

BROKERS = [
    (environment, host)
    for environment in ENVIRONMENTS
    for host in Inventory(f"inventories/{environment}").groups["redis"]
]
EVERY_BROKER = pytest.mark.parametrize(("environment", "host"), BROKERS)
BROKER = {"name": "broker", "port": 6379, "profile": "broker", "maxmemory": "1gb"}
CACHE = {"name": "cache", "port": 6380, "profile": "cache", "maxmemory": "64mb", "bind": ["::1"]}
NASTY = ["two words", 'dou"ble', "sin'gle", "back\\slash", "#hash", "100%", "p@ss:/word", "ünïcödé ☃", "{{ braces }}"]


def rendered(environment: str, host: str, **more: Any) -> dict[str, File]:
    return files(Inventory(f"inventories/{environment}"), "redis", host, **more)


def configuration(found: dict[str, File], name: str) -> dict[str, list[bytes]]:
    return directives(found[f"/etc/redis/redis-{name}.conf"].content)


def users(found: dict[str, File], name: str) -> dict[str, list[str]]:
    """User -> rules, from an ACL file: a user a line, no comments."""
    lines = found[f"/etc/redis/users-{name}.acl"].content.splitlines()
    assert all(re.fullmatch(r"user [a-z][\w-]* (on|off)( \S+)+", line) for line in lines)
    assert len({line.split()[1] for line in lines}) == len(lines)
    return {line.split()[1]: line.split()[2:] for line in lines}


@EVERY_BROKER
def test_every_inventorys_instances_have_configuration_and_acl(environment: str, host: str) -> None:
    found, inventory = rendered(environment, host), Inventory(f"inventories/{environment}")
    port = "tls-port" if inventory.evaluate(host, "redis_tls_enabled") else "port"
    for instance in inventory.evaluate(host, "redis_instances"):
        configured = configuration(found, instance["name"])
        assert configured[port] == [str(instance["port"]).encode()]
        assert configured["maxmemory"] == [str(redis.redis_memory(instance["maxmemory"], 0)).encode()]
        assert configured["aclfile"] == [f"/etc/redis/users-{instance['name']}.acl".encode()]
        assert users(found, instance["name"])


@EVERY_BROKER
def test_files_are_roots_and_readable_by_redis_alone(environment: str, host: str) -> None:
    for path, file in rendered(environment, host).items():
        if path.startswith("/etc/redis/"):
            assert (file.owner, file.group, file.mode) == ("root", "redis", "0640")


def test_a_broker_never_evicts_and_persists() -> None:
    configured = configuration(rendered("development", "dev1"), "broker")
    assert configured["maxmemory-policy"] == [b"noeviction"]
    assert configured["appendonly"] == [b"yes"]
    assert configured["appendfsync"] == [b"everysec"]
    assert configured["save"] == [b"3600", b"1", b"300", b"100", b"60", b"10000"]


def test_a_cache_evicts_and_persists_nothing() -> None:
    found = rendered("development", "dev1", redis_instances=[BROKER, CACHE])
    configured = configuration(found, "cache")
    assert configured["maxmemory-policy"] == [b"allkeys-lru"]
    assert configured["appendonly"] == [b"no"]
    assert configured["save"] == [b""]
    assert configured["bind"] == [b"::1"]


def test_an_instance_without_addresses_has_the_hosts() -> None:
    found = rendered("development", "dev1", redis_instances=[BROKER, CACHE], redis_bind=["127.0.0.1", "192.0.2.7"])
    assert configuration(found, "broker")["bind"] == [b"127.0.0.1", b"192.0.2.7"]


@pytest.mark.parametrize("value", NASTY)
def test_values_of_config_arrive(value: str) -> None:
    found = rendered("development", "dev1", redis_instances=[{**BROKER, "config": {"proc-title-template": value}}])
    assert configuration(found, "broker")["proc-title-template"] == [value.encode()]


def test_no_password_is_in_any_file() -> None:
    text = "".join(file.content for file in rendered("development", "dev1").values())
    assert not [name for name, secret in SECRETS.items() if secret in text]


@pytest.mark.parametrize("password", [f"{value} and some more" for value in NASTY])
def test_any_password_is_one_digest(password: str) -> None:
    found = rendered("development", "dev1", vault_redis_app_password=password)
    rules = users(found, "broker")["chatlite"]
    assert [rule for rule in rules if rule.startswith(("#", ">"))] == [f"#{sha256(password.encode()).hexdigest()}"]


def test_nobody_logs_in_as_the_default_user() -> None:
    rules = users(rendered("development", "dev1"), "broker")["default"]
    assert rules[0] == "off"
    assert "nopass" not in rules


@pytest.mark.parametrize(("version", "known"), [("7.0.15", False), ("8.0.2", True)])
def test_the_acl_is_for_the_installed_version(version: str, known: bool) -> None:
    packages = {"versions": {"redis-server": version}}
    rules = users(rendered("development", "dev1", __redis_packages=packages), "broker")["chatlite"]
    assert ("+client|setinfo" in rules) is known


def test_check_mode_on_a_bare_host_renders_for_no_version() -> None:
    assert users(rendered("development", "dev1", __redis_packages={"versions": {}}), "broker")


def test_the_drop_in_gives_descriptors_for_every_client() -> None:
    found = rendered("development", "dev1", redis_maxclients=500)
    path = "/etc/systemd/system/redis-server@broker.service.d/celeriac.conf"
    assert int(units.last(units.parse(found[path].content), "Service", "LimitNOFILE")) >= 500 + 32
    assert configuration(found, "broker")["maxclients"] == [b"500"]


def test_an_instance_has_descriptors_for_its_own_clients() -> None:
    found = rendered("development", "dev1", redis_instances=[{**BROKER, "maxclients": 20000}, CACHE])
    path = "/etc/systemd/system/redis-server@broker.service.d/celeriac.conf"
    assert int(units.last(units.parse(found[path].content), "Service", "LimitNOFILE")) >= 20000 + 32


@pytest.mark.parametrize("container", [True, False])
def test_kernel_parameters_are_written_where_they_can_be_set(container: bool) -> None:
    found = rendered("development", "dev1", __redis_host={**REDIS_HOST, "container": container})
    assert ("/etc/sysctl.d/60-redis.conf" in found) is not container
    if not container:
        lines = found["/etc/sysctl.d/60-redis.conf"].content.splitlines()
        assert {"vm.overcommit_memory = 1", "net.core.somaxconn = 4096"} <= set(lines)


def test_the_backlog_is_never_lowered() -> None:
    sysctl = {"vm.overcommit_memory": 1, "net.core.somaxconn": 65535}
    found = rendered("development", "dev1", __redis_host={**REDIS_HOST, "sysctl": sysctl})
    assert "net.core.somaxconn = 65535" in found["/etc/sysctl.d/60-redis.conf"].content


def test_valkey_has_files_of_its_own() -> None:
    found = rendered("development", "dev1", redis_flavor="valkey")
    assert {"/etc/valkey/valkey-broker.conf", "/etc/valkey/users-broker.acl"} <= set(found)
    assert not [path for path in found if path.startswith(("/etc/redis/", "/etc/systemd/system/redis-server"))]


@pytest.mark.parametrize(
    "line", ["bind 127.0.0.1\nbind ::1", "requirepass two words", 'logfile "a"b', "save", 'x "open']
)
def test_the_parser_refuses_what_redis_refuses(line: str) -> None:
    """So that the tests above could have failed."""
    if line == "requirepass two words":
        assert directives(line)["requirepass"] == [b"two", b"words"]
    else:
        with pytest.raises(ValueError, match=r"unbalanced|blank|said twice"):
            directives(line)
