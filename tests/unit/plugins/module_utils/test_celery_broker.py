"""plugins/module_utils/celery_broker.py: the keys of a queue. The rest runs on hosts: tests/integration/operations."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.celeriac.fleet.plugins.module_utils import celery_broker as plugin
from kombu.transport.redis import Channel


@pytest.fixture
def code() -> dict[str, Any]:
    """What ``CODE`` defines, with a channel that is connected to nothing."""
    names: dict[str, Any] = {}
    exec(compile(plugin.CODE, "code", "exec"), names)  # noqa: S102 - as the probe does it
    names["channel"] = Channel.__new__(Channel)
    names["channel"].global_keyprefix = "shop:"
    return names


def test_a_queue_has_a_list_for_each_priority_as_kombu_names_them(code: dict[str, Any]) -> None:
    assert code["lists"]("mail") == {
        0: "shop:mail",
        3: "shop:mail\x06\x163",
        6: "shop:mail\x06\x166",
        9: "shop:mail\x06\x169",
    }


def test_a_key_has_the_applications_prefix(code: dict[str, Any]) -> None:
    assert code["key"]("unacked") == "shop:unacked"
