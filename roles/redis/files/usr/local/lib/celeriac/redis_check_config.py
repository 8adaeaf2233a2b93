# Ansible managed
"""Ask the installed server whether it would start on a file of configuration, or with --acl of users.

Starts one on a socket of its own, without data, ports or writes, and ends it. Exit status: 0 it came up, 1 it didn't,
with what it said.
"""

from __future__ import annotations

import argparse
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

DEADLINE = 20.0  # seconds that the server may take to answer
POLL = 0.02  # seconds between two looks
# What a server says that starts well, too.
NOISE = re.compile(r"overcommit|^\*\*\*|oO0Oo|version=|^Configuration loaded|^Server initialized|^WARNING: ACL errors")
# Process, role, date, time and level, which stand before each line of its log.
PREFIX = re.compile(r"^\d+:\w \S+ \S+ \S+ \S+ . ")


def command(flavor: str, file: Path, acl: bool) -> list[str]:
    """What starts the server on ``file`` as its own user; all that it makes is in the file's directory."""
    directory = file.parent
    options = ["--port", "0", "--tls-port", "0", "--unixsocket", f"{directory}/socket", "--dir", f"{directory}"]
    options += ["--pidfile", "", "--logfile", "", "--loglevel", "warning", "--daemonize", "no", "--supervised", "no"]
    options += ["--save", "", "--appendonly", "no"]
    if not acl and "tls-cert-file" in file.read_text(encoding="utf-8", errors="replace"):
        options += ["--tls-replication", "yes"]  # so that certificates are loaded without a port
    # with the user's other groups, by which it may read a private key
    user = ["setpriv", f"--reuid={flavor}", f"--regid={flavor}", "--init-groups", "--"]
    return [*user, f"/usr/bin/{flavor}-server", *(["--aclfile"] if acl else []), str(file), *options]


def answers(path: Path) -> bool:
    """Whether a server answers on a Unix socket, be it with an error."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(1)
        try:
            client.connect(str(path))
            client.sendall(b"PING\r\n")
            return client.recv(1) in (b"+", b"-")
        except OSError:
            return False


def start(server: Sequence[str], path: Path) -> str | None:
    """Start and end ``server``, which answers on ``path``: what it said if it didn't come up, else nothing."""
    # what it says can't fill a pipe that nobody reads meanwhile
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(server, stdout=log, stderr=subprocess.STDOUT, cwd="/")
        try:
            end = time.monotonic() + DEADLINE
            while not (up := answers(path)) and process.poll() is None and time.monotonic() < end:
                time.sleep(POLL)  # between two looks at the server
        finally:
            process.kill()
            process.wait()
        log.seek(0)
        return None if up else log.read().decode(errors="replace")


def reasons(said: str) -> str:
    """What matters of a server's log, in one line."""
    lines = (PREFIX.sub("", line.strip()) for line in said.splitlines())
    return " ".join(line for line in lines if line and not NOISE.search(line))


def check(flavor: str, file: str, acl: bool) -> str | None:
    """Why the server of ``flavor`` doesn't start on ``file``; nothing if it does."""
    with tempfile.TemporaryDirectory(prefix="redis-check-") as directory:
        copy = Path(shutil.copy(file, directory))
        for path in (copy, directory):
            shutil.chown(path, flavor, flavor)
        said = start(command(flavor, copy, acl), copy.parent / "socket")
    if said is None:
        return None
    return reasons(said).replace(str(copy), file) or f"no answer within {DEADLINE:.0f} seconds"


def parse(arguments: list[str]) -> argparse.Namespace:
    """The command line; the flavour comes from the wrapper /usr/local/sbin/redis-check-config."""
    parser = argparse.ArgumentParser("redis-check-config", description=__doc__)
    parser.add_argument("--acl", action="store_true", help="FILE holds users, not configuration")
    parser.add_argument("--flavor", required=True, help=argparse.SUPPRESS)
    parser.add_argument("file", metavar="FILE")
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> None:
    """Exit with what the server said if it doesn't start."""
    options = parse(arguments)
    try:
        sys.exit(check(options.flavor, options.file, options.acl))
    except OSError as error:
        sys.exit(f"redis-check-config: {error}")


if __name__ == "__main__":
    main(sys.argv[1:])
