"""testinfra's way into a container: one ``docker exec`` for all commands on a host, instead of one for each.

To begin a process in a container takes the engine longer than most commands do, of which the suite has thousands.
"""

from __future__ import annotations

import threading
from typing import Any

import testinfra.backend
from testinfra.backend.base import CommandResult
from testinfra.backend.docker import DockerBackend

from tests.support.dialogue import Dialogue, UnansweredError

# Reads a command a line, says that it begins, runs it and prints exit code, output and errors. A process that a command
# leaves in the background may go on writing: that isn't waited for.
SERVER = r"""
import json, os, subprocess, sys
environ = {name: value for name, value in os.environ.items() if name != "LC_CTYPE"}  # which Python sets itself
for line in sys.stdin:
    print(flush=True)
    files = os.memfd_create("out"), os.memfd_create("err")
    code = subprocess.call(["/bin/sh", "-c", json.loads(line)], stdin=subprocess.DEVNULL, stdout=files[0],
                           stderr=files[1], env=environ, start_new_session=True)
    said = [os.pread(file, os.fstat(file).st_size, 0).decode("latin-1") for file in files]
    for file in files:
        os.close(file)
    print(json.dumps([code if code >= 0 else 128 - code, *said]), flush=True)
"""
KILLED = 137  # as the shell has it


class Shell(DockerBackend):
    """A container's shell. A command that comes while another one runs gets a ``docker exec`` of its own."""

    def __init__(self, name: str, *args: Any, **kwargs: Any) -> None:
        super().__init__(name, *args, **kwargs)
        self._lock = threading.Lock()
        user = ["-u", self.user] if self.user else []
        self._server = Dialogue(["docker", "exec", "-i", *user, self.name, "python3", "-c", SERVER])

    @classmethod
    def register(cls) -> None:
        """Have testinfra use it for containers."""
        testinfra.backend.BACKENDS["docker"] = f"{cls.__module__}.{cls.__name__}"

    def run(self, command: str, *args: str, **kwargs: Any) -> CommandResult:
        line = self.get_command(command, *args)
        done = None
        if self._lock.acquire(blocking=False):
            try:
                done = self._server.ask(line)
            except UnansweredError:
                done = KILLED, "", ""
            finally:
                self._lock.release()
        if done is None:
            return super().run(command, *args, **kwargs)
        code, out, err = done
        return self.result(code, self.encode(line), out.encode("latin-1"), err.encode("latin-1"))
