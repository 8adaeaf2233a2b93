"""Where on a host somebody could see secrets who shouldn't: each search gives the names of those that it found."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from urllib.parse import quote

from testinfra.host import Host

Secrets = Mapping[str, str]  # name -> secret
READABLE = "find /etc /home /opt /run /srv /tmp /usr/local /var -xdev -type f -perm /o=r -exec grep -al %s {} +"


def with_urls(secrets: Secrets) -> dict[str, str]:
    """``secrets``, each also as it stands in a URL."""
    return {**secrets, **{f"{name} in a URL": quote(secret, safe="") for name, secret in secrets.items()}}


def pattern(secret: str) -> str:
    """A regular expression for ``secret`` that doesn't itself hold it: a search must not find its own command line."""
    return "".join(
        f"[{character}]" if index == 0 or character in r".*[]^$\/" else character
        for index, character in enumerate(secret)
    )


def _shown(command: str) -> Callable[[Host, Secrets], list[str]]:
    """A search in what a command prints."""

    def search(host: Host, secrets: Secrets) -> list[str]:
        seen = host.check_output(command)
        return [name for name, secret in secrets.items() if secret in seen]

    return search


def in_logs(host: Host, secrets: Secrets) -> list[str]:
    return [
        name
        for name, secret in secrets.items()
        if host.run("journalctl --no-pager | grep -ac %s", pattern(secret)).stdout != "0\n"
        or host.run("grep -ral %s /var/log", pattern(secret)).stdout
    ]


def in_readable_files(host: Host, secrets: Secrets) -> list[str]:
    return [name for name, secret in secrets.items() if host.run(READABLE, pattern(secret)).stdout]


PLACES: dict[str, Callable[[Host, Secrets], list[str]]] = {
    "argument lists": _shown("cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' '\\n'"),
    "what systemd shows": _shown("systemctl show '*'; systemctl cat '*@*' '*chatlite*' 2>/dev/null || true"),
    "journal and logs": in_logs,
    "files that others can read": in_readable_files,
}
