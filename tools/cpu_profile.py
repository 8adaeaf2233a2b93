#!/usr/bin/env python3
"""Say where the processor seconds of a run of the suite went: by kind of work, scenario, phase and test.

    tools/cpu_profile.py FILE...    print the report of profiles that tools/run_tests.py has written

All processes of the machine are looked at a few times a second: what one used since the last look belongs to the step
that it descends from and to a kind of work that its command line, or an ancestor's, tells. What a process used that
was born and gone between two looks shows in the times of its parent's children, and counts as its parent's work.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import subprocess
import sys
import threading
import time
from bisect import bisect
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

HERTZ = os.sysconf("SC_CLK_TCK")
INTERVAL = 0.5  # seconds between two looks
STARTING = 5.0  # seconds of a Celery process' life that count as its start
SLOWEST = 30
STEP = "CELERIAC_STEP"  # in the environment of all that a step starts
MARKS = "CELERIAC_PROFILE_MARKS"  # the file that tests write their begin and end to
CONTAINER = re.compile(r"\b([0-9a-f]{64})\b")
PHASE = re.compile(r"\[\S+ > (\w+)\] Executing\b")
NOBODY = ""  # the step of what belongs to none

# Kinds of work by command line, the first that matches; without one a process does its parent's work.
CONTROLLER = (
    (r"cpu_profile|run_tests", "this profile and the runner"),
    (r"\bansible-lint|\bmypy\b|\bruff\b|\byamllint\b|\bansible-test\b|collection\.py", "linters"),
    (r"\bansible(-playbook|-inventory|-vault|-config)?\b.*", "Ansible controller"),
    (r"\bmolecule\b", "molecule"),
    (r"\bpytest\b|-c import sys;exec\(eval\(sys\.stdin", "pytest"),  # the latter is a worker of pytest-xdist
    (r"\bdocker(d|-proxy|-init)?\b|\bcontainerd|\brunc\b", "Docker"),
    (r"build_image|mmdebstrap|bootstrap|\buv\b|\bpip\b", "images and bootstrap"),
)
HOST = (
    (r"\bapt(-get|-cache)?\b|\bdpkg|/var/lib/dpkg|apt_pkg", "packages"),
    (r"\buv\b|\bpip\b|-m venv|compileall|pip-", "virtualenv builds"),
    (r"\bcelery\b.*\bmulti\b", "celery multi"),
    (r"\bcelery\b.*\b(worker|beat)\b", "Celery"),
    (r"celery_probe|celery_settings|\bcelery\b|-run\b", "applications asked from outside"),
    (r"\bredis-|\bvalkey-", "Redis"),
    (r"memfd_create", "commands of tests"),
    (r"systemd|/sbin/init|dbus|agetty", "systemd"),
    (r"AnsiballZ|\.ansible/tmp|^(/usr/bin/)?python3 ?$|ansible", "modules on hosts"),
    (r"\bsshd\b", "modules on hosts"),
)


def kind_of(command: str, *, on_host: bool) -> str | None:
    """The kind of work that a command line tells, if it tells one."""
    rules = HOST if on_host else CONTROLLER
    return next((kind for pattern, kind in rules if re.search(pattern, command)), None)


@dataclass
class Stat:
    """What /proc says of a process.

    :param born: seconds since the machine's boot
    :param own: clock ticks that it has used
    :param of_children: those of its children that have ended
    """

    name: str
    parent: int
    born: float
    own: int
    of_children: int

    @classmethod
    def of(cls, line: bytes) -> Stat:
        """Read a line of /proc/PID/stat, man proc_pid_stat(5)."""
        head, _, tail = line.rpartition(b")")
        words = tail.split()
        own, of_children = int(words[11]) + int(words[12]), int(words[13]) + int(words[14])
        name = head.partition(b"(")[2].decode(errors="replace")
        return cls(name, int(words[1]), int(words[19]) / HERTZ, own, of_children)


@dataclass(eq=False)
class Process:
    """A process that was seen, with what is known of its processor time in clock ticks."""

    parent: int
    born: float
    name: str
    step: str
    kind: str
    on_host: bool
    line: bytes = b""
    own: int = 0
    of_children: int = 0
    gone: int = 0  # what children had used, as far as it was counted, that have ended since

    @property
    def counted(self) -> int:
        return self.own + self.of_children

    def count(self, stat: Stat) -> int:
        """What it used since it was counted last, and what ended children did that nobody saw."""
        ended = stat.of_children - self.of_children
        new = max(0, stat.own - self.own) + max(0, ended - self.gone)
        self.own, self.of_children, self.gone = stat.own, stat.of_children, max(0, self.gone - ended)
        return new


@dataclass
class Look:
    """Processor seconds used since the last look: (step, kind) -> seconds."""

    time: float
    used: dict[tuple[str, str], float]
    idle: float


def _read(path: str) -> bytes:
    """A small file below /proc; Path takes twice as long."""
    file = os.open(path, os.O_RDONLY)
    try:
        return os.read(file, 65536)
    finally:
        os.close(file)


def _lines() -> Iterator[tuple[int, bytes]]:
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError):  # it has ended
                yield int(name), _read(f"/proc/{name}/stat")


def _step(pid: int) -> str:
    """The step that a process' environment names."""
    with contextlib.suppress(OSError):
        found = re.search(rb"(?:^|\0)" + STEP.encode() + rb"=([^\0]*)", _read(f"/proc/{pid}/environ"))
        return found[1].decode() if found else NOBODY
    return NOBODY


def _idle_ticks() -> int:
    words = Path("/proc/stat").read_text().split("\n", 1)[0].split()
    return int(words[4]) + int(words[5])


@dataclass
class Timing:
    """A test that ran.

    :param step: the step that it is part of
    :param begin: seconds since the epoch
    :param end: the same
    :param own: processor seconds of the process that ran it, and of what that process has waited for
    """

    step: str
    name: str
    begin: float
    end: float
    own: float


class Sampler(threading.Thread):
    """Looks at all processes until it is told to end.

    :param labels: the prefix that containers of a step have in their label ``celeriac`` before the step's name
    :param logs: where the steps' logs are, which tell the phases of scenarios
    """

    def __init__(self, labels: str, logs: Path) -> None:
        super().__init__(daemon=True)
        self.labels, self.logs = labels, logs
        self.looks: list[Look] = []
        self.phases: list[tuple[float, str, str]] = []  # when, step, phase
        self._ended = threading.Event()
        self._processes: dict[int, Process] = {}
        self._now: dict[int, Process] = {}
        self._containers: dict[str, str] = {}
        self._told: dict[Path, int] = {}  # how much of a log was read
        self._idle = _idle_ticks()

    def run(self) -> None:
        while not self._ended.wait(INTERVAL):
            self._look()

    def end(self) -> None:
        """Look a last time and stop."""
        self._ended.set()
        self.join()
        self._look()

    def start(self) -> None:
        """Look a first time, at what isn't to be counted, and go on in a thread."""
        self._look()
        super().start()

    def _look(self) -> None:
        used: Counter[tuple[str, str]] = Counter()
        before, self._now = self._processes, {}
        moved = []
        for pid, line in _lines():
            known = before.get(pid)
            if known and known.line == line:  # it has done nothing since
                self._now[pid] = known
            else:
                stat = Stat.of(line)
                process = self._now[pid] = self._seen(pid, stat, known)
                process.line = line
                moved.append((process, stat))
        for pid, process in before.items():
            if self._now.get(pid) is not process and (heir := self._heir(process)):
                heir.gone += process.counted
        for process, stat in moved:
            ticks = process.count(stat)
            if before:  # what ran before the first look isn't the suite's
                used[process.step, self._doing(process)] += ticks
        self._processes = self._now
        idle = _idle_ticks()
        self.looks.append(
            Look(time.time(), {key: ticks / HERTZ for key, ticks in used.items() if ticks}, (idle - self._idle) / HERTZ)
        )
        self._idle = idle
        self._look_at_logs()

    def _heir(self, ended: Process) -> Process | None:
        """The nearest ancestor that lives, in whose children's times those of a process are that has ended."""
        pid = ended.parent
        while pid not in self._now and pid in self._processes:
            pid = self._processes[pid].parent
        return self._now.get(pid)

    def _seen(self, pid: int, stat: Stat, known: Process | None) -> Process:
        if known and known.born == stat.born:
            known.parent = stat.parent
            if known.name != stat.name:  # it has executed something else
                known.name = stat.name
                known.kind = self._kind(pid, stat, on_host=known.on_host) or known.kind
                known.step = known.step or _step(pid)
            return known
        above = self._now.get(stat.parent) or self._processes.get(stat.parent)
        container = "" if above and above.on_host else self._container(pid)
        on_host = bool(container) or bool(above and above.on_host)
        whose = container or self._shims(pid, stat)
        step = self._containers[whose] if whose else (above.step if above else NOBODY) or _step(pid)
        inherited = above.kind if above and above.on_host == on_host else ("commands on hosts" if on_host else "other")
        kind = self._kind(pid, stat, on_host=on_host) or inherited
        return Process(stat.parent, stat.born, stat.name, step, kind, on_host)

    def _doing(self, process: Process) -> str:
        if process.kind != "Celery":
            return process.kind
        age = time.clock_gettime(time.CLOCK_BOOTTIME) - process.born
        return "Celery starts" if age < STARTING else "Celery at work"

    @staticmethod
    def _kind(pid: int, stat: Stat, *, on_host: bool) -> str | None:
        with contextlib.suppress(OSError):
            command = _read(f"/proc/{pid}/cmdline").replace(b"\0", b" ").decode(errors="replace")
            named = None if on_host else kind_of(stat.name, on_host=False)  # a fork's name says more than its arguments
            return named or kind_of(command or stat.name, on_host=on_host)
        return None

    def _container(self, pid: int) -> str:
        """The container that a process is in."""
        return self._named(f"/proc/{pid}/cgroup")

    def _shims(self, pid: int, stat: Stat) -> str:
        """The container that a process of containerd looks after, as whose children commands in it begin."""
        return self._named(f"/proc/{pid}/cmdline") if stat.name.startswith("containerd-shim") else ""

    def _named(self, path: str) -> str:
        with contextlib.suppress(OSError):
            found = CONTAINER.search(_read(path).decode(errors="replace"))
            if found:
                if found[1] not in self._containers:
                    self._containers[found[1]] = self._step_of_container(found[1])
                return found[1]
        return ""

    def _step_of_container(self, container: str) -> str:
        command = ["docker", "inspect", '--format={{index .Config.Labels "celeriac"}}', container]
        label = subprocess.run(command, text=True, capture_output=True).stdout.strip()
        return f"molecule-{label.removeprefix(self.labels)}" if label.startswith(self.labels) else NOBODY

    def _look_at_logs(self) -> None:
        for path in self.logs.glob("molecule-*.log"):
            with path.open("rb") as file:
                file.seek(self._told.get(path, 0))
                lines = file.read().rpartition(b"\n")[0]
            self._told[path] = self._told.get(path, 0) + len(lines)
            for phase in PHASE.findall(lines.decode(errors="replace")):
                self.phases.append((time.time(), path.stem, phase))

    def profile(self, marks: Path) -> Profile:
        """What was seen, with the begin and end of tests that ``marks`` tells."""
        lines = marks.read_text().splitlines() if marks.exists() else []
        return Profile(os.cpu_count() or 1, self.looks, self.phases, [Timing(*json.loads(line)) for line in lines])


@dataclass
class Usage:
    """What a stretch of time took.

    :param seconds: by the clock
    :param processor: processor seconds
    """

    seconds: float
    processor: float

    def __str__(self) -> str:
        return f"{self.seconds:7.0f} s {self.processor:7.0f}"


class Profile:
    """Where processor seconds went.

    :param looks: in the order of time
    :param phases: when a phase of a scenario began: time, step, name
    """

    def __init__(
        self, cores: int, looks: list[Look], phases: list[tuple[float, str, str]], tests: list[Timing]
    ) -> None:
        self.cores, self.looks, self.phases, self.tests = cores, looks, phases, tests
        self._sums: dict[str, tuple[list[float], list[float]]] = {}  # step -> times, processor seconds until then
        for look in looks:
            for step, seconds in _by_step(look).items():
                times, sums = self._sums.setdefault(step, ([], []))
                times.append(look.time)
                sums.append(seconds + (sums[-1] if sums else 0.0))

    @classmethod
    def load(cls, path: Path) -> Profile:
        """Read what ``save`` wrote."""
        read = json.loads(path.read_text())
        looks = [Look(time_, {(step, kind): s for step, kind, s in used}, idle) for time_, used, idle in read["looks"]]
        phases = [(when, step, phase) for when, step, phase in read["phases"]]
        return cls(read["cores"], looks, phases, [Timing(*test) for test in read["tests"]])

    def save(self, path: Path) -> None:
        """Write it as JSON."""
        looks = [[round(look.time, 2), [[*key, s] for key, s in look.used.items()], look.idle] for look in self.looks]
        tests = [[test.step, test.name, test.begin, test.end, test.own] for test in self.tests]
        path.write_text(json.dumps({"cores": self.cores, "looks": looks, "phases": self.phases, "tests": tests}))

    # -- figures

    @property
    def whole(self) -> Usage:
        """The whole run; what no step used, the machine's own work, included."""
        seconds = self.looks[-1].time - self.looks[0].time if self.looks else 0.0
        return Usage(seconds, sum(sum(look.used.values()) for look in self.looks))

    @property
    def idle(self) -> float:
        """Seconds that processors had nothing to do."""
        return sum(look.idle for look in self.looks)

    def kinds(self, step: str | None = None) -> dict[str, float]:
        """Processor seconds by kind of work, the most expensive first, of one step or of all."""
        found: dict[str, float] = defaultdict(float)
        for look in self.looks:
            for (whose, kind), seconds in look.used.items():
                if step is None or step == whose:
                    found[kind] += seconds
        return _falling(found)

    @property
    def steps(self) -> dict[str, Usage]:
        """Each step of the suite, the most expensive first."""
        used = _falling({step: sums[-1] for step, (_, sums) in self._sums.items() if step})
        return {step: self.between(step, *_ends(self._sums[step][0])) for step in used}

    def between(self, step: str, begin: float, end: float) -> Usage:
        """What a step used from one time to another."""
        times, sums = self._sums.get(step, ([], []))
        first, last = bisect(times, begin - INTERVAL), bisect(times, end)
        used = (sums[last - 1] if last else 0.0) - (sums[first - 1] if first else 0.0)
        return Usage(end - begin, used)

    def phases_of(self, step: str) -> list[tuple[str, Usage]]:
        """The phases of a scenario in their order."""
        begun = [(when, phase) for when, whose, phase in self.phases if whose == step]
        if not begun:
            return []
        ends = [*(when for when, _ in begun[1:]), _ends(self._sums[step][0])[1]]
        return [(phase, self.between(step, when, end)) for (when, phase), end in zip(begun, ends, strict=True)]

    def usage_of(self, test: Timing) -> Usage:
        """What a test took. Those of a step that runs several at once are known by their own process alone."""
        if any(step == test.step for _, step, _ in self.phases):
            return self.between(test.step, test.begin, test.end)
        return Usage(test.end - test.begin, test.own)

    # -- reports

    def summary(self) -> Iterator[str]:
        """Kinds of work of the whole run, in lines."""
        whole = self.whole
        yield (
            f"{whole.processor:.0f} processor seconds in {whole.seconds:.0f} s on {self.cores} cores, which idled "
            f"{self.idle:.0f} s"
        )
        for kind, seconds in self.kinds().items():
            if seconds >= whole.processor / 200:
                yield f"{seconds:8.0f}  {seconds / whole.processor:4.0%}  {kind}"

    def report(self) -> Iterator[str]:
        """Everything, in lines: kinds, steps with their kinds and phases, and the slowest tests."""
        yield from self.summary()
        for step, usage in self.steps.items():
            kinds = ", ".join(f"{kind} {seconds:.0f}" for kind, seconds in [*self.kinds(step).items()][:8])
            yield f"\n{step:<24}{usage}    {kinds}"
            for phase, used in self.phases_of(step):
                yield f"  {phase:<22}{used}"
        yield f"\nThe slowest {SLOWEST} tests: seconds, and processor seconds of their scenario meanwhile"
        for test in sorted(self.tests, key=lambda test: test.begin - test.end)[:SLOWEST]:
            yield f"{self.usage_of(test)}  {test.step.removeprefix('molecule-')}: {test.name}"


def _by_step(look: Look) -> dict[str, float]:
    found: dict[str, float] = defaultdict(float)
    for (step, _), seconds in look.used.items():
        found[step] += seconds
    return found


def _falling(seconds: Mapping[str, float]) -> dict[str, float]:
    return dict(sorted(seconds.items(), key=lambda each: -each[1]))


def _ends(times: list[float]) -> tuple[float, float]:
    return times[0], times[-1]


def main() -> int:
    parser = argparse.ArgumentParser(description="Print where the processor seconds of a run of the suite went.")
    parser.add_argument("profile", type=Path, nargs="+", help="what tools/run_tests.py has written")
    for path in parser.parse_args().profile:
        try:
            print("\n".join(Profile.load(path).report()))
        except (OSError, ValueError, LookupError, TypeError) as error:
            print(f"celeriac: error: {path} can't be read as a profile: {error}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
