"""Snapshots: what probes brought, newest first and as it comes; a search in the values of one probe."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeAlias
from urllib.parse import quote, urlencode

from litestar import Request, Response, get
from litestar.response import Stream

from sealwire.server.access import Principal
from sealwire.server.api.guard import Asker, OwnTenant, Plane
from sealwire.server.control_plane import ControlPlane
from sealwire.server.debugger.authoring.desk import ProbeRow
from sealwire.server.debugger.authoring.probes import ProbeKind
from sealwire.server.debugger.snapshots import discretion
from sealwire.server.debugger.snapshots.keep import Found, Hit, Kept
from sealwire.server.tenant import Tenant
from sealwire.server.ui import debugger_snapshots_detail as detail
from sealwire.server.ui.debugger_snapshots_tree import PATH, moment_words
from sealwire.server.ui.debugger_words import place_words
from sealwire.server.ui.live import Fragments, Rows
from sealwire.server.ui.pages import Watching
from sealwire.server.ui.render import dom_id, macro, page
from sealwire.server.ui.security_traces_words import visible
from sealwire.server.ui.views import Tab

Asked: TypeAlias = Request[Any, Any, Any]
READ: Final = {"permission": "debugger_read"}
PAGE_ROWS: Final = 50
SCAN: Final = 2_000
SCAN_ALL: Final = 100_000
MAX_WORD: Final = 200
_PROBES_EVERY_S: Final = 10.0
_IDLE_S: Final = 5.0  # after so long a live page looks again, whatever it was told
_HOUR_MS: Final = 3_600_000
RANGES: Final[Mapping[str, tuple[str, int]]] = {
    "15m": ("15 min", _HOUR_MS // 4), "1h": ("1 h", _HOUR_MS), "4h": ("4 h", 4 * _HOUR_MS), "": ("All", 0),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Option:
    """A choice of a select."""

    value: str
    words: str
    is_current: bool


@dataclass(frozen=True, slots=True)
class HitView:
    """Where in a snapshot a text was found."""

    href: str
    where: str
    shown: str


@dataclass(frozen=True, slots=True)
class SnapshotRow:
    """A row of the list.

    Attributes:
        message: As it may be seen: without permission the probe's template.
        hits, more_hits: What a search found in it.
    """

    dom_id: str
    href: str
    iso: str
    day: str
    clock: str
    message: str
    probe: str
    probe_href: str
    service: str
    env: str
    host: str
    trace_id: str
    trace_href: str
    duration: str
    errors: int
    has_values: bool
    hits: tuple[HitView, ...]
    more_hits: int


@dataclass(frozen=True, slots=True)
class Scanned:
    """How far a search got.

    Attributes:
        all_href: To look into all of them; None where that was done.
    """

    found: int
    scanned: int
    of: int
    all_href: str | None
    words: str


@dataclass(frozen=True, slots=True)
class SnapshotsPage:
    """The list.

    Attributes:
        can_search: Whether there is a probe to search in, and somebody who may.
        note: Why a search was not made; empty else.
        needs: Said where messages are not shown.
        is_empty: Nothing was ever asked to send snapshots.
    """

    probe: str
    probes: tuple[Option, ...]
    service: str
    env: str
    trace: str
    values: bool
    errors: bool
    query: str
    range: str
    ranges: tuple[Tab, ...]
    rows: tuple[SnapshotRow, ...]
    scanned: Scanned | None
    can_search: bool
    note: str
    needs: str
    is_filtered: bool
    has_probes: bool
    newest_href: str | None
    next_href: str | None
    live_href: str | None
    summary: str


@get(PATH, opt=READ, include_in_schema=False)
async def show_snapshots(request: Asked, principal: Asker, tenant: OwnTenant, plane: Plane) -> Response[str]:
    """What probes brought."""
    view = await _Screen(plane, tenant, principal, dict(request.query_params)).view()
    return page(
        request, "debugger_snapshots/snapshots.html", title="Snapshots", view=view, principal=principal,
        tenant=tenant,
    )  # fmt: skip


@get("/live/debugger/snapshots", opt=READ, include_in_schema=False)
async def live_snapshots(
    request: Asked, principal: Asker, tenant: OwnTenant, plane: Plane, viewers: Watching
) -> Stream:
    """The same, as it comes. Of a probe that brings nothing the database is not asked."""
    row = macro("debugger_snapshots/_list.html", "row")
    parts = {name: macro("debugger_snapshots/_list.html", name) for name in ("nothing", "announcement")}
    screen = _Screen(plane, tenant, principal, dict(request.query_params))
    seen = -1
    looked_at = 0.0
    fragments: Fragments = {}

    async def look() -> Fragments:
        nonlocal seen, looked_at, fragments
        generation, now = screen.generation(), time.monotonic()
        if fragments and generation == seen and now - looked_at < _IDLE_S:
            return fragments
        view = await screen.view()
        seen, looked_at = generation, now
        rows = {one.dom_id: row(one) for one in view.rows}
        fragments = {
            "rows": Rows('<tbody id="rows" role="rowgroup">', rows, "</tbody>"),
            **{name: part(view) for name, part in parts.items()},
        }
        return fragments

    return await viewers.stream(look)


HANDLERS = [show_snapshots, live_snapshots, *detail.HANDLERS]


class _Screen:
    """One address, looked at once or again and again."""

    def __init__(
        self, plane: ControlPlane, tenant: Tenant, principal: Principal, query: Mapping[str, str]
    ) -> None:
        self._plane = plane
        self._tenant = tenant
        self._principal = principal
        self._query = query
        self._probes: dict[str, ProbeRow] = {}
        self._probes_at = 0.0

    def _text(self, name: str) -> str:
        return self._query.get(name, "").replace("\0", "").strip()[:MAX_WORD]

    def generation(self) -> int:
        """Grows with what comes here."""
        probe_id = self._text("probe")
        known = [probe_id] if probe_id else self._probes
        return sum(self._tenant.snapshots.generation(each) for each in known)

    async def view(self) -> SnapshotsPage:
        """The page now."""
        probes = await self._known()
        probe_id, query = self._text("probe"), self._text("q")
        cursor = _cursor(self._query.get("before", ""))
        can_search = bool(probe_id) and self._principal.may(discretion.CAPTURE)
        if query and can_search:
            return await self._searched(probes, probe_id, query)
        kept = await self._tenant.snapshots.list(**self._wanted(), before=cursor, limit=PAGE_ROWS + 1)
        shown = kept[:PAGE_ROWS]
        messages = await self._tenant.snapshots.messages(
            [one for one in shown if discretion.may_see(self._principal, one)]
        )
        rows = tuple(self._row(one, messages.get(one.snapshot_id, ""), probes) for one in shown)
        next_href = None
        if len(kept) > PAGE_ROWS:
            next_href = self._href(before=f"{shown[-1].at_ms}.{shown[-1].snapshot_id}")
        note = ""
        if query:
            note = (
                "Choose a probe: a search looks into the values of one."
                if not probe_id
                else "A search in values needs the permission debugger_capture_variables."
            )
        return self._page(probes, rows, next_href=next_href, note=note, is_later=cursor is not None)

    def _wanted(self) -> dict[str, Any]:
        span_ms = RANGES[self._range][1]
        return {
            "probe_id": self._text("probe"),
            "service": self._text("service"),
            "env": self._text("env"),
            "trace_id": self._text("trace"),
            "has_values": True if self._query.get("values") else None,
            "has_errors": True if self._query.get("errors") else None,
            "since_ms": self._plane.now_ms() - span_ms if span_ms else 0,
        }

    async def _searched(self, probes: Mapping[str, ProbeRow], probe_id: str, query: str) -> SnapshotsPage:
        is_all = self._query.get("scan") == "all"
        found = await self._tenant.snapshots.search(
            probe_id, query, may_see=partial(discretion.may_see, self._principal), limit=PAGE_ROWS,
            scan=SCAN_ALL if is_all else SCAN,
        )  # fmt: skip
        rows = tuple(self._row(hit.kept, hit.message, probes, hit) for hit in found.hits)
        return self._page(probes, rows, scanned=self._scanned(found, probe_id))

    def _scanned(self, found: Found, probe_id: str) -> Scanned:
        of = max(found.scanned, 0 if found.is_all else self._tenant.snapshots.counts(probe_id).kept)
        hits = len(found.hits)
        is_cut = not found.is_all and hits >= PAGE_ROWS
        words = f"{hits} snapshot{'' if hits == 1 else 's'} with it"
        if is_cut:
            words = f"The newest {hits} snapshots with it"
        more = None if found.is_all or is_cut else self._href(scan="all")
        return Scanned(hits, found.scanned, of, more, words)

    # What is on it --------------------------------------------------------------------------------------

    @property
    def _range(self) -> str:
        wanted = self._query.get("range", "")
        return wanted if wanted in RANGES else ""

    def _href(self, **changed: str) -> str:
        names = ("probe", "service", "env", "trace", "values", "errors", "q", "range")
        asked = {name: self._text(name) for name in names} | changed
        return f"{PATH}?{urlencode({name: value for name, value in asked.items() if value})}".rstrip("?")

    async def _known(self) -> Mapping[str, ProbeRow]:
        if not self._probes or time.monotonic() - self._probes_at > _PROBES_EVERY_S:
            rows = await self._tenant.probes.list(self._principal, state="all")
            self._probes = {row.probe_id: row for row in rows if row.probe.kind is ProbeKind.LOG}
            self._probes_at = time.monotonic()
        return self._probes

    def _row(
        self, kept: Kept, message: str, probes: Mapping[str, ProbeRow], hit: Hit | None = None
    ) -> SnapshotRow:
        probe = probes.get(kept.probe_id)
        said = discretion.line(self._principal, kept, message, self._tenant.snapshots.template(kept.probe_id))
        clock = detail.clock(kept.at_ms)
        hits = () if hit is None else tuple(_hit(kept, *each) for each in hit.paths)
        return SnapshotRow(
            dom_id=dom_id("snapshot", kept.snapshot_id),
            href=detail.href(kept.snapshot_id, **({"q": self._text("q")} if hit is not None else {})),
            iso=f"{clock[:10]}T{clock[11:23]}Z",
            day=clock[:10],
            clock=clock[11:23],
            message=visible(said, 300),
            probe=(visible(probe.config.name, 80) or place_words(probe.probe))
            if probe is not None
            else f"Probe {kept.probe_id[:8]}",
            probe_href=f"/debugger/probes/{quote(kept.probe_id, safe='')}",
            service=visible(kept.service, 80),
            env=visible(kept.env, 80),
            host=visible(kept.host, 80),
            trace_id=visible(kept.trace_id, 64),
            trace_href=self._href(trace=kept.trace_id),
            duration=detail.duration_words(kept.duration_ns),
            errors=kept.errors,
            has_values=kept.has_values,
            hits=hits,
            more_hits=0 if hit is None else max(0, hit.total - len(hit.paths)),
        )

    def _page(
        self,
        probes: Mapping[str, ProbeRow],
        rows: tuple[SnapshotRow, ...],
        *,
        scanned: Scanned | None = None,
        next_href: str | None = None,
        note: str = "",
        is_later: bool = False,
    ) -> SnapshotsPage:
        probe_id = self._text("probe")
        may_see = self._principal.may(discretion.CAPTURE)
        options = [
            Option(
                each,
                f"{visible(row.config.name, 60) or place_words(row.probe)} · {visible(row.service, 40)}",
                each == probe_id,
            )
            for each, row in probes.items()
        ]
        if probe_id and probe_id not in probes:
            options.insert(0, Option(probe_id, f"Probe {visible(probe_id, 40)}", True))
        filters = ("probe", "service", "env", "trace", "values", "errors", "q", "range")
        count = len(rows)
        return SnapshotsPage(
            probe=probe_id,
            probes=tuple(options),
            service=self._text("service"),
            env=self._text("env"),
            trace=self._text("trace"),
            values=bool(self._query.get("values")),
            errors=bool(self._query.get("errors")),
            query=self._text("q"),
            range=self._range,
            ranges=tuple(
                Tab(words, self._href(range=name), name == self._range, -1)
                for name, (words, _) in RANGES.items()
            ),
            rows=rows,
            scanned=scanned,
            can_search=bool(probe_id) and may_see,
            note=note,
            needs=""
            if may_see
            else "They need the permission debugger_capture_variables. In place of a message stands the "
            "template of its probe.",
            is_filtered=any(self._query.get(name) for name in filters),
            has_probes=bool(probes),
            newest_href=self._href() if is_later else None,
            next_href=next_href,
            live_href=None
            if scanned is not None or is_later
            else self._href().replace(PATH, "/live/debugger/snapshots", 1),
            summary=f"{count} snapshot{'' if count == 1 else 's'} shown.",
        )


def _hit(kept: Kept, path: str, shown: str) -> HitView:
    moment, _, inner = path.partition("/")
    return HitView(
        href=detail.href(kept.snapshot_id, show=path) + "#chosen",
        where=visible(inner or moment_words(moment), 160),
        shown=visible(shown, 160),
    )


def _cursor(text: str) -> tuple[int, str] | None:
    at_ms, _, snapshot_id = text.replace("\0", "").partition(".")
    return (int(at_ms), snapshot_id) if at_ms.isdecimal() and len(at_ms) < 16 and snapshot_id else None
