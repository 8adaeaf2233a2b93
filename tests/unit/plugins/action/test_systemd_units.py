"""plugins/action/systemd_units.py: the look that spares a module's run must never spare one that is needed."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest
from ansible_collections.celeriac.fleet.plugins.action import systemd_units as action

UNIT = {"name": "a.service", "inputs": ["/etc/a"], "start": True}
STATE = {
    "LoadState": "loaded",
    "ActiveState": "active",
    "UnitFileState": "enabled",
    "NeedDaemonReload": "no",
    "InactiveExitTimestamp": "Wed 2025-01-01 12:00:00.500000 UTC",
    "MainPID": "7",
    "FragmentPath": "/lib/a.service",
    "DropInPaths": "/etc/a.d/x.conf /etc/a.d/y.conf",
}
MASKED = {**STATE, "LoadState": "masked", "ActiveState": "inactive", "UnitFileState": "masked"}
START = 1735732800.5


def said(*states: dict[str, str], matching: str = "", changed: str = "") -> str:
    """What the look prints."""
    shown = "\n\n".join("\n".join(f"{key}={value}" for key, value in state.items()) for state in states)
    return f"{shown}\n\n==\n{matching}==\n{changed}"


def nothing(text: str, units: list[Any] | None = None, **more: list[str]) -> bool:
    arguments = {"units": units or [UNIT], "retire": [], "keep": [], "mask": [], **more}
    return bool(action.nothing_to_do(text, arguments))


def at(path: str, seconds: float) -> str:
    return f"{seconds:.9f} {path}\n"


def test_what_is_as_it_should_be_needs_nothing() -> None:
    assert nothing(said(STATE))
    older = "".join(at(path, START) for path in ("/etc/a", "/lib/a.service", "/etc/a.d/x.conf", "/etc/a.d/y.conf"))
    assert nothing(said(STATE, changed=older))
    assert nothing(said(STATE, MASKED), mask=["b.service"])
    assert nothing(said({**STATE, "ActiveState": "activating", "UnitFileState": "static"}))


@pytest.mark.parametrize(
    "different",
    [
        {"LoadState": "not-found"},
        {"LoadState": "masked"},
        {"ActiveState": "inactive"},
        {"ActiveState": "failed"},
        {"ActiveState": "activating", "SubState": "auto-restart"},
        {"UnitFileState": "disabled"},
        {"UnitFileState": ""},
        {"NeedDaemonReload": "yes"},
        {"InactiveExitTimestamp": ""},
    ],
)
def test_a_unit_that_is_not_needs_the_module(different: dict[str, str]) -> None:
    newer = at("/etc/a", START - 1)
    assert not nothing(said({**STATE, **different}, changed=newer))


@pytest.mark.parametrize("path", ["/etc/a", "/lib/a.service", "/etc/a.d/x.conf", "/etc/a.d/y.conf"])
def test_a_newer_file_needs_the_module(path: str) -> None:
    assert not nothing(said(STATE, changed=at(path, START + 0.001)))


def test_a_newer_file_of_another_unit_does_not() -> None:
    assert nothing(said(STATE, changed=at("/etc/b", START + 1)))


def test_a_unit_that_only_has_to_be_known_may_be_stopped() -> None:
    stopped = {**STATE, "ActiveState": "inactive", "InactiveExitTimestamp": "", "UnitFileState": "static"}
    assert nothing(said(stopped), [{**UNIT, "start": False}])
    assert not nothing(said({**stopped, "NeedDaemonReload": "yes"}), [{**UNIT, "start": False}])


def test_a_program_that_was_replaced_needs_the_module() -> None:
    assert not nothing(said(STATE, changed="replaced 7\n"))


@pytest.mark.parametrize(
    ("matching", "spared"),
    [
        ("a.service loaded active running A\n", True),
        ("kept.service loaded active running K\n", True),
        ("/etc/systemd/system/a@.service\n", True),
        ("old.service loaded inactive dead O\n", False),
        ("/etc/systemd/system/multi-user.target.wants/old.service\n", False),
        ("/etc/systemd/system/old.service.d\n", False),
    ],
)
def test_what_may_have_to_be_retired_needs_the_module(matching: str, spared: bool) -> None:
    assert nothing(said(STATE, matching=matching), keep=["kept.service"]) is spared


def test_a_unit_to_mask_that_is_not_needs_the_module() -> None:
    assert not nothing(said(STATE, STATE), mask=["b.service"])
    assert not nothing(said(STATE), mask=["b.service"])  # systemctl said too little


@pytest.mark.parametrize("text", ["", "==\n==\n", "Failed to connect to bus\n"])
def test_no_answer_needs_the_module(text: str) -> None:
    assert not nothing(text)


def test_the_command_is_one_that_a_shell_takes() -> None:
    unit = {"name": "a'b.service", "inputs": ["/etc/two words"], "start": True}
    command = action.look({"units": [unit], "retire": ["a@*.service"], "keep": [], "mask": ["c.service"]})
    assert subprocess.run(["sh", "-n", "-c", command], check=False).returncode == 0
