"""Runs on a host: have its server start on many configurations, one after the other.

    python3 redis_starts.py CASES

CASES is a JSON file: ``flavor``, and ``cases``, a name -> configuration and users. What a server that doesn't start
says is printed as JSON by the same names. Like redis-check-config, but for hundreds of files in half a minute.
"""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

DEADLINE = 60  # seconds, of which a server needs a tenth of one unless the machine is busy
OPTIONS = {
    "port": "0",
    "tls-port": "0",
    "daemonize": "no",
    "supervised": "no",
    "appendonly": "no",
    "save": "",
    "logfile": "",
}


def answers(path: str) -> bool:
    """Whether a server answers on a Unix socket."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(1)
        try:
            client.connect(path)
            client.sendall(b"PING\r\n")
            return client.recv(1) in (b"+", b"-")
        except OSError:
            return False


def start(flavor: str, config: str, users: str, scratch: str) -> str | None:
    """What a server says that doesn't start; nothing if it starts."""
    # the role would have made these directories
    config = re.sub(r"^dir .*", f"dir {scratch}", config, flags=re.MULTILINE)
    config = re.sub(r"^logfile .*", 'logfile ""', config, flags=re.MULTILINE)
    Path(scratch, "config").write_text(config)
    Path(scratch, "users").write_text(users)
    for path in (Path(scratch), *Path(scratch).iterdir()):
        shutil.chown(path, flavor, flavor)
    own = {name: f"{scratch}/{name}" for name in ("unixsocket", "pidfile")}
    options = {**OPTIONS, **own, "dir": scratch, "aclfile": f"{scratch}/users"}
    if "tls-cert-file" in config:
        options["tls-replication"] = "yes"  # so that it loads certificates without a port
    command = [f"/usr/bin/{flavor}-server", f"{scratch}/config"]
    server = subprocess.Popen(
        [*command, *(word for name, value in options.items() for word in (f"--{name}", value))],
        user=flavor,
        group=flavor,
        extra_groups=[],
        cwd="/",
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    end = time.monotonic() + DEADLINE
    while not (up := answers(own["unixsocket"])) and server.poll() is None and time.monotonic() < end:
        time.sleep(0.005)  # between two looks
    server.kill()
    said = server.communicate()[0]
    return None if up else said[-500:] or f"no answer within {DEADLINE} seconds"


def main() -> None:
    asked = json.loads(Path(sys.argv[1]).read_text())
    failed = {}
    for name, (config, users) in asked["cases"].items():
        with tempfile.TemporaryDirectory() as scratch:
            said = start(asked["flavor"], config, users, scratch)
        if said is not None:
            failed[name] = said
    print(json.dumps(failed))


if __name__ == "__main__":
    main()
