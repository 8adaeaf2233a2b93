"""Filters for the preflight: reading every host's variables, and what is wrong with hosts and secrets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleError

Hosts = Mapping[str, Mapping[str, Any]]


def preflight_hosts(hostvars: Mapping[str, Any], hosts: list[str], names: list[str]) -> dict[str, dict[str, Any]]:
    """The variables ``names`` of each host.

    A variable that isn't there, or whose value needs one that isn't, is left out.

    :returns: host -> variable -> value, with ``distribution`` and ``distribution_version`` (major) where facts were read
    """
    return {host: _variables(hostvars[host], names) for host in hosts}


def _variables(hostvars: Mapping[str, Any], names: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in names:
        try:
            found[name] = hostvars[name]
        except (KeyError, AnsibleError):
            continue
    facts = hostvars.get("ansible_facts") or {}
    if "distribution" in facts:
        found["distribution"] = facts["distribution"]
        found["distribution_version"] = facts["distribution_major_version"]
    return found


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


class FilterModule:
    """Filters of playbooks/preflight.yml."""

    def filters(self) -> dict[str, Any]:
        return {
            "host_problems": host_problems,
            "preflight_hosts": preflight_hosts,
            "secret_problems": secret_problems,
        }
