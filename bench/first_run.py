"""A bare host until its first tasks are done: site.yml, beside the same work typed as commands."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import yaml

from bench.figure import Figure, Panel
from bench.lab import CHATLITE, CLIENT, Environment, Lab, alone, client
from bench.machine import ROOT
from bench.record import Result, Trial, paired_ratio
from bench.timing import Run, together

OURS, RAW = "site.yml", "raw commands"
AIM = 1.5
DEVELOPMENT = ROOT / "inventories/development"
QUEUES = ("crawl_queue", "process_queue", "schedule_queue", "monitor_queue", "default")
FIRST = ("first", "app.core.celery_config", "app.tasks.misc.echo", *QUEUES)
SCRIPT = "bench/remote/first_run.sh"
# what the raw commands start from, as a guide's reader has it on the host: name there -> file or directory here
GIVEN = {
    "first_run.sh": ROOT / SCRIPT,
    "chatlite": CHATLITE,
    "uv.txt": ROOT / "plugins/data/uv/requirements.txt",
    "lib.sh": ROOT / "tools/lib.sh",
}
GIVEN_AT = "/root/given"
AS_CHATLITE = (
    "set -a; . /etc/chatlite/chatlite.env; cd /opt/chatlite/current; PATH=$PWD/.venv/bin:$PATH; "
    'exec setpriv --reuid chatlite --regid chatlite --clear-groups -- "$@"'
)


def development(lab: Lab, name: str) -> Environment:
    """The environment ``development``, one host with chatlite's four nodes, under another name."""
    variables = yaml.safe_load((DEVELOPMENT / "group_vars/all/main.yml").read_text(encoding="utf-8"))
    return Environment(lab, name, alone("dev1"), variables)


class FirstRun(Figure):
    """``first-run``."""

    name: ClassVar = "first-run"
    title: ClassVar = "A bare host until chatlite has done a task through each queue"
    settings: ClassVar = {
        "host": "a bare Debian 13 container for each trial, booted before the clock starts; images are there",
        OURS: "inventories/development, Ansible with the repository's ansible.cfg",
        RAW: f"{SCRIPT}, by docker exec: the same packages, lock, nodes and limits",
        "not in the raw commands": "the sandbox of units, users of Redis, backups, checks before and after",
    }
    panels: ClassVar = (Panel("seconds", "seconds", (OURS, RAW)),)

    def measure(self, lab: Lab) -> None:
        given = archive(GIVEN)
        for number in lab.rounds:
            with development(lab, f"ours{number}").up() as environment, lab.trial(OURS, number) as found:
                found.update(ours(environment))
            with development(lab, f"raw{number}").up() as environment, lab.trial(RAW, number) as found:
                found.update(raw(environment, given))

    def results(self, trials: Sequence[Trial]) -> list[Result]:
        return [Result(f"{OURS} by {RAW}, the median of the rounds' ratios", paired_ratio(trials, OURS, RAW), AIM)]


def ours(environment: Environment) -> dict[str, Any]:
    """site.yml, and the first tasks."""
    return told(environment.play("site.yml"), environment.client("dev1", *FIRST))


def raw(environment: Environment, given: bytes) -> dict[str, Any]:
    """The raw commands, and the first tasks."""
    sent = environment.execute("dev1", "sh", "-c", f"mkdir {GIVEN_AT} && tar x -C {GIVEN_AT}", stdin=given)
    typed = environment.execute("dev1", f"{GIVEN_AT}/first_run.sh", GIVEN_AT)
    tasks = environment.execute("dev1", "sh", "-c", AS_CHATLITE, "sh", *client(*FIRST), stdin=CLIENT.read_bytes())
    commands = replace(together(sent, typed), split={"commands": round(sent.seconds + typed.seconds, 3)})
    return told(commands, tasks)


def told(work: Run, tasks: Run) -> dict[str, Any]:
    """A trial's values, and its split."""
    split = {part or "start of Ansible": seconds for part, seconds in work.split.items()}
    return {"values": together(work, tasks).values, "split": {**split, "first tasks": round(tasks.seconds, 3)}}


def archive(given: Mapping[str, Path]) -> bytes:
    """A tar file of files and directories, without what Python has compiled: name in it -> path."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name, path in given.items():
            tar.add(path, name, filter=lambda member: None if "__pycache__" in member.name else member)
    return packed.getvalue()
