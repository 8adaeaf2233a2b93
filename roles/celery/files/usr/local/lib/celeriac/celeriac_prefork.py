"""A warm shutdown of the pool ``prefork`` that waits for every task that a process of it was given.

A process that has taken a task says so through a pipe. What the main process hasn't read by then, Celery forgets when
it stops consuming (``AsynPool.flush``): right where a connection is lost, since another node gets the message, but not
where the process is waited for. It runs the task, nobody reads its result, and it ends half a minute later; the
message, unacknowledged, is given back and runs again.

A node imports this by ``--include``. docs/decisions/0014 says how often that happened under load.
"""

from __future__ import annotations

from typing import Any

from celery import signals
from celery.worker import state


def told(name: str) -> bool:
    """Whether the node was told to end, by an exit code as in ``celery.worker.state.maybe_shutdown``: 0 is one too."""
    code = vars(state)[name]
    return code is not None and code is not False


@signals.worker_ready.connect
def keep_what_was_sent(sender: Any, **_: Any) -> None:
    """Have the node's pool keep, when it stops, the jobs that were written to a process."""
    taskpool = sender.pool
    pool = getattr(taskpool, "_pool", None)
    jobs, flush = getattr(pool, "_cache", None), getattr(pool, "flush", None)
    if jobs is None or flush is None:
        return

    def kept() -> None:
        warm = told("should_stop") and not told("should_terminate")
        sent = {number: job for number, job in jobs.items() if warm and getattr(job, "_write_to", None)}
        flush()
        jobs.update((number, job) for number, job in sent.items() if not job.ready())

    taskpool.flush = kept
