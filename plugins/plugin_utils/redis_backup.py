"""Filters for backup and restore: what is backed up, and what is wrong with what the playbooks were asked for."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ansible_collections.celeriac.fleet.plugins.plugin_utils.specs import BOOLEANS

Hosts = Mapping[str, Mapping[str, Any]]


def backup_instances(instances: Iterable[Mapping[str, Any]], name: str = "") -> list[str]:
    """The names of those of ``redis_instances`` that are backed up.

    :param name: only the instance of that name, if it isn't empty
    """
    return [
        each["name"]
        for each in instances
        if each.get("backup", each["profile"] != "cache") and name in ("", each["name"])
    ]


def backup_problems(hosts: Hosts, instance: str, fetch_to: str) -> list[str]:
    """What is wrong with what the backup was asked for, a sentence each.

    :param hosts: the hosts of the run -> their ``redis_instances``
    """
    return list(_backup_problems(hosts, instance, fetch_to))


def _backup_problems(hosts: Hosts, instance: str, fetch_to: str) -> Iterator[str]:
    there = [name for variables in hosts.values() for name in backup_instances(variables.get("redis_instances", []))]
    if instance and instance not in there:
        yield (
            f"backup_instance is {instance!r}, which no host of this run backs up: give one of "
            f"{', '.join(sorted(set(there))) or 'none at all'}, or another --limit."
        )
    if fetch_to and not fetch_to.startswith(("/", "~/")):
        yield f"backup_fetch_to is {fetch_to!r}: give an absolute path of a directory on this machine."


def restore_problems(hosts: Hosts, asked: Mapping[str, Any]) -> list[str]:
    """What is wrong with what the restore was asked for, a sentence each.

    :param hosts: the hosts of the run -> their ``redis_instances``
    :param asked: ``host``, ``instance``, ``file``, ``remote``, ``sha256`` and ``yes``, empty where not given
    """
    return list(_restore_problems(hosts, {key: str(value) for key, value in asked.items()}))


def _restore_problems(hosts: Hosts, asked: Mapping[str, str]) -> Iterator[str]:
    there = {host: [each["name"] for each in found.get("redis_instances", [])] for host, found in hosts.items()}
    host, instance = asked["host"], asked["instance"]
    if not host and len(there) > 1:
        yield f"restore_host isn't set: give one of {', '.join(there)}."
    elif host and host not in there:
        yield f"restore_host is {host!r}, which is no Redis host of this run: give one of {', '.join(there)}."
    else:
        names = there[host or next(iter(there))]
        if not instance:
            yield f"restore_instance isn't set: give one of {', '.join(names)}."
        elif instance not in names:
            yield f"restore_instance is {instance!r}: give one of {', '.join(names)}, which the host has."
    for key in ("remote", "yes"):
        if asked[key].lower() not in BOOLEANS:
            yield f"restore_{key} is {asked[key]!r}: give true or false."
    if asked["sha256"] and not re.fullmatch(r"[0-9a-fA-F]{64}", asked["sha256"]):
        yield f"restore_sha256 is {asked['sha256']!r}: give the 64 hexadecimal digits that sha256sum prints."
    yield from _file_problems(asked["file"], asked["sha256"], BOOLEANS.get(asked["remote"].lower(), False))


def _file_problems(file: str, sha256: str, remote: bool) -> Iterator[str]:
    path = Path(file) if remote else Path(file).expanduser()
    if not file:
        yield "restore_file isn't set: give the .rdb file of a backup."
    elif not path.is_absolute():
        yield f"restore_file is {file!r}: give an absolute path."
    elif remote:
        return  # the host looks at it
    elif not path.is_file():
        yield f"restore_file is {file!r}, which is no file on this machine: give another, or restore_remote=true."
    elif not sha256 and not path.with_name(f"{path.name}.json").is_file():
        yield (
            f"restore_file is {file!r}, beside which there is no {path.name}.json to say whether it is whole: put that "
            "there, or give the SHA-256 that you know the file to have in restore_sha256."
        )
