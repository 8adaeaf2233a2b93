"""Releases and virtualenvs of an application on a host: which are complete, which are used, which may go.

Beside the releases stand the virtualenvs that they link to. A file in each says that it was built to its end.
"""

from __future__ import annotations

import contextlib
import fcntl
import glob
import json
import math
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

COMPLETE = ".celeriac-complete"
LIVE = ".celeriac-live"  # its modification time: when the release last passed its gate
LOCK = ".celeriac-lock"


class LockedError(Exception):
    """Another run holds the lock, for longer than was waited; a sentence."""


@contextlib.contextmanager
def locked(directory: str, seconds: float) -> Iterator[int]:
    """Hold the lock in ``directory``; its descriptor.

    Programs that inherit the descriptor hold the lock too: those that outlive a killed run go on keeping others out.

    :raises LockedError: if it isn't free after ``seconds``
    """
    path = os.path.join(directory, LOCK)
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        deadline = time.monotonic() + seconds
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise LockedError(
                        f"Another build in {directory} has been running for {seconds:.0f} s: wait for it, or end the "
                        f"process that 'lslocks' shows for {path}."
                    ) from None
                time.sleep(0.1)  # between two tries for the lock
        yield descriptor
    finally:
        os.close(descriptor)


def complete(directory: str) -> bool:
    """Whether what is in ``directory`` was built to its end."""
    return os.path.exists(os.path.join(directory, COMPLETE))


def mark_complete(directory: str, about: Mapping[str, Any]) -> None:
    """Write the mark, after all that it vouches for is on the disk."""
    subprocess.run(["sync", "--file-system", directory], check=False)
    descriptor, temporary = tempfile.mkstemp(dir=directory)
    with open(descriptor, "w", encoding="utf-8") as file:
        os.fchmod(descriptor, 0o644)
        file.write(json.dumps(about, indent=2) + "\n")
        file.flush()
        os.fsync(descriptor)
    os.replace(temporary, os.path.join(directory, COMPLETE))


def remove(directory: str) -> None:
    """Remove a release or virtualenv; one that is removed by half isn't complete any more."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(os.path.join(directory, COMPLETE))
    shutil.rmtree(directory, ignore_errors=True)


def link(path: str, target: str) -> None:
    """Point the link ``path`` to ``target``, at once."""
    temporary = f"{path}.new"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(temporary)
    os.symlink(target, temporary)
    os.replace(temporary, path)


def last_used(release: str) -> float:
    """When the release was last live, else when it was built, in seconds since the epoch."""
    for name in (LIVE, COMPLETE):
        with contextlib.suppress(OSError):
            return os.stat(os.path.join(release, name)).st_mtime
    return 0.0


def in_use(directories: Iterable[str], proc: str = "/proc") -> set[str]:
    """Those of ``directories`` below which a process works, or has its program or a library."""
    directories = set(directories)
    found: set[str] = set()
    for process in glob.glob(f"{proc}/[0-9]*"):
        places = []
        for name in ("cwd", "exe", "root"):
            with contextlib.suppress(OSError):  # it ended, or is the kernel's
                places.append(os.readlink(f"{process}/{name}"))
        maps = ""
        with contextlib.suppress(OSError), open(f"{process}/maps", encoding="utf-8", errors="replace") as file:
            maps = file.read()
        for each in directories - found:
            if f"{each}/" in maps or any(f"{place}/".startswith(f"{each}/") for place in places):
                found.add(each)
    return found


def to_prune(releases: str, virtualenvs: str, keep: int, current: str) -> list[str]:
    """The directories that may go, while nobody builds.

    These are incomplete releases and virtualenvs; complete releases beyond the ``keep`` that were live last (0: all
    stay), before those that never were, save ``current``, those built after it was last live, and those of a running
    process; virtualenvs to which no release that stays links.
    """
    there = _directories(releases)
    current = os.path.realpath(current)
    whole = sorted(filter(complete, there), key=last_used, reverse=True)
    # the current one counts first; one that never was live, nobody goes back to
    whole.sort(key=lambda each: (os.path.realpath(each) != current, not os.path.exists(os.path.join(each, LIVE))))
    surplus = [each for each in whole[keep:] if keep and last_used(each) <= (last_used(current) or math.inf)]
    environments = _directories(virtualenvs)
    used = in_use([*there, *environments])
    staying = used | {each for each in there if os.path.realpath(each) == current}
    going = [each for each in there if each not in staying and (each in surplus or not complete(each))]
    linked = {os.path.realpath(os.path.join(release, ".venv")) for release in set(there) - set(going)}
    return going + [each for each in environments if os.path.realpath(each) not in linked and each not in used]


def _directories(parent: str) -> list[str]:
    with contextlib.suppress(FileNotFoundError), os.scandir(parent) as entries:
        return sorted(entry.path for entry in entries if entry.is_dir(follow_symlinks=False))
    return []
