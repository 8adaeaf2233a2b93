"""New passwords and certificates while tasks run: no task is lost, no client cut off."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from testinfra.host import Host

from tests.support.load import Load
from tests.support.servers import Server, renewal
from tests.support.site import Site
from tests.support.waiting import wait_for

testinfra_hosts = ["ansible://workers"]
pytestmark = pytest.mark.destructive

TASK: dict[str, Any] = {"name": "app.tasks.misc.echo", "queue": "default"}


@pytest.fixture
def broker(host: Host, site: Site) -> Server:
    """The broker, if it is on the host under test."""
    if site.group("redis")[0] != host.backend.host:
        pytest.skip("the broker is on another host")
    return site.broker


@pytest.fixture
def results(broker: Server) -> Server:
    """Where results are."""
    return Server(broker.host, broker.variables, broker.variables["results_instance"])


class Rotation:
    """The application's password, which changes."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def rotate(self, password: str, **variables: object) -> None:
        """Rotate to another password."""
        rotate = "playbooks/rotate-redis-password.yml"
        done = self._site.playbook(rotate, vault_redis_app_password=password, **variables).succeeded()
        assert password not in done.output


@pytest.fixture
def rotation(site: Site) -> Iterator[Rotation]:
    """Afterwards the password is the inventory's again."""
    yield Rotation(site)
    site.playbook("site.yml").succeeded()


def may_log_in(server: Server, user: str, password: str) -> bool:
    """Whether the server takes a login."""
    answer = server.host.run(f"{server.options} AUTH {user} '{password}'").stdout.strip()
    return bool(answer == "OK")


def test_passwords_and_certificates_change_under_load(
    broker: Server, results: Server, app: str, site: Site, rotation: Rotation
) -> None:
    old, new = broker.password(app), "a new password, with #%@ in it"
    before = {server.name: server.pid() for server in (broker, results)}
    certificate = broker.host.file(f"/etc/{broker.flavor}/tls/redis.crt").content_string

    def finished() -> int:
        client = results.connect()
        return sum(int(client.exists(f"{app}:celery-task-meta-{task_id}")) for task_id in load.submitted)

    with Load(broker, app, rate=50, **TASK) as load:
        wait_for(lambda: finished() > 20, what="the first results")
        site.playbook("playbooks/redis.yml", **renewal([broker])).succeeded()
        rotation.rotate(new, rotate_keep_old=True)
        assert may_log_in(broker, app, old)
        assert may_log_in(broker, app, new)
        assert may_log_in(results, app, old)
        rotation.rotate(new)
        assert not may_log_in(broker, app, old)
        assert not may_log_in(results, app, old)
        assert may_log_in(broker, app, new)
        done = finished()
        wait_for(lambda: finished() > done + 20, what="results after the rotation")
    assert load.error is None
    wait_for(lambda: finished() == len(load.submitted), what="every result")
    print(f"{len(load.submitted)} tasks submitted and done, none lost")
    assert {server.name: server.pid() for server in (broker, results)} == before
    if broker.tls:
        assert broker.host.file(f"/etc/{broker.flavor}/tls/redis.crt").content_string != certificate


def test_a_rotation_asked_for_with_neither_yes_nor_no_is_refused(host: Host, site: Site) -> None:
    run = site.playbook("playbooks/rotate-redis-password.yml", rotate_keep_old="perhaps")
    assert run.returncode != 0
    assert "rotate_keep_old is perhaps: use true or false." in run.text
    assert set(run.changed.values()) == {0}
