"""Who has a config, who has not and why: one config against every client that is here.

What a client shall have is known by its files. The many that have no file of it are put together by what
keeps them out, so that ten thousand of them are a few lines, the nearest first.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import orjson

from sealwire.products import PRODUCTS, ClientFacts, ConfigId, Source
from sealwire.server.fleet.explain import FileState, Reasons, Rule, reasons, rules
from sealwire.server.fleet.overview import ClientLine, Fleet
from sealwire.server.store import rows
from sealwire.server.targeting import Targeting
from sealwire.server.tenant import Tenant

MAX_KINDS = 2_000  # of clients that are told apart; with more, reasons of the rest are not worked out


@dataclass(frozen=True, slots=True)
class Holders:
    """The clients that are here, in two lots.

    Attributes:
        having: Those that shall have it, with the file it is in: failed ones first, then those that are not
            done, then by service.
        lacking: The others.
    """

    having: tuple[tuple[ClientLine, FileState], ...]
    lacking: tuple[ClientLine, ...]


@dataclass(frozen=True, slots=True)
class KeptOut:
    """Clients that the same conditions keep out.

    Attributes:
        unmet: The conditions; none for clients that all conditions let in and that have it not yet.
    """

    unmet: tuple[Rule, ...]
    clients: tuple[ClientLine, ...]


_TROUBLE = {"failed": 0, "refused": 1, "silent": 2, "behind": 3, "applying": 4, "in_step": 5}


def holders(tenant: Tenant, fleet: Fleet, row: rows.ConfigRow) -> Holders:
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
    return Holders(tuple(having), tuple(lacking))


def kept_out(tenant: Tenant, row: rows.ConfigRow, lacking: Sequence[ClientLine]) -> tuple[KeptOut, ...]:
    """Clients by what keeps them out: the fewest conditions first, then the most clients."""
    targeting = Targeting.parse(row.targeting)
    kinds: dict[object, list[ClientLine]] = {}
    single = bool(targeting.client_id or targeting.host_tags)
    for line in lacking:
        facts = line.facts
        kinds.setdefault(
            (
                *(
                    facts.get(name)
                    for name in ("service", "env", "language", "tracer_version", "app_version")
                ),
                row.product in facts.get("products", ()),
                line.client_id if targeting.client_id else line.agent_id if single else "",
            ),
            [],
        ).append(line)
    found: dict[tuple[Rule, ...], list[ClientLine]] = {}
    for clients in list(kinds.values())[:MAX_KINDS]:
        said = rules(row.product, targeting, tenant.overview.facts_of(clients[0]))
        found.setdefault(tuple(rule for rule in said if not rule.holds), []).extend(clients)
    ordered = sorted(found.items(), key=lambda item: (len(item[0]), -len(item[1])))
    return tuple(
        KeptOut(unmet, tuple(sorted(clients, key=lambda line: line.client_id))) for unmet, clients in ordered
    )


def overruled(row: rows.ConfigRow, wins: Iterable[str], facts: Mapping[str, object]) -> tuple[str, ...]:
    """Settings of a merged config that another one decides in a client.

    Args:
        wins: JSON paths whose value is this config's.
        facts: Of the client, as it reported them.
    """
    product = PRODUCTS[row.product]
    if not product.single_file:
        return ()
    config_id = ConfigId(row.config_id)
    source = Source(config_id=config_id, revision=row.revision, priority=1, payload=orjson.loads(row.payload))
    client = ClientFacts(
        client_id="",
        language=str(facts.get("language", "")),
        tracer_version=str(facts.get("tracer_version", "")),
    )
    own = product.merge([source], client).provenance
    return tuple(path for path in own if path not in set(wins))


def why(tenant: Tenant, row: rows.ConfigRow, line: ClientLine) -> Reasons:
    """Every condition between a config and a client."""
    return reasons(row, Targeting.parse(row.targeting), tenant.overview.facts_of(line), line.files)


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
