"""The hosts were reached as real ones are: over SSH, with a key, by an unprivileged user who may sudo."""

from __future__ import annotations

import shlex
import subprocess

import pytest
from testinfra.host import Host

from tests.support.live import Variables

testinfra_hosts = ["ansible://all"]


class Ssh:
    """SSH to the host under test."""

    def __init__(self, host: str, variables: Variables) -> None:
        self._host, self._options = host, shlex.split(variables["ansible_ssh_common_args"])

    def run(self, user: str, command: str, *options: str) -> subprocess.CompletedProcess[str]:
        """Run a command as any user."""
        call = ["ssh", *self._options, "-o", "BatchMode=yes", *options, f"{user}@{self._host}", command]
        return subprocess.run(call, text=True, capture_output=True, check=False)


@pytest.fixture
def ssh(host: Host, variables: Variables) -> Ssh:
    return Ssh(host.backend.host, variables)


def test_connection_is_ssh_by_an_unprivileged_user(variables: Variables, ssh: Ssh) -> None:
    assert "ansible_connection" not in variables
    done = ssh.run(variables["ansible_user"], "id -u")
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 1000


def test_nobody_logs_in_as_root(ssh: Ssh) -> None:
    assert ssh.run("root", "true").returncode == 255


def test_nobody_logs_in_without_the_key(ssh: Ssh, variables: Variables) -> None:
    assert ssh.run(variables["ansible_user"], "true", "-o", "PubkeyAuthentication=no").returncode == 255


def test_login_user_reads_no_secret_without_sudo(ssh: Ssh, variables: Variables) -> None:
    done = ssh.run(variables["ansible_user"], f"cat /etc/{variables['app_name']}/*.env /etc/redis/*")
    assert done.returncode != 0
    assert "assword" not in done.stdout
    assert "://" not in done.stdout
