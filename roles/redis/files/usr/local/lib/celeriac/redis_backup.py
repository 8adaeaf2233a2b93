# Ansible managed
"""Back up an instance of Redis or Valkey: a snapshot, checked, beside it what it is; old ones go; a copy elsewhere.

As root it has the unit redis-backup@<instance>.service do that, and says what came of it. Exit status: 0 backed up, 1
no backup was made, 3 backed up but not copied.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import re
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from redis_dump import DumpError, Manifest, Server, check, complete, copy, rdb_version, room

STAMP = "%Y%m%dT%H%M%SZ"
REMOTE = re.compile(r"(?P<login>[^@/\s]+@[^@/\s]+):(?P<path>/\S*)")
POLL = 0.2  # seconds between two looks at the server
DEADLINE = 3600  # seconds that the server may take to save
NOT_COPIED = 3


def name(instance: str, when: datetime) -> str:
    """The file name of a backup."""
    return f"{instance}-{when.strftime(STAMP)}.rdb"


def made(names: Iterable[str], instance: str) -> dict[str, datetime]:
    """Those of ``names`` that are backups of ``instance``, newest first -> when they were made."""
    pattern = re.compile(rf"{re.escape(instance)}-(\d{{8}}T\d{{6}}Z)\.rdb")
    found = [(match[1], entry) for entry in names if (match := pattern.fullmatch(entry))]
    return {entry: datetime.strptime(stamp, STAMP).replace(tzinfo=UTC) for stamp, entry in sorted(found, reverse=True)}


def superfluous(backups: dict[str, datetime], now: datetime, count: int, days: int) -> list[str]:
    """Which backups go: those beyond the newest ``count`` and those older than ``days``, but never the newest.

    :param backups: what ``made`` returns
    """
    oldest = now - timedelta(days=days)
    return [entry for at, (entry, when) in enumerate(backups.items()) if at and (at >= count or when < oldest)]


def save(server: Server, deadline: float) -> datetime:
    """Have the server write its dump; when that began. What was written before this call is in it.

    A save or a rewrite of the AOF that runs already is waited for.

    :param deadline: of time.monotonic()
    :raises DumpError: if the server can't save, or not by the deadline
    """
    while True:
        before, began = server.info("server", "persistence"), datetime.now(UTC)
        accepted, answer = server.ask("BGSAVE", "SCHEDULE")
        if not accepted and "in progress" not in answer:
            raise DumpError(f"The server refused to save: {answer}")
        while True:
            time.sleep(POLL)  # between two looks at the server
            now = server.info("server", "persistence")
            if now["run_id"] != before["run_id"]:
                raise DumpError("The server was restarted while it saved: start the backup again.")
            if now["rdb_bgsave_in_progress"] == "0" and (not accepted or now["rdb_saves"] != before["rdb_saves"]):
                break
            if time.monotonic() > deadline:
                raise DumpError("The server didn't end its save in time: look at its log, and at the disk's load.")
        if accepted and now["rdb_last_bgsave_status"] != "ok":
            log = f"/var/log/{server.flavor}/{server.flavor}-server-{server.instance}.log"
            raise DumpError(f"The server couldn't save: see the end of {log}; is the disk of its data full?")
        # a save that was killed on purpose leaves the status alone, but not the time
        if accepted and int(now["rdb_last_save_time"]) >= int(began.timestamp()):
            return began


def back_up(server: Server, directory: Path, deadline: float) -> Path:
    """Make a backup in ``directory``, with its manifest; its path.

    :raises DumpError: if that fails; nothing of it stays then
    """
    for part in directory.glob(".*.part"):  # of a run that was killed
        part.unlink()
    while (directory / name(server.instance, datetime.now(UTC))).exists():
        time.sleep(POLL)  # until the clock gives another name
    began = save(server, deadline)
    path = directory / name(server.instance, began)
    try:
        with Path(f"/var/lib/{server.flavor}/{server.instance}/dump.rdb").open("rb") as source:
            room(directory, os.fstat(source.fileno()).st_size)
            with complete(path) as target:
                digest, part = copy(source, target), Path(target.name)
                keys = check(part, server.flavor)
        info = server.info("server")
        manifest = Manifest(
            instance=server.instance,
            host=socket.gethostname(),
            flavor=server.flavor,
            version=info.get(f"{server.flavor}_version", info["redis_version"]),
            rdb_version=rdb_version(path),
            time=began.strftime("%Y-%m-%dT%H:%M:%SZ"),
            bytes=path.stat().st_size,
            keys=keys,
            sha256=digest,
        )
        with complete(Manifest.path(path)) as beside:
            beside.write(manifest.text().encode())
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return path


def prune(directory: Path, instance: str, count: int, days: int) -> None:
    """Remove the backups that are beyond ``count`` or ``days``, and their manifests."""
    backups = made(os.listdir(directory), instance)
    for entry in superfluous(backups, datetime.now(UTC), count, days):
        (directory / entry).unlink()
        Manifest.path(directory / entry).unlink(missing_ok=True)
        print(f"removed {directory / entry}")


def copy_to_directory(backup: Path, directory: Path) -> None:
    """Copy a backup and its manifest to ``directory``."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    for part in directory.glob(".*.part"):
        part.unlink()
    for file in (backup, Manifest.path(backup)):
        with file.open("rb") as source, complete(directory / file.name) as target:
            copy(source, target)


def copy_over_ssh(backup: Path, login: str, directory: str, key: str, known_hosts: str) -> None:
    """Copy a backup and its manifest to ``directory`` of another host, which may offer sftp only.

    :raises DumpError: with what ssh says
    """
    files = (backup, Manifest.path(backup))
    parents = ["/".join(directory.split("/")[: at + 1]) for at in range(1, directory.count("/") + 1)]
    batch = [f"-mkdir {shlex.quote(parent)}" for parent in parents]
    for file in files:
        part, target = shlex.quote(f"{directory}/.{file.name}.part"), shlex.quote(f"{directory}/{file.name}")
        batch += [f"put -f {shlex.quote(str(file))} {part}", f"rename {part} {target}"]
    options = (
        f"IdentityFile={key} UserKnownHostsFile={known_hosts} GlobalKnownHostsFile=/dev/null StrictHostKeyChecking=yes "
        "LogLevel=ERROR IdentitiesOnly=yes BatchMode=yes ConnectTimeout=15 ServerAliveInterval=15"
    )
    command = ["sftp", "-b", "-", "-F", "/dev/null", *(f"-o{option}" for option in options.split()), login]
    done = subprocess.run(command, input="\n".join(batch) + "\n", capture_output=True, text=True, errors="replace")
    if done.returncode != 0:
        said = [line for line in done.stderr.splitlines() if "mkdir" not in line]
        raise DumpError(" ".join(said).strip() or f"sftp ended with exit status {done.returncode}")


def copy_elsewhere(backup: Path, arguments: argparse.Namespace) -> None:
    """Copy a backup to <copy_to>/<host>/<instance>.

    :raises DumpError: if that fails; the backup itself stays
    """
    remote = REMOTE.fullmatch(arguments.copy_to)
    below = f"{socket.gethostname()}/{arguments.instance}"
    try:
        if remote:
            path = f"{remote['path'].rstrip('/')}/{below}"
            copy_over_ssh(backup, remote["login"], path, arguments.ssh_key, arguments.known_hosts)
        else:
            directory = Path(arguments.copy_to, below)
            copy_to_directory(backup, directory)
            prune(directory, arguments.instance, arguments.keep_count, arguments.keep_days)
    except (OSError, DumpError) as error:
        raise DumpError(
            f"{backup} is complete, but wasn't copied to {arguments.copy_to}: {error}. Put that right and start the "
            "backup again, or copy the file and its .json by hand."
        ) from None


def run(arguments: argparse.Namespace) -> int:
    """Back up, copy, remove old ones; the exit status."""
    directory = Path(arguments.directory, arguments.instance)
    directory.mkdir(mode=0o700, exist_ok=True)
    problem = None
    with (directory / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # whoever holds it has a deadline
        server = Server(arguments.flavor, arguments.instance)
        backup = back_up(server, directory, time.monotonic() + DEADLINE)
        print(describe(backup))
        if arguments.copy_to:
            try:
                copy_elsewhere(backup, arguments)
            except DumpError as error:
                problem = error
        prune(directory, arguments.instance, arguments.keep_count, arguments.keep_days)
    if problem:
        print(f"redis-backup: {problem}", file=sys.stderr)
        return NOT_COPIED
    return 0


def describe(backup: Path) -> str:
    """Path, size and digest of a backup."""
    manifest = Manifest.read(backup)
    return f"{backup} {manifest.bytes} bytes {manifest.keys} keys sha256 {manifest.sha256}"


def by_unit(arguments: argparse.Namespace) -> int:
    """Have the unit do it, which runs as the server's user and in a sandbox; the exit status."""
    unit = f"redis-backup@{arguments.instance}.service"
    if not Path(f"/etc/{arguments.flavor}/{arguments.flavor}-{arguments.instance}.conf").exists():
        raise DumpError(f"There is no instance {arguments.instance!r} on this host: see /etc/{arguments.flavor}.")
    before = _show(unit, "InvocationID")
    started = subprocess.run(["systemctl", "start", unit], capture_output=True, text=True)
    invocation = _show(unit, "InvocationID")
    if started.returncode == 0:
        status = 0
    elif invocation == before:
        print(started.stderr.strip(), file=sys.stderr)
        return 1
    else:
        status = NOT_COPIED if _show(unit, "ExecMainStatus") == str(NOT_COPIED) else 1
        subprocess.run(["journalctl", "--sync"], check=False)
        journal = ["journalctl", "--quiet", "--output=cat", f"_SYSTEMD_INVOCATION_ID={invocation}"]
        said = subprocess.run(journal, capture_output=True, text=True, errors="replace").stdout.splitlines()
        print("\n".join(line for line in said if line.startswith("redis-backup: ")) or started.stderr, file=sys.stderr)
    if status != 1:
        directory = Path(arguments.directory, arguments.instance)
        print(describe(directory / next(iter(made(os.listdir(directory), arguments.instance)))))
    return status


def _show(unit: str, name_: str) -> str:
    command = ["systemctl", "show", "--value", f"--property={name_}", unit]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def parse(arguments: list[str]) -> argparse.Namespace:
    """The command line; settings come from the wrapper /usr/local/sbin/redis-backup."""
    parser = argparse.ArgumentParser("redis-backup", description=__doc__)
    parser.add_argument("instance", help="name of the instance")
    parser.add_argument("--flavor", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--directory", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--keep-count", type=int, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--keep-days", type=int, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--copy-to", default="", help=argparse.SUPPRESS)
    parser.add_argument("--ssh-key", default="", help=argparse.SUPPRESS)
    parser.add_argument("--known-hosts", default="", help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def main(what: Callable[[argparse.Namespace], int], arguments: argparse.Namespace) -> int:
    """Exit status of ``what``; a problem becomes a sentence."""
    try:
        return what(arguments)
    except (OSError, DumpError) as error:
        print(f"redis-backup: no backup of {arguments.instance} was made. {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    parsed = parse(sys.argv[1:])
    sys.exit(main(by_unit if os.geteuid() == 0 else run, parsed))
