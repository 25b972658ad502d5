"""Audit records: from the text of one record to its fields, and from many records to one event.

The kernel sends an event as several records of one serial number, SYSCALL first, EOE last; records of several
events arrive mixed. Texts that hold blanks, quotes or bytes beyond ASCII come in hexadecimal digits.

Invariants: no bytes raise. What is held of unfinished events is bounded in number and bytes, and an event
that does not end is handed out after a while as it is, and says so. No I/O; time is handed in.
"""

from __future__ import annotations

import ipaddress
import re
import struct
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

SYSCALL, PATH, SOCKADDR, CWD, EXECVE, FD_PAIR = 1300, 1302, 1306, 1307, 1309, 1317
EOE, PROCTITLE, KERN_MODULE, BPF, OPENAT2, OBJ_PID = 1320, 1327, 1330, 1334, 1337, 1318
CONFIG_CHANGE, MMAP, CAPSET = 1305, 1323, 1322
FIRST_EVENT, LAST_EVENT = 1300, 1399  # records that belong to a system call

MAX_RECORD_BYTES: Final = 16 * 1024  # the kernel cuts at 8,970
MAX_RECORDS: Final = 512  # of one event; a long command line comes in many
MAX_EVENT_BYTES: Final = 4 * 1024 * 1024
MAX_UNFINISHED: Final = 1_024
MAX_PATHS: Final = 64
MAX_ARGUMENTS: Final = 4_096
MAX_ARGUMENT_CHARS: Final = 128 * 1024
HELD_S: Final = 0.2

_STAMP: Final = re.compile(rb"audit\((\d{1,12})\.(\d{3}):(\d{1,12})\): ?")
# name=value, where a value is quoted, in parentheses as (null) and (none), or without blanks.
_PAIR: Final = re.compile(rb'([A-Za-z_][A-Za-z0-9_-]{0,40}(?:\[\d{1,9}\])?)=("[^"]*"|[^ \n\x00]*)')
_PLAIN: Final = frozenset({b"(null)", b"(none)", b"?"})
_HEX: Final = re.compile(r"(?:[0-9A-Fa-f]{2})*\Z")


@dataclass(frozen=True, slots=True)
class Record:
    """One record.

    Attributes:
        seconds_ms: When, in milliseconds since 1970.
        text: What follows the stamp.
    """

    kind: int
    serial: int
    seconds_ms: int
    text: bytes

    def fields(self) -> dict[str, bytes]:
        """Values by their names, quotes kept, as quoted and hexadecimal texts are told apart by them."""
        return {name.decode("ascii"): value for name, value in _PAIR.findall(self.text)}


def record(kind: int, body: bytes) -> Record | None:
    """One record of a message's body; ``None`` if it does not begin as one does."""
    body = body[:MAX_RECORD_BYTES]
    stamp = _STAMP.match(body)
    if stamp is None:
        return None
    seconds, millis, serial = stamp.groups()
    return Record(kind, int(serial), int(seconds) * 1000 + int(millis), body[stamp.end() :].rstrip(b"\x00\n"))


def text_of(value: bytes | None) -> str:
    """A text that somebody else chose: quoted as it is, or in hexadecimal digits."""
    if value is None or value in _PLAIN:
        return ""
    if value[:1] == b'"':
        return value[1:].removesuffix(b'"').decode("utf-8", "replace")
    return unhex(value.decode("ascii", "replace")).decode("utf-8", "replace")


def unhex(digits: str) -> bytes:
    """Bytes from hexadecimal digits; an odd one at the end was cut and is left out; else the text itself."""
    whole = digits[: len(digits) & ~1]
    return bytes.fromhex(whole) if _HEX.match(whole) else digits.encode("utf-8", "replace")


def number_of(value: bytes | None, *, base: int = 10, otherwise: int = 0) -> int:
    """A number of a record; ``otherwise`` for what is none."""
    if value is None or len(value) > 24:
        return otherwise
    try:
        return int(value, base)
    except ValueError:
        return otherwise


@dataclass(frozen=True, slots=True)
class PathItem:
    """A file a call touched.

    Attributes:
        role: NORMAL, PARENT, CREATE, DELETE or UNKNOWN.
        mode: Before the call, kind and permissions.
    """

    item: int
    name: str
    inode: int
    device: str
    mode: int
    uid: int
    gid: int
    role: str


@dataclass(slots=True)
class AuditEvent:
    """The records of one serial number, read as far as they are known.

    Attributes:
        syscall: Fields of the SYSCALL record, raw; empty if it never came.
        arguments: Of a program that was started.
        cut: Arguments were left out, as they were too many or too long.
        complete: Its end came.
    """

    serial: int
    at_ms: int
    syscall: Mapping[str, bytes] = field(default_factory=dict)
    cwd: str = ""
    paths: list[PathItem] = field(default_factory=list)
    arguments: tuple[str, ...] = ()
    cut: bool = False
    title: bytes = b""
    address: bytes = b""
    extra: dict[int, Mapping[str, bytes]] = field(default_factory=dict)
    complete: bool = False

    def number(self, name: str, *, otherwise: int = 0) -> int:
        return number_of(self.syscall.get(name), otherwise=otherwise)

    def argument(self, at: int) -> int:
        """One of the four arguments of the call that are recorded."""
        return number_of(self.syscall.get(f"a{at}"), base=16)


class Assembler:
    """Puts records together.

    Attributes:
        cut_off: Events that were handed out without their end, ever.
        strange: Records that could not be read, ever.
    """

    def __init__(self) -> None:
        self._open: OrderedDict[int, _Unfinished] = OrderedDict()
        self._bytes = 0
        self.cut_off = 0
        self.strange = 0

    def add(self, kind: int, body: bytes, *, now_s: float) -> AuditEvent | None:
        """Take one record; an event if this was its last."""
        if not FIRST_EVENT <= kind <= LAST_EVENT:
            return None
        read = record(kind, body)
        if read is None:
            self.strange += 1
            return None
        if kind == EOE:
            held = self._open.pop(read.serial, None)
            if held is None:
                return None
            self._bytes -= held.bytes
            return _event(held, complete=True)
        held = self._open.get(read.serial)
        if held is None:
            held = self._open[read.serial] = _Unfinished(now_s)
        if len(held.records) >= MAX_RECORDS or held.bytes + len(read.text) > MAX_EVENT_BYTES:
            held.left_out += 1
            return None
        held.records.append(read)
        held.bytes += len(read.text)
        self._bytes += len(read.text)
        return None

    def overdue(self, *, now_s: float) -> Iterator[AuditEvent]:
        """Events whose end did not come in time, or that are too many, as far as they came."""
        while self._open:
            serial, held = next(iter(self._open.items()))
            if (
                now_s - held.since_s < HELD_S
                and len(self._open) <= MAX_UNFINISHED
                and self._bytes <= 4 * MAX_EVENT_BYTES
            ):
                return
            del self._open[serial]
            self._bytes -= held.bytes
            self.cut_off += 1
            yield _event(held, complete=False)

    @property
    def unfinished(self) -> int:
        return len(self._open)


@dataclass(slots=True)
class _Unfinished:
    since_s: float
    records: list[Record] = field(default_factory=list)
    bytes: int = 0
    left_out: int = 0


def _event(held: _Unfinished, *, complete: bool) -> AuditEvent:
    first = held.records[0]
    event = AuditEvent(first.serial, first.seconds_ms, complete=complete)
    execve: list[Mapping[str, bytes]] = []
    for each in held.records:
        kind = each.kind
        if kind == PATH:
            if len(event.paths) < MAX_PATHS:
                event.paths.append(_path(each.fields()))
            continue
        fields = each.fields()
        if kind == SYSCALL:
            event.syscall = fields
        elif kind == CWD:
            event.cwd = text_of(fields.get("cwd"))
        elif kind == EXECVE:
            execve.append(fields)
        elif kind == PROCTITLE:
            event.title = _raw(fields.get("proctitle"))
        elif kind == SOCKADDR:
            event.address = unhex(fields.get("saddr", b"").decode("ascii", "replace"))
        else:
            event.extra.setdefault(kind, fields)
    if execve:
        event.arguments, event.cut = _arguments(execve)
    event.cut = event.cut or held.left_out > 0
    event.paths.sort(key=lambda item: item.item)
    return event


def _raw(value: bytes | None) -> bytes:
    if value is None:
        return b""
    return value.strip(b'"') if value[:1] == b'"' else unhex(value.decode("ascii", "replace"))


def _path(fields: Mapping[str, bytes]) -> PathItem:
    return PathItem(
        item=number_of(fields.get("item")),
        name=text_of(fields.get("name")),
        inode=number_of(fields.get("inode")),
        device=fields.get("dev", b"").decode("ascii", "replace")[:16],
        mode=number_of(fields.get("mode"), base=8),
        uid=number_of(fields.get("ouid")),
        gid=number_of(fields.get("ogid")),
        role=fields.get("nametype", b"UNKNOWN").decode("ascii", "replace")[:16],
    )


_PIECE: Final = re.compile(r"a(\d{1,7})(?:_len|\[(\d{1,7})\])?\Z")


def _arguments(parts: list[Mapping[str, bytes]]) -> tuple[tuple[str, ...], bool]:
    """The command line of EXECVE records; a long argument comes in pieces ``a1[0]``, ``a1[1]``."""
    whole: dict[int, str] = {}
    pieces: dict[int, list[tuple[int, bytes]]] = {}
    promised = 0
    for fields in parts:
        promised = max(promised, number_of(fields.get("argc")))
        for name, value in fields.items():
            match = _PIECE.match(name)
            if match is None or name.endswith("_len"):
                continue
            at = int(match[1])
            if match[2] is None:
                whole[at] = text_of(value)
            else:
                pieces.setdefault(at, []).append((int(match[2]), _raw(value)))
    for at, found in pieces.items():
        whole[at] = b"".join(piece for _, piece in sorted(found)).decode("utf-8", "replace")
    ordered = [whole[at] for at in sorted(whole)]
    cut = len(ordered) > MAX_ARGUMENTS or promised > len(ordered)
    kept: list[str] = []
    for each in ordered[:MAX_ARGUMENTS]:
        cut = cut or len(each) > MAX_ARGUMENT_CHARS
        kept.append(each[:MAX_ARGUMENT_CHARS])
    return tuple(kept), cut


# Socket addresses -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SocketAddress:
    """Where a socket leads; ``path`` for one of this machine, ``ip`` and ``port`` for the network."""

    family: int
    ip: str = ""
    port: int = 0
    path: str = ""


def socket_address(raw: bytes) -> SocketAddress | None:
    """An address as the kernel keeps it; ``None`` for what is too short to say its family."""
    if len(raw) < 2:
        return None
    family: int = struct.unpack_from("=H", raw)[0]
    if family == 2 and len(raw) >= 8:
        return SocketAddress(family, str(ipaddress.IPv4Address(raw[4:8])), int.from_bytes(raw[2:4], "big"))
    if family == 10 and len(raw) >= 24:
        return SocketAddress(family, str(ipaddress.IPv6Address(raw[8:24])), int.from_bytes(raw[2:4], "big"))
    if family == 1:
        name = raw[2:]
        if name[:1] == b"\x00":
            return SocketAddress(family, path="@" + name[1:].rstrip(b"\x00").decode("utf-8", "replace"))
        return SocketAddress(family, path=name.partition(b"\x00")[0].decode("utf-8", "replace"))
    return SocketAddress(family)
