#!/usr/bin/python
"""Take Celery nodes out of work until an operator lets them back."""

from __future__ import annotations

DOCUMENTATION = r"""
module: celery_hold
short_description: Drain and hold Celery nodes of a host, or release them
description:
  - C(state=held) makes the nodes stop consuming, waits until they run nothing and have nothing fetched, then stops and
    masks their units. A masked unit is started neither by a boot nor by a rollout.
  - Tasks with an ETA that a node keeps in memory go back to their queue when it stops.
  - If tasks still run after I(timeout), or a signal ends the module, the nodes consume again and nothing is held.
  - C(state=released) takes the mask away, and makes nodes consume that run without doing so. Starting them, and
    waiting for them, is left to M(celeriac.fleet.celery_rollout).
options:
  app: {description: "What C(celery -A) takes.", type: str, required: true}
  nodes:
    description: The nodes of this host to hold or release.
    type: list
    elements: dict
    required: true
    suboptions:
      name: {description: "Name, without C(@host).", type: str, required: true}
      queues: {description: Queues it consumes., type: list, elements: str, required: true}
      unit: {description: Its systemd unit., type: str, required: true}
      log: {description: Its log file. Not used., type: path}
  state: {description: What they have to be., type: str, choices: [held, released], required: true}
  timeout: {description: Seconds that running tasks may take., type: int, default: 600}
  directory: {description: Working directory; a link to the release., type: path, required: true}
  virtualenv: {description: The application's virtualenv., type: path, required: true}
  environment_file: {description: The application's C(EnvironmentFile=)., type: path, required: true}
  user: {description: The user to ask as., type: str, required: true}
  program:
    description: "What runs in the application: file name and text. Set by the action plugin."
    type: dict
extends_documentation_fragment: celeriac.fleet.attributes
attributes:
  check_mode: {support: full, details: Says which units would change. Asks the nodes only what they consume and run.}
  diff_mode: {support: full}
author: The Celeriac developers
"""

EXAMPLES = r"""
- name: Drain and hold
  celeriac.fleet.celery_hold:
    app: app.core.celery_config
    nodes: [{name: crawler, queues: [crawl_queue], unit: chatlite-worker@crawler.service}]
    state: held
    directory: /opt/chatlite/current
    virtualenv: /opt/chatlite/current/.venv
    environment_file: /etc/chatlite/chatlite.env
    user: chatlite
"""

RETURN = r"""
units: {description: Units that were held or released., returned: success, type: list, elements: str}
seconds: {description: What draining took., returned: success, type: float}
running: {description: Tasks that the nodes run or have fetched., returned: success, type: list, elements: str}
unserved:
  description: Queues of the nodes that no other node consumes.
  returned: success
  type: list
  elements: str
"""

import os
import signal
import socket
import time
from typing import Any, NoReturn

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.celeriac.fleet.plugins.module_utils.celery_app import Probe, ProbeError, read_environment
from ansible_collections.celeriac.fleet.plugins.module_utils.systemd_state import RUNNING, Units

SLICE = 2.0  # seconds that nodes are looked at for, in one question
LOOK = 2.0  # seconds that a node may take to answer what it runs
ANSWER = 5.0  # seconds that a node may take to confirm what it consumes


class InterruptError(Exception):
    """Somebody ended the module."""


def interrupt(number: int, _frame: object) -> NoReturn:
    raise InterruptError(f"ended by {signal.Signals(number).name}")


def handle(handler: Any) -> None:
    """Set what happens at the signals that end a process politely."""
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, handler)


class Hold:
    """Some nodes of a host, on their way to what I(state) says."""

    def __init__(self, module: AnsibleModule) -> None:
        self.module, self.params, self.units = module, module.params, Units(module)
        self.nodes = {node["unit"]: node for node in self.params["nodes"]}
        shown = self.units.show(list(self.nodes)) if self.nodes else {}
        self.masked = [unit for unit, state in shown.items() if state["LoadState"] == "masked"]
        self.running = [unit for unit, state in shown.items() if state["ActiveState"] in RUNNING]
        self.began = time.monotonic()

    def run(self) -> None:
        try:
            result = self.hold() if self.params["state"] == "held" else self.release()
        except ProbeError as error:
            state = self.params["state"]
            self.module.fail_json(msg=f"Nothing is {state}, {self.params['app']} can't ask its nodes: {error}")
        units = result["units"]
        self.module.exit_json(
            changed=bool(units),
            diff={"before": "", "after": "".join(f"{self.params['state']}: {unit}\n" for unit in units)},
            seconds=round(time.monotonic() - self.began, 1),
            **{"running": [], "unserved": [], **result},
        )

    def hold(self) -> dict[str, Any]:
        units = [unit for unit in self.nodes if unit not in self.masked or unit in self.running]
        if not units:
            return {"units": []}
        names = {self.name(unit): self.nodes[unit]["queues"] for unit in units if unit in self.running}
        if not names:
            self.units.run("mask", *units)
            return {"units": units}
        with self.probe() as probe:
            self.reach(probe)
            if self.module.check_mode:
                work = probe.call("work", limit=30, nodes=list(names), timeout=LOOK)
                running = [task for tasks in work.values() for task in tasks or []]
            else:
                running = []
                self.drain(probe, names)
                self.units.run("mask", "--now", *units)
            return {"units": units, "running": running, **self.unserved(probe, units)}

    def drain(self, probe: Probe, nodes: dict[str, list[str]]) -> None:
        """Return when ``nodes`` have nothing left to do; fails, with them at work again, if that takes too long."""
        handle(interrupt)
        deadline, times = time.monotonic() + self.params["timeout"], dict.fromkeys(nodes, SLICE)
        try:
            deaf = set(nodes) - set(self.consume(probe, nodes, add=False))
            if deaf:
                raise ProbeError(f"no answer from {', '.join(sorted(deaf))}")
            while busy := self.busy(probe.call("drain", limit=SLICE + 30, nodes=times, timeout=LOOK)):
                if time.monotonic() > deadline:
                    break
            handle(signal.SIG_IGN)  # what follows is short, and must not stop half-way
        except (ProbeError, InterruptError) as error:
            handle(signal.SIG_IGN)
            self.again(nodes, str(error))
        if busy:
            what = "\n".join(f"  {line}" for line in busy)
            self.again(nodes, f"after drain_timeout, {self.params['timeout']} seconds, this still ran:\n{what}")

    @staticmethod
    def busy(left: dict[str, list[str] | None]) -> list[str]:
        """What keeps nodes from being held, a line each; nothing once all have answered that they run nothing."""
        silent = [f"({node} doesn't answer)" for node, tasks in left.items() if tasks is None]
        return [*(task for tasks in left.values() for task in tasks or []), *silent]

    def reach(self, probe: Probe) -> None:
        """Load the application and reach its broker."""
        probe.call("load", limit=60, app=self.params["app"])
        probe.call("connect", limit=60)

    @staticmethod
    def consume(probe: Probe, nodes: dict[str, list[str]], *, add: bool) -> dict[str, list[str]]:
        """Let nodes consume queues, or no longer; node -> the queues that it confirmed."""
        return dict(probe.call("consume", limit=60, nodes=nodes, add=add, timeout=ANSWER))

    def again(self, nodes: dict[str, list[str]], reason: str) -> NoReturn:
        """Fail with ``reason``, after the nodes were told to consume again."""
        host = socket.gethostname()
        try:
            with self.probe() as probe:
                self.reach(probe)
                silent = set(nodes) - set(self.consume(probe, nodes, add=True))
        except ProbeError:
            silent = set(nodes)
        state = f"{', '.join(sorted(silent))} didn't answer: restart it" if silent else "the nodes consume again"
        self.module.fail_json(msg=f"Nothing is held on {host}, {state}. Draining ended: {reason}")

    def unserved(self, probe: Probe, units: list[str]) -> dict[str, list[str]]:
        """Queues that are left without a consumer, of which a warning speaks."""
        ours = {self.name(unit) for unit in self.nodes}
        others = probe.call("consumers", limit=30)
        served = {queue for node, queues in others.items() if node not in ours for queue in queues}
        left = sorted({queue for unit in units for queue in self.nodes[unit]["queues"]} - served)
        if left:
            self.module.warn(f"No other node consumes {', '.join(left)}: its tasks wait until resume-node.yml.")
        return {"unserved": left}

    def release(self) -> dict[str, Any]:
        if self.masked:
            self.units.run("unmask", *self.masked)
        # a drain that was killed leaves a node that runs and doesn't consume
        idle = self.idle() if self.running else []
        return {"units": [unit for unit in self.nodes if unit in self.masked or unit in idle]}

    def idle(self) -> list[str]:
        """Units of nodes that run without consuming what they should; they do afterwards."""
        with self.probe() as probe:
            self.reach(probe)
            names = {self.name(unit): unit for unit in self.running}
            seen = probe.call("consumers", limit=30, nodes=list(names))
            lacking = {
                name: sorted(set(self.nodes[unit]["queues"]) - set(seen[name]))
                for name, unit in names.items()
                if name in seen and set(self.nodes[unit]["queues"]) - set(seen[name])
            }
            if lacking and not self.module.check_mode:
                self.consume(probe, lacking, add=True)
            return [names[name] for name in lacking]

    def name(self, unit: str) -> str:
        """The node's name in Celery."""
        return f"{self.nodes[unit]['name']}@{socket.gethostname()}"

    def probe(self) -> Probe:
        params = self.params
        variables, directory = read_environment(params["environment_file"]), os.path.realpath(params["directory"])
        return Probe(params["virtualenv"], directory, params["user"], variables, params["program"])


def main() -> None:
    string, path = {"type": "str", "required": True}, {"type": "path", "required": True}
    queues = {"type": "list", "elements": "str", "required": True}
    node = {"name": string, "queues": queues, "unit": string, "log": {"type": "path"}}
    module = AnsibleModule(
        argument_spec={
            "app": string,
            "nodes": {"type": "list", "elements": "dict", "required": True, "options": node},
            "state": {"type": "str", "choices": ["held", "released"], "required": True},
            "timeout": {"type": "int", "default": 600},
            "directory": path,
            "virtualenv": path,
            "environment_file": path,
            "user": string,
            "program": {"type": "dict", "no_log": True},  # long, for no log
        },
        supports_check_mode=True,
    )
    Hold(module).run()


if __name__ == "__main__":
    main()
