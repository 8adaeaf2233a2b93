"""How nodes stop, and that what else a node or the sandbox is given takes effect. For this a fleet of its own runs."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from testinfra.host import Host

from tests.support.chatlite import Chatlite
from tests.support.fleet import Substitutes, Worker
from tests.support.waiting import wait_for

testinfra_hosts = ["ansible://workers"]
pytestmark = [pytest.mark.destructive, pytest.mark.slow]

STOP, SOFT, MARGIN = 5, 2, 10  # seconds; the margin is the role's
NODES = [
    {"name": "one", "queues": ["crawl_queue"], "concurrency": 1, "stop_timeout": STOP},
    {"name": "two", "queues": ["crawl_queue"], "concurrency": 1, "stop_timeout": STOP},
    {
        "name": "rest",
        "queues": ["process_queue", "schedule_queue", "monitor_queue", "default"],
        "pool": "threads",
        "concurrency": 2,
        "nice": 5,
        "events": False,
        "environment": {"FLEET_TOKEN": 'a "secret" $of its own'},
        "extra_arguments": ["--without-mingle"],
    },
]
SANDBOX = {"MemoryDenyWriteExecute": False, "ReadWritePaths": ["/srv"]}


@pytest.fixture(scope="module", autouse=True)
def _nodes_of_its_own(worker: Worker, substitutes: Substitutes) -> None:
    """NODES on this host, in place of the inventory's."""
    run = substitutes.run(worker, celery_nodes=NODES, celery_soft_shutdown_timeout=SOFT, celery_sandbox=SANDBOX)
    assert "FLEET_TOKEN" not in run.output


@dataclass
class Crawlers:
    """Nodes that are stopped, and what becomes of the crawl that one of them runs."""

    worker: Worker
    chatlite: Chatlite

    def stop(self, name: str) -> float:
        """Stop a node; the seconds it took."""
        begun = time.monotonic()
        self.worker.node(name).stop()
        return time.monotonic() - begun

    def result(self, name: str) -> str:
        """How systemd says that a node ended."""
        return self.worker.node(name).show("Result")

    def outcome(self, task: str) -> tuple[str, str | None]:
        """A task's state, and the node that did it."""
        state, node = self.chatlite.evaluate(
            "from celery.result import AsyncResult\n"
            f"done = AsyncResult({task!r}, app=app)\n"
            "result = [done.state, done.result['node'].partition('@')[0] if done.successful() else None]"
        )
        return state, node

    def left(self, task: str) -> tuple[int, int]:
        """How many messages of a task wait in the crawlers' queue, and how many haven't been acknowledged."""
        waiting = self._count(task, "LRANGE", f"{self.worker.app}:crawl_queue", "0", "-1")
        return waiting, self._count(task, "HVALS", f"{self.worker.app}:unacked")

    def _count(self, task: str, *command: str) -> int:
        return len(re.findall(rf'"id": "{task}"', self.chatlite.broker.cli(*command).replace("\\", "")))

    def received(self, task: str) -> list[str]:
        """The nodes that took a task's message, by their logs."""
        found = "grep -h --with-filename 'Task .*%s.* received' /var/log/%s/*.log || true"
        return re.findall(r"/(\w+)\.log:", self.worker.host.check_output(found, task, self.worker.app))


@pytest.fixture
def crawlers(host: Host, worker: Worker, chatlite: Chatlite) -> Iterator[Crawlers]:
    """All nodes run again after the test."""
    yield Crawlers(worker, chatlite)
    host.check_output("systemctl start %s-workers.target", worker.app)
    chatlite.wait_for_nodes(len(NODES))


def test_an_idle_node_stops_at_once(crawlers: Crawlers) -> None:
    assert crawlers.stop("one") < STOP + SOFT
    assert crawlers.result("one") == "success"


def test_a_task_that_ends_in_time_is_done_and_the_stop_lasts_no_longer(chatlite: Chatlite, crawlers: Crawlers) -> None:
    task, node = chatlite.crawl(STOP - 1)
    assert crawlers.left(task) == (0, 1)
    assert crawlers.stop(node) < STOP + SOFT
    assert crawlers.result(node) == "success"
    assert crawlers.outcome(task) == ("SUCCESS", node)
    assert crawlers.left(task) == (0, 0)


def test_a_task_that_outlasts_the_stop_is_handed_back_and_run_elsewhere(chatlite: Chatlite, crawlers: Crawlers) -> None:
    task, node = chatlite.crawl(STOP + SOFT + 10)
    other = {"one": "two", "two": "one"}[node]
    took = crawlers.stop(node)
    assert STOP + SOFT <= took < STOP + SOFT + MARGIN
    assert crawlers.result(node) == "success"
    wait_for(lambda: chatlite.runner(task) == other, what=f"the crawl on {other}")
    wait_for(lambda: crawlers.outcome(task)[0] == "SUCCESS", what="the crawl's end")
    assert crawlers.outcome(task) == ("SUCCESS", other)
    assert crawlers.left(task) == (0, 0)
    assert sorted(crawlers.received(task)) == ["one", "two"]


def test_a_node_that_hears_no_signal_is_killed_in_time(worker: Worker, crawlers: Crawlers) -> None:
    worker.host.check_output(f"kill -STOP {worker.node('one').pid}")
    took = crawlers.stop("one")
    assert STOP + SOFT + MARGIN <= took < STOP + SOFT + MARGIN + 5
    assert crawlers.result("one") == "signal"


def test_a_node_has_its_niceness_environment_and_arguments(host: Host, app: str, worker: Worker) -> None:
    rest = worker.node("rest")
    assert host.check_output(f"ps -o ni= -p {rest.pid}").strip() == "5"
    assert 'FLEET_TOKEN=a "secret" $of its own' in rest.environment()
    arguments = " ".join(rest.arguments())
    assert " --pool=threads " in arguments
    assert " --without-mingle " in arguments
    assert " -- worker_soft_shutdown_timeout=2 worker_send_task_events=false" in arguments
    file = host.file(f"/etc/{app}/worker@rest.env")
    assert (file.user, file.group, file.mode) == ("root", app, 0o640)
    assert "FLEET_TOKEN" not in rest.show("Environment") + host.check_output("cat /etc/systemd/system/*/*.conf")
    assert not any("FLEET_TOKEN" in entry for entry in worker.node("one").environment())


def test_no_application_can_put_its_own_soft_shutdown_over_the_roles(chatlite: Chatlite) -> None:
    conf = chatlite.evaluate("result = app.control.inspect(timeout=2).conf() or {}")
    assert {node["worker_soft_shutdown_timeout"] for node in conf.values()} == {SOFT}
    assert {name.partition("@")[0] for name, node in conf.items() if not node["worker_send_task_events"]} == {"rest"}


def test_a_switch_of_the_sandbox_takes_effect(host: Host, worker: Worker) -> None:
    one = worker.node("one")
    assert one.show("MemoryDenyWriteExecute") == "no"
    mounts = host.check_output(f"cat /proc/{one.pid}/mountinfo")
    options = dict(re.findall(r"^\S+ \S+ \S+ \S+ (\S+) (\S+) ", mounts, re.MULTILINE))
    assert options["/srv"].split(",")[0] == "rw"
    assert options["/"].split(",")[0] == "ro"
