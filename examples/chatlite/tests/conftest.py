"""Put the application on the path, give it an environment, and serve the test site on a free port."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

#: Nothing listens on port 1: a test that reached for Redis would fail instead of finding a developer's.
os.environ.update(
    CELERY_BROKER_URL="redis://127.0.0.1:1/0",
    CELERY_RESULT_BACKEND="redis://127.0.0.1:1/0",
    CELERY_GLOBAL_KEYPREFIX="chatlite:",
    CHATLITE_SEEDS="http://one.example/ http://two.example/",
    NO_PROXY="127.0.0.1",
    no_proxy="127.0.0.1",
)


@pytest.fixture(scope="session")
def site() -> Iterator[str]:
    """Base URL of the served test site, without a slash at its end."""
    from testsite.serve import Handler, make_server

    Handler.log_message = lambda *_args: None  # type: ignore[method-assign] # quiet
    with make_server("127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()
