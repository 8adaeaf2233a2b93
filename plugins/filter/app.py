"""Filters of applications: environment files, their users in Redis, what can't be right."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.celeriac.fleet.plugins.plugin_utils import app_inventory, app_rollback


class FilterModule:
    """Ansible's way to ask a file for its filters."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {
            "app_choice_problems": app_inventory.app_choice_problems,
            "app_environment_file": app_inventory.environment_file,
            "app_first_host": app_inventory.app_first_host,
            "app_hosts": app_inventory.app_hosts,
            "app_paths": app_inventory.app_paths,
            "app_problems": app_inventory.app_problems,
            "app_redis_users": app_inventory.app_redis_users,
            "app_rollback_release": app_rollback.rollback_release,
        }
