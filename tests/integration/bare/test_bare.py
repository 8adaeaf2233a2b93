"""After site.yml in check mode a bare host is as bare as before."""

from __future__ import annotations

import pytest
from testinfra.host import Host

testinfra_hosts = ["ansible://all"]

# What ansible's own presence, apt's cache and a running system leave behind.
OTHERS = (
    "/root/.ansible",
    "/home/",
    "/tmp",
    "/var/tmp",
    "/var/log",
    "/var/lib/systemd",
    "/var/cache/apt",
    "/var/lib/sudo",
    "/run",
    "/proc",
    "/sys",
    "/dev",
)


@pytest.mark.parametrize("name", ["redis-server", "python3-venv", "logrotate"])
def test_no_package_was_installed(host: Host, name: str) -> None:
    assert not host.package(name).is_installed


def test_no_file_was_written(host: Host) -> None:
    found = host.check_output("find / -xdev -newer /var/tmp/bare \\( -type f -o -type l -o -type d \\)").split("\n")
    assert [path for path in found if path and path != "/" and not path.startswith(OTHERS)] == []


def test_no_user_was_made(host: Host) -> None:
    assert not host.user("redis").exists
    assert not host.user("chatlite").exists
