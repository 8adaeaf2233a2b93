"""Measurements of a figure, what follows from them, and their JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any, Self

FORMAT = 1


@dataclass(frozen=True)
class Trial:
    """One measurement."""

    series: str  # what was measured
    round: int  # from 1; the trials of a round were made one after the other
    values: Mapping[str, float]  # name, with its unit at the end -> value
    at: str = ""  # when it began, UTC
    load: float = 0.0  # of the machine, when it began
    hosts: int = 1
    split: Mapping[str, float] = field(default_factory=dict)  # part -> its seconds


@dataclass(frozen=True)
class Result:
    """What a figure comes to, beside its aim."""

    name: str
    value: float
    aim: float | None = None  # the most that it should be
    unit: str = ""  # "" for a ratio

    @property
    def met(self) -> bool | None:
        """Whether the aim is met; None without one."""
        return None if self.aim is None else self.value <= self.aim


def medians(trials: Iterable[Trial]) -> dict[tuple[str, int], dict[str, float]]:
    """(series, hosts) -> the median of each value and, as ``<part>, s``, of each part, in the order of the trials."""
    found: dict[tuple[str, int], dict[str, list[float]]] = {}
    for trial in trials:
        every = found.setdefault((trial.series, trial.hosts), {})
        parts = {f"{part}, s": seconds for part, seconds in trial.split.items()}
        for name, value in {**trial.values, **parts}.items():
            every.setdefault(name, []).append(value)
    return {where: {name: median(values) for name, values in every.items()} for where, every in found.items()}


def paired_ratio(trials: Iterable[Trial], ours: str, theirs: str, value: str = "seconds") -> float:
    """The median, over the rounds, of what ours takes by what theirs takes in the same round.

    :raises ValueError: if there is no round with both
    """
    rounds: dict[int, dict[str, float]] = {}
    for trial in trials:
        rounds.setdefault(trial.round, {})[trial.series] = trial.values[value]
    ratios = [values[ours] / values[theirs] for values in rounds.values() if ours in values and theirs in values]
    if not ratios:
        raise ValueError(f"no round has both {ours} and {theirs}")
    return median(ratios)


@dataclass(frozen=True)
class Record:
    """A figure that was measured."""

    figure: str
    title: str
    date: str  # when it began, UTC
    commit: str
    machine: Mapping[str, Any]
    settings: Mapping[str, str]  # what has to be said of how it was measured
    trials: Sequence[Trial]
    results: Sequence[Result]

    def as_json(self) -> str:
        """The record as JSON, its medians included."""
        of_series = [
            {"series": series, "hosts": hosts, "values": _rounded(values)}
            for (series, hosts), values in medians(self.trials).items()
        ]
        return json.dumps(
            {
                "format": FORMAT,
                **asdict(self),
                "results": [{**asdict(result), "met": result.met} for result in self.results],
                "medians": of_series,
            },
            indent=1,
        )

    @classmethod
    def of_json(cls, text: str) -> Self:
        """The record that ``as_json`` wrote.

        :raises ValueError: if it is none
        """
        read = json.loads(text)
        if not isinstance(read, dict) or read.get("format") != FORMAT:
            raise ValueError(f"this is no record of the format {FORMAT}: measure the figure again")
        results = [
            Result(**{key: value for key, value in result.items() if key != "met"}) for result in read["results"]
        ]
        known = {key: read[key] for key in ("figure", "title", "date", "commit", "machine", "settings")}
        return cls(**known, trials=[Trial(**trial) for trial in read["trials"]], results=results)


def _rounded(values: Mapping[str, float]) -> dict[str, float]:
    return {name: round(value, 3) for name, value in values.items()}


Results = Callable[[Sequence[Trial]], list[Result]]
