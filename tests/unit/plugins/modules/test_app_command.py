"""plugins/modules/app_command.py: real commands in a directory that looks like a release."""

from __future__ import annotations

import os
import pwd
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.celeriac.fleet.plugins.modules import app_command as plugin

from tests.support.harness import run_module

Command = Callable[..., dict[str, Any]]


@pytest.fixture
def command(tmp_path: Path) -> Command:
    """Run the module in the release ``release``."""
    (tmp_path / "release" / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / "env").write_text('SHOP="open all day"\n')

    def command(*words: str, check: bool = False) -> dict[str, Any]:
        arguments = {
            "command": list(words),
            "directory": str(tmp_path / "release"),
            "environment_file": str(tmp_path / "env"),
            "user": pwd.getpwuid(os.geteuid()).pw_name,
        }
        return run_module(plugin, arguments, tmp_path, check=check)

    return command


def test_it_runs_in_the_release_with_its_environment_and_programs(command: Command, tmp_path: Path) -> None:
    program = tmp_path / "release" / ".venv" / "bin" / "manage"
    program.write_text('#!/bin/sh\necho "$PWD $SHOP $1"\n')
    program.chmod(0o755)
    result = command("manage", "a b; false")
    assert result["changed"]
    assert result["output"] == f"{tmp_path}/release open all day a b; false"


def test_what_succeeded_is_not_run_again(command: Command, tmp_path: Path) -> None:
    assert command("mkdir", str(tmp_path / "once"))["changed"]
    assert not command("mkdir", str(tmp_path / "once"))["changed"]


def test_another_command_is(command: Command, tmp_path: Path) -> None:
    command("true")
    assert command("mkdir", str(tmp_path / "once"))["changed"]


def test_what_failed_says_so_and_is_run_again(command: Command) -> None:
    for _ in range(2):
        result = command("sh", "-c", "echo no such table >&2; exit 3")
        assert result["failed"]
        assert "Release release isn't used" in result["msg"]
        assert "ended with 3:\nno such table" in result["msg"]


def test_a_program_that_is_not_there_is_told(command: Command) -> None:
    assert "nothing-such" in command("nothing-such")["msg"]


def test_check_mode_runs_nothing(command: Command, tmp_path: Path) -> None:
    assert command("mkdir", str(tmp_path / "once"), check=True)["changed"]
    assert not (tmp_path / "once").exists()
