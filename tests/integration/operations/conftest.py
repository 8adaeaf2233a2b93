"""What the tests of the operations' playbooks have in common."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.site import Site


@pytest.fixture
def resumed(site: Site) -> Iterator[None]:
    """The crawler works again after the test."""
    yield
    site.playbook("playbooks/resume-node.yml", resume_node="crawler").succeeded()


@pytest.fixture
def drained(site: Site, resumed: None) -> None:
    """Nobody consumes crawl_queue during the test."""
    site.playbook("playbooks/drain-node.yml", drain_node="crawler").succeeded()
