"""The private CA and the TLS certificate of a control plane that was given none.

Made once in the configuration folder. The CA is what agents are given; the certificate is renewed from it
when it is near its end or when names are missing. Backdated a month, so that a host whose clock is behind
can still say what is wrong with its clock.
"""

from __future__ import annotations

import ipaddress
import os
import socket
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from sealwire.errors import SettingsError

CA_LIFETIME = timedelta(days=3650)
LIFETIME = timedelta(days=397)
RENEW_BEFORE = timedelta(days=60)
BACKDATE = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Certificate:
    """Files for the TLS listener, and what clients must trust (empty: the system's authorities)."""

    cert_file: Path
    key_file: Path
    ca_pem: str


def prepare(folder: Path, names: tuple[str, ...], *, now: datetime) -> Certificate:
    """The certificate to serve with, made or renewed as needed.

    Raises:
        SettingsError: A new one is needed, and the key of the CA is not there. A new CA is never made beside
            the certificate of an old one: every agent would stop trusting this server.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    ca_file, ca_key_file = folder / "ca.pem", folder / "ca.key"
    if not ca_file.exists():
        _make_ca(ca_file, ca_key_file, now)
    ca = x509.load_pem_x509_certificate(ca_file.read_bytes())
    wanted = {"localhost", "127.0.0.1", "::1", socket.gethostname(), *names}
    cert_file, key_file = folder / "server.pem", folder / "server.key"
    if not cert_file.exists() or not key_file.exists() or not _is_good(cert_file, ca, wanted, now):
        if not ca_key_file.exists():
            raise SettingsError(
                f"The server needs a new certificate and {ca_key_file} is not there: bring it back, or set "
                "tls_cert_file and tls_key_file."
            )
        cert_file.unlink(missing_ok=True)  # so that no crash leaves it beside another key
        _make_certificate(cert_file, key_file, ca, ca_key_file, wanted, now)
    return Certificate(cert_file, key_file, ca_file.read_text())


def _is_good(cert_file: Path, ca: x509.Certificate, wanted: set[str], now: datetime) -> bool:
    certificate = x509.load_pem_x509_certificate(cert_file.read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    present = set(names.get_values_for_type(x509.DNSName)) | {
        str(address) for address in names.get_values_for_type(x509.IPAddress)
    }
    try:
        certificate.verify_directly_issued_by(ca)
    except (ValueError, TypeError, InvalidSignature):
        return False  # of another CA, maybe of the same name
    return certificate.not_valid_after_utc - now > RENEW_BEFORE and wanted <= present


def _make_ca(cert_file: Path, key_file: Path, now: datetime) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"Sealwire CA {socket.gethostname()[:40]}")])
    usage = x509.KeyUsage(
        digital_signature=False, content_commitment=False, key_encipherment=False, data_encipherment=False,
        key_agreement=False, key_cert_sign=True, crl_sign=True, encipher_only=False, decipher_only=False,
    )  # fmt: skip
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATE)
        .not_valid_after(now + CA_LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    _write(key_file, _pem(key), 0o400)
    _write(cert_file, certificate.public_bytes(serialization.Encoding.PEM), 0o444)


def _make_certificate(
    cert_file: Path, key_file: Path, ca: x509.Certificate, ca_key_file: Path, names: set[str], now: datetime
) -> None:
    ca_key = serialization.load_pem_private_key(ca_key_file.read_bytes(), password=None)
    if not isinstance(ca_key, ec.EllipticCurvePrivateKey):
        raise RuntimeError("the private CA was made with an elliptic-curve key")
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Sealwire control plane")]))
        .issuer_name(ca.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATE)
        .not_valid_after(now + LIFETIME)
        .add_extension(x509.SubjectAlternativeName([_name(name) for name in sorted(names)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False
        )
        .sign(ca_key, hashes.SHA256())
    )
    _write(key_file, _pem(key), 0o400)
    _write(cert_file, certificate.public_bytes(serialization.Encoding.PEM), 0o444)


def _name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _write(file: Path, content: bytes, mode: int) -> None:
    temporary = file.with_suffix(file.suffix + ".new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(file)
