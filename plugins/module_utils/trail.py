"""The trail of an application's rollouts on a host: a file of root's own, a line of JSON for each, the latest last.

A rollout is written down when it begins, as interrupted, and again when it ends. So what was killed is seen, and a lock
on the directory tells it from one that still runs. No journal of a deployment has the file: going back doesn't undo it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import tempfile
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

LINES = 200  # that are kept
REASON = 500  # characters of a reason
INTERRUPTED = "interrupted"


def first_line(text: str) -> str:
    """The sentence that a message begins with, bounded."""
    return text.strip().partition("\n")[0][:REASON]


class Trail:
    """The trail in the file ``path``; "" writes nothing and has nothing.

    :param about: what an entry says from its beginning: ``release``, ``before``, ``by``, ``controller``
    """

    def __init__(self, path: str | None, about: Mapping[str, Any] | None = None) -> None:
        self.path, self._about = path or "", dict(about or {})
        self._begun, self._lock = 0.0, -1

    def entries(self) -> list[dict[str, Any]]:
        """All rollouts, the latest last, without lines that can't be read."""
        found = []
        with contextlib.suppress(FileNotFoundError), open(self.path, encoding="utf-8") as file:
            for line in file:
                with contextlib.suppress(ValueError):
                    found.append(dict(json.loads(line)))
        return found

    def last(self) -> dict[str, Any] | None:
        """The latest rollout; its ``result`` is ``running`` while it does. None where there was none."""
        entries = self.entries()
        if not entries:
            return None
        return {**entries[-1], "result": "running"} if self._runs(entries[-1]) else entries[-1]

    def _runs(self, entry: Mapping[str, Any]) -> bool:
        """Whether an entry that has no end yet is being worked on."""
        if entry.get("result") != INTERRUPTED:
            return False
        descriptor = os.open(os.path.dirname(self.path), os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False

    def begin(self) -> None:
        """Write down that a rollout begins, once; until its process ends it counts as running."""
        if not self.path or self._begun:
            return
        directory = os.path.dirname(self.path)
        os.makedirs(directory, 0o700, exist_ok=True)
        self._lock = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        with contextlib.suppress(BlockingIOError):  # another rollout has it: both run
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._begun = time.time()
        self._write(self.entries(), self._entry(INTERRUPTED, "", []))

    def end(self, result: str, reason: str = "", nodes: list[str] | None = None) -> None:
        """Write down how the rollout ended, whether or not it was seen to begin.

        :param result: ``live``, ``reverted``, ``failed`` or ``refused``
        :param reason: the message, of which the first line is kept
        :param nodes: the nodes that were started or restarted
        """
        self.begin()
        if self.path:
            others = [entry for entry in self.entries() if entry.get("time") != self._time()]
            self._write(others, self._entry(result, reason, nodes or []))
            os.close(self._lock)

    def _time(self) -> str:
        return datetime.fromtimestamp(self._begun, UTC).isoformat(timespec="milliseconds")

    def _entry(self, result: str, reason: str, nodes: list[str]) -> dict[str, Any]:
        return {
            "time": self._time(),
            **self._about,
            "result": result,
            "reason": first_line(reason),
            "seconds": round(time.time() - self._begun, 1),
            "nodes": nodes,
        }

    def _write(self, others: list[dict[str, Any]], entry: dict[str, Any]) -> None:
        """Replace the file, at once, by the last lines of what it has then."""
        lines = [json.dumps(each) + "\n" for each in [*others, entry][-LINES:]]
        descriptor, temporary = tempfile.mkstemp(prefix=".rollouts-", dir=os.path.dirname(self.path))  # 0600
        with open(descriptor, "w", encoding="utf-8") as file:
            file.writelines(lines)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, self.path)
