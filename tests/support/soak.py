"""make soak: tests with the marker ``soak`` in full size, and what they measured.

In ``make test`` the same tests are quick trials: less of everything, and nothing is written down.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TypeVar

import pytest

OPTION = "--soak"
Number = TypeVar("Number", int, float)


@dataclass(frozen=True)
class Measurement:
    """What became of the tasks that were submitted while something happened.

    :param what: what happened, in words
    :param lost: how many of those submitted never ran
    :param twice: how many ran more than once
    :param gap: the longest time without a task that ended, in seconds
    :param seconds: each time, until all nodes worked again; nothing where nobody looked
    """

    what: str
    submitted: int
    lost: int
    twice: int
    gap: float | None = None
    seconds: list[float] = field(default_factory=list)

    def __str__(self) -> str:
        gap = "" if self.gap is None else f", longest gap {self.gap:.2f} s"
        back = "; all nodes worked again after " * bool(self.seconds) + " ".join(f"{each:.1f}" for each in self.seconds)
        return f"{self.what}: {self.submitted} submitted, {self.lost} lost, {self.twice} ran twice{gap}{back}"


class Soak:
    """How much of something a test does, and what it measured.

    :param file: where measurements are added, a line of JSON each; without it the tests are quick trials
    """

    def __init__(self, file: Path | None) -> None:
        self._file = file

    def size(self, quick: Number, full: Number) -> Number:
        """The one of two sizes that this run has."""
        return full if self._file else quick

    def measured(
        self,
        what: str,
        *,
        submitted: int,
        lost: int,
        twice: int,
        gap: float | None = None,
        seconds: Sequence[float] = (),
    ) -> None:
        """Write a measurement down, before the test says whether it is good enough."""
        measurement = Measurement(what, submitted, lost, twice, gap, list(seconds))
        print(f"\n{measurement}")
        if self._file:
            with self._file.open("a", encoding="utf-8") as file:
                file.write(json.dumps(asdict(measurement)) + "\n")


def read(file: Path) -> list[Measurement]:
    """What a run has written down."""
    return [Measurement(**json.loads(line)) for line in file.read_text(encoding="utf-8").splitlines()]


# -- hooks and fixtures of tests/integration/conftest.py


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        OPTION,
        metavar="FILE",
        type=Path,
        help="run the tests with the marker soak alone, in full size, and add what they measure to FILE",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect what is no part of this run."""
    full = config.getoption(OPTION) is not None

    def chosen(item: pytest.Item) -> bool:
        markers = list(item.iter_markers("soak"))
        return bool(markers) if full else not any(marker.kwargs.get("only") for marker in markers)

    if others := [item for item in items if not chosen(item)]:
        items[:] = [item for item in items if chosen(item)]
        config.hook.pytest_deselected(items=others)


@pytest.fixture(scope="session")
def soak(request: pytest.FixtureRequest) -> Soak:
    """How much of everything this run does."""
    return Soak(request.config.getoption(OPTION))
