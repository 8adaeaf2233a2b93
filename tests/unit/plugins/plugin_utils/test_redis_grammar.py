"""plugins/plugin_utils/redis_grammar.py: what servers take. The real ones are asked in test_redis_definitions.py."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.celeriac.fleet.plugins.plugin_utils import redis_grammar as grammar

SERVERS = list(grammar.tables()["servers"])
OLD, NEW, VALKEY = SERVERS


def test_servers_are_those_of_a_flavor_and_a_debian() -> None:
    assert grammar.servers("redis", "12") == ["redis-7.0"]
    assert grammar.servers("redis", "13") == ["redis-8.0"]
    assert grammar.servers("redis", None) == ["redis-7.0", "redis-8.0"]
    assert grammar.servers("valkey", "13") == ["valkey-8.1"]
    assert grammar.servers("valkey", "12") == []


@pytest.mark.parametrize("server", SERVERS)
def test_tables_hold_what_each_server_has(server: str) -> None:
    assert len(grammar.directives(server)) > 190
    assert {"get", "acl", "acl|cat", "client|setname"} <= set(grammar.commands(server))
    assert {"all", "read", "dangerous"} <= set(grammar.categories(server))
    assert not {name for name in grammar.commands(server) if name.startswith("|") or name.endswith("|")}


def test_tables_tell_servers_apart() -> None:
    assert ["client|setinfo" in grammar.commands(server) for server in SERVERS] == [False, True, True]
    assert ["commandlog|get" in grammar.commands(server) for server in SERVERS] == [False, False, True]
    assert ["primaryauth" in grammar.directives(server) for server in SERVERS] == [False, False, True]
    assert [grammar.directives(server)["io-threads"][2] for server in SERVERS] == ["128", "128", "256"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("hz", ""),
        ("maxmemory-polcy", "write maxmemory-policy"),
        ("zzz", "take it out, Redis 7.0 doesn't know it"),
        ("locale-collate", "take it out, only Redis 8.0 and Valkey 8.1 know it"),
        ("availability-zone", "take it out, only Valkey 8.1 knows it"),
    ],
)
def test_an_unknown_directive_is_answered_with_the_nearest(name: str, said: str) -> None:
    assert grammar.unknown_directive(OLD, name) == said


LIMITS = ["normal", 0, "1mb", 60]


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("activerehashing", [True, False, "yes", "NO", ["no"]]),
        ("appendfsync", ["always", "EVERYSEC", False]),
        ("hz", [0, "10", 2147483647, [10]]),
        ("slowlog-log-slower-than", [-1, "-1", 9223372036854775807]),
        ("active-defrag-ignore-bytes", [1, "1b", "1K", "1Kb", "8589934591gb", 9223372036854775807]),
        ("client-query-buffer-limit", [1048576, "1048576B", "1049k", "1024KB", "2m", "1mb", "1g", "1Gb"]),
        ("maxmemory-clients", [0, "0%", "100%", "64mb"]),
        ("notify-keyspace-events", ["", "KEA", "Ex", "$AEKdeghlmnstxz"]),
        ("save", [[], "", [""], [1, 1], [3600, 1], "3600 1", [3600, 1, 60, 0], [999999999, 999999999]]),
        ("client-output-buffer-limit", [LIMITS, "NORMAL 0 0 0", [*LIMITS, "pubsub", "32mb", "8MB", 0]]),
        ("latency-tracking-info-percentiles", [[], "", "50 99.9", [0, 100], 50.5]),
        ("oom-score-adj-values", [[0, 200, 800], "-2000 2000 0", [-1, -2, 3], [5, 1999, -1999]]),
        ("shutdown-on-sigterm", ["now", "now force", ["nosave", "NOW"], "default"]),
        ("bgsave_cpulist", ["", "0", "0-1", "0-7:2,9"]),
        ("proc-title-template", ["{title} x", "two words", "{listen-addr}: ünï"]),
        ("databases", [16, 10000]),
    ],
)
def test_values_that_servers_take(name: str, values: list[Any]) -> None:
    for server in SERVERS:
        assert {repr(value): grammar.directive_value(server, name, value) for value in values} == dict.fromkeys(
            map(repr, values), ""
        )


@pytest.mark.parametrize(
    ("name", "values", "said"),
    [
        ("activerehashing", ["on", 1, "", [True, False], [[]], None, {}], ""),
        ("appendfsync", ["everysec always", ["always", "no"], True], "use always or everysec or no"),
        (
            "hz",
            ["+10", "010", "10.0", 10.0, " 10", "10 ", "0x10", "", "-0", -1, 2147483648, [1, 2], "10k", "\u0661"],
            "give it a number from 0 to 2147483647",
        ),
        ("active-defrag-ignore-bytes", [0, "1t", "1.5g", "-1", "1 k", "8589934592gb", "", [1, 2]], "such as 64mb"),
        ("client-query-buffer-limit", ["1048575b", "1048k", "1023kb", "1m", "\u0669mb"], "such as 64mb"),
        (
            "maxmemory-clients",
            ["\u0665%", "101%", "-5%", "05%", "5.5%", "%", "5 %", ["5%", "5%"]],
            "or a share such as 5%",
        ),
        ("notify-keyspace-events", ["kea", "K E", ["K", "E"]], "use letters out of $AEKdegh"),
        (
            "save",
            [
                3600,
                [3600],
                [0, 1],
                [3600, -1],
                ["3600 1", "60 5"],
                [3600.5, 1],
                "3600  1",
                "3600 1 ",
                ["", ""],
                [1, 10**9],
            ],
            "write pairs of seconds and changes",
        ),
        (
            "client-output-buffer-limit",
            [[], LIMITS[:3], ["master", 0, 0, 0], ["normal", -1, 0, 0], ["normal", "1x", 0, 0], ["normal", 0, 0, 1.5]],
            "write class, hard limit",
        ),
        (
            "latency-tracking-info-percentiles",
            [100.1, "-1", "nan", "inf", "a", ["50 99", 98], [""] * 2],
            "from 0 to 100",
        ),
        (
            "oom-score-adj-values",
            [[0, 200], [0, 0, 0, 0], [-2001, 0, 0], [0, 0, 2001], "a b c", [1.5, 2, 3]],
            "write three numbers",
        ),
        (
            "shutdown-on-sigterm",
            ["", [], "save nosave", "later", ["now force", "now"]],
            "use one or more of default, force",
        ),
        ("bgsave_cpulist", ["garbage", "0 1", "0,", "1-"], "correct it"),
        ("proc-title-template", ["", "{title}", "{bogus} x", "{title", "a\nb", ["a", "b"]], "correct it"),
        ("bind-source-addr", ["127.0.0.1"], "take it out, nobody checks it"),
        ("databases", [15, 10001], "give it a number from 16 to 10000"),
    ],
)
def test_values_that_servers_do_not_take(name: str, values: list[Any], said: str) -> None:
    for server in SERVERS:
        for value in values:
            answer = grammar.directive_value(server, name, value)
            assert answer, value
            assert said in answer or "give it a text, a number" in answer


@pytest.mark.parametrize(
    "rules",
    [
        ["~a", "~*"],
        ["~*", "allkeys", "~*"],
        ["~*", "resetkeys", "~a"],
        ["&a", "&*", "allchannels"],
        ["allchannels", "resetchannels", "&a"],
        ["%R~a", "%W~a", "%rw~a", "%WR~a", "%RW~*", "~b"],
        ["+get", "-GET", "+client|setname", "-client|SETNAME", "+client"],
        ["+select|0", "+select|1", "-select"],
        ["+@read", "-@DANGEROUS", "+@all", "allcommands", "NoCommands"],
        ["(+get ~a)", "(%R~b &c -@all)", "~*", "(~a)"],
        ["~a(b", "~\"'#>|,", "&ü"],
    ],
)
@pytest.mark.parametrize("server", SERVERS)
def test_rules_that_servers_take(server: str, rules: list[str]) -> None:
    assert list(grammar.rules(server, rules)) == []


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ("+gett", "write get"),
        ("+nosuchthing", "take it out, Redis 7.0 doesn't know it"),
        ("+client|setinfo", "take it out, only Redis 8.0 and Valkey 8.1 know it"),
        ("+client|setnme", "write client|setname"),
        ("+client|setname|x", "write client|setname"),
        ("+select|0|1", "bind it to one first argument"),
        ("+select|", "bind it to one first argument"),
        ("+select|a b", "bind it to one first argument"),
        ("-select|0", "write -select"),
        ("-nosuchthing|0", "take it out"),
        ("+@raed", "write read"),
        ("+@", "take it out"),
        ("+", "take it out"),
        ("~", "write a pattern"),
        ("%R~", "write a pattern"),
        ("~a b", "write a pattern"),
        ("~a\tb", "write a pattern"),
        ("&a\u2003b", "write a pattern"),
        ("%R", "use rules such as"),
        ("%RR~a", "use rules such as"),
        ("%X~a", "use rules such as"),
        ("@read", "use rules such as"),
        ("get", "use rules such as"),
        ("", "use rules such as"),
        ("~a\n", "use rules such as"),
        (">secret", "passwords only stand in password"),
        ("#" + "a" * 64, "passwords only stand in password"),
        ("!x", "passwords only stand in password"),
        ("<x", "passwords only stand in password"),
        ("( >x)", "passwords only stand in password"),
        ("nopass", "the role sets that itself"),
        ("ON", "the role sets that itself"),
        ("reset", "the role sets that itself"),
        ("skip-sanitize-payload", "the role sets that itself"),
        ("clearselectors", "the role sets that itself"),
        ("(+get", "close the parenthesis"),
        ("((+get))", "close the parenthesis"),
        ("(+get ~a)x", "close the parenthesis"),
        ("(~a) ~b)", "close the parenthesis"),
        ('(~a" ~b)', "nor quotes inside"),
        ("(~'a')", "nor quotes inside"),
        ("(on)", "leave only keys"),
        ("()", "use rules such as"),
        ("(+gett)", "write get"),
        ("(~* ~a)", "an earlier rule allows everything"),
    ],
)
def test_rules_that_servers_do_not_take(rule: str, said: str) -> None:
    ((position, answer),) = grammar.rules(OLD, ["~x", rule, "+get"])
    assert position == 1
    assert said in answer


@pytest.mark.parametrize(
    ("rules", "position"),
    [
        (["~*", "~a"], 1),
        (["ALLKEYS", "+get", "%R~a"], 2),
        (["&*", "~a", "&a"], 2),
        (["allchannels", "&a"], 1),
        (["resetkeys", "allkeys", "~a", "~*"], 2),
    ],
)
def test_a_pattern_on_top_of_everything_is_refused_as_servers_do(rules: list[str], position: int) -> None:
    assert [at for at, _ in grammar.rules(NEW, rules)] == [position]


def test_selectors_have_patterns_of_their_own() -> None:
    assert list(grammar.rules(VALKEY, ["~*", "(~a)", "(allkeys)", "(~b)"])) == []
