"""What can't be right in the redis role's variables: sentences that name the variable, its value and the way out.

No sentence shows a password or a key, nor text in whose place one may stand by mistake.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Any

from ansible_collections.celeriac.fleet.plugins.plugin_utils import redis_checks as checks
from ansible_collections.celeriac.fleet.plugins.plugin_utils import redis_grammar as grammar
from ansible_collections.celeriac.fleet.plugins.plugin_utils import specs
from ansible_collections.celeriac.fleet.plugins.plugin_utils.site_roles import ALONE, Hosts, Site, asks
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key

Variables = Mapping[str, Any]


# -- entries of lists


def repeated(variable: str, key: str, entries: Any) -> Iterator[str]:
    """Which values of a key stand in several entries."""
    counted = Counter(str(entry[key]) for _, entry in specs.mappings(variable, entries) if key in entry)
    for what, count in counted.items():
        if count > 1:
            yield f"{variable} has the {key} {what!r} {count} times: give each entry a {key} of its own."


# -- instances


def instance_problems(instances: Any, servers: Collection[str]) -> Iterator[str]:
    """What is wrong with ``redis_instances`` beside what each key says by itself.

    :param servers: those that the host may have, as plugins/data/redis_servers.yml calls them
    """
    yield from repeated("redis_instances", "name", instances)
    yield from repeated("redis_instances", "port", instances)
    for where, instance in specs.mappings("redis_instances", instances):
        config = instance.get("config")
        for directive, value in config.items() if isinstance(config, Mapping) else ():
            yield from _directive_problems(where, str(directive), value, instance.get("profile"), servers)


def _directive_problems(where: str, name: str, value: Any, profile: Any, servers: Collection[str]) -> Iterator[str]:
    own = next((remedy for pattern, remedy in checks.OWN_DIRECTIVES.items() if fnmatchcase(name, pattern)), None)
    # the value may be a password, also where the name is misspelt
    if remedy := own or _least(grammar.unknown_directive(server, name) for server in servers):
        yield f"{where} has config.{name}: {remedy}."
        return
    knowing = [server for server in servers if name in grammar.directives(server)]
    if remedy := _least(grammar.directive_value(server, name, value) for server in knowing):
        yield f"{where} has config.{name} {value!r}: {remedy}."
        return
    said = " ".join(grammar.arguments(value)).lower()
    for profiles, directive, pattern, remedy in checks.LOSSES:
        if profile in profiles and directive == name and re.fullmatch(pattern, said):
            yield f"{where} is a {profile} with config.{name} {value!r}: {remedy}."


def _least(remedies: Iterable[Any]) -> Any:
    """What the most lenient of the servers that a host may have says."""
    return min(remedies, key=len)


# -- users


def user_problems(users: Any, instances: Any, servers: Collection[str]) -> Iterator[str]:
    """What is wrong with ``redis_users`` beside what each key says by itself; no password is ever part of it.

    :param servers: those that the host may have, as plugins/data/redis_servers.yml calls them
    """
    if not isinstance(users, list) or not users:
        return
    yield from repeated("redis_users", "name", users)
    names = [entry.get("name") for _, entry in specs.mappings("redis_instances", instances)]
    known = specs.mappings("redis_users", users)
    for where, user in known:
        if isinstance(user.get("password"), str) and (problem := password_problem(user["password"])):
            yield f"{where} {problem}."
        yield from _permission_problems(where, user, servers)
        yield from _unknown_instances(where, user, names)
    for where, instance in specs.mappings("redis_instances", instances):
        if len(known) == len(users) and not any(instance.get("name") in _instances(user, names) for _, user in known):
            yield f"{where} has no user: name it in the instances of one of redis_users."


def password_problem(password: str) -> str:
    """What is wrong with a password, as the end of a sentence that doesn't have it."""
    if not password:
        return "has no password: set one, of at least 16 characters"
    if len(password) < 16:
        return f"has a password of {len(password)} characters: set one of at least 16"
    with suppress(UnicodeEncodeError):
        password.encode()
        return ""
    return "has a password that is no valid Unicode: set another"


def _permission_problems(where: str, user: Variables, servers: Collection[str]) -> Iterator[str]:
    right = {key for key, value in user.items() if specs.is_right("redis", ("redis_users", key), value, checks.RULES)}
    if {"profile", "rules"} & set(user) - right:
        return
    if ("profile" in user) is ("rules" in user):
        has = "profile and rules" if "rules" in user else "neither profile nor rules"
        yield f"{where} has {has}: give it one of them."
    elif user.get("profile") != "celery":
        for key in checks.CELERYS_OWN & right:
            yield f"{where} has {key}, which only the profile celery heeds: take it out."
    if user.get("name") == "default" and user.get("profile") != "admin":
        yield f"{where} has not the profile admin: give it that, the server replays its append-only file as this user."
    if given := user.get("rules"):
        for position, remedy in _least(list(grammar.rules(server, given)) for server in servers):
            # what isn't plainly a rule may be a password
            shown = repr(given[position]) if re.match(r"[~&%+-][^\s><#!]*\Z", given[position]) else ""
            yield f"{where} has rules[{position}] {shown}".rstrip() + f": {remedy}."


def _instances(user: Variables, names: Iterable[Any]) -> Iterable[Any]:
    given = user.get("instances", names)
    return given if isinstance(given, list) else names


def _unknown_instances(where: str, user: Variables, names: Collection[Any]) -> Iterator[str]:
    for name in _instances(user, ()):
        if isinstance(name, str) and checks.IS_NAME(name) and name not in names:
            known = ", ".join(map(str, names))
            yield f"{where} has the instance {name!r}, which isn't in redis_instances: use one of {known}."


# -- certificates

GIVEN = ("redis_tls_ca_certificate", "redis_tls_certificate", "redis_tls_private_key")


def tls_problems(variables: Variables, secrets: bool) -> Iterator[str]:
    """What is wrong with the ``redis_tls_`` variables together, each being right by itself.

    :param secrets: whether those that are secret can be looked at
    """
    if variables["redis_tls_renew_days"] >= variables["redis_tls_valid_days"]:
        yield (
            f"redis_tls_renew_days is {variables['redis_tls_renew_days']}, with redis_tls_valid_days "
            f"{variables['redis_tls_valid_days']}: make it less, or every run issues a certificate."
        )
    given = [name for name in GIVEN if variables[name]]
    for name in GIVEN:
        if given and name not in given and (secrets or name not in checks.SECRETS):
            yield f"{name} has no value beside {given[0]}: give all three, or none to have certificates issued."
    enabled = [
        instance.get("tls", variables["redis_tls_enabled"])
        for _, instance in specs.mappings("redis_instances", variables["redis_instances"])
    ]
    if True in enabled and not given and secrets and not variables["redis_tls_ca_passphrase"]:
        yield "redis_tls_ca_passphrase has no value: set one, for the key of the authority that issues certificates."
    # what isn't PEM is a file on the host
    ca, certificate, key = (value if specs.text(checks.PEM)(value := variables[name]) else "" for name in GIVEN)
    if certificate:
        yield from certificate_problems(certificate, key, ca)


def certificate_problems(certificate: str, key: str, ca: str) -> Iterator[str]:
    """What is wrong with a certificate, its key and its authority as PEM; key and authority may be empty."""
    pem = {"redis_tls_certificate": certificate, "redis_tls_ca_certificate": ca}
    found: dict[str, list[x509.Certificate]] = {}
    for name, text in pem.items():
        try:
            found[name] = x509.load_pem_x509_certificates(text.encode()) if text else []
        except ValueError:
            yield f"{name} can't be read: give it a certificate as PEM."
            return
        for end in (each.not_valid_after_utc for each in found[name]):
            if end < datetime.now(UTC):
                yield f"{name} ended on {end:%Y-%m-%d}: give a newer one."
    chain, authorities = found.values()
    try:
        if key and load_pem_private_key(key.encode(), None).public_key() != chain[0].public_key():
            yield "redis_tls_private_key is another certificate's: give the key of redis_tls_certificate."
    except (ValueError, TypeError, UnsupportedAlgorithm):
        yield "redis_tls_private_key can't be read: give an unencrypted key as PEM."
    if authorities and not _issued(chain, authorities):
        yield "redis_tls_certificate was issued by another authority than redis_tls_ca_certificate: give that one's."


def _issued(chain: Sequence[x509.Certificate], authorities: Sequence[x509.Certificate]) -> bool:
    """Whether the first of ``chain`` was issued by an authority, directly or through the rest of the chain."""
    certificate, *intermediates = chain
    for issuer in (*authorities, *intermediates):
        with suppress(ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
            certificate.verify_directly_issued_by(issuer)
            rest = [each for each in intermediates if each != issuer]
            return issuer in authorities or _issued([issuer, *rest], authorities)
    return False


# -- hosts


def backup_problems(variables: Variables, secrets: bool) -> Iterator[str]:
    """What is wrong with the ``redis_backup_`` variables together, each being right by itself."""
    target = variables["redis_backup_copy_to"]
    if target == variables["redis_backup_directory"]:
        yield f"redis_backup_copy_to is {target!r}, like redis_backup_directory: name another directory."
    for name in ("redis_backup_ssh_key", "redis_backup_known_hosts"):
        if ":" in target and not variables[name] and (secrets or name not in checks.SECRETS):
            yield f"{name} has no value: set it, redis_backup_copy_to is {target!r}, on another host."


def memory_problems(host: str, variables: Variables, memory: int) -> Iterator[str]:
    """Whether the instances need more than ``memory``, the bytes of the host, allows."""
    instances = [instance for _, instance in specs.mappings("redis_instances", variables["redis_instances"])]
    needed = sum(checks.in_bytes(instance["maxmemory"], memory) for instance in instances)
    persistent = [instance["maxmemory"] for instance in instances if _persists(instance)]
    forks = sum(checks.in_bytes(variables["redis_fork_reserve"], checks.in_bytes(each, memory)) for each in persistent)
    left = memory - checks.in_bytes(variables["redis_memory_reserve"], memory)
    if needed + forks > left:
        needed, forks, left, memory = (each // 2**20 for each in (needed, forks, left, memory))
        yield (
            f"redis_instances of {host} need {needed + forks} MB, {forks} of them while saving (redis_fork_reserve), "
            f"but redis_memory_reserve leaves {left} of the host's {memory}: lower maxmemory or move one elsewhere."
        )


def _persists(instance: Variables) -> bool:
    said = {name: " ".join(grammar.arguments(value)).lower() for name, value in instance.get("config", {}).items()}
    return instance["profile"] != "cache" or said.get("appendonly") == "yes" or bool(said.get("save"))


def flavor_problems(host: str, variables: Variables, version: str | None) -> Iterator[str]:
    """Whether the host can have the flavour, and has nothing of the other that would be left behind."""
    flavor = variables["redis_flavor"]
    others = [other for other in flavors() if other != flavor]
    for other in others:
        if not grammar.servers(flavor, version) and grammar.servers(other, version):
            yield f"redis_flavor of {host} is {flavor}, which Debian {version} doesn't have: use {other}."
        data = (variables.get("__redis_host") or {}).get("data", {}).get(other, [])
        for _, instance in specs.mappings("redis_instances", variables["redis_instances"]):
            if instance.get("name") in data and instance.get("profile") != "cache":
                yield (
                    f"redis_flavor of {host} is {flavor}, but /var/lib/{other}/{instance['name']} has data: leave it "
                    f"at {other}, or move that directory away after its queues have run empty."
                )


@asks("__redis_host")
def redis_problems(hosts: Hosts, site: Site = ALONE) -> list[str]:
    """What is wrong with the redis role's variables.

    :param hosts: Redis host -> its variables of the role, in whose place the role's default stands if they are left
        out, and, if known, ``distribution_version`` (major) and ``__redis_host`` (what the action redis_host returns).
        Without ``redis_users`` those aren't looked at, nor hosts that the run doesn't reach.
    :returns: a sentence for each problem, naming variable, value and remedy; empty if there is none
    """
    problems = [
        problem
        for host, variables in site.known(hosts).items()
        for problem in _host_problems(host, variables, site.secrets)
    ]
    return list(dict.fromkeys(problems))


def _host_problems(host: str, given: Variables, secrets: bool) -> Iterator[str]:
    variables = {**specs.defaults("redis"), **given}
    with_users = secrets and "redis_users" in given
    wrong = specs.problems("redis", variables, checks.RULES)
    yield from (each for name, said in wrong.items() for each in said if with_users or name != "redis_users")
    version = given.get("distribution_version")
    possible = [variables["redis_flavor"]] if "redis_flavor" not in wrong else flavors()
    servers = [
        server for flavor in possible for server in grammar.servers(flavor, version) or grammar.servers(flavor, None)
    ]
    problems = list(instance_problems(variables["redis_instances"], servers))
    yield from problems
    if with_users:
        yield from user_problems(variables["redis_users"], variables["redis_instances"], servers)
    if "redis_flavor" not in wrong:
        yield from flavor_problems(host, variables, version)
    if not any(name.startswith("redis_tls_") for name in wrong):
        yield from tls_problems(variables, secrets)
    if not any(name.startswith("redis_backup_") for name in wrong):
        yield from backup_problems(variables, secrets)
    memory = (given.get("__redis_host") or {}).get("memory")
    if memory and not problems and not {"redis_instances", "redis_memory_reserve", "redis_fork_reserve"} & set(wrong):
        yield from memory_problems(host, variables, memory)


def flavors() -> list[str]:
    """The servers that the role can run."""
    return list(specs.options("redis")["redis_flavor"]["choices"])
