"""Bodies that agents packed, in whichever way: gzip, zstd or not at all; unpacked within a bound.

Also the one place that knows where zstd comes from: Python has it from 3.14 on, its backport before.
"""

from __future__ import annotations

import sys
from typing import Final

from sealwire.errors import MalformedError, OversizeError
from sealwire.wire.packed import gunzip

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

__all__ = ["unpack", "zstd"]

_WINDOW_LOG: Final = 23  # 8 MiB, what every encoder keeps to unless told otherwise


def unpack(body: bytes, *, encoding: str, limit: int) -> bytes:
    """A body as it was before it was packed.

    Args:
        body: As received, unverified; whoever read it bounded it.
        encoding: Its ``Content-Encoding``: ``zstd``, ``gzip``, ``identity`` or nothing.
        limit: Bytes it may have, unpacked.

    Raises:
        OversizeError: There would be more.
        MalformedError: It is not packed as it says, or in a way nobody knows.
    """
    match encoding:
        case "" | "identity":
            return body
        case "gzip":
            return gunzip(body, limit=limit)
        case "zstd":
            return _unzstd(body, limit)
        case _:
            raise MalformedError("Content-Encoding is zstd, gzip or nothing.")


def _unzstd(body: bytes, limit: int) -> bytes:
    """Attack: a few bytes that unpack to gigabytes, or that ask for a window of gigabytes."""
    unpacker = zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: _WINDOW_LOG})
    try:
        document = unpacker.decompress(body, max_length=limit + 1)
    except zstd.ZstdError as error:
        raise MalformedError("This is not zstd, or wants too much memory.") from error
    if len(document) > limit:
        raise OversizeError(f"At most {limit} bytes are taken, unpacked.")
    if not unpacker.eof:
        raise MalformedError("This zstd stops in the middle.")
    return bytes(document)
