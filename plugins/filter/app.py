"""Filters of the app role."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleFilterError

APP_NAME = re.compile(r"[a-z][a-z0-9-]{0,30}\Z")
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
SOURCE_TYPES = ("path",)
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


def environment_problems(environment: Any) -> Iterator[str]:
    """What is wrong with ``app_environment``, a sentence each; no value is ever part of one, it may be a secret."""
    if not isinstance(environment, Mapping):
        yield f"app_environment is a {type(environment).__name__}: write a mapping of names and values."
        return
    for name, value in environment.items():
        if not isinstance(name, str) or not VARIABLE.match(name):
            yield f"app_environment has {name!r}: name it with letters, digits and _ only, no digit first."
        elif OPTION.match(name):
            yield f"app_environment has {name!r}: name it otherwise, celery would take it for a command-line option."
        elif value is None or isinstance(value, (list, Mapping)):
            kind = "no value" if value is None else "a list or mapping"
            yield f"app_environment.{name} has {kind}: give it a string, a number or a boolean."
        elif not all(character.isprintable() or character == "\t" for character in _text(value)):
            yield f"app_environment.{name} has a line break or control character: take it out."


def name_problems(name: Any) -> Iterator[str]:
    """What is wrong with ``app_name``, a sentence."""
    if not isinstance(name, str) or not APP_NAME.match(name):
        yield (
            f"app_name is {name!r}: name it with lower-case letters, digits and -, a letter first, at most 31 "
            "characters."
        )
    elif name in TAKEN:
        yield f"app_name is {name!r}, which Debian uses itself for a user, group or directory: choose another name."


def source_problems(source: Any, root: Path) -> Iterator[str]:
    """What is wrong with ``app_source``, a sentence.

    :param root: the directory in which a relative path starts
    """
    if not isinstance(source, Mapping):
        yield f"app_source is {source!r}: write a mapping, such as {{type: path, path: examples/chatlite}}."
    elif source.get("type") not in SOURCE_TYPES:
        yield f"app_source.type is {source.get('type')!r}: use one of {', '.join(SOURCE_TYPES)}."
    elif not isinstance(source.get("path"), str) or not source["path"] or not (root / source["path"]).is_dir():
        yield (
            f"app_source.path is {source.get('path')!r}, which is no directory on this machine: name the application's "
            "directory, a relative one starts at the repository's root."
        )


def app_problems(hosts: Mapping[str, Mapping[str, Any]], root: str) -> list[str]:
    """What is wrong with the application of an inventory.

    :param hosts: worker host -> its ``app_name``, ``app_source`` and ``app_environment``
    :param root: the repository's root
    :returns: a sentence for each problem, naming variable, value and remedy; empty if there is none
    """
    problems: list[str] = []
    for variables in hosts.values():
        problems += name_problems(variables.get("app_name"))
        problems += source_problems(variables.get("app_source"), Path(root))
        if "app_environment" in variables:  # the role's default, or not there where a secret is missing
            problems += environment_problems(variables["app_environment"])
    return list(dict.fromkeys(problems))


class FilterModule:
    """Filters of the app role."""

    def filters(self) -> dict[str, Any]:
        return {"app_problems": app_problems, "environment_file": environment_file}
