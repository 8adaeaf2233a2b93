"""What roles declare in their argument_specs, read once, and what of a role's variables isn't as declared.

Ansible checks the same when a role starts; by then others have run. A sentence names the variable, or the entry and its
key, the value and the way out. An option with ``no_log`` holds a secret, or text in whose place one may be by mistake:
of its values the type is shown alone.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ansible.module_utils.common.yaml import yaml_load

# Beside the plugins, in the checkout and in an installed collection.
ROLES = Path(__file__).parents[2] / "roles"

Option = Mapping[str, Any]
Options = Mapping[str, Option]


@cache
def roles() -> tuple[str, ...]:
    """The roles of this collection."""
    return tuple(sorted(path.parents[1].name for path in ROLES.glob("*/meta/argument_specs.yml")))


@cache
def entry_points(role: str) -> Mapping[str, Options]:
    """The task files that a role declares, each with its options."""
    text = (ROLES / role / "meta/argument_specs.yml").read_text(encoding="utf-8")
    return {name: entry.get("options") or {} for name, entry in yaml_load(text)["argument_specs"].items()}


def options(role: str) -> Options:
    """The variables of a role."""
    return entry_points(role)["main"]


def names(role: str) -> frozenset[str]:
    """The names of a role's variables, those of all its entry points."""
    return frozenset(name for declared in entry_points(role).values() for name in declared)


def defaults(role: str) -> dict[str, Any]:
    """The values of those variables of a role that have a default."""
    return {name: option["default"] for name, option in options(role).items() if "default" in option}


def keys(role: str, variable: str) -> Options:
    """The keys that a variable, or each of its entries, may have."""
    return dict(options(role)[variable]["options"])


@dataclass(frozen=True)
class Rule:
    """What a value has to be beside being of its option's type."""

    fits: Callable[[Any], bool] = lambda value: True
    remedy: str = ""  # the end of every sentence about the value, instead of one about its type
    also: tuple[type, ...] = ()  # further types that are right, such as text for a number that --extra-vars gives


# Path of an option -> its rule, [] for each item of a list: "celery_nodes", "celery_nodes[].name".
Rules = Mapping[str, Rule]
NO_RULE = Rule()
# Type of an option -> the types of its values, and what to write.
TYPES: dict[str, tuple[type | tuple[type, ...], str]] = {
    "bool": (bool, "write true or false"),
    "dict": (Mapping, "write a mapping"),
    "float": ((int, float), "give it a number"),
    "int": (int, "give it a whole number"),
    "list": (list, "write a list"),
    "path": (str, "write a path"),
    "str": (str, "write it as text, in quotes"),
}
# What is true and false on the command line, in lower case; nothing is false.
BOOLEANS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False, "": False}
ENTRY_NAME = re.compile(r"[a-z][a-z0-9_-]{0,63}\Z")


def problems(
    role: str, variables: Mapping[str, Any], rules: Rules = MappingProxyType({}), names: Collection[str] | None = None
) -> dict[str, list[str]]:
    """What is wrong with each of a role's variables by itself.

    :param variables: name -> value; under ``unreadable`` names whose value can't be computed, which is said elsewhere
    :param rules: what values have to be beside what the specs say
    :param names: the variables to look at, all if not given
    :returns: variable -> a sentence for each problem; only those that have one
    """
    unreadable = variables.get("unreadable", ())
    found = {
        name: list(_value(Place(name, name), option, variables.get(name), rules))
        for name, option in options(role).items()
        if (names is None or name in names)
        and (name in variables or (option.get("required") and name not in unreadable))
    }
    return {name: sentences for name, sentences in found.items() if sentences}


def is_right(role: str, path: tuple[str, str], value: Any, rules: Rules) -> bool:
    """Whether the value of a key of a list's entry is right by itself; also if the key is an unknown one.

    :param path: the variable and the key
    """
    variable, key = path
    option = options(role)[variable]["options"].get(key)
    return option is None or not any(_value(Place(f"{variable}[].{key}", variable, key), option, value, rules))


@dataclass(frozen=True)
class Place:
    """Where a value stands, for rules and for sentences."""

    path: str
    subject: str
    key: str = ""
    entry: bool = False  # whether it is an entry of a list, which sentences call by its name

    def at(self, name: str) -> Place:
        """The place of a key."""
        if self.entry or self.key:
            key = f"{self.key}.{name}" if self.key else name
            return Place(f"{self.path}.{name}", self.subject, key)
        return Place(f"{self.path}.{name}", f"{self.subject}.{name}")

    def item(self, index: int, value: Any) -> Place:
        """The place of an item of a list."""
        if isinstance(value, Mapping) and not self.key:
            return Place(f"{self.path}[]", numbered(self.subject, index, value), entry=True)
        if self.key:
            return Place(f"{self.path}[]", self.subject, f"{self.key}[{index}]")
        return Place(f"{self.path}[]", f"{self.subject}[{index}]")

    def says(self, shown: str, remedy: str) -> str:
        """The sentence about a value."""
        return f"{self.subject} has {self.key} {shown}: {remedy}." if self.key else f"{self.subject} {shown}: {remedy}."


def numbered(variable: str, index: int, entry: Any) -> str:
    """How sentences call an entry of a list: by its name too, if that can be one."""
    name = entry.get("name") if isinstance(entry, Mapping) else None
    return f"{variable}[{index}]" + (f" ({name})" if isinstance(name, str) and ENTRY_NAME.match(name) else "")


def mappings(variable: str, entries: Any) -> list[tuple[str, Mapping[str, Any]]]:
    """Those entries of a list that are mappings, each with how sentences call it."""
    return [
        (numbered(variable, index, entry), entry)
        for index, entry in enumerate(entries if isinstance(entries, list) else [])
        if isinstance(entry, Mapping)
    ]


def _value(place: Place, option: Option, value: Any, rules: Rules) -> Iterator[str]:
    rule = rules.get(place.path, NO_RULE)
    typed = is_typed(value, option["type"])
    if not typed and not (isinstance(value, rule.also) and not isinstance(value, bool)):
        yield place.says(_shown(place, option, value, typed=False), rule.remedy or _wanted(option))
    elif option["type"] != "list" and "choices" in option and value not in option["choices"]:
        yield place.says(_shown(place, option, value), rule.remedy or _wanted(option))
    elif not rule.fits(value):
        yield place.says(_shown(place, option, value), rule.remedy)
    elif option["type"] == "list":
        each = {**option, "type": option.get("elements", "raw")}
        for index, item in enumerate(value):
            yield from _value(place.item(index, item), each, item, rules)
    elif "options" in option:
        yield from _keys(place, option["options"], value, rules)


def is_typed(value: Any, name: str) -> bool:
    """Whether a value is of the type that specs call ``name``; as it is, without the conversions that Ansible makes."""
    if name not in TYPES:
        return True
    return isinstance(value, TYPES[name][0]) and (name == "bool" or not isinstance(value, bool))


def _keys(place: Place, options: Options, value: Mapping[Any, Any], rules: Rules) -> Iterator[str]:
    for key in sorted(set(value) - set(options), key=str):
        near = difflib.get_close_matches(str(key), options, n=1)
        remedy = f"write {near[0]}" if near else f"use one of {', '.join(sorted(options))}"
        yield f"{place.subject} has the unknown key {f'{place.key}.{key}' if place.key else key!r}: {remedy}."
    for key, option in options.items():
        if key in value or option.get("required"):
            yield from _value(place.at(key), option, value.get(key), rules)


def _wanted(option: Option) -> str:
    if "choices" in option:
        return f"use one of {', '.join(map(str, option['choices']))}"
    needs = [key for key, each in (option.get("options") or {}).items() if each.get("required")]
    of_mappings = option["type"] == "dict" or option.get("elements") == "dict"
    words = TYPES[option["type"]][1] + (" of mappings" if option["type"] == "list" and of_mappings else "")
    return f"{words} with {', '.join(needs)}" if of_mappings and needs else words


def _shown(place: Place, option: Option, value: Any, *, typed: bool = True) -> str:
    """A value as a sentence shows it, after the subject or after the key."""
    secret = [key for key, each in (option.get("options") or {}).items() if each.get("no_log")]
    empty = repr(value) in ("None", "''", "[]", "{}")
    if empty or (not option.get("no_log") and not any(key in repr(value) for key in secret)):
        return repr(value) if place.key else f"is {value!r}"
    if typed and not place.key and isinstance(value, str):
        return "can't be right"
    return f"of type {type(value).__name__}" if place.key else f"is of type {type(value).__name__}"


# -- what rules are made of


def text(pattern: str) -> Callable[[Any], bool]:
    """Whether a value, as text, is what ``pattern`` describes."""
    return lambda value: re.fullmatch(pattern, str(value), re.ASCII) is not None


def number(least: int, most: float = float("inf")) -> Callable[[Any], bool]:
    """Whether a number is from ``least`` to ``most``."""
    return lambda value: least <= value <= most


def count(remedy: str = "give it a whole number of at least 1", least: int = 1) -> Rule:
    """A whole number of at least ``least``."""
    return Rule(number(least), remedy)
