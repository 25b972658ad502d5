"""Bodies packed for their way, and unpacked within bounds.

Hides gzip, and how a batch of ours is a gzipped msgpack document. Attack: few bytes that unpack to gigabytes.
"""

from __future__ import annotations

import zlib
from typing import TypeVar

import msgspec

from sealwire.errors import MalformedError, OversizeError
from sealwire.wire.limits import check_size

T = TypeVar("T")

_encoder = msgspec.msgpack.Encoder()


def gunzip(packed: bytes, *, limit: int) -> bytes:
    """Unpack at most ``limit`` bytes.

    Raises:
        OversizeError: There would be more.
        MalformedError: This is not gzip, or only the beginning of it.
    """
    unpacker = zlib.decompressobj(wbits=31)
    try:
        document = unpacker.decompress(packed, limit)
    except zlib.error as error:
        raise MalformedError("This is not gzip.") from error
    if unpacker.unconsumed_tail or len(document) > limit:
        raise OversizeError(f"At most {limit} bytes are taken, unpacked.")
    if not unpacker.eof:
        raise MalformedError("This gzip stops in the middle.")
    return document


def pack_batch(batch: msgspec.Struct) -> bytes:
    """A batch as it travels: gzipped msgpack."""
    # Level 1: a flood is many things that are alike, and what it costs is taken from an application's host.
    packer = zlib.compressobj(1, wbits=31)
    return packer.compress(_encoder.encode(batch)) + packer.flush()


def unpack_batch(
    body: bytes,
    decoder: msgspec.msgpack.Decoder[T],
    *,
    what: str,
    is_gzipped: bool,
    packed_limit: int,
    limit: int,
) -> T:
    """Read a batch, its types and bounds checked by the decoder.

    Args:
        body: As received, unverified.
        what: It is, as errors call it: ``security batch``.
        is_gzipped: What its ``Content-Encoding`` says.
        packed_limit, limit: Bytes it may have, as it travels and unpacked.

    Raises:
        OversizeError: It is larger than a batch may be, packed or unpacked.
        MalformedError: It is no such document.
    """
    check_size(what, len(body), packed_limit)
    document = gunzip(body, limit=limit) if is_gzipped else body
    try:
        return decoder.decode(document)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, OverflowError) as error:
        raise MalformedError(f"This is no {what}: {str(error)[:200]}.") from error
