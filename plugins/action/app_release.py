"""Controller side of the app_release module: what the release is made of, and bringing it to the host."""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible_collections.celeriac.fleet.plugins.module_utils.app_releases import COMPLETE
from ansible_collections.celeriac.fleet.plugins.module_utils.virtualenv import PYTHON
from ansible_collections.celeriac.fleet.plugins.modules import app_release as module
from ansible_collections.celeriac.fleet.plugins.plugin_utils import app_source as sources
from ansible_collections.celeriac.fleet.plugins.plugin_utils import git_mirror as mirrors
from ansible_collections.celeriac.fleet.plugins.plugin_utils.look_first import LookFirst
from ansible_collections.celeriac.fleet.plugins.plugin_utils.virtualenv_lock import uv_installer

ROOT = Path(__file__).resolve().parents[2]
# What a release's id and its installation depend on, besides its source.
SETTINGS = ("requirements", "constraints", "python", "installer", "only_binary", "install_project")
# What the module isn't told.
CONTROLLERS: dict[str, dict[str, Any]] = {
    "version": {"default": ""},
    "git": {"type": "dict", "default": {}},
    "requirements": {"default": ""},
    "constraints": {"default": ""},
    "only_binary": {"type": "bool", "default": False},
}
ARGUMENT_SPEC = {**module.ARGUMENT_SPEC, **CONTROLLERS}


def source_of(wanted: Mapping[str, Any], version: str, git: Mapping[str, Any]) -> Any:
    """The source that ``app_source`` describes.

    :param version: ``app_version``, which takes precedence over what ``wanted`` says
    :param git: ``ssh_key``, ``known_hosts`` and ``token``
    """
    for problem in sources.problems(wanted, version, ROOT):
        raise sources.SourceError(problem)
    if wanted["type"] == "package":
        return sources.Package(str(wanted["requirement"]), version, ROOT)
    if wanted["type"] == "git":
        secrets = {name: str(value) for name, value in git.items()}
        mirror = mirrors.Mirror(str(wanted["repo"]), mirrors.cache_directory(), mirrors.this_run(), **secrets)
        return sources.Commit(mirror, version or str(wanted["version"]), str(wanted.get("path") or ""))
    return sources.Directory(ROOT / str(wanted["path"]))


def look_for_release(directory: str, python: str) -> str:
    """A shell command that prints ``complete`` if the release is, and its virtualenv of the host's interpreter."""
    return (
        f"cd {shlex.quote(directory)} 2>/dev/null && test -e {COMPLETE} && "
        f'test "$(readlink .venv/{PYTHON})" = "$(readlink -f -- "$(command -v {shlex.quote(python)})")" && '
        "echo complete"
    )


def look_for_leftovers(releases: str) -> str:
    """A shell command that prints the releases, those that are complete, their virtualenvs, and the virtualenvs."""
    return (
        f"cd {shlex.quote(releases)} 2>/dev/null && "
        f"ls -A; echo ==; ls -d -- */{COMPLETE} 2>/dev/null; echo ==; "
        "readlink -- */.venv; echo ==; ls -A ../virtualenvs 2>/dev/null; true"
    )


def anything_to_prune(said: str, keep: int) -> bool:
    """Whether what ``look_for_leftovers`` printed may hold something to remove."""
    parts = [set(part.split()) for part in said.split("==\n")]
    if len(parts) != 4:
        return any(parts)
    releases, complete, linked, virtualenvs = parts
    return (
        releases != {path.partition("/")[0] for path in complete}
        or 0 < keep < len(releases)
        or virtualenvs != {path.rpartition("/")[2] for path in linked}
    )


class ActionModule(LookFirst):
    """Looks whether there is something to do; builds a release from what it sends, or has releases removed."""

    MODULE = "celeriac.fleet.app_release"
    ARGUMENT_SPEC = ARGUMENT_SPEC

    def prepared(self, arguments: dict[str, Any], variables: dict[str, Any]) -> dict[str, Any]:
        told = {key: value for key, value in arguments.items() if key not in CONTROLLERS}
        if arguments["state"] == "pruned":
            return told
        if not arguments["source"]:
            raise AnsibleActionFail("source is missing: say what the release is made of.")
        try:
            self._source = source_of(arguments["source"], arguments["version"], arguments["git"])
            plan = sources.plan(self._source, {name: arguments[name] for name in SETTINGS})
        except (sources.SourceError, mirrors.GitError) as error:
            raise AnsibleActionFail(str(error)) from None
        return {**told, **plan}

    def look(self, arguments: dict[str, Any]) -> str:
        if arguments["state"] == "pruned":
            return look_for_leftovers(arguments["releases"])
        return look_for_release(f"{arguments['releases']}/{arguments['release']}", arguments["python"])

    def settled(self, said: str, arguments: dict[str, Any]) -> dict[str, Any] | None:
        if arguments["state"] == "pruned":
            return None if anything_to_prune(said, arguments["keep"]) else {"changed": False, "pruned": []}
        complete = said.strip() == "complete"
        if not complete and not self._task.check_mode:
            return None
        directory = f"{arguments['releases']}/{arguments['release']}"
        return {"changed": not complete, "release": arguments["release"], "directory": directory}

    def send(self, arguments: dict[str, Any], variables: dict[str, Any]) -> dict[str, Any]:
        if arguments["state"] == "pruned":
            return super().send(arguments, variables)
        if arguments["installer"] == "uv":
            arguments |= uv_installer()
        with tempfile.TemporaryDirectory(prefix="celeriac-") as scratch:
            archive = Path(scratch, "release.tar.gz")
            self._source.pack(archive)
            with self.copied(archive) as remote:
                return super().send({**arguments, "archive": remote}, variables)
