"""Where figures are measured: environments on containers of this machine, made for a figure and removed after it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from bench.machine import ROOT, load
from bench.record import Trial
from bench.timing import BenchError, Run, memory_mib, run

SHARED = ROOT / "molecule/shared"
CHATLITE = ROOT / "examples/chatlite"
APPLICATION = ROOT / "bench/app"
CLIENT = ROOT / "bench/remote/client.py"
PROMPT = 300  # seconds that a client on a host has for its work


@dataclass(frozen=True)
class Options:
    """What the caller said."""

    rounds: int = 5
    peer: Path | None = None  # directory of geerlingguy.redis


class Lab:
    """A directory for inventories, applications and secrets, outside the repository; and the trials so far."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.name = f"celeriac-bench-{os.getpid()}"
        self.scratch = Path(tempfile.mkdtemp(prefix=f"{self.name}-"))
        self.trials: list[Trial] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.scratch)

    @property
    def rounds(self) -> range:
        """The numbers of the rounds."""
        return range(1, self.options.rounds + 1)

    @contextmanager
    def trial(self, series: str, round_: int, hosts: int = 1) -> Iterator[dict[str, Any]]:
        """One measurement: the caller puts its ``values`` into what it gets, and a ``split`` if there is one."""
        at, now = datetime.now(UTC).isoformat(timespec="seconds"), load()
        found: dict[str, Any] = {}
        yield found
        self.trials.append(Trial(series=series, round=round_, at=at, load=now, hosts=hosts, **found))
        shown = ", ".join(f"{name} {value:g}" for name, value in found["values"].items())
        of = f", {hosts} hosts" if hosts > 1 else ""
        print(f"  {round_} {series}{of}: {shown}; load {now}", flush=True)

    def environ(self, name: str) -> dict[str, str]:
        """Variables with which the test hosts ``name`` meet no others."""
        return {
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_HOME": str(self.scratch / "ansible"),
            "CELERIAC_PREFIX": f"{self.name}-{name}",
            "XDG_STATE_HOME": str(self.scratch / "state"),
        }

    def application(self, name: str, source: Path = APPLICATION) -> Path:
        """A copy of an application, to be changed, with chatlite's lock where it has none."""
        copy = Path(shutil.copytree(source, self.scratch / "applications" / name))
        if not (copy / "requirements.txt").exists():
            shutil.copy(CHATLITE / "requirements.txt", copy)
        return copy


class Environment:
    """An inventory and its hosts.

    :param groups: group -> its hosts
    :param variables: those of all hosts
    :param hosts_of: the environment whose hosts these are, where it isn't this one
    """

    def __init__(
        self,
        lab: Lab,
        name: str,
        groups: Mapping[str, Sequence[str]],
        variables: Mapping[str, Any],
        hosts_of: str = "",
    ) -> None:
        self.lab, self.groups, self.variables = lab, groups, variables
        self.directory = lab.scratch / "inventories" / name
        self.environ = lab.environ(hosts_of or name)
        write_inventory(self.directory, groups, variables)
        for link in (SHARED / "secrets.yml", SHARED / "test_hosts.py"):
            (self.directory / f"zz_{link.name}").symlink_to(link)

    @contextmanager
    def up(self) -> Iterator[Self]:
        """The hosts, bare and booted; they are removed again."""
        try:
            self.play("molecule/shared/create.yml")
            yield self
        finally:
            self.play("molecule/shared/destroy.yml")

    def command(self, playbook: str | Path, *arguments: str) -> list[str]:
        """The command that runs a playbook."""
        return ["ansible-playbook", f"--inventory={self.directory}", str(playbook), *arguments]

    def play(self, playbook: str | Path, *arguments: str, environ: Mapping[str, str] | None = None) -> Run:
        """Run a playbook and measure it.

        :raises BenchError: if it fails
        """
        return run(self.command(playbook, *arguments), {**self.environ, **(environ or {})})

    def settled(self, playbook: str | Path, *arguments: str, environ: Mapping[str, str] | None = None) -> Run:
        """Run a playbook that has nothing to change.

        :raises BenchError: if it changes something
        """
        played = self.play(playbook, *arguments, environ=environ)
        if played.changed:
            raise BenchError(f"{playbook} was to find nothing to change, but:\n{played.output}")
        return played

    def memory(self, playbook: str | Path, *arguments: str) -> float:
        """The most memory that a run of a playbook needs on this machine, MiB; it isn't timed."""
        return round(memory_mib(self.command(playbook, *arguments), self.environ), 1)

    def container(self, host: str) -> str:
        """The name of a host's container."""
        return f"{self.environ['CELERIAC_PREFIX']}-{host}"

    def execute(self, host: str, *command: str, stdin: bytes = b"") -> Run:
        """Run a command as root on a host."""
        return run(["docker", "exec", "--interactive", self.container(host), *command], stdin=stdin)

    def client(self, host: str, *arguments: str) -> Run:
        """Run bench/remote/client.py on a host that Celeriac has deployed to."""
        runner = f"{self.variables['app_name']}-run"
        return self.execute(host, runner, *client(*arguments), stdin=CLIENT.read_bytes())


def alone(host: str) -> dict[str, list[str]]:
    """The groups of an environment with one host."""
    return {group: [host] for group in ("redis", "workers", "beat")}


def client(*arguments: str) -> list[str]:
    """The command of bench/remote/client.py, whose text is to be its input."""
    return ["timeout", str(PROMPT), "python", "-", *arguments]


def write_inventory(directory: Path, groups: Mapping[str, Sequence[str]], variables: Mapping[str, Any]) -> None:
    """Write an inventory of our shape, without connections and secrets."""
    variables_file = directory / "group_vars/all/main.yml"
    variables_file.parent.mkdir(parents=True)
    variables_file.write_text(json.dumps(dict(variables)))
    hosts = {group: {"hosts": dict.fromkeys(members)} for group, members in groups.items()}
    (directory / "hosts.yml").write_text(json.dumps(hosts))
    for name in ("topology.yml", "wiring.yml"):
        (directory / name).symlink_to(ROOT / "inventories/shared" / name)


def docker_problem() -> str:
    """Why no test host can be started, a sentence; "" if one can."""
    try:
        found = subprocess.run(
            ["docker", "image", "ls", "--format={{.Repository}}:{{.Tag}}"], text=True, capture_output=True, timeout=30
        )
    except (OSError, subprocess.TimeoutExpired):
        return "there is no Docker Engine: run tools/docker_engine ensure."
    if found.returncode:
        return f"no Docker Engine answers, run tools/docker_engine ensure: {found.stderr.strip()}"
    if "celeriac-host:debian13" not in found.stdout.split():
        return "the image celeriac-host:debian13 isn't there: run make images."
    return ""
