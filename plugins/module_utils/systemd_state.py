"""systemd's view of a set of units: which of them have to be enabled, started, restarted or retired.

Both the modules that change units and the action plugins that only look use it.
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Mapping
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


def last_change(paths: list[str]) -> float:
    """When the latest of ``paths`` was changed (a link: pointed elsewhere), in seconds since the epoch; 0 for none."""
    return max((os.lstat(path).st_mtime for path in paths if os.path.lexists(path)), default=0.0)


def replaced(pid: str) -> bool:
    """Whether the program that process ``pid`` runs is no longer on the disk."""
    try:
        return os.readlink(f"/proc/{pid}/exe").endswith(" (deleted)")
    except OSError:
        return False


class Units:
    """systemctl, with what it would do collected instead of done in check mode."""

    def __init__(self, module: AnsibleModule) -> None:
        self.module = module
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
        return sorted(
            name for name in found if "@." not in name and any(fnmatch(name, pattern) for pattern in patterns)
        )

    def retire(self, patterns: list[str], kept: set[str]) -> None:
        names = [name for name in self.matching(patterns) if name not in kept]
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
        names = [name for name, unit in self.show(names).items() if unit["LoadState"] != "masked"]
        if names:
            self.run("mask", "--now", *names)
            self.done["masked"] = names

    def settle(self, units: list[dict[str, Any]]) -> None:
        """Enable, start or restart ``units`` as they need it."""
        start, restart = self.due(units)
        # all at once: systemd runs the jobs side by side, ordered by the units' own After=
        if restart:
            self.run("restart", *restart)
        if start:
            self.run("start", *start)
        self.done["started"], self.done["restarted"] = start, restart

    def due(self, units: list[dict[str, Any]]) -> tuple[list[str], list[str]]:
        """Enable ``units``; which of them have to be started, and which restarted."""
        start: list[str] = []
        restart: list[str] = []
        if not units:
            return start, restart
        shown = self.show([unit["name"] for unit in units])
        if any(unit["NeedDaemonReload"] == "yes" for unit in shown.values()) or any(
            unit["LoadState"] == "not-found" for unit in shown.values()
        ):
            self.run("daemon-reload")
            shown = self.show(list(shown))
        for unit in units:
            state = shown[unit["name"]]
            if state["LoadState"] not in ("loaded", "masked") and not self.module.check_mode:
                self.module.fail_json(msg=f"{unit['name']} can't be used: systemd says {state['LoadState']}")
            if state["UnitFileState"] not in ENABLED:
                self.done["enabled"].append(unit["name"])
            if not unit["start"]:
                continue
            if not runs(state):
                start.append(unit["name"])
            elif replaced(state.get("MainPID", "")) or last_change(self.files(state) + unit["inputs"]) > seconds(
                state["InactiveExitTimestamp"]
            ):
                restart.append(unit["name"])
        if self.done["enabled"]:
            self.run("enable", *self.done["enabled"])
        return start, restart

    @staticmethod
    def files(state: Mapping[str, str]) -> list[str]:
        return [path for path in [state["FragmentPath"], *state["DropInPaths"].split()] if path]


def gone(unit: dict[str, str]) -> bool:
    """Whether nothing of a retired unit is left: not running, not enabled, not masked."""
    running = unit["ActiveState"] in RUNNING | {"failed", "deactivating"}
    return not running and unit["UnitFileState"] != "enabled" and unit["LoadState"] != "masked"
