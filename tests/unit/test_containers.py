"""Test hosts are started and removed by docker's own commands."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import ROOT

SCRIPT = ROOT / "molecule" / "shared" / "containers.py"
# Writes its arguments down, and says what a file beside it, named after the first two or one, holds.
DOCKER = """\
#!/bin/sh
here=$(dirname "$0")
printf '%s\\n' "$*" >>"$here/calls"
for name in "$1-$2" "$1"; do [ ! -e "$here/$name" ] || exec cat "$here/$name"; done
"""


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory of a docker that has nothing, and on which every host boots."""
    program = tmp_path / "docker"
    program.write_text(DOCKER)
    program.chmod(0o755)
    (tmp_path / "exec").write_text("running\n")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return tmp_path


def containers(*arguments: str, **hosts: int) -> subprocess.CompletedProcess[str]:
    """The script's run."""
    return subprocess.run([sys.executable, SCRIPT, *arguments], input=json.dumps(hosts), text=True, capture_output=True)


def calls(docker: Path, *begin: str) -> list[list[str]]:
    """What docker was called with, of the calls that begin so."""
    lines = [line.split() for line in (docker / "calls").read_text().splitlines()]
    return [line for line in lines if line[: len(begin)] == [*begin]]


def test_each_host_is_a_container_of_its_debian_under_its_name(docker: Path) -> None:
    done = containers("start", "site", old=12, new=13)
    assert done.returncode == 0, done.stderr
    assert calls(docker, "network", "create") == [["network", "create", "--label=celeriac=site", "site"]]
    started = {next(word for word in call if word.startswith("--hostname=")): call for call in calls(docker, "run")}
    assert set(started) == {"--hostname=old", "--hostname=new", "--hostname=testsite"}
    for host, image in (("old", "celeriac-host:debian12"), ("new", "celeriac-host:debian13")):
        call = started[f"--hostname={host}"]
        assert call[-2:] == [image, "/sbin/init"]
        assert {f"--name=site-{host}", "--network=site", f"--network-alias={host}", "--label=celeriac=site"} <= set(
            call
        )
    assert done.stdout.split() == ["site-testsite", "site-old", "site-new"]


def test_what_runs_is_left_alone_and_what_was_stopped_is_started(docker: Path) -> None:
    (docker / "network-ls").write_text("site\n")
    (docker / "container-ls").write_text("site-testsite running\nsite-old exited\nsite-new running\n")
    done = containers("start", "site", old=12, new=13)
    assert done.returncode == 0, done.stderr
    assert calls(docker, "network", "create") == calls(docker, "run") == []
    assert calls(docker, "start") == [["start", "site-old"]]
    assert done.stdout.split() == ["site-old"]


def test_a_host_that_does_not_boot_is_named(docker: Path) -> None:
    (docker / "exec").write_text("degraded\n")
    done = containers("start", "site", new=13)
    assert done.returncode == 1
    assert "site-new is degraded" in done.stderr


def test_what_docker_says_is_passed_on(docker: Path) -> None:
    (docker / "docker").write_text("#!/bin/sh\necho no engine >&2\nexit 1\n")
    done = containers("remove", "site")
    assert done.returncode == 1
    assert "no engine" in done.stderr


def test_everything_is_removed_hosts_that_left_included(docker: Path) -> None:
    (docker / "network-ls").write_text("site\n")
    (docker / "container-ls").write_text("site-testsite\nsite-left\n")
    done = containers("remove", "site")
    assert done.returncode == 0, done.stderr
    assert calls(docker, "container", "ls") == [
        ["container", "ls", "--all", "--filter=label=celeriac=site", "--format={{.Names}}"]
    ]
    assert calls(docker, "rm") == [["rm", "--force", "--volumes", "site-testsite", "site-left"]]
    assert calls(docker, "network", "rm") == [["network", "rm", "site"]]


def test_nothing_is_removed_where_nothing_is(docker: Path) -> None:
    assert containers("remove", "site").stdout == ""
    assert calls(docker, "rm") == calls(docker, "network", "rm") == []
