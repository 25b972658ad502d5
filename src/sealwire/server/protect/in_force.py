"""What is in force against attacks: which services look for them, and whom they refuse.

An activation is three facts, and none stands for another: it was *requested* here; the tracers *acknowledged*
it; traces were *observed* that carry its mark, which needs traces and is not known yet. Who blocked somebody,
when and why is read from the revisions of the list, so it is right for whatever wrote them.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from weakref import WeakKeyDictionary

import orjson

from sealwire.products import ClientFacts
from sealwire.server.control_plane import ControlPlane
from sealwire.server.fleet.explain import DeliveryState
from sealwire.server.fleet.overview import ClientLine, Fleet
from sealwire.server.protect import denylist
from sealwire.server.protect.actions import DATA, FEATURES, active, says_on
from sealwire.server.protect.denylist import Entry, Kind
from sealwire.server.store import protect as store
from sealwire.server.store import rows
from sealwire.server.targeting import Targeting
from sealwire.server.tenant import Tenant

HISTORY = 2000  # revisions of a list that are looked through for who, when and why
_BATCH = 100


# Services ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Rule:
    """An active config that switches attack detection on or off."""

    config_id: str
    name: str
    targeting: Targeting
    is_on: bool
    by: str
    at_ms: int


@dataclass(slots=True)
class Service:
    """One service in one environment.

    Attributes:
        clients: Tracers that are here.
        tracers: Language and version -> how many.
        rule: Why it is requested on or off, in the most of its clients; None when nothing says so.
        on, off: Clients that were requested to be on, or off in spite of wider activations.
        acknowledged: Clients requested to be on that have the config and said so.
        ready: Clients that ask for what they block with: attack detection runs there.
        switchable: Clients that take an order from here at all.
        failed: Clients that said they could not.
    """

    service: str
    env: str
    clients: int = 0
    tracers: Counter[tuple[str, str]] = field(default_factory=Counter)
    rule: Rule | None = None
    on: int = 0
    off: int = 0
    acknowledged: int = 0
    ready: int = 0
    switchable: int = 0
    failed: int = 0


def rules(tenant: Tenant) -> list[Rule]:
    """What switches attack detection, the one that wins last."""
    found = []
    for item in tenant.publisher.catalogue.active.values():
        if item.row.product == FEATURES and (says := says_on(item.row)) is not None:
            found.append((item, says))
    found.sort(
        key=lambda pair: (pair[0].targeting.specificity, pair[0].row.updated_ms, pair[0].row.config_id)
    )
    return [
        Rule(
            item.row.config_id, item.row.name, item.targeting, says, item.row.updated_by, item.row.updated_ms
        )
        for item, says in found
    ]


def services(tenant: Tenant, clients: Iterable[ClientLine]) -> list[Service]:
    """Every service of these clients, in each of its environments."""
    known = rules(tenant)
    fine = any(rule.targeting.host_tags or rule.targeting.client_id for rule in known)
    decided: dict[object, Rule | None] = {}
    found: dict[tuple[str, str], Service] = {}
    votes: dict[tuple[str, str], Counter[str]] = {}
    by_id = {rule.config_id: rule for rule in known}
    for line in clients:
        facts = line.facts
        where = str(facts.get("service", "")), str(facts.get("env", ""))
        service = found.get(where)
        if service is None:
            service = found[where] = Service(*where)
        language, version = str(facts.get("language", "")), str(facts.get("tracer_version", ""))
        key = line.client_id if fine else (*where, language, version, facts.get("app_version"))
        if key not in decided:
            decided[key] = _decide(known, tenant.overview.facts_of(line))
        rule = decided[key]
        products = facts.get("products", ())
        service.clients += 1
        service.tracers[language, version] += 1
        service.switchable += FEATURES in products
        service.ready += DATA in products
        if rule is None:
            continue
        votes.setdefault(where, Counter())[rule.config_id] += 1
        service.on += rule.is_on
        service.off += not rule.is_on
        for file in line.files:
            if file.product == FEATURES:
                service.acknowledged += rule.is_on and file.state is DeliveryState.IN_STEP
                service.failed += file.state is DeliveryState.FAILED
    for where, counts in votes.items():
        found[where].rule = by_id[counts.most_common(1)[0][0]]
    return sorted(found.values(), key=attrgetter("service", "env"))


def _decide(known: Sequence[Rule], facts: ClientFacts) -> Rule | None:
    return next((rule for rule in reversed(known) if rule.targeting.matches(facts)), None)


# Who is blocked ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Origin:
    """Who put an entry on a list, and why.

    Attributes:
        created_ms: Since when it stands there, without a break.
        by, reason: Of the revision that last set how long it lasts.
    """

    created_ms: int
    by: str
    reason: str
    until_s: int | None


@dataclass(frozen=True, slots=True)
class Listed:
    """One blocked address, network or user.

    Attributes:
        origin: None where it came before the history that is looked through.
    """

    kind: Kind
    entry: Entry
    config: rows.ConfigRow
    targeting: Targeting
    origin: Origin | None


@dataclass(slots=True)
class _History:
    revision: int
    origins: dict[tuple[Kind, str], Origin] = field(default_factory=dict)


_HISTORIES: WeakKeyDictionary[Tenant, dict[str, _History]] = WeakKeyDictionary()


async def blocked(plane: ControlPlane, tenant: Tenant) -> list[Listed]:
    """Everybody who is blocked now, those last blocked first."""
    return await asyncio.to_thread(_blocked, plane, tenant)


def _blocked(plane: ControlPlane, tenant: Tenant) -> list[Listed]:
    now_s = plane.now_ms() // 1000
    histories = _HISTORIES.setdefault(tenant, {})
    found = []
    listed = active(plane, tenant, DATA)
    for row in listed:
        payload = orjson.loads(row.payload)
        entries = [(kind, entry) for kind in Kind for entry in denylist.entries(payload, kind)]
        if not entries:
            continue
        origins = _origins(plane, tenant, histories, row)
        targeting = Targeting.parse(row.targeting)
        found += [
            Listed(kind, entry, row, targeting, origins.get((kind, entry.value)))
            for kind, entry in entries
            if entry.lives(now_s)
        ]
    for config_id in histories.keys() - {row.config_id for row in listed}:
        histories.pop(config_id, None)
    found.sort(key=lambda one: (-(one.origin.created_ms if one.origin else 0), one.entry.value))
    return found


def _origins(
    plane: ControlPlane, tenant: Tenant, histories: dict[str, _History], row: rows.ConfigRow
) -> Mapping[tuple[Kind, str], Origin]:
    known = histories.get(row.config_id)
    if known is None:
        known = _History(max(0, row.revision - HISTORY))
    if known.revision < row.revision:
        # On a copy: another thread may be reading what is there.
        known = _History(known.revision, dict(known.origins))
        while known.revision < row.revision:
            with plane.database.read() as c:
                batch = store.revisions_after(
                    c, tenant.organisation.org_id, row.config_id, known.revision, limit=_BATCH
                )
            if not batch:
                break
            for revision in batch:
                known.origins = follow(known.origins, revision)
                known.revision = revision.revision
        histories[row.config_id] = known
    return known.origins


def follow(
    before: Mapping[tuple[Kind, str], Origin], revision: rows.RevisionRow
) -> dict[tuple[Kind, str], Origin]:
    """Who is responsible for each entry after one more revision."""
    if revision.state != "active":
        return {}
    payload = orjson.loads(revision.payload)
    after = {}
    for kind in Kind:
        for entry in denylist.entries(payload, kind):
            known = before.get((kind, entry.value))
            if known is None:
                known = Origin(revision.at_ms, revision.by, revision.comment, entry.until_s)
            elif known.until_s != entry.until_s:
                reason = revision.comment or known.reason
                known = Origin(known.created_ms, revision.by, reason, entry.until_s)
            after[kind, entry.value] = known
    return after


def enforcing(tenant: Tenant, fleet: Fleet) -> int:
    """How many tracers that are here would refuse somebody: they ask for denylists."""
    return sum(DATA in line.facts.get("products", ()) for line in tenant.uptakes.here(fleet))
