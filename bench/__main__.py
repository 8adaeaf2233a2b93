"""Measure figures: ``python -m bench check|measure [FIGURE…]``, and ``publish`` what was measured into the documents.

``check`` says what is wrong with the figures that are asked for, or with the machine, before anything is started.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

from bench import machine
from bench.document import DOCUMENT, publish
from bench.figure import Figure
from bench.figures import FIGURES
from bench.lab import Lab, Options, docker_problem
from bench.machine import ROOT
from bench.no_change import PEER_PATH
from bench.record import Record
from bench.timing import BenchError, run

FOUND = ROOT / ".cache/bench"


def problems(names: Sequence[str], options: Options, environ: Mapping[str, str], load: float) -> list[str]:
    """What forbids to measure, a sentence each.

    :param names: of the figures
    :param load: of the machine
    """
    unknown = [name for name in names if name not in FIGURES]
    found = [f"{name} is no figure: use some of {', '.join(FIGURES)}." for name in unknown]
    if options.rounds < 1:
        found.append(f"the number of rounds is {options.rounds}: measure at least one.")
    for name in names:
        found += FIGURES[name].problems(options) if name in FIGURES else []
    busy = machine.load_problem(load, machine.processors(), environ)
    return [*found, *([busy] if busy else [])]


def measure(figure: Figure, options: Options) -> Record:
    """Measure a figure, and keep its record and its plot in .cache/bench."""
    print(f"{figure.name}: {figure.title}", flush=True)
    date, described = datetime.now(UTC).isoformat(timespec="seconds"), machine.described()
    with Lab(options) as lab:
        figure.measure(lab)
    record = Record(
        figure=figure.name,
        title=figure.title,
        date=date,
        commit=machine.commit(),
        machine=described,
        settings=figure.settings,
        trials=lab.trials,
        results=figure.results(lab.trials),
    )
    FOUND.mkdir(parents=True, exist_ok=True)
    kept = FOUND / f"{figure.name}.json"
    kept.write_text(record.as_json() + "\n", encoding="utf-8")
    run([sys.executable, "-m", "bench.plots", str(kept)])  # apart: what it imports would count as a command's memory
    for result in record.results:
        aim = "" if result.aim is None else f", aim at most {result.aim:g}"
        print(f"  {result.name}: {result.value:.2f}{f' {result.unit}' if result.unit else ''}{aim}", flush=True)
    return record


def interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; the exit status: 0, 1 if a figure couldn't be measured, 2 if nothing was started."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("verb", choices=["check", "measure", "publish"])
    parser.add_argument("figures", nargs="*", metavar="FIGURE", help=f"some of {', '.join(FIGURES)}; all without")
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each series (default 5)")
    arguments = parser.parse_intermixed_args(argv)
    if arguments.verb == "publish":
        print(f"{DOCUMENT.relative_to(ROOT)} has now: {', '.join(publish(FOUND)) or 'nothing new'}")
        return 0
    path = os.environ.get(PEER_PATH)
    options = Options(rounds=arguments.rounds, peer=Path(path) if path else None)
    names = list(dict.fromkeys(arguments.figures)) or list(FIGURES)
    found = problems(names, options, os.environ, machine.load())
    if not found and arguments.verb == "measure":
        found = [problem] if (problem := docker_problem()) else []
    for problem in found:
        print(f"celeriac: error: {problem}", file=sys.stderr)
    if found:
        return 2
    if arguments.verb == "check":
        return 0
    signal.signal(signal.SIGTERM, interrupt)
    try:
        for name in names:
            measure(FIGURES[name], options)
    except BenchError as error:
        print(f"celeriac: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return 130
    print(f"\nRecords and plots are in {FOUND.relative_to(ROOT)}; make bench-docs puts them into the documents.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
