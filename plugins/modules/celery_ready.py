#!/usr/bin/python
"""Wait until Celery nodes answer and consume their queues."""

from __future__ import annotations

DOCUMENTATION = r"""
module: celery_ready
short_description: Wait until each Celery node of this host answers ping and consumes the queues it was given
description:
  - Asks the nodes through the broker, as the application's user in its virtualenv, environment and configuration.
  - Refuses a Celery or kombu before 5.7, whose workers may stop consuming after a reconnect.
  - Says ready only if each node consumes exactly its queues, and if each queue that the application routes tasks to is
    consumed by a node of the fleet.
  - The answer of C(celery multi) or of systemd isn't enough, since a node has its PID file before it has its broker.
options:
  app: {description: "What C(celery -A) takes.", type: str, required: true}
  nodes:
    description: The nodes of this host.
    type: list
    elements: dict
    required: true
    suboptions:
      name: {description: "Name, without C(@host).", type: str, required: true}
      queues: {description: Queues it has to consume., type: list, elements: str, required: true}
      unit: {description: Its systemd unit., type: str, required: true}
      log: {description: Its log file., type: path}
  fleet_queues:
    description: Queues that some node of the fleet consumes.
    type: list
    elements: str
    required: true
  directory: {description: Working directory., type: path, required: true}
  virtualenv: {description: The application's virtualenv., type: path, required: true}
  environment_file: {description: The application's C(EnvironmentFile=)., type: path, required: true}
  user: {description: The user to ask as., type: str, required: true}
  timeout: {description: Seconds to wait., type: int, default: 60}
attributes:
  check_mode: {support: full, details: Asks nothing.}
  diff_mode: {support: none}
author: Celeriac
"""

EXAMPLES = r"""
- name: Wait for the nodes
  celery_ready:
    app: app.core.celery_config
    nodes: [{name: crawler, queues: [crawl_queue], unit: chatlite-worker@crawler.service}]
    fleet_queues: [crawl_queue, default]
    directory: /opt/chatlite/current
    virtualenv: /opt/chatlite/current/.venv
    environment_file: /etc/chatlite/chatlite.env
    user: chatlite
"""

RETURN = r"""
nodes:
  description: Node name with host, and the queues that it consumes.
  returned: success
  type: dict
"""

import json
import os
import pwd
import re
import socket
import subprocess

from ansible.module_utils.basic import AnsibleModule

# "double", 'single', \escaped or plain
QUOTING = re.compile(r"\"((?:[^\"\\]|\\.)*)\"|'([^']*)'|\\(.)|([^\"'\\]+)")

# The oldest Celery and kombu whose workers go on consuming after every kind of reconnect.
FLOOR = (5, 7)
# Runs in the application's virtualenv. Prints one JSON object as its last line.
PROBE = r"""
import json, sys, time
import celery, kombu
from celery.app.utils import find_app

ask = json.load(sys.stdin)
old = [f"{m.__name__} {m.__version__}" for m in (celery, kombu) if tuple(m.VERSION[:2]) < tuple(ask["floor"])]
if old:
    sys.exit(f"{' and '.join(old)} may stop consuming after a reconnect to Redis: require celery>=5.7 and kombu>=5.7")
app = find_app(ask["app"])
names, deadline = list(ask["nodes"]), time.monotonic() + ask["timeout"]
routed = {app.conf.task_default_queue}
routes = app.conf.task_routes or {}
for table in routes if isinstance(routes, (list, tuple)) else [routes]:
    if isinstance(table, dict):
        to = [route.get("queue") if isinstance(route, dict) else route for route in table.values()]
        routed |= {queue for queue in to if queue}
while True:
    inspect = app.control.inspect(destination=names, limit=len(names), timeout=1.0)
    replies = inspect.active_queues() or {}
    seen = {name: sorted(q["name"] for q in queues) for name, queues in replies.items()}
    if all(seen.get(n) == sorted(q) for n, q in ask["nodes"].items()) or time.monotonic() > deadline:
        break
    time.sleep(0.2)  # between two looks at the nodes
pong = sorted(app.control.inspect(destination=names, limit=len(names), timeout=1.0).ping() or {})
print(json.dumps({"seen": seen, "pong": pong, "routed": sorted(str(getattr(q, "name", q)) for q in routed)}))
"""


def environment(path: str) -> dict[str, str]:
    """The variables of an ``EnvironmentFile=``, one a line, unquoted as systemd does it."""
    found = {}
    with open(path, encoding="utf-8") as file:
        for line in file:
            name, sign, value = line.strip().partition("=")
            if sign and not name.startswith(("#", ";")):
                found[name.strip()] = "".join(map(unquote, QUOTING.finditer(value.strip())))
    return found


def unquote(part: re.Match[str]) -> str:
    """A part of a value without its quotes and backslashes."""
    double, single, escaped, plain = part.groups()
    if double is not None:
        return re.sub(r'\\(["\\$`])', r"\1", double)
    return single or escaped or plain or ""


def ask(module: AnsibleModule, wanted: dict[str, list[str]], timeout: int) -> dict:
    """Run the probe as the application's user; fails the module with the end of its output if it can't tell."""
    params = module.params
    user = pwd.getpwnam(params["user"])
    try:
        done = subprocess.run(
            [f"{params['virtualenv']}/bin/python", "-c", PROBE],
            input=json.dumps({"app": params["app"], "nodes": wanted, "timeout": timeout, "floor": FLOOR}),
            capture_output=True,
            text=True,
            cwd=params["directory"],
            env={
                "PATH": f"{params['virtualenv']}/bin:/usr/bin:/bin",
                "PYTHONPATH": params["directory"],
                "PYTHONDONTWRITEBYTECODE": "1",
                "LANG": "C.UTF-8",
                **environment(params["environment_file"]),
            },
            user=user.pw_uid,
            group=user.pw_gid,
            extra_groups=[],
            timeout=timeout + 30,
        )
    except subprocess.TimeoutExpired:
        fail(module, f"The broker did not answer within {timeout + 30} seconds.", list(wanted))
    if done.returncode != 0:
        error = (done.stderr.strip().splitlines() or ["no output"])[-1]
        fail(module, f"{params['app']} can't ask its nodes: {error}", list(wanted))
    return dict(json.loads(done.stdout.strip().splitlines()[-1]))


def fail(module: AnsibleModule, message: str, names: list[str]) -> None:
    """Fail with ``message`` and the last log lines of the nodes ``names``."""
    parts = [message]
    for node in module.params["nodes"]:
        if f"{node['name']}@{socket.gethostname()}" not in names:
            continue
        _, state, _ = module.run_command(
            ["systemctl", "show", "--value", "--property=ActiveState,SubState,Result", node["unit"]]
        )
        parts.append(f"{node['unit']} is {' '.join(state.split())}. Its journal:")
        _, out, _ = module.run_command(
            ["journalctl", "--no-pager", "--output=cat", "--lines=15", f"--unit={node['unit']}"]
        )
        parts.append(out.rstrip())
        if node["log"] and os.path.exists(node["log"]):
            _, out, _ = module.run_command(["tail", "--lines=15", node["log"]])
            parts.append(f"{node['log']}:\n{out.rstrip()}")
    module.fail_json(msg="\n".join(parts))


def main() -> None:
    string = {"type": "str", "required": True}
    path = {"type": "path", "required": True}
    strings = {"type": "list", "elements": "str", "required": True}
    module = AnsibleModule(
        argument_spec={
            "app": string,
            "nodes": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {"name": string, "queues": strings, "unit": string, "log": {"type": "path"}},
            },
            "fleet_queues": strings,
            "directory": path,
            "virtualenv": path,
            "environment_file": path,
            "user": string,
            "timeout": {"type": "int", "default": 60},
        },
        supports_check_mode=True,
    )
    params = module.params
    wanted = {f"{node['name']}@{socket.gethostname()}": node["queues"] for node in params["nodes"]}
    if module.check_mode or not wanted:
        module.exit_json(changed=False, nodes={})
    answer = ask(module, wanted, params["timeout"])
    silent = sorted(set(wanted) - set(answer["pong"]))
    if silent:
        fail(module, f"No answer from {', '.join(silent)} within {params['timeout']} seconds.", silent)
    wrong = {name: answer["seen"].get(name, []) for name in wanted if answer["seen"].get(name) != sorted(wanted[name])}
    if wrong:
        text = "; ".join(
            f"{name} consumes {', '.join(seen) or 'nothing'}, not {', '.join(wanted[name])}"
            for name, seen in wrong.items()
        )
        fail(module, f"{text}.", list(wrong))
    unserved = sorted(set(answer["routed"]) - set(params["fleet_queues"]))
    if unserved:
        module.fail_json(
            msg=f"{params['app']} routes tasks to {', '.join(unserved)}, which no node consumes: add it to the queues "
            "of a node in celery_nodes and to celery_routed_queues."
        )
    module.exit_json(changed=False, nodes=answer["seen"])


if __name__ == "__main__":
    main()
