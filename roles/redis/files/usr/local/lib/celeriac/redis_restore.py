# Ansible managed
"""Put a backup in the place of an instance's data. What it replaces is kept beside it.

The file is checked first: its SHA-256 against its manifest, then all of it by the installed server's own checker. Only
then is the instance stopped. If it doesn't start on the restored data, it gets its old data back. Exit status: 0
restored, 1 nothing was changed, 4 the restore failed after the instance had been stopped.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import pwd
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from redis_dump import DumpError, Manifest, Server, check, complete, copy, installed, room, sync

DEADLINE = 3600  # seconds that the server may take to load
AFTER_STOP = 4


class AfterStopError(DumpError):
    """The restore failed with the instance stopped."""


class Instance:
    """An instance on this host.

    :raises DumpError: if there is no such instance
    """

    def __init__(self, flavor: str, name: str) -> None:
        self.flavor, self.name = flavor, name
        self.unit = f"{flavor}-server@{name}.service"
        self.data = Path(f"/var/lib/{flavor}/{name}")
        there = {path.stem.removeprefix(f"{flavor}-"): path for path in Path("/etc", flavor).glob(f"{flavor}-*.conf")}
        if name not in there:
            raise DumpError(f"There is no instance {name!r} on this host: use one of {', '.join(sorted(there))}.")
        lines = [shlex.split(line) for line in there[name].read_text().splitlines() if line.startswith("appendonly ")]
        self.appendonly = bool(lines) and lines[-1][1] == "yes"
        account = pwd.getpwnam(flavor)
        self.uid, self.gid = account.pw_uid, account.pw_gid
        (password,) = re.findall(r"^REDISCLI_AUTH=(\S+)$", Path(f"/etc/{flavor}/celeriac.env").read_text(), re.M)
        self.server = Server(flavor, name, password)

    @contextmanager
    def owner(self) -> Iterator[None]:
        """Act as the server's user, to whom the files below belong: root must not follow what that user puts there."""
        os.setegid(self.gid)
        os.seteuid(self.uid)
        try:
            yield
        finally:
            os.seteuid(0)
            os.setegid(0)

    def systemctl(self, verb: str, **limits: Any) -> str:
        """What systemctl said if it failed."""
        try:
            done = subprocess.run(["systemctl", verb, self.unit], capture_output=True, text=True, **limits)
        except subprocess.TimeoutExpired:
            return f"it didn't load its data within {DEADLINE} seconds"
        return "" if done.returncode == 0 else done.stderr.strip() or done.stdout.strip() or "it failed"

    def start(self) -> str:
        """Start it and wait until it has loaded its data; what went wrong."""
        self.systemctl("reset-failed")
        failed = self.systemctl("start", timeout=DEADLINE)
        deadline = time.monotonic() + DEADLINE
        while not failed:
            try:
                if self.server.info("persistence")["loading"] == "0":
                    return ""
            except DumpError as error:
                failed = str(error)
            if time.monotonic() > deadline:
                return f"it didn't load its data within {DEADLINE} seconds"
            time.sleep(0.2)  # between two looks at the server
        return failed


def expected(file: Path, sha256: str, instance: Instance) -> tuple[str, str, str]:
    """SHA-256 that ``file`` must have, the server that wrote it, and a description.

    :raises DumpError: if nobody says which, or it is another instance's
    """
    if not file.is_file():
        raise DumpError(f"{file} is no file: give the .rdb file of a backup.")
    if sha256:
        return sha256.lower(), "", f"{file}"
    try:
        manifest = Manifest.read(file)
    except FileNotFoundError:
        raise DumpError(
            f"{Manifest.path(file)} is missing, so nothing says whether {file} is whole: put it there, or give the "
            "SHA-256 that you know it to have (restore_sha256, --sha256)."
        ) from None
    if manifest.instance != instance.name:
        raise DumpError(
            f"{file} is a backup of the instance {manifest.instance!r}, not of {instance.name!r}: give one of "
            f"{instance.name!r}, or its SHA-256 (restore_sha256, --sha256) if you mean it."
        )
    writer = f"{manifest.flavor} {manifest.version}"
    return manifest.sha256, writer, f"{file}, made on {manifest.host} at {manifest.time} by {writer}"


@contextmanager
def scratch(instance: Instance) -> Iterator[Path]:
    """An empty directory of the server's user, beside the instance's data. Removed if it still has its name."""
    with instance.owner():
        for left in instance.data.parent.glob(f"{instance.name}.restore-*"):  # by a run that was killed
            shutil.rmtree(left)
        directory = Path(tempfile.mkdtemp(prefix=f"{instance.name}.restore-", dir=instance.data.parent))
    try:
        yield directory
    finally:
        with instance.owner():
            shutil.rmtree(directory, ignore_errors=True)


def stage(file: Path, sha256: str, writer: str, instance: Instance, directory: Path) -> int:
    """Make ``directory`` what takes the place of the instance's data; how many keys are in it.

    :raises DumpError: if the file isn't what it should be, or doesn't fit
    """
    dump = directory / "dump.rdb"
    with file.open("rb") as source, instance.owner(), dump.open("wb") as target:
        room(directory, os.fstat(source.fileno()).st_size)
        found = copy(source, target)
    if found != sha256:
        raise DumpError(
            f"{file} has the SHA-256 {found}, but should have {sha256}: it was changed, or not copied to its end. Copy "
            "it again, or take another backup."
        )
    with as_named(dump, file):
        keys = check(dump, instance.flavor, writer, user=instance.uid, group=instance.gid, extra_groups=[])
    with instance.owner():
        if instance.appendonly:
            # a server with an append-only file reads no dump.rdb: without this it would start empty
            (directory / "appendonlydir").mkdir(mode=0o750)
            dump.rename(directory / "appendonlydir/appendonly.aof.1.base.rdb")
            with complete(directory / "appendonlydir/appendonly.aof.manifest") as manifest:
                manifest.write(b"file appendonly.aof.1.base.rdb seq 1 type b\n")
        directory.chmod(0o750)
        sync(directory)
    return keys


@contextmanager
def as_named(staged: Path, file: Path) -> Iterator[None]:
    """Problems with ``staged`` name ``file``, of which it is a copy."""
    try:
        yield
    except DumpError as problem:
        raise DumpError(str(problem).replace(str(staged), str(file))) from None


def swap(staged: Path, instance: Instance) -> Path:
    """Put ``staged`` in the place of the instance's data; where those are now."""
    replaced = instance.data.with_name(f"{instance.name}.replaced-{datetime.now(UTC):%Y%m%dT%H%M%SZ}")
    with instance.owner():
        if instance.data.exists():
            instance.data.rename(replaced)
        staged.rename(instance.data)
        sync(instance.data.parent)
    return replaced


def restore(staged: Path, keys: int, instance: Instance) -> Path:
    """Stop the instance, put the staged data in place, start it; where the replaced data are.

    :raises DumpError: if it can't be stopped; then all is as before
    :raises AfterStopError: if it didn't load the data; then it runs on its old ones again
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # half of it would be worse
    if failed := instance.systemctl("stop"):
        raise DumpError(f"{instance.unit} can't be stopped: {failed}.")
    try:
        replaced = swap(staged, instance)
    except OSError as error:
        failed = instance.start() or "it runs as before"
        raise AfterStopError(
            f"The data couldn't be put in place ({error}); {instance.unit} was started again: {failed}."
        ) from None
    failed = instance.start() or incomplete(instance, keys)
    if not failed:
        return replaced
    try:
        back = put_back(replaced, staged, instance)
    except OSError as error:
        back = f"Its old data are in {replaced} and couldn't be put back: {error}."
    raise AfterStopError(f"{instance.unit} didn't start on the restored data: {failed}. {back}")


def incomplete(instance: Instance, keys: int) -> str:
    """What is missing of the ``keys`` that the instance had to load; empty if nothing is."""
    try:
        info = instance.server.info("persistence")
        loaded = int(info["rdb_last_load_keys_loaded"]) + int(info["rdb_last_load_keys_expired"])
    except (DumpError, KeyError, OSError) as error:
        return f"it doesn't say what it loaded ({error})"
    return "" if loaded == keys else f"it loaded {loaded} keys instead of {keys}"


def put_back(replaced: Path, staged: Path, instance: Instance) -> str:
    """Undo ``swap``; what came of it."""
    instance.systemctl("stop")
    with instance.owner():
        instance.data.rename(staged)
        if replaced.exists():
            replaced.rename(instance.data)
        sync(instance.data.parent)
    failed = instance.start()
    return (
        f"Its old data were put back, but it doesn't start on them either: {failed}."
        if failed
        else "It runs on its old data again."
    )


def run(arguments: argparse.Namespace) -> int:
    """Check, then restore; the exit status."""
    instance, file = Instance(arguments.flavor, arguments.instance), Path(arguments.file).absolute()
    sha256, writer, described = expected(file, arguments.sha256, instance)
    with open(f"/run/redis-restore-{instance.name}.lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DumpError(f"Another restore of {instance.name!r} is running: wait for its end.") from None
        with scratch(instance) as staged:
            keys = stage(file, sha256, writer, instance, staged)
            print(f"{described}: {keys} keys, whole, and {instance.flavor} {installed(instance.flavor)} can load it.")
            if arguments.check or not arguments.yes:
                print(f"It would replace {instance.data}, {held(instance)}.")
                if arguments.check:
                    return 0
                raise DumpError("Give --yes to replace it.")
            replaced = restore(staged, keys, instance)
    print(f"{instance.unit} runs and has loaded {keys} keys.")
    if replaced.exists():
        print(f"What it replaced is in {replaced}: remove that when you are sure.")
    return 0


def held(instance: Instance) -> str:
    """What a restore would replace, in words."""
    try:
        return f"in which {instance.unit} holds {instance.server.keys} keys now"
    except DumpError:
        return f"while {instance.unit} isn't running"


def parse(arguments: list[str]) -> argparse.Namespace:
    """The command line; the flavour comes from the wrapper /usr/local/sbin/redis-restore."""
    parser = argparse.ArgumentParser("redis-restore", description=__doc__)
    parser.add_argument("instance", help="name of the instance whose data are replaced")
    parser.add_argument("file", help="the backup, a .rdb file, with its manifest, FILE.json, beside it")
    parser.add_argument("--sha256", default="", help="what the file must have, instead of what its manifest says")
    parser.add_argument(
        "--check", action="store_true", help="check the file, say what it would replace, change nothing"
    )
    parser.add_argument("--yes", action="store_true", help="replace the data")
    parser.add_argument("--flavor", required=True, help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def main(arguments: argparse.Namespace) -> int:
    """Exit status of ``run``; a problem becomes a sentence."""
    os.umask(0o077)
    if os.geteuid() != 0:
        print("redis-restore: run it as root", file=sys.stderr)
        return 1
    try:
        return run(arguments)
    except AfterStopError as problem:
        print(f"redis-restore: {problem}", file=sys.stderr)
        return AFTER_STOP
    except (OSError, DumpError) as error:
        print(f"redis-restore: nothing was changed. {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(parse(sys.argv[1:])))
