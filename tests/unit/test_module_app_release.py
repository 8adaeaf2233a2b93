"""plugins/modules/app_release.py, run for real in a temporary directory; only pip and venv pretend."""

from __future__ import annotations

import shutil
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest
from harness import run_module

PLUGIN = "plugins/modules/app_release.py"


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
    """Directories of an application on a host."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.releases, self.current = root / "releases", root / "current"
        self.releases.mkdir(parents=True)
        self.python = interpreter(root)

    def run(self, release: str, sent: Path | None = None, *, check: bool = False, **arguments: str) -> dict[str, Any]:
        base = {"path": "/src", "releases": str(self.releases), "current": str(self.current), "python": self.python}
        more = {"archive": str(sent)} if sent else {}
        return run_module(PLUGIN, {**base, "release": release, **more, **arguments}, self.root, check=check)


def interpreter(directory: Path) -> str:
    """An interpreter whose ``-m venv`` makes something like a virtualenv at once.

    Its pip only speaks, and fails if there is a file ``fail`` in ``directory``; all else is done by this interpreter.
    The real ones: tests/integration/app.
    """
    path = directory / "python"
    path.write_text(
        "#!/bin/sh\n"
        'mkdir -p "$3/bin"\n'
        'cat >"$3/bin/python" <<END\n'
        "#!/bin/sh\n"
        f'[ "\\$2" = pip ] || exec {sys.executable} "\\$@"\n'
        'echo "said of \\$2"\n'
        f"[ ! -e {directory}/fail ]\n"
        "END\n"
        'chmod +x "$3/bin/python"\n'
    )
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    monkeypatch.delenv("PYTHONPYCACHEPREFIX", raising=False)  # bytecode belongs into the release
    return Host(tmp_path)


@pytest.fixture
def built(host: Host) -> tuple[Host, dict[str, Any]]:
    """A host with the release ``one``, and what the run that built it returned."""
    return host, host.run("one", archive(host.root / "one.tar.gz", app__py="x = 1\n", requirements__txt=""))


def test_a_release_is_built_with_a_virtualenv_and_current_points_to_it(built: tuple[Host, dict[str, Any]]) -> None:
    host, result = built
    assert result["changed"]
    assert result["directory"] == str(host.releases / "one")
    assert host.current.resolve() == host.releases / "one"
    assert (host.current / ".venv/bin/python").exists()
    assert (host.current / "app.py").read_text() == "x = 1\n"
    assert list((host.current / "__pycache__").glob("app.*.pyc"))


def test_a_release_that_is_there_is_left_alone(built: tuple[Host, dict[str, Any]]) -> None:
    host, _ = built
    result = host.run("one")
    assert not result["changed"]


def test_one_that_was_interrupted_is_built_anew(host: Host) -> None:
    (host.releases / "two").mkdir()
    (host.releases / "two" / "half").touch()
    assert host.run("two", archive(host.root / "two", requirements__txt=""))["changed"]
    assert not (host.releases / "two" / "half").exists()
    assert host.current.resolve().name == "two"


def test_check_mode_builds_nothing(host: Host) -> None:
    assert host.run("two", check=True)["changed"]
    assert list(host.releases.iterdir()) == []
    assert not host.current.is_symlink()


def test_current_goes_to_the_new_release_and_back(host: Host) -> None:
    for name in ("one", "two"):
        assert host.run(name, archive(host.root / name, requirements__txt=""))["changed"]
        assert host.current.resolve().name == name
    result = host.run("one")
    assert result["changed"]
    assert host.current.resolve().name == "one"
    assert result["diff"] == {"before": f"{host.releases}/two\n", "after": f"{host.releases}/one\n"}


def test_a_link_left_by_an_interrupted_switch_is_no_obstacle(host: Host) -> None:
    (host.root / "current.new").symlink_to("nowhere")
    host.run("one", archive(host.root / "one", requirements__txt=""))
    assert host.current.resolve().name == "one"


def test_a_build_that_fails_leaves_nothing_and_says_why(host: Host) -> None:
    host.run("one", archive(host.root / "one", requirements__txt=""))
    (host.root / "fail").touch()
    result = host.run("two", archive(host.root / "two", requirements__txt=""))
    assert result["failed"]
    assert "Installing the requirements failed:\nsaid of pip" in result["msg"]
    assert [path.name for path in host.releases.iterdir()] == ["one"]
    assert host.current.resolve().name == "one"


def test_missing_requirements_are_named(host: Host) -> None:
    result = host.run("one", archive(host.root / "one", app__py=""), requirements="lock.txt")
    assert result["failed"]
    assert "app_requirements is 'lock.txt', which isn't in /src" in result["msg"]
    assert list(host.releases.iterdir()) == []


def test_files_belong_to_whoever_runs_it_and_are_readable(built: tuple[Host, dict[str, Any]]) -> None:
    host, _ = built
    assert (host.current / "app.py").stat().st_mode & 0o777 == 0o644
    assert host.current.resolve().stat().st_mode & 0o777 == 0o755
    assert shutil.which("python", path=str(host.current / ".venv/bin"))
