"""The releases of two worker hosts. A test goes on from the release that the one before left."""

from __future__ import annotations

import re
import shutil
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from testinfra.host import Host

from tests.support.live import Variables

ROOT = Path(__file__).resolve().parents[3]


@dataclass(frozen=True)
class Release:
    """A release that can be deployed.

    :param name: the RELEASE of its code
    :param variables: extra variables that deploy it
    """

    name: str
    variables: dict[str, Any]


@pytest.fixture(scope="module")
def releases(workers: dict[str, Host], app: str) -> Callable[[], dict[str, str]]:
    """Which release is current on each host, by what its code says."""

    def read() -> dict[str, str]:
        found = {}
        for name, worker in workers.items():
            text = worker.file(f"/opt/{app}/current/ledger.py").content_string
            found[name] = re.search(r'RELEASE = "(\w+)"', text).group(1)
        return found

    return read


@pytest.fixture(scope="module")
def sound() -> dict[str, Release]:
    """Name -> each release that runs, the inventory's own first."""
    return {"one": Release("one", {})}


@pytest.fixture(scope="module")
def source(
    tmp_path_factory: pytest.TempPathFactory, variables: Variables, sound: dict[str, Release]
) -> Callable[..., Release]:
    """A release that no host has: the application with a RELEASE of its own, and texts of ledger.py replaced."""

    def make(*replacements: tuple[str, str], requirements: str = "") -> Release:
        name = f"r{uuid.uuid4().hex[:8]}"
        directory = tmp_path_factory.mktemp(name) / "ledger"
        shutil.copytree(ROOT / variables["app_source"]["path"], directory, ignore=shutil.ignore_patterns("__pycache__"))
        code = (directory / "ledger.py").read_text()
        for old, new in (('RELEASE = "one"', f'RELEASE = "{name}"'), *replacements):
            assert old in code
            code = code.replace(old, new)
        (directory / "ledger.py").write_text(code)
        if requirements:
            (directory / "requirements.txt").write_text(requirements)
        release = Release(name, {"app_source": {"type": "path", "path": str(directory)}})
        if not replacements and not requirements:
            sound[name] = release
        return release

    return make


@pytest.fixture(scope="module")
def deploy(playbook: Callable) -> Callable[..., Any]:
    return lambda *arguments, **variables: playbook("playbooks/deploy.yml", *arguments, **variables)


@pytest.fixture(scope="module")
def current(
    releases: Callable, sound: dict[str, Release], source: Callable[..., Release], deploy: Callable
) -> Callable[[], Release]:
    """The release of both hosts. Where a test left something else than one sound release, a new one is deployed."""

    def find() -> Release:
        names = set(releases().values())
        if len(names) == 1 and (release := sound.get(next(iter(names)))):
            return release
        release = source()
        done = deploy(**release.variables)
        assert done.returncode == 0, done.output
        return release

    return find
