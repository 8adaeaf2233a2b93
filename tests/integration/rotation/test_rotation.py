"""New passwords and certificates while tasks run: no task is lost, no client cut off."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from testinfra.host import Host

from tests.support.live import Inventory
from tests.support.load import Load
from tests.support.servers import Server, renewal

testinfra_hosts = ["ansible://workers"]
pytestmark = pytest.mark.destructive

TASK = {"name": "app.tasks.misc.echo", "queue": "default"}


@pytest.fixture
def broker(host: Host, inventory: Inventory) -> Server:
    """The broker, as the host under test reaches it."""
    name = inventory.group("redis")[0]
    if name != host.backend.host:
        pytest.skip("the broker is on another host")
    variables = inventory[name]
    return Server(host, variables, next(one for one in variables["redis_instances"] if one["profile"] == "broker"))


@pytest.fixture
def results(broker: Server) -> Server:
    """Where results are."""
    instances = broker.variables["redis_instances"]
    found = [one for one in instances if one["profile"] == "results"] or [broker.instance]
    return Server(broker.host, broker.variables, found[0])


@pytest.fixture
def rotated(playbook: Callable) -> Iterator[Callable]:
    """Rotate to another password of the application; back to the inventory's afterwards."""

    def run(password: str, **variables: object) -> None:
        done = playbook("playbooks/rotate-redis-password.yml", vault_redis_app_password=password, **variables)
        assert done.returncode == 0, done.output
        assert password not in done.output

    yield run
    back = playbook("site.yml")
    assert back.returncode == 0, back.output


def may_log_in(server: Server, user: str, password: str) -> bool:
    answer = server.host.run(f"{server.options} AUTH {user} '{password}'").stdout.strip()
    return answer == "OK"


def test_passwords_and_certificates_change_under_load(
    broker: Server, results: Server, app: str, playbook: Callable, rotated: Callable, wait_for: Callable
) -> None:
    old, new = broker.password(app), "a new password, with #%@ in it"
    before = {server.name: server.pid() for server in (broker, results)}
    certificate = broker.host.file(f"/etc/{broker.flavor}/tls/redis.crt").content_string

    def finished() -> int:
        client = results.connect()
        return sum(client.exists(f"{app}:celery-task-meta-{task_id}") for task_id in load.submitted)

    with Load(broker, app, rate=50, **TASK) as load:
        wait_for(lambda: finished() > 20, what="the first results")
        renewed = playbook("playbooks/redis.yml", **renewal([broker]))
        assert renewed.returncode == 0, renewed.output
        rotated(new, rotate_keep_old=True)
        assert may_log_in(broker, app, old)
        assert may_log_in(broker, app, new)
        assert may_log_in(results, app, old)
        rotated(new)
        assert not may_log_in(broker, app, old)
        assert not may_log_in(results, app, old)
        assert may_log_in(broker, app, new)
        done = finished()
        wait_for(lambda: finished() > done + 20, what="results after the rotation")
    assert load.error is None
    wait_for(lambda: finished() == len(load.submitted), timeout=180, what="every result")
    print(f"{len(load.submitted)} tasks submitted and done, none lost")
    assert {server.name: server.pid() for server in (broker, results)} == before
    if broker.tls:
        assert broker.host.file(f"/etc/{broker.flavor}/tls/redis.crt").content_string != certificate


def test_a_rotation_asked_for_with_neither_yes_nor_no_is_refused(host: Host, playbook: Callable) -> None:
    run = playbook("playbooks/rotate-redis-password.yml", rotate_keep_old="perhaps")
    assert run.returncode != 0
    assert "rotate_keep_old is perhaps: use true or false." in " ".join(run.output.split())
    assert set(run.changed.values()) == {0}
