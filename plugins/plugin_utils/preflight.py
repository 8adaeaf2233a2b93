"""Filters for the preflight: reading every host's variables, and what is wrong with hosts, secrets and names."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from ansible.errors import AnsibleError
from jinja2 import Undefined, UndefinedError

Hosts = Mapping[str, Mapping[str, Any]]


def preflight_hosts(hostvars: Mapping[str, Any], hosts: list[str], names: list[str]) -> dict[str, dict[str, Any]]:
    """The variables ``names`` of each host.

    A variable that isn't there is left out, as is one whose value can't be computed.

    :returns: host -> variable -> value, with ``distribution`` and ``distribution_version`` (major) where facts were
        read, ``names`` (all that the host has), and ``unreadable`` (variable -> why its value can't be computed)
    """
    return {host: _variables(hostvars[host], names) for host in hosts}


def _variables(hostvars: Mapping[str, Any], names: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {"names": list(hostvars), "unreadable": {}}
    for name in names:
        if name not in hostvars:
            continue
        try:
            found[name] = _computed(hostvars[name])
        except (AnsibleError, UndefinedError) as error:
            found["unreadable"][name] = str(error).strip().splitlines()[-1].rstrip(".")
    facts = hostvars.get("ansible_facts") or {}
    if "distribution" in facts:
        found["distribution"] = facts["distribution"]
        found["distribution_version"] = facts["distribution_major_version"]
    return found


def _computed(value: Any) -> Any:
    """``value`` with all that is in it computed; within a template Ansible leaves that, and its errors, for later."""
    if isinstance(value, Undefined):
        str(value)  # raises, and says why
    if isinstance(value, Mapping):
        return {key: _computed(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_computed(item) for item in value]
    return value


def of_hosts(hosts: Hosts, names: list[str]) -> Hosts:
    """Those of ``hosts`` that ``names`` names."""
    return {host: variables for host, variables in hosts.items() if host in names}


def host_problems(hosts: Hosts, supported: Mapping[str, list[str]]) -> list[str]:
    """What is wrong with the hosts' operating systems.

    :param supported: distribution -> its supported major versions
    """
    wanted = ", ".join(f"{name} {version}" for name, versions in supported.items() for version in versions)
    return [
        f"ansible_facts.distribution of {host} is {variables['distribution']} {variables['distribution_version']}: "
        f"use one of {wanted}."
        for host, variables in hosts.items()
        if "distribution" in variables
        and variables["distribution_version"] not in supported.get(variables["distribution"], [])
    ]


def secret_problems(hosts: Hosts, secrets: list[str], remedy: str) -> list[str]:
    """Which secrets are missing.

    :param secrets: names of the variables that must have a value on every host
    :param remedy: what to do, as the end of a sentence
    """
    missing = [name for name in secrets if any(not variables.get(name) for variables in hosts.values())]
    return [f"{name} has no value: {remedy.strip()}." for name in missing]


def value_problems(hosts: Hosts, secrets: list[str], workers: list[str]) -> list[str]:
    """Which variables have a value that can't be computed.

    :param secrets: what can't be computed for want of one of these variables is left to ``secret_problems``
    :param workers: the hosts whose application's variables matter
    """
    reasons: dict[str, dict[str, None]] = {}
    for host, variables in hosts.items():
        for name, reason in variables["unreadable"].items():
            if host not in workers and name.startswith(("app_", "celery_")):
                continue
            if not any(f"'{secret}'" in reason for secret in secrets):
                reasons.setdefault(reason, {})[name] = None
    return [
        f"{', '.join(names)} can't be computed: {reason}: correct the expression, or set what it needs."
        for reason, names in reasons.items()
    ]


def role_variables(directory: str) -> dict[str, list[str]]:
    """The variables that the roles declare.

    :param directory: the directory of the roles
    :returns: role -> names of its public variables, from its argument_specs
    """
    specs = {path.parents[1].name: path for path in sorted(Path(directory).glob("*/meta/argument_specs.yml"))}
    return {
        role: list(yaml.safe_load(path.read_text(encoding="utf-8"))["argument_specs"]["main"]["options"])
        for role, path in specs.items()
    }


def name_problems(hosts: Hosts, roles: Mapping[str, Iterable[str]], helpers: list[str]) -> list[str]:
    """Which variables look like a role's and are none: misspelt, they would change nothing and say nothing.

    :param roles: what ``role_variables`` returns
    :param helpers: names with a role's prefix that belong to the inventory itself
    """
    known = {*helpers, *(name for names in roles.values() for name in names)}
    prefixes = tuple(f"{role}_" for role in roles)
    unknown = {
        name: host
        for host, variables in hosts.items()
        for name in variables["names"]
        if name.startswith(prefixes) and name not in known
    }
    return [
        f"{name} is set for {host}, but is no variable of a role: {_remedy(name, known)}."
        for name, host in unknown.items()
    ]


def _remedy(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, sorted(known), n=1)
    return (
        f"write {near[0]}" if near else "take it out"
    ) + ", or add it to preflight_helpers if it is the inventory's own"
