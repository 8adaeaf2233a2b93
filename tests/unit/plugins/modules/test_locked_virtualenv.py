"""plugins/modules/locked_virtualenv.py, run for real in a temporary directory; only the installers pretend."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.celeriac.fleet.plugins.modules import locked_virtualenv as module

from tests.support.harness import run_module

pytestmark = pytest.mark.usefixtures("unused")

LOCK = f"hello==1.0 --hash=sha256:{'0' * 64}\n"
# what pip and uv do when they pretend: say what they were given, and fail if there is a file "fail"
SPEAK = 'echo "$0 $@" >>{root}/said; echo "at $PIP_INDEX_URL$UV_DEFAULT_INDEX"; [ ! -e {root}/fail ]'


class Host:
    """A directory for virtualenvs, and an interpreter whose ``-m venv`` makes one at once."""

    def __init__(self, root: Path) -> None:
        self.root, self.path = root, root / "hello/venv"
        self.python = self.interpreter("python3.98")

    def program(self, path: Path, script: str) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return path

    def interpreter(self, name: str) -> Path:
        speak = SPEAK.format(root=self.root)
        installs = f"mkdir -p $3/bin; printf '#!/bin/sh\\n%s\\n' '{speak}' >$3/bin/python; chmod +x $3/bin/python"
        return self.program(self.root / name, installs)

    def uv(self) -> str:
        """A virtualenv with uv."""
        speak = SPEAK.format(root=self.root)
        makes = f'[ "$1" != venv ] || for each; do directory=$each; done; mkdir -p "$directory/bin"; {speak}'
        self.program(self.root / "uv/bin/uv", makes)
        self.program(self.root / "uv/bin/python", "true")
        return str(self.root / "uv")

    def run(self, *, check: bool = False, **arguments: Any) -> dict[str, Any]:
        base = {
            "path": str(self.path),
            "requirements": LOCK,
            "lock": "digest",
            "python": str(self.python),
            "installer": "pip",
            "cache": str(self.root / "cache"),
        }
        return run_module(module, {**base, **arguments}, self.root, check=check)

    def switched(self, **arguments: Any) -> str:
        """The name of the virtualenv that a run switches to."""
        assert self.run(**arguments)["changed"]
        return self.path.readlink().name

    def virtualenvs(self) -> list[str]:
        return sorted(each.name for each in self.path.parent.glob("venv-*"))


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_the_link_points_to_a_complete_virtualenv_of_the_lock(host: Host) -> None:
    assert host.run() == {**host.run(), "changed": True}
    assert host.path.is_symlink()
    assert not os.path.isabs(host.path.readlink())
    assert module.made_with(str(host.path)) == str(host.python)
    assert "-m pip install --require-hashes --only-binary :all: --requirement" in (host.root / "said").read_text()


def test_one_that_is_there_is_left_alone(host: Host) -> None:
    host.run()
    said = (host.root / "said").read_text()
    assert host.run()["changed"] is False
    assert (host.root / "said").read_text() == said


def test_uv_makes_one_too(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.Virtualenvs, "uv", lambda *_arguments: host.uv())
    assert host.run(installer="uv", uv_version="1", uv_lock=LOCK)["changed"]
    assert "--require-hashes" in (host.root / "said").read_text()
    assert module.made_with(str(host.path)) == str(host.python)


def test_packages_may_be_built_where_that_is_said(host: Host) -> None:
    host.run(only_binary=False)
    assert "--only-binary" not in (host.root / "said").read_text()


@pytest.mark.parametrize("change", ["lock", "python"])
def test_another_lock_or_interpreter_is_another_virtualenv_and_an_old_one_goes(host: Host, change: str) -> None:
    host.run()
    (first,) = host.virtualenvs()
    names = [host.switched(**{change: str(host.interpreter(f"python3.{minor}"))}) for minor in (99, 100)]
    assert first not in names
    assert host.virtualenvs() == sorted(names)


def test_one_that_was_in_use_stays_until_the_next_switch(host: Host) -> None:
    """A unit runs from it until it is restarted, and a process of Python alone shows nothing of its virtualenv."""
    first, second = host.switched(), host.switched(lock="other")
    assert host.virtualenvs() == sorted([first, second])
    (host.path / ".celeriac-complete").unlink()
    assert host.switched(lock="other") == second  # made anew, which is no switch
    assert host.virtualenvs() == sorted([first, second])
    third = host.switched(lock="third")
    assert host.virtualenvs() == sorted([second, third])


def test_one_that_a_process_runs_stays_for_longer(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    first = host.switched()
    monkeypatch.setattr(module, "in_use", set)
    second, third = host.switched(lock="other"), host.switched(lock="third")
    assert host.virtualenvs() == sorted([first, second, third])
    monkeypatch.undo()
    fourth = host.switched(lock="fourth")
    assert host.virtualenvs() == sorted([third, fourth])


def test_what_a_killed_run_left_is_made_anew(host: Host) -> None:
    host.run()
    (host.path / ".celeriac-complete").unlink()
    (host.path / "half").touch()
    assert host.run()["changed"]
    assert not (host.path / "half").exists()
    assert module.made_with(str(host.path)) == str(host.python)


def test_one_that_fails_leaves_the_old_one_and_says_why_without_secrets(host: Host) -> None:
    host.run()
    before = host.path.readlink()
    (host.root / "fail").touch()
    result = host.run(lock="other", index={"index_url": "https://me:hunter2@index.example/packages"})
    assert result["failed"]
    assert "the one in use is untouched. Installing the requirements failed:\nat https://***@" in result["msg"]
    assert "hunter2" not in str(result)
    assert "hunter2" not in (host.root / "said").read_text()
    assert host.path.readlink() == before
    assert host.virtualenvs() == [before.name]


def test_the_index_is_no_part_of_the_result(host: Host) -> None:
    assert "hunter2" not in str(host.run(index={"index_url": "https://me:hunter2@index.example/packages"}))


def test_the_index_is_not_logged(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    logged: list[Any] = []
    monkeypatch.setattr(module.AnsibleModule, "log", lambda _self, *said, **more: logged.append((said, more)))
    host.run(index={"index_url": "https://me:hunter2@index.example/packages", "environment": {"TOKEN": "hush-hush"}})
    assert str(host.path) in str(logged)
    assert "hunter2" not in str(logged)
    assert "hush-hush" not in str(logged)


def test_a_short_secret_does_not_garble_what_is_returned(host: Host) -> None:
    assert host.run(index={"environment": {"A": "v", "B": "hello"}})["path"] == str(host.path)


def test_check_mode_makes_nothing_and_says_whether_it_would(host: Host) -> None:
    assert host.run(check=True)["changed"]
    assert not host.path.parent.exists()
    host.run()
    assert host.run(check=True)["changed"] is False


def test_everybody_may_read_it_whatever_roots_umask(host: Host) -> None:
    before = os.umask(0o077)
    try:
        host.run()
    finally:
        os.umask(before)
    assert host.path.stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"python": "python3.100"}, "python is 'python3.100', which isn't on the host"),
        ({"path": sys.prefix}, f"path is {sys.prefix}, which is there and no link"),
    ],
)
def test_what_cannot_be_right_is_a_sentence(host: Host, arguments: dict[str, str], said: str) -> None:
    result = host.run(**arguments)
    assert result["failed"]
    assert result["msg"].startswith(said)


def test_one_that_another_run_makes_is_waited_for(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WAIT", 0)
    host.path.parent.mkdir()
    with module.locked(str(host.path.parent), 0):
        assert host.run()["msg"].startswith(f"Another build in {host.path.parent} has been running")
