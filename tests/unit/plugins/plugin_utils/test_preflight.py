"""plugins/plugin_utils/preflight.py: hosts' variables, and what is wrong with hosts, secrets, values and names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from ansible.errors import AnsibleUndefinedVariable
from ansible_collections.celeriac.fleet.plugins.plugin_utils import preflight

from tests.support.harness import ROLES, ROOT, specs

SUPPORTED = {"Debian": ["12", "13"]}


class Lazy(dict[str, Any]):
    """Variables of which one can't be computed."""

    def __getitem__(self, name: str) -> Any:
        value = super().__getitem__(name)
        if isinstance(value, Exception):
            raise value
        return value


def read(**variables: Any) -> dict[str, Any]:
    return dict(preflight.preflight_hosts({"h": Lazy(variables)}, ["h"], ["a", "b"])["h"])


def test_variables_are_read_and_missing_ones_left_out() -> None:
    assert read(a=1, c=2) == {"a": 1, "names": ["a", "c"], "unreadable": {}}


def test_what_cannot_be_computed_is_told_apart_from_what_is_missing() -> None:
    found = read(a=1, b=AnsibleUndefinedVariable("'x' is undefined"))
    assert "b" not in found
    assert found["unreadable"] == {"b": "'x' is undefined"}


def test_facts_are_read_where_they_are() -> None:
    facts = {"distribution": "Debian", "distribution_major_version": "13"}
    found = read(ansible_facts=facts)
    assert (found["distribution"], found["distribution_version"]) == ("Debian", "13")


def test_hosts_are_picked_by_name() -> None:
    assert preflight.of_hosts({"a": {"x": 1}, "b": {"x": 2}}, ["b", "c"]) == {"b": {"x": 2}}


@pytest.mark.parametrize("version", ["12", "13"])
def test_a_supported_distribution_has_no_problem(version: str) -> None:
    hosts = {"h": {"distribution": "Debian", "distribution_version": version}}
    assert preflight.host_problems(hosts, SUPPORTED) == []


@pytest.mark.parametrize(("name", "version"), [("Debian", "11"), ("Ubuntu", "24"), ("Debian", "1")])
def test_an_unsupported_distribution_is_one_sentence(name: str, version: str) -> None:
    hosts = {"h": {"distribution": name, "distribution_version": version}, "without_facts": {}}
    assert preflight.host_problems(hosts, SUPPORTED) == [
        f"ansible_facts.distribution of h is {name} {version}: use one of Debian 12, Debian 13."
    ]


@pytest.mark.parametrize("variables", [{}, {"vault_x": ""}, {"vault_x": None}])
def test_a_missing_secret_is_one_sentence_for_all_hosts(variables: Mapping[str, Any]) -> None:
    hosts = {"h1": variables, "h2": variables}
    assert preflight.secret_problems(hosts, ["vault_x"], "set it\n") == ["vault_x has no value: set it."]


def test_secrets_that_are_there_have_no_problem() -> None:
    assert preflight.secret_problems({"h": {"vault_x": "x"}}, ["vault_x"], "set it") == []


def test_one_reason_is_one_sentence_for_all_that_it_spoils() -> None:
    hosts = {h: {"unreadable": {"a": "'x' is undefined", "b": "'x' is undefined"}} for h in ("h1", "h2")}
    (problem,) = preflight.value_problems(hosts, [], [])
    assert problem.startswith("a, b can't be computed: 'x' is undefined: ")


def test_what_only_wants_a_secret_is_left_to_secret_problems() -> None:
    hosts = {"h": {"unreadable": {"a": "'vault_x' is undefined"}}}
    assert preflight.value_problems(hosts, ["vault_x"], []) == []


@pytest.mark.parametrize(("name", "count"), [("app_environment", 0), ("celery_nodes", 0), ("redis_bind", 1)])
def test_what_an_application_needs_may_be_missing_where_none_runs(name: str, count: int) -> None:
    hosts = {"broker": {"unreadable": {name: "'x' is undefined"}}}
    assert len(preflight.value_problems(hosts, [], ["worker"])) == count
    assert len(preflight.value_problems(hosts, [], ["broker"])) == 1


# -- names

KNOWN = {"celery": ["celery_nodes", "celery_app"], "redis": ["redis_users"]}


def name_problems(*names: str, helpers: list[str] | None = None) -> list[str]:
    hosts = {"h1": {"names": names}, "h2": {"names": names}}
    return list(preflight.name_problems(hosts, KNOWN, helpers or []))


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("celery_node", "write celery_nodes"),
        ("redis_user", "write redis_users"),
        ("celery_xyzzy_plugh", "take it out"),
    ],
)
def test_a_misspelt_name_is_one_sentence_with_the_nearest_known_one(name: str, remedy: str) -> None:
    (problem,) = name_problems("celery_nodes", name)
    assert problem.startswith(f"{name} is set for ")
    assert remedy in problem


@pytest.mark.parametrize("name", ["celery_nodes", "ansible_user", "rediscover", "broker_host", "celery"])
def test_known_names_and_those_of_others_have_no_problem(name: str) -> None:
    assert name_problems(name) == []


def test_a_helper_has_no_problem() -> None:
    assert name_problems("celery_visibility_timeout", helpers=["celery_visibility_timeout"]) == []


def test_variables_of_roles_are_those_of_their_argument_specs() -> None:
    found = preflight.role_variables(str(ROOT / "roles"))
    assert {role: set(names) for role, names in found.items()} == {role: set(specs(role)) for role in ROLES}


def test_a_directory_without_roles_knows_none(tmp_path: Path) -> None:
    assert preflight.role_variables(str(tmp_path)) == {}
