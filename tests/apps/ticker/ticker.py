"""The application of the tests of beat: each second a tick, written down in Redis as ``<node's host> <seconds>``.

The seconds are the kernel's, which test hosts share, whatever time they think it is.
"""

from __future__ import annotations

import os
import socket
import time
from functools import cache

import redis
from celery import Celery

PREFIX = os.environ["CELERY_GLOBAL_KEYPREFIX"]
CONNECTION = {"socket_timeout": 5.0, "socket_connect_timeout": 5.0}

app = Celery("ticker")
app.conf.update(
    task_default_queue="ticks",
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    task_ignore_result=True,
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    broker_transport_options={
        "global_keyprefix": PREFIX,
        "visibility_timeout": int(os.environ["CELERY_VISIBILITY_TIMEOUT"]),
        **CONNECTION,
    },
    beat_schedule={"tick": {"task": "ticker.tick", "schedule": 1.0}},
)


@cache
def client() -> redis.Redis:
    """A connection of the process's own to the broker."""
    return redis.Redis.from_url(os.environ["CELERY_BROKER_URL"], **CONNECTION)


@app.task(name="ticker.tick")
def tick() -> None:
    """What beat sends."""
    client().rpush(f"{PREFIX}ticked", f"{socket.gethostname()} {time.monotonic():.6f}")
