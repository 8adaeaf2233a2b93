"""The inventory that integration tests run against."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from ansible.vars.manager import VariableManager


class Variables(Mapping[str, Any]):
    """A host's inventory variables, templated as they are read."""

    def __init__(self, manager: VariableManager, host: Any) -> None:
        self._all = manager.get_vars(host=host)
        self._templar = Templar(loader=manager._loader, variables=self._all)

    def __getitem__(self, name: str) -> Any:
        return self._templar.template(self._all[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)

    def evaluate(self, expression: str) -> Any:
        """The value of a Jinja expression, filters of the project included."""
        return self._templar.evaluate_expression(trust_as_template(expression))


class Inventory:
    """The inventory under test."""

    def __init__(self, path: str) -> None:
        self.path = path
        loader = DataLoader()
        self._manager = InventoryManager(loader, sources=[path])
        self._variables = VariableManager(loader, self._manager)

    def group(self, name: str) -> list[str]:
        return [host.name for host in self._manager.get_hosts(name)]

    def __getitem__(self, host: str) -> Variables:
        return Variables(self._variables, self._manager.get_host(host))


def tls_of(instance: Mapping[str, Any], variables: Mapping[str, Any]) -> bool:
    """Whether an instance speaks TLS."""
    return bool(instance.get("tls", variables["redis_tls_enabled"]))
