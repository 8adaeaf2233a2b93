"""Filters of playbooks/status.yml: what the hosts said made one document, and that a table for people."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

Document = dict[str, Any]

WIDTH = 112  # characters, so that they fit into 120 as Ansible indents them
# systemd's word for a unit's state -> ours; worse ones first
STATES = {
    "failed": "failed",
    "absent": "absent",
    "inactive": "stopped",
    "deactivating": "stopping",
    "activating": "starting",
}
ORDER = [*STATES.values(), "no answer", "wrong queues", "old release", "not asked", "running", "held"]
GONE = "unreachable: "
WELL = ("running", "held", "not asked")
# how a rollout ended that needs somebody's attention
UNFINISHED = {
    "failed": "failed",
    "reverted": "failed and was reverted",
    "refused": "was refused",
    "interrupted": "was interrupted",
}


def celery_status(results: Mapping[str, Mapping[str, Any]], app: str, redbeat: bool = False) -> Document:
    """What the module celery_status said on each host, as one document.

    :param results: host -> what was registered there
    :param redbeat: whether more than one beat may run, of which one holds the lock
    :returns: ``app``, ``time``, ``problems`` (sentences), ``nodes``, ``queues``, ``unacked``, ``beat`` and ``hosts``;
        ages in seconds, sizes in bytes
    """
    told = {host: result for host, result in results.items() if "nodes" in result}
    nodes = [
        {**node, "host": host, "state": _state(node, result)}
        for host, result in told.items()
        for node in result["nodes"]
    ]
    nodes.sort(key=lambda node: (ORDER.index(node["state"]), node["name"]))
    asked = [result for result in told.values() if "queues" in result]
    queues = [
        {
            "name": name,
            "depth": max(result["queues"].get(name, {}).get("depth", 0) for result in asked),
            "unacked": max(result["queues"].get(name, {}).get("unacked", 0) for result in asked),
            "oldest": max((result["queues"].get(name, {}).get("oldest") or 0 for result in asked), default=0) or None,
            "consumers": sorted(node["name"] for node in nodes if name in node.get("queues", [])),
        }
        for name in sorted({name for result in asked for name in result["queues"]})
    ]
    queues.sort(key=lambda queue: (bool(queue["consumers"]) or not queue["depth"], -queue["depth"], queue["name"]))
    beat = [{**result["beat"], "host": host} for host, result in told.items() if result["beat"]["state"] != "absent"]
    hosts = [
        {
            "host": host,
            "release": result.get("release", ""),
            "releases": [{**each, "live": _time(each["live"])} for each in result.get("releases", [])],
            "rollout": result.get("rollout"),
            "error": result.get("error", "") if host in told else _unreadable(result),
        }
        for host, result in results.items()
    ]
    document = {
        "app": app,
        "time": _time(max((result["time"] for result in told.values()), default=0)),
        "nodes": nodes,
        "queues": queues,
        "unacked": max((result["unacked"] for result in asked), default=None),
        "beat": beat,
        "hosts": hosts,
    }
    return {**document, "problems": [*_problems(document, len(told) == len(results), redbeat)]}


def _unreadable(result: Mapping[str, Any]) -> str:
    """Why a host said nothing."""
    message = str(result.get("msg") or "no answer").removeprefix("Task failed: ").strip().splitlines()[0].rstrip(".")
    return f"{GONE}{message}" if result.get("unreachable") else message


def _state(node: Mapping[str, Any], result: Mapping[str, Any]) -> str:
    """One word for a node."""
    if node["held"] and node["state"] != "active":
        return "held"
    if node["state"] != "active":
        return STATES.get(str(node["state"]), str(node["state"]))
    if result["error"]:
        return "not asked"
    if "queues" not in node:
        return "no answer"
    if sorted(node["queues"]) != sorted(node["expected"]):
        return "wrong queues"
    return "running" if node["release"] in ("", result["release"]) else "old release"


def _problems(document: Document, complete: bool, redbeat: bool) -> Iterator[str]:
    for host in document["hosts"]:
        if host["error"]:
            what = (
                "can't ask its nodes: " if host["release"] else "is " if host["error"].startswith(GONE) else "failed: "
            )
            yield f"{host['host']} {what}{host['error']}."
    yield from (_rollout(host["host"], host["rollout"]) for host in document["hosts"] if _unfinished(host["rollout"]))
    releases = {host["host"]: host["release"] for host in document["hosts"] if host["release"]}
    if len(set(releases.values())) > 1:
        yield f"The hosts have different releases: {', '.join(f'{name} on {host}' for host, name in releases.items())}."
    for node in document["nodes"]:
        if node["state"] not in WELL:
            yield f"{node['name']} {_wrong(node, releases)}."
    for queue in document["queues"]:
        if queue["depth"] and not queue["consumers"]:
            nobody = "no node consumes it" if complete else "none of the nodes that answered consumes it"
            yield f"{queue['name']} holds {queue['depth']} tasks, and {nobody}."
    running = [beat["host"] for beat in document["beat"] if beat["state"] == "active"]
    if not running and complete:
        yield "Beat runs on no host."
    if len(running) > 1 and not redbeat:
        yield f"Beat runs on {' and '.join(running)}, so that every scheduled task runs more than once."


def _unfinished(rollout: Mapping[str, Any] | None) -> bool:
    """Whether a rollout, the last of its host, needs somebody's attention."""
    return rollout is not None and rollout["result"] in UNFINISHED


def _rollout(host: str, rollout: Mapping[str, Any]) -> str:
    """What is told of such a rollout, a sentence."""
    when = f"{rollout['time'][:16].replace('T', ' ')} UTC"
    who = f"release {rollout['release']}, by {rollout['by']} on {rollout['controller']}"
    reason = f": {rollout['reason']}" if rollout["reason"] else "."
    return f"{host}'s last rollout {UNFINISHED[rollout['result']]} at {when} ({who}){reason}"


def _wrong(node: Mapping[str, Any], releases: Mapping[str, str]) -> str:
    """What is wrong with a node, as the end of a sentence."""
    if node["state"] == "wrong queues":
        return f"consumes {', '.join(node['queues']) or 'nothing'}, not {', '.join(node['expected'])}"
    if node["state"] == "old release":
        return f"runs release {node['release']}, not {releases[node['host']]}"
    if node["state"] == "no answer":
        return "runs, but doesn't answer"
    result = f" ({node['result']})" if node["result"] not in ("", "success") else ""
    return f"is {node['state']}{result}"


def celery_status_table(document: Document) -> str:
    """The document for people: what is wrong, then nodes, queues, beat and hosts, the worst first."""
    nodes, problems = document["nodes"], document["problems"]
    running = sum(node["state"] == "running" for node in nodes)
    held = sum(node["state"] == "held" for node in nodes)
    parts = [
        f"{document['app']} at {document['time']}",
        f"{running} of {len(nodes)} nodes run" + (f", {held} held" if held else ""),
        f"{len(problems)} problem{'s' * (len(problems) != 1)}" if problems else "no problem",
    ]
    head = [": ".join([parts[0], ", ".join(parts[1:])])]
    head += [line for problem in problems for line in textwrap.wrap(f"! {problem}", WIDTH, subsequent_indent="  ")]
    tables = [_nodes(document), _queues(document), _beat(document), _hosts(document)]
    return "\n\n".join(["\n".join(head), *("\n".join(map(_cut, lines)) for lines in tables if lines)])


def _cut(line: str) -> str:
    return line if len(line) <= WIDTH else f"{line[: WIDTH - 1]}…"


def _nodes(document: Document) -> list[str]:
    return _table(
        ["NODE", "STATE", "RELEASE", "UP", "PID", "MEMORY", "ACTIVE", "RESERVED", "ETA", "DONE", "LONGEST", "QUEUES"],
        "lll>>>>>>>>l",
        [
            [
                node["name"],
                node["state"],
                node["release"],
                _age(node["uptime"]),
                node["pid"],
                _size(node["memory"]),
                *(node.get(key) for key in ("active", "reserved", "scheduled", "done")),
                _age(node.get("longest")),
                ", ".join(node.get("queues", [])),
            ]
            for node in document["nodes"]
        ],
    )


def _queues(document: Document) -> list[str]:
    return _table(
        ["QUEUE", "WAITING", "UNACKED", "OLDEST", "CONSUMERS"],
        "l>>>l",
        [
            [
                queue["name"],
                queue["depth"],
                queue["unacked"],
                _age(queue["oldest"]),
                ", ".join(queue["consumers"]) or "NONE",
            ]
            for queue in document["queues"]
        ],
    )


def _beat(document: Document) -> list[str]:
    return _table(
        ["BEAT", "STATE", "UP", "LAST TICK"],
        "ll>>",
        [
            [beat["host"], STATES.get(beat["state"], "running"), _age(beat["uptime"]), _age(beat["tick"], " ago")]
            for beat in document["beat"]
        ],
    )


def _hosts(document: Document) -> list[str]:
    rows = []
    for host in document["hosts"]:
        live = {each["release"]: each["live"] for each in host["releases"]}
        before = [
            f"{each['release']} ({each['live'][:16]})"
            for each in host["releases"]
            if each["release"] != host["release"]
        ]
        rows.append([host["host"], host["release"], live.get(host["release"], "")[:16], ", ".join(before)])
    return _table(["HOST", "RELEASE", "LIVE SINCE", "BEFORE"], "llll", rows)


def _table(titles: list[str], alignment: str, rows: Iterable[list[Any]]) -> list[str]:
    """Aligned lines; a column that has nothing in it is left out, as is a table without a row."""
    cells = [["-" if cell in (None, "") else str(cell) for cell in row] for row in rows]
    if not cells:
        return []
    used = [index for index in range(len(titles)) if any(row[index] != "-" for row in cells)]
    lines = [[row[index] for index in used] for row in [titles, *cells]]
    widths = [max(len(line[index]) for line in lines) for index in range(len(used))]
    return [
        "  ".join(
            cell.rjust(width) if alignment[index] == ">" else cell.ljust(width)
            for cell, width, index in zip(line, widths, used, strict=True)
        ).rstrip()
        for line in lines
    ]


def _age(seconds: float | None, after: str = "") -> str:
    """A span of time in its two largest units."""
    if seconds is None:
        return ""
    whole = round(seconds)
    for unit, size, below, part in (("d", 86400, "h", 3600), ("h", 3600, "m", 60), ("m", 60, "s", 1)):
        if whole >= size:
            return f"{whole // size}{unit}{whole % size // part:02d}{below}{after}"
    return f"{whole}s{after}"


def _size(size: int | None) -> str:
    """Bytes as systemd's units have them."""
    if size is None:
        return ""
    return f"{size / 2**30:.1f}G" if size >= 2**30 else f"{size / 2**20:.0f}M"


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
