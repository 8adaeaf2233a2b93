"""plugins/plugin_utils/redis_checks.py: tests of single values; what is said is in test_filter_redis_problems.py."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest
from ansible_collections.celeriac.fleet.plugins.plugin_utils import redis_checks as checks
from hypothesis import given
from hypothesis import strategies as st


@given(st.ip_addresses())
def test_any_address_that_a_socket_can_be_bound_to_is_one(found: Any) -> None:
    mapped = isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None
    assert checks.address(str(found)) is not mapped
    assert not checks.address(int(found))


@given(
    st.lists(st.ip_addresses(v=4).filter(lambda each: int(each)), min_size=1, max_size=16, unique=True), st.booleans()
)
def test_different_addresses_can_be_listened_on(found: list[Any], optional: bool) -> None:
    sign = "-" if optional else ""
    assert checks.addresses([f"{sign}{each}" for each in found])
    assert not checks.addresses([*map(str, found), f"-{found[0]}"])
    assert not checks.addresses([*map(str, found), "*"])


@pytest.mark.parametrize(
    ("value", "size"),
    [("1mb", 2**20), ("2M", 2 * 10**6), ("3gB", 3 * 2**30), (1048576, 2**20), ("50%", 500), ("1%", 10)],
)
def test_sizes_are_what_servers_make_of_them(value: Any, size: int) -> None:
    assert checks.size(value)
    assert checks.in_bytes(value, 1000) == size
