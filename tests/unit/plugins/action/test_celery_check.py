"""plugins/action/celery_check.py: when a release was found good before."""

from __future__ import annotations

import json

import pytest
from ansible_collections.celeriac.fleet.plugins.action import celery_check as action

ARGUMENTS = {"app": "shop", "directory": "/a", "current": "/c", "environment_file": "/e", "pools": []}
STAMP = {"arguments": action.digest(ARGUMENTS), "environment": "e1", "tasks": ["shop.pay"]}


@pytest.mark.parametrize("key", ["app", "pools"])
def test_other_arguments_have_another_digest(key: str) -> None:
    assert action.digest({**ARGUMENTS, key: "other"}) != action.digest(ARGUMENTS)


def test_another_place_has_the_same_digest() -> None:
    assert action.digest({**ARGUMENTS, "directory": "/b"}) == action.digest(ARGUMENTS)


@pytest.mark.parametrize(
    ("said", "tasks"),
    [
        (f"e1  /e\n{json.dumps(STAMP)}\n", ["shop.pay"]),
        (f"e2  /e\n{json.dumps(STAMP)}\n", None),
        (f"e1  /e\n{json.dumps({**STAMP, 'arguments': 'x'})}\n", None),
        ("e1  /e\n", None),
        ("", None),
        ("e1  /e\n{half", None),
    ],
)
def test_only_the_same_release_environment_and_arguments_are_good(said: str, tasks: list[str] | None) -> None:
    found = object.__new__(action.ActionModule).settled(said, {"digest": STAMP["arguments"]})
    assert (found and found["tasks"]) == tasks
