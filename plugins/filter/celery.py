"""Filters of nodes and beat, and of the playbooks that act on them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.celeriac.fleet.plugins.plugin_utils import (
    celery_beat,
    celery_nodes,
    celery_operations,
    celery_problems,
    celery_status,
)


class FilterModule:
    """Ansible's way to ask a file for its filters."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {
            "celery_batch_problems": celery_problems.celery_batch_problems,
            "celery_beat_options": celery_beat.celery_beat_options,
            "celery_drain_problems": celery_operations.celery_drain_problems,
            "celery_dump_host_problems": celery_operations.celery_dump_host_problems,
            "celery_dump_problems": celery_operations.celery_dump_problems,
            "celery_environments": celery_nodes.celery_environments,
            "celery_host_nodes": celery_nodes.celery_host_nodes,
            "celery_named_nodes": celery_operations.celery_named_nodes,
            "celery_names_problems": celery_operations.celery_names_problems,
            "celery_node_units": celery_nodes.celery_node_units,
            "celery_problems": celery_problems.celery_problems,
            "celery_purge_problems": celery_operations.celery_purge_problems,
            "celery_queues": celery_operations.celery_queues,
            "celery_rollout_nodes": celery_nodes.celery_rollout_nodes,
            "celery_status": celery_status.celery_status,
            "celery_status_problems": celery_operations.celery_status_problems,
            "celery_status_table": celery_status.celery_status_table,
            "celery_stop_signals": celery_nodes.celery_stop_signals,
        }
