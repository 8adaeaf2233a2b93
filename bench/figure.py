"""What a figure is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from bench.lab import Lab, Options
from bench.record import Result, Trial


@dataclass(frozen=True)
class Panel:
    """A part of a figure's plot: one value of some of its series.

    Over the number of hosts if the series have several, else each measurement of a series in a row of its own.
    """

    value: str
    label: str  # of the axis, with the unit
    series: tuple[str, ...]
    growth: bool = False


class Figure(ABC):
    """Something that is measured, in rounds: each has every series once, so that they alternate."""

    name: ClassVar[str]
    title: ClassVar[str]
    settings: ClassVar[dict[str, str]]  # what has to be said of how it is measured
    panels: ClassVar[tuple[Panel, ...]]

    def problems(self, options: Options) -> Iterator[str]:
        """What is missing for it, a sentence each; nothing has been started yet."""
        yield from ()

    @abstractmethod
    def measure(self, lab: Lab) -> None:
        """Make the lab's trials.

        :raises BenchError: if it can't
        """

    @abstractmethod
    def results(self, trials: Sequence[Trial]) -> list[Result]:
        """What the trials come to."""
