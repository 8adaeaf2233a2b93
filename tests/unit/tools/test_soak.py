"""tools/soak.py: the page that figures become, and what an interrupt ends."""

from __future__ import annotations

import json
import signal
import subprocess
from dataclasses import asdict
from pathlib import Path

import pytest
import run_tests
import scenario
import soak

from tests.support.paths import ROOT
from tests.support.soak import Measurement
from tests.support.waiting import wait_for

KILLS = Measurement("10 kills", 1234, 1, 2, 0.25, [4.6, 21.0])


def soaked(scenario: str, *measurements: Measurement, told: str = "then, there") -> soak.Soaked:
    return soak.Soaked(scenario, told, "1 passed and 0 failed in 9 s", list(measurements))


def test_a_measurement_is_a_row() -> None:
    rows = list(soaked("load", KILLS, Measurement("logs", 5, 0, 0)).lines())
    assert rows[0] == "then, there. 1 passed and 0 failed in 9 s."
    assert rows[-2:] == ["| 10 kills | 1,234 | 1 | 2 | 0.2 s | 4.6 to 21.0 s |", "| logs | 5 | 0 | 0 |  |  |"]


@pytest.mark.parametrize(("seconds", "told"), [([], ""), ([1.04], "1.0 s"), ([9.0, 2.0, 3.0], "2.0 to 9.0 s")])
def test_seconds_are_told_as_a_span(seconds: list[float], told: str) -> None:
    assert soak.spread(seconds) == told


def test_a_scenario_that_is_run_again_replaces_its_own_part_alone() -> None:
    first, second, *_ = soak.SCENARIOS
    document = soak.written("", soaked(second, KILLS, told="long ago"))
    document = soak.written(document, soaked(first, KILLS, told="before"))
    document = soak.written(document, soaked(first, told="now"))
    assert document.startswith(soak.PREAMBLE)
    assert [line for line in document.splitlines() if line.startswith("## ")] == [f"## {first}", f"## {second}"]
    assert "before" not in document
    assert "now. " in document
    assert "long ago. " in document
    assert document.count("10 kills") == 1


def test_the_page_is_what_a_soak_would_write() -> None:
    text = soak.DOCUMENT.read_text(encoding="utf-8")
    assert text.startswith(soak.PREAMBLE)


def test_a_scenario_that_is_none_is_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["soak.py", "laod"])
    with pytest.raises(SystemExit) as refused:
        soak.main()
    assert refused.value.code == 2
    assert "laod: no part of the soak; use one of load" in capsys.readouterr().err


def test_every_test_with_the_marker_is_in_a_scenario_of_the_soak() -> None:
    files = (ROOT / "tests/integration").glob("*/test_*.py")
    marked = {path for path in files if "pytest.mark.soak" in path.read_text(encoding="utf-8")}
    assert marked
    reached = set()
    for name in soak.SCENARIOS:
        verifier = scenario.Scenario(name).verifier
        own = (ROOT / "molecule" / name / verifier["directory"]).resolve()
        patterns = ("test_*.py", *verifier.get("additional_files_or_dirs", []))
        there = {path.resolve() for pattern in patterns for path in own.glob(pattern)}
        assert marked & there
        reached |= there
    assert marked - reached == set()


@pytest.mark.parametrize("code", [0, 1])
def test_what_a_scenario_measured_is_written_down_however_it_ended(
    code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a scenario that does as pytest would."""
    line = json.dumps(asdict(KILLS))
    script = f"echo '{line}' >\"${{PYTEST_ADDOPTS#--soak=}}\"; echo '= 1 passed in 2.00s ='; exit {code}"
    monkeypatch.setattr(run_tests, "steps", lambda *_: [run_tests.Step("molecule-load", ["sh", "-c", script])])
    monkeypatch.setattr(run_tests, "remove_hosts", lambda: None)
    monkeypatch.setattr(soak, "LOGS", tmp_path / "logs")
    monkeypatch.setattr(soak, "DOCUMENT", tmp_path / "measurements.md")
    assert soak.run(["load"]) is (code == 0)
    text = (tmp_path / "measurements.md").read_text()
    assert "| 10 kills | 1,234 | 1 | 2 | 0.2 s | 4.6 to 21.0 s |" in text
    assert f"1 passed and {code} failed in 0 s." in text


def test_a_scenario_that_is_interrupted_ends_with_all_that_it_started() -> None:
    step = run_tests.Step("load", [])
    step.process = subprocess.Popen(
        ["sh", "-c", "sleep 600 & echo $!; wait"], stdout=subprocess.PIPE, start_new_session=True
    )
    assert step.process.stdout
    pid = int(step.process.stdout.readline())
    soak.end(step)
    assert step.process.returncode == -signal.SIGTERM
    command = Path(f"/proc/{pid}/cmdline")  # empty where nobody has asked how it ended
    wait_for(lambda: not command.exists() or not command.read_bytes(), what="its end")
