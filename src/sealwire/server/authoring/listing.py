"""Configs as people ask for them: what they type into a filter, and the part of the list it means.

The page and the admin API list configs through ``find`` and nothing else. What is stored is filtered, sorted
and cut by the database; how far configs have come is known in memory, so ``delivery:failing`` becomes the
ids it stands for before the database is asked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, cast

from sealwire.errors import Problem
from sealwire.products import PRODUCTS
from sealwire.server.access import Principal
from sealwire.server.authoring.editing import readable_products
from sealwire.server.fleet.overview import Fleet
from sealwire.server.fleet.uptake import Uptake
from sealwire.server.store import configs
from sealwire.server.store.configs import ACTIVE, STATES, Condition, ConfigLine, Counts, Wanted
from sealwire.server.store.database import Database
from sealwire.server.tenant import Tenant
from sealwire.server.ui import tables
from sealwire.server.ui.filters import Field, Filter, Grammar, Term

ALL = "all"
DEFAULT_SORT = "-changed"
ENDS_SOON_MS = 24 * 3600 * 1000
MAX_IDS = 10_000  # that a filter on deliveries may stand for


def _in_database(_line: ConfigLine) -> tuple[str, ...]:
    raise RuntimeError("configs are filtered by the database")


_DELIVERIES = {"failing": "failing", "failed": "failing", "waiting": "waiting", "taken": "taken"}

GRAMMAR: Grammar[ConfigLine] = Grammar(
    name=Field(_in_database, is_name=True),
    product=Field(_in_database, values={name.lower(): name for name in PRODUCTS}),
    state=Field(_in_database, values={state: state for state in STATES}),
    service=Field(_in_database, is_name=True),
    env=Field(_in_database),
    by=Field(_in_database),
    delivery=Field(_in_database, values=_DELIVERIES),
    ends=Field(_in_database, values={"soon": "soon", "never": "never"}),
    id=Field(_in_database, is_name=True),
)
_Stored = Literal["", "id", "product", "state", "name", "service", "env", "by", "ends"]


@dataclass(frozen=True, slots=True)
class Found:
    """Part of the configs that somebody asked for.

    Attributes:
        filter: What was typed, understood; one with problems finds nothing.
        state: Of the tabs: one of the states, or ``all``.
        counts: Of all configs that they may see.
        matching: How many the filter and the state let through.
        previous, following: Places at the edges, None where there is nothing beyond.
        uptakes: Config id -> how far it has come.
    """

    filter: Filter[ConfigLine]
    state: str
    part: tables.Slice
    lines: tuple[ConfigLine, ...]
    counts: Counts
    matching: int
    previous: configs.Place | None
    following: configs.Place | None
    uptakes: Mapping[str, Uptake]

    @property
    def problems(self) -> tuple[Problem, ...]:
        return self.filter.problems


async def find(
    tenant: Tenant,
    database: Database,
    principal: Principal,
    fleet: Fleet,
    query: Mapping[str, str],
    *,
    now_ms: int,
    limit: int | None = tables.PAGE_ROWS,
    payloads: bool = False,
) -> Found:
    """The configs an address asks for.

    Args:
        query: ``q``, ``state``, ``product``, ``sort``, ``after`` and ``before``, each if given.
    """
    org_id = tenant.organisation.org_id
    uptakes = tenant.uptakes.of(fleet)
    asked = GRAMMAR.parse(query.get("q", "").replace("\0", ""))
    names_state = any(term.name == "state" for term in asked.terms)
    state = query.get("state", ACTIVE)
    state = ALL if names_state or state not in STATES else state
    part = tables.asked_for(query, configs.SORTS, default_sort=DEFAULT_SORT)
    wanted = Wanted(
        products=[name for name in readable_products(principal) if query.get("product", "") in ("", name)],
        now_ms=now_ms,
        state=None if state == ALL else state,
        conditions=tuple(_condition(term) for term in asked.terms if term.name != "delivery"),
        soon_ms=now_ms + ENDS_SOON_MS,
    )
    wanted = _with_deliveries(wanted, asked, uptakes)

    def load() -> Found:
        with database.read() as c:
            counted = configs.counts(c, org_id, wanted)
            if asked.problems:
                return Found(asked, state, part, (), counted, 0, None, None, uptakes)
            matching = configs.count(c, org_id, wanted)
            lines, before, after = configs.page(
                c, org_id, wanted, sort=part.name, descends=part.descends, after=part.after,
                before=part.before, limit=limit, payloads=payloads,
            )  # fmt: skip
        return Found(
            asked, state, part, tuple(lines), counted, matching,
            lines[0].place if before and lines else None, lines[-1].place if after and lines else None,
            uptakes,
        )  # fmt: skip

    return await asyncio.to_thread(load)


def _condition(term: Term[ConfigLine]) -> Condition:
    if term.name:
        return Condition(cast(_Stored, term.name), term.values, term.negated)
    word = term.values[0]
    titled = tuple(
        product.name
        for product in PRODUCTS.values()
        if word.casefold() in f"{product.title} {product.name}".casefold()
    )
    return Condition("", (word, *titled), term.negated)


def _with_deliveries(wanted: Wanted, asked: Filter[ConfigLine], uptakes: Mapping[str, Uptake]) -> Wanted:
    only, without = wanted.only, set(wanted.without)
    for term in asked.terms:
        if term.name != "delivery":
            continue
        ids = {one for one, uptake in uptakes.items() if any(_is(uptake, value) for value in term.values)}
        if term.negated:
            without |= ids
        else:
            only = ids if only is None else set(only) & ids
    if only is not None:
        only = sorted(only)[:MAX_IDS]
    return Wanted(
        wanted.products, wanted.now_ms, wanted.state, wanted.conditions, only, sorted(without)[:MAX_IDS],
        wanted.soon_ms,
    )  # fmt: skip


def _is(uptake: Uptake, delivery: str) -> bool:
    if delivery == "failing":
        return uptake.failed > 0
    if delivery == "waiting":
        return uptake.waiting > 0
    return 0 < uptake.wanted == uptake.acknowledged
