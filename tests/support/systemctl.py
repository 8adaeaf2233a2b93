"""A systemctl that only pretends, for tests of modules that change units."""

from __future__ import annotations

from fnmatch import fnmatch

STARTED = "Wed 2025-01-01 12:00:00.000000 UTC"
BEFORE, AFTER = 1735732799.0, 1735732801.0  # a second around it
RUNNING = {
    "LoadState": "loaded",
    "ActiveState": "active",
    "UnitFileState": "enabled",
    "NeedDaemonReload": "no",
    "InactiveExitTimestamp": STARTED,
    "FragmentPath": "",
    "DropInPaths": "",
}
STOPPED = {**RUNNING, "ActiveState": "inactive", "InactiveExitTimestamp": ""}
NEW = {**STOPPED, "UnitFileState": "disabled"}
UNKNOWN = {**STOPPED, "LoadState": "not-found", "UnitFileState": ""}


class Systemctl:
    """Units with their properties; verbs that would change one are collected in ``did``."""

    def __init__(self) -> None:
        self.units: dict[str, dict[str, str]] = {}
        self.did: list[tuple[str, ...]] = []
        self.after_reload: dict[str, dict[str, str]] = {}

    def run(self, command: list[str]) -> tuple[int, str, str]:
        if command[0] == "journalctl":
            return 0, "last words\n", ""
        arguments = [argument for argument in command[1:] if not argument.startswith("--")]
        verb, names = arguments[0], arguments[1:]
        if verb == "show":
            blocks = [self.units.get(name, UNKNOWN) | {"Id": name} for name in names]
            return 0, "\n\n".join("\n".join(f"{k}={v}" for k, v in block.items()) for block in blocks), ""
        if verb == "list-units":
            return 0, "".join(f"{n} loaded\n" for n in self.units if any(fnmatch(n, p) for p in names)), ""
        self.did.append((verb, *names))
        if verb == "daemon-reload":
            self.units |= self.after_reload
        if verb in ("start", "restart") and "broken.service" in names:
            return 1, "", "Job failed."
        return 0, "", ""
