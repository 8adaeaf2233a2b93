"""Runs of ansible-playbook as forks of one process that has imported Ansible, which takes longer than many a run."""

from __future__ import annotations

import multiprocessing
import os
import sys
import tempfile
from collections.abc import Sequence
from multiprocessing import forkserver

from tests.support.paths import ROOT

# what every run needs; all else it imports itself
PRELOADED = [
    "ansible.cli.playbook",
    "ansible.executor.module_common",
    "ansible.executor.playbook_executor",
    "ansible.executor.task_executor",
    "ansible.plugins.action.gather_facts",
    "ansible.plugins.callback.default",
    "ansible.plugins.connection.ssh",
    "ansible.plugins.inventory.yaml",
    "ansible.plugins.strategy.linear",
    "ansible.vars.plugins",
    "cryptography.hazmat.primitives.ciphers",
]
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["__main__", *PRELOADED])  # of __main__ each fork would run a copy otherwise


def environ() -> dict[str, str]:
    """The environment of a run: the repository's settings, and no colours."""
    found = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"}
    found.pop("ANSIBLE_FORCE_COLOR", None)
    return found


def run(arguments: Sequence[str]) -> tuple[int, str]:
    """Run ansible-playbook in the repository's root; its exit code, and what it printed."""
    _start_server()
    with tempfile.NamedTemporaryFile("r", prefix="celeriac-playbook-", encoding="utf-8", errors="replace") as output:
        process = _context.Process(target=_run, args=(list(arguments), output.name, environ()))
        process.start()
        process.join()
        return process.exitcode or 0, output.read()


def _start_server() -> None:
    """In the environment of a run, since Ansible reads its settings when it is imported."""
    before, wanted = dict(os.environ), environ()
    os.environ.clear()
    os.environ.update(wanted)
    try:
        forkserver.ensure_running()
    finally:
        os.environ.clear()
        os.environ.update(before)


def _run(arguments: list[str], output: str, environment: dict[str, str]) -> None:
    from ansible.cli.playbook import main

    os.environ.clear()  # the server's is that of its first run
    os.environ.update(environment)
    os.chdir(ROOT)
    written = os.open(output, os.O_WRONLY | os.O_APPEND)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(written, stream.fileno())
    sys.argv = ["ansible-playbook", *arguments]
    main()
