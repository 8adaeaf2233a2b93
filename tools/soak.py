#!/usr/bin/env python3
"""Run the soak: the tests that prove a rate, in full size on hosts of their own, and write docs/measurements.md.

    tools/soak.py               all of it, in at most an hour
    tools/soak.py SCENARIO...   these alone; what was measured of the others stays

The tests are those of `make test` with the marker soak. Scenarios run one after the other, so that nothing of the soak
disturbs what it measures.
"""

from __future__ import annotations

import argparse
import re
import shlex
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

import run_tests

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # where bench and the tests are

from bench.machine import commit, described  # noqa: E402 - after the path
from tests.support.soak import OPTION, Measurement, read  # noqa: E402 - after the path

DOCUMENT = ROOT / "docs" / "measurements.md"
LOGS = ROOT / ".cache" / "soak-logs"
SCENARIOS = {  # in their order
    "load": "deployments and faults",
    "celery": "logs",
    "redis": "kills of servers, and what they take as configuration",
    "redis_backup": "backups and restores",
}
LIMIT = 3600  # seconds
PREAMBLE = """\
# Measurements

`make soak` writes this page. It runs the tests that prove a rate in full size, on test hosts with systemd, one scenario
after the other: the tests of `make test` with the marker `soak`. [Guarantees](guarantees.md) says what either proves.

A task is lost if it was submitted and never ran, or, where Redis alone is killed, if it isn't there though it was
acknowledged. It ran twice if it is in the ledger twice. The gap is the longest time without a task that ended. All
nodes worked again when each of them, as the process that it is then, has done a task.
"""


@dataclass(frozen=True)
class Soaked:
    """A scenario that was run.

    :param told: when, what and where, in words
    :param outcome: what became of its tests, in words
    """

    scenario: str
    told: str
    outcome: str
    measurements: list[Measurement]

    def lines(self) -> Iterator[str]:
        """Its part of the document."""
        yield f"{self.told}. {self.outcome}."
        yield ""
        yield "| what happened | submitted | lost | ran twice | longest gap | all nodes worked again after |"
        yield "|---|---|---|---|---|---|"
        for each in self.measurements:
            gap = "" if each.gap is None else f"{each.gap:.1f} s"
            counts = f"{each.submitted:,} | {each.lost:,} | {each.twice:,}"
            yield f"| {each.what} | {counts} | {gap} | {spread(each.seconds)} |"


def spread(seconds: list[float]) -> str:
    """How long something took each time, in words."""
    if not seconds:
        return ""
    least, most = f"{min(seconds):.1f}", f"{max(seconds):.1f}"
    return f"{most} s" if least == most else f"{least} to {most} s"


def written(document: str, soaked: Soaked) -> str:
    """The document with the scenario's part replaced; the parts in the order of SCENARIOS."""
    parts = dict(re.findall(r"^## (\S+)\n\n(.*?)\n*(?=^## |\Z)", document, re.MULTILINE | re.DOTALL))
    parts[soaked.scenario] = "\n".join(soaked.lines())
    return "\n".join([PREAMBLE, *(f"## {name}\n\n{parts[name]}\n" for name in SCENARIOS if name in parts)])


def here() -> str:
    """The commit and the machine, in words."""
    machine = described()
    return (
        f"commit `{commit()}`, {machine['processors']} processors ({machine['processor']}), "
        f"{machine['memory_mib'] // 1024} GiB, kernel {machine['kernel']}, load {machine['load']:.1f}"
    )


def soak(scenario: str, scratch: Path) -> tuple[Soaked, run_tests.Step]:
    """Run a scenario's part of the soak; what it measured, and how it ended."""
    told = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {here()}"
    file = scratch / f"{scenario}.jsonl"
    file.touch()
    (step,) = run_tests.steps(scratch, [scenario])
    step.environ["PYTEST_ADDOPTS"] = f"{OPTION}={shlex.quote(str(file))}"
    try:
        step.run(LOGS)
    except BaseException:
        end(step)
        raise
    run_tests.told(step)
    counts = " and ".join(f"{number} {kind}" for kind, number in step.counts.items())
    return Soaked(scenario, told, f"{counts} in {step.seconds:.0f} s", read(file)), step


def end(step: run_tests.Step) -> None:
    """End a scenario that was interrupted."""
    begun = time.monotonic()
    while step.process and step.process.poll() is None:
        step.stop(signal.SIGTERM if time.monotonic() - begun < run_tests.PATIENCE else signal.SIGKILL)
        time.sleep(0.1)  # between two looks at it


def too_long(_signal: int, _frame: FrameType | None) -> None:
    raise TimeoutError(f"the soak took longer than {LIMIT} seconds and was ended")


def run(scenarios: list[str]) -> bool:
    """Run scenarios and write down what each measured; whether all of their tests passed."""
    LOGS.mkdir(parents=True, exist_ok=True)
    passed = True
    with tempfile.TemporaryDirectory(prefix=f"{run_tests.RUN}-") as scratch:
        try:
            for scenario in scenarios:
                soaked, step = soak(scenario, Path(scratch))
                print(*soaked.measurements, sep="\n", flush=True)
                if step.returncode:
                    print("\n".join(step.output.splitlines()[-run_tests.TAIL :]))
                passed = passed and step.returncode == 0
                document = DOCUMENT.read_text(encoding="utf-8") if DOCUMENT.exists() else ""
                DOCUMENT.write_text(written(document, soaked), encoding="utf-8")
        finally:
            run_tests.remove_hosts()
    return passed


def main() -> int:
    parser = argparse.ArgumentParser(description="Run the soak, or its scenarios of these names.")
    known = "; ".join(f"{name}: {what}" for name, what in SCENARIOS.items())
    parser.add_argument("scenarios", metavar="SCENARIO", nargs="*", help=known)
    names = parser.parse_args().scenarios
    if unknown := sorted(set(names) - set(SCENARIOS)):
        parser.error(f"{', '.join(unknown)}: no part of the soak; use one of {', '.join(SCENARIOS)}")
    signal.signal(signal.SIGTERM, run_tests.interrupt)
    signal.signal(signal.SIGALRM, too_long)
    signal.alarm(LIMIT)
    try:
        passed = run([name for name in SCENARIOS if name in names or not names])
    except (KeyboardInterrupt, TimeoutError) as error:
        print(f"celeriac: error: {error or 'interrupted'}", file=sys.stderr)
        return 130
    print(f"\n{DOCUMENT.relative_to(ROOT)} is written, logs in {LOGS}")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
