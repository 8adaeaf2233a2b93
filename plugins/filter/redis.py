"""Filters of instances, their users, certificates and backups."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.celeriac.fleet.plugins.plugin_utils import (
    redis_backup,
    redis_instances,
    redis_problems,
    redis_tls,
)


class FilterModule:
    """Ansible's way to ask a file for its filters."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {
            "redis_acl": redis_instances.redis_acl,
            "redis_backup_instances": redis_backup.backup_instances,
            "redis_backup_problems": redis_backup.backup_problems,
            "redis_backup_units": redis_instances.redis_backup_units,
            "redis_certificate_due": redis_tls.redis_certificate_due,
            "redis_certificate_names": redis_tls.redis_certificate_names,
            "redis_complete": redis_instances.redis_complete,
            "redis_config": redis_instances.redis_config,
            "redis_consumer_urls": redis_instances.redis_consumer_urls,
            "redis_file": redis_tls.redis_file,
            "redis_memory": redis_instances.redis_memory,
            "redis_pem_files": redis_tls.redis_pem_files,
            "redis_problems": redis_problems.redis_problems,
            "redis_restore_problems": redis_backup.restore_problems,
            "redis_retired": redis_instances.redis_retired,
            "redis_running": redis_instances.redis_running,
            "redis_units": redis_instances.redis_units,
            "redis_url": redis_instances.redis_url,
        }
