"""What is broken under load, and what became of the tasks."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest
import testinfra
from testinfra.host import Host

from tests.support.live import Inventory
from tests.support.load import Ledger, LedgerLoad
from tests.support.trial import Node, Trial

RATE = 70  # tasks a second: one of the two hosts can do them alone


@pytest.fixture
def nodes(inventory: Inventory, workers: dict[str, Host], app: str) -> list[Node]:
    """All nodes, those of a host side by side."""
    return [
        Node(app, node["name"], name, host)
        for name, host in workers.items()
        for node in inventory[name].evaluate(f"celery_nodes | celeriac.fleet.celery_host_nodes('{name}')")
    ]


@pytest.fixture
def under_load(
    nodes: list[Node], ledger: Ledger, load: Callable[..., LedgerLoad], wait_for: Callable[..., Any]
) -> Callable[[str], AbstractContextManager[Trial]]:
    """A context with a load of RATE tasks a second; after it, ``report`` says what became of them."""

    @contextmanager
    def run(what: str) -> Iterator[Trial]:
        with load(rate=RATE) as running:
            trial = Trial(nodes, ledger, running, wait_for)
            trial.back()
            trial.seconds.clear()
            yield trial
            more = len(running.submitted) + 3 * RATE
            wait_for(lambda: len(running.submitted) >= more, what="some more tasks")
        settled(ledger, wait_for)
        trial.report = ledger.report(len(running.submitted))
        seconds = " ".join(f"{each:.1f}" for each in trial.seconds)
        print(f"\n{what}: {trial.report.told()}; all nodes worked again after {seconds} s")

    return run


def settled(ledger: Ledger, wait_for: Callable[..., Any]) -> None:
    """Wait until nothing is queued or unacknowledged, seen twice: what was fetched a moment ago isn't recorded yet."""
    empty = []

    def look() -> bool:
        empty.append(ledger.pending() == 0)
        return empty[-2:] == [True, True]

    wait_for(look, timeout=90, what="an end of all tasks")


@pytest.fixture
def replaced(wait_for: Callable[..., Any]) -> Callable[[Node, Callable[[], None]], None]:
    """Do what ends a node's main process, and wait for the next one."""

    def run(node: Node, end: Callable[[], None]) -> None:
        before = node.pid
        end()
        wait_for(lambda: node.pid not in (0, before), what="a new main process")

    return run


@pytest.fixture
def container(inventory: Inventory) -> Callable[..., None]:
    """Run a command of docker on a host's container."""
    local = testinfra.get_host("local://")

    def run(host: str, command: str, *options: str) -> None:
        name = f"{inventory[host]['test_host_prefix']}-{host}"
        local.check_output(shlex.join(["docker", command, *options, name]))

    return run


@pytest.fixture(autouse=True)
def _all_is_quiet(nodes: list[Node], ledger: Ledger, wait_for: Callable[..., Any]) -> None:
    wait_for(lambda: all(node.pid for node in nodes), what="all nodes")
    settled(ledger, wait_for)
    ledger.clear()
