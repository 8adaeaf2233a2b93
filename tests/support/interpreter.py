"""Python that has imported an application on its host, in its environment, and answers questions.

An import takes a processor a second, of which the suite asks hundreds of questions.
"""

from __future__ import annotations

import json
import shlex
from typing import Any

from testinfra.host import Host

from tests.support.dialogue import Dialogue, UnansweredError
from tests.support.waiting import PATIENCE

# Imports an application and answers a line of Python each time, in a process of its own: that one finds the application
# as it was imported, without a connection, and what it leaves behind ends with it. Where a release or an environment
# was switched since, it takes no more questions.
SERVER = r"""
import json, os, signal, sys, traceback
patience, name, release, environment = sys.argv[1:]
signal.alarm(int(patience))  # its end
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)  # what the application prints is no answer

def seen():
    return os.path.realpath(release), os.stat(environment).st_mtime_ns

begun = seen()
from celery.app.utils import find_app
app = find_app(name)
app.loader.import_default_modules()
app.amqp, app.backend, app.control  # imported when they are first used
signal.alarm(0)
for line in sys.stdin:
    if seen() != begun:
        break
    print(file=answers, flush=True)
    if pid := os.fork():
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if code:
            print(json.dumps([False, f"its process ended with {code}"]), file=answers, flush=True)
        continue
    signal.alarm(int(patience))
    names = {"app": app}
    try:
        exec(json.loads(line), names)
        said = json.dumps([True, names["result"]])
    except BaseException:
        said = json.dumps([False, traceback.format_exc()])
    print(said, file=answers, flush=True)
    os._exit(0)
"""


class Interpreter:
    """Answers questions to an application on a host.

    :param run: what runs a command of the application there, as its user and in its environment
    :param application: what ``-A`` takes
    :param release: the link to its release
    :param environment: the file of its environment; after a switch of either a question finds the new one
    :param container: the host, if it is one
    """

    def __init__(
        self, host: Host, run: str, application: str, *, release: str, environment: str, container: str = ""
    ) -> None:
        self._host = host
        self._command = [run, "python", "-c", SERVER, str(PATIENCE), application, release, environment]
        self._dialogue = Dialogue(["docker", "exec", "-i", container, *self._command]) if container else None

    def evaluate(self, code: str) -> Any:
        """Run Python, with the Celery application as ``app``; what it leaves in ``result``."""
        try:
            answer = self._dialogue.ask(code) if self._dialogue else None
        except UnansweredError:
            answer = False, "it ended before it answered"
        answered, said = answer or self._once(code)
        assert answered, f"{code}\n{said}"
        return said

    def _once(self, code: str) -> tuple[bool, Any]:
        """The answer of an interpreter that is begun for it; where that fails, it says how."""
        asked = shlex.join(["printf", "%s\\n", json.dumps(code)])
        done = self._host.run(f"{asked} | {shlex.join(self._command)}")
        assert done.rc == 0, done.stderr
        answered, said = json.loads(done.stdout.splitlines()[-1])
        return answered, said
