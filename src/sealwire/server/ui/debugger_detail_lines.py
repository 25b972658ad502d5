"""What the page of a probe is made of: instances, messages, spans, the chart, what failed, its history.

Values of programs pass ``discretion`` here and nowhere else on these pages: messages, what a failed
expression says, tags that were put on spans.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import orjson

from sealwire.errors import SealwireError
from sealwire.server.access import Principal
from sealwire.server.debugger.authoring.desk import ProbeRevision, ProbeRow, ProbeState
from sealwire.server.debugger.authoring.probes import ProbeKind
from sealwire.server.debugger.reports import statuses
from sealwire.server.debugger.reports.instances import Instance
from sealwire.server.debugger.reports.spans import ProbeSpan
from sealwire.server.debugger.snapshots import discretion
from sealwire.server.debugger.snapshots.keep import Kept
from sealwire.server.store import security
from sealwire.server.store.configs import ACTIVE
from sealwire.server.store.database import Database
from sealwire.server.tenant import Tenant
from sealwire.server.ui import text_diff
from sealwire.server.ui.debugger_charts import RANGES, MetricChart, metric_chart
from sealwire.server.ui.debugger_list import (
    Option,
    Pulse,
)
from sealwire.server.ui.debugger_words import (
    BEHIND,
    INSTANCES,
    PATH,
    STALE,
    changes,
)
from sealwire.server.ui.render import client_href, dom_id, moment
from sealwire.server.ui.security_traces_words import visible
from sealwire.server.ui.views import Link, Moment, Status
from sealwire.wire.probe_traces import ORIGIN_TAGS

SHOWN_MESSAGES: Final = 50
SHOWN_SPANS: Final = 25
SHOWN_INSTANCES: Final = 25
MAX_INSTANCES: Final = 200
SHOWN_REVISIONS: Final = 20
OWN_WORDS: Final = "These are the tracer's words. Check the place and the expressions against the code."
MAX_LINE: Final = 1_000
MAX_LINES: Final = 60
_INTERNAL: Final = "_dd."  # tags that tracers put on for themselves

T = TypeVar("T")


class Memo:
    """What a viewer was shown last, kept until what it rests on has changed."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[Hashable, Any]] = {}

    async def get(self, name: str, rests_on: Hashable, make: Callable[[], Awaitable[T]]) -> T:
        """The same as before, or made anew."""
        if name in self._kept and self._kept[name][0] == rests_on:
            kept: T = self._kept[name][1]
            return kept
        made = await make()
        self._kept[name] = (rests_on, made)
        return made


@dataclass(frozen=True, slots=True)
class InstanceLine:
    """A process with the probe.

    Attributes:
        name: Its host, or what is known of it.
        said: What the tracer says is wrong, in its words; ``explained`` in ours, with what to do.
        version: Of the probe, where it is not the wanted one.
    """

    dom_id: str
    name: str
    href: str
    runtime: str
    where: str
    tracer: str
    version: str
    status: Status
    since: Moment
    seen: Moment
    said: str
    explained: str
    stack: str


@dataclass(frozen=True, slots=True)
class Message:
    """Something that a log probe brought.

    Attributes:
        clock: To the millisecond, in UTC.
        version: Of the probe that brought it, if it is not the present one.
        trace: The beginning of its trace id; empty without one.
    """

    dom_id: str
    href: str
    at: Moment
    clock: str
    text: str
    where: str
    version: str
    has_values: bool
    errors: int
    took: str
    trace: str


@dataclass(frozen=True, slots=True)
class SpanLine:
    """A span that a probe made, or put tags on.

    Attributes:
        code: The file and line it is of, without the folders; ``code_path`` with them.
    """

    dom_id: str
    at: Moment
    clock: str
    name: str
    where: str
    code: str
    code_path: str
    took: str
    is_error: bool
    trace: str
    trace_href: str
    tags: tuple[tuple[str, str], ...]
    errors: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Failing:
    """An expression that failed lately; ``said`` is why, for who may see values."""

    expression: str
    said: str
    means: str


@dataclass(frozen=True, slots=True)
class RevisionLine:
    """One revision: what it changed, in words and as text."""

    dom_id: str
    revision: int
    icon: str
    title: str
    by: str
    at: Moment
    comment: str
    words: tuple[str, ...]
    diff: tuple[tuple[str, str], ...]
    is_present: bool
    restore_href: str


@dataclass(frozen=True, slots=True)
class Counter:
    """A number of what came, and what it means."""

    label: str
    number: int
    text: str
    tone: str = ""
    way: Link | None = None


# In each instance -----------------------------------------------------------------------------------------


def instance_line(one: Instance, version: int, now_ms: int) -> InstanceLine:
    state = one.state
    status = INSTANCES[state.status]
    if one.is_stale(now_ms):
        status = STALE
    elif one.key.version < version:
        status = BEHIND
    failure = state.failure
    if status is BEHIND:
        failure = None  # of an earlier version: it may be mended in this one
    said = ""
    if failure is not None:
        said = visible(": ".join(part for part in (failure.type, failure.message) if part), 1_000)
    tracer = " ".join(part for part in (one.language, one.tracer_version) if part)
    return InstanceLine(
        dom_id=dom_id("instance", f"{one.key.version} {one.key.runtime_id}"),
        name=visible(one.host, 100) or "unknown host",
        href=client_href(one.client_id) if one.client_id else "",
        runtime=visible(one.key.runtime_id, 64),
        where=" · ".join(
            visible(part, 80)
            for part in (one.service, one.env, f"version {one.app_version}" if one.app_version else "")
            if part
        ),
        tracer=visible(tracer, 80),
        version=str(one.key.version) if one.key.version != version else "",
        status=status,
        since=moment(state.since_ms / 1000),
        seen=moment(state.seen_ms / 1000),
        said=said,
        explained=_explained(failure, state.status),
        stack=visible_lines(failure.stack) if failure is not None else "",
    )


def _explained(failure: statuses.Failure | None, status: statuses.Status) -> str:
    if failure is None:
        return ""
    if words := statuses.explained(failure):
        return words
    if status is statuses.Status.BLOCKED:
        return "The tracer never touches this place. Choose another method or line."
    if status is statuses.Status.ERROR:
        return OWN_WORDS
    return ""


def visible_lines(text: str) -> str:
    """Several lines of anybody as people may look at them."""
    return "\n".join(visible(line, MAX_LINE) for line in text.split("\n")[:MAX_LINES])


# What it brings -------------------------------------------------------------------------------------------


async def listed_messages(
    tenant: Tenant, row: ProbeRow, principal: Principal, *, memo: Memo
) -> list[Message]:
    newest: Sequence[tuple[Kept, str]] = tenant.snapshots.newest(row.probe_id, SHOWN_MESSAGES)
    if not newest and tenant.snapshots.counts(row.probe_id).kept:

        async def stored() -> Sequence[tuple[Kept, str]]:
            kept = await tenant.snapshots.list(probe_id=row.probe_id, limit=SHOWN_MESSAGES)
            said = await tenant.snapshots.messages(kept)
            return [(one, said.get(one.snapshot_id, "")) for one in kept]

        newest = await memo.get("stored", tenant.snapshots.generation(row.probe_id), stored)
    template = str(row.document.get("template", ""))
    return [
        _message(kept, discretion.line(principal, kept, text, template), row.version)
        for kept, text in newest[:SHOWN_MESSAGES]
    ]


def _message(kept: Kept, text: str, version: int) -> Message:
    return Message(
        dom_id=dom_id("message", kept.snapshot_id),
        href=f"{PATH}/snapshots/{kept.snapshot_id}",
        at=moment(kept.at_ms / 1000),
        clock=_clock(kept.at_ms),
        text=visible_lines(text),
        where=visible(kept.host or kept.service, 80),
        version=f"version {kept.probe_version}" if kept.probe_version != version else "",
        has_values=kept.has_values,
        errors=kept.errors,
        took=_took(kept.duration_ns / 1_000 if kept.duration_ns is not None else None),
        trace=visible(kept.trace_id, 40)[-8:],
    )


def _clock(at_ms: int) -> str:
    iso = moment(at_ms // 1000).iso
    return f"{iso[11:19]}.{at_ms % 1000:03d}" if iso else ""


def _took(microseconds: float | None) -> str:
    if microseconds is None:
        return ""
    if microseconds < 1_000:
        return f"{microseconds:.0f} µs"
    return f"{microseconds / 1_000:.3g} ms" if microseconds < 1_000_000 else f"{microseconds / 1e6:.3g} s"


async def failing(tenant: Tenant, row: ProbeRow, principal: Principal, *, memo: Memo) -> tuple[Failing, ...]:
    """What failed in the newest snapshot in which anything did."""
    newest = next(
        (kept for kept, _ in tenant.snapshots.newest(row.probe_id, SHOWN_MESSAGES) if kept.errors), None
    )
    if newest is None or newest.probe_version != row.version:
        return ()  # of an earlier version: it may be mended by now

    async def opened() -> tuple[Failing, ...]:
        try:
            found = await tenant.snapshots.open(newest.snapshot_id)
        except SealwireError:
            return ()
        snapshot = discretion.shown(principal, found, str(row.document.get("template", "")))
        condition = str(row.document.get("when") or "")
        return tuple(
            Failing(
                visible(one.expression, 300),
                visible(one.message, 500),
                "It is the condition: while it fails nothing is sent, and this is told once in five minutes."
                if condition and one.expression == condition
                else "In a message it is shown as ERROR; the rest of the message is as it should be.",
            )
            for one in dict.fromkeys(snapshot.errors)
        )[:10]

    return await memo.get("failing", newest.snapshot_id, opened)


async def drawn(
    tenant: Tenant, row: ProbeRow, range_name: str, by: str, *, now_ms: int, memo: Memo
) -> MetricChart | None:
    metric = row.probe.metric
    if metric is None:
        return None
    span_s, step_s, _ = RANGES[range_name]
    until_ms = now_ms // (step_s * 1000) * step_s * 1000 + step_s * 1000  # the present slot is the last one
    since_ms = until_ms - span_s * 1000

    async def made() -> MetricChart:
        found = await tenant.probe_metrics.series(
            row.probe_id, since_ms=since_ms, until_ms=until_ms, step_s=step_s, by=by
        )
        lines = [(visible(line.label, 80) if by else "", line.points) for line in found.lines]
        return metric_chart(metric.kind, lines, since_ms=since_ms, until_ms=until_ms, step_s=found.step_s)

    rests_on = (tenant.probe_metrics.generation(row.probe_id), until_ms, range_name, by)
    return await memo.get("chart", rests_on, made)


def tag_options(tenant: Tenant, row: ProbeRow, by: str) -> tuple[Option, ...]:
    known = sorted({*tenant.probe_metrics.tag_keys(row.probe_id), *([by] if by else [])})
    if not known:
        return ()
    return (
        Option("", "all together", not by),
        *(Option(key, f"by {visible(key, 60)}", key == by) for key in known),
    )


async def listed_spans(
    tenant: Tenant, database: Database, row: ProbeRow, principal: Principal, *, memo: Memo
) -> tuple[SpanLine, ...]:
    async def found() -> tuple[SpanLine, ...]:
        spans = await tenant.probe_spans.list(row.probe_id, limit=SHOWN_SPANS)
        traces = {one.trace_id for one in spans if one.trace_id}
        kept = (
            await asyncio.to_thread(_kept_traces, database, row.config.org_id, traces)
            if principal.may("security_monitoring_signals_read")
            else set()
        )
        return tuple(_span(one, principal, kept) for one in spans)

    return await memo.get("spans", tenant.probe_spans.generation(row.probe_id), found)


def _kept_traces(database: Database, org_id: int, trace_ids: set[str]) -> set[str]:
    with database.read() as c:
        return {trace_id for trace_id in trace_ids if security.trace(c, org_id, trace_id)}


def _span(span: ProbeSpan, principal: Principal, kept: set[str]) -> SpanLine:
    if not discretion.may_see_values(principal, service=span.service, env=span.env):
        span = span.without_values()
    tags = dict(span.tags)
    code_path = ""
    if span.kind == "span":
        code_path = ":".join(part for tag in ORIGIN_TAGS[:2] if (part := tags.get(tag, "")))
        tags = {tag: text for tag, text in tags.items() if not tag.startswith(_INTERNAL)}
    return SpanLine(
        dom_id=f"span-{span.row_id}",
        at=moment(span.at_ms / 1000),
        clock=_clock(span.at_ms),
        name=visible(span.resource or span.name, 200),
        where=visible(span.host or span.service, 80),
        code=visible(code_path.replace("\\", "/").rpartition("/")[2], 120),
        code_path=visible(code_path, 500),
        took=_took(span.duration_us),
        is_error=span.is_error,
        trace=visible(span.trace_id, 40)[-8:],
        trace_href=f"/security/traces/{span.trace_id}" if span.trace_id in kept else "",
        tags=_pairs(tags),
        errors=_pairs(span.errors),
    )


def _pairs(values: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple((visible(name, 100), visible(value, 500)) for name, value in list(values.items())[:20])


def counters(tenant: Tenant, row: ProbeRow, pulse: Pulse) -> tuple[Counter, ...]:
    """What came and what did not stay."""
    counts = tenant.snapshots.counts(row.probe_id)
    if row.probe.kind is ProbeKind.METRIC:
        return ()
    if row.probe.kind is not ProbeKind.LOG:
        spans = tenant.probe_spans.counts(row.probe_id)
        return (
            Counter("Seen", spans.seen, "spans, by agents in the last day"),
            Counter("Kept", spans.kept, "of them here"),
            Counter(
                "Only counted", max(0, spans.seen - spans.kept),
                "An agent passes on some each second and counts the others.",
            ),
        )  # fmt: skip
    found = [Counter("Kept", counts.kept, "since the probe was made; what is old goes")]
    found.append(
        Counter(
            "Over the quota",
            counts.over_quota,
            "Left out, because the probes of this organisation brought more each second than is kept."
            if counts.over_quota
            else "Nothing was left out.",
            "wait" if counts.over_quota else "",
            Link("The quota", f"{PATH}/settings") if counts.over_quota else None,
        )
    )
    if counts.refused:
        found.append(Counter("Refused", counts.refused, "They were too large or made no sense.", "bad"))
    return tuple(found)


# What it is and was ---------------------------------------------------------------------------------------


def history(
    row: ProbeRow, revisions: Sequence[ProbeRevision], *, may_restore: bool
) -> tuple[RevisionLine, ...]:
    found = list(revisions[: SHOWN_REVISIONS + 1])
    lines = []
    for place, one in enumerate(found[:SHOWN_REVISIONS]):
        older = found[place + 1] if place + 1 < len(found) else None
        lines.append(_revision(row, one, older, may_restore=may_restore))
    return tuple(lines)


def _revision(
    row: ProbeRow, one: ProbeRevision, older: ProbeRevision | None, *, may_restore: bool
) -> RevisionLine:
    words: tuple[str, ...] = ()
    diff: text_diff.Lines = ()
    if older is None:
        icon, title = ("plus", "Made") if one.revision == 1 else ("pencil", "Changed")
    elif one.state != older.state:
        icon, title = ("play", "In force again") if one.state == ACTIVE else _taken_out(row, one)
    else:
        icon, title = "pencil", "Changed"
    if older is not None and one.document != older.document:
        words = changes(older.document, one.document)
        diff = text_diff.lines(_pretty(older.document), _pretty(one.document))[0]
    is_present = one.revision == row.config.revision
    is_other = one.document != {key: row.document[key] for key in row.document if key != "expires_in_minutes"}
    can_be = may_restore and one.state == ACTIVE and is_other
    return RevisionLine(
        dom_id=f"revision-{one.revision}",
        revision=one.revision,
        icon=icon,
        title=f"{title}, version {one.version}",
        by=visible(one.by, 100),
        at=moment(one.at_ms / 1000),
        comment=visible(one.comment, 1_000),
        words=words,
        diff=diff,
        is_present=is_present,
        restore_href=f"/configs/{row.config.config_id}/restore?revision={one.revision}" if can_be else "",
    )


def _taken_out(row: ProbeRow, one: ProbeRevision) -> tuple[str, str]:
    """What a revision says that is in no program; of earlier ones nobody knows whether it was only paused."""
    if one.revision == row.config.revision:
        return ("pause", "Paused") if row.state is ProbeState.PAUSED else ("trash-2", "Removed")
    return "pause", "Taken out"


def _pretty(document: Mapping[str, object]) -> str:
    return orjson.dumps(document, option=orjson.OPT_INDENT_2).decode()
