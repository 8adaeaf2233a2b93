"""plugins/action/managed_files.py: how ``each`` becomes entries, and when the module isn't needed.

The templates themselves: tests/templates.
"""

from __future__ import annotations

import grp
import os
import pwd
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible.errors import AnsibleActionFail
from ansible_collections.celeriac.fleet.plugins.action import managed_files as plugin
from ansible_collections.celeriac.fleet.plugins.modules import managed_files

from tests.support import looks
from tests.support.harness import run_module

ME = {"owner": pwd.getpwuid(os.geteuid()).pw_name, "group": grp.getgrgid(os.getegid()).gr_name}


def test_an_entry_without_each_stays_as_it_is() -> None:
    entry = {"path": "/etc/{name}", "mode": "0600"}
    assert list(plugin.expand(entry)) == [(entry, {})]


def test_each_item_gets_an_entry_with_its_fields_in_the_path() -> None:
    items = [{"name": "a", "port": 1}, {"name": "b", "port": 2}]
    found = list(plugin.expand({"path": "/etc/{name}-{port}", "mode": "0600", "each": items}))
    assert found == [
        ({"path": "/etc/a-1", "mode": "0600"}, items[0]),
        ({"path": "/etc/b-2", "mode": "0600"}, items[1]),
    ]


def test_no_item_no_entry() -> None:
    assert list(plugin.expand({"path": "/etc/x", "each": []})) == []


def test_a_field_that_no_item_has_is_an_error() -> None:
    with pytest.raises(KeyError, match="name"):
        list(plugin.expand({"path": "/etc/{name}", "each": [{"nmae": "a"}]}))


def test_an_items_content_is_the_files_unless_the_entry_has_its_own(tmp_path: Path) -> None:
    each = [{"name": "a", "content": "x"}]
    files = [{"path": f"{tmp_path}/{{name}}", "each": each}, {"path": "/etc/{name}", "each": each, "content": "y"}]
    sent, _ = looks.look(plugin, {"files": files})
    assert [(entry["path"], entry["content"]) for entry in sent["files"]] == [(f"{tmp_path}/a", "x"), ("/etc/a", "y")]


def test_a_file_without_a_content_is_an_error() -> None:
    with pytest.raises(AnsibleActionFail, match="/etc/a has neither src nor content"):
        looks.look(plugin, {"files": [{"path": "/etc/a"}]})


# -- when the module isn't needed


@pytest.fixture
def entries(tmp_path: Path) -> dict[str, Any]:
    """Entries that the module has brought about."""
    found: dict[str, Any] = {
        "directories": [{**ME, "path": str(tmp_path / "unit.d"), "mode": "0750"}],
        "files": [
            {**ME, "path": str(tmp_path / "unit.d" / "it's a $file"), "content": "ünï\n", "mode": "0640"},
            {**ME, "path": str(tmp_path / "empty"), "content": ""},
        ],
        "absent": [str(tmp_path / "unit*.d")],
        "links": [{"path": str(tmp_path / "current"), "target": "releases/1"}],
    }
    run_module(managed_files, found, tmp_path)
    return found


def needed(entries: dict[str, Any]) -> bool:
    """Whether the module would be sent, by a real shell's answer."""
    return looks.look(plugin, entries)[1] is None


def test_what_the_module_brought_about_needs_no_module(entries: dict[str, Any]) -> None:
    assert not needed(entries)


def rewrite(root: Path) -> None:
    (root / "empty").write_text("no more")


def widen(root: Path) -> None:
    (root / "empty").chmod(0o666)


def open_directory(root: Path) -> None:
    (root / "unit.d").chmod(0o755)


def remove(root: Path) -> None:
    (root / "empty").unlink()


def link(root: Path) -> None:
    (root / "empty").rename(root / "elsewhere")
    (root / "empty").symlink_to(root / "elsewhere")


def leave_over(root: Path) -> None:
    (root / "unit@old.d").mkdir()


def point_elsewhere(root: Path) -> None:
    (root / "current").unlink()
    (root / "current").symlink_to("releases/2")


def unlink(root: Path) -> None:
    (root / "current").unlink()


@pytest.mark.parametrize("disturb", [rewrite, widen, open_directory, remove, link, leave_over, point_elsewhere, unlink])
def test_what_was_disturbed_needs_it(entries: dict[str, Any], tmp_path: Path, disturb: Callable[[Path], None]) -> None:
    disturb(tmp_path)
    assert needed(entries)


@pytest.mark.parametrize("key", ["owner", "group"])
def test_another_owner_needs_it(entries: dict[str, Any], key: str) -> None:
    entries["files"][0][key] = "nobody-here"
    assert needed(entries)


def test_a_file_that_is_not_forced_needs_it_only_where_it_is_missing(entries: dict[str, Any], tmp_path: Path) -> None:
    entries["files"][1]["force"] = False
    rewrite(tmp_path)
    assert not needed(entries)
    remove(tmp_path)
    assert needed(entries)
