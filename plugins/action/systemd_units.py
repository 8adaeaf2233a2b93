"""Controller side of the systemd_units module: runs it only where one shell command finds something to do.

The judgement is the module's own, by its functions.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.celeriac.fleet.plugins.module_utils import systemd_state

Unit = Mapping[str, Any]


def look(units: Iterable[Unit], retire: Iterable[str], mask: Iterable[str]) -> str:
    """A shell command that prints three parts: the units' properties, what matches ``retire``, and times of change."""
    names = " ".join(shlex.quote(name) for name in [*(unit["name"] for unit in units), *mask])
    inputs = " ".join(shlex.quote(path) for unit in units for path in unit.get("inputs") or [])
    patterns = " ".join(shlex.quote(pattern) for pattern in retire)
    system = systemd_state.SYSTEM
    files = " ".join(f"{system}/*.wants/{each} {system}/{each} {system}/{each}.d" for each in retire)
    show = f"systemctl --no-pager show --timestamp=us+utc --property={','.join(systemd_state.PROPERTIES)} -- {names}"
    return (
        "export LC_ALL=C; "
        f"shown=$({show if names else ''}); "
        'echo "$shown"; echo; echo ==; '
        + (f"systemctl --no-pager list-units --all --plain --no-legend --full -- {patterns}; " if patterns else "")
        + (f"ls -d {files} 2>/dev/null; " if files else "")
        + "echo ==; "
        "files=$(echo \"$shown\" | sed -n 's/^FragmentPath=//p; s/^DropInPaths=//p'); "
        f"stat --format='%.9Y %n' -- $files {inputs} 2>/dev/null; "
        "for pid in $(echo \"$shown\" | sed -n 's/^MainPID=//p'); do "
        'readlink /proc/$pid/exe | grep -q " (deleted)$" && echo replaced; done; true'
    )


def nothing_to_do(said: str, units: list[Unit], keep: Iterable[str], mask: list[str]) -> bool:
    """Whether the module would change nothing, by what ``look`` printed."""
    shown, matching, changed, *_ = [*said.replace("\r\n", "\n").split("==\n"), "", ""]
    states = systemd_state.parse_show(shown)
    wanted = [unit["name"] for unit in units]
    answered = len(states) == len(wanted) + len(mask) and all("LoadState" in state for state in states)
    if not answered or "replaced" in changed.split("\n"):
        return False
    found = {line.split()[0].rpartition("/")[2].removesuffix(".d") for line in matching.split("\n") if line.split()}
    if {name for name in found if "@." not in name} - {*wanted, *keep}:
        return False
    times = {path: float(time) for time, _, path in (line.partition(" ") for line in changed.splitlines()) if path}
    return all(state["LoadState"] == "masked" for state in states[len(wanted) :]) and all(
        _settled(unit, state, times) for unit, state in zip(units, states, strict=False)
    )


def _settled(unit: Unit, state: Mapping[str, str], times: Mapping[str, float]) -> bool:
    if state["LoadState"] != "loaded" or state["NeedDaemonReload"] == "yes":
        return False
    if state["UnitFileState"] not in systemd_state.ENABLED:
        return False
    if not unit.get("start", True):
        return True
    files = [*systemd_state.Units.files(state), *(unit.get("inputs") or [])]
    change = max((times[path] for path in files if path in times), default=0.0)
    return systemd_state.runs(state) and change <= systemd_state.seconds(state["InactiveExitTimestamp"])


class ActionModule(ActionBase):
    """Looks, then runs the module if there is anything to do."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        super().run(tmp, task_vars)
        arguments = dict(self._task.args)
        units, retire, keep, mask = (list(arguments.get(key) or []) for key in ("units", "retire", "keep", "mask"))
        said = self._low_level_execute_command(look(units, retire, mask))["stdout"]
        if nothing_to_do(said, units, keep, mask):
            nothing: dict[str, Any] = {verb: [] for verb in systemd_state.VERBS}
            return {"changed": False, **nothing}
        return dict(
            self._execute_module(module_name="celeriac.fleet.systemd_units", module_args=arguments, task_vars=task_vars)
        )
