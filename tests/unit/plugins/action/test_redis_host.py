"""plugins/action/redis_host.py: reading a host, whatever is or isn't there."""

from __future__ import annotations

import hashlib
import shlex
import subprocess
from types import SimpleNamespace

import pytest
from ansible_collections.celeriac.fleet.plugins.action import redis_host as host
from ansible_collections.celeriac.fleet.plugins.plugin_utils.look_first import validated

DIGEST, OTHER = "a" * 64, "b" * 64
SAID = f"""MemTotal:       24633344 kB
container
sysctl vm.overcommit_memory 0
sysctl net.core.somaxconn 4096
/etc/systemd/system/redis-server@broker.service.d/celeriac.conf
/etc/systemd/system/redis-server@two-words.service.d/celeriac.conf
/etc/systemd/system/valkey-server@cache.service.d/celeriac.conf
/var/lib/redis/broker/appendonlydir
/var/lib/redis/broker/dump.rdb
/var/lib/redis/old.replaced-20261121T080000Z/dump.rdb
/var/lib/valkey/cache/dump.rdb
maintenance {hashlib.sha256(b"secret").hexdigest()}  -
/etc/redis/users-broker.acl:user default off resetpass ~* &* +@all
/etc/redis/users-broker.acl:user shop on ~shop:* -@all +get #{DIGEST} #{OTHER}
/etc/redis/tls/redis.crt:-----BEGIN CERTIFICATE-----
/etc/redis/tls/redis.crt:abc=
/etc/redis/tls/redis.crt:-----END CERTIFICATE-----
"""


def test_everything_is_read() -> None:
    assert host.seen(SAID, "redis") == {
        "memory": 24633344 * 1024,
        "container": True,
        "sysctl": {"vm.overcommit_memory": 0, "net.core.somaxconn": 4096},
        "instances": {"redis": ["broker", "two-words"], "valkey": ["cache"]},
        "data": {"redis": ["broker"], "valkey": ["cache"]},
        "maintenance": hashlib.sha256(b"secret").hexdigest(),
        "digests": {"broker": {"default": [], "shop": [DIGEST, OTHER]}},
        "certificate": "-----BEGIN CERTIFICATE-----\nabc=\n-----END CERTIFICATE-----\n",
    }


def test_a_bare_host_has_nothing() -> None:
    found = host.seen("MemTotal: 1024 kB\nsysctl vm.overcommit_memory 1\nsysctl net.core.somaxconn\n", "valkey")
    assert found == {
        "memory": 2**20,
        "container": False,
        "sysctl": {"vm.overcommit_memory": 1},
        "instances": {"redis": [], "valkey": []},
        "data": {"redis": [], "valkey": []},
        "maintenance": "",
        "digests": {},
        "certificate": "",
    }


def test_users_and_certificate_are_those_of_the_flavor_asked_for() -> None:
    found = host.seen(SAID, "valkey")
    assert (found["digests"], found["certificate"]) == ({}, "")


@pytest.mark.parametrize("flavor", ["keydb", "redis; touch /tmp/x", "a b"])
def test_a_flavor_that_is_none_is_left_to_the_preflight(flavor: str) -> None:
    """Which names the variable; the command takes nothing of it for its own."""
    assert validated(host.ActionModule.ARGUMENT_SPEC, {"flavor": flavor}) == {"flavor": flavor}
    words = [word for word in shlex.split(host.look(flavor)) if flavor in word]
    assert words
    assert all(f"/etc/{flavor}" in word for word in words)


@pytest.mark.parametrize("flavor", host.FLAVORS)
def test_the_command_runs_and_says_how_much_memory_there_is(flavor: str) -> None:
    done = subprocess.run(["sh", "-c", host.look(flavor)], text=True, capture_output=True)
    assert done.returncode == 0
    assert done.stderr == ""
    assert host.seen(done.stdout, flavor)["memory"] > 2**20


@pytest.mark.parametrize(("container", "overcommit", "warned"), [(True, 0, True), (True, 1, False), (False, 0, False)])
def test_what_a_container_can_not_have_is_a_warning(
    container: bool, overcommit: int, warned: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(host.ActionModule, "_display", SimpleNamespace(warning=said.append), raising=False)
    text = SAID.replace("memory 0", f"memory {overcommit}").replace("container\n", "container\n" if container else "")
    object.__new__(host.ActionModule).settled(text, {"flavor": "redis"})
    assert ["vm.overcommit_memory is 0, and a container can't set it" in line for line in said] == [True] * warned
