"""A fault that is injected while tasks run, and what became of them."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from testinfra.host import Host

from tests.support.load import Ledger, LedgerLoad, Report


@dataclass(frozen=True)
class Node:
    """One node of the fleet. Each consumes one queue, named like it, so a line of the ledger tells who wrote it."""

    app: str
    name: str
    where: str
    host: Host

    @property
    def unit(self) -> str:
        return f"{self.app}-worker@{self.name}.service"

    def show(self, name: str) -> str:
        """What systemd says; nothing while its host isn't up."""
        return str(self.host.run("systemctl show --value --property=%s %s", name, self.unit).stdout.strip())

    @property
    def pid(self) -> int:
        """Of the main process; 0 without one."""
        return int(self.show("MainPID") or 0)

    def children(self) -> list[int]:
        """Of the pool."""
        return [int(pid) for pid in self.host.run(f"pgrep -P {self.pid}").stdout.split()]

    @property
    def limit(self) -> int:
        """Bytes that the node and its pool may have."""
        limit = self.show("MemoryMax")
        return sys.maxsize if limit == "infinity" else int(limit)

    def kill(self, pid: int) -> None:
        """SIGKILL, to the main process or one of its pool."""
        self.host.check_output(f"kill -KILL {pid}")


@dataclass
class Trial:
    """A fault under load."""

    nodes: list[Node]
    ledger: Ledger
    load: LedgerLoad
    wait_for: Callable[..., Any]
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
                        and (line.host, line.queue, line.pid) == (node.where, node.name, pids[node])
                    ),
                    None,
                )
                for node in self.nodes
            ]
            return None if None in done else [each for each in done if each is not None]

        self.seconds.append(max(self.wait_for(first, timeout=60, what="a task of each node")) - begun)

    def fault(self, inject: Callable[[], Any]) -> None:
        """Break something, and note the seconds until each node has done a task after it."""
        since = time.monotonic()
        inject()
        self.back(since)
