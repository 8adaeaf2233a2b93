"""plugins/module_utils/file_state.py: what is at a path, and whether it is as it should be.

That both sides agree on it: tests/unit/plugins/action/test_settled.py.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from ansible_collections.celeriac.fleet.plugins.module_utils import file_state
from ansible_collections.celeriac.fleet.plugins.module_utils.file_state import State, observe

ME = str(os.geteuid())
ENTRY = {"path": "/x", "content": "a\n", "force": True, "mode": "0644", "owner": ME, "group": "staff"}
GOOD = State("f", 0o644, ("me", ME), ("staff", "50"), file_state.digest("a\n"))


def test_a_file_is_observed_with_its_content(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"a\r\n\xff")
    path.chmod(0o2640)
    found = observe(str(path))
    assert (found.kind, found.mode, found.target) == (file_state.FILE, 0o2640, "")
    assert ME in found.owner
    assert found.digest == file_state.digest(file_state.read(str(path))) != file_state.digest("a\n\udcff")


def test_a_link_to_a_directory_is_one_only_where_a_directory_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    assert observe(str(tmp_path / "link")).target == str(tmp_path)
    assert observe(str(tmp_path / "link")).kind == file_state.LINK
    assert observe(str(tmp_path / "link"), directory=True).kind == file_state.LINKED


def test_what_is_not_there_is_absent(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    assert observe(str(tmp_path / "none")) == observe(str(tmp_path / "file" / "below")) == State()
    assert observe(str(tmp_path / "loop"), directory=True).kind == file_state.LINK


@pytest.mark.parametrize(
    ("found", "forced", "unforced"),
    [
        (GOOD, False, False),
        (State(), True, True),
        (State("f", digest=file_state.digest("b\n")), True, False),
        (State("l", target="/y"), True, False),
    ],
)
def test_a_file_is_written_where_its_content_is_another(found: State, forced: bool, unforced: bool) -> None:
    assert file_state.outdated(ENTRY, found) is forced
    assert file_state.outdated({**ENTRY, "force": False}, found) is unforced


@pytest.mark.parametrize(
    ("change", "differs"), [({}, False), ({"mode": "0600"}, True), ({"owner": "you"}, True), ({"group": "50"}, False)]
)
def test_owner_and_group_are_known_by_name_and_by_number(change: dict[str, str], differs: bool) -> None:
    assert file_state.differs({**ENTRY, **change}, GOOD) is differs


def test_what_holds_something_that_is_kept_is_no_leftover() -> None:
    assert file_state.leftovers(["/a", "/b"], ["/a/x"]) == ["/b"]
    assert file_state.leftovers(["/a"], ["/ab/x"]) == ["/a"]
    assert file_state.leftovers(["/a"], ["/a"]) == []


@pytest.mark.parametrize("key", ["files", "directories", "links", "absent"])
def test_nothing_less_than_everything_is_settled(key: str) -> None:
    arguments = {"files": [ENTRY], "directories": [], "links": [{"path": "/l", "target": "/t"}]}
    arguments["directories"] = [{**ENTRY, "path": "/d"}]
    states = {"/x": GOOD, "/l": State("l", target="/t"), "/d": State("d", 0o644, ("me", ME), ("staff", "50"))}
    assert file_state.settled(arguments, states, ["/x"])
    spoiled = {"files": "/x", "directories": "/d", "links": "/l"}
    worse = {**states, **({spoiled[key]: State()} if key in spoiled else {})}
    assert not file_state.settled(arguments, worse, ["/z"] if key == "absent" else [])
