"""playbooks/preflight.yml without hosts: its own expression over inventories/production and broken variants of it."""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from ansible.template import Templar, trust_as_template
from ansible.vars.manager import VariableManager
from ansible_collections.celeriac.fleet.plugins.plugin_utils import preflight, specs

from tests.support.harness import ENVIRONMENTS, FACTS, ROLES, ROOT, SECRETS, Inventory, home, read_yaml, role_hosts
from tests.support.harness import specs as declared

PLAYBOOK = ROOT / "playbooks/preflight.yml"
*_, PLAY = read_yaml(PLAYBOOK)
(TASK,) = PLAY["tasks"]

CRAWLER = {"name": "crawler", "queues": ["crawl_queue"]}
REST = {"name": "rest", "queues": ["process_queue", "schedule_queue", "monitor_queue", "default"]}
BROKER = {"name": "broker", "port": 6379, "profile": "broker", "maxmemory": "2gb"}


def problems(inventory: Inventory, limit: list[str] | None = None, **more: Any) -> list[str]:
    """What the playbook's task would say, run on all hosts or those of ``--limit``."""
    expressions = {name: trust_as_template(value) for name, value in TASK["vars"].items()}
    variables = {
        **inventory.variables("broker1" if "broker1" in inventory.groups["all"] else inventory.groups["all"][0]),
        **expressions,
        "hostvars": inventory.hostvars,
        "ansible_play_hosts": limit or inventory.groups["all"],
        **more,
        "playbook_dir": str(PLAYBOOK.parent),
    }
    return list(Templar(loader=inventory.loader, variables=variables).template(expressions["__preflight_problems"]))


@pytest.fixture
def variant(tmp_path: Path) -> Callable[..., Inventory]:
    """inventories/production with other ``hosts`` (group -> hosts) or variables; None takes a secret away."""

    def make(
        hosts: dict[str, list[str]] | None = None, facts: dict[str, Any] | None = None, **changes: Any
    ) -> Inventory:
        source = ROOT / "inventories/production"
        if hosts is not None:
            source = Path(shutil.copytree(source, tmp_path / "inventory"))
            groups = [f"{group}:\n  hosts: {{{', '.join(names)}}}\n" for group, names in hosts.items()]
            (source / "hosts.yml").write_text("".join(groups))
        extra = {name: value for name, value in {**SECRETS, **changes}.items() if value is not None}
        return Inventory(source, facts=facts, **extra)

    return make


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_every_environment_has_no_problem_but_secrets(environment: str) -> None:
    assert problems(Inventory(f"inventories/{environment}", **SECRETS)) == []


def yaml_blocks(document: str) -> list[str]:
    """The blocks of YAML in a Markdown file of the repository."""
    return re.findall(r"```yaml\n(.*?)```", (ROOT / document).read_text(), re.S)


@pytest.mark.parametrize(("document", "hosts", "variables"), [("README.md", None, 0), ("docs/environments.md", 0, 1)])
def test_the_documents_environment_has_no_problem(
    document: str, hosts: int | None, variables: int, tmp_path: Path
) -> None:
    """A first environment as the document makes it: a copy of production's, with the document's blocks as its files."""
    blocks = yaml_blocks(document)
    directory = Path(shutil.copytree(ROOT / "inventories/production", tmp_path / "acme"))
    (directory / "group_vars/all/main.yml").write_text(blocks[variables])
    if hosts is not None:
        (directory / "hosts.yml").write_text(blocks[hosts])
    source = {"type": "path", "path": "examples/chatlite"}  # in place of a directory that no machine has
    assert problems(Inventory(directory, **SECRETS, vault_smtp_password="x", app_source=source)) == []


def test_the_task_refuses_if_there_is_a_problem() -> None:
    assert TASK["when"] == "__preflight_problems | length > 0"
    assert TASK["ansible.builtin.assert"]["that"] is False
    assert TASK["run_once"]
    assert TASK["tags"] == "always"


def test_each_host_is_read_once_however_many_there_are(variant: Callable[..., Inventory], monkeypatch) -> None:
    """Two readings of all by each would be what a hundred hosts can't afford."""
    read: Counter[str] = Counter()
    get_vars = VariableManager.get_vars

    def counted(self: VariableManager, *given: Any, host: Any = None, **more: Any) -> Any:
        read[host.name if host else ""] += 1
        return get_vars(self, *given, host=host, **more)

    workers = [f"w{number}" for number in range(12)]
    hosts = {"redis": ["r"], "workers": workers, "beat": workers[:1]}
    inventory = variant(hosts, celery_nodes=[CRAWLER, REST])
    monkeypatch.setattr(VariableManager, "get_vars", counted)
    assert problems(inventory) == []
    assert read == {"r": 1 + 1, **dict.fromkeys(workers, 1)}  # the task itself runs on the first


def test_a_newly_declared_option_is_looked_at(variant: Callable[..., Inventory], tmp_path: Path, monkeypatch) -> None:
    """Without a list: it is enough that the role's argument_specs have it."""
    roles = Path(shutil.copytree(ROOT / "roles", tmp_path / "roles"))
    of_production = list(role_hosts("inventories/production"))
    for role in of_production:
        path = roles / role / "meta/argument_specs.yml"
        declared = read_yaml(path)
        declared["argument_specs"]["main"]["options"][f"{role}_novelty"] = {"type": "int", "default": 1}
        path.write_text(json.dumps(declared))
    novelties = {f"{role}_novelty": trust_as_template("{{ never_defined }}") for role in of_production}
    monkeypatch.setattr(specs, "ROLES", roles)
    specs.entry_points.cache_clear()
    try:
        (problem,) = problems(variant(**novelties))
    finally:
        specs.entry_points.cache_clear()
    names, _, reason = problem.partition(" can't be computed: ")
    assert set(names.split(", ")) == set(novelties)
    assert reason.startswith("'never_defined' is undefined: ")


FLEET = {"redis": ["broker1"], "workers": ["worker1", "worker2"]}
BROKEN: dict[str, tuple[dict[str, Any], str]] = {
    "unknown key in a node": (
        {"celery_nodes": [{**CRAWLER, "concurency": 4}, REST]},
        "celery_nodes[0] (crawler) has the unknown key 'concurency': write concurrency",
    ),
    "node without queues": (
        {"celery_nodes": [{"name": "crawler"}, REST]},
        "celery_nodes[0] (crawler) has queues None: list at least one queue",
    ),
    "same name twice": (
        {"celery_nodes": [CRAWLER, CRAWLER, REST]},
        "celery_nodes names 'crawler' 2 times on worker1, worker2: give each node",
    ),
    "same name by instances": (
        {"celery_nodes": [{**CRAWLER, "instances": 2}, {**REST, "name": "crawler2"}]},
        "celery_nodes names 'crawler2' 2 times on worker1, worker2: give each node",
    ),
    "queue that nobody consumes": (
        {"celery_nodes": [CRAWLER, {**REST, "queues": REST["queues"][1:]}]},
        "celery_routed_queues has the queue 'process_queue', which no node consumes: add it",
    ),
    "autoscale beside concurrency": (
        {"celery_nodes": [{**CRAWLER, "concurrency": 4, "autoscale": {"min": 1, "max": 8}}, REST]},
        "celery_nodes[0] (crawler) has autoscale {'min': 1, 'max': 8} beside concurrency 4: keep one",
    ),
    "nodes that are no list": (
        {"celery_nodes": {"crawler": CRAWLER}},
        "celery_nodes is {'crawler': {'name': 'crawler', 'queues': ['crawl_queue']}}: give it a list",
    ),
    "node on a host that isn't there": (
        {"celery_nodes": [{**CRAWLER, "hosts": ["worker1", "worker3"]}, REST]},
        "celery_nodes[0] (crawler) runs on the host 'worker3', which isn't in the group workers: name one of worker1",
    ),
    "limit that systemd would ignore": (
        {"celery_nodes": [{**CRAWLER, "memory_max": "2GB"}, REST]},
        "celery_nodes[0] (crawler) has memory_max '2GB': give it",
    ),
    "beat on no host": (
        {"hosts": FLEET},
        "The group beat has no host of the group workers: put one in",
    ),
    "beat on a host that runs no nodes": (
        {"hosts": {**FLEET, "beat": ["broker1"]}},
        "The group beat has no host of the group workers: put one in",
    ),
    "beat on a host that runs no nodes, and on one that does": (
        {"hosts": {**FLEET, "beat": ["broker1", "worker1"]}},
        "The group beat has broker1, which isn't in the group workers: put it there too",
    ),
    "beat on two hosts": (
        {"hosts": {**FLEET, "beat": ["worker1", "worker2"]}},
        "The group beat has the hosts worker1, worker2: leave one",
    ),
    "no broker host": (
        {"hosts": {"workers": ["worker1", "worker2"], "beat": ["worker1"]}, "broker_host": "elsewhere"},
        "The group redis has no host: put one in",
    ),
    "no worker host": (
        {"hosts": {"redis": ["broker1"], "beat": ["broker1"]}},
        "The group workers has no host: put one in",
    ),
    "no value for a secret": (
        {"vault_redis_app_password": None},
        "vault_redis_app_password has no value: copy group_vars/all/vault.yml.example",
    ),
    "empty secret": (
        {"vault_redis_admin_password": ""},
        "vault_redis_admin_password has no value: copy group_vars/all/vault.yml.example",
    ),
    "short password": (
        {"vault_redis_app_password": "hunter2-hunter"},
        "redis_users[1] (chatlite) has a password of 14 characters: set one of at least 16",
    ),
    "unsupported distribution": (
        {"facts": {"worker2": {**FACTS, "distribution_major_version": "11"}}},
        "ansible_facts.distribution of worker2 is Debian 11: use one of Debian 12, Debian 13",
    ),
    "broker that evicts": (
        {"redis_instances": [{**BROKER, "config": {"maxmemory-policy": "allkeys-lru"}}]},
        "redis_instances[0] (broker) is a broker with config.maxmemory-policy 'allkeys-lru': leave noeviction",
    ),
    "name of a Debian user": (
        {"app_name": "www-data", "redis_users": [{"name": "a", "profile": "celery", "password": "p" * 16}]},
        "app_name is 'www-data', which Debian uses itself",
    ),
    "application that isn't there": (
        {"app_source": {"type": "path", "path": "examples/chatlight"}},
        "app_source.path is 'examples/chatlight', which is no directory",
    ),
    "setting that Celery takes for an option": (
        {"app_settings": {"CELERY_WORKER_CONCURRENCY": 4}},
        "app_environment has 'CELERY_WORKER_CONCURRENCY': name it otherwise",
    ),
    "setting that isn't defined": (
        {"app_settings": trust_as_template("{{ shop_settings }}")},
        "app_environment can't be computed: 'shop_settings' is undefined: correct the expression",
    ),
    "misspelt variable": (
        {"celery_node": [CRAWLER]},
        "celery_node is set for worker2, but is no variable of a role: write celery_nodes",
    ),
    "application's module": (
        {"celery_app": "app/core/celery_config.py"},
        "celery_app is 'app/core/celery_config.py': name the module",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_cannot_be_right_is_one_sentence_with_a_remedy(variant: Callable[..., Inventory], name: str) -> None:
    changes, said = BROKEN[name]
    found = problems(variant(**changes))
    assert len(found) == 1, found
    assert found[0].startswith(said)
    assert re.fullmatch(r"[^\n]+: [^\n]+\.", found[0])


def test_all_that_is_wrong_is_said_at_once(variant: Callable[..., Inventory]) -> None:
    wrong = {
        name: value
        for changes, _ in (BROKEN["broker that evicts"], BROKEN["misspelt variable"])
        for name, value in changes.items()
    }
    found = problems(variant(**wrong, celery_app="", vault_redis_app_password=None))
    assert len(found) == 4, found


def test_no_password_is_in_a_sentence(variant: Callable[..., Inventory]) -> None:
    found = problems(
        variant(vault_redis_admin_password="hunter2", app_settings={"A": "hunter2\n"}, redis_users="hunter2")
    )
    assert found
    assert "hunter2" not in " ".join(found)


def test_a_limit_leaves_out_what_only_a_run_on_all_hosts_knows(variant: Callable[..., Inventory]) -> None:
    """A host that isn't in the run has no facts, and Redis wasn't looked at there."""
    inventory = variant(facts={"broker1": {}, "worker2": {}})
    assert problems(inventory)
    assert problems(inventory, limit=["worker1"]) == []


def test_a_deployment_asks_which_of_several_applications(variant: Callable[..., Inventory]) -> None:
    inventory = Inventory("molecule/applications/inventory", **SECRETS)
    asked = {"preflight_one_application": True}
    assert problems(inventory) == []
    assert problems(inventory, limit=["worker1"], **asked) == []
    assert problems(inventory, **asked) == [
        "The hosts run ledger and ticker: choose one with --limit, by its group or its hosts."
    ]


# -- every option of every role

WRONG = {"bool": "perhaps", "dict": "x", "int": "x", "list": "x", "path": 5, "str": {"x": 1}}
PATH = tuple[str, ...]


def changes(role: str) -> Iterator[tuple[PATH, Any]]:
    """Each option of a role, by its path, with what it can't be; None where it can't be missing."""

    def of(options: dict[str, Any], path: PATH) -> Iterator[tuple[PATH, Any]]:
        for name, option in options.items():
            yield (*path, name), WRONG[option["type"]]
            if "choices" in option:
                yield (*path, name), "none-of-them"
            if option.get("required"):
                yield (*path, name), None
            if option.get("elements", "dict") != "dict":
                yield (*path, name), [WRONG[option["elements"]]]
            yield from of(option.get("options", {}), (*path, name))

    yield from of(declared(role), ())


CHANGES = [(role, path, value) for role in ROLES for path, value in changes(role)]
RIGHT = {"bool": True, "int": 1, "path": "/a", "str": "a"}


def right(option: dict[str, Any]) -> Any:
    """The least that an option may be: a mapping with what is required, or a list of one."""
    if option["type"] == "list":
        return [right({**option, "type": option["elements"]})]
    if option["type"] == "dict":
        return {key: right(each) for key, each in option.get("options", {}).items() if each.get("required")}
    return RIGHT[option["type"]]


def changed(options: dict[str, Any], variables: dict[str, Any], path: PATH, value: Any) -> dict[str, Any]:
    """``variables`` with another value at a path, or without one."""
    name, *rest = path
    option = options[name]
    old = variables.get(name) or (right(option) if rest else None)
    if rest and isinstance(old, list):
        value = [changed(option["options"], old[0], tuple(rest), value), *old[1:]]
    elif rest:
        value = changed(option["options"], old, tuple(rest), value)
    elif value is None:
        return {key: old for key, old in variables.items() if key != name}
    return {**variables, name: value}


@cache
def read_fleet(source: str) -> dict[str, dict[str, Any]]:
    """What the preflight reads of an inventory's hosts, as plain data."""
    inventory = Inventory(source, **SECRETS)
    roles = {f"celeriac.fleet.{role}": hosts for role, hosts in role_hosts(source).items()}
    read = preflight.preflight_variables(inventory.hostvars, inventory.groups["all"], roles, [])
    return {
        host: {name: plain(value) for name, value in variables.items() if name != "names"}
        for host, variables in read.items()
    }


def plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    return [plain(each) for each in value] if isinstance(value, list) else value


@pytest.mark.parametrize(
    ("role", "path", "value"), CHANGES, ids=[f"{'.'.join(path)}-{value}" for _, path, value in CHANGES]
)
def test_any_option_that_is_not_as_declared_is_one_sentence(role: str, path: PATH, value: Any) -> None:
    fleet, groups, options = read_fleet(home(role)), Inventory(home(role)).groups, declared(role)
    roles = {f"celeriac.fleet.{name}": hosts for name, hosts in role_hosts(home(role)).items()}
    hosts = {
        host: changed(options, variables, path, value) if host in roles[f"celeriac.fleet.{role}"] else variables
        for host, variables in fleet.items()
    }
    asked = {"root": str(ROOT), "secrets": True, "reached": list(hosts), "one_application": False}
    assert preflight.role_problems(fleet, roles, groups, **asked) == []
    (problem,) = preflight.role_problems(hosts, roles, groups, **asked)
    assert re.match(rf"{path[0]}\b.*\b{path[-1]}\b.*: .+\.$" if len(path) > 1 else rf"{path[0]}\b.*: .+\.$", problem)
    assert not any(secret in problem for secret in SECRETS.values())


@pytest.mark.parametrize(
    "wrong", [{"redis_instances": 5}, {"redis_instances": [{"name": "b"}]}, {"redis_flavor": 1}, {"redis_users": "x"}]
)
def test_what_rests_on_a_wrong_variable_is_no_problem_of_its_own(
    variant: Callable[..., Inventory], wrong: dict[str, Any]
) -> None:
    found = problems(variant(**wrong))
    assert found
    assert [problem for problem in found if not problem.startswith(tuple(wrong))] == []
