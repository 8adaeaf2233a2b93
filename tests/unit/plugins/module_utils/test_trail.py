"""plugins/module_utils/trail.py: a rollout is written down when it begins and when it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from ansible_collections.celeriac.fleet.plugins.module_utils import trail as plugin
from ansible_collections.celeriac.fleet.plugins.module_utils.trail import Trail

from tests.support.harness import ROOT

ABOUT = {"release": "two", "before": "one", "by": "alice", "controller": "ctl"}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "shop" / "rollouts.jsonl"


def test_a_rollout_is_one_line_with_what_an_operator_asks_for(path: Path) -> None:
    trail = Trail(str(path), ABOUT)
    trail.begin()
    trail.end("reverted", "No answer from a.\nAnd its log, with a secret", ["a"])
    (line,) = path.read_text().splitlines()
    entry = json.loads(line)
    assert entry.pop("time").endswith("+00:00")
    assert entry.pop("seconds") >= 0
    assert entry == {**ABOUT, "result": "reverted", "reason": "No answer from a.", "nodes": ["a"]}


def test_only_root_may_read_it(path: Path) -> None:
    Trail(str(path), ABOUT).end("live")
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)


def test_the_last_ones_stay(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugin, "LINES", 3)
    for number in range(5):
        Trail(str(path), {**ABOUT, "release": str(number)}).end("live")
    assert [entry["release"] for entry in Trail(str(path)).entries()] == ["2", "3", "4"]
    assert os.listdir(path.parent) == [path.name]


def test_a_line_that_can_not_be_read_is_left_out(path: Path) -> None:
    path.parent.mkdir()
    path.write_text('{"result": "live"}\n{"resu')
    assert Trail(str(path)).last() == {"result": "live"}


def test_where_nothing_was_written_down_nothing_is_told(path: Path) -> None:
    assert Trail(str(path)).last() is None
    assert Trail("").last() is None
    Trail(None, ABOUT).end("live")


@pytest.mark.parametrize(("killed", "result"), [(False, "running"), (True, "interrupted")])
def test_one_that_runs_is_told_from_one_that_was_killed(path: Path, killed: bool, result: str) -> None:
    code = f"from trail import Trail; Trail({str(path)!r}, {ABOUT!r}).begin(); print(1, flush=True); input()"
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT / "plugins/module_utils",
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"1\n"
    if killed:
        process.send_signal(signal.SIGKILL)
        process.wait()
    last = Trail(str(path)).last()
    process.kill()
    process.communicate()
    assert last is not None
    assert last["result"] == result
    assert last["release"] == "two"
