"""What the tests of the operations' playbooks have in common."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from testinfra.host import Host

from tests.support.servers import Server


@pytest.fixture
def broker(host: Host, inventory) -> Server:
    """The broker's instance, on its own host."""
    name = inventory.group("redis")[0]
    there = host.get_host(f"ansible://{name}", ansible_inventory=inventory.path)
    return Server(there, inventory[name], inventory[name]["broker_instance"])


@pytest.fixture
def status(playbook: Callable[..., Any]) -> Callable[..., dict[str, Any]]:
    """The document of status.yml."""

    def ask(*arguments: str, **variables: Any) -> dict[str, Any]:
        run = playbook("playbooks/status.yml", *arguments, status_format="json", **variables)
        assert run.returncode == 0, run.output
        assert not any(run.changed.values())
        (line,) = [line.strip() for line in run.output.splitlines() if line.lstrip().startswith('{"app"')]
        return dict(json.loads(line))

    return ask


@pytest.fixture
def messages(broker: Server, app: str) -> Callable[[str], list[list[str]]]:
    """What waits in a queue, as it stands in Redis: for each priority the messages."""

    def read(queue: str) -> list[list[str]]:
        keys = [f"{app}:{queue}", *(f"{app}:{queue}\x06\x16{step}" for step in (3, 6, 9))]
        return [[line for line in broker.cli("LRANGE", key, "0", "-1").splitlines() if line] for key in keys]

    return read


@pytest.fixture
def send(in_app: Callable[[str], Any]) -> Callable[..., list[str]]:
    """Send echoes to a queue, the priorities in turn; their ids."""

    def send(queue: str, count: int, **options: Any) -> list[str]:
        return list(
            in_app(
                "from app.tasks.misc import echo\n"
                f"send = lambda n: echo.apply_async((str(n),), queue={queue!r}, priority=n % 4 * 3, **{options!r}).id\n"
                f"result = [send(n) for n in range({count})]"
            )
        )

    return send


@pytest.fixture
def states(in_app: Callable[[str], Any]) -> Callable[[list[str]], set[str]]:
    """The states of tasks."""

    def ask(ids: list[str]) -> set[str]:
        return set(in_app(f"result = [app.AsyncResult(id).state for id in {ids!r}]"))

    return ask


@pytest.fixture
def resumed(host: Host, playbook: Callable[..., Any]) -> Iterator[None]:
    """The crawler works again after the test."""
    yield
    run = playbook("playbooks/resume-node.yml", resume_node="crawler")
    assert run.returncode == 0, run.output


@pytest.fixture
def drained(host: Host, playbook: Callable[..., Any], resumed: None) -> None:
    """Nobody consumes crawl_queue during the test."""
    run = playbook("playbooks/drain-node.yml", drain_node="crawler")
    assert run.returncode == 0, run.output


@pytest.fixture
def crawl(in_app: Callable[[str], Any], wait_for: Callable[..., Any]) -> Callable[[int], str]:
    """Start a crawl that takes as many seconds; its id, once it runs."""

    def start(seconds: int) -> str:
        task = str(
            in_app(
                "from app.tasks.crawl import crawl_site\n"
                f"result = crawl_site.apply_async(('http://testsite/slow/{seconds}', 0)).id"
            )
        )
        running = "result = [t['id'] for ts in (app.control.inspect(timeout=1).active() or {}).values() for t in ts]"
        wait_for(lambda: task in in_app(running), what="the crawl's start")
        return task

    return start
