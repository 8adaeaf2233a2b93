"""plugins/probe/celery_probe.py: what an application answers. Real nodes and queues: tests/integration/operations."""

from __future__ import annotations

import ast
import io
import json
import re
import sys
from typing import Any

import pytest
from ansible_collections.celeriac.fleet.plugins.plugin_utils.celery_probe import program
from ansible_collections.celeriac.fleet.plugins.probe import celery_probe as plugin
from celery import Celery
from kombu import Queue
from kombu.transport.redis import Channel

from tests.support.harness import ROOT

SOURCE = (ROOT / "plugins/probe/celery_probe.py").read_text()
NOW = 1_800_000_000.0
Task = dict[str, Any]


@pytest.fixture(autouse=True)
def _now(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is ``NOW``, and nobody sleeps."""
    monkeypatch.setattr(plugin.time, "time", lambda: NOW)
    monkeypatch.setattr(plugin.time, "sleep", lambda _: None)


def task(name: str, seconds: float | None = None) -> Task:
    """A task as a node tells of it; one that it has run for ``seconds``."""
    return {"id": name, "name": "shop.pay", "time_start": None if seconds is None else NOW - seconds}


def test_it_imports_only_what_every_application_has() -> None:
    """At once, and Redis' client only to reach a broker. The application's virtualenv has no Ansible."""
    imported = {
        name.name if isinstance(node, ast.Import) else str(node.module)
        for node in ast.parse(SOURCE).body
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for name in node.names
    }
    assert {name.partition(".")[0] for name in imported} - sys.stdlib_module_names == {"celery", "kombu"}
    assert "ansible" not in SOURCE.replace("Ansible", "")


def test_each_script_is_there_and_used() -> None:
    scripts = {name for name in program() if name.endswith(".lua")}
    assert scripts == set(re.findall(r'"(\w+\.lua)"', SOURCE))
    assert all(program()[name].startswith("#!lua") for name in scripts)


# -- the application


@pytest.fixture
def questions() -> plugin.Questions:
    """Of an application that is connected to nothing, with a channel of kombu's."""
    questions = plugin.Questions({"put.lua": "return 1"})
    questions.application = Celery("shop", set_as_current=False)
    questions.channel = Channel.__new__(Channel)
    questions.channel.global_keyprefix = "shop:"
    return questions


def test_a_queue_has_a_list_for_each_priority_as_kombu_names_them(questions: plugin.Questions) -> None:
    assert questions.lists("mail") == {
        0: "shop:mail",
        3: "shop:mail\x06\x163",
        6: "shop:mail\x06\x166",
        9: "shop:mail\x06\x169",
    }


def test_a_key_has_the_applications_prefix(questions: plugin.Questions) -> None:
    assert questions.key("unacked") == "shop:unacked"


@pytest.mark.parametrize(
    "routes",
    [
        {"shop.*": {"queue": "mail"}, "pay.*": "pay", "other": {"priority": 3}},
        [{"shop.*": {"queue": Queue("mail")}}, {"pay.*": "pay"}, lambda *_: None],
    ],
)
def test_the_queues_that_settings_route_to(questions: plugin.Questions, routes: Any) -> None:
    questions.application.conf.task_default_queue = "default"
    questions.application.conf.task_routes = routes
    assert questions.routed() == ["default", "mail", "pay"]


@pytest.mark.parametrize(("floor", "old"), [((5, 7), {}), ((5, 999), {"celery", "kombu"})])
def test_old_versions_are_named(questions: plugin.Questions, floor: tuple[int, int], old: Any) -> None:
    assert set(questions.outdated(floor)) == set(old)
    assert all(version.startswith("5.") for version in questions.outdated(floor).values())


def test_a_question_is_a_line_and_so_is_its_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugin.Questions, "key", lambda self, name: [self.scripts, name])
    lines, answers = [{"a.lua": "x"}, {"call": "key", "name": "a"}, {"call": "key", "name": "b"}], io.StringIO()
    plugin.serve(io.StringIO("".join(f"{json.dumps(line)}\n" for line in lines)), answers)
    assert [json.loads(line) for line in answers.getvalue().splitlines()] == [
        [{"a.lua": "x"}, "a"],
        [{"a.lua": "x"}, "b"],
    ]


@pytest.mark.parametrize("scheduler", [None, "celery.beat.PersistentScheduler", "celery.beat:PersistentScheduler"])
def test_a_scheduler_that_is_there_is_good(scheduler: str | None) -> None:
    assert plugin.scheduler_problems(scheduler) == []


# -- its nodes


class Fleet:
    """Nodes that answer remote control: for each the tasks reserved and active, look by look; the last one stays.

    A look that is None isn't answered.
    """

    def __init__(self, **looks: list[tuple[list[Task] | None, list[Task] | None]]) -> None:
        self.control, self.nodes = self, looks
        self.told: list[str] = []
        self.asked: list[list[str]] = []

    def cancel_consumer(self, queue: str, destination: list[str], **_: Any) -> list[dict[str, Any]] | None:
        self.told += [f"{name} not {queue}" for name in destination]
        return [{name: {"ok": "done"}} for name in destination if self.nodes[name]] or None

    def add_consumer(self, queue: str, destination: list[str], **_: Any) -> list[dict[str, Any]]:
        self.told += [f"{name} {queue}" for name in destination]
        return [{name: {"error": "no"}} for name in destination]

    def inspect(self, destination: list[str], **_: Any) -> Fleet:
        self.asked.append(destination)
        return self

    def _look(self, which: int) -> dict[str, list[Task]] | None:
        found = {name: self.nodes[name][0][which] for name in self.asked[-1] if self.nodes[name]}
        return {name: tasks for name, tasks in found.items() if tasks is not None} or None

    def reserved(self) -> dict[str, list[Task]] | None:
        return self._look(0)

    def active(self) -> dict[str, list[Task]] | None:
        """The second of two looks."""
        found = self._look(1)
        for name in self.asked[-1]:
            if len(self.nodes[name]) > 1:
                self.nodes[name].pop(0)
        return found


RUNS, IDLE = ([], [task("t", 7)]), ([], [])
FETCHED: tuple[list[Task], list[Task]] = ([task("t")], [])


def of(fleet: Any) -> plugin.Questions:
    questions = plugin.Questions({})
    questions.application = fleet
    return questions


def drain(*, seconds: float = 30, **looks: Any) -> tuple[Fleet, dict[str, Any]]:
    """Drain the nodes of a fleet, each within ``seconds``; the fleet, and what is left."""
    fleet = Fleet(**looks)
    return fleet, of(fleet).drain(dict.fromkeys(looks, seconds), timeout=1)


def test_all_nodes_of_a_batch_drain_in_the_same_time() -> None:
    fleet, left = drain(a=[RUNS, IDLE], b=[RUNS, RUNS, IDLE])
    assert fleet.asked == [["a", "b"], ["a", "b"], ["b"]]
    assert left == {"a": [], "b": []}


def test_a_task_that_begins_between_two_looks_is_waited_for() -> None:
    fleet, left = drain(a=[FETCHED, RUNS, IDLE])
    assert (len(fleet.asked), left) == (3, {"a": []})


def test_a_node_that_does_not_answer_is_not_waited_for() -> None:
    fleet, left = drain(a=[], b=[RUNS, IDLE])
    assert (fleet.asked, left) == ([["a", "b"], ["b"]], {"a": None, "b": []})


def test_a_drain_ends_when_its_time_is_over() -> None:
    fleet, left = drain(a=[RUNS], seconds=0)
    assert (len(fleet.asked), left) == (1, {"a": ["shop.pay[t] on a, for 7 s"]})


def test_each_node_has_its_own_time() -> None:
    fleet = Fleet(a=[RUNS], b=[RUNS, RUNS, IDLE])
    left = of(fleet).drain({"a": 0, "b": 30}, timeout=1)
    assert fleet.asked == [["a", "b"], ["b"], ["b"]]
    assert (left["b"], bool(left["a"])) == ([], True)


@pytest.mark.parametrize(
    ("look", "found"),
    [
        (IDLE, []),
        (FETCHED, ["shop.pay[t] on a, not begun"]),
        (([task("t")], [task("t", 7)]), ["shop.pay[t] on a, for 7 s"]),
        ((None, None), None),
        ((None, []), None),
        (([], None), None),
        (([task("t")], None), ["shop.pay[t] on a, not begun"]),
    ],
)
def test_what_a_node_works_on(look: Any, found: list[str] | None) -> None:
    """Nothing is only said of one that has answered both looks."""
    assert of(Fleet(a=[look])).work(["a"], timeout=1) == {"a": found}


def test_the_queues_that_a_node_no_longer_consumes_are_those_that_it_confirmed() -> None:
    fleet = Fleet(a=[IDLE], b=[])
    queues = {"a": ["x", "y"], "b": ["x"]}
    assert of(fleet).consume(queues, add=False, timeout=1) == {"a": ["x", "y"]}
    assert fleet.told == ["a not x", "a not y", "b not x"]
    assert of(fleet).consume(queues, add=True, timeout=1) == {}


class Answering:
    """Nodes that consume ``queues``, those of ``ponging`` answer ping."""

    def __init__(self, queues: dict[str, list[str]], ponging: list[str]) -> None:
        self.control, self.queues, self.ponging = self, queues, ponging

    def inspect(self, *_: Any, **__: Any) -> Answering:
        return self

    def active_queues(self) -> dict[str, list[dict[str, str]]] | None:
        return {node: [{"name": name} for name in names] for node, names in self.queues.items()} or None

    def ping(self) -> dict[str, Any] | None:
        return dict.fromkeys(self.ponging) or None


@pytest.mark.parametrize(
    ("wanted", "queues", "ponging", "ready"),
    [
        (["y", "x"], {"a": ["x", "y"]}, ["a"], True),
        (None, {"a": ["x"]}, ["a"], True),
        (None, {"a": []}, ["a"], False),
        (["x"], {"a": ["x", "y"]}, ["a"], False),
        (["x"], {"a": ["x"]}, [], False),
        (["x"], {}, ["a"], False),
    ],
)
def test_a_node_is_ready_that_answers_and_consumes_exactly_its_queues(
    wanted: list[str] | None, queues: dict[str, list[str]], ponging: list[str], ready: bool
) -> None:
    found = of(Answering(queues, ponging)).ready({"a": wanted}, timeout=-1)
    assert found == {"ready": ready, "seen": {"a": queues.get("a")}}
