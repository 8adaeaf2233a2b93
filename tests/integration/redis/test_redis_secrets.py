"""A run that makes every secret anew, and says all that it can, shows none of them."""

from __future__ import annotations

import json
import os
import subprocess

import pytest

from tests.support.leaks import PLACES, with_urls
from tests.support.servers import Server, renewal
from tests.support.site import Site

pytestmark = pytest.mark.destructive


def secrets(site: Site, brokers: dict[str, Server], changed: dict[str, str]) -> dict[str, str]:
    """Passwords, the authority's passphrase, and what each host has of its own."""
    variables = site[next(iter(brokers))]
    found = {f"password of {user['name']}": str(user["password"]) for user in variables["redis_users"]}
    found |= {"passphrase": variables["redis_tls_ca_passphrase"], **changed}
    for host, broker in brokers.items():
        directory = f"/etc/{broker.flavor}"
        own = broker.host.check_output(
            f"sed -n 's/^REDISCLI_AUTH=//p' {directory}/celeriac.env; sed -n 2p {directory}/tls/redis.key"
        ).split()
        assert [len(line) for line in own] == [64, 64]
        found |= {f"maintenance password of {host}": own[0], f"TLS key of {host}": own[1]}
    return with_urls(found)


def test_no_secret_is_seen_in_a_run_or_after_it(site: Site) -> None:
    brokers = site.servers("broker")
    for broker in brokers.values():
        broker.host.check_output("rm %s", f"/etc/{broker.flavor}/celeriac.env")
    changed = {"vault_redis_app_password": 'changed, with "quotes" and #%@ in it'}
    plain = {"redis_maxclients": 4321}
    arguments = {**renewal(brokers.values()), **changed, **plain}
    run = site.playbook("playbooks/redis.yml", "--diff", "-vvv", **arguments).succeeded()
    assert all(count >= 3 for count in run.changed.values()), run.changed
    assert "+maxclients 4321\n" in run.output
    assert "+secret\n" in run.output
    site.playbook("playbooks/redis.yml").succeeded()
    wanted = secrets(site, brokers, changed)
    said = run.output.replace(json.dumps({**changed})[1:-1], "")  # the command line that the test itself gave
    assert [name for name, secret in wanted.items() if secret in said or json.dumps(secret)[1:-1] in said] == []
    seen = {
        (host, place): found
        for host, broker in brokers.items()
        for place, search in PLACES.items()
        if (found := search(broker.host, wanted))
    }
    assert seen == {}
    facts = subprocess.run(
        ["ansible", "redis", "-i", site.path, "-m", "ansible.builtin.setup"],
        env={**os.environ, "ANSIBLE_NOCOLOR": "1"},
        text=True,
        capture_output=True,
        check=True,
    ).stdout
    assert [name for name, secret in wanted.items() if secret in facts] == []
