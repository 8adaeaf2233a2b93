"""plugins/modules/managed_files.py, run for real in a temporary directory."""

from __future__ import annotations

import grp
import json
import os
import pwd
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.celeriac.fleet.plugins.module_utils.file_state import leftovers
from ansible_collections.celeriac.fleet.plugins.module_utils.undo import Undo
from ansible_collections.celeriac.fleet.plugins.modules import managed_files as plugin
from hypothesis import given
from hypothesis import strategies as st

from tests.support.harness import run_module

ME = {"owner": pwd.getpwuid(os.geteuid()).pw_name, "group": grp.getgrgid(os.getegid()).gr_name}

Run = Callable[..., dict[str, Any]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run the module with entries of the current user; ``check=True`` in check mode."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()

    def run(*, check: bool = False, **arguments: Any) -> dict[str, Any]:
        mine = {key: [{**ME, **entry} for entry in arguments.get(key, [])] for key in ("files", "directories")}
        return run_module(plugin, {**arguments, **mine}, scratch, check=check)

    return run


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "app.conf"


def test_a_new_file_has_content_mode_and_diff(run: Run, target: Path) -> None:
    result = run(files=[{"path": str(target), "content": "a = 1\n", "mode": "0640"}])
    assert result["changed"]
    assert result["paths"] == [str(target)]
    assert target.read_text() == "a = 1\n"
    assert target.stat().st_mode & 0o777 == 0o640
    assert result["diff"][0]["before"] == ""
    assert result["diff"][0]["after"] == "a = 1\n"


def test_a_second_run_changes_nothing(run: Run, target: Path) -> None:
    arguments = {"files": [{"path": str(target), "content": "ünï\n"}], "directories": [{"path": str(target) + ".d"}]}
    run(**arguments)
    before = target.stat()
    result = run(**arguments)
    assert not result["changed"]
    assert result["paths"] == result["diff"] == []
    assert (target.stat().st_mtime_ns, target.stat().st_ino) == (before.st_mtime_ns, before.st_ino)


def test_other_content_is_replaced_and_shown(run: Run, target: Path) -> None:
    target.write_text("old\n")
    result = run(files=[{"path": str(target), "content": "new\n"}])
    assert target.read_text() == "new\n"
    assert (result["diff"][0]["before"], result["diff"][0]["after"]) == ("old\n", "new\n")


def test_the_mode_alone_is_a_change(run: Run, target: Path) -> None:
    target.write_text("same\n")
    target.chmod(0o666)
    assert run(files=[{"path": str(target), "content": "same\n", "mode": "0600"}])["changed"]
    assert target.stat().st_mode & 0o777 == 0o600


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a file to another user")
def test_owner_and_group_are_set(run: Run, target: Path) -> None:
    run(files=[{"path": str(target), "content": "", "owner": "daemon", "group": "daemon"}])
    assert (target.owner(), target.group()) == ("daemon", "daemon")
    target.unlink()


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_the_mode_does_not_depend_on_the_umask(run: Run, tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        run(
            directories=[{"path": str(tmp_path / "d"), "mode": "0750"}],
            files=[{"path": str(tmp_path / "f"), "content": "x", "mode": "0644"}],
        )
    finally:
        os.umask(before)
    modes = [(tmp_path / name).stat().st_mode & 0o777 for name in "df"]
    assert modes == [0o750, 0o644]


def test_check_mode_says_what_it_would_do_and_does_not(run: Run, tmp_path: Path, target: Path) -> None:
    stale = tmp_path / "stale.conf"
    stale.write_text("x")
    result = run(
        check=True,
        directories=[{"path": str(tmp_path / "d")}],
        files=[{"path": str(target), "content": "x", "owner": "nobody-yet", "group": "nobody-yet"}],
        absent=[str(tmp_path / "stale*")],
    )
    assert result["changed"]
    assert set(result["paths"]) == {str(tmp_path / "d"), str(target), str(stale)}
    assert stale.exists()
    assert not target.exists()
    assert not (tmp_path / "d").exists()


def test_what_a_command_refuses_does_not_land(run: Run, target: Path) -> None:
    target.write_text("good\n")
    result = run(files=[{"path": str(target), "content": "bad\n", "validate": "/bin/grep -q good %s"}])
    assert result["failed"]
    assert f"{target} was left as it is" in result["msg"]
    assert target.read_text() == "good\n"


def test_what_a_command_accepts_lands(run: Run, target: Path) -> None:
    assert run(files=[{"path": str(target), "content": "good\n", "validate": "/bin/grep -q good %s"}])["changed"]
    assert target.read_text() == "good\n"


def test_what_left_the_set_is_removed(run: Run, tmp_path: Path) -> None:
    for node in ("a", "b"):
        (tmp_path / f"shop-{node}.d").mkdir()
        (tmp_path / f"shop-{node}.d" / "node.conf").write_text("x")
    kept = tmp_path / "shop-a.d" / "node.conf"
    arguments = {"files": [{"path": str(kept), "content": "x"}], "absent": [str(tmp_path / "shop-*.d")]}
    result = run(**arguments)
    assert result["paths"] == [str(tmp_path / "shop-b.d")]
    assert kept.exists()
    assert not (tmp_path / "shop-b.d").exists()
    assert not run(**arguments)["changed"]


def test_a_link_is_removed_and_not_what_it_points_to(run: Run, tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "stale").symlink_to(tmp_path / "precious")
    run(absent=[str(tmp_path / "stale")])
    assert (tmp_path / "precious").is_dir()
    assert not (tmp_path / "stale").is_symlink()


def test_a_path_that_only_begins_alike_is_no_reason_to_keep(tmp_path: Path) -> None:
    found = [str(tmp_path / "shop-a")]
    assert leftovers(found, [str(tmp_path / "shop-ab" / "x")]) == found
    assert leftovers(found, [str(tmp_path / "shop-a" / "x")]) == []


# -- links


def test_a_link_is_pointed_to_its_target_and_elsewhere(run: Run, tmp_path: Path) -> None:
    link = tmp_path / "current"
    made = run(links=[{"path": str(link), "target": "releases/1"}])
    assert (made["paths"], os.readlink(link)) == ([str(link)], "releases/1")
    moved = run(links=[{"path": str(link), "target": "releases/2"}])
    assert os.readlink(link) == "releases/2"
    assert (moved["diff"][0]["before"], moved["diff"][0]["after"]) == ("releases/1\n", "releases/2\n")
    assert not run(links=[{"path": str(link), "target": "releases/2"}])["changed"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["current", "scratch"]


def test_a_link_is_left_alone_in_check_mode(run: Run, tmp_path: Path) -> None:
    assert run(check=True, links=[{"path": str(tmp_path / "current"), "target": "releases/1"}])["changed"]
    assert not (tmp_path / "current").is_symlink()


@pytest.fixture
def victim(tmp_path: Path) -> Iterator[Path]:
    """What a service's user would like to have, and can point a link to."""
    directory = tmp_path / "victim"
    directory.mkdir(mode=0o700)
    (directory / "file").write_text("theirs\n")
    (directory / "file").chmod(0o600)
    yield directory
    assert directory.stat().st_mode & 0o777 == 0o700
    assert (directory / "file").stat().st_mode & 0o777 == 0o600
    assert (directory / "file").read_text() == "theirs\n"


def test_a_link_to_a_directory_counts_as_one_whose_owner_and_mode_are_left_alone(
    run: Run, victim: Path, tmp_path: Path
) -> None:
    (tmp_path / "data").symlink_to(victim)
    assert not run(directories=[{"path": str(tmp_path / "data"), "mode": "0755"}])["changed"]


def test_a_link_in_the_place_of_a_file_is_replaced_and_not_followed(run: Run, victim: Path, tmp_path: Path) -> None:
    (tmp_path / "app.conf").symlink_to(victim / "file")
    assert run(files=[{"path": str(tmp_path / "app.conf"), "content": "theirs\n", "mode": "0666"}])["changed"]
    assert not (tmp_path / "app.conf").is_symlink()


@pytest.mark.parametrize("kind", ["files", "directories"])
def test_a_link_that_comes_between_look_and_change_is_refused(
    run: Run, victim: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    path, found = tmp_path / "there", plugin.file_state.observe
    path.mkdir() if kind == "directories" else path.touch()

    def swapped(asked: str, **how: Any) -> Any:
        state = found(asked, **how)
        path.rmdir() if kind == "directories" else path.unlink()
        path.symlink_to(victim if kind == "directories" else victim / "file")
        return state

    monkeypatch.setattr(plugin.file_state, "observe", swapped)
    content = {"content": ""} if kind == "files" else {}
    result = run(**{kind: [{"path": str(path), "mode": "0711", **content}]})
    assert "can't be given its owner and mode" in result["msg"]


@pytest.mark.parametrize(("key", "kind"), [("owner", "user"), ("group", "group")])
def test_an_owner_that_is_not_there_is_a_sentence(run: Run, target: Path, key: str, kind: str) -> None:
    result = run(files=[{"path": str(target), "content": "", key: "nobody-of-this-name"}])
    assert result["msg"] == f"There is no {kind} 'nobody-of-this-name' on this host."


def test_what_is_no_link_is_not_replaced_by_one(run: Run, tmp_path: Path) -> None:
    (tmp_path / "current").mkdir()
    assert "is no link" in run(links=[{"path": str(tmp_path / "current"), "target": "releases/1"}])["msg"]


# -- the journal, and what is there already


def test_what_was_there_is_saved_before_it_is_changed(run: Run, tmp_path: Path, target: Path) -> None:
    undo, left = tmp_path / "undo", tmp_path / "left@a.d"
    target.write_text("old\n")
    left.mkdir()
    (left / "node.conf").write_text("old too\n")
    os.utime(target, (100, 100))
    for content in ("new\n", "newer\n"):
        run(
            files=[{"path": str(target), "content": content}],
            links=[{"path": str(tmp_path / "current"), "target": content.strip()}],
            absent=[str(tmp_path / "left@*.d")],
            undo=str(undo),
        )
    Undo(str(undo)).revert()
    assert (target.read_text(), target.stat().st_mtime) == ("old\n", 100)
    assert (left / "node.conf").read_text() == "old too\n"
    assert not (tmp_path / "current").is_symlink()


def test_nothing_is_saved_where_nothing_changes(run: Run, tmp_path: Path, target: Path) -> None:
    run(files=[{"path": str(target), "content": "a\n"}])
    run(files=[{"path": str(target), "content": "a\n"}], undo=str(tmp_path / "undo"))
    run(check=True, files=[{"path": str(target), "content": "b\n"}], undo=str(tmp_path / "undo"))
    assert not (tmp_path / "undo").exists()


def test_a_file_that_is_not_forced_is_made_but_not_changed(run: Run, tmp_path: Path, target: Path) -> None:
    target.write_text("theirs\n")
    new = tmp_path / "new"
    files = [{"path": str(path), "content": "ours\n", "force": False} for path in (target, new)]
    assert str(new) in run(files=files)["paths"]
    assert (target.read_text(), new.read_text()) == ("theirs\n", "ours\n")
    assert not run(files=files)["changed"]


# -- secret files


SECRET = 'PASSWORD="it\'s: a hunter2=/x;y"\nA=1\n'


def shown(result: dict[str, Any], content: str) -> list[str]:
    """Words of ``content``, as an operator would recognise them, that stand in what the module returned."""
    said = json.dumps(result)
    return [word for word in re.findall(r"\w{4,}", content) if word in said]


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the module writes to the host's log."""
    found: list[Any] = []
    monkeypatch.setattr(plugin.AnsibleModule, "log", lambda _module, *said, **more: found.append((said, more)))
    return found


def test_a_secret_files_content_is_written_and_shown_nowhere(run: Run, target: Path, logged: list[Any]) -> None:
    for before, after in (("", "secret\n"), ("secret, another\n", "secret\n")):
        content = SECRET + before
        result = run(files=[{"path": str(target), "secret": True}], secrets={"0": content})
        assert target.read_text() == content
        (diff,) = result["diff"]
        assert (diff["before"], diff["after"], diff["after_header"]) == (before, after, str(target))
        assert shown(result, SECRET) == []
        assert logged
        assert shown({"log": str(logged)}, SECRET) == []


def test_a_secret_file_whose_mode_changes_shows_nothing_either(run: Run, target: Path) -> None:
    target.write_text(SECRET)
    target.chmod(0o666)
    result = run(files=[{"path": str(target), "secret": True, "mode": "0600"}], secrets={"0": SECRET})
    assert result["diff"][0]["before"] == "secret, the same\n"
    assert shown(result, SECRET) == []


def test_a_short_secret_makes_no_other_diff_unreadable(run: Run, tmp_path: Path) -> None:
    one, two = str(tmp_path / "one"), str(tmp_path / "two")
    files = [{"path": one, "secret": True}, {"path": two, "content": "maxclients 1\n"}]
    result = run(files=files, secrets={"0": "\n"})
    assert result["diff"][1]["after"] == "maxclients 1\n"


def test_a_secret_file_that_a_command_refuses_is_not_shown_by_it(run: Run, target: Path) -> None:
    entry = {"path": str(target), "secret": True, "validate": "/bin/sh -c 'echo refused; cat %s; exit 1'"}
    result = run(files=[entry], secrets={"0": SECRET})
    assert "says: refused" in result["msg"]
    assert shown(result, SECRET) == []
    assert not target.exists()


@given(st.text(min_size=4).filter(lambda text: re.search(r"\w{4,}", text)))
def test_no_word_of_a_secret_is_left_in_what_a_command_said(content: str) -> None:
    said = plugin.hidden(f"error: {content} in '{content.split()[0]}'", content)
    left = said.replace(plugin.HIDDEN, "")
    assert [word for word in re.findall(r"\w{4,}", content) if word in left.replace("error", "")] == []
