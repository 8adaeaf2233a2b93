"""tools/run_tests.py: in which order scenarios start, and what an interrupt ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import run_tests

from tests.support.paths import ROOT

SUITE = """
import signal, sys, time, run_tests
signal.signal(signal.SIGINT, signal.default_int_handler)  # what runs in a shell's background ignores it
run_tests.remove_hosts = lambda: None
run_tests.remember = lambda _done: None
run_tests.steps = lambda _scratch: [
    run_tests.Step(str(number), ["sh", "-c", "(sleep 600 & echo $! >%s/$0; wait); :" % sys.argv[1], str(number)])
    for number in range(9)
]
if "slowly" in sys.argv:  # a busy machine
    class Pool(run_tests.ThreadPoolExecutor):
        def submit(self, *work):
            submitted = super().submit(*work)
            time.sleep(0.5)  # stands for the time that other processes take
            return submitted
    run_tests.ThreadPoolExecutor = Pool
sys.exit(run_tests.main())
"""


def pids(directory: Path) -> list[int]:
    """The processes that steps have started, once they have said so."""
    return [int(file.read_text()) for file in directory.iterdir() if file.read_text()]


def runs(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("how", ["at once", "slowly"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_what_runs_and_begins_nothing_more(number: signal.Signals, how: str, tmp_path: Path) -> None:
    environ = {**os.environ, "PYTHONPATH": str(ROOT / "tools"), "CELERIAC_TEST_LOGS": str(tmp_path / "logs")}
    (tmp_path / "pids").mkdir()
    suite = subprocess.Popen(
        [sys.executable, "-c", SUITE, str(tmp_path / "pids"), how], env=environ, text=True, stdout=subprocess.PIPE
    )
    deadline = time.monotonic() + 60
    while len(pids(tmp_path / "pids")) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)  # between two looks at the steps
    suite.send_signal(number)
    assert "Interrupted." in suite.communicate(timeout=60)[0]
    assert suite.returncode == 130
    begun = pids(tmp_path / "pids")
    assert len(begun) in (2, 3)  # as many as run side by side
    assert not any(runs(pid) for pid in begun)


@pytest.fixture
def remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of durations, which isn't there yet."""
    path = tmp_path / "cache/durations.json"
    monkeypatch.setattr(run_tests, "DURATIONS", path)
    return path


def test_every_scenario_is_run(remembered: Path) -> None:
    assert set(run_tests.scenarios()) == {path.parent.name for path in (ROOT / "molecule").glob("*/molecule.yml")}


def test_scenarios_that_took_long_start_first_after_new_ones(remembered: Path) -> None:
    first = run_tests.scenarios()
    durations = {name: float(at) for at, name in enumerate(first[1:])}
    done = [
        run_tests.Step(name, [], scenario=name, seconds=seconds, returncode=0) for name, seconds in durations.items()
    ]
    failed = run_tests.Step(first[0], [], scenario=first[0], seconds=1, returncode=1)
    run_tests.remember([*done, failed, run_tests.Step("unit", [], seconds=9, returncode=0)])
    assert run_tests.durations() == durations
    assert run_tests.scenarios() == [first[0], *reversed(first[1:])]


def test_without_durations_those_with_more_tests_start_first(remembered: Path) -> None:
    found = run_tests.scenarios()
    assert found.index("redis") < found.index("package")
    assert found.index("celery12") < found.index("app"), "whatever directory its tests are in"


@pytest.mark.parametrize("text", ["", "[]", "{", '{"redis": "long"}', '{"redis": null}'])
def test_durations_that_cannot_be_read_are_none(remembered: Path, text: str) -> None:
    remembered.parent.mkdir()
    remembered.write_text(text)
    assert run_tests.durations() == {}


def test_hosts_of_this_run_alone_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a docker that lists two containers and no network, and writes down what it is asked to remove."""
    docker = tmp_path / "docker"
    listed = f"echo 1 {run_tests.RUN}-redis; echo 2 celeriac-test-0-redis"
    docker.write_text(f'#!/bin/sh\ncase "$1" in ps) {listed};; rm) echo "$@" >>{tmp_path}/removed;; esac\n')
    docker.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    run_tests.remove_hosts()
    assert (tmp_path / "removed").read_text() == "rm -f 1\n"
