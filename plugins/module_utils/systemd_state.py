"""systemd's view of a set of units: which of them have to be enabled, started, restarted or retired.

Modules that change units and an action plugin that only looks share its judgement: each makes a ``Seen`` of what it
finds on the host, the one from systemctl and the disk, the other from what a shell command printed.
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatch
from typing import Any

from ansible.module_utils.basic import AnsibleModule

PROPERTIES = (
    "Id LoadState ActiveState SubState UnitFileState NeedDaemonReload InactiveExitTimestamp MainPID FragmentPath "
    "DropInPaths"
).split()
RUNNING = {"active", "activating", "reloading"}
ENABLED = {"enabled", "static", "alias", "indirect"}
VERBS = ("retired", "masked", "enabled", "started", "restarted")
SYSTEM = "/etc/systemd/system"


def parse_show(text: str) -> list[dict[str, str]]:
    """The units in the output of ``systemctl show``, in order."""
    return [
        dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        for block in re.split(r"\n\s*\n", text.strip())
        if block.strip()
    ]


def seconds(timestamp: str) -> float:
    """Seconds since the epoch of a timestamp as ``systemctl --timestamp=us+utc`` writes it; 0 for none."""
    if not timestamp or timestamp == "n/a":
        return 0.0
    return datetime.strptime(timestamp.split(" ", 1)[1], "%Y-%m-%d %H:%M:%S.%f UTC").replace(tzinfo=UTC).timestamp()


def runs(state: Mapping[str, str]) -> bool:
    """Whether a unit runs; one that systemd starts again and again doesn't."""
    return state["ActiveState"] in RUNNING and state.get("SubState") != "auto-restart"


def last_changes(paths: Iterable[str]) -> dict[str, int]:
    """Path -> when it was last changed, in nanoseconds since the epoch; of a link its own; without those not there."""
    return {path: os.lstat(path).st_mtime_ns for path in paths if os.path.lexists(path)}


def replaced(pid: str) -> bool:
    """Whether the program that process ``pid`` runs is no longer on the disk."""
    try:
        return os.readlink(f"/proc/{pid}/exe").endswith(" (deleted)")
    except OSError:
        return False


State = Mapping[str, str]  # a unit's PROPERTIES
Unit = Mapping[str, Any]  # as the module systemd_units has it, with all of its options


@dataclass(frozen=True)
class Seen:
    """What was seen of units on a host."""

    states: Mapping[str, State]  # unit -> its properties
    changed: Mapping[str, int]  # path -> as ``last_changes`` has it
    replaced: Container[str]  # main PIDs whose program is no longer on the disk


def inputs(unit: Unit, state: State) -> list[str]:
    """The files after whose change a unit has to be restarted."""
    return [path for path in [state["FragmentPath"], *state["DropInPaths"].split(), *unit["inputs"]] if path]


def unread(states: Iterable[State]) -> bool:
    """Whether systemd has to read unit files."""
    return any(state["NeedDaemonReload"] == "yes" or state["LoadState"] == "not-found" for state in states)


def enabled(state: State) -> bool:
    return state["UnitFileState"] in ENABLED


def need(unit: Unit, seen: Seen) -> str:
    """Whether ``unit`` has to be ``started`` or ``restarted``; empty if neither."""
    state = seen.states[unit["name"]]
    if not unit["start"]:
        return ""
    if not runs(state):
        return "started"
    began = round(seconds(state["InactiveExitTimestamp"]) * 1_000_000) * 1000
    changed = any(seen.changed.get(path, 0) > began for path in inputs(unit, state))
    return "restarted" if changed or state.get("MainPID", "") in seen.replaced else ""


def unmasked(names: Iterable[str], states: Mapping[str, State]) -> list[str]:
    return [name for name in names if states[name]["LoadState"] != "masked"]


def strangers(found: Iterable[str], kept: Container[str]) -> list[str]:
    """Units of ``found`` that aren't in ``kept``. A template is no unit."""
    return sorted({name for name in found if "@." not in name and name not in kept})


def settled(units: Sequence[Unit], mask: Sequence[str], seen: Seen) -> bool:
    """Whether nothing has to be done to bring ``units`` and ``mask`` about."""
    states = [seen.states[unit["name"]] for unit in units]
    return (
        not unread(states)
        and not unmasked(mask, seen.states)
        and all(state["LoadState"] == "loaded" and enabled(state) for state in states)
        and not any(need(unit, seen) for unit in units)
    )


class Units:
    """systemctl, with what it would do collected instead of done in check mode.

    :param failing: told why, just before the module fails
    """

    def __init__(self, module: AnsibleModule, failing: Callable[[str], object] = lambda _: None) -> None:
        self.module, self.failing = module, failing
        self.systemctl = module.get_bin_path("systemctl", required=True)
        self.done: dict[str, list[str]] = {verb: [] for verb in VERBS}

    def run(self, *arguments: str, change: bool = True) -> str:
        if change and self.module.check_mode:
            return ""
        rc, out, err = self.module.run_command([self.systemctl, "--no-pager", *arguments])
        if rc != 0:
            self.fail(f"systemctl {' '.join(arguments)}: {err.strip() or out.strip()}", arguments)
        return str(out)

    def fail(self, message: str, arguments: tuple[str, ...]) -> None:
        self.failing(message)
        units = [argument for argument in arguments if "." in argument]
        journal = []
        for unit in units:
            _, out, _ = self.module.run_command(
                ["journalctl", "--no-pager", "--output=cat", "--lines=20", f"--unit={unit}"]
            )
            journal.append(f"{unit}:\n{out}")
        self.module.fail_json(msg="\n".join([message, *journal]))

    def show(self, names: list[str]) -> dict[str, dict[str, str]]:
        out = self.run("show", "--timestamp=us+utc", f"--property={','.join(PROPERTIES)}", "--", *names, change=False)
        return dict(zip(names, parse_show(out), strict=True))

    def matching(self, patterns: list[str]) -> list[str]:
        """Units that match: loaded by systemd, enabled, or only there as files."""
        out = self.run("list-units", "--all", "--plain", "--no-legend", "--full", "--", *patterns, change=False)
        found = {line.split()[0] for line in out.splitlines() if line.split()}
        for pattern in patterns:
            files = glob.glob(f"{SYSTEM}/*.wants/{pattern}") + glob.glob(f"{SYSTEM}/{pattern}")
            found |= {os.path.basename(path) for path in files}
            found |= {os.path.basename(path)[: -len(".d")] for path in glob.glob(f"{SYSTEM}/{pattern}.d")}
        return [name for name in strangers(found, ()) if any(fnmatch(name, pattern) for pattern in patterns)]

    def retire(self, patterns: list[str], kept: set[str]) -> None:
        names = strangers(self.matching(patterns), kept)
        shown = self.show(names) if names else {}
        names = [name for name, unit in shown.items() if not gone(unit)]
        if not names:
            return
        masked = [name for name in names if shown[name]["LoadState"] == "masked"]
        if masked:
            self.run("unmask", *masked)
        self.run("disable", "--now", *names)
        # those that ended well may be gone from systemd's memory, and can't be reset
        failed = [name for name, unit in self.show(names).items() if unit["ActiveState"] == "failed"]
        if failed:
            self.run("reset-failed", *failed)
        self.done["retired"] = names

    def mask(self, names: list[str]) -> None:
        if not names:
            return
        names = unmasked(names, self.show(names))
        if names:
            self.run("mask", "--now", *names)
            self.done["masked"] = names

    def settle(self, units: Sequence[Unit]) -> None:
        """Enable, start or restart ``units`` as they need it."""
        start, restart = self.due(units)
        # all at once: systemd runs the jobs side by side, ordered by the units' own After=
        if restart:
            self.run("restart", *restart)
        if start:
            self.run("start", *start)
        self.done["started"], self.done["restarted"] = start, restart

    def due(self, units: Sequence[Unit]) -> tuple[list[str], list[str]]:
        """Enable ``units``; which of them have to be started, and which restarted."""
        if not units:
            return [], []
        shown = self.show([unit["name"] for unit in units])
        if unread(shown.values()):
            self.run("daemon-reload")
            shown = self.show(list(shown))
        for name, state in shown.items():
            if state["LoadState"] not in ("loaded", "masked") and not self.module.check_mode:
                self.fail(f"{name} can't be used: systemd says {state['LoadState']}", ())
        self.done["enabled"] = [name for name, state in shown.items() if not enabled(state)]
        seen = self.seen(units, shown)
        needs = {unit["name"]: need(unit, seen) for unit in units}
        if self.done["enabled"]:
            self.run("enable", *self.done["enabled"])
        start, restart = ([name for name in needs if needs[name] == what] for what in ("started", "restarted"))
        return start, restart

    @staticmethod
    def seen(units: Iterable[Unit], shown: Mapping[str, State]) -> Seen:
        """What the disk says beside what systemd showed."""
        paths = [path for unit in units for path in inputs(unit, shown[unit["name"]])]
        pids = {state.get("MainPID", "") for state in shown.values()}
        return Seen(shown, last_changes(paths), {pid for pid in pids if replaced(pid)})


def gone(unit: dict[str, str]) -> bool:
    """Whether nothing of a retired unit is left: not running, not enabled, not masked."""
    running = unit["ActiveState"] in RUNNING | {"failed", "deactivating"}
    return not running and unit["UnitFileState"] != "enabled" and unit["LoadState"] != "masked"
