"""What became of each probe in each process: the last that each said, in memory and stored.

Messages are put in order by ``statuses``; here is where they are kept. Invariants: what is held of a probe is
bounded; a restart forgets nothing that was written, which is a second old at most. Lives on the event loop.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from sealwire.server.debugger import statuses
from sealwire.server.debugger.keep import KnownProbe, Source
from sealwire.server.fleet.overview import Overview
from sealwire.server.store.database import Database


class Instance(NamedTuple):
    """A process with a version of a probe.

    Attributes:
        host: As the agent that passed it on calls it.
        env, tracer_version, app_version, language, client_id: Of the client in the fleet; env else as it was
            sent; the others empty while the client is not known.
        is_alive: Whether the process is still in the fleet; one that is not is stale.
    """

    key: statuses.Key
    state: statuses.State
    service: str
    env: str
    host: str
    tracer_version: str = ""
    app_version: str = ""
    language: str = ""
    client_id: str = ""
    is_alive: bool = True

    def is_stale(self, now_ms: int) -> bool:
        return not self.is_alive or self.state.is_stale(now_ms)


class TakenStatuses(NamedTuple):
    """What became of some messages."""

    taken: int = 0
    unknown: int = 0
    over: int = 0


class ProbeStatuses:
    """The statuses of one organisation.

    Args:
        known: A probe that programs may speak of, from memory; None: there is none.
        overview: Knows which processes are there.
    """

    def __init__(
        self,
        database: Database,
        org_id: int,
        overview: Overview,
        *,
        known: Callable[[str], KnownProbe | None],
        clock: Callable[[], datetime],
    ) -> None:
        self._database = database
        self._org_id = org_id
        self._overview = overview
        self._known = known
        self._clock = clock

    def take(self, diagnostics: Sequence[statuses.Diagnostic], source: Source) -> TakenStatuses:
        """Note what processes said; of probes that nobody knows it is counted only."""
        raise NotImplementedError

    def of(self, probe_id: str) -> list[Instance]:
        """The processes that said anything of a probe, failed ones first, then by service."""
        raise NotImplementedError

    def summary(self, probe_id: str, version: int) -> statuses.Summary:
        """A probe over all processes; ``version`` is the one that is wanted."""
        raise NotImplementedError

    def all_summaries(self, versions: Mapping[str, int]) -> dict[str, statuses.Summary]:
        """Those of several probes, given the wanted version of each."""
        raise NotImplementedError

    def generation(self, probe_id: str) -> int:
        """Grows with every change of what is said of a probe."""
        raise NotImplementedError
