"""Install Debian packages, asking dpkg first: where all are installed that costs a tenth of ansible.builtin.apt.

Arguments: ``name`` (list of package names), ``others`` (further ones, installed with them if anything is) and ``mask``
(units that may never run, masked before the packages bring them).
Returns ``versions`` (package -> upstream version, of those that are installed) beside what ansible.builtin.apt returns,
whose check mode and diff it has.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from typing import Any, ClassVar

from ansible.errors import AnsibleActionFail
from ansible_collections.celeriac.fleet.plugins.plugin_utils.look_first import LookFirst

CACHE_SECONDS = 86400


def versions(said: str) -> dict[str, str]:
    """The upstream version of each installed package, by what the look printed."""
    found = [line.split() for line in said.splitlines() if line.startswith("installed ")]
    return {name: version for _, name, version in found}


def quoted(words: Iterable[str]) -> str:
    return " ".join(map(shlex.quote, words))


class ActionModule(LookFirst):
    """Runs ansible.builtin.apt only if a package is missing."""

    MODULE = "ansible.builtin.apt"
    ARGUMENT_SPEC: ClassVar[dict[str, Any]] = {
        "name": {"type": "list", "elements": "str", "required": True},
        "others": {"type": "list", "elements": "str", "default": []},
        "mask": {"type": "list", "elements": "str", "default": []},
    }

    def prepared(self, arguments: dict[str, Any], variables: dict[str, Any]) -> dict[str, Any]:
        if not arguments["name"]:
            raise AnsibleActionFail("name is empty: list at least one package.")
        return arguments

    def look(self, arguments: dict[str, Any]) -> str:
        form = "${db:Status-Status} ${Package} ${source:Upstream-Version}\\n"
        return f"dpkg-query --show --showformat='{form}' -- {quoted(arguments['name'])}"

    def settled(self, said: str, arguments: dict[str, Any]) -> dict[str, Any] | None:
        found = versions(said)
        return {"changed": False, "versions": found} if found.keys() == set(arguments["name"]) else None

    def send(self, arguments: dict[str, Any], variables: dict[str, Any]) -> dict[str, Any]:
        packages: dict[str, Any] = {
            "name": list(dict.fromkeys(arguments["name"] + arguments["others"])),
            "install_recommends": False,
            "update_cache": True,
            "cache_valid_time": CACHE_SECONDS,
        }
        if not self._task.check_mode:
            self._mask(arguments["mask"])
        return {**super().send(packages, variables), "versions": versions(self.ask(self.look(arguments)))}

    def _mask(self, units: list[str]) -> None:
        if not units:
            return
        masked = self.command(f"systemctl mask -- {quoted(units)}")
        if masked["rc"] != 0:
            raise AnsibleActionFail(f"{', '.join(units)} can't be masked: {masked['stderr'].strip()}")
