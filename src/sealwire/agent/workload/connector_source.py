"""The process connector as a source: who was started by whom, what runs a program, what ended.

Beside audit records it only keeps the processes right and sees exits; alone it makes exec events too, with
what ``/proc`` still says of the process, which for one that lives for milliseconds may be nothing.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import time
from collections.abc import Collection, Mapping
from typing import Any, Final

from sealwire.agent.workload.decode_connector import (
    COMM,
    EXEC,
    EXIT,
    FORK,
    GID,
    IGNORE,
    LISTEN,
    PTRACE,
    UID,
    ProcessMessage,
    exit_cause,
    process_message,
    subscription,
)
from sealwire.agent.workload.netlink import message, messages
from sealwire.agent.workload.processes import FileFields, Processes
from sealwire.agent.workload.sources import Offer, SourceError
from sealwire.secl.event import Event

NETLINK_CONNECTOR: Final = 11
GROUP_PROCESSES: Final = 1
BUFFER_BYTES: Final = 4 * 1024 * 1024
_KIND_DONE: Final = 3  # the type that a connector's message has in its netlink header
_RACE: Final = "read from /proc after the program began; a process that ends at once is gone by then"

OFFER: Final = Offer(
    source="the process connector",
    events=frozenset({"exec", "exit", "setuid", "setgid", "ptrace"}),
    partly={
        **dict.fromkeys(
            (
                "process.argv", "process.argv0", "process.args", "process.args_flags", "process.args_options",
                "process.envs", "process.envp", "process.file.", "process.cap_effective", "process.uid",
                "process.cap_permitted", "process.container.", "process.cgroup.", "process.comm",
            ),
            _RACE,
        ),
        "ptrace": "only an attach and a detach are seen, not the request",
    },
    missing={
        "exec.syscall.": "the path as given is not recorded",
        "ptrace.request": "the request is not recorded",
        "ptrace.retval": "what the call returned is not recorded",
        "process.interpreter.": "the interpreter of a script is not recorded",
        "setuid.fsuid": "only the real and the effective user are recorded",
        "setuid.fsuser": "only the real and the effective user are recorded",
        "setgid.fsgid": "only the real and the effective group are recorded",
        "setgid.fsgroup": "only the real and the effective group are recorded",
    },
)  # fmt: skip


class ConnectorSource:
    """Reads the process connector.

    Args:
        processes: Kept up to date by it.
        emits: Event types to make; the rest only changes ``processes``.
        common: Fields every event gets.
    """

    def __init__(
        self, processes: Processes, *, emits: Collection[str] = OFFER.events, common: Mapping[str, Any]
    ) -> None:
        self._processes = processes
        self._emits = frozenset(emits)
        self._common = {**common, "event.origin": "connector"}
        self._socket: socket.socket | None = None
        self._next: dict[int, int] = {}
        self._overruns = 0
        self._boot_ns = 0
        self.lost = 0

    @property
    def offer(self) -> Offer:
        return OFFER

    @property
    def due_s(self) -> float:
        return 5.0

    def start(self) -> None:
        try:
            self._socket = socket.socket(
                socket.AF_NETLINK,
                socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK,
                NETLINK_CONNECTOR,
            )
            _enlarge(self._socket, BUFFER_BYTES)
            self._socket.bind((0, GROUP_PROCESSES))
            self._socket.send(message(_KIND_DONE, subscription(LISTEN), flags=0))
        except OSError as error:
            self.stop()
            raise SourceError(_why(error)) from error
        self._boot_ns = _boot_ns()

    def stop(self) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.send(message(_KIND_DONE, subscription(IGNORE), flags=0))
            self._socket.close()
            self._socket = None

    def filenos(self) -> tuple[int, ...]:
        return (self._socket.fileno(),) if self._socket is not None else ()

    def read(self, *, limit: int) -> list[Event]:
        found: list[Event] = []
        if self._socket is None:
            return found
        boot_ns = _boot_ns()
        if abs(boot_ns - self._boot_ns) > 500_000_000:
            self._processes.clock_moved(boot_ns - self._boot_ns)
            self._boot_ns = boot_ns
        for _ in range(limit):
            try:
                datagram, sender = self._socket.recvfrom(65_536)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno == errno.ENOBUFS:
                    continue  # counted by the gap in the numbers
                break
            if sender[0] != 0:
                continue  # Attack: a message that another program sent, not the kernel.
            for each in messages(datagram):
                read = process_message(each.body)
                if read is not None:
                    self._count(read)
                    event = self._take(read)
                    if event is not None:
                        found.append(event)
        return found

    def _count(self, read: ProcessMessage) -> None:
        expected = self._next.get(read.processor)
        if expected is not None:
            gap = (read.sequence - expected) & 0xFFFFFFFF
            if gap < 1 << 20:
                self.lost += gap
        if expected is not None or len(self._next) < 8_192:
            self._next[read.processor] = (read.sequence + 1) & 0xFFFFFFFF

    def _take(self, read: ProcessMessage) -> Event | None:
        if read.of_thread and read.what in (FORK, EXIT, COMM):
            return None
        at_ns = self._boot_ns + read.since_boot_ns
        pid = read.process
        if read.what == FORK:
            self._processes.forked(read.other, pid, at_ns=at_ns)
        elif read.what == EXIT:
            process = self._processes.exited(pid, at_ns=at_ns)
            if "exit" in self._emits:
                cause, code = exit_cause(read.value)
                values = {**self._common, "exit.cause": cause, "exit.code": code}
                return Event("exit", timestamp_ns=at_ns, values=values, process=process)
        elif read.what == EXEC and "exec" in self._emits:
            facts = self._processes.from_proc(pid, at_ns=at_ns)
            process = self._processes.executed(pid, facts, at_ns=at_ns, parent=facts.get("ppid", 0))
            return Event("exec", timestamp_ns=at_ns, values=self._common, process=process)
        elif read.what == COMM:
            known = self._processes.peek(pid)
            if known is not None:
                known.values["comm"] = read.comm
        elif read.what in (UID, GID):
            return self._changed_user(read, at_ns)
        elif read.what == PTRACE and read.other and "ptrace" in self._emits:
            return Event(
                "ptrace",
                timestamp_ns=at_ns,
                values=self._common,
                process=self._processes.of(read.other, at_ns=at_ns),
                target=self._processes.of(pid, at_ns=at_ns),
            )
        return None

    def _changed_user(self, read: ProcessMessage, at_ns: int) -> Event | None:
        kind, real, effective = ("setuid", "uid", "euid") if read.what == UID else ("setgid", "gid", "egid")
        if kind not in self._emits:
            return None
        process = self._processes.of(read.process, at_ns=at_ns)
        process.values.update({real: read.value, effective: read.second})
        for name in ("user", "euser") if kind == "setuid" else ("group", "egroup"):
            process.values.pop(name, None)
        values = {**self._common, f"{kind}.{real}": read.value, f"{kind}.{effective}": read.second}
        return Event(
            kind,
            timestamp_ns=at_ns,
            values=FileFields(values, (), self._processes.names),
            process=process,
        )


def _boot_ns() -> int:
    """When the clock of the connector's stamps was 0."""
    return time.clock_gettime_ns(time.CLOCK_REALTIME) - time.clock_gettime_ns(time.CLOCK_MONOTONIC)


def _enlarge(sock: socket.socket, size: int) -> None:
    """Ask for a large buffer, beyond the limit for all where that is allowed."""
    force = 33  # SO_RCVBUFFORCE
    try:
        sock.setsockopt(socket.SOL_SOCKET, force, size)
    except OSError:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)


def _why(error: OSError) -> str:
    if error.errno in (errno.EPERM, errno.EACCES):
        return "The process connector may not be used: the agent needs CAP_NET_ADMIN on the host itself."
    if error.errno in (errno.EPROTONOSUPPORT, errno.ENOENT, errno.ECONNREFUSED):
        return "The process connector is not in this kernel (CONFIG_PROC_EVENTS)."
    return f"The process connector cannot be used: {error.strerror}."
