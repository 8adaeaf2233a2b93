"""What holds for every template of a role: units whose lines can be read, and programs that are files of their own."""

from __future__ import annotations

import re
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.support import units
from tests.support.harness import ENVIRONMENTS, ROLES, ROOT, File, Inventory, files, home, role_hosts

WIDTH = 120
SYSTEMD = "/etc/systemd/system/"
PROGRAMS = sorted((ROOT / "roles").glob("*/files/**/*.sh"))
SOURCES = [f"inventories/{environment}" for environment in ENVIRONMENTS]
HOSTS = [
    (role, source, host)
    for role in ROLES
    for source in dict.fromkeys([*SOURCES, home(role)])
    for host in role_hosts(source).get(role, [])
]
VARIANTS: dict[str, dict[str, Any]] = {
    "as it is": {},
    "otherwise": {
        "celery_log_to": "journal",
        "celery_log_format": "json",
        "celery_beat_scheduler": "redbeat.RedBeatScheduler",
        "redis_flavor": "valkey",
        "redis_backup_copy_to": "keeper@backup1.example.com:/srv/backups",
    },
}
ROLES_HOSTS_AND_VARIANTS = pytest.mark.parametrize(
    ("role", "source", "host", "variant"), [(*host, variant) for host in HOSTS for variant in VARIANTS]
)


@cache
def rendered(role: str, source: str, host: str, variant: str) -> dict[str, File]:
    return files(Inventory(source), role, host, **VARIANTS[variant])


@ROLES_HOSTS_AND_VARIANTS
def test_a_line_of_a_unit_can_be_read(role: str, source: str, host: str, variant: str) -> None:
    """And is what systemd reads."""
    for path, file in rendered(role, source, host, variant).items():
        if path.startswith(SYSTEMD):
            assert [line for line in file.content.splitlines() if len(line) > WIDTH] == []
            assert units.parse(file.content)


@ROLES_HOSTS_AND_VARIANTS
def test_a_template_holds_no_program(role: str, source: str, host: str, variant: str) -> None:
    """A unit names a program; a command says what an operator would have to, and ends in the program."""
    for path, file in rendered(role, source, host, variant).items():
        lines = [line for line in file.content.replace("\\\n", " ").splitlines() if not line.startswith("#")]
        if path.startswith(SYSTEMD):
            assert [line for line in lines if re.search(r"\b(?:sh|python\S*)\b.* -c\b", line)] == []
        if path.startswith("/usr/local/sbin/"):
            assert file.content.startswith("#!/bin/sh\n")
            assert [line for line in lines if re.match(r"\s*(?:for|while|until|if|case)\b", line)] == []
            assert lines[-1].startswith("exec ")
            subprocess.run(["/bin/sh", "-n"], input=file.content, text=True, check=True)


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.name)
def test_a_shell_program_is_one_for_debians_sh(path: Path) -> None:
    assert path.read_text().startswith("#!/bin/sh\n")
    assert "\nset -u\n" in path.read_text()
    assert max(map(len, path.read_text().splitlines())) <= WIDTH
    subprocess.run(["/bin/sh", "-n", str(path)], check=True)
