"""Attack detection and denylist over the API: what the page ``/protect`` and ``sealwire asm`` do."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal, TypedDict

import msgspec
from litestar import Request, delete, get, post
from litestar.params import FromQuery, JSONBody, QueryParameter

from sealwire.errors import InvalidChangeError, Problem
from sealwire.server.api import shapes
from sealwire.server.api.guard import Asker, OwnTenant, Plane
from sealwire.server.fleet.uptake import NOBODY
from sealwire.server.protect import in_force as protected
from sealwire.server.protect.actions import Outcome, Protect, Wanted
from sealwire.server.protect.denylist import Checked, Kind
from sealwire.server.targeting import Targeting

KINDS = {"ip": Kind.IP, "user": Kind.USER}
NAMES = {kind: name for name, kind in KINDS.items()}
MAX_SPAN_S = 10 * 365 * 86400


class Activation(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Attack detection for services and environments; none named: the whole organisation."""

    wanted: Literal["on", "off", "unset", "not_on"]
    service: list[str] = []
    env: list[str] = []
    reason: str = ""


class Block(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Addresses, networks or users to refuse; no service and env named: everywhere.

    ``for_s`` or ``until`` say how long; neither means until unblocked. What may hurt wants ``confirm``.
    """

    kind: Literal["ip", "user"]
    values: list[str]
    for_s: int | None = None
    until: str | None = None
    service: list[str] = []
    env: list[str] = []
    reason: str = ""
    confirm: bool = False


class ActivationRule(TypedDict):
    """A config that switches attack detection."""

    config_id: str
    targeting: Mapping[str, Any]
    on: bool
    by: str
    at: str


class TracerCount(TypedDict):
    """How many tracers of a version there are."""

    language: str
    version: str
    clients: int


class ServiceActivation(TypedDict):
    """Attack detection in one service in one environment.

    Attributes:
        clients: Tracers that are here.
        requested_on, requested_off: Clients that were asked to be on, or off in spite of wider activations.
        acknowledged: Clients asked to be on that said they are.
        failed: Clients that said they could not.
        ready: Clients that attack detection runs in.
        switchable: Clients that can be switched from here.
        observed: Always null at present.
        config_id: What says so, in the most of its clients.
    """

    service: str
    env: str
    clients: int
    tracers: list[TracerCount]
    requested_on: int
    requested_off: int
    acknowledged: int
    failed: int
    ready: int
    switchable: int
    observed: None
    config_id: str | None


class Activations(TypedDict):
    """What switches attack detection, and what became of it."""

    activations: list[ActivationRule]
    services: list[ServiceActivation]


class NoteSaid(TypedDict):
    """What else somebody should know of a change.

    Attributes:
        kind: In one word.
        config_id, value, targeting: What it is about, where it is about one.
    """

    kind: str
    words: str
    config_id: str | None
    value: str | None
    targeting: Mapping[str, Any] | None


class OutcomeSaid(TypedDict):
    """What a change came to.

    Attributes:
        changed: Whether something was written.
        sentence: What was done.
        config: The config as it is now; null if there is none.
    """

    changed: bool
    sentence: str
    config: shapes.Config | None
    notes: list[NoteSaid]


class Blocked(TypedDict):
    """Somebody who is blocked.

    Attributes:
        kind: ip or user.
        until: Null for ever.
        targeting: Where.
        created_at: Since when, where that is known.
        wanted: Tracers that are to have it.
        acknowledged: Tracers that said they have it.
    """

    kind: str
    value: str
    until: str | None
    targeting: Mapping[str, Any]
    config_id: str
    config_name: str
    reason: str
    by: str
    created_at: str | None
    wanted: int
    acknowledged: int


class Denylist(TypedDict):
    """Who is blocked.

    Attributes:
        enforcing: How many tracers that are here would refuse somebody.
    """

    enforcing: int
    entries: list[Blocked]


class CheckedValue(TypedDict):
    """Something to block: as it would be written, and why that may hurt."""

    typed: str
    value: str
    risks: list[str]


class CheckedBlock(TypedDict):
    """What somebody wants to block."""

    values: list[CheckedValue]


@get("/protect/activation", opt={"permission": "appsec_activation_read"})
async def list_activations(tenant: OwnTenant) -> Activations:
    """What switches attack detection, and what became of it in each service."""
    fleet = await tenant.overview.look()
    return {
        "activations": [
            {
                "config_id": rule.config_id,
                "targeting": rule.targeting.to_dict(),
                "on": rule.is_on,
                "by": rule.by,
                "at": shapes.time(rule.at_ms),
            }
            for rule in reversed(protected.rules(tenant))
        ],
        "services": [
            {
                "service": one.service,
                "env": one.env,
                "clients": one.clients,
                "tracers": [
                    {"language": language, "version": version, "clients": count}
                    for (language, version), count in sorted(one.tracers.items())
                ],
                "requested_on": one.on,
                "requested_off": one.off,
                "acknowledged": one.acknowledged,
                "failed": one.failed,
                "ready": one.ready,
                "switchable": one.switchable,
                "observed": None,
                "config_id": one.rule.config_id if one.rule is not None else None,
            }
            for one in protected.services(tenant, tenant.uptakes.here(fleet))
        ],
    }


@post("/protect/activation", status_code=200, opt={"permission": "appsec_activation_write"})
async def set_activation(
    data: JSONBody[Activation], tenant: OwnTenant, principal: Asker, plane: Plane
) -> OutcomeSaid:
    """Switch attack detection on or off, or take back what was said."""
    target = target_of(data.service, data.env)
    outcome = await Protect(plane, tenant, principal).activate(
        target, Wanted(data.wanted), reason=data.reason
    )
    return _outcome(outcome, plane.now_ms())


@get("/protect/denylist", opt={"permission": "appsec_protect_read"})
async def list_denylist(tenant: OwnTenant, plane: Plane) -> Denylist:
    """Who is blocked now, those last blocked first."""
    fleet = await tenant.overview.look()
    uptakes = tenant.uptakes.of(fleet)
    found = await protected.blocked(plane, tenant)
    return {
        "enforcing": protected.enforcing(tenant, fleet),
        "entries": [
            {
                "kind": NAMES[one.kind],
                "value": one.entry.value,
                "until": None if one.entry.until_s is None else shapes.time(one.entry.until_s * 1000),
                "targeting": one.targeting.to_dict(),
                "config_id": one.config.config_id,
                "config_name": one.config.name,
                "reason": one.origin.reason if one.origin is not None else "",
                "by": one.origin.by if one.origin is not None else "",
                "created_at": shapes.time(one.origin.created_ms) if one.origin is not None else None,
                "wanted": (uptake := uptakes.get(one.config.config_id, NOBODY)).wanted,
                "acknowledged": uptake.acknowledged,
            }
            for one in found
        ],
    }


@post("/protect/denylist:check", status_code=200, opt={"permission": "appsec_protect_write"})
async def check_block(
    data: JSONBody[Block],
    request: Request[Any, Any, Any],
    tenant: OwnTenant,
    principal: Asker,
    plane: Plane,
) -> CheckedBlock:
    """Read what somebody wants to block without doing it: how it would be written, and what may hurt."""
    checked = Protect(plane, tenant, principal).check(
        KINDS[data.kind], data.values, own_address=own_address(request)
    )
    return {"values": [{"typed": one.typed, "value": one.value, "risks": list(one.risks)} for one in checked]}


@post("/protect/denylist", status_code=200, opt={"permission": "appsec_protect_write"})
async def block(
    data: JSONBody[Block],
    request: Request[Any, Any, Any],
    tenant: OwnTenant,
    principal: Asker,
    plane: Plane,
) -> OutcomeSaid:
    """Refuse requests of addresses, networks or users; again with another end to extend it."""
    doing = Protect(plane, tenant, principal)
    checked = doing.check(KINDS[data.kind], data.values, own_address=own_address(request))
    if not data.confirm:
        _refuse_risky(data.values, checked)
    outcome = await doing.block(
        KINDS[data.kind], checked, until_s=_until_s(data, doing.now_s),
        target=target_of(data.service, data.env), reason=data.reason,
    )  # fmt: skip
    return _outcome(outcome, plane.now_ms())


@delete("/protect/denylist", status_code=200, opt={"permission": "appsec_protect_write"})
async def unblock(
    tenant: OwnTenant,
    principal: Asker,
    plane: Plane,
    kind: FromQuery[Literal["ip", "user"]],
    value: FromQuery[list[str]],
    service: FromQuery[list[str] | None] = None,
    env: FromQuery[list[str] | None] = None,
    config_id: Annotated[str, QueryParameter(max_length=16)] = "",
    reason: FromQuery[str] = "",
) -> OutcomeSaid:
    """Let addresses or users in again: on the list for exactly these services and envs, or in one config."""
    outcome = await Protect(plane, tenant, principal).unblock(
        KINDS[kind], value, target=target_of(service or [], env or []), config_id=config_id, reason=reason
    )
    return _outcome(outcome, plane.now_ms())


# Shared with the pages --------------------------------------------------------------------------------


def target_of(service: list[str], env: list[str]) -> Targeting:
    """The targeting for services and environments."""
    given = {"service": service, "env": env}
    return Targeting.parse({name: values for name, values in given.items() if values}, "$")


def own_address(request: Request[Any, Any, Any]) -> str:
    """Where whoever asks is, as this server sees it."""
    return request.client.host if request.client is not None else ""


def _refuse_risky(values: list[str], checked: tuple[Checked, ...]) -> None:
    risky = [one for one in checked if one.risks]
    if risky:
        problems = tuple(
            Problem(f"$.values[{values.index(one.typed)}]", risk) for one in risky for risk in one.risks
        )
        words = " ".join(problem.message for problem in problems)
        raise InvalidChangeError(f"{words} If this is meant, confirm it.", problems=problems)


def _until_s(data: Block, now_s: int) -> int | None:
    if data.for_s is not None and data.until is not None:
        raise InvalidChangeError(
            "for_s and until say the same: give one.", problems=(Problem("$.until", "not beside for_s"),)
        )
    if data.for_s is not None:
        if not 1 <= data.for_s <= MAX_SPAN_S:
            raise InvalidChangeError(
                "A block lasts from a second to ten years, or for ever.",
                problems=(Problem("$.for_s", f"1 to {MAX_SPAN_S}"),),
            )
        return now_s + data.for_s
    if data.until is None:
        return None
    try:
        moment = datetime.fromisoformat(data.until)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise InvalidChangeError(
            "until is a time with zone, such as 2026-11-30T12:00:00Z.",
            problems=(Problem("$.until", "a time with zone, such as 2026-11-30T12:00:00Z"),),
        )
    return int(moment.timestamp())


def _outcome(outcome: Outcome, now_ms: int) -> OutcomeSaid:
    return {
        "changed": outcome.changed,
        "sentence": outcome.sentence,
        "config": None if outcome.row is None else shapes.config(outcome.row, now_ms=now_ms),
        "notes": [
            {
                "kind": note.kind,
                "words": note.words,
                "config_id": note.config_id or None,
                "value": note.value or None,
                "targeting": None if note.targeting is None else dict(note.targeting),
            }
            for note in outcome.notes
        ],
    }


HANDLERS = [list_activations, set_activation, list_denylist, check_block, block, unblock]
