"""plugins/modules/celery_hold.py: what it makes of the nodes' answers. The nodes: tests/integration/operations."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.celeriac.fleet.plugins.modules import celery_hold as plugin

from tests.support.harness import run_module

UNIT = "shop-worker@crawler.service"
NODE = f"crawler@{socket.gethostname()}"
SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)


class Nodes:
    """What the application answers; an exception or a signal in ``work`` is raised."""

    def __init__(self) -> None:
        self.work: list[Any] = [[]]  # of the node, look by look; the last one stays
        self.others = {"other@two": ["mail"]}
        self.consumes = {NODE: ["mail"]}
        self.asked: list[str] = []

    def call(self, function: str, *, limit: float, **arguments: Any) -> Any:
        self.asked.append(function + {True: " add", False: " cancel"}.get(arguments.get("add"), ""))
        if function == "consume":
            return {node: queues for node, queues in arguments["nodes"].items() if node in self.consumes}
        if function == "consumers":
            return self.consumes if arguments.get("nodes") else {**self.consumes, **self.others}
        if function in ("drain", "work"):
            answer = self.work.pop(0) if len(self.work) > 1 else self.work[0]
            if isinstance(answer, signal.Signals):
                signal.raise_signal(answer)
            if isinstance(answer, Exception):
                raise answer
            return dict.fromkeys(arguments["nodes"], answer)
        return None

    def __enter__(self) -> Nodes:
        return self

    def __exit__(self, *_: object) -> None: ...


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch) -> Nodes:
    nodes = Nodes()
    monkeypatch.setattr(plugin, "Probe", lambda *_: nodes)
    return nodes


@pytest.fixture
def hold(nodes: Nodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Run the module; what it returned, with ``ran``, the verbs of systemctl."""
    before = {number: signal.getsignal(number) for number in SIGNALS}

    def run(state: str, *, load: str = "loaded", active: str = "active", check: bool = False) -> dict[str, Any]:
        ran: list[str] = []
        monkeypatch.setattr(plugin.Units, "show", lambda *_: {UNIT: {"LoadState": load, "ActiveState": active}})
        monkeypatch.setattr(plugin.Units, "__init__", lambda self, module: setattr(self, "module", module))
        monkeypatch.setattr(
            plugin.Units, "run", lambda self, *words, **_: self.module.check_mode or ran.append(" ".join(words[:-1]))
        )
        node = {"name": "crawler", "queues": ["mail"], "unit": UNIT}
        paths = dict.fromkeys(("directory", "virtualenv", "environment_file"), "/x")
        arguments = {"app": "shop", "user": "shop", "nodes": [node], "state": state, "timeout": 0, **paths}
        return {**run_module(plugin, arguments, tmp_path, check=check), "ran": ran}

    yield run
    for number, handler in before.items():
        signal.signal(number, handler)


def test_a_node_is_drained_and_then_held(hold: Any, nodes: Nodes) -> None:
    result = hold("held")
    assert (result["changed"], result["units"], result["ran"]) == (True, [UNIT], ["mask --now"])
    assert nodes.asked == ["load", "connect", "consume cancel", "drain", "consumers"]
    assert result["unserved"] == []


def test_a_queue_that_is_left_without_a_consumer_is_warned_of(
    hold: Any, nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    warned: list[str] = []
    monkeypatch.setattr(plugin.AnsibleModule, "warn", lambda _, text: warned.append(text))
    nodes.others = {}
    result = hold("held")
    assert result["unserved"] == ["mail"]
    assert warned == ["No other node consumes mail: its tasks wait until resume-node.yml."]


@pytest.mark.parametrize(
    ("work", "said"),
    [
        ([["a.task[1] on x, for 7 s"]], "after drain_timeout, 0 seconds, this still ran:\n  a.task[1] on x, for 7 s"),
        ([None], f"  ({NODE} doesn't answer)"),
        ([plugin.ProbeError("Connection refused")], "Draining ended: Connection refused"),
        ([signal.SIGTERM], "Draining ended: ended by SIGTERM"),
        ([signal.SIGHUP], "Draining ended: ended by SIGHUP"),
    ],
)
def test_a_node_that_is_not_drained_consumes_again(hold: Any, nodes: Nodes, work: list[Any], said: str) -> None:
    nodes.work = work
    result = hold("held")
    assert result["msg"].startswith(f"Nothing is held on {socket.gethostname()}, the nodes consume again.")
    assert result["msg"].endswith(said)
    assert result["ran"] == []
    assert nodes.asked[-1] == "consume add"


def test_a_node_that_answers_no_more_is_named(hold: Any, nodes: Nodes) -> None:
    nodes.consumes = {}
    assert f"{NODE} didn't answer: restart it" in hold("held")["msg"]


def test_a_node_that_is_held_stays_so_and_is_not_asked(hold: Any, nodes: Nodes) -> None:
    result = hold("held", load="masked", active="inactive")
    assert (result["changed"], result["ran"], nodes.asked) == (False, [], [])


def test_a_node_that_does_not_run_is_held_without_asking(hold: Any, nodes: Nodes) -> None:
    result = hold("held", active="failed")
    assert (result["changed"], result["ran"], nodes.asked) == (True, ["mask"], [])


def test_check_mode_asks_and_changes_nothing(hold: Any, nodes: Nodes) -> None:
    nodes.work = [["a.task[1] on x, for 7 s"]]
    result = hold("held", check=True)
    assert (result["changed"], result["units"], result["ran"]) == (True, [UNIT], [])
    assert result["running"] == ["a.task[1] on x, for 7 s"]
    assert nodes.asked == ["load", "connect", "work", "consumers"]


def test_a_held_node_is_released(hold: Any, nodes: Nodes) -> None:
    result = hold("released", load="masked", active="inactive")
    assert (result["changed"], result["units"], result["ran"], nodes.asked) == (True, [UNIT], ["unmask"], [])


def test_a_node_that_runs_and_consumes_is_left_alone(hold: Any, nodes: Nodes) -> None:
    assert not hold("released")["changed"]
    assert nodes.asked == ["load", "connect", "consumers"]


@pytest.mark.parametrize(
    ("check", "asked"),
    [(False, ["load", "connect", "consumers", "consume add"]), (True, ["load", "connect", "consumers"])],
)
def test_a_node_that_runs_and_consumes_nothing_does_so_again(
    hold: Any, nodes: Nodes, check: bool, asked: list[str]
) -> None:
    nodes.consumes = {NODE: []}
    result = hold("released", check=check)
    assert (result["changed"], result["units"], nodes.asked) == (True, [UNIT], asked)


def test_a_broker_that_is_gone(hold: Any, nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_: Any, **__: Any) -> None:
        raise plugin.ProbeError("Connection refused")

    monkeypatch.setattr(nodes, "call", gone)
    assert hold("held")["msg"] == "Nothing is held, shop can't ask its nodes: Connection refused"
