"""What can't be right in the celery role's variables: sentences that name the variable, its value and the way out."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ansible_collections.celeriac.fleet.plugins.plugin_utils import app_inventory as app
from ansible_collections.celeriac.fleet.plugins.plugin_utils import specs
from ansible_collections.celeriac.fleet.plugins.plugin_utils import systemd_sandbox as sandbox
from ansible_collections.celeriac.fleet.plugins.plugin_utils.celery_beat import TAKEOVER_INTERVALS, lockless
from ansible_collections.celeriac.fleet.plugins.plugin_utils.celery_options import (
    EXTRA,
    NODE_OPTIONS,
    QUEUE_NAME,
    expand,
    in_bytes,
    pool_of,
    pools,
)
from ansible_collections.celeriac.fleet.plugins.plugin_utils.site_roles import ALONE, Hosts, Site, asks
from ansible_collections.celeriac.fleet.plugins.plugin_utils.specs import Rule

Variables = Mapping[str, Any]

SECONDS = specs.count("give it whole seconds, at least 1")
NUMBER_AS_TEXT = Rule(specs.text(r"[0-9]+"), "give it a whole number", also=(str,))
RULES = {
    "celery_app": Rule(
        specs.text(r"[A-Za-z_]\w*(\.\w+)*(:\w+(\.\w+)*)?"), "name the module, or module:attribute, that celery -A takes"
    ),
    "celery_nodes": Rule(bool, "give it a list with at least one node, such as {name: worker, queues: [default]}"),
    **{f"celery_nodes[].{key}": option.rule for key, option in NODE_OPTIONS.items()},
    "celery_nodes[].queues[]": Rule(specs.text(QUEUE_NAME), "name it with letters, digits and any of _ . : - only"),
    "celery_nodes[].autoscale.min": specs.count(),
    "celery_beat_scheduler": Rule(
        specs.text(r"[A-Za-z_]\w*(\.\w+)*(:\w+)?"), "name a class, such as redbeat.RedBeatScheduler"
    ),
    # systemd's StateDirectory= is relative to /var/lib, and leaves it for nothing
    "celery_state_directory": Rule(
        specs.text(r"/var/lib(/(?!\.{1,2}(/|\Z))[^/\s]+)+/?"), "give it a directory below /var/lib, without .. in it"
    ),
    "celery_beat_takeover_timeout": specs.count(
        f"give it whole seconds, at least {TAKEOVER_INTERVALS}", TAKEOVER_INTERVALS
    ),
    "celery_stop_timeout": SECONDS,
    "celery_soft_shutdown_timeout": specs.count("give it whole seconds, at least 0", 0),
    "celery_visibility_timeout": SECONDS,
    "celery_log_max_size": Rule(
        specs.text(r"([1-9][0-9]*[kMG]?)?"), "give it a size in quotes, such as '100M', or '' for none"
    ),
    # with --extra-vars celery_rollout_batch=2 a number is text
    "celery_rollout_batch": Rule(specs.text(r"[1-9][0-9]*"), "give it a whole number of at least 1", also=(str,)),
    "celery_ready_timeout": NUMBER_AS_TEXT,
    "celery_log_rotations": NUMBER_AS_TEXT,
    "celery_restart": Rule(specs.text("(?i:true|false|yes|no)"), "write true or false", also=(str,)),
}
WORKERS_BATCH = Rule(
    specs.text(r"[1-9][0-9]*%?"), "give it a number of hosts or a share such as '25%'", also=(int, str)
)


def node_problems(nodes: Any) -> list[str]:
    """What is wrong with ``celery_nodes``, a sentence each."""
    found = specs.problems("celery", {"celery_nodes": nodes}, RULES, ["celery_nodes"])
    return [*found.get("celery_nodes", []), *_node_problems(nodes)]


def _node_problems(nodes: Any) -> Iterator[str]:
    """What is wrong with each node's keys together, as far as they are right by themselves."""
    for where, node in specs.mappings("celery_nodes", nodes):
        right = {key: value for key, value in node.items() if _right(key, value)}
        yield from _queue_problems(where, right.get("queues", []))
        yield from _limit_problems(where, right)
        yield from _pool_problems(where, node, right)
        yield from _argument_problems(where, right.get("extra_arguments", []))
        yield from app.environment_problems(right.get("environment", {}), f"{where}.environment")


def _right(key: str, value: Any) -> bool:
    """Whether the value of a node's key is right by itself."""
    return specs.is_right("celery", ("celery_nodes", key), value, RULES)


def _queue_problems(where: str, queues: list[str]) -> Iterator[str]:
    for queue, count in Counter(queues).items():
        if count > 1:
            yield f"{where} has the queue {queue!r} {count} times: leave one of them."


def _limit_problems(where: str, node: Variables) -> Iterator[str]:
    child, whole = (in_bytes(node.get(key)) for key in ("max_memory_per_child", "memory_max"))
    if child and whole and child >= whole:
        yield (
            f"{where} has max_memory_per_child {node['max_memory_per_child']!r}, not below its memory_max "
            f"{node['memory_max']!r}: lower it, or the kernel kills the process before Celery replaces it."
        )
    soft, hard = node.get("soft_time_limit"), node.get("time_limit")
    if soft and hard and soft >= hard:
        yield (
            f"{where} has soft_time_limit {soft!r}, not below its time_limit {hard!r}: lower it, or the task is killed "
            "before it hears of it."
        )
    scale = node.get("autoscale")
    if scale and "concurrency" in node:
        yield f"{where} has autoscale {scale!r} beside concurrency {node['concurrency']!r}: keep one of the two."
    if scale and scale["min"] > scale["max"]:
        yield f"{where} has autoscale {scale!r}: write {{min: 2, max: 8}}, whole numbers with min not above max."


def _pool_problems(where: str, node: Variables, right: Variables) -> Iterator[str]:
    pool = pool_of({"pool": right["pool"]} if "pool" in right else {})
    if "pool" in node and "pool" not in right:
        return
    for key in sorted(key for key in node if key in NODE_OPTIONS and pool in NODE_OPTIONS[key].not_of):
        able = ", ".join(each for each in pools() if each not in NODE_OPTIONS[key].not_of)
        yield f"{where} has {key} {node[key]!r}, of which the pool {pool} knows nothing: leave it out, or use {able}."


def _argument_problems(where: str, arguments: list[str]) -> Iterator[str]:
    names = []
    for argument in arguments:
        name, sign, value = argument.removeprefix("--").partition("=")
        names.append(name)
        if not argument.startswith("--") or name not in EXTRA:
            near = difflib.get_close_matches(name, EXTRA, n=1)
            remedy = f"write --{near[0]}" if near else f"use one of --{', --'.join(EXTRA)}, or the node's own keys"
            yield f"{where} has the extra argument {argument!r}, which isn't for it to set: {remedy}."
        elif bool(sign) is not bool(EXTRA[name][0]) or not re.fullmatch(EXTRA[name][0], value, re.ASCII):
            yield f"{where} has the extra argument {argument!r}: give it {EXTRA[name][1]}."
    for name, count in Counter(names).items():
        if count > 1:
            yield f"{where} has the extra argument '--{name}' {count} times: leave one of them."


@asks("app_name", "workers_batch")
def celery_problems(hosts: Hosts, site: Site = ALONE) -> list[str]:
    """What is wrong with the nodes, queues and beat of an inventory, for each application.

    :param hosts: worker host -> its variables of the role, ``app_name`` and ``workers_batch``
    :param site: whose group ``beat`` may have hosts that run no nodes
    :returns: a sentence for each problem, naming variable, value and remedy; empty if there is none
    """
    beats = site.groups.get("beat", ())
    names = dict.fromkeys(str(variables.get("app_name")) for variables in hosts.values())
    problems: list[str] = []
    for name in names:
        own = {host: variables for host, variables in hosts.items() if str(variables.get("app_name")) == name}
        others = set(hosts) - set(own)
        found = _problems(own, [host for host in beats if host not in others])
        problems += [f"{name}: {problem}" for problem in found] if len(names) > 1 else found
    return problems


def _problems(hosts: Hosts, beats: Iterable[str]) -> list[str]:
    problems: list[str] = []
    complete = {host: {**specs.defaults("celery"), **variables} for host, variables in hosts.items()}
    beat_is_right = True
    for variables in complete.values():
        found = specs.problems("celery", variables, RULES)
        beat_is_right = beat_is_right and not found.keys() & {"celery_beat_enabled", "celery_beat_scheduler"}
        problems += [sentence for sentences in found.values() for sentence in sentences]
        problems += _node_problems(variables.get("celery_nodes"))
        problems += (
            sandbox.problems(variables["celery_sandbox"], "celery_sandbox") if "celery_sandbox" not in found else []
        )
        problems += _timeout_problems(variables, found)
        problems += _workers_batch_problems(variables)
    if not problems:
        problems = [*_repeated_names(complete), *_unknown_hosts(complete)] or [*_unserved_queues(complete)]
    if beat_is_right:
        problems += _beat_problems(complete, beats)
    return list(dict.fromkeys(problems))


def celery_batch_problems(hosts: Hosts) -> list[str]:
    """What is wrong with the numbers of hosts and nodes that restart at the same time.

    :param hosts: worker host -> its ``workers_batch`` and ``celery_rollout_batch``
    :returns: a sentence for each problem, naming variable, value and remedy; empty if there is none
    """
    problems: list[str] = []
    for variables in hosts.values():
        found = specs.problems("celery", variables, RULES, ["celery_rollout_batch"])
        problems += found.get("celery_rollout_batch", [])
        problems += _workers_batch_problems(variables)
    return list(dict.fromkeys(problems))


def _workers_batch_problems(variables: Variables) -> Iterator[str]:
    batch = variables.get("workers_batch", 1)
    if isinstance(batch, bool) or not isinstance(batch, WORKERS_BATCH.also) or not WORKERS_BATCH.fits(batch):
        yield f"workers_batch is {batch!r}: {WORKERS_BATCH.remedy}."


def _timeout_problems(variables: Variables, found: Mapping[str, Any]) -> Iterator[str]:
    """What would run twice: the broker hands out again what isn't acknowledged within the visibility timeout."""
    if found.keys() & {"celery_stop_timeout", "celery_soft_shutdown_timeout", "celery_visibility_timeout"}:
        return
    visible, soft = variables["celery_visibility_timeout"], variables["celery_soft_shutdown_timeout"]
    known = [
        {key: value for key, value in node.items() if _right(key, value)}
        for _, node in specs.mappings("celery_nodes", variables.get("celery_nodes"))
    ]
    stops = [("celery_stop_timeout", variables["celery_stop_timeout"])]
    stops += [
        (f"stop_timeout of the node {node.get('name')!r}", node["stop_timeout"])
        for node in known
        if "stop_timeout" in node
    ]
    for name, value in stops:
        if value + soft >= visible:
            yield (
                f"{name} is {value}, with celery_soft_shutdown_timeout {soft} not below celery_visibility_timeout "
                f"{visible}: lower it or raise the latter, or tasks that a stop waits for run twice."
            )
    for node in known:
        for key in ("soft_time_limit", "time_limit"):
            if node.get(key, 0) >= visible:
                yield (
                    f"{key} of the node {node.get('name')!r} is {node[key]}, not below celery_visibility_timeout "
                    f"{visible}: lower it or raise the latter, or a task that takes as long runs twice."
                )


def _repeated_names(hosts: Hosts) -> Iterator[str]:
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


def _unknown_hosts(hosts: Hosts) -> Iterator[str]:
    for variables in hosts.values():
        for index, node in enumerate(variables["celery_nodes"]):
            for other in node.get("hosts", []):
                if other not in hosts:
                    yield (
                        f"celery_nodes[{index}] ({node['name']}) runs on the host {other!r}, which isn't in the group "
                        f"workers: name one of {', '.join(sorted(hosts))}."
                    )


def _unserved_queues(hosts: Hosts) -> Iterator[str]:
    routed = dict.fromkeys(queue for variables in hosts.values() for queue in variables["celery_routed_queues"])
    nodes = [node for host, variables in hosts.items() for node in expand(variables["celery_nodes"], host)]
    consumed = {queue for node in nodes for queue in node["queues"]}
    for queue in routed:
        if queue not in consumed:
            yield (
                f"celery_routed_queues has the queue {queue!r}, which no node consumes: add it to the queues of a node "
                "in celery_nodes, or tasks sent to it wait for ever."
            )


def _beat_problems(hosts: Hosts, group: Iterable[str]) -> Iterator[str]:
    beats = sorted(host for host, variables in hosts.items() if variables["celery_beat_enabled"])
    schedulers = {str(hosts[host]["celery_beat_scheduler"]) for host in beats}
    if len(beats) > 1 and any(map(lockless, schedulers)):
        yield (
            f"The group beat has the hosts {', '.join(beats)}: leave one of them, since two beats with the "
            f"celery_beat_scheduler {', '.join(sorted(schedulers))} run every scheduled task twice, or set that to "
            "redbeat.RedBeatScheduler, with which one runs and the others stand by."
        )
    elif len(schedulers) > 1:
        yield f"celery_beat_scheduler is {' and '.join(sorted(schedulers))}: give all hosts of the group beat the same."
    strangers = sorted(set(group) - set(hosts))
    if beats and strangers:
        yield (
            f"The group beat has {', '.join(strangers)}, which isn't in the group workers: put it there too, where the "
            "application is, or take it out of beat."
        )
    elif not beats:
        yield "The group beat has no host of the group workers: put one in, or nothing that is scheduled ever runs."
