"""``multipart/form-data`` as tracers send it: parts out of a body that has arrived whole.

Hides the library that reads MIME: boundaries quoted or not, headers of a part in any order, binary parts.
Invariants: only UntrustedErrors; a body that does not end with its boundary is refused; how many parts and
how many headers are read is bounded. How large the body may be is the caller's to say.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from multipart import MultipartError, ParserLimitReached, PushMultipartParser, parse_options_header

from sealwire.errors import MalformedError, OversizeError

FORM_DATA: Final = "multipart/form-data"
MAX_BOUNDARY_CHARS: Final = 200  # RFC 2046 says 70
_MAX_CONTENT_TYPE_CHARS: Final = 1024


class Part(NamedTuple):
    """One part; what is not told is empty."""

    name: str
    filename: str
    content_type: str
    body: bytes


def is_multipart(content_type: str) -> bool:
    """Whether a Content-Type announces parts."""
    return content_type.partition(";")[0].strip().lower() == FORM_DATA


def read(content_type: str, body: bytes, *, max_parts: int = 10) -> list[Part]:
    """Take a body apart.

    Args:
        content_type: Of the whole, with its boundary; unverified.
        body: All of it, not compressed; unverified.
        max_parts: More are refused.

    Raises:
        MalformedError: It is no multipart/form-data, or it ends too early.
        OversizeError: It has too many parts, or headers that are too long.
    """
    if not is_multipart(content_type):
        raise MalformedError("The Content-Type is not multipart/form-data.")
    boundary = ""
    if len(content_type) <= _MAX_CONTENT_TYPE_CHARS:
        boundary = parse_options_header(content_type)[1].get("boundary", "")
    if not 0 < len(boundary) <= MAX_BOUNDARY_CHARS or not boundary.isascii() or not boundary.isprintable():
        raise MalformedError("The Content-Type names no boundary that can be read.")
    try:
        return _parts(boundary, body, max_parts)
    except ParserLimitReached as error:
        raise OversizeError(
            f"The multipart body is larger than is taken: at most {max_parts} parts.", detail=str(error)
        ) from error
    except (MultipartError, ValueError) as error:
        raise MalformedError("The multipart body cannot be read.", detail=str(error)) from error


def _parts(boundary: str, body: bytes, max_parts: int) -> list[Part]:
    parts: list[Part] = []
    with PushMultipartParser(boundary, max_segment_count=max_parts, strict=False) as parser:
        head: Part | None = None
        pieces: list[bytes] = []
        for event in parser.parse(body) if body else ():
            if event is None:
                if head is not None:
                    parts.append(head._replace(body=b"".join(pieces)))
                head, pieces = None, []
            elif isinstance(event, bytes | bytearray):
                pieces.append(bytes(event))
            else:
                declared = event.header("Content-Type") or ""
                head = Part(event.name or "", event.filename or "", declared, b"")
    return parts
