"""What is broken under load, and what became of the tasks."""

from __future__ import annotations

import pytest

from tests.support.fleet import Fleet, Node
from tests.support.load import Ledger
from tests.support.soak import Soak
from tests.support.trial import Trials


@pytest.fixture
def nodes(fleet: Fleet) -> list[Node]:
    """All nodes: the first two are on different hosts and consume different queues."""
    (quick, steady), *others = [worker.nodes for worker in fleet.values()]
    return [quick, *(node for nodes in others for node in reversed(nodes)), steady]


@pytest.fixture(autouse=True)
def trials(fleet: Fleet, ledger: Ledger, soak: Soak) -> Trials:
    """Trials, once all is quiet."""
    found = Trials(fleet, ledger, soak)
    found.begin()
    return found
