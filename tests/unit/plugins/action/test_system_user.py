"""plugins/action/system_user.py: the user module is only run where getent doesn't show the user as it has to be."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from ansible.plugins.action import ActionBase
from ansible_collections.celeriac.fleet.plugins.action import system_user as plugin


@pytest.fixture
def action(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The plugin; ``said`` is what getent answers, ``called`` the arguments that the user module got."""
    monkeypatch.setattr(ActionBase, "run", lambda *_args, **_kwargs: {})
    found = object.__new__(plugin.ActionModule)
    found._task = SimpleNamespace(args={"name": "shop", "home": "/opt/shop"}, check_mode=False)
    found.called = []
    found._low_level_execute_command = lambda _command: {"stdout": found.said}
    found._execute_module = lambda **call: found.called.append(call["module_args"]) or {"changed": True}
    return found


def test_a_user_as_it_has_to_be_is_left_alone(action: Any) -> None:
    action.said = "shop:x:999:999::/opt/shop:/usr/sbin/nologin\r\nlocked\r\n"
    assert action.run() == {"changed": False}
    assert action.called == []


@pytest.mark.parametrize(
    "said",
    [
        "",
        "locked\n",
        "shop:x:999:999::/opt/shop:/bin/bash\nlocked\n",
        "shop:x:999:999::/home/shop:/usr/sbin/nologin\nlocked\n",
        "shop:x:999:999::/opt/shop:/usr/sbin/nologin\n",
    ],
)
def test_any_other_is_made_a_system_user_without_shell_and_password(action: Any, said: str) -> None:
    action.said = said
    assert action.run() == {"changed": True}
    (arguments,) = action.called
    assert arguments["system"] is True
    assert arguments["shell"] == "/usr/sbin/nologin"
    assert arguments["password"] == "!"
    assert (arguments["name"], arguments["home"], arguments["create_home"]) == ("shop", "/opt/shop", False)
