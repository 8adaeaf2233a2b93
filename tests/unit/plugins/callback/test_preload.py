"""plugins/callback/jinja_plugins.py: filters are loaded once for each run, not for each task on each host."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.support.paths import ROOT

PLUGIN = """
import os
with open(os.environ["LOADED"], "a") as file:
    file.write(f"{os.getpid()}\\n")

class FilterModule:
    def filters(self):
        return {"same": lambda value: value}
"""
PLAY = """
- hosts: all
  gather_facts: false
  tasks:
    - debug: {msg: "{{ 'said' | same }}"}
    - debug: {msg: "{{ 'said' | same }}"}
"""


def test_filters_are_loaded_once_for_all_tasks(tmp_path: Path) -> None:
    (tmp_path / "filters").mkdir()
    (tmp_path / "filters" / "same.py").write_text(PLUGIN)
    (tmp_path / "play.yml").write_text(PLAY)
    environ = {
        **os.environ,
        "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
        "ANSIBLE_HOME": str(tmp_path / "home"),
        "ANSIBLE_FILTER_PLUGINS": str(tmp_path / "filters"),
        "LOADED": str(tmp_path / "loaded"),
    }
    playbook = Path(sys.executable).with_name("ansible-playbook")
    command = [sys.executable, playbook, "--inventory", "one,two,", "--connection", "local", tmp_path / "play.yml"]
    done = subprocess.run(command, env=environ, text=True, capture_output=True, check=False)
    assert done.stdout.count("said") == 4, done.stdout + done.stderr
    assert len((tmp_path / "loaded").read_text().splitlines()) == 1
