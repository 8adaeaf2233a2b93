"""systemd's grammar of unit files and command lines, as far as ours use it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

SECTION = re.compile(r"\[(\w+)\]\Z")

Unit = dict[str, list[tuple[str, str]]]


def parse(text: str) -> Unit:
    """Section -> its directives in order, those that stand there several times included.

    :raises ValueError: on a line that is none of section, directive, comment or empty
    """
    found: Unit = {}
    section = ""
    for line in logical_lines(text):
        if not line.strip():
            continue
        if match := SECTION.match(line):
            section = match[1]
            found.setdefault(section, [])
            continue
        name, sign, value = line.partition("=")
        if not sign or not section or not re.fullmatch(r"[A-Z]\w+", name):
            raise ValueError(f"neither section nor directive: {line!r}")
        found[section].append((name, value.strip()))
    return found


def logical_lines(text: str) -> Iterator[str]:
    """Lines without comments, those that a backslash continues joined by a blank in its place.

    As in systemd's config_parse(): a comment between them is no part of it, an empty line ends it, and a backslash
    behind a backslash continues nothing.
    """
    joined = ""
    for line in text.splitlines():
        line = line.lstrip()
        if line.startswith(("#", ";")):
            continue
        joined += line
        if (len(joined) - len(joined.rstrip("\\"))) % 2:
            joined = f"{joined[:-1]} "
            continue
        yield joined
        joined = ""
    if joined:
        yield joined


def last(unit: Unit, section: str, name: str) -> str:
    """What counts of a directive that is not a list."""
    return [value for key, value in unit[section] if key == name][-1]


def command(value: str, instance: str) -> list[str]:
    """The arguments of an ``ExecStart=`` for one instance of a template unit.

    :raises ValueError: where a specifier or variable stands in it that we never use
    """
    expanded = re.sub(r"%(.)", lambda match: {"%": "%", "i": instance}.get(match[1], "\0"), value)
    words = [re.sub(r"\$(.)", lambda match: {"$": "$"}.get(match[1], "\0"), word) for word in shlex.split(expanded)]
    if "\0" in "".join(words):
        raise ValueError(f"specifier or variable in {value!r}")
    return words
