"""The application of figures that are about what is around the tasks: one task, which does nothing."""

from __future__ import annotations

import os

from celery import Celery

app = Celery("bench_app")
app.conf.update(
    broker_connection_retry_on_startup=True,
    broker_transport_options={
        "global_keyprefix": os.environ.get("CELERY_GLOBAL_KEYPREFIX", ""),
        "visibility_timeout": int(os.environ.get("CELERY_VISIBILITY_TIMEOUT", "3600")),
    },
    result_backend_transport_options={"global_keyprefix": os.environ.get("CELERY_GLOBAL_KEYPREFIX", "")},
)


@app.task
def nothing() -> None:
    """Return at once."""
