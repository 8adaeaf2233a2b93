"""The units and commands that back up and restore, rendered and read by systemd's and the shell's own rules."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from ansible_collections.celeriac.fleet.plugins.plugin_utils.systemd_sandbox import systemd_sandbox

from tests.support import units
from tests.support.harness import ROOT, defaults

TEMPLATES = ROOT / "roles/redis/templates"
SERVICE, TIMER = "etc/systemd/system/redis-backup@.service.j2", "etc/systemd/system/redis-backup@.timer.j2"
COMMANDS = ["usr/local/sbin/redis-backup.j2", "usr/local/sbin/redis-restore.j2"]


def rendered(template: str, **variables: Any) -> str:
    loader = DataLoader()
    internal = loader.load_from_file(str(ROOT / "roles/redis/vars/main.yml"), trusted_as_template=True)
    own = {**defaults("redis"), **internal, "ansible_managed": "Managed", **variables}
    templar = Templar(loader=loader, variables=own)
    return str(templar.template(trust_as_template((TEMPLATES / template).read_text()), escape_backslashes=False))


def service(**variables: Any) -> units.Unit:
    return units.parse(rendered(SERVICE, **variables))


def test_a_backup_that_stays_here_needs_no_network() -> None:
    unit = service()
    assert "IPAddressAllow" not in dict(unit["Service"])
    assert units.last(unit, "Service", "IPAddressDeny") == "any"
    assert units.last(unit, "Service", "PrivateNetwork") == "true"
    assert units.last(unit, "Service", "RestrictAddressFamilies") == "AF_UNIX"
    assert ("After", "network-online.target") not in unit["Unit"]


def test_a_backup_that_goes_elsewhere_has_it() -> None:
    unit = service(redis_backup_copy_to="keeper@host:/srv/backups")
    assert "AF_INET6" in units.last(unit, "Service", "RestrictAddressFamilies").split()
    assert "PrivateNetwork" not in dict(unit["Service"])
    assert ("After", "network-online.target") in unit["Unit"]


@pytest.mark.parametrize("copy_to", ["", "/srv/second", "keeper@host:/srv"])
def test_it_has_the_sandbox_of_all_our_units(copy_to: str) -> None:
    directives = service(redis_backup_copy_to=copy_to)["Service"]
    own = {"IPAddressAllow", "RestrictAddressFamilies", "UMask"}
    assert {line for line in systemd_sandbox({}) if line[0] not in own} <= set(directives)
    assert ("UMask", "0077") in directives


def test_only_the_directories_of_backups_are_writable() -> None:
    def writable(**variables: Any) -> list[str]:
        return [value for name, value in service(**variables)["Service"] if name == "ReadWritePaths"]

    assert writable() == ["/var/backups/redis"]
    assert writable(redis_backup_copy_to="/srv/second") == ["/var/backups/redis", "-/srv/second"]
    assert writable(redis_backup_copy_to="keeper@host:/srv") == ["/var/backups/redis"]


@pytest.mark.parametrize("flavor", ["redis", "valkey"])
def test_it_runs_as_the_servers_user(flavor: str) -> None:
    unit = service(redis_flavor=flavor)
    assert units.last(unit, "Service", "User") == units.last(unit, "Service", "Group") == flavor
    assert units.last(unit, "Service", "EnvironmentFile") == f"/etc/{flavor}/celeriac.env"
    assert ("After", f"{flavor}-server@%i.service") in unit["Unit"]


def test_the_timer_makes_up_for_what_it_missed() -> None:
    unit = units.parse(rendered(TIMER, redis_backup_schedule="*-*-* 03:00:00"))
    assert units.last(unit, "Timer", "OnCalendar") == "*-*-* 03:00:00"
    assert units.last(unit, "Timer", "Persistent") == "true"
    assert unit["Install"] == [("WantedBy", "timers.target")]


@pytest.mark.parametrize("template", COMMANDS)
@pytest.mark.parametrize("copy_to", ["", "/srv/second", "keeper@host:/srv"])
def test_commands_pass_on_what_they_are_given(template: str, copy_to: str, tmp_path: Path) -> None:
    """Run for real, with an interpreter that only says what it was called with."""
    program = rendered(template, redis_backup_copy_to=copy_to).replace("exec /usr/bin/python3", "exec printf '%s\\n'")
    script = tmp_path / "command"
    script.write_text(program)
    done = subprocess.run(["sh", str(script), "two words", "--help"], text=True, capture_output=True, check=True)
    arguments = done.stdout.splitlines()
    assert arguments[0] == "-B"
    assert (ROOT / "roles/redis/files").joinpath(arguments[1].removeprefix("/")).is_file()
    assert arguments[-2:] == ["two words", "--help"]
    if "backup" in template:
        assert [argument for argument in arguments if argument.startswith("--copy-to=")] == (
            [f"--copy-to={copy_to}"] if copy_to else []
        )
        assert "--keep-count=14" in arguments


def test_a_directory_of_any_name_is_one_argument() -> None:
    program = rendered(COMMANDS[0], redis_backup_directory="/srv/it's here")
    assert "--directory=/srv/it's here" in shlex.split(program, comments=True)
