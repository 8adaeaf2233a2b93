"""tools/run_tests.py: what an interrupt ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.harness import ROOT

SUITE = """
import signal, sys, run_tests
signal.signal(signal.SIGINT, signal.default_int_handler)  # what runs in a shell's background ignores it
run_tests.SCENARIOS = []
run_tests.steps = lambda _scratch: [
    run_tests.Step(str(number), ["sh", "-c", "(sleep 600 & echo $! >%s/$0; wait); :" % sys.argv[1], str(number)])
    for number in range(9)
]
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


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_what_runs_and_begins_nothing_more(number: signal.Signals, tmp_path: Path) -> None:
    environ = {**os.environ, "PYTHONPATH": str(ROOT / "tools"), "CELERIAC_TEST_LOGS": str(tmp_path / "logs")}
    (tmp_path / "pids").mkdir()
    suite = subprocess.Popen(
        [sys.executable, "-c", SUITE, str(tmp_path / "pids")], env=environ, text=True, stdout=subprocess.PIPE
    )
    deadline = time.monotonic() + 60
    while len(pids(tmp_path / "pids")) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    suite.send_signal(number)
    assert "Interrupted." in suite.communicate(timeout=60)[0]
    assert suite.returncode == 130
    begun = pids(tmp_path / "pids")
    assert len(begun) in (2, 3)  # as many as run side by side
    assert not any(runs(pid) for pid in begun)
