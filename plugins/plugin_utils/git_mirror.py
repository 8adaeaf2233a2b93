"""A git repository on the controller: fetched into a mirror, a version resolved to a commit once in a run.

Secrets go to git by its environment and by files in a directory of their own, never by an argument, a URL or the
mirror.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

# No transport that runs a command of the URL's choice (ext::).
TRANSPORTS = "file:git:http:https:ssh"
REFS = ("+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*")
HEX = re.compile(r"[0-9a-f]{7,40}\Z")
COMMIT = re.compile(r"[0-9a-f]{40}\Z")
ASKPASS = """#!/bin/sh
case "$1" in
    Username*) printf '%s\\n' oauth2 ;;
    *) printf '%s\\n' "$CELERIAC_GIT_TOKEN" ;;
esac
"""
# What git and ssh say -> what helps
REMEDIES = (
    ("host key verification failed", "compare its key with the server's own and put it into app_git_known_hosts"),
    ("permission denied|authentication failed|could not read (username|password)|returned error: 40[13]|not found|"
     "terminal prompts disabled", "check app_source.repo, and that app_git_ssh_key or app_git_token may read it"),
)  # fmt: skip
NOISE = re.compile(
    r"(Cloning|From |hint:|remote: *$|Warning: Permanently|and the repository exists|Please make sure you have|@@)"
)


class GitError(Exception):
    """What went wrong, a sentence without secrets."""


def shown(url: str) -> str:
    """``url`` without user and password.

    >>> shown("https://me:secret@git.example/shop.git")
    'https://git.example/shop.git'
    """
    return re.sub(r"(?<=://)[^/@]*@", "", url)


def cache_directory() -> Path:
    """Where mirrors are kept, by the XDG base directories."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "celeriac", "git")


def this_run() -> str:
    """Names the ansible-playbook whose worker this process is: its process ID, and when that started."""
    pid = os.getppid()
    with contextlib.suppress(OSError):
        return f"{pid}-{Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[19]}"
    return str(pid)


class Mirror:
    """A bare copy of the repository ``url``, of all its branches and tags.

    :param cache: where mirrors are kept
    :param run: what a version is resolved once for
    :param ssh_key: a private key, text
    :param known_hosts: whom ssh trusts to be the server, text
    :param token: what is given as password over HTTP
    """

    def __init__(
        self, url: str, cache: Path, run: str, *, ssh_key: str = "", known_hosts: str = "", token: str = ""
    ) -> None:
        self.url, self.run = url, run
        self.directory = cache / f"{hashlib.sha256(url.encode()).hexdigest()[:16]}.git"
        self._ssh_key, self._known_hosts, self._token = ssh_key, known_hosts, token

    def resolve(self, version: str) -> str:
        """The commit that the tag, branch or commit ``version`` is; the same for all hosts of a run."""
        with self._locked():
            answer = self.directory / f"celeriac-{self.run}-{hashlib.sha256(version.encode()).hexdigest()[:16]}"
            if answer.exists():
                return answer.read_text()
            commit = version if COMMIT.match(version) and self._known(version) else ""
            if not commit:
                self._fetch(*REFS, "--prune")
                commit = self._commit(version)
            self._forget()
            answer.write_text(commit)
            return commit

    def tree(self, commit: str, path: str) -> dict[str, tuple[str, str]]:
        """Name -> mode and object of every file, link and submodule below ``path``."""
        try:
            listed = self._git("ls-tree", "-r", "-z", "--full-tree", f"{commit}:{path}")
        except GitError as error:
            raise GitError(
                f"app_source.path is {path!r}, which is no directory of {shown(self.url)} at {commit[:12]}: "
                "name the application's directory, or leave path out."
            ) from error
        entries = (entry.split("\t", 1) for entry in listed.split("\0") if entry)
        return {name: (about.split()[0], about.split()[2]) for about, name in entries}

    def read(self, commit: str, path: str) -> bytes:
        """The content of a file."""
        return subprocess.run(
            ["git", f"--git-dir={self.directory}", "cat-file", "blob", f"{commit}:{path}"],
            check=True,
            capture_output=True,
        ).stdout

    def archive(self, commit: str, path: str, archive: Path) -> None:
        """Write what is below ``path`` to a tar file; what ``export-ignore`` names is left out."""
        self._git("archive", "--format=tar", f"--output={archive}", f"{commit}:{path}")

    def _commit(self, version: str) -> str:
        names = [f"refs/tags/{version}", f"refs/heads/{version}", *([version] if HEX.match(version) else [])]
        for name in names:
            if found := self._known(name):
                return found
        if COMMIT.match(version):  # of no branch, such as that of a merge request
            with contextlib.suppress(GitError):
                self._fetch(version)
                if found := self._known(version):
                    return found
        raise GitError(
            f"app_source.version is {version!r}, which is neither a tag nor a branch nor a commit of "
            f"{shown(self.url)}: push it, or name another."
        )

    def _known(self, name: str) -> str:
        with contextlib.suppress(GitError):
            return self._git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}").strip()
        return ""

    def _forget(self) -> None:
        """Remove what runs that ended have resolved."""
        for answer in self.directory.glob("celeriac-*-*"):
            try:
                os.kill(int(answer.name.split("-")[1]), 0)
            except (ProcessLookupError, PermissionError):  # ended, and the ID perhaps given to another user's
                answer.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open(self.directory / "celeriac.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (self.directory / "HEAD").exists():
                self._git("init", "--quiet", "--bare")
            yield

    def _fetch(self, *what: str) -> None:
        options = [one for one in what if one.startswith("--")]
        refs = [one for one in what if not one.startswith("--")]
        with self._access() as (settings, environment):
            command = [*settings, "fetch", "--quiet", "--force", "--no-tags", *options, "--", self.url]
            try:
                self._git(*command, *refs, environment=environment)
            except GitError as error:
                reason = str(error)
                remedy = next(
                    (remedy for pattern, remedy in REMEDIES if re.search(pattern, reason, re.IGNORECASE)),
                    "check app_source.repo, and that this machine reaches it",
                )
                raise GitError(f"{shown(self.url)} can't be fetched, {reason}: {remedy}.") from None

    @contextlib.contextmanager
    def _access(self) -> Iterator[tuple[list[str], dict[str, str]]]:
        """Options of git and variables that let it in; files with secrets are gone afterwards."""
        scratch = Path(tempfile.mkdtemp(prefix="celeriac-git-"))  # mode 0700
        try:
            ssh = f"{os.environ.get('GIT_SSH_COMMAND', 'ssh')} -o BatchMode=yes"
            if self._known_hosts:
                ssh += f" -o StrictHostKeyChecking=yes -o UserKnownHostsFile={self._file(scratch, self._known_hosts)}"
                ssh += " -o GlobalKnownHostsFile=/dev/null"
            if self._ssh_key:
                key = self._file(scratch, self._ssh_key)
                ssh += f" -i {key} -o IdentitiesOnly=yes -o IdentityAgent=none -o ControlPath=none"
            environment, settings = {"GIT_SSH_COMMAND": ssh}, []
            if self._token:
                environment |= {
                    "GIT_ASKPASS": self._file(scratch, ASKPASS, 0o700),
                    "CELERIAC_GIT_TOKEN": self._token,
                }
                # no helper may keep it, no redirection lead it elsewhere
                settings = ["-c", "credential.helper=", "-c", "http.followRedirects=false"]
            yield settings, environment
        finally:
            shutil.rmtree(scratch)

    @staticmethod
    def _file(directory: Path, text: str, mode: int = 0o600) -> str:
        descriptor, name = tempfile.mkstemp(dir=directory)
        with open(descriptor, "w", encoding="utf-8") as file:
            os.fchmod(descriptor, mode)
            file.write(text.rstrip("\n") + "\n")
        return shlex.quote(name)

    def _git(self, *arguments: str, environment: dict[str, str] | None = None) -> str:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_TRACE")}
        fixed = {"GIT_TERMINAL_PROMPT": "0", "GIT_ALLOW_PROTOCOL": TRANSPORTS, "LC_ALL": "C.UTF-8"}
        for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
            kept.pop(name, None)
        try:
            done = subprocess.run(
                ["git", f"--git-dir={self.directory}", *arguments],
                env={**kept, **fixed, **(environment or {})},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="surrogateescape",
                check=False,
            )
        except FileNotFoundError:
            raise GitError("git isn't installed on this machine: install it.") from None
        if done.returncode:
            raise GitError(self._reason(done.stderr))
        return done.stdout

    def _reason(self, said: str) -> str:
        """The end of what git said, in one line, without the secrets."""
        lines = [re.sub(r"^(fatal|error|remote): *", "", line.strip()) for line in said.splitlines()]
        reason = "; ".join([line.rstrip(".") for line in lines if line and not NOISE.match(line)][-3:])
        for secret in (self._token, self._ssh_key):
            reason = reason.replace(secret, "***") if secret else reason
        return re.sub(r"(?<=://)[^/@\s]*@", "", reason)
