"""The site under test: an inventory, its hosts, and playbooks that run on them."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from typing import Any

import pytest
import testinfra
from testinfra.host import Host

from tests.support import playbooks
from tests.support.live import Inventory
from tests.support.paths import ROOT
from tests.support.servers import Server

RECAP = re.compile(r"^(\S+)\s+: ok=(\d+)\s+changed=(\d+)\s+unreachable=(\d+)\s+failed=(\d+)", re.MULTILINE)


class Run:
    """A finished ansible-playbook.

    :ivar output: standard output and errors
    :ivar recap: host -> the recap's counters by name
    """

    def __init__(self, returncode: int, output: str) -> None:
        self.returncode, self.output = returncode, output
        self.recap = {
            host: dict(zip(("ok", "changed", "unreachable", "failed"), map(int, counters), strict=True))
            for host, *counters in RECAP.findall(output)
        }

    @property
    def changed(self) -> dict[str, int]:
        """Host -> how many tasks changed something."""
        return {host: counters["changed"] for host, counters in self.recap.items()}

    @property
    def text(self) -> str:
        """The output as one line, since Ansible breaks messages anywhere."""
        return " ".join(self.output.split())

    @property
    def status(self) -> dict[str, Any]:
        """What status.yml, of a site of one application, has said as JSON."""
        (line,) = [line.strip() for line in self.output.splitlines() if line.lstrip().startswith('{"app"')]
        return dict(json.loads(line))

    def succeeded(self) -> Run:
        """Itself; the test fails if the run did."""
        assert self.returncode == 0, self.output
        return self


class Site(Inventory):
    """The inventory under test with its hosts."""

    @classmethod
    def of(cls, config: pytest.Config) -> Site:
        """The site that ``--ansible-inventory`` names."""
        return cls(os.path.abspath(config.getoption("--ansible-inventory")))

    # -- hosts

    def host(self, name: str) -> Host:
        """A host by its inventory name."""
        return testinfra.get_host(f"ansible://{name}", ansible_inventory=self.path)

    def hosts(self, group: str) -> dict[str, Host]:
        """The hosts of a group by their inventory names."""
        return {name: self.host(name) for name in self.group(group)}

    def docker(self, command: str, name: str, *options: str) -> None:
        """Run a command of docker on a host's container."""
        call = ["docker", command, *options, f"{self[name]['test_host_prefix']}-{name}"]
        testinfra.get_host("local://").check_output(shlex.join(call))

    # -- Redis

    def servers(self, instance: str) -> dict[str, Server]:
        """The instances of a name: host -> server."""
        return {
            name: Server(self.host(name), self[name], entry)
            for name in self.group("redis")
            for entry in self[name]["redis_instances"]
            if entry["name"] == instance
        }

    @property
    def broker(self) -> Server:
        """The broker, on its own host."""
        name = self.group("redis")[0]
        return Server(self.host(name), self[name], self[name]["broker_instance"])

    @property
    def results(self) -> Server:
        """Where results are kept, on the broker's host."""
        broker = self.broker
        return Server(broker.host, broker.variables, broker.variables["results_instance"])

    # -- playbooks

    def playbook(self, name: str, *arguments: str, **extra_variables: Any) -> Run:
        """Run a playbook, named by its path in the repository, to its end; further ones are ``arguments``."""
        return Run(*playbooks.run(self._arguments(name, *arguments, **extra_variables)))

    def start(self, name: str, *arguments: str, **extra_variables: Any) -> subprocess.Popen[str]:
        """Start a playbook in a session of its own, so that it can be killed with all its processes."""
        return subprocess.Popen(
            ["ansible-playbook", *self._arguments(name, *arguments, **extra_variables)],
            cwd=ROOT,
            env=playbooks.environ(),
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def _arguments(self, name: str, *arguments: str, **extra_variables: Any) -> list[str]:
        extra = ["--extra-vars", json.dumps(extra_variables)] if extra_variables else []
        return ["-i", self.path, str(ROOT / name), *arguments, *extra]

    def status(self, *arguments: str, **variables: Any) -> dict[str, Any]:
        """What status.yml says. It changes nothing."""
        run = self.playbook("playbooks/status.yml", *arguments, status_format="json", **variables).succeeded()
        assert not any(run.changed.values())
        return run.status
