"""The private CA and the certificate: made once, renewed in time, and never a CA in the place of another."""

from __future__ import annotations

import ssl
import stat
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509

from sealwire.clock import utc_now
from sealwire.errors import SettingsError
from sealwire.server.certificate import BACKDATE, Certificate, prepare
from tests.support.parts import NOON


def served(certificate: Certificate) -> x509.Certificate:
    return x509.load_pem_x509_certificate(certificate.cert_file.read_bytes())


def names(certificate: Certificate) -> set[str]:
    extension = served(certificate).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return set(extension.get_values_for_type(x509.DNSName)) | {
        str(address) for address in extension.get_values_for_type(x509.IPAddress)
    }


def shakes_hands(certificate: Certificate, hostname: str) -> bool:
    """Whether a client that trusts the CA accepts the server, without any socket."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate.cert_file, certificate.key_file)
    client = ssl.create_default_context(cadata=certificate.ca_pem)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(to_client, to_server, server_hostname=hostname),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    for _ in range(10):
        waiting = 0
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                waiting += 1
            except ssl.SSLCertVerificationError:
                return False
        if not waiting:
            return True
    return False


def test_clients_that_trust_the_ca_accept_the_server_by_each_of_its_names(tmp_path: Path) -> None:
    # The handshake reads the machine's clock, so this one is made for today.
    made = prepare(tmp_path / "tls", ("config.example.org", "10.1.2.3", "fd00::1"), now=utc_now())

    for name in ("localhost", "127.0.0.1", "::1", "config.example.org", "10.1.2.3", "fd00::1"):
        assert shakes_hands(made, name), name
    assert not shakes_hands(made, "elsewhere.example.org")


def test_keys_are_for_nobody_else_to_read(tmp_path: Path) -> None:
    prepare(tmp_path / "tls", (), now=NOON)

    for name in ("ca.key", "server.key"):
        assert stat.S_IMODE((tmp_path / "tls" / name).stat().st_mode) == 0o400
    assert stat.S_IMODE((tmp_path / "tls").stat().st_mode) == 0o700


def test_a_host_whose_clock_is_behind_can_still_be_told(tmp_path: Path) -> None:
    made = prepare(tmp_path / "tls", (), now=NOON)

    assert served(made).not_valid_before_utc == NOON - BACKDATE


def test_what_is_good_is_kept(tmp_path: Path) -> None:
    first = prepare(tmp_path / "tls", ("a",), now=NOON)
    before = {file.name: file.read_bytes() for file in (tmp_path / "tls").iterdir()}

    second = prepare(tmp_path / "tls", ("a",), now=NOON + timedelta(days=300))

    assert second == first
    assert {file.name: file.read_bytes() for file in (tmp_path / "tls").iterdir()} == before


@pytest.mark.parametrize(("more", "days"), [("b", 0), ("a", 338)], ids=["a new name", "near its end"])
def test_a_certificate_is_renewed_from_the_same_ca(tmp_path: Path, more: str, days: int) -> None:
    first = prepare(tmp_path / "tls", ("a",), now=NOON)
    serial = served(first).serial_number

    second = prepare(tmp_path / "tls", ("a", more), now=NOON + timedelta(days=days))

    assert second.ca_pem == first.ca_pem
    assert served(second).serial_number != serial
    assert {"a", more} <= names(second)
    served(second).verify_directly_issued_by(x509.load_pem_x509_certificate(second.ca_pem.encode()))


def test_a_ca_whose_key_was_taken_away_is_never_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "tls"
    first = prepare(folder, ("a",), now=NOON)
    (folder / "ca.key").unlink()

    same = prepare(folder, ("a",), now=NOON)
    with pytest.raises(SettingsError, match=r"ca\.key"):
        prepare(folder, ("a", "b"), now=NOON)

    assert same.ca_pem == first.ca_pem
    assert served(first).serial_number == served(same).serial_number


def test_a_certificate_of_another_ca_with_the_same_name_is_replaced(tmp_path: Path) -> None:
    ours, theirs = prepare(tmp_path / "a", (), now=NOON), prepare(tmp_path / "b", (), now=NOON)
    ours.cert_file.unlink()
    ours.cert_file.write_bytes(theirs.cert_file.read_bytes())

    again = prepare(tmp_path / "a", (), now=NOON)

    served(again).verify_directly_issued_by(x509.load_pem_x509_certificate(again.ca_pem.encode()))


@pytest.mark.parametrize("lost", ["server.pem", "server.key", "ca.pem"])
def test_a_crash_between_two_files_heals_at_the_next_start(tmp_path: Path, lost: str) -> None:
    prepare(tmp_path / "tls", (), now=utc_now())
    (tmp_path / "tls" / lost).unlink()

    again = prepare(tmp_path / "tls", (), now=utc_now())

    assert shakes_hands(again, "localhost")
