"""How far a newcomer has come: agent, tracer, protection, block. Read from what is or once was."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from sealwire.server.control_plane import ControlPlane
from sealwire.server.fleet.connection import Connection
from sealwire.server.fleet.overview import Fleet
from sealwire.server.protect.actions import FEATURES
from sealwire.server.protect.denylists import DATA
from sealwire.server.store import protect as store
from sealwire.server.tenant import Tenant

#: A month after its organisation was made nobody is a newcomer, whatever they left out.
NEW_FOR_S = 30 * 86400.0
HERE = (Connection.CONNECTED, Connection.PENDING, Connection.DEGRADED)


@dataclass(frozen=True, slots=True)
class Progress:
    """Steps that are done, of all."""

    done: int
    total: int


async def progress(plane: ControlPlane, tenant: Tenant, fleet: Fleet) -> Progress | None:
    """How far the first steps are; None when there is nothing to lead anybody to any more."""
    organisation = tenant.organisation
    if (plane.now_ms() - organisation.created_ms) / 1000 > NEW_FOR_S:
        return None

    def load() -> frozenset[str]:
        with plane.database.read() as c:
            return store.products_ever(c, organisation.org_id)

    used = await asyncio.to_thread(load)
    connected = any(line.state in HERE or line.director_version for line in fleet.agents)
    facts = (connected, bool(fleet.clients), FEATURES in used, DATA in used)
    return None if all(facts) else Progress(sum(facts), len(facts))
