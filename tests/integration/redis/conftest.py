"""Runs each test that takes ``server`` once for each host and instance of the inventory."""

from __future__ import annotations

import pytest
from testinfra.host import Host

from tests.support.live import Variables
from tests.support.servers import Server
from tests.support.site import Site


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "server" not in metafunc.fixturenames:
        return
    site = Site.of(metafunc.config)
    names = [one["name"] for host in site.group("redis") for one in site[host]["redis_instances"]]
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
def reachable(server: Server) -> Server:
    """The instance, if it can be reached from this machine over the network."""
    if "test_host_prefix" not in server.variables:
        pytest.skip("not reachable from here: the host is no container on this machine")
    configuration = f"/etc/{server.flavor}/{server.flavor}-{server.name}.conf"
    if server.host.check_output("sed -n 's/^bind //p' %s", configuration) == "127.0.0.1":
        pytest.skip("the instance listens on the loopback alone")
    return server
