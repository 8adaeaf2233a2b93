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


def play(directory: Path, secret: str, plain: str, *, validate: str = "", **environment: str) -> str:
    """What a run says that writes a secret file and another one."""
    files: list[dict[str, Any]] = [
        {"path": f"{directory}/{{name}}.env", "each": [{"name": "a", "content": f"A={secret}\n"}], "secret": True},
        {"path": f"{directory}/rendered.env", "src": "rendered.env.j2", "secret": True},
        {"path": f"{directory}/plain.conf", "content": f"maxclients {plain}\n"},
    ]
    if validate:
        files[0]["validate"] = validate
    task = {"name": "Write", "celeriac.fleet.managed_files": {"files": [{**entry, **OWNER} for entry in files]}}
    (directory / "templates").mkdir(exist_ok=True)
    (directory / "templates" / "rendered.env.j2").write_text("B={{ hidden }}\n")
    return run(directory, task, {"hidden": secret}, **environment)


def run(directory: Path, task: dict[str, Any], variables: dict[str, Any], **environment: str) -> str:
    """What a run of one task says."""
    (directory / "variables.yml").write_text(json.dumps(variables))
    tasks = {"hosts": "localhost", "gather_facts": False, "vars_files": ["variables.yml"], "tasks": [task]}
    (directory / "play.yml").write_text(json.dumps([tasks]))
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


@pytest.mark.parametrize("callback", ["default", "ansible.posix.json"])
def test_a_changed_secret_is_said_and_not_shown(tmp_path: Path, callback: str) -> None:
    play(tmp_path, OLD, "1")
    said = play(tmp_path, NEW, "2", ANSIBLE_STDOUT_CALLBACK=callback)
    assert [(tmp_path / f"{name}.env").read_text() for name in ("a", "rendered")] == [f"A={NEW}\n", f"B={NEW}\n"]
    assert "secret, another" in said
    assert "maxclients 1" in said
    assert "maxclients 2" in said
    assert OLD not in said
    assert NEW not in said


def test_a_refused_secret_is_not_shown(tmp_path: Path) -> None:
    said = play(tmp_path, NEW, "1", validate="/bin/sh -c 'echo line 1 is bad; cat %s; exit 1'")
    assert "a.env was left as it is" in said
    assert "line 1 is bad" in said
    assert NEW not in said


def test_a_settled_host_is_asked_once_and_sent_nothing(tmp_path: Path) -> None:
    play(tmp_path, OLD, "1")
    said = play(tmp_path, OLD, "1")
    assert "changed=0" in said
    assert said.count("EXEC /bin/sh -c") == 1
    assert "AnsiballZ" not in said


@pytest.mark.parametrize("callback", ["default", "ansible.posix.json"])
def test_the_index_of_a_virtualenv_is_not_shown(tmp_path: Path, callback: str) -> None:
    host = Host(tmp_path)
    (tmp_path / "fail").touch()
    index = {"index_url": f"https://me:{OLD}@index.example/packages", "environment": {"TOKEN": NEW, "SHORT": "v"}}
    task = {
        "celeriac.fleet.locked_virtualenv": {
            "path": str(host.path),
            "requirements": LOCK,
            "python": str(host.python),
            "installer": "pip",
            "index": "{{ index }}",
            "cache": f"{tmp_path}/cache",
        }
    }
    said = run(tmp_path, task, {"index": index}, ANSIBLE_STDOUT_CALLBACK=callback)
    assert "Installing the requirements failed" in said
    assert f"{host.path}" in said
    assert "https://***@index.example" in said
    assert OLD not in said
    assert NEW not in said
