"""plugins/modules/redis_reload.py, against a server that only notes what it is told."""

from __future__ import annotations

import os
import shutil
import socketserver
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.celeriac.fleet.plugins.action import redis_reload as action
from ansible_collections.celeriac.fleet.plugins.modules import redis_reload as reload

from tests.support import looks
from tests.support.harness import run_module


class Server(socketserver.ThreadingUnixStreamServer):
    """Answers OK, and says that it has the users ``default``, ``shop`` and ``gone``."""

    def __init__(self, path: str) -> None:
        self.told: list[list[str]] = []
        self.refuse = ""
        super().__init__(path, Handler)


class Handler(socketserver.StreamRequestHandler):
    server: Server

    def handle(self) -> None:
        while line := self.rfile.readline():
            words = []
            for _ in range(int(line[1:])):
                size = int(self.rfile.readline()[1:])
                words.append(self.rfile.read(size + 2)[:-2].decode())
            self.server.told.append(words)
            if self.server.refuse and self.server.refuse in words:
                self.wfile.write(b"-ERR not that\r\n")
            elif words[:2] == ["ACL", "USERS"]:
                self.wfile.write(b"*3\r\n$7\r\ndefault\r\n$4\r\nshop\r\n$4\r\ngone\r\n")
            else:
                self.wfile.write(b"+OK\r\n")


def at(path: Path, seconds: int, content: str = "") -> Path:
    """A file that was changed at that time."""
    path.write_text(content or path.name)
    os.utime(path, (seconds, seconds))
    return path


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with Server(str(tmp_path / "sock")) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield running
        running.shutdown()


@pytest.fixture
def arguments(tmp_path: Path) -> dict[str, Any]:
    acl = "user default off ~* +@all\nuser shop on ~shop:* -@all +get #" + "a" * 64 + "\n"
    return {
        "user": "celeriac",
        "login": str(at(tmp_path / "celeriac.env", 50, "REDISCLI_AUTH=secret\n")),
        "instances": [
            {
                "name": "broker",
                "socket": str(tmp_path / "sock"),
                "started": str(at(tmp_path / "pid", 100)),
                "acl": str(at(tmp_path / "acl", 200, acl)),
                "certificates": {
                    "tls-cert-file": str(at(tmp_path / "crt", 60)),
                    "tls-key-file": str(at(tmp_path / "key", 60)),
                },
            }
        ],
    }


def needed(arguments: dict[str, Any]) -> bool:
    """Whether the action would send the module."""
    return looks.look(action, arguments)[1] is None


def test_newer_users_are_set_and_others_deleted(arguments: dict, server: Server, tmp_path: Path) -> None:
    assert needed(arguments)
    result = run_module(reload, arguments, tmp_path)
    assert (result["changed"], result["reloaded"]) == (True, ["broker"])
    assert server.told == [
        ["AUTH", "celeriac", "secret"],
        ["ACL", "SETUSER", "default", "reset", "off", "~*", "+@all"],
        ["ACL", "SETUSER", "shop", "reset", "on", "~shop:*", "-@all", "+get", "#" + "a" * 64],
        ["ACL", "USERS"],
        ["ACL", "DELUSER", "gone"],
        ["CONFIG", "SET", "tls-cert-file", str(tmp_path / "crt"), "tls-key-file", str(tmp_path / "key")],
    ]


def test_what_was_loaded_once_is_not_loaded_again(arguments: dict, server: Server, tmp_path: Path) -> None:
    run_module(reload, arguments, tmp_path)
    assert not needed(arguments)
    assert run_module(reload, arguments, tmp_path)["changed"] is False
    at(tmp_path / "key", 300)
    assert needed(arguments)
    assert run_module(reload, arguments, tmp_path)["changed"] is True


def test_what_changed_before_the_start_is_not_loaded(arguments: dict, server: Server, tmp_path: Path) -> None:
    at(tmp_path / "acl", 90)
    assert not needed(arguments)
    assert run_module(reload, arguments, tmp_path)["changed"] is False
    assert server.told == []


def test_an_instance_that_does_not_run_is_left_alone(arguments: dict, tmp_path: Path) -> None:
    (tmp_path / "pid").unlink()
    assert not needed(arguments)
    assert run_module(reload, arguments, tmp_path)["changed"] is False


def test_a_server_that_can_not_know_the_password_is_left_to_its_restart(
    arguments: dict, server: Server, tmp_path: Path
) -> None:
    at(tmp_path / "celeriac.env", 150, "REDISCLI_AUTH=new\n")
    assert run_module(reload, arguments, tmp_path)["changed"] is False
    assert server.told == []


def test_a_server_whose_program_was_replaced_is_left_to_its_restart(
    arguments: dict, server: Server, tmp_path: Path
) -> None:
    """Its successor's users may have commands that it doesn't know."""
    program = tmp_path / "program"
    shutil.copy("/bin/sleep", program)
    with subprocess.Popen([program, "60"]) as process:
        at(tmp_path / "pid", 100, str(process.pid))
        program.unlink()
        try:
            assert run_module(reload, arguments, tmp_path)["changed"] is False
        finally:
            process.kill()
    assert server.told == []


def test_check_mode_changes_nothing(arguments: dict, server: Server, tmp_path: Path) -> None:
    assert run_module(reload, arguments, tmp_path, check=True)["reloaded"] == ["broker"]
    assert server.told == []
    assert needed(arguments)


@pytest.mark.parametrize("refuse", ["AUTH", "shop", "tls-cert-file"])
def test_a_refusal_is_an_error_and_the_next_run_tries_again(
    arguments: dict, server: Server, tmp_path: Path, refuse: str
) -> None:
    server.refuse = refuse
    result = run_module(reload, arguments, tmp_path)
    assert result["failed"]
    assert result["msg"] == "broker keeps the users and certificates that it has: ERR not that"
    assert needed(arguments)


def test_a_server_that_is_gone_is_an_error(arguments: dict, tmp_path: Path) -> None:
    assert run_module(reload, arguments, tmp_path)["failed"]
