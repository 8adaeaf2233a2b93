"""The reference application chatlite, which tests give work and ask about it through a worker host."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

from tests.support.fleet import Worker
from tests.support.servers import Server
from tests.support.waiting import PATIENCE, wait_for

PRIORITIES = (0, 3, 6, 9)
# The answers of all nodes that are asked end it, or else its seconds do.
INSPECT = """
inspect = app.control.inspect(destination={addresses!r}, limit={count}, timeout=2)
result = inspect.{what}() or {{}}
"""
SLOW = """
from app.tasks.crawl import crawl_site
result = crawl_site.apply_async(("http://testsite/slow/{seconds}", 0)).id
"""
LASTING = """
from app.tasks.crawl import crawl_site
result = crawl_site.apply_async(("http://testsite/until/{page}", 0), queue={queue!r}).id
"""
END = "import urllib.request; urllib.request.urlopen('http://testsite/end/{page}').read()"
OUTCOME = """
done = app.AsyncResult({task!r})
result = [done.state, done.result["node"].partition("@")[0] if done.successful() else None]
"""
# A broker that is away is no answer.
PING = """
from kombu.exceptions import OperationalError
try:
    result = len(app.control.ping(timeout=1, limit={count}))
except (OperationalError, *app.connection().connection_errors):
    result = 0
"""
SEND = """
from app.tasks.misc import echo
send = lambda n: echo.apply_async((str(n),), queue={queue!r}, priority=n % 4 * 3, **{options!r}).id
result = [send(n) for n in range({count})]
"""


@dataclass(frozen=True)
class Crawl:
    """A crawl of a page that is complete when it is told to be.

    :param task: its id
    :param node: the name of the node that runs it
    """

    worker: Worker
    page: str
    task: str
    node: str

    def end(self) -> None:
        """Have the page completed, and with it the crawl."""
        end(self.worker, self.page)


def end(worker: Worker, page: str) -> None:
    """Complete a page of the test site."""
    worker.host.check_output("python3 -c %s", END.format(page=page))


class Chatlite:
    """chatlite on a worker host."""

    def __init__(self, worker: Worker, broker: Server) -> None:
        self.worker, self.broker = worker, broker
        self.evaluate = worker.evaluate

    def smoke(self) -> dict[str, Any]:
        """What the application reports of the work that it gives itself."""
        command = ["python", "-m", "app.smoke", "http://testsite/", "--json", f"--timeout={PATIENCE}"]
        return dict(json.loads(self.worker.run(*command)))

    def crawl(self, seconds: int) -> tuple[str, str]:
        """Begin a crawl of some seconds; its id, and the node that runs it."""
        task = self.evaluate(SLOW.format(seconds=seconds))
        return task, self._began(task)

    @contextmanager
    def lasting(self, queue: str = "crawl_queue") -> Iterator[Crawl]:
        """A crawl that a node runs until the end of the block, if it isn't ended before."""
        page = uuid.uuid4().hex
        task = self.evaluate(LASTING.format(page=page, queue=queue))
        try:
            yield Crawl(self.worker, page, task, self._began(task))
        finally:
            end(self.worker, page)

    def _began(self, task: str) -> str:
        return wait_for(lambda: self.runner(task), what=f"a node that begins {task}")

    def send(self, queue: str, count: int, **options: Any) -> list[str]:
        """Send echoes to a queue, the priorities in turn; their ids."""
        return list(self.evaluate(SEND.format(queue=queue, count=count, options=options)))

    def states(self, ids: list[str]) -> set[str]:
        """The states of tasks."""
        return set(self.evaluate(f"result = [app.AsyncResult(id).state for id in {ids!r}]"))

    def outcome(self, task: str) -> tuple[str, str | None]:
        """The state of a task that says who did it, and who did it if it succeeded."""
        state, node = self.evaluate(OUTCOME.format(task=task))
        return state, node

    def left(self, task: str, queue: str = "crawl_queue") -> tuple[int, int]:
        """How many messages of a task wait in a queue, and how many haven't been acknowledged."""
        mark = f'"id": "{task}"'
        waiting = sum(mark in message for messages in self.messages(queue) for message in messages)
        unacked = cast(list[str], self.broker.connect().hvals(f"{self.worker.app}:unacked"))
        return waiting, sum(mark in message for message in unacked)

    def inspect(self, what: str) -> dict[str, Any]:
        """What this host's nodes answer, by their names.

        :param what: a method of Celery's ``inspect``
        """
        addresses = [node.address for node in self.worker.running()]
        found = self.evaluate(INSPECT.format(what=what, addresses=addresses, count=len(addresses))) if addresses else {}
        return {address.partition("@")[0]: answer for address, answer in found.items()}

    def runner(self, task: str) -> str | None:
        """The node that runs a task."""
        active = self.inspect("active")
        return next((node for node, ran in active.items() if task in [each["id"] for each in ran]), None)

    def answers(self) -> dict[str, list[str]]:
        """The nodes of this host that answer, by their names, each with its sorted queues."""
        return {
            node: sorted(queue["name"] for queue in queues) for node, queues in self.inspect("active_queues").items()
        }

    def wait_for_all(self) -> None:
        """Wait until every node that the inventory has on this host answers."""
        names = {node.name for node in self.worker.nodes}
        wait_for(lambda: set(self.answers()) == names, what="all nodes' answers")

    def wait_for_nodes(self, count: int) -> None:
        """Wait until so many nodes answer."""
        wait_for(lambda: self.evaluate(PING.format(count=count)) == count, what=f"{count} nodes' answers")

    def keys(self, queue: str) -> list[str]:
        """The keys of a queue in Redis, one for each of PRIORITIES."""
        base = f"{self.worker.app}:{queue}"
        return [base if step == 0 else f"{base}\x06\x16{step}" for step in PRIORITIES]

    def messages(self, queue: str) -> list[list[str]]:
        """What waits in a queue, as it stands in Redis: for each priority the messages."""
        client = self.broker.connect()
        return [cast(list[str], client.lrange(key, 0, -1)) for key in self.keys(queue)]
