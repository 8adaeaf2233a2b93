"""Filters of units."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.celeriac.fleet.plugins.plugin_utils import systemd_sandbox


class FilterModule:
    """Ansible's way to ask a file for its filters."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {
            "systemd_sandbox": systemd_sandbox.systemd_sandbox,
        }
