"""Parts of form data as tracers send them; and what is none."""

from __future__ import annotations

import contextlib
import gzip
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealwire.errors import MalformedError, OversizeError, UntrustedError
from sealwire.wire.multipart import MAX_BOUNDARY_CHARS, Part, is_multipart, read

BOUNDARY = "===============6275786591107023340=="
QUOTED = f'multipart/form-data; boundary="{BOUNDARY}"'


def form(*parts: tuple[str, bytes], boundary: str = BOUNDARY, end: bytes = b"--\r\n") -> bytes:
    lead = b"--" + boundary.encode()
    pieces = b"".join(lead + b"\r\n" + head.encode() + b"\r\n\r\n" + body + b"\r\n" for head, body in parts)
    return pieces + lead + end


def test_parts_as_ddtrace_uploads_symbols() -> None:
    packed = gzip.compress(os.urandom(200_000) + b"\r\n--" * 100)
    body = form(
        (
            (
                "Content-Type: application/json\r\n"
                'Content-Disposition: form-data; name="event"; filename="event.json"'
            ),
            b'{"type":"symdb"}',
        ),
        (
            (
                "Content-Type: application/gzip\r\n"
                'Content-Disposition: form-data; name="file"; filename="symbols_7.json.gz"'
            ),
            packed,
        ),
    )

    assert read(QUOTED, body) == [
        Part("event", "event.json", "application/json", b'{"type":"symdb"}'),
        Part("file", "symbols_7.json.gz", "application/gzip", packed),
    ]


@pytest.mark.parametrize(
    ("boundary", "head"),
    [
        ("2442d4fd7f0e7427", 'Content-Disposition: form-data; name="event"; filename="event.json"'),
        ("------------------------44617461646f67", "content-disposition:form-data; name=event"),
    ],
)
def test_parts_as_others_upload_statuses(boundary: str, head: str) -> None:
    (part,) = read(f"Multipart/Form-Data;boundary={boundary}", form((head, b"[]"), boundary=boundary))

    assert (part.name, part.body) == ("event", b"[]")


def test_a_form_without_parts_has_none() -> None:
    assert read(QUOTED, form()) == []


@pytest.mark.parametrize(
    "content_type",
    [
        "",
        "application/json",
        "multipart/form-data",
        "multipart/mixed; boundary=x",
        "multipart/form-data; boundary=",
        'multipart/form-data; boundary=""',
        "multipart/form-data; boundary=" + "x" * (MAX_BOUNDARY_CHARS + 1),
        'multipart/form-data; boundary="\u00e4"',
        "multipart/form-data; boundary=x" + " " * 2000,
    ],
)
def test_without_a_boundary_nothing_is_read(content_type: str) -> None:
    with pytest.raises(MalformedError):
        read(content_type, form(boundary="x"))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        form(("Content-Disposition: form-data; name=a", b"1"))[:-10],
        form(("Content-Disposition: form-data; name=a", b"1"), end=b"\r\n"),
        form(("Content-Type: application/json", b"1")),
        form(("no header at all", b"1")),
        form(
            (
                "Content-Disposition: form-data; name=\udcff".encode("utf-8", "surrogateescape").decode(
                    "latin-1"
                ),
                b"1",
            )
        )[:-4],
    ],
)
def test_what_is_no_form_or_ends_too_early_is_refused(body: bytes) -> None:
    with pytest.raises(MalformedError):
        read(QUOTED, body)


def test_too_many_parts_or_headers_are_refused() -> None:
    part = ("Content-Disposition: form-data; name=a", b"1")
    assert len(read(QUOTED, form(*[part] * 10))) == 10
    with pytest.raises(OversizeError):
        read(QUOTED, form(*[part] * 11))
    with pytest.raises(OversizeError):
        read(QUOTED, form(("X: y\r\n" * 100 + part[0], b"1")))
    with pytest.raises(OversizeError):
        read(QUOTED, form(("X: " + "y" * 100_000 + "\r\n" + part[0], b"1")))


@given(st.binary(max_size=300), st.text(max_size=60))
def test_no_bytes_do_anything_but_be_refused(body: bytes, boundary: str) -> None:
    for each in (body, f"--{boundary}\r\n".encode() + body):
        with contextlib.suppress(UntrustedError):
            read(f"multipart/form-data; boundary={boundary}", each)


def test_only_form_data_is_multipart() -> None:
    assert is_multipart("multipart/form-data; boundary=x")
    assert not is_multipart("application/json")
