"""Writing a detection rule: the form, its JSON, what it would have found, and two people at the same rule.

Every step is a form that is sent and comes back with all that was typed; nothing is kept on the server
between them. Nothing is saved that the checker refuses, nor over somebody else's version.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, TypeAlias

from litestar import Request, Response, get, post
from litestar.params import FromPath
from litestar.response import Redirect

from sealwire.errors import ConflictError, InvalidChangeError, Problem
from sealwire.server.access import Principal
from sealwire.server.api.guard import Asker, OwnTenant, Plane
from sealwire.server.authoring import three_way
from sealwire.server.control_plane import ControlPlane
from sealwire.server.security import rule_documents, rule_words
from sealwire.server.security.facets import FACETS
from sealwire.server.security.rule_book import Entry
from sealwire.server.security.rules import (
    KEEP_ALIVE_S,
    MAX_CASES,
    MAX_GROUP_BY,
    MAX_QUERIES,
    WINDOWS_S,
    Severity,
)
from sealwire.server.security.signals import Signal
from sealwire.server.tenant import Tenant
from sealwire.server.ui import forms, json_text, text_diff
from sealwire.server.ui import security_rule_draft as drafts
from sealwire.server.ui.render import moment, page
from sealwire.server.ui.security_rule_draft import Draft
from sealwire.server.ui.security_signal_words import SEVERITIES, group_words
from sealwire.server.ui.security_signals_list import Option
from sealwire.server.ui.text_diff import Lines
from sealwire.server.ui.views import Moment, Status

Asked: TypeAlias = Request[Any, Any, Any]
PATH: Final = "/security/rules"
WRITE = {"permission": "security_monitoring_rules_write"}
MAX_FORM_BYTES: Final = 512 * 1024
HOURS: Final = {"1": "1 hour", "6": "6 hours", "24": "24 hours", "72": "3 days", "168": "7 days"}
SHOWN_TRIED: Final = 20
_SAVED: dict[tuple[int, str, str], str] = {}
_REMEMBERED: Final = 500


@dataclass(frozen=True, slots=True)
class Tried:
    """What a rule would have found.

    Attributes:
        counts: Severity and how many, the worst first.
        signals: The worst and newest of them: severity, group, requests, from, to.
    """

    hours: str
    total: int
    counts: tuple[tuple[Status, int], ...]
    signals: tuple[tuple[Status, tuple[tuple[str, str], ...], int, Moment, Moment], ...]
    more: int


@dataclass(frozen=True, slots=True)
class Mistake:
    """Something that is wrong, and the field that it is wrong in."""

    where: str
    message: str
    href: str


@dataclass(frozen=True, slots=True)
class RuleForm:
    """The form.

    Attributes:
        path: Where it is sent.
        back: Where leaving leads.
        wrong: What is wrong with a field, by its id.
        marks: The same for the editor of JSON.
        focus: The field to begin in; empty for none.
        changes: What is different from the rule as it is, in words.
    """

    path: str
    back: str
    title: str
    is_new: bool
    draft: Draft
    mistakes: tuple[Mistake, ...]
    wrong: Mapping[str, str]
    marks: str
    focus: str
    changes: tuple[str, ...]
    facets: tuple[tuple[str, str], ...]
    group_by: tuple[str, ...]
    windows: tuple[Option, ...]
    keep_alives: tuple[Option, ...]
    severities: tuple[str, ...]
    hours: tuple[Option, ...]
    tried: Tried | None
    may_add_query: bool
    may_add_case: bool


@dataclass(frozen=True, slots=True)
class Side:
    """What one of two people did: in words, and as text."""

    changes: tuple[str, ...]
    lines: Lines


@dataclass(frozen=True, slots=True)
class RuleConflict:
    """Two people at the same rule.

    Attributes:
        carried: My draft, as JSON.
    """

    path: str
    title: str
    base_version: int
    theirs_version: int
    theirs_by: str
    theirs_comment: str
    deleted: bool
    theirs: Side
    mine: Side
    clashes: tuple[str, ...]
    carried: str
    comment: str
    draft_id: str


@get(f"{PATH}/new", opt=WRITE, include_in_schema=False)
async def show_new_rule(request: Asked, principal: Asker, tenant: OwnTenant, plane: Plane) -> Response[str]:
    """The form of a new rule, empty or as a copy."""
    origin = request.query_params.get("from", "")
    draft = Draft(draft_id=drafts.new_id(), group_by=("service", "@http.client_ip"))
    if origin:
        entry = await asyncio.to_thread(tenant.rule_book.get, origin)
        name = f"{entry.rule.name[:180]} (copy)"
        draft = drafts.of_document({**entry.document, "name": name})
    return await _Editing(request, principal, tenant, plane, None).form(draft)


@post(f"{PATH}/new", opt=WRITE, status_code=200, include_in_schema=False)
async def make_rule(
    request: Asked, principal: Asker, tenant: OwnTenant, plane: Plane
) -> Response[str] | Redirect:
    """Whatever a button of that form does."""
    return await _Editing(request, principal, tenant, plane, None).answer()


@get(f"{PATH}/{{rule_id:str}}/edit", opt=WRITE, include_in_schema=False)
async def show_rule_form(
    request: Asked, rule_id: FromPath[str], principal: Asker, tenant: OwnTenant, plane: Plane
) -> Response[str]:
    """The form of a rule."""
    entry = await asyncio.to_thread(tenant.rule_book.get, rule_id)
    draft = drafts.of_document(entry.document, version=entry.version)
    return await _Editing(request, principal, tenant, plane, entry).form(draft)


@post(f"{PATH}/{{rule_id:str}}/edit", opt=WRITE, status_code=200, include_in_schema=False)
async def change_rule(
    request: Asked, rule_id: FromPath[str], principal: Asker, tenant: OwnTenant, plane: Plane
) -> Response[str] | Redirect:
    """Whatever a button of that form does."""
    entry = await asyncio.to_thread(tenant.rule_book.get, rule_id)
    return await _Editing(request, principal, tenant, plane, entry).answer()


class _Editing:
    """One request of the form, of a rule or of a new one."""

    def __init__(
        self, request: Asked, principal: Principal, tenant: Tenant, plane: ControlPlane, entry: Entry | None
    ) -> None:
        self._request = request
        self._principal = principal
        self._tenant = tenant
        self._plane = plane
        self._entry = entry
        self._path = f"{PATH}/new" if entry is None else f"{PATH}/{entry.rule_id}/edit"

    async def answer(self) -> Response[str] | Redirect:
        """What the button that was pressed leads to."""
        form = await forms.read(self._request, max_bytes=MAX_FORM_BYTES)
        draft, do = drafts.read(form), form.text("do", "save")
        try:
            match do:
                case "json":
                    return await self.form(drafts.as_json(draft))
                case "form":
                    return await self.form(drafts.as_form(draft))
                case "try":
                    return await self._try(draft, form.text("hours"))
                case "merge":
                    return await self._merge(draft)
                case "mine":
                    version = 0 if self._entry is None else self._entry.version
                    return await self.form(replace(_readable(draft), version=version))
                case "save":
                    return await self._save(draft)
                case _:
                    changed = drafts.edited(draft, do)
                    return await self.form(changed, focus=_new_field(do, changed))
        except InvalidChangeError as error:
            return await self.form(draft, problems=error.problems)

    async def form(
        self,
        draft: Draft,
        *,
        problems: tuple[Problem, ...] = (),
        focus: str = "",
        tried: Tried | None = None,
        hours: str = "24",
    ) -> Response[str]:
        """The form, with what is wrong where it is wrong."""
        wrong: dict[str, str] = {}
        for problem in problems:
            field = drafts.field_of(problem.path) if draft.mode == drafts.FORM else "in-json"
            wrong.setdefault(field, problem.message)
        entry = self._entry
        view = RuleForm(
            path=self._path,
            back=PATH if entry is None else f"{PATH}/{entry.rule_id}",
            title="New detection rule" if entry is None else f"Edit {entry.rule.name}",
            is_new=entry is None,
            draft=draft,
            mistakes=tuple(
                Mistake(
                    problem.path,
                    problem.message,
                    f"#{drafts.field_of(problem.path) or 'in-name'}"
                    if draft.mode == drafts.FORM
                    else "#in-json",
                )
                for problem in problems[:30]
            ),
            wrong=wrong,
            marks=json_text.compact(
                [{"path": problem.path, "message": problem.message} for problem in problems[:30]]
            ),
            focus=focus or next((field for field in wrong if field), ""),
            changes=self._changes(draft),
            facets=tuple((name, facet.says) for name, facet in FACETS.items()),
            group_by=(*draft.group_by, *[""] * MAX_GROUP_BY)[:MAX_GROUP_BY],
            windows=_spans(WINDOWS_S, draft.window),
            keep_alives=_spans(KEEP_ALIVE_S, draft.keep_alive),
            severities=tuple(severity.name.lower() for severity in sorted(Severity, reverse=True)),
            hours=tuple(Option(key, words, key == hours) for key, words in HOURS.items()),
            tried=tried,
            may_add_query=len(draft.queries) < MAX_QUERIES,
            may_add_case=len(draft.cases) < MAX_CASES,
        )
        return page(
            self._request, "security_rules/edit.html", title=view.title, view=view,
            principal=self._principal, tenant=self._tenant,
        )  # fmt: skip

    def _changes(self, draft: Draft) -> tuple[str, ...]:
        """What is different from the rule as it is; nothing while that cannot be said."""
        if self._entry is None:
            return ()
        try:
            document, _ = rule_documents.checked(drafts.document_of(draft))
        except InvalidChangeError:
            return ()
        return rule_words.changes(self._entry.document, document)

    async def _try(self, draft: Draft, hours: str) -> Response[str]:
        hours = hours if hours in HOURS else "24"
        _, rule = rule_documents.checked(drafts.document_of(draft))
        found = await self._tenant.detection.try_rule(replace(rule, enabled=True), hours=int(hours))
        return await self.form(draft, tried=_tried(found, HOURS[hours]), hours=hours)

    async def _save(self, draft: Draft) -> Response[str] | Redirect:
        by, now_ms = self._principal.user, self._plane.now_ms()
        document = drafts.document_of(draft)
        book = self._tenant.rule_book
        if self._entry is None:
            once = (self._tenant.organisation.org_id, by, draft.draft_id)
            if once in _SAVED:  # pressed twice
                return forms.went(f"{PATH}/{_SAVED[once]}", "It is saved already.")
            made = await book.create(document, by=by, now_ms=now_ms, comment=draft.comment)
            _SAVED[once] = made.rule_id
            while len(_SAVED) > _REMEMBERED:
                _SAVED.pop(next(iter(_SAVED)))
            return forms.went(f"{PATH}/{made.rule_id}", "The rule is saved.")
        try:
            saved = await book.save(
                self._entry.rule_id, document, expected_version=draft.version, by=by, now_ms=now_ms,
                comment=draft.comment,
            )  # fmt: skip
        except ConflictError:
            return await self._conflict(draft, document)
        words = (
            "Nothing is different."
            if saved.version == draft.version
            else f"Version {saved.version} is saved."
        )
        return forms.went(f"{PATH}/{saved.rule_id}", words)

    # Two people ---------------------------------------------------------------------------------------

    async def _base(self, version: int) -> Mapping[str, Any]:
        assert self._entry is not None
        versions = await asyncio.to_thread(self._tenant.rule_book.versions, self._entry.rule_id)
        return next((one.document for one in versions if one.version == version), {})

    async def _conflict(self, draft: Draft, mine: Any) -> Response[str]:
        checked, _ = rule_documents.checked(mine)
        entry = await asyncio.to_thread(
            self._tenant.rule_book.get, self._entry.rule_id if self._entry else ""
        )
        base = await self._base(draft.version)
        _, clashes = three_way.merge(base, checked, entry.document)
        view = RuleConflict(
            path=self._path,
            title=f"{entry.rule.name}: somebody else was first",
            base_version=draft.version,
            theirs_version=entry.version,
            theirs_by=entry.changed_by,
            theirs_comment=entry.comment,
            deleted=False,
            theirs=_side(base, entry.document),
            mine=_side(base, checked),
            clashes=clashes,
            carried=json_text.pretty(checked),
            comment=draft.comment,
            draft_id=draft.draft_id,
        )
        return page(
            self._request, "security_rules/conflict.html", title=view.title, view=view,
            principal=self._principal, tenant=self._tenant,
        )  # fmt: skip

    async def _merge(self, draft: Draft) -> Response[str]:
        assert self._entry is not None
        base = await self._base(draft.version)
        merged, _ = three_way.merge(base, drafts.document_of(draft), self._entry.document)
        both = drafts.of_document(merged, version=self._entry.version, draft_id=draft.draft_id)
        return await self.form(replace(both, comment=draft.comment))


def _side(base: Mapping[str, Any], document: Mapping[str, Any]) -> Side:
    lines, _ = text_diff.lines(json_text.pretty(base), json_text.pretty(document))
    return Side(rule_words.changes(base, document), lines)


def _readable(draft: Draft) -> Draft:
    """In fields, where they can show it all."""
    try:
        return drafts.as_form(draft)
    except InvalidChangeError:
        return draft


def _new_field(do: str, draft: Draft) -> str:
    """Where to begin after something was added."""
    if do == "add-query":
        return f"in-q-{len(draft.queries) - 1}-query"
    return f"in-c-{len(draft.cases) - 1}-condition" if do == "add-case" else ""


def _spans(known: tuple[int, ...], chosen: str) -> tuple[Option, ...]:
    found = [Option(str(one), rule_words.span(one), str(one) == chosen) for one in known]
    if not any(one.chosen for one in found):
        found.insert(0, Option(chosen, chosen or "none", True))
    return tuple(found)


def _tried(found: list[Signal], hours: str) -> Tried:
    ordered = sorted(found, key=lambda one: (-one.severity, -one.last_seen))
    counts = {severity: sum(one.severity is severity for one in found) for severity in Severity}
    return Tried(
        hours=hours,
        total=len(found),
        counts=tuple(
            (SEVERITIES[severity], counts[severity])
            for severity in sorted(Severity, reverse=True)
            if counts[severity]
        ),
        signals=tuple(
            (
                SEVERITIES[one.severity], group_words(one), one.events, moment(one.first_seen),
                moment(one.last_seen),
            )
            for one in ordered[:SHOWN_TRIED]
        ),
        more=max(0, len(found) - SHOWN_TRIED),
    )  # fmt: skip


HANDLERS = [show_new_rule, make_rule, show_rule_form, change_rule]
