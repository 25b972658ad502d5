"""The form to block somebody, reached from anywhere; what may hurt is asked about before anything happens."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from litestar import Response, get, post

from sealwire.errors import InvalidChangeError, NotFoundError, NotPermittedError
from sealwire.server.access import Principal
from sealwire.server.api.guard import Asker, OwnTenant, Plane
from sealwire.server.api.protect import own_address, target_of
from sealwire.server.control_plane import ControlPlane
from sealwire.server.protect.actions import Protect
from sealwire.server.protect.denylist import KINDS, Checked, Kind
from sealwire.server.protect.denylists import DATA
from sealwire.server.store import security
from sealwire.server.targeting import Targeting
from sealwire.server.tenant import Tenant
from sealwire.server.ui import forms
from sealwire.server.ui.forms import Form
from sealwire.server.ui.protect import Asked, asked, next_of, went
from sealwire.server.ui.protect_denylist import BLOCK, PATH, TO_BLOCK, source_link
from sealwire.server.ui.render import page
from sealwire.server.ui.views import Link

#: Value of the form, seconds (None: for ever), words.
SPANS: tuple[tuple[str, int | None, str], ...] = (
    ("15m", 900, "15 minutes"),
    ("1h", 3600, "1 hour"),
    ("6h", 21_600, "6 hours"),
    ("1d", 86_400, "24 hours"),
    ("1w", 604_800, "7 days"),
    ("ever", None, "until unblocked"),
    ("until", None, "until a moment …"),
)
_FIELDS = ("values", "reason", "confirm", "until", "source", "seen")
_SHOWN = 20


@dataclass(frozen=True, slots=True)
class BlockPage:
    """The form to block somebody, or the page that asks again.

    Attributes:
        fields: What was typed, by field.
        wrong: What is wrong with a field, by its name.
        risks: Why it may hurt; with any, this is the page that asks again.
        cautions: Who of them came without harm lately.
        name: What must be typed to confirm; empty: nothing.
        affected: Tracers that would refuse: those in the scope with App and API Protection on.
        here: All tracers that are here in the scope.
        source: Where this comes from.
        span_words: How long, in words.
    """

    title: str
    fields: Mapping[str, str]
    wrong: Mapping[str, str]
    spans: tuple[tuple[str, str], ...]
    span_words: str
    services: tuple[str, ...]
    envs: tuple[str, ...]
    risks: tuple[str, ...]
    cautions: tuple[str, ...]
    name: str
    affected: int
    here: int
    count: int
    is_extending: bool
    source: Link
    next_path: str


@get("/protect/block", opt=BLOCK, include_in_schema=False)
async def show_block(request: Asked, principal: Asker, tenant: OwnTenant, plane: Plane) -> Response[str]:
    """The form to block addresses or users, filled in with whom its address names."""
    form = Form(asked(request))
    if signal_id := form.text("signal"):
        form = await _of_signal(plane, tenant, form, signal_id)
    if not form.all("service") and not form.all("env") and not _reaches(principal, Targeting()):
        form = Form({**form.fields, **_own(principal)})
    kind = KINDS.get(form.text("kind"), Kind.IP)
    cautions: Sequence[Checked] = ()
    if form.text("values"):
        try:
            cautions = Protect(plane, tenant, principal).check(kind, values_of(form, kind))
        except InvalidChangeError:
            cautions = ()  # said when it is sent
    return await _block_page(request, principal, tenant, form, cautious=cautions)


async def _of_signal(plane: ControlPlane, tenant: Tenant, form: Form, signal_id: str) -> Form:
    """Every attacker of a signal."""

    def read() -> list[str]:
        with plane.database.read() as c:
            row = security.signal(c, tenant.organisation.org_id, signal_id)
        return [] if row is None else [ip for ip, _ in row.signal.top_attackers() if ip and ip != "*"]

    attackers = await asyncio.to_thread(read)
    if not attackers:
        raise NotFoundError(f"There is no signal {signal_id[:40]} that knows an attacker's address.")
    fields = {"values": ["\n".join(attackers)], "source": [f"signal:{signal_id}"]}
    return Form({"kind": ["ip"], **fields, **form.fields})


def _reaches(principal: Principal, target: Targeting) -> bool:
    """Whether they may block and unblock for everything that is aimed at."""
    return all(
        principal.may_change(permission, services=target.service, envs=target.env) for permission in TO_BLOCK
    )


def _own(principal: Principal) -> dict[str, list[str]]:
    """What somebody may block for who may not for everything: the services and environments of a role."""
    grant = next((one for one in principal.grants if set(TO_BLOCK) <= one.role.permissions), None)
    return {} if grant is None else {"service": sorted(grant.services), "env": sorted(grant.envs)}


@post("/protect/block", opt=BLOCK, status_code=200, include_in_schema=False)
async def block(request: Asked, principal: Asker, tenant: OwnTenant, plane: Plane) -> Response[Any]:
    """Block addresses or users; what may hurt is asked about first."""
    form = await forms.read(request)
    doing = Protect(plane, tenant, principal)
    kind = KINDS.get(form.text("kind"), Kind.IP)
    try:
        until_s = until_of(form, doing.now_s)
    except ValueError as error:
        name = "until" if form.text("span") == "until" else "span"
        return await _block_page(request, principal, tenant, form, wrong={name: str(error)})
    try:
        target = target_in(form)
        checked = doing.check(kind, values_of(form, kind), own_address=own_address(request))
        risky = [one for one in checked if one.risks]
        cautious = [one for one in checked if one.cautions]
        unseen = bool(cautious) and form.text("seen") != _digest(checked)
        if (risky and form.text("confirm") != to_type(risky)) or (unseen and not risky):
            tried = form.fields.get("confirm") is not None and bool(risky)
            return await _block_page(
                request, principal, tenant, form, risky=risky, cautious=checked, asks_again=True,
                wrong={"confirm": f"Type {to_type(risky)} to confirm."} if tried else {},
            )  # fmt: skip
        outcome = await doing.block(
            kind, checked, until_s=until_s, target=target, reason=form.text("reason"),
            source=form.text("source"),
        )  # fmt: skip
    except InvalidChangeError as error:
        wrong: dict[str, str] = {}
        for problem in error.problems:
            name = next((one for one in ("service", "env", "reason") if f"$.{one}" in problem.path), "values")
            wrong.setdefault(name, problem.message)
        return await _block_page(request, principal, tenant, form, wrong=wrong or {"values": error.public})
    except NotPermittedError as error:
        return await _block_page(request, principal, tenant, form, wrong={"service": error.public})
    return went(form, outcome, PATH)


def until_of(form: Form, now_s: int) -> int | None:
    """Until when a form says, in seconds since 1970; None is for ever.

    Raises:
        ValueError: It says nothing, or nonsense; the message is a sentence.
    """
    span = form.text("span")
    if span == "until":
        text = form.text("until")
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            raise ValueError("Give a day and a time, UTC.") from None
        until_s = int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())
        if until_s <= now_s:
            raise ValueError("This moment is over.")
        return until_s
    spans = {name: span_s for name, span_s, _ in SPANS}
    if span not in spans:
        raise ValueError("Choose how long.")
    span_s = spans[span]
    return None if span_s is None else now_s + span_s


def _digest(checked: Iterable[Checked]) -> str:
    """Of those whose healthy requests somebody was told of."""
    values = sorted(one.value for one in checked if one.cautions)
    return hashlib.sha256("\n".join(values).encode("utf-8", "surrogatepass")).hexdigest()[:16]


async def _block_page(
    request: Asked,
    principal: Principal,
    tenant: Tenant,
    form: Form,
    *,
    wrong: Mapping[str, str] | None = None,
    risky: Iterable[Checked] = (),
    cautious: Sequence[Checked] = (),
    asks_again: bool = False,
) -> Response[str]:
    fleet = await tenant.overview.glance()
    here = list(tenant.uptakes.here(fleet))
    try:
        target = target_in(form)
    except InvalidChangeError:
        target = Targeting()
    within = (
        [line for line in here if target.matches(tenant.overview.facts_of(line))] if target.fields else here
    )
    risks = tuple(risk for one in risky for risk in one.risks)
    warned = [one for one in cautious if one.cautions]
    fields = {name: form.raw(name) for name in _FIELDS} | {
        name: ", ".join(form.all(name)) for name in ("service", "env")
    }
    fields |= {"kind": form.text("kind", "ip"), "span": form.text("span", "1h")}
    fields["seen"] = _digest(cautious) if warned else ""
    kind = KINDS.get(fields["kind"], Kind.IP)
    count = len(values_of(form, kind))
    view = BlockPage(
        title=_title(form, kind, count),
        fields=fields,
        wrong=wrong or {},
        spans=tuple((name, words) for name, _, words in SPANS),
        span_words=_span_words(form),
        services=_names(here, "service"),
        envs=_names(here, "env"),
        risks=risks,
        cautions=tuple(one.cautions[0] for one in warned[:_SHOWN])
        + ((f"And {len(warned) - _SHOWN} more like these.",) if len(warned) > _SHOWN else ()),
        name=to_type(risky) if risks else "",
        affected=sum(DATA in line.facts.get("products", ()) for line in within),
        here=len(within),
        count=count,
        is_extending=form.flag("extend"),
        source=source_link(form.text("source")) if form.text("source") else Link(""),
        next_path=next_of(form, PATH),
    )
    template = "protect/sure.html" if asks_again else "protect/block.html"
    status_code = 422 if wrong else 200
    return page(
        request, template, title="Block", view=view, principal=principal, tenant=tenant,
        status_code=status_code,
    )  # fmt: skip


def _title(form: Form, kind: Kind, count: int) -> str:
    if form.flag("extend"):
        return "Block for longer, or for less"
    if count < 2:
        return "Block an address or a user"
    whom = "users" if kind is Kind.USER else "addresses"
    if form.text("source").startswith("signal:"):
        whom = f"{whom} of a signal" if kind is Kind.USER else "attackers of a signal"
    return f"Block all {count:,} {whom}"


def _span_words(form: Form) -> str:
    for name, span_s, words in SPANS:
        if name == form.text("span", "1h"):
            if name == "until":
                return f"until {form.text('until').replace('T', ' ')} UTC"
            return f"for {words}" if span_s is not None else words
    return ""


def _names(lines: Iterable[Any], field: str) -> tuple[str, ...]:
    return tuple(sorted({str(line.facts.get(field, "")) for line in lines} - {""}))[:500]


def to_type(risky: Iterable[Checked]) -> str:
    """What must be typed so that nobody confirms without reading."""
    return next((one.value for one in risky), "")


def values_of(form: Form, kind: Kind) -> list[str]:
    """Whom a form names."""
    text = "\n".join(form.fields.get("values", [""])).replace("\r", "")
    if kind is Kind.USER:
        return [line for line in text.split("\n") if line.strip()]
    return text.replace(",", " ").split()


def target_in(form: Form) -> Targeting:
    """Whom a form is for."""

    def listed(name: str) -> list[str]:
        return [one.strip() for text in form.all(name) for one in text.split(",") if one.strip()]

    return target_of(listed("service"), listed("env"))


HANDLERS = [show_block, block]
