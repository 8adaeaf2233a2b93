"""plugins/action/app_release.py: a release is named after what it is made of."""

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
from harness import load

plugin = load("plugins/action/app_release.py")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    root = tmp_path / "source"
    (root / "app").mkdir(parents=True)
    (root / "app" / "tasks.py").write_text("x = 1\n")
    (root / "requirements.txt").write_text("")
    return root


def add_cache(root: Path) -> None:
    (root / "app" / "__pycache__").mkdir()
    (root / "app" / "__pycache__" / "tasks.pyc").write_text("x")
    (root / "stray.pyc").write_text("x")


def touch(root: Path) -> None:
    os.utime(root / "app" / "tasks.py", (0, 0))


def add_virtualenv(root: Path) -> None:
    (root / ".venv").mkdir()
    (root / ".venv" / "pyvenv.cfg").write_text("x")


@pytest.mark.parametrize("change", [add_cache, touch, add_virtualenv])
def test_id_stays_where_nothing_that_counts_changed(source: Path, change: Callable[[Path], None]) -> None:
    before = plugin.release_id(source)
    change(source)
    assert plugin.release_id(source) == before


def change_content(root: Path) -> None:
    (root / "app" / "tasks.py").write_text("x = 2\n")


def rename(root: Path) -> None:
    (root / "app" / "tasks.py").rename(root / "app" / "jobs.py")


def make_executable(root: Path) -> None:
    (root / "app" / "tasks.py").chmod(0o755)


def move_line_between_files(root: Path) -> None:
    (root / "app" / "tasks.py").write_text("")
    (root / "requirements.txt").write_text("x = 1\n")


def replace_by_link(root: Path) -> None:
    (root / "app" / "tasks.py").unlink()
    (root / "app" / "tasks.py").symlink_to("x = 1\n")


@pytest.mark.parametrize("change", [change_content, rename, make_executable, move_line_between_files, replace_by_link])
def test_id_follows_what_counts(source: Path, change: Callable[[Path], None]) -> None:
    before = plugin.release_id(source)
    change(source)
    assert plugin.release_id(source) != before


def test_id_follows_how_it_is_built(source: Path) -> None:
    assert plugin.release_id(source, "requirements.txtpython3") != plugin.release_id(source, "lock.txtpython3")


def test_id_is_twelve_hex_digits(source: Path) -> None:
    assert len(plugin.release_id(source)) == 12
    int(plugin.release_id(source), 16)


def test_what_git_ignores_is_left_out(source: Path) -> None:
    subprocess.run(["git", "init", "--quiet", str(source)], check=True)
    (source / ".gitignore").write_text(".env\nbuild/\n")
    (source / ".env").write_text("SECRET=1")
    (source / "build").mkdir()
    (source / "build" / "x").write_text("x")
    found = {str(path) for path in plugin.files(source)}
    assert found == {".gitignore", "app/tasks.py", "requirements.txt"}


def test_links_are_packed_as_links_and_not_followed(source: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_text("x")
    (source / "link").symlink_to(tmp_path / "outside")
    plugin.pack(source, tmp_path / "release.tar.gz")
    with tarfile.open(tmp_path / "release.tar.gz") as tar:
        members = {member.name: member for member in tar.getmembers()}
    assert set(members) == {"app/tasks.py", "requirements.txt", "link"}
    assert members["link"].issym()


def test_packed_files_belong_to_root_and_only_root_may_write(source: Path, tmp_path: Path) -> None:
    (source / "app" / "tasks.py").chmod(0o600)
    (source / "run").write_text("#!/bin/sh\n")
    (source / "run").chmod(0o777)
    plugin.pack(source, tmp_path / "release.tar.gz")
    with tarfile.open(tmp_path / "release.tar.gz") as tar:
        found = {member.name: (member.uid, member.gid, member.mode) for member in tar.getmembers()}
    assert found["app/tasks.py"] == (0, 0, 0o644)
    assert found["run"] == (0, 0, 0o755)


# -- what the host is asked and sent


@pytest.fixture
def action(source: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The plugin; ``said`` is what the host answers, ``called`` the arguments that the module got."""
    monkeypatch.setattr(ActionBase, "run", lambda *_args, **_kwargs: {})
    found = object.__new__(plugin.ActionModule)
    arguments = {"path": str(source), "releases": "/opt/shop/releases", "current": "/opt/shop/current"}
    found._task = SimpleNamespace(args=arguments, check_mode=False)
    found._connection = SimpleNamespace(_shell=SimpleNamespace(join_path=os.path.join, tmpdir="/tmp/t"))
    found.called, found.sent, found.removed = [], [], []
    found._make_tmp_path = lambda: "/tmp/t"
    found._remove_tmp_path = found.removed.append
    found._transfer_file = lambda local, remote: found.sent.append((tarfile.is_tarfile(local), remote))
    found._low_level_execute_command = lambda _command: {"stdout": found.said}
    found._execute_module = lambda **call: found.called.append(call["module_args"]) or {"changed": True}
    return found


def directory(source: Path) -> str:
    return f"/opt/shop/releases/{plugin.release_id(source)}"


def test_a_release_that_is_current_costs_one_look(action: Any, source: Path) -> None:
    action.said = f"complete\r\n{directory(source)}\r\n"
    assert action.run()["changed"] is False
    assert action.called == action.sent == []


def test_a_release_that_is_there_but_not_current_is_not_sent(action: Any, source: Path) -> None:
    action.said = "complete\n/opt/shop/releases/another\n"
    assert action.run()["changed"]
    assert action.sent == []
    assert "archive" not in action.called[0]
    assert action.called[0]["release"] == plugin.release_id(source)


@pytest.mark.parametrize("said", ["missing\n", "missing\n/opt/shop/releases/another\n"])
def test_a_release_that_is_missing_is_sent_and_the_copy_removed(action: Any, said: str) -> None:
    action.said = said
    action.run()
    assert action.sent == [(True, "/tmp/t/release.tar.gz")]
    assert action.called[0]["archive"] == "/tmp/t/release.tar.gz"
    assert action.removed == ["/tmp/t"]


def test_check_mode_sends_nothing(action: Any) -> None:
    action.said = "missing\n"
    action._task.check_mode = True
    assert action.run()["changed"]
    assert action.sent == []


def test_a_source_that_is_missing_is_named(action: Any, source: Path) -> None:
    action._task.args["path"] = str(source / "none")
    with pytest.raises(AnsibleActionFail, match=r"app_source\.path is '.*/none', which is no directory"):
        action.run()
