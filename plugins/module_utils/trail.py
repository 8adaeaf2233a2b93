"""The trail of an application's rollouts on a host: a file of root's own, a line of JSON for each, the latest last.

A rollout is written down when it begins, as interrupted, and again when it ends. So what was killed is seen, and a lock
on a file beside it, which only root can open, tells it from one that still runs. No journal of a deployment has the
file: going back doesn't undo it.

A trail that can't be written or read is a warning: no deployment fails because of it.
"""

from __future__ import annotations

import contextlib
import fcntl
import glob
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

LINES = 200  # that are kept
REASON = 500  # characters of a reason
INTERRUPTED = "interrupted"
PATIENCE = 2.0  # seconds that a rollout tries to get the lock, which a reader has for a moment
ABOUT = ("release", "before", "by", "controller")
TEXTS = ("time", *ABOUT, "result", "reason")
TEMPORARY = ".rollouts-"


def first_line(text: str) -> str:
    """The sentence that a message begins with, bounded."""
    return text.strip().partition("\n")[0][:REASON]


def read_entry(line: str) -> dict[str, Any] | None:
    """The rollout in a line; None if it has none."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    sound = isinstance(found, dict) and all(isinstance(found.get(key), str) for key in TEXTS)
    return dict(found) if sound else None


class Trail:
    """The trail in the file ``path``; "" writes nothing and has nothing.

    :param about: what an entry says from its beginning: ``release``, ``before``, ``by``, ``controller``
    :param warn: told, in a sentence, where the trail can't be written or read
    """

    def __init__(
        self,
        path: str | None,
        about: Mapping[str, str] | None = None,
        warn: Callable[[str], object] = lambda _: None,
    ) -> None:
        self.path, self._about, self._warn = path or "", {**dict.fromkeys(ABOUT, ""), **(about or {})}, warn
        self._begun, self._lock, self._warned = 0.0, -1, False

    def entries(self) -> list[dict[str, Any]]:
        """All rollouts, the latest last, without lines that can't be read.

        :raises OSError: if the file is there and can't be read
        """
        with contextlib.suppress(FileNotFoundError), open(self.path, encoding="utf-8", errors="replace") as file:
            return [entry for entry in map(read_entry, file) if entry]
        return []

    def last(self) -> dict[str, Any] | None:
        """The latest rollout; its ``result`` is ``running`` while it does. None where there was none."""
        with self._warning("read"):
            entries = self.entries()
            if entries:
                return {**entries[-1], "result": "running"} if self._runs(entries[-1]) else entries[-1]
        return None

    @contextlib.contextmanager
    def _warning(self, verb: str) -> Iterator[None]:
        """Warn of the first error of the file or its directory, and go on."""
        try:
            yield
        except OSError as error:
            if not self._warned:
                self._warn(f"The trail {self.path} of the rollouts can't be {verb}: {error.strerror or error}.")
            self._warned = True

    @property
    def _lock_file(self) -> str:
        return f"{os.path.splitext(self.path)[0]}.lock"

    def _runs(self, entry: Mapping[str, Any]) -> bool:
        """Whether an entry that has no end yet is being worked on."""
        if entry["result"] != INTERRUPTED:
            return False
        try:
            descriptor = os.open(self._lock_file, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
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
        self._begun = time.time()
        with self._warning("written"):
            os.makedirs(os.path.dirname(self.path), 0o700, exist_ok=True)
            self._lock = os.open(self._lock_file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            if self._locked():
                self._remove_stale()
            self._write(self.entries(), self._entry(INTERRUPTED, "", []))

    def _locked(self) -> bool:
        """Whether this rollout got the lock; if not, another one has it, and both run."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    return False
                time.sleep(0.01)  # between two tries for the lock
            else:
                return True

    def _remove_stale(self) -> None:
        """Remove what a rollout left that was killed while it wrote."""
        for path in glob.glob(f"{glob.escape(os.path.dirname(self.path))}/{TEMPORARY}*"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)

    def end(self, result: str, reason: str = "", nodes: list[str] | None = None) -> None:
        """Write down how the rollout ended, whether or not it was seen to begin.

        :param result: ``live``, ``reverted``, ``failed`` or ``refused``
        :param reason: the message, of which the first line is kept
        :param nodes: the nodes that were started or restarted
        """
        self.begin()
        if not self.path:
            return
        with self._warning("written"):
            others = [entry for entry in self.entries() if entry["time"] != self._time()]
            self._write(others, self._entry(result, reason, nodes or []))
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

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
        descriptor, temporary = tempfile.mkstemp(prefix=TEMPORARY, dir=os.path.dirname(self.path))  # 0600
        try:
            with open(descriptor, "w", encoding="utf-8") as file:
                file.writelines(lines)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, self.path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
