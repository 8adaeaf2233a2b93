"""What every playbook, role and template keeps to."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.harness import ROLES, ROOT, defaults, read_yaml
from tests.support.paths import tracked

PLAYBOOKS = [ROOT / "site.yml", *sorted((ROOT / "playbooks").glob("*.yml"))]
TASKS = sorted((ROOT / "roles").glob("*/tasks/*.yml"))
TEMPLATES = sorted((ROOT / "roles").glob("*/templates/**/*.j2"))
SOURCES = [*PLAYBOOKS, *TASKS, *TEMPLATES, *sorted((ROOT / "roles").glob("*/[dv]*/*.yml"))]
KEYWORDS = set(
    "name when loop loop_control register changed_when failed_when notify tags vars no_log become become_user "
    "delegate_to run_once until retries delay check_mode diff environment args block rescue always "
    "any_errors_fatal".split()
)
SECRET = re.compile(
    r"password|redis_users|users\.acl|app_environment|app_git_|app_index|app_proxy|app_build_environment|vault_"
)
# What more makes the content of a file secret.
SECRET_CONTENT = re.compile(rf"{SECRET.pattern}|private_?key|ssh_key|app_files|celery_environments")
# Formats that have no comments.
WITHOUT_COMMENTS = {"users.acl.j2"}
# Parts that others include have no first line of their own.
INCLUDED = {"sandbox.j2"}


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def flat(tasks: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for task in tasks:
        inner = [entry for key in ("block", "rescue", "always") for entry in task.get(key, [])]
        yield task
        yield from flat(inner)


def all_tasks() -> Iterator[tuple[str, dict[str, Any]]]:
    for path in TASKS:
        for task in flat(read_yaml(path) or []):
            yield relative(path), task
    for path in PLAYBOOKS:
        for play in read_yaml(path):
            for key in ("pre_tasks", "tasks", "post_tasks", "handlers"):
                for task in flat(play.get(key, [])):
                    yield relative(path), task


ALL_TASKS = list(all_tasks())
EVERY_TASK = pytest.mark.parametrize(
    ("path", "task"), ALL_TASKS, ids=[f"{path}:{task.get('name')}" for path, task in ALL_TASKS]
)

# Texts that no role owns: what they need of one, they get by its entry points.
OUTSIDE = [
    *PLAYBOOKS,
    *(path for path in tracked() if path.relative_to(ROOT).parts[0] in ("inventories", "molecule", "tools")),
]
# Directories of the system, where each role has files of its own.
PLACES = set("/etc /etc/systemd/system /usr/bin /usr/bin/python3 /usr/local/lib/celeriac /var/lib /var/log".split())
PATH = re.compile(r"(?<![\w.}/])/(?:etc|opt|usr|var)/(?:\{\{.*?\}\}|[^\s\"'`|,:;)\]\\])*")


@pytest.mark.parametrize("path", PLAYBOOKS, ids=relative)
def test_a_play_has_a_name_and_hosts(path: Path) -> None:
    for play in read_yaml(path):
        assert play["name"][0].isupper()
        assert "hosts" in play or "ansible.builtin.import_playbook" in play


def test_site_only_imports_playbooks() -> None:
    imported = [set(play) for play in read_yaml(ROOT / "site.yml")]
    assert all(keys == {"name", "ansible.builtin.import_playbook"} for keys in imported)


@pytest.mark.parametrize("role", ROLES)
def test_main_is_a_table_of_contents(role: str) -> None:
    for task in read_yaml(ROOT / "roles" / role / "tasks/main.yml"):
        assert set(task) == {"name", "ansible.builtin.import_tasks", "tags"}
        stem = task["ansible.builtin.import_tasks"].removesuffix(".yml")
        tags = task["tags"] if isinstance(task["tags"], list) else [task["tags"]]
        assert f"{role}_{stem}" in tags
        assert task["name"].lower() == stem


@EVERY_TASK
def test_a_task_names_one_module_in_full(path: str, task: dict[str, Any]) -> None:
    modules = set(task) - KEYWORDS
    if "block" not in task:
        assert len(modules) == 1
    assert all(module.count(".") >= 2 for module in modules)


@EVERY_TASK
def test_a_task_is_named_after_its_file(path: str, task: dict[str, Any]) -> None:
    prefix = "" if path.endswith("/main.yml") or not path.startswith("roles/") else f"{Path(path).stem} | "
    assert task["name"].startswith(prefix)
    assert task["name"].removeprefix(prefix)[0].isupper()


@EVERY_TASK
def test_nothing_hides_a_failure_or_keeps_state_of_its_own(path: str, task: dict[str, Any]) -> None:
    assert not task.get("ignore_errors")
    assert task.get("failed_when") is not False
    assert "ansible.builtin.set_fact" not in task
    assert "is changed" not in str(task.get("when", ""))


def derived(path: str, text: str) -> str:
    """``text`` with the definitions of all role variables that stand in it."""
    role = ROOT / "roles" / Path(path).parts[1] / "vars/main.yml"
    defined = read_yaml(role) if path.startswith("roles/") and role.exists() else {}
    names: set[str] = set()
    while new := {name for name in defined if re.search(rf"\b{name}\b", text)} - names:
        names |= new
        text += "".join(str(defined[name]) for name in new)
    return text


def secret_parts(path: str, task: dict[str, Any]) -> list[str]:
    """Those of a task's arguments that derive from a secret; entries of managed_files only if they aren't marked."""
    arguments = {key: value for key, value in task.items() if key not in ("name", "register", "block")}
    files = arguments.get("celeriac.fleet.managed_files", {}).pop("files", [])
    entries = [{**entry, "path": ""} for entry in files if entry.get("secret") is not True]
    contents = [str(entry) if "src" in entry else derived(path, str(entry)) for entry in entries]
    found = [str(arguments)] if SECRET.search(str(arguments)) else []
    return found + [content for content in contents if SECRET_CONTENT.search(content)]


@EVERY_TASK
def test_a_task_with_secrets_does_not_show_them(path: str, task: dict[str, Any]) -> None:
    parts = [part for part in secret_parts(path, copy.deepcopy(task)) if "preflight_secrets" not in part]
    assert parts == [] or task.get("no_log") is True


def test_entries_with_secrets_are_found() -> None:
    """So that the test above can fail."""
    path = "roles/redis/tasks/configure.yml"
    for entry in ({"each": "{{ __redis_tls_contents }}"}, {"src": "etc/redis/users.acl.j2"}):
        assert secret_parts(path, {"celeriac.fleet.managed_files": {"files": [entry]}})
        assert not secret_parts(path, {"celeriac.fleet.managed_files": {"files": [{**entry, "secret": True}]}})


@EVERY_TASK
def test_modes_are_strings(path: str, task: dict[str, Any]) -> None:
    """An unquoted 0640 is the number 416."""
    modes = re.findall(r"'mode': (\S+?)[,}]", str(task))
    assert all(re.fullmatch(r"'0[0-7]{3}'", mode) for mode in modes)


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_a_role_reads_neither_groups_nor_other_hosts_nor_the_controllers_environment(path: Path) -> None:
    text = path.read_text()
    if path.is_relative_to(ROOT / "roles"):
        assert not re.search(r"\bgroups\s*[\[.]|\bhostvars\b", text)
    assert not re.search(r"lookup\(\s*['\"](ansible\.builtin\.)?env", text)


@pytest.mark.parametrize("role", ROLES)
def test_defaults_are_literals(role: str) -> None:
    assert "{{" not in str(defaults(role))


@pytest.mark.parametrize("path", TEMPLATES, ids=relative)
def test_a_template_says_first_that_it_is_managed(path: Path) -> None:
    lines = [line for line in path.read_text().splitlines() if not line.startswith("#!")]
    if path.name in WITHOUT_COMMENTS | INCLUDED:
        assert "ansible_managed" not in "".join(lines)
    else:
        assert lines[0] == "{{ ansible_managed | comment }}"


@pytest.mark.parametrize("path", [*TASKS, *TEMPLATES], ids=relative)
def test_files_are_short(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= (60 if path.suffix == ".j2" else 80)


@pytest.mark.parametrize("path", TEMPLATES, ids=relative)
def test_every_template_is_used(path: Path) -> None:
    role = ROOT / "roles" / path.relative_to(ROOT / "roles").parts[0]
    name = str(path.relative_to(role / "templates"))
    users = [*role.glob("tasks/*.yml"), *role.glob("templates/**/*.j2")]
    assert any(name in user.read_text() for user in users if user != path)


@pytest.mark.parametrize("role", ROLES)
def test_what_is_internal_to_a_role_stays_in_it(role: str) -> None:
    directories = [ROOT / "roles" / other for other in ROLES if other != role]
    others = [path for path in tracked() if any(path.is_relative_to(directory) for directory in directories)]
    texts = {path: path.read_text(errors="replace") for path in (*OUTSIDE, *others)}
    found = {(relative(path), name) for path, text in texts.items() for name in re.findall(rf"\b__{role}_\w+", text)}
    assert found == set()


def known_paths(role: str) -> set[str]:
    """The paths that are written out in a role and its plugins, with ``<app>`` for an application's name."""
    texts = [
        path
        for part in ("defaults", "vars", "tasks", "templates")
        for path in (ROOT / "roles" / role / part).rglob("*")
    ]
    texts += [
        path
        for part in ("action", "module_utils", "plugin_utils")
        for path in (ROOT / "plugins" / part).glob(f"{role}*.py")
    ]
    found = {match for path in texts if path.is_file() for match in PATH.findall(path.read_text())}
    named = {re.sub(r"\{\{ (app|celery)_name \}\}|\{name\}", "<app>", path) for path in found}
    return {path.rstrip("/.") for path in named}


def test_no_path_is_known_to_two_roles() -> None:
    """One computes it, the wiring hands it over; else the one would move what the other looks for."""
    known = {role: known_paths(role) for role in ROLES}
    assert all(known.values())
    shared = {
        (one, path, other, further)
        for one in ROLES
        for other in ROLES
        if one != other
        for path in known[one] - PLACES
        for further in known[other]
        if f"{further}/".startswith(f"{path}/")
    }
    assert shared == set()
