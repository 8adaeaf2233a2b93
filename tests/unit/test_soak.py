"""tests/support/soak.py: which tests run, in which size, and what is kept of what they measure."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.support.paths import ROOT
from tests.support.soak import Measurement, Soak, read

CONFTEST = """
from tests.support.soak import pytest_addoption, pytest_collection_modifyitems, soak
"""
TESTS = """
import pytest

def test_short(soak):
    assert soak.size(1, 10) == 1

@pytest.mark.soak
@pytest.mark.parametrize("how", ["up", pytest.param("down", marks=pytest.mark.soak(only=True))])
def test_kills(how, soak):
    soak.measured(f"{soak.size(1, 10)} kills, {how}", submitted=3, lost=0, twice=0)
"""
KILLS = Measurement("10 kills", 1234, 1, 2, 0.25, [4.6, 21.0])


def run(directory: Path, *options: str) -> str:
    """What pytest says of TESTS."""
    (directory / "conftest.py").write_text(CONFTEST)
    (directory / "test_it.py").write_text(TESTS)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-c",
        os.devnull,
        str(directory),
        *options,
    ]
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=directory, env=environ, text=True, capture_output=True).stdout


def test_the_suite_runs_the_small_size_and_writes_nothing_down(tmp_path: Path) -> None:
    assert "2 passed, 1 deselected" in run(tmp_path)


def test_a_soak_runs_the_marked_tests_alone_in_full_size(tmp_path: Path) -> None:
    assert "2 passed, 1 deselected" in run(tmp_path, f"--soak={tmp_path}/figures")
    assert [each.what for each in read(tmp_path / "figures")] == ["10 kills, up", "10 kills, down"]


def test_what_was_measured_is_read_as_it_was_written(tmp_path: Path) -> None:
    file = tmp_path / "figures"
    Soak(file).measured("10 kills", submitted=1234, lost=1, twice=2, gap=0.25, seconds=[4.6, 21.0])
    Soak(file).measured("logs", submitted=1, lost=0, twice=0)
    assert read(file) == [KILLS, Measurement("logs", 1, 0, 0)]
