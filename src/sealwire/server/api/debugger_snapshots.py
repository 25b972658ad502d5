"""Snapshots and statuses of probes by the admin API, and how snapshots are kept.

What a program had in its variables is shown to those with ``debugger_capture_variables`` for its service and
environment, to nobody else (``debugger.discretion``). Much of it may be an attacker's text.
"""

from __future__ import annotations

import asyncio
import functools
import re
from dataclasses import dataclass
from typing import Annotated, Final, TypedDict

import msgspec
from litestar import get, put
from litestar.openapi.spec import OpenAPIMediaType, OpenAPIResponse, OpenAPIType, Operation, Schema
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter
from litestar.response import Stream
from litestar.types import ControllerRouterHandler

from sealwire.errors import InvalidChangeError, NotFoundError, Problem
from sealwire.server.api import shapes
from sealwire.server.api.guard import Asker, OwnTenant, Plane
from sealwire.server.debugger.reports.instances import Instance
from sealwire.server.debugger.reports.statuses import explained
from sealwire.server.debugger.snapshots import discretion, redaction, written
from sealwire.server.debugger.snapshots import settings as chosen_settings
from sealwire.server.debugger.snapshots.keep import Hit
from sealwire.server.debugger.snapshots.settings import DebuggerSettings
from sealwire.server.debugger.snapshots.written import SnapshotHead, WholeSnapshot

READ: Final = {"permission": "debugger_read"}
MAX_PAGE: Final = 200
MAX_TEXT: Final = 200
JSON_LINES: Final = "application/jsonl"
_ID: Final = re.compile(r"[0-9A-Za-z][0-9A-Za-z_.:-]{0,63}")
_PLACE: Final = re.compile(r"([0-9]{1,15})\.([0-9A-Za-z][0-9A-Za-z_.:-]{0,63})")


class SnapshotPage(TypedDict):
    """A page of snapshots, newest first.

    Attributes:
        next: For the parameter before, to get the page behind; null on the last.
    """

    snapshots: list[SnapshotHead]
    next: str | None


class FoundValue(TypedDict):
    """A row of a snapshot in which a text was found: its path, and the value in one line."""

    path: str
    value: str


class FoundSnapshot(SnapshotHead):
    """A snapshot in which a text was found.

    Attributes:
        values: Some of the rows it was found in.
        found: In how many rows.
        in_message: Whether the message has it.
    """

    values: list[FoundValue]
    found: int
    in_message: bool


class FoundSnapshots(TypedDict):
    """What a search in values found, newest first.

    Attributes:
        scanned: How many snapshots were gone through, those whose values may not be seen included.
        is_all: Whether there are no others that might have it.
    """

    snapshots: list[FoundSnapshot]
    scanned: int
    is_all: bool


class InstanceFailure(TypedDict):
    """Why a probe does not work in a process.

    Attributes:
        explained: What that means and what to do; empty if nothing is known beyond the tracer's words.
    """

    type: str
    message: str
    explained: str


class ProbeInstance(TypedDict):
    """A process with a version of a probe.

    Attributes:
        status: RECEIVED, INSTALLED, EMITTING, WARNING, BLOCKED or ERROR.
        since: Since when it has been so.
        seen_at: When anything was last heard of it.
        is_stale: Whether the process is gone, or was not heard of for two hours.
    """

    runtime_id: str
    probe_version: int
    status: str
    since: str
    seen_at: str
    is_stale: bool
    service: str
    env: str
    host: str
    language: str
    tracer_version: str
    app_version: str
    client_id: str
    failure: InstanceFailure | None


class ProbeCounts(TypedDict):
    """What came of a probe.

    Attributes:
        over_quota: More than the organisation keeps per second.
        refused: Messages that made no sense.
        kept_per_s: Over the last ten seconds.
    """

    kept: int
    over_quota: int
    refused: int
    kept_per_s: float
    last_at: str | None


class ProbeStatusList(TypedDict):
    """What became of a probe in each process.

    Attributes:
        headline: The worst that is so in a live process, else how far the furthest is.
        counts: Of live processes with the present version, by status.
        behind: Live processes that have an older version.
        stale: Processes that are gone.
    """

    probe_id: str
    version: int
    headline: str
    counts: dict[str, int]
    behind: int
    stale: int
    instances: list[ProbeInstance]
    snapshots: ProbeCounts


class DebuggerChoices(TypedDict):
    """How snapshots are kept.

    Attributes:
        snapshots_per_s: How many are kept of all probes together; what is over it is counted.
        redacted_names: Masked when a snapshot is opened, besides what tracers redact.
        redacted_by_tracers: Names whose values never leave a program, unless its environment says otherwise.
    """

    retention_hours: int
    snapshots_per_s: int
    redacted_names: list[str]
    redacted_by_tracers: list[str]
    revision: int
    changed_by: str
    changed_at: str | None


class ChangedChoices(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A change of how snapshots are kept: what is not given stays."""

    expected_revision: shapes.RevisionNumber | None = None
    retention_hours: int | None = None
    snapshots_per_s: int | None = None
    redacted_names: list[str] | None = None


@get("/debugger/snapshots", opt=READ)
async def list_snapshots(
    tenant: OwnTenant,
    principal: Asker,
    probe_id: FromQuery[str] = "",
    service: FromQuery[str] = "",
    env: FromQuery[str] = "",
    trace_id: FromQuery[str] = "",
    version: Annotated[int | None, QueryParameter(ge=0, le=shapes.MAX_REVISION)] = None,
    has_values: FromQuery[bool | None] = None,
    has_errors: FromQuery[bool | None] = None,
    since: FromQuery[str] = "",
    until: FromQuery[str] = "",
    before: FromQuery[str] = "",
    limit: Annotated[int, QueryParameter(ge=1, le=MAX_PAGE)] = 50,
) -> SnapshotPage:
    """Snapshots, newest first.

    Args:
        version: Of the probe.
        since: ISO 8601: reached then or later.
        until: ISO 8601: reached before.
        before: What a page called next.
    """
    found = await tenant.snapshots.list(
        probe_id=_word(probe_id),
        service=_word(service),
        env=_word(env),
        trace_id=_word(trace_id),
        version=version,
        has_values=has_values,
        has_errors=has_errors,
        since_ms=shapes.moment("since", since) or 0,
        until_ms=shapes.moment("until", until),
        before=_place(before),
        limit=limit + 1,
    )
    page = found[:limit]
    said = await tenant.snapshots.messages([kept for kept in page if discretion.may_see(principal, kept)])
    last = page[-1] if len(found) > limit else None
    return {
        "snapshots": [
            written.head(
                principal, kept, said.get(kept.snapshot_id, ""), tenant.snapshots.template(kept.probe_id)
            )
            for kept in page
        ],
        "next": None if last is None else f"{last.at_ms}.{last.snapshot_id}",
    }


@get("/debugger/snapshots/search", opt=READ)
async def search_snapshots(
    tenant: OwnTenant,
    principal: Asker,
    probe_id: FromQuery[str],
    text: FromQuery[str],
    limit: Annotated[int, QueryParameter(ge=1, le=MAX_PAGE)] = 50,
) -> FoundSnapshots:
    """Find a text in values and messages of a probe's newest snapshots; only where values may be seen."""
    if not 0 < len(text.strip()) <= MAX_TEXT:
        raise InvalidChangeError(
            "There is nothing to look for.", problems=(Problem("$.text", f"1 to {MAX_TEXT} characters"),)
        )
    may_see = functools.partial(discretion.may_see, principal)
    found = await tenant.snapshots.search(_word(probe_id), text, may_see=may_see, limit=limit)
    template = tenant.snapshots.template(_word(probe_id))

    def hit(each: Hit) -> FoundSnapshot:
        return {
            **written.head(principal, each.kept, each.message, template),
            "values": [{"path": path, "value": value} for path, value in each.paths],
            "found": each.total,
            "in_message": each.in_message,
        }

    return {"snapshots": [hit(each) for each in found.hits], "scanned": found.scanned, "is_all": found.is_all}


@dataclass
class _Exporting(Operation):
    """The answer of an export is a file."""

    def __post_init__(self) -> None:
        answer = (self.responses or {}).get("200")
        if isinstance(answer, OpenAPIResponse):
            answer.description = "Snapshots, newest first."
            answer.content = {JSON_LINES: OpenAPIMediaType(schema=Schema(type=OpenAPIType.STRING))}


@get("/debugger/snapshots/export", opt={"permission": discretion.EXPORT}, operation_class=_Exporting)
async def export_snapshots(
    tenant: OwnTenant,
    plane: Plane,
    principal: Asker,
    probe_id: FromQuery[str] = "",
    service: FromQuery[str] = "",
    env: FromQuery[str] = "",
    since: FromQuery[str] = "",
    until: FromQuery[str] = "",
) -> Stream:
    """The newest 10,000 snapshots as JSON lines, with values where they may be seen; the trail tells."""
    chosen = written.Chosen(
        _word(probe_id),
        _word(service),
        _word(env),
        shapes.moment("since", since) or 0,
        shapes.moment("until", until),
    )
    lines = await written.export(plane.database, tenant, principal, chosen, now_ms=plane.now_ms())
    name = f"sealwire-snapshots-{tenant.organisation.org_id}-{plane.clock():%Y%m%d-%H%M%S}.jsonl"
    return Stream(
        lines,
        media_type=f"{JSON_LINES}; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"},
    )


@get("/debugger/snapshots/{snapshot_id:str}", opt=READ)
async def get_snapshot(snapshot_id: FromPath[str], tenant: OwnTenant, principal: Asker) -> WholeSnapshot:
    """One snapshot with all that may be seen of it."""
    if _ID.fullmatch(snapshot_id) is None:
        raise NotFoundError("There is no such snapshot.")
    opened = await tenant.snapshots.open(snapshot_id)
    return await asyncio.to_thread(written.whole, principal, opened)


@get("/debugger/probes/{probe_id:str}/statuses", opt=READ)
async def list_probe_statuses(
    probe_id: FromPath[str], tenant: OwnTenant, principal: Asker, plane: Plane
) -> ProbeStatusList:
    """What became of a probe in each process, and how much came of it."""
    row = await tenant.probes.get(principal, probe_id)
    summary = tenant.statuses.summary(row.probe_id, row.version)
    counts = tenant.snapshots.counts(row.probe_id)
    now_ms = plane.now_ms()
    return {
        "probe_id": row.probe_id,
        "version": row.version,
        "headline": summary.headline.value,
        "counts": {status.value: count for status, count in summary.counts.items()},
        "behind": summary.behind,
        "stale": summary.stale,
        "instances": [_instance(each, now_ms) for each in tenant.statuses.of(row.probe_id)],
        "snapshots": {
            "kept": counts.kept,
            "over_quota": counts.over_quota,
            "refused": counts.refused,
            "kept_per_s": counts.per_s,
            "last_at": shapes.time_or_none(counts.last_ms or None),
        },
    }


@get("/debugger/settings", opt=READ)
async def get_debugger_settings(tenant: OwnTenant) -> DebuggerChoices:
    """How snapshots are kept, and which names are masked."""
    await asyncio.to_thread(tenant.debugger_settings.reload)
    return _choices(tenant.debugger_settings.current)


@put("/debugger/settings", opt={"permission": chosen_settings.WRITE})
async def change_debugger_settings(
    data: JSONBody[ChangedChoices], tenant: OwnTenant, principal: Asker, plane: Plane
) -> DebuggerChoices:
    """Change how snapshots are kept."""
    changed = await asyncio.to_thread(
        functools.partial(
            tenant.debugger_settings.change,
            retention_hours=data.retention_hours,
            snapshots_per_s=data.snapshots_per_s,
            redacted_names=data.redacted_names,
            expected_revision=data.expected_revision,
            by=principal.user,
            now_ms=plane.now_ms(),
        )
    )
    return _choices(changed)


# Shapes -----------------------------------------------------------------------------------------------


def _choices(current: DebuggerSettings) -> DebuggerChoices:
    return {
        "retention_hours": current.retention_hours,
        "snapshots_per_s": current.snapshots_per_s,
        "redacted_names": list(current.redacted_names),
        "redacted_by_tracers": sorted(redaction.NAMES),
        "revision": current.revision,
        "changed_by": current.changed_by,
        "changed_at": shapes.time_or_none(current.changed_ms or None),
    }


def _instance(one: Instance, now_ms: int) -> ProbeInstance:
    failure = one.state.failure
    return {
        "runtime_id": one.key.runtime_id,
        "probe_version": one.key.version,
        "status": one.state.status.value,
        "since": shapes.time(one.state.since_ms),
        "seen_at": shapes.time(one.state.seen_ms),
        "is_stale": one.is_stale(now_ms),
        "service": one.service,
        "env": one.env,
        "host": one.host,
        "language": one.language,
        "tracer_version": one.tracer_version,
        "app_version": one.app_version,
        "client_id": one.client_id,
        "failure": None
        if failure is None
        else {"type": failure.type, "message": failure.message, "explained": explained(failure)},
    }


def _word(text: str) -> str:
    return text[:MAX_TEXT].replace("\0", "")


def _place(text: str) -> tuple[int, str] | None:
    if not text:
        return None
    found = _PLACE.fullmatch(text)
    if found is None:
        raise InvalidChangeError(
            "This is no place to go on from.", problems=(Problem("$.before", "what a page called next"),)
        )
    return int(found[1]), found[2]


HANDLERS: list[ControllerRouterHandler] = [
    list_snapshots,
    search_snapshots,
    export_snapshots,
    get_snapshot,
    list_probe_statuses,
    get_debugger_settings,
    change_debugger_settings,
]
