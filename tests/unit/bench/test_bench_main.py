"""bench/__main__.py: what is refused before anything is started."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from bench import __main__ as cli
from bench.lab import Options, docker_problem
from bench.record import Record
from bench.timing import BenchError
from tests.support.paths import ROOT


@pytest.fixture
def peer(tmp_path: Path) -> Path:
    """A directory that looks like an Ansible role."""
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks/main.yml").touch()
    return tmp_path


def test_all_figures_with_a_peer_on_an_idle_machine_are_not_refused(peer: Path) -> None:
    assert cli.problems(list(cli.FIGURES), Options(peer=peer), {}, load=0.0) == []


def test_an_unknown_figure_is_refused_with_those_that_there_are() -> None:
    assert cli.problems(["grwoth"], Options(), {}, load=0.0) == [
        "grwoth is no figure: use some of first-run, no-change, growth, one-line-change, bare-celery."
    ]


def test_a_peer_that_was_not_given_is_asked_for_by_its_variable() -> None:
    (problem,) = cli.problems(["no-change"], Options(), {}, load=0.0)
    assert "set BENCH_GEERLINGGUY_REDIS to a checkout" in problem


def test_a_peer_that_is_no_role_is_refused(tmp_path: Path) -> None:
    (problem,) = cli.problems(["no-change"], Options(peer=tmp_path / "nowhere"), {}, load=0.0)
    assert problem == (
        f"BENCH_GEERLINGGUY_REDIS is {tmp_path}/nowhere, which is no Ansible role: there is no tasks/main.yml in it."
    )


def test_figures_without_a_peer_need_none() -> None:
    assert cli.problems(["growth", "one-line-change"], Options(), {}, load=0.0) == []


def test_a_busy_machine_is_refused_unless_told() -> None:
    assert any("the load is 99.00" in problem for problem in cli.problems(["growth"], Options(), {}, load=99.0))
    assert cli.problems(["growth"], Options(), {"BENCH_ANY_LOAD": "1"}, load=99.0) == []


def test_all_that_is_wrong_is_said_at_once() -> None:
    assert len(cli.problems(["x", "no-change"], Options(rounds=0), {}, load=99.0)) == 4


def test_figures_come_before_and_after_the_rounds(capsys: pytest.CaptureFixture[str]) -> None:
    """As the Makefile puts them."""
    assert cli.main(["check", "this", "--rounds=3", "that"]) == 2
    assert re.findall(r"(\w+) is no figure", capsys.readouterr().err) == ["this", "that"]


@pytest.mark.parametrize("verb", ["check", "measure"])
def test_nothing_is_started_when_something_is_wrong(verb: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "measure", lambda *_: pytest.fail("it was started"))
    monkeypatch.setattr(cli, "docker_problem", lambda: pytest.fail("Docker was asked"))
    assert cli.main([verb, "nothing-like-it"]) == 2


def test_without_docker_nothing_is_started(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("BENCH_ANY_LOAD", "1")
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(cli, "measure", lambda *_: pytest.fail("it was started"))
    assert cli.main(["measure", "growth"]) == 2
    assert "there is no Docker Engine: run tools/docker_engine ensure." in capsys.readouterr().err


def test_an_engine_that_does_not_answer_is_no_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    docker = tmp_path / "docker"
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    docker.write_text("#!/bin/sh\necho Cannot connect >&2\nexit 1\n")
    docker.chmod(0o755)
    assert docker_problem() == "no Docker Engine answers, run tools/docker_engine ensure: Cannot connect"
    docker.write_text("#!/bin/sh\necho debian:13\n")
    assert docker_problem() == "the image celeriac-host:debian13 isn't there: run make images."
    docker.write_text("#!/bin/sh\necho celeriac-host:debian13\n")
    assert docker_problem() == ""


def test_a_figure_that_can_not_be_measured_says_why(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def measure(*_: object) -> Record:
        raise BenchError("no node answers")

    monkeypatch.setenv("BENCH_ANY_LOAD", "1")
    monkeypatch.setattr(cli, "docker_problem", lambda: "")
    monkeypatch.setattr(cli, "measure", measure)
    assert cli.main(["measure", "growth"]) == 1
    assert capsys.readouterr().err == "celeriac: error: no node answers\n"


def test_the_check_needs_nothing_that_only_measuring_installs() -> None:
    """It comes before the packages are there."""
    command = [sys.executable, "-c", "import bench.__main__, sys; sys.exit('matplotlib' in sys.modules)"]
    assert subprocess.run(command, cwd=ROOT).returncode == 0


def test_each_figure_says_how_it_is_measured_and_what_is_plotted() -> None:
    for figure in cli.FIGURES.values():
        assert figure.title
        assert figure.settings
        assert figure.panels
        assert all(panel.series for panel in figure.panels)
