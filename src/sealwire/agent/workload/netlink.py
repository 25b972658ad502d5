"""Netlink messages: header and body, in both directions. Bytes in, values out; nothing is sent here.

What claims to be longer than it is ends the datagram; the kernel does not send such, a test does.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

_HEADER: Final = struct.Struct("=IHHII")
HEADER_BYTES: Final = _HEADER.size

ERROR: Final = 2
DONE: Final = 3
REQUEST, MULTI, ACK, DUMP = 0x1, 0x2, 0x4, 0x300


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a datagram."""

    kind: int
    flags: int
    sequence: int
    port: int
    body: bytes


def message(kind: int, body: bytes = b"", *, flags: int = REQUEST | ACK, sequence: int = 0) -> bytes:
    """A message as it is sent to the kernel."""
    return _HEADER.pack(HEADER_BYTES + len(body), kind, flags, sequence, 0) + body


def messages(datagram: bytes, *, length_is_body: bool = False) -> Iterator[Message]:
    """The messages of a datagram.

    Args:
        length_is_body: Audit records that are sent to all listeners say the length of the body only
            (the header not counted) on some kernels; such a message takes the whole datagram.
    """
    at = 0
    while at + HEADER_BYTES <= len(datagram):
        length, kind, flags, sequence, port = _HEADER.unpack_from(datagram, at)
        if length_is_body:
            yield Message(kind, flags, sequence, port, datagram[at + HEADER_BYTES :])
            return
        if length < HEADER_BYTES or at + length > len(datagram):
            return
        yield Message(kind, flags, sequence, port, datagram[at + HEADER_BYTES : at + length])
        at += (length + 3) & ~3


def error_of(each: Message) -> int | None:
    """The error number of an answer, 0 for an acknowledgement; ``None`` if it is something else."""
    if each.kind != ERROR or len(each.body) < 4:
        return None
    number: int = struct.unpack_from("=i", each.body)[0]
    return -number
