"""What an agent saw of attacks, on the wire between our agent and our control plane.

    POST /api/sealwire/v1/security   gzipped msgpack of ``Batch`` -> JSON ``{}``

Hides the encoding. A batch is delivered at least once: it may come again, after a crash too, with the same
``agent_uuid``, ``started_ms`` and ``number``. Invariants: every text, list and number has a bound, checked
while it is read; unknown fields are ignored, so that either side may be newer; what is hostile raises the
``UntrustedError`` family and nothing else. Every text in a span may be an attacker's.
"""

from __future__ import annotations

import re
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from sealwire.errors import MalformedError
from sealwire.wire.packed import pack_batch, unpack_batch
from sealwire.wire.traces import MAX_TRIGGER_BYTES, SecuritySpan

PATH: Final = "/api/sealwire/v1/security"
NOW_HEADER: Final = "Sealwire-Now"  # Unix milliseconds by the agent's clock, as it sends
CONTENT_TYPE: Final = "application/msgpack"
ANSWER: Final = b"{}"

MAX_BATCH_BYTES: Final = 4 * 1024 * 1024  # as it travels
MAX_UNPACKED_BYTES: Final = 16 * 1024 * 1024
MAX_SPANS: Final = 2_000
MAX_VISITS: Final = 2_000
MAX_WATCHED: Final = 500
MAX_DROPPED: Final = 50  # reasons
MAX_NAME_CHARS: Final = 300
MAX_INT: Final = 2**53 - 1

_Name = Annotated[str, Meta(max_length=MAX_NAME_CHARS)]
_Count = Annotated[int, Meta(ge=1, le=MAX_INT)]
_Total = Annotated[int, Meta(ge=0, le=MAX_INT)]
_Moment = Annotated[int, Meta(ge=0, le=MAX_INT)]


class Seen(msgspec.Struct, frozen=True, array_like=True):
    """A span, and when and in what an agent received it.

    Attributes:
        seen_ms: Unix milliseconds, by the agent's clock.
        lang: As the headers of the upload said; as is the next.
        count: How many requests it stands for: itself, and others like it (same service, account, address,
            status and rules, within a second or two) that were not sent.
    """

    span: SecuritySpan
    seen_ms: _Moment
    lang: _Name = ""
    tracer_version: _Name = ""
    count: _Count = 1


class VisitCount(msgspec.Struct, frozen=True, array_like=True):
    """How often an address asked for something that the engine looked at; ``at_ms`` is the latest time."""

    service: _Name
    env: _Name
    ip: _Name
    target: _Name  # the route, or the path where no route took it
    status: _Name
    count: _Count
    at_ms: _Moment


class Watched(msgspec.Struct, frozen=True, array_like=True):
    """In how many requests of a process the engine ran since the last batch; the versions are its own."""

    service: _Name
    env: _Name
    version: _Name
    runtime_id: _Name
    waf_version: _Name
    rules_version: _Name
    count: _Count
    at_ms: _Moment


class Batch(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """All of it.

    Attributes:
        number: Counts up from 1 within one run of an agent.
        started_ms: When that run began.
        sent_ms: When the batch was made, which may be long before it is taken.
        dropped: What was not passed on since the start of the run, counted by reason.
    """

    hostname: _Name
    agent_uuid: Annotated[str, Meta(min_length=1, max_length=100)]
    number: _Count
    started_ms: _Moment
    sent_ms: _Moment
    spans: Annotated[list[Seen], Meta(max_length=MAX_SPANS)] = []
    visits: Annotated[list[VisitCount], Meta(max_length=MAX_VISITS)] = []
    watched: Annotated[list[Watched], Meta(max_length=MAX_WATCHED)] = []
    dropped: Annotated[dict[Annotated[str, Meta(max_length=60)], _Total], Meta(max_length=MAX_DROPPED)] = {}


_TRACE_ID = re.compile("[0-9a-f]{32}")
_batch = msgspec.msgpack.Decoder(Batch)


def encode(batch: Batch) -> bytes:
    """A batch as it travels: gzipped msgpack."""
    return pack_batch(batch)


def decode(body: bytes, *, is_gzipped: bool) -> Batch:
    """Read a batch.

    Args:
        body: As received, unverified.
        is_gzipped: What its ``Content-Encoding`` says.

    Raises:
        OversizeError: It is larger than a batch may be, packed or unpacked.
        MalformedError: It is no such document.
    """
    batch = unpack_batch(
        body, _batch, what="security batch", is_gzipped=is_gzipped, packed_limit=MAX_BATCH_BYTES,
        limit=MAX_UNPACKED_BYTES,
    )  # fmt: skip
    for seen in batch.spans:
        _check(seen.span)
    return batch


def size_of(span: SecuritySpan) -> int:
    """About how many bytes a span adds to a batch before it is packed."""
    return 600 + len(span.tags) + len(span.metrics) + len(span.triggers) + len(span.stacks)


def _check(span: SecuritySpan) -> None:
    """What the types of a span leave open; our agent keeps all of it.

    Raises:
        MalformedError: It is not kept.
    """
    if _TRACE_ID.fullmatch(span.trace_id) is None or span.span_id < 0:
        raise MalformedError("A span has a trace id of 32 hexadecimal digits, and a span id.")
    names = (span.service, span.name, span.resource, span.env, span.version, span.runtime_id, *span.touches)
    if any(len(name) > MAX_NAME_CHARS for name in names):
        raise MalformedError(f"A name in a span may have {MAX_NAME_CHARS} characters.")
    if any(len(part) > MAX_TRIGGER_BYTES for part in (span.tags, span.metrics, span.triggers, span.stacks)):
        raise MalformedError(f"A part of a span may have {MAX_TRIGGER_BYTES} bytes.")
