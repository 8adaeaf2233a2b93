"""Deployments of other sources onto the host under test."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from testinfra.host import Host

ROOT = Path(__file__).resolve().parents[3]
CONVERGE = "molecule/app/converge.yml"


class Releases:
    """The releases on a host, and runs of the scenario's playbook that make more."""

    def __init__(self, host: Host, app: str, playbook: Callable[..., Any]) -> None:
        self.host, self.root, self._playbook = host, f"/opt/{app}", playbook

    @property
    def current(self) -> str:
        return str(self.host.file(f"{self.root}/current").linked_to)

    @property
    def virtualenv(self) -> str:
        return str(self.host.check_output(f"readlink -f {self.current}/.venv"))

    def about(self) -> dict[str, str]:
        return dict(json.loads(self.host.file(f"{self.current}/.celeriac-complete").content_string))

    def there(self) -> list[str]:
        return str(self.host.check_output(f"cd {self.root} && ls -d releases/* virtualenvs/*")).split()

    def deploy(self, **variables: Any) -> Any:
        """The finished run."""
        return self._playbook(CONVERGE, f"--limit={self.host.backend.host}", "--tags=app_release", **variables)

    def deployed(self, **variables: Any) -> Any:
        run = self.deploy(**variables)
        assert run.returncode == 0, run.output
        return run


@pytest.fixture
def releases(host: Host, app: str, playbook: Callable[..., Any]) -> Iterator[Releases]:
    """Afterwards ``current`` is as it was."""
    found = Releases(host, app, playbook)
    before = found.current
    yield found
    host.check_output(f"ln -sfn {before} /opt/{app}/current")


@pytest.fixture
def source(tmp_path: Path, variables: dict[str, Any]) -> Path:
    """A copy of the application to change."""
    return Path(shutil.copytree(ROOT / variables["app_source"]["path"], tmp_path / "source"))


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """An application with one small requirement."""
    path = tmp_path / "small"
    path.mkdir()
    (path / "tasks.py").write_text("x = 1\n")
    (path / "requirements.txt").write_text("protego==0.7.0\n")
    return path
