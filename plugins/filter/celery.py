"""Filters that turn ``celery_nodes`` into what runs on a host, and say what is wrong with them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError

Node = dict[str, Any]

# Node key -> the long option of `celery worker` it becomes. Only `--option=value` survives `celery multi`.
OPTIONS = {
    "concurrency": "concurrency",
    "prefetch_multiplier": "prefetch-multiplier",
    "max_tasks_per_child": "max-tasks-per-child",
}
# Node key -> the systemd.resource-control(5) directive it becomes.
LIMITS = {"memory_max": "MemoryMax", "cpu_quota": "CPUQuota"}
NODE_KEYS = frozenset(
    {"name", "instances", "hosts", "queues", "autoscale", "loglevel", "stop_timeout", *OPTIONS, *LIMITS}
)
# systemd instance, PID file and `celery multi` node name in one: what is valid in all of them.
NODE_NAME = re.compile(r"[a-z][a-z0-9_]*\Z")
QUEUE_NAME = re.compile(r"[A-Za-z0-9_.:-]+\Z")
APP = re.compile(r"[A-Za-z_]\w*(\.\w+)*(:\w+(\.\w+)*)?\Z", re.ASCII)
LOGLEVELS = ("debug", "info", "warning", "error", "critical")
# systemd only logs a warning about a limit that it can't read, and runs the unit without it
LIMIT_FORMS = {
    "memory_max": (
        re.compile(r"[1-9][0-9]*(\.[0-9]+)?[KMGT]?\Z|[1-9][0-9]?%\Z|100%\Z"),
        "bytes, a size such as 2G, or 80%",
    ),
    "cpu_quota": (re.compile(r"[1-9][0-9]*%\Z"), "a percentage such as 150%, 100% is one processor"),
}


def expand(nodes: list[Node], host: str) -> Iterator[Node]:
    """The nodes that run on ``host``, one for each instance (``high`` with 2 instances: ``high1``, ``high2``)."""
    for node in nodes:
        if "hosts" in node and host not in node["hosts"]:
            continue
        if "instances" not in node:
            yield node
            continue
        for number in range(1, node["instances"] + 1):
            yield {**node, "name": f"{node['name']}{number}"}


def celery_host_nodes(nodes: list[Node], host: str) -> list[Node]:
    """What the nodes of ``celery_nodes`` are on ``host``.

    :param nodes: ``celery_nodes`` as in the celery role's argument_specs
    :param host: the inventory hostname
    :returns: for each node ``name``, ``queues``, ``options`` (list of ``--long=value``), ``limits`` (mapping of systemd
        directives), ``loglevel`` and ``stop_timeout`` (seconds); the last two are None where the role's default holds
    :raises AnsibleFilterError: if a node can't be right
    """
    problems = list(node_problems(nodes))
    if problems:
        raise AnsibleFilterError(" ".join(problems))
    return [
        {
            "name": node["name"],
            "queues": node["queues"],
            "options": options(node),
            "limits": {LIMITS[key]: node[key] for key in LIMITS if key in node},
            "loglevel": node.get("loglevel"),
            "stop_timeout": node.get("stop_timeout"),
        }
        for node in expand(nodes, host)
    ]


def options(node: Node) -> list[str]:
    """The options of ``celery worker`` for one node."""
    rendered = [f"--queues={','.join(node['queues'])}"]
    if "autoscale" in node:
        rendered.append(f"--autoscale={node['autoscale']['max']},{node['autoscale']['min']}")
    return rendered + [f"--{OPTIONS[key]}={node[key]}" for key in OPTIONS if key in node]


def celery_units(name: str, nodes: list[Node], beat: bool, inputs: list[str]) -> list[dict[str, Any]]:
    """The systemd units of one host.

    :param name: ``celery_name``
    :param nodes: what ``celery_host_nodes`` returns
    :param beat: whether the host runs beat
    :param inputs: files after whose change nodes and beat have to be restarted
    """
    running = [f"{name}-worker@{node['name']}.service" for node in nodes] + [f"{name}-beat.service"] * beat
    return [{"name": f"{name}-workers.target"}] + [{"name": unit, "inputs": inputs} for unit in running]


def celery_ready_nodes(nodes: list[Node], name: str) -> list[dict[str, Any]]:
    """The nodes of one host as the module celery_ready takes them."""
    return [
        {
            "name": node["name"],
            "queues": node["queues"],
            "unit": f"{name}-worker@{node['name']}.service",
            "log": f"/var/log/{name}/{node['name']}.log",
        }
        for node in nodes
    ]


def node_problems(nodes: Any) -> Iterator[str]:
    """What is wrong with ``celery_nodes``, a sentence each."""
    if not isinstance(nodes, list) or not nodes:
        yield (
            f"celery_nodes is {nodes!r}: give it a list with at least one node, such as "
            "{name: worker, queues: [default]}."
        )
        return
    for index, node in enumerate(nodes):
        if not isinstance(node, Mapping):
            yield f"celery_nodes[{index}] is {node!r}: write a mapping with name and queues."
            continue
        where = f"celery_nodes[{index}]" + (f" ({node['name']})" if isinstance(node.get("name"), str) else "")
        for key in sorted(set(map(str, node)) - NODE_KEYS):
            yield f"{where} has the unknown key {key!r}: use one of {', '.join(sorted(NODE_KEYS))}."
        name = node.get("name")
        if not isinstance(name, str) or not NODE_NAME.match(name):
            yield f"{where} has the name {name!r}: name it with lower-case letters, digits and _, a letter first."
        yield from _queue_problems(where, node.get("queues"))
        yield from _number_problems(where, node)
        yield from _limit_problems(where, node)
        if "loglevel" in node and node["loglevel"] not in LOGLEVELS:
            yield f"{where} has loglevel {node['loglevel']!r}: use one of {', '.join(LOGLEVELS)}."
        if "hosts" in node and not (isinstance(node["hosts"], list) and node["hosts"]):
            yield f"{where} has hosts {node['hosts']!r}: list the inventory hostnames it runs on, or leave hosts out."


def _queue_problems(where: str, queues: Any) -> Iterator[str]:
    if not isinstance(queues, list) or not queues:
        yield f"{where} has queues {queues!r}: list at least one queue that it consumes."
        return
    for queue in queues:
        if not isinstance(queue, str) or not QUEUE_NAME.match(queue):
            yield f"{where} has the queue {queue!r}: name it with letters, digits and any of _ . : - only."
    for queue, count in Counter(map(str, queues)).items():
        if count > 1:
            yield f"{where} has the queue {queue!r} {count} times: leave one of them."


def _limit_problems(where: str, node: Mapping[str, Any]) -> Iterator[str]:
    for key, (form, words) in LIMIT_FORMS.items():
        if key in node and (isinstance(node[key], bool) or not form.match(str(node[key]))):
            yield f"{where} has {key} {node[key]!r}: give it {words}."


def _number_problems(where: str, node: Mapping[str, Any]) -> Iterator[str]:
    for key in ("instances", "concurrency", "prefetch_multiplier", "max_tasks_per_child", "stop_timeout"):
        if key in node and not _is_count(node[key]):
            # celery reads --prefetch-multiplier=0 as if it weren't there
            yield f"{where} has {key} {node[key]!r}: give it a whole number of at least 1."
    if "autoscale" not in node:
        return
    scale = node["autoscale"]
    if "concurrency" in node:
        yield f"{where} has autoscale {scale!r} beside concurrency {node['concurrency']!r}: keep one of the two."
    if (
        not isinstance(scale, Mapping)
        or set(scale) != {"min", "max"}
        or not _is_count(scale["min"])
        or not _is_count(scale["max"])
        or scale["min"] > scale["max"]
    ):
        yield f"{where} has autoscale {scale!r}: write {{min: 2, max: 8}}, whole numbers with min not above max."


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def celery_problems(hosts: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What is wrong with the application's name, the nodes, queues and beat of an inventory.

    :param hosts: worker host -> its ``celery_app``, ``celery_nodes``, ``celery_routed_queues``, ``celery_beat_enabled``
    :returns: a sentence for each problem, naming variable, value and remedy; empty if there is none
    """
    if not hosts:
        return ["The group workers has no host: put one in, the nodes need one to run on."]
    problems: list[str] = []
    for variables in hosts.values():
        app = variables.get("celery_app")
        if not isinstance(app, str) or not APP.match(app):
            problems.append(f"celery_app is {app!r}: name the module, or module:attribute, that celery -A takes.")
        problems += node_problems(variables.get("celery_nodes"))
    if not problems:
        problems = [*_repeated_names(hosts), *_unknown_hosts(hosts)] or [*_unserved_queues(hosts)]
    problems += _beat_problems(hosts)
    return list(dict.fromkeys(problems))


def _repeated_names(hosts: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    repeated: dict[tuple[str, int], list[str]] = {}
    for host, variables in hosts.items():
        for name, count in Counter(node["name"] for node in expand(variables["celery_nodes"], host)).items():
            if count > 1:
                repeated.setdefault((name, count), []).append(host)
    for (name, count), where in repeated.items():
        yield (
            f"celery_nodes names {name!r} {count} times on {', '.join(where)}: give each node, instances counted in, a "
            "name of its own."
        )


def _unknown_hosts(hosts: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    for variables in hosts.values():
        for index, node in enumerate(variables["celery_nodes"]):
            for other in node.get("hosts", []):
                if other not in hosts:
                    yield (
                        f"celery_nodes[{index}] ({node['name']}) runs on the host {other!r}, which isn't in the group "
                        f"workers: name one of {', '.join(sorted(hosts))}."
                    )


def _unserved_queues(hosts: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    routed = dict.fromkeys(
        queue for variables in hosts.values() for queue in variables.get("celery_routed_queues") or []
    )
    nodes = [node for host, variables in hosts.items() for node in expand(variables["celery_nodes"], host)]
    consumed = {queue for node in nodes for queue in node["queues"]}
    for queue in routed:
        if queue not in consumed:
            yield (
                f"celery_routed_queues has the queue {queue!r}, which no node consumes: add it to the queues of a node "
                "in celery_nodes, or tasks sent to it wait for ever."
            )


def _beat_problems(hosts: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    beats = sorted(host for host, variables in hosts.items() if variables.get("celery_beat_enabled"))
    if len(beats) > 1:
        yield (
            f"The group beat has the hosts {', '.join(beats)}: leave one of them, two beats run every scheduled task "
            "twice."
        )
    elif not beats:
        yield "The group beat has no host of the group workers: put one in, or nothing that is scheduled ever runs."


class FilterModule:
    """Filters of the celery role."""

    def filters(self) -> dict[str, Any]:
        return {
            "celery_host_nodes": celery_host_nodes,
            "celery_problems": celery_problems,
            "celery_ready_nodes": celery_ready_nodes,
            "celery_units": celery_units,
        }
