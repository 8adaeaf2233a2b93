"""plugins/action/locked_virtualenv.py: the module is sent where the virtualenv isn't, and with a lock only."""

from __future__ import annotations

import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.celeriac.fleet.plugins.action import locked_virtualenv as plugin
from ansible_collections.celeriac.fleet.plugins.modules import locked_virtualenv as module

from tests.support.harness import run_module
from tests.unit.plugins.modules.test_locked_virtualenv import LOCK, Host

pytestmark = pytest.mark.usefixtures("unused")


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


@pytest.fixture
def action(monkeypatch: pytest.MonkeyPatch, host: Host) -> Any:
    """The plugin on this very host; how often its module was sent is in ``sent``."""
    monkeypatch.setattr(ActionBase, "run", lambda *_args, **_kwargs: {})
    found = object.__new__(plugin.ActionModule)
    base = {"path": str(host.path), "python": str(host.python), "installer": "pip", "cache": str(host.root / "cache")}
    found._task = SimpleNamespace(args={**base, "requirements": LOCK})
    found.sent = []

    def command(text: str) -> dict[str, Any]:
        done = subprocess.run(["sh", "-c", text], capture_output=True, text=True, check=False)
        return {"stdout": done.stdout, "rc": done.returncode}

    def execute(**call: Any) -> dict[str, Any]:
        found.sent.append(call["module_args"])
        return run_module(module, call["module_args"], host.root)

    found._low_level_execute_command, found._execute_module = command, execute
    return found


def test_an_unchanged_one_costs_one_look(action: Any, host: Host) -> None:
    assert action.run()["changed"]
    assert action.run() == {"changed": False, "path": str(host.path)}
    assert len(action.sent) == 1


@pytest.mark.parametrize("change", [{"requirements": LOCK.replace("1.0", "1.1")}, {"only_binary": False}])
def test_another_lock_is_another_virtualenv(action: Any, change: dict[str, Any]) -> None:
    action.run()
    action._task.args |= change
    assert action.run()["changed"]


def test_comments_make_no_difference(action: Any) -> None:
    action.run()
    action._task.args["requirements"] = f"# via nothing\n{LOCK}"
    assert action.run()["changed"] is False


def test_an_interpreter_that_was_replaced_is_seen(action: Any, host: Host) -> None:
    link = host.root / "python9"
    link.symlink_to(host.python)
    action._task.args["python"] = str(link)
    action.run()
    link.unlink()
    link.symlink_to(host.interpreter("python3.99"))
    assert action.run()["changed"]


def test_one_that_is_not_complete_is_seen(action: Any, host: Host) -> None:
    action.run()
    (host.path / ".celeriac-complete").unlink()
    assert action.run()["changed"]


def test_uv_is_brought_along_pinned_by_hashes(action: Any) -> None:
    action._task.args["installer"] = "uv"
    action._execute_module = lambda **call: action.sent.append(call["module_args"]) or {}
    action.run()
    (sent,) = action.sent
    assert f"uv=={sent['uv_version']} " in sent["uv_lock"]
    assert "--hash=sha256:" in sent["uv_lock"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"requirements": ""}, "The lock is empty"),
        ({"requirements": "hello==1.0\n"}, "'hello==1.0' without a hash"),
    ],
)
def test_without_a_lock_nothing_is_sent(action: Any, arguments: dict[str, str], said: str) -> None:
    action._task.args |= arguments
    with pytest.raises(AnsibleActionFail, match=said):
        action.run()
    assert action.sent == []
