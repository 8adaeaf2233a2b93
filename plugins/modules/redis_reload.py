#!/usr/bin/python
"""Give running Redis instances their users and certificates as they are on the disk, without a restart."""

from __future__ import annotations

DOCUMENTATION = r"""
module: redis_reload
short_description: Load users and certificates of running Redis or Valkey instances, keeping their clients
description:
  - Sets each user of the ACL file with C(ACL SETUSER), deletes those that aren't in it, and loads certificates again.
    Unlike C(ACL LOAD), which in Redis 7.0 disconnects every client, this disconnects those of deleted users alone.
  - An instance that isn't running, or loaded these files already, is left alone. When it loaded them is read off the
    host, not off what this play changed, so a run that was interrupted is repaired by the next.
options:
  instances:
    description: The instances.
    type: list
    elements: dict
    required: true
    suboptions:
      name: {description: Name of the instance., type: str, required: true}
      socket: {description: Its Unix socket., type: path, required: true}
      started: {description: "Its PID file, which is written when it starts.", type: path, required: true}
      acl: {description: The ACL file., type: path, required: true}
      certificates:
        description: Directive of redis.conf -> file. They are loaded again, together, when one of them changed.
        type: dict
        default: {}
  user: {description: ACL user that may change users and configuration., type: str, required: true}
  login:
    description: File with a line C(REDISCLI_AUTH=<password>). If it is newer than the server, that can't know it yet.
    type: path
    required: true
extends_documentation_fragment: celeriac.fleet.attributes
attributes:
  check_mode: {support: full}
  diff_mode: {support: none}
author: The Celeriac developers
"""

EXAMPLES = r"""
- name: Load users and certificates
  celeriac.fleet.redis_reload:
    user: celeriac
    login: /etc/redis/celeriac.env
    instances:
      - name: broker
        socket: /run/redis-broker/redis-server.sock
        started: /run/redis-broker/redis-server.pid
        acl: /etc/redis/users-broker.acl
"""

RETURN = r"""
reloaded: {description: Instances that loaded something., returned: always, type: list, elements: str}
"""

import os
import socket
from collections.abc import Iterator, Mapping
from typing import Any

from ansible.module_utils.basic import AnsibleModule

TIMEOUT = 30  # seconds for each answer
PATH = {"type": "path", "required": True}
ARGUMENT_SPEC: dict[str, Any] = {
    "instances": {
        "type": "list",
        "elements": "dict",
        "required": True,
        "options": {
            "name": {"required": True},
            "socket": PATH,
            "started": PATH,
            "acl": PATH,
            "certificates": {"type": "dict", "default": {}},
        },
    },
    "user": {"required": True},
    "login": PATH,
}


class ServerError(Exception):
    """The server's answer is an error."""


class Connection:
    """A connection over a Unix socket, in RESP2."""

    def __init__(self, path: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(TIMEOUT)
        self._socket.connect(path)
        self._answers = self._socket.makefile("rb")

    def __call__(self, *command: str) -> Any:
        """The server's answer to a command."""
        words = [word.encode() for word in command]
        self._socket.sendall(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words))
        return self._answer()

    def _answer(self) -> Any:
        line = self._answers.readline()
        kind, rest = line[:1], line[1:].strip()
        if kind == b"-":
            raise ServerError(rest.decode())
        if kind == b":":
            return int(rest)
        if kind == b"$":
            return None if rest == b"-1" else self._answers.read(int(rest) + 2)[:-2].decode()
        if kind == b"*":
            return [self._answer() for _ in range(int(rest))]
        if kind == b"+":
            return rest.decode()
        raise ServerError("The connection was closed.")


def loaded(instance: dict[str, Any]) -> str:
    """The file that says when the instance last loaded something. systemd removes it with the runtime directory."""
    return os.path.join(os.path.dirname(instance["socket"]), "celeriac.loaded")


def replaced(started: str) -> bool:
    """Whether the program that the PID file ``started`` tells of is no longer on the disk."""
    try:
        with open(started, encoding="utf-8") as file:
            return os.readlink(f"/proc/{file.read().strip()}/exe").endswith(" (deleted)")
    except OSError:
        return False


def files(instance: dict[str, Any]) -> list[str]:
    """What the instance loads."""
    return [instance["acl"], *instance["certificates"].values()]


def stale(instance: dict[str, Any], login: str, times: Mapping[str, int]) -> bool:
    """Whether the instance runs, knows our password, and has older users or certificates than the disk.

    :param times: path -> when it was last changed, in nanoseconds, of those that are there
    """
    started = times.get(instance["started"])
    if started is None or times.get(login, 0) > started:
        return False
    last = max(started, times.get(loaded(instance), 0))
    return any(times.get(path, 0) > last for path in files(instance))


def last_changes(instance: dict[str, Any], login: str) -> dict[str, int]:
    """The times that ``stale`` asks for."""
    paths = [instance["started"], loaded(instance), login, *files(instance)]
    return {path: os.stat(path).st_mtime_ns for path in paths if os.path.exists(path)}


def users(acl: str) -> Iterator[tuple[str, list[str]]]:
    """User and rules, of each line of an ACL file."""
    with open(acl, encoding="utf-8") as file:
        for line in file:
            _, name, *rules = line.split()
            yield name, rules


def password(login: str) -> str:
    with open(login, encoding="utf-8") as file:
        return file.read().strip().removeprefix("REDISCLI_AUTH=")


def reload(instance: dict[str, Any], user: str, login: str) -> None:
    """Load users and certificates.

    :raises ServerError: if the server refuses one
    """
    # before reading, so that what changes meanwhile is loaded next time
    moment = max(os.stat(path).st_mtime_ns for path in files(instance))
    server = Connection(instance["socket"])
    server("AUTH", user, password(login))
    wanted = list(users(instance["acl"]))
    for name, rules in wanted:
        server("ACL", "SETUSER", name, "reset", *rules)
    gone = set(server("ACL", "USERS")) - {name for name, _ in wanted}
    if gone:
        server("ACL", "DELUSER", *sorted(gone))
    if instance["certificates"]:
        server("CONFIG", "SET", *(word for pair in sorted(instance["certificates"].items()) for word in pair))
    with open(loaded(instance), "w", encoding="utf-8"):
        pass
    os.utime(loaded(instance), ns=(moment, moment))


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    user, login = module.params["user"], module.params["login"]
    reloaded = []
    for instance in module.params["instances"]:
        # a new version's users may have commands that the old one, which is about to be restarted, doesn't know
        if not stale(instance, login, last_changes(instance, login)) or replaced(instance["started"]):
            continue
        reloaded.append(instance["name"])
        if module.check_mode:
            continue
        try:
            reload(instance, user, login)
        except (ServerError, OSError) as error:
            module.fail_json(msg=f"{instance['name']} keeps the users and certificates that it has: {error}")
    module.exit_json(changed=bool(reloaded), reloaded=reloaded)


if __name__ == "__main__":
    main()
