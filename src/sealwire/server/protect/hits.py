"""How often each entry of the denylist was met: counted as requests are seen, written behind.

A request that was refused names a block of an address or of a user; one of a suspicious address was refused
for a rule it matched. It is counted at the entry that refused it: the longest prefix, as tracers have it.
What is counted and not yet written is bounded; beyond that only how much was left out is known.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import orjson

from sealwire.products import ClientFacts
from sealwire.server.protect import denylist
from sealwire.server.protect.denylist import Kind
from sealwire.server.store import protect as store
from sealwire.server.store.protect import EntryRow
from sealwire.server.targeting import Targeting

if TYPE_CHECKING:
    from sealwire.server.security.rows import SecurityTrace
    from sealwire.server.store.database import Database

MAX_NOTED = 20_000
_BLOCK_IP, _BLOCK_USER = "security_response.block_ip", "security_response.block_user"

Met = tuple[str, str, str, str]
"""Kind, value as it was seen, service, env."""


class Hits:
    """Requests that entries refused, of one organisation.

    Args:
        in_force: Every entry; asked only when there is something to write.
    """

    def __init__(self, database: Database, org_id: int, in_force: Callable[[], list[EntryRow]]) -> None:
        self._database = database
        self._org_id = org_id
        self._in_force = in_force
        self._lock = threading.Lock()
        self._noted: Counter[Met] = Counter()
        self._last_ms: dict[Met, int] = {}
        self.left_out = 0

    def note(self, trace: SecurityTrace, count: int) -> None:
        """A request was seen, or several like it."""
        met: list[tuple[str, str]] = []
        if _BLOCK_IP in trace.activities:
            met.append((Kind.IP.word, trace.actor_ip))
        if _BLOCK_USER in trace.activities:
            met.append((Kind.USER.word, trace.user_id))
        if trace.blocked and not met:
            met.append((Kind.SUSPICIOUS.word, trace.actor_ip))
        with self._lock:
            for kind, value in met:
                key = (kind, value, trace.service, trace.env)
                if not value:
                    continue
                if key not in self._noted and len(self._noted) >= MAX_NOTED:
                    self.left_out += count
                    continue
                self._noted[key] += count
                self._last_ms[key] = max(self._last_ms.get(key, 0), int(trace.ts * 1000))

    def keep(self) -> None:
        """Write what was counted (blocking)."""
        with self._lock:
            noted, self._noted = self._noted, Counter()
            last_ms, self._last_ms = self._last_ms, {}
        if not noted:
            return
        found = attributed(noted, self._in_force())
        hits = {
            number: (sum(noted[met] for met in those), max(last_ms[met] for met in those))
            for number, those in found.items()
        }
        with self._database.write() as c:
            store.add_hits(c, self._org_id, hits)


def attributed(noted: Iterable[Met], entries: Iterable[EntryRow]) -> dict[int, list[Met]]:
    """Number of the entry -> what it refused; what no entry explains is left out."""
    networks: dict[tuple[str, denylist.Packed], list[EntryRow]] = {}
    users: dict[str, list[EntryRow]] = {}
    targets: dict[str, Targeting] = {}
    for row in entries:
        if row.target_key not in targets:
            targets[row.target_key] = Targeting.parse(orjson.loads(row.target))
        if row.kind == Kind.USER.word:
            users.setdefault(row.value, []).append(row)
        elif (packed := denylist.pack(row.value)) is not None:
            networks.setdefault((row.kind, packed), []).append(row)
    found: dict[int, list[Met]] = {}
    for met in noted:
        kind, value, service, env = met
        if kind == Kind.USER.word:
            candidates = users.get(value, [])
        else:
            candidates = [
                row for packed in denylist.prefixes_of(value) for row in networks.get((kind, packed), ())
            ]
        facts = ClientFacts(client_id="", service=service, env=env)
        for row in candidates:
            if not row.covered_by and _reaches(targets[row.target_key], facts):
                found.setdefault(row.id, []).append(met)
                break
    return found


def _reaches(target: Targeting, facts: ClientFacts) -> bool:
    """Whether requests of a service may have met a target; of what a trace does not tell, it is believed."""
    folded = facts.service.casefold(), facts.env.casefold()
    services, envs = [one.casefold() for one in target.service], [one.casefold() for one in target.env]
    return (not services or folded[0] in services) and (not envs or folded[1] in envs)
