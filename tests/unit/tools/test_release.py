"""tools/release.py: what a release makes, and of what there is none."""

from __future__ import annotations

import datetime
import os
import shutil
import subprocess
import sys
from pathlib import Path

import collection
import pytest
import release

from tests.support.harness import ROOT

IDENTITY = {
    f"GIT_{who}_{what}": value
    for who in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", "a"), ("EMAIL", "a@b.example"))
}
GALAXY = collection.COLLECTION / "galaxy.yml"


def run(place: Path, *command: str) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, **IDENTITY, "GIT_CONFIG_GLOBAL": os.devnull}
    return subprocess.run(command, cwd=place, env=environ, capture_output=True, text=True)


def git(place: Path, *arguments: str) -> str:
    done = run(place, "git", *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def released(place: Path, version: str) -> subprocess.CompletedProcess[str]:
    return run(place, sys.executable, "tools/release.py", version)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository of its own with this one's files, released once as 0.2.0."""
    place = tmp_path_factory.mktemp("repository")
    for path in collection.tracked():
        (place / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / path, place / path, follow_symlinks=False)
    git(place, "init", "--quiet", "--initial-branch=main")
    git(place, "add", "--all")
    git(place, "commit", "--quiet", "--message=feat: all of it")
    git(place, "tag", "v0.2.0")
    return place


@pytest.fixture
def clone(repository: Path, tmp_path: Path) -> Path:
    git(tmp_path, "clone", "--quiet", str(repository), "clone")
    return tmp_path / "clone"


def test_a_release_sets_the_version_builds_and_tags(clone: Path) -> None:
    done = released(clone, "0.3.0")
    assert done.returncode == 0, done.stderr
    assert (clone / ".cache/dist/celeriac-fleet-0.3.0.tar.gz").is_file()
    assert git(clone, "describe", "--exact-match") == "v0.3.0"
    assert git(clone, "log", "-1", "--format=%s") == "chore(release): 0.3.0"
    assert 'version = "0.3.0"' in (clone / "pyproject.toml").read_text()
    assert "version: 0.3.0" in (clone / GALAXY).read_text()
    assert f"## [Unreleased]\n\n## [0.3.0] - {datetime.date.today()}\n" in (clone / "CHANGELOG.md").read_text()
    assert git(clone, "status", "--porcelain") == ""
    assert git(clone, "ls-remote", "--tags", "origin", "v0.3.0") == ""


def test_a_section_that_is_there_already_is_kept() -> None:
    changelog = "# Changelog\n\n## [0.3.0] - 2026-01-31\n\n- All of it.\n"
    assert release.released(changelog, "0.3.0", datetime.date(2026, 2, 1)) == changelog


@pytest.mark.parametrize("version", ["", "1.0", "v1.0.0", "01.0.0", "1.0.0-rc1"])
def test_a_version_has_three_numbers(repository: Path, version: str) -> None:
    refused(repository, version, f"VERSION is {version!r}: give three numbers")


@pytest.mark.parametrize("version", ["0.2.0", "0.1.9"])
def test_a_version_is_higher_than_the_last(repository: Path, version: str) -> None:
    refused(repository, version, f"VERSION is {version}, and v0.2.0 is tagged")


def test_another_branch_is_refused(clone: Path) -> None:
    git(clone, "switch", "--quiet", "--create", "other")
    refused(clone, "0.3.0", "The branch is other")


def test_changes_that_are_not_committed_are_refused(clone: Path) -> None:
    (clone / "new").touch()
    refused(clone, "0.3.0", "The working tree has changes")


def test_a_changelog_that_says_nothing_is_refused(clone: Path) -> None:
    (clone / "CHANGELOG.md").write_text("# Changelog\n\n## [Unreleased]\n\n## [0.2.0] - 2026-01-31\n\n- All of it.\n")
    git(clone, "commit", "--quiet", "--all", "--message=docs: nothing")
    refused(clone, "0.3.0", "CHANGELOG.md says nothing")


def refused(clone: Path, version: str, why: str) -> None:
    """Assert that there is no release, and that nothing was changed."""
    before = git(clone, "rev-parse", "HEAD"), git(clone, "status", "--porcelain"), git(clone, "tag")
    done = released(clone, version)
    assert (done.returncode, done.stderr.startswith(f"celeriac: error: {why}")) == (2, True), done.stderr
    assert (git(clone, "rev-parse", "HEAD"), git(clone, "status", "--porcelain"), git(clone, "tag")) == before
