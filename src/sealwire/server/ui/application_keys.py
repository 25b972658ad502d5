"""Application keys: one's own under the account, everybody's under people."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from litestar import Request, Response, get, post
from litestar.params import FromPath
from litestar.response import Redirect, Stream

from sealwire.errors import InvalidChangeError, NotFoundError, NotPermittedError, SealwireError
from sealwire.server.access import Principal
from sealwire.server.access.application_keys import OWN, REVOKE_ALL, SEE_ALL
from sealwire.server.access.permissions import PERMISSIONS
from sealwire.server.api.guard import Asker, OwnTenant, Plane
from sealwire.server.control_plane import ControlPlane
from sealwire.server.store.rows import ApplicationKeyRow
from sealwire.server.tenant import Tenant
from sealwire.server.ui import forms
from sealwire.server.ui.live import Fragments
from sealwire.server.ui.pages import Watching
from sealwire.server.ui.people import at, counts_of, rows_of, status_of, tabs, tabs_of, told
from sealwire.server.ui.render import dom_id, macro, page
from sealwire.server.ui.roles import Group, groups
from sealwire.server.ui.views import Moment, Tab

Asked: TypeAlias = Request[Any, Any, Any]
OWNS, SEES_ALL, REVOKES_ALL = {"permission": OWN}, {"permission": SEE_ALL}, {"permission": REVOKE_ALL}


@dataclass(frozen=True, slots=True)
class KeyLine:
    """An application key.

    Attributes:
        name: Empty for those made before keys had one.
        scopes: Permissions it is cut down to; None: it may whatever its user may.
        user_href: Of its user; empty when it is nobody's.
        revoke_href: Where it ends; empty for who may not.
    """

    dom_id: str
    name: str
    last4: str
    user: str
    user_href: str
    scopes: tuple[str, ...] | None
    made: Moment
    used: Moment
    revoke_href: str


@dataclass(frozen=True, slots=True)
class KeysPage:
    """Application keys. ``tabs`` and ``live_href`` are empty on the page of one's own."""

    tabs: tuple[Tab, ...]
    rows: tuple[KeyLine, ...]
    has_user: bool
    summary: str = ""
    live_href: str = ""


@dataclass(frozen=True, slots=True)
class NewKeyPage:
    """The form of a new key. ``all_scopes``: it may whatever its user may."""

    name: str
    all_scopes: bool
    may_have_all: bool
    groups: tuple[Group, ...]
    wrong: Mapping[str, str]
    problem: str


@dataclass(frozen=True, slots=True)
class SecretPage:
    """A new key, shown once."""

    name: str
    secret: str


@dataclass(frozen=True, slots=True)
class RevokePage:
    """What ends with a key."""

    href: str
    back_href: str
    name: str
    key: KeyLine
    typed: str
    wrong: str


# One's own --------------------------------------------------------------------------------------------


@get("/account/keys", opt=OWNS, include_in_schema=False)
async def show_own_keys(request: Asked, principal: Asker, tenant: OwnTenant, plane: Plane) -> Response[str]:
    """One's own application keys."""
    found = await asyncio.to_thread(plane.application_keys.own, principal)
    view = KeysPage((), tuple(_line(row, "/account/keys") for row in found), bool(principal.user_id))
    return page(
        request, "people/own_keys.html", title="Your application keys", view=view, principal=principal,
        tenant=tenant,
    )  # fmt: skip


@get("/account/keys/new", opt=OWNS, include_in_schema=False)
async def show_new_own_key(request: Asked, principal: Asker, tenant: OwnTenant) -> Response[str]:
    """The form of a new key."""
    form = forms.Form({"reach": ["all" if principal.scopes is None else "some"]})
    return _form(request, principal, tenant, form, None)


@post("/account/keys/new", opt=OWNS, status_code=200, include_in_schema=False)
async def make_own_key(request: Asked, principal: Asker, tenant: OwnTenant, plane: Plane) -> Response[str]:
    """Make a key; it is on the page that answers, and nowhere else."""
    form = await forms.read(request)
    try:
        row, secret = await asyncio.to_thread(
            plane.application_keys.create, principal, name=form.text("name"),
            scopes=None if form.text("reach") == "all" else form.all("permissions"), now_ms=plane.now_ms(),
        )  # fmt: skip
    except (InvalidChangeError, NotPermittedError) as error:
        return _form(request, principal, tenant, form, error)
    answer = page(
        request, "people/key_secret.html", title="A new application key",
        view=SecretPage(row.name, secret), principal=principal, tenant=tenant,
    )  # fmt: skip
    answer.headers["Cache-Control"] = "no-store"
    return answer


def _form(
    request: Asked, principal: Principal, tenant: Tenant, form: forms.Form, error: SealwireError | None
) -> Response[str]:
    wrong, problem = told(error, ("name", "scopes"))
    lacking = [name for name in PERMISSIONS if not principal.may(name)]
    view = NewKeyPage(
        form.text("name"), form.text("reach") == "all", principal.scopes is None,
        groups(form.all("permissions"), lacking=lacking), wrong, problem,
    )  # fmt: skip
    return page(
        request, "people/key_form.html", title="New application key", view=view, principal=principal,
        tenant=tenant, status_code=status_of(error),
    )  # fmt: skip


@get("/account/keys/{key_id:str}/revoke", opt=OWNS, include_in_schema=False)
async def show_revoke_own_key(
    request: Asked, key_id: FromPath[str], principal: Asker, tenant: OwnTenant, plane: Plane
) -> Response[str]:
    """What ends with a key of one's own."""
    found = await asyncio.to_thread(plane.application_keys.own, principal)
    return _revoke_page(request, principal, tenant, "/account/keys", found, key_id, forms.Form({}))


@post("/account/keys/{key_id:str}/revoke", opt=OWNS, status_code=303, include_in_schema=False)
async def revoke_own_key(
    request: Asked, key_id: FromPath[str], principal: Asker, tenant: OwnTenant, plane: Plane
) -> Response[str] | Redirect:
    """End a key of one's own."""
    form = await forms.read(request)
    found = await asyncio.to_thread(plane.application_keys.own, principal)
    if form.text("confirm") != _called(_one(found, key_id)):
        return _revoke_page(
            request, principal, tenant, "/account/keys", found, key_id, form, wrong="This differs."
        )
    row = await asyncio.to_thread(plane.application_keys.revoke_own, principal, key_id, now_ms=plane.now_ms())
    return forms.went("/account/keys", f"The key {_called(row)} opens nothing any more.")


# Everybody's ------------------------------------------------------------------------------------------


@get("/people/keys", opt=SEES_ALL, include_in_schema=False)
async def show_everybodys_keys(
    request: Asked, principal: Asker, tenant: OwnTenant, plane: Plane
) -> Response[str]:
    """Everybody's application keys."""
    view = await _everybodys_view(plane, principal)
    return page(
        request, "people/keys.html", title="Application keys", view=view, principal=principal, tenant=tenant
    )


@get("/live/people/keys", opt=SEES_ALL, include_in_schema=False)
async def live_everybodys_keys(principal: Asker, plane: Plane, viewers: Watching) -> Stream:
    """Everybody's application keys, as they change."""
    row = macro("people/_parts.html", "key_row")
    parts = {name: macro("people/_parts.html", name) for name in ("no_keys", "announcement")}

    async def screen() -> Fragments:
        view = await _everybodys_view(plane, principal)
        body = rows_of({one.dom_id: row(one, True) for one in view.rows})
        return {"rows": body, **tabs_of(view.tabs), **{name: part(view) for name, part in parts.items()}}

    return await viewers.stream(screen)


async def _everybodys_view(plane: ControlPlane, principal: Principal) -> KeysPage:
    found = await asyncio.to_thread(plane.application_keys.everybodys, principal)
    base = "/people/keys" if principal.may(REVOKE_ALL) else ""
    return KeysPage(
        await _tabs(plane, principal), tuple(_line(row, base) for row in found), bool(principal.user_id),
        f"There are {len(found)} application keys.", "/live/people/keys",
    )  # fmt: skip


async def _tabs(plane: ControlPlane, principal: Principal) -> tuple[Tab, ...]:
    if not principal.may("user_access_read"):
        return ()
    return tabs(principal, "/people/keys", await counts_of(plane, principal))


@get("/people/keys/{key_id:str}/revoke", opt=REVOKES_ALL, include_in_schema=False)
async def show_revoke_anybodys_key(
    request: Asked, key_id: FromPath[str], principal: Asker, tenant: OwnTenant, plane: Plane
) -> Response[str]:
    """What ends with somebody's key."""
    found = await asyncio.to_thread(plane.application_keys.everybodys, principal)
    return _revoke_page(request, principal, tenant, "/people/keys", found, key_id, forms.Form({}))


@post("/people/keys/{key_id:str}/revoke", opt=REVOKES_ALL, status_code=303, include_in_schema=False)
async def revoke_anybodys_key(
    request: Asked, key_id: FromPath[str], principal: Asker, tenant: OwnTenant, plane: Plane
) -> Response[str] | Redirect:
    """End somebody's key."""
    form = await forms.read(request)
    found = await asyncio.to_thread(plane.application_keys.everybodys, principal)
    if form.text("confirm") != _called(_one(found, key_id)):
        return _revoke_page(
            request, principal, tenant, "/people/keys", found, key_id, form, wrong="This differs."
        )
    row = await asyncio.to_thread(
        plane.application_keys.revoke_anybodys, principal, key_id, now_ms=plane.now_ms()
    )
    return forms.went("/people/keys", f"The key {_called(row)} of {row.user} opens nothing any more.")


# Both -------------------------------------------------------------------------------------------------


def _one(found: list[ApplicationKeyRow], key_id: str) -> ApplicationKeyRow:
    row = next((one for one in found if one.key_id == key_id), None)
    if row is None:
        raise NotFoundError("There is no such application key, or it was revoked already.")
    return row


def _called(row: ApplicationKeyRow) -> str:
    """Keys made at the first start have no name."""
    return row.name or row.last4


def _revoke_page(
    request: Asked,
    principal: Principal,
    tenant: Tenant,
    base: str,
    found: list[ApplicationKeyRow],
    key_id: str,
    form: forms.Form,
    *,
    wrong: str = "",
) -> Response[str]:
    row = _one(found, key_id)
    view = RevokePage(
        f"{base}/{row.key_id}/revoke", base, _called(row), _line(row, base), form.text("confirm"), wrong
    )
    return page(
        request, "people/key_revoke.html", title=f"Revoke {view.name}", view=view, principal=principal,
        tenant=tenant, status_code=422 if wrong else 200,
    )  # fmt: skip


def _line(row: ApplicationKeyRow, base: str) -> KeyLine:
    return KeyLine(
        dom_id("key", row.key_id), row.name, row.last4, row.user,
        f"/people/{row.user_id}" if row.user_id else "", row.scopes, at(row.created_ms),
        at(row.last_used_ms), f"{base}/{row.key_id}/revoke" if base else "",
    )  # fmt: skip


HANDLERS = [
    show_own_keys, show_new_own_key, make_own_key, show_revoke_own_key, revoke_own_key, show_everybodys_keys,
    live_everybodys_keys, show_revoke_anybodys_key, revoke_anybodys_key,
]  # fmt: skip
