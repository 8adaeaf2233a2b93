"""Controller side of the modules that ask an application: they get what runs in it with their arguments.

Ansible sends a module with the Python that it imports. What runs in the application isn't imported, as the host's own
Python has no Celery, and its Lua isn't Python.
"""

from __future__ import annotations

import getpass
import os
import socket
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase

PROBE = Path(__file__).parents[1] / "probe"


def program() -> dict[str, str]:
    """File name -> text of all that ``Probe`` of module_utils/celery_app.py starts in an application."""
    return {path.name: path.read_text(encoding="utf-8") for path in sorted(PROBE.glob("*.*")) if path.is_file()}


def author() -> dict[str, str]:
    """Who runs a task from where, for the trail of rollouts: ``by`` and ``controller``."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # in a container, of a user that has no name
        user = f"uid {os.getuid()}"
    return {"by": user, "controller": socket.gethostname()}


class ProbeAction(ActionBase):
    """Runs the module of the task's name, with the option C(program)."""

    def arguments(self) -> dict[str, Any]:
        """What the module gets."""
        return {**self._task.args, "program": program()}

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        super().run(tmp, task_vars)
        return dict(self._execute_module(module_args=self.arguments(), task_vars=task_vars))
