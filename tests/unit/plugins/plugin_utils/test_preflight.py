"""plugins/plugin_utils/preflight.py: hosts' variables, and what is wrong with hosts, secrets, values and names."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from ansible.errors import AnsibleUndefinedVariable
from ansible_collections.celeriac.fleet.plugins.plugin_utils import preflight
from ansible_collections.celeriac.fleet.plugins.plugin_utils.site_roles import Site

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
    (problem,) = preflight.value_problems(hosts, [])
    assert problem.startswith("a, b can't be computed: 'x' is undefined: ")


def test_what_only_wants_a_secret_is_left_to_secret_problems() -> None:
    hosts = {"h": {"unreadable": {"a": "'vault_x' is undefined"}}}
    assert preflight.value_problems(hosts, ["vault_x"]) == []


# -- groups


def test_a_group_that_needs_a_host_is_one_sentence() -> None:
    needed = {"redis": "the nodes need a broker", "workers": "x"}
    said = ["The group redis has no host: put one in, the nodes need a broker."]
    assert preflight.group_problems({"redis": [], "workers": ["w"]}, needed) == said
    assert preflight.group_problems({"workers": ["w"]}, needed) == said
    assert preflight.group_problems({"redis": ["r"], "workers": ["w"], "flower": []}, needed) == []


# -- roles


def test_a_host_is_read_for_what_its_roles_declare_and_ask_for() -> None:
    hostvars = {host: Lazy({**dict.fromkeys(NAMES, host)}) for host in ("r", "w", "n")}
    roles = {"celeriac.fleet.redis": ["r"], "celeriac.fleet.app": ["w"], "other.roles.thing": ["r"]}
    found = preflight.preflight_variables(hostvars, ["r", "w", "n"], roles, ["vault_x"])
    read = {host: set(variables) - {"names", "unreadable"} for host, variables in found.items()}
    assert read["r"] == {*specs("redis"), "__redis_host", "vault_x"}
    assert read["w"] == {*specs("app"), "ansible_host", "broker_passwords", "vault_x"}
    assert read["n"] == {"vault_x"}


NAMES = [*(name for role in ROLES for name in specs(role)), "ansible_host", "broker_passwords", "workers_batch"]
NAMES += ["__redis_host", "vault_x"]


@pytest.mark.parametrize("role", ROLES)
def test_a_role_says_what_is_wrong_with_its_variables(role: str) -> None:
    problems = preflight.role_problems_of(f"celeriac.fleet.{role}")
    assert [name.strip("_") for name in inspect.signature(problems).parameters] == ["hosts", "site"]
    assert problems({}, Site()) == []


SPECS = """
argument_specs:
  main:
    options:
      hello_greeting: {type: str, choices: [hello, hi], required: true}
      hello_times: {type: int, default: 1}
"""


@pytest.fixture
def hello(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A role with specs and without a filter."""
    (tmp_path / "hello/meta").mkdir(parents=True)
    (tmp_path / "hello/meta/argument_specs.yml").write_text(SPECS)
    monkeypatch.setattr("ansible_collections.celeriac.fleet.plugins.plugin_utils.specs.ROLES", tmp_path)
    caches = (preflight.specs.roles, preflight.specs.entry_points)
    for cache in caches:
        cache.cache_clear()
    yield "celeriac.fleet.hello"
    for cache in caches:
        cache.cache_clear()


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"hello_greeting": "hi"}, None),
        ({"hello_greeting": "hey"}, "hello_greeting is 'hey': use one of hello, hi."),
        ({}, "hello_greeting is None: use one of hello, hi."),
        ({"hello_greeting": "hi", "hello_times": "often"}, "hello_times is 'often': give it a whole number."),
    ],
)
def test_a_role_without_a_filter_is_checked_by_its_specs(hello: str, variables: dict[str, Any], said: str) -> None:
    hosts = {host: {"names": list(variables), "unreadable": {}, **variables} for host in ("one", "two")}
    assert preflight.role_problems_of(hello)(hosts, Site()) == ([said] if said else [])


@pytest.mark.parametrize("role", ["celeriac.fleet.nothing", "geerlingguy.docker", "docker"])
def test_a_role_that_says_nothing_is_no_error_of_a_run(role: str) -> None:
    assert preflight.role_problems_of(role)({"h": {}}, Site()) == []
    asked = {"root": str(ROOT), "secrets": True, "reached": ["h"], "one_application": False}
    assert preflight.role_problems({"h": {}}, {role: ["h"]}, {}, **asked) == []


@pytest.mark.parametrize("role", ["redis", "geerlingguy.redis"])
def test_a_role_of_the_same_last_name_is_not_taken_for_ours(role: str) -> None:
    assert preflight.role_options(role) == []
    assert preflight.looks({role: ["h"]}, "h") == preflight.look_hosts({role: ["h"]}) == []
    assert preflight.role_options("celeriac.fleet.redis") == list(specs("redis"))


def test_each_role_is_asked_for_its_own_hosts() -> None:
    hosts = {"r": {"redis_maxclients": 0}, "w": {"redis_maxclients": -1}}
    asked = {"root": str(ROOT), "secrets": True, "reached": ["r", "w"], "one_application": False}
    (problem,) = preflight.role_problems(hosts, {"celeriac.fleet.redis": ["r"]}, {}, **asked)
    assert problem.startswith("redis_maxclients is 0: ")


def test_a_role_has_a_host_looked_at_where_it_runs() -> None:
    roles = {"celeriac.fleet.redis": ["r"], "celeriac.fleet.app": ["r", "w"]}
    assert preflight.looks(roles, "r") == ["celeriac.fleet.redis"]
    assert preflight.looks(roles, "w") == []
    assert preflight.look_hosts(roles) == ["r"]


def test_what_may_come_of_a_wrong_variable_is_left_to_that() -> None:
    reasons = {"a": "'x' is undefined", "b": "object of type 'dict' has no attribute 'port'"}
    hosts = {"h": {"unreadable": reasons}}
    assert len(preflight.value_problems(hosts, [])) == 2
    (problem,) = preflight.value_problems(hosts, [], wrong=True)
    assert problem.startswith("a can't be computed: ")


# -- names


def name_problems(*names: str, helpers: list[str] | None = None) -> list[str]:
    hosts = {"h1": {"names": names}, "h2": {"names": names}}
    return list(preflight.name_problems(hosts, helpers or []))


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
    assert len(name_problems("celery_tool")) == 1
    assert name_problems("celery_tool", helpers=["celery_tool"]) == []
