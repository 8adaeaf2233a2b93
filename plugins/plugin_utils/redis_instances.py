"""Filters that turn ``redis_instances`` and ``redis_users`` into configuration, ACL, units and URLs."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote, urlencode

from ansible.errors import AnsibleFilterError
from ansible_collections.celeriac.fleet.plugins.plugin_utils.redis_checks import UNITS

Instance = Mapping[str, Any]
User = Mapping[str, Any]

# What kombu, the Redis result backend, workers, beat and events use; found with ACL LOG on a running system. hsetnx and
# pttl are celery-redbeat's, and give nobody more than hset and expire do.
CELERY_COMMANDS = (
    "client|setname ping multi exec discard watch unwatch lpush rpush rpop brpop llen del exists sadd srem smembers "
    "sismember hset hsetnx hget hdel hlen zadd zrem zrange zrangebyscore zcount set setex get mget expire pexpire pttl "
    "publish subscribe unsubscribe psubscribe punsubscribe evalsha script|load script|exists time"
)
# Figures of the server and the length of a queue. No CONFIG GET, which shows masterauth.
MONITOR_COMMANDS = (
    "client|setname client|list ping info dbsize time lastsave role llen slowlog|get slowlog|len "
    "latency|latest latency|history latency|histogram memory|stats memory|doctor"
)
REPLICA_COMMANDS = "psync replconf ping"
# What the role, the backup and the rotation of passwords do on the host itself. Reads and writes no key.
MAINTENANCE_COMMANDS = (
    "client|setname ping info dbsize lastsave bgsave bgrewriteaof config|get config|set "
    "acl|users acl|setuser acl|deluser"
)
MAINTENANCE = "celeriac"
# What redis-py sends besides, if the server is new enough to know it.
COMMANDS_SINCE = [((7, 2), "client|setinfo")]

# Nobody can log in as the default user, but a server replays its append-only file as that user, and silently drops each
# transaction in it that the user may not run (redis/redis#14541, valkey-io/valkey#3983). So: off, without a password,
# and allowed everything.
REPLAY = "user default off resetpass sanitize-payload ~* &* +@all"

START = "on sanitize-payload resetkeys resetchannels"

SHARE = re.compile(r"\s*(\d+)\s*%\s*\Z")


def redis_url(
    host: str, port: int, username: str, password: str, database: int = 0, tls: bool = False, ca: str = ""
) -> str:
    """A ``redis://`` URL with user name and password percent-encoded, or with ``tls`` a ``rediss://`` URL.

    :param username: empty for a server with a password only
    :param ca: file on the client's host with the certificates of authorities that it trusts; the system's if empty
    """
    login = f"{quote(username, safe='')}:{quote(password, safe='')}"
    place = f"[{host}]" if ":" in host else host
    url = f"{'rediss' if tls else 'redis'}://{login}@{place}:{port}/{database}"
    if not tls:
        return url
    return f"{url}?{urlencode({'ssl_cert_reqs': 'required', **({'ssl_ca_certs': ca} if ca else {})}, safe='/')}"


def redis_consumer_urls(
    consumers: Iterable[Mapping[str, Any]], host: str, port: int, tls: bool = False, ca: str = ""
) -> dict[str, str]:
    """The URL of an instance for each of its users.

    :param consumers: entries of ``redis_users``, of which ``name`` and ``password`` are used
    :param ca: as for ``redis_url``, with ``{name}`` for the user's name
    """
    return {
        user["name"]: redis_url(
            host, port, user["name"], user["password"], tls=tls, ca=ca.replace("{name}", user["name"])
        )
        for user in consumers
    }


def redis_quote(value: Any) -> str:
    """``value`` as one argument of redis.conf, quoted where it is empty or has blanks, quotes or the like."""
    text = ("yes" if value else "no") if isinstance(value, bool) else str(value)
    if re.fullmatch(r"[^\s\"'\\#]+", text) and text.isprintable():
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if c.isprintable() else "".join(f"\\x{b:02x}" for b in c.encode()) for c in escaped) + '"'


def redis_memory(value: Any, memory: int) -> int:
    """Bytes of ``value``: a number of bytes, a size such as ``512mb``, or a share such as ``25%`` of ``memory`` bytes.

    A share is rounded down to whole MiB, so that a new kernel, which keeps some more for itself, seldom changes it.
    """
    text = str(value).lower()
    if match := SHARE.match(text):
        return int(memory * int(match[1]) / 100) // 2**20 * 2**20
    number, unit = re.fullmatch(r"(\d+)([a-z]*)", text).groups()  # type: ignore[union-attr]  # redis_problems looked
    return int(number) * UNITS[unit]


def redis_config(instance: Instance, base: Mapping[str, Any], profiles: Mapping[str, Any]) -> dict[str, str]:
    """The directives of one instance, sorted, the values ready for redis.conf.

    :param instance: an entry of ``redis_instances``, completed by ``redis_complete``
    :param base: directives that every instance has
    :param profiles: profile -> directives that it adds; ``instance.config`` overrides both
    :returns: directive -> its arguments, quoted where needed; a list of arguments becomes one line, an empty one ``""``
    """
    name, flavor = instance["name"], instance["flavor"]
    own = {
        "port": 0 if instance["tls"] else instance["port"],
        "bind": instance["bind"],
        "maxclients": instance["maxclients"],
        "maxmemory": instance["maxmemory"],
        "dir": f"/var/lib/{flavor}/{name}",
        "pidfile": f"/run/{flavor}-{name}/{flavor}-server.pid",
        "logfile": f"/var/log/{flavor}/{flavor}-server-{name}.log",
        "aclfile": f"/etc/{flavor}/users-{name}.acl",
        "unixsocket": socket(instance),
        "unixsocketperm": 700,
    }
    if instance["tls"]:
        own |= {
            "tls-port": instance["port"],
            "tls-cert-file": instance["tls"]["certificate"],
            "tls-key-file": instance["tls"]["private_key"],
            "tls-ca-cert-file": instance["tls"]["ca_certificate"],
            "tls-auth-clients": {"no": False, "optional": "optional", "required": True}[
                instance["tls"]["client_certificates"]
            ],
            "tls-protocols": "TLSv1.2 TLSv1.3",
            "tls-replication": True,
        }
    merged = {**base, **profiles[instance["profile"]], **own, **instance["config"]}
    return {
        key: " ".join(map(redis_quote, value)) or '""' if isinstance(value, list) else redis_quote(value)
        for key, value in sorted(merged.items())
    }


def socket(instance: Instance) -> str:
    """The Unix socket of an instance, which root and the daemon's user may open."""
    return f"/run/{instance['flavor']}-{instance['name']}/{instance['flavor']}-server.sock"


def redis_complete(
    instances: list[Instance], defaults: Mapping[str, Any], tls: Mapping[str, str], memory: int
) -> list[dict[str, Any]]:
    """``redis_instances`` with every key that an entry may leave out, and ``maxmemory`` in bytes.

    :param defaults: ``flavor``, and ``bind``, ``maxclients`` and ``tls`` (whether) for instances without such a key
    :param tls: ``certificate``, ``private_key`` and ``ca_certificate`` (paths) and ``client_certificates``
    :param memory: the host's memory in bytes
    :returns: entries in which ``tls`` is the mapping ``tls``, or empty where the instance has none
    """
    return [
        {
            **defaults,
            "backup": instance["profile"] != "cache",
            "config": {},
            **instance,
            "maxmemory": redis_memory(instance["maxmemory"], memory),
            "tls": dict(tls) if instance.get("tls", defaults["tls"]) else {},
        }
        for instance in instances
    ]


def redis_units(instances: list[Instance], flavor: str) -> list[dict[str, Any]]:
    """The systemd units of the instances, each with the files after whose change it has to be restarted.

    Users and certificates aren't among them: those are loaded by the running server.
    """
    return [
        {
            "name": f"{flavor}-server@{instance['name']}.service",
            "inputs": [f"/etc/{flavor}/{flavor}-{instance['name']}.conf", f"/etc/{flavor}/celeriac.env"],
        }
        for instance in instances
    ]


def redis_backup_units(instances: list[Instance], schedule: str) -> list[dict[str, Any]]:
    """The systemd units that back up completed ``instances``: a service each, and its timer if there is a schedule."""
    names = [instance["name"] for instance in instances if instance["backup"]]
    timers = [{"name": f"redis-backup@{name}.timer"} for name in names if schedule]
    return [{"name": f"redis-backup@{name}.service", "start": False} for name in names] + timers


def redis_retired(found: Mapping[str, list[str]], instances: list[Instance], flavor: str) -> list[dict[str, Any]]:
    """The instances on a host that it should no longer have, with ``unit``, ``files`` and directory ``data``.

    :param found: flavor -> names of the instances that the role once made there
    """
    wanted = {(flavor, instance["name"]) for instance in instances}
    return [
        {
            "unit": f"{each}-server@{name}.service",
            "files": [
                f"/etc/{each}/{each}-{name}.conf",
                f"/etc/{each}/users-{name}.acl",
                f"/etc/systemd/system/{each}-server@{name}.service.d",
            ],
            "data": f"/var/lib/{each}/{name}",
        }
        for each, names in found.items()
        for name in names
        if (each, name) not in wanted
    ]


def redis_running(instances: list[Instance]) -> list[dict[str, Any]]:
    """The completed ``instances`` as the module redis_reload takes them."""
    return [
        {
            "name": instance["name"],
            "socket": socket(instance),
            "started": f"/run/{instance['flavor']}-{instance['name']}/{instance['flavor']}-server.pid",
            "acl": f"/etc/{instance['flavor']}/users-{instance['name']}.acl",
            "certificates": {
                directive: instance["tls"][key]
                for directive, key in (
                    ("tls-cert-file", "certificate"),
                    ("tls-key-file", "private_key"),
                    ("tls-ca-cert-file", "ca_certificate"),
                )
                if instance["tls"]
            },
        }
        for instance in instances
    ]


def redis_acl(
    users: list[User],
    instance: str,
    version: str,
    maintenance: str = "",
    kept: Mapping[str, list[str]] | None = None,
) -> list[str]:
    """The lines of an instance's ACL file; passwords only as SHA-256.

    The default user can't log in, unless ``users`` has one of that name.

    :param users: ``redis_users`` as in the redis role's argument_specs
    :param version: the installed server, which doesn't start on an ACL with commands that it doesn't know
    :param maintenance: SHA-256 of the password that the host made for its own maintenance
    :param kept: user -> further SHA-256 of passwords that stay valid
    """
    here = [user for user in users if instance in (user.get("instances") or [instance])]
    if not here:
        raise AnsibleFilterError(f"redis_users has no user for the instance {instance}: add one.")
    lines = [] if any(user["name"] == "default" for user in here) else [REPLAY]
    for user in here:
        digests = [hashlib.sha256(user["password"].encode()).hexdigest(), *(kept or {}).get(user["name"], [])]
        passwords = " ".join(f"#{digest}" for digest in dict.fromkeys(digests))
        lines.append(
            f"user {user['name']} on sanitize-payload resetkeys resetchannels {_rules(user, version)} {passwords}"
        )
    if maintenance:
        commands = _allow(MAINTENANCE_COMMANDS, version)
        lines.append(f"user {MAINTENANCE} {START} -@all {commands} #{maintenance}")
    return lines


def _rules(user: User, version: str) -> str:
    if "rules" in user:
        return " ".join(["-@all", *user["rules"]])
    if user["profile"] == "admin":
        return "~* &* +@all"
    if user["profile"] == "celery":
        return f"{_celery_keys(user)} -@all {_allow(_celery_commands(user), version)}"
    # a monitor may ask for the length of any queue, and reads no key
    return {
        "monitor": f"%R~* -@all {_allow(MONITOR_COMMANDS, version)}",
        "replica": f"-@all {_allow(REPLICA_COMMANDS, version, client=False)}",
    }[user["profile"]]


def _celery_commands(user: User) -> str:
    return f"{CELERY_COMMANDS} select" if _databases(user) != [0] else CELERY_COMMANDS


def _databases(user: User) -> list[int]:
    return list(user.get("databases") or [0])


def _celery_keys(user: User) -> str:
    prefix = user.get("key_prefix") or ""
    if not prefix:
        return "~* &*"
    # PSUBSCRIBE is allowed a pattern only where the pattern stands here to the letter
    channels = [
        f"&{prefix}/{database}.{channel}"
        for database in _databases(user)
        for channel in ("celery.pidbox", "celeryev/*", "celeryev/worker.*")
    ]
    return " ".join([f"~{prefix}*", *channels, f"&{prefix}celery-task-meta-*"])


def _allow(commands: str, version: str, *, client: bool = True) -> str:
    installed = tuple(map(int, re.findall(r"\d+", version)[:2]))
    known = [command for since, command in COMMANDS_SINCE if client and since <= installed]
    return " ".join(f"+{command}" for command in [*commands.split(), *known])
