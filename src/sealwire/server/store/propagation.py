"""How long deliveries took, by hour, product and service: rows of ``propagation_hours``."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import sqlalchemy as sa

from sealwire.server.store import tables as t

Counts = Mapping[str, Mapping[int, int]]  # step -> bucket -> deliveries


@dataclass(frozen=True, slots=True)
class HourRow:
    """What one running control plane counted in an hour, of one product and service."""

    hour_ms: int
    product: str
    service: str
    counts: Counts


def load(c: sa.Connection, org_id: int, *, since_ms: int, without: str = "") -> list[HourRow]:
    """Hours that began at ``since_ms`` or later, of every writer but one."""
    k = t.propagation_hours.c
    found = c.execute(
        sa.select(t.propagation_hours).where(k.org_id == org_id, k.hour_ms >= since_ms, k.writer != without)
    )
    return [
        HourRow(
            row.hour_ms,
            row.product,
            row.service,
            {
                step: {int(bucket): int(number) for bucket, number in counts.items()}
                for step, counts in json.loads(row.tally).items()
            },
        )
        for row in found
    ]


def put(c: sa.Connection, org_id: int, writer: str, hours: Iterable[HourRow]) -> None:
    """The present counts of a writer's hours, in place of those it wrote before."""
    k = t.propagation_hours.c
    for row in hours:
        c.execute(
            sa.delete(t.propagation_hours).where(
                k.org_id == org_id, k.hour_ms == row.hour_ms, k.product == row.product,
                k.service == row.service, k.writer == writer,
            )
        )  # fmt: skip
        c.execute(
            sa.insert(t.propagation_hours).values(
                org_id=org_id, hour_ms=row.hour_ms, product=row.product, service=row.service, writer=writer,
                tally=json.dumps(row.counts),
            )
        )  # fmt: skip


def forget(c: sa.Connection, org_id: int, *, before_ms: int) -> None:
    """Drop hours that nobody asks for any more."""
    k = t.propagation_hours.c
    c.execute(sa.delete(t.propagation_hours).where(k.org_id == org_id, k.hour_ms < before_ms))
