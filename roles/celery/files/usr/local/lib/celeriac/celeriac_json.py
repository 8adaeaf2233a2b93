"""Celery's log as JSON, an object a line, for whoever imports this module before Celery sets its logging up.

A node imports it by ``--include``, beat by celeriac_beat. Only handlers that Celery made are changed: what an
application sets up by itself, with the signal ``setup_logging`` or a formatter of its own, stays as it is.
"""

from __future__ import annotations

import json
import logging
import socket
import traceback
from datetime import datetime, timezone
from typing import Any

from celery import signals
from celery._state import get_current_task
from celery.utils.log import ColorFormatter, get_multiprocessing_logger

node = socket.gethostname()  # until the worker has said its name


class JSONFormatter(logging.Formatter):
    """A record as one line of JSON, whatever is in it.

    ``time`` (UTC, RFC 3339), ``level``, ``logger``, ``node``, ``process`` and ``message`` are always there;
    ``task_id`` and ``task_name`` where a record belongs to a task, ``exception`` (the traceback) where it has one.
    """

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created, timezone.utc)  # noqa: UP017 - the application's Python may be old
        line: dict[str, Any] = {
            "time": time.isoformat(timespec="microseconds").replace("+00:00", "Z"),
            "level": record.levelname,
            "logger": record.name,
            "node": node,
            "process": record.processName,
            "message": self.message(record),
        }
        task_id, task_name = self.task(record)
        if task_id:
            line |= {"task_id": task_id, "task_name": task_name}
        if record.exc_info and record.exc_info[0]:
            line["exception"] = "".join(traceback.format_exception(*record.exc_info))
        elif record.exc_text:
            line["exception"] = record.exc_text
        # only ASCII: no other line break, no lone surrogate, nothing that depends on an encoding
        return json.dumps(line, default=repr)

    @staticmethod
    def message(record: logging.LogRecord) -> str:
        try:
            return record.getMessage()
        except Exception:  # arguments that don't fit are no reason to lose the line
            return f"{record.msg} {record.args!r}"

    @staticmethod
    def task(record: logging.LogRecord) -> tuple[str | None, str | None]:
        """Id and name: those that Celery gives to its own lines about a task, or else the task that runs here."""
        data = getattr(record, "data", None)
        if isinstance(data, dict) and "id" in data:
            return data["id"], data.get("name")
        task = get_current_task()
        if task is None or not task.request or not task.request.id:
            return None, None
        return task.request.id, task.name


@signals.after_setup_task_logger.connect
@signals.after_setup_logger.connect
def use_json(logger: logging.Logger, **_: Any) -> None:
    """Have Celery's own handlers write JSON."""
    pool = get_multiprocessing_logger()
    for handler in [*logger.handlers, *(pool.handlers if pool else [])]:
        if isinstance(handler.formatter, ColorFormatter):
            handler.setFormatter(JSONFormatter())


@signals.celeryd_after_setup.connect
@signals.worker_process_init.connect
def named(sender: str | None, **_: Any) -> None:
    """The name of the node, in its main process and in those of its pool."""
    global node
    node = sender or node
