"""What somebody who writes an expression has at hand: names to complete, snapshots to try it on.

Everything comes from what is kept of the same probe or of any probe at the same place, the newest first, and
only of services and environments whose values they may see; who may see none gets the names of the symbols
and nothing to try. Invariants: bounded in the number of snapshots that are opened; nothing is changed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from sealwire.errors import NotFoundError
from sealwire.server.access import Principal
from sealwire.server.debugger.authoring import scope, tryout
from sealwire.server.debugger.authoring.probes import AtLine, OnMethod, Probe
from sealwire.server.debugger.authoring.tryout import Tried
from sealwire.server.debugger.expressions.completion import Known
from sealwire.server.debugger.snapshots import discretion
from sealwire.server.debugger.snapshots.snapshot import Snapshot

if TYPE_CHECKING:
    from sealwire.server.tenant import Tenant

NAMED_FROM: Final = 5  # snapshots that names are taken from
MAX_PROBES: Final = 10  # at the same place

Where = AtLine | OnMethod


class Place(NamedTuple):
    """Where an expression will be evaluated.

    Attributes:
        envs: None for every one.
        moment: ``entry``, ``return`` or empty.
        probe_id: Of the probe that is changed; empty for a new one.
    """

    service: str
    envs: tuple[str, ...] = ()
    where: Where | None = None
    moment: str = ""
    probe_id: str = ""


def place_of(probe: Probe, service: str, envs: Sequence[str], probe_id: str = "") -> Place:
    """The place of a probe."""
    return Place(service, tuple(envs), probe.where, tryout.MOMENTS[probe.place], probe_id)


class Trial(NamedTuple):
    """A probe, tried.

    Attributes:
        why_not: Why there is nothing, as a sentence; empty if it was tried.
    """

    tried: Tried
    why_not: str = ""


class Workbench:
    """For one person of one organisation."""

    def __init__(self, tenant: Tenant, principal: Principal) -> None:
        self._tenant = tenant
        self._principal = principal

    async def names(self, place: Place) -> tuple[Known, ...]:
        """Names that may be written there."""
        seen: tuple[Known, ...] = ()
        if self._may_see(place):
            snapshots = await self.recent(place, limit=NAMED_FROM)
            seen = await asyncio.to_thread(scope.seen, snapshots, moment=place.moment)
        known: tuple[Known, ...] = ()
        if place.where is not None and place.service:
            env = place.envs[0] if place.envs else ""
            found = await self._tenant.symbols.names_at(place.service, env, place.where)
            known = tuple(Known(each.name, each.kind, each.type) for each in found)
        return scope.merged(seen, known)

    async def recent(self, place: Place, *, limit: int = tryout.MAX_SNAPSHOTS) -> list[Snapshot]:
        """The newest snapshots of the probe, else of any at its place, that they may see the values of."""
        snapshots = self._tenant.snapshots
        kept = []
        for probe_id in await self._probes(place):
            kept += await snapshots.list(probe_id=probe_id, has_values=True, limit=limit)
            if probe_id == place.probe_id and kept:
                break
        kept = sorted(
            (
                each
                for each in kept
                if discretion.may_see(self._principal, each) and (not place.envs or each.env in place.envs)
            ),
            key=lambda each: -each.at_ms,
        )
        found = []
        for each in kept[:limit]:
            try:
                opened = await snapshots.open(each.snapshot_id)
            except NotFoundError:  # it went meanwhile
                continue
            if not opened.problem:
                found.append(
                    msgspec.structs.replace(
                        opened.snapshot, snapshot_id=each.snapshot_id, timestamp_ms=each.at_ms
                    )
                )
        return found

    async def try_probe(self, probe: Probe, place: Place) -> Trial:
        """What the probe would have done with what is kept."""
        if not self._may_see(place):
            return Trial(Tried(()), f"It takes the permission {discretion.CAPTURE} to try it on snapshots.")
        snapshots = await self.recent(place)
        if not snapshots:
            return Trial(Tried(()), "No snapshot of this place is kept to try it on.")
        return Trial(await asyncio.to_thread(tryout.try_probe, probe, snapshots))

    async def _probes(self, place: Place) -> Sequence[str]:
        """The probe itself, then others at the same place."""
        found = [place.probe_id] if place.probe_id else []
        if place.service and place.where is not None:
            rows = await self._tenant.probes.list(self._principal, state="all", service=place.service)
            found += [
                row.probe_id
                for row in rows
                if row.probe.where == place.where
                and row.service == place.service
                and row.probe_id not in found
            ]
        return found[: MAX_PROBES + 1]

    def _may_see(self, place: Place) -> bool:
        return any(
            discretion.may_see_values(self._principal, service=place.service, env=env)
            for env in place.envs or ("",)
        ) or self._principal.may(discretion.CAPTURE)
