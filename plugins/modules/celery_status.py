#!/usr/bin/python
"""What the Celery nodes and beat of a host do, and what waits in the application's queues."""

from __future__ import annotations

DOCUMENTATION = r"""
module: celery_status
short_description: Look at the Celery nodes, queues and beat of an application
description:
  - Reads units and releases off the host, and asks nodes and broker as the application's user in its virtualenv,
    environment and configuration. Changes nothing.
  - Does not fail where the application or its broker can't be asked. C(error) says why then, and what the host itself
    knows is returned all the same.
  - The age of a waiting message isn't known, since Celery doesn't write down when it sent one.
options:
  app: {description: "What C(celery -A) takes.", type: str, required: true}
  nodes:
    description: The nodes of this host.
    type: list
    elements: dict
    required: true
    suboptions:
      name: {description: "Name, without C(@host).", type: str, required: true}
      queues: {description: Queues it is meant to consume., type: list, elements: str, required: true}
      unit: {description: Its systemd unit., type: str, required: true}
      log: {description: Its log file. Not used., type: path}
  queues:
    description: Queues to count, besides those that the application itself declares.
    type: list
    elements: str
    required: true
  beat: {description: The systemd unit of beat., type: str, required: true}
  beat_log: {description: The log file of beat. Without one its journal is read., type: path, required: true}
  directory: {description: Working directory; a link to the release., type: path, required: true}
  virtualenv: {description: The application's virtualenv., type: path, required: true}
  environment_file: {description: The application's C(EnvironmentFile=)., type: path, required: true}
  user: {description: The user to ask as., type: str, required: true}
  trail: {description: The file that M(celeriac.fleet.celery_rollout) writes rollouts down in., type: path}
  program:
    description: "What runs in the application: file name and text. Set by the action plugin."
    type: dict
extends_documentation_fragment: celeriac.fleet.attributes
attributes:
  check_mode: {support: full, details: The same as without.}
  diff_mode: {support: none}
author: The Celeriac developers
"""

EXAMPLES = r"""
- name: Look
  celeriac.fleet.celery_status:
    app: app.core.celery_config
    nodes: [{name: crawler, queues: [crawl_queue], unit: chatlite-worker@crawler.service}]
    queues: [crawl_queue, default]
    beat: chatlite-beat.service
    beat_log: /var/log/chatlite/beat.log
    directory: /opt/chatlite/current
    virtualenv: /opt/chatlite/current/.venv
    environment_file: /etc/chatlite/chatlite.env
    user: chatlite
"""

RETURN = r"""
time: {description: Seconds since the epoch., returned: success, type: float}
release: {description: The release that C(directory) is a link to., returned: success, type: str}
releases:
  description: Releases that were live on this host, the latest first, with seconds since the epoch.
  returned: success
  type: list
  elements: dict
rollout:
  description:
    - The last rollout as M(celeriac.fleet.celery_rollout) has it in its trail. C(result) is also C(running), or
      C(refused) where M(celeriac.fleet.celery_check) failed.
    - Null if there was none.
  returned: success
  type: dict
nodes:
  description:
    - For each node C(name), C(unit), C(state) (systemd's, or absent), C(result), C(restarts) (by systemd since it was
      started), C(held), C(pid), C(release), C(uptime) (seconds), C(memory) (bytes) and C(expected) (queues).
    - Where it answers, also C(queues), C(active), C(reserved), C(scheduled) and C(done) (tasks), and C(longest)
      (seconds that its oldest running task has run).
  returned: success
  type: list
  elements: dict
queues:
  description:
    - Queue -> C(depth), C(unacked) (delivered, not acknowledged) and C(oldest) (seconds since the oldest of these was
      delivered).
    - Unacknowledged messages are told apart by queue for the 500 oldest only.
  returned: when the broker answers
  type: dict
unacked: {description: Unacknowledged messages of all queues., returned: when the broker answers, type: int}
beat:
  description: C(state), C(pid), C(uptime), and C(tick) (seconds since it last sent a task; null if it isn't known).
  returned: success
  type: dict
error: {description: Why nodes and broker could not be asked; empty if they could., returned: success, type: str}
"""

import glob
import json
import os
import re
import socket
import time
from datetime import datetime
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.celeriac.fleet.plugins.module_utils.app_releases import LIVE
from ansible_collections.celeriac.fleet.plugins.module_utils.celery_app import (
    Probe,
    ProbeError,
    masked,
    read_environment,
)
from ansible_collections.celeriac.fleet.plugins.module_utils.systemd_state import parse_show, seconds
from ansible_collections.celeriac.fleet.plugins.module_utils.trail import Trail

PROPERTIES = "LoadState ActiveState SubState Result NRestarts MainPID MemoryCurrent ActiveEnterTimestamp".split()
TICK = "Sending due task"
STAMP = re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(?:\.\d+Z)?")
TAIL = 256 * 1024  # bytes of a log, from its end


def show(module: AnsibleModule, units: list[str]) -> list[dict[str, str]]:
    """What systemd knows of ``units``."""
    command = ["systemctl", "--no-pager", "show", "--timestamp=us+utc", f"--property={','.join(PROPERTIES)}", "--"]
    _, out, _ = module.run_command([*command, *units], check_rc=True)
    return parse_show(out)


def count(text: str) -> int | None:
    """A figure of systemd, which says ``[not set]`` or the largest one for none."""
    return int(text) if text.isdigit() and int(text) < 2**63 else None


def unit_state(shown: dict[str, str], now: float) -> dict[str, Any]:
    """State, main process and resources of a unit."""
    running = shown["ActiveState"] == "active"
    return {
        "state": "absent" if shown["LoadState"] == "not-found" else shown["ActiveState"],
        "result": shown.get("Result", ""),
        "held": shown["LoadState"] == "masked",
        "restarts": count(shown.get("NRestarts", "")) or 0,
        "pid": count(shown.get("MainPID", "")) or None,
        "uptime": round(now - seconds(shown.get("ActiveEnterTimestamp", ""))) if running else None,
        "memory": count(shown.get("MemoryCurrent", "")) if running else None,
    }


def release_of(pid: int | None) -> str:
    """The release that a process was started in; empty if there is none."""
    try:
        return os.path.basename(os.readlink(f"/proc/{pid}/cwd").removesuffix(" (deleted)")) if pid else ""
    except OSError:
        return ""


def live_releases(directory: str) -> list[dict[str, Any]]:
    """The releases beside the one that ``directory`` is a link to which were live, the latest first."""
    stamps = glob.glob(os.path.join(os.path.dirname(os.path.realpath(directory)), "*", LIVE))
    found = [{"release": os.path.basename(os.path.dirname(path)), "live": os.path.getmtime(path)} for path in stamps]
    return sorted(found, key=lambda release: -release["live"])


def last_tick(module: AnsibleModule, unit: str, log: str) -> float | None:
    """When beat last sent a task, in seconds since the epoch, by its log file or its journal."""
    try:
        with open(log, "rb") as file:
            file.seek(max(0, os.path.getsize(log) - TAIL))
            lines = file.read().decode(errors="replace").splitlines()
    except FileNotFoundError:
        lines = []
    for line in reversed(lines):
        stamp = STAMP.search(line)
        if TICK in line and stamp:
            return datetime.fromisoformat(stamp[0]).timestamp()  # Celery logs in the host's time, ours as JSON in UTC
    command = ["journalctl", "--no-pager", "--output=json", "--lines=1", f"--grep={TICK}", f"--unit={unit}"]
    _, out, _ = module.run_command(command)
    entries = [line for line in out.splitlines() if line.startswith("{")]
    return int(json.loads(entries[-1])["__REALTIME_TIMESTAMP"]) / 1e6 if entries else None


def ask(params: dict[str, Any], names: list[str]) -> dict[str, Any]:
    """What the nodes ``names`` and the broker answer, or an ``error``."""
    variables: dict[str, str] = {}
    try:
        variables = read_environment(params["environment_file"])
        directory = os.path.realpath(params["directory"])
        with Probe(params["virtualenv"], directory, params["user"], variables, params["program"]) as probe:
            probe.call("load", limit=30, app=params["app"])
            probe.call("connect", limit=30)
            found = probe.call("queues", limit=30, names=params["queues"])
            return {**found, "answers": probe.call("status", limit=30, nodes=names), "error": ""}
    except (ProbeError, OSError, KeyError) as error:
        return {"answers": {}, "error": masked(str(error).strip("'"), variables)}


def main() -> None:
    string, path = {"type": "str", "required": True}, {"type": "path", "required": True}
    strings = {"type": "list", "elements": "str", "required": True}
    node = {"name": string, "queues": strings, "unit": string, "log": {"type": "path"}}
    module = AnsibleModule(
        argument_spec={
            "app": string,
            "nodes": {"type": "list", "elements": "dict", "required": True, "options": node},
            "queues": strings,
            "beat": string,
            "beat_log": path,
            "directory": path,
            "virtualenv": path,
            "environment_file": path,
            "user": string,
            "trail": {"type": "path"},
            "program": {"type": "dict", "no_log": True},  # long, for no log
        },
        supports_check_mode=True,
    )
    params, now, host = module.params, time.time(), socket.gethostname()
    *shown, beat = [
        unit_state(state, now) for state in show(module, [*(node["unit"] for node in params["nodes"]), params["beat"]])
    ]
    nodes = [
        {
            **state,
            "name": f"{node['name']}@{host}",
            "unit": node["unit"],
            "expected": sorted(node["queues"]),
            "release": release_of(state["pid"]),
        }
        for node, state in zip(params["nodes"], shown, strict=True)
    ]
    found = ask(params, [node["name"] for node in nodes if node["state"] == "active"])
    answers = found.pop("answers")
    tick = last_tick(module, params["beat"], params["beat_log"])
    module.exit_json(
        changed=False,
        time=now,
        release=os.path.basename(os.path.realpath(params["directory"])),
        releases=live_releases(params["directory"]),
        rollout=Trail(params["trail"], warn=module.warn).last(),
        nodes=[{**node, **answers.get(node["name"], {})} for node in nodes],
        beat={**beat, "tick": None if tick is None else max(0.0, now - tick)},
        **found,
    )


if __name__ == "__main__":
    main()
