"""Controller side of the celery_rollout module: who runs it from where is known only here.

In check mode, which asks no node, a host where nothing is due isn't sent the module. The judgement is the module's own.
"""

from __future__ import annotations

from typing import Any

from ansible_collections.celeriac.fleet.plugins.action import systemd_units
from ansible_collections.celeriac.fleet.plugins.module_utils import systemd_state
from ansible_collections.celeriac.fleet.plugins.modules import celery_rollout as module
from ansible_collections.celeriac.fleet.plugins.plugin_utils.celery_probe import author, program
from ansible_collections.celeriac.fleet.plugins.plugin_utils.look_first import LookFirst


def units(arguments: dict[str, Any]) -> dict[str, Any]:
    """Arguments of systemd_units: the target, which is never restarted, and the nodes."""
    nodes = [{"name": node["unit"], "inputs": node["inputs"], "start": True} for node in arguments["nodes"]]
    target = {"name": arguments["target"], "inputs": [], "start": False}
    return {"units": [target, *nodes], "mask": [], "retire": []}


class ActionModule(LookFirst):
    """Looks in check mode; else sends the module, with what it asks the application and what it writes down."""

    MODULE = "celeriac.fleet.celery_rollout"
    ARGUMENT_SPEC = module.ARGUMENT_SPEC

    def look(self, arguments: dict[str, Any]) -> str:
        return systemd_units.look(units(arguments)) if self._task.check_mode and not arguments["restart"] else ""

    def settled(self, said: str, arguments: dict[str, Any]) -> dict[str, Any] | None:
        wanted = units(arguments)
        answer = systemd_units.seen(said, wanted)
        if answer is None:
            return None
        found, _ = answer
        masked = {name for name, state in found.states.items() if state["LoadState"] == "masked"}
        held = [node["unit"] for node in arguments["nodes"] if node["unit"] in masked]
        due = [unit for unit in wanted["units"] if unit["name"] not in held]
        if not systemd_state.runs(found.states[arguments["target"]]) or not systemd_state.settled(due, [], found):
            return None
        return {"changed": False, "nodes": {}, "held": held, "seconds": {}, "started": [], "restarted": []}

    def send(self, arguments: dict[str, Any], variables: dict[str, Any]) -> dict[str, Any]:
        return super().send({**arguments, "program": program(), **author()}, variables)
