"""Filters for the playbooks that act on nodes and queues: on which, and what is wrong with what they were asked."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from ansible_collections.celeriac.fleet.plugins.plugin_utils import celery_nodes as celery
from ansible_collections.celeriac.fleet.plugins.plugin_utils.celery_options import QUEUE_NAME
from ansible_collections.celeriac.fleet.plugins.plugin_utils.specs import BOOLEANS

Hosts = Mapping[str, Mapping[str, Any]]

FORMATS = ("table", "json")


def celery_named_nodes(nodes: list[dict[str, Any]], host: str, names: Any = "") -> list[dict[str, Any]]:
    """What ``celery_host_nodes`` returns, only for the nodes that ``names`` names.

    :param names: names with commas between them; that of an entry with ``instances`` stands for all of them. Empty: all
    """
    wanted = _words(names)
    return [
        node
        for entry in nodes
        for node in celery.celery_host_nodes([entry], host)
        if not wanted or {entry["name"], node["name"]} & set(wanted)
    ]


def _words(names: Any) -> list[str]:
    listed = names if isinstance(names, list) else str(names or "").split(",")
    return [word for word in (str(each).strip() for each in listed) if word]


def celery_queues(nodes: list[dict[str, Any]], routed: list[str]) -> list[str]:
    """The queues that an inventory knows."""
    return sorted({queue for node in nodes for queue in node["queues"]} | set(routed))


def celery_names_problems(hosts: Hosts, variable: str, names: Any, required: bool = False) -> list[str]:
    """What is wrong with the nodes that a playbook was asked to act on.

    :param hosts: the hosts of the run -> their ``celery_nodes``
    :param variable: what holds ``names``, as in ``celery_named_nodes``
    """
    entries = {entry["name"] for host, found in hosts.items() for entry in _of(found["celery_nodes"], host)}
    there = {
        node["name"] for host, found in hosts.items() for node in celery_named_nodes(found["celery_nodes"], host)
    } | entries
    known = ", ".join(sorted(there)) or "none at all"
    if required and not _words(names):
        return [f"{variable} isn't set: give one of {known}."]
    return [
        f"{variable} is {name!r}, which no host of this run has: give one of {known}, or another --limit."
        for name in _words(names)
        if name not in there
    ]


def _of(nodes: list[dict[str, Any]], host: str) -> list[dict[str, Any]]:
    """The entries of ``celery_nodes`` that run on ``host``."""
    return [entry for entry in nodes if "hosts" not in entry or host in entry["hosts"]]


def celery_drain_problems(hosts: Hosts, names: Any, timeout: Any) -> list[str]:
    """What is wrong with what drain-node.yml was asked for."""
    problems = celery_names_problems(hosts, "drain_node", names, required=True)
    if not re.fullmatch(r"[1-9][0-9]*", str(timeout)):
        problems.append(f"drain_timeout is {timeout!r}: give a whole number of seconds of at least 1.")
    return problems


def celery_purge_problems(queue: Any, confirm: Any, check: bool) -> list[str]:
    """What is wrong with what purge-queue.yml was asked for.

    :param check: whether it only counts, for which it needs no yes
    """
    return list(_purge_problems(str(queue), str(confirm).lower(), check))


def _purge_problems(queue: str, confirm: str, check: bool) -> Iterator[str]:
    if not queue:
        yield "purge_queue isn't set: give the name of the queue to empty."
    elif not re.fullmatch(QUEUE_NAME, queue):
        yield f"purge_queue is {queue!r}: name it with letters, digits and any of _ . : - only."
    if confirm not in BOOLEANS:
        yield f"purge_confirm is {confirm!r}: give yes to empty the queue."
    elif not BOOLEANS[confirm] and not check:
        yield "purge_confirm isn't yes: give -e purge_confirm=yes to empty the queue, or --check to count its tasks."


def celery_dump_problems(dump: Any) -> list[str]:
    """What is wrong with what restore-queue.yml was asked for."""
    path = str(dump)
    if not path:
        return ["restore_queue_dump isn't set: give the path of a dump that purge-queue.yml made."]
    if path.endswith(".part"):
        return [
            f"restore_queue_dump is {path!r}, of a purge that was interrupted: run purge-queue.yml again to finish it, "
            "then give its dump."
        ]
    if not path.startswith("/") or not path.endswith(".jsonl"):
        return [
            f"restore_queue_dump is {path!r}: give an absolute path that ends in .jsonl, as purge-queue.yml prints it."
        ]
    return []


def celery_dump_host_problems(dump: str, found: Mapping[str, list[str]]) -> list[str]:
    """What is wrong with where a dump is.

    :param found: host -> which of the dump and its name after it was put back are there
    """
    there = sorted(host for host, paths in found.items() if paths)
    if len(there) == 1:
        return []
    if there:
        return [f"restore_queue_dump is {dump!r}, which is on {' and '.join(there)}: choose one with --limit."]
    return [f"restore_queue_dump is {dump!r}, which no host of this run has: give another path, or another --limit."]


def celery_status_problems(form: Any, strict: Any) -> list[str]:
    """What is wrong with what status.yml was asked for."""
    problems = []
    if form not in FORMATS:
        problems.append(f"status_format is {form!r}: use one of {', '.join(FORMATS)}.")
    if str(strict).lower() not in BOOLEANS:
        problems.append(f"status_strict is {strict!r}: give true or false.")
    return problems
