"""What roles declare in their argument_specs, read once."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
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
