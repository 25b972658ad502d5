"""Messages of the kernel's process connector: forks, execs, exits, and changes of users.

Invariant: no bytes raise; what is too short or not known is ``None``.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

FORK, EXEC, UID, GID, SID, PTRACE, COMM = 0x1, 0x2, 0x4, 0x40, 0x80, 0x100, 0x200
COREDUMP, EXIT = 0x40000000, 0x80000000
PROC_INDEX, PROC_VALUE = 1, 1
LISTEN, IGNORE = 1, 2

_CONNECTOR: Final = struct.Struct("=IIIIHH")
_EVENT: Final = struct.Struct("=IIQ")
_FOUR: Final = struct.Struct("=iiii")
_TWO: Final = struct.Struct("=ii")


@dataclass(frozen=True, slots=True)
class ProcessMessage:
    """One thing that happened to a process.

    Attributes:
        sequence: Counted for each processor; a gap says that messages were lost.
        since_boot_ns: When.
        pid: The thread it happened to; for a fork the new one.
        process: The process that thread belongs to.
        other: For a fork the process that did it, for a trace the one that traces.
        value, second: For an exit its status as ``wait`` tells it and its signal; for users the real and the
            effective one.
    """

    what: int
    processor: int
    sequence: int
    since_boot_ns: int
    pid: int
    process: int
    other: int = 0
    value: int = 0
    second: int = 0
    comm: str = ""

    @property
    def of_thread(self) -> bool:
        """It happened to a thread that is not its process's first."""
        return self.pid != self.process


def subscription(operation: int) -> bytes:
    """The body of a message that asks for messages, or for no more of them."""
    return _CONNECTOR.pack(PROC_INDEX, PROC_VALUE, 0, 0, 4, 0) + struct.pack("=I", operation)


def process_message(body: bytes) -> ProcessMessage | None:
    """One message's body; ``None`` for an acknowledgement and for what cannot be read."""
    if len(body) < _CONNECTOR.size + _EVENT.size:
        return None
    index, value, sequence, _, length, _ = _CONNECTOR.unpack_from(body)
    if (index, value) != (PROC_INDEX, PROC_VALUE):
        return None
    what, processor, since_boot_ns = _EVENT.unpack_from(body, _CONNECTOR.size)
    rest = body[_CONNECTOR.size + _EVENT.size : _CONNECTOR.size + length]
    if len(rest) < _TWO.size:
        return None
    pid, process = _TWO.unpack_from(rest)
    if what in (FORK, PTRACE, UID, GID, EXIT):
        if len(rest) < _FOUR.size:
            return None
        _, second, third, fourth = _FOUR.unpack_from(rest)
        if what == FORK:  # parent's thread, parent, child's thread, child
            return ProcessMessage(what, processor, sequence, since_boot_ns, third, fourth, other=second)
        if what == PTRACE:
            return ProcessMessage(what, processor, sequence, since_boot_ns, pid, process, other=fourth)
        return ProcessMessage(
            what, processor, sequence, since_boot_ns, pid, process, value=third, second=fourth
        )
    if what == COMM:
        comm = rest[_TWO.size : _TWO.size + 16].partition(b"\x00")[0].decode("utf-8", "replace")
        return ProcessMessage(what, processor, sequence, since_boot_ns, pid, process, comm=comm)
    if what in (EXEC, SID, COREDUMP):
        return ProcessMessage(what, processor, sequence, since_boot_ns, pid, process)
    return None


EXITED, COREDUMPED, SIGNALED = 0, 1, 2


def exit_cause(status: int) -> tuple[int, int]:
    """How a process ended, and with which code or by which signal, from what ``wait`` would tell."""
    signal = status & 0x7F
    if signal == 0:
        return EXITED, (status >> 8) & 0xFF
    return (COREDUMPED if status & 0x80 else SIGNALED), signal
