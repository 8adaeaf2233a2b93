"""Tasks submitted from this machine at a steady rate, and the ledger of those that ran."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import redis
from celery import Celery
from kombu.exceptions import OperationalError
from servers import Server

ERRORS = (redis.RedisError, OperationalError, OSError)


class Load:
    """Submits tasks over one connection until it is told to stop, or ``count`` of them.

    :param rate: tasks a second
    :param patient: whether to submit a task again, under the same id, while the broker refuses it or is away
    """

    def __init__(
        self, broker: Server, app: str, *, rate: float, count: int = 0, patient: bool = False, **task: Any
    ) -> None:
        query = f"?ssl_cert_reqs=required&ssl_ca_certs={broker.ca}" if broker.tls else ""
        scheme = "rediss" if broker.tls else "redis"
        self._celery = Celery(broker=f"{scheme}://{broker.address}:{broker.port}/0{query}", set_as_current=False)
        self._celery.conf.broker_transport_options = {"global_keyprefix": f"{app}:", "socket_timeout": 5}
        self._login = {"userid": app, "password": broker.password(app)}
        self._rate, self._count, self._patient, self._task = rate, count, patient, task
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.submitted: list[str] = []
        self.error: Exception | None = None

    def task(self, number: int) -> dict[str, Any]:
        """Arguments of ``send_task`` for the task ``number``."""
        return self._task

    def _run(self) -> None:
        start = time.monotonic()
        with self._celery.connection_for_write(**self._login) as connection:
            producer = self._celery.amqp.Producer(connection)
            number = 0
            while not (self._count and number == self._count):
                if self._stop.wait(max(0.0, start + number / self._rate - time.monotonic())):
                    return
                try:
                    self._celery.send_task(
                        task_id=f"{id(self):x}-{number}", producer=producer, retry=False, **self.task(number)
                    )
                except ERRORS as error:
                    self.error = error
                    if not self._patient:
                        return
                    connection.collapse()
                    continue
                self.submitted.append(f"{id(self):x}-{number}")
                number += 1

    @property
    def running(self) -> bool:
        return self._thread.is_alive()

    def stop(self) -> None:
        """End it; what was submitted until then is in ``submitted``."""
        self._stop.set()
        self._thread.join()

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class LedgerLoad(Load):
    """Tasks of 10 to 200 ms of tests/apps/ledger, to its queues in turn."""

    QUEUES = ("quick", "steady")

    def task(self, number: int) -> dict[str, Any]:
        seconds = round(random.Random(number).uniform(0.01, 0.2), 3)
        return {"name": "ledger.work", "args": (number, seconds), "queue": self.QUEUES[number % 2]}


@dataclass(frozen=True)
class Line:
    """A task that ran."""

    number: int
    host: str
    release: str
    time: float


class Ledger:
    """What tests/apps/ledger wrote down, in Redis."""

    def __init__(self, broker: Server, app: str, book: str = "work") -> None:
        self._client, self._key = broker.connect(), f"{app}:{book}"

    def clear(self) -> None:
        self._client.delete(self._key)

    def lines(self) -> list[Line]:
        """In the order in which they were written."""
        words = [line.split() for line in self._client.lrange(self._key, 0, -1)]
        return [Line(int(number), host, release, float(time)) for number, host, release, time in words]

    def numbers(self) -> set[int]:
        return {line.number for line in self.lines()}

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

    def __str__(self) -> str:
        return (
            f"{self.submitted} submitted, {len(self.lost)} lost, {len(self.twice)} ran twice, longest gap "
            f"{self.gap:.2f} s, by release {dict(self.releases)}"
        )
