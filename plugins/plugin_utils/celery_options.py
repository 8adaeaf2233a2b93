"""What a node of ``celery_nodes`` may say beside what the role's argument_specs declare, and what becomes of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from ansible_collections.celeriac.fleet.plugins.plugin_utils import specs
from ansible_collections.celeriac.fleet.plugins.plugin_utils.specs import NO_RULE, Rule

Node = dict[str, Any]

# systemd instance, PID file and `celery multi` node name in one: what is valid in all of them.
NODE_NAME = r"[a-z][a-z0-9_]*"
QUEUE_NAME = r"[A-Za-z0-9_.:-]+"
SIZE = re.compile(r"([1-9][0-9]*(?:\.[0-9]+)?)([KMGT]?)\Z")


def in_bytes(size: Any) -> int:
    """A size such as ``300M`` in bytes; 0 for a share or what is none."""
    match = SIZE.match(str(size))
    return int(float(match[1]) * 1024 ** " KMGT".index(match[2] or " ")) if match else 0


def in_kib(size: Any) -> str:
    """A size such as ``300M`` in KiB, as text."""
    return str(in_bytes(size) // 1024)


@dataclass(frozen=True)
class NodeOption:
    """A key of a node."""

    flag: str = ""  # the long option of `celery worker` it becomes; only `--option=value` survives `celery multi`
    text: Callable[[Any], str] = str  # the flag's value
    directive: str = ""  # the directive of systemd.resource-control(5) or systemd.exec(5) it becomes
    rule: Rule = NO_RULE
    # Pools that ignore it or break on it (celery/concurrency/*.py). Threads can't be killed and don't grow, greenlets
    # have a hard limit only, solo runs the task in the main process.
    not_of: tuple[str, ...] = ()


COUNT = specs.count()
# In the order in which `celery worker` is given them.
NODE_OPTIONS = {
    "queues": NodeOption("queues", ",".join, rule=Rule(bool, "list at least one queue that it consumes")),
    "autoscale": NodeOption("autoscale", lambda scale: f"{scale['max']},{scale['min']}", not_of=("threads", "solo")),
    "concurrency": NodeOption("concurrency", rule=COUNT, not_of=("solo",)),
    # celery reads --prefetch-multiplier=0 as if it weren't there
    "prefetch_multiplier": NodeOption("prefetch-multiplier", rule=COUNT),
    "max_tasks_per_child": NodeOption("max-tasks-per-child", rule=COUNT, not_of=("threads", "gevent", "solo")),
    "soft_time_limit": NodeOption("soft-time-limit", rule=COUNT, not_of=("threads", "gevent", "solo")),
    "time_limit": NodeOption("time-limit", rule=COUNT, not_of=("threads", "solo")),
    "pool": NodeOption("pool"),
    "max_memory_per_child": NodeOption(
        "max-memory-per-child",
        in_kib,
        # celery's own unit is KiB: a number without one would be off by 1024 for half of its readers
        rule=Rule(specs.text(r"[1-9][0-9]*(\.[0-9]+)?[KMGT]"), "give it a size with its unit, such as 300M"),
        not_of=("threads", "gevent", "solo"),
    ),
    # systemd only logs a warning about a limit that it can't read, and runs the unit without it
    "memory_max": NodeOption(
        directive="MemoryMax",
        rule=Rule(
            specs.text(r"[1-9][0-9]*(\.[0-9]+)?[KMGT]?|[1-9][0-9]?%|100%"),
            "give it bytes, a size such as 2G, or 80%",
            also=(int, float),
        ),
    ),
    "cpu_quota": NodeOption(
        directive="CPUQuota",
        rule=Rule(specs.text(r"[1-9][0-9]*%"), "give it a percentage such as 150%, 100% is one processor"),
    ),
    "nice": NodeOption(
        directive="Nice",
        rule=Rule(specs.number(-20, 19), "give it a whole number from -20 to 19, more is nicer to others"),
    ),
    "name": NodeOption(
        rule=Rule(specs.text(NODE_NAME), "name it with lower-case letters, digits and _, a letter first")
    ),
    "instances": NodeOption(rule=COUNT),
    "hosts": NodeOption(rule=Rule(bool, "list the inventory hostnames it runs on, or leave hosts out")),
    "stop_timeout": NodeOption(rule=COUNT),
    "extra_arguments": NodeOption(rule=Rule(remedy="write a list, such as ['--without-gossip']")),
}
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


def pools() -> list[str]:
    """The pools that a node may have, the default first."""
    return list(specs.keys("celery", "celery_nodes")["pool"]["choices"])


def pool_of(node: Node) -> str:
    """The pool of a node, as far as the inventory says it."""
    return str(node.get("pool", pools()[0]))


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
