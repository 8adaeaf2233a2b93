"""Where on a host somebody could see secrets who shouldn't: each search gives the names of those that it found."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from urllib.parse import quote

from testinfra.host import Host

Secrets = Mapping[str, str]  # name -> secret
GREP = "grep -aoh -e %s"


def with_urls(secrets: Secrets) -> dict[str, str]:
    """``secrets``, each also as it stands in a URL."""
    return {**secrets, **{f"{name} in a URL": quote(secret, safe="") for name, secret in secrets.items()}}


def pattern(secret: str) -> str:
    """A regular expression for ``secret`` that doesn't itself hold it: a search must not find its own command line."""
    brackets = {"^": r"[\^]"}  # alone in brackets it would be their negation
    return "".join(
        brackets.get(character, f"[{character}]") if index == 0 or character in r".*[]^$\/" else character
        for index, character in enumerate(secret)
    )


def _shown(command: str) -> Callable[[Host, Secrets], list[str]]:
    """A search in what a command prints."""

    def search(host: Host, secrets: Secrets) -> list[str]:
        seen = host.check_output(command)
        return [name for name, secret in secrets.items() if secret in seen]

    return search


def _grepped(command: str) -> Callable[[Host, Secrets], list[str]]:
    """A search by a command that prints what it finds of several patterns, one a line."""

    def search(host: Host, secrets: Secrets) -> list[str]:
        seen = host.run(command, "\n".join(map(pattern, secrets.values()))).stdout
        return [name for name, secret in secrets.items() if secret in seen]

    return search


PLACES: dict[str, Callable[[Host, Secrets], list[str]]] = {
    "argument lists": _shown("cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' '\\n'"),
    "what systemd shows": _shown("systemctl show '*'; systemctl cat '*@*' '*chatlite*' 2>/dev/null || true"),
    "journal": _grepped(f"journalctl --no-pager | {GREP}"),
    "logs": _grepped(f"{GREP} -r /var/log"),
    "files that others can read": _grepped(
        f"find /etc /home /opt /run /srv /tmp /usr/local /var -xdev -type f -perm /o=r -exec {GREP} {{}} +"
    ),
}
