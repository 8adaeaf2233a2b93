"""plugins/modules/celery_status.py: what it reads off a host. Nodes and broker: tests/integration/operations."""

from __future__ import annotations

import json
import os
import socket
import time
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.celeriac.fleet.plugins.module_utils.trail import Trail
from ansible_collections.celeriac.fleet.plugins.modules import celery_status as plugin

from tests.support.harness import run_module

NODE = f"crawler@{socket.gethostname()}"
SHOWN = {
    "LoadState": "loaded",
    "ActiveState": "active",
    "Result": "success",
    "NRestarts": "2",
    "MainPID": str(os.getpid()),
    "MemoryCurrent": "1048576",
    "ActiveEnterTimestamp": "Fri 2027-01-15 08:00:00.000000 UTC",
}
NOW = 1_800_000_060.0  # a minute later


def shown(**changes: str) -> dict[str, str]:
    return {**SHOWN, **changes}


def test_a_unit_that_runs() -> None:
    assert plugin.unit_state(shown(), NOW) == {
        "state": "active",
        "result": "success",
        "held": False,
        "restarts": 2,
        "pid": os.getpid(),
        "uptime": 60,
        "memory": 2**20,
    }


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"LoadState": "not-found", "ActiveState": "inactive", "MainPID": "0"}, {"state": "absent", "pid": None}),
        ({"LoadState": "masked", "ActiveState": "inactive"}, {"state": "inactive", "held": True, "uptime": None}),
        ({"MemoryCurrent": "[not set]"}, {"memory": None}),
        ({"MemoryCurrent": "18446744073709551615"}, {"memory": None}),
        ({"ActiveState": "failed", "Result": "oom-kill"}, {"state": "failed", "result": "oom-kill", "memory": None}),
    ],
)
def test_a_unit(changes: dict[str, str], found: dict[str, Any]) -> None:
    state = plugin.unit_state(shown(**changes), NOW)
    assert {key: state[key] for key in found} == found


def test_the_release_of_a_process() -> None:
    assert plugin.release_of(os.getpid()) == Path.cwd().name
    assert plugin.release_of(None) == ""
    assert plugin.release_of(2**22 + 1) == ""


def test_releases_that_were_live_the_latest_first(tmp_path: Path) -> None:
    for name, age in (("old", 20), ("new", 10), ("never", 0)):
        (tmp_path / "releases" / name).mkdir(parents=True)
        if age:
            stamp = tmp_path / "releases" / name / plugin.LIVE
            stamp.touch()
            os.utime(stamp, (NOW - age, NOW - age))
    (tmp_path / "current").symlink_to("releases/new")
    assert plugin.live_releases(str(tmp_path / "current")) == [
        {"release": "new", "live": NOW - 10},
        {"release": "old", "live": NOW - 20},
    ]


class Module:
    """An AnsibleModule whose journalctl prints ``out``."""

    def __init__(self, out: str = "") -> None:
        self.out = out

    def run_command(self, *_: Any, **__: Any) -> tuple[int, str, str]:
        return 0, self.out, ""


@pytest.mark.parametrize(
    "text",
    [
        "[{}: INFO/MainProcess] Scheduler: Sending due task a (b)\n[2030-01-01 00:00:00,1: INFO/MainProcess] beat: x\n",
        '{{"time": "{}Z", "message": "Scheduler: Sending due task a (b)"}}\n',
    ],
)
def test_the_last_tick_is_in_the_log(tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    log = tmp_path / "beat.log"
    log.write_text("x" * plugin.TAIL + "\n" + text.format("2027-01-15 08:00:00,123"))
    assert plugin.last_tick(Module(), "beat.service", str(log)) == pytest.approx(NOW - 60)


def test_the_last_tick_is_in_the_journal(tmp_path: Path) -> None:
    entry = json.dumps({"__REALTIME_TIMESTAMP": "1800000000000000"})
    assert plugin.last_tick(Module(entry), "beat.service", str(tmp_path / "none")) == NOW - 60


def test_no_tick_is_known(tmp_path: Path) -> None:
    assert plugin.last_tick(Module("-- No entries --"), "beat.service", str(tmp_path / "none")) is None


class Answers:
    """What the application answers."""

    def __init__(self, reason: str = "") -> None:
        self.reason, self.asked = reason, []

    def call(self, function: str, *, limit: float, **arguments: Any) -> Any:
        if self.reason:
            raise plugin.ProbeError(self.reason)
        self.asked.append((function, arguments))
        return {"queues": {"queues": {}, "unacked": 0}, "status": {NODE: {"queues": ["mail"], "done": 1}}}.get(function)

    def __enter__(self) -> Answers:
        return self

    def __exit__(self, *_: object) -> None: ...


@pytest.fixture
def look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    def run(answers: Answers, *states: dict[str, str]) -> dict[str, Any]:
        monkeypatch.setattr(plugin, "show", lambda *_: [*states, shown(LoadState="not-found")])
        monkeypatch.setattr(plugin, "Probe", lambda *_: answers)
        monkeypatch.setattr(plugin, "last_tick", lambda *_: None)
        node = {"name": "crawler", "queues": ["mail"], "unit": "shop-worker@crawler.service"}
        paths = dict.fromkeys(("directory", "virtualenv", "environment_file", "beat_log"), "/x")
        paths["trail"] = str(tmp_path / "rollouts.jsonl")
        rest = {"app": "shop", "user": "shop", "queues": ["mail"], "beat": "shop-beat.service"}
        return run_module(plugin, {**rest, **paths, "nodes": [node]}, tmp_path, check=True)

    return run


def test_what_runs_is_asked(look: Any) -> None:
    answers = Answers()
    result = look(answers, shown())
    assert not result["changed"]
    (node,) = result["nodes"]
    assert (node["name"], node["done"], node["expected"]) == (NODE, 1, ["mail"])
    assert ("status", {"nodes": [NODE]}) in answers.asked
    assert result["error"] == ""


def test_what_does_not_run_is_not_asked(look: Any) -> None:
    answers = Answers()
    look(answers, shown(ActiveState="inactive"))
    assert ("status", {"nodes": []}) in answers.asked


def test_an_application_that_can_not_be_asked_is_no_failure(look: Any) -> None:
    result = look(Answers("Connection refused"), shown())
    assert (result["error"], result["nodes"][0]["state"]) == ("Connection refused", "active")
    assert "queues" not in result


def test_why_it_can_not_be_asked_is_told_without_secrets(look: Any) -> None:
    result = look(Answers("ValueError: redis://u:pw@db/0 is no URL"), shown())
    assert result["error"] == "ValueError: redis://***@db/0 is no URL"


def test_the_last_rollout_is_told(look: Any, tmp_path: Path) -> None:
    assert look(Answers(), shown())["rollout"] is None
    for result in ("live", "failed"):
        Trail(str(tmp_path / "rollouts.jsonl"), {"release": "two"}).end(result, "No answer.")
    assert look(Answers(), shown())["rollout"].items() >= {"result": "failed", "reason": "No answer."}.items()


@pytest.mark.parametrize("text", [b"5\n", b"null\n", b"{}\n", b"\xff\n"])
def test_a_trail_without_a_line_that_can_be_read_has_no_rollout(look: Any, tmp_path: Path, text: bytes) -> None:
    (tmp_path / "rollouts.jsonl").write_bytes(text)
    assert look(Answers(), shown())["rollout"] is None


def test_a_trail_that_can_not_be_read_is_a_warning(
    look: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "rollouts.jsonl").mkdir()
    assert look(Answers(), shown())["rollout"] is None
    assert "can't be read: Is a directory." in capsys.readouterr().err
