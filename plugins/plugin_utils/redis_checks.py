"""What a variable of the redis role, or a key of its entries, may be by itself, and what to do if it isn't."""

from __future__ import annotations

import ipaddress
import re
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

Test = Callable[[Any], bool]
Checks = Mapping[str, tuple[Test, str]]


# -- what a value is tested for


def text(pattern: str) -> Test:
    """Whether a value is text that ``pattern`` describes."""
    return lambda value: isinstance(value, str) and re.fullmatch(pattern, value, re.ASCII) is not None


def number(least: int, most: int) -> Test:
    """Whether a value is a whole number from ``least`` to ``most``."""
    return lambda value: isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def one_of(*words: str) -> Test:
    """Whether a value is one of the words."""
    return lambda value: isinstance(value, str) and value in words


def list_of(test: Test, least: int = 0, most: int | None = None) -> Test:
    """Whether a value is a list of ``least`` to ``most`` entries, each of which passes ``test``."""
    return lambda value: (
        isinstance(value, list) and least <= len(value) <= (most or len(value)) and all(map(test, value))
    )


def boolean(value: Any) -> bool:
    """Whether a value is true or false."""
    return isinstance(value, bool)


def address(value: Any) -> bool:
    """Whether a value is an IP address that a socket can be bound to, without a zone."""
    try:
        found = ipaddress.ip_address(value if isinstance(value, str) else "")
    except ValueError:
        return False
    return "%" not in value and getattr(found, "ipv4_mapped", None) is None


def addresses(value: Any) -> bool:
    """Whether a server can listen on all of ``value``, as far as that doesn't depend on the host."""
    everywhere = {"*": "0.0.0.0"}  # noqa: S104 - it is the address's meaning
    if not list_of(lambda each: isinstance(each, str), 1, 16)(value):
        return False
    plain = [everywhere.get(each.removeprefix("-"), each.removeprefix("-")) for each in value]
    if not all(map(address, plain)):
        return False
    found = [ipaddress.ip_address(each) for each in plain]
    kinds = Counter(each.version for each in found)
    return len(set(found)) == len(found) and not any(each.is_unspecified and kinds[each.version] > 1 for each in found)


def size(value: Any) -> bool:
    """Whether a value is an amount of memory from 1 MiB, in bytes, with a unit, or a share of the host's."""
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        return False
    return text(SHARE_OF_MEMORY)(value) or (text(SIZE)(str(value)) and 2**20 <= in_bytes(value, 0) < 2**63)


def in_bytes(value: Any, memory: int) -> int:
    """The bytes of what passes ``size``, on a host with ``memory`` bytes."""
    amount, unit = re.fullmatch(r"(\d+)(.*)", str(value).lower()).groups()  # type: ignore[union-attr] # it passed
    return memory * int(amount) // 100 if unit == "%" else int(amount) * UNITS[unit]


FLAVORS = ("redis", "valkey")
UNITS = {"": 1, "k": 1000, "m": 1000**2, "g": 1000**3, "kb": 1024, "mb": 1024**2, "gb": 1024**3}
NAME = r"[a-z][a-z0-9_-]{0,63}"  # longer, and there is no room for the path of a socket
SHARE = r"(100|[1-9]?[0-9])%"
SHARE_OF_MEMORY = r"(100|[1-9][0-9]?)%"
SIZE = r"[1-9][0-9]{0,18}([kmgKMG][bB]?)?"
FILE = r"(/[\w+-][\w.+-]*)+"
HOST = r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?"
REMOTE = rf"[a-z_][a-z0-9_-]*@{HOST}:{FILE}"
PEM = r"\s*-----BEGIN (?s:.*)"

# Variable, or key of an entry -> what its value is tested for, and what to do if it fails.
MAXCLIENTS = (number(1, 1_000_000), "give it a number from 1 to 1000000")  # more is beyond what fs.nr_open allows
DAYS = (number(1, 36500), "give it a number of days from 1 to 36500")
BOOLEAN = (boolean, "write true or false")
# the server's sandbox has directories of its own in the place of these
UNSEEN = r"(?!/(tmp|var/tmp|home|root|run/user)/)"
PEM_OR_FILE = (
    text(f"|{UNSEEN}{FILE}|{PEM}"),
    "give it PEM text or the absolute path of a file on the host, not in /tmp, /var/tmp, /home or /root, which the "
    "server doesn't see, or leave it empty",
)
BIND = (addresses, "list 1 to 16 IP addresses of the host, each once, and none beside * or its like")

VARIABLES: Checks = {
    "redis_flavor": (one_of(*FLAVORS), "use redis or valkey"),
    "redis_bind": BIND,
    "redis_maxclients": MAXCLIENTS,
    "redis_memory_reserve": (text(SHARE), "give it a share such as 10%"),
    "redis_fork_reserve": (text(SHARE), "give it a share such as 50%"),
    "redis_tls_enabled": BOOLEAN,
    "redis_tls_ca_certificate": PEM_OR_FILE,
    "redis_tls_certificate": PEM_OR_FILE,
    "redis_tls_private_key": PEM_OR_FILE,
    "redis_tls_ca_directory": (text(r"[^\0-\x1f]+"), "name a directory on the controller"),
    "redis_tls_ca_passphrase": (text(r"(?s:.*)"), "write it as text"),
    "redis_tls_client_certificates": (one_of("no", "optional", "required"), 'use "no", "optional" or "required"'),
    "redis_tls_names": (
        list_of(lambda value: address(value) or text(rf"(\*\.)?{HOST}")(value)),
        "list names and addresses that clients call the host",
    ),
    "redis_tls_valid_days": DAYS,
    "redis_tls_renew_days": DAYS,
    "redis_backup_schedule": (text(r"[\w *:,./~-]*"), "write one line that OnCalendar= takes, or leave it empty"),
    "redis_backup_directory": (text(FILE), "give it an absolute path of letters, digits and any of . _ + -"),
    "redis_backup_keep_count": (number(1, 100_000), "give it a number from 1 to 100000"),
    "redis_backup_keep_days": DAYS,
    "redis_backup_copy_to": (
        text(f"|{FILE}|{REMOTE}"),
        "give it an absolute path or user@host:/path, of letters, digits and any of . _ + -, or leave it empty",
    ),
    "redis_backup_ssh_key": (text(f"|{PEM}"), "give it the text of a private key, or leave it empty"),
    "redis_backup_known_hosts": (text(r"[^\0]*"), "give it lines of known_hosts, or leave it empty"),
    "redis_keep_old_passwords": BOOLEAN,
}
SECRETS = frozenset({"redis_tls_private_key", "redis_tls_ca_passphrase", "redis_backup_ssh_key"})
# Not shown: secrets, and what is long.
HIDDEN = SECRETS | {"redis_tls_ca_certificate", "redis_tls_certificate", "redis_backup_known_hosts"}

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
INSTANCE: Checks = {
    "name": (text(NAME), "name it with at most 64 lower-case letters, digits, _ and -, a letter first"),
    "port": (number(1024, 65535), "give it a number from 1024 to 65535, the daemon may not open those below"),
    "profile": (one_of("broker", "results", "cache"), "use broker, results or cache"),
    "maxmemory": (size, "give it bytes, a size from 1mb on such as 512mb or 2gb, or a share of the host's such as 25%"),
    "bind": BIND,
    "maxclients": MAXCLIENTS,
    "tls": BOOLEAN,
    "backup": BOOLEAN,
    "config": (lambda value: isinstance(value, Mapping), "write a mapping of directives"),
}
INSTANCE_NEEDS = ("name", "port", "profile", "maxmemory")
PROFILES = {"admin", "celery", "monitor", "replica"}
RULES = list_of(lambda value: isinstance(value, str), 1)
USER: Checks = {
    "name": (
        lambda value: text(NAME)(value) and value != "celeriac",
        "name it with at most 64 lower-case letters, digits, _ and -, a letter first, but not celeriac",
    ),
    "password": (lambda value: True, ""),  # which is never shown; redis_problems looks at it
    "profile": (one_of(*PROFILES), "use admin, celery, monitor or replica, or rules"),
    "rules": (RULES, "list rules as text, such as ~app:* and +@read"),
    "key_prefix": (
        lambda value: isinstance(value, str) and value.isprintable() and not set(value) & set(" *?[]\\"),
        "leave blanks, control characters and any of * ? [ ] \\ out",
    ),
    "databases": (list_of(number(0, 15), 1), "list numbers from 0 to 15"),
    "instances": (list_of(text(NAME), 1), "list names of redis_instances"),
}
USER_NEEDS = ("name",)
NOT_CELERY = PROFILES - {"celery"}
CELERYS_OWN = {"key_prefix", "databases"}
# Of these only the type is shown: a password may stand there, where it doesn't belong.
UNSHOWN = {"config", "rules"}
