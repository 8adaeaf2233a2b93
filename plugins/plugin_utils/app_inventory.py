"""Filters of the app role."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.celeriac.fleet.plugins.plugin_utils import app_source as sources
from ansible_collections.celeriac.fleet.plugins.plugin_utils import specs
from ansible_collections.celeriac.fleet.plugins.plugin_utils.site_roles import Hosts, Site, asks

# Users, groups, and directories of /etc, /var/log and /var/lib that Debian has already: the role would take them over.
TAKEN = frozenset(
    "root daemon bin sys sync games man lp mail news uucp proxy www-data backup list irc gnats nobody nogroup "
    "messagebus sshd polkitd redis redis-server valkey postgres mysql ntp systemd systemd-network systemd-resolve "
    "systemd-timesync systemd-journal systemd-coredump adm tty disk kmem dialout fax voice cdrom floppy tape sudo "
    "audio dip operator src shadow utmp video sasl plugdev staff users input kvm render netdev crontab docker admin "
    "default alternatives apt ca-certificates dbus dbus-1 debconf dpkg init initramfs-tools iproute2 journal kernel "
    "ldap logrotate misc network nftables opt pam perl polkit polkit-1 private python python3 security selinux skel "
    "ssh ssl udev ucf ufw vim xdg".split()
)
URL = specs.text(r"|(https?|socks5h?|file)://\S+")
IS_URL = specs.Rule(URL, "give it a URL, which begins with https:// and has no blanks")
# with --extra-vars app_keep_releases=2 a number is text, and so is a boolean
BOOLEAN_AS_TEXT = specs.Rule(specs.text("(?i:true|false|yes|no)"), "write true or false", also=(str,))
RULES = {
    "app_name": specs.Rule(
        specs.text(r"[a-z][a-z0-9-]{0,30}"),
        "name it with lower-case letters, digits and -, a letter first, at most 31 characters",
    ),
    "app_index_url": IS_URL,
    "app_extra_index_urls[]": IS_URL,
    "app_proxy": IS_URL,
    "app_index_ca": specs.Rule(
        specs.text(r"|(?s:.*)-----BEGIN CERTIFICATE-----(?s:.*)"),
        "give the text of a PEM file, with its BEGIN and END lines",
    ),
    "app_install_project": BOOLEAN_AS_TEXT,
    "app_only_binary": BOOLEAN_AS_TEXT,
    "app_keep_releases": specs.Rule(specs.text("[0-9]+"), "give it a whole number", also=(str,)),
}
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
# click makes options of `celery worker` and `celery beat` out of these
OPTION = re.compile(r"CELERY_(WORKER|BEAT|EVENTS|MULTI)_")


def environment_file(environment: Mapping[str, Any]) -> str:
    """The text of a systemd ``EnvironmentFile=``, sorted by name.

    :param environment: name -> value; values become strings (``true`` and ``false`` in lower case)
    :raises AnsibleFilterError: if a name or a value can't be right
    """
    problems = list(environment_problems(environment))
    if problems:
        raise AnsibleFilterError(" ".join(problems))
    return "".join(f'{name}="{_escaped(value)}"\n' for name, value in sorted(environment.items()))


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _escaped(value: Any) -> str:
    return re.sub(r'(["\\$`])', r"\\\1", _text(value))


def environment_problems(environment: Any, variable: str = "app_environment") -> Iterator[str]:
    """What is wrong with such a mapping, a sentence each; no value is ever part of one, it may be a secret."""
    if not isinstance(environment, Mapping):
        yield f"{variable} is a {type(environment).__name__}: write a mapping of names and values."
        return
    for name, value in environment.items():
        if not isinstance(name, str) or not VARIABLE.match(name):
            yield f"{variable} has {name!r}: name it with letters, digits and _ only, no digit first."
        elif OPTION.match(name):
            yield f"{variable} has {name!r}: name it otherwise, celery would take it for a command-line option."
        elif value is None or isinstance(value, (list, Mapping)):
            kind = "no value" if value is None else "a list or mapping"
            yield f"{variable}.{name} has {kind}: give it a string, a number or a boolean."
        elif not all(character.isprintable() or character == "\t" for character in _text(value)):
            yield f"{variable}.{name} has a line break or control character: take it out."


def app_paths(name: str) -> dict[str, str]:
    """Where an application stands on a host.

    :param name: ``app_name``
    :returns: ``home``, in it ``releases`` and the link ``current``; ``etc``, in it ``environment_file`` and
        ``next_environment_file``, that of the release which goes live next; ``state``, which the application may write;
        ``cache``, of what builds downloaded; ``undo``, what a deployment replaced, until it is finished; ``trail``, a
        line for each rollout
    """
    home, etc = f"/opt/{name}", f"/etc/{name}"
    return {
        "home": home,
        "releases": f"{home}/releases",
        "current": f"{home}/current",
        "etc": etc,
        "environment_file": f"{etc}/{name}.env",
        "next_environment_file": f"{etc}/next.env",
        "state": f"/var/lib/{name}",
        "cache": f"/var/cache/{name}",
        "undo": f"/var/lib/celeriac/{name}/undo",
        "trail": f"/var/lib/celeriac/{name}/rollouts.jsonl",
    }


@asks("ansible_host", "broker_passwords")
def app_problems(hosts: Hosts, site: Site) -> list[str]:
    """What is wrong with the application of an inventory.

    :param hosts: worker host -> its variables of the role
    :returns: a sentence for each problem, naming variable, value and remedy; empty if there is none
    """
    problems: list[str] = []
    for variables in hosts.values():
        found = specs.problems("app", variables, RULES)
        problems += [sentence for sentences in found.values() for sentence in sentences]
        if "app_source" not in variables.get("unreadable", ()):
            problems += sources.problems(variables.get("app_source"), variables.get("app_version", ""), site.root)
        right = {name: value for name, value in variables.items() if name not in found}
        problems += _together_problems({**specs.defaults("app"), **right})
    choice = app_choice_problems(site.known(hosts)) if site.one_application else []
    return list(dict.fromkeys([*problems, *_twice(hosts), *choice]))


def _together_problems(variables: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with the variables of a host together, those that are right by themselves.

    One whose value can't be computed for want of a secret isn't there, or is the role's default.
    """
    name = variables.get("app_name")
    if name in TAKEN:
        yield f"app_name is {name!r}, which Debian uses itself for a user, group or directory: choose another name."
    source = variables.get("app_source", {})
    access = [variables[f"app_git_{part}"] for part in ("ssh_key", "known_hosts", "token")]
    yield from sources.access_problems(source, *access)
    for environment in ("app_build_environment", "app_environment"):
        yield from environment_problems(variables[environment], environment)
    passwords = variables.get("broker_passwords")
    if isinstance(passwords, Mapping) and name and name not in passwords:
        yield f"broker_passwords has no {name}: give the application a password there."


def _twice(hosts: Hosts) -> Iterator[str]:
    """An application that a machine would have twice, under two names of the inventory."""
    found: dict[tuple[str, str], list[str]] = {}
    for host, variables in hosts.items():
        machine = str(variables.get("ansible_host", host)), str(variables.get("app_name"))
        found.setdefault(machine, []).append(host)
    for (address, name), names in found.items():
        if len(names) > 1:
            yield f"app_name is {name} on {' and '.join(names)}, which are both {address}: give one of them another."


def app_hosts(hostvars: Mapping[str, Any], hosts: Iterable[str], name: str) -> list[str]:
    """Those of ``hosts`` that run the application ``name``, in their order."""
    return [host for host in hosts if hostvars[host]["app_name"] == name]


def app_first_host(hosts: Iterable[str], hostvars: Mapping[str, Any], name: str) -> str:
    """The first of ``hosts`` that runs the application ``name``; "" if none does. No further host is read."""
    return next((host for host in hosts if hostvars[host]["app_name"] == name), "")


def app_redis_users(passwords: Mapping[str, str]) -> list[dict[str, str]]:
    """The users of ``redis_users`` that applications need, each with keys of its own.

    :param passwords: application -> password
    """
    return [
        {"name": name, "profile": "celery", "key_prefix": f"{name}:", "password": password}
        for name, password in passwords.items()
    ]


def app_choice_problems(hosts: Hosts) -> list[str]:
    """Whether it is said which application a playbook is for.

    :param hosts: host of the play -> its variables, ``app_name`` among them
    """
    names = sorted({str(variables.get("app_name")) for variables in hosts.values()})
    if len(names) < 2:
        return []
    return [f"The hosts run {' and '.join(names)}: choose one with --limit, by its group or its hosts."]
