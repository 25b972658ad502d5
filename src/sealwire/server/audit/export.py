"""The audit trail as a file: JSON lines that `sealwire audit verify` reads, or CSV for a spreadsheet.

The first JSON line says of which organisation it is, how many events the trail has and what its head is;
the lines after it are the events exactly as they are hashed (see ``chain``). CSV has one event a row; a cell
that a spreadsheet could take for a formula begins with an apostrophe.

An export is of the events that were there when it began, itself the last of them.
"""

from __future__ import annotations

import asyncio
import csv
import io
import json
from collections.abc import AsyncIterator, Sequence

from sealwire.clock import written
from sealwire.server.store import audit as store
from sealwire.server.store import rows, write
from sealwire.server.store.database import Database

JSON_LINES, CSV = "jsonl", "csv"
FORMATS = {JSON_LINES: "application/jsonl; charset=utf-8", CSV: "text/csv; charset=utf-8"}
PIECE = 500
COLUMNS = (
    "id", "time", "actor", "actor_type", "actor_id", "action", "subject", "summary", "address", "user_agent",
    "request_id", "method", "path", "detail", "prev_sha256", "sha256",
)  # fmt: skip
# Also in the width that East Asian keyboards type, which some spreadsheets read the same.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


def note(
    database: Database, org_id: int, *, form: str, criteria: store.Criteria, by: str, now_ms: int
) -> None:
    """Put the export into the trail (blocking): who took which part of it."""
    detail = {
        "format": form,
        "filter": [
            {"field": one.field, "values": list(one.values), "negated": one.negated}
            for one in criteria.sought
        ],
        "from_ms": criteria.from_ms,
        "until_ms": criteria.until_ms,
    }
    part = "all of the audit trail" if criteria == store.EVERYTHING else "a part of the audit trail"
    with database.write() as c:
        write.add_audit(
            c, org_id, at_ms=now_ms, actor=by, action="audit.exported", subject="audit trail",
            summary=f"Exported {part} as {'CSV' if form == CSV else 'JSON lines'}", detail=detail,
        )  # fmt: skip


async def lines(
    database: Database, organisation: rows.Organisation, *, form: str, criteria: store.Criteria
) -> AsyncIterator[bytes]:
    """The file, piece by piece."""
    org_id, org = organisation.org_id, organisation.uuid

    def begin() -> tuple[bytes, int]:
        with database.read() as c:
            head = store.head(c, org_id)
            newest = store.find(c, org_id, limit=1)
        if form == CSV:
            return _csv([COLUMNS]), newest[0].id if newest else 0
        about = {
            "org": org,
            "name": organisation.name,
            "events": 0 if head is None else head.events,
            "head": "" if head is None else head.sha256,
            "whole": criteria == store.EVERYTHING,
        }
        return _line({"export": about}), newest[0].id if newest else 0

    def piece(after: int, last: int) -> tuple[bytes, int]:
        with database.read() as c:
            found = store.oldest(c, org_id, after=after, limit=PIECE, criteria=criteria)
        found = [row for row in found if row.id <= last]
        if not found:
            return b"", last
        if form == CSV:
            return _csv([_cells(row) for row in found]), found[-1].id
        return b"".join(_line(store.to_chain(row, org)) for row in found), found[-1].id

    first, last = await asyncio.to_thread(begin)
    yield first
    after = 0
    while after < last:
        raw, after = await asyncio.to_thread(piece, after, last)
        if raw:
            yield raw


def _line(document: object) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode("ascii") + b"\n"


def _cells(row: rows.AuditRow) -> Sequence[str]:
    said = row.context
    return [
        str(row.id), written(row.at_ms), row.actor, said.get("actor_type", ""),
        said.get("actor_id", ""), row.action, row.subject, row.summary, said.get("address", ""),
        said.get("user_agent", ""), said.get("request_id", ""), said.get("method", ""), said.get("path", ""),
        json.dumps(row.detail, ensure_ascii=False, sort_keys=True), row.prev_sha256 or "", row.sha256 or "",
    ]  # fmt: skip


def _csv(table: Sequence[Sequence[str]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerows([[harmless(cell) for cell in row] for row in table])
    return text.getvalue().encode("utf-8", "replace")


def harmless(cell: str) -> str:
    """Attack: a formula in a name, run by the spreadsheet of whoever opens the export."""
    return f"'{cell}" if cell.lstrip(" ").startswith(_FORMULA) else cell
