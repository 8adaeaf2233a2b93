"""What is broken under load, and what became of the tasks."""

from __future__ import annotations

import pytest

from tests.support.fleet import Fleet, Node
from tests.support.load import Ledger
from tests.support.trial import Trials


@pytest.fixture
def nodes(fleet: Fleet) -> list[Node]:
    """All nodes, those of a host side by side."""
    return fleet.nodes


@pytest.fixture(autouse=True)
def trials(fleet: Fleet, ledger: Ledger) -> Trials:
    """Trials, once all is quiet."""
    found = Trials(fleet, ledger)
    found.begin()
    return found
