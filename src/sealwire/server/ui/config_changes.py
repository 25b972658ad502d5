"""The pages that come before something happens to a config: restoring a revision, retiring it.

Each says what will be different and for how many clients. Restoring is one button; retiring what more than
one client has wants the name typed.
"""

from __future__ import annotations

import asyncio
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import orjson

from sealwire.errors import ConflictError, InvalidChangeError, NotFoundError, Problem
from sealwire.products import PRODUCTS, wording
from sealwire.server.access import Principal
from sealwire.server.authoring import holders, reach
from sealwire.server.authoring.author import Draft
from sealwire.server.authoring.editing import KEPT, Editor
from sealwire.server.control_plane import ControlPlane
from sealwire.server.store import configs, rows
from sealwire.server.store.configs import ACTIVE, RETIRED, state_of
from sealwire.server.tenant import Tenant
from sealwire.server.ui import config_history, forms
from sealwire.server.ui.config_history import DiffLine
from sealwire.server.ui.config_words import parsed, targeting_words, title
from sealwire.server.ui.render import client_href, moment
from sealwire.server.ui.views import Link, Moment

NAMED = 50

NEVER_ENDS, ENDS_AT = "never", "at"


@dataclass(frozen=True, slots=True)
class Gathering:
    """Some clients: how many, and the first of them."""

    count: int
    words: str
    clients: tuple[Link, ...]

    @property
    def more(self) -> int:
        return self.count - len(self.clients)


@dataclass(frozen=True, slots=True)
class RestorePage:
    """A revision on its way to be in force again.

    Attributes:
        revision: None when the address names none that can be restored.
        words, diff: From what is in force to what would be.
        changed_by: Who made the config another one meanwhile, and what it is now; empty if nobody did.
        ends: ``never``, ``at``, or empty where the visitor must choose.
        ends_at: As a field for a local time has it, in UTC.
        ended: When the revision was to end, if that is over.
        cautions: What to know before.
    """

    config_id: str
    name: str
    product_title: str
    present: int
    present_state: str
    revision: int | None
    by: str
    at: Moment
    targeting: str
    words: tuple[str, ...]
    diff: tuple[DiffLine, ...]
    too_long: bool
    gets: Gathering
    gains: Gathering
    losses: Gathering
    cautions: tuple[str, ...]
    problems: tuple[Problem, ...]
    changed_by: str
    comment: str
    ends: str
    ends_at: str
    ended: str
    may_write: bool


@dataclass(frozen=True, slots=True)
class RetirePage:
    """A config on its way out.

    Attributes:
        must_type: What must be typed; empty for at most one client.
        typed: What was.
        says: What it says now, and what goes.
    """

    config_id: str
    name: str
    product_title: str
    targeting: str
    revision: int
    says: tuple[str, ...]
    loses: Gathering
    fleet_href: str
    must_type: str
    typed: str
    comment: str
    problems: tuple[Problem, ...]
    changed_by: str
    is_retired: bool
    may_write: bool


# Restoring ----------------------------------------------------------------------------------------------


async def restore(editor: Editor, config_id: str, form: forms.Form) -> tuple[rows.ConfigRow, Draft]:
    """Do what the form says.

    Raises:
        ConflictError, InvalidChangeError, NotFoundError, NotPermittedError: As ``Editor.restore``.
    """
    ends = form.text("ends")
    expires_at: object = KEPT
    if ends == NEVER_ENDS:
        expires_at = None
    elif ends == ENDS_AT:
        typed = form.text("ends_at")
        expires_at = f"{typed}Z" if typed else ""
    return await editor.restore(
        config_id, _number(form, "revision"), expected_revision=_number(form, "expected_revision"),
        comment=form.text("comment"), expires_at=expires_at,
    )  # fmt: skip


def _number(form: forms.Form, name: str) -> int:
    text = form.text(name)
    if not (text.isascii() and text.isdigit() and len(text) < 16):
        raise InvalidChangeError(
            "Choose a revision in the history.", problems=(Problem(f"$.{name}", "Expected a number."),)
        )
    return int(text)


async def restore_view(
    tenant: Tenant,
    plane: ControlPlane,
    principal: Principal,
    config_id: str,
    form: forms.Form,
    error: InvalidChangeError | ConflictError | None,
) -> RestorePage:
    """The page of a revision, as the form has it or afresh.

    Raises:
        NotFoundError: There is no such config, or it is not theirs to see; or it has no such revision.
    """
    editor = Editor(tenant, principal, now=plane.clock())
    row = await editor.get(config_id)
    try:
        number = _number(form, "revision")
    except InvalidChangeError:
        raise NotFoundError("There is no such revision.") from None

    def find() -> rows.RevisionRow | None:
        with plane.database.read() as c:
            return configs.revision(c, tenant.organisation.org_id, config_id, number)

    old = await asyncio.to_thread(find)
    if old is None:
        raise NotFoundError(f"Config {config_id} has no revision {number}.")
    product = PRODUCTS[row.product]
    targeting = parsed(old.targeting)
    state = state_of(row.state, row.expires_ms, plane.now_ms())
    was, becomes = config_history.of_config(row), config_history.of_revision(old)
    diff, too_long = await asyncio.to_thread(config_history.diff, was, becomes)
    found = await reach.live_reach(
        tenant, product, targeting, payload=orjson.loads(old.payload), config_id=config_id
    )
    named = principal.may("fleet_read")
    ended = old.expires_ms is not None and old.expires_ms <= plane.now_ms()
    ends = form.text("ends") or ("" if ended else NEVER_ENDS if old.expires_ms is None else ENDS_AT)
    ends_at = form.text("ends_at")
    if not ends_at and old.expires_ms is not None and not ended:
        ends_at = moment(old.expires_ms / 1000).iso[:16]
    return RestorePage(
        config_id=config_id,
        name=row.name or config_id,
        product_title=title(row.product),
        present=row.revision,
        present_state=state,
        revision=None if old.state == RETIRED else number,
        by=old.by,
        at=moment(old.at_ms / 1000),
        targeting=targeting_words(old.targeting),
        words=config_history.words(row.product, was if state == ACTIVE else None, becomes),
        diff=diff,
        too_long=too_long,
        gets=_gathering(found.now, named),
        gains=_gathering(found.gains, named),
        losses=_gathering(found.losses, named),
        cautions=tuple(caution.words for caution in found.cautions),
        problems=_problems(error),
        changed_by=_changed_by(row, error),
        comment=form.text("comment"),
        ends=ends,
        ends_at=ends_at,
        ended=config_history.clock(old.expires_ms) if ended else "",
        may_write=editor.may_write(product, parsed(row.targeting)) and editor.may_write(product, targeting),
    )


def _problems(error: InvalidChangeError | ConflictError | None) -> tuple[Problem, ...]:
    return error.problems if isinstance(error, InvalidChangeError) else ()


def _changed_by(row: rows.ConfigRow, error: InvalidChangeError | ConflictError | None) -> str:
    if not isinstance(error, ConflictError):
        return ""
    return f"{row.updated_by} made revision {row.revision} of it meanwhile."


def _gathering(some: reach.Clients, named: bool) -> Gathering:
    return Gathering(
        some.count,
        wording.counted(some.count, "client"),
        tuple(
            Link(
                " · ".join(part for part in (one.service or one.client_id, one.env, one.language) if part),
                client_href(one.client_id),
            )
            for one in some.first[:NAMED]
        )
        if named
        else (),
    )


# Retiring -----------------------------------------------------------------------------------------------


def _plain(text: str) -> str:
    """A name as it is compared with what was typed."""
    return " ".join(unicodedata.normalize("NFC", text).split())


async def retire(
    tenant: Tenant, plane: ControlPlane, principal: Principal, config_id: str, form: forms.Form
) -> rows.ConfigRow:
    """Do what the form says, if the name was typed where it must be.

    Raises:
        InvalidChangeError: It was not.
        ConflictError, NotFoundError, NotPermittedError: As ``Editor.retire``.
    """
    editor = Editor(tenant, principal, now=plane.clock())
    row = await editor.get(config_id)
    fleet = await tenant.overview.look()
    losing = await asyncio.to_thread(holders.holders, tenant, fleet, row)
    name = row.name or config_id
    if len(losing.having) > 1 and _plain(form.text("confirm")) != _plain(name):
        raise InvalidChangeError(
            "Nothing was retired: type the name as it stands there.",
            problems=(Problem("$.confirm", "This is not the name of the config."),),
        )
    return await editor.retire(
        config_id, expected_revision=_number(form, "expected_revision"), comment=form.text("comment")
    )


async def retire_view(
    tenant: Tenant,
    plane: ControlPlane,
    principal: Principal,
    config_id: str,
    form: forms.Form,
    error: InvalidChangeError | ConflictError | None,
) -> RetirePage:
    """The page before a config is retired.

    Raises:
        NotFoundError: There is none, or it is not theirs to see.
    """
    editor = Editor(tenant, principal, now=plane.clock())
    row = await editor.get(config_id)
    fleet = await tenant.overview.look()
    found = await asyncio.to_thread(holders.holders, tenant, fleet, row)
    having: Sequence[Link] = ()
    if principal.may("fleet_read"):
        having = tuple(
            Link(
                " · ".join(
                    part
                    for part in (
                        str(line.facts.get("service") or line.client_id), str(line.facts.get("env") or ""),
                        line.hostname,
                    )
                    if part
                ),
                client_href(line.client_id),
            )
            for line, _ in found.having[:NAMED]
        )  # fmt: skip
    count = len(found.having)
    name = row.name or config_id
    return RetirePage(
        config_id=config_id,
        name=name,
        product_title=title(row.product),
        targeting=targeting_words(row.targeting),
        revision=row.revision,
        says=config_history.words(row.product, None, config_history.of_config(row)),
        loses=Gathering(count, wording.counted(count, "client"), tuple(having)),
        fleet_href=f"/fleet?q=config:{config_id}",
        must_type=_plain(name) if count > 1 else "",
        typed=form.text("confirm"),
        comment=form.text("comment"),
        problems=_problems(error),
        changed_by=_changed_by(row, error),
        is_retired=row.state == RETIRED,
        may_write=editor.may_write(PRODUCTS[row.product], parsed(row.targeting)),
    )
