"""Fleets of other nodes, crawls, and what waits for the answers of nodes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from testinfra.host import Host

# Each look takes a second, for which it collects answers.
CRAWL = """
from app.tasks.crawl import crawl_site
task = crawl_site.apply_async(("http://testsite/slow/{seconds}", 0)).id
for _ in range(30):
    active = app.control.inspect(timeout=1).active() or {{}}
    nodes = [node.partition("@")[0] for node, tasks in active.items() if task in [each["id"] for each in tasks]]
    if nodes:
        break
result = [task, *nodes]
"""
PING = """
for _ in range(30):
    result = len(app.control.ping(timeout=1, limit={count}))
    if result == {count}:
        break
"""


@pytest.fixture(scope="session")
def fleets(playbook: Callable[..., Any], workers: dict[str, Host]) -> Iterator[Callable[..., Any]]:
    """Run the celery role on a host with other variables. The inventory's are back when the last test is through."""
    changed: dict[str, None] = {}

    def run(host: str, **variables: Any) -> Any:
        changed[host] = None
        done = playbook("playbooks/workers.yml", f"--limit={host}", "--tags=celery", **variables)
        assert done.returncode == 0, done.output
        return done

    yield run
    for host in list(changed):
        run(host)
        # the inventory's nodes have no environment of their own
        assert workers[host].run("ls /etc/*/worker@*.env").rc != 0


@pytest.fixture
def crawl(in_app: Callable[[str], Any]) -> Callable[[int], tuple[str, str]]:
    """Begin a crawl of some seconds; its id, and the node that runs it."""

    def begin(seconds: int) -> tuple[str, str]:
        task, *nodes = in_app(CRAWL.format(seconds=seconds))
        assert nodes, f"no node began the crawl {task}"
        return task, nodes[0]

    return begin


@pytest.fixture
def all_answer(in_app: Callable[[str], Any]) -> Callable[[int], None]:
    """Wait until so many nodes answer."""

    def wait(count: int) -> None:
        assert in_app(PING.format(count=count)) == count

    return wait
