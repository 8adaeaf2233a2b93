"""The releases of two worker hosts."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from testinfra.host import Host

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def releases(workers: dict[str, Host], app: str) -> Callable[[], dict[str, str]]:
    """Which release is current on each host, by what its code says."""

    def read() -> dict[str, str]:
        found = {}
        for name, worker in workers.items():
            text = worker.file(f"/opt/{app}/current/ledger.py").content_string
            found[name] = re.search(r'RELEASE = "(\w+)"', text).group(1)
        return found

    return read


@pytest.fixture
def source(tmp_path: Path, variables: Any) -> Callable[..., dict[str, Any]]:
    """Extra variables that deploy the application with another RELEASE, and texts of ledger.py replaced."""

    def make(release: str, *replacements: tuple[str, str], requirements: str = "") -> dict[str, Any]:
        directory = tmp_path / release
        shutil.copytree(ROOT / variables["app_source"]["path"], directory, ignore=shutil.ignore_patterns("__pycache__"))
        code = (directory / "ledger.py").read_text()
        for old, new in (('RELEASE = "one"', f'RELEASE = "{release}"'), *replacements):
            assert old in code
            code = code.replace(old, new)
        (directory / "ledger.py").write_text(code)
        if requirements:
            (directory / "requirements.txt").write_text(requirements)
        return {"app_source": {"type": "path", "path": str(directory)}}

    return make


@pytest.fixture
def deploy(playbook: Callable) -> Callable[..., Any]:
    return lambda *arguments, **variables: playbook("playbooks/deploy.yml", *arguments, **variables)


@pytest.fixture
def back_to_one(deploy: Callable, releases: Callable) -> Iterator[None]:
    """The inventory's own release, afterwards, on both hosts."""
    yield
    if set(releases().values()) != {"one"}:
        done = deploy()
        assert done.returncode == 0, done.output
