"""The snapshot inspector: one snapshot, its variables as a tree, what can be made of them, another beside it.

A page has as much of the tree as ``unfolding`` gives. What is folded comes as a fragment where there is
script; without it each row is a link to the page with that row unfolded. Whoever may not see values sees all
else, and which permission it takes.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias
from urllib.parse import quote, urlencode

from litestar import MediaType, Request, Response, get
from litestar.params import FromPath

from sealwire.errors import NotFoundError
from sealwire.server.access import Principal
from sealwire.server.api import security_traces as traces
from sealwire.server.api.guard import Asker, OwnTenant, Plane
from sealwire.server.control_plane import ControlPlane
from sealwire.server.debugger.snapshots import discretion, tree, unfolding
from sealwire.server.debugger.snapshots.keep import Kept, Opened
from sealwire.server.debugger.snapshots.literals import Language, copy_all
from sealwire.server.debugger.snapshots.snapshot import Capture, Frame, Snapshot
from sealwire.server.debugger.snapshots.unfolding import Branch
from sealwire.server.store import security as store
from sealwire.server.tenant import Tenant
from sealwire.server.ui import debugger_snapshots_tree as shown
from sealwire.server.ui.debugger_snapshots_tree import (
    FLAGS,
    PATH,
    CompareView,
    FoundView,
    NodeView,
    Reading,
    ValueView,
    moment_words,
)
from sealwire.server.ui.debugger_words import place_words
from sealwire.server.ui.render import macro, moment, page
from sealwire.server.ui.security_traces_words import visible
from sealwire.server.ui.views import Link, Moment, Tab

Asked: TypeAlias = Request[Any, Any, Any]
READ: Final = {"permission": "debugger_read"}
MAX_QUERY: Final = 200
MAX_PATH: Final = 20_000
OFFERED: Final = 25  # to be compared with
_WRITES: Final = ("debugger_write", "debugger_write_pre_prod")
_NEEDED: Final = (
    "They need the permission debugger_capture_variables for this service and environment. In place of the "
    "message stands the template of the probe."
)


@dataclass(frozen=True, slots=True)
class FrameView:
    """A call of a stack."""

    function: str
    where: str


@dataclass(frozen=True, slots=True)
class ThrownView:
    """What was thrown, and when."""

    moment: str
    type: str
    message: str
    stack: tuple[FrameView, ...]


@dataclass(frozen=True, slots=True)
class FactView:
    """Something that is known of it; with ``copy_id`` there is a button to copy it."""

    label: str
    text: str
    href: str | None = None
    is_code: bool = False
    copy_id: str = ""


@dataclass(frozen=True, slots=True)
class SnapshotPage:
    """The inspector.

    Attributes:
        where: Short; ``where_path`` with its folders.
        needs: Which permission is missing; empty for who sees values.
        problem: Why its values make no sense; empty else.
        flags: Values that are not whole, by why, each leading to them.
        chosen: What stands beside the tree.
        others: Snapshots of the same probe to compare it with: id and words.
        probe_gone: Whether the probe is no more.
    """

    snapshot_id: str
    title: str
    message: str
    at: Moment
    clock: str
    probe: Link
    probe_gone: bool
    probe_id: str
    where: str
    where_path: str
    facts: tuple[FactView, ...]
    needs: str
    problem: str
    errors: tuple[tuple[str, str], ...]
    thrown: tuple[ThrownView, ...]
    nodes: tuple[NodeView, ...]
    values: int
    flags: tuple[Tab, ...]
    chosen: ValueView | None
    query: str
    found: FoundView | None
    stack: tuple[FrameView, ...]
    compare: CompareView | None
    compare_id: str
    others: tuple[tuple[str, str], ...]
    older: Link | None
    newer: Link | None
    compare_older_href: str | None
    json_href: str | None
    clear_href: str
    own_href: str
    list_href: str
    branch_href: str
    value_href: str


# Routes -----------------------------------------------------------------------------------------------------


@get(f"{PATH}/{{snapshot_id:str}}", opt=READ, include_in_schema=False)
async def show_snapshot(
    request: Asked, snapshot_id: FromPath[str], principal: Asker, tenant: OwnTenant, plane: Plane
) -> Response[str]:
    """One snapshot."""
    view = await _view(plane, tenant, principal, snapshot_id, dict(request.query_params))
    return page(
        request, "debugger_snapshots/snapshot.html", title=view.title, view=view, principal=principal,
        tenant=tenant,
    )  # fmt: skip


@get(f"{PATH}/{{snapshot_id:str}}/branch", opt=READ, include_in_schema=False)
async def show_branch(
    request: Asked, snapshot_id: FromPath[str], principal: Asker, tenant: OwnTenant
) -> Response[str]:
    """What is in one row of the tree, as rows."""
    query = request.query_params
    _, reading = await _read(tenant, principal, snapshot_id, dict(query))
    branch = await asyncio.to_thread(_inside, reading.snapshot, query.get("path", ""), query.get("from", ""))
    html = macro("debugger_snapshots/_tree.html", "branches")(shown.node(reading, branch))
    return Response(html, media_type=MediaType.HTML)


@get(f"{PATH}/{{snapshot_id:str}}/value", opt=READ, include_in_schema=False)
async def show_value(
    request: Asked, snapshot_id: FromPath[str], principal: Asker, tenant: OwnTenant
) -> Response[str]:
    """One value in full."""
    _, reading = await _read(tenant, principal, snapshot_id, dict(request.query_params))
    branch = await asyncio.to_thread(_inside, reading.snapshot, request.query_params.get("path", ""), "")
    html = macro("debugger_snapshots/_tree.html", "value")(shown.value_view(reading, branch))
    return Response(html, media_type=MediaType.HTML)


@get(f"{PATH}/{{snapshot_id:str}}/literal", opt=READ, include_in_schema=False)
async def show_literal(
    request: Asked, snapshot_id: FromPath[str], principal: Asker, tenant: OwnTenant
) -> Response[str]:
    """A value, all of a moment, or (in JSON) all of it as text for a test."""
    _, reading = await _read(tenant, principal, snapshot_id, {})
    wanted = request.query_params.get("language", Language.JSON.value)
    if wanted not in set(Language) or not reading.snapshot.has_values:
        raise NotFoundError("There is no such text of this snapshot, or it is not yours to see.")
    language, path = Language(wanted), request.query_params.get("path", "")
    text = await asyncio.to_thread(_literal, reading.snapshot, path, language)
    ending = {Language.PYTHON: "py", Language.JAVASCRIPT: "js", Language.JSON: "json"}[language]
    return Response(
        text,
        media_type="application/json" if language is Language.JSON else MediaType.TEXT,
        headers={"Content-Disposition": f'attachment; filename="snapshot.{ending}"'},
    )


HANDLERS = [show_snapshot, show_branch, show_value, show_literal]


# Reading ----------------------------------------------------------------------------------------------------


async def _read(
    tenant: Tenant, principal: Principal, snapshot_id: str, query: dict[str, str]
) -> tuple[Opened, Reading]:
    """A snapshot as somebody may see it."""
    opened = await tenant.snapshots.open(_stored(snapshot_id))
    known = tenant.probes.known(opened.kept.probe_id)
    seen = discretion.shown(principal, opened, known.template if known is not None else "")
    may_write = known is not None and any(
        principal.may_change(permission, services=[opened.kept.service], envs=known.envs)
        for permission in _WRITES
    )
    kept = tuple((name, query[name]) for name in ("compare", "q", "flag") if query.get(name))
    return opened, Reading(seen, snapshot_id, opened.kept.probe_id if may_write else "", kept)


def _stored(snapshot_id: str) -> str:
    """An id as it can be looked for: a database takes no NUL."""
    return snapshot_id.replace("\0", "")[:128]


def _inside(snapshot: Snapshot, path: str, first: str) -> Branch:
    start = int(first) if first.isdecimal() and len(first) < 7 else 0
    branch = unfolding.inside(snapshot, path, first=start) if len(path) <= MAX_PATH else None
    if branch is None:
        raise NotFoundError("The snapshot has no such value, or it is not yours to see.")
    return branch


def _literal(snapshot: Snapshot, path: str, language: Language) -> str:
    if not path and language is Language.JSON:
        moments = ((each.moment, unfolding.whole(each)) for each in snapshot.captures)
        return shown.file_text(copy_all(moments, language)) + "\n"
    branch = _inside(snapshot, path, "")
    copied = shown.literal(language, branch.value, snapshot.capture(branch.moment))
    return shown.file_text(copied) + "\n"


async def _view(
    plane: ControlPlane, tenant: Tenant, principal: Principal, snapshot_id: str, query: dict[str, str]
) -> SnapshotPage:
    opened, reading = await _read(tenant, principal, snapshot_id, query)
    kept = opened.kept
    older, newer, others, trace_href = await asyncio.gather(
        tenant.snapshots.list(probe_id=kept.probe_id, before=(kept.at_ms, kept.snapshot_id), limit=1),
        _newer(tenant, kept),
        tenant.snapshots.list(probe_id=kept.probe_id, limit=OFFERED),
        _trace_href(plane, tenant, principal, reading.snapshot.trace_id),
    )
    other = await _other(tenant, principal, kept, query.get("compare", ""))
    return await asyncio.to_thread(
        _page, tenant, principal, opened, reading, query, older[0] if older else None, newer, others, other,
        trace_href,
    )  # fmt: skip


async def _newer(tenant: Tenant, kept: Kept) -> Kept | None:
    """The one that came after it: looked for in ever longer times."""
    for span_ms in (2_000, 60_000, 3_600_000, None):
        until = None if span_ms is None else kept.at_ms + span_ms
        near = await tenant.snapshots.list(
            probe_id=kept.probe_id, since_ms=kept.at_ms, until_ms=until, limit=1_000
        )
        later = [one for one in near if (one.at_ms, one.snapshot_id) > (kept.at_ms, kept.snapshot_id)]
        if later:
            return later[-1]
    return None


async def _other(
    tenant: Tenant, principal: Principal, kept: Kept, snapshot_id: str
) -> tuple[Kept, Snapshot] | str:
    """The snapshot it is compared with; why there is none, or nothing where none is asked for."""
    if not snapshot_id:
        return ""
    if snapshot_id == kept.snapshot_id:
        return "A snapshot is the same as itself: choose another one."
    try:
        opened = await tenant.snapshots.open(_stored(snapshot_id))
    except NotFoundError:
        return "The snapshot it shall be compared with is no longer kept."
    if not discretion.may_see(principal, opened.kept):
        return "Values of the other one are not yours to see."
    return opened.kept, opened.snapshot


async def _trace_href(plane: ControlPlane, tenant: Tenant, principal: Principal, trace_id: str) -> str | None:
    """The security trace of the same request; None where there is none here."""
    known = _hexadecimal(trace_id)
    if not known or not principal.may("security_monitoring_signals_read"):
        return None
    org_id = tenant.organisation.org_id
    found = await traces.reading(plane, lambda c: bool(store.trace(c, org_id, known)))
    return f"/security/traces/{known}" if found else None


def _hexadecimal(trace_id: str) -> str:
    """As traces are kept: 32 digits. Node writes a decimal number."""
    if len(trace_id) == 32 and all(each in "0123456789abcdef" for each in trace_id):
        return trace_id
    return f"{int(trace_id):032x}" if trace_id.isdecimal() and len(trace_id) <= 20 else ""


# The page ---------------------------------------------------------------------------------------------------


def _page(
    tenant: Tenant,
    principal: Principal,
    opened: Opened,
    reading: Reading,
    query: dict[str, str],
    older: Kept | None,
    newer: Kept | None,
    others: list[Kept],
    other: tuple[Kept, Snapshot] | str,
    trace_href: str | None,
) -> SnapshotPage:
    kept, snapshot = opened.kept, reading.snapshot
    may_see = discretion.may_see(principal, kept)
    known = tenant.probes.known(kept.probe_id)
    text = query.get("q", "").strip()[:MAX_QUERY]
    wanted = query.get("show", "")[:MAX_PATH]
    first = query.get("from", "")
    unfolded = unfolding.unfold(
        snapshot, show=wanted, first=int(first) if first.isdecimal() and len(first) < 7 else 0
    )
    beside = unfolded.chosen or (unfolded.branches[-1] if unfolded.branches else None)
    message = visible(snapshot.message, 8_192)
    compare: CompareView | None = None
    note = other if isinstance(other, str) else ""
    if not isinstance(other, str) and may_see:
        compare = _compared(reading, kept, *other)
    elif note:
        compare = CompareView(Link(""), Link(""), (), (), (), 0, 0, note)
    has_captures = bool(snapshot.captures)
    where = str(snapshot.location)
    return SnapshotPage(
        snapshot_id=kept.snapshot_id,
        title=f"Snapshot {clock(kept.at_ms)[11:19]}",
        message=message,
        at=moment(kept.at_ms / 1000),
        clock=clock(kept.at_ms),
        probe=Link(
            (visible(known.name, 100) or place_words(known.probe))
            if known is not None
            else f"Probe {visible(kept.probe_id, 8)}",
            f"/debugger/probes/{quote(kept.probe_id, safe='')}",
        ),
        probe_gone=known is None,
        probe_id=visible(kept.probe_id, 40),
        where=visible(where.replace("\\", "/").rpartition("/")[2], 200),
        where_path=visible(where, 300),
        facts=tuple(_facts(kept, snapshot, trace_href)),
        needs="" if may_see else _NEEDED,
        problem=opened.problem,
        errors=tuple((visible(one.expression, 300), visible(one.message, 500)) for one in snapshot.errors),
        thrown=tuple(_thrown(one) for one in snapshot.captures if one.thrown is not None),
        nodes=shown.nodes(reading, unfolded.branches, unfolded.chosen) if may_see and has_captures else (),
        values=snapshot.values,
        flags=_flags(reading, snapshot, query.get("flag", "")),
        chosen=shown.value_view(reading, beside) if may_see and beside is not None else None,
        query=text,
        found=shown.found_view(reading, text, query.get("flag", "")),
        stack=frames(snapshot.stack),
        compare=compare,
        compare_id=query.get("compare", ""),
        others=tuple(
            (one.snapshot_id, clock(one.at_ms)[:-4]) for one in others if one.snapshot_id != kept.snapshot_id
        )
        if may_see
        else (),
        older=_beside("Older", older, wanted),
        newer=_beside("Newer", newer, wanted),
        compare_older_href=_compare_href(kept, older) if may_see and has_captures else None,
        json_href=reading.file_href("", Language.JSON) if may_see and snapshot.values else None,
        clear_href=href(kept.snapshot_id, **({"show": wanted} if wanted else {})),
        own_href=href(kept.snapshot_id),
        list_href=f"{PATH}?{urlencode({'probe': kept.probe_id})}",
        branch_href=f"{href(kept.snapshot_id)}/branch",
        value_href=f"{href(kept.snapshot_id)}/value",
    )


def href(snapshot_id: str, **asked: str) -> str:
    """The page of a snapshot."""
    return f"{PATH}/{quote(snapshot_id, safe='')}" + (f"?{urlencode(asked)}" if asked else "")


def clock(at_ms: int) -> str:
    """A time to the millisecond."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3] + " UTC"


def _beside(words: str, kept: Kept | None, wanted: str) -> Link | None:
    """Another one of the probe, with the same value shown."""
    if kept is None:
        return None
    return Link(words, href(kept.snapshot_id, **({"show": wanted} if wanted else {})))


def _compare_href(kept: Kept, older: Kept | None) -> str | None:
    return None if older is None else href(kept.snapshot_id, compare=older.snapshot_id) + "#compare"


def _compared(reading: Reading, kept: Kept, other: Kept, snapshot: Snapshot) -> CompareView:
    own, theirs = (reading.snapshot, snapshot)
    this = Link(f"this one, {clock(kept.at_ms)[11:-4]}")
    that = Link(clock(other.at_ms)[:-4], href(other.snapshot_id, compare=kept.snapshot_id))
    note = ""
    if other.probe_id != kept.probe_id:
        note = "They are of different probes."
    elif other.probe_version != kept.probe_version:
        note = f"They are of different versions of the probe: {other.probe_version} and {kept.probe_version}."
    is_later = (kept.at_ms, kept.snapshot_id) > (other.at_ms, other.snapshot_id)
    if is_later:
        return shown.compare_view(theirs, own, before=that, after=this, reading=reading, note=note)
    return shown.compare_view(own, theirs, before=this, after=that, reading=reading, note=note)


def _flags(reading: Reading, snapshot: Snapshot, current: str) -> tuple[Tab, ...]:
    """What is not whole in it, by why; each leads to those."""
    counted = tree.gaps(snapshot)
    found = []
    for name, (why, words) in FLAGS.items():
        count = counted.get(why, 0)
        if count:
            address = href(reading.snapshot_id, flag=name) + "#found"
            found.append(Tab(words, address, name == current, count))
    return tuple(found)


def _facts(kept: Kept, snapshot: Snapshot, trace_href: str | None) -> list[FactView]:
    found = [
        FactView("Service", visible(kept.service, 100), f"/fleet?{urlencode({'q': _in_fleet(kept)})}"),
        FactView("Environment", visible(kept.env, 100) or "–"),
        FactView("Version", visible(kept.version, 100)),
        FactView("Host", visible(kept.host, 200)),
        FactView("Thread", visible(snapshot.thread, 200)),
        FactView("Code", visible(_code(snapshot), 300), is_code=True),
        FactView("Duration", duration_words(kept.duration_ns)),
        FactView("Probe version", str(kept.probe_version)),
        FactView("Language", visible(snapshot.language, 40)),
        FactView("Trace", visible(snapshot.trace_id, 64), trace_href, is_code=True, copy_id="trace-id"),
        FactView("Span", visible(snapshot.span_id, 64), is_code=True),
        FactView("Exception", visible(snapshot.exception_id, 128), is_code=True),
        FactView("Process", visible(", ".join(f"{k}:{v}" for k, v in snapshot.process_tags), 600)),
        FactView("Size", shown.bytes_words(kept.bytes)),
        FactView("Snapshot", visible(kept.snapshot_id, 128), is_code=True),
    ]  # fmt: skip
    return [each for each in found if each.text]


def _code(snapshot: Snapshot) -> str:
    """The file, where that is not all that stands above."""
    place = snapshot.location
    if not place.file:
        return ""
    return f"{place.file}:{place.line}" if place.line else place.file


def _in_fleet(kept: Kept) -> str:
    terms = [("service", kept.service), *([("env", kept.env)] if kept.env else [])]
    return " ".join(f'{name}:"{value}"' for name, value in terms if '"' not in value)


def duration_words(duration_ns: int | None) -> str:
    """How long a call took; empty where it is not known."""
    if duration_ns is None:
        return ""
    if duration_ns < 1_000_000:
        return f"{duration_ns / 1_000:.0f} µs"
    return f"{duration_ns / 1e6:.1f} ms" if duration_ns < 10**10 else f"{duration_ns / 1e9:.1f} s"


def _thrown(capture: Capture) -> ThrownView:
    thrown = capture.thrown
    if thrown is None:
        raise ValueError("nothing was thrown")
    return ThrownView(
        moment_words(capture.moment), visible(thrown.type, 200), visible(thrown.message, 2_000),
        frames(thrown.stack),
    )  # fmt: skip


def frames(stack: tuple[Frame, ...]) -> tuple[FrameView, ...]:
    """The calls of a stack."""
    return tuple(
        FrameView(
            visible(one.function, 200) or "(no name)",
            visible(f"{one.file}:{one.line}" if one.line else one.file, 300),
        )
        for one in stack
    )
