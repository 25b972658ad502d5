"""Batches as an agent sends them, made of recorded requests: who attacked what, from where, how often."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sealwire.wire.security_batch import Batch, Seen, VisitCount, Watched
from sealwire.wire.traces import SecuritySpan, select
from tests.support import spans as recorded


def span(name: str, number: int, *, at: float, ip: str = "198.51.100.9", **changes: Any) -> SecuritySpan:
    """A recorded request again: another trace, that ended at that time.

    Args:
        name: One of ``recorded.RECORDED``.
        changes: Fields of its entry span.
    """
    meta = {"http.client_ip": ip, "actor.ip": ip, **changes.pop("meta", {})}
    made = recorded.entry_span(
        name, meta=meta, trace_id=number, span_id=number, start=int((at - 0.001) * 1e9), duration=1_000_000,
        **changes,
    )  # fmt: skip
    (found,) = select("/v0.4/traces", recorded.v04([recorded.packed(made)])).spans
    return found


def batch(
    number: int,
    spans: Iterable[SecuritySpan | Seen] = (),
    *,
    at: float,
    agent: str = "a1",
    visits: Iterable[VisitCount] = (),
    watched: Iterable[Watched] = (),
    **changes: Any,
) -> Batch:
    """A batch that was made at that time, of spans seen then."""
    at_ms = int(at * 1000)
    fields: dict[str, Any] = {"hostname": "host-a", "agent_uuid": agent, "started_ms": 1, "sent_ms": at_ms}
    return Batch(
        number=number,
        spans=[each if isinstance(each, Seen) else Seen(each, at_ms, "python", "4.16.0") for each in spans],
        visits=list(visits),
        watched=list(watched),
        **{**fields, **changes},
    )
