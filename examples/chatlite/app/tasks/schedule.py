"""Scheduled crawl management, on schedule_queue."""

from __future__ import annotations

import hashlib
from typing import Any

from celery.utils import uuid

from app.core import store
from app.core.base import ChatliteTask
from app.core.celery_config import app, settings
from app.tasks.crawl import crawl_and_process

#: Seconds a scheduled crawl may wait in its queue before it is dropped as expired.
MAX_WAIT = max(settings.recrawl_seconds, settings.visibility_timeout)
#: Seconds after which a claim is void even if its crawl was lost: the longest wait and one redelivery.
CLAIM_TTL = MAX_WAIT + settings.visibility_timeout


@app.task(bind=True)
def schedule_recrawls(self: ChatliteTask, seeds: list[str] | None = None) -> dict[str, Any]:
    """Enqueue a crawl of each seed (default CHATLITE_SEEDS) unless the previous one of that seed is still pending.

    Returns ``{"enqueued": {seed: task id}, "pending": {seed: task id}, "node"}``.
    """
    enqueued: dict[str, str] = {}
    pending: dict[str, str] = {}
    for seed in settings.seeds if seeds is None else seeds:
        claim = claim_name(seed)
        owner = store.holder(claim)
        if owner and app.AsyncResult(owner).ready():
            store.release(claim, owner)
        task_id = uuid()
        if not store.claim(claim, task_id, CLAIM_TTL):
            pending[seed] = store.holder(claim) or ""
            continue
        try:
            crawl_and_process.apply_async((seed,), task_id=task_id, expires=MAX_WAIT)
        except BaseException:
            store.release(claim, task_id)
            raise
        enqueued[seed] = task_id
    return {"enqueued": enqueued, "pending": pending, "node": self.node}


def claim_name(seed: str) -> str:
    """Name of the record that says a crawl of ``seed`` is pending; its value is the crawl's task id."""
    return f"recrawl:{hashlib.blake2b(seed.encode(), digest_size=12).hexdigest()}"
