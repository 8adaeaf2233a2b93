"""plugins/plugin_utils/look_first.py: arguments first, then one command, then perhaps a module."""

from __future__ import annotations

import importlib
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.celeriac.fleet.plugins.plugin_utils.celery_probe import ProbeAction
from ansible_collections.celeriac.fleet.plugins.plugin_utils.look_first import LookFirst, last_changes, sections

from tests.support.harness import ROOT

ACTIONS = sorted(path.stem for path in (ROOT / "plugins/action").glob("*.py"))


class Action(LookFirst):
    """Asks for ``a`` and is settled if that is what the host says."""

    MODULE = "celeriac.fleet.a"
    ARGUMENT_SPEC: ClassVar[dict[str, Any]] = {
        "wanted": {"required": True},
        "count": {"type": "int", "default": 3},
        "entries": {
            "type": "list",
            "elements": "dict",
            "default": [],
            "options": {"path": {"type": "path"}, "mode": {"default": "0644"}},
        },
    }

    def look(self, arguments: dict[str, Any]) -> str:
        return "echo a"

    def settled(self, said: str, arguments: dict[str, Any]) -> dict[str, Any] | None:
        return {"changed": False} if said == arguments["wanted"] + "\n" else None


@pytest.fixture
def action(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The action on a host that says ``a``, by a terminal; what it does there is collected in ``did``."""
    monkeypatch.setattr(ActionBase, "run", lambda *_args, **_kwargs: {})
    found = object.__new__(Action)
    found._task = SimpleNamespace(args={"wanted": "a"}, check_mode=False)
    found.did = []
    found._low_level_execute_command = lambda command: found.did.append(command) or {"stdout": "a\r\n", "rc": 0}
    found._execute_module = lambda **call: found.did.append(call) or {"changed": True}
    return found


def test_a_settled_host_costs_one_command(action: Any) -> None:
    assert action.run() == {"changed": False}
    assert action.did == ["{ echo a; } | cat"]


def test_without_a_command_the_module_is_sent_unasked(action: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Action, "look", lambda *_: "")
    assert action.run()["changed"]
    assert [list(call) for call in action.did] == [["module_name", "module_args", "task_vars"]]


def test_any_other_host_is_sent_the_module_with_complete_arguments(action: Any) -> None:
    action._task.args = {"wanted": "b", "count": "7", "entries": [{"path": "~/x"}]}
    assert action.run(task_vars={"x": 1}) == {"changed": True}
    arguments = {"wanted": "b", "count": 7, "entries": [{"path": "~/x", "mode": "0644"}]}
    assert action.did[1:] == [{"module_name": "celeriac.fleet.a", "module_args": arguments, "task_vars": {"x": 1}}]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({}, "missing required arguments: wanted"),
        ({"wanted": "a", "count": "many"}, "argument 'count' is of type str"),
        ({"wanted": "a", "entries": [{"pth": "/x"}]}, "entries.pth. Supported parameters include: mode, path"),
        ({"wanted": "a", "wnated": "a"}, "wnated. Supported parameters include: count, entries, wanted"),
    ],
)
def test_wrong_arguments_are_named_before_the_host_is_asked(action: Any, arguments: dict[str, Any], said: str) -> None:
    action._task.args = arguments
    with pytest.raises(AnsibleActionFail, match=said):
        action.run()
    assert action.did == []


def test_sections_are_separated_by_a_line_of_its_own() -> None:
    assert sections("a\n\nb==\n==\n==\nc\n") == [["a", "b=="], [], ["c"]]
    assert sections("") == [[]]


def test_times_of_change_are_read_to_the_nanosecond() -> None:
    assert last_changes(["1.000000002 /a b", "stat: no", "3.5 /short"]) == {"/a b": 1_000_000_002}


@pytest.mark.parametrize("name", ACTIONS)
def test_every_action_looks_first_or_asks_an_application(name: str) -> None:
    module = importlib.import_module(f"ansible_collections.celeriac.fleet.plugins.action.{name}")
    assert issubclass(module.ActionModule, LookFirst | ProbeAction)
