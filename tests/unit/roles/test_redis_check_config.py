"""redis-check-config, with stand-ins for setpriv and the server: what is started, what is said, what is left."""

from __future__ import annotations

import json
import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis_check_config

# Notes what it is called with and its directory's content; then does as the file says that it is given.
SERVER = f"""#!{sys.executable}
import json, os, socket, sys, time
words = sys.argv[1:]
server = words[words.index("--") + 1:]
file = server[2] if server[1] == "--aclfile" else server[1]
directory = os.path.dirname(file)
with open(os.environ["CALLS"], "w") as calls:
    json.dump({{"words": words, "files": os.listdir(directory), "at": os.getcwd(), "pid": os.getpid()}}, calls)
exec(open(file).read())
"""
COMES_UP = """
listener = socket.socket(socket.AF_UNIX)
listener.bind(server[server.index("--unixsocket") + 1])
listener.listen()
client = listener.accept()[0]
assert client.recv(6) == b"PING\\r\\n"
client.sendall(ANSWER)
time.sleep(600)
"""
FATAL = """
print("1234:C 27 Nov 2026 12:00:00.000 # WARNING Memory overcommit must be enabled!")
print("1234:C 27 Nov 2026 12:00:00.000 * oO0OoO0OoO0Oo Redis is starting oO0OoO0OoO0Oo")
print("1234:C 27 Nov 2026 12:00:00.000 # Configuration loaded")
print()
print("*** FATAL CONFIG FILE ERROR (Redis 7.0.15) ***")
print(f"Reading the configuration file {file}, at line 1", file=sys.stderr)
print(">>> 'nonsense yes'")
sys.exit(1)
"""


@pytest.fixture
def scratch(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where the program makes its directory; with a short path, since that of a socket has 107 bytes at most."""
    with tempfile.TemporaryDirectory(prefix="c-", dir="/tmp") as directory:
        monkeypatch.setattr("tempfile.tempdir", directory)
        yield Path(directory)


@pytest.fixture
def calls(tmp_path: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the server noted; files stay their owner's, who isn't the server's user here."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/setpriv").write_text(SERVER)
    (tmp_path / "bin/setpriv").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep)
    monkeypatch.setenv("CALLS", str(tmp_path / "calls"))
    monkeypatch.setattr(shutil, "chown", lambda path, user, group: owned.append((str(path), user, group)))
    owned.clear()
    return tmp_path / "calls"


owned: list[tuple[str, str, str]] = []


def checked(tmp_path: Path, text: str, *options: str) -> Any:
    """What the program exits with, for a file with this text: nothing, or what it says."""
    file = tmp_path / "wrong.conf"
    file.write_text(text)
    with pytest.raises(SystemExit) as end:
        redis_check_config.main(["--flavor=redis", *options, str(file)])
    return end.value.code


def options(words: list[str]) -> dict[str, str]:
    """Option -> its value, of the server's command line."""
    first = words.index("--port")
    return dict(zip(words[first::2], words[first + 1 :: 2], strict=True))


@pytest.mark.parametrize("answer", [b"+PONG\r\n", b"-NOAUTH Authentication required.\r\n"])
def test_one_that_answers_has_come_up(calls: Path, scratch: Path, tmp_path: Path, answer: bytes) -> None:
    assert checked(tmp_path, COMES_UP.replace("ANSWER", repr(answer))) is None
    pid = json.loads(calls.read_text())["pid"]
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert list(scratch.iterdir()) == []


def test_it_writes_and_listens_nowhere_but_in_a_directory_of_its_own(
    calls: Path, scratch: Path, tmp_path: Path
) -> None:
    checked(tmp_path, "")
    called = json.loads(calls.read_text())
    user, server = called["words"][:4], called["words"][4:]
    assert user == ["--reuid=redis", "--regid=redis", "--init-groups", "--"]
    file = Path(server[1])
    assert server[0] == "/usr/bin/redis-server"
    assert (file.name, file.parent.parent, called["files"]) == ("wrong.conf", scratch, [file.name])
    given = options(server)
    assert given["--port"] == given["--tls-port"] == "0"
    assert given["--dir"] == str(file.parent)
    assert given["--unixsocket"] == f"{file.parent}/socket"
    assert given["--logfile"] == given["--pidfile"] == given["--save"] == ""
    assert given["--daemonize"] == given["--supervised"] == given["--appendonly"] == "no"
    assert called["at"] == "/"
    assert sorted(owned) == [(str(file.parent), "redis", "redis"), (str(file), "redis", "redis")]


@pytest.mark.parametrize(
    ("text", "more", "loaded"),
    [("# tls-cert-file /a", [], True), ("# port 1", [], False), ("# tls-cert-file /a", ["--acl"], False)],
)
def test_certificates_are_loaded_where_there_are_any(
    calls: Path, tmp_path: Path, text: str, more: list[str], loaded: bool
) -> None:
    checked(tmp_path, text, *more)
    words = json.loads(calls.read_text())["words"]
    assert ("--tls-replication" in words) is loaded
    assert ("--aclfile" in words) is bool(more)


@pytest.mark.parametrize("more", [[], ["--acl"]])
def test_what_matters_of_what_it_said_is_said(calls: Path, scratch: Path, tmp_path: Path, more: list[str]) -> None:
    said = checked(tmp_path, FATAL, *more)
    assert said == f"Reading the configuration file {tmp_path}/wrong.conf, at line 1 >>> 'nonsense yes'"
    assert list(scratch.iterdir()) == []


def test_one_that_never_answers_is_ended(calls: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_check_config, "DEADLINE", 1.0)
    assert checked(tmp_path, "time.sleep(600)") == "no answer within 1 seconds"


def test_one_that_says_much_is_not_held_up(calls: Path, tmp_path: Path) -> None:
    """By a pipe that nobody reads."""
    much = "print('\\n' * 2**20, flush=True)\n"
    assert checked(tmp_path, much + COMES_UP.replace("ANSWER", "b'+'")) is None


def test_a_file_that_is_not_there_is_a_sentence(calls: Path, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"^redis-check-config: .*No such file or directory: '/nowhere'$"):
        redis_check_config.main(["--flavor=redis", "/nowhere"])


@pytest.mark.parametrize("arguments", [[], ["one", "two"], ["--acls", "one"]])
def test_a_wrong_command_line_is_an_error_of_its_own(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        redis_check_config.main(["--flavor=redis", *arguments])
    assert end.value.code == 2
    assert "usage: redis-check-config [-h] [--acl] FILE" in capsys.readouterr().err


def test_a_socket_nobody_listens_at_does_not_answer(tmp_path: Path) -> None:
    assert redis_check_config.answers(tmp_path / "none") is False
    with socket.socket(socket.AF_UNIX) as closed:
        closed.bind(str(tmp_path / "closed"))
    assert redis_check_config.answers(tmp_path / "closed") is False
