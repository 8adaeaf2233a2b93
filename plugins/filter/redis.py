"""Filters that turn ``redis_instances`` and ``redis_users`` into configuration, ACL and URLs."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

from ansible.errors import AnsibleFilterError

Instance = Mapping[str, Any]
User = Mapping[str, Any]

INSTANCE_KEYS = frozenset({"name", "port", "profile", "bind", "maxmemory", "config"})
PROFILES = ("broker", "cache")
USER_KEYS = frozenset({"name", "password", "profile", "key_prefix"})
USER_PROFILES = ("admin", "celery")
NAME = re.compile(r"[a-z][a-z0-9_-]*\Z")
DIRECTIVE = re.compile(r"[a-z][a-z0-9-]*\Z")
# What `config` must not set -> what to do instead.
OWN_DIRECTIVES = {
    **dict.fromkeys(("port", "bind", "maxmemory"), "use the instance's key of that name"),
    **dict.fromkeys(("requirepass", "masterauth", "user", "aclfile"), "use redis_users"),
    **dict.fromkeys(("dir", "pidfile", "logfile", "daemonize", "supervised"), "take it out, the unit relies on it"),
    "maxclients": "use redis_maxclients",
}
MEMORY = re.compile(r"[1-9][0-9]*([kmg]b?)?\Z", re.IGNORECASE)
# What kombu, the Redis result backend, workers, beat and events use; found with ACL LOG on a running system.
CELERY_COMMANDS = tuple(
    "client|setname ping multi exec discard watch unwatch lpush rpush rpop brpop llen del exists sadd srem smembers "
    "sismember hset hget hdel hlen zadd zrem zrange zrangebyscore zcount set setex get mget expire pexpire publish "
    "subscribe unsubscribe psubscribe punsubscribe evalsha script|load script|exists time".split()
)

# Nobody can log in as the default user, but a server replays its append-only file as that user, and silently drops each
# transaction in it that the user may not run (redis/redis#14541, valkey-io/valkey#3983). So: off, without a password,
# and allowed everything.
REPLAY = "user default off resetpass sanitize-payload ~* &* +@all"
# What redis-py sends besides, if the server is new enough to know it.
COMMANDS_SINCE = [((7, 2), "client|setinfo")]


def redis_url(host: str, port: int, username: str, password: str, database: int = 0) -> str:
    """A ``redis://`` URL with user name and password percent-encoded."""
    return f"redis://{quote(username, safe='')}:{quote(password, safe='')}@{host}:{port}/{database}"


def redis_quote(value: Any) -> str:
    """``value`` as one argument of redis.conf, quoted where it is empty or has blanks, quotes or the like."""
    text = ("yes" if value else "no") if isinstance(value, bool) else str(value)
    if re.fullmatch(r"[^\s\"'\\#]+", text) and text.isprintable():
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if c.isprintable() else "".join(f"\\x{b:02x}" for b in c.encode()) for c in escaped) + '"'


def redis_config(instance: Instance, base: Mapping[str, Any], profiles: Mapping[str, Any]) -> dict[str, str]:
    """The directives of one instance, sorted, the values ready for redis.conf.

    :param instance: an entry of ``redis_instances``
    :param base: directives that every instance has
    :param profiles: profile -> directives that it adds; ``instance.config`` overrides both
    :returns: directive -> its arguments, quoted where needed; a list of arguments becomes one line, an empty one ``""``
    """
    name = instance["name"]
    own = {
        "port": instance["port"],
        "bind": instance["bind"],
        "maxmemory": instance["maxmemory"],
        "dir": f"/var/lib/redis/{name}",
        "pidfile": f"/run/redis-{name}/redis-server.pid",
        "logfile": f"/var/log/redis/redis-server-{name}.log",
        "aclfile": f"/etc/redis/users-{name}.acl",
    }
    merged = {**base, **profiles[instance["profile"]], **own, **instance.get("config", {})}
    return {
        key: " ".join(map(redis_quote, value)) or '""' if isinstance(value, list) else redis_quote(value)
        for key, value in sorted(merged.items())
    }


def redis_units(instances: list[Instance]) -> list[dict[str, Any]]:
    """The systemd units of the instances, each with the files after whose change it has to be restarted."""
    return [
        {
            "name": f"redis-server@{instance['name']}.service",
            "inputs": [f"/etc/redis/redis-{instance['name']}.conf", f"/etc/redis/users-{instance['name']}.acl"],
        }
        for instance in instances
    ]


def redis_acl(users: list[User], version: str) -> list[str]:
    """The lines of an ACL file: the default user, who can't log in, then ``users``; passwords only as SHA-256.

    :param users: ``redis_users`` as in the redis role's argument_specs
    :param version: the installed Redis, which doesn't start on an ACL with commands that it doesn't know
    :raises AnsibleFilterError: if a user can't be right
    """
    problems = list(user_problems(users))
    if problems:
        raise AnsibleFilterError(" ".join(problems))
    lines = [REPLAY]
    for user in users:
        secret = hashlib.sha256(user["password"].encode()).hexdigest()
        lines.append(
            f"user {user['name']} on sanitize-payload resetkeys resetchannels {_rules(user, version)} #{secret}"
        )
    return lines


def _rules(user: User, version: str) -> str:
    if user["profile"] == "admin":
        return "~* &* +@all"
    prefix = user.get("key_prefix", "")
    known = [command for since, command in COMMANDS_SINCE if since <= tuple(map(int, re.findall(r"\d+", version)[:2]))]
    commands = " ".join(f"+{command}" for command in (*CELERY_COMMANDS, *known))
    if not prefix:
        return f"~* &* -@all {commands}"
    # PSUBSCRIBE is allowed a pattern only where the pattern stands here to the letter
    channels = " ".join(
        f"&{prefix}{channel}"
        for channel in ("/0.celery.pidbox", "/0.celeryev/*", "/0.celeryev/worker.*", "celery-task-meta-*")
    )
    return f"~{prefix}* {channels} -@all {commands}"


def user_problems(users: Any) -> Iterator[str]:
    """What is wrong with ``redis_users``, a sentence each; no password is ever part of one."""
    if not isinstance(users, list) or not users:
        yield "redis_users has no user: add one, the default user is off."
        return
    for index, user in enumerate(users):
        if not isinstance(user, Mapping):
            yield f"redis_users[{index}] is a {type(user).__name__}: write a mapping with name, profile and password."
            continue
        where = f"redis_users[{index}] ({user.get('name')})"
        for key in sorted(set(user) - USER_KEYS):
            yield f"{where} has the unknown key {key!r}: use one of {', '.join(sorted(USER_KEYS))}."
        if not isinstance(user.get("name"), str) or not NAME.match(user["name"]) or user["name"] == "default":
            yield (
                f"{where} has the name {user.get('name')!r}: name it with lower-case letters, digits, _ and -, a "
                "letter first, and not 'default'."
            )
        if user.get("profile") not in USER_PROFILES:
            yield f"{where} has the profile {user.get('profile')!r}: use one of {', '.join(USER_PROFILES)}."
        if not isinstance(user.get("password"), str) or not user["password"]:
            yield f"{where} has no password: set one, of at least 16 characters."
        elif len(user["password"]) < 16:
            yield f"{where} has a password of {len(user['password'])} characters: set one of at least 16."
        if not re.fullmatch(r"[^\s*?\[\]\\]*", str(user.get("key_prefix", ""))):
            yield f"{where} has the key_prefix {user['key_prefix']!r}: leave blanks and any of * ? [ ] \\ out."
    yield from _repeated("redis_users", "name", users)


def instance_problems(instances: Any) -> Iterator[str]:
    """What is wrong with ``redis_instances``, a sentence each."""
    if not isinstance(instances, list) or not instances:
        yield f"redis_instances is {instances!r}: list at least one instance with name, port, profile and maxmemory."
        return
    for index, instance in enumerate(instances):
        if not isinstance(instance, Mapping):
            yield f"redis_instances[{index}] is {instance!r}: write a mapping with name, port, profile and maxmemory."
            continue
        where = f"redis_instances[{index}] ({instance.get('name')})"
        for key in sorted(set(instance) - INSTANCE_KEYS):
            yield f"{where} has the unknown key {key!r}: use one of {', '.join(sorted(INSTANCE_KEYS))}."
        if not isinstance(instance.get("name"), str) or not NAME.match(instance["name"]):
            yield f"{where} has the name {instance.get('name')!r}: name it with lower-case letters, digits, _ and -."
        port = instance.get("port")
        if not isinstance(port, int) or isinstance(port, bool) or not 0 < port < 65536:
            yield f"{where} has port {instance.get('port')!r}: give it a number from 1 to 65535."
        if instance.get("profile") not in PROFILES:
            yield f"{where} has the profile {instance.get('profile')!r}: use one of {', '.join(PROFILES)}."
        if not MEMORY.match(str(instance.get("maxmemory"))):
            yield f"{where} has maxmemory {instance.get('maxmemory')!r}: give it bytes or a size such as 512mb or 2gb."
        yield from _config_problems(where, instance)
    yield from _repeated("redis_instances", "name", instances)
    yield from _repeated("redis_instances", "port", instances)


def _config_problems(where: str, instance: Instance) -> Iterator[str]:
    config = instance.get("config", {})
    if not isinstance(config, Mapping):
        yield f"{where} has config {config!r}: write a mapping of directives."
        return
    for directive, value in config.items():
        name = str(directive)
        if not DIRECTIVE.match(name):
            yield f"{where} has config.{name}: write the directive in lower-case letters, digits and -."
        elif name in OWN_DIRECTIVES:
            # the value may be a password
            yield f"{where} has config.{name}, which the role sets itself: {OWN_DIRECTIVES[name]}."
        elif name == "maxmemory-policy" and value != "noeviction" and instance.get("profile") == "broker":
            yield (
                f"{where} is a broker with maxmemory-policy {value!r}: leave noeviction, any other policy may drop "
                "queued tasks without an error."
            )


def _repeated(variable: str, key: str, entries: list[Any]) -> Iterator[str]:
    for value, count in Counter(
        str(entry[key]) for entry in entries if isinstance(entry, Mapping) and key in entry
    ).items():
        if count > 1:
            yield f"{variable} has the {key} {value!r} {count} times: give each entry a {key} of its own."


def redis_problems(hosts: Mapping[str, Mapping[str, Any]], users: bool = True) -> list[str]:
    """What is wrong with the Redis instances and users of an inventory.

    :param hosts: Redis host -> its ``redis_instances`` and ``redis_users``
    :param users: whether to look at the users; not where secrets are missing, which is reported by itself
    :returns: a sentence for each problem, naming variable, value and remedy; empty if there is none
    """
    problems: list[str] = []
    for variables in hosts.values():
        problems += instance_problems(variables.get("redis_instances"))
        if users and "redis_users" in variables:
            problems += user_problems(variables["redis_users"])
    if not hosts:
        problems.append("The group redis has no host: put one in, the nodes need a broker.")
    return list(dict.fromkeys(problems))


class FilterModule:
    """Filters of the redis role."""

    def filters(self) -> dict[str, Any]:
        return {
            "redis_acl": redis_acl,
            "redis_config": redis_config,
            "redis_problems": redis_problems,
            "redis_units": redis_units,
            "redis_url": redis_url,
        }
