"""Trust: both repositories, their roles and keys, until when they hold, and the next root."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeAlias

from litestar import Request, Response, get, post
from litestar.params import FromPath
from litestar.response import Stream

from sealwire.errors import NotFoundError, SettingsError
from sealwire.server import install, standing
from sealwire.server.access import Principal
from sealwire.server.api import trust as api
from sealwire.server.api.guard import Asker, OwnTenant, Plane
from sealwire.server.control_plane import ControlPlane
from sealwire.server.organisation import RENEW_ROOTS_BEFORE, REPOSITORIES, ROOT_LIFETIME
from sealwire.server.store import read
from sealwire.server.tenant import Tenant
from sealwire.server.ui import forms
from sealwire.server.ui.live import Fragments, Rows
from sealwire.server.ui.pages import Watching
from sealwire.server.ui.render import dom_id, macro, moment, page
from sealwire.server.ui.views import NEVER, Moment, Status

Asked: TypeAlias = Request[Any, Any, Any]
READ, MANAGE = {"permission": "rc_keys_read"}, {"permission": "rc_keys_manage"}
ROTATE, RECOVER = "rotate", "recover"

_SOON = 0.25  # of a lifetime: less is worth a look
_FINE = Status("Valid", "ok", "circle-check")
_LATE = Status("Renews late", "wait", "clock")
_OVER = Status("Expired", "bad", "triangle-alert")
_NONE = Status("Not signed yet", "mute", "circle-dashed")


@dataclass(frozen=True, slots=True)
class Until:
    """How much of a lifetime is left.

    Attributes:
        share: Out of 100, for the bar.
        words: The same in words.
    """

    status: Status
    at: Moment
    share: float
    words: str


@dataclass(frozen=True, slots=True)
class RoleRow:
    """One role. ``keys`` are the first characters of their ids, and the whole."""

    dom_id: str
    name: str
    version: str
    documents: int
    signed: Moment
    until: Until
    keys: tuple[tuple[str, str], ...]
    threshold: str
    keys_are: str
    renewed: str


@dataclass(frozen=True, slots=True)
class RepositoryView:
    """One repository."""

    name: str
    about: str
    version: int
    root_version: int
    root: Until
    root_note: str
    root_keys: tuple[tuple[str, str], ...]
    root_threshold: str
    root_keys_are: str
    roles: tuple[RoleRow, ...]
    first_root: str
    first_root_sha256: str


@dataclass(frozen=True, slots=True)
class AlarmView:
    """Something that must never happen, and did."""

    subject: str
    message: str
    at: Moment


@dataclass(frozen=True, slots=True)
class TrustPage:
    """Everything that agents and people trust here."""

    alarms: tuple[AlarmView, ...]
    repositories: tuple[RepositoryView, ...]
    ca_pem: str
    ca_fingerprint: str
    may_manage: bool
    summary: str
    live_href: str = "/live/trust"


@dataclass(frozen=True, slots=True)
class RenewPage:
    """A repository before its next root.

    Attributes:
        action: ``rotate`` or ``recover``.
        can: Whether this server holds the root keys.
        must_type: What to type to confirm.
        wrong: Why the form was not taken; empty at first.
    """

    action: str
    repository: str
    root_version: int
    agents: int
    clients: int
    configs: int
    can: bool
    must_type: str
    typed: str
    wrong: str


_ABOUT = {
    "director": "says which agent gets what: a version for each group of agents that get the same",
    "config": "holds every config for whoever it is for: an agent takes nothing that both do not agree on",
}


@get("/trust", opt=READ, include_in_schema=False)
async def show_trust(request: Asked, principal: Asker, tenant: OwnTenant, plane: Plane) -> Response[str]:
    """What is trusted, and until when."""
    view = await asyncio.to_thread(_view, tenant, plane, principal)
    return page(request, "trust/trust.html", title="Trust", view=view, principal=principal, tenant=tenant)


@get("/live/trust", opt=READ, include_in_schema=False)
async def live_trust(tenant: OwnTenant, plane: Plane, viewers: Watching, principal: Asker) -> Stream:
    """Alarms, versions and what is left of each lifetime, as they change."""
    parts = {name: macro("trust/_parts.html", name) for name in ("alarms", "announcement")}
    of_each = {name: macro("trust/_parts.html", name) for name in ("version", "root")}
    row = macro("trust/_parts.html", "role")

    async def screen() -> Fragments:
        view = await asyncio.to_thread(_view, tenant, plane, principal)
        found: dict[str, str | Rows] = {}
        for one in view.repositories:
            rows = {role.dom_id: row(role) for role in one.roles}
            found[f"{one.name}-roles"] = Rows(
                f'<tbody id="{one.name}-roles" role="rowgroup">', rows, "</tbody>"
            )
            found |= {f"{one.name}-{name}": part(one) for name, part in of_each.items()}
        return {**found, **{name: part(view) for name, part in parts.items()}}

    return await viewers.stream(screen)


@get("/trust/{repository:str}/{action:str}", opt=MANAGE, include_in_schema=False)
async def ask_renew(
    request: Asked,
    repository: FromPath[str],
    action: FromPath[str],
    principal: Asker,
    tenant: OwnTenant,
    plane: Plane,
) -> Response[str]:
    """What the next root of a repository will do."""
    view = await _renew_view(tenant, plane, repository, action)
    return page(
        request, "trust/renew.html", title=_title(view), view=view, principal=principal, tenant=tenant
    )


@post("/trust/{repository:str}/{action:str}", opt=MANAGE, include_in_schema=False)
async def renew(
    request: Asked,
    repository: FromPath[str],
    action: FromPath[str],
    principal: Asker,
    tenant: OwnTenant,
    plane: Plane,
) -> Response[Any]:
    """Sign the next root of a repository."""
    form = await forms.read(request)
    typed = form.text("name")
    view = await _renew_view(tenant, plane, repository, action, typed=typed)
    wrong = "" if typed == view.must_type else f"Type {view.must_type} to confirm."
    if not wrong:
        try:
            version = await api.renew(tenant, principal, repository, recover=action == RECOVER)
        except SettingsError as error:
            wrong = error.public
        else:
            return forms.went(
                "/trust",
                f"Root {version} of the {repository} repository is signed; agents take it as they poll.",
            )  # fmt: skip
    view = await _renew_view(tenant, plane, repository, action, typed=typed, wrong=wrong)
    return page(
        request, "trust/renew.html", title=_title(view), view=view, principal=principal, tenant=tenant,
        status_code=422,
    )  # fmt: skip


HANDLERS = [show_trust, live_trust, ask_renew, renew]


# Views --------------------------------------------------------------------------------------------------


def _view(tenant: Tenant, plane: ControlPlane, principal: Principal) -> TrustPage:
    now = plane.clock()
    with plane.database.read() as c:
        alarms = read.open_alarms(c, tenant.organisation.org_id)
    repositories = tuple(_repository(one, now) for one in api.repositories(tenant, plane))
    return TrustPage(
        alarms=tuple(AlarmView(alarm.subject, alarm.message, moment(alarm.at_ms / 1000)) for alarm in alarms),
        repositories=repositories,
        ca_pem=plane.ca_pem,
        ca_fingerprint=install.ca_fingerprint(plane.ca_pem),
        may_manage=principal.may("rc_keys_manage"),
        summary=f"Alarms that are open: {len(alarms)}. "
        + " ".join(f"Root {one.root_version} of the {one.name} repository." for one in repositories),
    )


def _repository(one: standing.Repository, now: datetime) -> RepositoryView:
    before = RENEW_ROOTS_BEFORE.days
    note = (
        f"This server signs the next one by itself when {before} days are left."
        if one.roots_on_server
        else f"Its holders must sign the next one; {before} days before it says so on the first page."
    )
    return RepositoryView(
        name=one.name,
        about=_ABOUT[one.name],
        version=one.version,
        root_version=one.root_version,
        root=_until(one.root_expires, ROOT_LIFETIME.days, now, soon_days=before),
        root_note=note,
        root_keys=_keys(one.root_key_ids),
        root_threshold=_threshold(one.root_threshold, len(one.root_key_ids)),
        root_keys_are=one.root_keys_are,
        roles=tuple(_role(one.name, role, now) for role in one.roles),
        first_root=one.first_root,
        first_root_sha256=one.first_root_sha256,
    )


def _role(repository: str, role: standing.Role, now: datetime) -> RoleRow:
    return RoleRow(
        dom_id=dom_id(repository, role.name),
        name=role.name,
        version="–" if role.version is None else str(role.version),
        documents=role.documents,
        signed=_moment(role.signed),
        until=_until(role.expires, role.lifetime_days, now, soon_days=role.lifetime_days * _SOON),
        keys=_keys(role.key_ids),
        threshold=_threshold(role.threshold, len(role.key_ids)),
        keys_are=role.keys_are,
        renewed=role.renewed,
    )


def _keys(key_ids: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    return tuple((key_id[:8], key_id) for key_id in key_ids)


def _threshold(threshold: int, keys: int) -> str:
    return f"{threshold} of {keys}"


def _until(expires: datetime | None, lifetime_days: float, now: datetime, *, soon_days: float) -> Until:
    if expires is None:
        return Until(_NONE, NEVER, 0, "no document yet")
    left = (expires - now).total_seconds() / 86400
    if left <= 0:
        return Until(_OVER, _moment(expires), 0, "expired")
    share = round(min(100.0, 100 * left / lifetime_days) if lifetime_days else 0.0, 1)
    words = f"{int(left)} days left" if left >= 2 else f"{int(left * 24)} hours left"
    return Until(_LATE if left < soon_days else _FINE, _moment(expires), share, words)


def _moment(at: datetime | None) -> Moment:
    return NEVER if at is None else moment(at.astimezone(UTC).timestamp())


async def _renew_view(
    tenant: Tenant, plane: ControlPlane, repository: str, action: str, *, typed: str = "", wrong: str = ""
) -> RenewPage:
    if repository not in REPOSITORIES or action not in (ROTATE, RECOVER):
        raise NotFoundError("There are the director and the config repository, to rotate or to recover.")
    fleet = await tenant.overview.glance()
    found = next(one for one in api.repositories(tenant, plane) if one.name == repository)
    return RenewPage(
        action=action,
        repository=repository,
        root_version=found.root_version,
        agents=len(fleet.agents),
        clients=len(fleet.clients),
        configs=len(tenant.publisher.catalogue.active),
        can=found.roots_on_server,
        must_type=repository,
        typed=typed,
        wrong=wrong,
    )


def _title(view: RenewPage) -> str:
    return f"{view.action.capitalize()} the {view.repository} repository"
