"""A journal of what files were before a deployment changed them, so that it can be undone.

A directory of root's own with ``journal.jsonl``, a line for each path, and the contents of files beside it. A path is
saved once, before its first change, so a deployment that was interrupted and run again is undone to the state before
both. ``forget`` ends it: what is there now is what the next one goes back to.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from typing import Any

JOURNAL = "journal.jsonl"


class Undo:
    """The journal in ``directory``, which is made when something is saved."""

    def __init__(self, directory: str) -> None:
        self.directory = directory
        self._journal = os.path.join(directory, JOURNAL)

    def entries(self) -> list[dict[str, Any]]:
        """What was saved, in order, without a line that a dying process left unfinished: nothing was changed yet."""
        try:
            with open(self._journal, encoding="utf-8") as file:
                return [json.loads(line) for line in file if line.endswith("\n")]
        except FileNotFoundError:
            return []

    @property
    def began(self) -> float | None:
        """When the first path was saved, in seconds since the epoch; None where nothing is."""
        entries = self.entries()
        return float(entries[0]["time"]) if entries else None

    def save(self, path: str) -> None:
        """Remember ``path``, and of a directory all that is in it; before it is changed, made or removed."""
        if os.path.isdir(path) and not os.path.islink(path):
            for name in sorted(os.listdir(path)):
                self.save(os.path.join(path, name))
        known = self.entries()
        if any(entry["path"] == path for entry in known):
            return
        os.makedirs(os.path.dirname(self.directory), 0o700, exist_ok=True)  # which else would be 0755
        os.makedirs(self.directory, 0o700, exist_ok=True)
        content = os.path.join(self.directory, str(len(known)))
        with open(self._journal, "a", encoding="utf-8") as file:
            line = json.dumps(self._entry(path, content)) + "\n"
            size = sum(len(json.dumps(entry)) + 1 for entry in known)
            file.truncate(size)  # without the unfinished line
            file.write(line)
            file.flush()
            os.fsync(file.fileno())

    @staticmethod
    def _entry(path: str, content: str) -> dict[str, Any]:
        now = {"path": path, "time": time.time()}
        if not os.path.lexists(path):
            return {**now, "kind": "absent"}
        status = os.lstat(path)
        now |= {
            "mode": status.st_mode & 0o7777,
            "uid": status.st_uid,
            "gid": status.st_gid,
            "mtime": status.st_mtime_ns,
        }
        if os.path.islink(path):
            return {**now, "kind": "link", "target": os.readlink(path)}
        if os.path.isdir(path):
            return {**now, "kind": "directory"}
        with open(path, "rb") as source, open(content, "wb") as copy:
            shutil.copyfileobj(source, copy)
            copy.flush()
            os.fsync(copy.fileno())
        return {**now, "kind": "file", "content": content}

    def revert(self) -> list[str]:
        """Bring every saved path back as it was, modification times included; which were different."""
        entries = self.entries()
        back = [entry["path"] for entry in entries if entry["kind"] == "directory" and self._directory(entry)]
        back += [entry["path"] for entry in entries if entry["kind"] in ("file", "link") and self._restore(entry)]
        gone = sorted((entry["path"] for entry in entries if entry["kind"] == "absent"), reverse=True)
        return back + [path for path in gone if self._remove(path)]

    @staticmethod
    def _directory(entry: dict[str, Any]) -> bool:
        if os.path.isdir(entry["path"]):
            return False
        os.makedirs(entry["path"])
        os.chown(entry["path"], entry["uid"], entry["gid"])
        os.chmod(entry["path"], entry["mode"])
        return True

    @staticmethod
    def _restore(entry: dict[str, Any]) -> bool:
        path = entry["path"]
        if os.path.lexists(path):
            now = os.lstat(path)
            same = {"mode": now.st_mode & 0o7777, "uid": now.st_uid, "gid": now.st_gid, "mtime": now.st_mtime_ns}
            if same.items() <= entry.items():
                return False
        directory = os.path.dirname(path)
        os.makedirs(directory, exist_ok=True)
        temporary = tempfile.mktemp(prefix=".undo-", dir=directory)  # noqa: S306 - only root may write there
        if entry["kind"] == "link":
            os.symlink(entry["target"], temporary)
        else:
            shutil.copyfile(entry["content"], temporary)
            os.chmod(temporary, entry["mode"])
        os.chown(temporary, entry["uid"], entry["gid"], follow_symlinks=False)
        os.utime(temporary, ns=(entry["mtime"], entry["mtime"]), follow_symlinks=False)
        os.replace(temporary, path)
        return True

    @staticmethod
    def _remove(path: str) -> bool:
        """Remove what wasn't there; a directory only if nothing else came into it meanwhile."""
        if os.path.isdir(path) and not os.path.islink(path):
            if os.listdir(path):
                return False
            os.rmdir(path)
            return True
        if not os.path.lexists(path):
            return False
        os.unlink(path)
        return True

    def forget(self) -> None:
        """End the journal: the present state is the one to go back to."""
        if os.path.exists(self._journal):
            os.unlink(self._journal)
        shutil.rmtree(self.directory, ignore_errors=True)
