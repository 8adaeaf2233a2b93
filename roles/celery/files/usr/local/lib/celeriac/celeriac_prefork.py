"""A warm shutdown of the pool ``prefork`` that waits for every task that a process of it was given.

A process that has taken a task says so through a pipe. What the main process hasn't read by then, Celery forgets when
it stops consuming (``AsynPool.flush``): right where a connection is lost, since another node gets the message, but not
where the process is waited for. It runs the task, nobody reads its result, and it ends half a minute later; the
message, unacknowledged, is given back and runs again. Under load that is one stop in twenty.

A node imports this by ``--include``. docs/decisions/0014 has the measurements.
"""

from __future__ import annotations

from typing import Any

from celery import signals
from celery.worker import state


def stops_warm() -> bool:
    """Celery's own test, in ``celery.worker.state.maybe_shutdown``: an exit code, 0 included, or nothing."""
    cold, warm = state.should_terminate, state.should_stop
    return (warm is not None and warm is not False) and (cold is None or cold is False)


@signals.worker_ready.connect
def keep_what_was_sent(sender: Any, **_: Any) -> None:
    """Have the node's pool keep, when it stops, the jobs that were written to a process."""
    taskpool = sender.pool
    pool = getattr(taskpool, "_pool", None)
    jobs, flush = getattr(pool, "_cache", None), getattr(pool, "flush", None)
    if jobs is None or flush is None:
        return

    def kept() -> None:
        sent = {number: job for number, job in jobs.items() if getattr(job, "_write_to", None)} if stops_warm() else {}
        flush()
        jobs.update((number, job) for number, job in sent.items() if not job.ready())

    taskpool.flush = kept
