"""plugins/module_utils/app_releases.py: what may go, and who builds."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.celeriac.fleet.plugins.module_utils import app_releases as releases


class Host:
    """An application's directories; releases are ``a``, ``b``, ... with virtualenvs of the same names in capitals."""

    def __init__(self, root: Path) -> None:
        self.releases, self.virtualenvs, self.current = root / "releases", root / "virtualenvs", root / "current"
        self.releases.mkdir()
        self.virtualenvs.mkdir()

    def add(self, name: str, built: float, live: float = 0.0, *, virtualenv: str = "", complete: bool = True) -> Path:
        release, environment = self.releases / name, self.virtualenvs / (virtualenv or name.upper())
        environment.mkdir(exist_ok=True)
        (environment / releases.COMPLETE).touch()
        release.mkdir()
        (release / ".venv").symlink_to(f"../../virtualenvs/{environment.name}")
        if complete:
            (release / releases.COMPLETE).touch()
            os.utime(release / releases.COMPLETE, (built, built))
        if live:
            (release / releases.LIVE).touch()
            os.utime(release / releases.LIVE, (live, live))
        return release

    def point(self, name: str) -> None:
        self.current.symlink_to(self.releases / name)

    def going(self, keep: int) -> list[str]:
        """Names of what may go."""
        found = releases.to_prune(str(self.releases), str(self.virtualenvs), keep, str(self.current))
        return [Path(path).name for path in found]


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


@pytest.fixture
def history(host: Host) -> Host:
    """Four releases that were live in order; the last is current."""
    for number, name in enumerate("abcd", start=1):
        host.add(name, built=number, live=100 + number)
    host.point("d")
    return host


@pytest.mark.parametrize(
    ("keep", "going"),
    [(0, []), (4, []), (5, []), (3, ["a", "A"]), (2, ["a", "b", "A", "B"]), (1, ["a", "b", "c", "A", "B", "C"])],
)
def test_those_that_were_live_last_stay(history: Host, keep: int, going: list[str]) -> None:
    assert history.going(keep) == going


def test_one_that_was_never_live_goes_before_those_that_were(host: Host) -> None:
    """A deployment of it failed: the release before the current one is what a rollback goes to."""
    host.add("failed", built=65)
    host.add("before", built=1, live=60)
    host.add("now", built=2, live=70)
    host.point("now")
    assert host.going(2) == ["failed", "FAILED"]


def test_of_those_that_never_were_live_the_last_built_stays(host: Host) -> None:
    host.add("a", built=50)
    host.add("b", built=40)
    host.add("c", built=2, live=70)
    host.point("c")
    assert host.going(2) == ["b", "B"]


def test_current_stays_though_it_was_live_long_ago(history: Host) -> None:
    history.current.unlink()
    history.point("a")
    assert "a" not in history.going(1)


def test_what_is_newer_than_current_is_about_to_go_live(history: Host) -> None:
    history.add("e", built=200)
    assert history.going(1) == ["a", "b", "c", "A", "B", "C"]


def test_a_virtualenv_stays_while_a_release_links_to_it(history: Host) -> None:
    history.add("e", built=0, live=1, virtualenv="D")
    assert history.going(4) == ["e"]


def test_what_a_dead_build_left_goes_whatever_is_kept(history: Host) -> None:
    history.add("e", built=0, complete=False)
    (history.virtualenvs / "half").mkdir()
    assert history.going(0) == ["e", "E", "half"]


def test_current_is_never_removed_though_its_mark_is_gone(history: Host) -> None:
    (history.releases / "d" / releases.COMPLETE).unlink()
    assert "d" not in history.going(1)
    assert "D" not in history.going(1)


def test_nothing_there_is_nothing_to_remove(tmp_path: Path) -> None:
    assert releases.to_prune(str(tmp_path / "r"), str(tmp_path / "v"), 3, str(tmp_path / "current")) == []


@pytest.fixture
def working(history: Host) -> Iterator[str]:
    """A release in which a process works."""
    directory = history.releases / "a" / "deep"
    directory.mkdir()
    with subprocess.Popen(["cat"], cwd=directory, stdin=subprocess.PIPE):
        yield "a"


def test_a_release_that_a_process_works_in_stays_with_its_virtualenv(history: Host, working: str) -> None:
    assert history.going(1) == ["b", "c", "B", "C"]


def test_a_mapped_library_is_use(tmp_path: Path) -> None:
    process = tmp_path / "proc" / "7"
    process.mkdir(parents=True)
    (process / "maps").write_text(
        "7f0-7f1 r-xp 00 08:01 7    /opt/shop/virtualenvs/abc/lib/x.so\n7f2-7f3 rw-p 00 00:00 0\n"
    )
    found = releases.in_use(["/opt/shop/virtualenvs/abc", "/opt/shop/virtualenvs/ab"], str(tmp_path / "proc"))
    assert found == {"/opt/shop/virtualenvs/abc"}


def test_a_removal_that_is_interrupted_leaves_nothing_that_looks_complete(
    history: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(releases.shutil, "rmtree", lambda *_args, **_options: None)
    releases.remove(str(history.releases / "a"))
    assert not releases.complete(str(history.releases / "a"))


def test_a_link_left_by_an_interrupted_switch_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "current.new").symlink_to("nowhere")
    releases.link(str(tmp_path / "current"), "a")
    releases.link(str(tmp_path / "current"), "b")
    assert os.readlink(tmp_path / "current") == "b"
    assert [path.name for path in tmp_path.iterdir()] == ["current"]


def test_the_mark_is_readable_by_everybody_and_says_what_it_was_given(tmp_path: Path) -> None:
    releases.mark_complete(str(tmp_path), {"type": "path"})
    assert releases.complete(str(tmp_path))
    assert (tmp_path / releases.COMPLETE).read_text() == '{\n  "type": "path"\n}\n'
    assert (tmp_path / releases.COMPLETE).stat().st_mode & 0o777 == 0o644


# -- the lock


def test_the_second_waits_for_the_first(tmp_path: Path) -> None:
    order: list[str] = []

    def second() -> None:
        with releases.locked(str(tmp_path), 10):
            order.append("second")

    thread = threading.Thread(target=second)
    with releases.locked(str(tmp_path), 1):
        thread.start()
        order.append("first")
    thread.join()
    assert order == ["first", "second"]


def test_who_waits_too_long_says_for_what(tmp_path: Path) -> None:
    with (
        releases.locked(str(tmp_path), 1),
        pytest.raises(releases.LockedError, match=r"has been running for 0 s: wait for it, or end the process"),
        releases.locked(str(tmp_path), 0),
    ):
        pass


def test_a_program_that_outlives_its_run_keeps_others_out(tmp_path: Path) -> None:
    with releases.locked(str(tmp_path), 1) as descriptor:
        program = subprocess.Popen(
            [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=[descriptor], text=True
        )
    with pytest.raises(releases.LockedError), releases.locked(str(tmp_path), 0):
        pass
    program.communicate("\n")
    with releases.locked(str(tmp_path), 0):
        pass


def test_only_root_may_take_the_lock(tmp_path: Path) -> None:
    with releases.locked(str(tmp_path), 0) as descriptor:
        assert os.fstat(descriptor).st_mode & 0o777 == 0o600
        assert fcntl.fcntl(descriptor, fcntl.F_GETFD) & fcntl.FD_CLOEXEC
