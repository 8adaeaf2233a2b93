"""Filters of playbooks/preflight.yml."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.celeriac.fleet.plugins.plugin_utils import preflight, site_roles


class FilterModule:
    """Ansible's way to ask a file for its filters."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {
            "preflight_group_problems": preflight.group_problems,
            "preflight_host_problems": preflight.host_problems,
            "preflight_hosts": preflight.preflight_hosts,
            "preflight_look_hosts": preflight.look_hosts,
            "preflight_looks": preflight.looks,
            "preflight_name_problems": preflight.name_problems,
            "preflight_of_hosts": preflight.of_hosts,
            "preflight_role_options": preflight.role_options,
            "preflight_role_problems": preflight.role_problems,
            "preflight_roles": site_roles.site_roles,
            "preflight_secret_problems": preflight.secret_problems,
            "preflight_value_problems": preflight.value_problems,
            "preflight_variables": preflight.preflight_variables,
        }
