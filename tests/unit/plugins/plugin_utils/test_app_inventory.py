"""plugins/plugin_utils/app_inventory.py: an environment file that means the same to systemd, a shell and our module."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.celeriac.fleet.plugins.module_utils import celery_app
from ansible_collections.celeriac.fleet.plugins.plugin_utils import app_inventory as app
from ansible_collections.celeriac.fleet.plugins.plugin_utils.site_roles import Site
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.harness import ROOT, specs

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
    assert celery_app.read_environment(str(path)) == environment


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

GIT = {"type": "git", "repo": "https://git.example/shop.git", "version": "v1"}
RIGHT = {"app_name": "chatlite", "app_source": {"type": "path", "path": "examples/chatlite"}, "app_environment": {}}


def problems(**variables: Any) -> list[str]:
    return list(app.app_problems({host: {**RIGHT, **variables} for host in ("w1", "w2")}, Site(root=ROOT)))


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
        ({"app_source": {"type": "svn"}}, "app_source.type is 'svn': use one of path, git, package."),
        ({"app_source": {"type": "path", "path": "examples/none"}}, "app_source.path is 'examples/none'"),
        ({"app_version": "v1"}, "app_version is 'v1', but app_source is a directory"),
        ({"app_source": GIT, "app_git_token": "hunter2 hunter2"}, "app_git_token isn't one word"),
        ({"app_index_url": "hunter2"}, "app_index_url can't be right: give it a URL"),
        (
            {"app_extra_index_urls": ["https://index.example/packages", "hunter2"]},
            "app_extra_index_urls[1] can't be right: give it a URL",
        ),
        ({"app_proxy": "hunter2:3128"}, "app_proxy can't be right: give it a URL"),
        ({"app_index_ca": "/etc/ssl/hunter2"}, "app_index_ca can't be right: give the text of a PEM file"),
        ({"app_build_environment": {"A": ["hunter2"]}}, "app_build_environment.A has a list or mapping"),
        ({"app_environment": {"CELERY_WORKER_POOL": "solo"}}, "app_environment has 'CELERY_WORKER_POOL'"),
    ],
)
def test_a_wrong_application_is_one_sentence(variables: dict[str, Any], said: str) -> None:
    (problem,) = problems(**variables)
    assert said in problem
    assert "hunter2" not in problem
    assert problem.endswith(".")


def test_settings_of_a_build_that_are_right_have_no_problem() -> None:
    settings = {
        "app_source": GIT,
        "app_version": "v1.5",
        "app_git_token": "x",
        "app_index_url": "https://me:x@index.example/packages",
        "app_extra_index_urls": ["file:///srv/wheels"],
        "app_proxy": "http://gate.example:3128",
        "app_index_ca": "-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n",
        "app_build_environment": {"UV_HTTP_TIMEOUT": 60},
    }
    assert problems(**settings) == []


@pytest.mark.parametrize("name", ["apt", "security", "ssl", "skel", "alternatives", "systemd", "sudo", "adm"])
def test_what_debian_has_below_etc_or_as_a_group_is_no_name(name: str) -> None:
    """The role would set group and mode of /etc/<app_name>."""
    assert len(problems(app_name=name)) == 1


def test_an_absolute_path_is_taken_as_it_is(tmp_path: Path) -> None:
    assert problems(app_source={"type": "path", "path": str(tmp_path)}) == []


def test_environment_that_could_not_be_read_is_left_to_others() -> None:
    variables = {key: value for key, value in RIGHT.items() if key != "app_environment"}
    assert app.app_problems({"w1": variables}, Site(root=ROOT)) == []


def test_a_machine_has_an_application_once() -> None:
    hosts = {
        "w1": RIGHT,
        "w1-shop": {**RIGHT, "app_name": "shop", "ansible_host": "w1"},
        "w1-again": {**RIGHT, "ansible_host": "w1"},
    }
    (problem,) = app.app_problems(hosts, Site(root=ROOT))
    assert problem.startswith(f"app_name is {RIGHT['app_name']} on w1 and w1-again, which are both w1: ")


def test_an_application_without_a_password_is_named() -> None:
    (problem,) = app.app_problems({"w1": {**RIGHT, "broker_passwords": {"shop": "hush"}}}, Site(root=ROOT))
    assert problem.startswith(f"broker_passwords has no {RIGHT['app_name']}: ")
    assert "hush" not in problem


def test_each_application_is_a_user_with_its_own_keys() -> None:
    shop, blog = app.app_redis_users({"shop": "x", "blog": "y"})
    assert shop == {"name": "shop", "profile": "celery", "key_prefix": "shop:", "password": "x"}
    assert (blog["name"], blog["key_prefix"], blog["password"]) == ("blog", "blog:", "y")


def test_the_hosts_of_an_application_keep_their_order() -> None:
    hostvars = {"b": {"app_name": "shop"}, "c": {"app_name": "blog"}, "a": {"app_name": "shop"}}
    assert app.app_hosts(hostvars, ["b", "c", "a"], "shop") == ["b", "a"]


class Unread(dict[str, Any]):
    """Variables of a host that isn't to be read."""

    def __getitem__(self, name: str) -> Any:
        pytest.fail(f"{name} was read")


def test_what_is_done_once_is_done_by_the_first_host_of_the_application_and_none_behind_it_is_read() -> None:
    hostvars = {"b": {"app_name": "blog"}, "c": {"app_name": "shop"}, "a": Unread()}
    assert app.app_first_host(["b", "c", "a"], hostvars, "shop") == "c"
    assert app.app_first_host(["b", "c"], hostvars, "wiki") == ""


@pytest.mark.parametrize(("names", "count"), [(["shop", "shop"], 0), (["shop", "blog"], 1), ([], 0)])
def test_one_of_several_applications_is_to_be_chosen(names: list[str], count: int) -> None:
    said = app.app_choice_problems({str(number): {"app_name": name} for number, name in enumerate(names)})
    assert said == ["The hosts run blog and shop: choose one with --limit, by its group or its hosts."] * count


def test_a_playbook_for_one_application_asks_which_of_those_it_reaches() -> None:
    hosts = {"w1": RIGHT, "w2": {**RIGHT, "app_name": "shop"}}
    assert app.app_problems(hosts, Site(root=ROOT)) == []
    assert len(app.app_problems(hosts, Site(root=ROOT, one_application=True))) == 1
    assert app.app_problems(hosts, Site(root=ROOT, one_application=True, reached=["w2"])) == []


def test_sources_are_those_of_the_argument_specs() -> None:
    options = specs("app")["app_source"]["options"]
    assert options["type"]["choices"] == list(app.sources.KEYS)
    assert {"type"}.union(*app.sources.KEYS.values()) == set(options)
