"""Filters that turn ``celery_nodes`` into what runs on a host, and say what is wrong with them."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.celeriac.fleet.plugins.plugin_utils import app_inventory as app
from ansible_collections.celeriac.fleet.plugins.plugin_utils import celery_sandbox as sandbox
from ansible_collections.celeriac.fleet.plugins.plugin_utils.site_roles import ALONE, Hosts, Site, asks

Node = dict[str, Any]

# Node key -> the long option of `celery worker` it becomes. Only `--option=value` survives `celery multi`.
OPTIONS = {
    "concurrency": "concurrency",
    "prefetch_multiplier": "prefetch-multiplier",
    "max_tasks_per_child": "max-tasks-per-child",
    "soft_time_limit": "soft-time-limit",
    "time_limit": "time-limit",
    "pool": "pool",
}
# Node key -> the directive of systemd.resource-control(5) or systemd.exec(5) it becomes.
LIMITS = {"memory_max": "MemoryMax", "cpu_quota": "CPUQuota", "nice": "Nice"}
NODE_KEYS = frozenset(
    "name instances hosts queues autoscale max_memory_per_child events loglevel stop_timeout environment "
    "extra_arguments".split()
) | {*OPTIONS, *LIMITS}
# Pool -> keys that it ignores or breaks on (celery/concurrency/*.py). Threads can't be killed and don't grow, greenlets
# have a hard limit only, solo runs the task in the main process.
_NO_PROCESSES = {"max_tasks_per_child", "max_memory_per_child", "soft_time_limit"}
POOLS = {
    "prefork": set[str](),
    "threads": _NO_PROCESSES | {"time_limit", "autoscale"},
    "gevent": _NO_PROCESSES,
    "solo": _NO_PROCESSES | {"time_limit", "autoscale", "concurrency"},
}
# Pool -> what a node of it imports beside the application; the role's files
POOL_MODULES = {"prefork": ("celeriac_prefork",)}
# SIGQUIT makes a worker hand back what it runs. With solo it would fail the task instead.
NO_HAND_BACK = ("solo",)
# Seconds that a worker has to hand tasks back, and systemd to see that it did.
STOP_MARGIN = 10
# Option of `celery worker` -> what it takes; other options are set by the role, would break the unit, or belong to
# embedded beat. One with a blank in it wouldn't survive `celery multi`.
EXTRA: dict[str, tuple[str, str]] = {
    "disable-prefetch": ("", "no value"),
    "heartbeat-interval": (r"[1-9][0-9]*", "a whole number of seconds"),
    "include": (r"[A-Za-z_][\w.]*(,[A-Za-z_][\w.]*)*", "modules with commas between them"),
    "optimization": ("default|fair", "default or fair"),
    "pool-start-method": ("fork|spawn", "fork or spawn"),
    "without-gossip": ("", "no value"),
    "without-heartbeat": ("", "no value"),
    "without-mingle": ("", "no value"),
}
# systemd instance, PID file and `celery multi` node name in one: what is valid in all of them.
NODE_NAME = re.compile(r"[a-z][a-z0-9_]*\Z")
QUEUE_NAME = re.compile(r"[A-Za-z0-9_.:-]+\Z")
APP = re.compile(r"[A-Za-z_]\w*(\.\w+)*(:\w+(\.\w+)*)?\Z", re.ASCII)
LOGLEVELS = ("debug", "info", "warning", "error", "critical")
SIZE = re.compile(r"([1-9][0-9]*(?:\.[0-9]+)?)([KMGT]?)\Z")
# What the role's variables may be, besides a node's own keys; as in its argument_specs.
CHOICES = {"celery_log_to": ("files", "journal"), "celery_log_format": ("text", "json")}
# As numbers, and as the text that --extra-vars celery_rollout_batch=2 gives.
BATCHES = {
    "celery_rollout_batch": (re.compile(r"[1-9][0-9]*\Z", re.ASCII), "a whole number of at least 1"),
    "workers_batch": (re.compile(r"[1-9][0-9]*%?\Z", re.ASCII), "a number of hosts or a share such as '25%'"),
}
LOG_SIZE = re.compile(r"([1-9][0-9]*[kMG]?)?\Z")
# Schedulers without a lock: two of them send everything twice. "django" is how django-celery-beat calls its own.
FILE_SCHEDULER = "celery.beat.PersistentScheduler"
LOCKLESS = {FILE_SCHEDULER, "celery.beat.Scheduler", "django", "django_celery_beat.schedulers.DatabaseScheduler"}
SCHEDULER = re.compile(r"[A-Za-z_]\w*(\.\w+)*(:\w+)?\Z", re.ASCII)
# redbeat's lock lasts five of its intervals, and a standby looks at it once in each: six until it has it.
TAKEOVER_INTERVALS = 6
# As in the role's defaults, for inventories that don't set them.
TIMEOUTS = {"celery_stop_timeout": 660, "celery_soft_shutdown_timeout": 30, "celery_visibility_timeout": 3600}
# systemd only logs a warning about a limit that it can't read, and runs the unit without it
LIMIT_FORMS = {
    "memory_max": (
        re.compile(r"[1-9][0-9]*(\.[0-9]+)?[KMGT]?\Z|[1-9][0-9]?%\Z|100%\Z"),
        "bytes, a size such as 2G, or 80%",
    ),
    # celery's own unit is KiB: a number without one would be off by 1024 for half of its readers
    "max_memory_per_child": (re.compile(r"[1-9][0-9]*(\.[0-9]+)?[KMGT]\Z"), "a size with its unit, such as 300M"),
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
    problems = list(node_problems(nodes))
    if problems:
        raise AnsibleFilterError(" ".join(problems))
    return [
        {
            "name": node["name"],
            "queues": node["queues"],
            "options": options(node, include),
            "settings": settings(node),
            "limits": {LIMITS[key]: node[key] for key in LIMITS if key in node},
            "hands_back": node.get("pool") not in NO_HAND_BACK,
            "loglevel": node.get("loglevel"),
            "stop_timeout": node.get("stop_timeout"),
            "own_environment": bool(node.get("environment")),
        }
        for node in expand(nodes, host)
    ]


def options(node: Node, include: Sequence[str] = ()) -> list[str]:
    """The options of ``celery worker`` for one node, with modules that it imports too, besides its pool's."""
    rendered = [f"--queues={','.join(node['queues'])}"]
    if "autoscale" in node:
        rendered.append(f"--autoscale={node['autoscale']['max']},{node['autoscale']['min']}")
    rendered += [f"--{OPTIONS[key]}={node[key]}" for key in OPTIONS if key in node]
    if "max_memory_per_child" in node:
        rendered.append(f"--max-memory-per-child={_bytes(node['max_memory_per_child']) // 1024}")
    if node.get("events"):
        rendered.append("--task-events")
    extra = [str(argument) for argument in node.get("extra_arguments", [])]
    include = [*POOL_MODULES.get(node.get("pool", "prefork"), ()), *include]
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


def celery_beat_options(scheduler: str, takeover_timeout: int) -> list[str]:
    """Which scheduler ``celery beat`` takes, and, where it may have a standby, how often it looks up.

    :param takeover_timeout: ``celery_beat_takeover_timeout``, in seconds
    """
    chosen = [f"--scheduler={scheduler}"]
    return chosen if lockless(scheduler) else [*chosen, f"--max-interval={takeover_timeout // TAKEOVER_INTERVALS}"]


def lockless(scheduler: str) -> bool:
    """Whether nothing keeps two beats with this scheduler from sending everything twice."""
    return scheduler.replace(":", ".") in LOCKLESS


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


def node_problems(nodes: Any) -> Iterator[str]:
    """What is wrong with ``celery_nodes``, a sentence each."""
    if not isinstance(nodes, list) or not nodes:
        yield (
            f"celery_nodes is {_shown(nodes)}: give it a list with at least one node, such as "
            "{name: worker, queues: [default]}."
        )
        return
    for index, node in enumerate(nodes):
        if not isinstance(node, Mapping):
            yield f"celery_nodes[{index}] is {_shown(node)}: write a mapping with name and queues."
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
        yield from _pool_problems(where, node)
        yield from _argument_problems(where, node.get("extra_arguments", []))
        yield from app.environment_problems(node.get("environment", {}), f"{where}.environment")
        if not isinstance(node.get("events", True), bool):
            yield f"{where} has events {node['events']!r}: write true or false."
        if "loglevel" in node and node["loglevel"] not in LOGLEVELS:
            yield f"{where} has loglevel {node['loglevel']!r}: use one of {', '.join(LOGLEVELS)}."
        if "hosts" in node and not (isinstance(node["hosts"], list) and node["hosts"]):
            yield f"{where} has hosts {node['hosts']!r}: list the inventory hostnames it runs on, or leave hosts out."


def _shown(value: Any) -> str:
    """``value`` as a sentence shows it; with an environment in it, its type only."""
    return type(value).__name__ if "environment" in repr(value) else repr(value)


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
    if "nice" in node and not (_is_count(node["nice"], least=-20) and node["nice"] <= 19):
        yield f"{where} has nice {node['nice']!r}: give it a whole number from -20 to 19, more is nicer to others."
    child, node_limit = (_bytes(node.get(key)) for key in ("max_memory_per_child", "memory_max"))
    if child and node_limit and child >= node_limit:
        yield (
            f"{where} has max_memory_per_child {node['max_memory_per_child']!r}, not below its memory_max "
            f"{node['memory_max']!r}: lower it, or the kernel kills the process before Celery replaces it."
        )


def _bytes(size: Any) -> int:
    """A size such as ``300M`` in bytes; 0 for a share or what is none."""
    match = SIZE.match(str(size))
    return int(float(match[1]) * 1024 ** " KMGT".index(match[2] or " ")) if match else 0


def _pool_problems(where: str, node: Mapping[str, Any]) -> Iterator[str]:
    pool = node.get("pool", "prefork")
    if not isinstance(pool, str) or pool not in POOLS:
        yield f"{where} has pool {pool!r}: use one of {', '.join(POOLS)}."
        return
    for key in sorted(POOLS[pool] & set(node)):
        able = ", ".join(name for name, unable in POOLS.items() if key not in unable)
        yield f"{where} has {key} {node[key]!r}, of which the pool {pool} knows nothing: leave it out, or use {able}."
    soft, hard = node.get("soft_time_limit"), node.get("time_limit")
    if soft is not None and hard is not None and _is_count(soft) and _is_count(hard) and soft >= hard:
        yield (
            f"{where} has soft_time_limit {soft!r}, not below its time_limit {hard!r}: lower it, or the task is killed "
            "before it hears of it."
        )


def _argument_problems(where: str, arguments: Any) -> Iterator[str]:
    if not isinstance(arguments, list):
        yield f"{where} has extra_arguments {arguments!r}: write a list, such as ['--without-gossip']."
        return
    names = []
    for argument in arguments:
        name, sign, value = str(argument).removeprefix("--").partition("=")
        names.append(name)
        if not isinstance(argument, str) or not argument.startswith("--") or name not in EXTRA:
            near = difflib.get_close_matches(name, EXTRA, n=1)
            remedy = f"write --{near[0]}" if near else f"use one of --{', --'.join(EXTRA)}, or the node's own keys"
            yield f"{where} has the extra argument {argument!r}, which isn't for it to set: {remedy}."
        elif bool(sign) is not bool(EXTRA[name][0]) or not re.fullmatch(EXTRA[name][0], value, re.ASCII):
            yield f"{where} has the extra argument {argument!r}: give it {EXTRA[name][1]}."
    for name, count in Counter(names).items():
        if count > 1:
            yield f"{where} has the extra argument '--{name}' {count} times: leave one of them."


def _number_problems(where: str, node: Mapping[str, Any]) -> Iterator[str]:
    for key in (
        "instances",
        "concurrency",
        "prefetch_multiplier",
        "max_tasks_per_child",
        "soft_time_limit",
        "time_limit",
        "stop_timeout",
    ):
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


def _is_count(value: Any, least: int = 1) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


@asks("app_name", "workers_batch")
def celery_problems(hosts: Hosts, site: Site = ALONE) -> list[str]:
    """What is wrong with the nodes, queues and beat of an inventory, for each application.

    :param hosts: worker host -> its variables of the role, ``app_name`` and ``workers_batch``
    :param site: whose group ``beat`` may have hosts that run no nodes
    :returns: a sentence for each problem, naming variable, value and remedy; empty if there is none
    """
    beats = site.groups.get("beat", ())
    names = dict.fromkeys(variables.get("app_name") for variables in hosts.values())
    problems: list[str] = []
    for name in names:
        own = {host: variables for host, variables in hosts.items() if variables.get("app_name") == name}
        others = set(hosts) - set(own)
        found = _problems(own, [host for host in beats if host not in others])
        problems += [f"{name}: {problem}" for problem in found] if len(names) > 1 else found
    return problems


def _problems(hosts: Mapping[str, Mapping[str, Any]], beats: Iterable[str]) -> list[str]:
    problems: list[str] = []
    for variables in hosts.values():
        app = variables.get("celery_app")
        if not isinstance(app, str) or not APP.match(app):
            problems.append(f"celery_app is {app!r}: name the module, or module:attribute, that celery -A takes.")
        problems += node_problems(variables.get("celery_nodes"))
        problems += sandbox.problems(variables.get("celery_sandbox", {}))
        problems += _timeout_problems(variables)
        problems += _batch_problems(variables)
        problems += _choice_problems(variables)
    if not problems:
        problems = [*_repeated_names(hosts), *_unknown_hosts(hosts)] or [*_unserved_queues(hosts)]
    problems += _beat_problems(hosts, beats)
    return list(dict.fromkeys(problems))


def celery_batch_problems(hosts: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What is wrong with the numbers of hosts and nodes that restart at the same time.

    :param hosts: worker host -> its ``workers_batch`` and ``celery_rollout_batch``
    :returns: a sentence for each problem, naming variable, value and remedy; empty if there is none
    """
    return list(dict.fromkeys(problem for variables in hosts.values() for problem in _batch_problems(variables)))


def _batch_problems(variables: Mapping[str, Any]) -> Iterator[str]:
    for name, (shape, wanted) in BATCHES.items():
        batch = variables.get(name, 1)
        if isinstance(batch, bool) or not isinstance(batch, int | str) or not shape.match(str(batch)):
            yield f"{name} is {batch!r}: give it {wanted}."


def _choice_problems(variables: Mapping[str, Any]) -> Iterator[str]:
    for name, choices in CHOICES.items():
        value = variables.get(name, choices[0])
        if value not in choices:
            yield f"{name} is {value!r}: use one of {', '.join(choices)}."
    size = variables.get("celery_log_max_size", "")
    if not isinstance(size, str) or not LOG_SIZE.match(size):
        yield f"celery_log_max_size is {size!r}: give it a size in quotes, such as '100M', or '' for none."
    scheduler = variables.get("celery_beat_scheduler", FILE_SCHEDULER)
    if not isinstance(scheduler, str) or not SCHEDULER.match(scheduler):
        yield f"celery_beat_scheduler is {scheduler!r}: name a class, such as redbeat.RedBeatScheduler."
    takeover = variables.get("celery_beat_takeover_timeout", TAKEOVER_INTERVALS)
    if not _is_count(takeover, TAKEOVER_INTERVALS):
        yield f"celery_beat_takeover_timeout is {takeover!r}: give it whole seconds, at least {TAKEOVER_INTERVALS}."


def _timeout_problems(variables: Mapping[str, Any]) -> Iterator[str]:
    """What would run twice: the broker hands out again what isn't acknowledged within the visibility timeout."""
    timeouts = {name: variables.get(name, value) for name, value in TIMEOUTS.items()}
    least = {name: 0 if name == "celery_soft_shutdown_timeout" else 1 for name in timeouts}
    wrong = [name for name, value in timeouts.items() if not _is_count(value, least[name])]
    yield from (f"{name} is {timeouts[name]!r}: give it whole seconds, at least {least[name]}." for name in wrong)
    if wrong:
        return
    visible, soft = timeouts["celery_visibility_timeout"], timeouts["celery_soft_shutdown_timeout"]
    nodes = variables.get("celery_nodes")
    known = [node for node in nodes if isinstance(node, Mapping)] if isinstance(nodes, list) else []
    stops = [("celery_stop_timeout", timeouts["celery_stop_timeout"])]
    stops += [(f"stop_timeout of the node {node.get('name')!r}", node.get("stop_timeout")) for node in known]
    for name, value in stops:
        if _is_count(value) and value + soft >= visible:
            yield (
                f"{name} is {value}, with celery_soft_shutdown_timeout {soft} not below celery_visibility_timeout "
                f"{visible}: lower it or raise the latter, or tasks that a stop waits for run twice."
            )
    for node in known:
        for key in ("soft_time_limit", "time_limit"):
            if _is_count(node.get(key)) and node[key] >= visible:
                yield (
                    f"{key} of the node {node.get('name')!r} is {node[key]}, not below celery_visibility_timeout "
                    f"{visible}: lower it or raise the latter, or a task that takes as long runs twice."
                )


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


def _beat_problems(hosts: Mapping[str, Mapping[str, Any]], group: Iterable[str]) -> Iterator[str]:
    beats = sorted(host for host, variables in hosts.items() if variables.get("celery_beat_enabled"))
    schedulers = {str(hosts[host].get("celery_beat_scheduler", FILE_SCHEDULER)) for host in beats}
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
