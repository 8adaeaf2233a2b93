#!/usr/bin/env python3
"""Make a release of what is on main: version, changelog, artefact of the collection, tag. Nothing is pushed.

tools/release.py 1.2.0
"""

from __future__ import annotations

import datetime
import re
import subprocess
import sys
from pathlib import Path

import collection
from collection import ROOT

BRANCH = "main"
CHANGELOG = ROOT / "CHANGELOG.md"
# File -> its line with the version.
VERSIONS = {
    ROOT / "pyproject.toml": r'^version = "(.+)"$',
    ROOT / collection.COLLECTION / "galaxy.yml": r"^version: (.+)$",
}
SEMVER = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)\Z", re.ASCII)
UNRELEASED = "## [Unreleased]"


class ReleaseError(Exception):
    """Why there is no release, as a sentence with the remedy."""


def git(*arguments: str) -> str:
    """What git prints in the repository."""
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise ReleaseError(f"git {arguments[0]} failed: {done.stderr.strip()}")
    return done.stdout.strip()


def number(version: str) -> tuple[int, ...]:
    """A version to compare by."""
    match = SEMVER.match(version)
    if not match:
        raise ReleaseError(f"VERSION is {version!r}: give three numbers, such as 1.2.0.")
    return tuple(map(int, match.groups()))


def check(version: str) -> None:
    """Refuse a version, branch or tree of which there can be no release.

    :raises ReleaseError: naming what is wrong
    """
    wanted = number(version)
    branch = git("branch", "--show-current")
    if branch != BRANCH:
        raise ReleaseError(f"The branch is {branch or 'none'}: switch to {BRANCH}.")
    if git("status", "--porcelain"):
        raise ReleaseError("The working tree has changes: commit them or take them back.")
    tags = [tag.removeprefix("v") for tag in git("tag", "--list", "v*").split()]
    last = max((number(tag) for tag in tags if SEMVER.match(tag)), default=None)
    if last and wanted <= last:
        raise ReleaseError(f"VERSION is {version}, and v{'.'.join(map(str, last))} is tagged: give a higher one.")


def section(changelog: str, title: str) -> str:
    """What a changelog says under a heading; empty if it has no such heading."""
    _, _, rest = f"\n{changelog}".partition(f"\n{title}")
    return re.split(r"^## ", rest.partition("\n")[2], maxsplit=1, flags=re.MULTILINE)[0].strip()


def released(changelog: str, version: str, day: datetime.date) -> str:
    """The changelog with a section of the version, which what is unreleased becomes if there is none.

    :raises ReleaseError: if neither says anything
    """
    if section(changelog, f"## [{version}]"):
        return changelog
    if not section(changelog, UNRELEASED):
        raise ReleaseError(f"CHANGELOG.md says nothing under [{version}] or [Unreleased]: write what a user notices.")
    return changelog.replace(UNRELEASED, f"{UNRELEASED}\n\n## [{version}] - {day.isoformat()}", 1)


def release(version: str) -> Path:
    """Write the version and the changelog, build the artefact, commit and tag; the artefact.

    :raises ReleaseError: before anything is changed; where the artefact can't be built, all is as before
    """
    check(version)
    CHANGELOG.write_text(released(CHANGELOG.read_text("utf-8"), version, datetime.date.today()), "utf-8")
    for path, line in VERSIONS.items():
        text = path.read_text("utf-8")
        found = re.search(line, text, re.MULTILINE)
        assert found, path  # noqa: S101 - a test looks at both
        path.write_text(text[: found.start(1)] + version + text[found.end(1) :], "utf-8")
    try:
        artefact = collection.build(collection.DIST)
    except SystemExit:
        git("checkout", "--", ".")
        raise
    if git("status", "--porcelain"):
        git("commit", "--all", "--message", f"chore(release): {version}")
    git("tag", "--annotate", f"v{version}", "--message", f"Celeriac {version}")
    return artefact


def main() -> int:
    try:
        artefact = release(sys.argv[1] if len(sys.argv) == 2 else "")
    except ReleaseError as error:
        print(f"celeriac: error: {error}", file=sys.stderr)
        return 2
    print(f"{artefact}\nTagged v{sys.argv[1]}; to publish it: git push --follow-tags")
    return 0


if __name__ == "__main__":
    sys.exit(main())
