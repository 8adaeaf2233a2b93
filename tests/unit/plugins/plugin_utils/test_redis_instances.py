"""plugins/plugin_utils/redis_instances.py: configuration, ACL and URLs that say what was meant."""

from __future__ import annotations

import hashlib
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.celeriac.fleet.plugins.plugin_utils import redis_instances as redis
from hypothesis import example, given
from hypothesis import strategies as st
from kombu.utils.url import parse_url

from tests.support.harness import ROOT, read_yaml, specs
from tests.support.redis_conf import sdssplitargs

PASSWORD = "correct horse battery"
ENTRY = {"name": "broker", "port": 6379, "profile": "broker", "maxmemory": "2gb"}
DEFAULTS = {"flavor": "redis", "bind": ["::1"], "maxclients": 100, "tls": False}
TLS = {"certificate": "/a.crt", "private_key": "/a.key", "ca_certificate": "/ca.crt", "client_certificates": "no"}
HOST = 8 * 2**30  # bytes of memory
USER = {"name": "shop", "profile": "celery", "key_prefix": "shop:", "password": PASSWORD}
ENCODABLE = st.characters(exclude_categories=["Cs"])


# -- quoting


@given(st.text(ENCODABLE))
@example("a\0b")
@example("\x7f")
@example("\\x41")
def test_quoted_values_are_read_back_by_redis_rules(value: str) -> None:
    assert sdssplitargs(redis.redis_quote(value)) == [value.encode()]


def completed(*entries: dict[str, Any], **defaults: Any) -> list[dict[str, Any]]:
    return list(redis.redis_complete(list(entries), {**DEFAULTS, **defaults}, TLS, HOST))


def config(base: dict | None = None, profile: dict | None = None, defaults: dict | None = None, **entry: Any) -> Any:
    """The directives of an instance."""
    (instance,) = completed({**ENTRY, **entry}, **(defaults or {}))
    return redis.redis_config(instance, base or {}, {"broker": profile or {}})


@given(st.lists(st.text(ENCODABLE), min_size=1))
def test_a_list_is_one_line_of_as_many_arguments(values: list[str]) -> None:
    assert sdssplitargs(config(config={"x": values})["x"]) == [value.encode() for value in values]


@pytest.mark.parametrize(
    ("value", "text"),
    [(True, "yes"), (False, "no"), (0, "0"), ("", '""'), ("noeviction", "noeviction"), ("2gb", "2gb")],
)
def test_plain_values_stay_plain(value: Any, text: str) -> None:
    assert redis.redis_quote(value) == text


# -- configuration


def test_own_configuration_goes_over_profile_and_base() -> None:
    found = config({"appendfsync": "everysec"}, {"save": []}, config={"appendfsync": "always", "save": [1, 2]})
    assert found["appendfsync"] == "always"
    assert found["save"] == "1 2"


def test_an_empty_list_switches_the_directive_off() -> None:
    """Without its ``""`` Redis' built-in schedule of snapshots would stay on."""
    assert config(profile={"save": []})["save"] == '""'


def test_directives_are_sorted() -> None:
    found = config({"zset-max": 1, "activedefrag": True})
    assert list(found) == sorted(found)


@pytest.mark.parametrize("flavor", ["redis", "valkey"])
def test_files_of_an_instance_carry_its_name_and_flavor(flavor: str) -> None:
    found = config(name="cache", defaults={"flavor": flavor})
    assert {found[key] for key in ("dir", "pidfile", "logfile", "aclfile", "unixsocket")} == {
        f"/var/lib/{flavor}/cache",
        f"/run/{flavor}-cache/{flavor}-server.pid",
        f"/var/log/{flavor}/{flavor}-server-cache.log",
        f"/etc/{flavor}/users-cache.acl",
        f"/run/{flavor}-cache/{flavor}-server.sock",
    }


def test_without_tls_there_is_no_word_of_it() -> None:
    found = config()
    assert found["port"] == "6379"
    assert not [name for name in found if name.startswith("tls-")]


def test_with_tls_there_is_no_plain_port() -> None:
    found = config(tls=True)
    assert (found["port"], found["tls-port"]) == ("0", "6379")
    assert found["tls-protocols"] == '"TLSv1.2 TLSv1.3"'
    assert [found[f"tls-{part}-file"] for part in ("cert", "key", "ca-cert")] == ["/a.crt", "/a.key", "/ca.crt"]


@pytest.mark.parametrize(("asked", "directive"), [("no", "no"), ("optional", "optional"), ("required", "yes")])
def test_client_certificates(asked: str, directive: str) -> None:
    (instance,) = redis.redis_complete([{**ENTRY, "tls": True}], DEFAULTS, {**TLS, "client_certificates": asked}, HOST)
    assert redis.redis_config(instance, {}, {"broker": {}})["tls-auth-clients"] == directive


@pytest.mark.parametrize(
    ("value", "size"),
    [
        (1048576, 1048576),
        ("1048576", 1048576),
        ("1k", 1000),
        ("1kb", 1024),
        ("3m", 3 * 1000**2),
        ("512MB", 512 * 2**20),
        ("2g", 2 * 1000**3),
        ("2gb", 2 * 2**30),
        ("25%", 2 * 2**30),
        (" 100 % ", 8 * 2**30),
    ],
)
def test_memory_is_bytes(value: Any, size: int) -> None:
    assert redis.redis_memory(value, HOST) == size


def test_a_share_of_memory_is_whole_mebibytes() -> None:
    assert redis.redis_memory("33%", HOST - 4096) == redis.redis_memory("33%", HOST - 8192)
    assert redis.redis_memory("33%", HOST) % 2**20 == 0


def test_what_an_entry_leaves_out_is_completed() -> None:
    cache = {
        **ENTRY,
        "name": "cache",
        "profile": "cache",
        "bind": ["::2"],
        "maxclients": 5,
        "tls": True,
        "backup": True,
    }
    plain, own = completed(ENTRY, cache)
    assert (plain["bind"], plain["maxclients"], plain["tls"], plain["backup"]) == (["::1"], 100, {}, True)
    assert (own["bind"], own["maxclients"], own["tls"], own["backup"]) == (["::2"], 5, TLS, True)


def test_tls_can_be_switched_off_for_one() -> None:
    assert [one["tls"] for one in completed({**ENTRY, "tls": False}, ENTRY, tls=True)] == [{}, TLS]


def test_a_cache_is_not_backed_up() -> None:
    assert [one["backup"] for one in completed({**ENTRY, "profile": "cache"}, {**ENTRY, "profile": "results"})] == [
        False,
        True,
    ]


# -- units and what runs


def test_units_are_restarted_for_configuration_and_not_for_users_and_certificates() -> None:
    assert redis.redis_units([ENTRY], "valkey") == [
        {
            "name": "valkey-server@broker.service",
            "inputs": ["/etc/valkey/valkey-broker.conf", "/etc/valkey/celeriac.env"],
        }
    ]


def test_running_instances_load_users_and_certificates() -> None:
    plain, encrypted = redis.redis_running(completed(ENTRY, {**ENTRY, "name": "b", "tls": True}))
    assert plain["acl"] == "/etc/redis/users-broker.acl"
    assert plain["socket"] == "/run/redis-broker/redis-server.sock"
    assert plain["certificates"] == {}
    assert encrypted["certificates"] == {
        "tls-cert-file": "/a.crt",
        "tls-key-file": "/a.key",
        "tls-ca-cert-file": "/ca.crt",
    }


def test_what_is_backed_up_has_a_service_and_with_a_schedule_a_timer() -> None:
    instances = completed(ENTRY, {**ENTRY, "name": "cache", "profile": "cache"})
    service = {"name": "redis-backup@broker.service", "start": False}
    assert redis.redis_backup_units(instances, "") == [service]
    assert redis.redis_backup_units(instances, "daily") == [service, {"name": "redis-backup@broker.timer"}]


def test_what_left_the_list_or_is_of_the_other_flavor_is_retired() -> None:
    found = {"redis": ["broker", "old"], "valkey": ["broker"]}
    assert redis.redis_retired(found, [ENTRY], "redis") == [
        {
            "unit": "redis-server@old.service",
            "files": [
                "/etc/redis/redis-old.conf",
                "/etc/redis/users-old.acl",
                "/etc/systemd/system/redis-server@old.service.d",
            ],
            "data": "/var/lib/redis/old",
        },
        {
            "unit": "valkey-server@broker.service",
            "files": [
                "/etc/valkey/valkey-broker.conf",
                "/etc/valkey/users-broker.acl",
                "/etc/systemd/system/valkey-server@broker.service.d",
            ],
            "data": "/var/lib/valkey/broker",
        },
    ]


# -- URL


@given(st.text(ENCODABLE, min_size=1), st.text(ENCODABLE, min_size=1), st.integers(0, 15))
def test_url_gives_kombu_what_went_in(username: str, password: str, database: int) -> None:
    url = redis.redis_url("broker.example", 6379, username, password, database)
    read = parse_url(url)
    assert (read["userid"], read["password"]) == (username, password)
    assert (read["hostname"], read["port"], read["virtual_host"]) == ("broker.example", 6379, str(database))
    split = urlsplit(url)
    assert (unquote(split.username or ""), unquote(split.password or "")) == (username, password)


@pytest.mark.parametrize(
    ("ca", "query"),
    [("/etc/shop/ca.crt", "?ssl_cert_reqs=required&ssl_ca_certs=/etc/shop/ca.crt"), ("", "?ssl_cert_reqs=required")],
)
def test_url_with_tls_demands_a_certificate(ca: str, query: str) -> None:
    assert (
        redis.redis_url("b.example", 6380, "u", "p@ss", tls=True, ca=ca) == f"rediss://u:p%40ss@b.example:6380/0{query}"
    )


def test_an_ipv6_address_stands_in_brackets() -> None:
    url = redis.redis_url("fd00::1", 6379, "u", "p")
    assert url == "redis://u:p@[fd00::1]:6379/0"
    assert urlsplit(url).hostname == "fd00::1"


def test_url_of_a_server_with_a_password_only() -> None:
    assert redis.redis_url("b.example", 6379, "", "secret") == "redis://:secret@b.example:6379/0"


# -- ACL


def acl(*users: dict[str, Any], version: str = "7.0.15", **more: Any) -> list[str]:
    return list(redis.redis_acl(list(users), "broker", version, **more))


def digest(password: str) -> str:
    return hashlib.sha256(password.encode()).hexdigest()


def test_acl_holds_only_the_digest_of_a_password() -> None:
    lines = acl(USER)
    assert PASSWORD not in "".join(lines)
    assert lines[1].endswith(f" #{digest(PASSWORD)}")


def test_default_user_can_not_log_in_but_may_replay() -> None:
    """redis/redis#14541: what the default user may not run is silently dropped from the append-only file at start."""
    first, *_ = acl(USER)
    words = first.split()
    assert words[:3] == ["user", "default", "off"]
    assert {"resetpass", "~*", "&*", "+@all"} <= set(words)
    assert "nopass" not in words
    assert "on" not in words


def test_a_default_user_of_the_inventory_may_replay_too() -> None:
    (line,) = acl({"name": "default", "profile": "admin", "password": PASSWORD})
    assert line.split()[:3] == ["user", "default", "on"]
    assert {"~*", "&*", "+@all", f"#{digest(PASSWORD)}"} <= set(line.split())


def test_users_of_other_instances_are_left_out() -> None:
    lines = acl({**USER, "instances": ["cache"]}, {**USER, "name": "b", "instances": ["broker", "cache"]})
    assert [line.split()[1] for line in lines] == ["default", "b"]


def test_an_instance_without_a_user_is_an_error() -> None:
    with pytest.raises(AnsibleFilterError, match="no user for the instance broker"):
        acl({**USER, "instances": ["cache"]})


def test_passwords_that_stay_valid_stand_behind_the_new_one() -> None:
    old = digest("the old password of it")
    line = acl(USER, kept={"shop": [old, digest(PASSWORD)], "gone": ["e" * 64]})[1]
    assert line.split()[-2:] == [f"#{digest(PASSWORD)}", f"#{old}"]


def test_the_hosts_own_maintenance_reads_no_key() -> None:
    line = acl(USER, maintenance="a" * 64)[-1]
    words = line.split()
    assert words[1] == "celeriac"
    assert words[-1] == "#" + "a" * 64
    assert not [word for word in words if word.startswith(("~", "&", "%", "+@"))]
    assert "-@all" in words


def test_without_a_maintenance_password_there_is_no_such_user() -> None:
    """As in check mode on a bare host."""
    assert "celeriac" not in "".join(acl(USER))


def test_application_may_nothing_that_is_not_named() -> None:
    words = acl(USER)[1].split()
    assert "-@all" in words
    assert not any(word.startswith("+@") for word in words)
    assert not {"+keys", "+flushall", "+flushdb", "+config", "+acl", "+eval", "+shutdown", "+debug", "+select"} & set(
        words
    )
    assert all(word.startswith(("~shop:", "&shop:")) for word in words if word[0] in "~&")


def test_application_without_prefix_has_all_keys_but_no_more_commands() -> None:
    prefixed, plain = (acl(user)[1].split() for user in (USER, {**USER, "key_prefix": ""}))
    assert {"~*", "&*", "-@all"} <= set(plain)
    assert {w for w in plain if w.startswith("+")} == {w for w in prefixed if w.startswith("+")}


def test_other_databases_have_their_channels_and_can_be_selected() -> None:
    words = acl({**USER, "databases": [0, 3]})[1].split()
    assert {"&shop:/0.celery.pidbox", "&shop:/3.celery.pidbox", "&shop:/3.celeryev/*", "+select"} <= set(words)


@pytest.mark.parametrize("profile", ["monitor", "replica"])
def test_a_narrow_profile_writes_nothing(profile: str) -> None:
    words = acl({**USER, "profile": profile})[1].split()
    assert "-@all" in words
    assert not [word for word in words if word.startswith(("~", "+@", "&"))]
    assert not {"+config|get", "+config", "+get", "+set", "+lpush", "+replicaof", "+acl"} & set(words)


def test_own_rules_begin_with_nothing() -> None:
    words = acl({"name": "x", "rules": ["~a:*", "+get"], "password": PASSWORD})[1].split()
    assert words[2:] == ["on", "sanitize-payload", "resetkeys", "resetchannels", "-@all", "~a:*", "+get", words[-1]]


@pytest.mark.parametrize(
    ("version", "known"), [("7.0.15", False), ("7.2.0", True), ("8.0.2", True), ("10.1", True), ("0", False)]
)
def test_a_server_is_not_given_commands_that_it_does_not_know(version: str, known: bool) -> None:
    assert ("+client|setinfo" in acl(USER, version=version)[1].split()) is known


# -- the role's manual says the same


def test_each_profile_has_its_directives() -> None:
    variables = read_yaml(ROOT / "roles/redis/vars/main.yml")
    assert list(variables["__redis_profiles"]) == specs("redis")["redis_instances"]["options"]["profile"]["choices"]
    assert variables["__redis_persistent"]["maxmemory-policy"] == "noeviction"
