"""The application of the tests that deploy and break things under load: it keeps a ledger of each task that ran.

What ran stands in Redis, a line for each time: ``<number> <host>/<PID of the node> <release> <seconds> <sender>``, the
seconds being the kernel's, which test hosts share, whatever time they think it is. A number that isn't there was lost,
one that is there twice ran twice.
"""

from __future__ import annotations

import os
import socket
import time
from datetime import datetime
from functools import cache

import redis
from celery import Celery, Task

RELEASE = "one"  # a test's next release says something else
PREFIX = os.environ["CELERY_GLOBAL_KEYPREFIX"]
QUEUES = ("quick", "steady")
CONNECTION = {
    "socket_timeout": 5.0,
    "socket_connect_timeout": 5.0,
    "socket_keepalive": True,
    "health_check_interval": 25,
}

app = Celery("ledger")
app.conf.update(
    task_default_queue="steady",
    task_routes={"ledger.tick": {"queue": "steady"}},
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    task_retry_on_worker_lost=True,
    task_annotations={"*": {"default_retry_delay": 1}},  # what a killed process ran runs again soon, not after 180 s
    task_ignore_result=True,
    worker_prefetch_multiplier=1,
    worker_soft_shutdown_timeout=5.0,
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    broker_transport_options={
        "global_keyprefix": PREFIX,
        "visibility_timeout": int(os.environ["CELERY_VISIBILITY_TIMEOUT"]),
        "unacked_restore_interval": 1,  # a look for what is over that time each second, not each 100
        "unacked_restore_throttle": 1,
        "unacked_mutex_expire": 5,  # not 300: one that looks may be killed, and nobody else looks meanwhile
        **CONNECTION,
    },
    result_backend_transport_options={"global_keyprefix": PREFIX},
    beat_schedule={"tick": {"task": "ledger.tick", "schedule": 1.0, "options": {"expires": 10}}},
)


@cache
def client() -> redis.Redis:
    """A connection of the process's own to the broker."""
    return redis.Redis.from_url(os.environ["CELERY_BROKER_URL"], **CONNECTION)


def note(task: Task, book: str, number: int) -> None:
    """Write a line; again and again while Redis is away, since a task that ran has to be told.

    If Redis took it and couldn't say so, it is there again, to the letter: that isn't a second run.
    """
    line = f"{number} {socket.gethostname()}/{os.getppid()} {RELEASE} {time.monotonic():.6f} {task.request.origin}"
    while True:
        try:
            client().rpush(f"{PREFIX}{book}", line)
            return
        except redis.RedisError:
            time.sleep(0.2)  # between two tries


@app.task(name="ledger.work", bind=True, max_retries=20)
def work(self: Task, number: int, seconds: float, megabytes: int = 0) -> None:
    """Take a while, and at the first try memory, then tell."""
    taken = b"x" * (megabytes << 20) if not self.request.retries else b""
    time.sleep(seconds)  # the work
    del taken
    note(self, "work", number)


@app.task(name="ledger.tick", bind=True)
def tick(self: Task) -> None:
    """What beat sends; its number is when, in milliseconds and a time to expire later."""
    note(self, "ticks", round(datetime.fromisoformat(self.request.expires).timestamp() * 1000))
