"""What ansible-playbook says on this machine, as loudly as it can: secret files and options are in no output."""

from __future__ import annotations

import grp
import json
import os
import pwd
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.harness import ROOT
from tests.unit.plugins.modules.test_locked_virtualenv import LOCK, Host

OWNER = {"owner": pwd.getpwuid(os.geteuid()).pw_name, "group": grp.getgrgid(os.getegid()).gr_name}
OLD, NEW = "old-hunter2-s3cr3t", "new-hunter3-s3cr3t"
REFUSE = "/bin/sh -c 'echo line 1 is bad; cat %s; exit 1'"


def files(directory: Path) -> dict[str, Any]:
    """A task that writes two secret files and another one."""
    return write(
        {"path": f"{directory}/{{name}}.env", "each": [{"name": "a", "content": f"A={NEW}\n"}], "secret": True},
        {"path": f"{directory}/rendered.env", "src": "rendered.env.j2", "secret": True},
        {"path": f"{directory}/plain.conf", "content": "maxclients 2\n"},
    )


def write(*entries: dict[str, Any]) -> dict[str, Any]:
    return {"celeriac.fleet.managed_files": {"files": [{**entry, **OWNER} for entry in entries]}}


def broken_virtualenv(directory: Path) -> dict[str, Any]:
    """A task that makes a virtualenv, from an index with a login, and fails at it."""
    host = Host(directory)
    (directory / "fail").touch()
    return {
        "celeriac.fleet.locked_virtualenv": {
            "path": str(host.path),
            "requirements": LOCK,
            "python": str(host.python),
            "installer": "pip",
            "index": "{{ index }}",
            "cache": f"{directory}/cache",
        }
    }


def run(directory: Path, *tasks: dict[str, Any], **environment: str) -> str:
    """What a run of tasks says; it goes on after one that fails."""
    (directory / "templates").mkdir(exist_ok=True)
    (directory / "templates" / "rendered.env.j2").write_text("B={{ hidden }}\n")
    index = {"index_url": f"https://me:{OLD}@index.example/packages", "environment": {"TOKEN": NEW, "SHORT": "v"}}
    (directory / "variables.yml").write_text(json.dumps({"hidden": NEW, "index": index}))
    play = {
        "hosts": "localhost",
        "gather_facts": False,
        "vars_files": ["variables.yml"],
        "tasks": [{**task, "ignore_errors": True} for task in tasks],
    }
    (directory / "play.yml").write_text(json.dumps([play]))
    command = [Path(sys.executable).with_name("ansible-playbook"), "-i", "localhost,", "-c", "local", "-vvvv", "--diff"]
    done = subprocess.run(
        [*command, directory / "play.yml"],
        cwd=ROOT,
        env={**os.environ, "ANSIBLE_HOME": str(directory / "home"), "ANSIBLE_NOCOLOR": "1", **environment},
        text=True,
        capture_output=True,
        check=False,
    )
    return done.stdout + done.stderr


@pytest.fixture(scope="module", params=["default", "ansible.posix.json"])
def ran(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Where a run worked that changed secret files, was refused one, and failed at a virtualenv; and what it said."""
    directory = tmp_path_factory.mktemp("ran")
    for name, text in (("a.env", f"A={OLD}\n"), ("rendered.env", f"B={OLD}\n"), ("plain.conf", "maxclients 1\n")):
        (directory / name).write_text(text)
    refused = {"path": f"{directory}/refused.env", "content": f"C={NEW}\n", "secret": True, "validate": REFUSE}
    tasks = [files(directory), write(refused), broken_virtualenv(directory)]
    return directory, run(directory, *tasks, ANSIBLE_STDOUT_CALLBACK=request.param)


def test_nothing_secret_is_shown(ran: tuple[Path, str]) -> None:
    _, said = ran
    assert OLD not in said
    assert NEW not in said


def test_a_changed_secret_is_said(ran: tuple[Path, str]) -> None:
    directory, said = ran
    assert [(directory / f"{name}.env").read_text() for name in ("a", "rendered")] == [f"A={NEW}\n", f"B={NEW}\n"]
    assert "secret, another" in said
    assert "maxclients 1" in said
    assert "maxclients 2" in said


def test_a_refused_secret_is_said(ran: tuple[Path, str]) -> None:
    _, said = ran
    assert "refused.env was left as it is" in said
    assert "line 1 is bad" in said


def test_the_index_of_a_virtualenv_is_said_without_its_login(ran: tuple[Path, str]) -> None:
    directory, said = ran
    assert "Installing the requirements failed" in said
    assert f"{Host(directory).path}" in said
    assert "https://***@index.example" in said


@pytest.mark.parametrize("ran", ["default"], indirect=True)
def test_a_settled_host_is_asked_once_and_sent_nothing(ran: tuple[Path, str]) -> None:
    directory, _ = ran
    said = run(directory, files(directory))
    assert "changed=0" in said
    assert said.count("EXEC /bin/sh -c") == 1
    assert "AnsiballZ" not in said
