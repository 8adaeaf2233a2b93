"""Filters of playbooks/preflight.yml."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.celeriac.fleet.plugins.plugin_utils import preflight


class FilterModule:
    """Ansible's way to ask a file for its filters."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {
            "preflight_host_problems": preflight.host_problems,
            "preflight_hosts": preflight.preflight_hosts,
            "preflight_name_problems": preflight.name_problems,
            "preflight_of_hosts": preflight.of_hosts,
            "preflight_role_variables": preflight.role_variables,
            "preflight_secret_problems": preflight.secret_problems,
            "preflight_value_problems": preflight.value_problems,
        }
