"""How far each config has come: over the clients that shall have it, kept up to date by what changes.

Counted are clients that are here: not those that were offline for ten minutes, nor those that their agent
does not know any more, as nothing will come of them. A look at the fleet shares what did not change with the
one before, so only clients whose files are other ones are counted anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sealwire.server.fleet.connection import Connection
from sealwire.server.fleet.explain import DeliveryState, FileState
from sealwire.server.fleet.overview import ClientLine, Fleet

if TYPE_CHECKING:
    from sealwire.server.distribute import Distributor

_STATES = {DeliveryState.IN_STEP: 0, DeliveryState.APPLYING: 1, DeliveryState.FAILED: 2}


@dataclass(frozen=True, slots=True)
class Uptake:
    """Where a config stands in the clients that shall have it.

    Attributes:
        applying: They have it and are not done.
    """

    wanted: int = 0
    acknowledged: int = 0
    applying: int = 0
    failed: int = 0

    @property
    def waiting(self) -> int:
        """Clients that have not said either yet."""
        return self.wanted - self.acknowledged - self.failed


NOBODY = Uptake()


class Uptakes:
    """Every config's uptake in one organisation. Lives on the event loop."""

    def __init__(self, distributor: Distributor) -> None:
        self._distributor = distributor
        self._fleet: Fleet | None = None
        self._counted: dict[str, tuple[FileState, ...]] = {}
        self._counts: dict[str, list[int]] = {}  # config id -> clients, and by state as in _STATES
        self._changed: set[str] = set()
        self._known: dict[str, Uptake] = {}

    def of(self, fleet: Fleet) -> Mapping[str, Uptake]:
        """Config id -> its uptake; a config nobody shall have is not there."""
        if fleet is not self._fleet:
            self._fleet = fleet
            self._count(fleet)
        return self._known

    def here(self, fleet: Fleet) -> Iterator[ClientLine]:
        """The clients that count."""
        return (line for line in fleet.clients if self._is_here(line))

    def _count(self, fleet: Fleet) -> None:
        seen = 0
        counted = self._counted
        for line in fleet.clients:
            files = line.files if self._is_here(line) else ()
            before = counted.get(line.client_id)
            if before is not None:
                seen += 1
                if before is files:
                    continue
                self._add(before, -1)
            else:
                seen += 1
            counted[line.client_id] = files
            self._add(files, 1)
        if len(counted) > seen:
            present = {line.client_id for line in fleet.clients}
            for client_id in [one for one in counted if one not in present]:
                self._add(counted.pop(client_id), -1)
        if self._changed:
            known = dict(self._known)
            for config_id in self._changed:
                wanted, *states = self._counts[config_id]
                if wanted:
                    known[config_id] = Uptake(wanted, *states)
                else:
                    known.pop(config_id, None)
                    del self._counts[config_id]
            self._changed.clear()
            self._known = known

    def _add(self, files: Iterable[FileState], step: int) -> None:
        for file in files:
            state = _STATES.get(file.state)
            for config_id in file.config_ids:
                counts = self._counts.get(config_id)
                if counts is None:
                    counts = self._counts[config_id] = [0, 0, 0, 0]
                counts[0] += step
                if state is not None:
                    counts[state + 1] += step
                self._changed.add(config_id)

    def _is_here(self, line: ClientLine) -> bool:
        if line.standing.state is Connection.OFFLINE:
            return False
        session = self._distributor.sessions.get(line.agent_id)
        return session is None or line.client_id in session.reported
