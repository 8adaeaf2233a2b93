"""plugins/action/redis_reload.py: the look that spares a module's run; that both agree is in the module's test."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from ansible_collections.celeriac.fleet.plugins.action import redis_reload as action


def at(path: Path, seconds: int) -> None:
    """A file that was changed at that time."""
    path.write_text("")
    os.utime(path, (seconds, seconds))


@pytest.mark.parametrize(
    ("times", "said"),
    [
        ({"pid": 100, "acl": 90, "crt": 90}, []),
        ({"pid": 100, "acl": 110, "crt": 90}, ["two words"]),
        ({"pid": 100, "acl": 90, "crt": 110}, ["two words"]),
        ({"pid": 100, "acl": 110, "crt": 90, "celeriac.loaded": 110}, []),
        ({"pid": 100, "acl": 120, "crt": 90, "celeriac.loaded": 110}, ["two words"]),
        ({"acl": 110, "crt": 110}, []),
    ],
)
def test_what_is_newer_than_the_start_and_the_last_load_is_found(
    tmp_path: Path, times: dict[str, int], said: list[str]
) -> None:
    directory = tmp_path / "a 'directory'"
    directory.mkdir()
    for name, seconds in times.items():
        at(directory / name, seconds)
    instance = {
        "name": "two words",
        "socket": str(directory / "sock"),
        "started": str(directory / "pid"),
        "acl": str(directory / "acl"),
        "certificates": {"tls-cert-file": str(directory / "crt")},
    }
    done = subprocess.run(["sh", "-c", action.look([instance])], text=True, capture_output=True, check=True)
    assert (done.stdout.splitlines(), done.stderr) == (said, "")
