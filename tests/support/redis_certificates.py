"""Certificates that tests give to servers and clients, as PEM."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from tests.support.servers import Server

Pair = tuple[str, str]  # certificate and key


def self_signed(name: str, addresses: Iterable[str] = ()) -> Pair:
    """A certificate of a few days that is its own authority, for IP addresses."""
    key, subject, now = ec.generate_private_key(ec.SECP256R1()), _named(name), datetime.now(UTC)
    names = x509.SubjectAlternativeName([x509.IPAddress(ip_address(each)) for each in addresses])
    serial = x509.random_serial_number()
    built = (
        x509.CertificateBuilder(subject, subject, key.public_key(), serial, now, now + timedelta(days=9))
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    )
    return _pem(built.sign(key, hashes.SHA256()), key)


def issued(server: Server, name: str, ends: timedelta) -> Pair:
    """A certificate of the role's own authority that ends in ``ends`` from now."""
    passphrase = str(server.variables["redis_tls_ca_passphrase"]).encode()
    authority_key = load_pem_private_key(server.ca.with_name("ca.key").read_bytes(), passphrase)
    assert isinstance(authority_key, ec.EllipticCurvePrivateKey)
    issuer = x509.load_pem_x509_certificate(server.ca.read_bytes()).subject
    key, serial, now = ec.generate_private_key(ec.SECP256R1()), x509.random_serial_number(), datetime.now(UTC)
    built = x509.CertificateBuilder(
        issuer, _named(name), key.public_key(), serial, now - timedelta(days=30), now + ends
    )
    return _pem(built.sign(authority_key, hashes.SHA256()), key)


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])


def _pem(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> Pair:
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return certificate.public_bytes(Encoding.PEM).decode(), private.decode()
