"""Policies of the in-app firewall over the API: passlist, modes and block page, and all of them at a glance.

Every change can be tried with ``check``: then nothing is saved, and the answer says what would be.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal, TypedDict

import msgspec
from litestar import delete, get, post
from litestar.params import FromPath, FromQuery, JSONBody
from litestar.types import ControllerRouterHandler

from sealwire.errors import ConflictError
from sealwire.server.api import shapes
from sealwire.server.api.guard import Asker, OwnTenant, Plane
from sealwire.server.authoring import reach
from sealwire.server.fleet.uptake import NOBODY
from sealwire.server.protect import block_page, catalogue, modes, passlist, policies, policy
from sealwire.server.protect.policy import Plan, Policies
from sealwire.server.targeting import Targeting

SEE, WRITE = {"permission": "appsec_event_rule_read"}, {"permission": "appsec_event_rule_write"}
_Names = Annotated[list[str], msgspec.Meta(max_length=100)]
_Values = Annotated[list[str], msgspec.Meta(max_length=passlist.MAX_VALUES)]
ModeName = Literal["off", "monitor", "block", "default"]


class Change(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A change for services and environments; none named: for the whole organisation.

    Attributes:
        check: Nothing is saved; the answer says what would be.
    """

    service: _Names = []
    env: _Names = []
    reason: str = ""
    check: bool = False


class NewEntry(Change, kw_only=True):
    """Something to let be; whatever is not named is not asked about.

    Attributes:
        addresses: Of clients, and networks.
        paths: With * for anything but a slash and ** for anything.
        rules: Ids of rules.
        types: Kinds of rules.
        parameters: A place and a key each: "query comment", "header user-agent", "body".
        mode: bypass looks for nothing, monitor tells and does not block.
        until: When it ends by itself, a time with zone; null: never.
    """

    addresses: _Values = []
    paths: _Values = []
    rules: _Values = []
    types: _Values = []
    parameters: _Values = []
    mode: Literal["bypass", "monitor"] = "bypass"
    until: str | None = None


class NewModes(Change, kw_only=True):
    """Modes by kind of rule and by id of a rule; default takes back what was said. Others stay."""

    types: dict[str, ModeName] = {}
    rules: dict[str, ModeName] = {}


class NewBlockPage(Change, kw_only=True):
    """What blocked visitors get.

    Attributes:
        location: Of a redirect: an address, or a path of the application.
    """

    status: Annotated[int, msgspec.Meta(ge=100, le=999)] = 403
    type: Literal["auto", "html", "json", "none", "redirect"] = "auto"
    location: str = ""


class Meaning(TypedDict):
    """What a change means, at a JSON path of the config."""

    path: str
    words: str


class Changed(TypedDict):
    """What a change came to, or would come to.

    Attributes:
        saved: Whether it was done; a check and what changes nothing is not.
        sentence: What was done, or would be.
        cautions: What to know of it.
        changes: What is different.
        reach: Who gets it; null once it is saved.
        config: As it is now; null for a check.
    """

    saved: bool
    sentence: str
    cautions: list[str]
    changes: list[Meaning]
    warnings: list[shapes.ProblemAt]
    reach: reach.ReachSaid | None
    config: shapes.Config | None


class PassEntry(TypedDict):
    """Something that is let be.

    Attributes:
        words: What it does.
        until: When it ends by itself.
        by, at, reason: Of whoever put it there; empty and null where that is not known.
    """

    id: str
    words: str
    mode: str
    addresses: list[str]
    paths: list[str]
    rules: list[str]
    types: list[str]
    parameters: list[str]
    targeting: Mapping[str, Any]
    until: str | None
    by: str
    at: str | None
    reason: str
    config_id: str
    wanted: int
    acknowledged: int


class Passlist(TypedDict):
    """What is let be."""

    entries: list[PassEntry]


class KindOfRules(TypedDict):
    """A kind of rules.

    Attributes:
        rules: How many there are.
        chosen: The mode that was chosen for it here; null: none.
        matched: Requests of the last 24 hours.
    """

    type: str
    rules: int
    chosen: str | None
    matched: int


class RuleMode(TypedDict):
    """A rule and its mode.

    Attributes:
        default: What the rule set says.
        chosen: The mode that was chosen for it here; null: none.
        mode: What it does with all that is chosen here.
    """

    id: str
    name: str
    type: str
    default: str
    chosen: str | None
    mode: str
    matched: int


class ModesSaid(TypedDict):
    """Modes of a target.

    Attributes:
        rule_set: imported, bundled, or none where this server knows no rules.
        others: Overrides that say something else than a mode; they are kept.
        config_id: Of the config that holds them; null where there is none.
    """

    rule_set: str
    rules_version: str
    config_id: str | None
    others: int
    types: list[KindOfRules]
    rules: list[RuleMode]


class DryRunSaid(TypedDict):
    """What of the last 24 hours modes would have blocked.

    Attributes:
        would_block: Requests that passed and would not have.
        answered_2xx: Those of them that were answered with success.
        let_pass: Requests that were blocked and would not have been.
    """

    would_block: int
    answered_2xx: int
    let_pass: int


class ModesChanged(Changed):
    """What a change of modes came to, or would come to.

    Attributes:
        dry_run: Against what is in force.
    """

    dry_run: DryRunSaid


class BlockPageSaid(TypedDict):
    """What blocked visitors of a target get."""

    targeting: Mapping[str, Any]
    status: int
    type: str
    location: str
    config_id: str
    wanted: int
    acknowledged: int


class BlockPages(TypedDict):
    """Block pages; where there is none, tracers answer 403 as the Accept header asks."""

    pages: list[BlockPageSaid]


class PolicyOfTarget(TypedDict):
    """A policy that is in force somewhere.

    Attributes:
        kind: passlist, modes, rules, block-page or rule-set.
        words: What it comes to.
    """

    kind: str
    words: str
    config_ids: list[str]
    wanted: int
    acknowledged: int


class TargetPolicies(TypedDict):
    """Everything that is in force for exactly one target."""

    targeting: Mapping[str, Any]
    where: str
    policies: list[PolicyOfTarget]


class PoliciesSaid(TypedDict):
    """What the in-app firewall does besides the denylist, by target."""

    targets: list[TargetPolicies]


# All of them ------------------------------------------------------------------------------------------


@get("/protect/policies", opt=SEE)
async def list_policies(tenant: OwnTenant, principal: Asker, plane: Plane) -> PoliciesSaid:
    """What is in force for each target, and how many tracers have it."""
    work = Policies(plane, tenant, principal)
    uptakes = tenant.uptakes.of(await tenant.overview.look())
    return {
        "targets": [
            {
                "targeting": one.target.to_dict(),
                "where": policy.where(one.target),
                "policies": [
                    {
                        "kind": each.kind,
                        "words": each.words,
                        "config_ids": list(each.config_ids),
                        "wanted": sum(uptakes.get(key, NOBODY).wanted for key in each.config_ids),
                        "acknowledged": sum(uptakes.get(key, NOBODY).acknowledged for key in each.config_ids),
                    }
                    for each in one.policies
                ],
            }
            for one in await policies.by_target(work)
        ]
    }


# Passlist ---------------------------------------------------------------------------------------------


@get("/protect/passlist", opt=SEE)
async def list_passlist(tenant: OwnTenant, principal: Asker, plane: Plane) -> Passlist:
    """What is let be, the newest first."""
    work = Policies(plane, tenant, principal)
    uptakes = tenant.uptakes.of(await tenant.overview.look())
    found: list[PassEntry] = []
    for one in await passlist.listed(work):
        uptake = uptakes.get(one.row.config_id, NOBODY)
        entry, origin = one.entry, one.origin
        found.append(
            {
                "id": entry.id,
                "words": entry.words,
                "mode": str(entry.mode),
                "addresses": list(entry.addresses),
                "paths": list(entry.paths),
                "rules": list(entry.rules),
                "types": list(entry.types),
                "parameters": [str(each) for each in entry.parameters],
                "targeting": one.target.to_dict(),
                "until": shapes.time_or_none(one.until_ms),
                "by": origin.by if origin else "",
                "at": shapes.time(origin.at_ms) if origin else None,
                "reason": origin.reason if origin else "",
                "config_id": one.row.config_id,
                "wanted": uptake.wanted,
                "acknowledged": uptake.acknowledged,
            }
        )
    return {"entries": found}


@post("/protect/passlist", status_code=200, opt=WRITE)
async def add_to_passlist(
    data: JSONBody[NewEntry], tenant: OwnTenant, principal: Asker, plane: Plane
) -> Changed:
    """Let something be."""
    work = Policies(plane, tenant, principal)
    entry = passlist.checked(
        addresses=data.addresses, paths=data.paths, rules=data.rules, types=data.types,
        parameters=data.parameters, mode=data.mode,
    )  # fmt: skip
    target, until = target_of(data), moment_of(data.until)

    async def make() -> Plan:
        return await passlist.adding(work, entry, target, until=until, reason=data.reason)

    return await change(work, make, check=data.check, cautions=passlist.cautions(entry))


@delete("/protect/passlist/{entry_id:str}", status_code=200, opt=WRITE)
async def remove_from_passlist(
    entry_id: FromPath[str], tenant: OwnTenant, principal: Asker, plane: Plane, reason: FromQuery[str] = ""
) -> Changed:
    """Take an entry away."""
    work = Policies(plane, tenant, principal)

    async def make() -> Plan:
        return await passlist.removing(work, entry_id, reason=reason)

    return await change(work, make)


# Modes ------------------------------------------------------------------------------------------------


@get("/protect/modes", opt=SEE)
async def get_modes(
    tenant: OwnTenant,
    principal: Asker,
    plane: Plane,
    service: FromQuery[list[str] | None] = None,
    env: FromQuery[list[str] | None] = None,
) -> ModesSaid:
    """What rules do in exactly this target, and how often each matched in the last 24 hours."""
    work = Policies(plane, tenant, principal)
    target = target_of(Change(service=service or [], env=env or []))
    present = await modes.of_target(work, target)
    rules = await catalogue.of(plane, tenant, target)
    by_type, by_rule = await modes.matched(work, target)
    row = await work.own(policy.MODES, target)
    return {
        "rule_set": rules.source,
        "rules_version": rules.version,
        "config_id": None if row is None else row.config_id,
        "others": len(present.others),
        "types": [
            {
                "type": kind,
                "rules": len(listed),
                "chosen": str(present.types[kind]) if kind in present.types else None,
                "matched": by_type.get(kind, 0),
            }
            for kind, listed in rules.types.items()
        ],
        "rules": [
            {
                "id": rule.id,
                "name": rule.name,
                "type": rule.type,
                "default": rule.mode,
                "chosen": str(present.rules[rule.id]) if rule.id in present.rules else None,
                "mode": str(present.of(rule)),
                "matched": by_rule.get(rule.id, 0),
            }
            for rule in rules.rules.values()
        ],
    }


@post("/protect/modes", status_code=200, opt=WRITE)
async def set_modes(
    data: JSONBody[NewModes], tenant: OwnTenant, principal: Asker, plane: Plane
) -> ModesChanged:
    """Choose what rules do in exactly this target; says what of the last day that would have blocked."""
    work = Policies(plane, tenant, principal)
    target = target_of(data)
    rules = await catalogue.of(plane, tenant, target)
    present = await modes.of_target(work, target)
    wanted = modes.merged(present, data.types, data.rules)
    clashing = await modes.clashes(work, wanted, target)
    run = await modes.dry_run(work, present, wanted, rules, target)

    async def make() -> Plan:
        again = modes.merged(await modes.of_target(work, target), data.types, data.rules)
        return await modes.setting(work, again, rules, target, reason=data.reason)

    said = await change(work, make, check=data.check, cautions=modes.cautions(wanted, rules, clashing))
    dry: DryRunSaid = {
        "would_block": run.would_block,
        "answered_2xx": run.answered_2xx,
        "let_pass": run.let_pass,
    }
    return {**said, "dry_run": dry}


# Block page -------------------------------------------------------------------------------------------


@get("/protect/block-page", opt=SEE)
async def list_block_pages(tenant: OwnTenant, principal: Asker, plane: Plane) -> BlockPages:
    """What blocked visitors get, by target."""
    uptakes = tenant.uptakes.of(await tenant.overview.look())
    return {
        "pages": [
            {
                "targeting": one.target.to_dict(),
                "status": one.page.status,
                "type": one.page.type,
                "location": one.page.location,
                "config_id": one.row.config_id,
                "wanted": uptakes.get(one.row.config_id, NOBODY).wanted,
                "acknowledged": uptakes.get(one.row.config_id, NOBODY).acknowledged,
            }
            for one in await block_page.listed(Policies(plane, tenant, principal))
        ]
    }


@post("/protect/block-page", status_code=200, opt=WRITE)
async def set_block_page(
    data: JSONBody[NewBlockPage], tenant: OwnTenant, principal: Asker, plane: Plane
) -> Changed:
    """Say what blocked visitors of exactly this target get."""
    work = Policies(plane, tenant, principal)
    page = block_page.checked(status=data.status, kind=data.type, location=data.location)

    async def make() -> Plan:
        return await block_page.setting(work, page, target_of(data), reason=data.reason)

    return await change(work, make, check=data.check)


@delete("/protect/block-page", status_code=200, opt=WRITE)
async def remove_block_page(
    tenant: OwnTenant,
    principal: Asker,
    plane: Plane,
    service: FromQuery[list[str] | None] = None,
    env: FromQuery[list[str] | None] = None,
    reason: FromQuery[str] = "",
) -> Changed:
    """Leave what blocked visitors of exactly this target get to their tracers."""
    work = Policies(plane, tenant, principal)
    target = target_of(Change(service=service or [], env=env or []))

    async def make() -> Plan:
        return await block_page.setting(work, None, target, reason=reason)

    return await change(work, make)


# Shared -----------------------------------------------------------------------------------------------


def target_of(data: Change) -> Targeting:
    """The targeting for services and environments."""
    given = {"service": data.service, "env": data.env}
    return Targeting.parse({name: values for name, values in given.items() if values}, "$")


def moment_of(text: str | None) -> datetime | None:
    """A time that somebody typed.

    Raises:
        InvalidChangeError: It is none with a zone.
    """
    if text is None:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise policy.wrong("$.until", "until is a time with zone, such as 2026-11-30T12:00:00Z.")
    return at


async def change(
    work: Policies, make: policy.Make, *, check: bool = False, cautions: tuple[str, ...] = ()
) -> Changed:
    """Do what a plan says, or say what it would do."""
    plan = await make()
    if plan.is_idle:
        row = None if plan.row is None else shapes.config(plan.row, now_ms=work.plane.now_ms())
        return {
            "saved": False, "sentence": "Nothing was changed: it is so already.", "cautions": list(cautions),
            "changes": [], "warnings": [], "reach": None, "config": row,
        }  # fmt: skip
    if check:
        seen = await work.preview(plan)
        return {
            "saved": False,
            "sentence": plan.sentence,
            "cautions": list(cautions),
            "changes": [{"path": one.path, "words": one.words} for one in seen.changes],
            "warnings": shapes.problems(seen.warnings),
            "reach": reach.to_dict(seen.reach, named=work.principal.may("fleet_read")),
            "config": None,
        }
    try:
        done = await work.commit(plan)
    except ConflictError:
        await asyncio.sleep(0)
        done = await work.until_nobody_interferes(make)
    return saved(work, done, cautions)


def saved(work: Policies, done: policy.Done, cautions: tuple[str, ...] = ()) -> Changed:
    """A change that was done."""
    return {
        "saved": True, "sentence": done.sentence, "cautions": list(cautions), "changes": [],
        "warnings": shapes.problems(done.warnings), "reach": None,
        "config": shapes.config(done.row, now_ms=work.plane.now_ms()),
    }  # fmt: skip


HANDLERS: list[ControllerRouterHandler] = [
    list_policies, list_passlist, add_to_passlist, remove_from_passlist, get_modes, set_modes,
    list_block_pages, set_block_page, remove_block_page,
]  # fmt: skip
