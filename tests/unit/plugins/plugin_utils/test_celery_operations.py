"""What the playbooks that act on nodes and queues may be asked."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.celeriac.fleet.plugins.plugin_utils import celery_operations as plugin

NODES = [
    {"name": "crawler", "queues": ["crawl"]},
    {"name": "processor", "instances": 2, "queues": ["process"], "hosts": ["one"]},
]
HOSTS = {"one": {"celery_nodes": NODES}, "two": {"celery_nodes": NODES}}


@pytest.mark.parametrize(
    ("names", "host", "found"),
    [
        ("", "one", ["crawler", "processor1", "processor2"]),
        ("", "two", ["crawler"]),
        ("crawler", "one", ["crawler"]),
        ("processor", "one", ["processor1", "processor2"]),
        ("processor2, crawler", "one", ["crawler", "processor2"]),
        (["processor1"], "one", ["processor1"]),
        ("processor", "two", []),
    ],
)
def test_nodes_that_are_named(names: Any, host: str, found: list[str]) -> None:
    assert [node["name"] for node in plugin.celery_named_nodes(NODES, host, names)] == found


def test_queues_that_the_inventory_knows() -> None:
    assert plugin.celery_queues(NODES, ["mail", "crawl"]) == ["crawl", "mail", "process"]


KNOWN = "give one of crawler, processor, processor1, processor2"


@pytest.mark.parametrize(
    ("names", "required", "problems"),
    [
        ("", False, []),
        ("crawler,processor1", True, []),
        ("", True, [f"x isn't set: {KNOWN}."]),
        (" , ", True, [f"x isn't set: {KNOWN}."]),
        (
            "crawler,a,b",
            False,
            [f"x is {name!r}, which no host of this run has: {KNOWN}, or another --limit." for name in "ab"],
        ),
    ],
)
def test_names(names: str, required: bool, problems: list[str]) -> None:
    assert plugin.celery_names_problems(HOSTS, "x", names, required) == problems


def test_a_node_of_another_host() -> None:
    (problem,) = plugin.celery_names_problems({"two": HOSTS["two"]}, "x", "processor")
    assert problem == "x is 'processor', which no host of this run has: give one of crawler, or another --limit."


@pytest.mark.parametrize("timeout", [1, "600"])
def test_a_drain(timeout: Any) -> None:
    assert plugin.celery_drain_problems(HOSTS, "crawler", timeout) == []


@pytest.mark.parametrize("timeout", [0, "", "soon", "1.5", "-1", True])
def test_a_timeout_that_is_none(timeout: Any) -> None:
    assert plugin.celery_drain_problems(HOSTS, "crawler", timeout) == [
        f"drain_timeout is {timeout!r}: give a whole number of seconds of at least 1."
    ]


NO_YES = "purge_confirm isn't yes: give -e purge_confirm=yes to empty the queue, or --check to count its tasks."


@pytest.mark.parametrize(
    ("queue", "confirm", "check", "problems"),
    [
        ("mail", "yes", False, []),
        ("mail", True, False, []),
        ("mail", "", True, []),
        ("mail", "", False, [NO_YES]),
        ("mail", "no", False, [NO_YES]),
        ("mail", "sure", True, ["purge_confirm is 'sure': give yes to empty the queue."]),
        ("", "yes", False, ["purge_queue isn't set: give the name of the queue to empty."]),
        ("a b", "yes", True, ["purge_queue is 'a b': name it with letters, digits and any of _ . : - only."]),
        ("../x", "yes", True, ["purge_queue is '../x': name it with letters, digits and any of _ . : - only."]),
    ],
)
def test_a_purge(queue: str, confirm: Any, check: bool, problems: list[str]) -> None:
    assert plugin.celery_purge_problems(queue, confirm, check) == problems


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("", "isn't set: give the path of a dump that purge-queue.yml made."),
        ("/x.jsonl.part", "run purge-queue.yml again to finish it, then give its dump."),
        ("x.jsonl", "give an absolute path that ends in .jsonl, as purge-queue.yml prints it."),
        ("/x.jsonl.restored", "give an absolute path that ends in .jsonl, as purge-queue.yml prints it."),
    ],
)
def test_a_dump_that_can_not_be_right(path: str, said: str) -> None:
    (problem,) = plugin.celery_dump_problems(path)
    assert problem.startswith("restore_queue_dump is")
    assert problem.endswith(said)


def test_a_dump() -> None:
    assert plugin.celery_dump_problems("/x.jsonl") == []


@pytest.mark.parametrize(
    ("found", "problems"),
    [
        ({"one": ["/x"], "two": []}, []),
        (
            {"one": ["/x"], "two": ["/x"]},
            ["restore_queue_dump is '/x', which is on one and two: choose one with --limit."],
        ),
        (
            {"one": [], "two": []},
            ["restore_queue_dump is '/x', which no host of this run has: give another path, or another --limit."],
        ),
    ],
)
def test_a_dump_is_on_one_host(found: dict[str, list[str]], problems: list[str]) -> None:
    assert plugin.celery_dump_host_problems("/x", found) == problems


@pytest.mark.parametrize(
    ("form", "strict", "problems"),
    [
        ("table", "false", []),
        ("json", True, []),
        ("xml", "yes", ["status_format is 'xml': use one of table, json."]),
        ("table", "maybe", ["status_strict is 'maybe': give true or false."]),
    ],
)
def test_a_status(form: str, strict: Any, problems: list[str]) -> None:
    assert plugin.celery_status_problems(form, strict) == problems
