"""Snapshots written out for those who asked: as JSON, and as a file of them.

Everything here passes ``discretion``: who may not see values gets the same shape without them. Nothing else
writes a snapshot out, so the API, its export and the export of pages cannot differ in what they show.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict

import msgspec
import orjson

from sealwire.clock import written as time_written
from sealwire.server.access import Principal
from sealwire.server.debugger.snapshots import discretion
from sealwire.server.debugger.snapshots.captured import Value
from sealwire.server.debugger.snapshots.keep import Kept, Opened
from sealwire.server.debugger.snapshots.snapshot import Capture, Frame, Snapshot
from sealwire.server.store import write

if TYPE_CHECKING:
    from sealwire.server.store.database import Database
    from sealwire.server.tenant import Tenant

MAX_EXPORTED = 10_000


class SnapshotHead(TypedDict):
    """A snapshot without what it captured.

    Attributes:
        probe_version: Of the probe, as it was then.
        version: Of the application.
        message: What the log says, or the probe's template for who may not see values.
        has_values: Whether it captured any.
        shows_values: Whether who asks may see them.
        errors: How many expressions failed.
        bytes: As it came.
        duration_ns: How long the method took; null of a line.
    """

    id: str
    probe_id: str
    probe_version: int
    at: str
    service: str
    env: str
    version: str
    host: str
    language: str
    trace_id: str
    span_id: str
    message: str
    has_values: bool
    shows_values: bool
    errors: int
    bytes: int
    duration_ns: int | None


class CalledFrom(TypedDict):
    """One call of a stack."""

    file: str
    function: str
    line: int


class FailedExpression(TypedDict):
    """An expression that failed in the program; message is empty for who may not see values."""

    expression: str
    message: str


class ThrownByProgram(TypedDict):
    """What was raised; message is empty for who may not see values."""

    type: str
    message: str
    stack: list[CalledFrom]


class CapturedAt(TypedDict):
    """What was captured at one moment.

    A value has its type, and of value, fields, elements and entries what it is made of; size where some are
    left out, and not_captured saying why.

    Attributes:
        moment: entry, return, or the number of the line.
        expressions: What the probe asked for by name.
    """

    moment: str
    arguments: dict[str, Any]
    locals: dict[str, Any]
    static_fields: dict[str, Any]
    expressions: dict[str, Any]
    thrown: ThrownByProgram | None


class WholeSnapshot(SnapshotHead):
    """A snapshot with what it captured, as far as who asks may see it.

    Attributes:
        location: A file and a line, or a type and a method.
        problem: Why its values cannot be shown, if they make no sense.
    """

    location: str
    thread: str
    captures: list[CapturedAt]
    stack: list[CalledFrom]
    evaluation_errors: list[FailedExpression]
    problem: str


def head(principal: Principal, kept: Kept, message: str, template: str) -> SnapshotHead:
    """A snapshot in a list."""
    return {
        "id": kept.snapshot_id,
        "probe_id": kept.probe_id,
        "probe_version": kept.probe_version,
        "at": time_written(kept.at_ms),
        "service": kept.service,
        "env": kept.env,
        "version": kept.version,
        "host": kept.host,
        "language": kept.language,
        "trace_id": kept.trace_id,
        "span_id": kept.span_id,
        "message": discretion.line(principal, kept, message, template),
        "has_values": kept.has_values,
        "shows_values": discretion.may_see(principal, kept),
        "errors": kept.errors,
        "bytes": kept.bytes,
        "duration_ns": kept.duration_ns,
    }


def whole(principal: Principal, opened: Opened) -> WholeSnapshot:
    """A snapshot with all that somebody may see of it."""
    snapshot = discretion.shown(principal, opened)
    return {
        **head(principal, opened.kept, snapshot.message, opened.template),
        "location": str(snapshot.location),
        "thread": snapshot.thread,
        "captures": [_capture(each) for each in snapshot.captures],
        "stack": _stack(snapshot.stack),
        "evaluation_errors": _errors(snapshot),
        "problem": opened.problem,
    }


def _errors(snapshot: Snapshot) -> list[FailedExpression]:
    return [{"expression": each.expression, "message": each.message} for each in snapshot.errors]


def _stack(frames: tuple[Frame, ...]) -> list[CalledFrom]:
    return [{"file": each.file, "function": each.function, "line": each.line} for each in frames]


def _capture(capture: Capture) -> CapturedAt:
    thrown = capture.thrown
    return {
        "moment": capture.moment,
        "arguments": _named(capture.arguments),
        "locals": _named(capture.locals),
        "static_fields": _named(capture.static_fields),
        "expressions": _named(capture.expressions),
        "thrown": None
        if thrown is None
        else {"type": thrown.type, "message": thrown.message, "stack": _stack(thrown.stack)},
    }


def _named(values: tuple[tuple[str, Value], ...]) -> dict[str, Any]:
    return {name: _value(value) for name, value in values}


def _value(value: Value) -> dict[str, Any]:
    found: dict[str, Any] = {"type": value.type}
    if value.text is not None:
        found["value"] = value.text
    if value.is_null:
        found["is_null"] = True
    if value.fields is not None:
        found["fields"] = _named(value.fields)
    if value.elements is not None:
        found["elements"] = [_value(each) for each in value.elements]
    if value.entries is not None:
        found["entries"] = [[_value(key), _value(each)] for key, each in value.entries]
    if value.size is not None:
        found["size"] = value.size
    if value.truncated:
        found["truncated"] = True
    if value.missing is not None:
        found["not_captured"] = value.reason or value.missing.value
    return found


# A file -----------------------------------------------------------------------------------------------------


class Chosen(NamedTuple):
    """Which snapshots are exported; what is empty does not matter."""

    probe_id: str = ""
    service: str = ""
    env: str = ""
    since_ms: int = 0
    until_ms: int | None = None


async def export(
    database: Database, tenant: Tenant, principal: Principal, chosen: Chosen, *, now_ms: int
) -> AsyncIterator[bytes]:
    """Snapshots as JSON lines, newest first, noted in the audit trail before; at most ``MAX_EXPORTED``.

    Raises:
        NotPermittedError: They may not export.
    """
    principal.require(discretion.EXPORT)
    org_id = tenant.organisation.org_id

    def note() -> None:
        with database.write() as c:
            write.add_audit(
                c, org_id, at_ms=now_ms, actor=principal.user, action="snapshots.exported",
                subject=f"snapshots of probe {chosen.probe_id}" if chosen.probe_id else "snapshots",
                summary="Exported snapshots of probes",
                detail={key: value for key, value in chosen._asdict().items() if value}
                | {"at_most": MAX_EXPORTED},
            )  # fmt: skip

    await asyncio.to_thread(note)
    return _lines(tenant, principal, chosen)


async def _lines(tenant: Tenant, principal: Principal, chosen: Chosen) -> AsyncIterator[bytes]:
    async for opened in tenant.snapshots.export(**chosen._asdict(), limit=MAX_EXPORTED):
        yield line(whole(principal, opened))


def line(document: Mapping[str, Any]) -> bytes:
    """A document as a line of JSON, whatever texts are in it."""
    try:
        return orjson.dumps(document) + b"\n"
    except (TypeError, RecursionError):  # half characters, or deeper than it goes
        return msgspec.json.encode(document) + b"\n"
