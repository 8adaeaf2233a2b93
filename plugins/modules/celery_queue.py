#!/usr/bin/python
"""Empty a queue into a file, and put the file's messages back."""

from __future__ import annotations

DOCUMENTATION = r"""
module: celery_queue
short_description: Purge a queue into a dump, or put a dump back
description:
  - C(state=purged) moves the messages that wait in a queue, all priorities, into a file that only root may read. What
    nodes have fetched and not acknowledged stays with them.
  - Messages are moved within Redis to a list aside, up to 500 or 4 MB at a time, written and synced, and only then
    removed from there. So each is in Redis or in the file at any moment. A purge that was interrupted goes on with its
    file the next time, on the same host, with nothing lost and nothing twice.
  - It works on a broker that refuses writes because its memory is full.
  - C(state=restored) sends the messages of such a file again, in their order and with their priorities, behind what
    waits by now. How many are back is noted in the same script, so that an interrupted restore goes on there.
    The file is then renamed, and can't be put back twice.
options:
  app: {description: "What C(celery -A) takes.", type: str, required: true}
  state: {description: What to do., type: str, choices: [purged, restored], required: true}
  queue: {description: The queue to purge., type: str}
  known:
    description: Queues that the inventory knows. Another one has to hold something to be purged.
    type: list
    elements: str
    default: []
  directory: {description: Where the dump is made., type: path}
  dump: {description: The dump to put back., type: path}
  application: {description: Working directory; a link to the release., type: path, required: true}
  virtualenv: {description: The application's virtualenv., type: path, required: true}
  environment_file: {description: The application's C(EnvironmentFile=)., type: path, required: true}
  user: {description: The user to ask as., type: str, required: true}
  program:
    description: "What runs in the application: file name and text. Set by the action plugin."
    type: dict
extends_documentation_fragment: celeriac.fleet.attributes
attributes:
  check_mode: {support: full, details: Counts the messages.}
  diff_mode: {support: none}
author: The Celeriac developers
"""

EXAMPLES = r"""
- name: Purge
  celeriac.fleet.celery_queue:
    app: app.core.celery_config
    state: purged
    queue: crawl_queue
    directory: /var/backups/chatlite
    application: /opt/chatlite/current
    virtualenv: /opt/chatlite/current/.venv
    environment_file: /etc/chatlite/chatlite.env
    user: chatlite
"""

RETURN = r"""
queue: {description: The queue., returned: success, type: str}
messages: {description: "How many were moved, or would be.", returned: success, type: int}
dump: {description: "The file; empty if there was nothing to purge, or in check mode.", returned: success, type: str}
"""

import collections
import contextlib
import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from typing import IO, Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.celeriac.fleet.plugins.module_utils.celery_app import Probe, ProbeError, read_environment

MESSAGES = 500  # at most in one batch
SIZE = 4 * 2**20  # bytes, after which a batch ends


class QueueError(Exception):
    """What was asked for can't be done; the text is a sentence."""


def sync(path: str) -> None:
    """Write a directory's entries to the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def locked(directory: str) -> Iterator[None]:
    """Keep other runs out of a directory of dumps."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise QueueError(f"Another run purges or restores in {directory}: wait for it.") from None
    finally:
        os.close(descriptor)


class Dump:
    """The file of a purge while it is made: ``path`` with ``.part`` behind it.

    Its first line says what it is a dump of. Each further line is a message and its priority.
    """

    def __init__(self, path: str, header: dict[str, Any]) -> None:
        self.path, self.part = path, f"{path}.part"
        self._file: IO[bytes] = os.fdopen(os.open(self.part, os.O_RDWR | os.O_CREAT, 0o600), "r+b")
        self.messages, self._tail = -1, collections.deque[dict[str, Any]](maxlen=MESSAGES)
        end = 0
        for line in self._file:
            if not line.endswith(b"\n"):
                break  # the end of an interrupted write
            end += len(line)
            self.messages += 1
            self._tail.append(json.loads(line))
        self._file.truncate(end)
        self._file.seek(end)
        if not end:
            self._write([header])
            self.messages = 0
            sync(os.path.dirname(path))

    def _write(self, lines: list[dict[str, Any]]) -> None:
        self._file.write(b"".join(json.dumps(line).encode() + b"\n" for line in lines))
        self._file.flush()
        os.fsync(self._file.fileno())

    def add(self, messages: list[tuple[int, str]]) -> None:
        """Write messages and priorities, and sync them."""
        self._write([{"priority": priority, "message": message} for priority, message in messages])
        self.messages += len(messages)

    def add_missing(self, messages: list[tuple[int, str]]) -> None:
        """As ``add``, without those at the beginning that are the last ones of the file already."""
        there = [(line.get("priority"), line.get("message")) for line in self._tail]
        known = next(n for n in range(len(messages), -1, -1) if there[len(there) - n :] == messages[:n])
        self.add(messages[known:])

    def finish(self) -> None:
        if self.messages:
            os.rename(self.part, self.path)
        else:
            os.unlink(self.part)
        sync(os.path.dirname(self.path))
        self._file.close()


def batches(file: IO[bytes]) -> Iterator[list[tuple[int, str]]]:
    """The messages of a finished dump with their priorities, as many at once as a purge takes."""
    batch: list[tuple[int, str]] = []
    size = 0
    next(file)  # the header
    for line in file:
        entry = json.loads(line)
        batch.append((entry["priority"], entry["message"]))
        size += len(line)
        if len(batch) >= MESSAGES or size >= SIZE:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def header_of(path: str) -> dict[str, Any]:
    """The first line of a dump."""
    with open(path, "rb") as file, contextlib.suppress(ValueError):
        header = json.loads(file.readline())
        if isinstance(header, dict) and isinstance(header.get("queue"), str):
            return header
    raise QueueError(f"restore_queue_dump is {path!r}, which is no dump of purge-queue.yml: give one that it made.")


class Queue:
    """A queue of the application, and the file that its messages go to or come from."""

    def __init__(self, module: AnsibleModule, probe: Probe) -> None:
        self.module, self.params, self.probe = module, module.params, probe

    def call(self, function: str, **arguments: Any) -> Any:
        return self.probe.call(function, limit=60, **arguments)

    def purge(self) -> dict[str, Any]:
        queue, host = self.params["queue"], socket.gethostname()
        counts, interrupted = self.call("count", queue=queue), self.call("interrupted", queue=queue)
        if counts is None:
            raise QueueError(f"purge_queue is {queue!r}, which is a key of Celery's own and no queue: give a queue.")
        if interrupted and interrupted["host"] != host:
            raise QueueError(
                f"A purge of {queue!r} was interrupted on {interrupted['host']}: run it there again, with --limit, and "
                "it goes on."
            )
        waiting = sum(number for _, number in counts)
        if not waiting and not interrupted and queue not in self.params["known"]:
            known = ", ".join(sorted(self.params["known"]))
            raise QueueError(f"purge_queue is {queue!r}, which is empty, and no node consumes it: give one of {known}.")
        result = {"changed": bool(waiting or interrupted), "messages": waiting, "dump": "", "queue": queue}
        if self.module.check_mode or not result["changed"]:
            return result
        os.makedirs(self.params["directory"], mode=0o700, exist_ok=True)
        with locked(self.params["directory"]):
            dump = self.move(counts, interrupted)
        return {**result, "messages": dump.messages, "dump": dump.path if dump.messages else ""}

    def move(self, counts: list[tuple[int, int]], interrupted: dict[str, str] | None) -> Dump:
        """Move the messages that wait now, after those that an interrupted purge has taken last."""
        queue, now = self.params["queue"], time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        mark = {"host": socket.gethostname(), "dump": self.free(f"queue-{queue}-{now}")}
        goes_on = interrupted is not None and os.path.exists(f"{interrupted['dump']}.part")
        claimed = self.call("claim", queue=queue, mark=mark, force=interrupted is not None and not goes_on)
        if claimed["host"] != mark["host"]:
            raise QueueError(f"Another run purges {queue!r} on {claimed['host']}: wait for it.")
        dump = Dump(claimed["dump"], {"queue": queue, "time": now, **mark})
        for priority, _ in counts:
            if taken := self.take(priority, 0):
                dump.add_missing([(priority, message) for message in taken])
                self.call("written", queue=queue, priority=priority, last=taken[-1])
        for priority, number in counts:
            end = dump.messages + number  # what is sent meanwhile stays
            while dump.messages < end and (taken := self.take(priority, min(MESSAGES, end - dump.messages))):
                dump.add([(priority, message) for message in taken])
                self.call("written", queue=queue, priority=priority, last=taken[-1])
        dump.finish()
        self.call("release", queue=queue)
        return dump

    def free(self, stem: str) -> str:
        """A path that no dump has."""
        there = set(os.listdir(self.params["directory"]))
        names = (f"{stem}{end}.jsonl" for end in ("", *(f"-{number}" for number in range(2, len(there) + 3))))
        return os.path.join(
            self.params["directory"],
            next(name for name in names if not {name, f"{name}.part", f"{name}.restored"} & there),
        )

    def take(self, priority: int, most: int) -> list[str]:
        return list(self.call("take", queue=self.params["queue"], priority=priority, most=most, size=SIZE))

    def restore(self) -> dict[str, Any]:
        path = self.params["dump"]
        queue, name = header_of(path)["queue"], os.path.basename(path)
        with locked(os.path.dirname(path)), open(path, "rb") as file:
            done, seen = self.call("back", name=name), 0
            for batch in batches(file):
                seen += len(batch)
                if seen > done and not self.module.check_mode:
                    before = max(done, seen - len(batch))
                    self.call("put", name=name, queue=queue, messages=batch[before - seen :], before=before, after=seen)
            if not self.module.check_mode:
                os.rename(path, f"{path}.restored")
                sync(os.path.dirname(path))
                self.call("restored", name=name)
        return {"changed": True, "messages": seen - done, "dump": path, "queue": queue}


def main() -> None:
    string, path = {"type": "str", "required": True}, {"type": "path", "required": True}
    module = AnsibleModule(
        argument_spec={
            "app": string,
            "state": {"type": "str", "choices": ["purged", "restored"], "required": True},
            "queue": {"type": "str"},
            "known": {"type": "list", "elements": "str", "default": []},
            "directory": {"type": "path"},
            "dump": {"type": "path"},
            "application": path,
            "virtualenv": path,
            "environment_file": path,
            "user": string,
            "program": {"type": "dict", "no_log": True},  # long, for no log
        },
        required_if=[("state", "purged", ["queue", "directory"]), ("state", "restored", ["dump"])],
        supports_check_mode=True,
    )
    params = module.params
    variables, directory = read_environment(params["environment_file"]), os.path.realpath(params["application"])
    try:
        with Probe(params["virtualenv"], directory, params["user"], variables, params["program"]) as probe:
            probe.call("load", limit=60, app=params["app"])
            probe.call("connect", limit=60)
            queue = Queue(module, probe)
            result = queue.purge() if params["state"] == "purged" else queue.restore()
    except QueueError as error:
        module.fail_json(msg=str(error))
    except (ProbeError, OSError) as error:
        what = f"{params['queue'] or params['dump']} was not {params['state']}"
        module.fail_json(msg=f"{what}: {error}. Nothing is lost: run it again, and it goes on.")
    module.exit_json(**result)


if __name__ == "__main__":
    main()
