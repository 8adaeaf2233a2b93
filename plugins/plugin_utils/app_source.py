"""What a release is made of, on the controller: a directory, a commit of a git repository, or a package of an index."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from ansible_collections.celeriac.fleet.plugins.plugin_utils import specs

# Never part of a release, whether git knows of it or not.
LEFT_OUT = {".git", ".venv", "venv", "__pycache__"}
OURS = ".celeriac-"
NAME = r"[A-Za-z0-9](?:[\w.-]*[A-Za-z0-9])?"
EXACT = re.compile(r"[\w.!+-]+\Z")
PACKAGE = re.compile(rf"(?P<name>{NAME})\s*(?P<extras>\[[\w.,\s-]*\])?\s*(?:==\s*(?P<version>[\w.!+-]+))?\Z")
# Lines of a requirements file: another file, and what says all there is to say. Anything else may be in the source.
INCLUDE = re.compile(r"(?:-r|-c|--requirements?|--constraints?)[\s=]*(\S+)\Z")
SELF_CONTAINED = re.compile(
    rf"(?:{NAME}\s*(?:\[[^\]]*\])?\s*(?:[<>=!~;(].*|@\s*(?!file:)\w[\w+]*://.*)?"
    r"|(?:-i|--index-url|--extra-index-url|--no-index|--pre|--prefer-binary|--require-hashes|--trusted-host"
    r"|--no-binary|--only-binary)\b.*)\Z"
)


KEYS = {"path": {"path"}, "git": {"repo", "version", "path"}, "package": {"requirement"}}
HTTP, SSH = re.compile(r"https?://"), re.compile(r"ssh://|[\w.-]+@[\w.-]+:(?!//)")
REPOSITORY = re.compile(rf"(?:{HTTP.pattern}|{SSH.pattern}|file://|git://)[^\s]+\Z")
VERSION = re.compile(r"(?!.*\.\.)[A-Za-z0-9_][\w./+@-]*\Z")


class SourceError(Exception):
    """What is wrong with a source, a sentence."""


class Source(Protocol):
    """What a release is made of."""

    digest: str  # over its content

    def read(self, name: str) -> str | None:
        """The text of a file of it; None if there is none."""

    def pack(self, archive: Path) -> None:
        """Write its files to a tar file, owned by root, not writable by others."""

    def about(self) -> dict[str, str]:
        """Where it comes from."""


def problems(source: Any, version: Any, root: Path) -> Iterator[str]:
    """What is wrong with ``app_source`` and ``app_version``, a sentence each.

    :param root: the directory in which a relative path starts
    """
    given = {"app_source": source, "app_version": version}
    if wrong := specs.problems("app", given, names=list(given)):
        yield from (sentence for sentences in wrong.values() for sentence in sentences)
        return
    kind = source["type"]
    for key in sorted(set(source) - KEYS[kind] - {"type"}, key=str):
        known = ", ".join(sorted(KEYS[kind]))
        yield f"app_source has the key {key!r}, which the type {kind} doesn't know: use {known}."
    if version and kind == "path":
        yield (
            f"app_version is {version!r}, but app_source is a directory, whose content is its version: leave it out, "
            "or use the type git or package."
        )
    elif kind == "path":
        yield from _path_problems(source.get("path"), root)
    elif kind == "git":
        yield from _git_problems(source, version)
    elif version and not EXACT.match(version):
        yield f"app_version is {version!r}: give a version of the package, such as 1.4.2."
    else:
        try:
            pinned(str(source.get("requirement")), version)
        except SourceError as problem:
            yield str(problem)


def _path_problems(path: Any, root: Path) -> Iterator[str]:
    if not isinstance(path, str) or not path or not (root / path).is_dir():
        yield (
            f"app_source.path is {path!r}, which is no directory on this machine: name the application's directory, a "
            "relative one starts at the repository's root."
        )


def _git_problems(source: Mapping[str, Any], version: str) -> Iterator[str]:
    repo, path = source.get("repo"), source.get("path", "")
    if isinstance(repo, str) and re.search(r"://[^/@]*:[^/@]*@", repo):
        yield "app_source.repo has a password: take it out, and give it as app_git_token."
    elif not isinstance(repo, str) or not REPOSITORY.match(repo):
        yield (
            f"app_source.repo is {repo!r}: write a URL, such as https://git.example/shop.git or "
            "git@git.example:shop.git."
        )
    where, wanted = ("app_version", version) if version else ("app_source.version", source.get("version"))
    if not isinstance(wanted, str) or not VERSION.match(wanted):
        yield f"{where} is {wanted!r}: name a tag, branch or commit, in quotes."
    if not isinstance(path, str) or path.startswith("/") or ".." in path.split("/"):
        yield f"app_source.path is {path!r}: name a directory of the repository, without .. and no / first."


def access_problems(source: Any, ssh_key: Any, known_hosts: Any, token: Any) -> Iterator[str]:
    """What is wrong with the variables that give access to a git repository, a sentence each; none shows a secret."""
    if not isinstance(source, Mapping) or source.get("type") != "git":
        return
    repo = str(source.get("repo", ""))
    if token and not repo.startswith("https://"):
        yield "app_git_token is set, but app_source.repo is no https:// URL: a token is only sent over HTTPS."
    if token and (not isinstance(token, str) or not token.isprintable() or " " in token):
        yield "app_git_token isn't one word: give the token alone."
    if HTTP.match(repo) and "@" in repo.split("/")[2] and not token:
        yield "app_source.repo has a user, but there is no app_git_token: take the user out, or give the token."
    if not ssh_key:
        return
    if "PRIVATE KEY-----" not in str(ssh_key):
        yield "app_git_ssh_key is no private key: give the text of the key's file, with its BEGIN and END lines."
    if not SSH.match(repo):
        yield "app_git_ssh_key is set, but app_source.repo is no URL of ssh: write git@<host>:<path>, or leave it out."
    if not known_hosts:
        yield "app_git_known_hosts is empty: give what 'ssh-keyscan <host>' prints, once you have compared it."


def left_out(name: str) -> bool:
    """Whether a file or directory of this name is never part of a release."""
    return name in LEFT_OUT or name.startswith(OURS) or name.endswith((".pyc", ".pyo"))


def plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """``member``, owned by root and not writable by others."""
    member.uid = member.gid = 0
    member.uname = member.gname = "root"
    member.mode = 0o755 if member.mode & 0o100 else 0o644
    return member


class Directory:
    """A directory, without what git ignores in it."""

    def __init__(self, path: Path) -> None:
        if not path.is_dir():
            raise SourceError(
                f"app_source.path is {str(path)!r}, which is no directory: name the application's directory."
            )
        self.path = path
        digest = hashlib.sha256()
        for name in sorted(self.files()):
            full = path / name
            digest.update(f"\0{name}\0{full.is_symlink():d}{os.access(full, os.X_OK):d}\0".encode())
            content = os.readlink(full).encode() if full.is_symlink() else full.read_bytes()
            digest.update(hashlib.sha256(content).digest())
        self.digest = digest.hexdigest()

    def files(self) -> Iterator[Path]:
        """The files and links that make a release, relative; links aren't followed."""
        ignored = self._ignored()
        for directory, names, found in os.walk(self.path):
            here = Path(directory).relative_to(self.path)
            kept = [name for name in names if not left_out(name) and here / name not in ignored]
            links = [name for name in kept if (self.path / here / name).is_symlink()]
            names[:] = [name for name in kept if name not in links]
            for name in found + links:
                if here / name not in ignored and not left_out(name):
                    yield here / name

    def _ignored(self) -> set[Path]:
        """What git ignores, relative: caches, build output, .env files; nothing outside a work tree."""
        options = "-z --others --ignored --exclude-standard --directory .".split()
        listing = ["git", "-C", str(self.path), "ls-files", *options]
        try:
            listed = subprocess.run(listing, text=True, capture_output=True, check=True).stdout
        except (OSError, subprocess.CalledProcessError):
            return set()
        return {Path(name) for name in listed.split("\0") if name}

    def read(self, name: str) -> str | None:
        file = self.path / name
        return file.read_text(encoding="utf-8") if file.is_file() else None

    def pack(self, archive: Path) -> None:
        with tarfile.open(archive, "w:gz", compresslevel=1) as tar:
            for path in sorted(self.files()):
                tar.add(self.path / path, arcname=str(path), recursive=False, filter=plain)

    def about(self) -> dict[str, str]:
        return {"type": "path"}


class Commit:
    """A commit of a git repository, or a directory of it.

    :param mirror: a ``git_mirror.Mirror``
    :param version: tag, branch or commit
    """

    def __init__(self, mirror: Any, version: str, path: str) -> None:
        self.mirror, self.version, self.path = mirror, version, path
        self.commit = mirror.resolve(version)
        self.tree: dict[str, tuple[str, str]] = mirror.tree(self.commit, path)
        modules = [name for name, (mode, _) in self.tree.items() if mode == "160000"]
        if modules:
            raise SourceError(
                f"app_source.repo has the submodule {modules[0]!r}, which isn't supported: put its files into the "
                "repository, or install it as a requirement."
            )
        self.digest = hashlib.sha256(json.dumps(sorted(self.tree.items())).encode()).hexdigest()

    def read(self, name: str) -> str | None:
        name = os.path.normpath(name)
        if self.tree.get(name, ("", ""))[0] not in ("100644", "100755"):
            return None
        return str(self.mirror.read(self.commit, os.path.join(self.path, name)).decode())

    def pack(self, archive: Path) -> None:
        with tempfile.TemporaryDirectory(prefix="celeriac-") as scratch:
            self.mirror.archive(self.commit, self.path, Path(scratch, "tree.tar"))
            with tarfile.open(Path(scratch, "tree.tar")) as tree, tarfile.open(archive, "w:gz", compresslevel=1) as tar:
                for member in tree:
                    if not any(left_out(part) for part in PurePosixPath(member.name).parts) and not member.isdir():
                        tar.addfile(plain(member), tree.extractfile(member) if member.isfile() else None)

    def about(self) -> dict[str, str]:
        return {
            "type": "git",
            "repo": re.sub(r"(?<=://)[^/@]*@", "", self.mirror.url),
            "version": self.version,
            "commit": self.commit,
        }


class Package:
    """A package of an index, pinned; it brings no files of its own.

    :param root: where requirements and constraints are looked for
    """

    def __init__(self, requirement: str, version: str, root: Path) -> None:
        self.requirement, self.root = pinned(requirement, version), root
        self.digest = hashlib.sha256(self.requirement.encode()).hexdigest()

    def read(self, name: str) -> str | None:
        file = self.root / name
        return file.read_text(encoding="utf-8") if file.is_file() else None

    def pack(self, archive: Path) -> None:
        tarfile.open(archive, "w:gz").close()

    def about(self) -> dict[str, str]:
        return {"type": "package", "requirement": self.requirement, "version": self.requirement.partition("==")[2]}


def pinned(requirement: str, version: str) -> str:
    """The requirement of exactly one version.

    >>> pinned("Shop [redis]", "1.4.2")
    'shop[redis]==1.4.2'
    """
    found = PACKAGE.match(requirement)
    if not found or not (version or found["version"]):
        raise SourceError(
            f"app_source.requirement is {requirement!r}: pin it, such as shop[redis]==1.4.2, or give app_version."
        )
    extras = re.sub(r"\s", "", found["extras"] or "")
    return f"{normal(found['name'])}{extras}=={version or found['version']}"


def normal(name: str) -> str:
    """A package's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def lines(text: str) -> Iterator[str]:
    """The requirements and options of a requirements file, without comments and hashes."""
    for line in re.sub(r"\\\n", " ", text).splitlines():
        if line := re.split(r"\s--hash[=\s]|(?:^|\s)#", line, maxsplit=1)[0].strip():
            yield line


def hashed(text: str) -> bool:
    """Whether any requirement of the text has a hash."""
    return bool(re.search(r"^[^#\n]*--hash[=\s]", text, re.MULTILINE))


def closure(source: Source, name: str) -> tuple[dict[str, str], bool]:
    """A requirements file and those that it includes, by name, and whether they need nothing else of the source."""
    texts: dict[str, str] = {}
    waiting, alone = [name], True
    while waiting:
        name = os.path.normpath(waiting.pop())
        text = source.read(name)
        if name in texts or text is None:
            alone = alone and name in texts
            continue
        texts[name] = text
        for line in lines(text):
            if include := INCLUDE.match(line):
                waiting.append(os.path.join(os.path.dirname(name), include[1]))
            elif not SELF_CONTAINED.match(line):
                alone = False
    return texts, alone


def plan(source: Source, settings: Mapping[str, Any]) -> dict[str, Any]:
    """How the release is built, and after what it is named.

    :param settings: ``requirements``, ``constraints``, ``python``, ``installer``, ``only_binary``, ``install_project``
    :returns: ``release`` (its id, twelve hex digits), ``virtualenv`` (what names the virtualenv, together with the
        host's interpreter), ``install`` (arguments of pip and uv), ``files`` (name -> content, what a package needs in
        its release for these), ``source`` (where it comes from)
    """
    package = isinstance(source, Package)
    requirements = settings["requirements"] or ("" if package else "requirements.txt")
    constraints = settings["constraints"]
    texts: dict[str, str] = {}
    alone = not settings["install_project"]
    for variable, name in (("app_requirements", requirements), ("app_constraints", constraints)):
        if not name:
            continue
        if source.read(name) is None:
            where = f"below {source.root}" if isinstance(source, Package) else "in the source"
            raise SourceError(f"{variable} is {name!r}, which isn't {where}: name the file.")
        found, complete = closure(source, name)
        if package and (len(found) > 1 or not complete):
            raise SourceError(f"{variable} is {name!r}, which needs other files: compile it into one.")
        texts |= found
        alone = alone and complete
    install: list[str] = []
    locked = any(hashed(text) for text in texts.values())
    if isinstance(source, Package):
        files, install = _package_files(source, requirements, constraints, texts, locked)
    else:
        files = {}
        install += ["--requirement", requirements, *(["--constraint", constraints] if constraints else [])]
    install += ["--require-hashes"] if locked else []
    install += ["--only-binary", ":all:"] if settings["only_binary"] else []
    built = {name: settings[name] for name in ("python", "installer", "only_binary", "install_project")}
    virtualenv = _digest([built, install, sorted(texts.items()), source.digest if package or not alone else ""])
    return {
        "release": _digest([source.digest, virtualenv])[:12],
        "virtualenv": virtualenv,
        "install": install,
        "files": files,
        "source": source.about(),
    }


def _package_files(
    source: Package, requirements: str, constraints: str, texts: Mapping[str, str], locked: bool
) -> tuple[dict[str, str], list[str]]:
    """The files that pip needs for a package, and its arguments for them."""
    own, given = f"{OURS}requirements.txt", texts.get(os.path.normpath(requirements), "") if requirements else ""
    name, _, version = source.requirement.partition("==")
    name = name.partition("[")[0]
    if locked:
        pins = (line.partition(";")[0].partition("==") for line in lines(given))
        if (name, version) not in {(normal(pin.partition("[")[0].strip()), exact.strip()) for pin, _, exact in pins}:
            raise SourceError(
                f"app_requirements is {requirements!r}, which has hashes, but not {name}=={version}: compile the "
                "lock for this version."
            )
        files = {own: given}
    else:
        files = {own: f"{source.requirement}\n{given}"}
    install = ["--requirement", own]
    if constraints:
        files[f"{OURS}constraints.txt"] = texts[os.path.normpath(constraints)]
        install += ["--constraint", f"{OURS}constraints.txt"]
    return files, install


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
