"""Lists of many over the API: drafts that were pasted, and feeds that somebody keeps elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal, TypedDict

import msgspec
import orjson
from litestar import Request, Response, delete, get, post, put
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter

from sealwire.errors import InvalidChangeError, OversizeError, Problem
from sealwire.server.api import shapes
from sealwire.server.api.guard import Asker, OwnTenant, Plane
from sealwire.server.api.protect import (
    KindSaid,
    OutcomeSaid,
    end_of,
    own_address,
    said,
    span_of,
    target_of,
)
from sealwire.server.protect.actions import Protect
from sealwire.server.protect.denylist import KINDS
from sealwire.server.protect.drafts import Drafts, Tried
from sealwire.server.protect.feeds import Came, Feeds
from sealwire.server.protect.lines import MAX_TEXT, Line, parse, parse_lines
from sealwire.server.store.protect import DraftRow, FeedRow

WRITE, READ = {"permission": "appsec_protect_write"}, {"permission": "appsec_protect_read"}
SHOWN = 100  # lines of a kind that an answer names


class NewDraft(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A list to keep: one value a line, perhaps a comma and until when, a comma and why.

    ``for_s`` or ``until`` say how long where a line does not; neither means until unblocked.
    """

    text: str
    kind: KindSaid = "ip"
    for_s: int | None = None
    until: str | None = None
    service: list[str] = []
    env: list[str] = []
    reason: str = ""


class ChangedDraft(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A change of a draft: what is not given stays. ``mended`` gives lines of their own, by number."""

    text: str | None = None
    mended: dict[str, str] = {}
    kind: KindSaid | None = None
    for_s: int | None = None
    until: str | None = None
    forever: bool = False
    service: list[str] | None = None
    env: list[str] | None = None
    reason: str | None = None


class Confirm(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Whether what may hurt is meant."""

    confirm: bool = False


class FeedEntry(msgspec.Struct, kw_only=True):
    """An entry of a feed; fields that are not known here are let be."""

    value: str
    until: str | None = None
    reason: str = ""


class FeedList(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The whole of a feed as JSON; parameters of the address say the same."""

    entries: list[FeedEntry | str]
    kind: KindSaid | None = None
    for_s: int | None = None
    service: list[str] | None = None
    env: list[str] | None = None
    reason: str | None = None


class LineSaid(TypedDict):
    """A line of a list, and what there is to say of it."""

    line: int
    text: str
    message: str


class Draft(TypedDict):
    """A list that is kept until it is blocked.

    Attributes:
        lines: Of the list, good ones and bad ones, without those that say nothing.
        new, extended, already: Not there yet, would last longer, last as long or longer already.
        covered: A wider network blocks them for as long.
        dangerous: How many may hurt; risks names the first of them.
        problems: The first lines that are none; bad is how many there are.
        cautions: The first lines whose addresses came without harm lately.
        file_entries, file_size: Of the file as it would be.
    """

    id: str
    kind: str
    targeting: Mapping[str, Any]
    for_s: int | None
    until: str | None
    reason: str
    created_at: str
    created_by: str
    changed_at: str
    lines: int
    good: int
    bad: int
    repeated: int
    new: int
    extended: int
    already: int
    covered: int
    dangerous: int
    file_entries: int
    file_size: int
    problems: list[LineSaid]
    risks: list[LineSaid]
    cautions: list[LineSaid]


class DraftHead(TypedDict):
    """A draft, without what it would do."""

    id: str
    kind: str
    targeting: Mapping[str, Any]
    reason: str
    created_at: str
    created_by: str
    changed_at: str


class DraftHeads(TypedDict):
    """Drafts, those last changed first."""

    drafts: list[DraftHead]


class BlockedDraft(OutcomeSaid):
    """What came of blocking a draft.

    Attributes:
        left: The draft that is left, with the lines that are none; null: nothing is left.
    """

    left: str | None


class Feed(TypedDict):
    """A list that somebody keeps elsewhere.

    Attributes:
        version: Another one when the list says something else; the entity tag of answers.
        for_s: How long an entry lasts unless the list comes again; null for ever.
        in_force: How many of its entries are.
        updated_at: When it last came.
        changed_at: When it last came with other contents.
    """

    name: str
    kind: str
    targeting: Mapping[str, Any]
    for_s: int | None
    reason: str
    version: str
    entries: int
    in_force: int
    created_at: str
    created_by: str
    updated_at: str
    updated_by: str
    changed_at: str


class OneFeed(Feed):
    """A feed with what it blocks."""

    values: list[str]


class FeedCame(Feed):
    """What came of a list.

    Attributes:
        added, removed: Entries.
        changed: Whether anything is published because of it.
    """

    added: int
    removed: int
    changed: bool


class FeedsSaid(TypedDict):
    """Every feed, by name."""

    feeds: list[Feed]


class FeedEnded(TypedDict):
    """A feed that is gone, and how many entries it had in force."""

    name: str
    removed: int


# Drafts -----------------------------------------------------------------------------------------------


@get("/protect/drafts", opt=WRITE)
async def list_drafts(tenant: OwnTenant, principal: Asker, plane: Plane) -> DraftHeads:
    """Lists that were pasted and are not blocked yet."""
    found = await Drafts(plane, tenant, principal).all()
    return {"drafts": [_head(row) for row in found]}


@post("/protect/drafts", opt=WRITE)
async def create_draft(
    data: JSONBody[NewDraft],
    request: Request[Any, Any, Any],
    tenant: OwnTenant,
    principal: Asker,
    plane: Plane,
) -> Draft:
    """Keep a list, and say what would happen if it were blocked; nothing is blocked by this."""
    now_s = plane.now_ms() // 1000
    until_s = end_of(data.for_s, data.until, now_s)
    tried = await Drafts(plane, tenant, principal, own_address=own_address(request)).create(
        data.text, KINDS[data.kind], target_of(data.service, data.env),
        until_s=None if data.for_s is not None else until_s, span_s=data.for_s, reason=data.reason,
    )  # fmt: skip
    return draft_said(tried)


@get("/protect/drafts/{draft_id:str}", opt=WRITE)
async def get_draft(
    draft_id: FromPath[str],
    request: Request[Any, Any, Any],
    tenant: OwnTenant,
    principal: Asker,
    plane: Plane,
) -> Draft:
    """A draft, and what would happen if it were blocked now."""
    drafts = Drafts(plane, tenant, principal, own_address=own_address(request))
    return draft_said(await drafts.tried(await drafts.get(draft_id)))


@put("/protect/drafts/{draft_id:str}", opt=WRITE)
async def change_draft(
    draft_id: FromPath[str],
    data: JSONBody[ChangedDraft],
    request: Request[Any, Any, Any],
    tenant: OwnTenant,
    principal: Asker,
    plane: Plane,
) -> Draft:
    """Mend lines of a draft, or say otherwise for whom and how long."""
    changes: dict[str, Any] = {}
    if data.text is not None:
        changes["text"] = data.text
    if data.mended:
        wrong = [number for number in data.mended if not (number.isascii() and number.isdigit())]
        if wrong or len(data.mended) > SHOWN * 100:
            words = "mended gives lines by their numbers."
            raise InvalidChangeError(words, problems=(Problem("$.mended", words),))
        changes["mended"] = {int(number[:9]): text for number, text in data.mended.items()}
    if data.kind is not None:
        changes["kind"] = KINDS[data.kind]
    if data.service is not None or data.env is not None:
        changes["target"] = target_of(data.service or [], data.env or [])
    if data.reason is not None:
        changes["reason"] = data.reason
    if data.forever or data.for_s is not None or data.until is not None:
        until_s = end_of(data.for_s, data.until, plane.now_ms() // 1000)
        changes |= {"until_s": None if data.for_s is not None else until_s, "span_s": data.for_s}
    tried = await Drafts(plane, tenant, principal, own_address=own_address(request)).change(draft_id, changes)
    return draft_said(tried)


@post("/protect/drafts/{draft_id:str}/block", status_code=200, opt=WRITE)
async def block_draft(
    draft_id: FromPath[str],
    data: JSONBody[Confirm],
    request: Request[Any, Any, Any],
    tenant: OwnTenant,
    principal: Asker,
    plane: Plane,
) -> BlockedDraft:
    """Block every good line of a draft; lines that are none stay in it."""
    drafts = Drafts(plane, tenant, principal, own_address=own_address(request))
    outcome, left = await drafts.block(draft_id, confirmed=data.confirm)
    return {**said(outcome, plane.now_ms()), "left": None if left is None else left.draft_id}


@delete("/protect/drafts/{draft_id:str}", status_code=204, opt=WRITE)
async def delete_draft(draft_id: FromPath[str], tenant: OwnTenant, principal: Asker, plane: Plane) -> None:
    """Throw a draft away."""
    await Drafts(plane, tenant, principal).discard(draft_id)


# Feeds ------------------------------------------------------------------------------------------------


@get("/protect/feeds", opt=READ)
async def list_feeds(tenant: OwnTenant, principal: Asker, plane: Plane) -> FeedsSaid:
    """Blocklists that come from elsewhere."""
    await tenant.denylists.settle()
    feeds = Feeds(plane, tenant, principal)
    return {"feeds": [feed_said(one, feeds) for one in await feeds.all()]}


@get("/protect/feeds/{name:str}", opt=READ)
async def get_feed(
    name: FromPath[str], tenant: OwnTenant, principal: Asker, plane: Plane
) -> Response[OneFeed]:
    """One feed with what it blocks."""
    await tenant.denylists.settle()
    feeds = Feeds(plane, tenant, principal)
    feed = await feeds.get(name)
    document: OneFeed = {
        **feed_said(feed, feeds),
        "values": sorted(row.value for row in feeds.entries(feed)),
    }
    return Response(document, headers={"ETag": f'"{feed.sha256}"'})


@put("/protect/feeds/{name:str}", opt=WRITE)
async def put_feed(
    name: FromPath[str],
    request: Request[Any, Any, Any],
    tenant: OwnTenant,
    principal: Asker,
    plane: Plane,
    kind: FromQuery[KindSaid | None] = None,
    for_s: FromQuery[int | None] = None,
    service: FromQuery[list[str] | None] = None,
    env: FromQuery[list[str] | None] = None,
    reason: Annotated[str | None, QueryParameter(max_length=1000)] = None,
    confirm: FromQuery[bool] = False,
) -> Response[FeedCame]:
    """Send the whole list of a feed: it replaces what that feed blocked before.

    The body is text with one value a line, as people paste it, or JSON ``{"entries": [{"value", "until",
    "reason"}]}`` with content type application/json. What is not said about kind, time, target and reason
    stays as it was said first. With ``If-Match`` only that version is replaced. A line that is none refuses
    all of it, and so does one that may hurt unless ``confirm`` is true.
    """
    body = await request.body()
    if len(body) > MAX_TEXT:
        raise OversizeError(f"A list may have {MAX_TEXT} bytes; this has {len(body)}.")
    if not body.strip():
        words = 'Send the list as the body; {"entries": []} empties the feed.'
        raise InvalidChangeError(words, problems=(Problem("$", words),))
    feeds = Feeds(plane, tenant, principal)
    around = replace(Protect(plane, tenant, principal).around(), traffic=None)
    now_s = plane.now_ms() // 1000
    before = next((one for one in await feeds.all() if one.name == name), None)
    chosen = kind or (before.kind if before else "ip")
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() == "application/json":
        data = _feed_list(body)
        kind, for_s = kind or data.kind, for_s if for_s is not None else data.for_s
        service, env = service or data.service, env or data.env
        reason = reason if reason is not None else data.reason
        chosen = kind or chosen
        parsed = await asyncio.to_thread(
            parse_lines, map(_as_line, data.entries), KINDS[chosen], now_s=now_s, around=around
        )
    else:
        try:
            text = body.decode()
        except UnicodeDecodeError as error:
            words = "The list is no UTF-8 text."
            raise InvalidChangeError(words, problems=(Problem("$", words),)) from error
        text = text.replace("\0", "")
        parsed = await asyncio.to_thread(parse, text, KINDS[chosen], now_s=now_s, around=around)
    if for_s != 0:
        span_of(for_s)
    came = await feeds.put(
        name, parsed, kind=KINDS[kind] if kind else None,
        target=None if service is None and env is None else target_of(service or [], env or []),
        span_s=for_s, reason=reason, if_match=request.headers.get("if-match", "").strip('" '),
        confirmed=confirm,
    )  # fmt: skip
    return Response(_came(came, feeds), headers={"ETag": f'"{came.feed.sha256}"'})


@delete("/protect/feeds/{name:str}", status_code=200, opt=WRITE)
async def delete_feed(name: FromPath[str], tenant: OwnTenant, principal: Asker, plane: Plane) -> FeedEnded:
    """End a feed and unblock what it named, unless somebody else blocks it too."""
    feed, removed = await Feeds(plane, tenant, principal).delete(name)
    return {"name": feed.name, "removed": removed}


# As answers -------------------------------------------------------------------------------------------


def draft_said(tried: Tried) -> Draft:
    """A draft and what it would do."""
    row, parsed = tried.row, tried.parsed
    return {
        **_head(row),
        "for_s": row.span_s,
        "until": None if row.until_ms is None else shapes.time(row.until_ms),
        "lines": len(parsed.good) + len(parsed.bad) + parsed.repeated,
        "good": len(parsed.good),
        "bad": len(parsed.bad),
        "repeated": parsed.repeated,
        "new": tried.new,
        "extended": tried.extended,
        "already": tried.already,
        "covered": tried.covered,
        "dangerous": len(tried.dangerous),
        "file_entries": tried.entries,
        "file_size": tried.size,
        "problems": [
            {"line": one.number, "text": one.text, "message": one.message} for one in parsed.bad[:SHOWN]
        ],
        "risks": _told(tried.dangerous, "risks"),
        "cautions": _told(tried.cautions, "cautions"),
    }


def _told(lines: Sequence[Line], which: Literal["risks", "cautions"]) -> list[LineSaid]:
    return [
        {
            "line": line.number,
            "text": line.checked.value,
            "message": " ".join(line.checked.risks if which == "risks" else line.checked.cautions),
        }
        for line in lines[:SHOWN]
    ]


def _head(row: DraftRow) -> DraftHead:
    return {
        "id": row.draft_id,
        "kind": row.kind,
        "targeting": orjson.loads(row.target),
        "reason": row.reason,
        "created_at": shapes.time(row.created_ms),
        "created_by": row.created_by,
        "changed_at": shapes.time(row.changed_ms),
    }


def feed_said(feed: FeedRow, feeds: Feeds) -> Feed:
    """A feed as the API tells it."""
    return {
        "name": feed.name,
        "kind": feed.kind,
        "targeting": orjson.loads(feed.target),
        "for_s": feed.span_s,
        "reason": feed.reason,
        "version": feed.sha256,
        "entries": feed.entries,
        "in_force": len(feeds.entries(feed)),
        "created_at": shapes.time(feed.created_ms),
        "created_by": feed.created_by,
        "updated_at": shapes.time(feed.updated_ms),
        "updated_by": feed.updated_by,
        "changed_at": shapes.time(feed.changed_ms),
    }


def _came(came: Came, feeds: Feeds) -> FeedCame:
    return {
        **feed_said(came.feed, feeds),
        "added": came.added,
        "removed": came.removed,
        "changed": came.changed,
    }


def _feed_list(body: bytes) -> FeedList:
    try:
        return msgspec.json.decode(body, type=FeedList)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidChangeError(
            f"This is no list of a feed: {error}", problems=(Problem("$", str(error)[:300]),)
        ) from error


def _as_line(entry: FeedEntry | str) -> str:
    """An entry of a JSON list as the line that says the same."""
    if isinstance(entry, str):
        cells = [entry]
    else:
        cells = [entry.value, entry.until or "", entry.reason]
        while len(cells) > 1 and not cells[-1]:
            cells.pop()
    if len(cells) == 1 and not any(one in entry_text for entry_text in cells for one in ',"#;\r\n\0'):
        return cells[0]
    return ",".join(f'"{cell.replace(chr(34), chr(34) * 2)}"' for cell in _clean(cells))


def _clean(cells: Sequence[str]) -> list[str]:
    return ["".join(one if one.isprintable() else " " for one in cell) for cell in cells]


HANDLERS = [
    list_drafts,
    create_draft,
    get_draft,
    change_draft,
    block_draft,
    delete_draft,
    list_feeds,
    get_feed,
    put_feed,
    delete_feed,
]
