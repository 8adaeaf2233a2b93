"""Runs each test that takes ``server`` once for each host and instance of the inventory."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest
from testinfra.host import Host

from tests.support.live import Inventory, Variables
from tests.support.servers import Server


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "server" not in metafunc.fixturenames:
        return
    inventory = Inventory(os.path.abspath(metafunc.config.getoption("--ansible-inventory")))
    names = [one["name"] for host in inventory.group("redis") for one in inventory[host]["redis_instances"]]
    metafunc.parametrize("server", list(dict.fromkeys(names)), indirect=True)


@pytest.fixture
def server(request: pytest.FixtureRequest, host: Host, variables: Variables) -> Server:
    """One instance of the host under test."""
    for instance in variables["redis_instances"]:
        if instance["name"] == request.param:
            return Server(host, variables, instance)
    pytest.skip(f"the host has no instance {request.param}")


@pytest.fixture
def flavor(variables: Variables) -> str:
    """``redis`` or ``valkey``."""
    return str(variables["redis_flavor"])


@pytest.fixture
def servers(request: pytest.FixtureRequest, inventory: Inventory) -> Callable[[str], dict[str, Server]]:
    """The instances of a name: host -> server."""
    option = request.config.getoption("--ansible-inventory")

    def find(name: str) -> dict[str, Server]:
        return {
            host: Server(Host.get_host(f"ansible://{host}", ansible_inventory=option), inventory[host], instance)
            for host in inventory.group("redis")
            for instance in inventory[host]["redis_instances"]
            if instance["name"] == name
        }

    return find


@pytest.fixture
def reachable(server: Server) -> Server:
    """The instance, if it can be reached from this machine over the network."""
    if "test_host_prefix" not in server.variables:
        pytest.skip("not reachable from here: the host is no container on this machine")
    configuration = f"/etc/{server.flavor}/{server.flavor}-{server.name}.conf"
    if server.host.check_output("sed -n 's/^bind //p' %s", configuration) == "127.0.0.1":
        pytest.skip("the instance listens on the loopback alone")
    return server
