"""Tasks submitted from this machine at a steady rate, and the ledger of those that ran."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Self, cast

import redis
from celery import Celery
from kombu.exceptions import OperationalError

from tests.support.servers import Server
from tests.support.waiting import wait_for

LEFT = 15  # seconds since it was fetched; one that still runs would run twice
ERRORS = (redis.RedisError, OperationalError, OSError)


class Load:
    """Submits tasks over one connection until it is told to stop, or ``count`` of them.

    :param rate: tasks a second
    :param patient: whether to submit a task again, under the same id, while the broker refuses it or is away, and to go
        on at the same rate then
    """

    def __init__(
        self, broker: Server, app: str, *, rate: float, count: int = 0, patient: bool = False, **task: Any
    ) -> None:
        query = f"?ssl_cert_reqs=required&ssl_ca_certs={broker.ca}" if broker.tls else ""
        scheme = "rediss" if broker.tls else "redis"
        self._celery = Celery(broker=f"{scheme}://{broker.address}:{broker.port}/0{query}", set_as_current=False)
        self._celery.conf.broker_transport_options = {"global_keyprefix": f"{app}:", "socket_timeout": 5}
        self._login = {"userid": app, "password": broker.password(app)}
        self.rate, self._count, self._patient, self._task = rate, count, patient, task
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.submitted: list[str] = []
        self.error: Exception | None = None

    def task(self, number: int) -> dict[str, Any]:
        """Arguments of ``send_task`` for the task ``number``."""
        return self._task

    def _run(self) -> None:
        while not self._stop.is_set() and not self._done:
            try:
                with self._celery.connection_for_write(**self._login) as connection:
                    self._submit(self._celery.amqp.Producer(connection))
            except ERRORS as error:
                self.error = error
                if not self._patient:
                    return
                self._stop.wait(0.1)  # a broker that is away refuses at once

    @property
    def _done(self) -> bool:
        return bool(self._count) and len(self.submitted) == self._count

    def _submit(self, producer: Any) -> None:
        begun, before = time.monotonic(), len(self.submitted)
        while not self._done:
            number = len(self.submitted)
            if self._stop.wait(max(0.0, begun + (number - before) / self.rate - time.monotonic())):
                return
            task_id = f"{id(self):x}-{number}"
            self._celery.send_task(task_id=task_id, producer=producer, retry=False, **self.task(number))
            self.submitted.append(task_id)

    @property
    def running(self) -> bool:
        return self._thread.is_alive()

    def stop(self) -> None:
        """End it; what was submitted until then is in ``submitted``."""
        self._stop.set()
        self._thread.join()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class Results:
    """The results that tasks of an application have left."""

    def __init__(self, server: Server, app: str) -> None:
        self._client, self._app = server.connect(), app

    def of(self, ids: Sequence[str]) -> int:
        """How many of these tasks have left one."""
        keys = [f"{self._app}:celery-task-meta-{task}" for task in ids]
        return int(self._client.exists(*keys)) if keys else 0

    def wait_for_more(self, load: Load, count: int) -> None:
        """Wait until so many more tasks of a load have left one; a busy machine may be behind its rate."""
        least = self.of(load.submitted) + count
        wait_for(lambda: self.of(load.submitted) >= least, what="more tasks")


class LedgerLoad(Load):
    """Tasks of tests/apps/ledger, to its queues in turn, at whatever rate so long that BUSY of them run at a time."""

    BUSY = 7  # on average: a fault meets some, and one of two hosts with ten processes can do them alone
    QUEUES = ("quick", "steady")
    hunger = 0  # megabytes that the next task of the first queue takes

    def task(self, number: int) -> dict[str, Any]:
        seconds = round(random.Random(number).uniform(0.1, 1.9) * self.BUSY / self.rate, 3)
        megabytes = 0
        if number % 2 == 0:
            megabytes, self.hunger = self.hunger, 0
        return {"name": "ledger.work", "args": (number, seconds, megabytes), "queue": self.QUEUES[number % 2]}


@dataclass(frozen=True)
class Line:
    """A task that ran.

    :param number: which one of a load, or of beat's when it was sent, in milliseconds
    :param pid: of the node's main process
    :param time: seconds of the kernel's monotonic clock, which this machine and its containers share
    :param sender: the process that sent it, as Celery names those
    """

    number: int
    host: str
    pid: int
    release: str
    time: float
    sender: str

    @classmethod
    def of(cls, text: str) -> Line:
        """The line that tests/apps/ledger wrote."""
        number, node, release, seconds, sender = text.split()
        host, _, pid = node.partition("/")
        return cls(int(number), host, int(pid), release, float(seconds), sender)

    @property
    def queue(self) -> str:
        return LedgerLoad.QUEUES[self.number % 2]


class Ledger:
    """What tests/apps/ledger wrote down, in Redis.

    :param rate: tasks a second of the loads that are written here
    """

    def __init__(self, broker: Server, app: str, book: str = "work", *, rate: float = 0) -> None:
        self._broker, self._app, self._key, self.rate = broker, app, f"{app}:{book}", rate
        self._client = broker.connect()
        self._read = 0  # lines, of which some may be there twice
        self._lines: dict[str, Line] = {}

    def load(self) -> LedgerLoad:
        """Tasks that will be written here."""
        return LedgerLoad(self._broker, self._app, patient=True, rate=self.rate)

    def wait_for(self, count: int) -> None:
        """Wait until more than ``count`` tasks ran."""
        wait_for(lambda: len(self.numbers()) > count, what=f"the first {count} tasks")

    def finished(self, load: LedgerLoad) -> Report:
        """Wait until every task of a load that has ended was written down; what became of them."""
        count = len(load.submitted)
        wait_for(lambda: len(self.numbers()) == count, what="every task")
        return self.report(count)

    def clear(self) -> None:
        self._client.delete(self._key)
        self._read, self._lines = 0, {}

    def lines(self) -> list[Line]:
        """In the order in which they were written."""
        more = cast(list[str], self._client.lrange(self._key, self._read, -1))
        self._read += len(more)
        self._lines |= {text: Line.of(text) for text in more if text not in self._lines}
        return list(self._lines.values())

    def pending(self) -> int:
        """Messages that wait, or aren't acknowledged."""
        waiting = [self._client.llen(f"{self._app}:{queue}") for queue in LedgerLoad.QUEUES]
        return int(sum(waiting) + self._client.hlen(f"{self._app}:unacked"))

    def age(self) -> None:
        """Have what nodes fetched and seem to have left behind come back now, not after the visibility timeout."""
        index, (now, _) = f"{self._app}:unacked_index", self._client.time()
        if left := cast(list[str], self._client.zrangebyscore(index, 0, now - LEFT)):
            self._client.zadd(index, dict.fromkeys(left, 0), xx=True)

    def numbers(self) -> set[int]:
        return {line.number for line in self.lines()}

    def fetched(self) -> list[float]:
        """When each unacknowledged message was fetched, by the clock of the node that did it."""
        scored = self._client.zrange(f"{self._app}:unacked_index", 0, -1, withscores=True)
        return [when for _, when in cast(list[tuple[str, float]], scored)]

    def report(self, submitted: int) -> Report:
        lines = self.lines()
        times = sorted(line.time for line in lines)
        counts = Counter(line.number for line in lines)
        return Report(
            submitted,
            lost=sorted(set(range(submitted)) - set(counts)),
            twice=sorted(number for number, count in counts.items() if count > 1),
            gap=max((after - before for before, after in pairwise(times)), default=0.0),
            releases=Counter(line.release for line in lines),
        )


@dataclass(frozen=True)
class Report:
    """What became of a load.

    :param gap: the longest time without a task that ended, in seconds
    """

    submitted: int
    lost: list[int]
    twice: list[int]
    gap: float
    releases: Counter[str]

    @property
    def figures(self) -> dict[str, Any]:
        """What a soak writes down of it."""
        return {"submitted": self.submitted, "lost": len(self.lost), "twice": len(self.twice), "gap": self.gap}
