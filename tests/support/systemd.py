"""What systemd says of a host's units."""

from __future__ import annotations

import re

from testinfra.host import Host


def show(host: Host, unit: str, name: str) -> str:
    """A property of a unit; nothing while the host isn't up."""
    return str(host.run("systemctl show --value --property=%s %s", name, unit).stdout.strip())


def exposure(host: Host, unit: str) -> float:
    """How much of the system a service could reach, from 0 to 10, as ``systemd-analyze security`` rates it."""
    said = host.check_output("systemd-analyze security --no-pager %s", unit).splitlines()[-1]
    rated = re.search(r"service: ([\d.]+)", said)
    assert rated, said
    return float(rated[1])


def options_of_mounts(host: Host, pid: int) -> dict[str, str]:
    """The mounts that a process sees, with their options."""
    mounts = host.check_output(f"cat /proc/{pid}/mountinfo")
    return dict(re.findall(r"^\S+ \S+ \S+ \S+ (\S+) (\S+) ", mounts, re.MULTILINE))
