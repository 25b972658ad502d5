"""The audit trail in the admin API: found, verified, exported.

An event carries the words of Datadog's Audit Trail beside our own: ``evt``, ``asset``, ``http``.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, TypedDict

from litestar import get, post
from litestar.openapi.spec import OpenAPIMediaType, OpenAPIResponse, OpenAPIType, Operation, Schema
from litestar.params import FromPath, FromQuery, QueryParameter
from litestar.response import Stream
from litestar.types import ControllerRouterHandler

from sealwire.errors import InvalidChangeError, NotFoundError, Problem
from sealwire.server import audit
from sealwire.server.access import Principal
from sealwire.server.api import shapes
from sealwire.server.api.guard import Asker, OwnTenant, Plane
from sealwire.server.audit import export as audit_export
from sealwire.server.audit.trail import Checked
from sealwire.server.control_plane import ControlPlane
from sealwire.server.store import audit as store
from sealwire.server.store import rows
from sealwire.server.store.audit import Criteria, Sought
from sealwire.server.tenant import Tenant

MAX_ID = 2**53
MAX_VALUE_CHARS = 300
MAX_FILES = 50
_ID = re.compile(r"[1-9][0-9]{0,14}", re.ASCII)


class Actor(TypedDict):
    """Who did it.

    Attributes:
        id: Of a user or a key; empty where there is none.
        email: Where the name is an address.
    """

    type: str
    id: str
    email: str


class Kind(TypedDict):
    """What was done, in the words of other audit trails."""

    name: str
    action: str
    actor: Actor


class Asset(TypedDict):
    """What it was done to.

    Attributes:
        prev_value, new_value: As it was and as it became, where that is noted.
    """

    type: str
    id: str
    name: str
    prev_value: Any
    new_value: Any


class Http(TypedDict):
    """The request it was done with; empty where there was none."""

    method: str
    url: str
    useragent: str


class Peer(TypedDict):
    """Where the request came from."""

    ip: str


class Network(TypedDict):
    """Where the request came from."""

    client: Peer


class Org(TypedDict):
    """The organisation it happened in."""

    id: int
    uuid: str


class Event(TypedDict):
    """Something that was done or refused.

    Attributes:
        actor: Who, by name.
        action: What, in our own word.
        subject: What it was done to: its kind and id.
        detail: Whatever else is noted of this action.
        prev_sha256: The hash of the event before.
        sha256: Of this event and the hash before: the chain.
    """

    id: int
    at: str
    actor: str
    action: str
    subject: str
    summary: str
    detail: Mapping[str, Any]
    evt: Kind
    asset: Asset
    http: Http
    network: Network
    org: Org
    request_id: str
    prev_sha256: str | None
    sha256: str | None


class Events(TypedDict):
    """Events, newest first."""

    events: list[Event]


class PublishedFile(TypedDict):
    """A file that is published of a config."""

    path: str
    version: int
    sha256: str


class OneEvent(Event):
    """One event.

    Attributes:
        files: What is published of a config as this event made it.
    """

    files: list[PublishedFile]


class Break(TypedDict):
    kind: str
    event: int | None
    number: int
    text: str


Break.__doc__ = """Where a chain breaks.

Attributes:
    event: The id of the first event that is not as it was written.
    number: Its place in the chain.
"""

Verified = TypedDict(
    "Verified",
    {"at": str, "events": int, "sha256": str, "complete": bool, "holds": bool, "break": Break | None},
)
Verified.__doc__ = """What a verification of the chain found.

Attributes:
    sha256: Where the chain ends.
    complete: Whether it was verified from its beginning.
    break: Where it breaks first; null where it holds.
"""


class Head(TypedDict):
    """Where the chain ends.

    Attributes:
        org: The organisation's UUID.
        sha256: Null while nothing has happened.
        verified: The last verification; null before the first.
    """

    org: str
    events: int
    sha256: str | None
    verified: Verified | None


class Verification(TypedDict):
    """A verification that was made now."""

    verified: Verified | None


@get("/audit", opt={"permission": "audit_logs_read"})
async def list_audit(
    tenant: OwnTenant,
    plane: Plane,
    limit: Annotated[int, QueryParameter(ge=1, le=1000)] = 100,
    before: Annotated[int | None, QueryParameter(ge=1, le=MAX_ID)] = None,
    after: Annotated[int | None, QueryParameter(ge=0, le=MAX_ID)] = None,
    actor: FromQuery[str | None] = None,
    action: FromQuery[str | None] = None,
    subject: FromQuery[str | None] = None,
    address: FromQuery[str | None] = None,
    request_id: FromQuery[str | None] = None,
    text: FromQuery[str | None] = None,
    begin: Annotated[str | None, QueryParameter(name="from")] = None,
    until: FromQuery[str | None] = None,
) -> Events:
    """What was done, newest first. A star in a filter stands for anything."""
    criteria = criteria_of(
        {
            "actor": actor, "action": action, "subject": subject, "address": address, "request": request_id,
            "": text,
        },
        begin, until,
    )  # fmt: skip
    found = await load(plane, tenant, criteria, limit=limit, before=before, after=after)
    return {"events": [_event(row, tenant) for row in found]}


@get("/audit/head", opt={"permission": "audit_logs_read"})
async def audit_head(tenant: OwnTenant, plane: Plane) -> Head:
    """Where the chain of the trail ends: note the hash elsewhere, and no later chain can take its place."""
    org_id = tenant.organisation.org_id
    head = await asyncio.to_thread(plane.trail.head, org_id)
    return {
        "org": tenant.organisation.uuid,
        "events": 0 if head is None else head.events,
        "sha256": None if head is None else head.sha256,
        "verified": _checked(plane.trail.checked.get(org_id)),
    }


@post("/audit:check", status_code=200, opt={"permission": "audit_logs_read"})
async def check_audit(tenant: OwnTenant, plane: Plane) -> Verification:
    """Verify the chain now, from its beginning."""
    checked = await asyncio.to_thread(plane.trail.verify, tenant.organisation.org_id)
    return {"verified": _checked(checked)}


@dataclass
class _Exporting(Operation):
    """The answer of an export is a file, in one of the formats there are."""

    def __post_init__(self) -> None:
        answer = (self.responses or {}).get("200")
        if isinstance(answer, OpenAPIResponse):
            answer.description = "The trail, oldest first."
            answer.content = {
                media_type.partition(";")[0]: OpenAPIMediaType(schema=Schema(type=OpenAPIType.STRING))
                for media_type in audit_export.FORMATS.values()
            }


@get("/audit/export", opt={"permission": "audit_logs_write"}, operation_class=_Exporting)
async def export_audit(
    tenant: OwnTenant,
    plane: Plane,
    principal: Asker,
    form: Annotated[str, QueryParameter(name="format")] = audit_export.JSON_LINES,
    actor: FromQuery[str | None] = None,
    action: FromQuery[str | None] = None,
    subject: FromQuery[str | None] = None,
    address: FromQuery[str | None] = None,
    text: FromQuery[str | None] = None,
    begin: Annotated[str | None, QueryParameter(name="from")] = None,
    until: FromQuery[str | None] = None,
) -> Stream:
    """The trail as a file, oldest first: JSON lines (``jsonl``) or ``csv``. The trail tells of it."""
    criteria = criteria_of(
        {"actor": actor, "action": action, "subject": subject, "address": address, "": text}, begin, until
    )
    return await export(plane, tenant, principal, form, criteria)


@get("/audit/{event_id:str}", opt={"permission": "audit_logs_read"})
async def get_event(event_id: FromPath[str], tenant: OwnTenant, plane: Plane) -> OneEvent:
    """One event; of a config also the files that are published of it as it made it."""
    row = await load_one(plane, tenant, event_id)
    files: list[PublishedFile] = [
        {"path": file.path, "version": file.version, "sha256": file.sha256} for file in published(tenant, row)
    ]
    return {**_event(row, tenant), "files": files}


# What pages do too ------------------------------------------------------------------------------------


def criteria_of(asked: dict[str, str | None], begin: str | None = None, until: str | None = None) -> Criteria:
    """What to look for.

    Args:
        asked: Field of ``Sought`` -> values, joined by commas.
        begin, until: Times, ISO 8601 with zone or a date in UTC; the first counts, the second does not.

    Raises:
        InvalidChangeError: A time is none, or a value is too long.
    """
    problems: list[Problem] = []
    sought = []
    for name, value in asked.items():
        values = tuple(part.strip() for part in (value or "").split(",") if part.strip())
        if len(value or "") > MAX_VALUE_CHARS:
            problems.append(Problem(f"$.{name or 'text'}", f"At most {MAX_VALUE_CHARS} characters."))
        elif "\0" in (value or ""):
            problems.append(Problem(f"$.{name or 'text'}", "A NUL is in nothing that is stored."))
        elif values:
            sought.append(Sought(name, values))
    times = [_moment(name, text, problems) for name, text in (("from", begin), ("until", until))]
    if problems:
        raise InvalidChangeError("This cannot be looked for.", problems=tuple(problems))
    return Criteria(tuple(sought), times[0], times[1])


def _moment(name: str, text: str | None, problems: list[Problem]) -> int | None:
    if not text:
        return None
    try:
        found = datetime.fromisoformat(text)
        found = found.replace(tzinfo=UTC) if found.tzinfo is None else found
        return int(found.timestamp() * 1000)
    except (ValueError, OverflowError):
        problems.append(Problem(f"$.{name}", "Expected a time such as 2026-11-30T12:00:00Z, or a date."))
        return None


async def load(
    plane: ControlPlane,
    tenant: Tenant,
    criteria: Criteria,
    *,
    limit: int,
    before: int | None = None,
    after: int | None = None,
) -> list[rows.AuditRow]:
    """Events, newest first, what was refused just now among them."""

    def read() -> list[rows.AuditRow]:
        plane.trail.refusals.flush()
        with plane.database.read() as c:
            return store.find(
                c, tenant.organisation.org_id, criteria, limit=limit, before=before, after=after
            )

    return await asyncio.to_thread(read)


async def load_one(plane: ControlPlane, tenant: Tenant, event_id: str) -> rows.AuditRow:
    """One event.

    Raises:
        NotFoundError: The organisation has none with this id.
    """

    def read() -> Sequence[rows.AuditRow]:
        with plane.database.read() as c:
            return store.oldest(c, tenant.organisation.org_id, after=int(event_id) - 1, limit=1)

    found = await asyncio.to_thread(read) if _ID.fullmatch(event_id) else ()
    if not found or str(found[0].id) != event_id:
        raise NotFoundError(f"There is no event {event_id[:40]} here.")
    return found[0]


def published(tenant: Tenant, row: rows.AuditRow) -> list[rows.FileRow]:
    """Files that hold what a config became by this event; none when it is another one by now."""
    kind, _, config_id = row.subject.partition(" ")
    after = row.detail.get("after")
    if kind != "config" or not isinstance(after, dict):
        return []
    revision = after.get("revision")
    files = list(tenant.publisher.files.values())
    return [file for file in files if file.role and file.sources.get(config_id) == revision][:MAX_FILES]


async def export(
    plane: ControlPlane, tenant: Tenant, principal: Principal, form: str, criteria: Criteria
) -> Stream:
    """The trail as a file, noted in the trail before.

    Raises:
        InvalidChangeError: There is no such format.
    """
    if form not in audit_export.FORMATS:
        raise InvalidChangeError("format is jsonl or csv.", problems=(Problem("$.format", "jsonl or csv"),))
    now = plane.clock()
    await asyncio.to_thread(
        audit_export.note, plane.database, tenant.organisation.org_id, form=form, criteria=criteria,
        by=principal.user, now_ms=plane.now_ms(),
    )  # fmt: skip
    name = f"sealwire-audit-{tenant.organisation.org_id}-{now:%Y%m%d-%H%M%S}.{form}"
    return Stream(
        audit_export.lines(plane.database, tenant.organisation, form=form, criteria=criteria),
        media_type=audit_export.FORMATS[form],
        headers={"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"},
    )


# Shapes -----------------------------------------------------------------------------------------------


def _event(row: rows.AuditRow, tenant: Tenant) -> Event:
    known = audit.described(row.action, row.detail)
    said = row.context
    kind, _, name = row.subject.partition(" ")
    return {
        "id": row.id,
        "at": shapes.time(row.at_ms),
        "actor": row.actor,
        "action": row.action,
        "subject": row.subject,
        "summary": row.summary,
        "detail": row.detail,
        "evt": {
            "name": known.name,
            "action": known.action,
            "actor": {
                "type": said.get("actor_type", audit.SERVICE),
                "id": said.get("actor_id", ""),
                "email": row.actor if "@" in row.actor else "",
            },
        },
        "asset": {
            "type": known.asset_type,
            "id": name or kind,
            "name": str(row.detail.get("name", "")),
            "prev_value": row.detail.get("before"),
            "new_value": row.detail.get("after"),
        },
        "http": {
            "method": said.get("method", ""),
            "url": said.get("path", ""),
            "useragent": said.get("user_agent", ""),
        },
        "network": {"client": {"ip": said.get("address", "")}},
        "org": {"id": tenant.organisation.org_id, "uuid": tenant.organisation.uuid},
        "request_id": said.get("request_id", ""),
        "prev_sha256": row.prev_sha256,
        "sha256": row.sha256,
    }


def _checked(checked: Checked | None) -> Verified | None:
    if checked is None:
        return None
    found = checked.verdict.found
    return {
        "at": shapes.time(checked.at_ms),
        "events": checked.verdict.events,
        "sha256": checked.verdict.sha256,
        "complete": checked.complete,
        "holds": checked.verdict.holds,
        "break": None
        if found is None
        else {"kind": found.kind, "event": found.event_id, "number": found.place, "text": found.text},
    }


HANDLERS: list[ControllerRouterHandler] = [
    list_audit, audit_head, check_audit, export_audit, get_event,
]  # fmt: skip
