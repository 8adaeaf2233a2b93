"""tools/scenario.py: that it reads a scenario as molecule does, and what an action that fails ends."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import scenario
from molecule.config import Config

from tests.support.paths import ROOT

NAMES = sorted(path.parent.name for path in (ROOT / "molecule").glob("*/molecule.yml"))


@pytest.fixture
def molecules(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    """What molecule knows of the scenario."""
    monkeypatch.setenv("MOLECULE_EPHEMERAL_DIRECTORY", str(tmp_path))
    monkeypatch.chdir(ROOT)
    file = str(ROOT / "molecule" / request.param / "molecule.yml")
    return Config(file, args={"base_config": [str(ROOT / ".config/molecule/config.yml")]})


@pytest.mark.parametrize(("molecules", "name"), [(name, name) for name in NAMES], indirect=["molecules"])
def test_a_scenario_is_read_as_molecule_reads_it(molecules: Config, name: str) -> None:
    ours, theirs = scenario.Scenario(name), molecules.config_data
    assert ours.sequence == theirs["scenario"]["test_sequence"]
    for read, known in ((ours.ansible, theirs["ansible"]), (ours.verifier, theirs["verifier"])):
        assert scenario.merged(known, read) == known  # which has molecule's own defaults too


class Recorded(scenario.Scenario):
    """A scenario whose programs don't run; what they were called with."""

    def __init__(self, name: str, fails: str = "nothing", says: str = "") -> None:
        super().__init__(name)
        self.fails, self.says, self.calls = fails, says, list[list[str]]()

    def _forked(self, work: Any, command: list[str], output: Any = None) -> None:
        self.calls.append(command)
        if output is not None:
            output.write(self.says)
        if any(self.fails in word for word in command):
            raise scenario.ActionError(f"{self.fails} failed")

    @property
    def playbooks(self) -> list[str]:
        """The playbooks that were run, with arguments that are not those of all; the tests as the word pytest."""
        common = {word for call in self.calls for word in call if word.startswith("--") and word != "--check"}
        return [
            "pytest" if call[0] == "pytest" else " ".join(Path(word).name for word in call[1:] if word not in common)
            for call in self.calls
        ]


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a run sets is gone after the test."""
    monkeypatch.setattr(os, "environ", {**os.environ})


def test_the_sequence_is_done_in_its_order() -> None:
    run = Recorded("default")
    run.test()
    assert run.playbooks == [
        "create.yml",
        "site.yml --check",
        "pytest",
        "site.yml",
        "site.yml",
        "pytest",
        "destroy.yml",
    ]


def test_the_tests_are_the_scenarios_own_and_those_that_it_adds() -> None:
    run = Recorded("default")
    run.do("verify")
    (call,) = run.calls
    suites = {Path(word).parent.name for word in call if word.endswith(".py")}
    assert suites == {"site", "app", "celery", "redis"}
    assert call[call.index("-m") + 1] == "not destructive and not slow"
    assert f"--ansible-inventory={ROOT}/molecule/default/inventory" in call


def test_a_directory_of_tests_replaces_the_scenarios_own() -> None:
    run = Recorded("default")
    run.do("verify", "../../tests/integration/bare")
    assert [word for word in run.calls[0] if word.endswith(".py")] == [
        str(ROOT / "tests/integration/bare/test_bare.py")
    ]


def test_after_a_failure_nothing_is_done_but_the_removal_of_the_hosts() -> None:
    run = Recorded("default", fails="--check")
    with pytest.raises(scenario.ActionError, match="--check failed"):
        run.test()
    assert run.playbooks == ["create.yml", "site.yml --check", "destroy.yml"]


@pytest.mark.parametrize(("says", "fails"), [("ok=9 changed=0", False), ("ok=9 changed=10", True)])
def test_a_second_run_that_changes_something_fails(says: str, fails: bool, capsys: pytest.CaptureFixture[str]) -> None:
    run = Recorded("default", says=says)
    try:
        run.do("idempotence")
        failed = False
    except scenario.ActionError:
        failed = True
    assert failed is fails
    assert says in capsys.readouterr().out


def test_a_program_that_fails_is_an_action_that_fails(capfd: pytest.CaptureFixture[str]) -> None:
    def program(command: list[str]) -> None:
        print(Path("/proc/self/comm").read_text(), Path.cwd(), flush=True)
        raise SystemExit(3)

    here = scenario.Scenario("default")
    with pytest.raises(scenario.ActionError, match="default: something has failed"):
        here._forked(program, ["something"])
    assert capfd.readouterr().out.split() == ["something", str(ROOT / "molecule/default")]
