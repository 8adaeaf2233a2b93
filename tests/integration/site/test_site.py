"""A whole environment: the work it does, and what it refuses."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from tests.support.chatlite import Chatlite
from tests.support.fleet import Worker
from tests.support.live import Variables
from tests.support.paths import ROOT
from tests.support.site import Site
from tests.support.waiting import PATIENCE

# one host asks for the whole environment
testinfra_hosts = ["ansible://beat"]


@pytest.fixture(scope="session")
def expected() -> dict[str, Any]:
    """What there is to find on the test site, read off its files."""
    command = [sys.executable, "examples/chatlite/testsite/expected.py", "--depth", "2", "--base", "http://testsite/"]
    return dict(json.loads(subprocess.run(command, cwd=ROOT, text=True, capture_output=True, check=True).stdout))


@pytest.fixture(scope="module")
def report(chatlite: Chatlite) -> dict[str, Any]:
    """What the application reports of the work that it gives itself."""
    return chatlite.smoke()


def test_crawl_finds_what_the_site_holds(report: dict[str, Any], expected: dict[str, Any]) -> None:
    assert report["ok"]
    assert report["crawl"]["words_by_url"] == expected["words_by_url"]
    assert report["crawl"]["words"] == expected["words"]


def test_each_queue_reaches_a_node_and_host_meant_for_it(
    report: dict[str, Any], variables: Variables, site: Site
) -> None:
    assert set(report["queues"]) == set(variables["celery_routed_queues"])
    for queue, answered in report["queues"].items():
        meant = {
            f"{node['name']}@{host}"
            for node in variables["celery_nodes"]
            if queue in node["queues"]
            for host in node.get("hosts", site.group("workers"))
        }
        assert answered in meant


PING = """
import os, re
from redis import Redis, exceptions
from redis.backoff import NoBackoff
from redis.retry import Retry
client = Redis.from_url({url}, socket_timeout={timeout}, retry=Retry(NoBackoff(), 0))
try:
    result = str(client.ping())
except exceptions.RedisError as error:
    result = type(error).__name__
"""


def test_broker_on_another_host_takes_no_plain_connection(worker: Worker, variables: Variables) -> None:
    if not variables["broker_tls"]:
        pytest.skip("the broker is on the same host and speaks no TLS")
    url = f"redis://{variables['broker_host']}:{variables['broker_instance']['port']}"
    assert worker.evaluate(PING.format(url=repr(url), timeout=PATIENCE)) == "ConnectionError"


def test_broker_refuses_a_worker_host_without_a_password(worker: Worker) -> None:
    url = "re.sub('//.*@', '//', os.environ['CELERY_BROKER_URL'])"
    assert worker.evaluate(PING.format(url=url, timeout=PATIENCE)) == "AuthenticationError"


def test_check_mode_finds_nothing_to_change(site: Site) -> None:
    run = site.playbook("site.yml", "--check", "--diff").succeeded()
    assert set(run.changed.values()) == {0}, run.output


def test_what_cannot_be_right_is_refused_before_any_host_is_touched(site: Site) -> None:
    """All that is wrong at once: what roles, secrets and hosts have to be."""
    run = site.playbook(
        "site.yml",
        app_source={"type": "path", "path": "examples/chatlight"},
        celery_nodes=[{"name": "a", "queues": ["default"], "prefech": 1}],
        vault_redis_app_password="",
        preflight_distributions={"Debian": ["99"]},
    )
    assert run.returncode != 0
    for said in (
        "unknown key 'prefech'",
        "app_source.path is 'examples/chatlight', which is no directory",
        "vault_redis_app_password has no value",
        "use one of Debian 99",
    ):
        assert said in run.text
    assert "PLAY [Redis]" not in run.output
    assert set(run.changed.values()) == {0}
