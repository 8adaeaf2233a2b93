"""Controller side of the redis_reload module: runs it only where one shell command finds something to load.

The judgement is the module's own, by its functions.
"""

from __future__ import annotations

import shlex
from typing import Any

from ansible_collections.celeriac.fleet.plugins.modules import redis_reload as module
from ansible_collections.celeriac.fleet.plugins.plugin_utils.look_first import LookFirst, last_changes


class ActionModule(LookFirst):
    """Looks, then runs the module if there is anything to load."""

    MODULE = "celeriac.fleet.redis_reload"
    ARGUMENT_SPEC = module.ARGUMENT_SPEC

    def look(self, arguments: dict[str, Any]) -> str:
        paths = [arguments["login"]]
        for each in arguments["instances"]:
            paths += [each["started"], module.loaded(each), *module.files(each)]
        return f"stat --dereference --format='%.9Y %n' -- {shlex.join(paths)} 2>/dev/null"

    def settled(self, said: str, arguments: dict[str, Any]) -> dict[str, Any] | None:
        times = last_changes(said.splitlines())
        if any(module.stale(each, arguments["login"], times) for each in arguments["instances"]):
            return None
        return {"changed": False, "reloaded": []}
