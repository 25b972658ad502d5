"""Writing a config: the form, the look at what it would do, and what happens when two people write one.

Three pages of one form. The form shows the payload as fields or as JSON, who it is for, and who that is at
the moment; every button of it that is not the last one answers with a page that has everything typed still
in it. The review says in words what will be different, for whom, and what speaks against it; only its own
button publishes, and only what was on it. Whoever publishes second is shown both changes and the common
base, and loses nothing.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import orjson
from litestar import MediaType, Request, Response, get, post
from litestar.datastructures import Cookie
from litestar.params import FromPath

from sealwire.errors import ConflictError, InvalidChangeError, NotFoundError, NotPermittedError, Problem
from sealwire.products import PRODUCTS, Product
from sealwire.products import get as get_product
from sealwire.server.access import Principal
from sealwire.server.api.guard import Asker, OwnTenant, Plane
from sealwire.server.authoring import meaning, three_way
from sealwire.server.authoring.author import describe
from sealwire.server.authoring.editing import PUBLISH, Editor
from sealwire.server.authoring.reach import live_clients, live_reach
from sealwire.server.control_plane import ControlPlane
from sealwire.server.store import rows
from sealwire.server.targeting import Targeting, problems_of
from sealwire.server.tenant import Tenant
from sealwire.server.ui import config_draft, forms, json_text, render, schema_fields, schema_form, text_diff
from sealwire.server.ui import config_form_views as shown
from sealwire.server.ui.config_draft import Draft

Asked: TypeAlias = Request[Any, Any, Any]

WRITE = {"permission": PUBLISH}
MAX_BODY = 16 * 1024 * 1024  # what somebody pastes comes back with a word on its size, and is not lost
MAX_SHOWN_PROBLEMS = 20
MAX_GIVEN_NAME = 60
PUBLISHED_COOKIE = "sealwire_published"  # read by kept-draft.js: these drafts are no longer wanted
_REMEMBERED = 1000

# Addresses ----------------------------------------------------------------------------------------------


@get("/configs/new", opt=WRITE, include_in_schema=False)
async def show_new(request: Asked, principal: Asker, tenant: OwnTenant, plane: Plane) -> Response[Any]:
    """An empty form; without a product the choice of one."""
    name = request.query_params.get("product", "")
    if not name:
        products = tuple(product for product in PRODUCTS.values() if _may(principal, product))
        return render.page(
            request, "configs_form/choose.html", title="New config", view=shown.ChoosePage(products),
            principal=principal, tenant=tenant,
        )  # fmt: skip
    work = _Work(request, principal, tenant, plane, _writable(principal, name), None)
    draft = config_draft.new(work.product)
    targeting = {
        field: list(request.query_params.getall(field))
        for field in config_draft.LIST_FIELDS
        if field in request.query_params
    }
    return await work.form(replace(draft, targeting=targeting))


@post("/configs/new", opt=WRITE, status_code=200, include_in_schema=False, request_max_body_size=MAX_BODY)
async def send_new(request: Asked, principal: Asker, tenant: OwnTenant, plane: Plane) -> Response[Any]:
    """Whatever a button of the form asks for."""
    product = _writable(principal, request.query_params.get("product", ""))
    return await _Work(request, principal, tenant, plane, product, None).take()


@get("/configs/{config_id:str}/edit", opt=WRITE, include_in_schema=False)
async def show_edit(
    request: Asked, config_id: FromPath[str], principal: Asker, tenant: OwnTenant, plane: Plane
) -> Response[Any]:
    """A form with the present revision in it."""
    row = await Editor(tenant, principal, now=plane.clock()).get(config_id)
    work = _Work(request, principal, tenant, plane, _writable(principal, row.product), row)
    return await work.form(await asyncio.to_thread(config_draft.of_row, row))


@post(
    "/configs/{config_id:str}/edit", opt=WRITE, status_code=200, include_in_schema=False,
    request_max_body_size=MAX_BODY,
)  # fmt: skip
async def send_edit(
    request: Asked, config_id: FromPath[str], principal: Asker, tenant: OwnTenant, plane: Plane
) -> Response[Any]:
    """Whatever a button of the form asks for."""
    row = await Editor(tenant, principal, now=plane.clock()).get(config_id)
    return await _Work(request, principal, tenant, plane, _writable(principal, row.product), row).take()


@post("/configs/reach", opt={"permission": "rc_config_read"}, status_code=200, include_in_schema=False)
async def show_reach(request: Asked, principal: Asker, tenant: OwnTenant, plane: Plane) -> Response[str]:
    """Who a targeting is for at the moment, while it is typed."""
    form = await forms.read(request)
    product = get_product(form.text("product"))
    principal.require(product.reads)
    config_id = form.text("config") or None
    if config_id is not None:
        row = await Editor(tenant, principal, now=plane.clock()).get(config_id)
        if row.product != product.name:
            raise NotFoundError(f"There is no such config of {product.name}.")
    view = await shown.current_reach(tenant, principal, product, config_draft.read_targeting(form), config_id)
    html = render.macro("configs_form/_reach.html", "reach")(view)
    return Response(html, media_type=MediaType.HTML)


HANDLERS = [show_new, send_new, show_edit, send_edit, show_reach]


def _may(principal: Principal, product: Product) -> bool:
    return principal.may(product.writes) and principal.may(product.reads)


def _writable(principal: Principal, name: str) -> Product:
    """The product, if its configs are theirs to write.

    Raises:
        NotPermittedError, InvalidChangeError: They are not, or there is none.
    """
    product = get_product(name)
    for permission in (PUBLISH, product.writes, product.reads):
        principal.require(permission)
    return product


# Work on one draft --------------------------------------------------------------------------------------


class _Work:
    """One request about one draft; ``row`` is the config it changes, None for a new one."""

    def __init__(
        self,
        request: Asked,
        principal: Principal,
        tenant: Tenant,
        plane: ControlPlane,
        product: Product,
        row: rows.ConfigRow | None,
    ) -> None:
        self.product = product
        self._request = request
        self._principal = principal
        self._tenant = tenant
        self._row = row
        self._now = plane.clock()
        self._editor = Editor(tenant, principal, now=self._now)
        self._path = (
            f"/configs/new?product={product.name}" if row is None else f"/configs/{row.config_id}/edit"
        )
        self._what = "New config" if row is None else (row.name or row.config_id)

    async def take(self) -> Response[Any]:
        """Do what the button that was pressed says."""
        form = await forms.read(self._request, max_bytes=MAX_BODY, max_fields=schema_fields.MAX_FIELDS)
        config_id = "" if self._row is None else self._row.config_id
        draft = await asyncio.to_thread(config_draft.read, self.product, config_id, form)
        action, _, name = form.text("do").partition(":")
        match action:
            case "publish":
                return await self._publish(draft, form.text("reviewed"))
            case "review" | "":
                return await self.review(draft)
            case "form" | "json":
                return await self._switch(draft, action)
            case "example":
                return await self.form(
                    replace(draft, payload=dict(self.product.example), unread=()), unsaved=True
                )
            case "merge" | "mine" if self._row is not None:
                return await self._go_on(draft, action)
            case "add" | "set" | "remove" | "up" if draft.mode == config_draft.FORM:
                focus = schema_fields.act(self.product, draft.payload, action, name)
                return await self.form(draft, focus=focus, unsaved=True)
            case _:
                return await self.form(draft, focus=name, unsaved=True)

    async def _switch(self, draft: Draft, mode: str) -> Response[Any]:
        """The same draft, shown the other way."""
        problems = draft.unread
        if mode == config_draft.FORM and draft.mode == config_draft.JSON and not problems:
            problems = self._shape_of(draft.payload)
        if problems and mode == config_draft.FORM:
            return await self.form(draft, problems=problems, unsaved=True)
        text = "" if mode == config_draft.FORM else json_text.pretty(draft.payload)
        return await self.form(replace(draft, mode=mode, text=text, unread=()), unsaved=True)

    def _shape_of(self, payload: object) -> tuple[Problem, ...]:
        """Only what no form could show at all."""
        return () if isinstance(payload, dict) else self.product.check(payload)[:1]

    # The form -----------------------------------------------------------------------------------------

    async def form(
        self,
        draft: Draft,
        *,
        problems: Sequence[Problem] = (),
        focus: str = "",
        notes: Sequence[tuple[str, str]] = (),
        unsaved: bool = False,
    ) -> Response[Any]:
        """The form, with what is wrong where it is wrong."""
        view = await self._edit_page(draft, problems or draft.unread, focus, tuple(notes), unsaved=unsaved)
        return self._page("configs_form/edit.html", view.title, view)

    async def _edit_page(
        self, draft: Draft, problems: Sequence[Problem], focus: str, notes: tuple[tuple[str, str], ...], *,
        unsaved: bool,
    ) -> shown.EditPage:  # fmt: skip
        if draft.mode == config_draft.JSON and not draft.text:
            draft = replace(draft, text=json_text.pretty(draft.payload))
        in_payload = [shown.within(problem) for problem in problems if shown.is_of_payload(problem)]
        root = None
        if draft.mode == config_draft.FORM:
            root = await asyncio.to_thread(schema_form.build, self.product, draft.payload, in_payload)
        by_path: dict[str, str] = {}
        for problem in problems:
            by_path.setdefault(problem.path, problem.message)
        clients = await live_clients(self._tenant) if self._principal.may("fleet_read") else []
        target_rows = shown.target_rows(draft.targeting, by_path, clients)
        if self._row is not None and self._beyond(Targeting.parse(self._row.targeting)) is not None:
            words = "This config is aimed at more than you may change: you can look, and not publish."
            notes = (("wait", words), *notes)
        if self._row is not None and self._row.state == "retired":
            notes = (("wait", "This config is retired. Publishing it puts it in force again."), *notes)
        marks = [{"path": problem.path, "message": problem.message} for problem in in_payload]
        return shown.EditPage(
            path=self._path,
            back="/configs" if self._row is None else f"/configs/{self._row.config_id}",
            product=self.product,
            draft=draft,
            title=f"New: {self.product.title}" if self._row is None else f"Edit {self._what}",
            notes=notes,
            root=root,
            marks=orjson.dumps(marks).decode(),
            problems=tuple(shown.listed(problem, root) for problem in problems[:MAX_SHOWN_PROBLEMS]),
            wrong={field: by_path[path] for path, (_, field) in shown.ELSEWHERE.items() if path in by_path},
            targeting=target_rows,
            version_bounds=config_draft.bounds(draft.targeting),
            version_wrong=by_path.get("$.targeting.tracer_version", ""),
            reach=await shown.current_reach(
                self._tenant, self._principal, self.product, draft.targeting, draft.config_id or None
            ),
            periods=tuple((key, words) for key, (words, _) in config_draft.PERIODS.items()),
            limits=shown.limits(self._principal, self.product),
            focus=shown.first_field(root, focus),
            owner=self._owner(),
            is_unsaved=unsaved or bool(problems),
        )

    def _owner(self) -> str:
        """Tells the browser whose kept draft it is, without naming anybody."""
        return render.dom_id("owner", f"{self._principal.org_id} {self._principal.user}")

    def _page(self, template: str, title: str, view: object) -> Response[Any]:
        return render.page(
            self._request, template, title=title, view=view, principal=self._principal, tenant=self._tenant
        )

    # The review ---------------------------------------------------------------------------------------

    async def review(self, draft: Draft) -> Response[Any]:
        """What publishing would do; the form again when it cannot be published."""
        if draft.unread:
            return await self.form(draft, problems=shown.below_payload(draft.unread), unsaved=True)
        if self._row is not None and draft.revision != self._row.revision:
            return await self._conflict(draft, self._row)
        try:
            checked = await self._check(draft)
        except InvalidChangeError as error:
            return await self.form(draft, problems=error.problems, unsaved=True)
        if self._row is None and not draft.name:  # nobody finds a config by its id
            name = f"{self.product.title} for {describe(checked.targeting)}"
            draft = replace(draft, name=name if len(name) <= MAX_GIVEN_NAME else self.product.title)
        before = None if self._row is None else orjson.loads(self._row.payload)
        was_active = self._row is not None and self._row.state == "active"
        targeting_before = Targeting.parse(self._row.targeting) if self._row is not None else None
        after = orjson.loads(checked.payload)
        config_id = draft.config_id or None
        reach = await live_reach(
            self._tenant, self.product, checked.targeting, payload=after, config_id=config_id
        )
        changes = meaning.changes(self.product, before, after)
        others = self._others(draft, checked.name, targeting_before, checked.targeting)
        lines, cut = await asyncio.to_thread(
            text_diff.lines, "" if before is None else json_text.pretty(before), json_text.pretty(after)
        )
        view = shown.ReviewPage(
            path=self._path,
            product=self.product,
            draft=draft,
            title=f"Review: {draft.name or self._what}",
            audience=describe(checked.targeting),
            changes=changes,
            others=others,
            warnings=checked.warnings,
            reach=shown.reach_view(reach, self._principal, is_new=not was_active),
            lines=lines,
            cut=cut,
            nothing=was_active and not changes and not others and before == after,
            owner=self._owner(),
        )
        return self._page("configs_form/review.html", view.title, view)

    async def _check(self, draft: Draft) -> Any:
        """As the author checks it, and whether it is theirs to aim so far.

        Raises:
            InvalidChangeError: Something is wrong with it, each at its path.
        """
        fields = {**draft.fields(self._now), "product": self.product.name}
        checked = await self._editor.check(fields, config_id=draft.config_id or None)
        problem = self._beyond(checked.targeting)
        if problem is not None:
            raise InvalidChangeError(problem.message, problems=(problem,))
        return checked

    def _beyond(self, targeting: Targeting) -> Problem | None:
        """What is wrong with aiming so far, or with changing what is aimed so far now."""
        limits = " or ".join(shown.limits(self._principal, self.product))
        present = None if self._row is None else Targeting.parse(self._row.targeting)
        if present is not None and not self._editor.may_write(self.product, present):
            return Problem("$.targeting", f"This config reaches further than you may: {limits}.")
        if not self._editor.may_write(self.product, targeting):
            return Problem("$.targeting", f"This reaches further than you may: {limits}.")
        return None

    def _others(self, draft: Draft, name: str, before: Targeting | None, after: Targeting) -> tuple[str, ...]:
        """What is different besides the payload, in words."""
        if self._row is None:
            return () if draft.expiry == config_draft.NEVER else (f"Ends {draft.expiry_words}",)
        said = [change.words for change in meaning.targeting_changes(before, after)]
        if name != self._row.name:
            said.append(f"Name {self._row.name or 'none'} → {name or 'none'}")
        was = config_draft.of_row(self._row).expiry_words
        if draft.expiry_words != was:
            said.append(f"Ends {was} → {draft.expiry_words}")
        if self._row.state == "retired":
            said.append("Retired → in force again")
        return tuple(said)

    # Publishing ---------------------------------------------------------------------------------------

    async def _publish(self, draft: Draft, reviewed: str) -> Response[Any]:
        """Publish what was reviewed; anything else is reviewed first."""
        if draft.unread or reviewed != draft.digest:
            return await self.review(draft)
        done = (self._tenant.organisation.org_id, self._principal.user, draft.draft_id)
        if done in _published:  # pressed twice
            return self._went(draft, _published[done], "It is published already.")
        fields = draft.fields(self._now)
        try:
            if self._row is None:
                row, _ = await self._editor.create({**fields, "product": self.product.name})
            else:
                row, _ = await self._editor.change(
                    self._row.config_id, fields, expected_revision=draft.revision
                )
        except ConflictError:
            assert self._row is not None
            return await self._conflict(draft, await self._editor.get(self._row.config_id))
        except InvalidChangeError as error:
            return await self.form(draft, problems=error.problems, unsaved=True)
        except NotPermittedError as error:
            return await self.form(draft, problems=[Problem("$.targeting", error.public)], unsaved=True)
        _published[done] = row.config_id
        while len(_published) > _REMEMBERED:
            _published.popitem(last=False)
        name = row.name or row.config_id
        return self._went(draft, row.config_id, f"Published {name[:80]}, revision {row.revision}.")

    def _went(self, draft: Draft, config_id: str, words: str) -> Response[Any]:
        answer = forms.went(f"/configs/{config_id}", words)
        earlier = self._request.cookies.get(PUBLISHED_COOKIE, "").split(".")
        known = [one for one in earlier if len(one) == 16 and one.isalnum()][-4:]
        answer.cookies.append(
            Cookie(
                key=PUBLISHED_COOKIE, value=".".join([*known, draft.draft_id]), path="/", max_age=604_800,
                samesite="lax", secure=self._request.url.scheme == "https",
            )
        )  # fmt: skip
        return answer

    # Two people ---------------------------------------------------------------------------------------

    async def _conflict(self, draft: Draft, row: rows.ConfigRow) -> Response[Any]:
        """Theirs, mine and the common base, by meaning and as text."""
        base = await self._base(draft)
        base_payload, theirs = orjson.loads(base.payload), orjson.loads(row.payload)
        _, clashes = three_way.merge(base_payload, draft.payload, theirs)
        theirs_draft = replace(config_draft.of_row(row), draft_id=draft.draft_id)
        view = shown.ConflictPage(
            path=self._path,
            product=self.product,
            draft=draft,
            title=f"{self._what}: somebody else was first",
            base_revision=base.revision,
            base_text=json_text.pretty(base_payload),
            theirs_revision=row.revision,
            theirs_by=row.updated_by,
            theirs_at=render.moment(row.updated_ms / 1000),
            theirs_comment=row.comment,
            retired=row.state == "retired",
            theirs=await self._side(base, theirs_draft, clashes),
            mine=await self._side(base, draft, clashes),
            clashes=len(clashes),
            owner=self._owner(),
        )
        return self._page("configs_form/conflict.html", view.title, view)

    async def _base(self, draft: Draft) -> rows.RevisionRow:
        """The revision both began with; the first one when the browser names none there is."""
        author = self._tenant.author
        try:
            return await asyncio.to_thread(author.revision, draft.config_id, draft.revision)
        except NotFoundError:
            return await asyncio.to_thread(author.revision, draft.config_id, 1)

    async def _side(self, base: rows.RevisionRow, draft: Draft, clashes: Sequence[str]) -> shown.Side:
        before = orjson.loads(base.payload)
        text = json_text.pretty(draft.payload)
        found = (
            meaning.changes(self.product, before, draft.payload) if isinstance(draft.payload, dict) else ()
        )
        lines, _ = await asyncio.to_thread(text_diff.lines, json_text.pretty(before), text)
        others = []
        if not problems_of(draft.targeting):
            changed = meaning.targeting_changes(
                Targeting.parse(base.targeting), Targeting.parse(draft.targeting)
            )
            others = [change.words for change in changed]
        if draft.name != base.name:
            others.append(f"Name {base.name or 'none'} → {draft.name or 'none'}")
        return shown.Side(
            tuple((change, any(_meets(change.path, clash) for clash in clashes)) for change in found),
            tuple(others), lines, text,
        )  # fmt: skip

    async def _go_on(self, draft: Draft, action: str) -> Response[Any]:
        """After a conflict: with both changes together, or with one's own as it is; on top of theirs."""
        assert self._row is not None
        row = self._row
        if draft.unread or draft.revision == row.revision:
            return await self.form(draft, unsaved=True)
        ahead = replace(draft, revision=row.revision, mode=config_draft.FORM, text="")
        if action == "mine":
            note = f"This is yours as it was; revision {row.revision} by {row.updated_by} would be replaced."
            return await self.form(ahead, notes=[("wait", note)], unsaved=True)
        base = await self._base(draft)
        payload, clashes = three_way.merge(
            orjson.loads(base.payload), draft.payload, orjson.loads(row.payload)
        )
        targeting, more = three_way.merge(
            base.targeting, dict(draft.targeting), dict(row.targeting), "$.targeting"
        )
        name, _ = three_way.merge(base.name, draft.name, row.name, "$.name")
        note = f"Your changes are on top of revision {row.revision} by {row.updated_by}."
        if clashes or more:
            where = ", ".join([*clashes, *more][:5])
            note += f" Where you both changed the same, yours stands: {where}."
        merged = replace(ahead, payload=payload, targeting=targeting, name=str(name))
        return await self.form(merged, notes=[("wait" if clashes or more else "ok", note)], unsaved=True)


#: Drafts that were published, by organisation, person and draft: a button pressed twice publishes once.
_published: OrderedDict[tuple[int, str, str], str] = OrderedDict()


def _meets(path: str, clash: str) -> bool:
    return path.startswith(clash) or clash.startswith(path)
