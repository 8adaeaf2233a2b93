"""tests/support/units.py: unit files are read as systemd reads them."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support import units

SYSTEMD_ANALYZE = pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd-analyze")

# Text below [Service] -> the directives that it has.
CONTINUED = [
    ("Aa=b \\\n  c\nDd=e\n", [("Aa", "b    c"), ("Dd", "e")]),
    ("Aa=b\\\nCc=d\n", [("Aa", "b Cc=d")]),
    ("Aa=b \\\n# comment\n  c\nDd=e\n", [("Aa", "b   c"), ("Dd", "e")]),
    ("Aa=b \\\n; comment \\\n  c\nDd=e\n", [("Aa", "b   c"), ("Dd", "e")]),
    ("# comment \\\nAa=b\n", [("Aa", "b")]),
    ("Aa=b \\\n\nDd=e\n", [("Aa", "b"), ("Dd", "e")]),
    ("Aa=b\\\\\nDd=e\n", [("Aa", "b\\\\"), ("Dd", "e")]),
    ("Aa=b\\\\\\\nDd=e\n", [("Aa", "b\\\\ Dd=e")]),
    ("Aa=\\\n\\\n  b\nDd=e", [("Aa", "b"), ("Dd", "e")]),
    ("Aa=b \\\n", [("Aa", "b")]),
]


@pytest.mark.parametrize(("text", "directives"), CONTINUED)
def test_a_backslash_continues_a_line(text: str, directives: list[tuple[str, str]]) -> None:
    found = units.parse(f"[Service]\n{text}")["Service"]
    blank = re.compile(r" +")
    assert [(name, blank.sub(" ", value)) for name, value in found] == [
        (name, blank.sub(" ", value)) for name, value in directives
    ]


@SYSTEMD_ANALYZE
@pytest.mark.parametrize(("text", "directives"), CONTINUED)
def test_systemd_sees_the_same_directives(text: str, directives: list[tuple[str, str]], tmp_path: Path) -> None:
    """None of which it knows."""
    unit = tmp_path / "continued.service"
    unit.write_text(f"[Service]\nExecStart=/bin/true\n{text}")
    command = ["systemd-analyze", "verify", "--man=no", str(unit)]
    said = subprocess.run(command, capture_output=True, text=True, check=False).stderr
    assert re.findall(r"Unknown key(?: name)? '(\w+)'", said) == [name for name, _ in directives]


@pytest.mark.parametrize("text", ["Aa=b\n--option=c\n", "Aa=b \\\n\n--option=c\n", "Aa=b \\ \n--option=c\n"])
def test_what_continues_nothing_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="neither section nor directive"):
        units.parse(f"[Service]\n{text}")
