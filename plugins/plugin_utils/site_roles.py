"""Which roles a playbook runs on which hosts, and what their problems are asked with."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from ansible.errors import AnsibleFilterError
from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from ansible_collections.celeriac.fleet.plugins.plugin_utils import specs

PREFIXES = ("ansible.builtin.", "ansible.legacy.", "")

Groups = Mapping[str, Sequence[str]]
Hosts = Mapping[str, Mapping[str, Any]]
Play = Mapping[str, Any]


@dataclass(frozen=True)
class Site:
    """What a role's problems may depend on, beside the variables of its hosts."""

    groups: Groups = field(default_factory=dict)
    root: Path = specs.ROLES.resolve().parent  # of the repository, where relative paths start
    secrets: bool = True  # whether all have a value; where one is missing, that is reported by itself
    reached: Collection[str] | None = None  # the hosts of the run, of which facts are known; None for all
    one_application: bool = False  # whether the playbook is for one application only

    def known(self, hosts: Hosts) -> Hosts:
        """Those of ``hosts`` that the run reaches."""
        reached = set(hosts if self.reached is None else self.reached)
        return {host: hosts[host] for host in hosts if host in reached}


ALONE = Site()  # a role's hosts without an inventory around them

Problems = TypeVar("Problems", bound=Callable[..., list[str]])


def asks(*names: str) -> Callable[[Problems], Problems]:
    """Declare which variables a role's problems look at besides the role's own."""

    def declare(problems: Problems) -> Problems:
        vars(problems)["asks"] = names
        return problems

    return declare


def asked(problems: Callable[..., Any]) -> tuple[str, ...]:
    """What ``asks`` declared."""
    return tuple(vars(problems).get("asks", ()))


def site_roles(playbook: str, groups: Groups) -> dict[str, list[str]]:
    """The roles that a playbook runs, imported playbooks included.

    :param playbook: its path
    :param groups: group -> its hosts, ``all`` among them
    :returns: role, by its full name -> the hosts that run it, at least one, in the order of ``all``
    :raises AnsibleFilterError: if a playbook isn't there, or which hosts a play with roles has is only known later
    """
    inventory = _inventory(groups)
    found: dict[str, set[str]] = {}
    for play in _plays(Path(playbook)):
        if roles := list(_roles(play)):
            hosts = _hosts(play, inventory)
            for role in roles:
                found.setdefault(role, set()).update(hosts)
    return {role: [host for host in groups["all"] if host in hosts] for role, hosts in found.items() if hosts}


def _inventory(groups: Groups) -> InventoryManager:
    inventory = InventoryManager(DataLoader(), parse=False)
    for group, hosts in groups.items():
        inventory.add_group(group)
        for host in hosts:
            inventory.add_host(host, group=group)
    return inventory


def _plays(playbook: Path) -> Iterator[Play]:
    if not playbook.is_file():
        raise AnsibleFilterError(f"The playbook {playbook} isn't there: correct what imports it.")
    for play in DataLoader().load_from_file(str(playbook)):
        imported = _arguments(play, "import_playbook")
        for each in imported:
            if not isinstance(each, str):
                raise AnsibleFilterError(f"{playbook} has import_playbook {each!r}: give it a playbook's path.")
            yield from _plays(playbook.parent / each)
        if not imported:
            yield play


def _arguments(entry: Mapping[str, Any], keyword: str) -> list[Any]:
    """What stands at a keyword of Ansible's, by its short or its full name; empty if it isn't there."""
    return [entry[prefix + keyword] for prefix in PREFIXES if prefix + keyword in entry]


def _hosts(play: Play, inventory: InventoryManager) -> set[str]:
    pattern = play.get("hosts")
    if pattern is None:
        raise AnsibleFilterError(f"The play {play.get('name')!r} has no hosts: name groups or hosts there.")
    if "{{" in str(pattern):
        raise AnsibleFilterError(f"The play {play.get('name')!r} runs on {pattern!r}: name groups or hosts there.")
    return {host.name for host in inventory.get_hosts(pattern=pattern)}


def _roles(play: Play) -> Iterator[str]:
    for role in play.get("roles") or []:
        yield role if isinstance(role, str) else _name(role, f"An entry of roles in the play {play.get('name')!r}")
    for part in ("pre_tasks", "tasks", "post_tasks"):
        yield from _roles_of_tasks(play.get(part) or [])


def _roles_of_tasks(tasks: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    for task in tasks:
        for action in ("import_role", "include_role"):
            for given in _arguments(task, action):
                name = _name(given, f"{action} of the task {task.get('name')!r}")
                if "{{" not in name:
                    yield name
        for part in ("block", "rescue", "always"):
            yield from _roles_of_tasks(task.get(part) or [])


def _name(role: Any, where: str) -> str:
    """The name of a role that a playbook describes by a mapping.

    :param where: the subject of the sentence that is raised if it has none
    """
    name = role.get("role", role.get("name")) if isinstance(role, Mapping) else None
    if not isinstance(name, str):
        raise AnsibleFilterError(
            f"{where} is {role!r}: write a mapping with name, such as {{name: celeriac.fleet.app}}."
        )
    return name
