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
        yield f"celery_nodes is {nodes!r}: give it a list with at least one node, such as {{name: worker, queues: [default]}}."
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
        if "hosts" in node and not (isinstance(node["hosts"], list) and node["hosts"]):
            yield f"{where} has hosts {node['hosts']!r}: list the inventory hostnames it runs on, or leave hosts out."


def _queue_problems(where: str, queues: Any) -> Iterator[str]:
    if not isinstance(queues, list) or not queues:
        yield f"{where} has queues {queues!r}: list at least one queue that it consumes."
        return
    for queue in queues:
        if not isinstance(queue, str) or not QUEUE_NAME.match(queue):
            yield f"{where} has the queue {queue!r}: name it with letters, digits and any of _ . : - only."


def _number_problems(where: str, node: Mapping[str, Any]) -> Iterator[str]:
    for key in ("instances", "concurrency", "prefetch_multiplier", "max_tasks_per_child", "stop_timeout"):
        if key in node and not _is_count(node[key], minimum=0 if key == "prefetch_multiplier" else 1):
            yield f"{where} has {key} {node[key]!r}: give it a whole number of at least 1."
    if "autoscale" not in node:
        return
    scale = node["autoscale"]
    if "concurrency" in node:
        yield f"{where} has autoscale {scale!r} beside concurrency {node['concurrency']!r}: keep one of the two."
    if (
        not isinstance(scale, Mapping)
        or set(scale) != {"min", "max"}
        or not _is_count(scale["min"], minimum=0)
        or not _is_count(scale["max"], minimum=1)
        or scale["min"] > scale["max"]
    ):
        yield f"{where} has autoscale {scale!r}: write {{min: 2, max: 8}}, whole numbers with min not above max."


def _is_count(value: Any, *, minimum: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= minimum


def celery_problems(hosts: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What is wrong with the nodes, queues and beat of an inventory.

    :param hosts: worker host -> its ``celery_nodes``, ``celery_routed_queues`` and ``celery_beat_enabled``
    :returns: a sentence for each problem, naming variable, value and remedy; empty if there is none
    """
    problems: list[str] = []
    consumed: set[str] = set()
    routed: dict[str, None] = {}
    for host, variables in hosts.items():
        nodes = variables.get("celery_nodes")
        found = list(node_problems(nodes))
        routed.update(dict.fromkeys(variables.get("celery_routed_queues") or []))
        if found:
            problems += found
            continue
        assert isinstance(nodes, list)  # node_problems has refused anything else
        here = list(expand(nodes, host))
        consumed.update(queue for node in here for queue in node["queues"])
        names = Counter(node["name"] for node in here)
        problems += [
            f"celery_nodes names {name!r} {count} times on {host}: give each node, instances counted in, a name of its own."
            for name, count in names.items()
            if count > 1
        ]
        problems += [
            f"celery_nodes[{index}] ({node['name']}) runs on the host {other!r}, which isn't in the group workers: "
            f"name one of {', '.join(sorted(hosts))}."
            for index, node in enumerate(nodes)
            for other in node.get("hosts", [])
            if other not in hosts
        ]
    if not problems:
        problems += [
            f"celery_routed_queues has the queue {queue!r}, which no node consumes: add it to the queues of a node "
            "in celery_nodes, or tasks sent to it wait for ever."
            for queue in routed
            if queue not in consumed
        ]
    beats = sorted(host for host, variables in hosts.items() if variables.get("celery_beat_enabled"))
    if len(beats) > 1:
        problems.append(
            f"The group beat has the hosts {', '.join(beats)}: leave one of them, two beats run every scheduled task twice."
        )
    elif hosts and not beats:
        problems.append(
            "The group beat has no host of the group workers: put one in, or nothing that is scheduled ever runs."
        )
    return list(dict.fromkeys(problems))


class FilterModule:
    """Filters of the celery role."""

    def filters(self) -> dict[str, Any]:
        return {
            "celery_host_nodes": celery_host_nodes,
            "celery_problems": celery_problems,
            "celery_ready_nodes": celery_ready_nodes,
            "celery_units": celery_units,
        }
