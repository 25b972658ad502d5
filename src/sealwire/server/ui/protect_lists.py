"""Lists of many: pasted, mended and blocked; and the feeds that others send."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from litestar import Response, get, post
from litestar.params import FromPath
from litestar.response import Redirect

from sealwire.errors import InvalidChangeError, NotPermittedError
from sealwire.server.access import Principal
from sealwire.server.api.guard import Asker, OwnTenant, Plane
from sealwire.server.api.protect import own_address
from sealwire.server.control_plane import ControlPlane
from sealwire.server.protect.actions import Protect
from sealwire.server.protect.denylist import KINDS, Kind
from sealwire.server.protect.denylists import MAX_ENTRIES
from sealwire.server.protect.drafts import Drafts, Tried
from sealwire.server.protect.feeds import Feeds
from sealwire.server.protect.lines import MAX_TEXT
from sealwire.server.protect.targets import in_words
from sealwire.server.store.protect import FeedRow
from sealwire.server.targeting import Targeting
from sealwire.server.tenant import Tenant
from sealwire.server.ui import forms
from sealwire.server.ui.forms import Form
from sealwire.server.ui.protect import SEE, Asked, asked
from sealwire.server.ui.protect_block import SPANS, target_in, until_of
from sealwire.server.ui.protect_denylist import BLOCK, PATH, TO_BLOCK, size_in_words
from sealwire.server.ui.render import moment, page
from sealwire.server.ui.views import Moment

FEEDS = "/protect/feeds"
_MOST_BYTES = 3 * MAX_TEXT  # percent signs of a form
_SHOWN = 200


@dataclass(frozen=True, slots=True)
class ImportPage:
    """The form to paste a list.

    Attributes:
        drafts: Those that wait: address, words, by whom, since when.
    """

    fields: Mapping[str, str]
    wrong: Mapping[str, str]
    spans: tuple[tuple[str, str], ...]
    drafts: tuple[tuple[str, str, str, Moment], ...]
    most: int


@dataclass(frozen=True, slots=True)
class LineView:
    """A line, and what there is to say of it."""

    number: int
    text: str
    message: str


@dataclass(frozen=True, slots=True)
class DraftPage:
    """A list, what would happen, and what is wrong with it.

    Attributes:
        digest: Of what is shown.
        facts: What is counted, and how many.
        numbers: Of the lines that can be mended here, in order; ``mend`` are their texts.
        more_bad: How many mistakes are not shown.
        name: What must be typed to confirm; empty: nothing.
        over: Why the list would be too long; empty: it is not.
    """

    draft_id: str
    digest: str
    what: str
    where: str
    span_words: str
    reason: str
    by: str
    changed: Moment
    good: int
    bad: tuple[LineView, ...]
    bad_count: int
    more_bad: int
    facts: tuple[tuple[str, int], ...]
    risks: tuple[LineView, ...]
    cautions: tuple[LineView, ...]
    name: str
    wrong: str
    entries: int
    size: str
    most: int
    over: str
    affected: int
    preview: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FeedView:
    """A feed."""

    name: str
    kind: str
    scope: str
    entries: int
    in_force: int
    lasts: str
    reason: str
    by: str
    updated: Moment
    changed: Moment
    version: str
    href: str
    end_href: str | None


@dataclass(frozen=True, slots=True)
class FeedsPage:
    """Every feed."""

    feeds: tuple[FeedView, ...]
    may_block: bool
    address: str
    most: int


@dataclass(frozen=True, slots=True)
class EndFeedPage:
    """What would happen if a feed were ended."""

    feed: FeedView
    wrong: str


# Pasting ----------------------------------------------------------------------------------------------


@get("/protect/import", opt=BLOCK, include_in_schema=False)
async def show_import(request: Asked, principal: Asker, tenant: OwnTenant, plane: Plane) -> Response[str]:
    """The form to paste a list."""
    return await _import_page(request, principal, tenant, plane, Form(asked(request)))


@post("/protect/import", opt=BLOCK, status_code=200, include_in_schema=False)
async def paste(request: Asked, principal: Asker, tenant: OwnTenant, plane: Plane) -> Response[Any]:
    """Keep a list, whatever is in it; the next page says what would happen."""
    form = await forms.read(request, max_bytes=_MOST_BYTES)
    now_s = Protect(plane, tenant, principal).now_s
    try:
        until_s = until_of(form, now_s)
    except ValueError as error:
        name = "until" if form.text("span") == "until" else "span"
        return await _import_page(request, principal, tenant, plane, form, wrong={name: str(error)})
    span_s = next((span for name, span, _ in SPANS if name == form.text("span")), None)
    kind = KINDS.get(form.text("kind"), Kind.IP)
    try:
        tried = await Drafts(plane, tenant, principal, own_address=own_address(request)).create(
            form.raw("text"), kind, target_in(form), until_s=None if span_s else until_s, span_s=span_s,
            reason=form.text("reason"),
        )  # fmt: skip
    except InvalidChangeError as error:
        names = {
            problem.path.removeprefix("$.").partition("[")[0]: problem.message for problem in error.problems
        }
        return await _import_page(
            request, principal, tenant, plane, form, wrong=names or {"text": error.public}
        )
    except NotPermittedError as error:
        return await _import_page(request, principal, tenant, plane, form, wrong={"service": error.public})
    return forms.went(f"/protect/import/{tried.row.draft_id}")


async def _import_page(
    request: Asked,
    principal: Principal,
    tenant: Tenant,
    plane: ControlPlane,
    form: Form,
    *,
    wrong: Mapping[str, str] | None = None,
) -> Response[str]:
    fields = {name: form.raw(name) for name in ("text", "reason", "until")} | {
        name: ", ".join(form.all(name)) for name in ("service", "env")
    }
    fields |= {"kind": form.text("kind", "ip"), "span": form.text("span", "1d")}
    drafts = await Drafts(plane, tenant, principal).all()
    view = ImportPage(
        fields=fields,
        wrong=wrong or {},
        spans=tuple((name, words) for name, _, words in SPANS),
        drafts=tuple(
            (
                f"/protect/import/{row.draft_id}",
                f"{sum(bool(line.strip()) for line in row.text.splitlines()):,} lines",
                row.created_by,
                moment(row.changed_ms / 1000),
            )
            for row in drafts[:20]
        ),
        most=MAX_ENTRIES,
    )
    return page(
        request, "protect/import.html", title="Paste a list", view=view, principal=principal, tenant=tenant,
        status_code=422 if wrong else 200,
    )  # fmt: skip


@get("/protect/import/{draft_id:str}", opt=BLOCK, include_in_schema=False)
async def show_draft(
    draft_id: FromPath[str], request: Asked, principal: Asker, tenant: OwnTenant, plane: Plane
) -> Response[str]:
    """A list that was pasted, and what would happen if it were blocked."""
    drafts = Drafts(plane, tenant, principal, own_address=own_address(request))
    return await _draft_page(request, principal, tenant, await drafts.tried(await drafts.get(draft_id)))


@post("/protect/import/{draft_id:str}", opt=BLOCK, status_code=200, include_in_schema=False)
async def mend(
    draft_id: FromPath[str], request: Asked, principal: Asker, tenant: OwnTenant, plane: Plane
) -> Response[Any]:
    """Put other lines where the mistakes were; an empty one leaves the line out."""
    form = await forms.read(request, max_bytes=_MOST_BYTES)
    drafts = Drafts(plane, tenant, principal, own_address=own_address(request))
    numbers = [int(one) for one in form.text("numbers").split(",") if one.isascii() and one.isdigit()]
    texts = form.raw("mended").replace("\r", "").split("\n")
    while texts and not texts[-1]:
        texts.pop()
    if len(texts) > len(numbers):
        # Lines were added: they go where the last mistake was, and nothing is lost.
        row = await drafts.get(draft_id)
        lines = [line for number, line in enumerate(row.text.split("\n"), 1) if number not in set(numbers)]
        tried = await drafts.change(draft_id, {"text": "\n".join([*lines, *texts])})
    else:
        texts += [""] * (len(numbers) - len(texts))
        tried = await drafts.change(draft_id, {"mended": dict(zip(numbers, texts, strict=True))})
    left = len(tried.parsed.bad)
    said = "Every line can be read now." if not left else f"{left:,} lines still cannot be read."
    return forms.went(f"/protect/import/{draft_id}", said)


@post("/protect/import/{draft_id:str}/block", opt=BLOCK, status_code=200, include_in_schema=False)
async def block_draft(
    draft_id: FromPath[str], request: Asked, principal: Asker, tenant: OwnTenant, plane: Plane
) -> Response[Any]:
    """Block the good lines; the others stay."""
    form = await forms.read(request)
    drafts = Drafts(plane, tenant, principal, own_address=own_address(request))
    tried = await drafts.tried(await drafts.get(draft_id))
    name = _to_type(tried)
    if form.text("seen", tried.row.digest) != tried.row.digest:  # never blocked: what nobody looked at
        words = "Somebody changed this list since you looked at it: look again."
        return await _draft_page(request, principal, tenant, tried, wrong=words)
    if name and form.text("confirm") != name:
        return await _draft_page(request, principal, tenant, tried, wrong=f"Type {name} to confirm.")
    try:
        outcome, left = await drafts.block(draft_id, confirmed=True)
    except InvalidChangeError as error:
        return await _draft_page(request, principal, tenant, tried, wrong=error.public)
    if left is not None:
        return forms.went(
            f"/protect/import/{draft_id}", f"{outcome.sentence} What cannot be read is kept here."
        )
    return forms.went(PATH, outcome.sentence)


@post("/protect/import/{draft_id:str}/discard", opt=BLOCK, status_code=303, include_in_schema=False)
async def discard_draft(
    draft_id: FromPath[str], principal: Asker, tenant: OwnTenant, plane: Plane
) -> Redirect:
    """Throw a list away."""
    await Drafts(plane, tenant, principal).discard(draft_id)
    return forms.went(PATH, "The list was thrown away; nothing of it was blocked.")


def _to_type(tried: Tried) -> str:
    return tried.dangerous[0].checked.value if tried.dangerous else ""


async def _draft_page(
    request: Asked, principal: Principal, tenant: Tenant, tried: Tried, *, wrong: str = ""
) -> Response[str]:
    row, parsed = tried.row, tried.parsed
    fleet = await tenant.overview.glance()
    what = {"ip": "addresses and networks", "user": "users", "suspicious": "suspicious addresses"}[row.kind]
    if row.span_s is not None:
        span_words = next(
            (f"for {words}" for _, span, words in SPANS if span == row.span_s), f"for {row.span_s} s"
        )
    elif row.until_ms is not None:
        span_words = f"until {moment(row.until_ms / 1000).iso.replace('T', ' ').replace('Z', ' UTC')}"
    else:
        span_words = "until unblocked"
    over = ""
    if tried.entries > MAX_ENTRIES:
        over = (
            f"The file would have {tried.entries:,} entries; it holds {MAX_ENTRIES:,} at most. Unblock "
            "others, name networks instead of addresses, or throw lines away."
        )
    view = DraftPage(
        draft_id=row.draft_id,
        digest=row.digest,
        what=what,
        where=in_words(tried.target),
        span_words=span_words,
        reason=row.reason,
        by=row.created_by,
        changed=moment(row.changed_ms / 1000),
        good=len(parsed.good),
        bad=tuple(LineView(one.number, one.text, one.message) for one in parsed.bad[:_SHOWN]),
        bad_count=len(parsed.bad),
        more_bad=max(0, len(parsed.bad) - _SHOWN),
        facts=(
            ("New", tried.new),
            ("Last longer", tried.extended),
            ("There already", tried.already),
            ("Covered", tried.covered),
            ("Dangerous", len(tried.dangerous)),
        ),
        risks=tuple(
            LineView(one.number, one.checked.value, " ".join(one.checked.risks))
            for one in tried.dangerous[:_SHOWN]
        ),
        cautions=tuple(
            LineView(one.number, one.checked.value, one.checked.cautions[0])
            for one in tried.cautions[:_SHOWN]
        ),
        name=_to_type(tried),
        wrong=wrong,
        entries=tried.entries,
        size=size_in_words(tried.size),
        most=MAX_ENTRIES,
        over=over,
        affected=sum(
            "ASM_DATA" in line.facts.get("products", ())
            and tried.target.matches(tenant.overview.facts_of(line))
            for line in tenant.uptakes.here(fleet)
        ),
        preview=tuple(line.checked.value for line in parsed.good[:10]),
    )
    return page(
        request, "protect/draft.html", title="A pasted list", view=view, principal=principal, tenant=tenant,
        status_code=422 if wrong else 200,
    )  # fmt: skip


# Feeds ------------------------------------------------------------------------------------------------


@get(FEEDS, opt=SEE, include_in_schema=False)
async def show_feeds(request: Asked, principal: Asker, tenant: OwnTenant, plane: Plane) -> Response[str]:
    """Blocklists that come from elsewhere."""
    await tenant.denylists.settle()
    feeds = Feeds(plane, tenant, principal)
    view = FeedsPage(
        feeds=tuple(_feed(feeds, one, principal) for one in await feeds.all()),
        may_block=all(principal.may(permission) for permission in TO_BLOCK),
        address=plane.url,
        most=MAX_ENTRIES,
    )
    return page(request, "protect/feeds.html", title="Feeds", view=view, principal=principal, tenant=tenant)


@get("/protect/feeds/{name:str}/end", opt=BLOCK, include_in_schema=False)
async def show_end_feed(
    name: FromPath[str], request: Asked, principal: Asker, tenant: OwnTenant, plane: Plane
) -> Response[str]:
    """What would happen if a feed were ended."""
    return await _end_page(name, request, principal, tenant, plane)


@post("/protect/feeds/{name:str}/end", opt=BLOCK, status_code=200, include_in_schema=False)
async def end_feed(
    name: FromPath[str], request: Asked, principal: Asker, tenant: OwnTenant, plane: Plane
) -> Response[Any]:
    """End a feed and unblock what it named."""
    form = await forms.read(request)
    if form.text("confirm") != name:
        return await _end_page(name, request, principal, tenant, plane, wrong=f"Type {name} to confirm.")
    feed, removed = await Feeds(plane, tenant, principal).delete(name)
    return forms.went(FEEDS, f"The feed {feed.name} ended; {removed:,} entries were unblocked.")


async def _end_page(
    name: str, request: Asked, principal: Principal, tenant: Tenant, plane: ControlPlane, *, wrong: str = ""
) -> Response[str]:
    await tenant.denylists.settle()
    feeds = Feeds(plane, tenant, principal)
    view = EndFeedPage(_feed(feeds, await feeds.get(name), principal), wrong)
    return page(
        request, "protect/end_feed.html", title="End a feed", view=view, principal=principal, tenant=tenant,
        status_code=422 if wrong else 200,
    )  # fmt: skip


def _feed(feeds: Feeds, feed: FeedRow, principal: Principal) -> FeedView:
    target = Targeting.parse(orjson.loads(feed.target))
    may = all(
        principal.may_change(permission, services=target.service, envs=target.env) for permission in TO_BLOCK
    )
    words = "for ever" if feed.span_s is None else _span(feed.span_s)
    return FeedView(
        name=feed.name,
        kind={"ip": "addresses", "user": "users", "suspicious": "suspicious addresses"}[feed.kind],
        scope=in_words(target),
        entries=feed.entries,
        in_force=len(feeds.entries(feed)),
        lasts=words,
        reason=feed.reason,
        by=feed.updated_by,
        updated=moment(feed.updated_ms / 1000),
        changed=moment(feed.changed_ms / 1000),
        version=feed.sha256[:12],
        href=f"{PATH}?source=feed%3A{feed.name}",
        end_href=f"{FEEDS}/{feed.name}/end" if may else None,
    )


def _span(span_s: int) -> str:
    for unit_s, word in ((86_400, "day"), (3600, "hour"), (60, "minute"), (1, "second")):
        if span_s % unit_s == 0:
            count = span_s // unit_s
            return f"{count:,} {word}{'' if count == 1 else 's'} after the last list"
    return ""


HANDLERS = [
    show_import, paste, show_draft, mend, block_draft, discard_draft, show_feeds, show_end_feed, end_feed,
]  # fmt: skip
