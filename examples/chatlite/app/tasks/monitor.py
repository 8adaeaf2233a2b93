"""System monitoring, on monitor_queue."""

from __future__ import annotations

import time
from typing import Any

from app.core import store
from app.core.base import ChatliteTask
from app.core.celery_config import QUEUES, app

HEARTBEAT = "heartbeat"
HEARTBEAT_TTL = 7 * 86400  # seconds


def queue_depths() -> dict[str, int]:
    """Messages waiting in each queue, over all priorities; those already handed to a worker are not counted."""
    with app.connection_or_acquire() as connection:
        channel = connection.default_channel
        # A passive declare would ask EXISTS, which kombu 5.7 sends without the key prefix: refused by the ACL.
        return {queue: channel.queue_declare(queue=queue).message_count for queue in QUEUES}


@app.task(bind=True)
def heartbeat(self: ChatliteTask) -> dict[str, Any]:
    """Record that beat, broker, this node and the result backend work together.

    Returns and stores ``{"at": Unix time in seconds, "node", "count": ticks so far, "depths": {queue: messages}}``.
    """
    now, depths = time.time(), queue_depths()

    def tick(last: dict[str, Any] | None) -> dict[str, Any]:
        return {"at": now, "node": self.node, "count": (last or {}).get("count", 0) + 1, "depths": depths}

    return store.update(HEARTBEAT, tick, HEARTBEAT_TTL)


@app.task(bind=True)
def report(self: ChatliteTask) -> dict[str, Any]:
    """Return ``{"heartbeat": last record or None, "age": seconds or None, "depths": {queue: messages}, "node"}``."""
    last = store.read(HEARTBEAT)
    age = round(max(0.0, time.time() - last["at"]), 3) if last else None
    return {"heartbeat": last, "age": age, "depths": queue_depths(), "node": self.node}
