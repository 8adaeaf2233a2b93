"""Deployments of other sources onto the host under test."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.fleet import Worker
from tests.support.live import Variables
from tests.support.paths import ROOT
from tests.support.releases import Releases


@pytest.fixture
def releases(worker: Worker) -> Iterator[Releases]:
    """Afterwards ``current`` is as it was."""
    found = Releases(worker)
    before = found.current
    yield found
    found.restore(before)


@pytest.fixture
def source(tmp_path: Path, variables: Variables) -> Path:
    """A copy of the application to change."""
    return shutil.copytree(ROOT / variables["app_source"]["path"], tmp_path / "source")


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """An application with one small requirement."""
    path = tmp_path / "small"
    path.mkdir()
    (path / "tasks.py").write_text("x = 1\n")
    (path / "requirements.txt").write_text("protego==0.7.0\n")
    return path
