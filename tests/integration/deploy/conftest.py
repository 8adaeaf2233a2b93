"""The releases of two worker hosts. A test goes on from the release that the one before left."""

from __future__ import annotations

import pytest

from tests.support.fleet import Fleet
from tests.support.releases import Deployments
from tests.support.site import Site


@pytest.fixture(scope="module")
def deployments(site: Site, fleet: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Deployments:
    """What is deployed, and may be."""
    return Deployments(site, fleet, tmp_path_factory)
