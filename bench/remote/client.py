"""Tasks sent on a host, in the application's own Python and environment: ``python - VERB APP TASK … < client.py``.

``first`` sends a task to each queue and waits for all of them. ``watch`` sends a task that answers with its release and
its node all the time, and prints when each node has answered with the wanted one. ``load`` prints as JSON how many
tasks are done in a second, and how long one takes by itself.
"""

from __future__ import annotations

import argparse
import json
import time
from statistics import quantiles
from typing import Any

from celery import Celery
from celery.app.utils import find_app
from celery.result import AsyncResult

PROMPT = 120  # seconds within which a task has to be done
POLL = 0.02  # seconds between two looks at results
BESIDE = 2  # tasks on their way through each queue


def first(app: Celery, options: argparse.Namespace) -> None:
    """Send the task to each queue, and wait until all are done."""
    for sent in [app.send_task(options.task, queue=queue) for queue in options.queues]:
        sent.get(timeout=PROMPT)


def watch(app: Celery, options: argparse.Namespace) -> None:
    """Print ``[0, ""]``, then ``[seconds since the epoch, node]`` as each node first answers with ``--release``.

    The first line says that every node has answered, whatever its release. Ends with the last of ``--nodes``.
    """
    under_way = [(queue, app.send_task(options.task, queue=queue)) for queue in options.queues for _ in range(BESIDE)]
    known: set[str] = set()
    new: set[str] = set()
    while len(new) < options.nodes:
        for slot, (queue, sent) in enumerate(under_way):
            if not sent.ready():
                continue
            release, node = _taken(sent)
            if node not in known:
                known.add(node)
                if len(known) == options.nodes:
                    print(json.dumps([0, ""]), flush=True)
            if release == options.release and node not in new:
                new.add(node)
                print(json.dumps([time.time(), node]), flush=True)
            under_way[slot] = queue, app.send_task(options.task, queue=queue)
        time.sleep(POLL)  # between two looks at results


def _taken(sent: AsyncResult[Any]) -> tuple[str, str]:
    """A result, which isn't waited for any more."""
    release, node = sent.get()
    sent.forget()
    return release, node


def load(app: Celery, options: argparse.Namespace) -> None:
    """Print the throughput of many tasks at once, and the round trips of some one after the other, as JSON."""
    queue = options.queues[0]
    first(app, options)
    began = time.monotonic()
    for _ in range(options.tasks):
        app.send_task(options.task, queue=queue, ignore_result=True)
    first(app, options)  # behind all the others
    seconds = time.monotonic() - began
    cuts = quantiles([_round_trip(app, options.task, queue) for _ in range(options.trips)], n=20)
    found = {
        "tasks per second": options.tasks / seconds,
        "round trip p50 ms": cuts[9] * 1000,
        "round trip p95 ms": cuts[18] * 1000,
    }
    print(json.dumps({name: round(value, 2) for name, value in found.items()}))


def _round_trip(app: Celery, task: str, queue: str) -> float:
    """The seconds that one task takes, from sending it to its result."""
    began = time.monotonic()
    app.send_task(task, queue=queue).get(timeout=PROMPT)
    return time.monotonic() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("verb", choices=["first", "watch", "load"])
    parser.add_argument("app", help="as celery -A takes it")
    parser.add_argument("task", help="the full name of a task that needs no argument")
    parser.add_argument("queues", nargs="+")
    parser.add_argument("--release", help="watch: what the new release answers")
    parser.add_argument("--nodes", type=int, help="watch: how many there are")
    parser.add_argument("--tasks", type=int, default=10_000, help="load: how many at once")
    parser.add_argument("--trips", type=int, default=500, help="load: how many one after the other")
    options = parser.parse_args()
    verbs = {"first": first, "watch": watch, "load": load}
    verbs[options.verb](find_app(options.app), options)


if __name__ == "__main__":
    main()
