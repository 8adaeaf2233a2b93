"""What more hosts cost: runs that have nothing to change, and the preflight of inventories whose hosts aren't there."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

from bench.figure import Figure, Panel
from bench.lab import Environment, Lab, write_inventory
from bench.no_change import told
from bench.record import Result, Trial, medians
from bench.timing import memory_mib, run

REAL, SIMULATED = "site.yml", "preflight, simulated"
HOSTS = (1, 5, 10, 20)
SIMULATED_HOSTS = (20, 200, 1000)
AIM = 6.0  # times one host's seconds that 20 hosts take
LINEAR = 1.0  # what a host more costs among many, by what it costs among few
MEMORY = "controller memory MiB"  # of all its processes, at most
PREFLIGHT = "Preflight"  # how the names of its plays begin
FACTS = {
    "distribution": "Debian",
    "distribution_major_version": "13",
    "default_ipv4": {"address": "192.0.2.7"},
}


def groups(hosts: int) -> dict[str, list[str]]:
    """The groups of ``hosts`` hosts: each has a node, the first also Redis and beat."""
    names = [f"host{number}" for number in range(1, hosts + 1)]
    return {"redis": names[:1], "workers": names, "beat": names[:1]}


def variables(application: Path) -> dict[str, Any]:
    """What all hosts have: one small node each, and TLS between them."""
    return {
        "app_name": "bench",
        "app_source": {"type": "path", "path": str(application)},
        "celery_app": "bench_app",
        "celery_routed_queues": ["celery"],
        "celery_nodes": [{"name": "node", "queues": ["celery"], "concurrency": 1}],
        "redis_instances": [{"name": "broker", "port": 6379, "profile": "broker", "maxmemory": "128mb"}],
        "redis_tls_enabled": True,
    }


class Growth(Figure):
    """``growth``."""

    name: ClassVar = "growth"
    title: ClassVar = "A run that has nothing to change, on more hosts"
    settings: ClassVar = {
        REAL: "Debian 13 containers of this machine, one node each, Redis with TLS on the first; 20 forks",
        SIMULATED: "playbooks/preflight.yml over an inventory of the same shape whose facts are cached, without hosts",
        MEMORY: "the most that all processes of Ansible have together, shared pages counted once, in a run of its own",
    }
    panels: ClassVar = (
        Panel("seconds", "seconds", (REAL,), growth=True),
        Panel("seconds", "seconds", (SIMULATED,), growth=True),
        Panel(MEMORY, "MiB of the controller", (REAL, SIMULATED), growth=True),
    )

    def measure(self, lab: Lab) -> None:
        application = variables(lab.application("growth"))
        self._simulate(lab, application)
        most = Environment(lab, "growth", groups(HOSTS[-1]), application)
        some = {
            hosts: Environment(lab, f"growth{hosts}", groups(hosts), application, hosts_of="growth") for hosts in HOSTS
        }
        with most.up():
            most.play("site.yml")
            memory = {hosts: environment.memory("site.yml") for hosts, environment in some.items()}
            for number in lab.rounds:
                for hosts, environment in some.items():
                    with lab.trial(REAL, number, hosts) as found:
                        found.update(told(environment.settled("site.yml")))
                        found["values"][MEMORY] = memory[hosts]

    def _simulate(self, lab: Lab, application: Mapping[str, Any]) -> None:
        simulations = {hosts: Simulation(lab, hosts, application) for hosts in SIMULATED_HOSTS}
        memory = {hosts: simulation.memory() for hosts, simulation in simulations.items()}
        for number in lab.rounds:
            for hosts, simulation in simulations.items():
                with lab.trial(SIMULATED, number, hosts) as found:
                    found.update(told(run(simulation.command, simulation.environ)))
                    found["values"][MEMORY] = memory[hosts]

    def results(self, trials: Sequence[Trial]) -> list[Result]:
        found = medians(trials)
        one, most = (found[REAL, hosts] for hosts in (HOSTS[0], HOSTS[-1]))
        preflight = sum(seconds for part, seconds in most.items() if part.startswith(PREFLIGHT))
        few, some, many = (found[SIMULATED, hosts]["seconds"] for hosts in SIMULATED_HOSTS)
        steps = [right - left for left, right in pairwise(SIMULATED_HOSTS)]
        return [
            Result(f"{HOSTS[-1]} hosts by one", most["seconds"] / one["seconds"], AIM),
            Result(f"the preflight's share of {HOSTS[-1]} hosts' run", preflight / most["seconds"]),
            Result(
                "what a host more costs the preflight, from 200 to 1,000 hosts by from 20 to 200",
                ((many - some) / steps[1]) / ((some - few) / steps[0]),
                LINEAR,
            ),
        ]


class Simulation:
    """A preflight over an inventory of hosts that aren't there.

    Their facts are in Ansible's cache, and the one that runs Redis is this machine, which is only looked at.
    """

    def __init__(self, lab: Lab, hosts: int, application: Mapping[str, Any]) -> None:
        directory = lab.scratch / "inventories" / f"simulated{hosts}"
        secrets = {
            "vault_redis_admin_password": "a" * 32,
            "vault_redis_app_password": "b" * 32,
            "vault_redis_tls_ca_passphrase": "c" * 32,
            "redis_tls_ca_directory": str(directory / "tls"),
        }
        of_all = groups(hosts)
        local = {"ansible_connection": "local", "ansible_become": False}
        write_inventory(directory, of_all, {**application, **secrets, **local})
        self.command = ["ansible-playbook", f"--inventory={directory}", "playbooks/preflight.yml"]
        self.environ = {
            **lab.environ("simulated"),
            "ANSIBLE_GATHERING": "explicit",
            "ANSIBLE_CACHE_PLUGIN": "ansible.builtin.jsonfile",
            "ANSIBLE_CACHE_PLUGIN_CONNECTION": str(directory.with_suffix(".facts")),
        }
        gathered = directory.with_suffix(".gathered.yml")
        task = {"name": "Keep facts", "ansible.builtin.set_fact": {**FACTS, "cacheable": True}}
        gathered.write_text(json.dumps([{"name": "Facts", "hosts": "all", "gather_facts": False, "tasks": [task]}]))
        run([*self.command[:-1], str(gathered)], self.environ)

    def memory(self) -> float:
        """The most memory that it needs, MiB; it isn't timed."""
        return round(memory_mib(self.command, self.environ), 1)
