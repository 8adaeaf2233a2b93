"""plugins/callback/preload.py: filters and connections are loaded once for each run, not for each task on each host."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from ansible_collections.celeriac.fleet.plugins.callback import preload

from tests.support.paths import ROOT

LOADED = """
import os
with open(os.environ["LOADED"], "a") as file:
    file.write(os.path.basename(__file__) + "\\n")
"""
FILTER = """
class FilterModule:
    def filters(self):
        return {"same": lambda value: value}
"""
CONNECTION = """
DOCUMENTATION = "{name: near, short_description: local, description: local, author: me, options: {}}"
from ansible.plugins.connection import local
class Connection(local.Connection):
    transport = "some.where.near"
"""
PLAY = """
- hosts: all
  gather_facts: false
  tasks:
    - debug: {msg: "{{ 'said' | same }}"}
    - debug: {msg: "{{ 'said' | same }}"}
"""


def test_filters_and_connections_are_loaded_once_for_all_tasks(tmp_path: Path) -> None:
    filters, connections = tmp_path / "filters", tmp_path / "ansible_collections/some/where/plugins/connection"
    for directory, name, text in ((filters, "same", FILTER), (connections, "near", CONNECTION)):
        directory.mkdir(parents=True)
        (directory / f"{name}.py").write_text(LOADED + text)
    (tmp_path / "play.yml").write_text(PLAY)
    (tmp_path / "hosts").write_text("".join(f"{host} ansible_connection=some.where.near\n" for host in ("one", "two")))
    environ = {
        **os.environ,
        "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
        "ANSIBLE_HOME": str(tmp_path / "home"),
        "ANSIBLE_COLLECTIONS_PATH": f"{ROOT}/collections:{tmp_path}",
        "ANSIBLE_FILTER_PLUGINS": str(filters),
        "LOADED": str(tmp_path / "loaded"),
    }
    playbook = Path(sys.executable).with_name("ansible-playbook")
    command = [sys.executable, playbook, "--inventory", tmp_path / "hosts", tmp_path / "play.yml"]
    done = subprocess.run(command, env=environ, text=True, capture_output=True, check=False)
    assert done.stdout.count("said") == 4, done.stdout + done.stderr
    assert sorted((tmp_path / "loaded").read_text().splitlines()) == ["near.py", "same.py"]


@pytest.mark.parametrize("name", ["{{ chosen }}", "no.such.connection"])
def test_a_connection_that_can_not_be_loaded_is_left_to_the_task(name: str) -> None:
    host = SimpleNamespace(vars={"ansible_connection": name})
    inventory = SimpleNamespace(get_hosts=lambda: [host])
    manager = SimpleNamespace(_inventory=inventory)
    preload.CallbackModule().v2_playbook_on_play_start(SimpleNamespace(get_variable_manager=lambda: manager))
