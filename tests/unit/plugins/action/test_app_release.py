"""plugins/action/app_release.py: which source it is, what the host is asked and sent."""

from __future__ import annotations

import os
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.celeriac.fleet.plugins.action import app_release as plugin

sources = plugin.sources


@pytest.fixture
def action(source: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The plugin; ``answer`` is what the host answers, ``called`` the arguments that the module got."""
    monkeypatch.setattr(ActionBase, "run", lambda *_args, **_kwargs: {})
    found = object.__new__(plugin.ActionModule)
    arguments = {"source": {"type": "path", "path": str(source)}, "releases": "/opt/shop/releases"}
    found._task = SimpleNamespace(args=arguments, check_mode=False)
    found._connection = SimpleNamespace(_shell=SimpleNamespace(join_path=os.path.join, tmpdir="/tmp/t"))
    found.called, found.sent, found.removed, found.answer = [], [], [], {"rc": 1, "stdout": ""}
    found._make_tmp_path = lambda: "/tmp/t"
    found._remove_tmp_path = found.removed.append
    found._transfer_file = lambda local, remote: found.sent.append((tarfile.is_tarfile(local), remote))
    found._low_level_execute_command = lambda _command: found.answer
    found._execute_module = lambda **call: found.called.append(call["module_args"]) or {"changed": True}
    return found


def release(source: Path) -> str:
    settings = {name: plugin.ARGUMENT_SPEC[name]["default"] for name in plugin.SETTINGS}
    return str(sources.plan(sources.Directory(source), settings)["release"])


def test_a_release_that_is_complete_costs_one_look(action: Any, source: Path) -> None:
    action.answer = {"rc": 0, "stdout": "complete\r\n"}
    directory = f"/opt/shop/releases/{release(source)}"
    assert action.run() == {"changed": False, "release": release(source), "directory": directory}
    assert action.called == action.sent == []


def test_a_release_that_is_missing_is_sent_and_the_copy_removed(action: Any, source: Path) -> None:
    action.run()
    assert action.sent == [(True, "/tmp/t/release.tar.gz")]
    assert action.called[0]["archive"] == "/tmp/t/release.tar.gz"
    assert action.called[0]["release"] == release(source)
    assert action.removed == ["/tmp/t"]


def test_check_mode_sends_nothing(action: Any, source: Path) -> None:
    action._task.check_mode = True
    assert action.run()["changed"]
    assert action.sent == action.called == []


def test_uv_is_sent_as_a_lock_with_hashes(action: Any) -> None:
    action.run()
    assert f"uv=={action.called[0]['uv_version']} \\\n    --hash=sha256:" in action.called[0]["uv_lock"]


def test_pip_needs_no_lock_of_uv(action: Any) -> None:
    action._task.args["installer"] = "pip"
    action.run()
    assert action.called[0]["uv_lock"] is None


def test_secrets_of_the_repository_stay_on_the_controller(
    action: Any, source: Path, monkeypatch: Any, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    base = ["git", "-C", str(source), "-c", "user.name=a", "-c", "user.email=a@b.example"]
    for command in (["init", "--quiet", "--initial-branch=main"], ["add", "--all"], ["commit", "--quiet", "-m", "x"]):
        subprocess.run([*base, *command], check=True)
    action._task.args |= {
        "source": {"type": "git", "repo": f"file://{source}", "version": "main"},
        "git": {"ssh_key": "k3y", "known_hosts": "", "token": "t0ken"},
    }
    action.run()
    assert action.called[0]["source"]["version"] == "main"
    assert not any(secret in str(action.called[0]) for secret in ("k3y", "t0ken"))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"source": {"type": "path", "path": "none"}}, "app_source.path is 'none', which is no directory"),
        ({"version": "v1"}, "app_version is 'v1', but app_source is a directory"),
        ({"requirements": "none.txt"}, "app_requirements is 'none.txt', which isn't in the source"),
        ({"source": {"type": "git", "repo": "file:///none/x", "version": "v1"}}, "file:///none/x can't be fetched"),
    ],
)
def test_what_cannot_be_is_one_sentence(
    action: Any, changes: dict[str, Any], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    action._task.args |= changes
    with pytest.raises(AnsibleActionFail) as error:
        action.run()
    assert said in str(error.value)


# -- the looks, in a real shell


def looked(command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)


@pytest.fixture
def releases(tmp_path: Path) -> Callable[..., Path]:
    """Makes a release with a virtualenv; the directory of the releases."""

    def make(*names: str, python: str = os.path.realpath("/bin/sh")) -> Path:
        for name in names:
            virtualenv, directory = tmp_path / "virtualenvs" / name.upper(), tmp_path / "releases" / name
            virtualenv.mkdir(parents=True)
            directory.mkdir(parents=True)
            (virtualenv / ".celeriac-python").symlink_to(python)
            (directory / ".venv").symlink_to(f"../../virtualenvs/{virtualenv.name}")
            (directory / ".celeriac-complete").touch()
        return tmp_path / "releases"

    return make


def test_the_look_finds_what_is_complete(releases: Callable[..., Path]) -> None:
    root = releases("a")
    assert looked(plugin.look_for_release(f"{root}/a", "sh")).returncode == 0
    assert looked(plugin.look_for_release(f"{root}/b", "sh")).returncode != 0
    (root / "a" / ".celeriac-complete").unlink()
    assert looked(plugin.look_for_release(f"{root}/a", "sh")).returncode != 0


def test_the_look_finds_that_the_interpreter_was_replaced(releases: Callable[..., Path]) -> None:
    assert looked(plugin.look_for_release(f"{releases('a', python='/usr/bin/python2.7')}/a", "sh")).returncode != 0


def test_the_look_takes_a_missing_interpreter_for_a_reason_to_build(releases: Callable[..., Path]) -> None:
    assert looked(plugin.look_for_release(f"{releases('a')}/a", "none; true")).returncode != 0


@pytest.mark.parametrize(("keep", "due"), [(0, False), (2, False), (3, False), (1, True)])
def test_more_releases_than_are_kept_are_due(releases: Callable[..., Path], keep: int, due: bool) -> None:
    said = looked(plugin.look_for_leftovers(str(releases("a", "b")))).stdout
    assert plugin.anything_to_prune(said, keep) is due


def test_what_a_dead_build_left_is_due(releases: Callable[..., Path]) -> None:
    root = releases("a", "b")
    (root / "b" / ".celeriac-complete").unlink()
    assert plugin.anything_to_prune(looked(plugin.look_for_leftovers(str(root))).stdout, 0)


def test_a_virtualenv_without_a_release_is_due(releases: Callable[..., Path]) -> None:
    root = releases("a")
    (root.parent / "virtualenvs" / "X").mkdir()
    assert plugin.anything_to_prune(looked(plugin.look_for_leftovers(str(root))).stdout, 0)


def test_nothing_there_is_nothing_due(tmp_path: Path) -> None:
    assert not plugin.anything_to_prune(looked(plugin.look_for_leftovers(str(tmp_path / "none"))).stdout, 1)


@pytest.mark.parametrize(
    ("said", "calls"), [("a\n==\na/.celeriac-complete\n==\n../v/A\n==\nA\n", 0), ("a\n==\n==\n==\n", 1)]
)
def test_the_module_is_run_only_where_something_is_due(action: Any, said: str, calls: int) -> None:
    action._task.args = {"state": "pruned", "releases": "/opt/shop/releases", "current": "/x", "keep": 3}
    action.answer = {"rc": 0, "stdout": said.replace("\n", "\r\n")}
    assert action.run()["changed"] is bool(calls)
    assert len(action.called) == calls
