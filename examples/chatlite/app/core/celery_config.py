"""The Celery application: ``celery -A app.core.celery_config …``.

Broker and result backend come from CELERY_BROKER_URL and CELERY_RESULT_BACKEND, which Celery reads natively, so no
address and no password passes through this module.
"""

from __future__ import annotations

import os

from celery import Celery

from app.core.base import ChatliteTask
from app.core.settings import TASK_SOFT_TIME_LIMIT, TASK_TIME_LIMIT, Settings

settings = Settings.from_env(os.environ)

DEFAULT_QUEUE = "default"
#: Queue of each task module; a module that isn't listed falls to the default queue.
ROUTES = {
    "app.tasks.crawl.*": "crawl_queue",
    "app.tasks.process.*": "process_queue",
    "app.tasks.schedule.*": "schedule_queue",
    "app.tasks.monitor.*": "monitor_queue",
}
QUEUES = (*ROUTES.values(), DEFAULT_QUEUE)

app = Celery(
    "chatlite",
    task_cls=ChatliteTask,
    include=["app.tasks.crawl", "app.tasks.process", "app.tasks.schedule", "app.tasks.monitor", "app.tasks.misc"],
)

app.conf.update(
    # Queues
    task_default_queue=DEFAULT_QUEUE,
    task_routes={pattern: {"queue": queue} for pattern, queue in ROUTES.items()},
    # Only JSON is written and only JSON is accepted: a pickle in the broker would be code execution.
    task_serializer="json",
    result_serializer="json",
    accept_content=["json"],
    result_accept_content=["json"],
    # Time limits, seconds. Retry delay and retry count are task attributes: see app.core.base.
    task_soft_time_limit=TASK_SOFT_TIME_LIMIT,
    task_time_limit=TASK_TIME_LIMIT,
    # A task leaves the broker only when it is done. The two worker-lost settings belong together: the first alone
    # requeues a task that kills its worker for ever, the second bounds that by the task's max_retries.
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    task_retry_on_worker_lost=True,
    worker_prefetch_multiplier=1,
    worker_max_tasks_per_child=1000,
    # On SIGQUIT: give running tasks this many seconds, then put them back instead of failing them.
    worker_soft_shutdown_timeout=30.0,
    # Results and events
    result_expires=86400,  # seconds
    worker_send_task_events=True,
    task_send_sent_event=True,
    # Broker connection: never give up, and never wait for ever on a frozen server.
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    broker_transport_options={
        "global_keyprefix": settings.keyprefix,
        "visibility_timeout": settings.visibility_timeout,
        "fanout_prefix": True,
        "fanout_patterns": True,
        "retry_on_timeout": True,
        "max_connections": 20,
        "socket_timeout": 5.0,
        "socket_connect_timeout": 5.0,
        "socket_keepalive": True,
        "health_check_interval": 25,
    },
    # The result backend takes only its prefix from the transport options; its connection is set by redis_*.
    result_backend_transport_options={"global_keyprefix": settings.keyprefix},
    redis_max_connections=20,
    redis_retry_on_timeout=True,
    redis_socket_timeout=5.0,
    redis_socket_connect_timeout=5.0,
    redis_socket_keepalive=True,
    redis_backend_health_check_interval=25,
    # Ticks expire after one interval, so that a node that was down isn't met by a heap of stale ones.
    beat_schedule={
        "heartbeat": {
            "task": "app.tasks.monitor.heartbeat",
            "schedule": float(settings.heartbeat_seconds),
            "options": {"expires": settings.heartbeat_seconds, "ignore_result": True},
        },
        "schedule-recrawls": {
            "task": "app.tasks.schedule.schedule_recrawls",
            "schedule": float(settings.recrawl_seconds),
            "options": {"expires": settings.recrawl_seconds, "ignore_result": True},
        },
    },
)
