"""Virtualenvs on a host: made with uv, which is brought onto the host for that, or with Debian's venv and pip."""

from __future__ import annotations

import ast
import contextlib
import hashlib
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.celeriac.fleet.plugins.module_utils.app_releases import complete, locked, mark_complete, remove

TOOLS = "/usr/local/lib/celeriac"
PYTHON = ".celeriac-python"  # link to the interpreter that the virtualenv was made with
# Options of the modules that build one; plugins/doc_fragments/virtualenv.py says what they are.
BUILD: dict[str, dict[str, Any]] = {
    "python": {"type": "str", "default": "python3"},
    "installer": {"type": "str", "choices": ["uv", "pip"], "default": "uv"},
    "index": {"type": "dict", "default": {}, "no_log": True},
    "uv_version": {"type": "str"},
    "uv_lock": {"type": "str"},
}
USER_INFO = re.compile(r"(?<=://)[^/@\s'\"]+@")


class BuildError(Exception):
    """A step that failed, and what its program said last."""


def index_environment(settings: Mapping[str, Any], ca_file: str) -> dict[str, str]:
    """Variables that give pip the settings of ``app_index_url`` and others. They take precedence over its files."""
    found = {
        "PIP_INDEX_URL": settings.get("index_url"),
        "PIP_EXTRA_INDEX_URL": " ".join(settings.get("extra_index_urls") or []),
        "PIP_CERT": ca_file,
        "PIP_PROXY": settings.get("proxy"),
        "HTTPS_PROXY": settings.get("proxy"),
        "HTTP_PROXY": settings.get("proxy"),
    }
    own = {name: str(value) for name, value in (settings.get("environment") or {}).items()}
    return {name: value for name, value in found.items() if value} | own


def pip_settings(listed: str) -> dict[str, list[str]]:
    """What ``pip config list`` says, in pip's order: the environment over [install], that over [global]."""
    found: dict[str, dict[str, list[str]]] = {"global": {}, "install": {}, ":env:": {}}
    for line in listed.splitlines():
        name, equals, value = line.partition("=")
        section, _, key = name.partition(".")
        if equals and section in found:
            found[section][key.replace("_", "-")] = str(ast.literal_eval(value)).split()
    return found["global"] | found["install"] | found[":env:"]


def uv_environment(pip: Mapping[str, list[str]], locked_by_hashes: bool) -> dict[str, str]:
    """pip's settings as uv's variables, since uv reads none of pip's.

    :param locked_by_hashes: whether the choice of an index can't bring in other files. Then uv takes a version from
        whichever has it, as pip does; else a name from the first that knows it, the extra ones before the main one
    """
    proxy, cert = pip.get("proxy"), pip.get("cert")
    found = {
        "UV_DEFAULT_INDEX": pip.get("index-url"),
        "UV_INDEX": pip.get("extra-index-url"),
        "UV_NO_INDEX": ["1"] if _true(pip.get("no-index")) else None,
        "UV_INSECURE_HOST": pip.get("trusted-host"),
        "UV_HTTP_TIMEOUT": pip.get("timeout") or pip.get("default-timeout"),
        "SSL_CERT_FILE": cert,
        "UV_SYSTEM_CERTS": None if cert else ["1"],
        "HTTPS_PROXY": proxy,
        "HTTP_PROXY": proxy,
        "UV_INDEX_STRATEGY": ["unsafe-best-match"] if locked_by_hashes else None,
    }
    places = {"UV_FIND_LINKS": ",".join(pip["find-links"])} if pip.get("find-links") else {}
    return {name: " ".join(values) for name, values in found.items() if values} | places


def _true(values: Iterable[str] | None) -> bool:
    return "".join(values or []).lower() in ("1", "true", "yes", "on")


def masked(text: str, settings: Mapping[str, Any]) -> str:
    """``text`` without users and passwords of URLs and without the values of ``app_build_environment``."""
    urls = [settings.get("index_url"), settings.get("proxy"), *(settings.get("extra_index_urls") or [])]
    parts = {
        part
        for url in urls
        for found in USER_INFO.findall(url or "")
        for part in (found[:-1], found[:-1].partition(":")[2], unquote(found[:-1].partition(":")[2]))
    }
    parts |= {str(value) for value in (settings.get("environment") or {}).values() if len(str(value)) >= 4}
    for part in sorted(filter(None, parts), key=len, reverse=True):
        text = text.replace(part, "***")
    return USER_INFO.sub("***@", text)


def taken_out(module: AnsibleModule) -> dict[str, Any]:
    """The option ``index``, which is no longer in what the module returns as invocation.

    Its strings are no masks either: a short one would garble paths and messages. Programs' output is ``masked``.
    """
    index: dict[str, Any] = module.params.pop("index")
    module.no_log_values.clear()  # no other option has no_log
    return index


class Virtualenvs:
    """Makes virtualenvs by one of the installers, with the index settings of an environment.

    :param installer: ``installer`` (``uv`` or ``pip``), and for uv ``uv_version`` and ``uv_lock``, its requirements
    :param settings: ``index_url``, ``extra_index_urls``, ``ca`` (PEM text), ``proxy``, ``environment``
    :param descriptor: a lock that the programs hold too
    """

    def __init__(
        self,
        module: AnsibleModule,
        installer: Mapping[str, Any],
        settings: Mapping[str, Any],
        cache: str,
        descriptor: int,
    ) -> None:
        self.module, self.installer, self.settings, self.cache = module, installer, settings, cache
        self.locks = [descriptor]
        ca_file = ""
        if settings.get("ca"):
            handle, ca_file = tempfile.mkstemp(dir=module.tmpdir)
            with open(handle, "w", encoding="utf-8") as file:
                file.write(settings["ca"])
        self.environment = {
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "PIP_NO_INPUT": "1",
            "PIP_CACHE_DIR": os.path.join(cache, "pip"),
            **index_environment(settings, ca_file),
        }

    def run(self, step: str, command: list[str], directory: str, environment: Mapping[str, str] | None = None) -> str:
        """Run one step; what it printed."""
        rc, out, err = self.module.run_command(
            command,
            cwd=directory,
            environ_update={**self.environment, **(environment or {})},
            expand_user_and_vars=False,
            pass_fds=self.locks,
        )
        if rc != 0:
            said = "\n".join((out + err).strip().splitlines()[-15:])
            raise BuildError(f"{step} failed:\n{masked(said, self.settings)}")
        return str(out)

    def make(self, directory: str, python: str, install: list[str], source: str, project: str = "") -> None:
        """Make one in place of what is there, and mark it complete.

        :param install: arguments of ``pip install``, relative to ``source``
        :param project: directory of a project to install besides, without its dependencies
        """
        remove(directory)
        os.makedirs(os.path.dirname(directory), 0o755, exist_ok=True)
        if self.installer["installer"] == "uv":
            uv = self.uv(self.installer["uv_version"], self.installer["uv_lock"])
            self.with_uv(uv, directory, python, install, source, project)
        else:
            self.with_pip(directory, python, install, source, project)
        finish(directory, python, {"built": now(), "installer": installer_name(self.installer)})

    def with_pip(self, directory: str, python: str, install: list[str], source: str, project: str) -> None:
        """Make one with venv and pip."""
        self._private("pip")
        self.run("Making the virtualenv", [python, "-m", "venv", directory], source)
        pip = [f"{directory}/bin/python", "-m", "pip", "install"]
        self.run("Installing the requirements", [*pip, *install], source)
        if project:
            self.run("Installing the project", [*pip, "--no-deps", project], source)

    def with_uv(self, uv: str, directory: str, python: str, install: list[str], source: str, project: str) -> None:
        """Make one with uv, files of which are links into its cache where that is on the same file system."""
        cache = self._private("uv")
        listed = self.run("Reading pip's configuration", [f"{uv}/bin/python", "-m", "pip", "config", "list"], "/")
        same = os.stat(cache).st_dev == os.stat(os.path.dirname(directory)).st_dev
        environment = {
            "UV_CACHE_DIR": cache,
            "UV_LINK_MODE": "hardlink" if same else "copy",
            "UV_NO_PROGRESS": "1",
            "NO_COLOR": "1",
            **uv_environment(pip_settings(listed), "--require-hashes" in install),
            **{name: str(value) for name, value in (self.settings.get("environment") or {}).items()},
        }
        fixed = ["--no-config", "--no-python-downloads"]
        command = [f"{uv}/bin/uv", "venv", *fixed, "--quiet", "--python", python, directory]
        self.run("Making the virtualenv", command, source, environment)
        pip = [f"{uv}/bin/uv", "pip", "install", *fixed, "--python", f"{directory}/bin/python", "--compile-bytecode"]
        self.run("Installing the requirements", [*pip, *install], source, environment)
        if project:
            self.run("Installing the project", [*pip, "--no-deps", project], source, environment)

    def uv(self, version: str, lock: str) -> str:
        """The directory of a virtualenv with uv; it is made once for all applications."""
        directory, python = f"{TOOLS}/uv-{version}", interpreter("/usr/bin/python3")
        if made_with(directory) == python:
            return directory
        os.makedirs(TOOLS, 0o755, exist_ok=True)
        with locked(TOOLS, 600) as descriptor:
            if made_with(directory) == python:
                return directory
            self.locks.append(descriptor)
            remove(directory)
            with tempfile.NamedTemporaryFile("w", dir=self.module.tmpdir, suffix=".txt") as file:
                file.write(lock)
                file.flush()
                self.run("Making uv's virtualenv", [python, "-m", "venv", directory], "/")
                install = ["--require-hashes", "--only-binary", ":all:", "--requirement", file.name]
                self.run("Installing uv", [f"{directory}/bin/python", "-m", "pip", "install", *install], "/")
            finish(directory, python, {"installer": "pip", "uv": version})
            self.locks.remove(descriptor)
        return directory

    def _private(self, name: str) -> str:
        """A cache directory that only root may read."""
        path = os.path.join(self.cache, name)
        os.makedirs(self.cache, 0o755, exist_ok=True)
        os.makedirs(path, 0o700, exist_ok=True)
        os.chmod(path, 0o700)
        return path


def directory_name(wanted: str, python: str) -> str:
    """What a virtualenv's directory is called, twelve hex digits.

    :param wanted: a digest of what is installed, and how
    :param python: the path of the interpreter, without links
    """
    return hashlib.sha256(f"{wanted}\0{python}".encode()).hexdigest()[:12]


def installer_name(installer: Mapping[str, Any]) -> str:
    """What a mark of completeness says of an installer, as ``Virtualenvs`` takes it."""
    return f"uv {installer['uv_version']}" if installer["installer"] == "uv" else "pip"


def now() -> str:
    """The time in UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def interpreter(name: str) -> str:
    """The path of an interpreter without links; "" if the host hasn't it."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:/usr/local/bin:/usr/bin:/bin")
    return os.path.realpath(found) if found else ""


def made_with(directory: str) -> str:
    """The interpreter that a complete virtualenv was made with; "" if there is none."""
    path = os.path.join(directory, PYTHON)
    return os.readlink(path) if complete(directory) and os.path.islink(path) else ""


def version_of(directory: str) -> str:
    """The version of a virtualenv's Python."""
    with open(os.path.join(directory, "pyvenv.cfg"), encoding="utf-8") as file:
        found = re.search(r"^version(?:_info)? *= *([\d.]+)", file.read(), re.MULTILINE)
    return found[1] if found else sys.version.partition(" ")[0]


def finish(directory: str, python: str, about: Mapping[str, Any]) -> None:
    """Mark a virtualenv complete; without uv's lock, which everybody may write."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(os.path.join(directory, ".lock"))
    os.symlink(python, os.path.join(directory, PYTHON))
    mark_complete(directory, about)
