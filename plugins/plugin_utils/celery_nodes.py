"""Filters that turn ``celery_nodes`` into what runs on a host."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.celeriac.fleet.plugins.plugin_utils import app_inventory as app
from ansible_collections.celeriac.fleet.plugins.plugin_utils.celery_options import NODE_OPTIONS, Node, expand, pool_of
from ansible_collections.celeriac.fleet.plugins.plugin_utils.celery_problems import node_problems

# Pool -> what a node of it imports beside the application; the role's files
POOL_MODULES = {"prefork": ("celeriac_prefork",)}
# SIGQUIT makes a worker hand back what it runs. With solo it would fail the task instead.
NO_HAND_BACK = ("solo",)
# Seconds that a worker has to hand tasks back, and systemd to see that it did.
STOP_MARGIN = 10


def celery_host_nodes(nodes: list[Node], host: str, include: Sequence[str] = ()) -> list[Node]:
    """What the nodes of ``celery_nodes`` are on ``host``.

    :param nodes: ``celery_nodes`` as in the celery role's argument_specs
    :param host: the inventory hostname
    :param include: modules that every node imports, besides those of its pool and of its own ``--include``
    :returns: for each node ``name``, ``queues``, ``options`` (list of ``--long=value``), ``settings`` (list of Celery's
        ``setting=value``), ``limits`` (mapping of systemd directives), ``hands_back`` (whether it does on SIGQUIT),
        ``loglevel`` and ``stop_timeout`` (seconds; both None where the role's default holds), and ``own_environment``
        (whether the node has variables; their values are secret, ``celery_environments`` has them)
    :raises AnsibleFilterError: if a node can't be right
    """
    problems = node_problems(nodes)
    if problems:
        raise AnsibleFilterError(" ".join(problems))
    return [
        {
            "name": node["name"],
            "queues": node["queues"],
            "options": options(node, include),
            "settings": settings(node),
            "limits": {
                option.directive: node[key] for key, option in NODE_OPTIONS.items() if option.directive and key in node
            },
            "hands_back": pool_of(node) not in NO_HAND_BACK,
            "loglevel": node.get("loglevel"),
            "stop_timeout": node.get("stop_timeout"),
            "own_environment": bool(node.get("environment")),
        }
        for node in expand(nodes, host)
    ]


def options(node: Node, include: Sequence[str] = ()) -> list[str]:
    """The options of ``celery worker`` for one node, with modules that it imports too, besides its pool's."""
    rendered = [
        f"--{option.flag}={option.text(node[key])}"
        for key, option in NODE_OPTIONS.items()
        if option.flag and key in node
    ]
    if node.get("events"):
        rendered.append("--task-events")
    extra = [str(argument) for argument in node.get("extra_arguments", [])]
    include = [*POOL_MODULES.get(pool_of(node), ()), *include]
    if include:  # of two such options, Celery would take the last
        own = [argument.removeprefix("--include=") for argument in extra if argument.startswith("--include=")]
        extra = [argument for argument in extra if not argument.startswith("--include=")]
        extra.append(f"--include={','.join([*include, *own])}")
    return [*rendered, *extra]


def settings(node: Node) -> list[str]:
    """Celery's settings that ``celery worker`` takes after its options, where there is no option to say it."""
    return ["worker_send_task_events=false"] if node.get("events") is False else []


def celery_environments(nodes: list[Node], host: str) -> list[dict[str, str]]:
    """The environment files of the nodes of ``celery_nodes`` that have one on ``host``: ``name`` and ``content``."""
    return [
        {"name": node["name"], "content": app.environment_file(node["environment"])}
        for node in expand(nodes, host)
        if node.get("environment")
    ]


def celery_stop_signals(node: Node, stop_timeout: int, soft_shutdown_timeout: int) -> list[tuple[str, int]]:
    """How a node is stopped, short of SIGKILL: signals, and the seconds that each gets.

    :param node: one of what ``celery_host_nodes`` returns
    :param stop_timeout: ``celery_stop_timeout``, for a node without one of its own
    :param soft_shutdown_timeout: ``celery_soft_shutdown_timeout``
    """
    warm = ("TERM", node["stop_timeout"] or stop_timeout)
    return [warm, ("QUIT", soft_shutdown_timeout + STOP_MARGIN)] if node["hands_back"] else [warm]


def celery_node_units(nodes: list[Node], name: str, log_to: str = "files") -> list[dict[str, Any]]:
    """The nodes of one host with their units and log files, None where they write to the journal."""
    return [
        {
            "name": node["name"],
            "queues": node["queues"],
            "unit": f"{name}-worker@{node['name']}.service",
            "log": f"/var/log/{name}/{node['name']}.log" if log_to == "files" else None,
        }
        for node in nodes
    ]


def _inputs(etc: str, node: Node, inputs: list[str]) -> list[str]:
    return [*inputs, f"{etc}/worker@{node['name']}.env"] if node["own_environment"] else inputs


def celery_rollout_nodes(
    nodes: list[Node], name: str, etc: str, inputs: list[str], stop_timeout: int, log_to: str = "files"
) -> list[dict[str, Any]]:
    """The nodes of one host as the module celery_rollout takes them.

    :param etc: the directory with the environment files of nodes that have one
    :param inputs: files after whose change a node has to be restarted
    :param stop_timeout: seconds, for nodes without one of their own
    """
    return [
        {**unit, "inputs": _inputs(etc, node, inputs), "stop_timeout": node["stop_timeout"] or stop_timeout}
        for unit, node in zip(celery_node_units(nodes, name, log_to), nodes, strict=True)
    ]
