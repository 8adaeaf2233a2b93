"""celeriac_prefork, with a node that is told to stop before it hears that a process has taken a task."""

from __future__ import annotations

import pytest

from tests.support.fleet import Node
from tests.support.servers import Server

testinfra_hosts = ["ansible://redis"]
pytestmark = pytest.mark.destructive

# The job is written in the pass of the event loop after the one that fetches the message, and a timer set meanwhile
# fires at the beginning of that pass; the process' answer would be read in the one after it, which never comes.
WORKER = """
import sys
from celery import signals
from celery.worker import state
from kombu.asynchronous import get_event_loop
from ledger import app

def stop():
    state.should_stop = 0

@signals.task_received.connect
def received(**_):
    get_event_loop().call_later(0, stop)

app.send_task("ledger.work", args=(0, 0.5), queue="probe")
app.worker_main(["worker", "--queues=probe", "--concurrency=1", "--hostname=probe@%h", *sys.argv[1:]])
"""


def test_a_warm_stop_waits_for_what_a_process_was_given(nodes: list[Node], broker: Server, app: str) -> None:
    """Without the module the message is back in its queue, to run again, after 30 seconds in which nothing happens."""
    redis = broker.connect()
    redis.delete(f"{app}:work", f"{app}:probe")
    library = "import sys; sys.path.append('/usr/local/lib/celeriac')"
    nodes[0].worker.run("python", "-c", f"{library}\n{WORKER}", "--include=celeriac_prefork")
    assert (redis.llen(f"{app}:work"), redis.llen(f"{app}:probe")) == (1, 0)
