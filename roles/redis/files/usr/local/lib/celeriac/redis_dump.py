# Ansible managed
"""What backup and restore of a Redis or Valkey instance share: the server, a dump file, its manifest."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, BinaryIO

PIECE = 2**20  # bytes read at once
# what `redis-check-rdb` says of a file
KEYS = re.compile(r"^\[info\] (\d+) keys read$", re.MULTILINE)
FAULT = re.compile(r"^\[offset \d+\] (.+)\n\[additional info\]", re.MULTILINE)


class DumpError(Exception):
    """Why it can't go on, as a sentence that says what to do."""


@dataclass(frozen=True)
class Manifest:
    """What stands beside a backup, in a file of its name with .json behind it."""

    instance: str
    host: str
    flavor: str
    version: str  # of the server that wrote it
    rdb_version: int
    time: str  # UTC, when the snapshot began
    bytes: int
    keys: int
    sha256: str

    @staticmethod
    def path(file: Path) -> Path:
        """Where the manifest of ``file`` stands."""
        return file.with_name(f"{file.name}.json")

    @classmethod
    def read(cls, file: Path) -> Manifest:
        """The manifest of ``file``.

        :raises FileNotFoundError: if there is none
        """
        path = cls.path(file)
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            manifest = cls(**{field.name: found[field.name] for field in fields(cls)})
            if not re.fullmatch(r"[0-9a-f]{64}", manifest.sha256):
                raise ValueError(manifest.sha256)
        except (ValueError, TypeError, KeyError):
            raise DumpError(f"{path} is no manifest of a backup: take both files from where they were made.") from None
        return manifest

    def text(self) -> str:
        """What ``read`` reads."""
        return json.dumps(asdict(self), indent=1) + "\n"


class Server:
    """A running instance, asked over its socket as the user ``celeriac``.

    :param password: of that user; from the environment if not given
    """

    def __init__(self, flavor: str, instance: str, password: str | None = None) -> None:
        self.flavor, self.instance = flavor, instance
        socket = f"/run/{flavor}-{instance}/{flavor}-server.sock"
        self._command = [f"{flavor}-cli", "-e", "--no-auth-warning", "--user", "celeriac", "-s", socket]
        self._environment = {**os.environ, **({} if password is None else {"REDISCLI_AUTH": password})}

    def ask(self, *command: str) -> tuple[bool, str]:
        """Whether the server did it, and what it answered."""
        done = subprocess.run([*self._command, *command], env=self._environment, capture_output=True, text=True)
        return done.returncode == 0, (done.stdout + done.stderr).strip()

    def info(self, *sections: str) -> dict[str, str]:
        """Name -> value of the sections of INFO.

        :raises DumpError: if the server doesn't answer
        """
        done, answer = self.ask("INFO", *sections)
        if not done:
            unit = f"{self.flavor}-server@{self.instance}.service"
            raise DumpError(f"{unit} doesn't answer ({answer}): look at 'systemctl status {unit}'.")
        return dict(line.split(":", 1) for line in answer.splitlines() if ":" in line)

    @property
    def keys(self) -> int:
        """How many keys it holds, in all databases."""
        found = [re.match(r"keys=(\d+)", value) for value in self.info("keyspace").values()]
        return sum(int(match[1]) for match in found if match)


def installed(flavor: str) -> str:
    """The version of the installed server."""
    said = subprocess.run([f"{flavor}-server", "--version"], capture_output=True, text=True, check=True).stdout
    return re.search(r" v=(\S+)", said)[1]  # type: ignore[index] # every server says it


def rdb_version(file: Path) -> int:
    """The RDB format that the header of ``file`` names.

    :raises DumpError: if it is no dump
    """
    with file.open("rb") as stream:
        header = stream.read(9)
    if match := re.fullmatch(rb"REDIS(\d{4})|VALKEY(\d{3})", header):
        return int(match[1] or match[2])
    raise DumpError(f"{file} is no dump of Redis or Valkey: its first bytes are {header!r}. Give a .rdb file.")


def check(file: Path, flavor: str, written_by: str = "", **user: Any) -> int:
    """Have the installed server's own checker read ``file`` to its end; the number of its keys.

    :param written_by: flavour and version of the server that wrote it, if known
    :param user: arguments of subprocess.run for who runs the checker
    :raises DumpError: if it is damaged, or of a format that the installed server can't load
    """
    number = rdb_version(file)
    done = subprocess.run([f"{flavor}-check-rdb", str(file)], capture_output=True, text=True, errors="replace", **user)
    keys, fault = KEYS.search(done.stdout), FAULT.search(done.stdout)
    if done.returncode == 0 and keys:
        return int(keys[1])
    said = fault[1] if fault else (done.stdout + done.stderr).strip() or f"exit status {done.returncode}"
    if "RDB format version" in said or "signature" in said:
        origin = f" written by {written_by}" if written_by else ""
        raise DumpError(
            f"{file}{origin} is in RDB format {number}, which {flavor} {installed(flavor)} of this host can't load: "
            "restore it on a host with the server that wrote it, or a later one of the same flavour."
        )
    raise DumpError(f"{file} is damaged, {flavor}-check-rdb says '{said}': take another backup.")


def copy(source: BinaryIO, target: BinaryIO) -> str:
    """Copy to the disk; the SHA-256 of what was copied."""
    digest = hashlib.sha256()
    while piece := source.read(PIECE):
        digest.update(piece)
        target.write(piece)
    target.flush()
    os.fsync(target.fileno())
    return digest.hexdigest()


def sync(directory: Path) -> None:
    """Bring the names in ``directory`` to the disk."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def room(directory: Path, size: int) -> None:
    """See that ``size`` bytes fit into ``directory``, and a manifest.

    :raises DumpError: if they don't
    """
    found = os.statvfs(directory)
    free = found.f_bavail * found.f_frsize
    if size + 2**16 > free:
        raise DumpError(f"{directory} has {free} bytes free, but the dump takes {size}: make room there.")


@contextmanager
def complete(path: Path) -> Iterator[BinaryIO]:
    """A file that appears at ``path`` when all of it is on the disk, or not at all."""
    part = path.with_name(f".{path.name}.part")
    try:
        with part.open("wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        part.rename(path)
        sync(path.parent)
    except OSError as error:
        raise DumpError(f"{path} couldn't be written: {error.strerror}.") from None
    finally:
        part.unlink(missing_ok=True)
