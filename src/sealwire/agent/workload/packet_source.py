"""A packet socket as a source: questions for names, requests to a cloud's metadata service, new connections.

A packet does not say whose it is. Its port is looked up among the sockets of this host, and the socket
among the open files of its processes; both are gone soon after, so this is mostly right and never certain.
"""

from __future__ import annotations

import ctypes
import errno
import ipaddress
import os
import socket
import time
from collections import OrderedDict
from collections.abc import Collection, Mapping
from typing import Any, Final

from sealwire.agent.workload.addresses import is_public
from sealwire.agent.workload.decode_packets import (
    DNS_PORT,
    IPV6,
    MAX_PACKET_BYTES,
    METADATA,
    METADATA_PORT,
    TCP,
    UDP,
    Packet,
    filter_program,
    metadata_request,
    packet,
    question,
)
from sealwire.agent.workload.proc import Proc
from sealwire.agent.workload.processes import Processes
from sealwire.agent.workload.sources import Offer, SourceError
from sealwire.secl.event import Event, Process

ALL_PROTOCOLS: Final = 0x0003
OUTGOING: Final = 4
EGRESS: Final = 2
ATTACH_FILTER, PACKET_STATISTICS, SOL_PACKET = 26, 6, 263
MAX_SOCKETS: Final = 4_096
SCAN_S: Final = 0.02  # looking for one socket's owner takes no longer
SCAN_SHARE: Final = 0.02  # of one core, for all of them
_JOINED: Final = "found by the port of the packet, which a program that ends at once has given back by then"

OFFER: Final = Offer(
    source="the packet socket",
    events=frozenset({"dns", "imds", "connect"}),
    partly={
        "process.": _JOINED,
        "connect": "only new TCP connections are seen, and only those that leave or stay on this host",
        "imds.": "only what is in the first packet of a request by plain HTTP",
    },
    missing={
        "dns.response.": "answers are not joined to their questions",
        "imds.server": "answers are not read",
        "imds.aws.security_credentials.": "answers are not read",
        "connect.retval": "what the call returned is not in a packet",
        "connect.addr.hostname": "names are not joined to addresses",
        "process.user_session.": "sessions are not known",
    },
)


class PacketSource:
    """Reads a packet socket.

    Args:
        emits: Event types to make.
    """

    def __init__(
        self,
        processes: Processes,
        proc: Proc,
        *,
        emits: Collection[str] = frozenset({"dns", "imds"}),
        common: Mapping[str, Any],
    ) -> None:
        self._processes = processes
        self._proc = proc
        self._emits = frozenset(emits)
        self._common = {**common, "event.origin": "packet"}
        self._socket: socket.socket | None = None
        self._owners: OrderedDict[int, int] = OrderedDict()
        self._scan_s, self._scan_at_s = 0.0, time.monotonic()
        self._lost = 0
        self.unjoined = 0

    @property
    def offer(self) -> Offer:
        return Offer(OFFER.source, OFFER.events & self._emits, OFFER.partly, OFFER.missing)

    @property
    def due_s(self) -> float:
        return 5.0

    def start(self) -> None:
        try:
            # What comes before the filter is attached is looked at like the rest.
            self._socket = socket.socket(
                socket.AF_PACKET,
                socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK,
                socket.htons(ALL_PROTOCOLS),
            )
            program = ctypes.create_string_buffer(filter_program(connections="connect" in self._emits))
            described = _FilterProgram((len(program) - 1) // 8, ctypes.addressof(program))
            self._socket.setsockopt(socket.SOL_SOCKET, ATTACH_FILTER, bytes(described))
        except OSError as error:
            self.stop()
            raise SourceError(_why(error)) from error

    def stop(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def filenos(self) -> tuple[int, ...]:
        return (self._socket.fileno(),) if self._socket is not None else ()

    @property
    def lost(self) -> int:
        if self._socket is not None:
            # The kernel counts from the last time it was asked.
            raw = self._socket.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8)
            self._lost += int.from_bytes(raw[4:8], "little")
        return self._lost

    def read(self, *, limit: int) -> list[Event]:
        found: list[Event] = []
        for _ in range(limit):
            if self._socket is None:
                break
            try:
                raw, sender = self._socket.recvfrom(MAX_PACKET_BYTES)
            except OSError:
                break
            if sender[2] != OUTGOING:
                continue  # on the loopback interface every packet comes twice
            read = packet(raw)
            event = self._event(read, sender[0]) if read is not None else None
            if event is not None:
                found.append(event)
        return found

    def _event(self, read: Packet, interface: str) -> Event | None:
        values: dict[str, Any] = {}
        if read.protocol == UDP and read.destination_port == DNS_PORT:
            asked = question(read.payload)
            if asked is None or "dns" not in self._emits:
                return None
            kind = "dns"
            values = {
                "dns.id": asked.id,
                "dns.question.name": asked.name,
                "dns.question.type": asked.type,
                "dns.question.class": asked.cls,
                "dns.question.count": asked.count,
                "dns.question.length": asked.length,
            }
        elif read.begins_connection and "connect" in self._emits:
            kind = "connect"
            values = {
                "connect.addr.family": int(socket.AF_INET6 if read.layer3 == IPV6 else socket.AF_INET),
                "connect.addr.ip": read.destination,
                "connect.addr.port": read.destination_port,
                "connect.addr.is_public": is_public(read.destination),
                "connect.protocol": TCP,
            }
        elif read.destination == METADATA and read.destination_port == METADATA_PORT and read.payload:
            request = metadata_request(read.payload)
            if request is None or "imds" not in self._emits:
                return None
            kind = "imds"
            values = {
                "imds.type": "request",
                "imds.url": request.url,
                "imds.host": request.host,
                "imds.user_agent": request.user_agent,
                "imds.aws.is_imds_v2": request.with_token,
            }
        else:
            return None
        if kind != "connect":
            values.update(_network(read, interface))
        at_ns = time.time_ns()
        return Event(
            kind,
            timestamp_ns=at_ns,
            values={**self._common, **values},
            process=self._owner(read, at_ns),
        )

    # Whose it is --------------------------------------------------------------------------------------------

    def _owner(self, read: Packet, at_ns: int) -> Process:
        inode = self._inode(read)
        pid = self._pid_of(inode) if inode else 0
        if not pid:
            self.unjoined += 1
            return Process()
        return self._processes.of(pid, at_ns=at_ns)

    def _inode(self, read: Packet) -> int:
        kind = "udp" if read.protocol == UDP else "tcp"
        names = (f"{kind}6",) if read.layer3 == IPV6 else (kind, f"{kind}6")
        for name in names:
            inode = socket_inode(self._proc.read(f"net/{name}"), read.source, read.source_port)
            if inode:
                return inode
        return 0

    def _pid_of(self, inode: int) -> int:
        pid = self._owners.get(inode, 0)
        wanted = f"socket:[{inode}]"
        if pid and self._has(pid, wanted):
            return pid
        now_s = time.monotonic()
        self._scan_s = min(0.2, self._scan_s + (now_s - self._scan_at_s) * SCAN_SHARE)
        self._scan_at_s = now_s
        if self._scan_s <= 0:
            return 0
        found = 0
        # The newest first: who asks for a name has often just begun.
        for each in sorted(self._proc.pids(), reverse=True):
            if time.monotonic() - now_s > SCAN_S:
                break
            if self._has(each, wanted):
                found = each
                break
        self._scan_s -= time.monotonic() - now_s
        if found:
            self._owners[inode] = found
            if len(self._owners) > MAX_SOCKETS:
                self._owners.popitem(last=False)
        return found

    @staticmethod
    def _has(pid: int, wanted: str) -> bool:
        folder = f"/proc/{pid}/fd"
        try:
            names = os.listdir(folder)
        except OSError:
            return False
        for name in names[:1024]:
            try:
                if os.readlink(f"{folder}/{name}") == wanted:
                    return True
            except OSError:
                continue
        return False


class _FilterProgram(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("program", ctypes.c_void_p))


def socket_inode(raw: bytes, ip: str, port: int) -> int:
    """The socket with a local address and port, by ``/proc/net/udp`` and the like; 0 if none is there.

    One that is bound to every address counts if none has exactly this one.
    """
    wanted = _local(ip, port)
    wide = 0
    ending = f":{port:04X}".encode()
    for line in raw.split(b"\n")[1:]:
        words = line.split(None, 10)
        if len(words) < 10 or not words[1].endswith(ending) or not words[9].isdigit():
            continue
        if words[1] == wanted or words[1].endswith(b"FFFF0000" + wanted):
            return int(words[9])
        if not words[1].partition(b":")[0].strip(b"0"):
            wide = int(words[9])
    return wide


def _local(ip: str, port: int) -> bytes:
    try:
        raw = ipaddress.ip_address(ip).packed
    except ValueError:
        return b"?"
    words = [raw[at : at + 4][::-1].hex().upper() for at in range(0, len(raw), 4)]
    return f"{''.join(words)}:{port:04X}".encode()


def _network(read: Packet, interface: str) -> dict[str, Any]:
    return {
        "network.source.ip": read.source,
        "network.source.port": read.source_port,
        "network.source.is_public": is_public(read.source),
        "network.destination.ip": read.destination,
        "network.destination.port": read.destination_port,
        "network.destination.is_public": is_public(read.destination),
        "network.device.ifname": interface,
        "network.l3_protocol": read.layer3,
        "network.l4_protocol": read.protocol,
        "network.network_direction": EGRESS,
        "network.size": read.size,
    }


def _why(error: OSError) -> str:
    if error.errno in (errno.EPERM, errno.EACCES):
        return "A packet socket may not be opened: the agent needs CAP_NET_RAW."
    if error.errno in (errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT):
        return "Packet sockets are not in this kernel (CONFIG_PACKET)."
    return f"The packet socket cannot be used: {error.strerror}."
