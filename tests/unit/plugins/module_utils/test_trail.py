"""plugins/module_utils/trail.py: a rollout is written down when it begins and when it ends."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

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
    assert sorted(os.listdir(path.parent)) == [path.name, "rollouts.lock"]


@pytest.mark.parametrize(
    "line",
    [
        b'{"resu',
        b"5\n",
        b"null\n",
        b"[]\n",
        b"{}\n",
        b"\xff\xfe\n",
        b'{"time": 5, "result": "live"}\n',
        pytest.param(b"[" * 100_000, id="deep"),
    ],
)
def test_a_line_that_can_not_be_read_is_left_out(path: Path, line: bytes) -> None:
    Trail(str(path), ABOUT).end("live")
    with path.open("ab") as file:
        file.write(line)
    last = Trail(str(path)).last()
    assert last is not None
    assert last.items() >= {**ABOUT, "result": "live"}.items()
    Trail(str(path), ABOUT).end("failed")
    assert [entry["result"] for entry in Trail(str(path)).entries()] == ["live", "failed"]


def test_a_byte_that_is_no_text_costs_no_more_than_itself(path: Path) -> None:
    Trail(str(path), {**ABOUT, "by": "alice!"}).end("live")
    path.write_bytes(path.read_bytes().replace(b"!", b"\xff"))
    assert [entry["by"] for entry in Trail(str(path)).entries()] == ["alice\ufffd"]


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


# -- the lock


def lockable(path: Path) -> list[Path]:
    """What any local user could lock of the directory and what is in it: a lock needs no more than to read."""
    return [each for each in [path.parent, *path.parent.iterdir()] if each.stat().st_mode & 0o044]


def test_nobody_but_root_can_make_it_seem_to_run_or_to_be_interrupted(path: Path) -> None:
    path.parent.mkdir(0o755)
    directory = os.open(path.parent, os.O_RDONLY)
    fcntl.flock(directory, fcntl.LOCK_EX)
    killed = Trail(str(path), ABOUT)
    killed.begin()
    assert lockable(path) == [path.parent]
    last = Trail(str(path)).last()
    assert last is not None
    assert last["result"] == "running"
    os.close(killed._lock)
    last = Trail(str(path)).last()
    os.close(directory)
    assert last is not None
    assert last["result"] == "interrupted"


def test_a_look_at_a_rollout_that_begins_costs_it_no_lock(path: Path) -> None:
    Trail(str(path), ABOUT).end("live")
    reader = os.open(path.parent / "rollouts.lock", os.O_RDONLY)
    fcntl.flock(reader, fcntl.LOCK_SH)
    ends = threading.Timer(0.2, os.close, [reader])
    ends.start()
    trail = Trail(str(path), ABOUT)
    trail.begin()
    ends.join()
    last = Trail(str(path)).last()
    assert last is not None
    assert last["result"] == "running"
    trail.end("live")


def test_two_rollouts_at_once_both_go_on(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugin, "PATIENCE", 0.0)
    one, two = Trail(str(path), ABOUT), Trail(str(path), {**ABOUT, "release": "three"})
    one.begin()
    two.begin()
    two.end("failed")
    one.end("live")
    assert {entry["release"]: entry["result"] for entry in one.entries()} == {"two": "live", "three": "failed"}


# -- a trail that can't be written or read


def full(*_: Any) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("call", ["makedirs", "open", "fsync", "replace"])
def test_a_trail_that_can_not_be_written_is_a_warning(path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    said: list[str] = []
    with monkeypatch.context() as broken:
        broken.setattr(plugin.os, call, lambda *_args, **_options: full())
        trail = Trail(str(path), ABOUT, said.append)
        trail.begin()
        trail.end("live")
    assert said == [f"The trail {path} of the rollouts can't be written: No space left on device."]
    assert not list(path.parent.glob(".rollouts-*"))


def test_one_whose_begin_could_not_be_written_is_when_it_ends(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trail = Trail(str(path), ABOUT)
    with monkeypatch.context() as broken:
        broken.setattr(plugin.os, "fsync", full)
        trail.begin()
    trail.end("live")
    assert [entry["result"] for entry in trail.entries()] == ["live"]


def test_a_trail_that_can_not_be_read_is_a_warning(path: Path) -> None:
    path.mkdir(parents=True)
    said: list[str] = []
    assert Trail(str(path), warn=said.append).last() is None
    assert said == [f"The trail {path} of the rollouts can't be read: Is a directory."]


def test_what_a_killed_rollout_left_half_written_goes(path: Path) -> None:
    path.parent.mkdir()
    (path.parent / ".rollouts-abc").touch()
    Trail(str(path), ABOUT).end("live")
    assert not (path.parent / ".rollouts-abc").exists()


def test_what_another_rollout_writes_stays(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugin, "PATIENCE", 0.0)
    other = Trail(str(path), ABOUT)
    other.begin()
    (path.parent / ".rollouts-abc").touch()
    Trail(str(path), ABOUT).end("live")
    assert (path.parent / ".rollouts-abc").exists()
    other.end("live")
