"""Controller side of the locked_virtualenv module: what is wrong with the lock, and whether the host has it already."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible_collections.celeriac.fleet.plugins.module_utils.app_releases import COMPLETE
from ansible_collections.celeriac.fleet.plugins.module_utils.virtualenv import PYTHON, directory_name
from ansible_collections.celeriac.fleet.plugins.modules import locked_virtualenv as module
from ansible_collections.celeriac.fleet.plugins.plugin_utils.look_first import LookFirst
from ansible_collections.celeriac.fleet.plugins.plugin_utils.virtualenv_lock import (
    lock_id,
    lock_problems,
    uv_installer,
)

# What the virtualenv depends on, besides its lock.
SETTINGS = ("python", "installer", "only_binary")


def look_for_virtualenv(path: str, python: str) -> str:
    """A shell command that prints where the link goes, the interpreter of the virtualenv there, and the host's.

    It prints nothing if there is none, or an incomplete one.
    """
    place = shlex.quote(path)
    return (
        f"test -e {place}/{COMPLETE} && readlink {place} && readlink {place}/{PYTHON} && "
        f'readlink -f -- "$(command -v {shlex.quote(python)})"'
    )


def is_settled(said: str, path: str, lock: str) -> bool:
    """Whether what ``look_for_virtualenv`` printed is a virtualenv of the lock, made with the host's interpreter."""
    lines = said.splitlines()
    if len(lines) != 3 or lines[1] != lines[2]:
        return False
    return lines[0] == f"{Path(path).name}-{directory_name(lock, lines[2])}"


class ActionModule(LookFirst):
    """Sends the module only to a host that has no virtualenv of the lock."""

    MODULE = "celeriac.fleet.locked_virtualenv"
    ARGUMENT_SPEC = module.ARGUMENT_SPEC

    def prepared(self, arguments: dict[str, Any], variables: dict[str, Any]) -> dict[str, Any]:
        if problems := list(lock_problems(arguments["requirements"])):
            raise AnsibleActionFail(" ".join(problems))
        built = {name: str(arguments[name]).lower() for name in SETTINGS}
        return {**arguments, "lock": lock_id(arguments["requirements"], built)}

    def look(self, arguments: dict[str, Any]) -> str:
        return look_for_virtualenv(arguments["path"], arguments["python"])

    def settled(self, said: str, arguments: dict[str, Any]) -> dict[str, Any] | None:
        found = is_settled(said, arguments["path"], arguments["lock"])
        return {"changed": False, "path": arguments["path"]} if found else None

    def send(self, arguments: dict[str, Any], variables: dict[str, Any]) -> dict[str, Any]:
        return super().send(arguments | (uv_installer() if arguments["installer"] == "uv" else {}), variables)
