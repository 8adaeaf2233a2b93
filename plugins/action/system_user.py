"""Make a system user without a shell, asking the host first: where it is there that costs a tenth of the user module.

Arguments: ``name`` and ``home`` (not created). Changes, check mode and diff are those of ansible.builtin.user.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any, ClassVar

from ansible_collections.celeriac.fleet.plugins.plugin_utils.look_first import LookFirst

SHELL = "/usr/sbin/nologin"


def complete(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of ansible.builtin.user."""
    return {**arguments, "shell": SHELL, "system": True, "create_home": False, "password": "!"}


class ActionModule(LookFirst):
    """Runs ansible.builtin.user only if the user isn't there as it has to be."""

    MODULE = "ansible.builtin.user"
    ARGUMENT_SPEC: ClassVar[dict[str, Any]] = {"name": {"required": True}, "home": {"required": True}}

    def look(self, arguments: dict[str, Any]) -> str:
        name = shlex.quote(arguments["name"])
        return f"getent passwd -- {name}; getent shadow -- {name} | cut -d : -f 2 | grep -qx '!' && echo locked"

    def settled(self, said: str, arguments: dict[str, Any]) -> dict[str, Any] | None:
        entry, *locked = said.splitlines() or [""]
        found = (entry.split(":")[5:], locked)
        return {"changed": False} if found == ([arguments["home"], SHELL], ["locked"]) else None

    def send(self, arguments: dict[str, Any], variables: dict[str, Any]) -> dict[str, Any]:
        return super().send(complete(arguments), variables)
