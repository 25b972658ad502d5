"""One probe: how it is in each instance and what to do about it, what it brings, what it is and was.

What it is made of is in ``debugger_detail_lines``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlencode

from sealwire.server.access import Principal
from sealwire.server.debugger.authoring.desk import ProbeRow, ProbeState
from sealwire.server.debugger.authoring.probes import ProbeKind
from sealwire.server.debugger.reports.statuses import Headline, Summary
from sealwire.server.debugger.snapshots import discretion
from sealwire.server.fleet.overview import Fleet
from sealwire.server.store.database import Database
from sealwire.server.tenant import Tenant
from sealwire.server.ui.debugger_charts import RANGES, MetricChart, Spark, spark
from sealwire.server.ui.debugger_detail_lines import (
    MAX_INSTANCES,
    OWN_WORDS,
    SHOWN_INSTANCES,
    Counter,
    Failing,
    InstanceLine,
    Memo,
    Message,
    RevisionLine,
    SpanLine,
    counters,
    drawn,
    failing,
    history,
    instance_line,
    listed_messages,
    listed_spans,
    tag_options,
)
from sealwire.server.ui.debugger_list import (
    Option,
    Pulse,
    may_change,
    may_make,
    pulse_of,
    status_of,
    stop_words,
)
from sealwire.server.ui.debugger_words import (
    KINDS,
    PATH,
    STALE,
    Part,
    Said,
    counts_words,
    explained,
    kind_words,
    parts,
    place_words,
    waiting_for,
)
from sealwire.server.ui.render import moment
from sealwire.server.ui.security_traces_words import visible
from sealwire.server.ui.views import NEVER, Link, Moment, Status


@dataclass(frozen=True, slots=True)
class ProbePage:
    """One probe.

    Attributes:
        said: What its state means and what to do.
        may_write: Whether it is theirs to take out; ``may_put_in`` to put it in, and to change.
        sees_values: Whether this visitor is shown what a program had in its variables.
        chart: Of a metric; None for all others.
    """

    probe_id: str
    config_id: str
    href: str
    name: str
    kind: Status
    kind_words: str
    place: str
    service: str
    envs: str
    language: str
    state: Status
    said: Said
    counts: str
    live_instances: int
    pulse: Pulse
    spark: Spark
    expires: Moment
    is_log: bool
    is_metric: bool
    has_spans: bool
    is_active: bool
    is_paused: bool
    is_over: bool
    is_stopped: bool
    may_write: bool
    may_put_in: bool
    may_make: bool
    sees_values: bool
    revision: int
    version: int
    instances: tuple[InstanceLine, ...]
    more_instances: tuple[InstanceLine, ...]
    stale_instances: int
    messages: tuple[Message, ...]
    snapshots_href: str
    takes_values: bool
    failing: tuple[Failing, ...]
    chart: MetricChart | None
    metric: str
    ranges: tuple[Option, ...]
    by: tuple[Option, ...]
    spans: tuple[SpanLine, ...]
    parts: tuple[Part, ...]
    history: tuple[RevisionLine, ...]
    counters: tuple[Counter, ...]
    author: str
    changed: Moment
    made: Moment
    comment: str
    live_href: str
    summary: str


async def view(
    tenant: Tenant,
    database: Database,
    principal: Principal,
    fleet: Fleet,
    probe_id: str,
    query: Mapping[str, str],
    *,
    now_ms: int,
    memo: Memo,
) -> ProbePage:
    """The page.

    Raises:
        NotFoundError: There is no such probe.
    """
    row = await tenant.probes.get(principal, probe_id)
    probe = row.probe
    href = f"{PATH}/probes/{row.probe_id}"
    summary = tenant.statuses.summary(row.probe_id, row.version)
    found = tenant.statuses.of(row.probe_id)
    instances = [instance_line(one, row.version, now_ms) for one in found[:MAX_INSTANCES]]
    gone = [one for one in instances if one.status is STALE]
    here = [one for one in instances if one.status is not STALE]
    revisions = await memo.get(
        "history", row.config.revision, lambda: tenant.probes.history(principal, row.probe_id)
    )
    range_name = query.get("range", "") if query.get("range", "") in RANGES else "15m"
    by = query.get("by", "")[:200]
    is_metric = probe.kind is ProbeKind.METRIC
    has_spans = probe.kind in (ProbeKind.SPAN, ProbeKind.DECORATION)
    chart = await drawn(tenant, row, range_name, by, now_ms=now_ms, memo=memo) if is_metric else None
    spans = await listed_spans(tenant, database, row, principal, memo=memo) if has_spans else ()
    is_log = probe.kind is ProbeKind.LOG
    messages = await listed_messages(tenant, row, principal, memo=memo) if is_log else []
    state = status_of(row, summary)
    stop = await _stop_of(tenant, principal, row)
    said = _said(tenant, row, summary, fleet, principal, stop, here)
    pulse = pulse_of(tenant, row)
    may_put_in = may_change(tenant, principal, row, puts_in=True)
    is_over = row.state in (ProbeState.EXPIRED, ProbeState.REMOVED)
    shown = {name: value for name, value in (("range", range_name), ("by", by)) if value and value != "15m"}
    return ProbePage(
        probe_id=row.probe_id,
        config_id=row.config.config_id,
        href=href,
        name=visible(row.config.name, 160) or place_words(probe),
        kind=KINDS[probe.kind],
        kind_words=kind_words(probe),
        place=place_words(probe),
        service=visible(row.service, 100),
        envs=", ".join(visible(env, 60) for env in row.envs) or "every environment",
        language=probe.language,
        state=state,
        said=said,
        counts=counts_words(summary) if row.state is ProbeState.ACTIVE else "in no program",
        live_instances=summary.live if row.state is ProbeState.ACTIVE else 0,
        pulse=pulse,
        spark=spark(tenant.snapshots.per_minute(row.probe_id)) if is_log else spark(()),
        expires=NEVER if is_over or row.config.expires_ms is None else moment(row.config.expires_ms / 1000),
        is_log=is_log,
        is_metric=is_metric,
        has_spans=has_spans,
        is_active=row.state is ProbeState.ACTIVE,
        is_paused=row.state is ProbeState.PAUSED,
        is_over=is_over,
        is_stopped=bool(row.stop_id) and row.state is ProbeState.PAUSED,
        may_write=may_change(tenant, principal, row),
        may_put_in=may_put_in,
        may_make=may_make(principal),
        sees_values=_sees(principal, row),
        revision=row.config.revision,
        version=row.version,
        instances=tuple(here[:SHOWN_INSTANCES]),
        more_instances=(*here[SHOWN_INSTANCES:], *gone),
        stale_instances=len(gone),
        messages=tuple(messages),
        snapshots_href=f"{PATH}/snapshots?{urlencode({'probe': row.probe_id})}",
        takes_values=probe.takes_values,
        failing=await failing(tenant, row, principal, memo=memo) if is_log else (),
        chart=chart,
        metric=visible(probe.metric.name, 200) if probe.metric is not None else "",
        ranges=tuple(Option(name, words, name == range_name) for name, (*_, words) in RANGES.items()),
        by=tag_options(tenant, row, by) if is_metric else (),
        spans=spans,
        parts=parts(row.document),
        history=history(row, revisions, may_restore=may_put_in),
        counters=counters(tenant, row, pulse),
        author=visible(row.config.updated_by, 100),
        changed=moment(row.config.updated_ms / 1000),
        made=moment(row.config.created_ms / 1000),
        comment=visible(row.config.comment, 1_000),
        live_href=f"/live{href}" + (f"?{urlencode(shown)}" if shown else ""),
        summary=f"{state.word}, {counts_words(summary)}.",
    )


def _sees(principal: Principal, row: ProbeRow) -> bool:
    return all(
        discretion.may_see_values(principal, service=row.service, env=env) for env in row.envs or ("",)
    )


async def _stop_of(tenant: Tenant, principal: Principal, row: ProbeRow) -> Said | None:
    if not row.stop_id or row.state is not ProbeState.PAUSED:
        return None
    stop = next((one for one in await tenant.probes.stops(principal) if one.stop_id == row.stop_id), None)
    if stop is None:
        return None
    return Said(
        f"by {visible(stop.by, 100)}, with {stop_words(stop.service, stop.env)}",
        f"{visible(stop.reason, 500)} It comes back when the stop is lifted.",
        Link("The stop", f"{PATH}/stop"),
    )


def _said(
    tenant: Tenant,
    row: ProbeRow,
    summary: Summary,
    fleet: Fleet,
    principal: Principal,
    stop: Said | None,
    instances: list[InstanceLine],
) -> Said:
    """What the state means and what to do."""
    if stop is not None:
        return stop
    match row.state:
        case ProbeState.REMOVED:
            return Said("tracers have taken it out", "What it brought is kept for a while. It can come back.")
        case ProbeState.EXPIRED:
            return Said(
                "its time is over",
                "Tracers have taken it out; probes end by themselves so that none is forgotten in a program.",
            )
        case ProbeState.PAUSED:
            by = f"by {visible(row.paused_by, 100)}" if row.paused_by else "tracers have taken it out"
            return Said(by, "Tracers have taken it out. Nothing is lost: resume it to have it back.")
        case ProbeState.ACTIVE:
            pass
    if summary.headline is Headline.WAITING and not summary.behind:
        return waiting_for(
            row.probe,
            row.service,
            row.envs,
            row.config.config_id,
            here=list(tenant.uptakes.here(fleet)),
            fleet=fleet,
            clone_href=f"{PATH}/probes/{row.probe_id}/clone" if may_make(principal) else "",
        )
    means = next((one.explained for one in instances if one.explained not in ("", OWN_WORDS)), "")
    return explained(row.probe, summary, means=means)
