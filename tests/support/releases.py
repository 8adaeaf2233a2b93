"""Releases of an application: those that hosts have, and deployments that make more."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.fleet import Fleet, Worker
from tests.support.paths import ROOT
from tests.support.site import Run, Site


class Releases:
    """The releases on one host, and runs of the scenario app that make more."""

    def __init__(self, worker: Worker) -> None:
        self.worker, self.host, self.root = worker, worker.host, f"/opt/{worker.app}"

    @property
    def current(self) -> str:
        """The directory of the release that is current."""
        return self.worker.release()

    @property
    def virtualenv(self) -> str:
        """The directory of the current release's virtualenv."""
        return str(self.host.check_output(f"readlink -f {self.current}/.venv"))

    def about(self) -> dict[str, str]:
        """What the current release says of itself."""
        return dict(json.loads(self.host.file(f"{self.current}/.celeriac-complete").content_string))

    def there(self) -> list[str]:
        """All releases and virtualenvs, below ``root``."""
        return str(self.host.check_output(f"cd {self.root} && ls -d releases/* virtualenvs/*")).split()

    def deploy(self, **variables: Any) -> Run:
        """Deploy with other variables than the inventory's."""
        limit = f"--limit={self.worker.name}"
        return self.worker.site.playbook("molecule/app/converge.yml", limit, "--tags=app_release", **variables)

    def restore(self, release: str) -> None:
        """Make a release current again."""
        self.host.check_output(f"ln -sfn {release} {self.root}/current")


@dataclass(frozen=True)
class Release:
    """A release of tests/apps/ledger that can be deployed.

    :param name: the RELEASE of its code
    :param variables: extra variables that deploy it
    """

    name: str
    variables: dict[str, Any]


class Deployments:
    """Deployments of tests/apps/ledger on all worker hosts."""

    def __init__(self, site: Site, fleet: Fleet, scratch: pytest.TempPathFactory) -> None:
        self._site, self._fleet, self._scratch = site, fleet, scratch
        self._sound = {"one": Release("one", {})}  # name -> each release that runs, the inventory's own first

    def names(self) -> set[str]:
        """Which releases are current on the hosts, by what their code says."""
        return {self._name(worker) for worker in self._fleet.values()}

    @staticmethod
    def _name(worker: Worker) -> str:
        text = worker.host.file(f"/opt/{worker.app}/current/ledger.py").content_string
        found = re.search(r'RELEASE = "(\w+)"', text)
        assert found, text
        return found[1]

    def source(self, *replacements: tuple[str, str], requirements: str = "") -> Release:
        """A release that no host has: the application with a RELEASE of its own, and texts of ledger.py replaced."""
        name = f"r{uuid.uuid4().hex[:8]}"
        directory = self._copy(name)
        code = (directory / "ledger.py").read_text()
        for old, new in (('RELEASE = "one"', f'RELEASE = "{name}"'), *replacements):
            assert old in code
            code = code.replace(old, new)
        (directory / "ledger.py").write_text(code)
        if requirements:
            (directory / "requirements.txt").write_text(requirements)
        release = Release(name, {"app_source": {"type": "path", "path": str(directory)}})
        if not replacements and not requirements:
            self._sound[name] = release
        return release

    def _copy(self, name: str) -> Path:
        worker = next(iter(self._fleet.values()))
        source, target = ROOT / worker.variables["app_source"]["path"], self._scratch.mktemp(name) / "ledger"
        return shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))

    def deploy(self, **variables: Any) -> Run:
        """Run deploy.yml."""
        return self._site.playbook("playbooks/deploy.yml", **variables)

    def rollback(self, **variables: Any) -> Run:
        """Run rollback.yml."""
        return self._site.playbook("playbooks/rollback.yml", **variables)

    def current(self) -> Release:
        """The release of all hosts. Where a test left something else than one sound release, a new one is deployed."""
        names = self.names()
        if len(names) == 1 and (release := self._sound.get(next(iter(names)))):
            return release
        release = self.source()
        self.deploy(**release.variables).succeeded()
        return release

    def kill_at(self, task: str, release: Release) -> None:
        """Kill a deployment, with all its processes, when it announces ``task`` for the first host that it changes."""
        process = self._site.start("playbooks/deploy.yml", **release.variables)
        assert process.stdout is not None
        try:
            said = []
            switching = False
            for line in process.stdout:
                said.append(line)
                switching = switching or "PLAY [Nodes, host by host]" in line or task == "Build the release"
                if switching and line.startswith("TASK") and task in line:
                    break
            else:
                pytest.fail(f"{task} was never announced:\n{''.join(said)}")
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            process.stdout.close()
