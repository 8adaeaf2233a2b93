"""What is at a path, and whether that is what an entry of the module managed_files asks for.

The module and its action plugin share this judgement: each makes a ``State`` of what it finds on the host, the one from
the disk, the other from what a shell command printed.
"""

from __future__ import annotations

import errno
import grp
import hashlib
import os
import pwd
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

Entry = Mapping[str, Any]  # as the module has it, with all of its options

FILE, DIRECTORY, LINK, ABSENT, OTHER = "f", "d", "l", "", "?"
# A link to a directory, where a directory is asked for. It counts as one. Owner and mode of what it points to are never
# touched: whoever may write where the link is chooses that.
LINKED = "D"
KINDS = {stat.S_IFREG: FILE, stat.S_IFDIR: DIRECTORY, stat.S_IFLNK: LINK}


@dataclass(frozen=True)
class State:
    """What is at a path: of a file also its content, of a link what it points to."""

    kind: str = ABSENT
    mode: int = 0
    owner: tuple[str, ...] = ()  # by name and by number
    group: tuple[str, ...] = ()
    digest: str = ""
    target: str = ""


def observe(path: str, directory: bool = False) -> State:
    """What is at ``path``, of which an entry of ``directories`` takes a link to a directory for one."""
    try:
        status = os.lstat(path)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            return State()
        raise
    kind = KINDS.get(stat.S_IFMT(status.st_mode), OTHER)
    if directory and kind == LINK and os.path.isdir(path):
        kind = LINKED
    return State(
        kind,
        stat.S_IMODE(status.st_mode),
        (_name(pwd.getpwuid, status.st_uid), str(status.st_uid)),
        (_name(grp.getgrgid, status.st_gid), str(status.st_gid)),
        digest(read(path)) if kind == FILE else "",
        os.readlink(path) if kind in (LINK, LINKED) else "",
    )


def _name(find: Any, number: int) -> str:
    try:
        return str(find(number)[0])
    except KeyError:
        return str(number)


def read(path: str) -> str:
    """A file's text, as it is on the disk to the last byte."""
    with open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
        return file.read()


def digest(content: str) -> str:
    """SHA-256 of a file with that content."""
    return hashlib.sha256(content.encode("utf-8", "surrogateescape")).hexdigest()


def outdated(entry: Entry, found: State) -> bool:
    """Whether a file has to be written. What stands in its place is replaced, unless the entry isn't forced."""
    if found.kind == ABSENT:
        return True
    return bool(entry["force"]) and (found.kind != FILE or found.digest != digest(entry["content"]))


def differs(entry: Entry, found: State) -> bool:
    """Whether a file or directory that is there has another owner, group or mode."""
    return found.kind in (FILE, DIRECTORY) and (
        found.mode != int(entry["mode"], 8) or entry["owner"] not in found.owner or entry["group"] not in found.group
    )


def leftovers(found: Iterable[str], kept: Iterable[str]) -> list[str]:
    """Those of ``found`` that hold none of ``kept``."""
    wanted = tuple(kept)
    return [path for path in found if not any(one == path or one.startswith(path + os.sep) for one in wanted)]


def settled(arguments: Mapping[str, list[Any]], states: Mapping[str, State], found: Iterable[str]) -> bool:
    """Whether nothing has to be done.

    :param arguments: of the module
    :param states: path -> what is there
    :param found: what matches the patterns of ``absent``
    """
    files, directories = arguments["files"], arguments["directories"]
    return (
        not any(outdated(entry, states[entry["path"]]) or differs(entry, states[entry["path"]]) for entry in files)
        and all(states[entry["path"]].kind in (DIRECTORY, LINKED) for entry in directories)
        and not any(differs(entry, states[entry["path"]]) for entry in directories)
        and all(states[entry["path"]].target == entry["target"] for entry in arguments["links"])
        and not leftovers(found, [entry["path"] for entry in [*files, *directories]])
    )
