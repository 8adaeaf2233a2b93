#!/usr/bin/env python3
"""Start and remove test hosts: containers in a network of their own, in which they have the hosts' names.

    containers.py start NAME    reads a JSON object, host -> release of Debian, and ends when all have booted
    containers.py remove NAME   all of them, and their network

NAME is what the names of the containers and of the network begin with. What was started or removed is printed, a name a
line. The commands are docker's own: a module for each container costs more than the container does.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

SITE = Path(__file__).resolve().parents[2] / "examples" / "chatlite" / "testsite"
HOST = [
    *("--stop-signal=SIGRTMIN+3", "--cgroupns=host", "--volume=/sys/fs/cgroup:/sys/fs/cgroup:rw"),
    *("--cap-add=SYS_ADMIN", "--cap-add=NET_ADMIN", "--cap-add=SYS_PTRACE", "--security-opt=seccomp=unconfined"),
    *("--tmpfs=/run", "--tmpfs=/run/lock"),
]
SERVE = ["python3", "/srv/serve.py", "--port", "80"]  # the site that chatlite crawls
# Asks until systemd can be asked. The file is a mark in time: what is newer was written after the boot.
BOOT = """\
for _ in $(seq 1500); do
    state=$(systemctl is-system-running --wait 2>/dev/null)
    case $state in running|degraded) break; esac
    sleep 0.2
done
touch /var/tmp/bare
echo $state
"""


class TestHostError(Exception):
    """What docker said, or what a host did instead of booting."""


def docker(*command: str) -> str:
    """What a command of docker prints.

    :raises TestHostError: if it fails
    """
    done = subprocess.run(["docker", *command], text=True, capture_output=True)
    if done.returncode:
        raise TestHostError(f"docker {' '.join(command)}: {done.stderr.strip()}")
    return done.stdout.strip()


def found(kind: str, name: str, form: str, *options: str) -> list[str]:
    """Containers or networks that were made under a name, as ``docker KIND ls`` formats them."""
    return docker(kind, "ls", *options, f"--filter=label=celeriac={name}", f"--format={form}").splitlines()


def run(name: str, host: str, *options: str) -> None:
    """Start a container for a host."""
    docker(
        *("run", "--detach", "--pull=never", f"--name={name}-{host}", f"--hostname={host}"),
        *(f"--network={name}", f"--network-alias={host}", f"--label=celeriac={name}", *options),
    )


def boot(container: str) -> None:
    """Wait until systemd has started all that it starts.

    :raises TestHostError: if something didn't start
    """
    if (state := docker("exec", container, "sh", "-c", BOOT)) != "running":
        raise TestHostError(f"{container} is {state or 'not up'}: systemctl --failed says what didn't start.")


def start(name: str, hosts: dict[str, int]) -> Iterator[str]:
    """Start what isn't there or was stopped, and wait for all; the names of those that were started."""
    if not found("network", name, "{{.Name}}"):
        docker("network", "create", f"--label=celeriac={name}", name)
    states = dict(line.split() for line in found("container", name, "{{.Names}} {{.State}}", "--all"))
    commands = {
        "testsite": ["--init", f"--volume={SITE}:/srv:ro", "celeriac-host:debian13", *SERVE],
        **{host: [*HOST, f"celeriac-host:debian{release}", "/sbin/init"] for host, release in hosts.items()},
    }
    with ThreadPoolExecutor(len(commands)) as pool:
        missing = [host for host in commands if f"{name}-{host}" not in states]
        stopped = [each for each, state in states.items() if state != "running"]
        list(pool.map(lambda host: run(name, host, *commands[host]), missing))
        list(pool.map(lambda container: docker("start", container), stopped))
        list(pool.map(lambda host: boot(f"{name}-{host}"), hosts))
    yield from (f"{name}-{host}" for host in missing)
    yield from stopped


def remove(name: str) -> Iterator[str]:
    """Remove everything, what hosts that left the inventory since left behind included."""
    if containers := found("container", name, "{{.Names}}", "--all"):
        docker("rm", "--force", "--volumes", *containers)
    if networks := found("network", name, "{{.Name}}"):
        docker("network", "rm", *networks)
    yield from [*containers, *networks]


def main() -> int:
    parser = argparse.ArgumentParser(description="Start or remove test hosts.")
    parser.add_argument("action", choices=["start", "remove"])
    parser.add_argument("name", metavar="NAME")
    asked = parser.parse_args()
    try:
        done = remove(asked.name) if asked.action == "remove" else start(asked.name, json.load(sys.stdin))
        sys.stdout.writelines(f"{each}\n" for each in done)
    except TestHostError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
