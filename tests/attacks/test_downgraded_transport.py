"""Downgraded transport: somebody between agent and control plane, to read along or to answer instead.

Stops it: TLS with the one authority of the settings, checked for name and time; no plain HTTP, no redirect is
followed. The API key goes to nobody else.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.web_request import BaseRequest
from cryptography import x509

from sealwire.server import certificate
from tests.attacks.bench import Bench
from tests.support.fake_control_plane import FakeControlPlane
from tests.support.processes import wait_until

Make = Callable[[Path, Path], ssl.SSLContext]


def by_another_authority(folder: Path, ca_file: Path) -> ssl.SSLContext:
    made = certificate.prepare(folder / "another", (), now=datetime.now(UTC))
    return context_of(made.cert_file, made.key_file)


def for_another_name(folder: Path, ca_file: Path) -> ssl.SSLContext:
    return by_our_authority(folder, ca_file, {"elsewhere.example"}, datetime.now(UTC))


def of_two_years_ago(folder: Path, ca_file: Path) -> ssl.SSLContext:
    return by_our_authority(folder, ca_file, {"127.0.0.1"}, datetime.now(UTC) - timedelta(days=730))


def by_nobody(folder: Path, ca_file: Path) -> None:
    """Plain HTTP on the port where HTTPS was."""


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (by_another_authority, "its certificate is not trusted: "),
        (for_another_name, "its certificate is not trusted: IP address mismatch"),
        (
            of_two_years_ago,
            "is not trusted: certificate has expired (or this host's clock is wrong)",
        ),
        (by_nobody, "cannot be reached: "),
    ],
)
def test_an_impostor_is_told_nothing_and_believed_nothing(
    bench: Bench, make: Make, words: str, ca_file: Path, tmp_path: Path
) -> None:
    bench.remember_good()
    honest, asked = bench.tls, len(bench.plane.requests)

    bench.close_plane()
    bench.tls = make(tmp_path, ca_file)
    bench.listen()

    wait_until(lambda: words in (bench.status()["last_error"] or ""), words, every_s=0.005)
    assert bench.status()["condition"] == "unreachable"
    bench.assert_still_good()
    # Neither key nor clients of this host were told to whoever answers there.
    assert len(bench.plane.requests) == asked
    bench.close_plane()
    bench.tls = honest
    bench.listen()
    complaint = bench.until_poll(lambda poll: poll.has_error, after=bench.good.polls)
    assert complaint.error.startswith("api: ")
    bench.assert_recovers()


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_not_followed(bench: Bench, status: int) -> None:
    elsewhere = bench.run(made_elsewhere())
    serving = elsewhere.serving(tls=bench.tls)
    bench.run(serving.__aenter__())

    async def redirect(request: BaseRequest) -> web.StreamResponse:
        return web.Response(status=status, headers={"Location": elsewhere.url + request.path})

    try:
        bench.take_over(redirect)

        bench.assert_not_reached(f"the control plane answered {status}: redirects are not followed")
        assert elsewhere.requests == []
        bench.assert_recovers()
    finally:
        bench.run(serving.__aexit__(None, None, None))


def test_plain_http_is_not_spoken_unless_told_so(new_bench: Callable[[], Bench]) -> None:
    bench = new_bench()
    bench.tls = None
    bench.listen()
    bench.start_agent()

    told = bench.status()

    assert told["on"] is False
    assert "would send the API key in clear" in told["reason"]
    assert bench.plane.requests == []


def test_switching_the_check_off_takes_two_lines(new_bench: Callable[[], Bench]) -> None:
    bench = new_bench()
    bench.listen()
    bench.start_agent(skip_ssl_validation=True)

    told = bench.status()

    assert told["on"] is False
    assert "would talk to anybody" in told["reason"]
    assert bench.plane.requests == []


async def made_elsewhere() -> FakeControlPlane:
    return FakeControlPlane()


def by_our_authority(folder: Path, ca_file: Path, names: set[str], now: datetime) -> ssl.SSLContext:
    """A certificate the authority really made, for something else."""
    cert_file, key_file = folder / "other.pem", folder / "other.key"
    authority = x509.load_pem_x509_certificate(ca_file.read_bytes())
    certificate._make_certificate(cert_file, key_file, authority, ca_file.parent / "ca.key", names, now)
    return context_of(cert_file, key_file)


def context_of(cert_file: Path, key_file: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert_file, key_file)
    return context
