"""docs/benchmarks.md: the figures that were measured for a release, with their plots and every single measurement."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from bench.machine import ROOT
from bench.record import Record, medians

DOCUMENT = ROOT / "docs/benchmarks.md"
KEPT = ROOT / "docs/benchmarks"  # <figure>.json and <figure>.svg of what the document shows
MET = {True: "yes", False: "no", None: ""}


def block(record: Record) -> str:
    """What the document says of a figure, between its marks."""
    return "\n".join(_lines(record))


def _lines(record: Record) -> Iterator[str]:
    yield f"![{record.title}](benchmarks/{record.figure}.svg)"
    yield ""
    yield "| result | value | aim | met |"
    yield "|---|---|---|---|"
    for result in record.results:
        unit = f" {result.unit}" if result.unit else ""
        aim = "" if result.aim is None else f"≤ {result.aim:g}{unit}"
        yield f"| {result.name} | {result.value:.2f}{unit} | {aim} | {MET[result.met]} |"
    yield ""
    yield from _medians(record)
    machine = record.machine
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items() if version)
    yield (
        f"Measured {record.date[:16].replace('T', ' ')} UTC at commit `{record.commit}` on {machine['processors']} "
        f"processors ({machine['processor']}), {machine['memory_mib'] // 1024} GiB, kernel {machine['kernel']}, at a "
        f"load of {machine['load']:g}; {versions}. "
        f"Every single measurement is in [{record.figure}.json](benchmarks/{record.figure}.json)."
    )
    yield ""
    yield from (f"- {name}: {said}." for name, said in record.settings.items())


def _medians(record: Record) -> Iterator[str]:
    """Tables of the medians; a table for each set of values, since series may have different ones."""
    of_series = medians(record.trials)
    several = any(hosts > 1 for _, hosts in of_series)
    kinds = dict.fromkeys(tuple(values) for values in of_series.values())
    for names in kinds:
        first = ["median of", *(["hosts"] if several else [])]
        yield f"| {' | '.join([*first, *names])} |"
        yield f"|{'---|' * (len(first) + len(names))}"
        for (series, hosts), values in of_series.items():
            if tuple(values) == names:
                cells = [series, *([str(hosts)] if several else []), *(f"{value:.4g}" for value in values.values())]
                yield f"| {' | '.join(cells)} |"
        yield ""


def written(document: str, record: Record) -> str:
    """The document with what it says of a figure replaced.

    :raises ValueError: if it has no place for the figure
    """
    begin, end = f"<!-- {record.figure} -->\n", f"<!-- end of {record.figure} -->"
    pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    if not pattern.search(document):
        raise ValueError(f"{DOCUMENT} has no line {begin.strip()}: write where the figure's results belong")
    return pattern.sub(lambda _: f"{begin}{block(record)}\n{end}", document)


def publish(found: Path) -> list[str]:
    """Put what was measured last into the document; the names of the figures.

    :param found: directory of the records and plots that were made
    :raises ValueError: if a record is none, or has no place
    """
    KEPT.mkdir(exist_ok=True)
    figures = []
    for path in sorted(found.glob("*.json")):
        text = path.read_text(encoding="utf-8")
        record = Record.of_json(text)
        DOCUMENT.write_text(written(DOCUMENT.read_text(encoding="utf-8"), record), encoding="utf-8")
        (KEPT / path.name).write_text(text, encoding="utf-8")
        (KEPT / f"{path.stem}.svg").write_bytes(path.with_suffix(".svg").read_bytes())
        figures.append(record.figure)
    return figures
