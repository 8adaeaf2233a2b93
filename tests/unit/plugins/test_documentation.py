"""Each filter, module and action is documented for `ansible-doc`, with the very parameters that it takes."""

from __future__ import annotations

import importlib
import inspect
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import is_dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.support.paths import ROOT

COLLECTION = "celeriac.fleet"
PLUGINS = ROOT / "plugins"
MODULES = sorted(path.stem for path in (PLUGINS / "modules").glob("*.py"))
ACTIONS = sorted(path.stem for path in (PLUGINS / "action").glob("*.py"))


def plugin(kind: str, name: str) -> Any:
    return importlib.import_module(f"ansible_collections.{COLLECTION}.plugins.{kind}.{name}")


def filters() -> dict[str, Callable[..., Any]]:
    """Each filter's name and function."""
    tables = [plugin("filter", path.stem).FilterModule().filters() for path in (PLUGINS / "filter").glob("*.py")]
    return {name: function for table in tables for name, function in sorted(table.items())}


FILTERS = filters()


@cache
def shown(kind: str) -> dict[str, Any]:
    """What ``ansible-doc`` shows of all our plugins of a kind: name -> ``doc``, ``examples`` and ``return``."""
    names = sorted(FILTERS) if kind == "filter" else MODULES
    command = [str(Path(sys.executable).with_name("ansible-doc")), "--type", kind, "--json"]
    command += [f"{COLLECTION}.{name}" for name in names]
    text = subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout
    return {name.removeprefix(f"{COLLECTION}."): found for name, found in json.loads(text).items()}


def documented(options: dict[str, Any]) -> dict[str, Any]:
    """Options as parameters: name -> default, ``Parameter.empty`` for one that has to be there."""
    return {
        name: inspect.Parameter.empty if option.get("required") else option.get("default")
        for name, option in options.items()
    }


def parameters(function: Callable[..., Any]) -> dict[str, Any]:
    """A filter's parameters: name -> default; the first is what stands before the bar."""
    found = list(inspect.signature(function).parameters.values())
    names = ["_input", *(parameter.name for parameter in found[1:])]
    defaults = [list(each.default) if isinstance(each.default, tuple) else each.default for each in found]
    defaults = [None if is_dataclass(default) else default for default in defaults]  # which no template writes
    return dict(zip(names, defaults, strict=True))


@pytest.mark.parametrize("name", FILTERS)
def test_a_filters_documentation_has_its_functions_parameters(name: str) -> None:
    doc, taken = shown("filter")[name]["doc"], parameters(FILTERS[name])
    assert documented(doc["options"]) == taken
    assert doc["positional"].split(", ") == list(taken)


@pytest.mark.parametrize("name", FILTERS)
def test_a_filters_documentation_is_complete(name: str) -> None:
    found = shown("filter")[name]
    assert found["doc"]["short_description"]
    assert found["doc"]["description"]
    assert all(option["description"] and option["type"] for option in found["doc"]["options"].values())
    assert f"| {COLLECTION}.{name}" in found["examples"]
    assert {"description", "type", "sample"} <= set(found["return"]["_value"])


def test_no_documentation_is_left_of_a_filter_that_is_gone() -> None:
    assert sorted(path.stem for path in (PLUGINS / "filter").glob("*.yml")) == sorted(FILTERS)


@pytest.mark.parametrize("name", MODULES)
def test_a_modules_documentation_is_complete(name: str) -> None:
    found = shown("module")[name]
    assert found["doc"]["short_description"]
    assert found["doc"]["description"]
    assert f"{COLLECTION}.{name}:" in found["examples"]


def test_each_action_is_documented_as_a_module() -> None:
    assert set(ACTIONS) <= set(MODULES)


@pytest.mark.parametrize("name", [name for name in ACTIONS if not hasattr(plugin("modules", name), "main")])
def test_an_action_without_a_module_takes_the_options_of_its_documentation(name: str) -> None:
    taken, told = plugin("action", name).ActionModule.ARGUMENT_SPEC, shown("module")[name]["doc"]["options"]
    assert documented(taken) == documented(told)
    assert {option: spec.get("type", "str") for option, spec in taken.items()} == {
        option: spec["type"] for option, spec in told.items()
    }
