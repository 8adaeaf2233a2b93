"""A run that finds nothing to change: the whole stack on a host, beside geerlingguy.redis alone on another."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar

from bench.figure import Figure, Panel
from bench.first_run import development
from bench.lab import Environment, Lab, Options
from bench.record import Result, Trial, paired_ratio
from bench.timing import Run

OURS, PEER = "site.yml", "geerlingguy.redis"
AIM = 1.0
PEER_PATH = "BENCH_GEERLINGGUY_REDIS"
# the peer's tasks read facts as variables of their own
PEER_ENVIRON = {"ANSIBLE_INJECT_FACT_VARS": "true"}


class NoChange(Figure):
    """``no-change``."""

    name: ClassVar = "no-change"
    title: ClassVar = "A run that has nothing to change, on one host"
    settings: ClassVar = {
        "hosts": "a Debian 13 container each, over community.docker's connection, with pipelining in both",
        OURS: "inventories/development: Redis, chatlite, four nodes, beat; every node is asked whether it answers",
        PEER: "the role alone in a play, with its defaults; facts are gathered as a play does by default",
        "Ansible": "the repository's ansible.cfg in both; inject_facts_as_vars is on for the peer, which needs it",
    }
    panels: ClassVar = (
        Panel("seconds", "seconds", (OURS, PEER)),
        Panel("machine processor seconds", "processor seconds, of controller and host", (OURS, PEER)),
    )

    def problems(self, options: Options) -> Iterator[str]:
        if options.peer is None:
            yield (
                f"the figure {self.name} compares with geerlingguy.redis: set {PEER_PATH} to a checkout of the "
                "repository geerlingguy/ansible-role-redis, or leave the figure out, such as FIGURES=growth."
            )
        elif not (options.peer / "tasks/main.yml").is_file():
            yield f"{PEER_PATH} is {options.peer}, which is no Ansible role: there is no tasks/main.yml in it."

    def measure(self, lab: Lab) -> None:
        assert lab.options.peer  # noqa: S101 - problems() said so otherwise
        playbook = peer_playbook(lab, lab.options.peer)
        peer = Environment(lab, "peer", {"redis": ["redis1"]}, {})
        with development(lab, "ours").up() as ours, peer.up():
            ours.play("site.yml")
            peer.play(playbook, environ=PEER_ENVIRON)
            for number in lab.rounds:
                with lab.trial(OURS, number) as found:
                    found.update(told(ours.settled("site.yml")))
                with lab.trial(PEER, number) as found:
                    found.update(told(peer.settled(playbook, environ=PEER_ENVIRON)))

    def results(self, trials: Sequence[Trial]) -> list[Result]:
        return [
            Result(f"{OURS} by {PEER}, the median of the rounds' ratios", paired_ratio(trials, OURS, PEER), AIM),
            Result(
                "the same in processor seconds of the machine",
                paired_ratio(trials, OURS, PEER, "machine processor seconds"),
            ),
        ]


def told(run: Run) -> dict[str, dict[str, float]]:
    """A run's values and its plays."""
    return {
        "values": run.values,
        "split": {part or "start of Ansible": seconds for part, seconds in run.split.items()},
    }


def peer_playbook(lab: Lab, role: Path) -> Path:
    """A play of the peer's role alone."""
    path = lab.scratch / "peer.yml"
    play = {"name": "The peer's role", "hosts": "all", "become": True, "roles": [str(role.resolve())]}
    path.write_text(json.dumps([play]))
    return path
