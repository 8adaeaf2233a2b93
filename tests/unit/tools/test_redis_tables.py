"""tools/redis_tables.py: what a server's complaints say about a directive, and the file that comes of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import redis_tables
import yaml

from tests.support.paths import ROOT


def server(takes: Callable[..., bool], complaint: str) -> Callable[..., str | None]:
    return lambda *values: None if takes(*values) else complaint


def between(least: int, most: int, base: int = 10) -> Callable[..., str | None]:
    """A server that takes numbers, and says which if it is given another."""

    def say(*values: str) -> str | None:
        try:
            number = int(values[0], base)
        except ValueError:
            return {8: "couldn't be parsed as an octal number"}.get(base, "argument couldn't be parsed into an integer")
        return None if least <= number <= most else f"argument must be between {least} and {most} inclusive"

    return say


@pytest.mark.parametrize(
    ("say", "kind"),
    [
        (server(lambda *values: values in (("yes",), ("no",)), "argument must be 'yes' or 'no'"), "enum no yes"),
        (server(lambda *values: values == ("no",), "argument must be 'yes' or 'no'"), "enum no"),
        (
            server(lambda *v: len(v) == 1 and v[0] in ("b", "a"), "argument(s) must be one of the following: b, a, c"),
            "enum a b",
        ),
        (
            server(lambda *values: set(values) <= {"b", "a"}, "argument(s) must be one of the following: b, a"),
            "flags a b",
        ),
        (between(-5, 7), "integer -5 7"),
        (between(-(2**63), 2**63 - 1), "integer -9223372036854775808 9223372036854775807"),
        (between(0, 0o777, 8), "octal 0 511"),
        (server(lambda *v: v[0] in ("K", "E"), "Invalid event class character. Use 'KEx'."), "letters EK"),
        (server(lambda *_: True, ""), "text"),
        (server(lambda *_: False, "Invalid save parameters"), "special"),
    ],
)
def test_a_directives_kind_is_read_off_the_servers_complaint(say: Callable[..., str | None], kind: str) -> None:
    assert redis_tables.kind(say) == kind


@pytest.mark.parametrize("kind", ["memory", "memory or percent"])
def test_memory_has_bounds(kind: str) -> None:
    def say(*values: str) -> str | None:
        if not values[0].isdigit():
            return f"argument must be a {kind} value"
        return None if 1 <= int(values[0]) < 2**63 else "argument must be between 1 and 9223372036854775807 inclusive"

    assert redis_tables.kind(say) == f"{kind.replace(' ', '-')} 1 9223372036854775807"


ANSWERS: dict[str, dict[str, Any]] = {
    name: {"flavor": name.split("-")[0], "distribution_version": debian, "categories": ["read"], **answer}
    for name, debian, answer in [
        (
            "redis-7.0",
            "12",
            {"directives": {"hz": "integer 0 9", "old": "text"}, "commands": ["get", "acl", "acl|cat"]},
        ),
        ("redis-8.0", "13", {"directives": {"hz": "integer 0 9"}, "commands": ["get", "acl", "acl|cat", "acl|new"]}),
    ]
}


def test_the_file_says_what_all_have_once_and_the_rest_by_server() -> None:
    assert yaml.safe_load(redis_tables.text(ANSWERS)) == {
        "servers": {
            "redis-7.0": {"flavor": "redis", "distribution_version": "12"},
            "redis-8.0": {"flavor": "redis", "distribution_version": "13"},
        },
        "directives": {"every": {"hz": "integer 0 9"}, "redis-7.0": {"old": "text"}, "redis-8.0": []},
        "commands": {"every": ["acl cat", "get"], "redis-7.0": [], "redis-8.0": ["acl new"]},
        "categories": {"every": ["read"], "redis-7.0": [], "redis-8.0": []},
    }


def test_the_file_is_as_the_tool_writes_it() -> None:
    written = (ROOT / "plugins/data/redis_servers.yml").read_text()
    table = yaml.safe_load(written)
    answers = {
        server: {
            **about,
            "directives": {**table["directives"]["every"], **dict(table["directives"][server])},
            "commands": [
                "|".join(name)
                for line in (*table["commands"]["every"], *table["commands"][server])
                for command, *subs in [line.split()]
                for name in ((command,), *((command, sub) for sub in subs))
            ],
            "categories": [*table["categories"]["every"], *table["categories"][server]],
        }
        for server, about in table["servers"].items()
    }
    assert redis_tables.text(answers) == written
