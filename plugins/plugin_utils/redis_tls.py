"""Filters for the certificates of Redis: which names one has to have, and whether it is time for a new one."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.x509.oid import ExtensionOID


def redis_certificate_names(hosts: Iterable[str], addresses: Iterable[str]) -> list[str]:
    """Subject alternative names, as community.crypto writes them.

    :param hosts: names or addresses that clients may call the host
    :param addresses: what the instances listen on; names for all interfaces are left out
    """
    names = []
    for name in [*hosts, *(address.removeprefix("-") for address in addresses)]:
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            if name != "*":
                names.append(f"DNS:{name}")
        else:
            if not address.is_unspecified:
                names.append(f"IP:{address}")
    return list(dict.fromkeys(names))


def redis_certificate_due(certificate: str, ca: str, names: Iterable[str], days: int) -> str:
    """Why a new certificate has to be issued; empty if there is no reason.

    :param certificate: the host's certificate as PEM, or empty
    :param ca: the certificate of the authority as PEM, or empty
    :param names: what ``redis_certificate_names`` returns
    :param days: how many days before its end a certificate is replaced
    """
    if not certificate.strip():
        return "there is none"
    try:
        issued = x509.load_pem_x509_certificate(certificate.encode())
    except ValueError:
        return "it can't be read"
    if not ca.strip():
        return "there is no authority yet"
    try:
        issued.verify_directly_issued_by(x509.load_pem_x509_certificate(ca.encode()))
    except (ValueError, TypeError, InvalidSignature):
        return "another authority issued it"
    end = issued.not_valid_after_utc
    if end - datetime.now(UTC) < timedelta(days=days):
        return f"it ends on {end:%Y-%m-%d}"
    missing = set(names) - set(_names(issued))
    return f"it lacks {', '.join(sorted(missing))}" if missing else ""


def _names(certificate: x509.Certificate) -> list[str]:
    try:
        found = certificate.extensions.get_extension_for_oid(ExtensionOID.SUBJECT_ALTERNATIVE_NAME).value
    except x509.ExtensionNotFound:
        return []
    assert isinstance(found, x509.SubjectAlternativeName)  # noqa: S101 - what the OID says
    return [
        *(f"DNS:{name}" for name in found.get_values_for_type(x509.DNSName)),
        *(f"IP:{address}" for address in found.get_values_for_type(x509.IPAddress)),
    ]


def redis_file(value: str, path: str) -> str:
    """Where a certificate or key stands on the host: at ``value`` if that is an absolute path, else at ``path``."""
    return value if value.startswith("/") else path


def redis_pem_files(texts: Mapping[str, str]) -> list[dict[str, str]]:
    """The PEM texts of ``texts`` (file name -> PEM text, path on the host, or nothing), as ``name`` and ``content``."""
    return [{"name": name, "content": text} for name, text in texts.items() if text.lstrip().startswith("-----BEGIN")]
