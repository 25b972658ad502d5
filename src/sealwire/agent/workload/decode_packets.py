"""Packets as a packet socket gives them, from the network layer on: questions, requests, new connections.

Also the small filter program that lets the kernel pass on only those. Invariants: no bytes raise, a name
takes at most its 255 bytes, and what is a fragment, cut or not understood is ``None``.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

IPV4, IPV6 = 0x0800, 0x86DD
TCP, UDP = 6, 17
DNS_PORT: Final = 53
METADATA: Final = "169.254.169.254"
METADATA_PORT: Final = 80
SYN, ACK = 0x02, 0x10
MAX_NAME_BYTES: Final = 255
MAX_HEADERS: Final = 64
MAX_HEADER_CHARS: Final = 2_048


@dataclass(frozen=True, slots=True)
class Packet:
    """A packet of TCP or UDP."""

    layer3: int
    protocol: int
    source: str
    source_port: int
    destination: str
    destination_port: int
    size: int
    flags: int  # of TCP
    payload: bytes

    @property
    def begins_connection(self) -> bool:
        return self.protocol == TCP and self.flags & (SYN | ACK) == SYN


@dataclass(frozen=True, slots=True)
class Question:
    """A question for a name."""

    id: int
    name: str
    type: int
    cls: int
    count: int
    length: int


@dataclass(frozen=True, slots=True)
class MetadataRequest:
    """A request to the metadata service of a cloud."""

    url: str
    host: str
    user_agent: str
    with_token: bool


def packet(raw: bytes) -> Packet | None:
    """A packet that begins with its network header; ``None`` for a fragment and for other protocols."""
    if not raw:
        return None
    version = raw[0] >> 4
    if version == 4:
        start = (raw[0] & 0xF) * 4
        if len(raw) < 20 or start < 20 or int.from_bytes(raw[6:8], "big") & 0x1FFF:
            return None
        protocol, size = raw[9], int.from_bytes(raw[2:4], "big")
        source, destination = _ip4(raw[12:16]), _ip4(raw[16:20])
        layer3 = IPV4
    elif version == 6:
        if len(raw) < 40:
            return None
        start, protocol, size = 40, raw[6], 40 + int.from_bytes(raw[4:6], "big")
        source = str(ipaddress.IPv6Address(raw[8:24]))
        destination = str(ipaddress.IPv6Address(raw[24:40]))
        layer3 = IPV6
    else:
        return None
    body = raw[start:]
    if protocol == UDP and len(body) >= 8:
        payload, flags = body[8:], 0
    elif protocol == TCP and len(body) >= 20:
        payload, flags = body[(body[12] >> 4) * 4 :], body[13]
    else:
        return None
    source_port, destination_port = struct.unpack_from("!HH", body)
    return Packet(layer3, protocol, source, source_port, destination, destination_port, size, flags, payload)


def _ip4(raw: bytes) -> str:
    return f"{raw[0]}.{raw[1]}.{raw[2]}.{raw[3]}"


def question(payload: bytes) -> Question | None:
    """The first question of a DNS message; ``None`` for an answer and for what is none."""
    if len(payload) < 17:
        return None
    number, flags, count = struct.unpack_from("!HHH", payload)
    if flags & 0x8000 or flags >> 11 & 0xF or not count:
        return None
    labels: list[str] = []
    at = 12
    while True:
        if at >= len(payload) or at - 12 > MAX_NAME_BYTES:
            return None
        length = payload[at]
        at += 1
        if not length:
            break
        if length > 63 or at + length > len(payload):
            return None  # a reference to before, which a question has no use for, or cut
        labels.append(payload[at : at + length].decode("ascii", "backslashreplace"))
        at += length
    if at + 4 > len(payload):
        return None
    kind, cls = struct.unpack_from("!HH", payload, at)
    return Question(number, ".".join(labels), kind, cls, count, len(payload))


def metadata_request(payload: bytes) -> MetadataRequest | None:
    """A request by HTTP, as far as it is in one packet."""
    head = payload[:16_384].partition(b"\r\n\r\n")[0].split(b"\r\n", MAX_HEADERS + 1)
    words = head[0].split(b" ")
    if len(words) != 3 or not words[2].startswith(b"HTTP/1.") or not words[0].isalpha():
        return None
    headers: dict[str, str] = {}
    for line in head[1 : MAX_HEADERS + 1]:
        name, _, value = line.partition(b":")
        headers[name.strip().lower().decode("latin-1")] = value.strip()[:MAX_HEADER_CHARS].decode("latin-1")
    return MetadataRequest(
        url=words[1][:MAX_HEADER_CHARS].decode("latin-1"),
        host=headers.get("host", ""),
        user_agent=headers.get("user-agent", ""),
        with_token="x-aws-ec2-metadata-token" in headers,
    )


# The filter -------------------------------------------------------------------------------------------------

_LD_BYTE, _LD_HALF, _LD_WORD = 0x30, 0x28, 0x20
_LD_BYTE_X, _LD_HALF_X, _HEADER_X = 0x50, 0x48, 0xB1
_AND, _JUMP_EQUAL, _JUMP_SET, _RETURN = 0x54, 0x15, 0x45, 0x06
MAX_PACKET_BYTES: Final = 2_048
_Line = tuple[str, int, int, str, str]  # its label, what to do, with what, where to go if so, and if not


def filter_program(*, connections: bool) -> bytes:
    """A program for the kernel that passes questions, metadata requests and, if asked, new connections.

    Returns:
        Instructions of 8 bytes each.
    """
    metadata = int(ipaddress.IPv4Address(METADATA))
    syn4 = "syn4" if connections else "drop"
    lines: list[_Line] = [
        ("", _LD_BYTE, 0, "", ""),
        ("", _AND, 0xF0, "", ""),
        ("", _JUMP_EQUAL, 0x40, "v4", ""),
        ("", _JUMP_EQUAL, 0x60, "v6", "drop"),
        ("v4", _LD_HALF, 6, "", ""),
        ("", _JUMP_SET, 0x1FFF, "drop", ""),
        ("", _HEADER_X, 0, "", ""),
        ("", _LD_BYTE, 9, "", ""),
        ("", _JUMP_EQUAL, UDP, "udp4", ""),
        ("", _JUMP_EQUAL, TCP, "tcp4", "drop"),
        ("udp4", _LD_HALF_X, 2, "", ""),
        ("", _JUMP_EQUAL, DNS_PORT, "pass", "drop"),
        ("tcp4", _LD_WORD, 16, "", ""),
        ("", _JUMP_EQUAL, metadata, "http", syn4),
        ("http", _LD_HALF_X, 2, "", ""),
        ("", _JUMP_EQUAL, METADATA_PORT, "pass", syn4),
        ("syn4", _LD_BYTE_X, 13, "", ""),
        ("", _AND, SYN | ACK, "", ""),
        ("", _JUMP_EQUAL, SYN, "pass", "drop"),
        ("v6", _LD_BYTE, 6, "", ""),
        ("", _JUMP_EQUAL, UDP, "udp6", ""),
        ("", _JUMP_EQUAL, TCP, "syn6" if connections else "drop", "drop"),
        ("udp6", _LD_HALF, 42, "", ""),
        ("", _JUMP_EQUAL, DNS_PORT, "pass", "drop"),
        ("syn6", _LD_BYTE, 53, "", ""),
        ("", _AND, SYN | ACK, "", ""),
        ("", _JUMP_EQUAL, SYN, "pass", "drop"),
        ("drop", _RETURN, 0, "", ""),
        ("pass", _RETURN, MAX_PACKET_BYTES, "", ""),
    ]
    places: Mapping[str, int] = {label: at for at, (label, *_) in enumerate(lines) if label}

    def steps(at: int, label: str) -> int:
        return places[label] - at - 1 if label else 0

    return b"".join(
        struct.pack("=HBBI", code, steps(at, yes), steps(at, no), value)
        for at, (_, code, value, yes, no) in enumerate(lines)
    )
