"""Controller side of the app_release module: what the release is made of, and bringing it to the host."""

from __future__ import annotations

import hashlib
import os
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

ROOT = Path(__file__).resolve().parents[2]
LEFT_OUT = {".git", ".venv", "venv", "__pycache__", ".mypy_cache", ".pytest_cache", ".ruff_cache", ".tox", "node_modules"}


def files(source: Path) -> Iterator[Path]:
    """The files below ``source`` that make a release, sorted, relative; links aren't followed."""
    for directory, names, found in os.walk(source):
        names[:] = sorted(set(names) - LEFT_OUT)
        for name in found + [name for name in names if os.path.islink(os.path.join(directory, name))]:
            if not name.endswith((".pyc", ".pyo")):
                yield Path(directory, name).relative_to(source)


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
    """Asks the module whether the release is there; if not, sends its files and asks it to build."""

    TRANSFERS_FILES = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        super().run(tmp, task_vars)
        arguments = dict(self._task.args)
        source = Path(str(arguments.pop("path", "")))
        source = source if source.is_absolute() else ROOT / source
        if not source.is_dir():
            raise AnsibleActionFail(f"app_source.path is {str(source)!r}, which is no directory: name the application's directory.")
        arguments["release"] = release_id(source, str(arguments.get("requirements", "")) + str(arguments.get("python", "")))
        result = self._module(arguments, task_vars)
        if not result.pop("needed", False):
            return result
        with tempfile.TemporaryDirectory(prefix="celeriac-") as directory:
            archive = Path(directory, "release.tar.gz")
            pack(source, archive)
            remote = self._connection._shell.join_path(self._make_tmp_path(), "release.tar.gz")
            self._transfer_file(str(archive), remote)
            try:
                return self._module({**arguments, "archive": remote}, task_vars)
            finally:
                self._remove_tmp_path(self._connection._shell.tmpdir)

    def _module(self, arguments: dict[str, Any], task_vars: dict[str, Any] | None) -> dict[str, Any]:
        return dict(self._execute_module(module_name="app_release", module_args=arguments, task_vars=task_vars))
