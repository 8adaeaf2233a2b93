"""TLS of Redis instances: who can talk to whom. What a run does with certificates is in test_redis_changes.py."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import redis

from tests.support.redis_certificates import issued
from tests.support.servers import ONCE, Server

testinfra_hosts = ["ansible://redis"]


@pytest.fixture
def encrypted(reachable: Server) -> Server:
    """The instance, if it speaks TLS."""
    if not reachable.tls:
        pytest.skip("the instance doesn't speak TLS")
    return reachable


@pytest.fixture
def context(encrypted: Server) -> ssl.SSLContext:
    """What a client that trusts the authority uses."""
    return ssl.create_default_context(cafile=str(encrypted.ca))


class Setting:
    """Directives of a running server, which can be set and put back."""

    def __init__(self, server: Server) -> None:
        self._cli, self._before = server.cli, dict[str, str]()

    def set(self, **directives: str) -> None:
        """Set directives, by their names with underscores."""
        named = {name.replace("_", "-"): value for name, value in directives.items()}
        self._before |= {name: self._cli("CONFIG", "GET", name).splitlines()[1] for name in named}
        self._set(named)

    def put_back(self) -> None:
        """Give each directive its value of before."""
        self._set(self._before)

    def _set(self, directives: dict[str, str]) -> None:
        assert self._cli("CONFIG", "SET", *(word for pair in directives.items() for word in pair)) == "OK"


@pytest.fixture
def setting(encrypted: Server) -> Iterator[Setting]:
    """What a test sets is put back after it."""
    found = Setting(encrypted)
    yield found
    found.put_back()


def test_a_client_that_trusts_the_authority_gets_in(encrypted: Server) -> None:
    assert encrypted.connect().ping()


def test_a_plain_client_is_refused(encrypted: Server) -> None:
    with pytest.raises((redis.ConnectionError, redis.TimeoutError)):
        redis.Redis(encrypted.address, encrypted.port, socket_timeout=5, retry=ONCE).ping()


def test_there_is_no_plain_port(encrypted: Server) -> None:
    assert encrypted.cli("CONFIG", "GET", "port").splitlines() == ["port", "0"]
    assert encrypted.cli("CONFIG", "GET", "tls-port").splitlines() == ["tls-port", str(encrypted.port)]


def test_a_client_refuses_a_server_of_another_authority(encrypted: Server) -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match=r"unable to get local issuer|self-signed"):
        encrypted.handshake(ssl.create_default_context())


def test_a_client_refuses_a_server_under_another_name(encrypted: Server, context: ssl.SSLContext) -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        encrypted.handshake(context, "other.example")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_old_protocols_are_refused(encrypted: Server, context: ssl.SSLContext, version: ssl.TLSVersion) -> None:
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = version
    with pytest.raises((ssl.SSLError, ConnectionError)):
        encrypted.handshake(context)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_current_protocols_work(encrypted: Server, context: ssl.SSLContext, version: ssl.TLSVersion) -> None:
    context.minimum_version = context.maximum_version = version
    assert encrypted.handshake(context)


def test_keys_are_readable_by_the_server_alone(encrypted: Server) -> None:
    file = encrypted.host.file(f"/etc/{encrypted.flavor}/tls/redis.key")
    assert (file.user, file.group, file.mode) == ("root", encrypted.flavor, 0o640)
    assert not encrypted.host.file(f"/etc/{encrypted.flavor}/tls/ca.key").exists
    key = encrypted.ca.with_name("ca.key")
    assert "ENCRYPTED" in key.read_text()
    assert key.stat().st_mode & 0o777 == 0o600


@pytest.mark.destructive
def test_an_expired_certificate_is_refused(encrypted: Server, context: ssl.SSLContext, setting: Setting) -> None:
    certificate, key = (f"/etc/{encrypted.flavor}/tls/expired.{kind}" for kind in ("crt", "key"))
    try:
        for path, content in zip((certificate, key), issued(encrypted, "expired", -timedelta(days=1)), strict=True):
            encrypted.host.check_output("printf %%s %s > %s", content, path)
            encrypted.host.check_output("chgrp %s %s && chmod 640 %s", encrypted.flavor, path, path)
        setting.set(tls_cert_file=certificate, tls_key_file=key)
        context.check_hostname = False  # that is not what is wrong with it
        with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
            encrypted.handshake(context)
    finally:
        encrypted.host.check_output("rm %s %s", certificate, key)


@pytest.mark.destructive
def test_client_certificates_can_be_asked_for(tmp_path: Path, encrypted: Server) -> None:
    def files(name: str, ends: timedelta) -> dict[str, str]:
        for kind, content in zip(("crt", "key"), issued(encrypted, name, ends), strict=True):
            (tmp_path / f"{name}.{kind}").write_text(content)
        return {"ssl_certfile": str(tmp_path / f"{name}.crt"), "ssl_keyfile": str(tmp_path / f"{name}.key")}

    mine = encrypted.connect(**files("client", timedelta(days=1)))
    assert mine.config_set("tls-auth-clients", "yes")
    try:
        assert encrypted.connect(**files("another", timedelta(days=1))).ping()
        with pytest.raises(redis.ConnectionError):
            encrypted.connect(retry=ONCE).ping()
        with pytest.raises(redis.ConnectionError):
            encrypted.connect(**files("late", -timedelta(days=1)), retry=ONCE).ping()
    finally:
        assert mine.config_set("tls-auth-clients", "no")
