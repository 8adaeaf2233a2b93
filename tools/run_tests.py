#!/usr/bin/env python3
"""Run the suite: its steps side by side, their output in log files, the end of a failed one's shown.

    tools/run_tests.py              all of it
    tools/run_tests.py STEP...      these alone: unit, lint, or scenarios by their names

The end says where the processor seconds went, and which steps took more than tests/budgets.yml gives them; profile.txt
beside the logs says it by scenario, phase and test.

Two runs at once, of one checkout or of several, don't meet: each has containers, state and temporary directories of its
own.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

import cpu_profile
import yaml

ROOT = Path(__file__).resolve().parents[1]
RUN = f"celeriac-test-{os.getpid()}"
COUNTS = re.compile(r"(\d+) (passed|failed|errors?)\b")
ESCAPES = re.compile(r"\x1b\[[0-9;]*m")
BUDGETS = ROOT / "tests" / "budgets.yml"
BY_MOLECULE = "app"  # the scenario that shows that molecule itself runs them; the others run at half the overhead
SIDE_BY_SIDE = min((os.cpu_count() or 1) + 1, 6)  # one more than processors: while one step waits, another works
TAIL = 120  # lines
PATIENCE = 20  # seconds that an interrupted step has for its own end


@dataclass
class Step:
    """A command of the suite, its log and what its tests counted."""

    name: str
    command: list[str]
    environ: dict[str, str] = field(default_factory=dict)
    budget: str = ""  # its name in tests/budgets.yml
    seconds: float = 0.0
    returncode: int = -1
    output: str = ""
    process: subprocess.Popen[bytes] | None = None
    running: bool = False
    stopped: bool = False

    def run(self, logs: Path) -> Step:
        self.running = True
        try:
            return self if self.stopped else self._run(logs)
        finally:
            self.running = False

    def _run(self, logs: Path) -> Step:
        start = time.monotonic()
        log = logs / f"{self.name}.log"
        with log.open("w") as file:
            self.process = subprocess.Popen(
                self.command,
                cwd=ROOT,
                env={**os.environ, **self.environ, cpu_profile.STEP: self.name},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            self.returncode = self.process.wait()
        self.seconds = time.monotonic() - start
        self.output = ESCAPES.sub("", log.read_text(errors="replace"))
        return self

    def stop(self, number: signal.Signals) -> None:
        """Send a signal to the command and to all that it started; one that hasn't begun never does."""
        self.stopped = True
        if self.process and self.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):  # it has ended since
                os.killpg(self.process.pid, number)

    @property
    def counts(self) -> dict[str, int]:
        """Tests that passed and failed, over all pytest summaries of the output; a step without tests is one itself."""
        summaries = [line for line in self.output.splitlines() if re.search(r"=.* in [\d.]+s", line)]
        found = [(int(number), kind) for line in summaries for number, kind in COUNTS.findall(line)]
        passed = sum(number for number, kind in found if kind == "passed")
        failed = sum(number for number, kind in found if kind != "passed")
        if self.returncode == 0:
            return {"passed": passed or 1, "failed": 0}
        return {"passed": passed, "failed": failed or 1}


def budgets() -> dict[str, float]:
    """Processor seconds that each step may take, the most expensive first."""
    read = yaml.safe_load(BUDGETS.read_text(encoding="utf-8"))
    return dict(sorted(read.items(), key=lambda each: -each[1]))


def steps(scratch: Path, names: Collection[str]) -> list[Step]:
    """The steps of these names in the order in which they are started: long ones first, so that no core idles at the
    end."""
    return [_step(name, scratch) for name in budgets() if name in names]


def _step(name: str, scratch: Path) -> Step:
    if (ROOT / "molecule" / name / "molecule.yml").exists():
        command = [sys.executable, "tools/scenario.py", name]
        if name == BY_MOLECULE:
            command = ["molecule", "test", "--scenario-name", name]
        return Step(f"molecule-{name}", command, own(name, scratch), budget=name)
    # in one process: it shares its processors with other steps, and each more would import and read everything again
    return Step(name, ["make", name, "WORKERS=0"], budget=name)


def own(scenario: str, scratch: Path) -> dict[str, str]:
    """The environment in which a scenario meets no other."""
    home = scratch / scenario
    home.mkdir()
    return {
        "CELERIAC_PREFIX": f"{RUN}-{scenario}",
        "XDG_STATE_HOME": str(home / "state"),
        "ANSIBLE_HOME": str(home / "ansible"),
        "MOLECULE_EPHEMERAL_DIRECTORY": str(home / "molecule"),
        "MOLECULE_COMMAND_BORDERS": "false",
    }


def run_all(all_steps: list[Step], logs: Path) -> list[Step]:
    """Run the steps side by side. An interrupt ends those that run, and no other begins."""
    with ThreadPoolExecutor(max_workers=SIDE_BY_SIDE) as pool:
        try:
            futures = [pool.submit(step.run, logs) for step in all_steps]
            return [told(future.result()) for future in as_completed(futures)]
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            begun = time.monotonic()
            while stop(all_steps, signal.SIGTERM if time.monotonic() - begun < PATIENCE else signal.SIGKILL):
                time.sleep(0.1)  # between two looks at the steps
            raise


def stop(all_steps: list[Step], number: signal.Signals) -> bool:
    """Send a signal to the steps that run, and keep the others from beginning; whether some still ran."""
    for step in all_steps:
        step.stop(number)
    return any(step.running for step in all_steps)


def told(step: Step) -> Step:
    """Print a line that says how a step ended."""
    verdict = "ok" if step.returncode == 0 else "FAILED"
    passed, failed = step.counts["passed"], step.counts["failed"]
    print(f"{verdict:<6} {step.name:<18} {passed:>4} passed {failed:>3} failed {step.seconds:>5.0f} s", flush=True)
    return step


def remove_hosts() -> None:
    """Remove what an interrupted scenario left behind."""
    listed = ["--filter=label=celeriac", '--format={{.ID}} {{.Label "celeriac"}}']
    for kind, list_, remove in (
        ("container", ["ps", "--all"], ["rm", "-f"]),
        ("network", ["network", "ls"], ["network", "rm"]),
    ):
        lines = subprocess.run(["docker", *list_, *listed], text=True, capture_output=True).stdout.splitlines()
        for each, label in map(str.split, lines):
            if label.startswith(f"{RUN}-"):
                print(f"Removing a {kind} of the scenario {label.removeprefix(f'{RUN}-')} ...")
                subprocess.run(["docker", *remove, each], capture_output=True)


def interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def over_budget(profile: cpu_profile.Profile, done: list[Step]) -> Iterator[str]:
    """The steps that took more processor seconds than they have, in lines."""
    given, taken = budgets(), profile.steps
    for step in done:
        if step.name in taken and taken[step.name].processor > given.get(step.budget, float("inf")):
            used = taken[step.name].processor
            yield f"{step.name} took {used:.0f} processor seconds of {given[step.budget]:.0f}"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Run the suite, or some of its steps.")
    parser.add_argument("steps", metavar="STEP", nargs="*", help=f"one of {', '.join(sorted(budgets()))}; all without")
    found = parser.parse_args()
    if unknown := sorted(set(found.steps) - set(budgets())):
        parser.error(f"{', '.join(unknown)}: no such step; use one of {', '.join(sorted(budgets()))}")
    return found


def main() -> int:
    names = arguments().steps or list(budgets())
    signal.signal(signal.SIGTERM, interrupt)
    start = time.monotonic()
    logs = Path(os.environ.get("CELERIAC_TEST_LOGS") or ROOT / ".cache" / "test-logs")
    shutil.rmtree(logs, ignore_errors=True)
    logs.mkdir(parents=True)
    scratch = Path(tempfile.mkdtemp(prefix=f"{RUN}-"))
    os.environ[cpu_profile.MARKS] = str(logs / "marks.jsonl")
    sampler = cpu_profile.Sampler(f"{RUN}-", logs)
    sampler.start()
    try:
        done = run_all(steps(scratch, names), logs)
    except KeyboardInterrupt:
        print("Interrupted.")
        return 130
    finally:
        sampler.end()
        remove_hosts()
        shutil.rmtree(scratch, ignore_errors=True)
    for step in done:
        if step.returncode:
            print(f"\n--- the end of {step.name}, whole in {logs / step.name}.log")
            print("\n".join(step.output.splitlines()[-TAIL:]))
    profile = sampler.profile(logs / "marks.jsonl")
    profile.save(logs / "profile.json")
    (logs / "profile.txt").write_text("\n".join(profile.report()) + "\n")
    print("", *profile.summary(), *over_budget(profile, done), sep="\n")
    passed, failed = (sum(step.counts[kind] for step in done) for kind in ("passed", "failed"))
    print(f"\n{time.monotonic() - start:.0f} s, logs in {logs}\n{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
