"""playbooks/rotate-redis-password.yml: what it takes for an answer, before any host is changed."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.harness import ROOT, Inventory, read_yaml

PLAYS = read_yaml(ROOT / "playbooks/rotate-redis-password.yml")
INVENTORY = Inventory("inventories/production")


def question() -> dict[str, Any]:
    """The arguments of the task that asserts it."""
    (task,) = [task["ansible.builtin.assert"] for play in PLAYS for task in play.get("tasks", [])]
    return dict(task)


@pytest.mark.parametrize(
    ("answer", "taken"),
    [
        ({}, True),
        ({"rotate_keep_old": True}, True),
        ({"rotate_keep_old": "no"}, True),
        ({"rotate_keep_old": "True"}, True),
        ({"rotate_keep_old": "perhaps"}, False),
    ],
)
def test_a_rotation_asked_for_with_neither_yes_nor_no_is_refused(answer: dict[str, Any], taken: bool) -> None:
    (host, *_) = INVENTORY.groups["redis"]
    assert INVENTORY.evaluate(host, question()["that"], **answer) is taken


def test_the_answer_is_looked_at_before_anything_is_changed() -> None:
    imported = [play.get("ansible.builtin.import_playbook") for play in PLAYS]
    asks = [index for index, play in enumerate(PLAYS) if "tasks" in play]
    assert asks == [1]
    assert imported[0] == "preflight.yml"
    assert PLAYS[1]["hosts"] == "redis"
