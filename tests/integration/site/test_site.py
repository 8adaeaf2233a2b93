"""A whole environment: the work it does, what it refuses, and where its secrets are not."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from testinfra.host import Host

from tests.support.fleet import Worker
from tests.support.leaks import PLACES, pattern, with_urls
from tests.support.live import Variables
from tests.support.paths import ROOT
from tests.support.site import Site
from tests.support.waiting import wait_for

# one host asks for the whole environment
testinfra_hosts = ["ansible://beat"]


@pytest.fixture(scope="session")
def expected() -> dict[str, Any]:
    """What there is to find on the test site, read off its files."""
    command = [sys.executable, "examples/chatlite/testsite/expected.py", "--depth", "2", "--base", "http://testsite/"]
    return dict(json.loads(subprocess.run(command, cwd=ROOT, text=True, capture_output=True, check=True).stdout))


@pytest.fixture
def secrets(variables: Variables, every_host: list[Host]) -> dict[str, str]:
    """The environment's secrets by name, and those that hosts have of their own."""
    found = {name: str(variables[name]) for name in variables["preflight_secrets"]}
    for each in every_host:
        own = each.run(
            "sed -n 's/^REDISCLI_AUTH=//p' /etc/redis/celeriac.env; sed -n 2p /etc/redis/tls/redis.key"
        ).stdout
        found |= {f"{each.backend.host}'s own secret {index}": line for index, line in enumerate(own.split())}
    return with_urls(found)


@pytest.fixture
def every_host(site: Site) -> list[Host]:
    """All hosts of the environment."""
    return list(site.hosts("all").values())


def smoke(worker: Worker) -> dict[str, Any]:
    """What the application reports of the work that it gives itself."""
    return dict(json.loads(worker.run("python", "-m", "app.smoke", "http://testsite/", "--json")))


def test_crawl_finds_what_the_site_holds(worker: Worker, expected: dict[str, Any]) -> None:
    report = smoke(worker)
    assert report["ok"]
    assert report["crawl"]["words_by_url"] == expected["words_by_url"]
    assert report["crawl"]["words"] == expected["words"]


def test_each_queue_reaches_a_node_and_host_meant_for_it(worker: Worker, variables: Variables, site: Site) -> None:
    report = smoke(worker)
    assert set(report["queues"]) == set(variables["celery_routed_queues"])
    for queue, answered in report["queues"].items():
        meant = {
            f"{node['name']}@{host}"
            for node in variables["celery_nodes"]
            if queue in node["queues"]
            for host in node.get("hosts", site.group("workers"))
        }
        assert answered in meant


def test_broker_on_another_host_takes_no_plain_connection(worker: Worker, variables: Variables) -> None:
    if not variables["broker_tls"]:
        pytest.skip("the broker is on the same host and speaks no TLS")
    refused = worker.evaluate(
        "import redis\n"
        f"host, port = {variables['broker_host']!r}, {variables['broker_instance']['port']}\n"
        "try:\n    redis.Redis(host, port, socket_timeout=5).ping()\n    result = 'let in'\n"
        "except (redis.ConnectionError, redis.TimeoutError):\n    result = 'refused'"
    )
    assert refused == "refused"


def test_broker_refuses_a_worker_host_without_a_password(worker: Worker) -> None:
    refused = worker.evaluate(
        "import os, re, redis\n"
        "url = re.sub('//.*@', '//', os.environ['CELERY_BROKER_URL'])\n"
        "client = redis.Redis.from_url(url, socket_timeout=5)\n"
        "try:\n    client.ping()\n    result = 'let in'\n"
        "except redis.AuthenticationError:\n    result = 'refused'"
    )
    assert refused == "refused"


@pytest.mark.parametrize("place", PLACES)
def test_no_secret_can_be_seen(every_host: list[Host], secrets: dict[str, str], place: str) -> None:
    found = {each.backend.host: PLACES[place](each, secrets) for each in every_host}
    assert found == {each.backend.host: [] for each in every_host}


def test_search_for_secrets_finds_one(every_host: list[Host], secrets: dict[str, str], app: str, site: Site) -> None:
    """The environment files hold one, so the searches above could have found it."""
    files = {f"/etc/{app}/{app}.env", f"/etc/{app}/next.env"}
    found = [
        name
        for each in every_host
        for name, secret in secrets.items()
        if set(each.run("grep -ral %s /etc", pattern(secret)).stdout.split()) == files
    ]
    assert set(found) >= {"vault_redis_app_password in a URL"}
    assert len(found) in (len(site.group("workers")), 2 * len(site.group("workers")))


def test_no_secret_in_output_and_diff(site: Site, secrets: dict[str, str], variables: Variables) -> None:
    """Even with -vvv and --diff, and with files to rewrite that hold secrets."""
    changed = {**variables["app_settings"], "CELERIAC_TEST": "changed"}
    run = site.playbook("site.yml", "--check", "--diff", "-vvv", app_settings=changed).succeeded()
    assert sum(run.changed.values()) > 0
    assert [name for name, secret in secrets.items() if secret in run.output] == []


def test_check_mode_finds_nothing_to_change(site: Site) -> None:
    run = site.playbook("site.yml", "--check", "--diff").succeeded()
    assert set(run.changed.values()) == {0}, run.output


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"celery_nodes": [{"name": "a", "queues": ["default"], "prefech": 1}]}, "unknown key 'prefech'"),
        ({"celery_routed_queues": ["nobody"]}, "celery_routed_queues has the queue 'nobody', which no node consumes"),
        ({"vault_redis_app_password": ""}, "vault_redis_app_password has no value"),
        ({"preflight_distributions": {"Debian": ["99"]}}, "use one of Debian 99"),
    ],
)
def test_what_cannot_be_right_is_refused_before_any_host_is_touched(
    site: Site, change: dict[str, Any], said: str
) -> None:
    run = site.playbook("site.yml", **change)
    assert run.returncode != 0
    assert said in run.text
    assert "PLAY [Redis]" not in run.output
    assert set(run.changed.values()) == {0}


@pytest.mark.destructive
def test_beat_moves_to_another_host_and_never_runs_twice(host: Host, site: Site, worker: Worker) -> None:
    other_name = next(name for name in site.group("workers") if name != worker.name)
    other, unit = site.host(other_name), worker.beat

    def moment(each: Host, timestamp: str) -> int:
        """Microseconds of the kernel's clock, which containers share; 0 if it never was."""
        return int(each.check_output("systemctl show --value --property=%sTimestampMonotonic %s", timestamp, unit))

    site.playbook(
        "site.yml", "--tags=celery", celery_beat_enabled=f"{{{{ inventory_hostname == '{other_name}' }}}}"
    ).succeeded()
    assert other.service(unit).is_running
    assert not host.service(unit).exists
    stopped = host.check_output("journalctl --quiet --unit=%s --output=json --lines=1 --grep='^Stopped'", unit)
    assert int(json.loads(stopped)["__MONOTONIC_TIMESTAMP"]) < moment(other, "InactiveExit")
    site.playbook("site.yml", "--tags=celery").succeeded()
    assert host.service(unit).is_running
    assert not other.service(unit).exists


@pytest.mark.destructive
def test_everything_is_back_after_a_restart_of_the_broker_host(host: Host, site: Site, worker: Worker) -> None:
    site.docker("restart", site.group("redis")[0], "-t", "60")
    answered = "from app.core.celery_config import app; print(sorted(app.control.inspect(timeout=2).ping() or {}))"

    def all_answer() -> bool:
        said = host.run(f"{worker.app}-run python -c %s", answered).stdout
        return all(node.address in said for node in worker.nodes)

    wait_for(all_answer, what="all nodes' answers")
    assert smoke(worker)["ok"]
