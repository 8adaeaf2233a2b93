"""TLS of Redis instances: who can talk to whom, and how certificates are renewed."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
import redis
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.support.live import tls_of
from tests.support.servers import Server, renewal
from tests.support.site import Site

testinfra_hosts = ["ansible://redis"]

Authority = Callable[[str, timedelta], tuple[bytes, bytes]]


@pytest.fixture
def encrypted(reachable: Server) -> Server:
    """The instance, if it speaks TLS."""
    if not reachable.tls:
        pytest.skip("the instance doesn't speak TLS")
    return reachable


@pytest.fixture
def encrypted_name(site: Site) -> str:
    """The name of an instance that speaks TLS."""
    for host in site.group("redis"):
        for instance in site[host]["redis_instances"]:
            if tls_of(instance, site[host]):
                return str(instance["name"])
    pytest.skip("no instance speaks TLS")


@pytest.fixture
def context(encrypted: Server) -> ssl.SSLContext:
    """What a client that trusts the authority uses."""
    return ssl.create_default_context(cafile=str(encrypted.ca))


@pytest.fixture
def authority(encrypted: Server) -> Authority:
    """Issue a certificate with the role's own authority; certificate and key as PEM."""

    def issue(name: str, ends: timedelta) -> tuple[bytes, bytes]:
        ca, passphrase = encrypted.ca, encrypted.variables["redis_tls_ca_passphrase"].encode()
        ca_key = serialization.load_pem_private_key(ca.with_name("ca.key").read_bytes(), passphrase)
        assert isinstance(ca_key, ec.EllipticCurvePrivateKey)
        issuer = x509.load_pem_x509_certificate(ca.read_bytes())
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.now(UTC)
        builder = x509.CertificateBuilder(
            issuer.subject, x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]), key.public_key()
        )
        certificate = (
            builder.serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=30))
            .not_valid_after(now + ends)
            .sign(ca_key, hashes.SHA256())
        )
        return certificate.public_bytes(serialization.Encoding.PEM), key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    return issue


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
        redis.Redis(encrypted.address, encrypted.port, socket_timeout=5).ping()


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
def test_an_expired_certificate_is_refused(
    encrypted: Server, context: ssl.SSLContext, authority: Authority, setting: Setting
) -> None:
    certificate, key = (f"/etc/{encrypted.flavor}/tls/expired.{kind}" for kind in ("crt", "key"))
    try:
        for path, content in zip((certificate, key), authority("expired", -timedelta(days=1)), strict=True):
            encrypted.host.check_output("printf %%s %s > %s", content.decode(), path)
            encrypted.host.check_output("chgrp %s %s && chmod 640 %s", encrypted.flavor, path, path)
        setting.set(tls_cert_file=certificate, tls_key_file=key)
        context.check_hostname = False  # that is not what is wrong with it
        with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
            encrypted.handshake(context)
    finally:
        encrypted.host.check_output("rm %s %s", certificate, key)


@pytest.mark.destructive
def test_client_certificates_can_be_asked_for(tmp_path: Path, encrypted: Server, authority: Authority) -> None:
    def files(name: str, ends: timedelta) -> dict[str, str]:
        for kind, content in zip(("crt", "key"), authority(name, ends), strict=True):
            (tmp_path / f"{name}.{kind}").write_bytes(content)
        return {"ssl_certfile": str(tmp_path / f"{name}.crt"), "ssl_keyfile": str(tmp_path / f"{name}.key")}

    mine = encrypted.connect(**files("client", timedelta(days=1)))
    assert mine.config_set("tls-auth-clients", "yes")
    try:
        assert encrypted.connect(**files("another", timedelta(days=1))).ping()
        with pytest.raises(redis.ConnectionError):
            encrypted.connect().ping()
        with pytest.raises(redis.ConnectionError):
            encrypted.connect(**files("late", -timedelta(days=1))).ping()
    finally:
        assert mine.config_set("tls-auth-clients", "no")


@pytest.mark.destructive
def test_renewal_disconnects_nobody(site: Site, encrypted_name: str) -> None:
    found = site.servers(encrypted_name)
    contexts = {host: ssl.create_default_context(cafile=str(one.ca)) for host, one in found.items()}

    def state() -> dict[str, tuple[str, int]]:
        return {host: (one.pid(), clients[host].client_id()) for host, one in found.items()}

    clients = {host: one.connect() for host, one in found.items()}
    before, old = state(), {host: one.handshake(contexts[host]) for host, one in found.items()}
    days = renewal(found.values())
    site.playbook("playbooks/redis.yml", "--diff", **days).succeeded()
    again = site.playbook("playbooks/redis.yml", **days)
    assert set(again.changed.values()) == {0}, again.output
    assert state() == before
    assert all(one.handshake(contexts[host]) != old[host] for host, one in found.items())


@pytest.mark.destructive
def test_a_certificate_that_does_not_load_leaves_the_old_one(site: Site, encrypted_name: str) -> None:
    found = site.servers(encrypted_name)
    contexts = {host: ssl.create_default_context(cafile=str(one.ca)) for host, one in found.items()}
    old = {host: one.handshake(contexts[host]) for host, one in found.items()}
    for one in found.values():
        file = f"/etc/{one.flavor}/tls/redis.crt"
        one.host.check_output("cp -p %s /root/redis.crt && echo broken > %s", file, file)
    try:
        run = site.playbook("playbooks/redis.yml", "--tags=redis_service")
        assert run.returncode != 0
        assert run.text.count("keeps the users and certificates that it has") >= len(found)
        assert {host: one.handshake(contexts[host]) for host, one in found.items()} == old
    finally:
        for one in found.values():
            one.host.check_output("cat /root/redis.crt > %s && rm /root/redis.crt", f"/etc/{one.flavor}/tls/redis.crt")
    site.playbook("playbooks/redis.yml").succeeded()


@pytest.mark.destructive
@pytest.mark.parametrize("how", ["content", "path"])
def test_certificates_can_be_given(site: Site, encrypted_name: str, how: str) -> None:
    """Those of another authority, for the address of each host; afterwards the role's own are issued again."""
    found = site.servers(encrypted_name)
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "given")])
    addresses = [x509.IPAddress(ip_address(one.address)) for one in found.values()]
    now = datetime.now(UTC)
    built = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + timedelta(days=9))
        .add_extension(x509.SubjectAlternativeName(addresses), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate = built.public_bytes(serialization.Encoding.PEM).decode()
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    given = {"ca_certificate": certificate, "certificate": certificate, "private_key": private}
    if how == "path":
        for part, text in given.items():
            for one in found.values():
                one.host.check_output("printf %%s %s > %s", text, f"/etc/ssl/given-{part}.pem")
                one.host.check_output("chown root:%s %s", one.flavor, f"/etc/ssl/given-{part}.pem")
                one.host.check_output("chmod 640 %s", f"/etc/ssl/given-{part}.pem")
        given = {part: f"/etc/ssl/given-{part}.pem" for part in given}
    try:
        run = site.playbook(
            "playbooks/redis.yml", **{f"redis_tls_{part}": value for part, value in given.items()}
        ).succeeded()
        assert private not in run.output
        context = ssl.create_default_context(cadata=certificate)
        assert {one.handshake(context) for one in found.values()} == {built.public_bytes(serialization.Encoding.DER)}
    finally:
        for one in found.values():
            one.host.run("rm -f /etc/ssl/given-*.pem")
        site.playbook("playbooks/redis.yml").succeeded()
    contexts = {host: ssl.create_default_context(cafile=str(one.ca)) for host, one in found.items()}
    assert all(one.handshake(contexts[host]) for host, one in found.items())
