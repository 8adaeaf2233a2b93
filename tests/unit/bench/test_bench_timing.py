"""bench/timing.py: what a command takes, and the plays of a playbook."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bench.timing import BenchError, Run, memory_mib, parts, run, together
from tests.support.paths import ROOT

PLAYBOOK = """
print("PLAY [Preflight] ****")
print("TASK [Preflight : look] ****")
print("PLAY [Redis] ****")
print("PLAY RECAP ****")
print("dev1   : ok=3    changed=2    unreachable=0    failed=0")
print("dev2   : ok=3    changed=1    unreachable=0    failed=0")
"""


def python(program: str) -> list[str]:
    return [sys.executable, "-c", program]


def test_a_playbook_is_split_into_its_plays() -> None:
    played = run(python(PLAYBOOK))
    assert list(played.split) == ["", "Preflight", "Redis"]
    assert sum(played.split.values()) == pytest.approx(played.seconds, abs=0.01)


def test_the_seconds_of_a_part_end_where_the_next_begins() -> None:
    marks = [("", 10.0), ("Preflight", 11.5), ("Nodes", 14.0), ("Preflight", 15.0)]
    assert parts(marks, 17.0) == {"": 1.5, "Preflight": 4.5, "Nodes": 1.0}


def test_what_hosts_changed_is_added_up() -> None:
    assert run(python(PLAYBOOK)).changed == 3


def test_processor_time_and_memory_are_those_of_the_command_and_its_children() -> None:
    """Measured by a process of its own: before it executes something else, a child counts as as large as its parent."""
    child = "x = bytearray(200 * 2**20); sum(n * n for n in range(2_000_000))"
    command = python(f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}], check=True)")
    measure = f"from bench.timing import run; r = run({command!r}); print(r.processor_seconds, r.seconds, r.peak_mib)"
    said = subprocess.run(python(measure), cwd=ROOT, check=True, text=True, capture_output=True).stdout
    processor_seconds, seconds, peak_mib = map(float, said.split())
    assert 0.05 < processor_seconds < seconds * 1.2
    assert 200 < peak_mib < 300


def test_a_command_gets_its_input_and_its_variables() -> None:
    program = "import os, sys; print(len(sys.stdin.read()), os.environ['GIVEN'])"
    assert run(python(program), {"GIVEN": "a word"}, b"x" * 300_000).output == "300000 a word\n"


def test_a_command_need_not_read_its_input() -> None:
    assert run(python("print('done')"), stdin=b"x" * 300_000).output == "done\n"


def test_a_command_that_fails_is_quoted_with_its_last_words() -> None:
    with pytest.raises(BenchError, match=r"ended with 3; its last words:\n60\n[\d\n]*\n99\Z"):
        run(python("print(*range(100), sep='\\n'); raise SystemExit(3)"))


def test_memory_counts_what_processes_share_once(tmp_path: Path) -> None:
    """Three processes with the same 200 MiB, for as long as it takes to be seen."""
    (tmp_path / "fork.py").write_text(
        "import os, time\n"
        "data = bytearray(b'x') * (200 * 2**20)\n"
        "children = [pid for pid in (os.fork(), os.fork()) if pid]\n"
        "time.sleep(1)  # stands for work\n"
        "[os.waitpid(pid, 0) for pid in children]\n"
    )
    assert 200 < memory_mib([sys.executable, str(tmp_path / "fork.py")]) < 300


def test_runs_one_after_the_other_add_up() -> None:
    first, second = Run(1.0, 0.5, 2.0, 100.0, "a"), Run(2.0, 0.25, 1.0, 50.0, "b")
    assert together(first, second) == Run(3.0, 0.75, 3.0, 100.0, "ab")
