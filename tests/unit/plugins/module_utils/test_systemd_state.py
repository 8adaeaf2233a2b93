"""plugins/module_utils/systemd_state.py: the pure parts; what is done with them is in test_module_systemd_units.py."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from ansible_collections.celeriac.fleet.plugins.module_utils import systemd_state as state

STARTED = "Wed 2025-01-01 12:00:00.000000 UTC"


def test_show_is_split_into_units_in_order() -> None:
    assert state.parse_show("Id=a\nX=1=2\n\nId=b\nX=\n") == [{"Id": "a", "X": "1=2"}, {"Id": "b", "X": ""}]
    assert state.parse_show("") == []


@pytest.mark.parametrize(
    ("timestamp", "expected"),
    [
        ("", 0.0),
        ("n/a", 0.0),
        ("Thu 1970-01-01 00:00:01.500000 UTC", 1.5),
        (STARTED, 1735732800.0),
    ],
)
def test_timestamps_are_read(timestamp: str, expected: float) -> None:
    assert state.seconds(timestamp) == expected


def test_a_program_that_a_package_replaced_is_seen(tmp_path: Path) -> None:
    program = tmp_path / "program"
    shutil.copy("/bin/sleep", program)
    with subprocess.Popen([program, "60"]) as process:
        try:
            assert not state.replaced(str(process.pid))
            program.unlink()
            assert state.replaced(str(process.pid))
        finally:
            process.kill()
    assert not state.replaced("0")
    assert not state.replaced("")


def test_last_changes_are_of_what_is_there_and_of_a_link_its_own(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("file")
    os.utime(tmp_path / "file", (300, 300))
    os.utime(tmp_path / "link", (200, 200), follow_symlinks=False)
    link, file, none = (str(tmp_path / name) for name in ("link", "file", "none"))
    assert state.last_changes([link, file, none]) == {link: 200 * 10**9, file: 300 * 10**9}


def test_last_changes_see_a_dangling_link(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("nowhere")
    assert state.last_changes([str(tmp_path / "link")])
