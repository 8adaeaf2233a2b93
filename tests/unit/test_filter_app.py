"""plugins/filter/app.py: an environment file that means the same to systemd, a shell and our module; problems."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from harness import ROOT, load, specs
from hypothesis import given, settings
from hypothesis import strategies as st

app = load("plugins/filter/app.py")
celery_ready = load("plugins/modules/celery_ready.py")

NAMES = st.from_regex(r"[A-Z][A-Z0-9_]{0,8}", fullmatch=True).filter(lambda name: not app.OPTION.match(name))
VALUES = st.text(st.characters(exclude_categories=["Cs"]).filter(lambda c: c.isprintable() or c == "\t"))
ENVIRONMENTS = st.dictionaries(NAMES, VALUES, max_size=6)
NASTY = {"A": 'it\'s a "quoted" $HOME `id` \\ # %n {{ x }}', "B": "", "C": " blanks\t", "D": "ünïcödé ☃", "E": "\\$\\"}


def systemd(text: str) -> dict[str, str]:
    """Name -> value, by the rules of systemd's ``parse_env_file_internal`` for values in double quotes."""
    found = {}
    for line in text.splitlines():
        name, _, quoted = line.partition("=")
        assert quoted[0] == quoted[-1] == '"'
        value, characters = "", iter(quoted[1:-1])
        for character in characters:
            if character == "\\":
                escaped = next(characters)
                value += escaped if escaped in '"\\`$' else f"\\{escaped}"
            else:
                assert character != '"', "a quote in the middle ends the value"
                value += character
        found[name] = value
    return found


def shell(text: str, directory: Path) -> dict[str, str]:
    """Name -> value, as a POSIX shell sources it."""
    (directory / "app.env").write_text(text, encoding="utf-8")
    done = subprocess.run(
        ["sh", "-c", "set -a; . ./app.env; exec env -0"],
        cwd=directory,
        env={"PATH": "/usr/bin:/bin"},
        capture_output=True,
        check=True,
    )
    pairs = [entry.decode().partition("=") for entry in done.stdout.split(b"\0") if entry]
    return {name: value for name, _, value in pairs}


# -- environment file


@given(ENVIRONMENTS)
def test_systemd_reads_what_went_in(environment: dict[str, str]) -> None:
    assert systemd(app.environment_file(environment)) == environment


@given(ENVIRONMENTS)
def test_the_readiness_probe_reads_what_went_in(tmp_path_factory: pytest.TempPathFactory, environment: dict) -> None:
    path = tmp_path_factory.getbasetemp() / "probe.env"
    path.write_text(app.environment_file(environment), encoding="utf-8")
    assert celery_ready.environment(str(path)) == environment


@settings(max_examples=20)
@given(st.dictionaries(NAMES.map(lambda name: f"X_{name}"), VALUES, min_size=1, max_size=6))
def test_a_shell_reads_what_went_in(tmp_path_factory: pytest.TempPathFactory, environment: dict[str, str]) -> None:
    read = shell(app.environment_file(environment), tmp_path_factory.getbasetemp())
    assert {name: read.get(name) for name in environment} == environment


@pytest.mark.parametrize("name", NASTY)
def test_nasty_values_arrive(tmp_path: Path, name: str) -> None:
    text = app.environment_file(NASTY)
    assert systemd(text)[name] == shell(text, tmp_path)[name] == NASTY[name]


def test_values_become_strings_and_lines_are_sorted() -> None:
    assert app.environment_file({"B": 3600, "A": True, "C": 1.5}) == 'A="true"\nB="3600"\nC="1.5"\n'


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"A B": "x"}, "app_environment has 'A B'"),
        ({"1A": "x"}, "app_environment has '1A'"),
        ({1: "x"}, "app_environment has 1:"),
        ({"A\n": "x"}, "app_environment has 'A\\n'"),
        ({"CELERY_WORKER_CONCURRENCY": "4"}, "celery would take it for a command-line option"),
        ({"CELERY_BEAT_SCHEDULE": "4"}, "celery would take it for a command-line option"),
        ({"A": "se\ncret"}, "app_environment.A has a line break"),
        ({"A": "se\0cret"}, "app_environment.A has a line break or control character"),
        ({"A": None}, "app_environment.A has no value"),
        ({"A": ["secret"]}, "app_environment.A has a list or mapping"),
        (["A=secret"], "app_environment is a list"),
    ],
)
def test_a_wrong_environment_is_one_sentence_without_the_value(environment: Any, said: str) -> None:
    (problem,) = app.environment_problems(environment)
    assert said in problem
    assert "secret" not in problem
    assert "se\\ncret" not in problem
    with pytest.raises(AnsibleFilterError):
        app.environment_file(environment)


# -- app_problems

RIGHT = {"app_name": "chatlite", "app_source": {"type": "path", "path": "examples/chatlite"}, "app_environment": {}}


def problems(**variables: Any) -> list[str]:
    return list(app.app_problems({host: {**RIGHT, **variables} for host in ("w1", "w2")}, str(ROOT)))


@pytest.mark.parametrize("name", ["chatlite", "a", "web-2", "a" * 31])
def test_a_right_name_has_no_problem(name: str) -> None:
    assert problems(app_name=name) == []


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"app_name": None}, "app_name is None"),
        ({"app_name": "Chat"}, "app_name is 'Chat'"),
        ({"app_name": "chat_lite"}, "app_name is 'chat_lite'"),
        ({"app_name": "2chat"}, "app_name is '2chat'"),
        ({"app_name": "chat\n"}, "app_name is 'chat\\n'"),
        ({"app_name": "../etc"}, "app_name is '../etc'"),
        ({"app_name": "a" * 32}, "at most 31 characters"),
        ({"app_name": "www-data"}, "app_name is 'www-data', which Debian uses"),
        ({"app_name": "redis"}, "app_name is 'redis', which Debian uses"),
        ({"app_name": "ssh"}, "app_name is 'ssh', which Debian uses"),
        ({"app_source": None}, "app_source is None"),
        ({"app_source": "examples/chatlite"}, "app_source is 'examples/chatlite'"),
        ({"app_source": {"type": "svn", "path": "x"}}, "app_source.type is 'svn': use one of path."),
        ({"app_source": {"type": "path"}}, "app_source.path is None"),
        ({"app_source": {"type": "path", "path": ""}}, "app_source.path is ''"),
        ({"app_source": {"type": "path", "path": "examples/none"}}, "app_source.path is 'examples/none'"),
        ({"app_source": {"type": "path", "path": "README.md"}}, "app_source.path is 'README.md'"),
        ({"app_environment": {"CELERY_WORKER_POOL": "solo"}}, "app_environment has 'CELERY_WORKER_POOL'"),
    ],
)
def test_a_wrong_application_is_one_sentence(variables: dict[str, Any], said: str) -> None:
    (problem,) = problems(**variables)
    assert said in problem
    assert problem.endswith(".")


@pytest.mark.parametrize("name", ["apt", "security", "ssl", "skel", "alternatives", "systemd", "sudo", "adm"])
def test_what_debian_has_below_etc_or_as_a_group_is_no_name(name: str) -> None:
    """The role would set group and mode of /etc/<app_name>."""
    assert len(problems(app_name=name)) == 1


def test_an_absolute_path_is_taken_as_it_is(tmp_path: Path) -> None:
    assert problems(app_source={"type": "path", "path": str(tmp_path)}) == []


def test_environment_that_could_not_be_read_is_left_to_others() -> None:
    variables = {key: value for key, value in RIGHT.items() if key != "app_environment"}
    assert app.app_problems({"w1": variables}, str(ROOT)) == []


def test_source_types_are_those_of_the_argument_specs() -> None:
    assert tuple(specs("app")["app_source"]["options"]["type"]["choices"]) == app.SOURCE_TYPES
