"""Actions that look first, on this machine: their command in a real shell, their module in this process."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

from ansible_collections.celeriac.fleet.plugins.plugin_utils.look_first import validated

from tests.support.harness import run_module


def action(plugin: ModuleType, *, path: str = "", check: bool = False) -> Any:
    """The action of ``plugin``, whose commands find programs in the directory ``path`` first."""
    environ = {**os.environ, "PATH": f"{path}:{os.environ['PATH']}"}

    def shell(command: str) -> dict[str, Any]:
        done = subprocess.run(["sh", "-c", command], text=True, capture_output=True, env=environ, check=False)
        return {"rc": done.returncode, "stdout": done.stdout, "stderr": done.stderr}

    found = object.__new__(plugin.ActionModule)
    found._task = SimpleNamespace(check_mode=check)
    found._low_level_execute_command = shell
    return found


def look(
    plugin: ModuleType, arguments: Mapping[str, Any], path: str = "", *, check: bool = False
) -> tuple[dict[str, Any], Any]:
    """What would be sent, and the result if this machine is settled."""
    found = action(plugin, path=path, check=check)
    complete = found.prepared(validated(found.ARGUMENT_SPEC, arguments), {})
    command = found.look(complete)
    return complete, found.settled(found.ask(command), complete) if command else None


def settled(
    plugin: ModuleType, module: ModuleType, arguments: Mapping[str, Any], scratch: Path, path: str = ""
) -> tuple[bool, dict[str, Any]]:
    """Whether the action finds this machine settled, and what its module says in check mode."""
    sent, result = look(plugin, arguments, path)
    return result is not None, run_module(module, sent, scratch, check=True)
