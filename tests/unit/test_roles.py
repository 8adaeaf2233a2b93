"""Every role reads the same: defaults, argument_specs, README, scenario and tests belong together."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.celeriac.fleet.plugins.plugin_utils.site_roles import site_roles

from tests.support.harness import ROLES, ROOT, Inventory, defaults, entry_points, internals, read_yaml

# what another role of the same host declares, with its reason
BORROWED = {("app", "celery_app"): "only in the usage example of app-run, with a default"}
NAME = re.compile(r"(?<![\w.'/{-])(?:__)?([a-z]+)_\w+")


def option_paths(options: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every option with its path, suboptions included."""
    for name, option in options.items():
        yield prefix + name, option
        yield from option_paths(option.get("options", {}), f"{prefix}{name}.")


def inputs(role: str) -> dict[str, Any]:
    """The options of all entry points of a role."""
    return {name: option for spec in entry_points(role).values() for name, option in spec["options"].items()}


OPTIONS = [(role, path, option) for role in ROLES for path, option in option_paths(inputs(role))]
NAMED = pytest.mark.parametrize(
    ("role", "path", "option"), OPTIONS, ids=[f"{role}-{path}" for role, path, _ in OPTIONS]
)


@pytest.mark.parametrize("role", ROLES)
def test_defaults_equal_argument_specs(role: str) -> None:
    declared = {name: option["default"] for name, option in inputs(role).items() if "default" in option}
    assert defaults(role) == declared


@pytest.mark.parametrize("role", ROLES)
def test_a_required_option_has_no_default_and_an_optional_one_has(role: str) -> None:
    for name, option in inputs(role).items():
        assert option.get("required", False) is ("default" not in option), name


@pytest.mark.parametrize("role", ROLES)
def test_public_variables_carry_the_roles_name(role: str) -> None:
    assert [name for name in inputs(role) if not name.startswith(f"{role}_")] == []


@NAMED
def test_every_option_is_described_and_typed(role: str, path: str, option: dict[str, Any]) -> None:
    described = option["description"]
    for sentence in [described] if isinstance(described, str) else described:
        assert len(sentence) > 10
        assert sentence.rstrip().endswith(".")
    assert option["type"]
    if option["type"] == "list":
        assert option["elements"]


@NAMED
def test_every_option_is_used(role: str, path: str, option: dict[str, Any]) -> None:
    """In the role, or, what is part of a list of mappings, by the filter that takes the list."""
    name = path.rsplit(".", 1)[-1]
    directory = ROOT / "roles" / role
    sources = [*directory.glob("tasks/*.yml"), *directory.glob("vars/*.yml"), *directory.glob("templates/**/*.j2")]
    texts = [file.read_text() for file in sources]
    texts += [path.read_text() for path in (ROOT / "plugins").glob(f"*_utils/{role}*.py")]
    assert any(re.search(rf"\b{name}\b", text) for text in texts)


@pytest.mark.parametrize("role", ROLES)
def test_every_variable_that_is_used_is_declared(role: str) -> None:
    directory = ROOT / "roles" / role
    variables = internals(role)
    tasks = [file.read_text() for file in (directory / "tasks").glob("*.yml")]
    local = re.findall(r"register: (\w+)|^    (__\w+):", "".join(tasks), re.M)
    known = {*inputs(role), *variables, *(name for names in local for name in names)}
    unknown = set()
    for file in [*directory.glob("tasks/*.yml"), *directory.glob("vars/*.yml"), *directory.glob("templates/**/*.j2")]:
        for expression in expressions(file.read_text()):
            for match in NAME.finditer(expression):
                if match[1] in ROLES and match[0] not in known and (role, match[0]) not in BORROWED:
                    unknown.add((file.name, match[0]))
    filters = {f"{other}_{word}" for other in ROLES for word in filter_words(other)}
    assert {(file, name) for file, name in unknown if name not in filters} == set()


def entered(role: str) -> set[str]:
    """The task files of a role that playbooks enter; the preflight enters ``look`` of whichever role has it."""
    text = "".join(path.read_text() for path in (ROOT / "playbooks").glob("*.yml"))
    look = {path.stem for path in (ROOT / "roles" / role / "tasks").glob("look.yml")}
    return {"main", *look, *re.findall(rf"import_role: {{name: celeriac\.fleet\.{role}, tasks_from: (\w+)", text)}


def reads(role: str, tasks: str) -> set[str]:
    """The names that a task file of a role uses, with what its templates and the role's variables use for it."""
    directory = ROOT / "roles" / role
    variables = internals(role)
    found, left = set(), [(directory / "tasks" / f"{tasks}.yml").read_text()]
    while left:
        text = left.pop()
        left += [
            path.read_text()
            for path in (directory / "templates").rglob("*.j2")
            if str(path).partition("templates/")[2] in text
        ]
        names = set(re.findall(rf"\b(?:__)?{role}\w*", text)) - found
        left += [str(variables[name]) for name in names if name in variables]
        found |= names
    return found


@pytest.mark.parametrize("role", ROLES)
def test_each_task_file_that_a_playbook_enters_is_declared_with_its_inputs_and_results(role: str) -> None:
    declared = entry_points(role)
    assert set(declared) == entered(role)
    for entry in set(declared) - {"main"}:
        assert set(declared[entry]["options"]) == reads(role, entry) & set(inputs(role)), entry
    described = re.findall(r"RV\((\w+)", str([spec["description"] for spec in declared.values()]))
    results = {name for name in internals(role) if not name.startswith("__")}
    assert set(described) == results


def expressions(text: str) -> Iterator[str]:
    """Jinja expressions, and the bare ones of assert and when."""
    yield from ("".join(found) for found in re.findall(r"{{(.*?)}}|{%(.*?)%}", text, re.S))
    yield from re.findall(r"^\s+(?:that|when|failed_when|changed_when): (.*)$", text, re.M)


def filter_words(role: str) -> list[str]:
    """What follows the role's prefix in the names of its filters."""
    texts = [path.read_text() for path in (ROOT / "plugins/filter").glob(f"{role}*.py")]
    return re.findall(rf'"{role}_(\w+)": ', "".join(texts))


@pytest.mark.parametrize("role", ROLES)
def test_a_role_has_readme_tests_metadata_and_a_scenario_that_uses_it(role: str) -> None:
    directory = ROOT / "roles" / role
    assert (directory / "README.md").read_text().startswith(f"# {role}\n")
    assert list((ROOT / "tests/integration" / role).glob("test_*.py"))
    platforms = read_yaml(directory / "meta/main.yml")["galaxy_info"]["platforms"]
    assert platforms == [{"name": "Debian", "versions": ["bookworm", "trixie"]}]
    scenario = ROOT / "molecule" / role
    shared, own = read_yaml(ROOT / ".config/molecule/config.yml"), read_yaml(scenario / "molecule.yml")
    playbooks = {**shared["ansible"]["playbooks"], **own.get("ansible", {}).get("playbooks", {})}
    groups = Inventory(scenario / "inventory").groups
    assert site_roles(str((scenario / playbooks["converge"]).resolve()), groups)[f"celeriac.fleet.{role}"]


@pytest.mark.parametrize("role", ROLES)
def test_the_readmes_example_is_a_scenarios(role: str) -> None:
    """Each YAML block stands to the letter in the file that the sentence before it links to."""
    readme = ROOT / "roles" / role / "README.md"
    blocks = re.findall(r"\]\(([^)]+)\):\n\n```yaml\n(.*?)```", readme.read_text(), re.S)
    assert blocks
    for link, block in blocks:
        assert block in (readme.parent / link).read_text(), link


@pytest.mark.parametrize("role", ROLES)
def test_the_readmes_table_is_what_make_docs_writes(role: str, tmp_path: Path) -> None:
    copy = tmp_path / role
    for part in ("README.md", "meta/main.yml", "meta/argument_specs.yml"):
        (copy / part).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / "roles" / role / part, copy / part)
    command = [str(Path(sys.executable).with_name("aar-doc")), "--output-mode", "inject", str(copy), "markdown"]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    readme = ROOT / "roles" / role / "README.md"
    assert readme.read_text() == (copy / "README.md").read_text(), "stale: run 'make docs'"


@pytest.mark.parametrize("role", ROLES)
def test_tests_that_the_readme_names_are_there(role: str) -> None:
    named = set(re.findall(r"`(test_\w+)`", (ROOT / "roles" / role / "README.md").read_text()))
    tests = "".join(path.read_text() for path in (ROOT / "tests/integration" / role).glob("test_*.py"))
    assert named
    assert named <= set(re.findall(r"^def (test_\w+)", tests, re.M))
