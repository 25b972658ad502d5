"""What probes gave in numbers and in traces, on the wire between our agent and our control plane.

    POST /api/sealwire/v1/debugger   gzipped msgpack of ``Batch`` -> JSON ``{}``

Hides the encoding. A batch is delivered at least once, and the control plane counts it once, by
``agent_uuid``, ``started_ms`` and ``number``. Numbers travel as differences, what was measured since the last
batch, in blocks of ``BUCKET_S`` seconds. Invariants: each text, list and number has a bound, checked while it
is read; unknown fields are ignored, so that either side may be newer; what is hostile raises the
``UntrustedError`` family and nothing else. Names, tags and texts may be anybody's.
"""

from __future__ import annotations

import math
import re
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from sealwire.errors import MalformedError
from sealwire.wire.packed import pack_batch, unpack_batch
from sealwire.wire.sketch import Sketch

PATH: Final = "/api/sealwire/v1/debugger"
CONTENT_TYPE: Final = "application/msgpack"
BUCKET_S: Final = 10

MAX_BATCH_BYTES: Final = 4 * 1024 * 1024  # as it travels
MAX_UNPACKED_BYTES: Final = 16 * 1024 * 1024
MAX_METRICS: Final = 5_000
MAX_SPANS: Final = 2_000
MAX_SEEN: Final = 2_000
MAX_DROPPED: Final = 50  # reasons
MAX_NAME_CHARS: Final = 300
MAX_TAGS: Final = 30  # of one set
MAX_TAG_CHARS: Final = 200
MAX_TEXTS: Final = 20  # of one span
MAX_TEXT_CHARS: Final = 2_000
MAX_INT: Final = 2**53 - 1
MAX_COUNT: Final = 10**12  # sums of many of these can still be written down

OTHER: Final = ("other",)  # the tags of what came with more sets of tags than are told apart

_Name = Annotated[str, Meta(max_length=MAX_NAME_CHARS)]
_Id = Annotated[str, Meta(min_length=1, max_length=64)]
_Count = Annotated[int, Meta(ge=1, le=MAX_COUNT)]
_Total = Annotated[int, Meta(ge=0, le=MAX_INT)]
_Moment = Annotated[int, Meta(ge=0, le=MAX_INT)]
_Tag = Annotated[str, Meta(max_length=MAX_TAG_CHARS)]
_Text = Annotated[str, Meta(max_length=MAX_TEXT_CHARS)]

MetricKind = Literal["c", "g", "h", "d"]  # count, gauge, histogram, distribution
SpanKind = Literal["span", "decoration"]


class Measured(msgspec.Struct, array_like=True):
    """What one series of a probe measured within a block since the last batch.

    Attributes:
        tags: Sorted, without the probe's id; ``OTHER`` for those not told apart.
        at_ms: When the block begins, by the agent's clock.
        count: How many values; one sampled at a tenth counts ten.
        sum: Of the values. Of a count, how much it counted.
        last: The newest value.
        sketch: Of histograms and distributions.
    """

    probe_id: _Id
    metric: _Name
    kind: MetricKind
    tags: Annotated[tuple[_Tag, ...], Meta(max_length=MAX_TAGS)]
    at_ms: _Moment
    count: _Count
    sum: float
    min: float
    max: float
    last: float
    sketch: Sketch | None = None


class ProbeSpan(msgspec.Struct, array_like=True):
    """A span that a probe made, or put tags on.

    Attributes:
        probe_id: Empty for a decoration that failed: the tracer does not say whose it is.
        trace_id: 32 hexadecimal digits.
        tags: Of a decoration: what it put on. Of a span: its own tags, such as where the code is.
        errors: By the tag that could not be made, why.
    """

    probe_id: Annotated[str, Meta(max_length=64)]
    kind: SpanKind
    service: _Name
    env: _Name
    version: _Name
    runtime_id: _Name
    lang: _Name
    trace_id: Annotated[str, Meta(min_length=32, max_length=32)]
    span_id: Annotated[int, Meta(ge=0)]
    start_ns: int
    duration_ns: int
    name: _Name
    resource: _Name
    error: bool = False
    tags: Annotated[dict[_Tag, _Text], Meta(max_length=MAX_TEXTS)] = {}
    errors: Annotated[dict[_Tag, _Text], Meta(max_length=MAX_TEXTS)] = {}


class SpansSeen(msgspec.Struct, array_like=True):
    """How many spans of a probe were seen since the last batch, those that are passed on among them."""

    probe_id: Annotated[str, Meta(max_length=64)]
    kind: SpanKind
    service: _Name
    env: _Name
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
    number: Annotated[int, Meta(ge=1, le=MAX_INT)]
    started_ms: _Moment
    sent_ms: _Moment
    metrics: Annotated[list[Measured], Meta(max_length=MAX_METRICS)] = []
    spans: Annotated[list[ProbeSpan], Meta(max_length=MAX_SPANS)] = []
    seen: Annotated[list[SpansSeen], Meta(max_length=MAX_SEEN)] = []
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
        body, _batch, what="batch of probes", is_gzipped=is_gzipped, packed_limit=MAX_BATCH_BYTES,
        limit=MAX_UNPACKED_BYTES,
    )  # fmt: skip
    for one in batch.metrics:
        _check(one)
    if not all(_TRACE_ID.fullmatch(span.trace_id) for span in batch.spans):
        raise MalformedError("A span has a trace id of 32 hexadecimal digits.")
    return batch


def _check(one: Measured) -> None:
    """What the types of a measurement leave open; our agent keeps all of it.

    Raises:
        MalformedError: It is not kept.
    """
    if not all(map(math.isfinite, (one.sum, one.min, one.max, one.last))) or one.min > one.max:
        raise MalformedError("A measurement has finite numbers, the least of them first.")
    if one.sketch is not None and one.sketch.count > one.count:
        raise MalformedError("A sketch has no more values than were measured.")
