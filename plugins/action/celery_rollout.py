"""Controller side of the celery_rollout module: who runs it from where is known only here."""

from __future__ import annotations

from typing import Any

from ansible_collections.celeriac.fleet.plugins.plugin_utils.celery_probe import ProbeAction, author


class ActionModule(ProbeAction):
    """Sends the module, with what it asks the application and what it writes down."""

    def arguments(self) -> dict[str, Any]:
        return {**super().arguments(), **author()}
