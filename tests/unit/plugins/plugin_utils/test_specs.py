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


def test_text_is_ascii_where_a_pattern_says_word() -> None:
    assert specs.text(r"\w+")("abc")
    assert not specs.text(r"\w+")("ü")
    assert not specs.text(r"\d")("\u0661")
    assert not specs.text(r"\w+")("abc\n")
    assert specs.text(r"\d")(1)


@pytest.mark.parametrize(("value", "fits"), [(1, True), (3, True), (0, False), (4, False)])
def test_a_number_is_within_its_bounds(value: int, fits: bool) -> None:
    assert specs.number(1, 3)(value) is fits
