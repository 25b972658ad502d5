"""Listens for DogStatsD on UDP and on a Unix socket, keeps what is of probes and passes the rest on.

Hides sockets. A datagram has one line or more; lines of metric probes go to ``metrics``, and all others,
which mean nothing here, go as they are to the statsd server of the settings, where there is one.

Invariants: a port that is somebody else's is told and stops nothing; nothing that arrives raises; reading
takes ``SHARE`` of one core on average at most, and what arrives beyond that is thrown away and counted; the
loop is held for milliseconds at most.
"""

from __future__ import annotations

import asyncio
import os
import socket
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import structlog

from sealwire.agent.relay import Sight
from sealwire.agent.settings import StatsdPorts
from sealwire.agent.sights import Budget
from sealwire.wire.dogstatsd import PREFIX

log = structlog.get_logger("sealwire.agent.dogstatsd")

PROXY_PATH: Final = "/dogstatsd/v2/proxy"
MAX_DATAGRAM_BYTES: Final = 65_536
MAX_UPLOAD_BYTES: Final = 1024 * 1024  # over HTTP
RECEIVE_BYTES: Final = 4 * 1024 * 1024  # asked of the system, which may give less
MAX_HELD: Final = 4_096  # datagrams of the Unix socket
AT_ONCE: Final = 128  # datagrams, then whoever else has something to do
SHARE, BURST_S = 0.5, 1.0
SOCKET_MODE: Final = 0o722  # other users write to it


class DogStatsd:
    """Listens.

    Args:
        ports: Where.
        take: Given each line of a probe; false where it is of none after all.
        dropped: Where what is thrown away is counted.

    Attributes:
        listening: Where it does, as people read it.
        problems: Why it does not where it should.
        datagrams: Received so far.
        others: Of these, those with lines that are of no probe.
        forwarded: Of these, passed on.
    """

    def __init__(
        self,
        ports: StatsdPorts,
        *,
        take: Callable[[bytes], bool],
        dropped: Counter[str],
        monotonic: Callable[[], float] = time.monotonic,
        cpu_s: Callable[[], float] = time.thread_time,
    ) -> None:
        self.listening: tuple[str, ...] = ()
        self.problems: tuple[str, ...] = ()
        self.datagrams = self.others = self.forwarded = 0
        self._ports = ports
        self._take = take
        self._dropped = dropped
        self._monotonic = monotonic
        self._cpu_s = cpu_s
        self._budget = Budget(SHARE, BURST_S, monotonic(), BURST_S)
        self._sockets: list[socket.socket] = []
        self._forward: socket.socket | None = None
        self._path: Path | None = None
        self._reader: _Reader | None = None
        self._room = memoryview(bytearray(MAX_DATAGRAM_BYTES))

    @property
    def forward_to(self) -> str:
        """Where other lines go; empty for nowhere."""
        to = self._ports.forward_to
        return f"{to[0]}:{to[1]}" if to else ""

    async def start(self) -> None:
        """Listen where that is possible; what is not is told and no more."""
        if self._ports.port:
            self._try(self._open_udp, f"udp {self._ports.host}:{self._ports.port}", is_named=True)
        if self._ports.socket is not None:
            self._try(self._open_unix, f"unix {self._ports.socket}", is_named=self._ports.is_named)
        if self._ports.forward_to is not None:
            try:
                found = await asyncio.get_running_loop().getaddrinfo(
                    *self._ports.forward_to, type=socket.SOCK_DGRAM
                )
                family, kind, protocol, _, address = found[0]
                self._forward = socket.socket(family, kind, protocol)
                self._forward.setblocking(False)
                self._forward.connect(address)
            except OSError as error:
                self._note(f"{self.forward_to} cannot be passed on to: {_reason(error)}")

    def stop(self) -> None:
        """Let the sockets go."""
        loop = asyncio.get_running_loop()
        for each in self._sockets:
            if each.family != socket.AF_UNIX:
                loop.remove_reader(each)
            elif self._reader is not None:
                self._reader.stop()
            each.close()
        self._sockets.clear()
        if self._forward is not None:
            self._forward.close()
            self._forward = None
        if self._path is not None:
            with suppress(OSError):
                self._path.unlink()
            self._path = None
        self.listening = ()

    def taking(self, path: str) -> Sight | None:
        """Who reads an upload of lines, where it goes to is for that."""
        return _Lines(self) if path == PROXY_PATH else None

    def take_upload(self, lines: bytes) -> None:
        """Lines that came over HTTP; those that are of no probe go on with their upload, if it does."""
        began_s = self._cpu_s()
        if not self._budget.has_some(self._monotonic()):
            self._dropped["dogstatsd_too_busy"] += 1
            return
        for line in lines.split(b"\n"):
            if line.startswith(PREFIX):
                self._take(line)
        self._budget.spend(self._cpu_s() - began_s)

    def _feed(self, datagram: bytes) -> None:
        self.datagrams += 1
        if PREFIX not in datagram:
            self.others += 1
            self._pass_on(datagram)
            return
        rest = [
            line
            for line in datagram.split(b"\n")
            if line and not (line.startswith(PREFIX) and self._take(line))
        ]
        if rest:
            self.others += 1
            self._pass_on(b"\n".join(rest))

    def _try(self, opened: Callable[[], socket.socket], where: str, *, is_named: bool) -> None:
        try:
            one = opened()
            with suppress(OSError):
                one.setsockopt(
                    socket.SOL_SOCKET, socket.SO_RCVBUF, self._ports.receive_bytes or RECEIVE_BYTES
                )
            if one.family == socket.AF_UNIX:
                self._reader = _Reader(one, self._arrived, self._dropped)
            else:
                one.setblocking(False)
                asyncio.get_running_loop().add_reader(one, self._readable, one)
        except OSError as error:
            if is_named:
                self._note(f"{where} cannot be listened on: {_reason(error)}")
            return
        self._sockets.append(one)
        self.listening = (*self.listening, where)

    def _note(self, problem: str) -> None:
        self.problems = (*self.problems, problem)
        log.warning("DogStatsD is not whole", problem=problem)

    def _open_udp(self) -> socket.socket:
        host, port = self._ports.host, self._ports.port
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_DGRAM, flags=socket.AI_PASSIVE
        )[0]
        one = socket.socket(family, kind, protocol)
        try:
            one.bind(address)
        except OSError:
            one.close()
            raise
        return one

    def _open_unix(self) -> socket.socket:
        path = self._ports.socket
        if path is None:
            raise TypeError("no socket is named")
        one = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            if path.is_socket() and not _is_left_behind(path):
                raise FileExistsError(17, "another program listens there")
            if path.exists() and not path.is_socket():
                raise FileExistsError(17, "something else than a socket is there")
            path.unlink(missing_ok=True)
            one.bind(str(path))
            os.chmod(path, SOCKET_MODE)
        except OSError:
            one.close()
            raise
        self._path = path
        return one

    def _readable(self, one: socket.socket) -> None:
        began_s = self._cpu_s()
        is_busy = not self._budget.has_some(self._monotonic())
        room, feed = self._room, self._feed
        for _ in range(AT_ONCE):
            try:
                size = one.recv_into(room)
            except OSError:  # nothing more, for now
                break
            if is_busy:
                self._dropped["dogstatsd_too_busy"] += 1
            elif size:
                feed(room[:size].tobytes())
        self._budget.spend(self._cpu_s() - began_s)

    def _arrived(self, datagrams: Sequence[bytes]) -> None:
        """What came over the Unix socket."""
        began_s = self._cpu_s()
        if not self._budget.has_some(self._monotonic()):
            self._dropped["dogstatsd_too_busy"] += len(datagrams)
            return
        for datagram in datagrams:
            self._feed(datagram)
        self._budget.spend(self._cpu_s() - began_s)

    def _pass_on(self, datagram: bytes) -> None:
        if self._forward is None:
            return
        try:
            self._forward.send(datagram)
        except OSError:  # nobody listens there, or too much at once
            self._dropped["dogstatsd_forward"] += 1
        else:
            self.forwarded += 1


class _Reader:
    """Reads a Unix socket in a thread of its own: the system holds ten datagrams, and who sends one more, as
    tracers do without waiting, loses it.

    Args:
        one: Bound.
        arrived: Given what came, on the loop.
        dropped: Where what finds no room is counted.
    """

    def __init__(
        self, one: socket.socket, arrived: Callable[[Sequence[bytes]], None], dropped: Counter[str]
    ) -> None:
        self._socket = one
        self._arrived = arrived
        self._dropped = dropped
        self._loop = asyncio.get_running_loop()
        self._held: deque[bytes] = deque()
        self._is_called = self._is_stopping = False
        self._thread = threading.Thread(target=self._run, name="dogstatsd", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._is_stopping = True
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RD)
        self._thread.join(1.0)

    def _run(self) -> None:
        room = memoryview(bytearray(MAX_DATAGRAM_BYTES))
        with suppress(OSError, RuntimeError):  # the socket or the loop is closed
            while not self._is_stopping:
                size = self._socket.recv_into(room)
                if not size:  # one without anything, or the end
                    continue
                if len(self._held) >= MAX_HELD:
                    self._dropped["dogstatsd_too_busy"] += 1
                    continue
                self._held.append(room[:size].tobytes())
                if not self._is_called:
                    self._is_called = True
                    self._loop.call_soon_threadsafe(self._pass_over)

    def _pass_over(self) -> None:
        self._is_called = False
        held = self._held
        self._arrived([held.popleft() for _ in range(min(len(held), AT_ONCE))])
        if held and not self._is_called:
            self._is_called = True
            self._loop.call_soon(self._pass_over)


class _Lines:
    """An upload of lines."""

    def __init__(self, statsd: DogStatsd) -> None:
        self._statsd = statsd
        self._chunks: list[bytes] = []
        self._size = 0

    def add(self, chunk: bytes) -> None:
        """One more piece."""
        self._size += len(chunk)
        if self._size <= MAX_UPLOAD_BYTES:
            self._chunks.append(chunk)

    def done(self) -> None:
        """That was all."""
        if self._size <= MAX_UPLOAD_BYTES:
            self._statsd.take_upload(b"".join(self._chunks))

    def lost(self) -> None:
        """The rest will not come."""
        self._chunks.clear()


def _is_left_behind(path: Path) -> bool:
    """Whether nobody listens on a socket that is there."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return True
    return False


def _reason(error: OSError) -> str:
    return error.strerror or str(error)
