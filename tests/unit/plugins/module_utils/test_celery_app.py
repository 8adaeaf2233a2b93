"""plugins/module_utils/celery_app.py: environment files as systemd reads them, and a process that answers."""

from __future__ import annotations

import os
import pwd
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.celeriac.fleet.plugins.module_utils import celery_app
from ansible_collections.celeriac.fleet.plugins.plugin_utils.celery_probe import program

ME = pwd.getpwuid(os.geteuid()).pw_name
VIRTUALENV = str(Path(sys.executable).parents[1])


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("A=plain", "plain"),
        ("A=", ""),
        ('A=""', ""),
        ('A="a b"', "a b"),
        ("A='a \"b\" $c'", 'a "b" $c'),
        (r'A="\"\\\$\`"', '"\\$`'),
        (r'A="\n"', r"\n"),
        (r"A=a\ b", "a b"),
        ("A=x=y", "x=y"),
        ("  A = x", "x"),
        ("A=\"a\"'b'c", "abc"),
    ],
)
def test_values_are_unquoted_as_systemd_does_it(tmp_path: Path, line: str, value: str) -> None:
    (tmp_path / "env").write_text(f"# comment\n; comment\n\n{line}\nno assignment\n")
    assert celery_app.read_environment(str(tmp_path / "env")) == {"A": value}


def test_a_file_that_is_not_there_has_no_variables(tmp_path: Path) -> None:
    assert celery_app.read_environment(str(tmp_path / "env")) == {}


# More questions for the program.
MORE = """
import os
import shop

class Questions(Questions):
    def add(self, a, b):
        return a + b
    def place(self):
        print("noise of the application")
        return [os.getcwd(), os.environ.get("SHOP"), os.environ.get("HOME"), shop.NAME]
    def fall(self):
        raise ValueError("no such thing")
    def sleep(self):
        time.sleep(60)
"""
PROGRAM = program()


def with_more(code: str) -> dict[str, str]:
    return {**PROGRAM, celery_app.PROGRAM: PROGRAM[celery_app.PROGRAM] + code}


@pytest.fixture
def probe(tmp_path: Path) -> Iterator[Any]:
    (tmp_path / "shop.py").write_text("print('noise while it is imported')\nNAME = 'shop'\n")
    with celery_app.Probe(VIRTUALENV, str(tmp_path), ME, {"SHOP": "open"}, with_more(MORE)) as running:
        yield running


def test_it_answers_more_than_once(probe: Any) -> None:
    assert probe.call("add", limit=30, a=1, b=2) == 3
    assert probe.call("add", limit=30, a="a", b="b") == "ab"


def test_it_works_in_the_applications_directory_and_environment_alone(probe: Any, tmp_path: Path) -> None:
    assert probe.call("place", limit=30) == [str(tmp_path), "open", None, "shop"]


def test_the_last_words_of_one_that_died_are_told(probe: Any) -> None:
    with pytest.raises(celery_app.ProbeError, match=r"^ValueError: no such thing$") as error:
        probe.call("fall", limit=30)
    assert "Traceback" in error.value.output


def test_one_that_can_not_be_imported_says_so(tmp_path: Path) -> None:
    with (
        celery_app.Probe(VIRTUALENV, str(tmp_path), ME, {}, with_more("import nothing_such")) as probe,
        pytest.raises(celery_app.ProbeError, match="No module named 'nothing_such'"),
    ):
        probe.call("anything", limit=30)


def test_one_that_does_not_answer_is_given_up(probe: Any) -> None:
    with pytest.raises(celery_app.ProbeError, match="no answer within 0 seconds"):
        probe.call("sleep", limit=0.1)


def test_arguments_are_nowhere_to_be_seen(probe: Any) -> None:
    probe.call("add", limit=30, a="se", b="cret")
    shown = Path(f"/proc/{probe._process.pid}/cmdline").read_text()
    assert "secret" not in shown
    assert "SHOP" not in shown


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("no database", "no database"),
        ("bad key tops3cret!", "bad key ***!"),
        ("redis://u:other@db/0 is down", "redis://***@db/0 is down"),
        ("the password p@ss word is wrong", "the password *** is wrong"),
        ("the password p%40ss%20word is wrong", "the password *** is wrong"),
        ("http://docs.example.org tells an@example.org", "http://docs.example.org tells an@example.org"),
        ("on and off", "on and off"),
    ],
)
def test_what_the_application_says_is_told_without_secrets(text: str, said: str) -> None:
    variables = {"KEY": "tops3cret", "URL": "redis://u:p%40ss%20word@db/0", "SWITCH": "on", "LONGER": "tops3cret!!"}
    assert celery_app.masked(text, variables) == said
