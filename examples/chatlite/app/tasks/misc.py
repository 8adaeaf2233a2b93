"""Tasks without a route: they use the default queue."""

from __future__ import annotations

from app.core.base import ChatliteTask
from app.core.celery_config import app


@app.task(bind=True)
def echo(self: ChatliteTask, text: str = "") -> dict[str, str]:
    """Return ``{"text", "queue", "node"}``: what was sent, the queue it came through and the node that answered.

    Sent with ``queue=…``, it probes any queue.
    """
    return {"text": text, "queue": (self.request.delivery_info or {}).get("routing_key") or "", "node": self.node}
