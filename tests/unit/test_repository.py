"""What holds for every tracked file."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from pathlib import Path

import pytest

from tests.support.harness import read_yaml
from tests.support.paths import ROOT, tracked

# A package index, mirror, proxy or registry that only this or that machine has. Public documentation may be linked to.
HOST_OF_PACKAGES = re.compile(
    r"--(?:extra-)?index-url[= ]\s*['\"]?https?:|^\s*(?:index|extra-index)-url\s*=|\bPIP_(?:EXTRA_)?INDEX_URL=|"
    r"\bUV_(?:DEFAULT_)?INDEX(?:_URL)?=['\"]?https?:|"
    r"https?://(?!(?:[\w.-]+\.)?example(?:\.(?:com|net|org))?\b)[\w.-]*(?:mirror|proxy|artifactory|nexus|registry|pypi\.|"
    r"deb\.debian|ftp\.[a-z]+\.debian)[\w.-]*[/:]",
    re.MULTILINE,
)


TRACKED = tracked()


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("--index-url https://a.example/simple", True),
        ("index-url = http://10.0.0.1/simple", True),
        ("deb http://mirror.corp.internal/debian bookworm main", True),
        ("https://registry.corp.internal/v2/", True),
        ("http://mirror.corp.internal:8080/", True),
        ("http://mirror.example/debian", False),
        ("uv pip compile --no-emit-index-url", False),
        ("https://docs.celeryq.dev/en/stable/", False),
    ],
)
def test_the_search_for_hosts_of_packages_finds_them(text: str, found: bool) -> None:
    assert bool(HOST_OF_PACKAGES.search(text)) is found


def test_no_host_of_packages_in_a_tracked_file() -> None:
    found = {
        f"{path.relative_to(ROOT)}: {match[0]}"
        for path in TRACKED
        if path != Path(__file__)
        for match in HOST_OF_PACKAGES.finditer(path.read_text(encoding="utf-8", errors="replace"))
    }
    assert found == set()


SILENCE = re.compile(r"#\s*(?:noqa: [A-Z0-9, ]+|type: ignore\[[a-z, -]+\])")


def unexplained(path: Path) -> list[int]:
    """Lines that wait, silence a linter or decide by themselves what changed, and don't say why."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".yml":
        found = re.compile(r"\s*(?:changed_when|failed_when): (?:true|false)\s*$")
        return [number for number, line in enumerate(text.splitlines(), 1) if found.match(line)]
    if not re.search(r"sleep|noqa|type: ignore", text):  # as most files, which then needn't be parsed
        return []
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    comments = {token.start[0]: token.string for token in tokens if token.type == tokenize.COMMENT}
    mute = {number: SILENCE.sub("", said) for number, said in comments.items() if SILENCE.match(said)}
    silent = [number for number, reason in mute.items() if not re.search(r"\w", reason)]
    calls = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)]
    sleeps = [call.lineno for call in calls if isinstance(call.func, ast.Attribute) and call.func.attr == "sleep"]
    return silent + [number for number in sleeps if number not in comments]


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        ("a.py", "time.sleep(1)", [1]),
        ("a.py", "time.sleep(1)  # between two looks", []),
        ("a.py", "assert pipe  # noqa: S101", [1]),
        ("a.py", "assert pipe  # noqa: S101 - it is a pipe", []),
        ("a.py", "a = b[1]  # type: ignore[index]", [1]),
        ("a.py", "a = b[1]  # type: ignore[index] # it matched", []),
        ("a.py", "a = 'time.sleep(1)  # noqa: S101'", []),
        ("a.yml", "- a:\n  changed_when: false", [2]),
        ("a.yml", "- a:\n  changed_when: false # only looks", []),
    ],
)
def test_the_search_for_what_says_no_reason_finds_it(tmp_path: Path, name: str, text: str, found: list[int]) -> None:
    (tmp_path / name).write_text(f"{text}\n")
    assert unexplained(tmp_path / name) == found


def test_what_waits_or_silences_a_check_says_why() -> None:
    files = [path for path in TRACKED if path.suffix in (".py", ".yml")]
    assert {str(path.relative_to(ROOT)): lines for path in files if (lines := unexplained(path))} == {}


def has_code(path: Path) -> bool:
    """Whether a Python file defines anything; one that holds documentation only doesn't."""
    defined = re.findall(r"^(?:def|class) (\w+)", path.read_text(encoding="utf-8"), re.MULTILINE)
    return bool(set(defined) - {"ModuleDocFragment"})


def test_every_plugin_has_a_test_of_its_name() -> None:
    files = [path for path in TRACKED if path.is_relative_to(ROOT / "plugins") and path.suffix == ".py"]
    plugins = [path for path in files if has_code(path)]
    assert len(plugins) >= 10
    tests = {path.relative_to(ROOT / "tests/unit") for path in TRACKED if path.is_relative_to(ROOT / "tests/unit")}
    wanted = {path.relative_to(ROOT).with_name(f"test_{path.name}") for path in plugins if path.parent.name != "filter"}
    assert wanted <= tests


PROGRAM = re.compile(
    r"^\s*(?:def |class |import |from \S+ import |local \w+ = |for .* (?:do|in .*:)$)|redis\.call\(", re.M
)
LONG = 10  # lines, up to which a string may be a program


def programs(source: str) -> list[int]:
    """The lines at which a string begins that is a program no linter reads."""
    strings = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant)]
    return [
        node.lineno
        for node in strings
        if isinstance(node.value, str) and node.value.count("\n") > LONG and PROGRAM.search(node.value)
    ]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("def answer():\n    return 1\n" + "\n" * LONG, [1]),
        ("if redis.call('GET', KEYS[1]) then return 1 end" + "\n" * 11, [1]),
        ("import json\nprint(json.loads(input()))\n", []),
        ("- name: import the key\n  local: true\n" * LONG, []),
    ],
)
def test_the_search_for_programs_in_strings_finds_them(text: str, found: list[int]) -> None:
    assert programs(f"CODE = {text!r}") == found


def test_a_program_is_a_file_and_no_string() -> None:
    """In what is sent to hosts or run on the controller, so that linters and type checkers read all of it."""
    sources = [path for path in TRACKED if path.suffix == ".py" and not path.is_relative_to(ROOT / "tests")]
    found = {str(path.relative_to(ROOT)): programs(path.read_text(encoding="utf-8")) for path in sources}
    assert {path: lines for path, lines in found.items() if lines} == {}


def test_every_target_of_the_makefile_is_phony_and_public_ones_are_described() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z][a-z+-]*):(?!=)", makefile, re.M))
    (phony,) = re.findall(r"^\.PHONY: ((?:.*\\\n)*.*)$", makefile, re.M)
    assert targets == set(phony.replace("\\\n", " ").split())
    for promised in ("up", "verify", "down", "test", "soak", "lint", "unit", "molecule"):
        assert re.search(rf"^{promised}:.*## .", makefile, re.M)


@pytest.mark.parametrize(
    ("message", "right"),
    [
        ("feat(redis): users in groups\n\nSo that …\n", True),
        ("fixup! docs: a word", True),
        ("refactor!: one collection", True),
        (f"fix: {'x' * 67}\n\n{'y' * 100}", True),
        (f"fix: {'x' * 68}", False),
        ("Fix the thing", False),
        ("wip\n\nfix: the thing", False),
        ("fix:", False),
    ],
)
def test_the_hook_for_commit_subjects(message: str, right: bool) -> None:
    hooks = read_yaml(ROOT / ".pre-commit-config.yaml")["repos"][0]["hooks"]
    pattern = next(hook["entry"] for hook in hooks if hook["id"] == "commit-subject")
    assert bool(re.search(pattern, message, re.MULTILINE)) is right
