"""What tests of several kinds of plugins have in common."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.celeriac.fleet.plugins.module_utils import app_releases
from ansible_collections.celeriac.fleet.plugins.modules import locked_virtualenv


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A directory that is an application's source."""
    root = tmp_path / "source"
    (root / "app").mkdir(parents=True)
    (root / "app" / "tasks.py").write_text("x = 1\n")
    (root / "requirements.txt").write_text("")
    return root


@pytest.fixture
def unused(monkeypatch: pytest.MonkeyPatch) -> None:
    """No process runs from any release or virtualenv; to find that out takes reading of all that run here."""
    for module in (app_releases, locked_virtualenv):
        monkeypatch.setattr(module, "in_use", lambda _directories: set())
