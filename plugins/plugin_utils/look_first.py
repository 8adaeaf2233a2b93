"""Base class of actions that look at a host by one command, judge, and only then send their module (decision 0022)."""

from __future__ import annotations

import contextlib
import re
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from ansible.errors import AnsibleActionFail
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.plugins.action import ActionBase

Arguments = dict[str, Any]
Result = dict[str, Any]


def on_the_controller(spec: Mapping[str, Any]) -> dict[str, Any]:
    """``spec`` without the expansion of paths, whose ``~`` and ``$HOME`` are the host's."""

    def option(given: Mapping[str, Any]) -> dict[str, Any]:
        types = {key: "str" for key in ("type", "elements") if given.get(key) == "path"}
        inner = {"options": on_the_controller(given["options"])} if "options" in given else {}
        return {**given, **types, **inner}

    return {name: option(given) for name, given in spec.items()}


def validated(spec: Mapping[str, Any], arguments: Mapping[str, Any]) -> Arguments:
    """``arguments`` in the types of ``spec``, with its defaults.

    :raises AnsibleActionFail: if they don't fit, naming the argument
    """
    found = ArgumentSpecValidator(on_the_controller(spec)).validate(dict(arguments))
    if found.error_messages:
        raise AnsibleActionFail("; ".join(found.error_messages))
    return dict(found.validated_parameters)


def sections(said: str) -> list[list[str]]:
    """The lines that a command printed, in parts that a line ``==`` separates."""
    found: list[list[str]] = [[]]
    for line in said.removesuffix("\n").split("\n"):
        if line == "==":
            found.append([])
        elif line:
            found[-1].append(line)
    return found


def last_changes(lines: Iterable[str]) -> dict[str, int]:
    """Path -> when it was last changed, in nanoseconds since the epoch, by what ``stat --format='%.9Y %n'`` printed."""
    found = (re.fullmatch(r"(\d+)\.(\d{9}) (/.*)", line) for line in lines)
    return {match[3]: int(match[1] + match[2]) for match in found if match}


class LookFirst(ActionBase):
    """Sends ``MODULE`` only to a host that isn't settled by what ``look`` prints there.

    Arguments are complete and of the types of ``ARGUMENT_SPEC`` before a connection is used. An action that only
    looks always returns a result from ``settled``, and has no ``MODULE``.
    """

    MODULE: ClassVar[str]
    ARGUMENT_SPEC: ClassVar[Mapping[str, Any]]

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> Result:
        super().run(tmp, task_vars)
        variables = task_vars or {}
        arguments = self.prepared(validated(self.ARGUMENT_SPEC, self._task.args), variables)
        command = self.look(arguments)
        result = self.settled(self.ask(command), arguments) if command else None
        return self.send(arguments, variables) if result is None else result

    def prepared(self, arguments: Arguments, variables: dict[str, Any]) -> Arguments:
        """What is looked for and sent, computed from the task's arguments."""
        return arguments

    @abstractmethod
    def look(self, arguments: Arguments) -> str:
        """A shell command that changes nothing and prints what ``settled`` reads; empty if no look can settle it."""

    @abstractmethod
    def settled(self, said: str, arguments: Arguments) -> Result | None:
        """The task's result if the module would change nothing, by what ``look`` printed; else None."""

    def send(self, arguments: Arguments, variables: dict[str, Any]) -> Result:
        """The result of the module."""
        return self.execute(self.MODULE, arguments, variables)

    def ask(self, command: str) -> str:
        """What a shell command prints on the host, the same with and without a terminal."""
        return str(self.command(f"{{ {command}; }} | cat")["stdout"]).replace("\r\n", "\n")

    def command(self, command: str) -> dict[str, Any]:
        """``rc``, ``stdout`` and ``stderr`` of a shell command on the host."""
        action: ActionBase = self
        return dict(action._low_level_execute_command(command))

    def execute(self, module: str, arguments: Arguments, variables: dict[str, Any]) -> Result:
        """The result of a module, run on the host."""
        action: ActionBase = self
        return dict(action._execute_module(module_name=module, module_args=arguments, task_vars=variables))

    def needle(self, directory: str, name: str) -> str:
        """Path of a file in the ``files`` or ``templates`` of the role that the task is in."""
        action: ActionBase = self
        return str(action._find_needle(directory, name))

    @contextlib.contextmanager
    def copied(self, path: Path) -> Iterator[str]:
        """Where a copy of the controller's file ``path`` is on the host; it is removed afterwards."""
        action: ActionBase = self
        remote = action._connection._shell.join_path(action._make_tmp_path(), path.name)
        action._transfer_file(str(path), remote)
        try:
            yield str(remote)
        finally:
            action._remove_tmp_path(action._connection._shell.tmpdir)
