"""plugins/filter/redis.py: configuration, ACL and URLs that say what was meant, whatever the values are."""

from __future__ import annotations

import hashlib
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from ansible.errors import AnsibleFilterError
from harness import ROOT, load, read_yaml, specs
from hypothesis import example, given
from hypothesis import strategies as st
from kombu.utils.url import parse_url
from redis_conf import sdssplitargs

redis = load("plugins/filter/redis.py")

PASSWORD = "correct horse battery"
INSTANCE = {"name": "broker", "port": 6379, "profile": "broker", "maxmemory": "2gb"}
USER = {"name": "shop", "profile": "celery", "key_prefix": "shop:", "password": PASSWORD}
ENCODABLE = st.characters(exclude_categories=["Cs"])


# -- quoting


@given(st.text(ENCODABLE))
@example("a\0b")
@example("\x7f")
@example("\\x41")
def test_quoted_values_are_read_back_by_redis_rules(value: str) -> None:
    assert sdssplitargs(redis.redis_quote(value)) == [value.encode()]


@given(st.lists(st.text(ENCODABLE), min_size=1))
def test_a_list_is_one_line_of_as_many_arguments(values: list[str]) -> None:
    config = redis.redis_config({**INSTANCE, "bind": ["::1"], "config": {"x": values}}, {}, {"broker": {}})
    assert sdssplitargs(config["x"]) == [value.encode() for value in values]


@pytest.mark.parametrize(
    ("value", "text"),
    [(True, "yes"), (False, "no"), (0, "0"), ("", '""'), ("noeviction", "noeviction"), ("2gb", "2gb")],
)
def test_plain_values_stay_plain(value: Any, text: str) -> None:
    assert redis.redis_quote(value) == text


# -- configuration


def test_own_configuration_goes_over_profile_and_base() -> None:
    instance = {**INSTANCE, "bind": ["127.0.0.1"], "config": {"appendfsync": "always", "save": [1, 2]}}
    config = redis.redis_config(instance, {"appendfsync": "everysec"}, {"broker": {"save": []}})
    assert config["appendfsync"] == "always"
    assert config["save"] == "1 2"


def test_an_empty_list_switches_the_directive_off() -> None:
    """Without its ``""`` Redis' built-in schedule of snapshots would stay on."""
    config = redis.redis_config({**INSTANCE, "bind": ["::1"]}, {}, {"broker": {"save": []}})
    assert config["save"] == '""'


def test_directives_are_sorted() -> None:
    config = redis.redis_config({**INSTANCE, "bind": ["::1"]}, {"zset-max": 1, "activedefrag": True}, {"broker": {}})
    assert list(config) == sorted(config)


def test_files_of_an_instance_carry_its_name() -> None:
    config = redis.redis_config({**INSTANCE, "name": "cache", "bind": ["::1"]}, {}, {"broker": {}})
    assert {config[key] for key in ("dir", "pidfile", "logfile", "aclfile")} == {
        "/var/lib/redis/cache",
        "/run/redis-cache/redis-server.pid",
        "/var/log/redis/redis-server-cache.log",
        "/etc/redis/users-cache.acl",
    }


def test_units_are_restarted_for_their_own_files() -> None:
    assert redis.redis_units([INSTANCE]) == [
        {
            "name": "redis-server@broker.service",
            "inputs": ["/etc/redis/redis-broker.conf", "/etc/redis/users-broker.acl"],
        }
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


# -- ACL


def test_acl_holds_only_the_digest_of_a_password() -> None:
    lines = redis.redis_acl([USER], "7.0.15")
    assert PASSWORD not in "".join(lines)
    assert lines[1].endswith("#" + hashlib.sha256(PASSWORD.encode()).hexdigest())


def test_default_user_can_not_log_in_but_may_replay() -> None:
    """redis/redis#14541: what the default user may not run is silently dropped from the append-only file at start."""
    first, *_ = redis.redis_acl([USER], "7.0.15")
    words = first.split()
    assert words[:3] == ["user", "default", "off"]
    assert {"resetpass", "~*", "&*", "+@all"} <= set(words)
    assert "nopass" not in words
    assert "on" not in words


def test_application_may_nothing_that_is_not_named() -> None:
    words = redis.redis_acl([USER], "7.0.15")[1].split()
    assert "-@all" in words
    assert not any(word.startswith("+@") for word in words)
    assert not {"+keys", "+flushall", "+flushdb", "+config", "+acl", "+eval", "+shutdown", "+debug"} & set(words)
    assert all(word.startswith(("~shop:", "&shop:")) for word in words if word[0] in "~&")


def test_application_without_prefix_has_all_keys_but_no_more_commands() -> None:
    prefixed, plain = (redis.redis_acl([user], "7.0.15")[1].split() for user in (USER, {**USER, "key_prefix": ""}))
    assert {"~*", "&*", "-@all"} <= set(plain)
    assert {w for w in plain if w.startswith("+")} == {w for w in prefixed if w.startswith("+")}


@pytest.mark.parametrize(
    ("version", "known"), [("7.0.15", False), ("7.2.0", True), ("8.0.2", True), ("10.1", True), ("0", False)]
)
def test_a_server_is_not_given_commands_that_it_does_not_know(version: str, known: bool) -> None:
    assert ("+client|setinfo" in redis.redis_acl([USER], version)[1].split()) is known


def test_a_user_that_cannot_be_right_is_an_error_without_the_password() -> None:
    with pytest.raises(AnsibleFilterError) as error:
        redis.redis_acl([{**USER, "password": "hunter2"}], "7.0.15")
    assert "7 characters" in str(error.value)
    assert "hunter2" not in str(error.value)


# -- problems


def problems(**variables: Any) -> list[str]:
    return list(redis.redis_problems({"r1": {"redis_instances": [INSTANCE], "redis_users": [USER], **variables}}))


def test_what_is_right_has_no_problem() -> None:
    cache = {"name": "cache", "port": 6380, "profile": "cache", "maxmemory": 1048576, "bind": ["::1"], "config": {}}
    assert problems(redis_instances=[INSTANCE, cache]) == []


@pytest.mark.parametrize(
    ("instance", "said"),
    [
        ("broker", "write a mapping"),
        ({**INSTANCE, "nmae": "x"}, "unknown key 'nmae'"),
        ({**INSTANCE, "name": "Broker"}, "lower-case letters"),
        ({**INSTANCE, "name": "a/b"}, "lower-case letters"),
        ({**INSTANCE, "port": "6379"}, "has port '6379'"),
        ({**INSTANCE, "port": 0}, "has port 0"),
        ({**INSTANCE, "port": True}, "has port True"),
        ({**INSTANCE, "profile": "queue"}, "use one of broker, cache"),
        ({**INSTANCE, "maxmemory": "2 gb"}, "has maxmemory '2 gb'"),
        ({**INSTANCE, "maxmemory": 0}, "has maxmemory 0"),
        ({**INSTANCE, "config": {"maxmemory-policy": "allkeys-lru"}}, "maxmemory-policy 'allkeys-lru'"),
        ({**INSTANCE, "config": {"MAXMEMORY-POLICY": "allkeys-lru"}}, "config.MAXMEMORY-POLICY"),
        ({**INSTANCE, "config": {"requirepass": "x"}}, "config.requirepass"),
        ({**INSTANCE, "config": {"aclfile": "x"}}, "config.aclfile"),
        ({**INSTANCE, "config": ["appendfsync always"]}, "has config"),
    ],
)
def test_a_wrong_instance_is_one_sentence(instance: Any, said: str) -> None:
    (problem,) = problems(redis_instances=[instance])
    assert said in problem
    assert problem.startswith("redis_instances[0]")
    assert problem.endswith(".")


@pytest.mark.parametrize(
    ("user", "said"),
    [
        ("shop", "write a mapping"),
        ({**USER, "pasword": "x"}, "unknown key 'pasword'"),
        ({**USER, "name": "default"}, "not 'default'"),
        ({**USER, "name": "a b"}, "has the name 'a b'"),
        ({**USER, "profile": "root"}, "use one of admin, celery"),
        ({**USER, "password": "fifteen-letters"}, "a password of 15 characters"),
        ({**USER, "password": ""}, "has no password"),
        ({**USER, "password": None}, "has no password"),
        ({**USER, "key_prefix": "a *"}, "has the key_prefix 'a *'"),
    ],
)
def test_a_wrong_user_is_one_sentence_without_the_password(user: Any, said: str) -> None:
    (problem,) = problems(redis_users=[user])
    assert said in problem
    assert problem.startswith("redis_users[0]")
    assert "fifteen-letters" not in problem


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"redis_instances": []}, "list at least one instance"),
        ({"redis_instances": None}, "redis_instances is None"),
        ({"redis_instances": [INSTANCE, {**INSTANCE, "name": "b"}]}, "has the port '6379' 2 times"),
        ({"redis_instances": [INSTANCE, {**INSTANCE, "port": 1}]}, "has the name 'broker' 2 times"),
        ({"redis_users": []}, "redis_users has no user"),
        ({"redis_users": [USER, {**USER, "profile": "admin"}]}, "redis_users has the name 'shop' 2 times"),
    ],
)
def test_a_wrong_set_is_one_sentence(variables: dict[str, Any], said: str) -> None:
    (problem,) = problems(**variables)
    assert said in problem


def test_redis_without_a_host_is_one_sentence() -> None:
    (problem,) = redis.redis_problems({})
    assert problem.startswith("The group redis has no host")


def test_users_are_left_out_where_their_secrets_are_missing() -> None:
    wrong = {"r1": {"redis_instances": [INSTANCE], "redis_users": [{**USER, "password": ""}]}}
    assert redis.redis_problems(wrong, users=False) == []


# -- the role's manual says the same


def test_keys_and_profiles_are_those_of_the_argument_specs() -> None:
    options = specs("redis")
    assert set(options["redis_instances"]["options"]) == redis.INSTANCE_KEYS
    assert tuple(options["redis_instances"]["options"]["profile"]["choices"]) == redis.PROFILES
    assert set(options["redis_users"]["options"]) == redis.USER_KEYS


def test_each_profile_has_its_directives() -> None:
    variables = read_yaml(ROOT / "roles/redis/vars/main.yml")
    assert tuple(variables["__redis_profiles"]) == redis.PROFILES
    assert variables["__redis_profiles"]["broker"]["maxmemory-policy"] == "noeviction"
