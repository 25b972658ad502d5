"""Activation and denylist over the API: what the pages below ``/protect`` and ``sealwire asm`` do."""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal, TypedDict

import msgspec
import orjson
from litestar import Request, delete, get, post
from litestar.params import FromQuery, JSONBody, QueryParameter

from sealwire.errors import InvalidChangeError, Problem
from sealwire.server.api import shapes
from sealwire.server.api.guard import Asker, OwnTenant, Plane
from sealwire.server.fleet.uptake import NOBODY
from sealwire.server.protect import in_force as protected
from sealwire.server.protect.actions import MAX_SPAN_S, Outcome, Protect, Wanted
from sealwire.server.protect.denylist import KINDS, Checked
from sealwire.server.security.activity import QUIET
from sealwire.server.store import protect as store
from sealwire.server.store.protect import SORTABLE, Criteria, EntryRow
from sealwire.server.targeting import Targeting
from sealwire.server.tenant import Tenant

MAX_LISTED = 10_000
KindSaid = Literal["ip", "user", "suspicious"]


class Activation(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """App and API Protection for services and environments; none named: the whole organisation."""

    wanted: Literal["on", "off", "unset", "not_on"]
    service: list[str] = []
    env: list[str] = []
    reason: str = ""


class Block(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Addresses, networks or users to refuse; no service and env named: everywhere.

    Of suspicious addresses only requests that match a rule are refused. ``for_s`` or ``until`` say how long;
    neither means until unblocked. What may hurt wants ``confirm``. ``source`` is ``trace:<id>``,
    ``signal:<id>`` or empty.
    """

    kind: KindSaid
    values: list[str]
    for_s: int | None = None
    until: str | None = None
    service: list[str] = []
    env: list[str] = []
    reason: str = ""
    confirm: bool = False
    source: str = ""


class Unblock(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Entries to end, by their numbers."""

    ids: list[int]
    reason: str = ""


class ActivationRule(TypedDict):
    """A config that switches App and API Protection."""

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


class ObservedSaid(TypedDict):
    """What traces say of App and API Protection in a service.

    Attributes:
        last_at: When the last one came.
        requests_1h: How many did in the last hour.
    """

    last_at: str
    requests_1h: int
    waf_version: str
    rules_version: str


class ServiceActivation(TypedDict):
    """App and API Protection in one service in one environment.

    Attributes:
        clients: Tracers that are here.
        requested_on, requested_off: Clients that were asked to be on, or off in spite of wider activations.
        acknowledged: Clients asked to be on that said they are.
        failed: Clients that said they could not.
        ready: Clients that App and API Protection runs in.
        switchable: Clients that can be switched from here.
        observed: The last trace that says App and API Protection runs there; null: none was seen.
        events_24h: Requests of the last 24 hours that were attacked, blocked or told of an event.
        blocked_24h: Those of them that were blocked.
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
    observed: ObservedSaid | None
    events_24h: int
    blocked_24h: int
    config_id: str | None


class Activations(TypedDict):
    """What switches App and API Protection, and what became of it."""

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
    """Somebody who is or was blocked.

    Attributes:
        id: Of the entry.
        kind: ip, user or suspicious.
        state: in_force, lapsed or unblocked.
        until: Null for ever.
        targeting: Where.
        config_id: Of the config that says so; empty where there is none any more.
        source: Empty by hand; trace, signal, feed, paste or config, a colon and an id.
        feed: On whose list it stands; empty: on nobody's.
        by: Who last set how long it lasts.
        covered_by: A wider network that makes it needless in the file; empty: none.
        hits: Requests it refused, as far as traces were seen.
        wanted: Tracers that are to have it.
        acknowledged: Tracers that said they have it.
    """

    id: int
    kind: str
    value: str
    state: str
    until: str | None
    targeting: Mapping[str, Any]
    config_id: str
    config_name: str
    reason: str
    source: str
    feed: str
    by: str
    created_at: str
    created_by: str
    changed_at: str
    ended_at: str | None
    ended_by: str
    covered_by: str
    hits: int
    last_hit_at: str | None
    wanted: int
    acknowledged: int


class DenylistFile(TypedDict):
    """A config that tells tracers whom to refuse.

    Attributes:
        entries: What is in it, at most 10,000.
        size: Bytes.
    """

    config_id: str
    entries: int
    size: int


class Denylist(TypedDict):
    """Who is blocked.

    Attributes:
        enforcing: How many tracers that are here would refuse somebody.
        total: How many there are of what was asked for.
        next: Asks for those after these, as ``after``; null at the end.
        files: What the entries in force become.
    """

    enforcing: int
    total: int
    next: str | None
    entries: list[Blocked]
    files: list[DenylistFile]


class CheckedValue(TypedDict):
    """Something to block: as it would be written, why that may hurt, and what else to know before."""

    typed: str
    value: str
    risks: list[str]
    cautions: list[str]


class CheckedBlock(TypedDict):
    """What somebody wants to block."""

    values: list[CheckedValue]


@get("/protect/activation", opt={"permission": "appsec_activation_read"})
async def list_activations(tenant: OwnTenant) -> Activations:
    """What switches App and API Protection, and what became of it in each service."""
    fleet = await tenant.overview.look()
    days = await tenant.activity.days()
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
                "observed": observed(tenant, one.service, one.env),
                "events_24h": sum(day.requests),
                "blocked_24h": sum(day.blocked),
                "config_id": one.rule.config_id if one.rule is not None else None,
            }
            for one in protected.services(tenant, tenant.uptakes.here(fleet))
            for day in (days.get((one.service.lower(), one.env.lower()), QUIET),)
        ],
    }


@post("/protect/activation", status_code=200, opt={"permission": "appsec_activation_write"})
async def set_activation(
    data: JSONBody[Activation], tenant: OwnTenant, principal: Asker, plane: Plane
) -> OutcomeSaid:
    """Switch App and API Protection on or off, or take back what was said."""
    target = target_of(data.service, data.env)
    outcome = await Protect(plane, tenant, principal).activate(
        target, Wanted(data.wanted), reason=data.reason
    )
    return said(outcome, plane.now_ms())


@get("/protect/denylist", opt={"permission": "appsec_protect_read"})
async def list_denylist(
    tenant: OwnTenant,
    plane: Plane,
    q: Annotated[str, QueryParameter(max_length=200)] = "",
    kind: FromQuery[KindSaid | None] = None,
    source: Annotated[str, QueryParameter(max_length=300)] = "",
    of_state: Annotated[
        Literal["in_force", "lapsed", "unblocked", "all"], QueryParameter(name="state")
    ] = "in_force",
    sort: Annotated[str, QueryParameter(max_length=20)] = "-created",
    limit: Annotated[int, QueryParameter(ge=1, le=MAX_LISTED)] = 1000,
    after: Annotated[str, QueryParameter(max_length=1000)] = "",
) -> Denylist:
    """Who is blocked, or was; those last blocked first unless ``sort`` says otherwise."""
    name = sort.removeprefix("-")
    if name not in SORTABLE:
        words = f"Sort by one of {', '.join(SORTABLE)}, with - before it for the other way."
        raise InvalidChangeError(words, problems=(Problem("$.sort", words),))
    place = _read_cursor(after, name)
    await tenant.denylists.settle()
    wanted = Criteria(
        text=q.replace("\0", ""), kind=kind or "", source=source.replace("\0", ""), state=of_state
    )
    now_ms = plane.now_ms()

    def find() -> tuple[list[EntryRow], int]:
        org_id = tenant.organisation.org_id
        with plane.database.read() as c:
            found = store.search(
                c, org_id, wanted, now_ms=now_ms, sort=name, descends=sort.startswith("-"), after=place,
                limit=limit + 1,
            )  # fmt: skip
            return found, store.count(c, org_id, wanted, now_ms=now_ms)

    found, total = await asyncio.to_thread(find)
    fleet = await tenant.overview.look()
    uptakes = tenant.uptakes.of(fleet)
    shown = found[:limit]
    return {
        "enforcing": protected.enforcing(tenant, fleet),
        "total": total,
        "next": _cursor(shown[-1], name) if len(found) > limit else None,
        "entries": [
            {
                "id": row.id,
                "kind": row.kind,
                "value": row.value,
                "state": state_of(row, now_ms),
                "until": None if row.until_ms is None else shapes.time(row.until_ms),
                "targeting": orjson.loads(row.target),
                "config_id": (config := tenant.denylists.config_of(row))[0],
                "config_name": config[1],
                "reason": row.reason,
                "source": row.source,
                "feed": row.feed,
                "by": row.changed_by,
                "created_at": shapes.time(row.created_ms),
                "created_by": row.created_by,
                "changed_at": shapes.time(row.changed_ms),
                "ended_at": None if row.ended_ms is None else shapes.time(row.ended_ms),
                "ended_by": row.ended_by,
                "covered_by": row.covered_by,
                "hits": row.hits,
                "last_hit_at": None if row.last_hit_ms is None else shapes.time(row.last_hit_ms),
                "wanted": (uptake := uptakes.get(config[0], NOBODY)).wanted,
                "acknowledged": uptake.acknowledged,
            }
            for row in shown
        ],
        "files": [
            {"config_id": file.config_id, "entries": file.entries, "size": file.size}
            for file in tenant.denylists.files()
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
    return {
        "values": [
            {
                "typed": one.typed,
                "value": one.value,
                "risks": list(one.risks),
                "cautions": list(one.cautions),
            }
            for one in checked
        ]
    }


@post("/protect/denylist", status_code=200, opt={"permission": "appsec_protect_write"})
async def block(
    data: JSONBody[Block],
    request: Request[Any, Any, Any],
    tenant: OwnTenant,
    principal: Asker,
    plane: Plane,
) -> OutcomeSaid:
    """Refuse requests of addresses, networks or users; again with another end to extend it.

    Up to 1,000 at once; more come as a draft (``/protect/drafts``) or as a feed (``/protect/feeds``).
    """
    doing = Protect(plane, tenant, principal)
    checked = doing.check(KINDS[data.kind], data.values, own_address=own_address(request))
    if not data.confirm:
        _refuse_risky(data.values, checked)
    outcome = await doing.block(
        KINDS[data.kind], checked, until_s=_until_s(data, doing.now_s),
        target=target_of(data.service, data.env), reason=data.reason, source=data.source,
    )  # fmt: skip
    return said(outcome, plane.now_ms())


@delete("/protect/denylist", status_code=200, opt={"permission": "appsec_protect_write"})
async def unblock(
    tenant: OwnTenant,
    principal: Asker,
    plane: Plane,
    kind: FromQuery[KindSaid],
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
    return said(outcome, plane.now_ms())


@post("/protect/denylist:unblock", status_code=200, opt={"permission": "appsec_protect_write"})
async def unblock_many(
    data: JSONBody[Unblock], tenant: OwnTenant, principal: Asker, plane: Plane
) -> OutcomeSaid:
    """Let in again whom these entries refuse, up to 10,000 at once."""
    if not 1 <= len(data.ids) <= MAX_LISTED:
        words = f"Name 1 to {MAX_LISTED:,} entries."
        raise InvalidChangeError(words, problems=(Problem("$.ids", words),))
    outcome = await Protect(plane, tenant, principal).unblock_rows(data.ids, reason=data.reason)
    return said(outcome, plane.now_ms())


# Shared with the pages --------------------------------------------------------------------------------


def state_of(row: EntryRow, now_ms: int) -> str:
    """in_force, lapsed or unblocked."""
    if row.ended_as:
        return row.ended_as
    return "lapsed" if row.until_ms is not None and row.until_ms <= now_ms else "in_force"


def observed(tenant: Tenant, service: str, env: str) -> ObservedSaid | None:
    """What traces say of App and API Protection in a service."""
    seen = tenant.detection.observed(service, env)
    if seen is None:
        return None
    return {
        "last_at": shapes.time(seen.last_ms),
        "requests_1h": seen.requests_1h,
        "waf_version": seen.waf_version,
        "rules_version": seen.rules_version,
    }


def _cursor(row: EntryRow, sort: str) -> str:
    return base64.urlsafe_b64encode(orjson.dumps(store.place_of(row, sort))).decode()


def _read_cursor(text: str, sort: str) -> tuple[str | int, int] | None:
    if not text:
        return None
    try:
        value, number = orjson.loads(base64.urlsafe_b64decode(text))
    except (ValueError, TypeError, binascii.Error):
        value = number = None
    fits = type(value) is SORTABLE[sort] and type(number) is int
    if not fits or any(isinstance(one, int) and abs(one) >= 2**63 for one in (value, number)):
        words = "after is what an answer to the same question gave as next."
        raise InvalidChangeError(words, problems=(Problem("$.after", words),))
    return value.replace("\0", "") if isinstance(value, str) else value, number


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
    return end_of(data.for_s, data.until, now_s)


def span_of(for_s: int | None) -> int | None:
    """How long, checked."""
    if for_s is not None and not 1 <= for_s <= MAX_SPAN_S:
        raise InvalidChangeError(
            "A block lasts from a second to ten years, or for ever.",
            problems=(Problem("$.for_s", f"1 to {MAX_SPAN_S}"),),
        )
    return for_s


def end_of(for_s: int | None, until: str | None, now_s: int) -> int | None:
    """Until when, in seconds since 1970; None for ever.

    Raises:
        InvalidChangeError: Both say it, or one says nonsense.
    """
    if for_s is not None and until is not None:
        raise InvalidChangeError(
            "for_s and until say the same: give one.", problems=(Problem("$.until", "not beside for_s"),)
        )
    if span_of(for_s) is not None:
        return now_s + (for_s or 0)
    if until is None:
        return None
    try:
        moment = datetime.fromisoformat(until)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise InvalidChangeError(
            "until is a time with zone, such as 2026-11-30T12:00:00Z.",
            problems=(Problem("$.until", "a time with zone, such as 2026-11-30T12:00:00Z"),),
        )
    return int(moment.timestamp())


def said(outcome: Outcome, now_ms: int) -> OutcomeSaid:
    """What a change came to, as an answer."""
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


HANDLERS = [
    list_activations,
    set_activation,
    list_denylist,
    check_block,
    block,
    unblock,
    unblock_many,
]
