"""Controller side of the systemd_units module: runs it only where one shell command finds something to do.

The judgement is the module's own, by its functions.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from ansible_collections.celeriac.fleet.plugins.module_utils import systemd_state
from ansible_collections.celeriac.fleet.plugins.modules import systemd_units as module
from ansible_collections.celeriac.fleet.plugins.plugin_utils.look_first import LookFirst, last_changes, sections


def names(arguments: Mapping[str, Any]) -> list[str]:
    """The units that are wanted, running or masked."""
    return [*(unit["name"] for unit in arguments["units"]), *arguments["mask"]]


def look(arguments: Mapping[str, Any]) -> str:
    """A shell command that prints three parts: the units' properties, what matches ``retire``, and times of change."""
    inputs = shlex.join(path for unit in arguments["units"] for path in unit["inputs"])
    patterns = shlex.join(arguments["retire"])
    system = systemd_state.SYSTEM
    files = " ".join(f"{system}/*.wants/{each} {system}/{each} {system}/{each}.d" for each in arguments["retire"])
    properties = ",".join(systemd_state.PROPERTIES)
    show = f"systemctl --no-pager show --timestamp=us+utc --property={properties} -- {shlex.join(names(arguments))}"
    return (
        "export LC_ALL=C; "
        f"shown=$({show if names(arguments) else ''}); "
        'echo "$shown"; echo; echo ==; '
        + (f"systemctl --no-pager list-units --all --plain --no-legend --full -- {patterns}; " if patterns else "")
        + (f"ls -d {files} 2>/dev/null; " if files else "")
        + "echo ==; "
        "files=$(echo \"$shown\" | sed -n 's/^FragmentPath=//p; s/^DropInPaths=//p'); "
        f"stat --format='%.9Y %n' -- $files {inputs} 2>/dev/null; "
        "for pid in $(echo \"$shown\" | sed -n 's/^MainPID=//p'); do "
        'readlink /proc/$pid/exe | grep -q " (deleted)$" && echo replaced $pid; done; true'
    )


def seen(said: str, arguments: Mapping[str, Any]) -> tuple[systemd_state.Seen, set[str]] | None:
    """The units, and the names of what matches ``retire``, as ``look`` printed them; None without an answer."""
    shown, *rest = said.split("\n==\n", 1)
    states, wanted = systemd_state.parse_show(shown), names(arguments)
    parts = sections("".join(rest))
    if len(parts) != 2 or len(states) != len(wanted) or not all("LoadState" in state for state in states):
        return None
    matching, changed = parts
    found = {line.split()[0].rpartition("/")[2].removesuffix(".d") for line in matching}
    pids = {line.removeprefix("replaced ") for line in changed if line.startswith("replaced ")}
    return systemd_state.Seen(dict(zip(wanted, states, strict=True)), last_changes(changed), pids), found


def nothing_to_do(said: str, arguments: Mapping[str, Any]) -> bool:
    """Whether the module would change nothing, by what ``look`` printed."""
    answer = seen(said, arguments)
    if answer is None:
        return False
    units, found = answer
    kept = {*(unit["name"] for unit in arguments["units"]), *arguments["keep"]}
    return not systemd_state.strangers(found, kept) and systemd_state.settled(
        arguments["units"], arguments["mask"], units
    )


class ActionModule(LookFirst):
    """Looks, then runs the module if there is anything to do."""

    MODULE = "celeriac.fleet.systemd_units"
    ARGUMENT_SPEC = module.ARGUMENT_SPEC

    def look(self, arguments: dict[str, Any]) -> str:
        return look(arguments)

    def settled(self, said: str, arguments: dict[str, Any]) -> dict[str, Any] | None:
        nothing: dict[str, Any] = {verb: [] for verb in systemd_state.VERBS}
        return {"changed": False, **nothing} if nothing_to_do(said, arguments) else None
