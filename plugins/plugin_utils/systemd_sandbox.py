"""The sandbox of our units: defaults, what a role or an inventory puts over them, and what can't be right in it."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError

# systemd directive -> value; a list is a line for each of its items. The README of the role celery has the same table.
DEFAULTS: dict[str, Any] = {
    "AmbientCapabilities": "",
    "CapabilityBoundingSet": "",
    "DevicePolicy": "closed",
    # unicast: no multicast, no broadcast, nothing reserved
    "IPAddressAllow": ["0.0.0.0/1 128.0.0.0/2 192.0.0.0/3", "::/3 2000::/3 fc00::/7 fe80::/10"],
    "IPAddressDeny": "any",
    "KeyringMode": "private",
    "LockPersonality": True,
    "MemoryDenyWriteExecute": True,
    "NoNewPrivileges": True,
    "PrivateDevices": True,
    "PrivateMounts": True,
    "PrivateTmp": True,
    "PrivateUsers": True,
    "ProcSubset": "pid",
    "ProtectClock": True,
    "ProtectControlGroups": True,
    "ProtectHome": True,
    "ProtectHostname": True,
    "ProtectKernelLogs": True,
    "ProtectKernelModules": True,
    "ProtectKernelTunables": True,
    "ProtectProc": "invisible",
    "ProtectSystem": "strict",
    "RemoveIPC": True,
    "RestrictAddressFamilies": "AF_INET AF_INET6 AF_UNIX",
    "RestrictNamespaces": True,
    "RestrictRealtime": True,
    "RestrictSUIDSGID": True,
    "SystemCallArchitectures": "native",
    "SystemCallErrorNumber": "EPERM",
    "SystemCallFilter": ["@system-service", "~@privileged @resources"],
    "UMask": "0027",
}
# What may be added: systemd.exec(5) and systemd.resource-control(5) of Debian 12.
MORE = frozenset(
    "BindPaths BindReadOnlyPaths DeviceAllow ExecPaths IPCNamespacePath InaccessiblePaths "
    "NetworkNamespacePath NoExecPaths PrivateIPC PrivateNetwork ReadOnlyPaths ReadWritePaths "
    "RestrictFileSystems SecureBits SupplementaryGroups SystemCallLog TemporaryFileSystem".split()
)
# Values that a directive takes, besides false. systemd would only warn about another one, and run the unit without it.
VALUES: dict[str, tuple[Any, ...]] = {
    **{name: (True,) for name, value in DEFAULTS.items() if value is True and name != "RestrictNamespaces"},
    **dict.fromkeys(("PrivateIPC", "PrivateNetwork"), (True,)),
    "DevicePolicy": ("auto", "closed", "strict"),
    "KeyringMode": ("inherit", "private", "shared"),
    "ProcSubset": ("all", "pid"),
    "ProtectHome": (True, "read-only", "tmpfs"),
    "ProtectProc": ("default", "invisible", "noaccess", "ptraceable"),
    "ProtectSystem": (True, "full", "strict"),
}
UMASK = re.compile(r"0?[0-7]{3}\Z")


def systemd_sandbox(sandbox: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The directives of a unit, sorted by name: the defaults with ``sandbox`` put over them.

    :param sandbox: directive -> value; ``false`` leaves it out, a list is a line for each of its items
    :raises AnsibleFilterError: if a directive can't be right; systemd would ignore it
    """
    if found := list(problems(sandbox, "the sandbox")):
        raise AnsibleFilterError(" ".join(found))
    return [
        (name, "true" if item is True else item)
        for name, value in sorted({**DEFAULTS, **sandbox}.items())
        for item in (value if isinstance(value, list) else [value])
        if item is not False
    ]


def problems(sandbox: Any, variable: str) -> Iterator[str]:
    """What is wrong with ``sandbox``, a sentence each, with the name of the variable that holds it."""
    if not isinstance(sandbox, Mapping):
        yield f"{variable} is {sandbox!r}: write a mapping, such as {{MemoryDenyWriteExecute: false}}."
        return
    for name, value in sandbox.items():
        if name not in DEFAULTS and name not in MORE:
            near = difflib.get_close_matches(str(name), [*DEFAULTS, *MORE], n=1)
            remedy = f"write {near[0]}" if near else f"use one of {', '.join(sorted({*DEFAULTS, *MORE}))}"
            yield f"{variable} has the unknown directive {name!r}: {remedy}."
        elif value is not False and not _right(str(name), value):
            yield f"{variable}.{name} is {value!r}: give it {_wanted(str(name))}."


def _right(name: str, value: Any) -> bool:
    if value is True or name in VALUES:
        return any(type(value) is type(one) and value == one for one in VALUES.get(name, (DEFAULTS.get(name),)))
    if name == "UMask":
        return isinstance(value, str) and bool(UMASK.match(value))
    items = value if isinstance(value, list) else [value]
    return all(isinstance(item, str) and item.isprintable() for item in items)


def _wanted(name: str) -> str:
    if name == "UMask":
        return "a mode in quotes, such as '0027'"
    if name in VALUES:
        return " or ".join("true" if word is True else word for word in (*VALUES[name], "false"))
    return "a string, or a list of strings, without a line break"
