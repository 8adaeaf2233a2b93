"""systemd's grammar of unit files and command lines, as far as ours use it."""

from __future__ import annotations

import re
import shlex

SECTION = re.compile(r"\[(\w+)\]\Z")

Unit = dict[str, list[tuple[str, str]]]


def parse(text: str) -> Unit:
    """Section -> its directives in order, those that stand there several times included.

    :raises ValueError: on a line that is none of section, directive, comment or empty
    """
    found: Unit = {}
    section = ""
    for line in re.sub(r"\\\n", " ", text).splitlines():
        if not line.strip() or line.lstrip().startswith(("#", ";")):
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
