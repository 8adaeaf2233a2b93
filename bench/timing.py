"""Commands that are measured: time, processor time and memory of what runs on this machine, and a playbook's plays."""

from __future__ import annotations

import os
import re
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.machine import ROOT, busy

PLAY = re.compile(r"^PLAY \[(?P<name>.*)\]")
RECAP = re.compile(r"^\S+\s+: ok=\d+\s+changed=(?P<changed>\d+)", re.MULTILINE)
TAIL = 40  # lines of a failed command's output
GLANCE = 0.1  # seconds between two looks at a command's memory


class BenchError(Exception):
    """Why a figure can't be measured, in one sentence or with a command's last words."""


@dataclass(frozen=True)
class Run:
    """A command that has ended well."""

    seconds: float
    processor_seconds: float  # of the command and all that it waited for, on this machine
    machine_seconds: float  # of processors, whatever they did meanwhile: the hosts' work and the neighbours' included
    peak_mib: float  # of its largest process, or of the one that measures if that is larger
    output: str
    split: Mapping[str, float] = field(default_factory=dict)  # play -> seconds; "" is what came before the first

    @property
    def changed(self) -> int:
        """How many things a playbook's recap says it changed."""
        return sum(int(match["changed"]) for match in RECAP.finditer(self.output))

    @property
    def values(self) -> dict[str, float]:
        """As a trial's values."""
        return {
            "seconds": round(self.seconds, 3),
            "controller processor seconds": round(self.processor_seconds, 3),
            "machine processor seconds": round(self.machine_seconds, 2),
            "controller peak MiB": round(self.peak_mib, 1),
        }


def together(*runs: Run) -> Run:
    """Runs one after the other as one, without a split."""
    return Run(
        seconds=sum(each.seconds for each in runs),
        processor_seconds=sum(each.processor_seconds for each in runs),
        machine_seconds=sum(each.machine_seconds for each in runs),
        peak_mib=max(each.peak_mib for each in runs),
        output="".join(each.output for each in runs),
    )


def run(command: Sequence[str], environ: Mapping[str, str] | None = None, stdin: bytes = b"") -> Run:
    """Run a command in the repository's root and measure it.

    :param environ: variables beside those of this process
    :raises BenchError: if it fails
    """
    began, was_busy = time.monotonic(), busy()
    process = _start(command, environ, stdin)
    lines: list[str] = []
    marks: list[tuple[str, float]] = [("", began)]
    for line in process.stdout or ():
        if play := PLAY.match(line):
            marks.append((play["name"], time.monotonic()))
        lines.append(line)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    ended = time.monotonic()
    if process.returncode:
        raise BenchError(failure(command, process.returncode, lines))
    return Run(
        seconds=ended - began,
        processor_seconds=usage.ru_utime + usage.ru_stime,
        machine_seconds=busy() - was_busy,
        peak_mib=usage.ru_maxrss / 1024,
        output="".join(lines),
        split=parts(marks, ended),
    )


def _start(command: Sequence[str], environ: Mapping[str, str] | None, stdin: bytes) -> subprocess.Popen[str]:
    source, sink = os.pipe()
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, **(environ or {})},
        text=True,
        stdin=source,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    os.close(source)
    threading.Thread(target=_feed, args=(sink, stdin), daemon=True).start()
    return process


def _feed(sink: int, data: bytes) -> None:
    """Write ``data`` to a pipe and close it; whoever reads may end before."""
    try:
        with open(sink, "wb") as file:
            file.write(data)
    except BrokenPipeError:
        pass


def parts(marks: Sequence[tuple[str, float]], ended: float) -> dict[str, float]:
    """Seconds of each part, from where parts begin and the last one ends; parts of one name are added up."""
    found: dict[str, float] = {}
    ends = [*(begin for _, begin in marks[1:]), ended]
    for (name, begin), end in zip(marks, ends, strict=True):
        found[name] = round(found.get(name, 0.0) + end - begin, 3)
    return found


def failure(command: Sequence[str], code: int, lines: Sequence[str]) -> str:
    """What is said of a command that failed."""
    said = "".join(lines[-TAIL:]).rstrip()
    return f"'{' '.join(command)}' ended with {code}; its last words:\n{said}"


def memory_mib(command: Sequence[str], environ: Mapping[str, str] | None = None) -> float:
    """The most memory that a command and its descendants have at a time, pages that they share counted once, in MiB.

    It is looked at every tenth of a second, which costs processor time: not for a run that is timed.

    :raises BenchError: if the command fails
    """
    process = _start(command, environ, b"")
    most, done = [0.0], threading.Event()

    def watch() -> None:
        while not done.wait(GLANCE):
            most[0] = max(most[0], sum(map(proportional_kib, descendants(process.pid))) / 1024)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    lines = list(process.stdout or ())
    done.set()
    watcher.join()
    if process.wait():
        raise BenchError(failure(command, process.returncode, lines))
    return most[0]


def descendants(pid: int) -> Iterator[int]:
    """A process and those that descend from it, in whatever session they are."""
    yield pid
    try:
        children = [
            child for file in Path(f"/proc/{pid}/task").glob("*/children") for child in file.read_text().split()
        ]
    except OSError:  # it has ended
        return
    for child in children:
        yield from descendants(int(child))


def proportional_kib(pid: int) -> int:
    """The memory of a process, of pages that n processes share a n-th, in KiB; 0 once it has ended."""
    try:
        found = re.search(r"^Pss:\s+(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
    except OSError:
        return 0
    return int(found[1]) if found else 0
