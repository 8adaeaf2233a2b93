"""Controller side of the locked_virtualenv module: what is wrong with the lock, and whether the host has it already."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.celeriac.fleet.plugins.module_utils.virtualenv import directory_name
from ansible_collections.celeriac.fleet.plugins.plugin_utils.virtualenv_lock import (
    lock_id,
    lock_problems,
    uv_installer,
)

DEFAULTS = {"python": "python3", "installer": "uv", "only_binary": True}


def look_for_virtualenv(path: str, python: str) -> str:
    """A shell command that prints where the link goes, the interpreter of the virtualenv there, and the host's.

    It prints nothing if there is none, or an incomplete one.
    """
    place = shlex.quote(path)
    return (
        f"test -e {place}/.celeriac-complete && readlink {place} && readlink {place}/.celeriac-python && "
        f'readlink -f -- "$(command -v {shlex.quote(python)})"'
    )


def is_settled(said: str, path: str, lock: str) -> bool:
    """Whether what ``look_for_virtualenv`` printed is a virtualenv of the lock, made with the host's interpreter."""
    lines = said.replace("\r", "").splitlines()
    if len(lines) != 3 or lines[1] != lines[2]:
        return False
    return lines[0] == f"{Path(path).name}-{directory_name(lock, lines[2])}"


class ActionModule(ActionBase):
    """Sends the module only to a host that has no virtualenv of the lock."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        super().run(tmp, task_vars)
        arguments = DEFAULTS | self._task.args
        text = str(arguments.get("requirements") or "")
        if problems := list(lock_problems(text)):
            raise AnsibleActionFail(" ".join(problems))
        path, python = str(arguments.get("path")), str(arguments["python"])
        lock = lock_id(text, {name: str(arguments[name]).lower() for name in DEFAULTS})
        said = self._low_level_execute_command(look_for_virtualenv(path, python))["stdout"]
        if is_settled(said, path, lock):
            return {"changed": False, "path": path}
        if arguments["installer"] == "uv":
            arguments |= uv_installer()
        arguments["lock"] = lock
        module = "celeriac.fleet.locked_virtualenv"
        return dict(self._execute_module(module_name=module, module_args=arguments, task_vars=task_vars))
