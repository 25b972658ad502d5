"""Rules of one's own: the list, the form with its test box, and rule sets that are imported."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import orjson
from litestar import Response, get, post
from litestar.params import FromPath
from litestar.response import Stream

from sealwire.errors import (
    InvalidChangeError,
    NotFoundError,
    NotPermittedError,
    Problem,
    SettingsError,
    UnavailableError,
)
from sealwire.products import PRODUCTS, Product
from sealwire.products.waf_rules import RULE
from sealwire.server.api.guard import Asker, OwnTenant, Plane
from sealwire.server.api.protect_policies_rules import request_of_trace, rule_of_trace
from sealwire.server.fleet.uptake import Uptake
from sealwire.server.protect import custom_rules, policy
from sealwire.server.protect.custom_rules import Listed, Tried
from sealwire.server.protect.policy import ASM, Plan, Policies
from sealwire.server.ui import config_draft, forms, json_text, schema_fields, schema_form
from sealwire.server.ui import config_form_views as shown
from sealwire.server.ui.config_draft import Draft
from sealwire.server.ui.forms import Form
from sealwire.server.ui.live import Fragments, Rows
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
    query,
    target_of,
)
from sealwire.server.ui.render import dom_id, macro, moment, page
from sealwire.server.ui.schema_form import Node
from sealwire.server.ui.views import Moment

MAX_BODY = 2 * 1024 * 1024
EXAMPLE = "curl 'https://shop.example/search?q=shoes' -H 'User-Agent: acme-scanner/1.0'"
OWN = "own"  # actions that only JSON can say
CHOICES = (("monitor", "Monitor: it tells"), ("block", "Block, as the block page says"))
#: A rule as the forms of configs draw it: the engine's own shape, with words for people.
_ASM = PRODUCTS[ASM]
RULE_FORM = Product(
    name=ASM,
    title="Rule",
    summary="A rule of one's own.",
    reads=_ASM.reads,
    writes=_ASM.writes,
    shape=RULE,
    example=custom_rules.blank("Old exporter", user_agent="acme-exporter/0.9"),
    labels={
        "$.id": "Id",
        "$.tags": "Tags",
        "$.tags.type": "Type",
        "$.conditions": "Conditions, all of which must hold",
        "$.conditions[]": "Condition",
        "$.enabled": "In force",
    },
    rare=frozenset({"$.min_version", "$.max_version", "$.output"}),
)


@dataclass(frozen=True, slots=True)
class RuleRow:
    """A rule of one's own that is in force."""

    dom_id: str
    id: str
    name: str
    words: str
    type: str
    mode: str
    where: str
    by: str
    at: Moment
    delivered: Delivered
    href: str
    config_href: str
    config_id: str
    is_alone: bool


@dataclass(frozen=True, slots=True)
class RulesPage:
    """Rules of one's own."""

    rows: tuple[RuleRow, ...]
    may_write: bool


@dataclass(frozen=True, slots=True)
class TriedView:
    """What came of a try.

    Attributes:
        wrong: Why nothing was tried.
    """

    tried: Tried | None
    wrong: str
    took: str


@dataclass(frozen=True, slots=True)
class RulePage:
    """The form of a rule, with its test box.

    Attributes:
        root: Fields of the rule; None in JSON mode.
        marks: Problems as JSON, for the editor.
        request: What is tried on it.
        does: Which of ``choices`` it does when it matches; ``on_match`` says it as JSON.
        addresses: What the engine can look at, and what is there.
    """

    path: str
    title: str
    draft: Draft
    root: Node | None
    marks: str
    problems: tuple[Any, ...]
    fields: Mapping[str, str]
    wrong: Mapping[str, str]
    services: tuple[str, ...]
    envs: tuple[str, ...]
    focus: str
    request: str
    example: str
    tried: TriedView | None
    does: str
    choices: tuple[tuple[str, str], ...]
    on_match: str
    addresses: tuple[tuple[str, str], ...]
    may_write: bool


@get("/protect/rules", opt=SEE, include_in_schema=False)
async def show_rules(request: Asked, principal: Asker, tenant: OwnTenant, plane: Plane) -> Response[str]:
    """Rules of one's own that are in force."""
    work = Policies(plane, tenant, principal)
    view = RulesPage(_rows(await custom_rules.listed(work), await deliveries(work)), may_write(work))
    return page(
        request, "protect_policies/rules.html", title="Custom rules", view=view, principal=principal,
        tenant=tenant,
    )  # fmt: skip


@get("/live/protect/rules", opt=SEE, include_in_schema=False)
async def live_rules(principal: Asker, tenant: OwnTenant, plane: Plane, viewers: Watching) -> Stream:
    """Rules of one's own, as they change and arrive."""
    work = Policies(plane, tenant, principal)
    rule, nothing = (macro("protect_policies/_lists.html", name) for name in ("rule", "no_rule"))

    def shown_now(found: Sequence[Listed], uptakes: Mapping[str, Uptake]) -> Fragments:
        view = RulesPage(_rows(found, uptakes), may_write(work))
        rows = {row.dom_id: rule(row, view.may_write) for row in view.rows}
        return {
            "rules": Rows('<tbody id="rules" role="rowgroup">', rows, "</tbody>"),
            "nothing": nothing(view),
        }

    return await live(viewers, work, lambda: custom_rules.listed(work), shown_now)


def _rows(found: Sequence[Listed], uptakes: Mapping[str, Uptake]) -> tuple[RuleRow, ...]:
    return tuple(
        RuleRow(
            dom_id=dom_id("rule", f"{one.row.config_id} {one.rule.get('id', '')}"),
            id=str(one.rule.get("id", "")),
            name=str(one.rule.get("name", "")),
            words=custom_rules.in_words(one.rule),
            type=str((one.rule.get("tags") or {}).get("type", "")),
            mode=one.mode,
            where=policy.where(one.target),
            by=one.row.updated_by,
            at=moment(one.row.updated_ms / 1000),
            delivered=delivered(uptakes, one.row.config_id),
            href=f"/protect/rules/{one.row.config_id}" if one.is_alone else f"/configs/{one.row.config_id}",
            config_href=f"/configs/{one.row.config_id}",
            config_id=one.row.config_id,
            is_alone=one.is_alone,
        )
        for one in found
    )


@get("/protect/rules/new", opt=WRITE, include_in_schema=False)
async def show_new_rule(request: Asked, principal: Asker, tenant: OwnTenant, plane: Plane) -> Response[Any]:
    """The form; ``user_agent`` begins a rule on it, ``trace`` on what was found there, to be tried on it."""
    policies = Policies(plane, tenant, principal)
    asked = query(request)
    rule = custom_rules.blank(user_agent=asked.text("user_agent")[:300])
    if asked.text("trace") and not asked.text("user_agent"):
        with contextlib.suppress(NotFoundError, NotPermittedError):  # said beside the test box
            rule = await rule_of_trace(policies, asked.text("trace")[:32])
    draft = replace(config_draft.new(RULE_FORM), payload=rule)
    return await _Work(request, policies, None).form(draft, asked)


@post(
    "/protect/rules/new", opt=WRITE, status_code=200, include_in_schema=False, request_max_body_size=MAX_BODY
)
async def send_new_rule(request: Asked, principal: Asker, tenant: OwnTenant, plane: Plane) -> Response[Any]:
    """Whatever a button of the form asks for."""
    return await _Work(request, Policies(plane, tenant, principal), None).take()


@get("/protect/rules/{config_id:str}", opt=WRITE, include_in_schema=False)
async def show_rule(
    request: Asked, config_id: FromPath[str], principal: Asker, tenant: OwnTenant, plane: Plane
) -> Response[Any]:
    """The form of a rule that is in force."""
    work = Policies(plane, tenant, principal)
    found = await custom_rules.one(work, config_id)
    fields = {"service": [", ".join(found.target.service)], "env": [", ".join(found.target.env)]}
    draft = replace(config_draft.of_row(found.row), payload=dict(found.rule), name="")
    asked = query(request)
    return await _Work(request, work, found).form(draft, Form({**fields, **asked.fields}))


@post(
    "/protect/rules/{config_id:str}", opt=WRITE, status_code=200, include_in_schema=False,
    request_max_body_size=MAX_BODY,
)  # fmt: skip
async def send_rule(
    request: Asked, config_id: FromPath[str], principal: Asker, tenant: OwnTenant, plane: Plane
) -> Response[Any]:
    """Whatever a button of the form asks for."""
    work = Policies(plane, tenant, principal)
    return await _Work(request, work, await custom_rules.one(work, config_id)).take()


@post("/protect/rules/{config_id:str}/delete", opt=WRITE, status_code=200, include_in_schema=False)
async def delete_rule(
    request: Asked, config_id: FromPath[str], principal: Asker, tenant: OwnTenant, plane: Plane
) -> Response[Any]:
    """Show what goes, then take it away."""
    work = Policies(plane, tenant, principal)
    form = await forms.read(request)
    found = await custom_rules.one(work, config_id)

    async def make() -> Plan:
        return custom_rules.deleting(found, reason=form.text("reason"))

    return await decide(
        request, work, form, make, title=f"Delete {found.rule.get('name', '')}",
        path=f"/protect/rules/{config_id}/delete", back="/protect/rules", crumb="Custom rules", carried=[],
        can_edit=False,
    )  # fmt: skip


class _Work:
    """One request about one rule; ``found`` is the one it changes, None for a new one."""

    def __init__(self, request: Asked, work: Policies, found: Listed | None) -> None:
        self._request = request
        self._work = work
        self._found = found
        self._path = "/protect/rules/new" if found is None else f"/protect/rules/{found.row.config_id}"

    async def take(self) -> Response[Any]:
        form = await forms.read(self._request, max_bytes=MAX_BODY, max_fields=schema_fields.MAX_FIELDS)
        config_id = "" if self._found is None else self._found.row.config_id
        draft = _with_choice(await asyncio.to_thread(config_draft.read, RULE_FORM, config_id, form), form)
        action, _, name = form.text("do").partition(":")
        match action:
            case "publish" | "review" | "":
                return await self._save(draft, form)
            case "try":
                return await self.form(draft, form, tried=await self._try(draft, form))
            case "form" | "json":
                return await self._switch(draft, form, action)
            case "add" | "set" | "remove" | "up" if draft.mode == config_draft.FORM:
                focus = schema_fields.act(RULE_FORM, draft.payload, action, name)
                return await self.form(draft, form, focus=focus)
            case _:
                return await self.form(draft, form, focus=name)

    async def _switch(self, draft: Draft, form: Form, mode: str) -> Response[Any]:
        problems = draft.unread
        if mode == config_draft.FORM and not problems and not isinstance(draft.payload, dict):
            problems = RULE_FORM.check(draft.payload)[:1]
        if problems and mode == config_draft.FORM:
            return await self.form(draft, form, problems=problems)
        text = "" if mode == config_draft.FORM else json_text.pretty(draft.payload)
        return await self.form(replace(draft, mode=mode, text=text, unread=()), form)

    async def _save(self, draft: Draft, form: Form) -> Response[Any]:
        if draft.unread or not isinstance(draft.payload, dict):
            return await self.form(draft, form, problems=draft.unread or RULE_FORM.check(draft.payload)[:1])
        row = None if self._found is None else self._found.row
        try:
            target = target_of(form)
            rule = draft.payload

            async def make() -> Plan:
                return custom_rules.saving(rule, target, row, reason=form.text("reason"))

            return await decide(
                self._request, self._work, form, make, title=self._title(rule), path=self._path,
                back="/protect/rules", crumb="Custom rules",
                carried=[
                    ("payload", json_text.compact(rule)), *draft.always,
                    *((name, form.raw(name)) for name in ("service", "env", "reason", "request")),
                ],
            )  # fmt: skip
        except InvalidChangeError as error:
            return await self.form(draft, form, problems=[_of_rule(problem) for problem in error.problems])
        except NotPermittedError as error:
            return await self.form(draft, form, wrong={"service": error.public})

    async def _try(self, draft: Draft, form: Form) -> TriedView:
        if draft.unread or not isinstance(draft.payload, dict):
            return TriedView(None, "The rule is no JSON object yet.", "")
        try:
            tried = await custom_rules.attempt(self._work, draft.payload, form.raw("request"))
        except (InvalidChangeError, SettingsError, UnavailableError) as error:
            return TriedView(None, error.public, "")
        return TriedView(tried, "", f"{tried.verdict.took_us:,} µs")

    def _title(self, rule: Mapping[str, Any]) -> str:
        return f"Rule {str(rule.get('name', ''))[:80]}"

    async def form(
        self,
        draft: Draft,
        form: Form,
        *,
        problems: Sequence[Problem] = (),
        wrong: Mapping[str, str] | None = None,
        focus: str = "",
        tried: TriedView | None = None,
    ) -> Response[Any]:
        """The form, with what is wrong where it is wrong."""
        problems = problems or draft.unread
        if draft.mode == config_draft.JSON and not draft.text:
            draft = replace(draft, text=json_text.pretty(draft.payload))
        root = None
        if draft.mode == config_draft.FORM and isinstance(draft.payload, dict):
            of_rule = [one for one in problems if not one.path.startswith("$.targeting")]
            root = await asyncio.to_thread(schema_form.build, RULE_FORM, draft.payload, of_rule)
            _simplify(root)
        elsewhere = {
            name: one.message
            for one in problems
            for name in ("service", "env")
            if one.path.startswith((f"$.targeting.{name}", f"$.{name}"))
        }
        request, services, envs = form.raw("request"), *await known_targets(self._work)
        notes = dict(wrong or {}) | elsewhere
        if form.text("trace") and not request:
            try:
                request = await request_of_trace(self._work, form.text("trace")[:32])
            except (NotFoundError, NotPermittedError) as error:
                notes["request"] = error.public
        rule = draft.payload if isinstance(draft.payload, dict) else {}
        view = RulePage(
            path=self._path,
            title="New rule" if self._found is None else self._title(self._found.rule),
            draft=draft,
            root=root,
            marks=orjson.dumps([{"path": one.path, "message": one.message} for one in problems]).decode(),
            problems=tuple(shown.listed(_below_payload(one), root) for one in problems[:20]),
            fields={name: form.raw(name) for name in ("service", "env", "reason")},
            wrong=notes,
            services=services,
            envs=envs,
            focus=shown.first_field(root, focus) if root is not None else "",
            request=request,
            example=EXAMPLE,
            tried=tried,
            does=_choice(rule),
            choices=CHOICES if _choice(rule) != OWN else (*CHOICES, (OWN, _in_words(rule))),
            on_match=json_text.compact(rule.get("on_match", [])),
            addresses=tuple(custom_rules.ADDRESSES.items()),
            may_write=may_write(self._work),
        )
        return page(
            self._request, "protect_policies/rule.html", title=view.title, view=view,
            principal=self._work.principal, tenant=self._work.tenant,
        )  # fmt: skip


def _choice(rule: Mapping[str, Any]) -> str:
    """What of the form's choices a rule does when it matches."""
    match rule.get("on_match", []):
        case [] | ["monitor"]:
            return "monitor"
        case ["block"]:
            return "block"
        case _:
            return OWN


def _in_words(rule: Mapping[str, Any]) -> str:
    actions = rule.get("on_match")
    named = ", ".join(map(str, actions[:5])) if isinstance(actions, list) else str(actions)
    return f"As its JSON says: {named[:100]}"


def _with_choice(draft: Draft, form: Form) -> Draft:
    """A draft with what was chosen in the form, which has no field for actions."""
    does = form.text("does")
    if draft.mode != config_draft.FORM or "payload" in form.fields or not isinstance(draft.payload, dict):
        return draft
    actions: Any = ["block"] if does == "block" else []
    if does == OWN:
        try:
            actions = json_text.parse(form.raw("on_match"))
        except InvalidChangeError:
            actions = []
    return replace(draft, payload={**draft.payload, "on_match": actions})


def _simplify(root: Node) -> None:
    """Leave the actions to a choice of their own, and know what can be looked at."""
    root.members[:] = [one for one in root.members if one.path != "$.on_match"]
    root.addable[:] = [one for one in root.addable if not one[0].endswith(".on_match")]
    for node in schema_form.walk(root):
        if node.path.endswith(".address"):
            node.suggestions = "known-addresses"


def _of_rule(problem: Problem) -> Problem:
    """A problem of the config as one of its rule."""
    prefix = "$.payload.custom_rules[0]"
    path = "$" + problem.path.removeprefix(prefix) if problem.path.startswith(prefix) else problem.path
    return Problem(path, problem.message)


def _below_payload(problem: Problem) -> Problem:
    outside = problem.path.startswith(("$.targeting", "$.name", "$.comment", "$.payload"))
    return problem if outside else Problem("$.payload" + problem.path.removeprefix("$"), problem.message)


HANDLERS = [show_rules, live_rules, show_new_rule, send_new_rule, show_rule, send_rule, delete_rule]
