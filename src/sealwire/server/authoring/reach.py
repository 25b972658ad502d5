"""Who gets a config, who would gain and who would lose it, and what stands in its way.

A pure decision over what the clients that are here now say of themselves, made before anything is
published. A config reaches a client that asks for its product and that its targeting matches; a merged
product's settings may still be another config's, which ``beside`` tells.

Clients are put together by what decides, so that ten thousand of them cost about as much as reading them
once.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import NotRequired, TypedDict

from sealwire.products import ClientFacts, Product, wording
from sealwire.products.schema import at
from sealwire.server.fleet import support
from sealwire.server.fleet.connection import Connection
from sealwire.server.targeting import Targeting
from sealwire.server.tenant import Tenant

MAX_CLIENTS = 50  # named; all are counted
MAX_GROUPS = 50
MAX_BESIDE = 20
MAX_FINDINGS = 5
_PATIENCE = 2_000  # other configs that are looked at

_ALWAYS = ("service", "env", "language", "tracer_version", "products")
_HEARD = (Connection.CONNECTED, Connection.PENDING, Connection.DEGRADED, Connection.UNSUPPORTED)


@dataclass(frozen=True, slots=True)
class Group:
    """Clients of one service, environment and language."""

    service: str
    env: str
    language: str
    count: int


@dataclass(frozen=True, slots=True)
class Clients:
    """Some clients: how many, where, and the first of them by name.

    Attributes:
        groups: The largest first, at most ``MAX_GROUPS``.
        first: At most ``MAX_CLIENTS``.
    """

    count: int = 0
    groups: tuple[Group, ...] = ()
    first: tuple[ClientFacts, ...] = ()


@dataclass(frozen=True, slots=True)
class RuleEffect:
    """What one field of the targeting does by itself.

    Attributes:
        field: Its name; ``product`` for the condition that a client asks for the product at all.
        words: The condition.
        excludes: Clients it does not hold for; of those that ask for the product, but for ``product``.
        alone: Clients that nothing else keeps out: they would get it without this rule.
    """

    field: str
    words: str
    excludes: int
    alone: int


@dataclass(frozen=True, slots=True)
class Beside:
    """Another active config of a merged product that says something of the same settings to the same clients.

    Attributes:
        clients: How many get both.
        settings: JSON paths both set.
        wins: Whether the config in question decides, not the other.
    """

    config_id: str
    name: str
    clients: int
    settings: tuple[str, ...]
    wins: bool


@dataclass(frozen=True, slots=True)
class Caution:
    """Something to know before publishing.

    Attributes:
        kind: ``nobody``, ``nobody_asks``, ``everyone``, ``too_old`` or ``overridden``.
    """

    kind: str
    words: str


@dataclass(frozen=True, slots=True)
class Other:
    """An active config as far as it matters to another."""

    config_id: str
    name: str
    targeting: Targeting
    payload: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Reach:
    """Who gets it.

    Attributes:
        population: Clients that are here now.
        now: Who gets it with this targeting.
        before: How many get it by the present revision.
        gains, losses: Against the present revision; everybody gains what is new.
        too_old: Those of ``now`` that cannot take it.
    """

    population: int
    asking: int
    now: Clients
    before: int
    gains: Clients
    losses: Clients
    too_old: Clients
    rules: tuple[RuleEffect, ...]
    beside: tuple[Beside, ...]
    cautions: tuple[Caution, ...]


def reach(
    product: Product,
    targeting: Targeting,
    population: Sequence[ClientFacts],
    *,
    payload: Mapping[str, object] | None = None,
    present: Targeting | None = None,
    others: Iterable[Other] = (),
) -> Reach:
    """Work out who gets a config.

    Args:
        payload: What it says; None while that is not known, then what depends on it is left out.
        present: Targeting of the revision that is in force; None when none is.
        others: Other active configs of the product, lowest priority first.
    """
    rivals = list(_rivals(targeting, others)) if product.single_file else []
    asked = [targeting, *([present] if present is not None else []), *(other.targeting for other in rivals)]
    kinds = _kinds(population, asked)
    asking = [(facts, clients) for facts, clients in kinds if product.name in facts.products]
    others_asking = [(facts, clients) for facts, clients in kinds if product.name not in facts.products]
    now, gains, losses, before = [], [], [], 0
    fields = targeting.to_dict()
    alone = {field: Targeting.parse({field: value}) for field, value in fields.items()}
    excludes, only = Counter[str](), Counter[str]()
    for facts, clients in asking:
        kept_out_by = [field for field, rule in alone.items() if not rule.matches(facts)]
        for field in kept_out_by:
            excludes[field] += len(clients)
        if len(kept_out_by) == 1:
            only[kept_out_by[0]] += len(clients)
        had = present is not None and present.matches(facts)
        before += len(clients) * had
        if not kept_out_by:
            now.append((facts, clients))
            if not had:
                gains.append((facts, clients))
        elif had:
            losses.append((facts, clients))
    matching_others = [(facts, clients) for facts, clients in others_asking if targeting.matches(facts)]
    rules = [
        RuleEffect("product", f"asks for {product.name}", _count(others_asking), _count(matching_others)),
        *(
            RuleEffect(field, _words(field, value), excludes[field], only[field])
            for field, value in fields.items()
        ),
    ]
    findings = support.too_old(product.name, payload, [one for _, clients in now for one in clients])
    old = {(one.language, one.tracer_version) for finding in findings for one in finding.clients}
    behind = [kind for kind in now if (kind[0].language, kind[0].tracer_version) in old]
    beside = _beside(payload, targeting, now, rivals) if payload is not None else ()
    getting = _clients(now)
    return Reach(
        population=len(population),
        asking=_count(asking),
        now=getting,
        before=before,
        gains=_clients(gains),
        losses=_clients(losses),
        too_old=_clients(behind),
        rules=tuple(rules),
        beside=beside,
        cautions=tuple(
            _cautions(product, targeting, getting, len(population), rules[0], findings, beside, payload)
        ),
    )


_Kind = tuple[ClientFacts, list[ClientFacts]]


def _kinds(population: Iterable[ClientFacts], asked: Sequence[Targeting]) -> list[_Kind]:
    """Clients put together by all that the targetings ask about: one to ask for each lot."""
    named = {client_id for targeting in asked for client_id in targeting.client_id}
    tags = frozenset(tag for targeting in asked for tag in targeting.host_tags)
    key = attrgetter(*_ALWAYS, *(("app_version",) if any(one.app_version for one in asked) else ()))
    found: dict[object, list[ClientFacts]] = {}
    singles: list[_Kind] = []
    for facts in population:
        if named and facts.client_id in named:
            singles.append((facts, [facts]))
            continue
        # Of the tags of a host only those that are asked about tell clients apart.
        alike = (key(facts), facts.host_tags & tags) if tags else key(facts)
        found.setdefault(alike, []).append(facts)
    return [*((clients[0], clients) for clients in found.values()), *singles]


def _count(kinds: Iterable[_Kind]) -> int:
    return sum(len(clients) for _, clients in kinds)


def _clients(kinds: Sequence[_Kind]) -> Clients:
    if not kinds:
        return Clients()
    counts: Counter[tuple[str, str, str]] = Counter()
    for facts, clients in kinds:
        counts[facts.service, facts.env, facts.language] += len(clients)
    groups = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    first: list[ClientFacts] = []
    for _, clients in sorted(kinds, key=lambda kind: (kind[0].service, kind[0].env, kind[0].language)):
        first.extend(sorted(clients[:MAX_CLIENTS], key=lambda one: one.client_id))
        if len(first) >= MAX_CLIENTS:
            break
    return Clients(
        counts.total(), tuple(Group(*where, count) for where, count in groups[:MAX_GROUPS]),
        tuple(first[:MAX_CLIENTS]),
    )  # fmt: skip


_ASKED = {
    "service": "service",
    "env": "environment",
    "language": "language",
    "tracer_version": "tracer version",
    "app_version": "application version",
    "host_tags": "host tag",
    "client_id": "client",
}


def _words(field: str, value: object) -> str:
    if isinstance(value, list):
        return f"{_ASKED[field]} {' or '.join(wording.shown(str(one)) for one in value[:3])}" + (
            f" or {len(value) - 3} others" if len(value) > 3 else ""
        )
    return f"{_ASKED[field]} {value}"


# Configs that say something of the same ---------------------------------------------------------------


def _rivals(targeting: Targeting, others: Iterable[Other]) -> Iterable[Other]:
    for number, other in enumerate(others):
        if number >= _PATIENCE:
            return
        if other.targeting.may_overlap(targeting):
            yield other


def _settings(value: object, path: str = "$", depth: int = 0) -> Iterable[str]:
    if isinstance(value, Mapping) and depth < 4:
        for key, inner in value.items():
            yield from _settings(inner, at(path, str(key)), depth + 1)
    elif value is not None:
        yield path


def _beside(
    payload: Mapping[str, object], targeting: Targeting, now: Sequence[_Kind], rivals: Sequence[Other]
) -> tuple[Beside, ...]:
    mine = set(_settings(payload))
    found = []
    for other in rivals:
        shared = mine.intersection(_settings(other.payload))
        count = sum(len(clients) for facts, clients in now if other.targeting.matches(facts)) if shared else 0
        if count:
            # What is published last wins among equals, and that is the config in question.
            wins = targeting.specificity >= other.targeting.specificity
            found.append(Beside(other.config_id, other.name, count, tuple(sorted(shared)), wins))
    found.sort(key=lambda one: (one.wins, -one.clients, one.config_id))
    return tuple(found[:MAX_BESIDE])


# What to know before ----------------------------------------------------------------------------------


def _cautions(
    product: Product,
    targeting: Targeting,
    now: Clients,
    population: int,
    asks: RuleEffect,
    findings: Sequence[support.Finding],
    beside: Sequence[Beside],
    payload: Mapping[str, object] | None,
) -> Iterable[Caution]:
    if not now.count and asks.alone:
        yield Caution(
            "nobody_asks",
            f"Nobody gets this now: {wording.counted(asks.alone, 'client')} it is for "
            f"{'does' if asks.alone == 1 else 'do'} not ask for {product.name}. It waits until they do.",
        )
    elif not now.count:
        yield Caution(
            "nobody",
            "Nobody gets this now: no client that is here matches. It waits for those that come."
            if population
            else "Nobody gets this now: no client is here. It waits for those that come.",
        )
    if not targeting.fields:
        yield Caution(
            "everyone",
            f"This is for the whole organisation: {wording.counted(now.count, 'client')} now, "
            "and every one that comes.",
        )
    for finding in findings[:MAX_FINDINGS]:
        yield Caution("too_old", finding.words)
    mine = set(_settings(payload)) if payload is not None else set()
    for other in beside:
        if not other.wins and other.clients == now.count and mine <= set(other.settings):
            yield Caution(
                "overridden",
                f"Everything in this is overridden by {wording.shown(other.name or other.config_id)}, "
                "which is more precise.",
            )


# Over the live fleet ----------------------------------------------------------------------------------


async def live_clients(tenant: Tenant) -> list[ClientFacts]:
    """Every client that is here now, those of the other control planes included."""
    found: dict[str, ClientFacts] = {}
    for session in tenant.distributor.sessions.values():
        if session.demand is not None:
            for facts in session.demand.agent.clients:
                found[facts.client_id] = facts
    fleet = await tenant.overview.glance()
    for line in fleet.clients:
        if line.client_id not in found and line.state in _HEARD:
            found[line.client_id] = tenant.overview.facts_of(line)
    return list(found.values())


async def live_reach(
    tenant: Tenant,
    product: Product,
    targeting: Targeting,
    *,
    payload: Mapping[str, object] | None = None,
    config_id: str | None = None,
) -> Reach:
    """Who gets a config, now.

    Args:
        config_id: The config that is changed; None for a new one.
    """
    active = tenant.publisher.catalogue.active
    item = active.get(config_id) if config_id is not None else None
    others = [
        Other(other.row.config_id, other.row.name, other.targeting, other.payload)
        for other in list(active.values())
        if other.row.product == product.name and other.row.config_id != config_id
    ]
    others.sort(key=lambda other: (other.targeting.specificity, other.config_id))
    clients = await live_clients(tenant)
    present = item.targeting if item is not None else None

    def decide() -> Reach:
        return reach(product, targeting, clients, payload=payload, present=present, others=others)

    return await asyncio.to_thread(decide)


class GroupSaid(TypedDict):
    """Clients that are alike."""

    service: str
    env: str
    language: str
    count: int


class ClientSaid(TypedDict):
    """A client, and what it is."""

    client_id: str
    service: str
    env: str
    language: str
    tracer_version: str


class ClientsSaid(TypedDict):
    """How many clients, and the first of them; only how many to those who may not see the fleet."""

    count: int
    groups: NotRequired[list[GroupSaid]]
    clients: NotRequired[list[ClientSaid]]


class RuleSaid(TypedDict):
    """What a field of the targeting does.

    Attributes:
        excludes: How many it keeps out.
        alone: How many nothing else keeps out.
    """

    field: str
    words: str
    excludes: int
    alone: int


class BesideSaid(TypedDict):
    """Another config for some of the same clients.

    Attributes:
        clients: How many.
        settings: JSON paths that both set.
        wins: Whether it is stronger.
    """

    config_id: str
    name: str
    clients: int
    settings: list[str]
    wins: bool


class CautionSaid(TypedDict):
    """Something to know before it is saved."""

    kind: str
    words: str


class ReachSaid(TypedDict):
    """Who would get a config.

    Attributes:
        population: Live clients.
        asking: Those that ask for its product.
        before: How many have it now.
    """

    population: int
    asking: int
    before: int
    now: ClientsSaid
    gains: ClientsSaid
    losses: ClientsSaid
    too_old: ClientsSaid
    rules: list[RuleSaid]
    beside: list[BesideSaid]
    cautions: list[CautionSaid]


def to_dict(found: Reach, *, named: bool = True) -> ReachSaid:
    """For the API; without ``named`` only how many, for those who may not see the fleet."""

    def clients(some: Clients) -> ClientsSaid:
        if not named:
            return {"count": some.count}
        return {
            "count": some.count,
            "groups": [
                {"service": g.service, "env": g.env, "language": g.language, "count": g.count}
                for g in some.groups
            ],
            "clients": [
                {
                    "client_id": one.client_id,
                    "service": one.service,
                    "env": one.env,
                    "language": one.language,
                    "tracer_version": one.tracer_version,
                }
                for one in some.first
            ],
        }

    return {
        "population": found.population,
        "asking": found.asking,
        "before": found.before,
        "now": clients(found.now),
        "gains": clients(found.gains),
        "losses": clients(found.losses),
        "too_old": clients(found.too_old),
        "rules": [
            {"field": rule.field, "words": rule.words, "excludes": rule.excludes, "alone": rule.alone}
            for rule in found.rules
        ],
        "beside": [
            {
                "config_id": other.config_id,
                "name": other.name,
                "clients": other.clients,
                "settings": list(other.settings),
                "wins": other.wins,
            }
            for other in found.beside
        ],
        "cautions": [{"kind": one.kind, "words": one.words} for one in found.cautions],
    }
