"""plugins/modules/app_release.py, run for real in a temporary directory; only pip and venv pretend."""

from __future__ import annotations

import json
import os
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.celeriac.fleet.plugins.modules import app_release as module

from tests.support.harness import run_module

pytestmark = pytest.mark.usefixtures("unused")


def archive(path: Path, **members: str) -> Path:
    source = path.parent / f"{path.name}.source"
    source.mkdir()
    for name, text in members.items():
        (source / name.replace("__", ".")).write_text(text)
    with tarfile.open(path, "w:gz") as tar:
        for member in source.iterdir():
            tar.add(member, arcname=member.name)
    return path


class Host:
    """Directories of an application on a host, and an interpreter whose ``-m venv`` makes a virtualenv at once.

    Its pip only speaks, and fails if there is a file ``fail``. The real ones: tests/integration/app.
    """

    def __init__(self, root: Path) -> None:
        self.root, self.releases, self.virtualenvs = root, root / "releases", root / "virtualenvs"
        self.releases.mkdir(parents=True)
        self.python = self.interpreter("python3.98")

    def interpreter(self, name: str) -> Path:
        path = self.root / name
        path.write_text(
            "#!/bin/sh\n"
            'mkdir -p "$3/bin"; echo "version = 3.98.1" >"$3/pyvenv.cfg"\n'
            'cat >"$3/bin/python" <<END\n'
            "#!/bin/sh\n"
            f'[ "\\$2" = pip ] || exec {sys.executable} "\\$@"\n'
            f'echo "\\$@" >>{self.root}/pip\n'
            'echo "said of \\$2, \\$PIP_INDEX_URL"\n'
            f"[ ! -e {self.root}/fail ]\n"
            "END\n"
            'chmod +x "$3/bin/python"\n'
        )
        path.chmod(0o755)
        return path

    def run(self, release: str, sent: Path | None = None, *, check: bool = False, **arguments: Any) -> dict[str, Any]:
        base = {
            "releases": str(self.releases),
            "cache": str(self.root / "cache"),
            "python": str(self.python),
            "installer": "pip",
            "virtualenv": "same",
            "install": ["--requirement", "requirements.txt"],
            "source": {"type": "path"},
            "release": release,
            "archive": str(sent or archive(self.root / f"{release}.tar.gz", app__py="x = 1\n")),
        }
        return run_module(module, {**base, **arguments}, self.root, check=check)

    def prune(self, keep: int, *, check: bool = False) -> dict[str, Any]:
        arguments = {"state": "pruned", "releases": str(self.releases), "current": str(self.root / "current")}
        return run_module(module, {**arguments, "keep": keep}, self.root, check=check)

    def names(self) -> list[str]:
        return sorted(path.name for path in self.releases.iterdir())


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    monkeypatch.delenv("PYTHONPYCACHEPREFIX", raising=False)  # bytecode belongs into the release
    return Host(tmp_path)


@pytest.fixture
def built(host: Host) -> tuple[Host, dict[str, Any]]:
    """A host with the release ``one``, and what the run that built it returned."""
    return host, host.run("one")


def test_a_release_is_built_with_a_virtualenv_and_compiled(built: tuple[Host, dict[str, Any]]) -> None:
    host, result = built
    assert result["changed"]
    assert result["directory"] == str(host.releases / "one")
    assert (host.releases / "one/.venv/bin/python").exists()
    assert (host.releases / "one/app.py").read_text() == "x = 1\n"
    assert list((host.releases / "one/__pycache__").glob("app.*.pyc"))
    assert not os.path.lexists(host.root / "current")


def test_a_release_that_is_there_is_left_alone(built: tuple[Host, dict[str, Any]]) -> None:
    host, _ = built
    assert not host.run("one", host.root / "one.tar.gz")["changed"]


def test_the_mark_says_what_it_is(host: Host) -> None:
    host.run("one", source={"type": "git", "version": "v1", "commit": "0" * 40})
    about = json.loads((host.releases / "one/.celeriac-complete").read_text())
    assert about.pop("built").endswith("+00:00")
    assert about == {
        "type": "git",
        "version": "v1",
        "commit": "0" * 40,
        "python": "3.98.1",
        "installer": "pip",
        "virtualenv": next(host.virtualenvs.iterdir()).name,
    }


def test_releases_of_the_same_requirements_share_a_virtualenv(built: tuple[Host, dict[str, Any]]) -> None:
    host, _ = built
    installed = (host.root / "pip").read_text()
    host.run("two")
    assert (host.root / "pip").read_text() == installed
    host.run("three", virtualenv="other")
    one, two, three = ((host.releases / name / ".venv").resolve() for name in ("one", "two", "three"))
    assert one == two != three


def test_an_interpreter_that_was_replaced_gets_a_virtualenv_beside_the_old_one(
    built: tuple[Host, dict[str, Any]],
) -> None:
    host, _ = built
    before = (host.releases / "one/.venv").resolve()
    assert host.run("one", host.root / "one.tar.gz", python=str(host.interpreter("python3.99")))["changed"]
    after = (host.releases / "one/.venv").resolve()
    assert before != after
    assert before.exists()
    assert (after / ".celeriac-python").readlink() == host.root / "python3.99"


def test_what_was_interrupted_is_built_anew(built: tuple[Host, dict[str, Any]]) -> None:
    host, _ = built
    virtualenv = (host.releases / "one/.venv").resolve()
    for directory in (host.releases / "one", virtualenv):
        (directory / ".celeriac-complete").unlink()
        (directory / "half").touch()
    assert host.run("one", host.root / "one.tar.gz")["changed"]
    assert not (host.releases / "one/half").exists()
    assert not (virtualenv / "half").exists()


def test_check_mode_builds_nothing(host: Host) -> None:
    assert host.run("two", check=True)["changed"]
    assert host.names() == []


def test_a_build_that_fails_leaves_nothing_and_says_why_without_secrets(built: tuple[Host, dict[str, Any]]) -> None:
    host, _ = built
    (host.root / "fail").touch()
    result = host.run("two", virtualenv="other", index={"index_url": "https://me:hunter2@index.example/packages"})
    assert result["failed"]
    assert (
        "the running one is untouched. Installing the requirements failed:\nsaid of pip, https://***@" in result["msg"]
    )
    assert "hunter2" not in result["msg"]
    assert host.names() == ["one"]
    assert len(list(host.virtualenvs.iterdir())) == 1


def test_the_index_is_neither_logged_nor_returned_and_garbles_nothing(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    logged: list[Any] = []
    monkeypatch.setattr(module.AnsibleModule, "log", lambda _self, *said, **more: logged.append((said, more)))
    index = {"index_url": "https://me:hunter2@index.example/packages", "environment": {"A": "one", "B": "s"}}
    result = host.run("one", index=index)
    assert result["directory"] == f"{host.releases}/one"
    assert "Invoked with releases=" in str(logged)
    assert "hunter2" not in str(result) + str(logged)


def test_a_file_that_python_cannot_read_is_named_and_the_virtualenv_stays(host: Host) -> None:
    result = host.run("one", archive(host.root / "one", app__py="x =\n"))
    assert "Compiling failed" in result["msg"]
    assert "app.py" in result["msg"]
    assert host.names() == []
    assert len(list(host.virtualenvs.iterdir())) == 1


def test_an_interpreter_that_is_missing_is_named(host: Host) -> None:
    result = host.run("one", python="python3.100")
    assert result["msg"].startswith("app_python is 'python3.100', which isn't on the host")


def test_a_package_brings_its_requirements_along(host: Host) -> None:
    host.run("one", archive(host.root / "none"), files={".celeriac-requirements.txt": "shop==1\n"})
    assert (host.releases / "one/.celeriac-requirements.txt").read_text() == "shop==1\n"


def test_the_project_is_installed_from_a_copy(host: Host) -> None:
    host.run("one", install_project=True)
    *_, last = (host.root / "pip").read_text().splitlines()
    assert last.startswith("-m pip install --no-deps ")
    assert str(host.releases) not in last


def test_files_are_readable_by_all_and_writable_by_their_owner_whatever_roots_umask(host: Host) -> None:
    sent = archive(host.root / "one.tar.gz", app__py="x = 1\n")
    before = os.umask(0o077)
    try:
        host.run("one", sent)
    finally:
        os.umask(before)
    assert (host.releases / "one/app.py").stat().st_mode & 0o777 == 0o644
    assert (host.releases / "one").stat().st_mode & 0o777 == 0o755
    assert (host.releases / "one/.venv").stat().st_mode & 0o777 == 0o755


def test_one_that_another_run_is_building_is_waited_for(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WAIT", 0)
    with module.locked(str(host.root), 0):
        assert host.run("one")["msg"].startswith(f"Another build in {host.root} has been running")
    assert host.run("one", host.root / "one.tar.gz")["changed"]


@pytest.mark.parametrize("check", [True, False])
def test_old_releases_go_and_check_mode_only_says_so(built: tuple[Host, dict[str, Any]], check: bool) -> None:
    host, _ = built
    os.utime(host.releases / "one/.celeriac-complete", (1, 1))
    host.run("two", virtualenv="other")
    (host.root / "current").symlink_to(host.releases / "two")
    result = host.prune(1, check=check)
    assert result["changed"]
    assert [Path(path).parent.name for path in result["pruned"]] == ["releases", "virtualenvs"]
    assert host.names() == (["one", "two"] if check else ["two"])
    assert host.prune(1)["changed"] is check
