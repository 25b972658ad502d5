"""Rules of one's own and rule sets over the API: written, tried in the engine, in force, taken back."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Annotated, Any, TypedDict

import msgspec
from litestar import delete, get, post
from litestar.params import FromPath, FromQuery, JSONBody
from litestar.types import ControllerRouterHandler

from sealwire.errors import NotFoundError, SettingsError
from sealwire.server.api import shapes, waf
from sealwire.server.api.guard import Asker, OwnTenant, Plane
from sealwire.server.api.protect_policies import SEE, WRITE, Change, Changed, change, saved, target_of
from sealwire.server.authoring.author import moved_on
from sealwire.server.fleet.uptake import NOBODY
from sealwire.server.protect import custom_rules, rule_sets
from sealwire.server.protect.custom_rules import Tried
from sealwire.server.protect.policy import Plan, Policies
from sealwire.server.store import security
from sealwire.server.waf.engine import NOT_INSTALLED

MAX_BODY = 8 * 1024 * 1024


class NewRule(Change, kw_only=True):
    """A rule of one's own, as the engine has it.

    Attributes:
        config_id: The config that holds it, to be changed; null for a new one.
        expected_revision: Of that config, as its author saw it.
    """

    rule: dict[str, Any]
    config_id: str | None = None
    expected_revision: shapes.RevisionNumber | None = None


class Attempt(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A rule and a request to try it on: pasted, or of a stored trace.

    Attributes:
        request: Raw HTTP/1.1, a curl command line, or a JSON object.
        trace_id: Of a trace that is kept here; what is known of its request is tried.
    """

    rule: dict[str, Any]
    request: Annotated[str, msgspec.Meta(max_length=1024 * 1024)] = ""
    trace_id: Annotated[str, msgspec.Meta(max_length=32)] = ""


class NewRuleSet(Change, kw_only=True):
    """A rule file to publish."""

    document: dict[str, Any]


class RestoredRuleSet(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """An earlier version to put in force again."""

    revision: Annotated[int, msgspec.Meta(ge=1, le=2**53)]
    expected_revision: shapes.RevisionNumber
    reason: str = ""


class CustomRule(TypedDict):
    """A rule of one's own that is in force.

    Attributes:
        mode: off, monitor or block.
        words: What it looks for.
        alone: Its config holds nothing else, so that it can be changed here.
    """

    rule: Mapping[str, Any]
    mode: str
    words: str
    targeting: Mapping[str, Any]
    config_id: str
    revision: int
    by: str
    at: str
    alone: bool
    wanted: int
    acknowledged: int


class CustomRules(TypedDict):
    """Rules of one's own."""

    rules: list[CustomRule]


class TriedRule(TypedDict):
    """What a rule says of a request.

    Attributes:
        matched: Whether it did.
        event: Where it did; null where it did not.
        blocked: Whether a tracer would not let the request pass.
        refused: Why the engine does not take the rule, in its own words.
        addresses: What it was told of the request.
        notes: What it was not told.
        request: What was tried, as text.
    """

    matched: bool
    event: waf.Event | None
    blocked: bool
    refused: str
    timed_out: bool
    took_us: int
    built_ms: float
    problem: str
    addresses: Mapping[str, Any]
    notes: list[str]
    request: str


class RuleSetVersion(TypedDict):
    """A version of a rule set."""

    revision: int
    rules_version: str
    rules: int
    size: int
    by: str
    at: str
    comment: str
    in_force: bool


class RuleSet(TypedDict):
    """A rule set.

    Attributes:
        in_force: False: it was withdrawn, and its versions can be put back.
    """

    config_id: str
    revision: int
    targeting: Mapping[str, Any]
    rules_version: str
    rules: int
    in_force: bool
    versions: list[RuleSetVersion]
    wanted: int
    acknowledged: int


class RuleSets(TypedDict):
    """Rule sets, those in force first; where there is none, tracers use the one they bring along."""

    rule_sets: list[RuleSet]


class LoadedRules(TypedDict):
    """What the engine made of one list of a rule file."""

    name: str
    loaded: int
    skipped: int
    failed: list[shapes.ProblemAt]


class MovedRules(TypedDict):
    """Rules of one kind that come, go and change."""

    type: str
    words: str
    added: list[str]
    removed: list[str]
    changed: list[str]


class CheckedRuleSet(TypedDict):
    """What a rule file is.

    Attributes:
        engine: Its version; empty where the file was not tried in it.
        against: What it was compared with: imported, bundled or none.
        same: How many rules stay as they are.
    """

    sound: bool
    problems: list[shapes.ProblemAt]
    warnings: list[shapes.ProblemAt]
    engine: str
    loaded: list[LoadedRules]
    against: str
    against_version: str
    moved: list[MovedRules]
    same: int
    size: int


# Rules of one's own -----------------------------------------------------------------------------------


@get("/protect/rules", opt=SEE)
async def list_custom_rules(tenant: OwnTenant, principal: Asker, plane: Plane) -> CustomRules:
    """Rules of one's own that are in force, the newest first."""
    uptakes = tenant.uptakes.of(await tenant.overview.look())
    return {
        "rules": [
            {
                "rule": one.rule,
                "mode": one.mode,
                "words": custom_rules.in_words(one.rule),
                "targeting": one.target.to_dict(),
                "config_id": one.row.config_id,
                "revision": one.row.revision,
                "by": one.row.updated_by,
                "at": shapes.time(one.row.updated_ms),
                "alone": one.is_alone,
                "wanted": uptakes.get(one.row.config_id, NOBODY).wanted,
                "acknowledged": uptakes.get(one.row.config_id, NOBODY).acknowledged,
            }
            for one in await custom_rules.listed(Policies(plane, tenant, principal))
        ]
    }


@post("/protect/rules", status_code=200, opt=WRITE)
async def save_custom_rule(
    data: JSONBody[NewRule], tenant: OwnTenant, principal: Asker, plane: Plane
) -> Changed:
    """Put a rule of one's own in force, or change one."""
    work = Policies(plane, tenant, principal)
    row = None if data.config_id is None else (await custom_rules.one(work, data.config_id)).row
    if row is not None and data.expected_revision not in (None, row.revision):
        raise moved_on(row, data.expected_revision or 0)
    plan = custom_rules.saving(data.rule, target_of(data), row, reason=data.reason)

    async def make() -> Plan:
        return plan

    return await change(work, make, check=data.check)


@delete("/protect/rules/{config_id:str}", status_code=200, opt=WRITE)
async def delete_custom_rule(
    config_id: FromPath[str], tenant: OwnTenant, principal: Asker, plane: Plane, reason: FromQuery[str] = ""
) -> Changed:
    """Take a rule of one's own away."""
    work = Policies(plane, tenant, principal)

    async def make() -> Plan:
        return custom_rules.deleting(await custom_rules.one(work, config_id), reason=reason)

    return await change(work, make)


@post("/protect/rules:try", status_code=200, opt=SEE)
async def try_custom_rule(
    data: JSONBody[Attempt], tenant: OwnTenant, principal: Asker, plane: Plane
) -> TriedRule:
    """Run a request through the tracers' engine with one rule: whether it matches, and where."""
    work = Policies(plane, tenant, principal)
    request = data.request
    if data.trace_id:
        request = await request_of_trace(work, data.trace_id)
    try:
        tried = await custom_rules.attempt(work, data.rule, request)
    except SettingsError as error:
        raise SettingsError(NOT_INSTALLED) from error
    return _tried(tried, request)


async def _trace(work: Policies, trace_id: str) -> list[security.Found]:
    work.principal.require("security_monitoring_signals_read")

    def look() -> list[security.Found]:
        with work.plane.database.read() as c:
            return security.trace(c, work.tenant.organisation.org_id, trace_id)

    found = await asyncio.to_thread(look)
    if not found:
        raise NotFoundError(f"There is no trace {trace_id[:40]} here; it may have been forgotten.")
    return found


async def request_of_trace(work: Policies, trace_id: str) -> str:
    """What is known of the request of a stored trace, as text.

    Raises:
        NotFoundError: It is not kept here, or not theirs to see.
    """
    row = (await _trace(work, trace_id))[0].row
    return custom_rules.request_of(row.method, row.url, [("user-agent", row.user_agent)], row.actor_ip)


async def rule_of_trace(work: Policies, trace_id: str) -> dict[str, Any]:
    """A rule to begin with, that looks for what was found in a stored trace.

    Raises:
        NotFoundError: It is not kept here, or not theirs to see.
    """
    found = await _trace(work, trace_id)
    triggers = [trigger for one in found for trigger in one.row.triggers]
    return custom_rules.of_triggers(triggers, user_agent=found[0].row.user_agent[:300])


def _tried(tried: Tried, request: str) -> TriedRule:
    verdict = tried.verdict
    return {
        "matched": tried.event is not None,
        "event": None if tried.event is None else waf.event_said(tried.event),
        "blocked": tried.blocked,
        "refused": tried.refused,
        "timed_out": verdict.timed_out,
        "took_us": verdict.took_us,
        "built_ms": tried.built_ms,
        "problem": verdict.problem,
        "addresses": tried.told.addresses,
        "notes": list(tried.told.notes),
        "request": request,
    }


# Rule sets --------------------------------------------------------------------------------------------


@get("/protect/rule-sets", opt=SEE)
async def list_rule_sets(tenant: OwnTenant, principal: Asker, plane: Plane) -> RuleSets:
    """Rule sets with their versions, those in force first."""
    uptakes = tenant.uptakes.of(await tenant.overview.look())
    return {
        "rule_sets": [
            {
                "config_id": one.row.config_id,
                "revision": one.row.revision,
                "targeting": one.target.to_dict(),
                "rules_version": one.rules.version,
                "rules": len(one.rules.rules),
                "in_force": one.is_active,
                "versions": [
                    {
                        "revision": each.revision,
                        "rules_version": each.rules_version,
                        "rules": each.rules,
                        "size": each.size,
                        "by": each.by,
                        "at": shapes.time(each.at_ms),
                        "comment": each.comment,
                        "in_force": each.is_present,
                    }
                    for each in one.versions
                ],
                "wanted": uptakes.get(one.row.config_id, NOBODY).wanted,
                "acknowledged": uptakes.get(one.row.config_id, NOBODY).acknowledged,
            }
            for one in await rule_sets.listed(Policies(plane, tenant, principal))
        ]
    }


@post("/protect/rule-sets:check", status_code=200, opt=SEE, request_max_body_size=MAX_BODY)
async def check_rule_set(
    data: JSONBody[NewRuleSet], tenant: OwnTenant, principal: Asker, plane: Plane
) -> CheckedRuleSet:
    """What a rule file is: what the engine makes of it, and what is different from what is in force."""
    work = Policies(plane, tenant, principal)
    report = await rule_sets.look(work, data.document, target_of(data))
    return {
        "sound": report.is_sound,
        "problems": shapes.problems(report.problems),
        "warnings": shapes.problems(report.warnings),
        "engine": report.engine,
        "loaded": [
            {
                "name": one.name,
                "loaded": one.loaded,
                "skipped": one.skipped,
                "failed": [{"path": key, "message": words} for key, _, words in one.failed],
            }
            for one in report.loaded
        ],
        "against": report.against.source,
        "against_version": report.against.version,
        "moved": [
            {
                "type": one.type,
                "words": one.words,
                "added": list(one.added),
                "removed": list(one.removed),
                "changed": list(one.changed),
            }
            for one in report.moved
        ],
        "same": report.same,
        "size": report.size,
    }


@post("/protect/rule-sets", status_code=200, opt=WRITE, request_max_body_size=MAX_BODY)
async def publish_rule_set(
    data: JSONBody[NewRuleSet], tenant: OwnTenant, principal: Asker, plane: Plane
) -> Changed:
    """Give exactly this target a rule set in place of the one its tracers bring along."""
    work = Policies(plane, tenant, principal)
    target = target_of(data)

    async def make() -> Plan:
        return await rule_sets.publishing(work, data.document, target, reason=data.reason)

    return await change(work, make, check=data.check)


@post("/protect/rule-sets/{config_id:str}/restore", status_code=200, opt=WRITE)
async def restore_rule_set(
    config_id: FromPath[str],
    data: JSONBody[RestoredRuleSet],
    tenant: OwnTenant,
    principal: Asker,
    plane: Plane,
) -> Changed:
    """Put an earlier version of a rule set in force again."""
    work = Policies(plane, tenant, principal)
    done = await rule_sets.restore(
        work, config_id, data.revision, expected_revision=data.expected_revision, reason=data.reason
    )
    return saved(work, done)


@delete("/protect/rule-sets/{config_id:str}", status_code=200, opt=WRITE)
async def withdraw_rule_set(
    config_id: FromPath[str], tenant: OwnTenant, principal: Asker, plane: Plane, reason: FromQuery[str] = ""
) -> Changed:
    """Withdraw a rule set: tracers use the one they bring along."""
    work = Policies(plane, tenant, principal)

    async def make() -> Plan:
        return await rule_sets.withdrawing(work, config_id, reason=reason)

    return await change(work, make)


HANDLERS: list[ControllerRouterHandler] = [
    list_custom_rules, save_custom_rule, delete_custom_rule, try_custom_rule, list_rule_sets, check_rule_set,
    publish_rule_set, restore_rule_set, withdraw_rule_set,
]  # fmt: skip
