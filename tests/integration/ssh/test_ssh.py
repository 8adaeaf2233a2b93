"""The hosts were reached as real ones are: over SSH, with a key, by an unprivileged user who may sudo."""

from __future__ import annotations

import shlex
import subprocess

import pytest
from testinfra.host import Host

testinfra_hosts = ["ansible://all"]


@pytest.fixture
def ssh(host: Host, variables):
    """Run a command on the host over SSH, as any user."""

    def run(user: str, command: str, *options: str) -> subprocess.CompletedProcess[str]:
        common = shlex.split(variables["ansible_ssh_common_args"])
        call = ["ssh", *common, "-o", "BatchMode=yes", *options, f"{user}@{host.backend.host}", command]
        return subprocess.run(call, text=True, capture_output=True, check=False)

    return run


def test_connection_is_ssh_by_an_unprivileged_user(host: Host, variables, ssh) -> None:
    assert "ansible_connection" not in variables
    done = ssh(variables["ansible_user"], "id -u")
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 1000


def test_nobody_logs_in_as_root(ssh) -> None:
    assert ssh("root", "true").returncode == 255


def test_nobody_logs_in_without_the_key(ssh, variables) -> None:
    assert ssh(variables["ansible_user"], "true", "-o", "PubkeyAuthentication=no").returncode == 255


def test_login_user_reads_no_secret_without_sudo(ssh, variables) -> None:
    done = ssh(variables["ansible_user"], f"cat /etc/{variables['app_name']}/*.env /etc/redis/*")
    assert done.returncode != 0
    assert "assword" not in done.stdout
    assert "://" not in done.stdout
