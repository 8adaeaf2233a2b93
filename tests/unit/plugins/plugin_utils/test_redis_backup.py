"""What may be asked of the playbooks that back up and restore."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.celeriac.fleet.plugins.plugin_utils import redis_backup as plugin

BROKER = {"name": "broker", "profile": "broker"}
CACHE = {"name": "cache", "profile": "cache"}
HOSTS = {"one": {"redis_instances": [BROKER, CACHE]}, "two": {"redis_instances": [{**CACHE, "backup": True}]}}
NOTHING = {"host": "", "instance": "", "file": "", "remote": "", "sha256": "", "yes": ""}


@pytest.mark.parametrize(
    ("instances", "name", "backed_up"),
    [
        ([BROKER, CACHE], "", ["broker"]),
        ([BROKER, CACHE], "broker", ["broker"]),
        ([BROKER, CACHE], "cache", []),
        ([{**BROKER, "backup": False}, {**CACHE, "backup": True}], "", ["cache"]),
    ],
)
def test_what_is_backed_up(instances: list[dict[str, Any]], name: str, backed_up: list[str]) -> None:
    assert plugin.backup_instances(instances, name) == backed_up


@pytest.mark.parametrize(
    ("instance", "fetch_to", "problems"),
    [
        ("", "", []),
        ("broker", "/srv/backups", []),
        ("cache", "~/backups", []),
        (
            "unknown",
            "",
            [
                "backup_instance is 'unknown', which no host of this run backs up: give one of broker, cache, or "
                "another --limit."
            ],
        ),
        ("", "backups", ["backup_fetch_to is 'backups': give an absolute path of a directory on this machine."]),
    ],
)
def test_a_backup(instance: str, fetch_to: str, problems: list[str]) -> None:
    assert plugin.backup_problems(HOSTS, instance, fetch_to) == problems


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "x.rdb"
    path.touch()
    path.with_name("x.rdb.json").touch()
    return str(path)


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"yes": True},
        {"yes": "no", "remote": "false", "sha256": "A" * 64},
        {"remote": True, "file": "/only/there.rdb"},
    ],
)
def test_a_restore_that_can_be_right(file: str, asked: dict[str, Any]) -> None:
    right = {**NOTHING, "host": "one", "instance": "broker", "file": file}
    assert plugin.restore_problems(HOSTS, {**right, **asked}) == []


@pytest.mark.parametrize(
    ("asked", "problem"),
    [
        ({"host": ""}, "restore_host isn't set: give one of one, two."),
        ({"host": "three"}, "restore_host is 'three', which is no Redis host of this run: give one of one, two."),
        ({"instance": ""}, "restore_instance isn't set: give one of broker, cache."),
        ({"instance": "results"}, "restore_instance is 'results': give one of broker, cache, which the host has."),
        ({"yes": "perhaps"}, "restore_yes is 'perhaps': give true or false."),
        ({"remote": "perhaps"}, "restore_remote is 'perhaps': give true or false."),
        ({"sha256": "abc"}, "restore_sha256 is 'abc': give the 64 hexadecimal digits that sha256sum prints."),
        ({"file": ""}, "restore_file isn't set: give the .rdb file of a backup."),
        ({"file": "x.rdb"}, "restore_file is 'x.rdb': give an absolute path."),
        ({"file": "~/x.rdb", "remote": "yes"}, "restore_file is '~/x.rdb': give an absolute path."),
        (
            {"file": "/nowhere.rdb"},
            "restore_file is '/nowhere.rdb', which is no file on this machine: give another, or restore_remote=true.",
        ),
    ],
)
def test_a_restore_that_can_not_be_right(file: str, asked: dict[str, Any], problem: str) -> None:
    right = {**NOTHING, "host": "one", "instance": "broker", "file": file}
    assert plugin.restore_problems(HOSTS, {**right, **asked}) == [problem]


def test_a_restore_without_a_manifest_needs_the_sha256(file: str) -> None:
    Path(f"{file}.json").unlink()
    asked = {**NOTHING, "host": "one", "instance": "broker", "file": file}
    (problem,) = plugin.restore_problems(HOSTS, asked)
    assert "there is no x.rdb.json" in problem
    assert "restore_sha256" in problem
    assert plugin.restore_problems(HOSTS, {**asked, "sha256": "a" * 64}) == []


def test_the_only_host_needs_no_name(file: str) -> None:
    asked = {**NOTHING, "instance": "broker", "file": file}
    assert plugin.restore_problems({"one": HOSTS["one"]}, asked) == []
