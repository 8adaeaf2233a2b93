"""Worker hosts, their applications, and the nodes that they run."""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from tests.support.interpreter import Interpreter
from tests.support.site import Run, Site
from tests.support.systemd import show
from tests.support.waiting import wait_for


@dataclass(frozen=True)
class Node:
    """A node of a worker host.

    :param definition: its entry in ``celery_nodes``, as the role understands it; nothing if it has none
    """

    worker: Worker
    name: str
    definition: Mapping[str, Any] = field(default_factory=dict, compare=False)

    @property
    def unit(self) -> str:
        """Its systemd unit."""
        return f"{self.worker.app}-worker@{self.name}.service"

    @property
    def address(self) -> str:
        """What Celery calls it."""
        return f"{self.name}@{self.worker.hostname}"

    @property
    def queues(self) -> list[str]:
        """What it consumes."""
        return list(self.definition["queues"])

    def show(self, name: str) -> str:
        """A property of its unit; nothing while its host isn't up."""
        return show(self.worker.host, self.unit, name)

    @property
    def pid(self) -> int:
        """Of the main process; 0 without one."""
        return int(self.show("MainPID") or 0)

    def arguments(self) -> list[str]:
        """Of the main process."""
        return self._of_process("cmdline")

    def environment(self) -> list[str]:
        """Of the main process: NAME=VALUE."""
        return self._of_process("environ")

    def _of_process(self, name: str) -> list[str]:
        return str(self.worker.host.check_output(f"tr '\\0' '\\n' < /proc/{self.pid}/{name}")).splitlines()

    def children(self) -> list[int]:
        """Of the pool."""
        return [int(pid) for pid in self.worker.host.run(f"pgrep -P {self.pid}").stdout.split()]

    @property
    def limit(self) -> int:
        """Bytes that the node and its pool may have."""
        limit = self.show("MemoryMax")
        return sys.maxsize if limit == "infinity" else int(limit)

    def stop(self) -> None:
        """Stop it, and wait until it is stopped."""
        self.worker.host.check_output("systemctl stop %s", self.unit)

    def begin_stop(self) -> None:
        """Have it stopped, without a wait."""
        self.worker.host.check_output("systemctl stop --no-block %s", self.unit)

    def start(self) -> None:
        """Start it, and wait until systemd takes it as started."""
        self.worker.host.check_output("systemctl start %s", self.unit)

    def kill(self, pid: int) -> None:
        """SIGKILL, to the main process or one of its pool."""
        self.worker.host.check_output(f"kill -KILL {pid}")

    def replaced(self, end: Callable[[], None]) -> None:
        """Do what ends its main process, and wait for the next one."""
        before = self.pid
        end()
        wait_for(lambda: self.pid not in (0, before), what="a new main process")


class Worker:
    """A worker host and the application that it runs."""

    def __init__(self, site: Site, name: str) -> None:
        self.site, self.name, self.host = site, name, site.host(name)
        self.variables = site[name]
        self.app = str(self.variables["app_name"])

    @cached_property
    def hostname(self) -> str:
        """What the host calls itself, as Celery's node names do."""
        return str(self.host.check_output("hostname"))

    @cached_property
    def nodes(self) -> list[Node]:
        """The nodes of the inventory that the host has to run."""
        found = self.variables.evaluate(f"celery_nodes | celeriac.fleet.celery_host_nodes('{self.name}')")
        return [Node(self, definition["name"], definition) for definition in found]

    def node(self, name: str) -> Node:
        """A node by its name, which the inventory need not have."""
        return next((node for node in self.nodes if node.name == name), Node(self, name))

    def running(self) -> list[Node]:
        """The nodes that systemd has running, whether the inventory has them or not."""
        units = self.host.check_output(
            "systemctl list-units --plain --no-legend --state=running '%s-worker@*'", self.app
        )
        return [self.node(name) for name in re.findall(r"-worker@(\w+)\.service", units)]

    @property
    def beat(self) -> str:
        """The systemd unit of beat, which need not run here."""
        return f"{self.app}-beat.service"

    @property
    def has_beat(self) -> bool:
        """Whether beat has to run here."""
        return self.name in self.site.group("beat")

    def main_pids(self) -> str:
        """The main processes of all nodes and of beat, for comparison."""
        shown = "systemctl show --value --property=MainPID '%s-worker@*' %s"
        return str(self.host.check_output(shown, self.app, self.beat))

    def release(self) -> str:
        """The directory of the release that is current."""
        return str(self.host.file(self.variables["application"]["current"]).linked_to)

    def rollouts(self) -> list[dict[str, Any]]:
        """The trail of its rollouts, the latest last, which root alone may read."""
        file = self.host.file(self.variables["celery_trail"])
        assert (file.user, file.mode) == ("root", 0o600)
        return [json.loads(line) for line in file.content_string.splitlines()]

    def run(self, *command: str) -> str:
        """Run a command of the application's virtualenv in its environment; its standard output."""
        return str(self.host.check_output(shlex.join([f"{self.app}-run", *command])))

    @cached_property
    def interpreter(self) -> Interpreter:
        """The application, for questions."""
        application = self.variables["application"]
        docker = self.variables.get("ansible_connection") == "community.docker.docker"
        return Interpreter(
            self.host,
            f"{self.app}-run",
            self.variables["celery_app"],
            release=application["current"],
            environment=application["environment_file"],
            container=self.variables["ansible_host"] if docker else "",
        )

    def evaluate(self, code: str) -> Any:
        """Run Python in the application, with its Celery application as ``app``; what it leaves in ``result``."""
        return self.interpreter.evaluate(code)

    def converge(self, **variables: Any) -> Run:
        """Run the celery role on this host alone."""
        return self.site.playbook("playbooks/workers.yml", f"--limit={self.name}", "--tags=celery", **variables)


class Fleet(Mapping[str, Worker]):
    """Inventory name -> worker host."""

    def __init__(self, site: Site) -> None:
        self._workers = {name: Worker(site, name) for name in site.group("workers")}

    def __getitem__(self, name: str) -> Worker:
        return self._workers[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._workers)

    def __len__(self) -> int:
        return len(self._workers)

    @property
    def nodes(self) -> list[Node]:
        """All nodes, those of a host side by side."""
        return [node for worker in self.values() for node in worker.nodes]

    def main_pids(self) -> dict[str, str]:
        """Host -> the main processes of its nodes and of beat."""
        return {name: worker.main_pids() for name, worker in self.items()}
