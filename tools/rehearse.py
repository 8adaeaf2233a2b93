#!/usr/bin/env python3
"""Rehearse an environment: its inventory on containers of this machine, the same site.yml, real work submitted."""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT / "molecule" / "shared"
sys.path.insert(0, str(SHARED))

import test_hosts  # noqa: E402 - from the path that was added

RECAP = re.compile(r"^(?P<host>\S+)\s+: ok=\d+\s+changed=(?P<changed>\d+)", re.MULTILINE)
# The units that roles have written or extended on a host.
UNITS = (
    "find /etc/systemd/system -mindepth 1 -maxdepth 1 -type f -o -type d -name '*.d' | "
    "sed 's|.*/||; s|\\.d$||; s|@\\.|@*.|' | xargs systemctl list-units --output=json"
)
BEGAN = "CELERIAC_BEGAN"  # when make began, in seconds since the epoch
ESCAPES = re.compile(r"\x1b\[[0-9;]*m")
# What `make up` spends its seconds on. Those of site.yml are told apart by its tasks' names, the first that matches.
BEFORE, HOSTS, FIRST_TASK, REST = "virtualenv and images", "hosts", "first task", "everything else"
TASKS = (
    (r"install \| Install ", "packages"),
    (r"celeriac\.fleet\.app : release \||celeriac\.fleet\.celery : check \|", "release"),
    (r"celeriac\.fleet\.redis : (?!look)", "Redis"),
    (r"celeriac\.fleet\.celery : ", "nodes"),
)
HEADER = re.compile(r"(?:PLAY|TASK|RUNNING HANDLER) (?:\[(?P<name>.*)\]|RECAP) \**$")


class Split:
    """How many seconds each part of what `make up` does has taken, in the order of their beginnings.

    :param began: when the first part, ``BEFORE``, began, in seconds since the epoch
    """

    def __init__(self, began: float, clock: Callable[[], float] = time.time) -> None:
        self.clock, self.since, self.part = clock, began, BEFORE
        self.seconds: dict[str, float] = {}

    def enter(self, part: str) -> None:
        """End the part before, and begin this one or go on with it."""
        now = self.clock()
        self.seconds[self.part] = self.seconds.get(self.part, 0.0) + now - self.since
        self.part, self.since = part, now

    def read(self, line: str) -> None:
        """Enter the part that begins with a line of ansible-playbook's, if one does."""
        if header := HEADER.match(ESCAPES.sub("", line).strip()):
            name = header["name"] or ""
            self.enter(next((part for pattern, part in TASKS if re.search(pattern, name)), REST))

    def line(self) -> str:
        """All parts, and their sum."""
        parts = ", ".join(f"{part} {seconds:.1f}" for part, seconds in self.seconds.items() if part != REST)
        rest, sum_ = self.seconds.get(REST, 0.0), sum(self.seconds.values())
        return f"seconds: {parts}, {REST} {rest:.1f}; in all {sum_:.1f}"


def give_up(message: str) -> NoReturn:
    """End with one message on standard error."""
    sys.exit(f"celeriac: {message}")


def environments() -> list[str]:
    """The environments that have an inventory, references included (``reference/<system>``)."""
    found = sorted((ROOT / "inventories").glob("**/hosts.yml"))
    return [str(path.parent.relative_to(ROOT / "inventories")) for path in found]


class Rehearsal:
    """One environment, its inventory directory under .rehearsal/ and its containers."""

    def __init__(self, environment: str) -> None:
        if environment not in environments():
            give_up(f"ENV is {environment!r}: use one of {', '.join(environments())}.")
        self.environment = environment
        self.source = ROOT / "inventories" / environment
        self.directory = ROOT / ".rehearsal" / environment
        self.prefix = test_hosts.prefix(self.directory)
        self.state = test_hosts.state(self.prefix)

    def link(self) -> None:
        """Make the inventory directory anew: the environment's own files, and ours that swap the connection."""
        shutil.rmtree(self.directory, ignore_errors=True)
        self.directory.mkdir(parents=True)
        for path in self.source.iterdir():
            (self.directory / path.name).symlink_to(path)
        (self.directory / "zz_test_hosts.py").symlink_to(SHARED / "test_hosts.py")
        if not (self.source / "group_vars" / "all" / "vault.yml").exists():
            (self.directory / "zz_secrets.yml").symlink_to(SHARED / "secrets.yml")

    def playbook(self, playbook: str, *, quiet: bool = False, read: Callable[[str], None] | None = None) -> str:
        """Run a playbook on the rehearsal's hosts; its output, which is also shown unless ``quiet``.

        :param read: what gets each line as it comes
        """
        command = ["ansible-playbook", "-i", str(self.directory.relative_to(ROOT)), playbook]
        environ = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")}
        if sys.stdout.isatty():
            environ["ANSIBLE_FORCE_COLOR"] = "1"
        lines = []
        with subprocess.Popen(
            command, cwd=ROOT, env=environ, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        ) as process:
            for line in process.stdout or ():
                lines.append(line)
                if read:
                    read(line)
                if not quiet:
                    print(line, end="", flush=True)
        output = "".join(lines)
        if process.returncode:
            if quiet:
                print(output, end="")
            give_up(
                f"'{' '.join(command)}' failed, the reason stands above. The hosts are still there: "
                "'make down' ends them."
            )
        return output

    def inventory(self) -> dict[str, Any]:
        """Groups and, untemplated, every host's variables."""
        command = ["ansible-inventory", "-i", str(self.directory), "--list"]
        listed = subprocess.run(command, cwd=ROOT, text=True, capture_output=True)
        if listed.returncode:
            give_up(f"inventories/{self.environment} can't be read:\n{listed.stderr}")
        return dict(json.loads(listed.stdout))

    def run(self, host: str, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command on a test host."""
        return subprocess.run(["docker", "exec", f"{self.prefix}-{host}", *command], text=True, capture_output=True)


def up(rehearsal: Rehearsal) -> None:
    """Start the hosts, apply site.yml, submit work, and say what is there."""
    split = Split(float(os.environ.get(BEGAN) or time.time()))
    split.enter(HOSTS)
    rehearsal.link()
    print(f"Starting the hosts of inventories/{rehearsal.environment} ...", flush=True)
    rehearsal.playbook("molecule/shared/create.yml", quiet=True)
    split.enter(REST)
    output = ESCAPES.sub("", rehearsal.playbook("site.yml", read=split.read))
    changes = {match["host"]: int(match["changed"]) for match in RECAP.finditer(output)}
    print("\n".join(["", *summary(rehearsal, changes, split)]))


def summary(rehearsal: Rehearsal, changes: dict[str, int], split: Split) -> Iterator[str]:
    """The lines that ``make up`` ends with."""
    inventory = rehearsal.inventory()
    hosts = inventory["_meta"]["hostvars"]
    worker = inventory["workers"]["hosts"][0]
    variables = hosts[worker]
    app = variables["app_name"]

    touched = sum(map(bool, changes.values()))
    yield f"{rehearsal.environment}: " + (
        f"site.yml changed {sum(changes.values())} things on {touched} of {len(changes)} hosts."
        if any(changes.values())
        else "nothing to change, site.yml found every host as it should be."
    )
    yield ""
    nodes = 0
    for host in sorted(hosts):
        yield f"  {host}"
        for unit in json.loads(rehearsal.run(host, "sh", "-c", UNITS).stdout):
            nodes += "-worker@" in unit["unit"]
            yield f"    {unit['unit']:<45} {unit['active']} ({unit['sub']})"
    answered = answers(rehearsal, worker, app, variables["celery_app"])
    yield ""
    yield f"  {'queue':<20} consumed by"
    for queue in sorted({queue for queues in answered.values() for queue in queues}):
        yield f"  {queue:<20} {', '.join(sorted(node for node, queues in answered.items() if queue in queues))}"
    yield ""
    yield f"  nodes that answered: {len(answered)} of {nodes}"
    if len(answered) != nodes:
        give_up("the hosts are up, but not every node answers.")
    if "rehearsal_command" in variables:
        split.enter(FIRST_TASK)
        work = rehearsal.run(worker, f"{app}-run", *variables["rehearsal_command"])
        yield from (f"  {line}" for line in work.stdout.splitlines())
        if work.returncode:
            give_up(f"the hosts are up, but the work submitted to them wasn't done: {work.stderr.strip()}")
    else:
        yield "  no work submitted: set rehearsal_command to a command of the application that submits some"
    split.enter(REST)
    yield ""
    yield f"  {split.line()}"
    yield ""
    yield "Next:"
    env = "" if rehearsal.environment == "development" else f" ENV={rehearsal.environment}"
    for command, does in (
        (f"make verify{env}", "run the test suite on it"),
        (
            f". .venv/bin/activate && ansible-playbook -i {rehearsal.directory.relative_to(ROOT)} site.yml",
            "apply a change",
        ),
        (f"docker exec -it {rehearsal.prefix}-{worker} bash", "look around on a host"),
        (
            f"docker exec {rehearsal.prefix}-{worker} {app}-run celery -A {variables['celery_app']} status",
            "ask the nodes",
        ),
        (f"make down{env}", "remove it"),
    ):
        yield f"  {command}\n      {does}"


def answers(rehearsal: Rehearsal, worker: str, app: str, celery_app: str) -> dict[str, list[str]]:
    """Node -> the queues that it consumes, of every node that answers."""
    asked = rehearsal.run(worker, f"{app}-run", "celery", "-A", celery_app, "inspect", "active_queues", "--json")
    if asked.returncode:
        give_up(f"no node answered: {asked.stderr.strip() or asked.stdout.strip()}")
    return {node: [queue["name"] for queue in queues] for node, queues in json.loads(asked.stdout).items()}


def verify(rehearsal: Rehearsal) -> None:
    """Run the integration tests that harm nothing on what is up."""
    if not rehearsal.directory.exists():
        give_up(f"{rehearsal.environment} isn't up: run 'make up ENV={rehearsal.environment}' first.")
    roles = sorted(path.parent.name for path in ROOT.glob("roles/*/tasks"))
    suites = [f"tests/integration/{suite}" for suite in (*roles, "site")]
    command = [
        *("pytest", *suites, "-m", "not destructive"),
        f"--ansible-inventory={rehearsal.directory.relative_to(ROOT)}",
    ]
    sys.exit(subprocess.run(command, cwd=ROOT).returncode)


def down(rehearsal: Rehearsal) -> None:
    """Remove the hosts, their network, and the secrets that were made for them."""
    if not rehearsal.directory.exists():
        rehearsal.link()
    rehearsal.playbook("molecule/shared/destroy.yml", quiet=True)
    shutil.rmtree(rehearsal.directory)
    shutil.rmtree(rehearsal.state, ignore_errors=True)
    print(f"{rehearsal.environment} is down.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("action", choices=["up", "verify", "down"])
    parser.add_argument("environment", metavar="ENV", help=f"one of {', '.join(environments())}")
    arguments = parser.parse_args()
    actions = {"up": up, "verify": verify, "down": down}
    actions[arguments.action](Rehearsal(arguments.environment))


if __name__ == "__main__":
    main()
