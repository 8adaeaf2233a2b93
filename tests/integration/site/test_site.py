"""A whole environment: the work it does, what it refuses, and where its secrets are not."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from testinfra.host import Host

from tests.support.leaks import PLACES, pattern, with_urls

ROOT = Path(__file__).resolve().parents[3]

# one host asks for the whole environment
testinfra_hosts = ["ansible://beat"]


@pytest.fixture(scope="session")
def expected() -> dict[str, Any]:
    """What there is to find on the test site, read off its files."""
    command = [sys.executable, "examples/chatlite/testsite/expected.py", "--depth", "2", "--base", "http://testsite/"]
    return dict(json.loads(subprocess.run(command, cwd=ROOT, text=True, capture_output=True, check=True).stdout))


@pytest.fixture
def secrets(variables, every_host: list[Host]) -> dict[str, str]:
    """The environment's secrets by name, and those that hosts have of their own."""
    found = {name: str(variables[name]) for name in variables["preflight_secrets"]}
    for each in every_host:
        own = each.run(
            "sed -n 's/^REDISCLI_AUTH=//p' /etc/redis/celeriac.env; sed -n 2p /etc/redis/tls/redis.key"
        ).stdout
        found |= {f"{each.backend.host}'s own secret {index}": line for index, line in enumerate(own.split())}
    return with_urls(found)


@pytest.fixture
def every_host(host: Host, inventory) -> list[Host]:
    """All hosts of the environment."""
    return [host.get_host(f"ansible://{name}", ansible_inventory=inventory.path) for name in inventory.group("all")]


def test_crawl_finds_what_the_site_holds(app_run: Callable[..., str], expected: dict) -> None:
    report = json.loads(app_run("python", "-m", "app.smoke", "http://testsite/", "--json"))
    assert report["ok"]
    assert report["crawl"]["words_by_url"] == expected["words_by_url"]
    assert report["crawl"]["words"] == expected["words"]


def test_each_queue_reaches_a_node_and_host_meant_for_it(app_run: Callable[..., str], variables, inventory) -> None:
    report = json.loads(app_run("python", "-m", "app.smoke", "http://testsite/", "--json"))
    assert set(report["queues"]) == set(variables["celery_routed_queues"])
    for queue, answered in report["queues"].items():
        meant = {
            f"{node['name']}@{host}"
            for node in variables["celery_nodes"]
            if queue in node["queues"]
            for host in node.get("hosts", inventory.group("workers"))
        }
        assert answered in meant


def test_broker_on_another_host_takes_no_plain_connection(in_app: Callable[[str], Any], variables) -> None:
    if not variables["broker_tls"]:
        pytest.skip("the broker is on the same host and speaks no TLS")
    refused = in_app(
        "import redis\n"
        f"host, port = {variables['broker_host']!r}, {variables['broker_instance']['port']}\n"
        "try:\n    redis.Redis(host, port, socket_timeout=5).ping()\n    result = 'let in'\n"
        "except (redis.ConnectionError, redis.TimeoutError):\n    result = 'refused'"
    )
    assert refused == "refused"


def test_broker_refuses_a_worker_host_without_a_password(in_app: Callable[[str], Any]) -> None:
    refused = in_app(
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


def test_search_for_secrets_finds_one(every_host: list[Host], secrets: dict[str, str], app: str, inventory) -> None:
    """The environment files hold one, so the searches above could have found it."""
    files = {f"/etc/{app}/{app}.env", f"/etc/{app}/next.env"}
    found = [
        name
        for each in every_host
        for name, secret in secrets.items()
        if set(each.run("grep -ral %s /etc", pattern(secret)).stdout.split()) == files
    ]
    assert set(found) >= {"vault_redis_app_password in a URL"}
    assert len(found) in (len(inventory.group("workers")), 2 * len(inventory.group("workers")))


def test_no_secret_in_output_and_diff(playbook: Callable, secrets: dict[str, str], variables) -> None:
    """Even with -vvv and --diff, and with files to rewrite that hold secrets."""
    changed = {**variables["app_settings"], "CELERIAC_TEST": "changed"}
    run = playbook("site.yml", "--check", "--diff", "-vvv", app_settings=changed)
    assert run.returncode == 0, run.output[-3000:]
    assert sum(run.changed.values()) > 0
    assert [name for name, secret in secrets.items() if secret in run.output] == []


def test_check_mode_finds_nothing_to_change(playbook: Callable) -> None:
    run = playbook("site.yml", "--check", "--diff")
    assert run.returncode == 0, run.output
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
    playbook: Callable, change: dict, said: str
) -> None:
    run = playbook("site.yml", **change)
    assert run.returncode != 0
    assert said in " ".join(run.output.split())
    assert "PLAY [Redis]" not in run.output
    assert set(run.changed.values()) == {0}


@pytest.mark.destructive
def test_beat_moves_to_another_host_and_never_runs_twice(host: Host, app: str, inventory, playbook: Callable) -> None:
    other_name = next(name for name in inventory.group("workers") if name != host.backend.host)
    other = host.get_host(f"ansible://{other_name}", ansible_inventory=inventory.path)
    unit = f"{app}-beat.service"

    def moment(each: Host, timestamp: str) -> int:
        """Microseconds of the kernel's clock, which containers share; 0 if it never was."""
        return int(each.check_output("systemctl show --value --property=%sTimestampMonotonic %s", timestamp, unit))

    moved = playbook("site.yml", "--tags=celery", celery_beat_enabled=f"{{{{ inventory_hostname == '{other_name}' }}}}")
    assert moved.returncode == 0, moved.output
    assert other.service(unit).is_running
    assert not host.service(unit).exists
    stopped = host.check_output("journalctl --quiet --unit=%s --output=json --lines=1 --grep='^Stopped'", unit)
    assert int(json.loads(stopped)["__MONOTONIC_TIMESTAMP"]) < moment(other, "InactiveExit")
    back = playbook("site.yml", "--tags=celery")
    assert back.returncode == 0, back.output
    assert host.service(unit).is_running
    assert not other.service(unit).exists


@pytest.mark.destructive
def test_everything_is_back_after_a_restart_of_the_broker_host(
    host: Host, inventory, app_run: Callable[..., str], wait_for: Callable
) -> None:
    broker = inventory.group("redis")[0]
    local = host.get_host("local://")
    local.check_output("docker restart -t 60 %s", f"{inventory[broker]['test_host_prefix']}-{broker}")
    queues = "from app.core.celery_config import app; print(sorted(app.control.inspect(timeout=2).ping() or {}))"
    nodes = inventory[host.backend.host].evaluate(
        f"celery_nodes | celeriac.fleet.celery_host_nodes('{host.backend.host}')"
    )
    mine = [f"{node['name']}@{host.backend.host}" for node in nodes]
    wait_for(
        lambda: all(
            node in host.run(f"{inventory[broker]['app_name']}-run python -c %s", queues).stdout for node in mine
        ),
        timeout=90,
        what="all nodes' answers",
    )
    assert json.loads(app_run("python", "-m", "app.smoke", "http://testsite/", "--json"))["ok"]
