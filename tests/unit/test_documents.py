"""The documents hold together: links lead somewhere, indexes are complete, tests that they name are there."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.paths import ROOT

DOCS = ROOT / "docs"
DECISIONS = sorted((DOCS / "decisions").glob("[0-9]*.md"))
STATUS = re.compile(r"^Status: (accepted|superseded by \d{4}) · Date: (\d{4}-\d{2}-\d{2})$", re.MULTILINE)
# an inventory may be one that a reader makes
FILE = re.compile(r"`((?:examples|inventories/shared|molecule|playbooks|plugins|roles|tests|tools)/[\w./@-]+\.\w+)`")
TEST = re.compile(r"`((?:[\w/]+/test_\w+\.py)?)(?:::(test_\w+))?`")


def documents() -> list[Path]:
    """Markdown files that git tracks or would; links are someone else's content."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "*.md"]
    names = subprocess.run(command, cwd=ROOT, text=True, capture_output=True, check=True).stdout
    paths = [ROOT / name for name in names.split("\0") if name]
    return sorted(path for path in paths if path.is_file() and not path.is_symlink())


def prose(path: Path) -> str:
    """A document without its blocks of code."""
    return re.sub(r"^( *)```.*?^\1```$", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def headings(path: Path, level: str = "#+") -> list[str]:
    """A document's headings of a level, ``##`` say."""
    return re.findall(rf"^(?:{level}) (.+)$", prose(path), re.MULTILINE)


def anchors(path: Path) -> list[str]:
    """The anchors that GitHub gives a document's headings; one that stands there again gets a number."""
    found: list[str] = []
    for heading in headings(path):
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
        again = sum(bool(re.fullmatch(rf"{re.escape(slug)}(-\d+)?", other)) for other in found)
        found.append(f"{slug}-{again}" if again else slug)
    return found


def links(path: Path) -> list[str]:
    """A document's links to files and anchors of this repository."""
    found = re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`\n]*`", "", prose(path)))
    return [link for link in found if not re.match(r"\w+:", link)]


def leads_nowhere(path: Path, link: str) -> bool:
    """Whether a link's file, or its anchor in a Markdown file, isn't there."""
    name, _, anchor = link.partition("#")
    target = (path.parent / name).resolve() if name else path
    return not target.exists() or (bool(anchor) and anchor not in anchors(target))


def named_tests(path: Path) -> Iterator[tuple[str, str]]:
    """File and function of each test that a document names; a function alone is in the file named before it."""
    file = ""
    for named, function in TEST.findall(path.read_text(encoding="utf-8")):
        file = named or file
        if named or function:
            yield file, function


def is_there(file: str, function: str) -> bool:
    """Whether a test is there, its file named from the repository's root or from ``tests/integration``."""
    path = next((base / file for base in (ROOT, ROOT / "tests/integration") if (base / file).is_file()), None)
    return path is not None and (not function or f"\ndef {function}(" in path.read_text(encoding="utf-8"))


def identity(path: Path) -> str:
    """A document's name in the tests' names."""
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", documents(), ids=identity)
def test_links_and_anchors_lead_somewhere(path: Path) -> None:
    assert [link for link in links(path) if leads_nowhere(path, link)] == []


@pytest.mark.parametrize("path", documents(), ids=identity)
def test_named_tests_are_there(path: Path) -> None:
    assert [named for named in named_tests(path) if not is_there(*named)] == []


@pytest.mark.parametrize("path", documents(), ids=identity)
def test_named_files_of_the_repository_are_there(path: Path) -> None:
    assert [name for name in FILE.findall(prose(path)) if not (ROOT / name).exists()] == []


def test_readme_fits_on_a_page() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 200


def test_the_index_lists_every_document() -> None:
    listed = {(DOCS / link.partition("#")[0]).resolve() for link in links(DOCS / "README.md")}
    expected = {path for path in documents() if path.is_relative_to(DOCS)} - {DOCS / "README.md", *DECISIONS}
    assert expected - listed == set()


@pytest.mark.parametrize("path", DECISIONS, ids=identity)
def test_a_decision_is_in_the_index_with_its_title_status_and_date(path: Path) -> None:
    number, title = headings(path, "#")[0].split(": ", 1)
    told = STATUS.search(path.read_text(encoding="utf-8"))
    assert told, "has no line 'Status: accepted · Date: YYYY-MM-DD'"
    index = (DOCS / "decisions/README.md").read_text(encoding="utf-8").splitlines()
    assert f"| [{number}]({path.name}) | {title} | {told[1]} | {told[2]} |" in index


def test_the_contents_of_operations_are_its_sections() -> None:
    path = DOCS / "operations.md"
    contents = path.read_text(encoding="utf-8").partition("\n## ")[0]
    assert sorted(re.findall(r"^- \[(.+)\]\(#", contents, re.MULTILINE)) == sorted(headings(path, "##"))


def test_each_guarantee_names_a_test() -> None:
    table = prose(DOCS / "guarantees.md").partition("\n|---|---|\n")[2].partition("\n\n")[0]
    rows = [row.strip("|").rsplit("|", 1) for row in table.splitlines()]
    assert rows
    assert [guarantee for guarantee, proof in rows if not any(map(any, TEST.findall(proof)))] == []


def test_no_guarantee_is_told_twice() -> None:
    """No test proves two guarantees, neither by its name nor by that of its file."""
    named = list(named_tests(DOCS / "guarantees.md"))
    assert [test for test in named if named.count(test) > 1 or (test[1] and (test[0], "") in named)] == []
