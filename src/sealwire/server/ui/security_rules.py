"""Detection rules: the list, one with its versions, switching, restoring, deleting, files in and out."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import orjson
from litestar import Request, Response, get, post
from litestar.params import FromPath
from litestar.response import Redirect
from markupsafe import Markup

from sealwire.errors import ConflictError, InvalidChangeError, Problem
from sealwire.products import wording
from sealwire.server.access import Principal
from sealwire.server.api.guard import Asker, OwnTenant, Plane
from sealwire.server.control_plane import ControlPlane
from sealwire.server.security.rule_book import Entry, Kind, Version, exported
from sealwire.server.security.rule_documents import imported
from sealwire.server.security.rule_words import counts, span
from sealwire.server.store import security as store
from sealwire.server.tenant import Tenant
from sealwire.server.ui import forms, json_text, safe_markdown, security_rule_form, text_diff
from sealwire.server.ui.render import dom_id, moment, page
from sealwire.server.ui.security_rule_form import MAX_FORM_BYTES, PATH, WRITE
from sealwire.server.ui.security_signal_detail import CaseLine
from sealwire.server.ui.security_signal_words import SEVERITIES
from sealwire.server.ui.text_diff import Lines
from sealwire.server.ui.views import NEVER, Moment, Status, Tab

Asked: TypeAlias = Request[Any, Any, Any]
READ: Final = {"permission": "security_monitoring_rules_read"}
OVER_S: Final = 7 * 86_400
_ON = Status("On", "ok", "circle-check")
_OFF = Status("Off", "mute", "ban")
_KINDS: Final = {Kind.BUILTIN: "Built-in", Kind.CHANGED: "Changed", Kind.OWN: "Own"}


@dataclass(frozen=True, slots=True)
class RuleLine:
    """One rule in the table."""

    dom_id: str
    rule_id: str
    href: str
    name: str
    status: Status
    is_on: bool
    kind: str
    worst: Status
    signals: int
    signals_href: str
    window: str
    tags: tuple[str, ...]
    version: int
    changed: Moment
    changed_by: str


@dataclass(frozen=True, slots=True)
class RulesPage:
    """All rules that an address asks for; ``shown`` of ``total``."""

    rules: tuple[RuleLine, ...]
    total: int
    text: str
    kind: str
    tabs: tuple[Tab, ...]
    may_write: bool


@dataclass(frozen=True, slots=True)
class VersionLine:
    """One version in the history."""

    version: int
    by: str
    at: Moment
    comment: str
    changes: tuple[str, ...]
    lines: Lines
    is_first: bool


@dataclass(frozen=True, slots=True)
class QueryLine:
    """One query, in words."""

    name: str
    text: str
    counts: str


@dataclass(frozen=True, slots=True)
class RulePage:
    """One rule."""

    rule_id: str
    href: str
    name: str
    status: Status
    is_on: bool
    kind: str
    is_own: bool
    is_changed: bool
    version: int
    message: Markup
    queries: tuple[QueryLine, ...]
    group_by: tuple[str, ...]
    cases: tuple[CaseLine, ...]
    window: str
    keep_alive: str
    longest: str
    sigmas: str
    tags: tuple[str, ...]
    signals: int
    signals_href: str
    document: str
    versions: tuple[VersionLine, ...]
    may_write: bool


@dataclass(frozen=True, slots=True)
class DangerPage:
    """What is lost: a change of a built-in rule, or a rule of one's own."""

    href: str
    name: str
    version: int
    kind: str
    changes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ImportPage:
    """The form that takes a file's text."""

    text: str
    problems: tuple[Problem, ...]


@get(PATH, opt=READ, include_in_schema=False)
async def show_rules(request: Asked, principal: Asker, tenant: OwnTenant, plane: Plane) -> Response[str]:
    """All rules."""
    view = await asyncio.to_thread(_list, dict(request.query_params), principal, tenant, plane)
    return page(
        request, "security_rules/rules.html", title="Detection rules", view=view, principal=principal,
        tenant=tenant,
    )  # fmt: skip


@get(f"{PATH}/export", opt=READ, include_in_schema=False)
async def export_rules(tenant: OwnTenant) -> Response[bytes]:
    """Every rule as a file."""
    entries = await asyncio.to_thread(tenant.rule_book.all)
    return _file({"rules": [exported(entry) for entry in entries]}, "detection-rules")


@get(f"{PATH}/import", opt=WRITE, include_in_schema=False)
async def show_import(request: Asked, principal: Asker, tenant: OwnTenant) -> Response[str]:
    """The form for rules from elsewhere."""
    return _import(request, principal, tenant, "", ())


@post(f"{PATH}/import", opt=WRITE, status_code=200, include_in_schema=False)
async def import_rules(
    request: Asked, principal: Asker, tenant: OwnTenant, plane: Plane
) -> Response[str] | Redirect:
    """Rules from elsewhere become rules of one's own: all of them, or none."""
    form = await forms.read(request, max_bytes=4 * MAX_FORM_BYTES)
    text = form.raw("json").replace("\r\n", "\n")
    try:
        documents = imported(json_text.parse(text))
        made = await tenant.rule_book.create_all(
            documents, by=principal.user, now_ms=plane.now_ms(), comment="Imported"
        )
    except InvalidChangeError as error:
        problems = error.problems or (Problem("$", error.public),)
        return _import(request, principal, tenant, text, problems)
    if len(made) == 1:
        return forms.went(f"{PATH}/{made[0].rule_id}", "The rule is imported.")
    return forms.went(f"{PATH}?kind=own", f"{wording.counted(len(made), 'rule')} imported.")


@get(f"{PATH}/{{rule_id:str}}", opt=READ, include_in_schema=False)
async def show_rule(
    request: Asked, rule_id: FromPath[str], principal: Asker, tenant: OwnTenant, plane: Plane
) -> Response[str]:
    """One rule, and what it was."""
    view = await asyncio.to_thread(_rule, rule_id, principal, tenant, plane)
    return page(
        request, "security_rules/rule.html", title=view.name, view=view, principal=principal, tenant=tenant
    )


@get(f"{PATH}/{{rule_id:str}}/export", opt=READ, include_in_schema=False)
async def export_rule(rule_id: FromPath[str], tenant: OwnTenant) -> Response[bytes]:
    """One rule as a file."""
    entry = await asyncio.to_thread(tenant.rule_book.get, rule_id)
    return _file(exported(entry), entry.rule_id)


@post(f"{PATH}/{{rule_id:str}}/switch", opt=WRITE, status_code=303, include_in_schema=False)
async def switch_rule(
    request: Asked, rule_id: FromPath[str], principal: Asker, tenant: OwnTenant, plane: Plane
) -> Redirect:
    """Switch a rule on or off."""
    form = await forms.read(request)
    entry = await tenant.rule_book.switch(
        rule_id, is_on=form.text("to") == "on", by=principal.user, now_ms=plane.now_ms()
    )
    back = forms.local_path(form.text("next", f"{PATH}/{entry.rule_id}"))
    return forms.went(back, f"{entry.rule.name[:120]} is {'on' if entry.rule.enabled else 'off'}.")


@get(f"{PATH}/{{rule_id:str}}/restore", opt=WRITE, include_in_schema=False)
async def show_restore(
    request: Asked, rule_id: FromPath[str], principal: Asker, tenant: OwnTenant
) -> Response[str]:
    """What is lost when a built-in rule gets back what it came with."""
    return await _danger(request, rule_id, principal, tenant, "restore")


@post(f"{PATH}/{{rule_id:str}}/restore", opt=WRITE, status_code=303, include_in_schema=False)
async def restore_rule(
    request: Asked, rule_id: FromPath[str], principal: Asker, tenant: OwnTenant, plane: Plane
) -> Redirect:
    """Give a built-in rule back what it came with."""
    version = _version(await forms.read(request))
    try:
        entry = await tenant.rule_book.restore(
            rule_id, expected_version=version, by=principal.user, now_ms=plane.now_ms()
        )
    except (ConflictError, InvalidChangeError) as error:
        return forms.did_not(PATH, error.public)
    return forms.went(f"{PATH}/{entry.rule_id}", "The rule is as it came.")


@get(f"{PATH}/{{rule_id:str}}/delete", opt=WRITE, include_in_schema=False)
async def show_delete(
    request: Asked, rule_id: FromPath[str], principal: Asker, tenant: OwnTenant
) -> Response[str]:
    """What is lost with a rule of one's own."""
    return await _danger(request, rule_id, principal, tenant, "delete")


@post(f"{PATH}/{{rule_id:str}}/delete", opt=WRITE, status_code=303, include_in_schema=False)
async def delete_rule(
    request: Asked, rule_id: FromPath[str], principal: Asker, tenant: OwnTenant, plane: Plane
) -> Redirect:
    """End a rule of one's own."""
    version = _version(await forms.read(request))
    try:
        await tenant.rule_book.delete(
            rule_id, expected_version=version, by=principal.user, now_ms=plane.now_ms()
        )
    except (ConflictError, InvalidChangeError) as error:
        return forms.did_not(PATH, error.public)
    return forms.went(PATH, "The rule is gone.")


# Making them --------------------------------------------------------------------------------------------


def _list(query: Mapping[str, str], principal: Principal, tenant: Tenant, plane: ControlPlane) -> RulesPage:
    entries = tenant.rule_book.all()
    found = _signals(tenant, plane)
    text, kind = query.get("q", "")[:200].strip(), query.get("kind", "")
    asked = text.casefold()
    known = {"": list(entries)} | {
        each.value: [entry for entry in entries if entry.kind is each] for each in Kind
    }
    kind = kind if kind in known else ""
    shown = [
        entry
        for entry in known[kind]
        if asked in f"{entry.rule.name}\n{entry.rule_id}\n{' '.join(entry.rule.tags)}".casefold()
    ]
    tabs = [Tab("All", PATH, not kind, len(entries))] + [
        Tab(words, f"{PATH}?kind={each.value}", kind == each.value, len(known[each.value]))
        for each, words in _KINDS.items()
    ]
    return RulesPage(
        rules=tuple(_line(entry, found.get(entry.rule_id, 0)) for entry in shown),
        total=len(entries),
        text=text,
        kind=kind,
        tabs=tuple(tabs),
        may_write=principal.may(WRITE["permission"]),
    )


def _signals(tenant: Tenant, plane: ControlPlane) -> dict[str, int]:
    with plane.database.read() as c:
        return store.signals_by_rule(c, tenant.organisation.org_id, since_ms=plane.now_ms() - OVER_S * 1000)


def _signals_href(rule_id: str) -> str:
    return f"/security/signals?state=all&since=7d&rule={rule_id}"


def _line(entry: Entry, signals: int) -> RuleLine:
    rule = entry.rule
    return RuleLine(
        dom_id=dom_id("rule", entry.rule_id),
        rule_id=entry.rule_id,
        href=f"{PATH}/{entry.rule_id}",
        name=rule.name,
        status=_ON if rule.enabled else _OFF,
        is_on=rule.enabled,
        kind=_KINDS[entry.kind],
        worst=SEVERITIES[max(case.severity for case in rule.cases)],
        signals=signals,
        signals_href=_signals_href(entry.rule_id),
        window=span(rule.window_s),
        tags=tuple(tag for tag in rule.tags if tag != "security:attack")[:4],
        version=entry.version,
        changed=NEVER if entry.changed_ms is None else moment(entry.changed_ms / 1000),
        changed_by=entry.changed_by,
    )


def _rule(rule_id: str, principal: Principal, tenant: Tenant, plane: ControlPlane) -> RulePage:
    entry = tenant.rule_book.get(rule_id)
    versions = tenant.rule_book.versions(rule_id)
    rule = entry.rule
    return RulePage(
        rule_id=entry.rule_id,
        href=f"{PATH}/{entry.rule_id}",
        name=rule.name,
        status=_ON if rule.enabled else _OFF,
        is_on=rule.enabled,
        kind=_KINDS[entry.kind],
        is_own=entry.kind is Kind.OWN,
        is_changed=entry.kind is Kind.CHANGED,
        version=entry.version,
        message=safe_markdown.render(rule.message),
        queries=tuple(
            QueryLine(known.name, known.text, counts(query))
            for known, query in zip(rule.queries, entry.document["queries"], strict=True)
        ),
        group_by=tuple(facet.name for facet in rule.group_by),
        cases=tuple(
            CaseLine(SEVERITIES[case.severity], case.name, case.condition, False) for case in rule.cases
        ),
        window=span(rule.window_s),
        keep_alive=span(rule.keep_alive_s),
        longest=span(rule.max_duration_s),
        sigmas="" if rule.sigmas is None else f"{rule.sigmas:g}",
        tags=rule.tags,
        signals=_signals(tenant, plane).get(rule_id, 0),
        signals_href=_signals_href(entry.rule_id),
        document=json_text.pretty(entry.document),
        versions=tuple(
            _version_line(one, before) for one, before in zip(versions, [*versions[1:], None], strict=True)
        ),
        may_write=principal.may(WRITE["permission"]),
    )


def _version_line(one: Version, before: Version | None) -> VersionLine:
    lines: Lines = ()
    if before is not None and one.document:
        lines, _ = text_diff.lines(json_text.pretty(before.document), json_text.pretty(one.document))
    return VersionLine(
        version=one.version,
        by=one.changed_by or "came with the server",
        at=NEVER if one.changed_ms is None else moment(one.changed_ms / 1000),
        comment=one.comment,
        changes=one.changes,
        lines=lines,
        is_first=before is None,
    )


async def _danger(
    request: Asked, rule_id: str, principal: Principal, tenant: Tenant, kind: str
) -> Response[str]:
    entry = await asyncio.to_thread(tenant.rule_book.get, rule_id)
    versions = await asyncio.to_thread(tenant.rule_book.versions, rule_id)
    lost = tuple(words for one in versions[:-1] for words in one.changes)[:20]
    view = DangerPage(f"{PATH}/{entry.rule_id}", entry.rule.name, entry.version, kind, lost)
    title = f"{'Restore' if kind == 'restore' else 'Delete'} {entry.rule.name}"
    return page(
        request, "security_rules/danger.html", title=title, view=view, principal=principal, tenant=tenant
    )


def _import(
    request: Asked, principal: Principal, tenant: Tenant, text: str, problems: tuple[Problem, ...]
) -> Response[str]:
    return page(
        request, "security_rules/import.html", title="Import detection rules",
        view=ImportPage(text, problems[:30]), principal=principal, tenant=tenant,
        status_code=422 if problems else 200,
    )  # fmt: skip


def _version(form: forms.Form) -> int:
    text = form.text("version")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else -1


def _file(value: object, name: str) -> Response[bytes]:
    return Response(
        orjson.dumps(value, option=orjson.OPT_INDENT_2),
        media_type="application/json",
        headers={"Content-Disposition": f'attachment; filename="{name}.json"'},
    )


HANDLERS = [
    show_rules,
    export_rules,
    show_import,
    import_rules,
    show_rule,
    export_rule,
    switch_rule,
    show_restore,
    restore_rule,
    show_delete,
    delete_rule,
    *security_rule_form.HANDLERS,
]
