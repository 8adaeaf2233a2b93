#!/usr/bin/python
"""Bring a set of systemd units to their state in one call."""

from __future__ import annotations

DOCUMENTATION = r"""
module: systemd_units
short_description: Enable, start and restart a set of systemd units, and retire those that left it, in one call
description:
  - Reloads systemd if a unit file changed on disk, enables and starts each unit of I(units).
  - Restarts a running unit that began before its unit files or any of its I(inputs) were last changed, or whose program
    was replaced by a package's upgrade. What needs a restart is read off the host, not off what this play changed, so a
    run that was interrupted is repaired by the next.
  - Stops and disables units that match I(retire) and aren't in I(units) or I(keep).
options:
  units:
    description: Units that have to be enabled, running and current.
    type: list
    elements: dict
    default: []
    suboptions:
      name: {description: "Full name, such as C(chatlite-worker@crawler.service).", type: str, required: true}
      inputs:
        description: Files or links, besides the unit's own files, after whose change the unit has to be restarted.
        type: list
        elements: path
        default: []
      start: {description: Whether to start the unit., type: bool, default: true}
  retire:
    description: Glob patterns of units that have no place on this host unless they are in I(units) or I(keep).
    type: list
    elements: str
    default: []
  keep:
    description: Units that are left alone although they match I(retire).
    type: list
    elements: str
    default: []
  mask:
    description: Units that must never run on this host.
    type: list
    elements: str
    default: []
attributes:
  check_mode: {support: full}
  diff_mode: {support: full}
author: Celeriac
"""

EXAMPLES = r"""
- name: Run the nodes
  systemd_units:
    units:
      - name: chatlite-worker@crawler.service
        inputs: [/etc/chatlite/chatlite.env, /opt/chatlite/current]
"""

RETURN = r"""
retired: {description: Units that were stopped and disabled., returned: always, type: list, elements: str}
masked: {description: Units that were masked., returned: always, type: list, elements: str}
enabled: {description: Units that were enabled., returned: always, type: list, elements: str}
started: {description: Units that were started., returned: always, type: list, elements: str}
restarted: {description: Units that were restarted., returned: always, type: list, elements: str}
"""

import glob
import os
import re
from datetime import UTC, datetime
from fnmatch import fnmatch
from typing import Any

from ansible.module_utils.basic import AnsibleModule

PROPERTIES = (
    "Id LoadState ActiveState UnitFileState NeedDaemonReload InactiveExitTimestamp MainPID FragmentPath DropInPaths"
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
        if names:
            names = [name for name, unit in self.show(names).items() if not gone(unit)]
        if not names:
            return
        self.run("disable", "--now", *names)
        if any(unit["ActiveState"] == "failed" for unit in self.show(names).values()):
            self.run("reset-failed", *names)
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
        if not units:
            return
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
            if state["ActiveState"] not in RUNNING:
                self.done["started"].append(unit["name"])
            elif replaced(state.get("MainPID", "")) or last_change(self.files(state) + unit["inputs"]) > seconds(
                state["InactiveExitTimestamp"]
            ):
                self.done["restarted"].append(unit["name"])
        if self.done["enabled"]:
            self.run("enable", *self.done["enabled"])
        # all at once: systemd runs the jobs side by side, ordered by the units' own After=
        if self.done["restarted"]:
            self.run("restart", *self.done["restarted"])
        if self.done["started"]:
            self.run("start", *self.done["started"])

    @staticmethod
    def files(state: dict[str, str]) -> list[str]:
        return [path for path in [state["FragmentPath"], *state["DropInPaths"].split()] if path]


def gone(unit: dict[str, str]) -> bool:
    """Whether nothing of a retired unit is left: not running and not enabled."""
    return unit["ActiveState"] not in RUNNING | {"failed", "deactivating"} and unit["UnitFileState"] != "enabled"


def main() -> None:
    strings = {"type": "list", "elements": "str", "default": []}
    module = AnsibleModule(
        argument_spec={
            "units": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "name": {"required": True},
                    "inputs": {"type": "list", "elements": "path", "default": []},
                    "start": {"type": "bool", "default": True},
                },
            },
            "retire": strings,
            "keep": strings,
            "mask": strings,
        },
        supports_check_mode=True,
    )
    units = Units(module)
    wanted = module.params["units"]
    units.retire(module.params["retire"], {unit["name"] for unit in wanted} | set(module.params["keep"]))
    units.mask(module.params["mask"])
    units.settle(wanted)
    after = "".join(f"{verb}: {', '.join(names)}\n" for verb, names in units.done.items() if names)
    module.exit_json(changed=bool(after), diff={"before": "", "after": after}, **units.done)


if __name__ == "__main__":
    main()
