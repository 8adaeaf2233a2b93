"""Where the nodes of a fleet write, which is switched."""

from __future__ import annotations

import pytest

from tests.support.fleet import Fleet, Worker
from tests.support.logs import Logs

# What else nodes have that write to the journal
JOURNAL = {"celery_log_format": "json", "celery_sandbox": {"MemoryDenyWriteExecute": False, "ReadWritePaths": ["/srv"]}}
TYPES = {"files": "forking", "journal": "exec"}  # of the units


@pytest.fixture(scope="session", params=TYPES)
def written_to(request: pytest.FixtureRequest, fleet: Fleet) -> str:
    """Where the inventory's nodes write, of which each host's are switched where they don't yet: in files as it says,
    or to the journal with JOURNAL."""
    to = str(request.param)
    for worker in fleet.values():
        if {node.show("Type") for node in worker.nodes} != {TYPES[to]}:
            worker.converge(celery_log_to=to, **(JOURNAL if to == "journal" else {})).succeeded()
    return to


@pytest.fixture(scope="module")
def logs(worker: Worker, written_to: str) -> Logs:
    """What is written from now on."""
    form = JOURNAL["celery_log_format"] if written_to == "journal" else worker.variables["celery_log_format"]
    return Logs(worker, written_to, str(form))
