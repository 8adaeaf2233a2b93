"""A Redis or Valkey instance on a host, as integration tests look at it: from the host itself and over the network."""

from __future__ import annotations

import re
import shlex
import socket
import ssl
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import redis
from cryptography import x509
from redis.backoff import NoBackoff
from redis.retry import Retry
from testinfra.host import Host

from tests.support.live import Variables, tls_of

# for ``connect``, where to be refused is what is tested: redis-py tries again for seconds, be it a wrong password
ONCE = Retry(NoBackoff(), 0)


def renewal(servers: Iterable[Server]) -> dict[str, int]:
    """Variables with which a run renews the certificates of ``servers``, and the next one doesn't."""
    left = 0
    for server in servers:
        pem = server.host.file(f"/etc/{server.flavor}/tls/redis.crt").content
        left = max(left, (x509.load_pem_x509_certificate(pem).not_valid_after_utc - datetime.now(UTC)).days)
    return {"redis_tls_renew_days": left + 2, "redis_tls_valid_days": left + 4}


class Server:
    """One entry of ``redis_instances`` on one host."""

    def __init__(self, host: Host, variables: Variables, instance: dict[str, Any]) -> None:
        self.host, self.variables, self.instance = host, variables, instance
        self.name, self.port = instance["name"], instance["port"]
        self.flavor = variables["redis_flavor"]
        self.unit = f"{self.flavor}-server@{self.name}.service"
        self.tls = tls_of(instance, variables)
        self.data = f"/var/lib/{self.flavor}/{self.name}"

    @property
    def users(self) -> list[dict[str, Any]]:
        """The users of the inventory that the instance has."""
        return [user for user in self.variables["redis_users"] if self.name in user.get("instances", [self.name])]

    def password(self, user: str) -> str:
        return str(next(each["password"] for each in self.variables["redis_users"] if each["name"] == user))

    @property
    def options(self) -> str:
        """redis-cli with what it needs to reach the instance's port on its host."""
        tls = f" --tls --cacert /etc/{self.flavor}/tls/ca.crt" if self.tls else ""
        return f"{self.flavor}-cli --no-auth-warning -p {self.port}{tls}"

    def cli(self, *command: str, user: str = "admin", separate: bool = False) -> str:
        """What redis-cli on the host prints. With ``separate``, each argument is a command and its answer a line.

        Over the Unix socket, so that it works whatever ports and certificates do.
        """
        socket_ = f"/run/{self.flavor}-{self.name}/{self.flavor}-server.sock"
        call = f"REDISCLI_AUTH={shlex.quote(self.password(user))} {self.flavor}-cli -s {socket_} "
        call += f"--no-auth-warning --user {user} "
        call += f"<<< {shlex.quote(chr(10).join(command))}" if separate else shlex.join(command)
        return str(self.host.run(f"bash -c {shlex.quote(call)}").stdout.strip())

    def refused(self) -> str:
        """The log of what ACLs refused, wrong passwords aside; nothing if they refused nothing."""
        log = self.cli("ACL", "LOG")
        return log if {"key", "channel", "command"} & set(re.findall(r"reason\n(\w+)", log)) else ""

    def pid(self) -> str:
        return str(self.host.check_output("systemctl show --value --property=MainPID %s", self.unit))

    @property
    def address(self) -> str:
        """Where the host is reached from this machine."""
        return str(self.host.check_output("hostname -I").split()[0])

    @property
    def ca(self) -> Path:
        """The certificate of the role's own authority."""
        return Path(self.variables["redis_tls_ca_directory"]) / "ca.crt"

    def connect(self, user: str | None = "admin", **how: Any) -> redis.Redis:
        """A client over the network."""
        if self.tls:
            how = {"ssl": True, "ssl_ca_certs": str(self.ca), **how}
        if user:
            how = {"username": user, "password": self.password(user), **how}
        return redis.Redis(self.address, self.port, **{"socket_timeout": 5, "decode_responses": True, **how})

    def handshake(self, context: ssl.SSLContext, name: str = "") -> bytes:
        """A TLS handshake; the server's certificate."""
        address = self.address
        with (
            socket.create_connection((address, self.port), timeout=60) as plain,
            context.wrap_socket(plain, server_hostname=name or address) as encrypted,
        ):
            encrypted.sendall(b"PING\r\n")
            encrypted.recv(1)
            return encrypted.getpeercert(binary_form=True) or b""
