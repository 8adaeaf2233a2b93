"""The collection elsewhere: its artefact in another repository, which has an inventory and a playbook of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import collection
import pytest
from testinfra.host import Host

from tests.support.live import Variables
from tests.support.paths import ROOT

testinfra_hosts = ["ansible://workers"]
pytestmark = pytest.mark.destructive

PASSWORD = "elsewhere-" + "e" * 24
Playbook = Callable[[], "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def playbook_elsewhere(variables: Variables, tmp_path_factory: pytest.TempPathFactory) -> Playbook:
    """Run the playbook of the other repository on the host under test."""
    place = tmp_path_factory.mktemp("elsewhere")
    shutil.copytree(ROOT / "tests/apps/elsewhere", place, dirs_exist_ok=True)
    environ = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    environ |= {"ANSIBLE_HOME": str(place / "home"), "CACHE1": variables["ansible_host"], "CACHE_PASSWORD": PASSWORD}

    def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            command, cwd=place, env=environ, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        assert done.returncode == 0, done.stdout
        return done

    run("ansible-galaxy", "collection", "install", "--offline", "-p", "collections", collection.build(place))
    return lambda: run("ansible-playbook", "site.yml")


def test_a_role_and_a_module_run_in_another_repository(host: Host, playbook_elsewhere: Playbook) -> None:
    playbook_elsewhere()
    assert host.service("redis-server@sessions").is_running
    assert host.file("/etc/web.env").content_string == "CACHE_URL=redis://web:hidden@127.0.0.1:6390/0\n"


def test_a_second_run_there_changes_nothing(playbook_elsewhere: Playbook) -> None:
    assert "changed=0 " in playbook_elsewhere().stdout


@pytest.mark.parametrize(("login", "answer"), [("", "NOAUTH"), (f"AUTH web {PASSWORD}\n", "PONG")])
def test_the_server_made_there_asks_for_the_password(host: Host, login: str, answer: str) -> None:
    assert answer in host.run("printf %s | redis-cli -p 6390", f"{login}PING\n").stdout
