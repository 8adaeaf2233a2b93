#!/usr/bin/python
"""Import a release before any node runs it."""

from __future__ import annotations

DOCUMENTATION = r"""
module: celery_check
short_description: Check that a release can be imported, registers its tasks, and has what its nodes and beat need
description:
  - Imports the application of the release in I(directory), as the application's user, in the release's virtualenv and
    the environment that it will have. Nothing is switched and nothing restarted.
  - Fails if that raises, if no task is registered besides Celery's own, if a scheduled task isn't registered, if the
    library of a pool or of the scheduler can't be imported, or if the application routes tasks to a queue that no node
    consumes.
  - Warns of tasks that the release before had and this one hasn't, since nodes discard a queued task that they don't
    know, and of settings with which a stop or a killed node loses tasks.
  - A release that is refused is a line in the file I(trail), as M(celeriac.fleet.celery_rollout) writes them; its
    C(result) is C(refused).
  - A release that passed with the same arguments isn't imported again.
options:
  app: {description: "What C(celery -A) takes.", type: str, required: true}
  directory: {description: "The release, with its virtualenv in C(.venv).", type: path, required: true}
  current: {description: Link to the release that is live., type: path, required: true}
  environment_file: {description: "The C(EnvironmentFile=) that the release will have.", type: path, required: true}
  user: {description: The user to import as., type: str, required: true}
  program:
    description: "What runs in the application: file name and text. Set by the action plugin."
    type: dict
  trail:
    description: File on the host with a line of JSON for each rollout. Nothing is written down without it.
    type: path
  by: {description: Who runs it on the controller. Set by the action plugin., type: str, default: ""}
  controller: {description: The controller's host name. Set by the action plugin., type: str, default: ""}
  pools: {description: Pools of the nodes., type: list, elements: str, default: []}
  scheduler: {description: Beat's scheduler., type: str}
  fleet_queues: {description: Queues that some node of the fleet consumes., type: list, elements: str, required: true}
  visibility_timeout:
    description: >-
      Seconds after which the broker hands out an unacknowledged message again, by the inventory. The application has to
      take it up.
    type: int
  digest: {description: Set by the action plugin., type: str}
extends_documentation_fragment: celeriac.fleet.attributes
attributes:
  check_mode: {support: full, details: Looks at a release that is there already.}
  diff_mode: {support: none}
author: The Celeriac developers
"""

EXAMPLES = r"""
- name: Check the release
  celeriac.fleet.celery_check:
    app: app.core.celery_config
    directory: /opt/chatlite/releases/3f1c0a9be27d
    current: /opt/chatlite/current
    environment_file: /etc/chatlite/next.env
    user: chatlite
    fleet_queues: [crawl_queue, default]
"""

RETURN = r"""
tasks: {description: Names of the application's tasks., returned: always, type: list, elements: str}
advice: {description: What was warned of., returned: when the release was imported, type: list, elements: str}
"""

import hashlib
import json
import os
from typing import Any, NoReturn

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.celeriac.fleet.plugins.module_utils.celery_app import (
    FLOOR,
    Probe,
    ProbeError,
    masked,
    read_environment,
)
from ansible_collections.celeriac.fleet.plugins.module_utils.trail import Trail

CHECKED = ".celeriac-checked"
LIMIT = 120  # seconds that an import may take
STRING = {"type": "str", "required": True}
PATH = {"type": "path", "required": True}
STRINGS = {"type": "list", "elements": "str"}
ARGUMENT_SPEC: dict[str, Any] = {
    "app": STRING,
    "directory": PATH,
    "current": PATH,
    "environment_file": PATH,
    "user": STRING,
    "program": {"type": "dict", "no_log": True},  # long, for no log
    "trail": {"type": "path"},
    "by": {"type": "str", "default": ""},
    "controller": {"type": "str", "default": ""},
    "pools": {**STRINGS, "default": []},
    "scheduler": {"type": "str"},
    "fleet_queues": {**STRINGS, "required": True},
    "visibility_timeout": {"type": "int"},
    "digest": {"type": "str"},
}


def outdated(old: dict[str, str]) -> list[str]:
    """What forbids a release with these versions, library -> version, as ends of a sentence."""
    return [
        f"it has {name} {version}, which may stop consuming after a reconnect to Redis: require "
        f"{name}>={'.'.join(map(str, FLOOR))}"
        for name, version in old.items()
    ]


def problems(found: dict[str, Any], fleet_queues: list[str], app: str) -> list[str]:
    """What forbids the release, as ends of a sentence."""
    said = list(found["problems"])
    if not found["tasks"]:
        said.append(f"{app} registers no task: include the modules that have them in the Celery application")
    if found["unknown"]:
        said.append(
            f"its schedule has {', '.join(found['unknown'])}, which no module registers: nodes would discard it"
        )
    unserved = sorted(set(found["routed"]) - set(fleet_queues))
    if unserved:
        said.append(
            f"{app} routes tasks to {', '.join(unserved)}, which no node consumes: add it to the queues of a node in "
            "celery_nodes and to celery_routed_queues"
        )
    return said


def warnings(found: dict[str, Any], before: list[str], visibility_timeout: int | None) -> list[str]:
    """What an operator should know of a release that may be used."""
    settings, said = found["settings"], []
    dropped = sorted(set(before) - set(found["tasks"]))
    if dropped:
        said.append(
            f"The release no longer has {', '.join(dropped)}, which the one before has. Nodes discard a queued task "
            "that they don't know."
        )
    if not settings["task_acks_late"]:
        said.append("task_acks_late is off in the application: what a node runs when it is killed is lost.")
    elif not settings["task_reject_on_worker_lost"]:
        said.append(
            "task_reject_on_worker_lost is off in the application: a task whose pool process dies is lost. Set it and "
            "task_retry_on_worker_lost, which bounds how often such a task runs again."
        )
    late = sorted(name for name, delay in settings["retry_delays"].items() if delay >= settings["visibility_timeout"])
    if late:
        said.append(
            f"{', '.join(late)} waits default_retry_delay seconds after its process was lost, which is not below the "
            f"visibility_timeout of {settings['visibility_timeout']} s: the broker hands it out again meanwhile, and "
            "it runs more than once. Lower default_retry_delay."
        )
    if visibility_timeout is not None and settings["visibility_timeout"] != visibility_timeout:
        said.append(
            f"The application's visibility_timeout is {settings['visibility_timeout']} s, the inventory's "
            f"celery_visibility_timeout {visibility_timeout} s: have broker_transport_options take up "
            "CELERY_VISIBILITY_TIMEOUT."
        )
    return said


def read_stamp(text: str) -> dict[str, Any]:
    """What a former check left as ``text``; nothing if it is none."""
    try:
        return dict(json.loads(text))
    except (TypeError, ValueError):
        return {}


def checked(directory: str) -> dict[str, Any]:
    """What a former check of the release in ``directory`` left; nothing if there was none."""
    try:
        with open(os.path.join(directory, CHECKED), encoding="utf-8") as file:
            return read_stamp(file.read())
    except FileNotFoundError:
        return {}


def known_tasks(stamp: dict[str, Any], digest: str, environment: str) -> list[str] | None:
    """The tasks that a former check found, with the same arguments and environment; None if there was no such check."""
    same = stamp.get("arguments") == digest and stamp.get("environment") == environment
    return list(stamp["tasks"]) if same else None


def file_digest(path: str) -> str:
    """As sha256sum prints it."""
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


def refuse(module: AnsibleModule, reason: str) -> NoReturn:
    """Fail, with a line in the trail."""
    params, release = module.params, os.path.basename(module.params["directory"])
    before = os.path.basename(os.path.realpath(params["current"]))
    about = {"release": release, "before": before, "by": params["by"], "controller": params["controller"]}
    trail = Trail(None if module.check_mode else params["trail"], about, module.warn)
    trail.end("refused", masked(reason, read_environment(params["environment_file"])))
    module.fail_json(msg=f"Release {release} isn't used, the running one is untouched: {reason}")


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    params = module.params
    directory = params["directory"]
    if not os.path.isdir(directory) or not os.path.exists(params["environment_file"]):
        module.exit_json(changed=False, tasks=[])  # check mode, nothing was built
    now = {"arguments": params["digest"], "environment": file_digest(params["environment_file"])}
    known = known_tasks(checked(directory), now["arguments"], now["environment"])
    if known is not None:
        module.exit_json(changed=False, tasks=known)
    variables = read_environment(params["environment_file"])
    try:
        with Probe(f"{directory}/.venv", directory, params["user"], variables, params["program"]) as probe:
            old = probe.call("outdated", limit=LIMIT, floor=FLOOR)
            probe.call("load", limit=LIMIT, app=params["app"])
            found = probe.call("check", limit=LIMIT, pools=params["pools"], scheduler=params["scheduler"])
    except ProbeError as error:
        refuse(module, f"importing {params['app']} failed: {error}\n{error.output}".rstrip())
    said = outdated(old) + problems(found, params["fleet_queues"], params["app"])
    if said:
        refuse(module, "; ".join(said) + ".")
    before = checked(os.path.realpath(params["current"])).get("tasks", [])
    advice = warnings(found, before, params["visibility_timeout"])
    for warning in advice:
        module.warn(warning)
    if not module.check_mode:
        stamp = os.path.join(directory, CHECKED)
        # for root alone: it has a digest of the environment
        with open(os.open(stamp, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            json.dump({**now, "tasks": found["tasks"]}, file)
    module.exit_json(changed=False, tasks=found["tasks"], advice=advice)


if __name__ == "__main__":
    main()
