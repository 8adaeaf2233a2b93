"""Controller side of the celery_queue module."""

from __future__ import annotations

from ansible_collections.celeriac.fleet.plugins.plugin_utils.celery_probe import ProbeAction


class ActionModule(ProbeAction):
    """Sends the module, with what it asks the application."""
