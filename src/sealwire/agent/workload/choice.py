"""Which sources this host allows, tried from the best to the last, and said in words.

First: audit records, with the process connector beside them for who started whom, and a packet socket.
Second: the process connector and fanotify. Last: the list of processes. A source that cannot be used costs
the host nothing and is named with what is missing.
"""

from __future__ import annotations

import contextlib
import enum
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sealwire.agent.workload.audit_control import KEY
from sealwire.agent.workload.audit_source import AuditSource
from sealwire.agent.workload.connector_source import ConnectorSource
from sealwire.agent.workload.fanotify_source import OFFER as FANOTIFY_OFFER
from sealwire.agent.workload.fanotify_source import FanotifySource
from sealwire.agent.workload.packet_source import PacketSource
from sealwire.agent.workload.poll_source import PollSource
from sealwire.agent.workload.proc import Proc
from sealwire.agent.workload.processes import Processes
from sealwire.agent.workload.sources import Offer, Source, SourceError
from sealwire.agent.workload.syscalls import CALLS

# What the process connector and fanotify see better than the rules of an audit daemon we do not know.
_NOT_FROM_ANOTHERS_RULES: Final = frozenset({"exec", *FANOTIFY_OFFER.events})


class Level(enum.Enum):
    """How good the sources in use are."""

    FIRST = "audit records"
    SECOND = "process connector and fanotify"
    LAST = "list of processes (degraded)"


@dataclass(frozen=True, slots=True)
class Choice:
    """The sources in use.

    Attributes:
        sources: Started, in the order they are to be read.
        audit: The one that takes rules for the kernel; ``None`` if there is none or it takes none.
        fanotify: The one that looks at whole file systems, if it is in use.
        says: What is used and what is not, and why; sentences for a page.
    """

    level: Level
    sources: tuple[Source, ...]
    audit: AuditSource | None = None
    fanotify: FanotifySource | None = None
    says: tuple[str, ...] = ()

    @property
    def offers(self) -> tuple[Offer, ...]:
        return tuple(source.offer for source in self.sources)

    def stop(self) -> None:
        """Stop all, the last started first."""
        for source in reversed(self.sources):
            source.stop()


def choose(
    processes: Processes,
    proc: Proc,
    *,
    keep_in: Path,
    common: Mapping[str, Any],
    beside_a_daemon: bool = False,
    allowed: Sequence[Level] = tuple(Level),
    key: str = KEY,
) -> Choice:
    """Start the best sources this host allows.

    Args:
        keep_in: A folder that survives a run that is killed.
        beside_a_daemon: Audit rules are added though an audit daemon is there and will log what they record.
        allowed: Levels that may be used.
        key: Of the audit rules.

    Raises:
        SourceError: Not even the last can be used.
    """
    said: list[str] = []

    def started(source: Source) -> bool:
        try:
            source.start()
        except SourceError as error:
            said.append(str(error))
            return False
        return True

    if Level.FIRST in allowed:
        audit = AuditSource(processes, proc, keep_in=keep_in, common=common, beside=beside_a_daemon, key=key)
        if started(audit):
            said += audit.says
            if audit.may_add_rules:
                return _first(audit, processes, proc, common, said, started)
            audit.stop()
    if Level.SECOND in allowed:
        connector = ConnectorSource(processes, common=common)
        if started(connector):
            return _second(connector, processes, proc, common, said, started, keep_in)
    if Level.LAST in allowed:
        poll = PollSource(processes, proc, common=common)
        if started(poll):
            sources: list[Source] = [poll]
            packets = PacketSource(processes, proc, emits={"dns", "imds", "connect"}, common=common)
            if started(packets):
                sources.append(packets)
            said.append("The list of processes is read four times a second; what is shorter is not seen.")
            return Choice(Level.LAST, tuple(sources), says=tuple(said))
    raise SourceError(" ".join(said) or "No source of events is allowed.")


def _first(
    audit: AuditSource,
    processes: Processes,
    proc: Proc,
    common: Mapping[str, Any],
    said: list[str],
    started: Callable[[Source], bool],
) -> Choice:
    sources: list[Source] = []
    connector = ConnectorSource(processes, emits={"exit"}, common=common)
    if started(connector):
        sources.append(connector)
    sources.append(audit)
    packets = PacketSource(processes, proc, common=common)
    if started(packets):
        sources.append(packets)
    return Choice(Level.FIRST, tuple(sources), audit=audit, says=tuple(said))


def _second(
    connector: ConnectorSource,
    processes: Processes,
    proc: Proc,
    common: Mapping[str, Any],
    said: list[str],
    started: Callable[[Source], bool],
    keep_in: Path,
) -> Choice:
    sources: list[Source] = [connector]
    fanotify = FanotifySource(processes, common=common)
    watching = started(fanotify)
    if watching:
        sources.append(fanotify)
        said += fanotify.says
    packets = PacketSource(processes, proc, emits={"dns", "imds", "connect"}, common=common)
    if started(packets):
        sources.append(packets)
    others = AuditSource(
        processes,
        proc,
        keep_in=keep_in,
        common=common,
        emits=frozenset(CALLS) - _NOT_FROM_ANOTHERS_RULES - connector.offer.events,
    )
    # Only what somebody else's rules record is read there; where we could add some it was not allowed.
    with contextlib.suppress(SourceError):
        others.start_reading()
        sources.append(others)
    said.append("Processes are seen by the process connector" + (", files by fanotify." if watching else "."))
    return Choice(Level.SECOND, tuple(sources), fanotify=fanotify if watching else None, says=tuple(said))
