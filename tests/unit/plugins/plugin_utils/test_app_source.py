"""plugins/plugin_utils/app_source.py: a release is named after what it is made of."""

from __future__ import annotations

import os
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.celeriac.fleet.plugins.plugin_utils import app_source as sources
from ansible_collections.celeriac.fleet.plugins.plugin_utils import git_mirror

from tests.support.paths import ROOT

SETTINGS = {
    "requirements": "",
    "constraints": "",
    "python": "python3",
    "installer": "uv",
    "only_binary": False,
    "install_project": False,
}
HASHED = "shop==1.4.2 \\\n    --hash=sha256:00\nredis==8.1 --hash=sha256:00\n"


def plan(path: Path, **settings: Any) -> dict[str, Any]:
    return dict(sources.plan(sources.Directory(path), {**SETTINGS, **settings}))


# -- the id


def add_cache(root: Path) -> None:
    (root / "app" / "__pycache__").mkdir()
    (root / "app" / "__pycache__" / "tasks.pyc").write_text("x")
    (root / "stray.pyc").write_text("x")


def touch(root: Path) -> None:
    os.utime(root / "app" / "tasks.py", (0, 0))


def add_virtualenv(root: Path) -> None:
    (root / ".venv").mkdir()
    (root / ".venv" / "pyvenv.cfg").write_text("x")


def add_mark(root: Path) -> None:
    (root / ".celeriac-complete").write_text("x")


@pytest.mark.parametrize("change", [add_cache, touch, add_virtualenv, add_mark])
def test_id_stays_where_nothing_that_counts_changed(source: Path, change: Callable[[Path], None]) -> None:
    before = plan(source)
    change(source)
    assert plan(source) == before


def change_content(root: Path) -> None:
    (root / "app" / "tasks.py").write_text("x = 2\n")


def rename(root: Path) -> None:
    (root / "app" / "tasks.py").rename(root / "app" / "jobs.py")


def make_executable(root: Path) -> None:
    (root / "app" / "tasks.py").chmod(0o755)


def replace_by_link(root: Path) -> None:
    (root / "app" / "tasks.py").unlink()
    (root / "app" / "tasks.py").symlink_to("x = 1\n")


@pytest.mark.parametrize("change", [change_content, rename, make_executable, replace_by_link])
def test_id_follows_the_application_and_the_virtualenv_is_the_same(
    source: Path, change: Callable[[Path], None]
) -> None:
    before = plan(source)
    change(source)
    assert plan(source)["release"] != before["release"]
    assert plan(source)["virtualenv"] == before["virtualenv"]


@pytest.mark.parametrize(
    "settings", [{"python": "python3.13"}, {"installer": "pip"}, {"only_binary": True}, {"install_project": True}]
)
def test_id_and_virtualenv_follow_how_it_is_built(source: Path, settings: dict[str, Any]) -> None:
    before, after = plan(source), plan(source, **settings)
    assert after["release"] != before["release"]
    assert after["virtualenv"] != before["virtualenv"]


def test_virtualenv_follows_requirements_and_constraints_and_those_they_include(source: Path) -> None:
    found = {plan(source)["virtualenv"]}
    (source / "requirements.txt").write_text("-r base.txt\n")
    for base in ("celery\n", "celery\nredis\n"):
        (source / "base.txt").write_text(base)
        found.add(plan(source)["virtualenv"])
    for limits in ("kombu<6\n", "kombu<7\n"):
        (source / "limits.txt").write_text(limits)
        found.add(plan(source, constraints="limits.txt")["virtualenv"])
    assert len(found) == 5


@pytest.mark.parametrize(
    "line", ["-e .", "./libs/x", "libs/x.whl", "x @ file:libs/x", "--find-links wheels", "-r none.txt"]
)
def test_requirements_that_lie_in_the_source_make_the_virtualenv_its_own(source: Path, line: str) -> None:
    (source / "requirements.txt").write_text(f"{line}\n")
    before = plan(source)
    change_content(source)
    assert plan(source)["virtualenv"] != before["virtualenv"]


@pytest.mark.parametrize(
    "line",
    [
        "celery[redis]==5.7.0 ; python_version < '3.12'  # why",
        "celery[redis]>=5.7,<6",
        "celery",
        "x @ https://git.example/x.whl",
        "x @ git+https://git.example/x@main",
        "--trusted-host pypi.example",
        "x==1 \\\n    --hash=sha256:00 \\\n    --hash=sha256:11\n    # via y",
    ],
)
def test_requirements_from_elsewhere_let_releases_share_a_virtualenv(source: Path, line: str) -> None:
    (source / "requirements.txt").write_text(f"{line}\n")
    before = plan(source)
    change_content(source)
    assert plan(source)["virtualenv"] == before["virtualenv"]


def test_id_is_twelve_hex_digits(source: Path) -> None:
    found = plan(source)["release"]
    assert len(found) == 12
    int(found, 16)


# -- how it is installed


def test_hashes_are_enforced_where_there_are_any(source: Path) -> None:
    assert plan(source)["install"] == ["--requirement", "requirements.txt"]
    (source / "requirements.txt").write_text(HASHED)
    assert plan(source)["install"] == ["--requirement", "requirements.txt", "--require-hashes"]
    (source / "requirements.txt").write_text("-r lock.txt\n# --hash=x\n")
    (source / "lock.txt").write_text(HASHED)
    assert "--require-hashes" in plan(source)["install"]


def test_a_hash_in_a_comment_is_none(source: Path) -> None:
    (source / "requirements.txt").write_text("celery # pip takes --hash=sha256:00 too\n")
    assert "--require-hashes" not in plan(source)["install"]


@pytest.mark.parametrize("variable", ["requirements", "constraints"])
def test_a_file_that_is_missing_is_named(source: Path, variable: str) -> None:
    with pytest.raises(sources.SourceError, match=f"app_{variable} is 'none.txt', which isn't in the source"):
        plan(source, **{variable: "none.txt"})


# -- a directory


def test_what_git_ignores_is_left_out(source: Path) -> None:
    subprocess.run(["git", "init", "--quiet", str(source)], check=True)
    (source / ".gitignore").write_text(".env\nbuild/\n")
    (source / ".env").write_text("SECRET=1")
    (source / "build").mkdir()
    (source / "build" / "x").write_text("x")
    found = {str(path) for path in sources.Directory(source).files()}
    assert found == {".gitignore", "app/tasks.py", "requirements.txt"}


def packed(source: Any, archive: Path) -> dict[str, tarfile.TarInfo]:
    source.pack(archive)
    with tarfile.open(archive) as tar:
        return {member.name: member for member in tar.getmembers()}


def test_links_are_packed_as_links_and_not_followed(source: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_text("x")
    (source / "link").symlink_to(tmp_path / "outside")
    members = packed(sources.Directory(source), tmp_path / "release.tar.gz")
    assert set(members) == {"app/tasks.py", "requirements.txt", "link"}
    assert members["link"].issym()


def test_packed_files_belong_to_root_and_only_root_may_write(source: Path, tmp_path: Path) -> None:
    (source / "app" / "tasks.py").chmod(0o600)
    (source / "run").write_text("#!/bin/sh\n")
    (source / "run").chmod(0o777)
    members = packed(sources.Directory(source), tmp_path / "release.tar.gz")
    found = {name: (member.uid, member.gid, member.mode) for name, member in members.items()}
    assert found["app/tasks.py"] == (0, 0, 0o644)
    assert found["run"] == (0, 0, 0o755)


def test_a_directory_that_is_missing_is_named(source: Path) -> None:
    with pytest.raises(sources.SourceError, match=r"app_source\.path is '.*/none', which is no directory"):
        sources.Directory(source / "none")


# -- a commit


@pytest.fixture
def committed(source: Path, tmp_path: Path) -> Callable[..., Any]:
    """Commits what is in ``source``; the Commit."""
    subprocess.run(["git", "init", "--quiet", "--initial-branch=main", str(source)], check=True)

    def make(path: str = "") -> Any:
        base = ["git", "-C", str(source), "-c", "user.name=a", "-c", "user.email=a@b.example"]
        subprocess.run([*base, "add", "--all"], check=True)
        subprocess.run([*base, "commit", "--quiet", "--allow-empty", "--message", "x"], check=True)
        run = f"{os.getpid()}-{os.urandom(4).hex()}"
        mirror = git_mirror.Mirror(f"file://{source}", tmp_path / "cache", run)
        return sources.Commit(mirror, "main", path)

    return make


def test_a_commit_is_packed_without_what_is_left_out(
    committed: Callable[..., Any], source: Path, tmp_path: Path
) -> None:
    make_executable(source)
    (source / "link").symlink_to("app")
    add_cache(source)
    members = packed(committed(), tmp_path / "release.tar.gz")
    assert set(members) == {"app/tasks.py", "requirements.txt", "link"}
    assert (members["app/tasks.py"].mode, members["app/tasks.py"].uid) == (0o755, 0)
    assert members["link"].issym()


def test_another_commit_of_the_same_content_is_the_same_release(committed: Callable[..., Any], source: Path) -> None:
    first = committed("app")
    (source / "README").write_text("elsewhere")
    second = committed("app")
    assert first.commit != second.commit
    assert first.digest == second.digest
    change_content(source)
    assert committed("app").digest != first.digest


def test_a_commit_says_where_it_comes_from(committed: Callable[..., Any], source: Path) -> None:
    found = committed()
    assert found.about() == {
        "type": "git",
        "repo": f"file://{source}",
        "version": "main",
        "commit": found.commit,
    }
    assert found.read("app/tasks.py") == "x = 1\n"
    assert found.read("./app/../app/tasks.py") == "x = 1\n"
    assert found.read("app") is found.read("none") is None


def test_a_submodule_is_refused(committed: Callable[..., Any], source: Path) -> None:
    committed()
    head = subprocess.run(["git", "-C", str(source), "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    entry = f"160000,{head.stdout.strip()},libs/other"
    subprocess.run(["git", "-C", str(source), "update-index", "--add", "--cacheinfo", entry], check=True)
    (source / "libs" / "other").mkdir(parents=True)
    with pytest.raises(sources.SourceError, match=r"app_source\.repo has the submodule 'libs/other'"):
        committed()


# -- a package


def package(root: Path, requirement: str = "Shop[redis]==1.4.2", version: str = "", **settings: Any) -> dict[str, Any]:
    return dict(sources.plan(sources.Package(requirement, version, root), {**SETTINGS, **settings}))


def test_a_package_is_its_requirement(tmp_path: Path) -> None:
    found = package(tmp_path)
    assert found["files"] == {".celeriac-requirements.txt": "shop[redis]==1.4.2\n"}
    assert found["install"] == ["--requirement", ".celeriac-requirements.txt"]
    assert found["source"] == {"type": "package", "requirement": "shop[redis]==1.4.2", "version": "1.4.2"}
    assert packed(sources.Package("shop==1", "", tmp_path), tmp_path / "none.tar.gz") == {}


def test_another_version_is_another_release(tmp_path: Path) -> None:
    assert package(tmp_path)["release"] != package(tmp_path, version="1.4.3")["release"]
    assert package(tmp_path, "shop[redis]", "1.4.2") == package(tmp_path)


def test_requirements_and_constraints_of_a_package_come_from_the_controller(tmp_path: Path) -> None:
    (tmp_path / "more.txt").write_text("gevent==25.9\n")
    (tmp_path / "limits.txt").write_text("kombu<6\n")
    found = package(tmp_path, requirements="more.txt", constraints="limits.txt")
    assert found["files"] == {
        ".celeriac-requirements.txt": "shop[redis]==1.4.2\ngevent==25.9\n",
        ".celeriac-constraints.txt": "kombu<6\n",
    }
    assert found["release"] != package(tmp_path)["release"]


def test_a_lock_of_a_package_names_it(tmp_path: Path) -> None:
    (tmp_path / "lock.txt").write_text(HASHED)
    found = package(tmp_path, requirements="lock.txt")
    assert found["files"] == {".celeriac-requirements.txt": HASHED}
    assert found["install"][-1] == "--require-hashes"
    with pytest.raises(sources.SourceError, match=r"has hashes, but not shop==1\.5: compile the lock"):
        package(tmp_path, version="1.5", requirements="lock.txt")


def test_a_lock_of_a_package_is_one_file(tmp_path: Path) -> None:
    (tmp_path / "lock.txt").write_text("-r other.txt\n")
    (tmp_path / "other.txt").write_text("")
    with pytest.raises(sources.SourceError, match=r"app_requirements is 'lock\.txt', which needs other files"):
        package(tmp_path, requirements="lock.txt")


# -- what is refused

RIGHT = [
    {"type": "path", "path": "examples/chatlite"},
    {"type": "git", "repo": "https://git.example/shop.git", "version": "v1.4.2"},
    {"type": "git", "repo": "git@git.example:shop.git", "version": "feature/x", "path": "services/shop"},
    {"type": "git", "repo": "ssh://git@git.example:2222/shop.git", "version": "1234567"},
    {"type": "git", "repo": "file:///srv/git/shop.git", "version": "main"},
    {"type": "package", "requirement": "shop[redis, x]==1.4.2"},
]


@pytest.mark.parametrize("source", RIGHT, ids=str)
def test_what_is_right_has_no_problem(source: dict[str, Any]) -> None:
    assert list(sources.problems(source, "", ROOT)) == []


GIT = {"type": "git", "repo": "https://git.example/shop.git", "version": "v1"}


@pytest.mark.parametrize(
    ("source", "version", "said"),
    [
        (None, "", "app_source is None"),
        ("examples/chatlite", "", "app_source is 'examples/chatlite'"),
        ({"type": "svn", "path": "x"}, "", "app_source.type is 'svn': use one of path, git, package."),
        ({"type": "path"}, "", "app_source.path is None"),
        ({"type": "path", "path": ""}, "", "app_source.path is ''"),
        ({"type": "path", "path": "examples/none"}, "", "app_source.path is 'examples/none'"),
        ({"type": "path", "path": "README.md"}, "", "app_source.path is 'README.md'"),
        ({"type": "path", "path": "examples/chatlite", "version": "v1"}, "", "app_source has the key 'version'"),
        ({"type": "path", "path": "examples/chatlite"}, "v1", "app_version is 'v1', but app_source is a directory"),
        ({**GIT, "repo": "https://me:hunter2@git.example/x"}, "", "app_source.repo has a password: take it out"),
        ({**GIT, "repo": "--upload-pack=x"}, "", "app_source.repo is '--upload-pack=x'"),
        ({**GIT, "repo": "ext::sh -c id"}, "", "app_source.repo is 'ext::sh -c id'"),
        ({**GIT, "repo": "/srv/git/shop"}, "", "app_source.repo is '/srv/git/shop': write a URL"),
        ({**GIT, "version": 1.1}, "", "app_source.version is 1.1: write it as text, in quotes."),
        ({**GIT, "version": "--x"}, "", "app_source.version is '--x'"),
        ({**GIT, "version": "a..b"}, "", "app_source.version is 'a..b'"),
        ({"type": "git", "repo": GIT["repo"]}, "", "app_source.version is None"),
        (GIT, "main~1", "app_version is 'main~1'"),
        (GIT, 1.1, "app_version is 1.1: write it as text, in quotes."),
        ({**GIT, "path": "../x"}, "", "app_source.path is '../x'"),
        ({**GIT, "path": "/x"}, "", "app_source.path is '/x'"),
        ({"type": "package"}, "", "app_source.requirement is 'None': pin it"),
        ({"type": "package", "requirement": "shop"}, "", "app_source.requirement is 'shop': pin it, such as"),
        ({"type": "package", "requirement": "shop>=1"}, "", "app_source.requirement is 'shop>=1': pin it"),
        ({"type": "package", "requirement": "shop==1.*"}, "", "app_source.requirement is 'shop==1.*': pin it"),
        ({"type": "package", "requirement": "--index-url x"}, "1", "app_source.requirement is '--index-url x'"),
        ({"type": "package", "requirement": "shop"}, "1 --pre", "app_version is '1 --pre'"),
    ],
)
def test_what_cannot_be_right_is_one_sentence(source: Any, version: Any, said: str) -> None:
    (problem,) = sources.problems(source, version, ROOT)
    assert said in problem
    assert "hunter2" not in problem
    assert problem.endswith(".")


def test_a_version_of_the_command_line_stands_in_for_the_sources() -> None:
    assert list(sources.problems({"type": "git", "repo": GIT["repo"]}, "v1", ROOT)) == []
    assert list(sources.problems({"type": "package", "requirement": "shop"}, "1.4", ROOT)) == []


KEY = "-----BEGIN OPENSSH PRIVATE KEY-----\nhunter2\n-----END OPENSSH PRIVATE KEY-----"
OVER_SSH = "git@git.example:shop.git"


@pytest.mark.parametrize(
    ("repo", "access", "said"),
    [
        ("https://git.example/x", ("", "", "hunter2"), []),
        ("https://me@git.example/x", ("", "", "hunter2"), []),
        (OVER_SSH, (KEY, "git.example ssh-ed25519 AAAA", ""), []),
        (OVER_SSH, ("", "", ""), []),
        ("http://git.example/x", ("", "", "hunter2"), ["app_git_token is set, but app_source.repo is no https:// URL"]),
        ("https://git.example/x", ("", "", "hunter2\nhunter2"), ["app_git_token isn't one word"]),
        ("https://hunter2@git.example/x", ("", "", ""), ["app_source.repo has a user, but there is no app_git_token"]),
        (OVER_SSH, (KEY, "", ""), ["app_git_known_hosts is empty"]),
        (OVER_SSH, ("/root/hunter2", "x", ""), ["app_git_ssh_key is no private key"]),
        ("https://git.example/x", (KEY, "x", ""), ["app_git_ssh_key is set, but app_source.repo is no URL of ssh"]),
    ],
)
def test_what_gives_access_fits_the_repository_and_is_never_shown(
    repo: str, access: tuple[str, str, str], said: list[str]
) -> None:
    found = list(sources.access_problems({"type": "git", "repo": repo}, *access))
    assert [problem.partition(":")[0] for problem in found] == [text.partition(":")[0] for text in said]
    assert "hunter2" not in "".join(found)
    assert list(sources.access_problems({"type": "path", "path": "x"}, *access)) == []
