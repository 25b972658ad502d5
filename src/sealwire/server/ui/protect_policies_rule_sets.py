"""Rule sets: a file is imported, looked at, published; its versions are put back with one click."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from litestar import Response, get, post
from litestar.datastructures import UploadFile
from litestar.response import Stream

from sealwire.errors import ConflictError, InvalidChangeError, NotPermittedError, OversizeError, Problem
from sealwire.server.api.guard import Asker, OwnTenant, Plane
from sealwire.server.fleet.uptake import Uptake
from sealwire.server.protect import catalogue, policy, rule_sets
from sealwire.server.protect.policy import Plan, Policies
from sealwire.server.protect.rule_sets import MAX_FILE_BYTES, Report
from sealwire.server.ui import forms, json_text
from sealwire.server.ui.config_form_views import ReachView, reach_view
from sealwire.server.ui.forms import Form
from sealwire.server.ui.pages import Watching
from sealwire.server.ui.protect_policies_review import (
    SEE,
    WRITE,
    Asked,
    Delivered,
    decide,
    delivered,
    deliveries,
    known_targets,
    live,
    may_write,
    target_of,
)
from sealwire.server.ui.render import macro, moment, page
from sealwire.server.ui.views import Moment

MAX_BODY = 3 * MAX_FILE_BYTES  # a form writes signs as three
PATH = "/protect/rule-sets"


@dataclass(frozen=True, slots=True)
class VersionRow:
    """A version that can be put back."""

    revision: int
    rules_version: str
    rules: int
    by: str
    at: Moment
    comment: str
    is_present: bool


@dataclass(frozen=True, slots=True)
class RuleSetRow:
    """A rule set and its versions."""

    config_id: str
    revision: int
    where: str
    version: str
    rules: int
    is_active: bool
    versions: tuple[VersionRow, ...]
    delivered: Delivered


@dataclass(frozen=True, slots=True)
class RuleSetsPage:
    """Rule sets, and the form to import one."""

    rows: tuple[RuleSetRow, ...]
    bundled: str
    bundled_rules: int
    fields: Mapping[str, str]
    wrong: Mapping[str, str]
    services: tuple[str, ...]
    envs: tuple[str, ...]
    most_mib: int
    may_write: bool


@dataclass(frozen=True, slots=True)
class ReportPage:
    """What an imported file is, and what publishing it would do.

    Attributes:
        reach: None where it cannot be published.
        refused: Why it cannot be published for this target, though the file is sound.
    """

    report: Report
    where: str
    fields: Mapping[str, str]
    document: str
    digest: str
    problems: tuple[Problem, ...]
    warnings: tuple[Problem, ...]
    reach: ReachView | None
    refused: str


@get("/protect/rule-sets", opt=SEE, include_in_schema=False)
async def show_rule_sets(request: Asked, principal: Asker, tenant: OwnTenant, plane: Plane) -> Response[str]:
    """Rule sets, and the form to import one."""
    return await _rule_sets(request, Policies(plane, tenant, principal), Form({}))


@get("/live/protect/rule-sets", opt=SEE, include_in_schema=False)
async def live_rule_sets(principal: Asker, tenant: OwnTenant, plane: Plane, viewers: Watching) -> Stream:
    """Rule sets, as they change and arrive."""
    work = Policies(plane, tenant, principal)
    bundled = await asyncio.to_thread(catalogue.bundled)
    sets = macro("protect_policies/_lists.html", "sets")
    return await live(
        viewers, work, lambda: rule_sets.listed(work),
        lambda found, uptakes: {
            "sets": sets(_rows(found, uptakes), may_write(work), bundled.version, len(bundled.rules))
        },
    )  # fmt: skip


@post(
    "/protect/rule-sets/import",
    opt=WRITE,
    status_code=200,
    include_in_schema=False,
    request_max_body_size=MAX_BODY,
)
async def import_rule_set(request: Asked, principal: Asker, tenant: OwnTenant, plane: Plane) -> Response[Any]:
    """Read a file, say what it is and what is different, then put it in force."""
    work = Policies(plane, tenant, principal)
    form, raw = await _read(request)
    try:
        if not raw.strip():
            raise policy.wrong("$", "Choose a file, or paste one.")
        document = await asyncio.to_thread(rule_sets.parse, raw)
        target = target_of(form)
        report = await rule_sets.look(work, document, target)
        plan: Plan | None = None
        refused = ""
        if report.is_sound:
            try:
                plan = await rule_sets.publishing(work, document, target, reason=form.text("reason"))
                if form.text("do") == "publish" and form.text("reviewed") == plan.digest:
                    done = await work.commit(plan)
                    return forms.went(PATH, done.sentence)
                seen = await work.preview(plan)
            except (ConflictError, InvalidChangeError, NotPermittedError) as error:
                plan, refused = None, error.public
    except OversizeError as error:
        return await _rule_sets(request, work, form, wrong={"document": error.public})
    except InvalidChangeError as error:
        field = (
            "service"
            if any("service" in one.path or "env" in one.path for one in error.problems)
            else "document"
        )
        return await _rule_sets(request, work, form, wrong={field: error.public})
    view = ReportPage(
        report=report,
        where=policy.where(target),
        fields={name: form.raw(name) for name in ("service", "env", "reason")},
        document=json_text.compact(document) if plan is not None else "",
        digest="" if plan is None else plan.digest,
        problems=report.problems,
        warnings=report.warnings if plan is None else _each_once(report.warnings, seen.warnings),
        reach=None if plan is None else reach_view(seen.reach, principal, is_new=plan.row is None),
        refused=refused,
    )  # fmt: skip
    return page(
        request, "protect_policies/rule_set.html", title="A rule file", view=view, principal=principal,
        tenant=tenant, status_code=200 if plan is not None else 422,
    )  # fmt: skip


@post("/protect/rule-sets/restore", opt=WRITE, status_code=303, include_in_schema=False)
async def restore_rule_set(
    request: Asked, principal: Asker, tenant: OwnTenant, plane: Plane
) -> Response[Any]:
    """Put an earlier version in force again, at one click."""
    work = Policies(plane, tenant, principal)
    form = await forms.read(request)
    try:
        done = await rule_sets.restore(
            work, form.text("config_id"), _number(form, "revision"),
            expected_revision=_number(form, "expected_revision"),
        )  # fmt: skip
    except (ConflictError, InvalidChangeError) as error:
        return forms.did_not(PATH, error.public)
    return forms.went(PATH, done.sentence)


@post("/protect/rule-sets/withdraw", opt=WRITE, status_code=200, include_in_schema=False)
async def withdraw_rule_set(
    request: Asked, principal: Asker, tenant: OwnTenant, plane: Plane
) -> Response[Any]:
    """Show who loses a rule set, then withdraw it."""
    work = Policies(plane, tenant, principal)
    form = await forms.read(request)
    config_id = form.text("config_id")

    async def make() -> Plan:
        return await rule_sets.withdrawing(work, config_id, reason=form.text("reason"))

    return await decide(
        request, work, form, make, title="Withdraw a rule set", path=f"{PATH}/withdraw", back=PATH,
        crumb="Rule sets", carried=[("config_id", config_id)], can_edit=False,
    )  # fmt: skip


async def _read(request: Asked) -> tuple[Form, bytes]:
    """The form and the file in it, whichever way the browser sent it."""
    if not request.headers.get("content-type", "").startswith("multipart/"):
        form = await forms.read(request, max_bytes=MAX_BODY)
        return form, form.raw("document").encode("utf-8", "surrogatepass")
    fields: dict[str, list[str]] = {}
    raw = b""
    for name, value in (await request.form()).multi_items():
        if isinstance(value, UploadFile):
            raw = raw or await value.read()
        else:
            fields.setdefault(str(name), []).append(str(value))
    form = Form(fields)
    return form, raw or form.raw("document").encode("utf-8", "surrogatepass")


def _each_once(*lists: tuple[Problem, ...]) -> tuple[Problem, ...]:
    return tuple({one.message: one for some in lists for one in some}.values())


def _number(form: Form, name: str) -> int:
    text = form.text(name)
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 16 else 0


def _rows(found: Sequence[rule_sets.Listed], uptakes: Mapping[str, Uptake]) -> tuple[RuleSetRow, ...]:
    return tuple(
        RuleSetRow(
            config_id=one.row.config_id,
            revision=one.row.revision,
            where=policy.where(one.target),
            version=one.rules.version,
            rules=len(one.rules.rules),
            is_active=one.is_active,
            versions=tuple(
                VersionRow(
                    each.revision, each.rules_version, each.rules, each.by, moment(each.at_ms / 1000),
                    each.comment, each.is_present,
                )
                for each in one.versions
            ),
            delivered=delivered(uptakes, one.row.config_id),
        )
        for one in found
    )  # fmt: skip


async def _rule_sets(
    request: Asked, work: Policies, form: Form, *, wrong: Mapping[str, str] | None = None
) -> Response[Any]:
    services, envs = await known_targets(work)
    bundled = await asyncio.to_thread(catalogue.bundled)
    view = RuleSetsPage(
        rows=_rows(await rule_sets.listed(work), await deliveries(work)),
        bundled=bundled.version,
        bundled_rules=len(bundled.rules),
        fields={name: form.raw(name) for name in ("service", "env", "reason")},
        wrong=wrong or {},
        services=services,
        envs=envs,
        most_mib=MAX_FILE_BYTES >> 20,
        may_write=may_write(work),
    )
    return page(
        request, "protect_policies/rule_sets.html", title="Rule sets", view=view, principal=work.principal,
        tenant=work.tenant, status_code=422 if wrong else 200,
    )  # fmt: skip


HANDLERS = [show_rule_sets, live_rule_sets, import_rule_set, restore_rule_set, withdraw_rule_set]
