"""What Debian's servers take as a directive of redis.conf and as a rule of an ACL.

Which directives, commands and categories there are stands in plugins/data/redis_servers.yml, from the servers
themselves. To what a server doesn't take, the functions answer with what to do instead, as the end of a sentence.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from ansible.module_utils.common.yaml import yaml_load

# -- servers


@cache
def tables() -> dict[str, Any]:
    """The file: ``servers``, and for each of them ``directives``, ``commands`` and ``categories``."""
    path = Path(__file__).parents[1] / "data/redis_servers.yml"
    return dict(yaml_load(path.read_text(encoding="utf-8")))


def servers(flavor: str, distribution_version: str | None) -> list[str]:
    """Which servers a host may have: one, several if its Debian isn't known, none if its Debian has none."""
    return [
        name
        for name, server in tables()["servers"].items()
        if server["flavor"] == flavor and distribution_version in (None, server["distribution_version"])
    ]


def called(server: str) -> str:
    """A server's name in a sentence."""
    return server.replace("-", " ").title()


@cache
def directives(server: str) -> Mapping[str, Sequence[str]]:
    """Directive -> its kind, and what goes with that kind."""
    table = tables()["directives"]
    return {name: line.split() for name, line in {**table["every"], **dict(table[server])}.items()}


@cache
def commands(server: str) -> Collection[str]:
    """Commands, and subcommands as ``command|subcommand``."""
    table = tables()["commands"]
    lines = [line.split() for line in (*table["every"], *table[server])]
    return {name for command, *subs in lines for name in (command, *(f"{command}|{sub}" for sub in subs))}


@cache
def categories(server: str) -> Collection[str]:
    """Categories of commands."""
    table = tables()["categories"]
    return {"all", *table["every"], *table[server]}


def _unknown(server: str, name: str, known: Callable[[str], Collection[str]]) -> str:
    others = [called(other) for other in tables()["servers"] if name in known(other)]
    if others:
        return f"take it out, only {' and '.join(others)} know{'' if others[1:] else 's'} it"
    near = difflib.get_close_matches(name, sorted(known(server)), n=1)
    return f"write {near[0]}" if near else f"take it out, {called(server)} doesn't know it"


# -- directives

UNITS = {"": 1, "b": 1, "k": 1000, "kb": 1024, "m": 1000**2, "mb": 1024**2, "g": 1000**3, "gb": 1024**3}
CPUS = r"(\d{1,4}(-\d{1,4}(:\d{1,4})?)?(,(?!$)|$))*"
SIZE = r"(\d{1,18}b?|\d{1,9}[kmg]b?)"
# What may stand in a directive whose text the server doesn't check, or checks only while it starts.
TEXTS = {
    **dict.fromkeys(("aof-rewrite-cpulist", "aof_rewrite_cpulist", "bgsave-cpulist", "bgsave_cpulist"), CPUS),
    **dict.fromkeys(("bio-cpulist", "bio_cpulist", "server-cpulist", "server_cpulist"), CPUS),
    "availability-zone": r"[!-~]*",
    "ignore-warnings": r"(ARM64-COW-BUG)?",
    "locale-collate": r"(C|POSIX|C\.UTF-8)?",
    "proc-title-template": (
        r"(?=.*[\w-](?![^{]*\}))"  # more than variables, which may be empty
        r"([^{}\0-\x1f\x7f]|\{(title|listen-addr|server-mode|port|tls-port|unixsocket|config-file)\})+"
    ),
}
# What may stand in a directive with a grammar of its own, its arguments separated by blanks, and what to write.
SPECIALS = {
    "save": (
        r"([1-9]\d{0,8} \d{1,9}( (?!$)|$))*",
        "write pairs of seconds and changes, such as [3600, 1, 60, 10000], or [] for none",
    ),
    "client-output-buffer-limit": (
        rf"((normal|slave|replica|pubsub) {SIZE} {SIZE} \d{{1,9}}( (?!$)|$))+",
        "write class, hard limit, soft limit and seconds, such as [normal, 0, 0, 0, pubsub, 32mb, 8mb, 60]",
    ),
    "latency-tracking-info-percentiles": (
        r"((100|\d{1,2}(\.\d{1,6})?)( (?!$)|$))*",
        "write numbers from 0 to 100, such as [50, 99, 99.9], or [] for none",
    ),
    "oom-score-adj-values": (
        r"-?(2000|1?\d{1,3}) -?(2000|1?\d{1,3}) -?(2000|1?\d{1,3})",
        "write three numbers from -2000 to 2000",
    ),
}


def unknown_directive(server: str, name: str) -> str:
    """What to write for a directive that the server doesn't know; empty if it does."""
    return "" if name in directives(server) else _unknown(server, name, directives)


def directive_value(server: str, name: str, value: Any) -> str:
    """What to write for a directive's value that the server doesn't take; empty if it does.

    :param value: a boolean, number, text, or a list of them, which redis_quote makes a line of
    """
    values = value if isinstance(value, list) else [value]
    if not all(isinstance(each, (bool, int, float, str)) for each in values):
        return "give it a text, a number, a boolean or a list of them"
    kind, *words = directives(server)[name]
    return KINDS[kind](name, words, arguments(value))


def arguments(value: Any) -> list[str]:
    """What redis_quote makes a line of: nothing is an empty argument."""
    values = value if isinstance(value, list) else [value]
    return [("yes" if each else "no") if isinstance(each, bool) else str(each) for each in values] or [""]


def _enum(_: str, words: list[str], given: list[str]) -> str:
    fits = len(given) == 1 and given[0].lower() in words
    return "" if fits else f"use {' or '.join(words)}"


def _flags(_: str, words: list[str], given: list[str]) -> str:
    asked = {word.lower() for word in _blank_separated(given)}
    fits = asked <= set(words) and not {"save", "nosave"} <= asked
    return "" if fits else f"use one or more of {', '.join(words)}, not save and nosave together"


def _integer(name: str, words: list[str], given: list[str]) -> str:
    least, most = LIMITS.get(name, [int(word) for word in words])
    number = re.fullmatch(r"0|-?[1-9]\d{0,18}", given[0], re.ASCII)
    fits = len(given) == 1 and number and least <= int(number[0]) <= most
    return "" if fits else f"give it a number from {least} to {most}"


def _memory(_: str, words: list[str], given: list[str]) -> str:
    size = re.fullmatch(r"(\d{1,20})([a-z]*)", given[0].lower(), re.ASCII)
    fits = len(given) == 1 and size and size[2] in UNITS
    if fits and size and int(words[0]) <= int(size[1]) * UNITS[size[2]] <= int(words[1]):
        return ""
    return f"give it a size from {words[0]} to {words[1]} bytes, such as 64mb"


def _memory_or_percent(name: str, words: list[str], given: list[str]) -> str:
    if len(given) == 1 and re.fullmatch(r"(100|[1-9]?[0-9])%", given[0], re.ASCII):
        return ""
    refused = _memory(name, words, given)
    return refused and f"{refused}, or a share such as 5%"


def _letters(_: str, words: list[str], given: list[str]) -> str:
    fits = len(given) == 1 and set(given[0]) <= set(words[0])
    return "" if fits else f"use letters out of {words[0]}"


def _text(name: str, _: list[str], given: list[str]) -> str:
    if name not in TEXTS:
        return "take it out, nobody checks it before the server runs"
    fits = len(given) == 1 and re.fullmatch(TEXTS[name], given[0], re.ASCII)
    return "" if fits else "correct it, the server would take it and not do it, or not start"


def _special(name: str, _: list[str], given: list[str]) -> str:
    pattern, remedy = SPECIALS[name]
    text = " ".join(_blank_separated(given))
    return "" if re.fullmatch(pattern, text, re.ASCII | re.IGNORECASE) else remedy


def _blank_separated(given: list[str]) -> list[str]:
    """What the server makes of them: it splits a single argument, and doesn't take one of several with blanks."""
    return given[0].split(" ") if len(given) == 1 else [each.replace(" ", "\n") for each in given]


KINDS: dict[str, Callable[[str, list[str], list[str]], str]] = {
    "enum": _enum,
    "flags": _flags,
    "integer": _integer,
    "memory": _memory,
    "memory-or-percent": _memory_or_percent,
    "letters": _letters,
    "text": _text,
    "special": _special,
}
# Narrower than the server's own, which reserves memory for as many: redis_users may name the first 16.
LIMITS = {"databases": (16, 10000)}


# -- rules

SECRET_RULE = re.compile(r"[(\s]*[><#!]")
PATTERN = re.compile(r"(?P<sign>~|&|%(?:R|W|RW|WR)~)(?P<pattern>.*)", re.IGNORECASE)
# Rules by which the set of patterns becomes everything or nothing. The server takes no pattern on top of everything.
WHOLE = {"allkeys": ("~", True), "~*": ("~", True), "resetkeys": ("~", False)}
WHOLE |= {"allchannels": ("&", True), "&*": ("&", True), "resetchannels": ("&", False)}
PLAIN = frozenset({"allcommands", "nocommands"})
OWN = frozenset("on off nopass reset resetpass sanitize-payload skip-sanitize-payload clearselectors".split())


def rules(server: str, given: Sequence[str]) -> Iterator[tuple[int, str]]:
    """Which of a user's rules the server doesn't take, by position, and what to do about each."""
    everything: dict[str, bool] = {}
    for position, rule in enumerate(given):
        if remedy := _rule(server, rule, everything):
            yield position, remedy


def _rule(server: str, rule: str, everything: dict[str, bool]) -> str:
    """What to do about a rule that the server doesn't take.

    :param everything: ``~`` and ``&`` -> whether all keys or channels are allowed already; kept up to date
    """
    if SECRET_RULE.match(rule):
        return "take it out, passwords only stand in password"
    if rule.startswith("("):
        return _selector(server, rule)
    if rule.lower() in OWN:
        return "take it out, the role sets that itself"
    if rule.lower() in WHOLE:
        sign, whole = WHOLE[rule.lower()]
        everything[sign] = whole
        return ""
    if match := PATTERN.fullmatch(rule):
        if not match["pattern"] or " " in rule or not rule.isprintable():
            return "write a pattern after the sign, without blanks and control characters"
        if everything.get(match["sign"][-1]):
            return "take it out, an earlier rule allows everything already"
        return ""
    if rule.lower() in PLAIN:
        return ""
    if rule[:1] in ("+", "-"):
        return _command(server, rule[0], rule[1:].lower())
    return "use rules such as ~key:*, %R~key:*, &channel:*, +get, +client|setname, +@read or -@dangerous"


def _command(server: str, sign: str, name: str) -> str:
    if name.startswith("@"):
        return "" if name[1:] in categories(server) else _unknown(server, name[1:], categories)
    if name in commands(server):
        return ""
    command, bar, argument = name.partition("|")
    has_subcommands = any(known.startswith(f"{command}|") for known in commands(server))
    if not bar or command not in commands(server) or has_subcommands:
        return _unknown(server, name, commands)
    if sign == "-":
        return f"write -{command}, only what is allowed can be bound to a first argument"
    fits = argument.isprintable() and re.fullmatch(r"[^\s|]+", argument)
    return "" if fits else "bind it to one first argument, without blanks, such as +select|0"


def _selector(server: str, rule: str) -> str:
    inner = rule[1:-1].split(" ")
    # A server that loads an open one crashes (ACL LOAD, all three). What is inside it splits like a line of redis.conf.
    if not rule.endswith(")") or any(set("()\"'") & set(each) for each in inner):
        return "close the parenthesis, and use neither parentheses nor quotes inside"
    if set(map(str.lower, inner)) & OWN:
        return "leave only keys, channels and commands in the parentheses"
    return next((remedy for _, remedy in rules(server, inner)), "")
