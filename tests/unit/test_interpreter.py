"""tests/support/interpreter.py: one import of an application answers as one for each question does."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
import testinfra

from tests.support.interpreter import Interpreter

# The container is this machine. Each run of a command of the application is noted in $CALLS.
DOCKER = """#!/bin/sh
shift 3
exec "$@"
"""
RUN = f"""#!/bin/sh
echo "$1" >> "$CALLS"
. "$ROOT/environment"
cd "$ROOT/current" || exit
shift
exec {sys.executable} "$@"
"""
APPLICATION = """
import os
from celery import Celery
print("imported")
app = Celery(os.environ["NAME"], broker="memory://")
colour = "green"
"""


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An application with a release and an environment, beside the programs that begin it."""
    for name, text in {"docker": DOCKER, "shop-run": RUN}.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    (tmp_path / "one").mkdir()
    (tmp_path / "one/shop.py").write_text(APPLICATION)
    (tmp_path / "current").symlink_to("one")
    (tmp_path / "environment").write_text("export NAME=first\n")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setenv("ROOT", str(tmp_path))
    monkeypatch.setenv("CALLS", str(tmp_path / "calls"))
    return tmp_path


def interpreter(root: Path, *, container: str = "test") -> Interpreter:
    paths = {"release": str(root / "current"), "environment": str(root / "environment")}
    return Interpreter(testinfra.get_host("local://"), "shop-run", "shop", container=container, **paths)


def begun(root: Path) -> int:
    """How many times the application was begun."""
    return len((root / "calls").read_text().splitlines())


@pytest.fixture
def shop(root: Path) -> Interpreter:
    return interpreter(root)


def test_questions_share_an_import_and_nothing_else(shop: Interpreter, root: Path) -> None:
    assert shop.evaluate("import shop\nshop.colour = 'red'\nprint('said')\nresult = [app.main, shop.colour]") == [
        "first",
        "red",
    ]
    assert shop.evaluate("import shop\nresult = shop.colour") == "green"
    assert begun(root) == 1


def test_a_question_that_fails_says_how_and_the_next_is_answered(shop: Interpreter, root: Path) -> None:
    for code, said in {
        "result = 1 / 0": "ZeroDivisionError",
        "raise SystemExit(3)": "SystemExit",
        "result = object()": "not JSON serializable",
        "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)": "ended with -9",
    }.items():
        with pytest.raises(AssertionError, match=said):
            shop.evaluate(code)
    assert shop.evaluate("result = 2") == 2
    assert begun(root) == 1


def test_a_question_that_hangs_is_ended(shop: Interpreter) -> None:
    """It has an alarm, which is set to come sooner here."""
    with pytest.raises(AssertionError, match="ended with -14"):
        shop.evaluate("import signal, threading\nassert signal.alarm(1) > 0\nthreading.Event().wait()")
    assert shop.evaluate("result = 2") == 2


def test_after_a_switch_of_the_release_it_is_the_new_ones(shop: Interpreter, root: Path) -> None:
    assert shop.evaluate("import shop\nresult = shop.colour") == "green"
    (root / "two").mkdir()
    (root / "two/shop.py").write_text(APPLICATION.replace("green", "blue"))
    (root / "next").symlink_to("two")
    (root / "next").replace(root / "current")
    assert shop.evaluate("import shop\nresult = shop.colour") == "blue"


def test_after_a_change_of_the_environment_it_is_the_new_one(shop: Interpreter, root: Path) -> None:
    assert shop.evaluate("result = app.main") == "first"
    (root / "next.env").write_text("export NAME=second\n")
    (root / "next.env").replace(root / "environment")
    assert shop.evaluate("result = app.main") == "second"


def test_one_that_died_is_begun_again(shop: Interpreter, root: Path) -> None:
    with pytest.raises(AssertionError, match="ended before it answered"):
        shop.evaluate("import os, signal\nos.kill(os.getppid(), signal.SIGKILL)\nos._exit(0)")
    assert shop.evaluate("result = 2") == 2
    assert begun(root) == 2


def test_one_that_can_not_be_begun_says_why(shop: Interpreter, root: Path) -> None:
    (root / "one/shop.py").write_text("import missing\n")
    with pytest.raises(AssertionError, match="No module named 'missing'"):
        shop.evaluate("result = 2")


def test_a_host_that_is_no_container_answers_too(root: Path) -> None:
    assert interpreter(root, container="").evaluate("result = 'a\\n\"%s\"'") == 'a\n"%s"'
