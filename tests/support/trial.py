"""Faults that are injected while tasks run, and what became of the tasks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.support.fleet import Fleet, Node
from tests.support.load import Ledger, LedgerLoad, Report
from tests.support.soak import Soak
from tests.support.waiting import wait_for


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
        self.seconds.append(max(wait_for(lambda: self._done(begun), what="a task of each node")) - begun)

    def _done(self, begun: float) -> list[float] | None:
        """When each node has done its first task since ``begun``; nothing before all have."""
        first: dict[tuple[str, str, int], float] = {}
        for line in self.ledger.lines():
            if line.time > begun:
                first.setdefault((line.host, line.queue, line.pid), line.time)
        missing = {(node.worker.name, node.name) for node in self.nodes} - {(host, queue) for host, queue, _ in first}
        if missing:  # which is cheaper to tell than the nodes' processes
            return None
        done = [first.get((node.worker.name, node.name, node.pid)) for node in self.nodes]
        return None if None in done else [each for each in done if each is not None]

    def fault(self, inject: Callable[[], Any]) -> None:
        """Break something, and note the seconds until each node has done a task after it."""
        since = time.monotonic()
        inject()
        self.back(since)


class Trials:
    """Trials on a fleet that runs tests/apps/ledger."""

    def __init__(self, fleet: Fleet, ledger: Ledger, soak: Soak) -> None:
        self.nodes, self.ledger, self._soak = fleet.nodes, ledger, soak

    def begin(self) -> None:
        """Wait until all nodes run and no task is left, and empty the ledger."""
        wait_for(lambda: all(node.pid for node in self.nodes), what="all nodes")
        self._settle(leaves=True)  # by whatever was before
        self.ledger.clear()

    @contextmanager
    def under_load(self, what: str, *, leaves: bool = False) -> Iterator[Trial]:
        """A load; after it, ``report`` says what became of its tasks.

        :param leaves: whether nodes end, or lose Redis, without handing back what they have fetched
        """
        with self.ledger.load() as running:
            trial = Trial(self.nodes, self.ledger, running)
            trial.back()
            trial.seconds.clear()
            yield trial
            more = len(running.submitted) + self._soak.size(1, 3) * running.rate
            wait_for(lambda: len(running.submitted) >= more, what="some more tasks")
        self._settle(leaves=leaves)
        trial.report = self.ledger.report(len(running.submitted))
        self._soak.measured(what, **trial.report.figures, seconds=trial.seconds)

    def _settle(self, *, leaves: bool) -> None:
        """Wait until nothing is queued or unacknowledged, seen twice: what was just fetched isn't recorded yet."""
        empty = []

        def look() -> bool:
            if leaves:
                self.ledger.age()
            empty.append(self.ledger.pending() == 0)
            return empty[-2:] == [True, True]

        wait_for(look, what="an end of all tasks")
