"""What is in force against attacks: which services look for them, and who was blocked last.

An activation is three facts, and none stands for another: it was *requested* here; the tracers *acknowledged*
it; traces were *observed* that carry its mark.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from operator import attrgetter

from sealwire.products import ClientFacts
from sealwire.server.fleet.explain import DeliveryState
from sealwire.server.fleet.overview import ClientLine, Fleet
from sealwire.server.protect.actions import FEATURES, says_on
from sealwire.server.protect.denylists import DATA
from sealwire.server.store.protect import EntryRow
from sealwire.server.targeting import Targeting
from sealwire.server.tenant import Tenant

# Services ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Rule:
    """An active config that switches App and API Protection on or off."""

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
        ready: Clients that ask for what they block with: App and API Protection runs there.
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
    """What switches App and API Protection, the one that wins last."""
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


async def newest_block(tenant: Tenant) -> EntryRow | None:
    """Who was blocked last, of those who still are."""
    await tenant.denylists.settle()
    return max(tenant.denylists.in_force(), key=lambda row: (row.created_ms, row.id), default=None)


def enforcing(tenant: Tenant, fleet: Fleet) -> int:
    """How many tracers that are here would refuse somebody: they ask for denylists."""
    return sum(DATA in line.facts.get("products", ()) for line in tenant.uptakes.here(fleet))
