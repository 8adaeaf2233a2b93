#!/usr/bin/env python3
"""Ask Debian's servers what they know, and write it to plugins/data/redis_servers.yml.

    make images && tools/redis_tables.py

Each server is installed in a container of its Debian and asked there, by this same file on standard input: a
configuration with one directive, then a line that no server takes. Which of the two lines the server complains about
says whether it took the value, and the complaint says what it would have taken.
"""

from __future__ import annotations

import concurrent.futures
import json
import os
import re
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

IMAGE = "celeriac-host:debian{}"
SERVERS = (("redis", "12"), ("redis", "13"), ("valkey", "13"))  # flavour, Debian
INSTALL = """
printf '#!/bin/sh\\nexit 101\\n' >/usr/sbin/policy-rc.d && chmod +x /usr/sbin/policy-rc.d
apt-get install --yes --quiet $0-server >&2 && exec python3 - --ask $0
"""
HEADER = """\
# What Debian's servers know, written by tools/redis_tables.py.
#
# directives: enum and flags with the words they take (one, several), integer, octal, memory and memory-or-percent with
#             their bounds, letters with those allowed, text for what isn't checked at parsing, special for the rest
# commands:   a command with its subcommands
#
# What a server knows stands under "every" or under its own name; never under both, but for a command some of whose
# subcommands are only its own.
"""
EVERY = "every"
# Text that stands for a directive's kind in what the server says to a value that can't be right.
KINDS = {
    "must be 'yes' or 'no'": "enum",
    "must be one of the following": "enum",
    "parsed into an integer": "integer",
    "octal": "octal",
    "must be a memory value": "memory",
    "memory or percent": "memory-or-percent",
    "event class character": "letters",
}

# -- in the container


def ask(flavor: str) -> dict[str, Any]:
    """What the installed server knows, from the server itself."""
    program = f"{flavor}-server"
    version = _output(program, "--version").partition("v=")[2].split(".")[:2]
    with tempfile.TemporaryDirectory() as scratch:
        socket = f"{scratch}/socket"
        server = subprocess.Popen(
            [program, "--port", "0", "--unixsocket", socket, "--save", ""], stdout=subprocess.DEVNULL
        )
        try:
            while not os.path.exists(socket):
                time.sleep(0.05)  # between two looks for the server
            cli = (f"{flavor}-cli", "-s", socket)
            names = _output(*cli, "CONFIG", "GET", "*").split("\n")[:-1:2]
            commands = _output(*cli, "COMMAND", "LIST").split()
            categories = _output(*cli, "ACL", "CAT").split()
        finally:
            server.kill()
            server.wait()
    return {
        "version": ".".join(version),
        "directives": {name: kind(lambda *values: complaint(program, name, *values)) for name in names},  # noqa: B023 - called at once
        "commands": commands,
        "categories": categories,
    }


def _output(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def complaint(program: str, directive: str, *values: str) -> str | None:
    """What the server says to a directive, nothing if it takes it."""
    text = f"port 0\n{directive} {' '.join(values)}\nhz celeriac\n"
    done = subprocess.run([program, "-"], input=text, capture_output=True, text=True, check=False)
    said = done.stdout + done.stderr
    if "at line 3\n" in said:
        return None
    found = re.search(r"at line 2\n>>> .*\n(.*)", said)
    return found[1] if found else said


def kind(say: Callable[..., str | None]) -> str:
    """What a directive takes, as the line that stands in the table.

    :param say: what the server says to values of the directive, None if it takes them
    """
    said = say("celeriac")
    if said is None:
        return "text"
    name = next((name for text, name in KINDS.items() if text in said), "special")
    if name == "enum":
        candidates = said.split(": ")[1].split(", ") if ": " in said else ["no", "yes"]
        words = sorted(word for word in candidates if say(word) is None)
        several = len(words) > 1 and any(say(words[0], word) is None for word in words[1:])
        return " ".join(["flags" if several else "enum", *words])
    if name == "letters":
        return "letters " + "".join(sorted(letter for letter in said.split("'")[1] if say(letter) is None))
    if name == "special":
        return name
    return f"{name} {_bound(say, name, -1)} {_bound(say, name, 1)}"


def _bound(say: Callable[..., str | None], name: str, sign: int) -> int:
    """The least (``sign`` -1) or greatest (1) number that a directive takes."""
    largest = {"integer": 2**63 - 1, "octal": 0o777777}.get(name, 2**64 - 1)
    extreme = largest if sign > 0 else 0 if name.startswith("memory") else -largest - 1
    said = say(format(extreme, "o" if name == "octal" else "d"))
    if said is None:
        return extreme
    least, most = re.findall(r"-?\d+", said)
    return int(least if sign < 0 else most)


def subcommands(names: Iterable[str]) -> dict[str, list[str]]:
    """Command -> its subcommands, from names such as ``acl`` and ``acl|cat``."""
    found: dict[str, list[str]] = {}
    for command, _, subcommand in sorted(name.lower().partition("|") for name in names):
        found.setdefault(command, []).extend([subcommand] if subcommand else [])
    return found


# -- beside the containers


def answers(flavor: str, debian: str) -> dict[str, Any]:
    """``ask`` in a container of its own."""
    command = ["docker", "run", "--rm", "--interactive", IMAGE.format(debian), "sh", "-ec", INSTALL, flavor]
    done = subprocess.run(command, input=Path(__file__).read_text(), stdout=subprocess.PIPE, text=True, check=True)
    return dict(json.loads(done.stdout))


def common(tables: Mapping[str, Mapping[str, str]]) -> dict[str, dict[str, str]]:
    """Server -> its entries, with those that are the same for each server under ``every``."""
    first, *others = tables.values()
    shared = {name: entry for name, entry in first.items() if all(other.get(name) == entry for other in others)}
    own = {server: {n: e for n, e in entries.items() if n not in shared} for server, entries in tables.items()}
    return {EVERY: shared, **own}


def text(found: Mapping[str, Mapping[str, Any]]) -> str:
    """The file.

    :param found: server -> what ``ask`` returns, with its ``flavor`` and ``distribution_version``
    """
    tables: dict[str, dict[str, dict[str, str]]] = {"directives": {}, "commands": {}, "categories": {}}
    for server, answer in found.items():
        tables["directives"][server] = answer["directives"]
        # by their full names, so that a subcommand which only one server has doesn't take its command out of "every"
        tables["commands"][server] = dict.fromkeys(answer["commands"], "")
        tables["categories"][server] = dict.fromkeys(answer["categories"], "")
    lines = ["---", "servers:"]
    for server, answer in found.items():
        debian = answer["distribution_version"]
        lines.append(f'  {server}: {{flavor: {answer["flavor"]}, distribution_version: "{debian}"}}')
    for part, table in tables.items():
        lines.append(f"{part}:")
        for server, own in common(table).items():
            if part == "commands":
                entries = [f"- {' '.join([command, *subs])}" for command, subs in subcommands(own).items()]
            else:
                entries = [f"{name}: {line}" if line else f"- {name}" for name, line in sorted(own.items())]
            lines += [f"  {server}:" if entries else f"  {server}: []", *wrapped(entries)]
    return HEADER + "\n".join(lines) + "\n"


def wrapped(lines: Iterable[str]) -> Iterator[str]:
    """Lines of a block, those that are too long as several."""
    for line in lines:
        for part in textwrap.wrap(line, 116, subsequent_indent="  ", break_on_hyphens=False):
            yield f"    {part}"


def main() -> None:
    if sys.argv[1:2] == ["--ask"]:
        json.dump(ask(sys.argv[2]), sys.stdout)
        return
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda server: answers(*server), SERVERS))
    named = {
        f"{flavor}-{answer['version']}": {**answer, "flavor": flavor, "distribution_version": debian}
        for (flavor, debian), answer in zip(SERVERS, found, strict=True)
    }
    (Path(__file__).parents[1] / "plugins/data/redis_servers.yml").write_text(text(named))


if __name__ == "__main__":
    main()
