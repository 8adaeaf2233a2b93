#!/usr/bin/python
"""Make a virtualenv of a lock."""

from __future__ import annotations

DOCUMENTATION = r"""
module: locked_virtualenv
short_description: Make a virtualenv of a lock, beside the one in use, and switch to it
description:
  - I(path) is a link to a virtualenv beside it, which is named after the lock, how it is built, and the host's
    interpreter. An unchanged one costs one look at the host. A unit that has I(path) among the C(inputs) of
    M(celeriac.fleet.systemd_units) restarts when it is switched.
  - A virtualenv is marked complete as its last step and switched to after that. What a run that was killed left behind
    is made anew by the next; one that fails leaves the old virtualenv in use. Two runs wait for each other.
  - The virtualenv that I(path) pointed to before stays until the next switch, since a unit runs from it until it is
    restarted. Older ones go, save those of a running process. All belong to root and may be read by everybody.
  - Secrets of I(index) are given to programs by their environment, and masked in what they say. They are not logged.
options:
  path: {description: The link., type: path, required: true}
  requirements:
    description:
      - Text of the lock, a requirements file that pins versions and has hashes for all of them, as
        C(uv pip compile --generate-hashes) makes it. Options in it are refused.
    type: str
    required: true
  only_binary:
    description: Refuse packages that would have to be built, by code of theirs and as root.
    type: bool
    default: true
  cache: {description: Directory below which what was downloaded is kept., type: path, required: true}
  lock: {description: Set by the action plugin., type: str}
extends_documentation_fragment: [celeriac.fleet.attributes, celeriac.fleet.virtualenv]
attributes:
  check_mode: {support: full}
  diff_mode: {support: none}
author: The Celeriac developers
"""

EXAMPLES = r"""
- name: Install the exporter
  celeriac.fleet.locked_virtualenv:
    path: /opt/exporter/venv
    requirements: "{{ lookup('ansible.builtin.file', 'exporter/requirements.txt') }}"
    cache: /var/cache/exporter
"""

RETURN = r"""
path: {description: The link., returned: success, type: str, sample: /opt/exporter/venv}
"""

import glob
import os
import tempfile
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.celeriac.fleet.plugins.module_utils.app_releases import (
    LockedError,
    in_use,
    link,
    locked,
    remove,
)
from ansible_collections.celeriac.fleet.plugins.module_utils.virtualenv import (
    BUILD,
    BuildError,
    Virtualenvs,
    directory_name,
    interpreter,
    made_with,
    taken_out,
)

WAIT = 900  # seconds that a run waits for another one

ARGUMENT_SPEC: dict[str, dict[str, Any]] = {
    "path": {"type": "path", "required": True},
    "requirements": {"type": "str", "required": True},
    "only_binary": {"type": "bool", "default": True},
    "cache": {"type": "path", "required": True},
    "lock": {"type": "str"},
    **BUILD,
}


class LockedVirtualenv:
    """The link, and the virtualenv that it has to point to.

    :param index: the module's option, taken out of its parameters
    """

    def __init__(self, module: AnsibleModule, index: dict[str, Any], python: str) -> None:
        self.module, self.index, self.python = module, index, python
        self.path = module.params["path"]
        self.directory = f"{self.path}-{directory_name(module.params['lock'], python)}"

    def settled(self) -> bool:
        """Whether the link points to it, and it is complete."""
        return os.path.realpath(self.path) == os.path.realpath(self.directory) and self._complete()

    def _complete(self) -> bool:
        return made_with(self.directory) == self.python

    def make(self, descriptor: int) -> None:
        """Make the virtualenv if it isn't there and switch to it.

        :raises BuildError: if it can't be made; the link is as it was
        """
        params = self.module.params
        if not self._complete():
            virtualenvs = Virtualenvs(self.module, params, self.index, params["cache"], descriptor)
            with tempfile.NamedTemporaryFile("w", dir=self.module.tmpdir, suffix=".txt") as file:
                file.write(params["requirements"])
                file.flush()
                only_binary = ["--only-binary", ":all:"] if params["only_binary"] else []
                install = ["--require-hashes", *only_binary, "--requirement", file.name]
                try:
                    virtualenvs.make(self.directory, self.python, install, "/")
                except BuildError:
                    remove(self.directory)
                    raise
        before = os.path.realpath(self.path)
        link(self.path, os.path.basename(self.directory))
        if before != os.path.realpath(self.directory):
            self._remove_others(before)

    def _remove_others(self, before: str) -> None:
        """Remove the virtualenvs that nothing uses.

        :param before: the one that the link pointed to, which stays: processes of it can't be told, for they run the
            host's interpreter, work elsewhere, and have nothing of it mapped
        """
        staying = {before, os.path.realpath(self.directory)}
        found = glob.glob(f"{glob.escape(self.path)}-{'[0-9a-f]' * 12}")
        others = {each for each in found if os.path.realpath(each) not in staying}
        for each in others - in_use(others):
            remove(each)


def run(module: AnsibleModule) -> dict[str, Any]:
    """Make the virtualenv and switch to it unless that is so."""
    params = module.params
    path, index = params["path"], taken_out(module)
    python = interpreter(params["python"])
    if not python:
        module.fail_json(msg=f"python is {params['python']!r}, which isn't on the host: install its package.")
    if os.path.exists(path) and not os.path.islink(path):
        module.fail_json(msg=f"path is {path}, which is there and no link: remove it, or give another path.")
    wanted = LockedVirtualenv(module, index, python)
    if wanted.settled() or module.check_mode:
        return {"changed": not wanted.settled(), "path": path}
    os.umask(0o022)
    os.makedirs(os.path.dirname(path), 0o755, exist_ok=True)
    with locked(os.path.dirname(path), WAIT) as descriptor:
        try:
            wanted.make(descriptor)
        except BuildError as error:
            module.fail_json(msg=f"The virtualenv wasn't made, the one in use is untouched. {error}")
    return {"changed": True, "path": path}


def main() -> None:
    module = AnsibleModule(
        argument_spec=ARGUMENT_SPEC,
        required_if=[("installer", "uv", ["uv_version", "uv_lock"])],
        supports_check_mode=True,
    )
    try:
        module.exit_json(**run(module))
    except LockedError as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()
