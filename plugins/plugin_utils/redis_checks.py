"""What a variable of the redis role, or a key of its entries, has to be beside what its argument_specs say."""

from __future__ import annotations

import ipaddress
import re
from collections import Counter
from typing import Any

from ansible_collections.celeriac.fleet.plugins.plugin_utils.specs import Rule, number, text


def address(value: Any) -> bool:
    """Whether a value is an IP address that a socket can be bound to, without a zone."""
    try:
        found = ipaddress.ip_address(value if isinstance(value, str) else "")
    except ValueError:
        return False
    return "%" not in value and getattr(found, "ipv4_mapped", None) is None


def addresses(value: Any) -> bool:
    """Whether a server can listen on all of ``value``, as far as that doesn't depend on the host."""
    if not all(isinstance(each, str) for each in value):
        return False
    everywhere = {"*": "0.0.0.0"}  # noqa: S104 - it is the address's meaning
    if not 1 <= len(value) <= 16:
        return False
    plain = [everywhere.get(each.removeprefix("-"), each.removeprefix("-")) for each in value]
    if not all(map(address, plain)):
        return False
    found = [ipaddress.ip_address(each) for each in plain]
    kinds = Counter(each.version for each in found)
    return len(set(found)) == len(found) and not any(each.is_unspecified and kinds[each.version] > 1 for each in found)


def size(value: Any) -> bool:
    """Whether a value is an amount of memory from 1 MiB, in bytes, with a unit, or a share of the host's."""
    return text(SHARE_OF_MEMORY)(value) or (text(SIZE)(str(value)) and 2**20 <= in_bytes(value, 0) < 2**63)


def in_bytes(value: Any, memory: int) -> int:
    """The bytes of what passes ``size``, on a host with ``memory`` bytes."""
    amount, unit = re.fullmatch(r"(\d+)(.*)", str(value).lower()).groups()  # type: ignore[union-attr] # it passed
    return memory * int(amount) // 100 if unit == "%" else int(amount) * UNITS[unit]


UNITS = {"": 1, "k": 1000, "m": 1000**2, "g": 1000**3, "kb": 1024, "mb": 1024**2, "gb": 1024**3}
NAME = r"[a-z][a-z0-9_-]{0,63}"  # longer, and there is no room for the path of a socket
SHARE = r"(100|[1-9]?[0-9])%"
SHARE_OF_MEMORY = r"(100|[1-9][0-9]?)%"
SIZE = r"[1-9][0-9]{0,18}([kmgKMG][bB]?)?"
FILE = r"(/[\w+-][\w.+-]*)+"
HOST = r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?"
REMOTE = rf"[a-z_][a-z0-9_-]*@{HOST}:{FILE}"
PEM = r"\s*-----BEGIN (?s:.*)"

MAXCLIENTS = Rule(number(1, 1_000_000), "give it a number from 1 to 1000000")  # more is beyond what fs.nr_open allows
DAYS = Rule(number(1, 36500), "give it a number of days from 1 to 36500")
# the server's sandbox has directories of its own in the place of these
UNSEEN = r"(?!/(tmp|var/tmp|home|root|run/user)/)"
PEM_OR_FILE = Rule(
    text(f"|{UNSEEN}{FILE}|{PEM}"),
    "give it PEM text or the absolute path of a file on the host, not in /tmp, /var/tmp, /home or /root, which the "
    "server doesn't see, or leave it empty",
)
BIND = Rule(addresses, "list 1 to 16 IP addresses of the host, each once, and none beside * or its like")
IS_NAME = text(NAME)

RULES = {
    "redis_instances": Rule(bool, "list at least one instance with name, port, profile, maxmemory"),
    "redis_instances[].name": Rule(
        IS_NAME, "name it with at most 64 lower-case letters, digits, _ and -, a letter first"
    ),
    "redis_instances[].port": Rule(
        number(1024, 65535), "give it a number from 1024 to 65535, the daemon may not open those below"
    ),
    "redis_instances[].maxmemory": Rule(
        size,
        "give it bytes, a size from 1mb on such as 512mb or 2gb, or a share of the host's such as 25%",
        also=(int,),
    ),
    "redis_instances[].bind": BIND,
    "redis_instances[].maxclients": MAXCLIENTS,
    "redis_instances[].config": Rule(remedy="write a mapping of directives"),
    "redis_bind": BIND,
    "redis_users": Rule(bool, "list at least one user with name and password, the default one is off"),
    "redis_users[].name": Rule(
        lambda value: IS_NAME(value) and value != "celeriac",
        "name it with at most 64 lower-case letters, digits, _ and -, a letter first, but not celeriac",
    ),
    "redis_users[].password": Rule(remedy="set one as text, of at least 16 characters"),
    "redis_users[].rules": Rule(bool, "list rules as text, such as ~app:* and +@read"),
    "redis_users[].key_prefix": Rule(
        lambda value: value.isprintable() and not set(value) & set(" *?[]\\"),
        "leave blanks, control characters and any of * ? [ ] \\ out",
    ),
    "redis_users[].databases": Rule(bool, "list numbers from 0 to 15"),
    "redis_users[].databases[]": Rule(number(0, 15), "list numbers from 0 to 15"),
    "redis_users[].instances": Rule(bool, "list names of redis_instances"),
    "redis_users[].instances[]": Rule(IS_NAME, "list names of redis_instances"),
    "redis_maxclients": MAXCLIENTS,
    "redis_memory_reserve": Rule(text(SHARE), "give it a share such as 10%"),
    "redis_fork_reserve": Rule(text(SHARE), "give it a share such as 50%"),
    "redis_tls_ca_certificate": PEM_OR_FILE,
    "redis_tls_certificate": PEM_OR_FILE,
    "redis_tls_private_key": PEM_OR_FILE,
    "redis_tls_ca_directory": Rule(text(r"[^\0-\x1f]+"), "name a directory on the controller"),
    "redis_tls_client_certificates": Rule(remedy='use "no", "optional" or "required", in quotes'),
    "redis_tls_names[]": Rule(
        lambda value: address(value) or text(rf"(\*\.)?{HOST}")(value),
        "list names and addresses that clients call the host",
    ),
    "redis_tls_valid_days": DAYS,
    "redis_tls_renew_days": DAYS,
    "redis_backup_schedule": Rule(text(r"[\w *:,./~-]*"), "write one line that OnCalendar= takes, or leave it empty"),
    "redis_backup_directory": Rule(text(FILE), "give it an absolute path of letters, digits and any of . _ + -"),
    "redis_backup_keep_count": Rule(number(1, 100_000), "give it a number from 1 to 100000"),
    "redis_backup_keep_days": DAYS,
    "redis_backup_copy_to": Rule(
        text(f"|{FILE}|{REMOTE}"),
        "give it an absolute path or user@host:/path, of letters, digits and any of . _ + -, or leave it empty",
    ),
    "redis_backup_ssh_key": Rule(text(f"|{PEM}"), "give it the text of a private key, or leave it empty"),
    "redis_backup_known_hosts": Rule(text(r"[^\0]*"), "give it lines of known_hosts, or leave it empty"),
}
SECRETS = frozenset({"redis_tls_private_key", "redis_tls_ca_passphrase", "redis_backup_ssh_key"})

# What an instance's `config` may not set -> what to do instead.
OWN_DIRECTIVES = {
    **dict.fromkeys(("port", "bind", "maxmemory", "maxclients"), "use the instance's key of that name"),
    **dict.fromkeys(("requirepass", "masterauth", "masteruser", "primaryauth", "primaryuser"), "use redis_users"),
    **dict.fromkeys(("user", "aclfile", "acl-pubsub-default", "rename-command"), "use redis_users"),
    "tls-*": "use the instance's key tls and the variables redis_tls_*",
    **dict.fromkeys(
        ("dir", "dbfilename", "append*name", "pidfile", "daemonize", "supervised", "unixsocket*"),
        "take it out, the unit and the backup rely on it",
    ),
    **dict.fromkeys(("logfile", "syslog-*"), "take it out, the log stands below /var/log"),
    "crash-*": "take it out, a crash has to leave its report",
    **dict.fromkeys(("loadmodule*", "include"), "take it out, nobody can tell what it brings along"),
    "enable-*": "take it out, it is off so that no client can use it to leave the server",
    "protected-mode": "take it out, users have passwords",
    **dict.fromkeys(("replicaof", "slaveof", "cluster-*"), "take it out, instances of this role stand by themselves"),
    **dict.fromkeys(("import-mode", "rdma-*"), "take it out, it isn't for a server at work"),
}
# Profiles, directive, and values of it that would lose what clients rely on -> what to do instead.
LOSSES = [
    (
        ("broker",),
        "maxmemory-policy",
        r"(?!noeviction\Z).*",
        "leave noeviction, any other policy may drop queued tasks without an error",
    ),
    (
        ("results",),
        "maxmemory-policy",
        r"allkeys-.*",
        "use noeviction or one of volatile-*, this one may drop what a chord waits for without an error",
    ),
    (
        ("broker", "results"),
        "appendonly",
        "no",
        "leave yes, or a restart loses what was accepted since the last snapshot",
    ),
    (("broker",), "appendfsync", "no", "leave everysec or use always, or a crash of the host loses half a minute"),
    (("broker",), "no-appendfsync-on-rewrite", "yes", "leave no, or a crash during a rewrite loses half a minute"),
]
# Keys of a user that only the profile celery heeds.
CELERYS_OWN = {"key_prefix", "databases"}
