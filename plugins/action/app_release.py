"""Controller side of the app_release module: what the release is made of, and bringing it to the host."""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.celeriac.fleet.plugins.plugin_utils import app_source as sources
from ansible_collections.celeriac.fleet.plugins.plugin_utils import git_mirror as mirrors
from ansible_collections.celeriac.fleet.plugins.plugin_utils.virtualenv_lock import uv_installer

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = {
    "requirements": "",
    "constraints": "",
    "python": "python3",
    "installer": "uv",
    "only_binary": False,
    "install_project": False,
}


def source_of(wanted: Mapping[str, Any], version: str, git: Mapping[str, Any]) -> Any:
    """The source that ``app_source`` describes.

    :param version: ``app_version``, which goes before what ``wanted`` says
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
    """A shell command that succeeds if the release is complete and its virtualenv is of the host's interpreter."""
    return (
        f"cd {shlex.quote(directory)} 2>/dev/null && test -e .celeriac-complete && "
        f'test "$(readlink .venv/.celeriac-python)" = "$(readlink -f -- "$(command -v {shlex.quote(python)})")"'
    )


def look_for_leftovers(releases: str) -> str:
    """A shell command that prints the releases, those that are complete, their virtualenvs, and the virtualenvs."""
    return (
        f"cd {shlex.quote(releases)} 2>/dev/null && "
        "ls -A; echo ==; ls -d -- */.celeriac-complete 2>/dev/null; echo ==; "
        "readlink -- */.venv; echo ==; ls -A ../virtualenvs 2>/dev/null; true"
    )


def anything_to_prune(said: str, keep: int) -> bool:
    """Whether what ``look_for_leftovers`` printed may hold something to remove."""
    parts = [set(part.split()) for part in said.replace("\r", "").split("==\n")]
    if len(parts) != 4:
        return any(parts)
    releases, complete, linked, virtualenvs = parts
    return (
        releases != {path.partition("/")[0] for path in complete}
        or 0 < keep < len(releases)
        or virtualenvs != {path.rpartition("/")[2] for path in linked}
    )


class ActionModule(ActionBase):
    """Looks whether there is something to do; builds a release from what it sends, or has releases removed."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        super().run(tmp, task_vars)
        arguments = dict(self._task.args)
        if arguments.get("state") == "pruned":
            said = self._low_level_execute_command(look_for_leftovers(str(arguments["releases"])))["stdout"]
            if not anything_to_prune(said, int(arguments.get("keep") or 0)):
                return {"changed": False, "pruned": []}
            return self._module(arguments, task_vars)
        return self._build(arguments, task_vars)

    def _build(self, arguments: dict[str, Any], task_vars: dict[str, Any] | None) -> dict[str, Any]:
        wanted, version = arguments.pop("source"), str(arguments.pop("version", "") or "")
        git = arguments.pop("git", None) or {}
        settings = {name: arguments.pop(name, default) for name, default in SETTINGS.items()}
        try:
            source = source_of(wanted, version, git)
            plan = sources.plan(source, settings)
        except (sources.SourceError, mirrors.GitError) as error:
            raise AnsibleActionFail(str(error)) from None
        directory = f"{arguments['releases']}/{plan['release']}"
        result = {"release": plan["release"], "directory": directory}
        found = self._low_level_execute_command(look_for_release(directory, settings["python"]))
        if found["rc"] == 0:
            return {"changed": False, **result}
        if self._task.check_mode:
            return {"changed": True, **result}
        arguments |= {name: settings[name] for name in ("python", "installer", "install_project")} | plan
        if settings["installer"] == "uv":
            arguments |= uv_installer()
        return self._send(arguments, source, task_vars)

    def _send(self, arguments: dict[str, Any], source: Any, task_vars: dict[str, Any] | None) -> dict[str, Any]:
        with tempfile.TemporaryDirectory(prefix="celeriac-") as scratch:
            archive = Path(scratch, "release.tar.gz")
            source.pack(archive)
            remote = self._connection._shell.join_path(self._make_tmp_path(), "release.tar.gz")
            self._transfer_file(str(archive), remote)
            try:
                return self._module({**arguments, "archive": remote}, task_vars)
            finally:
                self._remove_tmp_path(self._connection._shell.tmpdir)

    def _module(self, arguments: dict[str, Any], task_vars: dict[str, Any] | None) -> dict[str, Any]:
        return dict(
            self._execute_module(module_name="celeriac.fleet.app_release", module_args=arguments, task_vars=task_vars)
        )
