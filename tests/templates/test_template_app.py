"""The app role's files, rendered from the inventories' variables and read by a shell's and systemd's rules."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.celeriac.fleet.plugins.module_utils import celery_app
from kombu.utils.url import parse_url

from tests.support.harness import ENVIRONMENTS, SECRETS, File, Inventory, files

NASTY = [
    "two words",
    'dou"ble',
    "sin'gle",
    "back\\slash",
    "#hash",
    "100%",
    "p@ss:/word",
    "ünïcödé ☃",
    "{{ braces }}",
    "$HOME`id`",
]
WORKERS = [
    (environment, host)
    for environment in ENVIRONMENTS
    for host in Inventory(f"inventories/{environment}").groups["workers"]
]
EVERY_WORKER = pytest.mark.parametrize(("environment", "host"), WORKERS)


def rendered(environment: str, host: str, **more: Any) -> dict[str, File]:
    return files(Inventory(f"inventories/{environment}"), "app", host, **more)


def environment_of(found: dict[str, File], directory: Path) -> dict[str, str]:
    path = directory / "app.env"
    path.write_text(found["/etc/chatlite/chatlite.env"].content, encoding="utf-8")
    return dict(celery_app.read_environment(str(path)))


@EVERY_WORKER
def test_the_command_is_a_shell_script(environment: str, host: str, tmp_path: Path) -> None:
    file = rendered(environment, host)["/usr/local/sbin/chatlite-run"]
    assert file.content.startswith("#!/bin/sh\n")
    assert file.mode == "0755"
    script = tmp_path / "chatlite-run"
    script.write_text(file.content)
    done = subprocess.run(["sh", "-n", str(script)], text=True, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_command_without_an_argument_says_how(tmp_path: Path) -> None:
    script = tmp_path / "chatlite-run"
    script.write_text(rendered("development", "dev1")["/usr/local/sbin/chatlite-run"].content)
    done = subprocess.run(["sh", str(script)], text=True, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (2, "usage: chatlite-run COMMAND [ARGUMENT...]\n")


def test_the_command_holds_no_secret() -> None:
    text = rendered("development", "dev1")["/usr/local/sbin/chatlite-run"].content
    assert not [secret for secret in SECRETS.values() if secret in text]


@EVERY_WORKER
def test_the_environment_names_broker_and_results(environment: str, host: str, tmp_path: Path) -> None:
    inventory = Inventory(f"inventories/{environment}")
    found = rendered(environment, host)
    file = found["/etc/chatlite/chatlite.env"]
    assert (file.owner, file.group, file.mode) == ("root", "chatlite", "0640")
    read = environment_of(found, tmp_path)
    broker = parse_url(read["CELERY_BROKER_URL"])
    assert broker["hostname"] == inventory.groups["redis"][0]
    assert (broker["userid"], broker["password"]) == ("chatlite", SECRETS["vault_redis_app_password"])
    assert read["CELERY_RESULT_BACKEND"] == read["CELERY_BROKER_URL"]
    assert int(read["CELERY_VISIBILITY_TIMEOUT"]) > 0


@pytest.mark.parametrize("password", [f"{value} and some more" for value in NASTY])
def test_any_password_reaches_kombu(password: str, tmp_path: Path) -> None:
    found = rendered("development", "dev1", vault_redis_app_password=password)
    assert parse_url(environment_of(found, tmp_path)["CELERY_BROKER_URL"])["password"] == password


@pytest.mark.parametrize("value", NASTY)
def test_any_setting_arrives(value: str, tmp_path: Path) -> None:
    found = rendered("development", "dev1", app_settings={"MINE": value})
    assert environment_of(found, tmp_path)["MINE"] == value
