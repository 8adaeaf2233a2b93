"""tests/support/shell.py: one `docker exec` for many commands answers as one for each does."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from tests.support.shell import Shell

# Containers are this machine's processes; each `docker exec` is noted in $CALLS.
DOCKER = """#!/bin/sh
echo "$@" | head -n 1 >> "$CALLS"
while [ "$1" != test ]; do shift; done
shift
exec "$@"
"""


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The calls of docker, a line each."""
    (tmp_path / "docker").write_text(DOCKER)
    (tmp_path / "docker").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setenv("CALLS", str(tmp_path / "calls"))
    return tmp_path / "calls"


@pytest.fixture
def shell(calls: Path) -> Shell:
    return Shell("test")


def test_commands_share_a_docker_exec(shell: Shell, calls: Path) -> None:
    for number in range(3):
        assert shell.run("echo %s; echo no >&2; exit 3", f"it's {number}").stdout == f"it's {number}\n"
    done = shell.run("echo no >&2; exit 3")
    assert (done.rc, done.stdout, done.stderr) == (3, "", "no\n")
    assert len(calls.read_text().splitlines()) == 1


def test_bytes_stay_as_they_are(shell: Shell) -> None:
    assert shell.run(r"printf '\377\0\n'").stdout_bytes == b"\xff\0\n"
    assert shell.run("printf %s", "Knollensellerie, ¼ Stück für Suppe").stdout == "Knollensellerie, ¼ Stück für Suppe"


def test_a_signal_is_an_exit_code_as_the_shell_has_it(shell: Shell) -> None:
    assert shell.run("kill -TERM $$").rc == 143


def test_the_environment_is_docker_execs(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LC_CTYPE", raising=False)
    assert shell.run("echo $LC_CTYPE").stdout == "\n"


def test_what_a_command_leaves_in_the_background_is_not_waited_for(shell: Shell) -> None:
    pid = shell.run("sleep 60 & echo $!").stdout
    assert shell.run("kill %s", pid.strip()).rc == 0


def test_a_command_beside_another_has_its_own(shell: Shell, calls: Path, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    waiting = threading.Thread(target=shell.run, args=(f"cat {fifo}",))
    waiting.start()
    fifo.write_text(shell.run("echo done").stdout)
    waiting.join()
    assert len(calls.read_text().splitlines()) == 2


def test_a_host_that_restarted_is_reached_again(shell: Shell, calls: Path) -> None:
    assert shell.run("kill -9 $PPID").rc == 137
    assert shell.run("echo back").stdout == "back\n"
    assert len(calls.read_text().splitlines()) == 2


def test_one_that_is_gone_gives_dockers_own_error(shell: Shell, tmp_path: Path) -> None:
    shell.run("true")
    (tmp_path / "docker").write_text("#!/bin/sh\necho no such container >&2; exit 1\n")
    shell.run("kill -9 $PPID")
    done = shell.run("true")
    assert (done.rc, done.stderr) == (1, "no such container\n")


def test_an_interrupt_takes_no_answer_from_the_next_command(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    shell.run("true")
    monkeypatch.setattr(shell._server._process.stdout, "readline", interrupt)
    with pytest.raises(KeyboardInterrupt):
        shell.run("echo one")
    assert shell.run("echo two").stdout == "two\n"
