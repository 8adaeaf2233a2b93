"""plugins/plugin_utils/git_mirror.py, on real repositories: files, HTTPS with git's own server, and a pretended ssh."""

from __future__ import annotations

import base64
import os
import ssl
import subprocess
import tarfile
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.celeriac.fleet.plugins.plugin_utils import git_mirror

from tests.support.waiting import PATIENCE, wait_for

TOKEN = "t0ken-of-the-repository"
KEY = "-----BEGIN OPENSSH PRIVATE KEY-----\nc2VjcmV0\n-----END OPENSSH PRIVATE KEY-----"


def git(directory: Path, *arguments: str) -> str:
    command = ["git", "-C", str(directory), "-c", "user.name=a", "-c", "user.email=a@b.example", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def commit(repository: Path, **files: str) -> str:
    """Commit ``files``; the commit."""
    for name, text in files.items():
        (repository / name.replace("__", ".")).write_text(text)
    git(repository, "add", "--all")
    git(repository, "commit", "--quiet", "--message", "x")
    return git(repository, "rev-parse", "HEAD")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    path = tmp_path / "shop"
    path.mkdir()
    git(path, "init", "--quiet", "--initial-branch=main")
    commit(path, tasks__py="x = 1\n", requirements__txt="")
    git(path, "tag", "v1")
    return path


@pytest.fixture
def mirror(repository: Path, tmp_path: Path) -> Callable[..., Any]:
    def make(url: str = f"file://{repository}", run: str = f"{os.getpid()}-1", **secrets: str) -> Any:
        return git_mirror.Mirror(url, tmp_path / "cache", run, **secrets)

    return make


def test_a_tag_a_branch_and_a_commit_are_found(mirror: Callable[..., Any], repository: Path) -> None:
    first = git(repository, "rev-parse", "HEAD")
    git(repository, "tag", "--annotate", "--message", "x", "v1.1")
    second = commit(repository, tasks__py="x = 2\n")
    found = [mirror().resolve(version) for version in ("v1", "v1.1", "main", first, first[:10])]
    assert found == [first, first, second, first, first]


def test_a_tag_goes_before_a_branch_of_its_name(mirror: Callable[..., Any], repository: Path) -> None:
    first = git(repository, "rev-parse", "HEAD")
    git(repository, "branch", "v1")
    git(repository, "switch", "--quiet", "v1")
    commit(repository, tasks__py="x = 2\n")
    assert mirror().resolve("v1") == first


def test_a_branch_is_the_same_commit_for_all_hosts_of_a_run(mirror: Callable[..., Any], repository: Path) -> None:
    before = mirror().resolve("main")
    after = commit(repository, tasks__py="x = 2\n")
    assert mirror().resolve("main") == before
    assert mirror(run=f"{os.getpid()}-2").resolve("main") == after


def test_what_a_run_that_ended_resolved_is_forgotten(mirror: Callable[..., Any]) -> None:
    child = subprocess.Popen(["true"])
    child.wait()
    mirror(run=f"{child.pid}-1").resolve("main")
    mirror().resolve("main")
    assert [path.name.split("-")[1] for path in mirror().directory.glob("celeriac-*-*")] == [str(os.getpid())]


def test_a_branch_that_was_rewritten_or_removed_is_followed(mirror: Callable[..., Any], repository: Path) -> None:
    git(repository, "branch", "topic")
    mirror().resolve("topic")
    git(repository, "branch", "--delete", "topic")
    git(repository, "commit", "--quiet", "--amend", "--message", "y")
    other = mirror(run=f"{os.getpid()}-2")
    assert other.resolve("main") == git(repository, "rev-parse", "main")
    with pytest.raises(git_mirror.GitError, match="neither a tag nor a branch nor a commit"):
        other.resolve("topic")


def test_a_commit_of_no_branch_is_found(mirror: Callable[..., Any], repository: Path) -> None:
    git(repository, "config", "uploadpack.allowAnySHA1InWant", "true")
    git(repository, "switch", "--quiet", "--create", "topic")
    alone = commit(repository, tasks__py="x = 3\n")
    git(repository, "switch", "--quiet", "main")
    git(repository, "branch", "--delete", "--force", "topic")
    assert mirror().resolve(alone) == alone


def test_a_known_commit_needs_no_server(mirror: Callable[..., Any], repository: Path) -> None:
    known = mirror().resolve("main")
    repository.rename(repository.with_name("gone"))
    assert mirror(run=f"{os.getpid()}-2").resolve(known) == known


@pytest.mark.parametrize("version", ["v9", "main~1", "--upload-pack=x", "0123456789012345678901234567890123456789"])
def test_an_unknown_version_is_one_sentence(mirror: Callable[..., Any], version: str) -> None:
    with pytest.raises(git_mirror.GitError) as error:
        mirror().resolve(version)
    assert str(error.value).startswith(f"app_source.version is {version!r}, which is neither a tag nor a branch")


def test_a_repository_that_is_missing_is_one_sentence(mirror: Callable[..., Any], tmp_path: Path) -> None:
    with pytest.raises(git_mirror.GitError) as error:
        mirror(f"file://{tmp_path}/none").resolve("main")
    assert f"file://{tmp_path}/none can't be fetched" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_url_that_runs_a_command_is_refused(
    mirror: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("COUNT", "1"), ("KEY_0", "protocol.ext.allow"), ("VALUE_0", "always")):
        monkeypatch.setenv(f"GIT_CONFIG_{name}", value)
    with pytest.raises(git_mirror.GitError, match="transport 'ext' not allowed"):
        mirror(f"ext::sh -c 'touch {tmp_path}/run'").resolve("main")
    assert not (tmp_path / "run").exists()


def test_a_directory_of_the_repository_has_its_links_and_modes(
    mirror: Callable[..., Any], repository: Path, tmp_path: Path
) -> None:
    (repository / "service").mkdir()
    (repository / "service" / "run").write_text("#!/bin/sh\n")
    (repository / "service" / "run").chmod(0o755)
    (repository / "service" / "link").symlink_to("run")
    found = mirror()
    version = commit(repository)
    assert found.resolve("main") == version
    assert {name: mode for name, (mode, _) in found.tree(version, "service").items()} == {
        "run": "100755",
        "link": "120000",
    }
    found.archive(version, "service", tmp_path / "tree.tar")
    with tarfile.open(tmp_path / "tree.tar") as tar:
        assert sorted(tar.getnames()) == ["link", "run"]


def test_a_directory_that_is_missing_is_named(mirror: Callable[..., Any]) -> None:
    found = mirror()
    with pytest.raises(git_mirror.GitError, match=r"app_source\.path is 'none', which is no directory of file://"):
        found.tree(found.resolve("main"), "none")


def test_two_runs_at_once_get_on(mirror: Callable[..., Any], repository: Path) -> None:
    wanted = git(repository, "rev-parse", "main")
    found: list[str] = []
    threads = [
        threading.Thread(target=lambda run=run: found.append(mirror(run=f"{os.getpid()}-{run}").resolve("main")))
        for run in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [wanted] * 4


# -- access


class Handler(BaseHTTPRequestHandler):
    """git's own server program, behind basic authentication; each request waits for ``server.hold``."""

    def log_message(self, *_: Any) -> None: ...

    def do_GET(self) -> None:
        self.serve(b"")

    def do_POST(self) -> None:
        self.serve(self.rfile.read(int(self.headers["Content-Length"])))

    def serve(self, body: bytes) -> None:
        wanted = base64.b64encode(f"oauth2:{TOKEN}".encode()).decode()
        if self.headers.get("Authorization") != f"Basic {wanted}":
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="git"')
            self.end_headers()
            return
        self.server.hold.wait(PATIENCE)
        path, _, query = self.path.partition("?")
        environment = {
            "GIT_PROJECT_ROOT": str(self.server.root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "REQUEST_METHOD": self.command,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
        }
        done = subprocess.run(
            ["git", "http-backend"], input=body, env={**os.environ, **environment}, capture_output=True, check=True
        )
        head, _, content = done.stdout.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
        self.send_response(int(headers.pop("Status", "200").split()[0]))
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@pytest.fixture
def server(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ThreadingHTTPServer]:
    """The repository over HTTPS; ``url`` is its URL."""
    pem = tmp_path / "server.pem"
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    make = ["openssl", "req", "-x509", "-newkey", "ed25519", "-nodes", "-keyout", pem, "-out", f"{pem}.crt", *subject]
    subprocess.run(make, check=True, capture_output=True)
    monkeypatch.setenv("GIT_SSL_CAINFO", f"{pem}.crt")
    for name in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    found = ThreadingHTTPServer(("localhost", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(f"{pem}.crt", pem)
    found.socket = context.wrap_socket(found.socket, server_side=True)
    found.root, found.hold, found.url = tmp_path, threading.Event(), f"https://localhost:{found.server_port}/shop/.git"
    found.hold.set()
    thread = threading.Thread(target=found.serve_forever)
    thread.start()
    yield found
    found.shutdown()
    thread.join()
    found.server_close()


def argument_lists() -> str:
    """The argument lists of all processes."""
    texts = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            texts.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:  # it ended meanwhile
            continue
    return "\n".join(texts)


def test_a_token_opens_and_stands_in_no_argument_list_and_nowhere_in_the_mirror(
    mirror: Callable[..., Any], server: Any, repository: Path
) -> None:
    server.hold.clear()
    found: list[str] = []
    wanted = mirror(server.url, token=TOKEN)
    fetch = threading.Thread(target=lambda: found.append(wanted.resolve("main")))
    fetch.start()
    seen = wait_for(lambda: lists if server.url in (lists := argument_lists()) else None, what="git's start")
    assert TOKEN not in seen
    server.hold.set()
    fetch.join()
    assert found == [git(repository, "rev-parse", "main")]
    held = [path for path in wanted.directory.rglob("*") if path.is_file() and TOKEN.encode() in path.read_bytes()]
    assert held == []


@pytest.mark.parametrize("token", ["wr0ng-token", ""])
def test_a_wrong_token_is_one_sentence_without_it(mirror: Callable[..., Any], server: Any, token: str) -> None:
    with pytest.raises(git_mirror.GitError) as error:
        mirror(server.url, token=token).resolve("main")
    said = str(error.value)
    assert said.startswith(f"{server.url} can't be fetched, ")
    assert said.endswith("check app_source.repo, and that app_git_ssh_key or app_git_token may read it.")
    assert "wr0ng" not in said
    assert "\n" not in said


def test_what_traces_of_git_would_show_is_off(
    mirror: Callable[..., Any], server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_TRACE_CURL", str(tmp_path / "trace"))
    monkeypatch.setenv("GIT_TRACE_REDACT", "0")
    mirror(server.url, token=TOKEN).resolve("main")
    assert not (tmp_path / "trace").exists()


@pytest.fixture
def pretended_ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """An ssh that leaves its arguments and the files that they name, says something, and fails."""

    def make(says: str) -> Path:
        program, seen = tmp_path / "ssh", tmp_path / "seen"
        program.write_text(
            "#!/bin/sh\n"
            f'echo "$@" >{seen}\n'
            'for each; do each=${each#UserKnownHostsFile=}; [ ! -f "$each" ] || '
            f'{{ stat -c "%a" "$each"; cat "$each"; }} >>{seen}; done\n'
            f"echo '{says}' >&2\nexit 255\n"
        )
        program.chmod(0o755)
        monkeypatch.setenv("GIT_SSH_COMMAND", str(program))
        return seen

    return make


def test_a_key_is_a_file_of_its_owners_alone_and_gone_afterwards(
    mirror: Callable[..., Any], pretended_ssh: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    seen = pretended_ssh("git@git.example: Permission denied (publickey).")
    with pytest.raises(git_mirror.GitError) as error:
        mirror("git@git.example:shop.git", ssh_key=KEY, known_hosts="git.example ssh-ed25519 AAAA").resolve("main")
    arguments, *files = seen.read_text().splitlines()
    assert "IdentitiesOnly=yes" in arguments
    assert "StrictHostKeyChecking=yes" in arguments
    assert "c2VjcmV0" not in arguments
    assert files == ["600", "git.example ssh-ed25519 AAAA", "600", *KEY.splitlines()]
    assert list(tmp_path.glob("celeriac-git-*")) == []
    assert "can't be fetched, git@git.example: Permission denied (publickey)" in str(error.value)
    assert "app_git_ssh_key" in str(error.value)


def test_an_unknown_host_key_says_what_to_do(mirror: Callable[..., Any], pretended_ssh: Callable[[str], Path]) -> None:
    pretended_ssh("Host key verification failed.")
    with pytest.raises(git_mirror.GitError, match=r"Host key verification failed.*app_git_known_hosts"):
        mirror("git@git.example:shop.git", ssh_key=KEY, known_hosts="x").resolve("main")


def test_a_run_is_named_after_the_process_that_started_this_one() -> None:
    assert git_mirror.this_run().split("-")[0] == str(os.getppid())
    assert git_mirror.this_run() == git_mirror.this_run()


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://me:secret@git.example/shop.git", "https://git.example/shop.git"),
        ("https://git.example/@scope/shop.git", "https://git.example/@scope/shop.git"),
        ("git@git.example:shop.git", "git@git.example:shop.git"),
    ],
)
def test_a_url_is_shown_without_user(url: str, shown: str) -> None:
    assert git_mirror.shown(url) == shown
