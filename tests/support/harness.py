"""What unit and template tests share: our collection where Ansible finds it, modules run for real, inventories and
templates read as Ansible reads them."""

from __future__ import annotations

import contextlib
import io
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from tests.support.paths import ROOT

os.environ["ANSIBLE_CONFIG"] = str(ROOT / "ansible.cfg")  # before Ansible is imported: it says where our collection is

import yaml
from ansible.inventory.manager import InventoryManager
from ansible.module_utils.testing import patch_module_args
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import init_plugin_loader
from ansible.template import Templar, generate_ansible_template_vars, trust_as_template
from ansible.vars.hostvars import HostVars
from ansible.vars.manager import VariableManager
from hypothesis import HealthCheck, settings

from tests.support.expressions import compile_once

# a busy machine is no bug
settings.register_profile("celeriac", deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("celeriac")

compile_once()
init_plugin_loader([])  # from here on our collection can be imported

from ansible_collections.celeriac.fleet.plugins.action import debian_packages, managed_files  # noqa: E402 - after the setting
from ansible_collections.celeriac.fleet.plugins.plugin_utils.look_first import validated  # noqa: E402 - after the setting
from ansible_collections.celeriac.fleet.plugins.plugin_utils.site_roles import site_roles  # noqa: E402 - after the setting

ROLES = sorted(path.parent.name for path in (ROOT / "roles").glob("*/tasks"))
ENVIRONMENTS = sorted(
    str(path.parent.relative_to(ROOT / "inventories")) for path in (ROOT / "inventories").glob("**/hosts.yml")
)
SECRETS = {
    "vault_redis_admin_password": "admin-" + "a" * 24,
    "vault_redis_app_password": "app-" + "b" * 24,
    "vault_redis_tls_ca_passphrase": "passphrase-" + "c" * 24,
}


def run_module(
    module: ModuleType, arguments: Mapping[str, Any], scratch: Path, *, check: bool = False
) -> dict[str, Any]:
    """Run a module of plugins/modules in this process; what it returns as JSON, failures included."""
    internal = {"_ansible_check_mode": check, "_ansible_diff": True, "_ansible_remote_tmp": str(scratch)}
    out, umask = io.StringIO(), os.umask(0o022)
    os.umask(umask)
    try:
        with (
            patch_module_args({**arguments, **internal}),
            contextlib.redirect_stdout(out),
            contextlib.suppress(SystemExit),
        ):
            module.main()
    finally:
        os.umask(umask)
    return dict(json.loads(out.getvalue().strip().splitlines()[-1]))


def read_yaml(path: Path) -> Any:
    """A YAML file as plain data."""
    return yaml.load(path.read_bytes(), yaml.CSafeLoader)


def specs(role: str) -> dict[str, Any]:
    """The options of a role's argument_specs."""
    return dict(entry_points(role)["main"]["options"])


def entry_points(role: str) -> dict[str, dict[str, Any]]:
    """What a playbook may enter of a role: task file -> its argument_specs."""
    return dict(read_yaml(ROOT / "roles" / role / "meta/argument_specs.yml")["argument_specs"])


def defaults(role: str) -> dict[str, Any]:
    """A role's defaults; none if it has no file of them."""
    path = ROOT / "roles" / role / "defaults/main.yml"
    return dict(read_yaml(path) or {}) if path.exists() else {}


def internals(role: str) -> dict[str, Any]:
    """A role's constants and derived values, not templated; none if it has no file of them."""
    path = ROOT / "roles" / role / "vars/main.yml"
    return dict(read_yaml(path) or {}) if path.exists() else {}


FACTS = {
    "distribution": "Debian",
    "distribution_major_version": "13",
    "default_ipv4": {"address": "192.0.2.7"},
}
# What the action redis_host returns of a host that has nothing yet.
REDIS_HOST = {
    "memory": 16 * 2**30,
    "container": False,
    "sysctl": {"vm.overcommit_memory": 0, "net.core.somaxconn": 4096},
    "instances": {"redis": [], "valkey": []},
    "data": {"redis": [], "valkey": []},
    "maintenance": "d" * 64,
    "digests": {},
    "certificate": "",
}


@cache
def _read(source: str) -> tuple[DataLoader, InventoryManager]:
    loader = DataLoader()
    return loader, InventoryManager(loader, sources=[source])


class Inventory:
    """An inventory, with variables that a run would add."""

    def __init__(self, source: Path | str, *, facts: Mapping[str, Any] | None = None, **extra: Any) -> None:
        self.source, self.extra = ROOT / source, extra
        self.loader, self.manager = _read(str(self.source))
        self._variables = VariableManager(self.loader, self.manager)
        self._variables._extra_vars = {**self._variables._extra_vars, **extra}
        for host in self.manager.get_hosts():
            self._variables.set_host_facts(host.name, dict((facts or {}).get(host.name, FACTS)))

    @property
    def groups(self) -> dict[str, list[str]]:
        """Group -> its hosts."""
        return dict(self.manager.get_groups_dict())

    @property
    def hostvars(self) -> HostVars:
        """What playbooks see as ``hostvars``."""
        return HostVars(self.manager, self._variables, self.loader)

    def variables(self, host: str) -> dict[str, Any]:
        """A host's variables, not templated yet."""
        return dict(self._variables.get_vars(host=self.manager.get_host(host)))

    def evaluate(self, host: str, expression: str, **more: Any) -> Any:
        """The value of a Jinja expression on a host."""
        templar = Templar(loader=self.loader, variables={**self.variables(host), **more})
        return templar.evaluate_expression(trust_as_template(expression))


@cache
def role_hosts(source: str) -> dict[str, list[str]]:
    """The roles that site.yml runs in an inventory, by their last names -> the hosts that run them."""
    found = site_roles(str(ROOT / "site.yml"), Inventory(source).groups)
    return {role.rpartition(".")[2]: hosts for role, hosts in found.items()}


def home(role: str) -> str:
    """An inventory whose hosts run the role: production, or else the scenario of the role's name."""
    production = "inventories/production"
    return production if role in role_hosts(production) else f"molecule/{role}/inventory"


@dataclass(frozen=True)
class File:
    """A file as a role's task would write it."""

    content: str
    owner: str
    group: str
    mode: str


_rendered: dict[tuple[Path, str, str], dict[str, File]] = {}


def files(inventory: Inventory, role: str, host: str, **more: Any) -> dict[str, File]:
    """Every file that the role writes on the host: path -> file, rendered from the arguments of the role's own task."""
    if more or inventory.extra:
        return dict(_files(inventory, role, host, more))
    key = (inventory.source, role, host)
    if key not in _rendered:
        _rendered[key] = dict(_files(inventory, role, host, {}))
    return _rendered[key]


def packages(inventory: Inventory, role: str, host: str) -> list[dict[str, list[str]]]:
    """What the role has Debian's packages installed with on the host: ``name`` and ``others`` of each task."""
    templar, tasks = _role(inventory, role, host, "celeriac.fleet.debian_packages", {})
    found = [validated(debian_packages.ActionModule.ARGUMENT_SPEC, templar.template(task)) for task in tasks]
    return [{key: task[key] for key in ("name", "others")} for task in found]


def _role(
    inventory: Inventory, role: str, host: str, action: str, more: Mapping[str, Any]
) -> tuple[Templar, list[Any]]:
    """A templar with the role's variables on the host, and the arguments of the role's tasks with an action."""
    loader, directory = inventory.loader, ROOT / "roles" / role

    def trusted(name: str) -> Any:
        path = directory / name
        return (loader.load_from_file(str(path), trusted_as_template=True) or {}) if path.exists() else {}

    variables = {
        **trusted("defaults/main.yml"),
        "__redis_packages": {"versions": {"redis-server": "7.0.15", "valkey-server": "8.1.1"}},
        "__redis_host": REDIS_HOST,
        "role_path": str(directory),
        **SECRETS,
        **inventory.variables(host),
        **trusted("vars/main.yml"),
        **more,
    }
    paths = sorted(directory.glob("tasks/*.yml"))
    steps = [step for path in paths for step in trusted(str(path.relative_to(directory)))]
    flat = [each for step in steps for each in [step, *step.get("block", [])]]
    return Templar(loader=loader, variables=variables), [task[action] for task in flat if action in task]


def _files(inventory: Inventory, role: str, host: str, more: Mapping[str, Any]) -> Iterator[tuple[str, File]]:
    directory = ROOT / "roles" / role
    templar, tasks = _role(inventory, role, host, "celeriac.fleet.managed_files", more)
    assert tasks, f"{role} has no task that writes files"
    variables = templar.available_variables
    for task in tasks:
        for unexpanded in validated(managed_files.ARGUMENT_SPEC, templar.template(task))["files"]:
            for entry, item in managed_files.expand(unexpanded):
                if entry["src"] is not None:
                    source = directory / "templates" / entry["src"]
                    own = {**variables, **generate_ansible_template_vars(entry["src"], str(source)), "item": item}
                    own_templar = templar.copy_with_new_env(
                        searchpath=[str(directory / "templates")], available_variables=own
                    )
                    text = source.read_text(encoding="utf-8")
                    content = own_templar.template(trust_as_template(text), escape_backslashes=False)
                    content = content.rstrip("\n") + "\n"
                else:
                    content = entry["content"]
                yield (
                    entry["path"],
                    File(content, *(entry[key] for key in ("owner", "group", "mode"))),
                )
