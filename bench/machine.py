"""What a figure was measured on: the machine, its load, the versions of what took part, the commit."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
MOST_LOAD = 0.5  # per processor, above which a figure says more of the neighbours than of what is measured
TOLD = "BENCH_ANY_LOAD"
VERSIONS = ("ansible-core", "celery", "kombu", "redis")


def processors() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0))


def load() -> float:
    """The mean number of processes that ran or waited to, over the last minute."""
    return round(os.getloadavg()[0], 2)


def load_problem(load: float, processors: int, environ: Mapping[str, str]) -> str:
    """Why the load forbids to measure, a sentence; "" if it doesn't, or ``BENCH_ANY_LOAD=1`` says to measure anyway."""
    if environ.get(TOLD) == "1" or load <= MOST_LOAD * processors:
        return ""
    return (
        f"the load is {load:.2f} on {processors} processors, above {MOST_LOAD} for each: wait until the machine is "
        f"idle, or set {TOLD}=1 to measure nevertheless."
    )


def busy_seconds(stat: str, ticks: int = os.sysconf("SC_CLK_TCK")) -> float:
    """The processor seconds that the machine has been busy since it was started.

    :param stat: the text of /proc/stat
    :param ticks: units of its numbers in a second
    """
    user, nice, system, _idle, _iowait, irq, softirq, *_ = map(int, stat.splitlines()[0].split()[1:])
    return (user + nice + system + irq + softirq) / ticks


def busy() -> float:
    """``busy_seconds`` up to now."""
    return busy_seconds(Path("/proc/stat").read_text())


def said(*command: str) -> str:
    """What a command prints; "" if it fails or isn't there."""
    try:
        return subprocess.run(command, cwd=ROOT, text=True, capture_output=True, check=True, timeout=30).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def described() -> dict[str, Any]:
    """The machine, for a record: what would have to be the same for its figures to come out again."""
    model = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return {
        "processor": model[1] if model else platform.machine(),
        "processors": processors(),
        "memory_mib": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20,
        "kernel": platform.release(),
        "load": load(),
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in VERSIONS},
            "docker": said("docker", "version", "--format", "{{.Server.Version}}"),
        },
    }


def commit() -> str:
    """The commit that was measured, with ``-dirty`` behind it where files differ from it; "" outside a repository."""
    return said("git", "describe", "--always", "--abbrev=12", "--dirty", "--exclude=*")
