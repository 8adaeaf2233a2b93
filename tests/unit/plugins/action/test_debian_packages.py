"""plugins/action/debian_packages.py: apt is only asked where dpkg misses something."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.celeriac.fleet.plugins.action import debian_packages as plugin

DPKG = "installed redis-server 7.0.15\nconfig-files logrotate 3.21\nnot-installed \n"


@pytest.fixture
def action(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The plugin on a host where dpkg answers ``DPKG``; calls of apt are collected in ``called``."""
    monkeypatch.setattr(ActionBase, "run", lambda *_args, **_kwargs: {})
    found = object.__new__(plugin.ActionModule)
    found._task = SimpleNamespace(args={}, check_mode=False)
    found.called = []
    found._low_level_execute_command = lambda command: found.called.append(command) or {"stdout": DPKG, "rc": 0}
    found._execute_module = lambda **call: found.called.append(call) or {"changed": True}
    return found


def apt_calls(action: Any) -> list[dict[str, Any]]:
    return [call["module_args"] for call in action.called if isinstance(call, dict)]


def test_where_all_is_installed_apt_is_not_asked(action: Any) -> None:
    action._task.args = {"name": ["redis-server"]}
    assert action.run() == {"changed": False, "versions": {"redis-server": "7.0.15"}}
    assert apt_calls(action) == []


def test_what_only_left_its_configuration_is_not_installed(action: Any) -> None:
    action._task.args = {"name": ["redis-server", "logrotate"]}
    assert action.run()["changed"]
    (arguments,) = apt_calls(action)
    assert arguments["name"] == ["redis-server", "logrotate"]
    assert arguments["install_recommends"] is False


def test_what_others_will_ask_for_comes_in_the_same_transaction(action: Any) -> None:
    action._task.args = {"name": ["redis-server", "logrotate"], "others": ["python3-venv", "logrotate"]}
    result = action.run()
    assert [arguments["name"] for arguments in apt_calls(action)] == [["redis-server", "logrotate", "python3-venv"]]
    assert result["versions"] == {"redis-server": "7.0.15"}


def test_what_others_will_ask_for_is_no_reason_to_install(action: Any) -> None:
    action._task.args = {"name": ["redis-server"], "others": ["python3-venv"]}
    assert not action.run()["changed"]
    assert apt_calls(action) == []


@pytest.mark.parametrize(("check", "masked"), [(False, ["systemctl mask -- a.service 'b c.service'"]), (True, [])])
def test_units_are_masked_before_their_packages_come(action: Any, check: bool, masked: list[str]) -> None:
    action._task = SimpleNamespace(args={"name": ["x"], "mask": ["a.service", "b c.service"]}, check_mode=check)
    action.run()
    before = action.called[: next(at for at, call in enumerate(action.called) if isinstance(call, dict))]
    assert [call for call in before if call.startswith("systemctl")] == masked


def test_a_unit_that_can_not_be_masked_keeps_its_package_away(action: Any) -> None:
    action._task.args = {"name": ["x"], "mask": ["a.service"]}
    action._low_level_execute_command = lambda _command: {"stdout": "", "stderr": "read-only", "rc": 1}
    with pytest.raises(AnsibleActionFail, match="can't be masked: read-only"):
        action.run()
    assert apt_calls(action) == []


def test_names_are_quoted_for_the_shell(action: Any) -> None:
    action._task.args = {"name": ["x; reboot"]}
    action.run()
    assert "-- 'x; reboot';" in action.called[0]


def test_no_name_is_an_error(action: Any) -> None:
    action._task.args = {"name": []}
    with pytest.raises(AnsibleActionFail, match="name is empty"):
        action.run()
