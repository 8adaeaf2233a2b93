"""How nodes stop, and what becomes of their tasks, where they write to files and where to the journal."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from testinfra.host import Host

from tests.support.chatlite import Chatlite
from tests.support.fleet import Node, Worker
from tests.support.live import Variables
from tests.support.logs import Logs
from tests.support.systemd import options_of_mounts
from tests.support.waiting import wait_for

testinfra_hosts = ["ansible://workers"]
pytestmark = [pytest.mark.destructive, pytest.mark.slow]

MARGIN = 10  # seconds; the role's


@pytest.fixture
def crawler(worker: Worker, logs: Logs) -> Node:
    """A node that waits for its tasks longer than any test."""
    return worker.node("crawler")


@pytest.fixture
def processors(worker: Worker, logs: Logs) -> dict[str, Node]:
    """Two nodes that consume the same queue and soon hand back what they run, by their names."""
    return {node.name: node for node in worker.nodes if "process_queue" in node.queues}


@pytest.fixture(autouse=True)
def _started(host: Host, worker: Worker, chatlite: Chatlite) -> Iterator[None]:
    """All nodes run again after the test."""
    yield
    host.check_output("systemctl start %s-workers.target", worker.app)
    chatlite.wait_for_all()


def seconds_to_stop(node: Node) -> float:
    """Stop a node; the seconds it took."""
    begun = time.monotonic()
    node.stop()
    return time.monotonic() - begun


@pytest.fixture
def patience(processors: dict[str, Node], variables: Variables) -> int:
    """Seconds that a processor has for the task that it runs."""
    (stop_timeout,) = {node.definition["stop_timeout"] for node in processors.values()}
    return int(stop_timeout + variables["celery_soft_shutdown_timeout"])


def test_an_idle_node_stops_at_once(crawler: Node) -> None:
    """Not after ``celery_stop_timeout``, of eleven minutes."""
    assert seconds_to_stop(crawler) < 300
    assert crawler.show("Result") == "success"


def test_a_task_that_ends_in_time_is_done_and_the_stop_lasts_no_longer(chatlite: Chatlite, crawler: Node) -> None:
    with chatlite.lasting() as crawl:
        assert crawl.node == crawler.name
        crawler.begin_stop()
        assert chatlite.left(crawl.task) == (0, 1)
        assert crawler.show("ActiveState") == "deactivating"
        crawl.end()
        wait_for(lambda: crawler.show("ActiveState") == "inactive", what="the end of the stop")
    assert crawler.show("Result") == "success"
    assert chatlite.outcome(crawl.task) == ("SUCCESS", crawler.name)
    assert chatlite.left(crawl.task) == (0, 0)


def test_a_task_that_outlasts_the_stop_is_handed_back_and_run_elsewhere(
    chatlite: Chatlite, logs: Logs, processors: dict[str, Node], patience: int
) -> None:
    with chatlite.lasting("process_queue") as crawl:
        (other,) = set(processors) - {crawl.node}
        node = processors[crawl.node]
        assert seconds_to_stop(node) >= patience
        assert node.show("Result") == "success"
        wait_for(lambda: chatlite.runner(crawl.task) == other, what=f"the crawl on {other}")
        crawl.end()
        wait_for(lambda: chatlite.outcome(crawl.task) == ("SUCCESS", other), what="the crawl's end")
    assert chatlite.left(crawl.task, "process_queue") == (0, 0)
    for name in processors:
        assert len([line for line in logs.lines(f"worker@{name}") if f"[{crawl.task}] received" in line]) == 1


def test_a_node_that_hears_no_signal_is_killed_in_time(host: Host, processors: dict[str, Node], patience: int) -> None:
    """By what stops it, since the result isn't ``timeout``."""
    node, *_ = processors.values()
    host.check_output(f"kill -STOP {node.pid}")
    assert seconds_to_stop(node) >= patience + MARGIN
    assert node.show("Result") == "signal"


def test_a_switch_of_the_sandbox_takes_effect(host: Host, logs: Logs, crawler: Node) -> None:
    """Nodes that write to the journal have one of their own here."""
    options = options_of_mounts(host, crawler.pid)
    assert options["/"].split(",")[0] == "ro"
    switched = logs.to == "journal"
    assert crawler.show("MemoryDenyWriteExecute") == ("no" if switched else "yes")
    assert options.get("/srv", "ro").split(",")[0] == ("rw" if switched else "ro")
