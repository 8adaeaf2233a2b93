"""Look at a host, by one shell command, for what the redis role has to know of it. Changes nothing.

Argument: ``flavor`` (``redis`` or ``valkey``). Returns

- ``memory``: bytes of memory
- ``container``: whether the host is a container, which can't set the kernel's parameters
- ``sysctl``: parameter -> its value as a number, of those that the role sets
- ``instances``: flavor -> names of the instances that this role made, by its drop-ins
- ``data``: flavor -> names of the directories below ``/var/lib/<flavor>`` that hold a dataset
- ``maintenance``: SHA-256 of the password of the user for the host's own maintenance, empty if there is none yet
- ``digests``: instance -> user -> SHA-256 of the user's passwords
- ``certificate``: the certificate that this role issued, as PEM, empty if there is none
"""

from __future__ import annotations

import re
import shlex
from typing import Any, ClassVar

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.celeriac.fleet.plugins.plugin_utils import specs
from ansible_collections.celeriac.fleet.plugins.plugin_utils.look_first import LookFirst

FLAVORS = tuple(specs.options("redis")["redis_flavor"]["choices"])
SYSCTL = ("vm.overcommit_memory", "net.core.somaxconn")
LACKING = (
    "vm.overcommit_memory is {}, and a container can't set it: set it to 1 on the machine beneath, or a snapshot of "
    "Redis fails when memory is short."
)
# Each line of a file with its path before it.
LINES = "grep -H ^ -- {} 2>/dev/null"


def look(flavor: str) -> str:
    """The shell command."""
    etc = shlex.quote(f"/etc/{flavor}")
    parts = [
        "export LC_ALL=C",
        "grep -h ^MemTotal: /proc/meminfo",
        "systemd-detect-virt --quiet --container && echo container",
        *(f"echo sysctl {name} $(cat /proc/sys/{name.replace('.', '/')} 2>/dev/null)" for name in SYSCTL),
        *(f"ls -d /etc/systemd/system/{each}-server@*.service.d/celeriac.conf 2>/dev/null" for each in FLAVORS),
        *(f"ls -d /var/lib/{each}/*/appendonlydir /var/lib/{each}/*/dump.rdb 2>/dev/null" for each in FLAVORS),
        f"[ -s {etc}/celeriac.env ] && "
        f"echo maintenance $(sed -n 's/^REDISCLI_AUTH=//p' {etc}/celeriac.env | tr -d '\\n' | sha256sum)",
        LINES.format(f"{etc}/users-*.acl"),
        # without its key a certificate is none
        f"[ -s {etc}/tls/redis.key ] && {LINES.format(f'{etc}/tls/redis.crt')}",
        "true",
    ]
    return "; ".join(parts)


def seen(said: str, flavor: str) -> dict[str, Any]:
    """What ``look`` printed, as this action returns it."""
    instances: dict[str, list[str]] = {each: [] for each in FLAVORS}
    data: dict[str, set[str]] = {each: set() for each in FLAVORS}
    digests: dict[str, dict[str, list[str]]] = {}
    found: dict[str, Any] = {"memory": 0, "container": False, "sysctl": {}, "maintenance": "", "certificate": ""}
    for line in said.split("\n"):
        if match := re.match(r"MemTotal:\s+(\d+) kB", line):
            found["memory"] = int(match[1]) * 1024
        elif line == "container":
            found["container"] = True
        elif match := re.match(r"sysctl (\S+) (\d+)$", line):
            found["sysctl"][match[1]] = int(match[2])
        elif match := re.match(r"/etc/systemd/system/(\w+)-server@(.+)\.service\.d/celeriac\.conf$", line):
            instances[match[1]].append(match[2])
        elif match := re.match(r"/var/lib/(\w+)/([^/.]+)/(?:appendonlydir|dump\.rdb)$", line):
            data[match[1]].add(match[2])
        elif match := re.match(r"maintenance ([0-9a-f]{64})\b", line):
            found["maintenance"] = match[1]
        elif match := re.match(rf"/etc/{flavor}/users-([^:]+)\.acl:user (\S+) (.*)$", line):
            digests.setdefault(match[1], {})[match[2]] = re.findall(r"(?:^| )#([0-9a-f]{64})\b", match[3])
        elif match := re.match(rf"/etc/{flavor}/tls/redis\.crt:(.*)$", line):
            found["certificate"] += match[1] + "\n"
    return {
        **found,
        "instances": instances,
        "data": {each: sorted(names) for each, names in data.items()},
        "digests": digests,
    }


class ActionModule(LookFirst):
    """Runs the command and reads its output; in check mode too. There is no module to send."""

    # any: that a role's variable is none of FLAVORS is said by its problems, after this look
    ARGUMENT_SPEC: ClassVar[dict[str, Any]] = {"flavor": {"required": True}}
    _requires_connection = True

    def look(self, arguments: dict[str, Any]) -> str:
        return look(arguments["flavor"])

    def settled(self, said: str, arguments: dict[str, Any]) -> dict[str, Any]:
        found = seen(said, arguments["flavor"])
        if not found["memory"]:
            raise AnsibleActionFail("/proc/meminfo has no MemTotal: is this Linux?")
        overcommit = found["sysctl"].get("vm.overcommit_memory", "unknown")
        if found["container"] and overcommit != 1:
            action: ActionBase = self
            action._display.warning(LACKING.format(overcommit))
        return {"changed": False, **found}
