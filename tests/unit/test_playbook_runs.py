"""Playbooks that tests run as forks of one process."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import playbooks

PLAYBOOK = """\
- hosts: localhost
  connection: local
  gather_facts: false
  tasks:
    - ansible.builtin.debug:
        msg: "{{ lookup('ansible.builtin.env', name) }}"
      loop: [PATH, HOME, ANSIBLE_CONFIG]
      loop_control: {loop_var: name}
"""


def test_a_run_has_the_environment_of_the_tests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each its own, though the process that they are forks of was started once."""
    (tmp_path / "playbook.yml").write_text(PLAYBOOK)
    for home in ("/somewhere", "/elsewhere"):
        monkeypatch.setenv("HOME", home)
        code, said = playbooks.run(["-i", "localhost,", str(tmp_path / "playbook.yml")])
        assert code == 0, said
        wanted = playbooks.environ()
        assert all(wanted[name] in said for name in ("PATH", "HOME", "ANSIBLE_CONFIG")), said
