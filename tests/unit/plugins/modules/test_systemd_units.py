"""plugins/modules/systemd_units.py: what it does, judged by a systemctl that only pretends."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.celeriac.fleet.plugins.module_utils import systemd_state as state
from ansible_collections.celeriac.fleet.plugins.modules import systemd_units as plugin

from tests.support.harness import run_module
from tests.support.systemctl import AFTER, BEFORE, NEW, RUNNING, STOPPED, Systemctl


@pytest.fixture
def systemctl(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Systemctl:
    pretended = Systemctl()
    monkeypatch.setattr(plugin.AnsibleModule, "run_command", lambda _module, command: pretended.run(command))
    monkeypatch.setattr(plugin.AnsibleModule, "get_bin_path", lambda *_args, **_kwargs: "systemctl")
    monkeypatch.setattr(state, "SYSTEM", str(tmp_path / "system"))
    return pretended


@pytest.fixture
def run(systemctl: Systemctl, tmp_path: Path) -> Any:
    return lambda check=False, **arguments: run_module(plugin, arguments, tmp_path, check=check)


def test_a_unit_whose_program_was_replaced_is_restarted(
    systemctl: Systemctl, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    systemctl.units = {"old.service": {**RUNNING, "MainPID": "7"}, "new.service": {**RUNNING, "MainPID": "8"}}
    monkeypatch.setattr(state, "replaced", lambda pid: pid == "7")
    assert run(units=[{"name": "old.service"}, {"name": "new.service"}])["restarted"] == ["old.service"]


# -- what it does


def test_units_that_are_as_they_should_be_are_left_alone(run: Any, systemctl: Systemctl) -> None:
    systemctl.units = {"a.service": RUNNING}
    result = run(units=[{"name": "a.service"}])
    assert not result["changed"]
    assert systemctl.did == []


def test_a_new_unit_is_enabled_and_started(run: Any, systemctl: Systemctl) -> None:
    systemctl.units = {"a.service": NEW, "b.service": NEW}
    result = run(units=[{"name": "a.service"}, {"name": "b.service"}])
    assert systemctl.did == [("enable", "a.service", "b.service"), ("start", "a.service", "b.service")]
    assert result["started"] == result["enabled"] == ["a.service", "b.service"]
    assert "started: a.service, b.service" in result["diff"]["after"]


def test_a_unit_that_systemd_has_not_read_yet_is_read(run: Any, systemctl: Systemctl) -> None:
    systemctl.after_reload = {"a.service": NEW}
    run(units=[{"name": "a.service"}])
    assert systemctl.did[0] == ("daemon-reload",)
    assert systemctl.did[-1] == ("start", "a.service")


def test_a_unit_without_a_file_is_an_error(run: Any) -> None:
    result = run(units=[{"name": "a.service"}])
    assert result["failed"]
    assert result["msg"] == "a.service can't be used: systemd says not-found"


def test_a_changed_unit_file_is_read_again(run: Any, systemctl: Systemctl) -> None:
    systemctl.units = {"a.service": {**RUNNING, "NeedDaemonReload": "yes"}}
    systemctl.after_reload = {"a.service": RUNNING}
    assert not run(units=[{"name": "a.service"}])["changed"]
    assert systemctl.did == [("daemon-reload",)]


@pytest.mark.parametrize(("changed", "restarts"), [(BEFORE, False), (AFTER, True)])
@pytest.mark.parametrize("kind", ["FragmentPath", "DropInPaths", "input"])
def test_a_unit_is_restarted_if_it_is_older_than_what_it_reads(
    run: Any, systemctl: Systemctl, tmp_path: Path, kind: str, changed: float, restarts: bool
) -> None:
    path = tmp_path / "read"
    path.touch()
    os.utime(path, (changed, changed))
    systemctl.units = {"a.service": {**RUNNING, **({kind: str(path)} if kind != "input" else {})}}
    result = run(units=[{"name": "a.service", "inputs": [str(path)] if kind == "input" else []}])
    assert result["restarted"] == (["a.service"] if restarts else [])
    assert systemctl.did == ([("restart", "a.service")] if restarts else [])


def test_a_unit_that_is_not_to_be_started_is_only_enabled(run: Any, systemctl: Systemctl) -> None:
    systemctl.units = {"a.timer": NEW}
    run(units=[{"name": "a.timer", "start": False}])
    assert systemctl.did == [("enable", "a.timer")]


def test_a_start_that_fails_shows_the_journal(run: Any, systemctl: Systemctl) -> None:
    systemctl.units = {"broken.service": STOPPED}
    result = run(units=[{"name": "broken.service"}])
    assert result["failed"]
    assert "systemctl start broken.service: Job failed." in result["msg"]
    assert "broken.service:\nlast words" in result["msg"]


def test_what_matches_and_is_not_wanted_is_retired(run: Any, systemctl: Systemctl) -> None:
    names = ["shop-worker@old.service", "shop-worker@new.service", "shop-worker@kept.service", "shopping.service"]
    systemctl.units = dict.fromkeys(names, RUNNING)
    result = run(
        units=[{"name": "shop-worker@new.service"}],
        keep=["shop-worker@kept.service"],
        retire=["shop-worker@*.service"],
    )
    assert result["retired"] == ["shop-worker@old.service"]
    assert systemctl.did == [("disable", "--now", "shop-worker@old.service")] or systemctl.did == [
        ("disable", "shop-worker@old.service")
    ]


def test_what_is_only_left_as_a_file_is_retired(run: Any, systemctl: Systemctl, tmp_path: Path) -> None:
    wants = tmp_path / "system" / "shop-workers.target.wants"
    wants.mkdir(parents=True)
    (wants / "shop-worker@old.service").symlink_to("/nowhere")
    systemctl.units = {}
    assert run(retire=["shop-worker@*.service"])["retired"] == []  # nothing runs, nothing is enabled
    systemctl.units = {"shop-worker@old.service": STOPPED}
    assert run(retire=["shop-worker@*.service"])["retired"] == ["shop-worker@old.service"]


def test_the_template_itself_is_not_retired(run: Any, systemctl: Systemctl, tmp_path: Path) -> None:
    (tmp_path / "system").mkdir()
    (tmp_path / "system" / "shop-worker@.service").touch()
    systemctl.units = {"shop-worker@.service": RUNNING}
    assert run(retire=["shop-worker@*.service"])["retired"] == []


def test_what_is_retired_already_is_left_alone(run: Any, systemctl: Systemctl) -> None:
    systemctl.units = {"shop-beat.service": {**STOPPED, "UnitFileState": "disabled"}}
    assert not run(retire=["shop-beat.service"])["changed"]
    assert systemctl.did == []


def test_a_failed_unit_is_forgotten_when_it_is_retired(run: Any, systemctl: Systemctl) -> None:
    systemctl.units = {"shop-beat.service": {**STOPPED, "ActiveState": "failed"}}
    run(retire=["shop-beat.service"])
    assert ("reset-failed", "shop-beat.service") in systemctl.did


@pytest.mark.parametrize(("state", "masks"), [("loaded", True), ("masked", False)])
def test_what_must_not_run_is_masked_once(run: Any, systemctl: Systemctl, state: str, masks: bool) -> None:
    systemctl.units = {"redis-server.service": {**RUNNING, "LoadState": state}}
    result = run(mask=["redis-server.service"])
    assert result["masked"] == (["redis-server.service"] if masks else [])
    assert bool(systemctl.did) is masks


def test_check_mode_says_what_it_would_do_and_does_not(run: Any, systemctl: Systemctl) -> None:
    systemctl.units = {"a.service": NEW, "shop-beat.service": RUNNING, "redis-server.service": RUNNING}
    result = run(
        check=True,
        units=[{"name": "a.service"}, {"name": "unknown.service"}],
        retire=["shop-beat.service"],
        mask=["redis-server.service"],
    )
    assert systemctl.did == []
    assert result["started"] == ["a.service", "unknown.service"]
    assert (result["retired"], result["masked"]) == (["shop-beat.service"], ["redis-server.service"])


def test_a_masked_unit_that_left_is_unmasked_too(systemctl: Systemctl, run: Any) -> None:
    """An operator held it; its link would stay for ever."""
    held = "shop-worker@held.service"
    systemctl.units = {held: {**STOPPED, "LoadState": "masked", "UnitFileState": "masked"}}
    assert run(retire=["shop-worker@*.service"])["retired"] == [held]
    assert systemctl.did == [("unmask", held), ("disable", held)]


def test_only_a_retired_unit_that_failed_is_reset(systemctl: Systemctl, run: Any) -> None:
    systemctl.units = {
        "shop-worker@a.service": dict(RUNNING),
        "shop-worker@b.service": {**RUNNING, "ActiveState": "failed"},
    }
    run(retire=["shop-worker@*.service"])
    assert systemctl.did[-1] == ("reset-failed", "shop-worker@b.service")


def test_a_unit_that_systemd_starts_again_and_again_does_not_run(systemctl: Systemctl, run: Any) -> None:
    """Its start failed in a former run; as "activating" it would pass for running."""
    systemctl.units = {"a.service": {**RUNNING, "ActiveState": "activating", "SubState": "auto-restart"}}
    assert run(units=[{"name": "a.service"}])["started"] == ["a.service"]
