"""Controller side of the celery_check module: a release that passed a check isn't imported again."""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Mapping
from typing import Any

from ansible_collections.celeriac.fleet.plugins.modules import celery_check as module
from ansible_collections.celeriac.fleet.plugins.plugin_utils.celery_probe import author, program
from ansible_collections.celeriac.fleet.plugins.plugin_utils.look_first import LookFirst

APART = ("directory", "current", "environment_file", "program", "trail", "by", "controller", "digest")


def digest(arguments: Mapping[str, Any]) -> str:
    """A digest of all that the outcome of a check depends on, besides the release and its environment."""
    told = {key: value for key, value in arguments.items() if key not in APART}
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


class ActionModule(LookFirst):
    """Looks for a former check's result, then runs the module if there is none."""

    MODULE = "celeriac.fleet.celery_check"
    ARGUMENT_SPEC = module.ARGUMENT_SPEC

    def prepared(self, arguments: dict[str, Any], variables: dict[str, Any]) -> dict[str, Any]:
        return {**arguments, "digest": digest(arguments)}

    def look(self, arguments: dict[str, Any]) -> str:
        environment, stamp = arguments["environment_file"], f"{arguments['directory']}/{module.CHECKED}"
        return f"sha256sum -- {shlex.quote(environment)} && cat -- {shlex.quote(stamp)}"

    def settled(self, said: str, arguments: dict[str, Any]) -> dict[str, Any] | None:
        environment, _, stamp = said.strip().partition("\n")
        tasks = module.known_tasks(module.read_stamp(stamp), arguments["digest"], environment.split(" ")[0])
        return None if tasks is None else {"changed": False, "tasks": tasks}

    def send(self, arguments: dict[str, Any], variables: dict[str, Any]) -> dict[str, Any]:
        return super().send({**arguments, "program": program(), **author()}, variables)
