#!/usr/bin/python
"""Bring the Celery nodes of a host to the release and the configuration on its disk, one after the other."""

from __future__ import annotations

DOCUMENTATION = r"""
module: celery_rollout
short_description: Restart the Celery nodes of a host one by one, each gated, and go back if one doesn't come up
description:
  - Starts each node that isn't running, and restarts each that began before its unit files or I(inputs) were last
    changed.
  - Before a restart the node stops consuming and ends what it is doing, so that nothing runs twice.
  - Goes on to the next node when this one answers ping and consumes exactly its queues. Nodes are asked through the
    broker, as the application's user in its virtualenv, environment and configuration. The answer of C(celery multi)
    or of systemd isn't enough, since a node has its PID file before it has its broker.
  - If one doesn't come up within I(timeout), brings back what the journal I(undo) holds (release, environment, units),
    restarts what ran the new release, waits for it, and fails with the state and the last log lines of the node.
    Without a previous release everything is left as it is.
  - If all come up, ends the journal and stamps the release as one that was live.
  - What has to be restarted is read off the host, so a rollout that was interrupted is continued by the next.
  - A rollout that starts a node, ends a deployment or fails is a line in the file I(trail), with C(time) (UTC),
    C(release), C(before) (the release before), C(by), C(controller), C(result), C(reason) (a sentence), C(seconds) and
    C(nodes) (that were started or restarted). C(result) is C(live), C(reverted), C(failed) or, where the module was
    killed, C(interrupted). C(reason) is without the values of I(environment_file). The file is root's alone and has the
    last 200 rollouts. Going back doesn't undo it. If it can't be written, that is a warning.
  - Nodes whose unit is masked are held by an operator (C(playbooks/drain-node.yml)) and left alone.
  - Refuses a Celery or kombu before 5.7, whose workers may stop consuming after a reconnect.
options:
  app: {description: "What C(celery -A) takes.", type: str, required: true}
  nodes:
    description: The nodes of this host, in the order in which they are restarted.
    type: list
    elements: dict
    required: true
    suboptions:
      name: {description: "Name, without C(@host).", type: str, required: true}
      queues: {description: Queues it has to consume., type: list, elements: str, required: true}
      unit: {description: Its systemd unit., type: str, required: true}
      log: {description: Its log file., type: path}
      inputs:
        description: Files or links, besides the unit's own files, after whose change the node has to be restarted.
        type: list
        elements: path
        default: []
      stop_timeout:
        description: Seconds that a restart waits for running tasks before it stops the node with them.
        type: int
        default: 660
  target: {description: The target that holds the nodes together; enabled and started., type: str, required: true}
  fleet_queues:
    description: Queues that some node of the fleet consumes. The application may route to no others.
    type: list
    elements: str
    required: true
  directory: {description: Working directory; a link to the release., type: path, required: true}
  virtualenv: {description: The application's virtualenv., type: path, required: true}
  environment_file: {description: The application's C(EnvironmentFile=)., type: path, required: true}
  user: {description: The user to ask as., type: str, required: true}
  program:
    description: "What runs in the application: file name and text. Set by the action plugin."
    type: dict
  undo: {description: Directory of the journal that the tasks before have kept., type: path}
  trail:
    description: File on the host with a line of JSON for each rollout. Nothing is written down without it.
    type: path
  by: {description: Who runs it on the controller. Set by the action plugin., type: str, default: ""}
  controller: {description: The controller's host name. Set by the action plugin., type: str, default: ""}
  timeout: {description: Seconds that a node may take to come up., type: int, default: 60}
  restart: {description: Whether to restart every node., type: bool, default: false}
  batch: {description: Nodes that are restarted at the same time., type: int, default: 1}
extends_documentation_fragment: celeriac.fleet.attributes
attributes:
  check_mode: {support: full, details: Says which nodes would be started and restarted. Asks nothing.}
  diff_mode: {support: full}
author: The Celeriac developers
"""

EXAMPLES = r"""
- name: Roll out
  celeriac.fleet.celery_rollout:
    app: app.core.celery_config
    nodes: [{name: crawler, queues: [crawl_queue], unit: chatlite-worker@crawler.service}]
    target: chatlite-workers.target
    fleet_queues: [crawl_queue, default]
    directory: /opt/chatlite/current
    virtualenv: /opt/chatlite/current/.venv
    environment_file: /etc/chatlite/chatlite.env
    user: chatlite
    undo: /var/lib/celeriac/chatlite/undo
"""

RETURN = r"""
nodes: {description: "Node name with host, and the queues that it consumes.", returned: success, type: dict}
started: {description: Units that were started., returned: success, type: list, elements: str}
restarted: {description: Units that were restarted., returned: success, type: list, elements: str}
held: {description: Units that an operator holds., returned: success, type: list, elements: str}
seconds:
  description: Unit, and the seconds that its running tasks, its restart and its first answer took.
  returned: success
  type: dict
  sample: {"chatlite-worker@crawler.service": {"drain": 0.4, "restart": 3.1, "ready": 0.7}}
"""

import glob
import os
import re
import socket
import textwrap
import time
from typing import Any, NoReturn

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.celeriac.fleet.plugins.module_utils.app_releases import LIVE
from ansible_collections.celeriac.fleet.plugins.module_utils.celery_app import (
    FLOOR,
    Probe,
    ProbeError,
    masked,
    read_environment,
)
from ansible_collections.celeriac.fleet.plugins.module_utils.systemd_state import SYSTEM, Units, seconds
from ansible_collections.celeriac.fleet.plugins.module_utils.trail import Trail
from ansible_collections.celeriac.fleet.plugins.module_utils.undo import Undo

APP = re.compile(r"(?:--app[= ]|-A )(\S+)")
COLOURS = re.compile(r"\x1b\[[0-9;]*m")
TAIL = 15  # lines
SLICE = 2.0  # seconds that nodes are asked for, between two looks at their units
ANSWER = 1.0  # seconds that a node may take to answer, while it drains
STRING: dict[str, Any] = {"type": "str", "required": True}
STRINGS: dict[str, Any] = {"type": "list", "elements": "str", "required": True}
PATH: dict[str, Any] = {"type": "path", "required": True}
ARGUMENT_SPEC: dict[str, Any] = {
    "app": STRING,
    "nodes": {
        "type": "list",
        "elements": "dict",
        "required": True,
        "options": {
            "name": STRING,
            "queues": STRINGS,
            "unit": STRING,
            "log": {"type": "path"},
            "inputs": {"type": "list", "elements": "path", "default": []},
            "stop_timeout": {"type": "int", "default": 660},
        },
    },
    "target": STRING,
    "fleet_queues": STRINGS,
    "directory": PATH,
    "virtualenv": PATH,
    "environment_file": PATH,
    "user": STRING,
    "program": {"type": "dict", "no_log": True},  # long, for no log
    "undo": {"type": "path"},
    "trail": {"type": "path"},
    "by": {"type": "str", "default": ""},
    "controller": {"type": "str", "default": ""},
    "timeout": {"type": "int", "default": 60},
    "restart": {"type": "bool", "default": False},
    "batch": {"type": "int", "default": 1},
}


def size(path: str) -> int:
    """Bytes of a file; 0 where there is none."""
    return os.path.getsize(path) if os.path.exists(path) else 0


def plain(text: str) -> str:
    """The last lines of a log, indented, without colours."""
    return textwrap.indent("\n".join(COLOURS.sub("", text).strip().splitlines()[-TAIL:]), "  ") or "  (nothing)"


class Rollout:
    """The nodes of one host, from what is due to what is live."""

    def __init__(self, module: AnsibleModule) -> None:
        self.module, self.params, self.units = module, module.params, Units(module, self.failed)
        self.host = socket.gethostname()
        self.undo = Undo(self.params["undo"] or "/nonexistent")
        self.trail = Trail(None if module.check_mode else self.params["trail"], self.about(), module.warn)
        self.variables = read_environment(self.params["environment_file"])  # of the release that may fail
        self.reason = ""  # why it goes back
        self.touched: list[str] = []
        self.found_astray: list[str] = []
        self.seconds: dict[str, dict[str, float]] = {}
        self.begun = time.time()
        self.logged = {node["log"]: size(node["log"]) for node in self.params["nodes"] if node["log"]}
        shown = self.units.show([node["unit"] for node in self.params["nodes"]])
        self.held = [unit for unit, state in shown.items() if state["LoadState"] == "masked"]
        self.nodes = {node["unit"]: node for node in self.params["nodes"] if node["unit"] not in self.held}
        self.new_host = all(state["ActiveState"] in ("inactive", "failed") for state in shown.values())

    def about(self) -> dict[str, str]:
        """What the trail says of this rollout from its beginning."""
        now = os.path.basename(os.path.realpath(self.params["directory"]))
        saved = [entry for entry in self.undo.entries() if entry["path"] == self.params["directory"]]
        before = os.path.basename(saved[0].get("target", "")) if saved else now
        return {"release": now, "before": before, "by": self.params["by"], "controller": self.params["controller"]}

    def failed(self, reason: str) -> None:
        """Write down that this rollout failed; where it was going back, why it did."""
        self.written("failed", self.reason or reason)

    def written(self, result: str, reason: str = "") -> None:
        """Write down how this rollout ended, without what is secret in what the application said."""
        self.trail.end(result, masked(reason, self.variables), self.touched)

    def run(self) -> None:
        """Roll out, and exit; what nobody expected is written down before it is raised."""
        try:
            self.roll_out()
        except Exception as error:
            self.failed(f"{type(error).__name__}: {error}")
            raise

    def roll_out(self) -> None:
        target = self.params["target"]
        wanted = [{"name": unit, "inputs": node["inputs"], "start": True} for unit, node in self.nodes.items()]
        start, restart = self.units.due([{"name": target, "inputs": [], "start": True}, *wanted])
        restart = [unit for unit in restart if unit != target]
        if self.params["restart"]:
            restart = [unit for unit in self.nodes if unit not in start]
        due = [unit for unit in self.nodes if unit in start or unit in restart]
        seen: dict[str, list[str]] = {}
        if not self.module.check_mode:
            try:
                seen = self.roll(due)
            except ProbeError as error:
                self.back(f"{self.params['app']} can't ask its nodes: {error}", due or list(self.nodes))
            if target in start:
                self.units.run("start", target)
            # else nothing was changed, now or by a run that was interrupted
            changed = bool(self.touched or self.undo.entries())
            self.live()
            if changed:
                self.written("live")
        done = {**self.units.done, "started": start, "restarted": restart}
        done["restarted"] += self.found_astray
        after = "".join(f"{verb}: {', '.join(names)}\n" for verb, names in done.items() if names)
        self.module.exit_json(
            changed=bool(after),
            diff={"before": "", "after": after},
            nodes=seen,
            held=self.held,
            seconds=self.seconds,
            **{verb: done[verb] for verb in ("started", "restarted")},
        )

    def roll(self, due: list[str]) -> dict[str, list[str]]:
        """Start or restart the units ``due`` and wait for each; then all nodes once more."""
        with self.probe() as probe:
            old = probe.call("outdated", limit=60, floor=FLOOR)
            if old:
                found = " and ".join(f"{name} {version}" for name, version in old.items())
                raise ProbeError(
                    f"{found} may stop consuming after a reconnect to Redis: require celery>=5.7 and kombu>=5.7"
                )
            probe.call("load", limit=60, app=self.params["app"])
            unserved = sorted(set(probe.call("routed", limit=60)) - set(self.params["fleet_queues"]))
            if unserved:
                self.back(
                    f"{self.params['app']} routes tasks to {', '.join(unserved)}, which no node consumes: add it to "
                    "the queues of a node in celery_nodes and to celery_routed_queues.",
                    [],
                )
            # nothing runs yet, so nothing can be interrupted: all at once
            batch = len(due) if self.new_host else self.params["batch"]
            for units in [due[first : first + batch] for first in range(0, len(due), batch or 1)]:
                self.bring_up(probe, units)
            for unit in self.astray(probe, due):
                self.found_astray.append(unit)
                self.bring_up(probe, [unit])
            return self.gate(probe, list(self.nodes)) if self.nodes else {}

    def bring_up(self, probe: Probe, units: list[str]) -> None:
        """Start or restart units that may be stopped at the same time, and wait for their nodes."""
        self.trail.begin()
        begun = time.monotonic()
        self.drain(probe, units)
        drained = time.monotonic()
        self.touched += [self.nodes[unit]["name"] for unit in units]
        rc, _, err = self.module.run_command(["systemctl", "--no-pager", "restart", *units])
        restarted = time.monotonic()
        if rc != 0:
            self.back(f"{', '.join(units)} did not start: {err.strip().splitlines()[0]}", units)
        self.gate(probe, units)
        times = {"drain": drained - begun, "restart": restarted - drained, "ready": time.monotonic() - restarted}
        took = {what: round(value, 1) for what, value in times.items()}
        self.seconds |= dict.fromkeys(units, took)

    def astray(self, probe: Probe, due: list[str]) -> list[str]:
        """Units that answer, and don't consume what they should: a rollout was killed between drain and restart."""
        wanted = {self.name(unit): self.nodes[unit]["queues"] for unit in self.nodes if unit not in due}
        if self.new_host or not wanted:
            return []
        answer = probe.call("ready", limit=SLICE + 30, nodes=wanted, timeout=SLICE)["seen"]
        found = [name for name, queues in wanted.items() if answer[name] not in (None, sorted(queues))]
        return self.units_of(found)

    def drain(self, probe: Probe, units: list[str]) -> None:
        """Have nodes that run end what they are doing first, all in the same time.

        Celery may run again what ends during its shutdown, whose acknowledgement can be lost, and takes the longer
        for it the more processes it has. A node with nothing to do stops at once and cleanly.
        """
        active = [unit for unit, state in self.units.show(units).items() if state["ActiveState"] == "active"]
        queues = {self.name(unit): self.nodes[unit]["queues"] for unit in active}
        times = {self.name(unit): self.nodes[unit]["stop_timeout"] for unit in active}
        if active:
            asked = sum(len(names) for names in queues.values())
            probe.call("consume", limit=asked * ANSWER + 60, nodes=queues, add=False, timeout=ANSWER)
            probe.call("drain", limit=max(times.values()) + 60, nodes=times, timeout=ANSWER)

    def gate(self, probe: Probe, units: list[str]) -> dict[str, list[str]]:
        """Wait until the nodes of ``units`` answer and consume their queues; goes back if they don't."""
        wanted = {self.name(unit): self.nodes[unit]["queues"] for unit in units}
        deadline = time.monotonic() + self.params["timeout"]
        while True:
            answer = probe.call("ready", limit=SLICE + 30, nodes=wanted, timeout=SLICE)
            if answer["ready"]:
                return dict(answer["seen"])
            if time.monotonic() > deadline:
                self.not_ready(wanted, answer["seen"])

    def not_ready(self, wanted: dict[str, list[str]], answers: dict[str, list[str] | None]) -> NoReturn:
        """Go back, with what is wrong with the answers."""
        silent = [name for name in wanted if answers[name] is None]
        if silent:
            self.back(
                f"No answer from {', '.join(silent)} within {self.params['timeout']} seconds.", self.units_of(silent)
            )
        wrong = {name: seen or [] for name, seen in answers.items() if seen != sorted(wanted[name])}
        text = "; ".join(
            f"{name} consumes {', '.join(seen) or 'nothing'}, not {', '.join(wanted[name])}"
            for name, seen in wrong.items()
        )
        self.back(f"{text or 'The nodes do not answer ping'}.", self.units_of(list(wrong)))

    def back(self, reason: str, units: list[str]) -> NoReturn:
        """Fail with ``reason`` and the last words of ``units``, after going back to what the journal holds."""
        self.reason = reason
        words = self.last_words(units)
        release = os.path.basename(os.path.realpath(self.params["directory"]))
        entries, outcome = {entry["path"]: entry["kind"] for entry in self.undo.entries()}, "failed"
        if not entries:
            result = "Nothing was changed before, so there is nothing to go back to."
        elif entries.get(self.params["directory"]) == "absent":
            result = "There is no previous release to go back to: everything was left as it is."
        else:
            result = self.revert()
            outcome = "failed" if self.undo.entries() else "reverted"
        self.written(outcome, reason)
        self.module.fail_json(msg="\n".join([f"Release {release} failed on {self.host}: {reason}", result, *words]))

    def revert(self) -> str:
        """Bring the journal's files back, restart what ran with the new ones; how it went, a sentence."""
        began, failed = self.undo.began or 0.0, os.path.realpath(self.params["directory"])
        self.undo.revert()
        self.units.run("daemon-reload")
        prefix = self.params["target"].removesuffix("-workers.target") + "-worker@"
        present = {os.path.basename(path)[:-2] for path in glob.glob(f"{SYSTEM}/{prefix}*.service.d")}
        passing = [unit for unit in self.units.matching([f"{prefix}*.service"]) if unit not in present | set(self.held)]
        if passing:
            self.module.run_command(["systemctl", "--no-pager", "disable", "--now", *passing])
        units = sorted(present - set(self.held))
        shown = self.units.show(units) if units else {}
        again = [
            unit
            for unit, state in shown.items()
            if state["ActiveState"] != "active" or seconds(state["InactiveExitTimestamp"]) >= began
        ]
        for verb, names in (("enable", units), ("restart", again)):
            if names:
                self.module.run_command(["systemctl", "--no-pager", verb, *names])
        now = os.path.realpath(self.params["directory"])
        what = "The previous configuration" if now == failed else f"Release {os.path.basename(now)}"
        answers = self.answers(units)
        if all(answers.values()):
            self.undo.forget()
            return f"{what} was put back on {self.host}: {len(answers)} of {len(answers)} nodes answer again."
        silent = ", ".join(name for name, seen in answers.items() if not seen)
        return f"{what} was put back on {self.host}, but {silent} did not answer: look at its log now."

    def answers(self, units: list[str]) -> dict[str, list[str] | None]:
        """Which nodes answer with the release that was put back."""
        wanted: dict[str, list[str] | None] = dict.fromkeys(self.name(unit) for unit in units)
        try:
            with self.probe() as probe:
                probe.call("load", limit=60, app=self.app())
                timeout = self.params["timeout"]
                return dict(probe.call("ready", limit=timeout + 30, nodes=wanted, timeout=timeout)["seen"])
        except ProbeError:
            return wanted

    def app(self) -> str:
        """What ``celery -A`` takes in the units on the disk, which may have been brought back from before."""
        prefix = self.params["target"].removesuffix("-workers.target") + "-worker@"
        for path in sorted(glob.glob(f"{SYSTEM}/{prefix}*.service.d/*.conf")):
            with open(path, encoding="utf-8") as file:
                if found := APP.search(file.read()):
                    return found[1]
        return str(self.params["app"])

    def live(self) -> None:
        """End the journal, and stamp the release where it became live just now."""
        stamp = os.path.join(os.path.realpath(self.params["directory"]), LIVE)
        if not os.path.isdir(os.path.dirname(stamp)):
            return
        entries = {entry["path"] for entry in self.undo.entries()}
        if self.params["directory"] in entries or not os.path.exists(stamp):
            with open(stamp, "w", encoding="utf-8"):
                os.utime(stamp)
        self.undo.forget()

    def last_words(self, units: list[str]) -> list[str]:
        """State, journal and log of each unit, since this rollout began."""
        parts = []
        for unit in units:
            _, state, _ = self.module.run_command(
                ["systemctl", "show", "--value", "--property=ActiveState,SubState,Result", unit]
            )
            since = ["--no-pager", "--output=cat", "--lines=15", f"--since=@{self.begun:.0f}", f"--unit={unit}"]
            _, journal, _ = self.module.run_command(["journalctl", *since])
            parts.append(f"{unit} is {' '.join(state.split())}. Its journal:\n{plain(journal)}")
            log = self.nodes[unit]["log"]
            if log and size(log) > self.logged[log]:
                with open(log, "rb") as file:
                    file.seek(self.logged[log])
                    said = file.read().decode(errors="replace")
                parts.append(f"{log}:\n{plain(said)}")
        return parts

    def probe(self) -> Probe:
        params = self.params
        variables = read_environment(params["environment_file"])
        directory = os.path.realpath(params["directory"])
        return Probe(params["virtualenv"], directory, params["user"], variables, params["program"])

    def name(self, unit: str) -> str:
        """The node's name in Celery."""
        return f"{unit.partition('@')[2].removesuffix('.service')}@{self.host}"

    def units_of(self, names: list[str]) -> list[str]:
        return [unit for unit in self.nodes if self.name(unit) in names]


def main() -> None:
    Rollout(AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)).run()


if __name__ == "__main__":
    main()
