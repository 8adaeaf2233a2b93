"""Where the secrets of a whole environment are not."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest
from testinfra.host import Host

from tests.support.leaks import PLACES, with_urls
from tests.support.live import Variables
from tests.support.site import Site
from tests.support.waiting import wait_for

# one host asks for the whole environment
testinfra_hosts = ["ansible://beat"]


@pytest.fixture(scope="module")
def every_host(site: Site) -> list[Host]:
    """All hosts of the environment."""
    return list(site.hosts("all").values())


@pytest.fixture(scope="module")
def secrets(variables: Variables, every_host: list[Host]) -> dict[str, str]:
    """The environment's secrets by name, and those that hosts have of their own."""
    found = {name: str(variables[name]) for name in variables["preflight_secrets"]}
    for each in every_host:
        own = each.run(
            "sed -n 's/^REDISCLI_AUTH=//p' /etc/redis/celeriac.env; sed -n 2p /etc/redis/tls/redis.key"
        ).stdout
        found |= {f"{each.backend.host}'s own secret {index}": line for index, line in enumerate(own.split())}
    return with_urls(found)


@pytest.mark.parametrize("place", PLACES)
def test_no_secret_can_be_seen(every_host: list[Host], secrets: dict[str, str], place: str) -> None:
    found = {each.backend.host: PLACES[place](each, secrets) for each in every_host}
    assert found == {each.backend.host: [] for each in every_host}


def test_the_secrets_that_are_searched_for_are_those_in_use(host: Host, app: str, secrets: dict[str, str]) -> None:
    """The application's environment has one."""
    assert secrets["vault_redis_app_password in a URL"] in host.file(f"/etc/{app}/{app}.env").content_string


@pytest.fixture(scope="module")
def canary(host: Host) -> Iterator[str]:
    """A secret in each place where none should be: of a process and in its journal, in a log and in a file."""
    secret = f"canary-{uuid.uuid4().hex}"
    says = "import sys, time; print(sys.argv[1], flush=True); time.sleep(3600)"
    host.check_output("echo %s | tee /var/log/canary >/var/tmp/canary", secret)
    host.check_output("systemd-run --unit=canary --description=%s python3 -c %s %s", secret, says, secret)
    # what it says itself: systemd tells of the unit, by its description, before there is an argument list
    said = "journalctl _SYSTEMD_UNIT=canary.service _TRANSPORT=stdout"
    wait_for(lambda: secret in host.run(said).stdout, what="the canary's own line")
    yield secret
    host.check_output("systemctl stop canary; rm /var/log/canary /var/tmp/canary")


@pytest.mark.parametrize("place", PLACES)
def test_search_for_secrets_finds_one(host: Host, canary: str, secrets: dict[str, str], place: str) -> None:
    assert PLACES[place](host, {**secrets, "canary": canary}) == ["canary"]


@pytest.mark.slow
def test_no_secret_in_output_and_diff(site: Site, secrets: dict[str, str], variables: Variables) -> None:
    """Even with -vvv and --diff, and with files to rewrite that hold secrets."""
    changed = {**variables["app_settings"], "CELERIAC_TEST": "changed"}
    run = site.playbook("site.yml", "--check", "--diff", "-vvv", app_settings=changed).succeeded()
    assert sum(run.changed.values()) > 0
    assert [name for name, secret in secrets.items() if secret in run.output] == []
