"""Who has a config, who has not and why: one config against every client that is here.

What a client shall have is known by its files. The many that have no file of it are ranked by how little
keeps them out, so that the first of them are the ones worth looking at; only for those the conditions are
worked out in sentences.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from dataclasses import dataclass

from sealwire.server.explain import FileState, Reasons, reasons
from sealwire.server.overview import ClientLine, Fleet
from sealwire.server.store import rows
from sealwire.server.store.configs import ACTIVE, state_of
from sealwire.server.targeting import Targeting
from sealwire.server.tenant import Tenant


@dataclass(frozen=True, slots=True)
class Holders:
    """The clients that are here, in two lots.

    Attributes:
        having: Those that shall have it, with the file it is in: failed ones first, then those that are not
            done, then by service.
        lacking: How many have it not.
        nearest: The first of those, by how little keeps them out.
    """

    having: tuple[tuple[ClientLine, FileState], ...]
    lacking: int
    nearest: tuple[ClientLine, ...]


_TROUBLE = {"failed": 0, "refused": 1, "silent": 2, "behind": 3, "applying": 4, "in_step": 5}


def holders(tenant: Tenant, fleet: Fleet, row: rows.ConfigRow, *, nearest: int = 50) -> Holders:
    """Everybody, as seen in one look at the fleet."""
    having: list[tuple[ClientLine, FileState]] = []
    lacking: list[ClientLine] = []
    for line in tenant.uptakes.here(fleet):
        file = next((file for file in line.files if row.config_id in file.config_ids), None)
        if file is None:
            lacking.append(line)
        else:
            having.append((line, file))
    having.sort(key=lambda one: (_TROUBLE[one[1].state], str(one[0].facts.get("service")), one[0].client_id))
    targeting = Targeting.parse(row.targeting)
    first = heapq.nsmallest(nearest, lacking, key=lambda line: (*_distance(row, targeting, line),))
    return Holders(tuple(having), len(lacking), tuple(first))


def _distance(row: rows.ConfigRow, targeting: Targeting, line: ClientLine) -> tuple[int, str, str]:
    """How many of the conditions that are quickly told keep a client out."""
    facts = line.facts
    asked: Iterable[tuple[tuple[str, ...], str]] = (
        (targeting.service, str(facts.get("service", ""))),
        (targeting.env, str(facts.get("env", ""))),
        (targeting.language, str(facts.get("language", ""))),
    )
    away = sum(
        bool(names) and value.casefold() not in (name.casefold() for name in names) for names, value in asked
    )
    away += row.product not in facts.get("products", ())
    return away, str(facts.get("service", "")), line.client_id


def why(tenant: Tenant, row: rows.ConfigRow, line: ClientLine) -> Reasons:
    """Every condition between a config and a client."""
    return reasons(row, Targeting.parse(row.targeting), tenant.overview.facts_of(line), line.files)


def is_in_force(row: rows.ConfigRow, now_ms: int) -> bool:
    """Whether it is given to anybody at all."""
    return state_of(row.state, row.expires_ms, now_ms) == ACTIVE


def published_files(tenant: Tenant, config_id: str) -> tuple[rows.FileRow, ...]:
    """The files on the wire that a config is in: its own one, or every merged one it takes part in."""
    return tuple(
        sorted(
            (
                file
                for file in list(tenant.publisher.files.values())
                if file.role and config_id in file.sources
            ),
            key=lambda file: file.path,
        )
    )
