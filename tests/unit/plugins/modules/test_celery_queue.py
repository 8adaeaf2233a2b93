"""plugins/modules/celery_queue.py: nothing is lost and nothing twice, wherever it is interrupted. On Redis itself:
tests/integration/operations."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.celeriac.fleet.plugins.modules import celery_queue as plugin

from tests.support.harness import run_module

STEPS = (0, 3, 6, 9)


class KilledError(BaseException):
    """The end of the process, which no ``except`` sees."""


class Broker:
    """What the application does in Redis; ``kill_at`` ends the module before or after one of the calls."""

    def __init__(self) -> None:
        self.lists: dict[tuple[str, int], list[str]] = {}  # the oldest first
        self.aside: dict[int, list[str]] = {step: [] for step in STEPS}
        self.mark: dict[str, str] | None = None
        self.done: dict[str, int] = {}
        self.kill_at, self.calls = -1, 0

    def fill(self, queue: str, numbers: dict[int, int]) -> list[tuple[int, str]]:
        for step, number in numbers.items():
            self.lists[queue, step] = [f'{{"id": "{step}-{n}", "body": "\udcff"}}' for n in range(number)]
        return self.waiting(queue)

    def waiting(self, queue: str) -> list[tuple[int, str]]:
        return [(step, message) for step in STEPS for message in self.lists.get((queue, step), [])]

    def call(self, function: str, *, limit: float, **arguments: Any) -> Any:
        for when in ("before", "after"):
            if self.calls == self.kill_at:
                self.calls += 1
                raise KilledError
            self.calls += 1
            if when == "before":
                answer = getattr(self, f"do_{function}")(**json.loads(json.dumps(arguments)))
        return json.loads(json.dumps(answer))

    def do_load(self, app: str) -> None: ...

    def do_connect(self) -> None: ...

    def do_count(self, queue: str) -> Any:
        return None if queue == "unacked" else [(step, len(self.lists.get((queue, step), []))) for step in STEPS]

    def do_interrupted(self, queue: str) -> Any:
        return self.mark

    def do_claim(self, queue: str, mark: Any, force: bool) -> Any:
        if force or not self.mark:
            self.mark = mark
        return self.mark

    def do_take(self, queue: str, priority: int, most: int, size: int) -> Any:
        if not self.aside[priority]:
            waiting = self.lists.get((queue, priority), [])
            self.aside[priority], waiting[:most] = waiting[:most], []
        return self.aside[priority]

    def do_written(self, queue: str, priority: int, last: str) -> None:
        if self.aside[priority][-1:] == [last]:
            self.aside[priority] = []

    def do_release(self, queue: str) -> None:
        self.mark = None

    def do_back(self, name: str) -> int:
        return self.done.get(name, 0)

    def do_put(self, name: str, queue: str, messages: Any, before: int, after: int) -> None:
        if self.done.get(name, 0) == before:
            for step, message in messages:
                self.lists.setdefault((queue, step), []).append(message)
            self.done[name] = after

    def do_restored(self, name: str) -> None:
        self.done.pop(name, None)

    def __enter__(self) -> Broker:
        return self

    def __exit__(self, *_: object) -> None: ...


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Broker:
    broker = Broker()
    monkeypatch.setattr(plugin, "Probe", lambda *_: broker)
    monkeypatch.setattr(plugin, "MESSAGES", 3)
    return broker


@pytest.fixture
def run(broker: Broker, tmp_path: Path) -> Any:
    """Run the module, killed at the call ``kill_at``; what it returned, or None."""

    def run(state: str, *, kill_at: int = -1, check: bool = False, **arguments: Any) -> dict[str, Any] | None:
        broker.calls, broker.kill_at = 0, kill_at
        paths = dict.fromkeys(("application", "virtualenv", "environment_file"), "/x")
        rest = {"app": "shop", "user": "shop", "directory": str(tmp_path / "dumps"), "known": ["mail"], **paths}
        try:
            return run_module(plugin, {"state": state, **rest, **arguments}, tmp_path, check=check)
        except KilledError:
            return None

    return run


def lines(path: str) -> Iterator[tuple[int, str]]:
    for line in Path(path).read_text().splitlines()[1:]:
        yield json.loads(line)["priority"], json.loads(line)["message"]


def test_there_and_back(broker: Broker, run: Any) -> None:
    before = broker.fill("mail", {0: 7, 3: 0, 6: 3, 9: 1})
    purged = run("purged", queue="mail")
    assert (purged["changed"], purged["messages"], broker.waiting("mail"), broker.mark) == (True, 11, [], None)
    path = Path(purged["dump"])
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert list(lines(str(path))) == before
    restored = run("restored", dump=str(path))
    assert (restored["messages"], restored["queue"], broker.waiting("mail")) == (11, "mail", before)
    assert [each.name for each in path.parent.iterdir()] == [f"{path.name}.restored"]
    assert broker.done == {}


@pytest.mark.parametrize("kill_at", range(36))
def test_a_purge_that_was_killed_goes_on(broker: Broker, run: Any, tmp_path: Path, kill_at: int) -> None:
    before = broker.fill("mail", {0: 7, 6: 3})
    assert run("purged", queue="mail", kill_at=kill_at) is None
    assert "failed" not in run("purged", queue="mail")
    found = [each for dump in (tmp_path / "dumps").glob("*.jsonl") for each in lines(str(dump))]
    assert sorted(found) == sorted(before)
    assert [each for each in found if each[0] == 0] == [each for each in before if each[0] == 0]
    assert (broker.waiting("mail"), broker.mark, broker.aside) == ([], None, {step: [] for step in STEPS})


@pytest.mark.parametrize("written", [0.0, 0.3, 0.6, 0.9])
def test_a_write_that_was_interrupted_is_made_up_for(
    broker: Broker, run: Any, monkeypatch: pytest.MonkeyPatch, written: float
) -> None:
    before = broker.fill("mail", {0: 7})
    add, size = plugin.Dump.add, {"batches": 0}

    def torn(self: Any, messages: Any) -> None:
        begun = Path(self.part).stat().st_size
        add(self, messages)
        size["batches"] += 1
        if size["batches"] == 2:
            with open(self.part, "r+b") as file:
                file.truncate(begun + int((Path(self.part).stat().st_size - begun) * written))
            raise KilledError

    monkeypatch.setattr(plugin.Dump, "add", torn)
    assert run("purged", queue="mail") is None
    monkeypatch.setattr(plugin.Dump, "add", add)
    assert list(lines(run("purged", queue="mail")["dump"])) == before


@pytest.mark.parametrize("kill_at", range(16))
def test_a_restore_that_was_killed_goes_on(broker: Broker, run: Any, kill_at: int) -> None:
    before = broker.fill("mail", {0: 7, 6: 3})
    path = run("purged", queue="mail")["dump"]
    assert run("restored", dump=path, kill_at=kill_at) is None
    if Path(path).exists():  # else all was back
        run("restored", dump=path)
    assert broker.waiting("mail") == before


def test_what_is_sent_meanwhile_stays(broker: Broker, run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    broker.fill("mail", {0: 2})
    claim = broker.do_claim

    def late(**arguments: Any) -> Any:
        broker.lists["mail", 0].append("late")
        return claim(**arguments)

    monkeypatch.setattr(broker, "do_claim", late)
    assert run("purged", queue="mail")["messages"] == 2
    assert broker.waiting("mail") == [(0, "late")]


def test_check_mode_counts(broker: Broker, run: Any, tmp_path: Path) -> None:
    before = broker.fill("mail", {0: 2, 9: 3})
    assert run("purged", queue="mail", check=True)["messages"] == 5
    assert not (tmp_path / "dumps").exists()
    path = run("purged", queue="mail")["dump"]
    assert run("restored", dump=path, check=True)["messages"] == 5
    assert Path(path).exists()
    assert broker.waiting("mail") == []
    run("restored", dump=path)
    assert broker.waiting("mail") == before


def test_an_empty_queue_is_left_alone(broker: Broker, run: Any, tmp_path: Path) -> None:
    assert run("purged", queue="mail") == {"changed": False, "messages": 0, "dump": "", "queue": "mail"} | {
        key: value for key, value in run("purged", queue="mail").items() if key in ("invocation", "warnings")
    }
    assert not (tmp_path / "dumps").exists()


@pytest.mark.parametrize(
    ("queue", "mark", "said"),
    [
        ("nope", None, "purge_queue is 'nope', which is empty, and no node consumes it: give one of mail."),
        ("unacked", None, "purge_queue is 'unacked', which is a key of Celery's own and no queue: give a queue."),
        (
            "mail",
            {"host": "other", "dump": "/x"},
            "A purge of 'mail' was interrupted on other: run it there again, with --limit, and it goes on.",
        ),
    ],
)
def test_a_purge_that_is_refused(broker: Broker, run: Any, queue: str, mark: Any, said: str) -> None:
    broker.mark = mark
    assert run("purged", queue=queue)["msg"] == said


def test_a_stray_queue_with_tasks_may_be_purged(broker: Broker, run: Any) -> None:
    broker.fill("stray", {0: 1})
    assert run("purged", queue="stray")["messages"] == 1


def test_two_hosts_at_once_are_refused(broker: Broker, run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    broker.fill("mail", {0: 1})
    monkeypatch.setattr(broker, "do_claim", lambda **_: {"host": "other", "dump": "/x"})
    assert run("purged", queue="mail")["msg"] == "Another run purges 'mail' on other: wait for it."
    assert len(broker.waiting("mail")) == 1


def test_two_runs_at_once_are_refused(broker: Broker, run: Any, tmp_path: Path) -> None:
    broker.fill("mail", {0: 1})
    (tmp_path / "dumps").mkdir()
    with plugin.locked(str(tmp_path / "dumps")):
        said = run("purged", queue="mail")["msg"]
    assert said == f"Another run purges or restores in {tmp_path}/dumps: wait for it."


@pytest.mark.parametrize("text", ["", "x\n", "[]\n", '{"a": 1}\n'])
def test_another_file_is_refused(run: Any, tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text(text)
    assert run("restored", dump=str(path))["msg"] == (
        f"restore_queue_dump is {str(path)!r}, which is no dump of purge-queue.yml: give one that it made."
    )


def test_a_broker_that_is_gone(broker: Broker, run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(**_: Any) -> None:
        raise plugin.ProbeError("Connection refused")

    monkeypatch.setattr(broker, "do_load", gone)
    assert run("purged", queue="mail")["msg"] == (
        "mail was not purged: Connection refused. Nothing is lost: run it again, and it goes on."
    )


def test_the_mark_names_the_host(broker: Broker, run: Any) -> None:
    broker.fill("mail", {0: 1})
    run("purged", queue="mail", kill_at=10)
    assert broker.mark is not None
    assert broker.mark["host"] == socket.gethostname()
