"""Python in an application's own virtualenv, as its user, in its environment: how the modules talk to Celery.

The application's configuration is used on purpose. A bare ``celery -b URL`` would bring kombu's own visibility timeout,
which hands out other workers' running tasks again, and show the password in its argument list.
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import re
import selectors
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote as percent_decoded

# "double", 'single', \escaped or plain
QUOTING = re.compile(r"\"((?:[^\"\\]|\\.)*)\"|'([^']*)'|\\(.)|([^\"'\\]+)")

USER_INFO = re.compile(r"(?<=://)\S*(?=@)")
SECRET = 4  # characters; a shorter value is part of too many words
MASK = "***"
TAIL = 15  # lines
# The oldest Celery and kombu whose workers go on consuming after every kind of reconnect.
FLOOR = (5, 7)
PROGRAM = "celery_probe.py"
# What the application itself prints goes to standard error, from its first import on, and in order: the last line of an
# exception is the last one.
BOOTSTRAP = f"""
import json, os, sys
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
sys.stdout = sys.stderr
sys.path.insert(0, os.getcwd())
exec(compile(json.loads(sys.stdin.readline()), "{PROGRAM}", "exec"))
serve(sys.stdin, answers)
"""


class ProbeError(Exception):
    """The application can't be asked; the text says why, in its last line, ``output`` has the lines before."""

    def __init__(self, reason: str, output: str = "") -> None:
        super().__init__(reason)
        self.output = output


def environment(text: str) -> dict[str, str]:
    """The variables in the text of an ``EnvironmentFile=``, one a line, unquoted as systemd does it."""
    found = {}
    for line in text.splitlines():
        name, sign, value = line.strip().partition("=")
        if sign and not name.startswith(("#", ";")):
            found[name.strip()] = "".join(map(unquote, QUOTING.finditer(value.strip())))
    return found


def unquote(part: re.Match[str]) -> str:
    """A part of a value without its quotes and backslashes."""
    double, single, escaped, plain = part.groups()
    if double is not None:
        return re.sub(r'\\(["\\$`])', r"\1", double)
    return single or escaped or plain or ""


class Probe:
    """A process of the application that answers questions until it is closed.

    :param virtualenv: the application's virtualenv
    :param directory: working directory, from which the application is imported
    :param user: whom to run as
    :param variables: the application's environment
    :param program: file name -> text of plugins/probe, as its action plugin gives it to the module
    """

    def __init__(
        self, virtualenv: str, directory: str, user: str, variables: Mapping[str, str], program: Mapping[str, str]
    ) -> None:
        account = pwd.getpwnam(user)
        self._errors = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115 - closed by close()
        self._process = subprocess.Popen(
            [f"{virtualenv}/bin/python", "-c", BOOTSTRAP],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            cwd=directory,
            env={
                "PATH": f"{virtualenv}/bin:/usr/bin:/bin",
                "PYTHONDONTWRITEBYTECODE": "1",
                "LANG": "C.UTF-8",
                **variables,
            },
            user=account.pw_uid,
            group=account.pw_gid,
            extra_groups=[],
            umask=0o027,
        )
        self._send(program[PROGRAM])
        self._send({name: text for name, text in program.items() if name != PROGRAM})

    def _send(self, value: Any) -> None:
        assert self._process.stdin is not None  # noqa: S101 - it is a pipe
        # where it died, what it said is told when the answer is missing
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(value) + "\n")
            self._process.stdin.flush()

    def call(self, function: str, *, limit: float, **arguments: Any) -> Any:
        """What the question ``function`` is answered with.

        :param limit: seconds after which the process is given up
        :raises ProbeError: if it died or did not answer
        """
        self._send({"call": function, **arguments})
        assert self._process.stdout is not None  # noqa: S101 - it is a pipe
        deadline, line = time.monotonic() + limit, ""
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            if selector.select(max(0.0, deadline - time.monotonic())):
                line = self._process.stdout.readline()
            else:
                self._process.kill()
                raise ProbeError(f"no answer within {limit:.0f} seconds")
        if not line:
            self._process.wait()
            lines = self._said()
            raise ProbeError(lines[-1].strip() if lines else "no output", "\n".join(lines[-TAIL:-1]))
        return json.loads(line)

    def _said(self) -> list[str]:
        """The lines that the process wrote to standard error, in the last of which Python names the exception."""
        self._errors.seek(0)
        return [line.rstrip() for line in self._errors.read().splitlines() if line.strip()]

    def close(self) -> None:
        """End the process."""
        if self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._errors.close()

    def __enter__(self) -> Probe:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read_environment(path: str) -> dict[str, str]:
    """The variables of the ``EnvironmentFile=`` at ``path``; none where there is no such file."""
    if not os.path.exists(path):
        return {}
    with open(path, encoding="utf-8") as file:
        return environment(file.read())


def masked(text: str, variables: Mapping[str, str]) -> str:
    """What the application said, without the values of its environment and without what stands before a URL's host."""
    secrets = {secret for value in variables.values() for secret in (value, *passwords(value)) if len(secret) >= SECRET}
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, MASK)
    return USER_INFO.sub(MASK, text)


def passwords(value: str) -> Iterator[str]:
    """The passwords of the URLs in a value, as they stand there and decoded."""
    for found in USER_INFO.findall(value):
        password = found.partition(":")[2]
        yield password
        yield percent_decoded(password)
