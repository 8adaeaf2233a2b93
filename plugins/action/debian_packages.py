"""Install Debian packages, asking dpkg first: where all are installed that costs a tenth of ansible.builtin.apt.

Arguments: ``name`` (list of package names), ``start`` (bool, default true; false keeps the packages' services from
being started while they are installed) and ``mask`` (units that may never run, masked before the packages bring them).
Returns ``versions`` (package -> upstream version, of those that are installed) beside what ansible.builtin.apt returns,
whose check mode and diff it has.
"""

from __future__ import annotations

import shlex
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

CACHE_SECONDS = 86400


class ActionModule(ActionBase):
    """Runs ansible.builtin.apt only if a package is missing."""

    _VALID_ARGS = frozenset({"name", "start", "mask"})

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        super().run(tmp, task_vars)
        names = [str(name) for name in self._task.args.get("name") or []]
        if not names:
            raise AnsibleActionFail("name is empty: list at least one package.")
        versions = self._versions(names)
        if set(versions) == set(names):
            return {"changed": False, "versions": versions}
        arguments: dict[str, Any] = {
            "name": names,
            "install_recommends": False,
            "update_cache": True,
            "cache_valid_time": CACHE_SECONDS,
        }
        if not self._task.args.get("start", True) and not self._task.check_mode:
            arguments["policy_rc_d"] = 101
        if (mask := self._task.args.get("mask")) and not self._task.check_mode:
            masked = self._low_level_execute_command(f"systemctl mask -- {' '.join(map(shlex.quote, mask))}")
            if masked["rc"] != 0:
                raise AnsibleActionFail(f"{', '.join(mask)} can't be masked: {masked['stderr'].strip()}")
        apt = self._execute_module(module_name="ansible.builtin.apt", module_args=arguments, task_vars=task_vars)
        return {**apt, "versions": self._versions(names)}

    def _versions(self, names: list[str]) -> dict[str, str]:
        """The upstream version of each package of ``names`` that is installed."""
        query = "dpkg-query --show --showformat='${db:Status-Status} ${Package} ${source:Upstream-Version}\\n' -- "
        shown = self._low_level_execute_command(query + " ".join(map(shlex.quote, names)))["stdout"]
        found = [line.split() for line in shown.splitlines() if line.startswith("installed ")]
        return {name: version for _, name, version in found}
