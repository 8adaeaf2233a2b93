"""Where an action finds a host settled, its module would change nothing there, whatever the host is like.

And the other way round where that is cheap, so that a look doesn't rot into one that always sends its module.
"""

from __future__ import annotations

import grp
import json
import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import pytest
from ansible.module_utils.basic import AnsibleModule
from ansible.modules import user
from ansible_collections.celeriac.fleet.plugins.action import app_release as release_action
from ansible_collections.celeriac.fleet.plugins.action import celery_check as check_action
from ansible_collections.celeriac.fleet.plugins.action import celery_rollout as rollout_action
from ansible_collections.celeriac.fleet.plugins.action import debian_packages as packages_action
from ansible_collections.celeriac.fleet.plugins.action import managed_files as files_action
from ansible_collections.celeriac.fleet.plugins.action import redis_reload as reload_action
from ansible_collections.celeriac.fleet.plugins.action import system_user as user_action
from ansible_collections.celeriac.fleet.plugins.action import systemd_units as units_action
from ansible_collections.celeriac.fleet.plugins.module_utils import app_releases, systemd_state
from ansible_collections.celeriac.fleet.plugins.modules import (
    app_release,
    celery_check,
    celery_rollout,
    managed_files,
    redis_reload,
    systemd_units,
)
from hypothesis import event, given
from hypothesis import strategies as st

from tests.support import looks
from tests.support.harness import run_module
from tests.support.systemctl import AFTER, BEFORE, RUNNING, UNKNOWN, Systemctl

ME = {"owner": pwd.getpwuid(os.geteuid()).pw_name, "group": grp.getgrgid(os.getegid()).gr_name}


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where modules have their temporary files."""
    return tmp_path_factory.mktemp("scratch")


# -- managed_files

NAMES = st.sampled_from(["a", "b", "it's a $file", "tab\tand: colon", "sub/x", "ünï"])
CONTENTS = st.sampled_from(["", "x\n", "x\r\n", "==\n", "ünï\n"])
MODES = st.sampled_from(["0644", "0600", "2755"])
DISTURBANCES = st.sampled_from(["file", "directory", "link", "mode", "gone"])
OWNERS = st.sampled_from([ME, {"owner": str(os.geteuid()), "group": str(os.getegid())}])


@st.composite
def sets(draw: st.DrawFn) -> dict[str, Any]:
    """Arguments of managed_files, relative to a directory."""
    names = draw(st.lists(NAMES, unique=True, max_size=4))
    kinds = {name: draw(st.sampled_from(["files", "files", "directories", "links"])) for name in names}
    found: dict[str, Any] = {"files": [], "directories": [], "links": []}
    for name, kind in kinds.items():
        entry: dict[str, Any] = {"path": name, **({} if kind == "links" else draw(OWNERS))}
        if kind == "files":
            entry |= {"content": draw(CONTENTS), "force": draw(st.booleans())}
        found[kind].append(entry | ({"target": draw(NAMES)} if kind == "links" else {"mode": draw(MODES)}))
    return found | {"absent": draw(st.lists(st.sampled_from(["a*", "?", "[ab]", "s*/*", "old.d"]), max_size=2))}


def below(root: Path, arguments: dict[str, Any]) -> dict[str, Any]:
    entries = {
        key: [{**entry, "path": str(root / entry["path"])} for entry in arguments[key]]
        for key in ("files", "directories", "links")
    }
    return {**entries, "absent": [str(root / pattern) for pattern in arguments["absent"]]}


def disturb(path: Path, how: str) -> None:
    """Do something to what is at ``path``."""
    if how == "mode" and path.exists():
        path.chmod(0o700)
        return
    shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)
    if how == "file":
        path.write_bytes(b"x\n")
    elif how == "directory":
        path.mkdir()
    elif how == "link":
        path.symlink_to("a")


@given(sets(), st.booleans(), st.lists(st.tuples(NAMES, DISTURBANCES), max_size=2))
def test_files(scratch: Path, arguments: dict[str, Any], applied: bool, disturbances: list[tuple[str, str]]) -> None:
    with TemporaryDirectory() as directory:
        root = Path(directory)
        (root / "sub").mkdir()
        wanted = below(root, arguments)
        if applied:
            result = run_module(managed_files, wanted, scratch)
        for name, how in disturbances:
            if (root / name).parent.is_dir():
                disturb(root / name, how)
        settled, module = looks.settled(files_action, managed_files, wanted, scratch)
        unchanged = not module.get("failed") and not module["changed"]
        event(f"settled: {settled}")
        assert unchanged or not settled
        odd = any("\t" in entry["path"] for key in ("files", "directories", "links") for entry in wanted[key])
        broad = any("[" in pattern for pattern in wanted["absent"])
        assert settled or not unchanged or odd or broad
        if applied and not disturbances and not wanted["absent"] and not result.get("failed"):
            assert unchanged


# -- systemd_units

UNITS = ("a.service", "b.service", "old@1.service", "old@.service")


@pytest.fixture(scope="module")
def replaced() -> Iterator[str]:
    """PID of a process whose program is gone."""
    with TemporaryDirectory() as directory:
        program = shutil.copy("/bin/sleep", directory)
        with subprocess.Popen([program, "300"]) as process:
            os.unlink(program)
            yield str(process.pid)
            process.kill()


DEVIATIONS = {
    "LoadState": ["masked", "not-found"],
    "ActiveState": ["inactive", "activating", "failed"],
    "SubState": ["auto-restart"],
    "UnitFileState": ["disabled", "static"],
    "NeedDaemonReload": ["yes"],
    "MainPID": ["1", "replaced", "0"],
    "FragmentPath": ["older", "newer"],
    "DropInPaths": ["older", "older newer"],
}


@st.composite
def states(draw: st.DrawFn) -> dict[str, Any]:
    """A unit as systemd may show it: as it should be, but for at most one property."""
    key = draw(st.sampled_from([*["Id"] * len(DEVIATIONS), *DEVIATIONS]))
    return {**RUNNING, "MainPID": "0", key: draw(st.sampled_from(DEVIATIONS.get(key, [""])))}


SHOWN = st.fixed_dictionaries(dict.fromkeys(UNITS[:2], states()), optional=dict.fromkeys(UNITS[2:], states()))


@st.composite
def unit_sets(draw: st.DrawFn) -> dict[str, Any]:
    names = draw(st.lists(st.sampled_from(UNITS[:3]), unique=True, max_size=2))
    return {
        "units": [
            {
                "name": name,
                "start": draw(st.booleans()),
                "inputs": draw(st.sampled_from([[], ["older"], ["newer"], ["none"]])),
            }
            for name in names
        ],
        "mask": draw(st.lists(st.sampled_from([name for name in UNITS[:3] if name not in names]), max_size=1)),
        "retire": draw(st.lists(st.sampled_from(["old@*.service", "b.service"]), unique=True)),
        "keep": draw(st.lists(st.sampled_from(UNITS[:3]), max_size=1)),
    }


def stand_in(pretended: Systemctl, arguments: dict[str, Any], directory: Path) -> None:
    """A program ``systemctl`` that answers the look as ``pretended`` would."""
    names = [*(unit["name"] for unit in arguments["units"]), *arguments["mask"]]
    (directory / "show").write_text(pretended.run(["systemctl", "show", *names])[1])
    (directory / "list").write_text(pretended.run(["systemctl", "list-units", *arguments["retire"]])[1])
    program = directory / "systemctl"
    program.write_text(f'#!/bin/sh\ncase " $* " in *" show "*) cat {directory}/show;; *) cat {directory}/list;; esac\n')
    program.chmod(0o755)


def pretend(units: dict[str, dict[str, str]], replaced: str, root: Path) -> Systemctl:
    """A systemctl with ``units``, whose files ``older`` and ``newer`` are in ``root``."""
    for name, moment in (("older", BEFORE), ("newer", AFTER)):
        (root / name).touch()
        os.utime(root / name, (moment, moment))
    places = {"older": f"{root}/older", "newer": f"{root}/newer", "older newer": f"{root}/older {root}/newer"}
    pretended = Systemctl()
    pretended.units = {
        name: {**unit, **{key: places.get(unit[key], "") for key in ("FragmentPath", "DropInPaths")}}
        | {"MainPID": replaced if unit["MainPID"] == "replaced" else unit["MainPID"]}
        for name, unit in units.items()
    }
    return pretended


@contextmanager
def instead(pretended: Systemctl, root: Path) -> Iterator[None]:
    """Modules of this process have ``pretended`` for systemctl."""
    with (
        patch.object(AnsibleModule, "run_command", lambda _module, command: pretended.run(command)),
        patch.object(AnsibleModule, "get_bin_path", lambda *_args, **_kwargs: "systemctl"),
        patch.object(systemd_state, "SYSTEM", f"{root}/system"),
    ):
        yield


@given(unit_sets(), SHOWN)
def test_units(scratch: Path, replaced: str, arguments: dict[str, Any], units: dict[str, dict[str, str]]) -> None:
    with TemporaryDirectory() as directory:
        root = Path(directory)
        pretended = pretend(units, replaced, root)
        wanted = {
            **arguments,
            "units": [{**unit, "inputs": [f"{root}/{name}" for name in unit["inputs"]]} for unit in arguments["units"]],
        }
        stand_in(pretended, wanted, root)
        with instead(pretended, root):
            settled, module = looks.settled(units_action, systemd_units, wanted, scratch, directory)
        event(f"settled: {settled}")
        assert not module.get("failed")
        assert not (settled and module["changed"])
        assert pretended.did == []
        shown = [pretended.units.get(unit["name"], UNKNOWN) for unit in wanted["units"]]
        masked = any(state["LoadState"] == "masked" for state in shown)
        assert settled or module["changed"] or systemd_state.unread(shown) or masked or wanted["retire"]


# -- celery_rollout, in check mode

NODES = ("shop-worker@a.service", "shop-worker@b.service")
TARGET = "shop-workers.target"


@given(st.fixed_dictionaries(dict.fromkeys((TARGET, *NODES), states())), st.booleans())
def test_rollouts(scratch: Path, replaced: str, units: dict[str, dict[str, str]], restart: bool) -> None:
    with TemporaryDirectory() as directory:
        root = Path(directory)
        pretended = pretend(units, replaced, root)
        arguments = {
            **dict.fromkeys(("app", "user"), "shop"),
            **dict.fromkeys(("directory", "virtualenv", "environment_file"), f"{root}/none"),
            "fleet_queues": [],
            "target": TARGET,
            "nodes": [{"name": unit[12:13], "unit": unit, "queues": [], "inputs": []} for unit in NODES],
            "restart": restart,
        }
        stand_in(pretended, rollout_action.units(arguments), root)
        with instead(pretended, root):
            sent, result = looks.look(rollout_action, arguments, directory, check=True)
            module = run_module(celery_rollout, sent, scratch, check=True)
        event(f"settled: {result is not None}")
        assert not module.get("failed")
        assert result is None or {key: module[key] for key in result} == result
        shown = [pretended.units[unit] for unit in (TARGET, *NODES)]
        assert (
            result or restart or module["changed"] or systemd_state.unread(shown) or shown[0]["LoadState"] == "masked"
        )
        assert pretended.did == []


# -- redis_reload

TIMES = st.sampled_from([None, 100, 110, 120])


@given(st.fixed_dictionaries(dict.fromkeys(("pid", "acl", "crt", "env", "celeriac.loaded"), TIMES)))
def test_instances(scratch: Path, times: dict[str, int | None]) -> None:
    with TemporaryDirectory() as directory:
        root = Path(directory)
        for name, moment in times.items():
            if moment is not None:
                (root / name).write_text("")
                os.utime(root / name, (moment, moment))
        instance = {
            "name": "broker",
            "socket": f"{root}/sock",
            "started": f"{root}/pid",
            "acl": f"{root}/acl",
            "certificates": {"tls-cert-file": f"{root}/crt"},
        }
        arguments = {"instances": [instance], "user": "celeriac", "login": f"{root}/env"}
        settled, module = looks.settled(reload_action, redis_reload, arguments, scratch)
        assert settled is not module["changed"]


# -- celery_check


@given(
    st.sampled_from(["", "{half", "3", "{}", "same", "other environment", "other arguments"]),
    st.booleans(),
    st.booleans(),
)
def test_checks(scratch: Path, stamp: str, environment: bool, release: bool) -> None:
    with TemporaryDirectory() as directory:
        root = Path(directory)
        arguments = {
            "app": "shop",
            "directory": f"{root}/release",
            "current": f"{root}/current",
            "environment_file": f"{root}/env",
            "user": ME["owner"],
            "fleet_queues": ["default"],
        }
        sent, _ = looks.look(check_action, arguments)
        if environment:
            (root / "env").write_text("A=b\n")
        if release:
            digest = celery_check.file_digest(f"{root}/env") if environment else ""
            known = {"arguments": sent["digest"], "environment": digest, "tasks": ["shop.pay"]}
            known |= {"environment": "x"} if stamp == "other environment" else {}
            known |= {"arguments": "x"} if stamp == "other arguments" else {}
            (root / "release").mkdir()
            text = json.dumps(known) if stamp.startswith(("same", "other")) else stamp
            (root / "release" / celery_check.CHECKED).write_text(text)
        no_import = patch.object(celery_check, "Probe", side_effect=celery_check.ProbeError("not imported"))
        with no_import:
            settled, module = looks.settled(check_action, celery_check, arguments, scratch)
        assert settled is (module.get("tasks") == ["shop.pay"])


# -- app_release

MOSTLY = st.sampled_from([True, True, True, False])


@patch.object(app_releases, "in_use", lambda _directories: set())  # which reads all of /proc
@given(
    st.dictionaries(
        st.sampled_from("abc"),
        st.tuples(MOSTLY, st.sampled_from("XYZ")),
        max_size=3,
    ),
    st.sampled_from([set(), set(), {"X"}, {"Y", "Z"}]),
    st.integers(0, 3),
)
def test_releases(scratch: Path, releases: dict[str, tuple[bool, str]], more: set[str], keep: int) -> None:
    with TemporaryDirectory() as directory:
        home = Path(directory)
        (home / "releases").mkdir()
        for name in more | {virtualenv for _, virtualenv in releases.values()}:
            (home / "virtualenvs" / name).mkdir(parents=True)
            (home / "virtualenvs" / name / ".celeriac-complete").touch()
        for name, (complete, virtualenv) in releases.items():
            (home / "releases" / name).mkdir()
            (home / "releases" / name / ".venv").symlink_to(f"../../virtualenvs/{virtualenv}")
            if complete:
                (home / "releases" / name / ".celeriac-complete").write_text("{}")
        arguments = {"state": "pruned", "releases": f"{home}/releases", "current": f"{home}/current", "keep": keep}
        settled, module = looks.settled(release_action, app_release, arguments, scratch)
        event(f"settled: {settled}")
        assert not module.get("failed")
        assert not (settled and module["changed"])


# -- debian_packages and system_user, whose modules are Ansible's

INSTALLED = ["bash", "coreutils", "dpkg"]


@pytest.mark.parametrize("names", [INSTALLED[:1], INSTALLED, [*INSTALLED, "no-such-package"]])
def test_packages(names: list[str], tmp_path: Path) -> None:
    _, result = looks.look(packages_action, {"name": names})
    # what is installed, apt knows from dpkg: without the lists of what could be it answers thirty times as fast
    simulate = ["apt-get", f"--option=Dir::State::Lists={tmp_path}", "--simulate", "--no-upgrade", "install"]
    simulated = subprocess.run([*simulate, *names], text=True, capture_output=True, check=False)
    changes_nothing = simulated.returncode == 0 and "\nInst " not in simulated.stdout
    assert (result is not None) is changes_nothing


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may read whether a password is locked")
@pytest.mark.parametrize(
    ("name", "home"), [*((entry.pw_name, entry.pw_dir) for entry in pwd.getpwall()), ("nobody", "/elsewhere")]
)
def test_users(name: str, home: str, scratch: Path) -> None:
    sent, result = looks.look(user_action, {"name": name, "home": home})
    module = run_module(user, user_action.complete(sent), scratch, check=True)
    assert not module.get("failed")
    assert (result is not None) is not module["changed"]
