#!/usr/bin/env python3
"""Inventory script: swaps the connection of the hosts in the hosts.yml beside it for containers on this machine.

An inventory directory with a link to this file is a rehearsal of the inventory: the same groups and variables, other
connections. The containers' names begin with $CELERIAC_PREFIX, or else with one derived from the directory's path, so
that checkouts and environments keep out of each other's way.

With a link named zz_test_hosts_over_ssh.py the hosts are reached over SSH, by the login user of the inventory itself;
only addresses, key and known hosts come from an ssh_config that the scenario's prepare.yml writes.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml


def prefix(directory: Path) -> str:
    """What the names of the containers and of their network begin with."""
    digest = hashlib.sha256(str(directory).encode()).hexdigest()[:6]
    return os.environ.get("CELERIAC_PREFIX") or f"celeriac-{digest}-{directory.name}"


def state(name: str) -> Path:
    """Where secrets and other state of the test hosts ``name`` are kept."""
    home = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(home) / "celeriac" / name


def hosts(groups: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The host names in a YAML inventory, each with the variables beside it, as often as it stands there."""
    for group in groups.values():
        for name, variables in ((group or {}).get("hosts") or {}).items():
            yield name, variables or {}
        yield from hosts((group or {}).get("children") or {})


def machines(groups: dict[str, Any]) -> dict[str, str]:
    """Host name -> the host that it is: another one, where ``ansible_host`` names it."""
    found = list(hosts(groups))
    names = {name for name, _ in found}
    other = {name: variables["ansible_host"] for name, variables in found if variables.get("ansible_host") in names}
    return {name: other.get(name, name) for name in sorted(names)}


def connection(host: str, name: str, *, over_ssh: bool) -> dict[str, Any]:
    """The connection variables of one host."""
    if over_ssh:
        options = f"-F {state(name)}/ssh_config"
        return {"test_host_name": host, "ansible_host": host, "ansible_ssh_common_args": options}
    return {
        "test_host_name": host,
        "ansible_host": f"{name}-{host}",
        "ansible_connection": "community.docker.docker",
        "ansible_user": None,  # root; to be told makes the connection ask for Docker's version, twice for each task
        "ansible_become": False,
    }


def inventory(directory: Path, *, over_ssh: bool = False) -> dict[str, Any]:
    """What Ansible expects of an inventory script called with --list."""
    name = prefix(directory)
    found = machines(yaml.safe_load((directory / "hosts.yml").read_text()))
    own = {
        "test_host_prefix": name,
        "test_host_state": str(state(name)),
        "redis_tls_ca_directory": str(state(name) / "tls"),  # never the environment's own authority
    }
    return {
        "all": {"hosts": list(found), "vars": own},
        "_meta": {"hostvars": {host: connection(machine, name, over_ssh=over_ssh) for host, machine in found.items()}},
    }


if __name__ == "__main__":
    script = Path(sys.argv[0])
    print(json.dumps(inventory(script.parent.resolve(), over_ssh="over_ssh" in script.name), indent=2))
