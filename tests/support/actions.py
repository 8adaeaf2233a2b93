"""Action plugins without a host: what would be sent there."""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest.mock import MagicMock


def sent(plugin: ModuleType, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments that the module of an action plugin gets, for a task with these ``arguments``."""
    task = SimpleNamespace(args=dict(arguments), async_val=0, check_mode=False, action="test")
    action = plugin.ActionModule(task, MagicMock(), MagicMock(), None, None, None)
    action._execute_module = MagicMock(return_value={})
    action.run(task_vars={})
    return dict(action._execute_module.call_args.kwargs["module_args"])
