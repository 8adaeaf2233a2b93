"""An inventory is a test: each parses, has the same shape, and names its secrets."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import test_hosts

from tests.support.harness import (
    ENVIRONMENTS,
    ROOT,
    SECRETS,
    Inventory,
    files,
    packages,
    read_yaml,
    role_hosts,
)

INVENTORIES = ROOT / "inventories"
DEVELOPMENT = {"development"}  # whose secrets are made on first use
# playbooks/workers.yml fills the others as it runs
ROLE_GROUPS = {"redis", "workers", "beat"}
TOPOLOGY = set(read_yaml(INVENTORIES / "shared/topology.yml")["all"]["children"])
SCENARIOS = sorted((ROOT / "molecule").glob("*/inventory"))

EVERY = pytest.mark.parametrize("environment", ENVIRONMENTS)


@EVERY
def test_an_environment_parses_and_its_groups_are_those_of_the_topology(environment: str) -> None:
    groups = Inventory(INVENTORIES / environment).groups
    assert set(groups) - {"all", "ungrouped"} == TOPOLOGY >= ROLE_GROUPS
    assert groups["ungrouped"] == []
    assert all(groups[group] for group in ROLE_GROUPS)


@EVERY
@pytest.mark.parametrize("name", ["topology.yml", "wiring.yml"])
def test_an_environment_links_to_the_shared_parts(environment: str, name: str) -> None:
    link = INVENTORIES / environment / name
    assert link.is_symlink()
    assert not link.readlink().is_absolute()
    assert link.resolve() == INVENTORIES / "shared" / name


@EVERY
def test_group_vars_hold_no_secret_and_no_connection(environment: str) -> None:
    for path in (INVENTORIES / environment / "group_vars").rglob("*.yml"):
        if path.name != "vault.yml":
            assert [name for name in read_yaml(path) if name.startswith(("vault_", "ansible_"))] == []


@EVERY
def test_secrets_are_those_that_the_example_names(environment: str) -> None:
    example = INVENTORIES / environment / "group_vars/all/vault.yml.example"
    if environment in DEVELOPMENT:
        assert not example.exists()
        return
    inventory = Inventory(INVENTORIES / environment)
    wanted = inventory.evaluate(inventory.groups["all"][0], "preflight_secrets")
    assert list(read_yaml(example)) == wanted == list(SECRETS)
    assert set(read_yaml(example).values()) == {""}
    assert f"ansible-vault encrypt inventories/{environment}/group_vars/all/vault.yml\n" in example.read_text()


def test_secrets_of_test_hosts_are_the_same_ones() -> None:
    assert set(read_yaml(ROOT / "molecule/shared/secrets.yml")["all"]["vars"]) == set(SECRETS)


@EVERY
def test_a_vault_is_not_tracked_in_the_clear(environment: str) -> None:
    vault = INVENTORIES / environment / "group_vars/all/vault.yml"
    if vault.exists():
        assert vault.read_text().startswith("$ANSIBLE_VAULT;")


@EVERY
def test_the_wiring_joins_the_roles(environment: str) -> None:
    inventory = Inventory(INVENTORIES / environment, **SECRETS)
    worker, broker = inventory.groups["workers"][0], inventory.groups["redis"][0]
    url = inventory.evaluate(worker, "app_environment.CELERY_BROKER_URL")
    port = inventory.evaluate(broker, "redis_instances[0].port")
    user = inventory.evaluate(broker, "redis_users[1]")
    app = inventory.evaluate(worker, "app_name")
    tls = inventory.evaluate(broker, "redis_tls_enabled")
    query = f"?ssl_cert_reqs=required&ssl_ca_certs=/etc/{app}/redis-ca.crt" if tls else ""
    assert url == f"redis{'s' * tls}://{user['name']}:{user['password']}@{broker}:{port}/0{query}"
    assert inventory.evaluate(worker, "app_environment.CELERY_GLOBAL_KEYPREFIX") == user["key_prefix"]


@EVERY
def test_a_broker_on_another_host_is_reached_over_tls(environment: str) -> None:
    inventory = Inventory(INVENTORIES / environment, **SECRETS)
    alone = set(inventory.groups["workers"]) == set(inventory.groups["redis"])
    assert alone or inventory.evaluate(inventory.groups["workers"][0], "redis_tls_enabled") is True


def test_results_have_an_instance_of_their_own_where_there_is_one() -> None:
    broker = {"name": "broker", "port": 6379, "profile": "broker", "maxmemory": "1gb"}
    results = {"name": "results", "port": 6380, "profile": "results", "maxmemory": "1gb", "tls": False}
    inventory = Inventory(INVENTORIES / "production", **SECRETS, redis_instances=[broker, results])
    environment = inventory.evaluate("worker1", "app_environment")
    assert environment["CELERY_BROKER_URL"].startswith("rediss://")
    assert ":6379/0?" in environment["CELERY_BROKER_URL"]
    assert environment["CELERY_RESULT_BACKEND"].startswith("redis://")
    assert environment["CELERY_RESULT_BACKEND"].endswith("@broker1:6380/0")


def test_the_application_gets_the_authority_that_it_has_to_trust(tmp_path: Path) -> None:
    pem = "-----BEGIN CERTIFICATE-----"
    (tmp_path / "ca.crt").write_text(pem)
    inventory = Inventory(INVENTORIES / "production", **SECRETS, redis_tls_ca_directory=str(tmp_path))
    assert inventory.evaluate("worker1", "app_files") == [{"name": "redis-ca.crt", "content": pem}]
    plain = Inventory(INVENTORIES / "production", **SECRETS, redis_tls_enabled=False)
    assert plain.evaluate("worker1", "app_files") == []


def test_an_authority_on_the_hosts_is_used_where_it_is() -> None:
    inventory = Inventory(INVENTORIES / "production", **SECRETS, redis_tls_ca_certificate="/etc/ssl/certs/corp.pem")
    assert inventory.evaluate("worker1", "app_files") == []
    assert inventory.evaluate("worker1", "broker_url").endswith("&ssl_ca_certs=/etc/ssl/certs/corp.pem")


def test_an_authority_in_the_vault_is_handed_out() -> None:
    pem = "-----BEGIN CERTIFICATE-----\nabc\n"
    inventory = Inventory(INVENTORIES / "production", **SECRETS, redis_tls_ca_certificate=pem)
    assert inventory.evaluate("worker1", "app_files") == [{"name": "redis-ca.crt", "content": pem}]


def test_the_application_gets_what_it_sets_itself() -> None:
    own = {"name": "own.toml", "content": "x"}
    inventory = Inventory(
        INVENTORIES / "production", **SECRETS, app_settings={"MINE": "1"}, broker_ca="-----BEGIN", app_extra_files=[own]
    )
    assert inventory.evaluate("worker1", "app_files") == [{"name": "redis-ca.crt", "content": "-----BEGIN"}, own]
    environment = inventory.evaluate("worker1", "app_environment")
    assert environment["MINE"] == "1"
    assert "CELERY_BROKER_URL" in environment


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.parent.name)
def test_a_scenario_has_the_shape_of_an_environment(path: Path) -> None:
    assert {"hosts.yml", "topology.yml", "wiring.yml"} <= {child.name for child in path.iterdir()}
    for name in ("topology.yml", "wiring.yml"):
        assert (path / name).resolve() == INVENTORIES / "shared" / name


def test_environments_are_those_of_the_makefile_and_of_rehearse() -> None:
    import rehearse

    makefile = (ROOT / "Makefile").read_text()
    patterns = re.findall(r"inventories/\S+?/hosts\.yml", makefile[makefile.index("ENVIRONMENTS :=") :])
    found = {path for pattern in patterns if "%" not in pattern for path in ROOT.glob(pattern)}
    assert sorted(str(path.parent.relative_to(INVENTORIES)) for path in found) == ENVIRONMENTS
    assert rehearse.environments() == ENVIRONMENTS


def test_the_makefiles_default_environment_is_there() -> None:
    default = re.search(r"^ENV \?= (\w+)$", (ROOT / "Makefile").read_text(), re.M)
    assert default is not None
    assert default[1] in ENVIRONMENTS
    assert f"inventory = .rehearsal/{default[1]}\n" in (ROOT / "ansible.cfg").read_text()


def test_a_second_name_of_a_test_host_is_the_same_container(tmp_path: Path) -> None:
    (tmp_path / "hosts.yml").write_text(
        "workers: {children: {shop: {hosts: {w1: }}, blog: {hosts: {w1-blog: {ansible_host: w1}, w2: }}}}\n"
        "beat: {hosts: {w1: , w1-blog: }}\nredis: {hosts: {broker1: {ansible_host: 10.0.0.1}}}\n"
    )
    variables = test_hosts.inventory(tmp_path)["_meta"]["hostvars"]
    assert {host: each["test_host_name"] for host, each in variables.items()} == {
        "broker1": "broker1",
        "w1": "w1",
        "w1-blog": "w1",
        "w2": "w2",
    }
    assert variables["w1-blog"]["ansible_host"] == variables["w1"]["ansible_host"]


@EVERY
def test_a_consumer_gets_a_user_its_url_and_the_authority(environment: str, tmp_path: Path) -> None:
    pem = "-----BEGIN CERTIFICATE-----"
    (tmp_path / "ca.crt").write_text(pem)
    hello = {"name": "hello", "profile": "monitor", "password": "p@ss-of-hello-0123"}
    more = {"broker_consumers": [hello], "redis_tls_ca_directory": str(tmp_path)}
    inventory = Inventory(INVENTORIES / environment, **SECRETS, **more)
    worker, broker = inventory.groups["workers"][0], inventory.groups["redis"][0]
    assert inventory.evaluate(broker, "redis_users")[-1] == hello
    tls, port = inventory.evaluate(broker, "[redis_tls_enabled, redis_instances[0].port]")
    query = "?ssl_cert_reqs=required&ssl_ca_certs=/etc/hello/redis-ca.crt" if tls else ""
    url = f"redis{'s' * tls}://hello:p%40ss-of-hello-0123@{broker}:{port}/0{query}"
    assert inventory.evaluate(worker, "broker_urls") == {"hello": url}
    assert inventory.evaluate(worker, "broker_files") == ([{"name": "redis-ca.crt", "content": pem}] if tls else [])
    (acl,) = [file for path, file in files(inventory, "redis", broker).items() if path.endswith("/users-broker.acl")]
    assert re.search(r"^user hello .*\+info", acl.content, re.MULTILINE)


def test_a_consumer_trusts_an_authority_on_the_hosts_where_it_is() -> None:
    hello = {"name": "hello", "profile": "monitor", "password": "p" * 16}
    more = {"broker_consumers": [hello], "redis_tls_ca_certificate": "/etc/ssl/certs/corp.pem"}
    inventory = Inventory(INVENTORIES / "production", **SECRETS, **more)
    assert inventory.evaluate("worker1", "broker_urls.hello").endswith("&ssl_ca_certs=/etc/ssl/certs/corp.pem")


@EVERY
def test_the_first_role_of_a_host_brings_the_packages_of_all(environment: str) -> None:
    """In one transaction of apt."""
    inventory = Inventory(INVENTORIES / environment, **SECRETS)
    for host in inventory.groups["all"]:
        tasks = [
            task
            for role, hosts in role_hosts(str(inventory.source)).items()
            if host in hosts
            for task in packages(inventory, role, host)
        ]
        first, *later = [set(task["name"]) for task in tasks]
        assert first | set(tasks[0]["others"]) == first.union(*later), host
