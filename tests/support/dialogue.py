"""Long-lived processes in containers that are asked many times, where to begin one costs more than most answers do."""

from __future__ import annotations

import contextlib
import json
import subprocess
import weakref
from typing import Any


class UnansweredError(Exception):
    """A process took a question and ended before it answered."""


class Dialogue:
    """A process that takes questions, a line of JSON each: it says with an empty line that it begins, and then answers
    with a line of JSON.

    One that has gone, perhaps with its container, is begun again.

    :param command: begins one; it goes when its standard input ends
    """

    def __init__(self, command: list[str]) -> None:
        self._command = command
        self._process: subprocess.Popen[str] | None = None

    def ask(self, question: Any) -> Any:
        """The answer; none where nobody takes the question.

        :raises UnansweredError: if somebody took it and nothing came back
        """
        for known in [self._process, None] if self._process else [None]:
            process = self._process = known or self._begin()
            assert process.stdout is not None
            try:
                print(json.dumps(question), file=process.stdin, flush=True)
                begun, said = process.stdout.readline(), process.stdout.readline()
            except BrokenPipeError:
                begun = said = ""
            except BaseException:  # an interrupt: its answer would be taken for the next question's
                self._end()
                raise
            if said:
                return json.loads(said)
            self._end()
            if begun:
                raise UnansweredError
        return None

    def _begin(self) -> subprocess.Popen[str]:
        pipe = subprocess.PIPE
        process = subprocess.Popen(self._command, text=True, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL)
        weakref.finalize(self, end, process)
        return process

    def _end(self) -> None:
        if self._process is not None:
            end(self._process)
        self._process = None


def end(process: subprocess.Popen[str]) -> None:
    """End a process that ``docker exec`` stands for here; what it began in a container goes with its standard input."""
    process.kill()
    with contextlib.suppress(BrokenPipeError), process:
        pass
