"""Writing a probe: the form, what is said of it while it is typed, two people at the same probe, a copy.

Every step is a form that is sent and comes back with all that was typed; nothing is kept on the server
between them. With script, the panel beside the form follows what is typed (``/debugger/look``) and
expressions are completed and checked in their fields; without, each button does the same.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, TypeAlias
from urllib.parse import urlencode

from litestar import MediaType, Request, Response, get, post
from litestar.datastructures import Cookie
from litestar.params import FromPath
from litestar.response import Redirect

from sealwire.errors import ConflictError, InvalidChangeError, NotPermittedError, Problem
from sealwire.products import wording
from sealwire.server.access import Principal
from sealwire.server.api.guard import Asker, OwnTenant, Plane
from sealwire.server.authoring import three_way
from sealwire.server.control_plane import ControlPlane
from sealwire.server.debugger.authoring import probe_words, probes
from sealwire.server.debugger.authoring.desk import WRITES, ProbeRow
from sealwire.server.tenant import Tenant
from sealwire.server.ui import debugger_form_draft as drafts
from sealwire.server.ui import debugger_form_look as looking
from sealwire.server.ui import debugger_form_views as shown
from sealwire.server.ui import forms, json_text, render, text_diff
from sealwire.server.ui.debugger_form_draft import Draft
from sealwire.server.ui.debugger_form_look import Looking
from sealwire.server.ui.security_signals_list import Option
from sealwire.server.ui.text_diff import Lines

Asked: TypeAlias = Request[Any, Any, Any]
PATH: Final = "/debugger"
READ: Final = {"permission": "debugger_read"}
CHANGE: Final = {"permission": WRITES}
MAX_FORM_BYTES: Final = 512 * 1024
MAX_CHOICES: Final = 200
PUBLISHED_COOKIE: Final = "sealwire_published"  # read by kept-draft.js: these drafts are no longer wanted
_REMEMBERED: Final = 500
_saved: OrderedDict[tuple[int, str, str], str] = OrderedDict()


@dataclass(frozen=True, slots=True)
class Side:
    """What one of two people did: in words, and as text."""

    changes: tuple[str, ...]
    lines: Lines


@dataclass(frozen=True, slots=True)
class ConflictPage:
    """Two people at the same probe; ``carried`` is my draft, as JSON."""

    path: str
    title: str
    base_revision: int
    theirs_revision: int
    theirs_by: str
    theirs_comment: str
    is_over: bool
    theirs: Side
    mine: Side
    clashes: tuple[str, ...]
    carried: str
    name: str
    comment: str
    draft_id: str


@dataclass(frozen=True, slots=True)
class ClonePage:
    """A probe, to be copied.

    Attributes:
        parts: What it is, in words.
        audience: Who would get the copy; ``not_yours``: why it is not theirs to make.
        more_href: The form of a new probe with all of it in it.
    """

    path: str
    back: str
    title: str
    probe_id: str
    name: str
    service: str
    env: str
    parts: tuple[tuple[str, str], ...]
    audience: shown.Audience
    not_yours: tuple[str, ...]
    refusals: tuple[str, ...]
    mistakes: tuple[shown.Mistake, ...]
    wrong: Mapping[str, str]
    services: tuple[str, ...]
    envs: tuple[str, ...]
    more_href: str
    may_save: bool
    focus: str = ""


# Addresses --------------------------------------------------------------------------------------------------


@get(f"{PATH}/new", opt=READ, include_in_schema=False)
async def show_new_probe(request: Asked, principal: Asker, tenant: OwnTenant, plane: Plane) -> Response[str]:
    """The form of a new probe: empty, with what the address says, or as a copy of another one."""
    draft = Draft(draft_id=drafts.new_id())
    origin = request.query_params.get("from", "")
    if origin:
        row = await tenant.probes.get(principal, origin)
        draft = replace(_of_row(row), revision=0, name=f"{row.config.name[:60]} (copy)")
    draft = drafts.prefilled(draft, dict(request.query_params))
    return await _Editing(request, principal, tenant, plane, None).form(draft)


@post(f"{PATH}/new", opt=CHANGE, status_code=200, include_in_schema=False)
async def make_probe(
    request: Asked, principal: Asker, tenant: OwnTenant, plane: Plane
) -> Response[str] | Redirect:
    """Whatever a button of that form does."""
    return await _Editing(request, principal, tenant, plane, None).answer()


@get(f"{PATH}/probes/{{probe_id:str}}/edit", opt=READ, include_in_schema=False)
async def show_probe_form(
    request: Asked, probe_id: FromPath[str], principal: Asker, tenant: OwnTenant, plane: Plane
) -> Response[str]:
    """The form of a probe; a condition or message of the address stands in it already."""
    row = await tenant.probes.get(principal, probe_id)
    given = {key: request.query_params.get(key, "") for key in ("when", "template")}
    draft = drafts.prefilled(_of_row(row), given)
    return await _Editing(request, principal, tenant, plane, row).form(draft)


@post(f"{PATH}/probes/{{probe_id:str}}/edit", opt=CHANGE, status_code=200, include_in_schema=False)
async def change_probe(
    request: Asked, probe_id: FromPath[str], principal: Asker, tenant: OwnTenant, plane: Plane
) -> Response[str] | Redirect:
    """Whatever a button of that form does."""
    row = await tenant.probes.get(principal, probe_id)
    return await _Editing(request, principal, tenant, plane, row).answer()


@get(f"{PATH}/probes/{{probe_id:str}}/clone", opt=READ, include_in_schema=False)
async def show_clone(
    request: Asked, probe_id: FromPath[str], principal: Asker, tenant: OwnTenant, plane: Plane
) -> Response[str]:
    """Where a copy of a probe shall go."""
    row = await tenant.probes.get(principal, probe_id)
    draft = drafts.prefilled(
        replace(_of_row(row), env=""),
        {key: request.query_params.get(key, "") for key in ("service", "env", "name")},
    )
    return await _Cloning(request, principal, tenant, plane, row).form(draft)


@post(f"{PATH}/probes/{{probe_id:str}}/clone", opt=CHANGE, status_code=200, include_in_schema=False)
async def clone_probe(
    request: Asked, probe_id: FromPath[str], principal: Asker, tenant: OwnTenant, plane: Plane
) -> Response[str] | Redirect:
    """Make the copy, or say who would get it."""
    row = await tenant.probes.get(principal, probe_id)
    return await _Cloning(request, principal, tenant, plane, row).answer()


@post(f"{PATH}/look", opt=READ, status_code=200, include_in_schema=False)
async def show_look(request: Asked, principal: Asker, tenant: OwnTenant, plane: Plane) -> Response[str]:
    """What is to be said of a probe while it is typed."""
    form = await forms.read(request, max_bytes=MAX_FORM_BYTES)
    probe_id = form.text("probe")
    row = await tenant.probes.get(principal, probe_id) if probe_id else None
    view = await Looking(tenant, principal, plane, row).look(drafts.read(form))
    return Response(render.macro("debugger_form/_look.html", "look")(view), media_type=MediaType.HTML)


HANDLERS = [
    show_new_probe, make_probe, show_probe_form, change_probe, show_clone, clone_probe, show_look,
]  # fmt: skip


def _of_row(row: ProbeRow) -> Draft:
    """The present version, to be changed."""
    draft = drafts.of_document(row.document, revision=row.config.revision)
    return replace(draft, name=row.config.name, service=row.service, env=", ".join(row.envs))


def _page(
    request: Asked, template: str, view: Any, principal: Principal, tenant: Tenant, title: str
) -> Response[str]:
    return render.page(
        request, f"debugger_form/{template}", title=title, view=view, principal=principal, tenant=tenant
    )


async def _choices(
    tenant: Tenant, principal: Principal, service: str
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Services and environments of the fleet; environments of the service, if it is known."""
    if not principal.may("fleet_read"):
        return (), ()
    fleet = await tenant.overview.glance()
    lines = [*fleet.clients, *fleet.services]
    services = {str(line.facts.get("service", "")) for line in lines}
    of_it = [line for line in lines if str(line.facts.get("service", "")).casefold() == service.casefold()]
    envs = {str(line.facts.get("env", "")) for line in of_it or lines}
    return tuple(sorted(services - {""}))[:MAX_CHOICES], tuple(sorted(envs - {""}))[:MAX_CHOICES]


def _mistakes(problems: Sequence[Problem]) -> tuple[tuple[shown.Mistake, ...], dict[str, str]]:
    """Problems as they are listed, and by the field they stand at."""
    listed: list[shown.Mistake] = []
    wrong: dict[str, str] = {}
    for problem in problems[:30]:
        field = drafts.field_of(problem.path)
        listed.append(shown.Mistake(problem.message, field, shown.label_of(field) or problem.path))
        if field:
            wrong.setdefault(field, problem.message)
    return tuple(listed), wrong


# The form ---------------------------------------------------------------------------------------------------


class _Editing:
    """One request of the form, of a probe or of a new one."""

    def __init__(
        self, request: Asked, principal: Principal, tenant: Tenant, plane: ControlPlane, row: ProbeRow | None
    ) -> None:
        self._request = request
        self._principal = principal
        self._tenant = tenant
        self._plane = plane
        self._row = row
        self._looking = Looking(tenant, principal, plane, row)
        self._path = f"{PATH}/new" if row is None else f"{PATH}/probes/{row.probe_id}/edit"

    async def answer(self) -> Response[str] | Redirect:
        """What the button that was pressed leads to."""
        form = await forms.read(self._request, max_bytes=MAX_FORM_BYTES)
        draft, do = self._looking.kept(drafts.read(form)), form.text("do")
        match do:
            case "save":
                return await self._save(draft)
            case "tidy":
                return await self.form(_tidied(draft), is_unsaved=True)
            case "merge" | "mine" if self._row is not None and "carried" in form.fields:
                return await self._go_on(_carried(form, draft), do)
            case _:
                draft, focus = drafts.edited(draft, do)
                return await self.form(draft, focus=focus, is_unsaved=True)

    async def form(
        self,
        draft: Draft,
        *,
        problems: Sequence[Problem] = (),
        focus: str = "",
        notes: Sequence[tuple[str, str, str]] = (),
        is_unsaved: bool = False,
    ) -> Response[str]:
        """The form, with what is wrong where it is wrong."""
        row = self._row
        service, envs = self._looking.service_of(draft)
        services, known_envs = await _choices(self._tenant, self._principal, service)
        mistakes, wrong = _mistakes(problems)
        marks = shown.marks(drafts.tidied(draft) if problems else draft)
        summary = await self._tenant.symbols.summary(service, next(iter(envs), "")) if service else None
        files = (
            await self._tenant.symbols.complete_files(service, next(iter(envs), ""), draft.file, 50)
            if summary
            else []
        )
        if row is None:
            notes = (*notes, *looking.limits_of(self._tenant, self._principal))
        elif row.state.value != "active":
            notes = (
                *notes,
                ("wait", f"This probe is {row.state.value}.", "Saving it puts it into the programs again."),
            )
        view = shown.FormPage(
            path=self._path,
            back=PATH if row is None else f"{PATH}/probes/{row.probe_id}",
            title="New probe" if row is None else f"Edit {row.config.name or row.probe.where}",
            probe_id="" if row is None else row.probe_id,
            draft=draft,
            look=await self._looking.look(draft),
            mistakes=mistakes,
            wrong={**{field: mark.message for field, mark in marks.items()}, **wrong},
            marks=marks,
            focus=focus or next(iter(wrong), ""),
            stays=None
            if row is None
            else (
                row.service,
                ", ".join(row.envs) or "every environment",
                probe_words.LANGUAGES[row.probe.language],
            ),
            clone_href="" if row is None else f"{PATH}/probes/{row.probe_id}/clone",
            notes=tuple(notes),
            services=services,
            envs=known_envs,
            files=tuple(each.file for each in files),
            languages=tuple(
                Option(name, words, name == draft.language) for name, words in probe_words.LANGUAGES.items()
            ),
            periods=_periods(draft.minutes),
            symbols=""
            if summary is None
            else f"{wording.counted(summary.functions, 'function')} of {service} {summary.version}".strip(),
            may_save=self._principal.may(looking.WRITE) or self._principal.may(looking.WRITE_PRE_PROD),
            owner=render.dom_id("owner", f"{self._principal.org_id} {self._principal.user}"),
            is_unsaved=is_unsaved or bool(problems),
        )
        return _page(self._request, "edit.html", view, self._principal, self._tenant, view.title)

    async def _save(self, draft: Draft) -> Response[str] | Redirect:
        row, desk, now = self._row, self._tenant.probes, self._plane.clock()
        draft = drafts.tidied(draft)
        fields = self._looking.fields(draft, await self._looking.language(draft))
        once = (self._tenant.organisation.org_id, self._principal.user, draft.draft_id)
        if once in _saved:  # pressed twice
            return forms.went(f"{PATH}/probes/{_saved[once]}", "It is saved already.")
        try:
            if row is None:
                saved = await desk.create(self._principal, fields, now=now)
            else:
                saved = await desk.change(
                    self._principal, row.probe_id, fields, expected_revision=draft.revision, now=now
                )
        except ConflictError:
            return await self._conflict(draft)
        except InvalidChangeError as error:
            problems = error.problems or (Problem("$", error.public),)
            return await self.form(draft, problems=problems)
        except NotPermittedError as error:
            return await self.form(draft, problems=(Problem("$", error.public),))
        probe = saved.probe
        _saved[once] = probe.probe_id
        while len(_saved) > _REMEMBERED:
            _saved.popitem(last=False)
        words = "The probe is saved and on its way to the programs."
        if row is not None:
            words = (
                "Saved; nothing is different for the programs."
                if probe.version == row.version
                else f"Version {probe.version} is saved and on its way to the programs."
            )
        return self._went(probe.probe_id, draft.draft_id, words)

    def _went(self, probe_id: str, draft_id: str, words: str) -> Redirect:
        answer = forms.went(f"{PATH}/probes/{probe_id}", words)
        earlier = self._request.cookies.get(PUBLISHED_COOKIE, "").split(".")
        known = [one for one in earlier if len(one) == 16 and one.isalnum()][-4:]
        answer.cookies.append(
            Cookie(
                key=PUBLISHED_COOKIE, value=".".join([*known, draft_id]), path="/", max_age=604_800,
                samesite="lax", secure=self._request.url.scheme == "https",
            )
        )  # fmt: skip
        return answer

    # Two people ---------------------------------------------------------------------------------------

    async def _base(self, row: ProbeRow, revision: int) -> Mapping[str, Any]:
        """The document both began with; the first one when the browser names none there is."""
        history = await self._tenant.probes.history(self._principal, row.probe_id)
        found = next((one for one in history if one.revision == revision), None)
        return found.document if found is not None else history[-1].document if history else {}

    async def _conflict(self, draft: Draft) -> Response[str]:
        assert self._row is not None
        row = await self._tenant.probes.get(self._principal, self._row.probe_id)
        base = await self._base(row, draft.revision)
        mine = await self._document(draft)
        _, clashes = three_way.merge(base, mine, row.document)
        view = ConflictPage(
            path=self._path,
            title=f"{row.config.name or row.probe.where}: somebody else was first",
            base_revision=draft.revision,
            theirs_revision=row.config.revision,
            theirs_by=row.config.updated_by,
            theirs_comment=row.config.comment,
            is_over=row.state.value in ("expired", "removed"),
            theirs=await asyncio.to_thread(_side, base, row.document),
            mine=await asyncio.to_thread(_side, base, mine),
            clashes=tuple(dict.fromkeys(_named(clash) for clash in clashes)),
            carried=json_text.pretty(mine),
            name=draft.name,
            comment=draft.comment,
            draft_id=draft.draft_id,
        )
        return _page(self._request, "conflict.html", view, self._principal, self._tenant, view.title)

    async def _document(self, draft: Draft) -> dict[str, Any]:
        """As it would be kept, where it makes sense."""
        document = drafts.document_of(draft, language=await self._looking.language(draft))
        try:
            return probes.to_document(probes.parse(document))
        except InvalidChangeError:
            return document

    async def _go_on(self, draft: Draft, do: str) -> Response[str]:
        """After a conflict: with both changes together, or with one's own as it is; on top of theirs."""
        row = self._row
        assert row is not None
        ahead = replace(draft, revision=row.config.revision)
        by = row.config.updated_by
        if do == "mine":
            note = f"This is yours as it was; what {by} changed would be replaced."
            return await self.form(ahead, notes=[("wait", note, "")], is_unsaved=True)
        base = await self._base(row, draft.revision)
        merged, clashes = three_way.merge(base, await self._document(draft), dict(row.document))
        both = drafts.of_document(merged, revision=row.config.revision, draft_id=draft.draft_id)
        both = replace(both, name=draft.name, comment=draft.comment)
        note = f"Your changes are on top of what {by} did."
        where = wording.some(list(dict.fromkeys(_named(clash) for clash in clashes)))
        more = f"Where you both changed the same, yours stands: {where}." if clashes else ""
        return await self.form(both, notes=[("wait" if clashes else "ok", note, more)], is_unsaved=True)


def _carried(form: forms.Form, draft: Draft) -> Draft:
    """The draft that the page of a conflict held for somebody."""
    try:
        document = json_text.parse(form.raw("carried"))
    except InvalidChangeError:
        return draft
    found = drafts.of_document(
        document if isinstance(document, dict) else {}, revision=draft.revision, draft_id=draft.draft_id
    )
    return replace(found, name=draft.name, comment=draft.comment)


def _side(base: Mapping[str, Any], document: Mapping[str, Any]) -> Side:
    lines, _ = text_diff.lines(json_text.pretty(base), json_text.pretty(document))
    return Side(probe_words.changes(base, document), lines)


def _named(path: str) -> str:
    field = drafts.field_of(path)
    return shown.label_of(field).lower() if field else path


def _periods(chosen: str) -> tuple[Option, ...]:
    found = [Option("", "As is usual", not chosen)]
    known = [str(one) for one in shown.MINUTES]
    if chosen and chosen not in known:
        found.append(Option(chosen, probe_words.minutes(drafts.number(chosen)), True))
    found += [Option(one, probe_words.minutes(int(one)), one == chosen) for one in known]
    return tuple(found)


def _tidied(draft: Draft) -> Draft:
    """The draft with its expressions as they should be read."""

    def tidy(text: str, *, is_template: bool = False) -> str:
        return shown.tidy(draft, text, is_template=is_template)

    return replace(
        draft,
        when=tidy(draft.when),
        template=tidy(draft.template, is_template=True),
        metric_value=tidy(draft.metric_value),
        asked=tuple(replace(one, expression=tidy(one.expression)) for one in draft.asked),
        decorations=tuple(
            replace(
                one,
                when=tidy(one.when),
                tags=tuple(replace(tag, template=tidy(tag.template, is_template=True)) for tag in one.tags),
            )
            for one in draft.decorations
        ),
    )


# A copy -----------------------------------------------------------------------------------------------------


class _Cloning:
    """One request about a copy of a probe."""

    def __init__(
        self, request: Asked, principal: Principal, tenant: Tenant, plane: ControlPlane, row: ProbeRow
    ) -> None:
        self._request = request
        self._principal = principal
        self._tenant = tenant
        self._plane = plane
        self._row = row

    async def answer(self) -> Response[str] | Redirect:
        """Make the copy, unless only a look was asked for."""
        form = await forms.read(self._request)
        name = form.text("name")
        draft = replace(_of_row(self._row), service=form.text("service"), env=form.text("env"), name=name)
        if form.text("do") != "save":
            return await self.form(draft)
        try:
            saved = await self._tenant.probes.clone(
                self._principal, self._row.probe_id, service=draft.service, env=draft.envs, name=name or None,
                now=self._plane.clock(),
            )  # fmt: skip
        except InvalidChangeError as error:
            return await self.form(draft, problems=error.problems or (Problem("$", error.public),))
        except NotPermittedError as error:
            return await self.form(draft, problems=(Problem("$", error.public),))
        return forms.went(f"{PATH}/probes/{saved.probe.probe_id}", "The copy is on its way to the programs.")

    async def form(self, draft: Draft, *, problems: Sequence[Problem] = ()) -> Response[str]:
        """Where it shall go, and who would get it."""
        row = self._row
        services, envs = await _choices(self._tenant, self._principal, draft.service)
        mistakes, wrong = _mistakes(problems)
        look = await Looking(self._tenant, self._principal, self._plane, None).look(draft)
        query = {"from": row.probe_id, "service": draft.service, "env": draft.env}
        view = ClonePage(
            path=f"{PATH}/probes/{row.probe_id}/clone",
            back=f"{PATH}/probes/{row.probe_id}",
            title=f"Copy {row.config.name or row.probe.where}",
            probe_id=row.probe_id,
            name=draft.name,
            service=draft.service,
            env=draft.env,
            parts=probe_words.describe(row.document),
            audience=look.audience,
            not_yours=look.not_yours,
            refusals=look.refusals,
            mistakes=mistakes,
            wrong=wrong,
            services=services,
            envs=envs,
            more_href=f"{PATH}/new?{urlencode({key: text for key, text in query.items() if text})}",
            may_save=self._principal.may(looking.WRITE) or self._principal.may(looking.WRITE_PRE_PROD),
        )
        return _page(self._request, "clone.html", view, self._principal, self._tenant, view.title)
