"""plugins/action/redis_reload.py: the look that spares a module's run; that both agree is in the module's test."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from ansible_collections.celeriac.fleet.plugins.action import redis_reload as action

from tests.support import looks


def at(path: Path, seconds: int) -> None:
    """A file that was changed at that time."""
    path.write_text("")
    os.utime(path, (seconds, seconds))


@pytest.mark.parametrize(
    ("times", "needed"),
    [
        ({"pid": 100, "acl": 90, "crt": 90}, False),
        ({"pid": 100, "acl": 110, "crt": 90}, True),
        ({"pid": 100, "acl": 90, "crt": 110}, True),
        ({"pid": 100, "acl": 110, "crt": 90, "celeriac.loaded": 110}, False),
        ({"pid": 100, "acl": 120, "crt": 90, "celeriac.loaded": 110}, True),
        ({"acl": 110, "crt": 110}, False),
    ],
)
def test_what_is_newer_than_the_start_and_the_last_load_is_found(
    tmp_path: Path, times: dict[str, int], needed: bool
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
    arguments = {"instances": [instance], "user": "celeriac", "login": str(directory / "env")}
    assert (looks.look(action, arguments)[1] is None) is needed
