"""plugins/plugin_utils/specs.py: what roles declare."""

from __future__ import annotations

import pytest
from ansible_collections.celeriac.fleet.plugins.plugin_utils import specs

from tests.support.harness import ROLES
from tests.support.harness import specs as declared


def test_roles_are_found_beside_the_plugins() -> None:
    assert list(specs.roles()) == ROLES


@pytest.mark.parametrize("role", ROLES)
def test_variables_of_a_role_are_those_of_its_argument_specs(role: str) -> None:
    assert specs.options(role) == declared(role)
    assert specs.names(role) >= set(declared(role))
