"""A detection rule on its way through the form: fields to a document, a document to fields, without loss.

The form and the JSON show the same document. What the form has no field for keeps the draft in JSON; what is
wrong stays as it was typed, so that the checker can say where. Every list is bounded, whatever is posted.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from sealwire.errors import InvalidChangeError, Problem
from sealwire.server.security.rules import MAX_CASES, MAX_GROUP_BY, MAX_QUERIES, MAX_TAGS
from sealwire.server.ui import json_text
from sealwire.server.ui.forms import Form

FORM, JSON = "form", "json"
MAX_JSON_CHARS: Final = 60_000
_NAMES: Final = "abcdefghijklmnopqrstuvwxyz"
_WHOLE = re.compile(r"-?[0-9]{1,9}")

Document = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class QueryFields:
    """One query as typed; ``distinct`` is the facet whose values are counted, empty to count requests."""

    name: str = ""
    query: str = ""
    distinct: str = ""


@dataclass(frozen=True, slots=True)
class CaseFields:
    """One case as typed."""

    status: str = "medium"
    condition: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True)
class Draft:
    """What stands in the form.

    Attributes:
        mode: ``form`` or ``json``.
        version: The one that it was made from; 0 for a new rule.
        text: Of the JSON, while it is edited as such.
        draft_id: Tells a form that was sent twice from two forms.
    """

    mode: str = FORM
    version: int = 0
    draft_id: str = ""
    name: str = ""
    message: str = ""
    enabled: bool = True
    queries: tuple[QueryFields, ...] = (QueryFields("a"),)
    group_by: tuple[str, ...] = ()
    cases: tuple[CaseFields, ...] = (CaseFields(condition="a > 10"),)
    window: str = "300"
    keep_alive: str = "3600"
    longest: str = "86400"
    method: str = "threshold"
    sigmas: str = "4"
    tags: str = ""
    text: str = ""
    comment: str = ""


def new_id() -> str:
    """For a draft that begins."""
    return secrets.token_hex(8)


def of_document(document: Document, *, version: int = 0, draft_id: str = "") -> Draft:
    """The draft that shows a document, as a form where that can show all of it."""
    draft = Draft(version=version, draft_id=draft_id or new_id())
    fields = _fields(document)
    if fields is None:
        return replace(draft, mode=JSON, text=json_text.pretty(document))
    return replace(draft, **fields)


def _fields(document: Document) -> dict[str, Any] | None:
    """The fields of a document; None where the form cannot show it all."""
    try:
        queries = [dict(query) for query in document.get("queries", [])]
        cases = [dict(case) for case in document.get("cases", [])]
        options = dict(document.get("options", {}))
        tags = document.get("tags", [])
        grouped = {tuple(query.get("groupByFields", [])) for query in queries} or {()}
        fields = {
            "name": str(document.get("name", "")),
            "message": str(document.get("message", "")),
            "enabled": document.get("isEnabled", True) is True,
            "queries": tuple(
                QueryFields(
                    str(query.get("name", _NAMES[place % 26])),
                    str(query.get("query", "")),
                    str((query.get("distinctFields") or [""])[0])
                    if query.get("aggregation", "count") == "cardinality"
                    else "",
                )
                for place, query in enumerate(queries)
            ),
            "group_by": next(iter(grouped)),
            "cases": tuple(
                CaseFields(
                    str(case.get("status", "medium")).lower(),
                    str(case.get("condition", "")),
                    str(case.get("name", "")),
                )
                for case in cases
            ),
            "window": str(options.get("evaluationWindow", 300)),
            "keep_alive": str(options.get("keepAlive", 3_600)),
            "longest": str(options.get("maxSignalDuration", 86_400)),
            "method": str(options.get("detectionMethod", "threshold")),
            "sigmas": f"{float(options.get('sigmas', 4)):g}",
            "tags": "\n".join(map(str, tags)),
        }
    except (TypeError, ValueError, AttributeError, IndexError, KeyError):
        return None
    same = len(grouped) == 1 and len(queries) <= MAX_QUERIES and len(cases) <= MAX_CASES
    known = set(document) <= {"name", "message", "isEnabled", "type", "queries", "cases", "options", "tags"}
    in_lines = all(isinstance(tag, str) and tag == tag.strip() and "\n" not in tag for tag in tags)
    return fields if same and known and in_lines else None


def read(form: Form) -> Draft:
    """What was sent."""
    version = form.text("version", "0")
    return Draft(
        mode=JSON if form.text("mode") == JSON else FORM,
        version=int(version) if _WHOLE.fullmatch(version) else 0,
        draft_id=re.sub(r"[^0-9a-f]", "", form.text("draft"))[:16] or new_id(),
        name=form.text("name"),
        message=form.raw("message").replace("\r\n", "\n").strip(),
        enabled=form.flag("enabled"),
        queries=tuple(
            QueryFields(form.text(f"q-{at}-name"), form.text(f"q-{at}-query"), form.text(f"q-{at}-distinct"))
            for at in _places(form, "q", "query", MAX_QUERIES)
        ),
        group_by=tuple(value for at in range(MAX_GROUP_BY) if (value := form.text(f"by-{at}"))),
        cases=tuple(
            CaseFields(form.text(f"c-{at}-status"), form.text(f"c-{at}-condition"), form.text(f"c-{at}-name"))
            for at in _places(form, "c", "condition", MAX_CASES)
        ),
        window=form.text("window"),
        keep_alive=form.text("keep_alive"),
        longest=form.text("longest"),
        method=form.text("method"),
        sigmas=form.text("sigmas"),
        tags=form.raw("tags").replace("\r\n", "\n"),
        text=form.raw("json").replace("\r\n", "\n")[:MAX_JSON_CHARS],
        comment=form.text("comment"),
    )


def _places(form: Form, kind: str, field: str, most: int) -> Iterable[int]:
    return (at for at in range(most) if f"{kind}-{at}-{field}" in form.fields)


def edited(draft: Draft, do: str) -> Draft:
    """The draft after one of the form's own buttons: a query or a case more, or fewer."""
    verb, _, place = do.rpartition("-")
    at = int(place) if place.isascii() and place.isdigit() and len(place) < 4 else -1
    if do == "add-query" and len(draft.queries) < MAX_QUERIES:
        taken = {query.name for query in draft.queries}
        name = next((letter for letter in _NAMES if letter not in taken), "")
        return replace(draft, queries=(*draft.queries, QueryFields(name)))
    if do == "add-case" and len(draft.cases) < MAX_CASES:
        return replace(draft, cases=(*draft.cases, CaseFields()))
    if verb == "remove-query" and 0 <= at < len(draft.queries):
        return replace(draft, queries=_without(draft.queries, at))
    if verb == "remove-case" and 0 <= at < len(draft.cases):
        return replace(draft, cases=_without(draft.cases, at))
    if verb == "raise-case" and 0 < at < len(draft.cases):
        cases = list(draft.cases)
        cases[at - 1], cases[at] = cases[at], cases[at - 1]
        return replace(draft, cases=tuple(cases))
    return draft


def _without(items: Sequence[Any], at: int) -> tuple[Any, ...]:
    return (*items[:at], *items[at + 1 :])


def document_of(draft: Draft) -> Any:
    """The document that the draft stands for, right or wrong.

    Raises:
        InvalidChangeError: It is edited as JSON and is none.
    """
    if draft.mode == JSON:
        if len(draft.text) >= MAX_JSON_CHARS:
            message = f"at most {MAX_JSON_CHARS} characters"
            raise InvalidChangeError("The JSON is too long.", problems=(Problem("$", message),))
        return json_text.parse(draft.text)
    options: dict[str, Any] = {
        "evaluationWindow": _number(draft.window),
        "keepAlive": _number(draft.keep_alive),
        "maxSignalDuration": _number(draft.longest),
        "detectionMethod": draft.method,
    }
    if draft.method == "history":
        options["sigmas"] = _number(draft.sigmas)
    return {
        "name": draft.name,
        **({"message": draft.message} if draft.message else {}),
        "isEnabled": draft.enabled,
        "type": "application_security",
        "queries": [
            {
                "name": query.name,
                "query": query.query,
                **(
                    {"aggregation": "cardinality", "distinctFields": [query.distinct]}
                    if query.distinct
                    else {"aggregation": "count"}
                ),
                "groupByFields": list(draft.group_by),
            }
            for query in draft.queries
        ],
        "cases": [
            {"name": case.name, "status": case.status, "condition": case.condition} for case in draft.cases
        ],
        "options": options,
        "tags": [line.strip() for line in draft.tags.split("\n") if line.strip()][: MAX_TAGS + 1],
    }


def as_json(draft: Draft) -> Draft:
    """The same draft, as JSON."""
    if draft.mode == JSON:
        return draft
    return replace(draft, mode=JSON, text=json_text.pretty(document_of(draft)))


def as_form(draft: Draft) -> Draft:
    """The same draft, in fields.

    Raises:
        InvalidChangeError: It is no JSON, or has what the form has no field for.
    """
    if draft.mode == FORM:
        return draft
    document = document_of(draft)
    fields = _fields(document) if isinstance(document, Mapping) else None
    if fields is None:
        message = "The form cannot show all of this: correct it here first."
        raise InvalidChangeError(message, problems=(Problem("$", message),))
    return replace(draft, mode=FORM, text="", **fields)


def _number(text: str) -> Any:
    """The number that was typed, or what was typed."""
    if _WHOLE.fullmatch(text):
        return int(text)
    try:
        return float(text) if len(text) < 20 and re.fullmatch(r"[0-9]+\.[0-9]+", text) else text
    except ValueError:
        return text


_FIELDS: Final[Mapping[str, str]] = {
    "$.name": "in-name",
    "$.message": "in-message",
    "$.options.evaluationWindow": "in-window",
    "$.options.keepAlive": "in-keep_alive",
    "$.options.maxSignalDuration": "in-longest",
    "$.options.detectionMethod": "in-method",
    "$.options.sigmas": "in-sigmas",
    "$.queries": "add-query",
    "$.cases": "add-case",
}
_IN_QUERY = re.compile(r"\$\.queries\[(\d+)\]\.(name|query|distinctFields|groupByFields|aggregation)")
_IN_CASE = re.compile(r"\$\.cases\[(\d+)\]\.(name|status|condition)")


def field_of(path: str) -> str:
    """The field that shows what stands at a path; empty where none does."""
    if path in _FIELDS:
        return _FIELDS[path]
    if path.startswith("$.tags"):
        return "in-tags"
    if (found := _IN_QUERY.match(path)) is not None:
        if found[2] == "groupByFields":
            return "in-by-0"
        return f"in-q-{found[1]}-{'distinct' if found[2] in ('distinctFields', 'aggregation') else found[2]}"
    if (found := _IN_CASE.match(path)) is not None:
        return f"in-c-{found[1]}-{found[2]}"
    return ""
