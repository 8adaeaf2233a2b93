"""Faults that are injected while tasks run, and what became of the tasks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.support.fleet import Fleet, Node
from tests.support.load import Ledger, LedgerLoad, Report
from tests.support.waiting import wait_for

RATE = 70  # tasks a second: one of the two hosts can do them alone


@dataclass
class Trial:
    """A fault under load. Each node consumes one queue, named like it, so a line of the ledger tells who wrote it."""

    nodes: list[Node]
    ledger: Ledger
    load: LedgerLoad
    seconds: list[float] = field(default_factory=list)
    report: Report = field(init=False)

    def back(self, since: float | None = None) -> None:
        """Note the seconds from ``since``, or from now, until each node, as the process it is now, has done a task."""
        begun = time.monotonic() if since is None else since

        def first() -> list[float] | None:
            lines = self.ledger.lines()
            pids = {node: node.pid for node in self.nodes}
            done = [
                next(
                    (
                        line.time
                        for line in lines
                        if line.time > begun
                        and (line.host, line.queue, line.pid) == (node.worker.name, node.name, pids[node])
                    ),
                    None,
                )
                for node in self.nodes
            ]
            return None if None in done else [each for each in done if each is not None]

        self.seconds.append(max(wait_for(first, what="a task of each node")) - begun)

    def fault(self, inject: Callable[[], Any]) -> None:
        """Break something, and note the seconds until each node has done a task after it."""
        since = time.monotonic()
        inject()
        self.back(since)


class Trials:
    """Trials on a fleet that runs tests/apps/ledger."""

    def __init__(self, fleet: Fleet, ledger: Ledger) -> None:
        self.nodes, self.ledger = fleet.nodes, ledger

    def begin(self) -> None:
        """Wait until all nodes run and no task is left, and empty the ledger."""
        wait_for(lambda: all(node.pid for node in self.nodes), what="all nodes")
        self._settle()
        self.ledger.clear()

    @contextmanager
    def under_load(self, what: str) -> Iterator[Trial]:
        """A load of RATE tasks a second; after it, ``report`` says what became of them."""
        with self.ledger.load(RATE) as running:
            trial = Trial(self.nodes, self.ledger, running)
            trial.back()
            trial.seconds.clear()
            yield trial
            more = len(running.submitted) + 3 * RATE
            wait_for(lambda: len(running.submitted) >= more, what="some more tasks")
        self._settle()
        trial.report = self.ledger.report(len(running.submitted))
        seconds = " ".join(f"{each:.1f}" for each in trial.seconds)
        print(f"\n{what}: {trial.report.told()}; all nodes worked again after {seconds} s")

    def _settle(self) -> None:
        """Wait until nothing is queued or unacknowledged, seen twice: what was just fetched isn't recorded yet."""
        empty = []

        def look() -> bool:
            empty.append(self.ledger.pending() == 0)
            return empty[-2:] == [True, True]

        wait_for(look, what="an end of all tasks")
