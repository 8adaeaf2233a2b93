"""Filters for the preflight: reading every host's variables, what is wrong with hosts, secrets and names, and what the
roles say."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.loader import filter_loader
from ansible_collections.celeriac.fleet.plugins.plugin_utils import specs
from ansible_collections.celeriac.fleet.plugins.plugin_utils.site_roles import Groups, Hosts, Site, asked
from jinja2 import Undefined, UndefinedError

COLLECTION = "celeriac.fleet."
UNDEFINED = re.compile(r"'\w+' is undefined\Z")
RoleHosts = Mapping[str, Sequence[str]]


def preflight_variables(
    hostvars: Mapping[str, Any], hosts: list[str], roles: RoleHosts, names: list[str]
) -> dict[str, dict[str, Any]]:
    """The variables of each host that its roles declare or ask for, and ``names``.

    :param roles: what ``preflight_roles`` returns
    :returns: as of ``preflight_hosts``
    """
    wanted = {host: [*names] for host in hosts}
    for role, its in roles.items():
        of_role = [*role_options(role), *asked(role_problems_of(role))]
        for host in its:
            wanted[host] += of_role
    return {host: _variables(hostvars[host], names) for host, names in wanted.items()}


def role_options(role: str) -> list[str]:
    """The names of the variables of a role, by its full name; none of a role that isn't of this collection."""
    name = _own(role)
    return list(specs.options(name)) if name else []


def _own(role: str) -> str:
    """The last name of a role of this collection, by its full name; "" of any other role."""
    name = role.removeprefix(COLLECTION)
    return name if name != role and name in specs.roles() else ""


def role_problems_of(role: str) -> Callable[[Hosts, Site], list[str]]:
    """What says what is wrong with a role's variables: its filter ``<role>_problems``; its specs where it has none."""
    name = _own(role)
    if not name:
        return _silent
    found = filter_loader.get(f"{role}_problems")
    return found.j2_function if found else partial(declared_problems, name)


def _silent(_hosts: Hosts, _site: Site) -> list[str]:
    return []


def declared_problems(role: str, hosts: Hosts, _site: Site) -> list[str]:
    """What is wrong with the variables of a role that has no rules beside its specs."""
    found = [specs.problems(role, variables) for variables in hosts.values()]
    return list(dict.fromkeys(problem for each in found for problems in each.values() for problem in problems))


def looks(roles: RoleHosts, host: str) -> list[str]:
    """The roles of ``host`` that want it looked at before their problems are asked for, by ``tasks/look.yml``."""
    return [role for role, hosts in roles.items() if host in hosts and _looks(role)]


def look_hosts(roles: RoleHosts) -> list[str]:
    """The hosts that a role wants looked at, in the order of ``all`` for each role."""
    return list(dict.fromkeys(host for role, hosts in roles.items() if _looks(role) for host in hosts))


def _looks(role: str) -> bool:
    name = _own(role)
    return bool(name) and (specs.ROLES / name / "tasks/look.yml").is_file()


def role_problems(
    hosts: Hosts,
    roles: RoleHosts,
    groups: Groups,
    *,
    root: str,
    secrets: bool,
    reached: Sequence[str],
    one_application: bool,
) -> list[str]:
    """What the roles of the inventory say is wrong with their variables.

    :param roles: what ``preflight_roles`` returns
    :param groups: this and what follows are the fields of ``Site``
    """
    site = Site(groups, Path(root), secrets, reached, one_application)
    return [
        problem for role, names in roles.items() for problem in role_problems_of(role)(of_hosts(hosts, names), site)
    ]


def group_problems(groups: Groups, needed: Mapping[str, str]) -> list[str]:
    """Which groups have no host that need one.

    :param needed: group -> what needs it, as the end of a sentence
    """
    return [
        f"The group {group} has no host: put one in, {why}." for group, why in needed.items() if not groups.get(group)
    ]


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


def of_hosts(hosts: Hosts, names: Sequence[str]) -> Hosts:
    """Those of ``hosts`` that ``names`` names."""
    wanted = frozenset(names)
    return {host: variables for host, variables in hosts.items() if host in wanted}


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


def value_problems(hosts: Hosts, secrets: list[str], wrong: bool = False) -> list[str]:
    """Which variables have a value that can't be computed.

    :param secrets: what can't be computed for want of one of these variables is left to ``secret_problems``
    :param wrong: whether roles have found something: then only what isn't defined counts, for the rest may come of that
    """
    reasons: dict[str, dict[str, None]] = {}
    for variables in hosts.values():
        for name, reason in variables["unreadable"].items():
            if not any(f"'{secret}'" in reason for secret in secrets) and (not wrong or UNDEFINED.match(reason)):
                reasons.setdefault(reason, {})[name] = None
    return [
        f"{', '.join(names)} can't be computed: {reason}: correct the expression, or set what it needs."
        for reason, names in reasons.items()
    ]


def name_problems(hosts: Hosts, helpers: list[str]) -> list[str]:
    """Which variables look like a role's and are none: misspelt, they would change nothing and say nothing.

    :param helpers: names with a role's prefix that belong to the inventory itself
    """
    known = {*helpers, *(name for role in specs.roles() for name in specs.names(role))}
    prefixes = tuple(f"{role}_" for role in specs.roles())
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
