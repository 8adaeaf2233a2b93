"""The document and the table of status.yml."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.celeriac.fleet.plugins.plugin_utils import celery_status as plugin

NOW = 1_800_000_000.0


def node(name: str, **changes: Any) -> dict[str, Any]:
    return {
        "name": name,
        "unit": f"shop-worker@{name.partition('@')[0]}.service",
        "state": "active",
        "result": "success",
        "restarts": 0,
        "held": False,
        "pid": 7,
        "release": "new",
        "uptime": 90061,
        "memory": 70 * 2**20,
        "expected": ["mail"],
        "queues": ["mail"],
        "active": 1,
        "reserved": 2,
        "scheduled": 3,
        "done": 4,
        "longest": 61.4,
        **changes,
    }


SILENT = dict.fromkeys(("queues", "active", "reserved", "scheduled", "done", "longest"))


def told(*nodes: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """What a host says."""
    return {
        "time": NOW,
        "release": "new",
        "releases": [{"release": "new", "live": NOW - 60}, {"release": "old", "live": NOW - 9e5}],
        "nodes": list(nodes),
        "queues": {"mail": {"depth": 0, "unacked": 1, "oldest": 61.4}},
        "unacked": 1,
        "beat": {"state": "active", "pid": 8, "uptime": 5, "tick": 2.2},
        "error": "",
        **changes,
    }


ABSENT = {"state": "absent", "pid": None, "uptime": None, "tick": None}


def silent(name: str, **changes: Any) -> dict[str, Any]:
    return {key: value for key, value in node(name, **changes).items() if key not in SILENT}


def test_all_is_well() -> None:
    document = plugin.celery_status({"one": told(node("a@one"))}, "shop")
    assert document["problems"] == []
    assert document["nodes"][0]["state"] == "running"
    assert document["queues"] == [{"name": "mail", "depth": 0, "unacked": 1, "oldest": 61.4, "consumers": ["a@one"]}]
    assert document["hosts"][0]["releases"][0] == {"release": "new", "live": "2027-01-15 07:59:00 UTC"}


@pytest.mark.parametrize(
    ("one", "state", "problem"),
    [
        (silent("a@one", state="failed", result="oom-kill"), "failed", "a@one is failed (oom-kill)."),
        (silent("a@one", state="inactive"), "stopped", "a@one is stopped."),
        (silent("a@one", state="absent"), "absent", "a@one is absent."),
        (silent("a@one"), "no answer", "a@one runs, but doesn't answer."),
        (node("a@one", queues=[]), "wrong queues", "a@one consumes nothing, not mail."),
        (node("a@one", release="old"), "old release", "a@one runs release old, not new."),
    ],
)
def test_what_is_wrong_with_a_node_comes_first(one: dict[str, Any], state: str, problem: str) -> None:
    document = plugin.celery_status({"one": told(node("0@one"), one)}, "shop")
    assert document["problems"] == [problem]
    assert [each["state"] for each in document["nodes"]] == [state, "running"]


def test_a_node_that_is_held_is_no_problem_but_its_queue_is() -> None:
    held = silent("a@one", state="inactive", held=True)
    document = plugin.celery_status({"one": told(held)}, "shop")
    assert (document["nodes"][0]["state"], document["problems"]) == ("held", [])
    full = told(held, queues={"mail": {"depth": 3, "unacked": 0, "oldest": None}})
    document = plugin.celery_status({"one": full}, "shop")
    assert document["problems"] == ["mail holds 3 tasks, and no node consumes it."]


def test_a_host_that_can_not_ask_tells_what_it_knows() -> None:
    result = told(silent("a@one"), error="Connection refused")
    del result["queues"], result["unacked"]
    document = plugin.celery_status({"one": result}, "shop")
    assert document["problems"] == ["one can't ask its nodes: Connection refused."]
    assert document["nodes"][0]["state"] == "not asked"
    assert document["queues"] == []


def test_a_host_that_is_gone() -> None:
    results = {
        "one": told(node("a@one"), queues={"late": {"depth": 2, "unacked": 0, "oldest": None}}),
        "two": {"unreachable": True, "msg": "Task failed: no route\nmore"},
    }
    assert plugin.celery_status(results, "shop")["problems"] == [
        "two is unreachable: no route.",
        "late holds 2 tasks, and none of the nodes that answered consumes it.",
    ]


def test_a_host_that_failed() -> None:
    (problem, _) = plugin.celery_status({"zero": {"msg": "no python"}, "one": told(node("a@one", queues=[]))}, "shop")[
        "problems"
    ]
    assert problem == "zero failed: no python."


def test_all_hosts_are_gone() -> None:
    document = plugin.celery_status({"one": {"unreachable": True, "msg": "x"}}, "shop")
    assert document["problems"] == ["one is unreachable: x."]
    assert "0 of 0 nodes run, 1 problem" in plugin.celery_status_table(document)


def test_releases_that_differ() -> None:
    results = {
        "one": told(node("a@one")),
        "two": told(node("a@two", release="old"), release="old", beat=ABSENT),
    }
    (problem,) = plugin.celery_status(results, "shop")["problems"]
    assert problem == "The hosts have different releases: new on one, old on two."


@pytest.mark.parametrize(
    ("beats", "redbeat", "problems"),
    [
        (["active", "absent"], False, []),
        (["absent", "absent"], False, ["Beat runs on no host."]),
        (["failed", "absent"], False, ["Beat runs on no host."]),
        (
            ["active", "active"],
            False,
            ["Beat runs on one and two, so that every scheduled task runs more than once."],
        ),
        (["active", "active"], True, []),
    ],
)
def test_beat(beats: list[str], redbeat: bool, problems: list[str]) -> None:
    results = {
        host: told(node(f"a@{host}"), beat={**ABSENT, "state": state})
        for host, state in zip(("one", "two"), beats, strict=True)
    }
    assert plugin.celery_status(results, "shop", redbeat)["problems"] == problems


def test_the_fullest_queue_without_consumer_is_first() -> None:
    depths = {"a": 0, "mail": 9, "b": 1, "c": 5}
    queues = {name: {"depth": depth, "unacked": 0, "oldest": None} for name, depth in depths.items()}
    document = plugin.celery_status({"one": told(node("x@one"), queues=queues)}, "shop")
    assert [queue["name"] for queue in document["queues"]] == ["c", "b", "mail", "a"]


def test_the_table() -> None:
    table = plugin.celery_status_table(plugin.celery_status({"one": told(node("a@one"))}, "shop"))
    assert table == (
        "shop at 2027-01-15 08:00:00 UTC: 1 of 1 nodes run, no problem\n\n"
        "NODE   STATE    RELEASE     UP  PID  MEMORY  ACTIVE  RESERVED  ETA  DONE  LONGEST  QUEUES\n"
        "a@one  running  new      1d01h    7     70M       1         2    3     4    1m01s  mail\n\n"
        "QUEUE  WAITING  UNACKED  OLDEST  CONSUMERS\n"
        "mail         0        1   1m01s  a@one\n\n"
        "BEAT  STATE    UP  LAST TICK\n"
        "one   running  5s     2s ago\n\n"
        "HOST  RELEASE  LIVE SINCE        BEFORE\n"
        "one   new      2027-01-15 07:59  old (2027-01-04 22:00)"
    )


def test_the_table_is_not_wider_than_a_terminal() -> None:
    queues = [f"queue{n}" for n in range(40)]
    results = {"one": told(node("a" * 40 + "@one", queues=queues, expected=queues))}
    lines = plugin.celery_status_table(plugin.celery_status(results, "shop")).splitlines()
    assert max(map(len, lines)) == plugin.WIDTH
    assert any(line.endswith("…") for line in lines)


@pytest.mark.parametrize(
    ("seconds", "text"), [(None, ""), (0.4, "0s"), (59, "59s"), (60, "1m00s"), (3700, "1h01m"), (90061, "1d01h")]
)
def test_spans_of_time(seconds: float | None, text: str) -> None:
    assert plugin._age(seconds) == text


@pytest.mark.parametrize(("size", "text"), [(None, ""), (70 * 2**20, "70M"), (3 * 2**29, "1.5G")])
def test_sizes(size: int | None, text: str) -> None:
    assert plugin._size(size) == text


# -- the last rollout


ROLLOUT = {
    "time": "2026-11-21T02:14:07.123+00:00",
    "release": "new",
    "before": "old",
    "by": "alice",
    "controller": "ctl",
    "result": "reverted",
    "reason": "No answer from a@one within 60 seconds.",
    "seconds": 71.2,
    "nodes": ["a"],
}


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        (
            {},
            "one's last rollout failed and was reverted at 2026-11-21 02:14 UTC (release new, by alice on ctl): "
            "No answer from a@one within 60 seconds.",
        ),
        (
            {"result": "refused", "reason": "shop registers no task."},
            "one's last rollout was refused at 2026-11-21 02:14 UTC (release new, by alice on ctl): "
            "shop registers no task.",
        ),
        (
            {"result": "interrupted", "reason": ""},
            "one's last rollout was interrupted at 2026-11-21 02:14 UTC (release new, by alice on ctl).",
        ),
    ],
)
def test_a_last_rollout_that_failed_is_a_problem(changes: dict[str, Any], problem: str) -> None:
    document = plugin.celery_status({"one": told(node("a@one"), rollout={**ROLLOUT, **changes})}, "shop")
    assert document["problems"] == [problem]
    assert document["hosts"][0]["rollout"] == {**ROLLOUT, **changes}
    assert "! one's last rollout" in plugin.celery_status_table(document)


@pytest.mark.parametrize("rollout", [None, {**ROLLOUT, "result": "live"}, {**ROLLOUT, "result": "running"}])
def test_another_last_rollout_is_none(rollout: dict[str, Any] | None) -> None:
    assert plugin.celery_status({"one": told(node("a@one"), rollout=rollout)}, "shop")["problems"] == []
