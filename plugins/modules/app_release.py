#!/usr/bin/python
"""Build a release of an application, or remove old ones."""

from __future__ import annotations

DOCUMENTATION = r"""
module: app_release
short_description: Build a release of an application in a directory named after its content, or remove old releases
description:
  - The action plugin of the same name computes the release's id on the controller, from the source's content, the files
    of requirements and constraints, and how it is built. It sends the source only where the host hasn't that release
    yet. An unchanged application costs one look at the host.
  - What git ignores in a directory (caches, build output, C(.env) files) is no part of the release. A git repository
    is fetched by the controller, and a branch or tag is the same commit for all hosts of a run.
  - A release links to a virtualenv that it shares with all releases of the same requirements, constraints and
    interpreter. Virtualenvs stand beside the releases and don't change once they are complete.
  - Both are built in their place and marked complete as the last step, by a file C(.celeriac-complete) that says where
    the release comes from. What a build that was killed left behind is built anew by the next. Two builds of an
    application wait for each other.
  - It doesn't switch to the release. Secrets may be in several options, so its task needs C(no_log).
options:
  state:
    description:
      - V(built) builds a release.
      - V(pruned) removes incomplete releases and virtualenvs, complete releases beyond I(keep), and virtualenvs that no
        release uses any more. What I(current) points to, what is newer than that, and what a process runs, stays.
    type: str
    choices: [built, pruned]
    default: built
  releases: {description: Directory of the releases on the host., type: path, required: true}
  current: {description: Link to the release in use; for V(pruned)., type: path}
  keep:
    description:
      - How many releases stay, the current one included, for V(pruned); V(0) keeps all. Those that were live last stay,
        by the time of their file C(.celeriac-live), then those that never were, by when they were built.
    type: int
    default: 0
  source:
    description:
      - "V({type: path, path: …}), a directory on the controller; a relative one starts at the repository's root."
      - "V({type: git, repo: …, version: …, path: …}), a tag, branch or commit, and if need be a directory of it."
      - "V({type: package, requirement: …}), of an index."
    type: dict
  version: {description: "Takes precedence over the version in I(source), of a git repository or package.", type: str}
  git: {description: "C(ssh_key), C(known_hosts) and C(token) for the repository, secret.", type: dict}
  requirements:
    description:
      - Requirements file, relative to I(source); for a package on the controller, relative to the repository's root.
        Hashes are enforced if it has any. Empty means C(requirements.txt), for a package none.
    type: str
    default: ""
  constraints: {description: "Constraints file, relative like I(requirements); empty for none.", type: str, default: ""}
  only_binary:
    description: Refuse packages that would have to be built, by code of theirs.
    type: bool
    default: false
  install_project:
    description: Install the source itself into the virtualenv too, which no other release shares then.
    type: bool
    default: false
  cache: {description: Directory below which what was downloaded is kept., type: path}
  release: {description: Set by the action plugin., type: str}
  virtualenv: {description: Set by the action plugin., type: str}
  install: {description: Set by the action plugin., type: list, elements: str}
  files: {description: Set by the action plugin., type: dict}
  archive: {description: Set by the action plugin., type: path}
extends_documentation_fragment: [celeriac.fleet.attributes, celeriac.fleet.virtualenv]
attributes:
  check_mode: {support: full}
  diff_mode: {support: none}
author: The Celeriac developers
"""

EXAMPLES = r"""
- name: Build the release
  celeriac.fleet.app_release:
    source: {type: git, repo: "https://git.example/shop.git", version: v1.4.2}
    git: {token: "{{ vault_git_token }}"}
    releases: /opt/shop/releases
    cache: /var/cache/shop
  no_log: true
  register: __release

- name: Remove old releases
  celeriac.fleet.app_release:
    state: pruned
    releases: /opt/shop/releases
    current: /opt/shop/current
    keep: 5
"""

RETURN = r"""
release: {description: The release's id., returned: when built, type: str, sample: 3f1c0a9be27d}
directory: {description: Its directory., returned: when built, type: str}
pruned: {description: Directories that were removed., returned: when pruned, type: list, elements: path}
"""

import os
import shutil
import tarfile
import tempfile
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.celeriac.fleet.plugins.module_utils.app_releases import (
    LockedError,
    complete,
    link,
    locked,
    mark_complete,
    remove,
    to_prune,
)
from ansible_collections.celeriac.fleet.plugins.module_utils.virtualenv import (
    BUILD,
    BuildError,
    Virtualenvs,
    directory_name,
    installer_name,
    interpreter,
    made_with,
    now,
    taken_out,
    version_of,
)

WAIT = 900  # seconds that a build waits for another one
ARGUMENT_SPEC: dict[str, Any] = {
    "state": {"choices": ["built", "pruned"], "default": "built"},
    "releases": {"type": "path", "required": True},
    "current": {"type": "path"},
    "keep": {"type": "int", "default": 0},
    "install_project": {"type": "bool", "default": False},
    "cache": {"type": "path"},
    "release": {},
    "virtualenv": {},
    "install": {"type": "list", "elements": "str"},
    "files": {"type": "dict"},
    "source": {"type": "dict"},
    "archive": {"type": "path"},
    **BUILD,
}


class Release:
    """A release that is being built."""

    def __init__(self, module: AnsibleModule, python: str) -> None:
        params = module.params
        self.module, self.params, self.python = module, params, python
        self.directory = os.path.join(params["releases"], params["release"])
        home = os.path.dirname(params["releases"])
        self.virtualenv = os.path.join(home, "virtualenvs", directory_name(params["virtualenv"], python))

    def built(self) -> bool:
        """Whether it is complete, with a virtualenv of the host's present interpreter."""
        return complete(self.directory) and made_with(os.path.join(self.directory, ".venv")) == self.python

    def build(self, virtualenvs: Virtualenvs) -> None:
        """Unpack, link a virtualenv, compile, mark complete; a complete one only gets another virtualenv."""
        if not complete(self.directory):
            remove(self.directory)
            os.mkdir(self.directory, 0o755)
            with tarfile.open(self.params["archive"]) as tar:
                tar.extractall(self.directory)  # noqa: S202 - packed by the action plugin a moment ago
            for name, text in (self.params["files"] or {}).items():
                with open(os.path.join(self.directory, name), "w", encoding="utf-8") as file:
                    file.write(text)
        if made_with(self.virtualenv) != self.python:
            self._make_virtualenv(virtualenvs)
        link(os.path.join(self.directory, ".venv"), os.path.relpath(self.virtualenv, self.directory))
        compiler = [f"{self.virtualenv}/bin/python", "-m", "compileall", "-q", self.directory]
        virtualenvs.run("Compiling", compiler, self.directory)
        mark_complete(self.directory, self._about())

    def _make_virtualenv(self, virtualenvs: Virtualenvs) -> None:
        with tempfile.TemporaryDirectory(dir=self.module.tmpdir) as scratch:
            project = ""
            if self.params["install_project"]:  # from a copy: a build writes beside the files
                ignored = shutil.ignore_patterns(".venv")
                project = shutil.copytree(
                    self.directory, os.path.join(scratch, "project"), symlinks=True, ignore=ignored
                )
            virtualenvs.make(self.virtualenv, self.python, self.params["install"], self.directory, project)

    def _about(self) -> dict[str, Any]:
        return {
            **self.params["source"],
            "built": now(),
            "python": version_of(self.virtualenv),
            "installer": installer_name(self.params),
            "virtualenv": os.path.basename(self.virtualenv),
        }

    def abandon(self) -> None:
        """Remove what isn't complete."""
        for directory in (self.directory, self.virtualenv):
            if not complete(directory):
                remove(directory)


def build(module: AnsibleModule, index: dict[str, Any]) -> dict[str, Any]:
    """Build the release unless another run just did.

    :param index: the module's option, taken out of its parameters
    """
    params = module.params
    python = interpreter(params["python"])
    if not python:
        module.fail_json(
            msg=f"app_python is {params['python']!r}, which isn't on the host: add its package to app_packages."
        )
    release = Release(module, python)
    result = {"release": params["release"], "directory": release.directory}
    if module.check_mode:
        return {"changed": not release.built(), **result}
    os.umask(0o022)
    with locked(os.path.dirname(params["releases"]), WAIT) as descriptor:
        if release.built():
            return {"changed": False, **result}
        try:
            release.build(Virtualenvs(module, params, index, params["cache"], descriptor))
        except BuildError as error:
            release.abandon()
            module.fail_json(msg=f"The release wasn't built, the running one is untouched. {error}")
    return {"changed": True, **result}


def prune(module: AnsibleModule) -> dict[str, Any]:
    """Remove what nothing needs any more."""
    params = module.params
    home = os.path.dirname(params["releases"])
    with locked(home, WAIT):
        found = to_prune(params["releases"], os.path.join(home, "virtualenvs"), params["keep"], params["current"])
        for directory in found:
            if not module.check_mode:
                remove(directory)
    return {"changed": bool(found), "pruned": found}


def main() -> None:
    module = AnsibleModule(
        argument_spec=ARGUMENT_SPEC,
        required_if=[
            ("state", "built", ["release", "virtualenv", "install", "source", "archive", "cache"]),
            ("state", "pruned", ["current"]),
        ],
        supports_check_mode=True,
    )
    index = taken_out(module)
    try:
        module.exit_json(**(prune(module) if module.params["state"] == "pruned" else build(module, index)))
    except LockedError as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()
