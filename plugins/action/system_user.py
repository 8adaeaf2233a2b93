"""Make a system user without a shell, asking the host first: where it is there that costs a tenth of the user module.

Arguments: ``name`` and ``home`` (not created). Changes, check mode and diff are those of ansible.builtin.user.
"""

from __future__ import annotations

import shlex
from typing import Any

from ansible.plugins.action import ActionBase

SHELL = "/usr/sbin/nologin"


class ActionModule(ActionBase):
    """Runs ansible.builtin.user only if the user isn't there as it has to be."""

    _VALID_ARGS = frozenset({"name", "home"})

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        super().run(tmp, task_vars)
        name, home = str(self._task.args["name"]), str(self._task.args["home"])
        asked = self._low_level_execute_command(f"getent passwd -- {shlex.quote(name)}")
        if asked["stdout"].strip().split(":")[5:] == [home, SHELL]:
            return {"changed": False}
        arguments = {
            "name": name,
            "home": home,
            "shell": SHELL,
            "system": True,
            "create_home": False,
            "password": "!",
        }
        user = self._execute_module(module_name="ansible.builtin.user", module_args=arguments, task_vars=task_vars)
        return dict(user)
