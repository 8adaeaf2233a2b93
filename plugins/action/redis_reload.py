"""Controller side of the redis_reload module: runs it only where one shell command finds something to load."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from ansible.plugins.action import ActionBase


def look(instances: list[Mapping[str, Any]]) -> str:
    """A shell command that prints the name of each running instance with a file newer than what it loaded last."""
    parts = []
    for instance in instances:
        started = shlex.quote(instance["started"])
        loaded = shlex.quote(instance["socket"].rpartition("/")[0] + "/celeriac.loaded")
        for path in [instance["acl"], *(instance.get("certificates") or {}).values()]:
            file = shlex.quote(path)
            parts.append(
                f"[ -e {started} ] && [ {file} -nt {started} ] && {{ [ ! -e {loaded} ] || [ {file} -nt {loaded} ]; }} "
                f"&& echo {shlex.quote(instance['name'])}"
            )
    return "; ".join([*parts, "true"])


class ActionModule(ActionBase):
    """Looks, then runs the module if there is anything to load."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        super().run(tmp, task_vars)
        if not self._low_level_execute_command(look(self._task.args["instances"]))["stdout"].strip():
            return {"changed": False, "reloaded": []}
        return dict(
            self._execute_module(
                module_name="celeriac.fleet.redis_reload", module_args=dict(self._task.args), task_vars=task_vars
            )
        )
