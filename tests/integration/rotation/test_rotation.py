"""New passwords and certificates while tasks run: no task is lost, no client cut off."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
from testinfra.host import Host

from tests.support.load import Load, Results
from tests.support.servers import Server, renewal
from tests.support.site import Site
from tests.support.waiting import wait_for

testinfra_hosts = ["ansible://workers"]
pytestmark = pytest.mark.destructive

TASK: dict[str, Any] = {"name": "app.tasks.misc.echo", "queue": "default"}
ROTATE = "playbooks/rotate-redis-password.yml"


@pytest.fixture
def broker(host: Host, site: Site) -> Server:
    """The broker, if it is on the host under test."""
    if site.group("redis")[0] != host.backend.host:
        pytest.skip("the broker is on another host")
    return site.broker


def may_log_in(server: Server, user: str, password: str) -> bool:
    """Whether the server takes a login."""
    answer = server.host.run(f"{server.options} AUTH {user} '{password}'").stdout.strip()
    return bool(answer == "OK")


def test_passwords_and_certificates_change_under_load(broker: Server, app: str, site: Site) -> None:
    """There with the old password left valid and a new certificate, and back."""
    old, new = broker.password(app), "a new password, with #%@ in it"
    servers = broker, site.results
    before = {server.name: server.pid() for server in servers}
    certificate = f"/etc/{broker.flavor}/tls/redis.crt"
    first = broker.host.file(certificate).content_string
    results = Results(site.results, app)
    with Load(broker, app, rate=20, **TASK) as load:
        results.wait_for_more(load, 20)
        there = site.playbook(ROTATE, vault_redis_app_password=new, rotate_keep_old=True, **renewal([broker]))
        assert new not in there.succeeded().output
        assert all(may_log_in(server, app, password) for server, password in product(servers, (old, new)))
        results.wait_for_more(load, 20)
        back = site.playbook(ROTATE)
        assert old not in back.succeeded().output
        assert all(may_log_in(server, app, old) for server in servers)
        assert not any(may_log_in(server, app, new) for server in servers)
        results.wait_for_more(load, 20)
    assert load.error is None
    wait_for(lambda: results.of(load.submitted) == len(load.submitted), what="every result")
    print(f"{len(load.submitted)} tasks submitted and done, none lost")
    assert {server.name: server.pid() for server in servers} == before
    if broker.tls:
        assert broker.host.file(certificate).content_string != first
