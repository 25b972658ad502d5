"""The page of one config: what it says, who has it and who has not, how it got there, and its history."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import orjson

from sealwire.products import PRODUCTS, wording
from sealwire.server.access import Principal
from sealwire.server.authoring import holders
from sealwire.server.authoring.editing import Editor
from sealwire.server.control_plane import ControlPlane
from sealwire.server.fleet.explain import DeliveryState, FileState, Verdict
from sealwire.server.fleet.overview import ClientLine, Fleet
from sealwire.server.fleet.uptake import NOBODY, Uptake
from sealwire.server.store import configs, rows
from sealwire.server.store.configs import ACTIVE, EXPIRED, RETIRED, state_of
from sealwire.server.targeting import Targeting
from sealwire.server.tenant import Tenant
from sealwire.server.ui import charts, config_history
from sealwire.server.ui.charts import Histogram
from sealwire.server.ui.config_history import RevisionView
from sealwire.server.ui.config_words import (
    STATES,
    Bar,
    bar,
    parsed,
    pretty,
    size_words,
    targeting_words,
    title,
)
from sealwire.server.ui.fleet import href as fleet_href
from sealwire.server.ui.render import client_href, dom_id, moment
from sealwire.server.ui.views import NEVER, Link, Moment, Status, delivery_status

HOLDERS = 50
IN_SIGHT = 10  # of them; the others unfold
REASONS = 8
NAMED = 4  # clients of one reason
REVISIONS = 20
FILES = 6
MAX_DOCUMENT_CHARS = 60_000

#: The parts of the page that change by themselves.
LIVE_PARTS = ("heading", "standing", "says", "having", "lacking", "history", "about", "delivery", "wire")

_OVERRIDDEN = Status("Overridden", "mute", "layers")
_NOT_FOR_IT = Status("Not for it", "mute", "minus")
_NOT_SENT = Status("Not sent yet", "wait", "clock")


@dataclass(frozen=True, slots=True)
class Scene:
    """What the database says of a config; read again only when somebody changed something.

    Attributes:
        revisions: Newest first, one more than is shown.
    """

    row: rows.ConfigRow
    revisions: tuple[rows.RevisionRow, ...]
    before: int | None
    says: tuple[str, ...]
    document: str
    history: tuple[RevisionView, ...]
    older_href: str | None
    may_write: bool


@dataclass(frozen=True, slots=True)
class HolderRow:
    """A client that shall have it, and what became of it there.

    Attributes:
        note: How long it took, which values win; may be empty.
    """

    dom_id: str
    status: Status
    name: str
    where: str
    href: str
    note: str
    error: str
    since: Moment


@dataclass(frozen=True, slots=True)
class LackerRow:
    """Clients that have it not, and why.

    Attributes:
        reasons: What keeps them out; none for those that it is on the way to.
        clients: The first of them.
    """

    dom_id: str
    status: Status
    words: str
    reasons: tuple[str, ...]
    clients: tuple[Link, ...]
    more: int


@dataclass(frozen=True, slots=True)
class WireFile:
    """A file it is in."""

    path: str
    version: int
    sha256: str
    size: str
    others: int


@dataclass(frozen=True, slots=True)
class ConfigPage:
    """One config.

    Attributes:
        title: Its name, or its id.
        standing: State and progress in one line, with what to do about it.
        rules: Targeting field by field.
        having, lacking: None for a visitor who may not see the fleet.
        undo: The revision that undoes the last change; None where there is nothing to undo.
        again_href: For an expired one: to the page that gives it a new time.
    """

    config_id: str
    title: str
    product: str
    product_title: str
    product_summary: str
    merged: bool
    status: Status
    standing: Status
    targeting: str
    rules: tuple[tuple[str, tuple[str, ...]], ...]
    ends: Moment
    revision: int
    size: str
    made: Moment
    changed: Moment
    by: str
    comment: str
    says: tuple[str, ...]
    document: str
    bar: Bar
    having: tuple[HolderRow, ...] | None
    in_sight: int
    having_total: int
    having_href: str
    lacking: tuple[LackerRow, ...] | None
    lacking_total: int
    more_reasons: int
    histogram: Histogram
    files: tuple[WireFile, ...]
    files_total: int
    history: tuple[RevisionView, ...]
    older_href: str | None
    newest_href: str | None
    is_active: bool
    may_write: bool
    undo: int | None
    again_href: str | None
    live_href: str


# Reading ------------------------------------------------------------------------------------------------


async def load(
    tenant: Tenant,
    plane: ControlPlane,
    principal: Principal,
    config_id: str,
    *,
    before: int | None = None,
) -> Scene:
    """A config and a page of its history.

    Raises:
        NotFoundError: There is none, or it is not theirs to see.
    """
    editor = Editor(tenant, principal, now=plane.clock())
    row = await editor.get(config_id)
    may_write = editor.may_write(PRODUCTS[row.product], parsed(row.targeting))

    def rest() -> Scene:
        with plane.database.read() as c:
            found = configs.revisions(
                c, tenant.organisation.org_id, config_id, before=before, limit=REVISIONS + 1
            )
        history = config_history.history(
            row.product, config_id, found, present=row.revision, may_restore=may_write
        )
        document = pretty(orjson.loads(row.payload))
        if len(document) > MAX_DOCUMENT_CHARS:
            document = (
                f"{document[:MAX_DOCUMENT_CHARS]}\n… {len(document) - MAX_DOCUMENT_CHARS:,} characters more"
            )
        older = found[REVISIONS - 1].revision if len(found) > REVISIONS else None
        return Scene(
            row, tuple(found), before,
            config_history.words(row.product, None, config_history.of_config(row)), document, history,
            None if older is None else f"/configs/{config_id}?before={older}#history", may_write,
        )  # fmt: skip

    return await asyncio.to_thread(rest)


async def kept_out(
    tenant: Tenant, plane: ControlPlane, principal: Principal, fleet: Fleet, scene: Scene
) -> tuple[holders.KeptOut, ...]:
    """Who has it not, for somebody who may see that. With many clients the dearest part of the page."""
    row = scene.row
    if not principal.may("fleet_read") or state_of(row.state, row.expires_ms, plane.now_ms()) != ACTIVE:
        return ()

    def work_out() -> tuple[holders.KeptOut, ...]:
        return holders.kept_out(tenant, row, holders.holders(tenant, fleet, row).lacking)

    return await asyncio.to_thread(work_out)


async def view(
    tenant: Tenant,
    plane: ControlPlane,
    principal: Principal,
    fleet: Fleet,
    scene: Scene,
    lacking: tuple[holders.KeptOut, ...],
) -> ConfigPage:
    """The page of a config; ``lacking`` is what ``kept_out`` found, now or a moment ago."""
    row, now_ms = scene.row, plane.now_ms()
    state = state_of(row.state, row.expires_ms, now_ms)
    product = PRODUCTS[row.product]
    uptake = tenant.uptakes.of(fleet).get(row.config_id, NOBODY) if state == ACTIVE else NOBODY
    found = await asyncio.to_thread(holders.holders, tenant, fleet, row)
    sees_fleet = principal.may("fleet_read")
    files = await asyncio.to_thread(holders.published_files, tenant, row.config_id)
    previous = next((one for one in scene.revisions if one.revision == row.revision - 1), None)
    return ConfigPage(
        config_id=row.config_id,
        title=row.name or row.config_id,
        product=row.product,
        product_title=title(row.product),
        product_summary=product.summary,
        merged=product.single_file,
        status=STATES[state],
        standing=_standing(row, state, uptake),
        targeting=targeting_words(row.targeting),
        rules=_rules(parsed(row.targeting)),
        ends=NEVER if row.expires_ms is None else moment(row.expires_ms / 1000),
        revision=row.revision,
        size=size_words(len(row.payload)),
        made=moment(row.created_ms / 1000),
        changed=moment(row.updated_ms / 1000),
        by=row.updated_by,
        comment=row.comment,
        says=scene.says,
        document=scene.document,
        bar=bar(uptake),
        having=tuple(_holder(tenant, row, line, file) for line, file in found.having[:HOLDERS])
        if sees_fleet
        else None,
        in_sight=IN_SIGHT,
        having_total=len(found.having),
        having_href=fleet_href(q=f"config:{row.config_id}"),
        lacking=tuple(_lacker(one) for one in lacking[:REASONS]) if sees_fleet else None,
        lacking_total=len(found.lacking),
        more_reasons=max(0, len(lacking) - REASONS),
        histogram=charts.took(_took(found.having)),
        files=tuple(
            WireFile(file.path, file.version, file.sha256, size_words(len(file.raw)), len(file.sources) - 1)
            for file in files[:FILES]
        ),
        files_total=len(files),
        history=scene.history,
        older_href=scene.older_href,
        newest_href=None if scene.before is None else f"/configs/{row.config_id}#history",
        is_active=state == ACTIVE,
        may_write=scene.may_write,
        undo=previous.revision
        if previous is not None and previous.state != RETIRED and scene.may_write
        else None,
        again_href=f"/configs/{row.config_id}/restore?revision={row.revision}"
        if state == EXPIRED and scene.may_write
        else None,
        live_href=f"/live/configs/{row.config_id}"
        + ("" if scene.before is None else f"?before={scene.before}"),
    )


def _standing(row: rows.ConfigRow, state: str, uptake: Uptake) -> Status:
    if state == RETIRED:
        return Status(
            "Retired", "mute", "circle-x", f"by {row.updated_by}; its values went back everywhere",
            "Nobody is given it any more. Restore a revision to put it in force again.",
        )  # fmt: skip
    if state == EXPIRED:
        return Status(
            "Expired", "mute", "calendar-clock", "its time is over, and its values went back everywhere",
            "Nobody is given it any more. Restore a revision with a new time to put it in force again.",
        )  # fmt: skip
    clients = wording.counted(uptake.wanted, "client")
    if not uptake.wanted:
        return Status(
            "Active, for nobody yet", "mute", "circle-dashed", "",
            "No client that is here shall have it. It is given to every one that comes and matches.",
        )  # fmt: skip
    if uptake.failed:
        did = f"{uptake.failed} of {clients} did not take it"
        return Status(
            "Active, but failing", "bad", "triangle-alert", did,
            "Below is what they said. Correct the config, undo the last change, or take them out of its "
            "targeting.",
        )  # fmt: skip
    if uptake.waiting:
        have = "has" if uptake.wanted == 1 else "have"
        done = f"{uptake.acknowledged} of {clients} {have} confirmed it"
        return Status("Active, on its way", "wait", "refresh-cw", done)
    have = f"all {clients} have confirmed it" if uptake.wanted > 1 else "its one client has confirmed it"
    return Status("Active", "ok", "circle-check", have)


_LABELS = {
    "service": "Service",
    "env": "Environment",
    "language": "Language",
    "app_version": "Application version",
    "host_tags": "Host tag",
    "client_id": "Client",
    "tracer_version": "Tracer version",
}


def _rules(targeting: Targeting) -> tuple[tuple[str, tuple[str, ...]], ...]:
    found: list[tuple[str, tuple[str, ...]]] = []
    for name, value in targeting.to_dict().items():
        found.append((_LABELS[name], tuple(value) if isinstance(value, list) else (str(value),)))
    return tuple(found)


def _took(having: Sequence[tuple[ClientLine, FileState]]) -> list[float]:
    return [file.took_s for _, file in having if file.took_s is not None]


# Who has it, who has not ----------------------------------------------------------------------------------


def _where(line: ClientLine) -> str:
    facts = line.facts
    library = f"{facts.get('language') or '?'} {facts.get('tracer_version') or ''}".strip()
    return " · ".join(part for part in (str(facts.get("env", "")), library, line.hostname) if part)


def _holder(tenant: Tenant, row: rows.ConfigRow, line: ClientLine, file: FileState) -> HolderRow:
    found = holders.why(tenant, row, line)
    notes: list[str] = []
    if file.took_s is not None:
        notes.append(f"applied after {charts.seconds_words(file.took_s)}")
    status = delivery_status(file.state)
    if found.verdict is Verdict.OVERRIDDEN:
        status = _OVERRIDDEN if file.state is DeliveryState.IN_STEP else status
        notes.append("each of its values is set by a config that is more precise or newer")
    elif len(file.config_ids) > 1 and (lost := holders.overruled(row, found.wins, line.facts)):
        names = wording.some([path.removeprefix("$.") for path in lost])
        notes.append(f"a config that is more precise or newer sets {names}")
    if file.state is DeliveryState.BEHIND and line.standing.detail:
        notes.append(line.standing.detail)
    return HolderRow(
        dom_id=dom_id("has", line.client_id),
        status=status,
        name=str(line.facts.get("service", "")) or line.client_id,
        where=_where(line),
        href=client_href(line.client_id),
        note="; ".join(notes),
        error=file.error,
        since=moment(file.since_ms / 1000 if file.since_ms else None),
    )


def _lacker(group: holders.KeptOut) -> LackerRow:
    reasons = tuple(rule.text for rule in group.unmet)
    first = group.clients[:NAMED]
    return LackerRow(
        dom_id=dom_id("lacks", " ".join(reasons)),
        status=_NOT_FOR_IT if reasons else _NOT_SENT,
        words=wording.counted(len(group.clients), "client"),
        reasons=reasons,
        clients=tuple(
            Link(
                " · ".join(
                    part
                    for part in (
                        str(line.facts.get("service", "")) or line.client_id, str(line.facts.get("env", "")),
                        line.hostname,
                    )
                    if part
                ),
                client_href(line.client_id),
            )
            for line in first
        ),
        more=len(group.clients) - len(first),
    )  # fmt: skip
