"""Fleets of other nodes than the inventory's."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.fleet import Substitutes


@pytest.fixture(scope="session")
def substitutes() -> Iterator[Substitutes]:
    """The inventory's nodes are back when the last test is through."""
    found = Substitutes()
    yield found
    found.end()
