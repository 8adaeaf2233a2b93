"""tools/run_tests.py: which steps run, in which order, what they may cost, and what an interrupt ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import cpu_profile
import pytest
import run_tests

from tests.support.paths import ROOT
from tests.support.waiting import PATIENCE, wait_for

SUITE = """
import signal, sys, time, run_tests
pids = sys.argv.pop(1)
signal.signal(signal.SIGINT, signal.default_int_handler)  # what runs in a shell's background ignores it
run_tests.remove_hosts = lambda: None
run_tests.steps = lambda _scratch, _names: [
    run_tests.Step(str(number), ["sh", "-c", "(sleep 600 & echo $! >%s/$0; wait); :" % pids, str(number)])
    for number in range(9)
]
slowly = sys.argv.pop() == "slowly"
if slowly:  # a busy machine
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


@pytest.mark.parametrize(("number", "how"), [(signal.SIGINT, "slowly"), (signal.SIGTERM, "at once")])
def test_an_interrupt_ends_what_runs_and_begins_nothing_more(number: signal.Signals, how: str, tmp_path: Path) -> None:
    environ = {**os.environ, "PYTHONPATH": str(ROOT / "tools"), "CELERIAC_TEST_LOGS": str(tmp_path / "logs")}
    (tmp_path / "pids").mkdir()
    suite = subprocess.Popen(
        [sys.executable, "-c", SUITE, str(tmp_path / "pids"), how], env=environ, text=True, stdout=subprocess.PIPE
    )
    wait_for(lambda: len(pids(tmp_path / "pids")) >= run_tests.SIDE_BY_SIDE, what="the first steps")
    suite.send_signal(number)
    assert "Interrupted." in suite.communicate(timeout=PATIENCE)[0]
    assert suite.returncode == 130
    begun = pids(tmp_path / "pids")
    assert len(begun) == run_tests.SIDE_BY_SIDE
    assert not any(runs(pid) for pid in begun)


def test_every_scenario_has_a_budget_and_the_others_are_targets_of_make() -> None:
    scenarios = {path.parent.name for path in (ROOT / "molecule").glob("*/molecule.yml")}
    assert scenarios | {"unit", "lint"} == set(run_tests.budgets())


def test_the_expensive_steps_start_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_tests, "budgets", lambda: {"redis": 3.0, "unit": 2.0, "app": 1.0})
    assert [step.name for step in run_tests.steps(tmp_path, ["app", "redis"])] == ["molecule-redis", "molecule-app"]


def test_a_step_over_its_budget_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_tests, "budgets", lambda: {"unit": 2.0, "lint": 2.0})
    used = {("unit", "pytest"): 2.4, ("lint", "linters"): 1.5}
    profile = cpu_profile.Profile(2, [cpu_profile.Look(1.0, used, 0.0)], [], [])
    done = [run_tests.Step(name, [], budget=name) for name in ("unit", "lint")]
    assert list(run_tests.over_budget(profile, done)) == ["unit took 2 processor seconds of 2"]


def test_a_step_that_is_none_is_refused(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["run_tests.py", "redis", "rediss"])
    with pytest.raises(SystemExit) as refused:
        run_tests.main()
    assert refused.value.code == 2
    assert "rediss: no such step; use one of app," in capsys.readouterr().err


def test_hosts_of_this_run_alone_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a docker that lists two containers and no network, and writes down what it is asked to remove."""
    docker = tmp_path / "docker"
    listed = f"echo 1 {run_tests.RUN}-redis; echo 2 celeriac-test-0-redis"
    docker.write_text(f'#!/bin/sh\ncase "$1" in ps) {listed};; rm) echo "$@" >>{tmp_path}/removed;; esac\n')
    docker.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    run_tests.remove_hosts()
    assert (tmp_path / "removed").read_text() == "rm -f 1\n"
