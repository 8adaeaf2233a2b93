"""plugins/module_utils/undo.py: what was changed comes back as it was."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from ansible_collections.celeriac.fleet.plugins.module_utils.undo import Undo


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "undo"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A file, a link, and a directory with a file in it."""
    root = tmp_path / "root"
    (root / "unit.d").mkdir(parents=True)
    (root / "unit.d" / "node.conf").write_text("old\n")
    (root / "app.env").write_text("secret\n")
    (root / "app.env").chmod(0o640)
    (root / "current").symlink_to("releases/1")
    for path in (root / "app.env", root / "current", root / "unit.d" / "node.conf"):
        os.utime(path, (100, 100), follow_symlinks=False)
    return root


def state(root: Path) -> dict[str, tuple[object, ...]]:
    """Every path below ``root`` with its mode, time and content."""
    return {
        str(path.relative_to(root)): (
            path.lstat().st_mode,
            0 if path.is_dir() and not path.is_symlink() else path.lstat().st_mtime,
            os.readlink(path) if path.is_symlink() else path.read_text() if path.is_file() else "",
        )
        for path in sorted(root.rglob("*"))
    }


def change(root: Path) -> None:
    (root / "app.env").write_text("new\n")
    (root / "app.env").chmod(0o600)
    (root / "current").unlink()
    (root / "current").symlink_to("releases/2")
    (root / "unit.d" / "node.conf").unlink()
    (root / "unit.d").rmdir()
    (root / "made.d").mkdir()
    (root / "made.d" / "node.conf").write_text("new\n")


def save(journal: Path, root: Path) -> Undo:
    undo = Undo(str(journal))
    for name in ("app.env", "current", "unit.d", "made.d", "made.d/node.conf"):
        undo.save(str(root / name))
    return undo


def test_everything_comes_back_with_modes_and_times(journal: Path, root: Path) -> None:
    before = state(root)
    undo = save(journal, root)
    change(root)
    assert len(undo.revert()) == 6
    assert state(root) == before


def test_a_path_is_saved_once(journal: Path, root: Path) -> None:
    """The second of two runs, the first of which was interrupted, goes back to what was before both."""
    before = state(root)
    save(journal, root)
    change(root)
    save(journal, root)
    Undo(str(journal)).revert()
    assert state(root) == before


def test_what_did_not_change_is_not_touched(journal: Path, root: Path) -> None:
    undo = save(journal, root)
    inode = (root / "app.env").stat().st_ino
    assert undo.revert() == []
    assert (root / "app.env").stat().st_ino == inode


def test_a_directory_that_others_used_meanwhile_stays(journal: Path, root: Path) -> None:
    undo = save(journal, root)
    change(root)
    (root / "made.d" / "theirs.conf").write_text("x\n")
    undo.revert()
    assert [path.name for path in (root / "made.d").iterdir()] == ["theirs.conf"]


def test_the_journal_is_for_its_owner_alone(journal: Path, root: Path) -> None:
    save(journal, root)
    assert journal.stat().st_mode & 0o777 == 0o700


def test_a_line_that_was_cut_off_is_as_if_it_were_not_there(journal: Path, root: Path) -> None:
    before = state(root)
    undo = Undo(str(journal))
    undo.save(str(root / "app.env"))
    with (journal / "journal.jsonl").open("a") as file:
        file.write('{"path": "/half')
    undo.save(str(root / "current"))
    change(root)
    (root / "unit.d").mkdir()
    assert set(undo.revert()) == {str(root / "app.env"), str(root / "current")}
    assert {name: state(root)[name] for name in ("app.env", "current")} == {
        name: before[name] for name in ("app.env", "current")
    }


def test_nothing_is_left_of_a_journal_that_ended(journal: Path, root: Path) -> None:
    undo = save(journal, root)
    assert undo.began is not None
    undo.forget()
    assert not journal.exists()
    assert (undo.began, undo.revert()) == (None, [])
    undo.forget()


def test_the_directories_are_for_root_alone(tmp_path: Path) -> None:
    Undo(str(tmp_path / "shop" / "undo")).save(str(tmp_path / "none"))
    assert [path.stat().st_mode & 0o777 for path in (tmp_path / "shop", tmp_path / "shop" / "undo")] == [0o700, 0o700]
