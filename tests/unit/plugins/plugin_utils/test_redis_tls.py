"""plugins/plugin_utils/redis_tls.py: names of a certificate, and when a new one is due."""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime, timedelta

import pytest
from ansible_collections.celeriac.fleet.plugins.plugin_utils import redis_tls as tls
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

NAMES = ["DNS:broker1", "IP:10.0.0.1"]
Authority = tuple[x509.Name, ec.EllipticCurvePrivateKey]


def authority(name: str) -> Authority:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]), ec.generate_private_key(ec.SECP256R1())


def issued(by: Authority, days: float = 90, names: list[str] | None = None, subject: str = "broker1") -> str:
    """A certificate as PEM."""
    issuer, key = by
    own = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)])
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder(issuer, issuer if names is None else own)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=400))
        .not_valid_after(now + timedelta(days=days))
    )
    if names:
        alternatives = [
            x509.DNSName(value) if kind == "DNS" else x509.IPAddress(ipaddress.ip_address(value))
            for kind, _, value in (name.partition(":") for name in names)
        ]
        builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


OURS, THEIRS = authority("ours"), authority("theirs")
CA = issued(OURS, 3000)


@pytest.mark.parametrize(
    ("certificate", "ca", "reason"),
    [
        ("", CA, "there is none"),
        (" \n", CA, "there is none"),
        ("nonsense", CA, "it can't be read"),
        (issued(OURS, names=NAMES), "", "there is no authority yet"),
        (issued(THEIRS, names=NAMES), CA, "another authority issued it"),
        (issued((OURS[0], THEIRS[1]), names=NAMES), CA, "another authority issued it"),
        (issued(OURS, names=NAMES[:1]), CA, "it lacks IP:10.0.0.1"),
        (issued(OURS, names=[]), CA, "it lacks DNS:broker1, IP:10.0.0.1"),
        (issued(OURS, names=NAMES), CA, ""),
        (issued(OURS, names=[*NAMES, "DNS:more"]), CA, ""),
    ],
)
def test_why_a_certificate_is_due(certificate: str, ca: str, reason: str) -> None:
    assert tls.redis_certificate_due(certificate, ca, NAMES, 30) == reason


@pytest.mark.parametrize(("left", "due"), [(29.5, True), (30.5, False), (-1, True)])
def test_a_certificate_is_due_before_its_end(left: float, due: bool) -> None:
    reason = tls.redis_certificate_due(issued(OURS, left, NAMES), CA, NAMES, 30)
    assert reason.startswith("it ends on ") is due
    assert bool(reason) is due


def test_names_are_written_by_kind_and_once() -> None:
    hosts, addresses = ["broker1", "10.0.0.9", "broker1"], ["127.0.0.1", "-::1", "10.0.0.9", "0.0.0.0", "::", "*"]
    assert tls.redis_certificate_names(hosts, addresses) == [
        "DNS:broker1",
        "IP:10.0.0.9",
        "IP:127.0.0.1",
        "IP:::1",
    ]


def test_an_address_is_recognized_in_any_spelling() -> None:
    """What openssl writes in full is the same address."""
    certificate = issued(OURS, names=["IP:0:0:0:0:0:0:0:1"])
    assert tls.redis_certificate_due(certificate, CA, tls.redis_certificate_names([], ["::1"]), 1) == ""


@pytest.mark.parametrize(
    ("value", "path"), [("", "/d/x"), ("-----BEGIN", "/d/x"), ("/etc/ssl/certs/x.pem", "/etc/ssl/certs/x.pem")]
)
def test_where_a_file_stands(value: str, path: str) -> None:
    assert tls.redis_file(value, "/d/x") == path


def test_only_pem_is_written() -> None:
    texts = {"ca.crt": "/etc/ssl/ca.pem", "redis.crt": "\n-----BEGIN CERTIFICATE-----\n", "redis.key": ""}
    assert tls.redis_pem_files(texts) == [{"name": "redis.crt", "content": texts["redis.crt"]}]
