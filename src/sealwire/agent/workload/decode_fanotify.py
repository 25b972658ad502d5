"""Events of fanotify in the form that names directories and files by handles. Bytes in, values out.

Invariants: no bytes raise; an event whose parts claim more than there is ends the buffer.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

ACCESS, MODIFY, ATTRIB, CLOSE_WRITE, OPEN = 0x1, 0x2, 0x4, 0x8, 0x20
CREATE, DELETE, OPEN_EXEC, OVERFLOW, RENAME = 0x100, 0x200, 0x1000, 0x4000, 0x10000000
ON_DIRECTORY: Final = 0x40000000
VERSION: Final = 3
_METADATA: Final = struct.Struct("=IBBHQii")
_INFO: Final = struct.Struct("=BBH")
_HANDLE: Final = struct.Struct("=Ii")
_FSID_BYTES: Final = 8
_FID, _DFID_NAME, _DFID, _OLD, _NEW = 1, 2, 3, 10, 12
MAX_HANDLE_BYTES: Final = 128


@dataclass(frozen=True, slots=True)
class Place:
    """A name in a directory, which is known by its file system and its handle there."""

    file_system: bytes
    handle_type: int
    handle: bytes
    name: str


@dataclass(frozen=True, slots=True)
class FileEvent:
    """Something that happened to a file.

    Attributes:
        descriptor: An open file that has to be closed, in the form that has one; else negative.
        place: The file; for a rename what it was called before.
        new: For a rename what it is called now.
    """

    mask: int
    pid: int
    descriptor: int
    place: Place | None
    new: Place | None = None

    @property
    def overflowed(self) -> bool:
        """Events were lost before this one."""
        return bool(self.mask & OVERFLOW)


def file_events(raw: bytes) -> Iterator[FileEvent]:
    """The events of one read."""
    at = 0
    while at + _METADATA.size <= len(raw):
        length, version, _, start, mask, descriptor, pid = _METADATA.unpack_from(raw, at)
        if version != VERSION or length < _METADATA.size or at + length > len(raw):
            return
        places = dict(_places(raw[at + max(start, _METADATA.size) : at + length]))
        first = places.get(_OLD) or places.get(_DFID_NAME) or places.get(_DFID) or places.get(_FID)
        yield FileEvent(mask, pid, descriptor, first, places.get(_NEW))
        at += length


def _places(raw: bytes) -> Iterator[tuple[int, Place]]:
    at = 0
    while at + _INFO.size <= len(raw):
        kind, _, length = _INFO.unpack_from(raw, at)
        if length < _INFO.size or at + length > len(raw):
            return
        body = raw[at + _INFO.size : at + length]
        at += length
        if kind not in (_FID, _DFID_NAME, _DFID, _OLD, _NEW) or len(body) < _FSID_BYTES + _HANDLE.size:
            continue
        size, handle_type = _HANDLE.unpack_from(body, _FSID_BYTES)
        rest = body[_FSID_BYTES + _HANDLE.size :]
        if size > min(MAX_HANDLE_BYTES, len(rest)):
            continue
        name = rest[size:].partition(b"\x00")[0].decode("utf-8", "replace")
        yield kind, Place(body[:_FSID_BYTES], handle_type, rest[:size], name)
