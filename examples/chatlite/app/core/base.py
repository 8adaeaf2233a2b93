"""The base class of every task."""

from __future__ import annotations

import socket
from typing import Any

from celery import Task


class ChatliteTask(Task[Any, Any]):
    """Retry policy and node name for all tasks.

    Celery has no ``task_max_retries`` and no ``task_default_retry_delay`` setting: put in the configuration, both are
    ignored in silence. They are task attributes, so they stand here. ``max_retries`` also bounds how often a task
    whose worker process died is run again (``task_retry_on_worker_lost``).
    """

    max_retries = 3
    default_retry_delay = 60  # seconds

    @property
    def node(self) -> str:
        """The node that runs this task, e.g. ``crawler@host``."""
        return str(self.request.hostname or socket.gethostname())
