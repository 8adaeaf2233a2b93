"""plugins/plugin_utils/redis_problems.py: sentences that name a variable and show no secret."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from ansible_collections.celeriac.fleet.plugins.plugin_utils import redis_checks as checks
from ansible_collections.celeriac.fleet.plugins.plugin_utils import redis_grammar as grammar
from ansible_collections.celeriac.fleet.plugins.plugin_utils import redis_instances as redis
from ansible_collections.celeriac.fleet.plugins.plugin_utils import redis_problems as plugin
from ansible_collections.celeriac.fleet.plugins.plugin_utils.site_roles import Site
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.harness import REDIS_HOST, defaults, specs
from tests.support.redis_conf import directives
from tests.support.redis_definitions import MARK, definitions

SERVERS = grammar.tables()["servers"]
PASSWORD = "correct horse battery"
INSTANCE = {"name": "broker", "port": 6379, "profile": "broker", "maxmemory": "2gb"}
RESULTS = {**INSTANCE, "name": "results", "port": 6380, "profile": "results"}
CACHE = {"name": "cache", "port": 6381, "profile": "cache", "maxmemory": 2**20, "bind": ["::1"], "config": {}}
USER = {"name": "shop", "profile": "celery", "key_prefix": "shop:", "password": PASSWORD}
OWN = {"name": "reader", "rules": ["~app:*", "+@read"], "password": PASSWORD}
VARIABLES = {"redis_instances": [INSTANCE], "redis_users": [USER], "distribution_version": "12"}


def problems(**variables: Any) -> list[str]:
    return list(plugin.redis_problems({"r1": {**VARIABLES, **variables}}))


def instance_problems(instance: Any, **variables: Any) -> list[str]:
    return problems(redis_instances=[instance], **variables)


def configured(name: str, value: Any, instance: dict[str, Any] = INSTANCE, **variables: Any) -> list[str]:
    return instance_problems({**instance, "config": {name: value}}, **variables)


# -- what is right


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"redis_instances": [INSTANCE, RESULTS, CACHE]},
        {"redis_instances": [{**INSTANCE, "maxmemory": "25%", "maxclients": 1, "tls": False, "backup": True}]},
        {"redis_instances": [{**INSTANCE, "bind": ["*", "-::1"], "port": 65535, "name": "a" + "b" * 63}]},
        {"redis_users": [{**USER, "key_prefix": "", "databases": [0, 15]}, OWN]},
        {"redis_users": [{"name": "default", "profile": "admin", "password": "x" * 16}]},
        {"redis_instances": [INSTANCE, CACHE], "redis_users": [{**USER, "instances": ["broker"]}, OWN]},
        {"redis_flavor": "valkey", "distribution_version": "13"},
        {"redis_tls_enabled": True, "redis_tls_ca_passphrase": "p"},
        {"redis_tls_client_certificates": "optional", "redis_tls_names": ["192.0.2.1", "*.example.org", "r1"]},
        {"redis_tls_certificate": "/a.crt", "redis_tls_private_key": "/a.key", "redis_tls_ca_certificate": "/ca.crt"},
        {"redis_backup_schedule": "Mon..Fri *-*-* 03:00:00", "redis_backup_copy_to": "/srv/copies"},
        {"redis_backup_schedule": "", "redis_backup_keep_count": 1, "redis_backup_keep_days": 1},
        {"redis_memory_reserve": "0%", "redis_fork_reserve": "100%", "redis_maxclients": 1_000_000},
    ],
)
def test_what_is_right_has_no_problem(variables: dict[str, Any]) -> None:
    assert problems(**variables) == []


def test_what_is_left_out_is_the_roles_default() -> None:
    given = {"redis_users": [USER]}
    assert plugin.redis_problems({"r1": given}) == []
    assert plugin.redis_problems({"r1": {**given, "redis_instances": defaults("redis")["redis_instances"]}}) == []


# -- instances


@pytest.mark.parametrize(
    ("instance", "said"),
    [
        ("broker", "is of type str: write a mapping with name, port"),
        ({**INSTANCE, "nmae": "x"}, "unknown key 'nmae'"),
        ({**INSTANCE, 5: "x"}, "unknown key 5"),
        ({**INSTANCE, "name": "Broker"}, "has name 'Broker'"),
        ({**INSTANCE, "name": "a/b"}, "has name 'a/b'"),
        ({**INSTANCE, "name": "a" * 65}, "at most 64"),
        ({**INSTANCE, "name": "a\n"}, "has name"),
        ({**INSTANCE, "port": "6379"}, "has port '6379'"),
        ({**INSTANCE, "port": 1023}, "from 1024 to 65535"),
        ({**INSTANCE, "port": 65536}, "has port 65536"),
        ({**INSTANCE, "port": True}, "has port True"),
        ({**INSTANCE, "profile": "queue"}, "use one of broker, results, cache"),
        ({**INSTANCE, "profile": {}}, "has profile {}"),
        ({**INSTANCE, "maxmemory": "2 gb"}, "has maxmemory '2 gb'"),
        ({**INSTANCE, "maxmemory": "2b"}, "has maxmemory '2b'"),
        ({**INSTANCE, "maxmemory": 0}, "has maxmemory 0"),
        ({**INSTANCE, "maxmemory": True}, "has maxmemory True"),
        ({**INSTANCE, "maxmemory": "1023k"}, "from 1mb on"),
        ({**INSTANCE, "maxmemory": "9999999999gb"}, "has maxmemory '9999999999gb'"),
        ({**INSTANCE, "maxmemory": "0%"}, "has maxmemory '0%'"),
        ({**INSTANCE, "maxmemory": "101%"}, "has maxmemory '101%'"),
        ({**INSTANCE, "maxclients": 0}, "has maxclients 0"),
        ({**INSTANCE, "tls": "yes"}, "has tls 'yes': write true or false"),
        ({**INSTANCE, "backup": 1}, "has backup 1: write true or false"),
        ({**INSTANCE, "bind": "127.0.0.1"}, "has bind '127.0.0.1'"),
        ({**INSTANCE, "bind": []}, "has bind []"),
        ({**INSTANCE, "bind": [1]}, "has bind [1]"),
        ({**INSTANCE, "bind": ["localhost"]}, "list 1 to 16 IP addresses"),
        ({**INSTANCE, "bind": ["127.1"]}, "has bind ['127.1']"),
        ({**INSTANCE, "bind": ["fe80::1%eth0"]}, "has bind"),
        ({**INSTANCE, "bind": ["::ffff:127.0.0.1"]}, "has bind"),
        ({**INSTANCE, "bind": ["127.0.0.1", "-127.0.0.1"]}, "each once"),
        ({**INSTANCE, "bind": ["::1", "0:0::1"]}, "each once"),
        ({**INSTANCE, "bind": ["*", "127.0.0.1"]}, "none beside *"),
        ({**INSTANCE, "bind": ["-::", "::1"]}, "none beside *"),
        ({**INSTANCE, "bind": [f"192.0.2.{at}" for at in range(17)]}, "1 to 16"),
        ({**INSTANCE, "config": ["requirepass hunter2"]}, "has config of type list: write a mapping"),
        ({**INSTANCE, "config": None}, "has config None: write a mapping"),
    ],
)
def test_a_wrong_instance_is_one_sentence(instance: Any, said: str) -> None:
    (problem,) = instance_problems(instance)
    assert said in problem
    assert problem.startswith("redis_instances[0]")
    assert problem.endswith(".")
    assert "hunter2" not in problem


@pytest.mark.parametrize("key", ["name", "port", "profile", "maxmemory"])
def test_what_an_instance_needs_is_missed(key: str) -> None:
    assert any(f" has {key} None: " in each for each in instance_problems({**INSTANCE, key: None}))
    assert any(
        f" has {key} None: " in each for each in instance_problems({k: v for k, v in INSTANCE.items() if k != key})
    )


def test_an_instance_is_named_if_its_name_can_be_right() -> None:
    assert instance_problems({**INSTANCE, "port": 0})[0].startswith("redis_instances[0] (broker) has port")
    assert instance_problems({**INSTANCE, "name": "a\nb"})[0].startswith("redis_instances[0] has name")


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"redis_instances": []}, "redis_instances is []: list at least one instance with name, port"),
        ({"redis_instances": None}, "redis_instances is None"),
        ({"redis_instances": {"secret": "hunter2"}}, "redis_instances is of type dict"),
        ({"redis_instances": [INSTANCE, {**INSTANCE, "name": "b"}]}, "redis_instances has the port '6379' 2 times"),
        ({"redis_instances": [INSTANCE, {**INSTANCE, "port": 6380}]}, "redis_instances has the name 'broker' 2 times"),
        ({"redis_users": []}, "redis_users is "),
        ({"redis_users": None}, "redis_users is "),
        ({"redis_users": {"name": "hunter2"}}, "redis_users is "),
        ({"redis_users": [USER, {**OWN, "name": "shop"}]}, "redis_users has the name 'shop' 2 times"),
        (
            {"redis_instances": [INSTANCE, CACHE], "redis_users": [{**USER, "instances": ["broker"]}]},
            "redis_instances[1] (cache) has no user",
        ),
    ],
)
def test_a_wrong_set_is_one_sentence(variables: dict[str, Any], said: str) -> None:
    (problem,) = problems(**variables)
    assert problem.startswith(said)
    assert "hunter2" not in problem


# -- config


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("maxmemory-polcy", "noeviction", "has config.maxmemory-polcy: write maxmemory-policy"),
        ("MAXMEMORY-POLICY", "allkeys-lru", "has config.MAXMEMORY-POLICY"),
        (5, "x", "has config.5: take it out, Redis 7.0 doesn't know it"),
        ("hide-user-data-from-log", True, "take it out, only Redis 8.0 and Valkey 8.1 know it"),
        ("availability-zone", "a", "take it out, only Valkey 8.1 knows it"),
        ("hz", "x", "has config.hz 'x': give it a number from 0 to 2147483647"),
        ("hz", None, "has config.hz None: give it a text, a number, a boolean or a list of them"),
        ("hz", {"x": 1}, "has config.hz {'x': 1}"),
        ("activedefrag", True, "has config.activedefrag True: use no"),
        ("maxmemory-policy", "fifo", "has config.maxmemory-policy 'fifo': use allkeys-lfu or"),
    ],
)
def test_a_wrong_directive_is_one_sentence(name: Any, value: Any, said: str) -> None:
    (problem,) = configured(name, value)
    assert problem.startswith("redis_instances[0] (broker) has config.")
    assert said in problem


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("port", "use the instance's key"),
        ("bind", "use the instance's key"),
        ("maxmemory", "use the instance's key"),
        ("maxclients", "use the instance's key"),
        ("requirepass", "use redis_users"),
        ("masterauth", "use redis_users"),
        ("user", "use redis_users"),
        ("aclfile", "use redis_users"),
        ("acl-pubsub-default", "use redis_users"),
        ("rename-command", "use redis_users"),
        ("tls-port", "use the instance's key tls"),
        ("tls-key-file-pass", "use the instance's key tls"),
        ("unixsocket", "take it out"),
        ("unixsocketperm", "take it out"),
        ("dir", "take it out"),
        ("dbfilename", "take it out"),
        ("appendfilename", "take it out"),
        ("appenddirname", "take it out"),
        ("pidfile", "take it out"),
        ("logfile", "take it out"),
        ("syslog-enabled", "take it out"),
        ("daemonize", "take it out"),
        ("supervised", "take it out"),
        ("loadmodule", "take it out"),
        ("include", "take it out"),
        ("enable-debug-command", "take it out"),
        ("enable-protected-configs", "take it out"),
        ("protected-mode", "take it out"),
        ("replicaof", "take it out"),
        ("slaveof", "take it out"),
        ("cluster-enabled", "take it out"),
        ("crash-log-enabled", "take it out"),
    ],
)
def test_what_the_role_sets_itself_is_refused_without_the_value(name: str, remedy: str) -> None:
    (problem,) = configured(name, "hunter2")
    assert problem.startswith(f"redis_instances[0] (broker) has config.{name}: {remedy}")
    assert "hunter2" not in problem


@pytest.mark.parametrize("name", ["requirepas", "masterauht"])
def test_the_value_of_an_unknown_directive_may_be_a_password(name: str) -> None:
    (problem,) = configured(name, "hunter2")
    assert "hunter2" not in problem


@pytest.mark.parametrize("server", SERVERS)
def test_every_directive_is_refused_or_has_a_check(server: str) -> None:
    for name, (kind, *_) in grammar.directives(server).items():
        own = any(plugin.fnmatchcase(name, pattern) for pattern in checks.OWN_DIRECTIVES)
        assert own or kind in grammar.KINDS, name
        assert own or kind != "special" or name in grammar.SPECIALS, name


@pytest.mark.parametrize(
    ("profile", "name", "value"),
    [
        ("broker", "maxmemory-policy", "allkeys-lru"),
        ("broker", "maxmemory-policy", "volatile-ttl"),
        ("broker", "maxmemory-policy", "VOLATILE-LRU"),
        ("broker", "maxmemory-policy", ["allkeys-lfu"]),
        ("broker", "appendonly", False),
        ("broker", "appendonly", "NO"),
        ("broker", "appendfsync", "no"),
        ("broker", "appendfsync", False),
        ("broker", "no-appendfsync-on-rewrite", True),
        ("results", "maxmemory-policy", "allkeys-random"),
        ("results", "appendonly", "no"),
    ],
)
def test_what_loses_something_is_refused_by_the_profile(profile: str, name: str, value: Any) -> None:
    (problem,) = configured(name, value, {**INSTANCE, "profile": profile})
    assert problem.startswith(f"redis_instances[0] (broker) is a {profile} with config.{name} {value!r}: ")


@pytest.mark.parametrize(
    ("profile", "name", "value"),
    [
        ("broker", "maxmemory-policy", "noeviction"),
        ("broker", "maxmemory-policy", "NoEviction"),
        ("broker", "appendonly", True),
        ("broker", "appendfsync", "always"),
        # the append-only file has what a snapshot lacks
        ("broker", "stop-writes-on-bgsave-error", False),
        ("results", "maxmemory-policy", "volatile-lru"),
        ("results", "appendfsync", "no"),
        ("cache", "maxmemory-policy", "allkeys-lru"),
        ("cache", "appendonly", False),
    ],
)
def test_what_loses_nothing_that_the_profile_promises_is_allowed(profile: str, name: str, value: Any) -> None:
    assert configured(name, value, {**INSTANCE, "profile": profile}) == []


def test_a_directive_is_checked_for_the_hosts_server() -> None:
    assert configured("io-threads", 200, redis_flavor="valkey", distribution_version="13") == []
    assert configured("io-threads", 200, distribution_version="13")
    assert configured("io-threads-do-reads", True) == []
    assert configured("io-threads-do-reads", True, distribution_version="13")
    assert configured("locale-collate", "C", distribution_version="13") == []


def test_where_the_debian_is_not_known_yet_any_server_of_the_flavor_will_do() -> None:
    assert configured("io-threads-do-reads", True, distribution_version=None) == []
    assert configured("locale-collate", "C", distribution_version=None) == []
    assert configured("availability-zone", "a", distribution_version=None)


# -- users


@pytest.mark.parametrize(
    ("user", "said"),
    [
        ("shop", "is of type str: write a mapping"),
        ({**USER, "pasword": "x"}, "unknown key 'pasword'"),
        ({**USER, "name": "a b"}, "has name 'a b'"),
        ({**USER, "name": "celeriac"}, "but not celeriac"),
        ({**USER, "name": "default"}, "(default) has not the profile admin"),
        ({**OWN, "name": "default"}, "(default) has not the profile admin"),
        ({**USER, "profile": "root"}, "use one of admin, celery, monitor, replica"),
        ({**USER, "profile": {}}, "has profile {}"),
        ({**OWN, "profile": "admin"}, "has profile and rules"),
        ({"name": "shop", "password": PASSWORD}, "has neither profile nor rules"),
        ({**USER, "password": "fifteen-letters"}, "a password of 15 characters"),
        ({**USER, "password": ""}, "has no password"),
        ({**USER, "password": None}, "has password None: set one"),
        ({**USER, "password": 1234567890123456}, "has password of type int: set one"),
        ({**USER, "password": "\ud800" * 16}, "no valid Unicode"),
        ({**USER, "key_prefix": "a *"}, "has key_prefix 'a *'"),
        ({**USER, "key_prefix": "a["}, "leave blanks"),
        ({**USER, "key_prefix": "a\x1f"}, "control characters"),
        ({**USER, "key_prefix": None}, "has key_prefix None"),
        ({**USER, "profile": "admin"}, "has key_prefix, which only the profile celery heeds"),
        ({**OWN, "databases": [0]}, "has databases, which only the profile celery heeds"),
        ({**USER, "databases": [16]}, "has databases[0] 16: list numbers from 0 to 15"),
        ({**USER, "databases": []}, "has databases []"),
        ({**USER, "databases": [True]}, "has databases[0] True"),
        ({**USER, "databases": 0}, "has databases 0"),
        ({**USER, "instances": "broker"}, "has instances 'broker'"),
        ({**USER, "instances": ["broker", "nowhere"]}, "has the instance 'nowhere'"),
        ({**OWN, "rules": "~* +@all"}, "has rules of type str"),
        ({**OWN, "rules": []}, "has rules []: list rules"),
        ({**OWN, "rules": [{">hunter2": 1}]}, "has rules[0] of type dict"),
        ({**OWN, "rules": ["~a", "+gett"]}, "has rules[1] '+gett': write get"),
        ({**OWN, "rules": ["+client|setinfo"]}, "take it out, only Redis 8.0 and Valkey 8.1 know it"),
        ({**OWN, "rules": ["%X~a"]}, "has rules[0] '%X~a'"),
        ({**OWN, "rules": [">hunter2"]}, "has rules[0]: take it out, passwords"),
        ({**OWN, "rules": ["hunter2"]}, "has rules[0]: use rules such as"),
        ({**OWN, "rules": ["~a >hunter2"]}, "has rules[0]: write a pattern"),
        ({**OWN, "rules": ["(~a >hunter2)"]}, "has rules[0]: take it out, passwords"),
        ({**OWN, "rules": ["+get>hunter2"]}, "has rules[0]: "),
    ],
)
def test_a_wrong_user_is_one_sentence_without_the_password(user: Any, said: str) -> None:
    (problem,) = problems(redis_users=[user])
    assert said in problem
    assert problem.startswith("redis_users[0]")
    assert problem.endswith(".")
    assert "fifteen-letters" not in problem
    assert "hunter2" not in problem


def test_users_are_left_out_where_their_secrets_are_missing() -> None:
    wrong = {"redis_users": [{**USER, "password": ""}], "redis_tls_enabled": True}
    assert plugin.redis_problems({"r1": {**VARIABLES, **wrong}}, Site(secrets=False)) == []
    assert len(problems(**wrong)) == 2


def test_users_that_cannot_be_computed_are_left_out() -> None:
    assert plugin.redis_problems({"r1": {"redis_instances": [INSTANCE]}}) == []


# -- the other variables


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("redis_flavor", "keydb"),
        ("redis_flavor", None),
        ("redis_bind", "127.0.0.1"),
        ("redis_bind", ["*", "127.0.0.1"]),
        ("redis_maxclients", 0),
        ("redis_maxclients", 1_000_001),
        ("redis_maxclients", "10000"),
        ("redis_memory_reserve", "10"),
        ("redis_memory_reserve", 10),
        ("redis_fork_reserve", "101%"),
        ("redis_tls_enabled", "true"),
        ("redis_tls_certificate", "r1.crt"),
        ("redis_tls_certificate", "/var/tmp/r1.crt"),
        ("redis_tls_private_key", "/home/me/r1.key"),
        ("redis_tls_ca_certificate", "/etc/../ca.crt"),
        ("redis_tls_private_key", "hunter2"),
        ("redis_tls_private_key", None),
        ("redis_tls_ca_directory", ""),
        ("redis_tls_ca_passphrase", ["hunter2"]),
        ("redis_tls_client_certificates", False),
        ("redis_tls_client_certificates", "yes"),
        ("redis_tls_names", "r1"),
        ("redis_tls_names", ["a b"]),
        ("redis_tls_valid_days", 0),
        ("redis_tls_renew_days", True),
        ("redis_backup_schedule", "daily\nhourly"),
        ("redis_backup_schedule", None),
        ("redis_backup_directory", "var/backups"),
        ("redis_backup_directory", "/"),
        ("redis_backup_directory", "/var/with blank"),
        ("redis_backup_keep_count", 0),
        ("redis_backup_keep_days", 0),
        ("redis_backup_copy_to", "host:/path"),
        ("redis_backup_copy_to", "user@host:path"),
        ("redis_backup_copy_to", "copies"),
        ("redis_backup_ssh_key", "hunter2"),
        ("redis_backup_known_hosts", 5),
        ("redis_keep_old_passwords", "yes"),
    ],
)
def test_a_wrong_variable_is_one_sentence(name: str, value: Any) -> None:
    (problem,) = problems(**{name: value})
    entry = f"{name}[0] is {value[0]!r}: " if isinstance(value, list) else ""
    hidden = (f"{name} can't be right: ", f"{name} is of type {type(value).__name__}: ")
    shown = (f"{name} is {value!r}: ", entry or f"{name} is {value!r}: ")
    assert problem.startswith(hidden if specs("redis")[name].get("no_log") and value else shown)
    assert "hunter2" not in problem


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"redis_tls_valid_days": 30}, "redis_tls_renew_days is 30, with redis_tls_valid_days 30"),
        ({"redis_tls_enabled": True}, "redis_tls_ca_passphrase has no value"),
        ({"redis_instances": [{**INSTANCE, "tls": True}]}, "redis_tls_ca_passphrase has no value"),
        ({"redis_backup_copy_to": "/var/backups/redis"}, "redis_backup_copy_to is '/var/backups/redis'"),
        (
            {"redis_backup_copy_to": "a@b:/c", "redis_backup_known_hosts": "b ssh-ed25519 AAAA"},
            "redis_backup_ssh_key has no value: set it, redis_backup_copy_to is 'a@b:/c'",
        ),
        (
            {"redis_backup_copy_to": "a@b:/c", "redis_backup_ssh_key": "-----BEGIN OPENSSH PRIVATE KEY-----"},
            "redis_backup_known_hosts has no value",
        ),
        ({"redis_flavor": "valkey"}, "redis_flavor of r1 is valkey, which Debian 12 doesn't have: use redis"),
        (
            {"__redis_host": {**REDIS_HOST, "data": {"valkey": ["broker", "cache"], "redis": ["broker"]}}},
            "redis_flavor of r1 is redis, but /var/lib/valkey/broker has data: leave it at valkey",
        ),
    ],
)
def test_variables_that_do_not_fit_together_are_one_sentence(variables: dict[str, Any], said: str) -> None:
    (problem,) = problems(**variables)
    assert problem.startswith(said)
    assert problem.endswith(".")


def test_an_instance_without_tls_needs_no_passphrase() -> None:
    assert problems(redis_tls_enabled=True, redis_instances=[{**INSTANCE, "tls": False}]) == []


@pytest.mark.parametrize("missing", plugin.GIVEN)
def test_certificate_key_and_authority_belong_together(missing: str) -> None:
    given = {name: "/etc/ssl/x" for name in plugin.GIVEN if name != missing}
    (problem,) = problems(**given)
    assert problem.startswith(f"{missing} has no value beside ")


def test_data_of_the_other_flavor_that_a_cache_leaves_behind_is_no_loss() -> None:
    found = {**REDIS_HOST, "data": {"valkey": ["cache"], "redis": []}}
    assert problems(redis_instances=[INSTANCE, CACHE], __redis_host=found) == []


def test_a_host_that_the_run_does_not_reach_is_not_looked_at() -> None:
    hosts = {"r1": {**VARIABLES, "redis_maxclients": 0}, "r2": VARIABLES}
    assert plugin.redis_problems(hosts, Site(reached=["r2"])) == []
    assert len(plugin.redis_problems(hosts, Site(reached=["r1"]))) == 1


def test_what_is_wrong_with_several_hosts_is_said_once() -> None:
    wrong = {**VARIABLES, "redis_maxclients": 0}
    assert len(plugin.redis_problems({"r1": wrong, "r2": wrong})) == 1


# -- memory


def host_memory(megabytes: int) -> dict[str, Any]:
    return {**REDIS_HOST, "memory": megabytes * 2**20}


@pytest.mark.parametrize(
    ("instances", "enough"),
    [
        ([{**INSTANCE, "maxmemory": "600mb"}], 1000),  # and 300 for a fork, and 100 for everything else
        ([{**RESULTS, "maxmemory": "600mb"}], 1000),
        ([{**CACHE, "maxmemory": "900mb"}], 1000),
        ([{**CACHE, "maxmemory": "600mb", "config": {"appendonly": "YES"}}], 1000),
        ([{**CACHE, "maxmemory": "600mb", "config": {"save": [60, 1]}}], 1000),
        ([{**CACHE, "maxmemory": "900mb", "config": {"save": [], "appendonly": False}}], 1000),
        ([{**INSTANCE, "maxmemory": "300mb"}, {**CACHE, "maxmemory": "450mb"}], 1000),
    ],
)
def test_instances_that_a_hosts_memory_just_allows(instances: list[dict[str, Any]], enough: int) -> None:
    assert problems(redis_instances=instances, __redis_host=host_memory(enough)) == []
    (problem,) = problems(redis_instances=instances, __redis_host=host_memory(enough - 1))
    assert problem.startswith("redis_instances of r1 need 900 MB, ")
    assert "redis_memory_reserve leaves 899 of the host's 999" in problem


def test_shares_are_shares_of_the_hosts_memory() -> None:
    shared = [{**INSTANCE, "maxmemory": "60%"}]
    assert problems(redis_instances=shared, __redis_host=host_memory(10_000)) == []
    (problem,) = problems(redis_instances=[{**INSTANCE, "maxmemory": "61%"}], __redis_host=host_memory(10_000))
    assert "need 9150 MB, 3050 of them while saving" in problem
    assert problems(redis_instances=shared, __redis_host=host_memory(10_000), redis_memory_reserve="11%")
    assert problems(redis_instances=shared, __redis_host=host_memory(10_000), redis_fork_reserve="51%")


def test_memory_is_not_summed_up_over_what_cannot_be_right() -> None:
    (problem,) = problems(redis_instances=[{**INSTANCE, "maxmemory": "x"}], __redis_host=host_memory(1))
    assert "has maxmemory 'x'" in problem
    (problem,) = problems(redis_fork_reserve="x", __redis_host=host_memory(1))
    assert problem.startswith("redis_fork_reserve")


@given(
    st.integers(2**20, 2**40) | st.sampled_from(["1mb", "64M", "3k", "2gb", "7%", "100%", "1g"]),
    st.integers(2**28, 2**40),
)
def test_memory_is_what_the_role_makes_of_it(value: Any, memory: int) -> None:
    ours, rendered = checks.in_bytes(value, memory), redis.redis_memory(value, memory)
    assert rendered <= ours < rendered + 2**20  # a share is rounded down to whole MiB


# -- certificates

KEYS = [ec.generate_private_key(ec.SECP256R1()) for _ in range(4)]


def pem(key: ec.EllipticCurvePrivateKey, encryption: Any = None) -> str:
    how = encryption or NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, how).decode()


def certificate(name: str, key: int, issuer: str, issuers_key: int, days: int = 1) -> str:
    now = datetime.now(UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, issuer)]))
        .public_key(KEYS[key].public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=9))
        .not_valid_after(now + timedelta(days=days))
    )
    return built.sign(KEYS[issuers_key], hashes.SHA256()).public_bytes(Encoding.PEM).decode()


CA = certificate("ca", 0, "ca", 0)
LEAF = certificate("r1", 1, "ca", 0)
BETWEEN = certificate("between", 2, "ca", 0)
BELOW = certificate("r1", 1, "between", 2)


def certificates(ca: str = CA, chain: str = LEAF, key: str = pem(KEYS[1])) -> list[str]:
    return problems(redis_tls_ca_certificate=ca, redis_tls_certificate=chain, redis_tls_private_key=key)


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"chain": BELOW + BETWEEN},
        {"chain": BELOW, "ca": BETWEEN + CA},
        {"ca": certificate("other", 3, "other", 3) + CA},
        {"ca": "/etc/ssl/ca.crt"},
        {"key": "/etc/ssl/r1.key"},
        {"chain": CA, "key": pem(KEYS[0])},
    ],
)
def test_certificates_that_belong_together(given: dict[str, str]) -> None:
    assert certificates(**given) == []


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"key": pem(KEYS[3])}, "redis_tls_private_key is another certificate's"),
        ({"key": pem(KEYS[1], BestAvailableEncryption(b"x"))}, "redis_tls_private_key can't be read"),
        ({"key": "-----BEGIN PRIVATE KEY-----"}, "redis_tls_private_key can't be read"),
        ({"chain": "-----BEGIN CERTIFICATE-----"}, "redis_tls_certificate can't be read"),
        ({"ca": "-----BEGIN CERTIFICATE-----"}, "redis_tls_ca_certificate can't be read"),
        ({"chain": certificate("r1", 1, "ca", 0, days=-1)}, "redis_tls_certificate ended on "),
        ({"ca": certificate("ca", 0, "ca", 0, days=-1)}, "redis_tls_ca_certificate ended on "),
        ({"ca": certificate("other", 3, "other", 3)}, "redis_tls_certificate was issued by another authority"),
        ({"ca": certificate("ca", 3, "ca", 3)}, "redis_tls_certificate was issued by another authority"),
        ({"chain": BELOW}, "redis_tls_certificate was issued by another authority"),
        ({"chain": BELOW + CA}, "redis_tls_certificate was issued by another authority"),
    ],
)
def test_certificates_that_do_not_belong_together(given: dict[str, str], said: str) -> None:
    (problem,) = certificates(**given)
    assert problem.startswith(said)


# -- definitions nobody thought of

PATH = re.compile(r"redis_(instances|users)(\[\d+\]( \([a-z][a-z0-9_-]*\))?)? ")


@settings(max_examples=200)
@given(st.data())
def test_a_definition_is_refused_by_name_or_renders(data: st.DataObject) -> None:
    server = data.draw(st.sampled_from(sorted(SERVERS)))
    definition = data.draw(definitions(server))
    found = problems(
        **definition, **SERVERS[server], redis_flavor=SERVERS[server]["flavor"], redis_tls_ca_passphrase="p"
    )
    for problem in found:
        assert PATH.match(problem), problem
        assert problem.endswith(".")
        assert MARK not in problem
    if not found:
        _renders(definition, SERVERS[server]["flavor"], server.rpartition("-")[2])


def _renders(definition: dict[str, Any], flavor: str, version: str) -> None:
    """What was accepted is a configuration, in redis.conf's own grammar, and users without passwords."""
    unset = {"flavor": flavor, "bind": ["127.0.0.1"], "maxclients": 10, "tls": False}
    tls = dict.fromkeys(("certificate", "private_key", "ca_certificate"), "/x") | {"client_certificates": "no"}
    for instance in redis.redis_complete(definition["redis_instances"], unset, tls, 2**34):
        config = redis.redis_config(instance, {}, {instance["profile"]: {}})
        text = "".join(f"{name} {line}\n" for name, line in config.items())
        assert len(directives(text)) == len(config)
        assert set(instance["config"]) <= set(config)
        lines = redis.redis_acl(definition["redis_users"], instance["name"], version)
        assert len(lines) >= 2 or lines[0].startswith("user default on")
        assert not any("\n" in line or MARK in line for line in lines)


@given(st.dictionaries(st.sampled_from(sorted(specs("redis"))), st.from_type(object)))
def test_no_value_is_an_error(variables: dict[str, Any]) -> None:
    assert all(problem.endswith(".") for problem in problems(**variables))
