"""What probes gave in numbers and in traces, by the admin API.

What a metric probe measured are numbers made to be charted, which everybody sees who sees the probe. What a
decoration put on spans are values of the program: those are shown to who has ``debugger_capture_variables``
for its service and environment, to nobody else.
"""

from __future__ import annotations

from typing import Annotated, Final, TypedDict

from litestar import get
from litestar.params import FromPath, FromQuery, QueryParameter
from litestar.types import ControllerRouterHandler

from sealwire.server.api import shapes
from sealwire.server.api.guard import Asker, OwnTenant, Plane
from sealwire.server.debugger.reports.metrics import RETAIN_MS, Point
from sealwire.server.debugger.reports.spans import MAX_LISTED, ProbeSpan
from sealwire.server.debugger.snapshots import discretion

READ: Final = {"permission": "debugger_read"}
MAX_STEP_S: Final = 3_600
KINDS: Final = {"c": "count", "g": "gauge", "h": "histogram", "d": "distribution"}
HOUR_MS: Final = 3_600_000

Step = Annotated[int, QueryParameter(ge=10, le=MAX_STEP_S)]
Tag = Annotated[str, QueryParameter(max_length=200)]
Text = Annotated[str, QueryParameter(max_length=300)]
RowId = Annotated[int | None, QueryParameter(ge=0, le=shapes.MAX_REVISION)]
PageSize = Annotated[int, QueryParameter(ge=1, le=MAX_LISTED)]


class MetricPoint(TypedDict):
    """What was measured in one step.

    Attributes:
        count: How many values there were.
        sum: Of the values; of a count, how much it counted.
        last: The newest value, which is what a gauge shows.
        p50: Null for counts and gauges; as are the next. All three are off by a percent at most.
    """

    at: str
    count: int
    sum: float
    min: float
    max: float
    last: float
    p50: float | None
    p95: float | None
    p99: float | None


class MetricLine(TypedDict):
    """The points that have one value of the tag asked for; those steps without a value are left out."""

    label: str
    points: list[MetricPoint]


class ProbeMetricSeries(TypedDict):
    """What a metric probe measured.

    Attributes:
        metric: Its name; empty where nothing was measured.
        kind: count, gauge, histogram or distribution; empty where nothing was measured.
        step_s: Between two points; longer than asked for where there would be more than 1,000.
        by: The tag asked for.
        tags: Tags that may be asked for.
        lines: Most values first.
        is_cut: There are more lines than are given.
        values_per_s: Over the last half minute.
    """

    probe_id: str
    metric: str
    kind: str
    step_s: int
    by: str
    tags: list[str]
    lines: list[MetricLine]
    is_cut: bool
    values_per_s: float
    last_at: str | None


class SpanOfProbe(TypedDict):
    """A span that a probe made or put tags on.

    Attributes:
        id: For the parameter before.
        kind: span or decoration.
        tags: What a decoration put on; of a span, where its code is. Values of the program are empty for who
            may not see them.
        errors: By the tag that could not be made, why.
        shows_values: Whether who asks may see values.
    """

    id: int
    probe_id: str
    kind: str
    at: str
    service: str
    env: str
    version: str
    host: str
    runtime_id: str
    language: str
    trace_id: str
    span_id: str
    name: str
    resource: str
    duration_us: int
    is_error: bool
    tags: dict[str, str]
    errors: dict[str, str]
    shows_values: bool


class SpansOfProbe(TypedDict):
    """A page of spans, those that came last first.

    Attributes:
        seen: By agents, within a day; they pass on 50 a second of each probe.
        kept: Of these, here.
        seen_per_s: Over the last ten seconds.
        next: For the parameter before, to get the page behind; null on the last.
    """

    probe_id: str
    spans: list[SpanOfProbe]
    seen: int
    kept: int
    seen_per_s: float
    last_at: str | None
    next: int | None


@get("/debugger/probes/{probe_id:str}/metrics", opt=READ)
async def get_probe_metrics(
    probe_id: FromPath[str],
    tenant: OwnTenant,
    principal: Asker,
    plane: Plane,
    since: FromQuery[str] = "",
    until: FromQuery[str] = "",
    step_s: Step = 10,
    by: Tag = "",
) -> ProbeMetricSeries:
    """What a metric probe measured.

    Args:
        since: ISO 8601; an hour ago if not given, a day at most.
        until: ISO 8601; now if not given.
        step_s: Seconds between two points.
        by: A tag, whose values become a line each.
    """
    row = await tenant.probes.get(principal, probe_id)
    since_ms = shapes.moment("since", since) or plane.now_ms() - HOUR_MS
    until_ms = shapes.moment("until", until)
    found = await tenant.probe_metrics.series(
        row.probe_id,
        since_ms=max(since_ms, plane.now_ms() - RETAIN_MS),
        until_ms=until_ms,
        step_s=step_s,
        by=by.replace("\0", ""),
    )
    latest = tenant.probe_metrics.latest(row.probe_id)
    return {
        "probe_id": row.probe_id,
        "metric": found.metric,
        "kind": KINDS.get(found.kind, ""),
        "step_s": found.step_s,
        "by": by,
        "tags": tenant.probe_metrics.tag_keys(row.probe_id),
        "lines": [
            {"label": line.label, "points": [_point(point) for point in line.points]} for line in found.lines
        ],
        "is_cut": found.is_cut,
        "values_per_s": 0.0 if latest is None else latest.per_s,
        "last_at": None if latest is None else shapes.time(latest.heard_ms),
    }


@get("/debugger/probes/{probe_id:str}/spans", opt=READ)
async def list_probe_spans(
    probe_id: FromPath[str],
    tenant: OwnTenant,
    principal: Asker,
    service: Text = "",
    env: Text = "",
    trace_id: Text = "",
    since: FromQuery[str] = "",
    before: RowId = None,
    limit: PageSize = 50,
) -> SpansOfProbe:
    """Spans that a probe made or put tags on, those that came last first.

    Args:
        since: ISO 8601: begun then or later.
        before: What a page called next.
    """
    row = await tenant.probes.get(principal, probe_id)
    page = await tenant.probe_spans.list(
        row.probe_id,
        service=service,
        env=env,
        trace_id=trace_id.lower(),
        since_ms=shapes.moment("since", since) or 0,
        before=before,
        limit=limit,
    )
    counts = tenant.probe_spans.counts(row.probe_id)
    return {
        "probe_id": row.probe_id,
        "spans": [
            _span(span, discretion.may_see_values(principal, service=span.service, env=span.env))
            for span in page
        ],
        "seen": counts.seen,
        "kept": counts.kept,
        "seen_per_s": counts.per_s,
        "last_at": shapes.time(counts.last_ms) if counts.last_ms else None,
        "next": page[-1].row_id if len(page) == limit else None,
    }


def _point(point: Point) -> MetricPoint:
    return {
        "at": shapes.time(point.at_ms),
        "count": point.count,
        "sum": point.sum,
        "min": point.min,
        "max": point.max,
        "last": point.last,
        "p50": point.p50,
        "p95": point.p95,
        "p99": point.p99,
    }


def _span(span: ProbeSpan, shows_values: bool) -> SpanOfProbe:
    shown = span if shows_values else span.without_values()
    return {
        "id": span.row_id,
        "probe_id": span.probe_id,
        "kind": span.kind,
        "at": shapes.time(span.at_ms),
        "service": span.service,
        "env": span.env,
        "version": span.version,
        "host": span.host,
        "runtime_id": span.runtime_id,
        "language": span.language,
        "trace_id": span.trace_id,
        "span_id": str(span.span_id),
        "name": span.name,
        "resource": span.resource,
        "duration_us": span.duration_us,
        "is_error": span.is_error,
        "tags": dict(shown.tags),
        "errors": dict(shown.errors),
        "shows_values": shows_values,
    }


HANDLERS: list[ControllerRouterHandler] = [get_probe_metrics, list_probe_spans]
