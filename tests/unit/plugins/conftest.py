"""What tests of several kinds of plugins have in common."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A directory that is an application's source."""
    root = tmp_path / "source"
    (root / "app").mkdir(parents=True)
    (root / "app" / "tasks.py").write_text("x = 1\n")
    (root / "requirements.txt").write_text("")
    return root
