"""Controller side of the app_release module: what the release is made of, and bringing it to the host."""

from __future__ import annotations

import hashlib
import os
import shlex
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

ROOT = Path(__file__).resolve().parents[2]
# Never part of a release, whether git knows of it or not.
LEFT_OUT = {".git", ".venv", "venv", "__pycache__"}


def ignored(source: Path) -> set[Path]:
    """What git ignores below ``source``, relative: caches, build output, .env files; nothing outside a work tree."""
    listing = ["git", "-C", str(source), *"ls-files -z --others --ignored --exclude-standard --directory .".split()]
    try:
        listed = subprocess.run(listing, text=True, capture_output=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return set()
    return {Path(name) for name in listed.split("\0") if name}


def files(source: Path) -> Iterator[Path]:
    """The files and links below ``source`` that make a release, relative; links aren't followed."""
    left_out = ignored(source)
    for directory, names, found in os.walk(source):
        here = Path(directory).relative_to(source)
        links = [name for name in names if (source / here / name).is_symlink()]
        names[:] = [
            name for name in names if name not in LEFT_OUT and name not in links and here / name not in left_out
        ]
        for name in found + links:
            if here / name not in left_out and not name.endswith((".pyc", ".pyo")):
                yield here / name


def release_id(source: Path, salt: str = "") -> str:
    """Twelve hex digits over names, executable bits and contents of the files below ``source``, and ``salt``."""
    digest = hashlib.sha256(salt.encode())
    for path in sorted(files(source)):
        full = source / path
        digest.update(f"\0{path}\0{full.is_symlink():d}{os.access(full, os.X_OK):d}\0".encode())
        content = os.readlink(full).encode() if full.is_symlink() else full.read_bytes()
        digest.update(hashlib.sha256(content).digest())
    return digest.hexdigest()[:12]


def pack(source: Path, archive: Path) -> None:
    """Write the release's files to the tar file ``archive``, owned by root, not writable by others."""

    def plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.uid = member.gid = 0
        member.uname = member.gname = "root"
        member.mode = 0o755 if member.mode & 0o100 else 0o644
        return member

    with tarfile.open(archive, "w:gz", compresslevel=1) as tar:
        for path in sorted(files(source)):
            tar.add(source / path, arcname=str(path), recursive=False, filter=plain)


class ActionModule(ActionBase):
    """Looks whether the release is there; if not, sends its files and has the module build it."""

    TRANSFERS_FILES = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        super().run(tmp, task_vars)
        arguments = dict(self._task.args)
        source = ROOT / str(arguments.get("path", ""))
        arguments["path"] = str(source)
        if not source.is_dir():
            raise AnsibleActionFail(
                f"app_source.path is {str(source)!r}, which is no directory: name the application's directory."
            )
        release = release_id(source, str(arguments.get("requirements", "")) + str(arguments.get("python", "")))
        arguments["release"] = release
        directory = f"{arguments.get('releases')}/{release}"
        complete, current = self._look(directory, str(arguments.get("current") or ""))
        if complete and current == (directory if arguments.get("current") else ""):
            return {"changed": False, "release": release, "directory": directory}
        if complete or self._task.check_mode:
            return self._module(arguments, task_vars)
        with tempfile.TemporaryDirectory(prefix="celeriac-") as scratch:
            archive = Path(scratch, "release.tar.gz")
            pack(source, archive)
            remote = self._connection._shell.join_path(self._make_tmp_path(), "release.tar.gz")
            self._transfer_file(str(archive), remote)
            try:
                return self._module({**arguments, "archive": remote}, task_vars)
            finally:
                self._remove_tmp_path(self._connection._shell.tmpdir)

    def _look(self, directory: str, current: str) -> tuple[bool, str]:
        """Whether the release is complete, and where the link ``current`` points; without the price of a module."""
        marker = shlex.quote(f"{directory}/.celeriac-complete")
        asked = self._low_level_execute_command(
            f"test -e {marker} && echo complete || echo missing; readlink -- {shlex.quote(current)} || true"
        )
        state, _, pointed = asked["stdout"].strip().partition("\n")
        return state.strip() == "complete", pointed.strip()

    def _module(self, arguments: dict[str, Any], task_vars: dict[str, Any] | None) -> dict[str, Any]:
        return dict(self._execute_module(module_name="app_release", module_args=arguments, task_vars=task_vars))
