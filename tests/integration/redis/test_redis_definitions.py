"""Definitions nobody thought of: what the preflight accepts, the host's real server starts on."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from ansible_collections.celeriac.fleet.plugins.plugin_utils import redis_grammar as grammar
from ansible_collections.celeriac.fleet.plugins.plugin_utils import redis_instances as redis
from ansible_collections.celeriac.fleet.plugins.plugin_utils import redis_problems as problems
from testinfra.host import Host

from tests.support import harness
from tests.support.files import carry
from tests.support.paths import ROOT
from tests.support.redis_certificates import self_signed
from tests.support.redis_definitions import MARK, collected, definitions, rules_of, settings_of
from tests.support.site import Site
from tests.support.soak import Soak

testinfra_hosts = ["ansible://redis"]
pytestmark = [pytest.mark.slow, pytest.mark.destructive, pytest.mark.soak]  # it starts servers by the hundred

HERE = "/srv/celeriac-definitions"
BARE = {"name": "x", "flavor": "redis", "port": 1, "profile": "cache", "tls": {}, "bind": [], "maxmemory": 0}
FILES = ("redis_tls_ca_certificate", "redis_tls_certificate", "redis_tls_private_key")
PATH = re.compile(r"redis_(instances|users)(\[\d+\]( \([a-z][a-z0-9_-]*\))?)? ")


@dataclass
class Trial:
    """What became of the definitions, and of settings and rules by themselves, on one host."""

    server: str
    count: int  # how many definitions were asked for; a few come twice
    accepted: list[dict[str, Any]] = field(default_factory=list)
    refused: list[tuple[dict[str, Any], list[str]]] = field(default_factory=list)
    instances: int = 0
    failed: dict[str, str] = field(default_factory=dict)  # case -> what was tried, and what the server said
    # settings and rules: case -> why it was refused
    alone: dict[str, dict[str, str]] = field(default_factory=lambda: defaultdict(dict))

    @property
    def failed_instances(self) -> dict[str, str]:
        """Instances of accepted definitions on which the server doesn't start."""
        alone = {case for cases in self.alone.values() for case in cases}
        return {case: said for case, said in self.failed.items() if case not in alone}

    def too_strict(self, cases: dict[str, str]) -> dict[str, str]:
        """Those refused that the server would have taken."""
        return {case: why for case, why in cases.items() if case not in self.failed}


@pytest.fixture(scope="module")
def trial(host: Host, site: Site, soak: Soak) -> Trial:
    name = host.backend.host
    flavor = site[name]["redis_flavor"]
    version = host.system_info.release.split(".")[0]
    (server,) = grammar.servers(flavor, version)
    result = Trial(server, soak.size(150, 540))
    own = {
        **dict.fromkeys(FILES, f"{HERE}/tls.pem"),
        "redis_flavor": flavor,
        "redis_bind": ["127.0.0.1"],
        "redis_tls_enabled": False,
    }
    for definition in collected(definitions(server), result.count):
        found = problems.redis_problems({name: {**own, **definition, "distribution_version": version}})
        if found:
            result.refused.append((definition, found))
        else:
            result.accepted.append(definition)
    packages = {"versions": {f"{flavor}-server": host.package(f"{flavor}-server").version}}
    cases = dict(rendered(result.accepted, site.path, name, {**own, "__redis_packages": packages}))
    result.instances = len(cases)
    for case, why, config, users in refused_alone(server, result.count // 2):
        result.alone["settings" if config else "rules"][case] = why
        cases[case] = (config, users)
    failed = tried(host, site[name]["ansible_host"], flavor, cases)
    result.failed = {case: "\n".join([*cases[case], said]) for case, said in failed.items()}
    return result


def rendered(
    accepted: list[dict[str, Any]], inventory: str, host: str, own: dict[str, Any]
) -> Iterator[tuple[str, tuple[str, str]]]:
    """Case -> configuration and users as the role's tasks would write them; a name of its own for each instance."""
    instances, users = [], []
    for number, definition in enumerate(accepted):
        names = {entry["name"]: f"d{number}-{entry['name']}" for entry in definition["redis_instances"]}
        instances += [{**entry, "name": names[entry["name"]]} for entry in definition["redis_instances"]]
        users += [
            {**user, "instances": [names[name] for name in user.get("instances", names)]}
            for user in definition["redis_users"]
        ]
    variables = {**own, "redis_instances": instances, "redis_users": users}
    files = harness.files(harness.Inventory(inventory), "redis", host, **variables)
    etc = f"/etc/{own['redis_flavor']}"
    for instance in instances:
        name = instance["name"]
        yield (
            name,
            (files[f"{etc}/{own['redis_flavor']}-{name}.conf"].content, files[f"{etc}/users-{name}.acl"].content),
        )


def refused_alone(server: str, count: int) -> Iterator[tuple[str, str, str, str]]:
    """Settings and rules that are refused of ``count`` each, by themselves: case, why, configuration and users."""
    users = f"{redis.REPLAY}\nuser u on {redis.START} -@all {{}} #{'a' * 64}\n"
    for name, value in collected(settings_of(server, 2), count):
        if why := grammar.directive_value(server, name, value):
            line = redis.redis_config({**BARE, "maxclients": 1, "config": {name: value}}, {}, {"cache": {}})[name]
            yield f"{name} {value!r}", why, f"{name} {line}\n", users.format("")
    for rules in collected(rules_of(server, 6), count):
        if why := "; ".join(f"{rules[at]!r}: {remedy}" for at, remedy in grammar.rules(server, rules)):
            yield f"rules {rules!r}", why, "", users.format(" ".join(rules))


def tried(host: Host, container: str, flavor: str, cases: dict[str, tuple[str, str]]) -> dict[str, str]:
    """Cases on which the host's server doesn't start -> what it said."""
    files = {
        f"{HERE}/cases.json": json.dumps({"flavor": flavor, "cases": cases}),
        f"{HERE}/redis_starts.py": (ROOT / "tests/support/redis_starts.py").read_text(),
        f"{HERE}/tls.pem": "".join(self_signed("definitions")),
    }
    carry(container, {path: text.encode() for path, text in files.items()}, mode=0o644)
    try:
        return dict(json.loads(host.check_output("python3 %s/redis_starts.py %s/cases.json", HERE, HERE)))
    finally:
        host.run("rm -rf %s", HERE)


# -- what came of it


def test_enough_was_tried(trial: Trial, host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    alone = [
        f"{len(trial.too_strict(cases))} of {len(cases)} {what} refused the server would have taken"
        for what, cases in trial.alone.items()
    ]
    with capsys.disabled():
        print(
            f"\n{host.backend.host}, {trial.server}: {len(trial.accepted)} definitions accepted, "
            f"{len(trial.refused)} refused; {trial.instances} instances to start, of which the server refused "
            f"{len(trial.failed_instances)}; {'; '.join(alone)}"
        )
    assert len(trial.accepted) + len(trial.refused) >= 0.9 * trial.count
    assert len(trial.accepted) >= 0.28 * trial.count
    assert len(trial.refused) >= 0.28 * trial.count


def test_the_tables_are_those_of_the_installed_server(trial: Trial, host: Host, site: Site) -> None:
    flavor = site[host.backend.host]["redis_flavor"]
    installed = re.sub(r"^\d+:", "", host.package(f"{flavor}-server").version)
    assert trial.server == f"{flavor}-{'.'.join(installed.split('.')[:2])}"


def test_the_server_starts_on_what_is_accepted(trial: Trial) -> None:
    assert not trial.failed_instances, "\n".join(trial.failed_instances.values())


def test_what_is_refused_is_named_and_shows_no_password(trial: Trial) -> None:
    for _, said in trial.refused:
        for problem in said:
            assert PATH.match(problem), problem
            assert MARK not in problem


@pytest.mark.parametrize("what", ["settings", "rules"])
def test_most_of_what_is_refused_the_server_refuses_too(trial: Trial, what: str) -> None:
    cases = trial.alone[what]
    assert len(cases) >= 0.1 * trial.count
    strict = trial.too_strict(cases)
    assert len(strict) <= len(cases) / 4, strict
