#!/usr/bin/env python3
"""Run the test sequence of a scenario as `molecule test` does, in forks of one process that has imported Ansible.

    tools/scenario.py NAME

What it reads is molecule's: molecule/NAME/molecule.yml, over .config/molecule/config.yml. molecule starts a program for
each action, and most of these take longer to import Ansible than for their work.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import re
import string
import sys
import tempfile
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, TextIO

import yaml

ROOT = Path(__file__).resolve().parents[1]
PRELOADED = ("ansible.cli.playbook", "ansible.executor.playbook_executor", "ansible.executor.module_common")
CHANGED = re.compile(r"\bchanged=[1-9]")


class ActionError(Exception):
    """An action failed; what it was about is in its output."""


def merged(base: Any, over: Any) -> Any:
    """``over``, where it says something, else ``base``; of mappings key by key."""
    if isinstance(base, Mapping) and isinstance(over, Mapping):
        return {key: merged(base.get(key), over.get(key, base.get(key))) for key in [*base, *over]}
    return over


class Scenario:
    """A scenario, with what molecule would know of it."""

    def __init__(self, name: str) -> None:
        self.name, self.directory = name, ROOT / "molecule" / name
        paths = [ROOT / ".config/molecule/config.yml", self.directory / "molecule.yml"]
        base, own = (yaml.safe_load(self._expanded(path.read_text(encoding="utf-8"))) for path in paths)
        settings = merged(base, own or {})
        self.ansible, self.verifier = settings["ansible"], settings["verifier"]
        self.sequence: list[str] = settings["scenario"]["test_sequence"]

    def _expanded(self, text: str) -> str:
        known = {"MOLECULE_PROJECT_DIRECTORY": ROOT, "MOLECULE_SCENARIO_DIRECTORY": self.directory}
        return string.Template(text).safe_substitute(known)

    def test(self) -> None:
        """Do the whole sequence. After a failure the hosts are removed all the same.

        :raises ActionError: on the first action that fails
        """
        os.environ.update(self.ansible["env"])  # before Ansible is imported, which reads it then
        for name in PRELOADED:
            import_module(name)
        try:
            for step in self.sequence:
                self.do(*step.split())
        except ActionError:
            self.do("destroy")
            raise

    def do(self, action: str, *arguments: str) -> None:
        """Do one action of the sequence."""
        print(f"INFO     [{self.name} > {action}] Executing", flush=True)
        if action == "verify":
            self.verify(*arguments)
        elif action == "idempotence":
            self.converge_again()
        elif action == "check":
            self.playbook("converge", "--check")
        elif action != "prepare" or action in self.ansible["playbooks"]:  # not every scenario has something to prepare
            self.playbook(action)

    def playbook(self, name: str, *arguments: str, output: TextIO | None = None) -> None:
        """Run a playbook."""
        path = (self.directory / self.ansible["playbooks"][name]).resolve()
        command = ["ansible-playbook", *self.ansible["executor"]["args"]["ansible_playbook"], str(path), *arguments]
        self._forked(_ansible_playbook, command, output)

    def converge_again(self) -> None:
        """Converge, and fail if that changes something."""
        with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as output:
            try:
                self.playbook("converge", output=output)
            finally:
                output.seek(0)
                print(said := output.read(), flush=True)
        if CHANGED.search(said):
            raise ActionError(f"{self.name}: the second run has changed something.")

    def verify(self, *directories: str) -> None:
        """Run the tests of the scenario, or those in directories relative to its own."""
        own = self.directory / self.verifier["directory"]
        if directories:
            found = [path for each in directories for path in (self.directory / each).glob("**/test_*.py")]
        else:
            more = self.verifier.get("additional_files_or_dirs", [])
            found = [*own.glob("**/test_*.py"), *(path for pattern in more for path in own.glob(pattern))]
        options = [
            word
            for name, value in self.verifier["options"].items()
            for word in ([f"--{name}={value}"] if len(name) > 1 else [f"-{name}", value])
        ]
        self._forked(
            _pytest, ["pytest", "-p", "no:cacheprovider", *options, *sorted({str(p.resolve()) for p in found})]
        )

    def _forked(self, work: Callable[[list[str]], None], command: list[str], output: TextIO | None = None) -> None:
        process = multiprocessing.get_context("fork").Process(
            target=_called, args=(work, command, self.directory, output)
        )
        process.start()
        process.join()
        if process.exitcode:
            raise ActionError(f"{self.name}: {command[0]} has failed.")


def _called(work: Callable[[list[str]], None], command: list[str], directory: Path, output: TextIO | None) -> None:
    """In a fork: be a program. By its name tools/cpu_profile.py knows what it does."""
    Path("/proc/self/comm").write_text(command[0])
    os.chdir(directory)
    if output is not None:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(output.fileno(), stream.fileno())
    sys.argv = command
    work(command)


def _ansible_playbook(command: list[str]) -> None:
    from ansible.cli.playbook import main

    main(command)


def _pytest(command: list[str]) -> None:
    import pytest

    sys.exit(pytest.main(command[1:]))


def main() -> int:
    parser = argparse.ArgumentParser(description="Run the test sequence of a scenario.")
    parser.add_argument("name", metavar="NAME")
    try:
        Scenario(parser.parse_args().name).test()
    except ActionError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
