"""A probe on its way through the form: fields to a document, a document to fields, without loss.

Fields of every kind are in the form at once, and only those of the chosen kind become part of the document:
who changes their mind loses nothing. What is wrong stays as it was typed, so that the checker can say where.
Every list is bounded, whatever is posted.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar

from sealwire.products.live_debugging import MINUTES_OTHERWISE, MINUTES_WITH_VALUES
from sealwire.server.debugger.authoring.probes import (
    MetricKind,
    Moment,
    ProbeKind,
    TargetSpan,
)
from sealwire.server.ui.forms import Form

LINE, METHOD = "line", "method"
NOTHING, EVERYTHING, SOME = "nothing", "everything", "some"
MAX_ROWS: Final = 20
LIMITS: Final = ("depth", "elements", "length", "fields")
_WHOLE = re.compile(r"[0-9]{1,9}")
_DRAFT_ID = re.compile(r"[0-9a-f]{16}")
_FILE_AND_LINE = re.compile(r"(.+):([0-9]{1,7})")

Document = Mapping[str, Any]
Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class AskedFields:
    """One captured expression as typed."""

    name: str = ""
    expression: str = ""
    limits: tuple[str, str, str, str] = ("", "", "", "")

    @property
    def is_empty(self) -> bool:
        return not self.name and not self.expression


@dataclass(frozen=True, slots=True)
class TagFields:
    """One tag of a span as typed."""

    name: str = ""
    template: str = ""


@dataclass(frozen=True, slots=True)
class DecorationFields:
    """Tags of a span under one condition."""

    when: str = ""
    tags: tuple[TagFields, ...] = (TagFields(),)

    @property
    def is_empty(self) -> bool:
        return not self.when and not any(each.name or each.template for each in self.tags)


@dataclass(frozen=True, slots=True)
class Draft:
    """What stands in the form; nothing of it needs to be right.

    Attributes:
        draft_id: Tells a form that was sent twice from two forms.
        revision: The one that it was made from; 0 for a new probe.
        env: Several with commas between them; empty for every one.
        language: Empty for that of the clients.
        place: ``line`` or ``method``.
        captures: ``nothing``, ``everything`` (a snapshot) or ``some`` (expressions).
        tags: One to a line.
        minutes: Until it expires; empty for as long as is usual.
    """

    draft_id: str = ""
    revision: int = 0
    name: str = ""
    service: str = ""
    env: str = ""
    language: str = ""
    place: str = LINE
    file: str = ""
    line: str = ""
    type: str = ""
    method: str = ""
    signature: str = ""
    at: str = Moment.EXIT.value
    kind: str = ProbeKind.LOG.value
    template: str = ""
    captures: str = NOTHING
    limits: tuple[str, str, str, str] = ("", "", "", "")
    asked: tuple[AskedFields, ...] = ()
    per_second: str = ""
    when: str = ""
    metric_name: str = ""
    metric_kind: str = MetricKind.COUNT.value
    metric_value: str = ""
    span: str = TargetSpan.ACTIVE.value
    decorations: tuple[DecorationFields, ...] = (DecorationFields(),)
    tags: str = ""
    minutes: str = ""
    comment: str = ""

    @property
    def envs(self) -> tuple[str, ...]:
        """The environments, each once."""
        return tuple(dict.fromkeys(each for part in self.env.split(",") if (each := part.strip())))[:50]

    @property
    def takes_values(self) -> bool:
        """Whether it captures variables."""
        return self.kind == ProbeKind.LOG and (self.captures == EVERYTHING or bool(_asked(self)))

    @property
    def usual_minutes(self) -> int:
        """How long it stays if nobody says."""
        return MINUTES_WITH_VALUES if self.takes_values else MINUTES_OTHERWISE


def new_id() -> str:
    """For a draft that begins."""
    return secrets.token_hex(8)


# A document in fields ---------------------------------------------------------------------------------------


def of_document(document: Document, *, revision: int = 0, draft_id: str = "") -> Draft:
    """The draft that shows a document."""
    where = _record(document.get("where"))
    metric = _record(document.get("metric"))
    asked = tuple(
        AskedFields(_text(each.get("name")), _text(each.get("expression")), _limits(each.get("limits")))
        for each in _records(document.get("expressions"))
    )
    decorations = tuple(_decoration(each) for each in _records(document.get("decorations")))
    tags = document.get("tags")
    return Draft(
        draft_id=draft_id or new_id(),
        revision=revision,
        language=_text(document.get("language")),
        place=METHOD if "method" in where else LINE,
        file=_text(where.get("file")),
        line=_text(where.get("line")),
        type=_text(where.get("type")),
        method=_text(where.get("method")),
        signature=_text(where.get("signature")),
        at=_text(document.get("at")) or Moment.EXIT.value,
        kind=_text(document.get("kind")) or ProbeKind.LOG.value,
        template=_text(document.get("template")),
        captures=EVERYTHING if document.get("snapshot") else SOME if asked else NOTHING,
        limits=_limits(document.get("limits")),
        asked=asked,
        per_second=_text(document.get("per_second")),
        when=_text(document.get("when")),
        metric_name=_text(metric.get("name")),
        metric_kind=_text(metric.get("kind")) or MetricKind.COUNT.value,
        metric_value=_text(metric.get("value")),
        span=_text(document.get("span")) or TargetSpan.ACTIVE.value,
        decorations=decorations or (DecorationFields(),),
        tags="\n".join(map(str, tags)) if isinstance(tags, list | tuple) else "",
        minutes=_text(document.get("expires_in_minutes")),
    )


def _decoration(decoration: Mapping[str, Any]) -> DecorationFields:
    tags = tuple(
        TagFields(_text(each.get("name")), _text(each.get("template")))
        for each in _records(decoration.get("tags"))
    )
    return DecorationFields(_text(decoration.get("when")), tags or (TagFields(),))


def _limits(value: object) -> tuple[str, str, str, str]:
    limits = _record(value)
    depth, elements, length, fields = (_text(limits.get(key)) for key in LIMITS)
    return depth, elements, length, fields


def _record(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _records(value: object) -> list[Mapping[str, Any]]:
    found = value if isinstance(value, list | tuple) else []
    return [each for each in found if isinstance(each, Mapping)][:MAX_ROWS]


def _text(value: object) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    return "" if value is None or isinstance(value, bool) else str(value)


# What was sent ----------------------------------------------------------------------------------------------


def read(form: Form) -> Draft:
    """What a browser sent; whatever it is, a draft comes of it."""
    draft_id, revision = form.text("draft"), form.text("revision")
    place, kind = form.text("place"), form.text("kind")
    captures = form.text("captures")
    file, line = _file_and_line(form.text("file"), form.text("line"))
    return Draft(
        draft_id=draft_id if _DRAFT_ID.fullmatch(draft_id) else new_id(),
        revision=int(revision) if _WHOLE.fullmatch(revision) else 0,
        name=form.text("name"),
        service=form.text("service"),
        env=form.text("env"),
        language=form.text("language"),
        place=METHOD if place == METHOD else LINE,
        file=file,
        line=line,
        type=form.text("type"),
        method=form.text("method"),
        signature=form.text("signature"),
        at=form.text("at") or Moment.EXIT.value,
        kind=kind if kind in list(ProbeKind) else ProbeKind.LOG.value,
        template=_lines(form.raw("template")),
        captures=captures if captures in (EVERYTHING, SOME) else NOTHING,
        limits=_read_limits(form, "limit"),
        asked=_read_asked(form),
        per_second=form.text("per_second"),
        when=_lines(form.raw("when")).strip(),
        metric_name=form.text("metric_name"),
        metric_kind=form.text("metric_kind") or MetricKind.COUNT.value,
        metric_value=_lines(form.raw("metric_value")).strip(),
        span=form.text("span") or TargetSpan.ACTIVE.value,
        decorations=_read_decorations(form),
        tags=_lines(form.raw("tags")).strip(),
        minutes=form.text("minutes"),
        comment=_lines(form.raw("comment")).strip(),
    )


#: What an address may prefill: its parameters, by the fields they are.
PREFILLED: Final = (
    "name", "service", "env", "language", "file", "line", "type", "method", "at", "kind", "template", "when",
    "metric_name", "metric_value",
)  # fmt: skip


def prefilled(draft: Draft, parameters: Mapping[str, str]) -> Draft:
    """The draft with what the parameters of an address say."""
    given = {key: parameters.get(key, "").replace("\0", "").strip() for key in PREFILLED}
    said = {key: text for key, text in given.items() if text}
    if said.get("kind") not in list(ProbeKind):
        said.pop("kind", None)
    if said.get("at") not in list(Moment):
        said.pop("at", None)
    if "file" in said:
        said["file"], said["line"] = _file_and_line(said["file"], said.get("line", ""))
        said["place"] = LINE
    elif "method" in said:
        said["place"] = METHOD
    if parameters.get("snapshot", "") not in ("", "0", "false"):
        said["captures"] = EVERYTHING
    return replace(draft, **said)  # type: ignore[arg-type]


def _file_and_line(file: str, line: str) -> tuple[str, str]:
    """As ``shop/orders.py:42`` may be put into the field of the file."""
    found = _FILE_AND_LINE.fullmatch(file)
    return (found[1], found[2]) if found is not None and (not line or line == found[2]) else (file, line)


def _lines(text: str) -> str:
    return text.replace("\r\n", "\n")


def _read_limits(form: Form, prefix: str) -> tuple[str, str, str, str]:
    depth, elements, length, fields = (form.text(f"{prefix}-{key}") for key in LIMITS)
    return depth, elements, length, fields


def _read_asked(form: Form) -> tuple[AskedFields, ...]:
    rows = (
        AskedFields(
            form.text(f"x-{at}-name"),
            _lines(form.raw(f"x-{at}-expression")).strip(),
            _read_limits(form, f"x-{at}"),
        )
        for at in range(_count(form, r"x-(\d{1,3})-"))
    )
    return tuple(rows)


def _read_decorations(form: Form) -> tuple[DecorationFields, ...]:
    found = []
    for at in range(_count(form, r"d-(\d{1,3})-")):
        tags = tuple(
            TagFields(form.text(f"d-{at}-t-{tag}-name"), _lines(form.raw(f"d-{at}-t-{tag}-template")))
            for tag in range(_count(form, rf"d-{at}-t-(\d{{1,3}})-"))
        )
        found.append(DecorationFields(_lines(form.raw(f"d-{at}-when")).strip(), tags or (TagFields(),)))
    return tuple(found) or (DecorationFields(),)


def _count(form: Form, pattern: str) -> int:
    numbers = [int(found[1]) for name in form.fields if (found := re.match(pattern, name)) is not None]
    return min(max(numbers, default=-1), MAX_ROWS - 1) + 1


# Rows come and go -------------------------------------------------------------------------------------------


def edited(draft: Draft, do: str) -> tuple[Draft, str]:
    """The draft after a button for a row, and the field to begin in; as it is for any other word."""
    action, *numbers = do.split(":")
    at = [int(each) for each in numbers if _WHOLE.fullmatch(each)]
    match action, at:
        case "add-expression", []:
            asked = (*draft.asked, AskedFields())[:MAX_ROWS]
            return replace(draft, asked=asked, captures=SOME), f"in-x-{len(asked) - 1}-name"
        case "remove-expression", [place]:
            return replace(draft, asked=_without(draft.asked, place)), "add-expression"
        case "add-decoration", []:
            found = (*draft.decorations, DecorationFields())[:MAX_ROWS]
            return replace(draft, decorations=found), f"in-d-{len(found) - 1}-t-0-name"
        case "remove-decoration", [place]:
            rest = _without(draft.decorations, place) or (DecorationFields(),)
            return replace(draft, decorations=rest), "add-decoration"
        case "add-tag", [place] if place < len(draft.decorations):
            tags = (*draft.decorations[place].tags, TagFields())[:MAX_ROWS]
            return _with_tags(draft, place, tags), f"in-d-{place}-t-{len(tags) - 1}-name"
        case "remove-tag", [place, tag] if place < len(draft.decorations):
            tags = _without(draft.decorations[place].tags, tag) or (TagFields(),)
            return _with_tags(draft, place, tags), f"in-d-{place}-t-{max(tag - 1, 0)}-name"
    return draft, ""


def _with_tags(draft: Draft, place: int, tags: tuple[TagFields, ...]) -> Draft:
    decorations = list(draft.decorations)
    decorations[place] = replace(decorations[place], tags=tags)
    return replace(draft, decorations=tuple(decorations))


def _without(rows: tuple[Row, ...], place: int) -> tuple[Row, ...]:
    return rows[:place] + rows[place + 1 :]


# Fields as a document ---------------------------------------------------------------------------------------


def document_of(draft: Draft, *, language: str = "") -> dict[str, Any]:
    """The document that the fields make; what is wrong with it is for the checker.

    Args:
        language: That of the clients, where the draft names none.
    """
    document: dict[str, Any] = {
        "kind": draft.kind,
        "language": draft.language or language,
        "where": _where(draft),
    }
    if draft.place == METHOD and draft.kind != ProbeKind.SPAN:
        document["at"] = draft.at
    if draft.when:
        document["when"] = draft.when
    if tags := [line.strip() for line in draft.tags.split("\n") if line.strip()][: MAX_ROWS + 1]:
        document["tags"] = tags
    match draft.kind:
        case ProbeKind.LOG:
            document |= _log(draft)
        case ProbeKind.METRIC:
            metric: dict[str, Any] = {"name": draft.metric_name, "kind": draft.metric_kind}
            if draft.metric_value:
                metric["value"] = draft.metric_value
            document["metric"] = metric
        case ProbeKind.DECORATION:
            document["span"] = draft.span
            document["decorations"] = [
                _decoration_document(each) for each in draft.decorations if not each.is_empty
            ]
    if draft.minutes:
        document["expires_in_minutes"] = number(draft.minutes)
    return document


def _where(draft: Draft) -> dict[str, Any]:
    if draft.place == LINE:
        return {"file": draft.file, "line": number(draft.line)}
    where: dict[str, Any] = {"type": draft.type, "method": draft.method}
    return where | {"signature": draft.signature} if draft.signature else where


def _log(draft: Draft) -> dict[str, Any]:
    document: dict[str, Any] = {"template": draft.template, "snapshot": draft.captures == EVERYTHING}
    if draft.captures == EVERYTHING and (limits := _limits_document(draft.limits)):
        document["limits"] = limits
    if asked := _asked(draft):
        document["expressions"] = [
            {"name": each.name, "expression": each.expression}
            | ({"limits": limits} if (limits := _limits_document(each.limits)) else {})
            for each in asked
        ]
    if draft.per_second:
        document["per_second"] = number(draft.per_second)
    return document


def _asked(draft: Draft) -> tuple[AskedFields, ...]:
    return tuple(each for each in draft.asked if not each.is_empty) if draft.captures == SOME else ()


def _limits_document(limits: tuple[str, str, str, str]) -> dict[str, Any]:
    return {key: number(text) for key, text in zip(LIMITS, limits, strict=True) if text}


def _decoration_document(decoration: DecorationFields) -> dict[str, Any]:
    tags = [
        {"name": each.name, "template": each.template}
        for each in decoration.tags
        if each.name or each.template
    ]
    document: dict[str, Any] = {"tags": tags}
    return document | {"when": decoration.when} if decoration.when else document


def number(text: str) -> int | float | str:
    """The number that was typed, or what was typed."""
    if _WHOLE.fullmatch(text):
        return int(text)
    return float(text) if len(text) < 20 and re.fullmatch(r"[0-9]+\.[0-9]+", text) else text


def tidied(draft: Draft) -> Draft:
    """Without rows that have nothing in them, so that problems stand at the rows they are of."""
    decorations = tuple(
        replace(each, tags=tuple(tag for tag in each.tags if tag.name or tag.template) or (TagFields(),))
        for each in draft.decorations
        if not each.is_empty
    )
    return replace(
        draft,
        asked=tuple(each for each in draft.asked if not each.is_empty),
        decorations=decorations or (DecorationFields(),),
    )


# Where problems stand ---------------------------------------------------------------------------------------

_FIELDS: Final[Mapping[str, str]] = {
    "$.name": "in-name",
    "$.service": "in-service",
    "$.env": "in-env",
    "$.language": "in-language",
    "$.kind": "in-kind",
    "$.where": "in-place",
    "$.where.file": "in-file",
    "$.where.line": "in-line",
    "$.where.type": "in-type",
    "$.where.method": "in-method",
    "$.where.signature": "in-signature",
    "$.at": "in-at",
    "$.when": "in-when",
    "$.template": "in-template",
    "$.snapshot": "in-captures",
    "$.expressions": "in-captures",
    "$.limits": "in-captures",
    "$.per_second": "in-per_second",
    "$.metric": "in-metric_name",
    "$.metric.name": "in-metric_name",
    "$.metric.kind": "in-metric_kind",
    "$.metric.value": "in-metric_value",
    "$.span": "in-span",
    "$.decorations": "in-d-0-t-0-name",
    "$.expires_in_minutes": "in-minutes",
    "$.comment": "in-comment",
    **{f"$.limits.{key}": f"in-limit-{key}" for key in LIMITS},
}
_ASKED = re.compile(r"\$\.expressions\[(\d+)\](?:\.(name|expression)|\.limits\.(\w+))?")
_DECORATED = re.compile(r"\$\.decorations\[(\d+)\](?:\.(when)|\.tags\[(\d+)\](?:\.(name|template))?)?")


def field_of(path: str) -> str:
    """The field that shows what stands at a path; empty where none does."""
    for begin, end in (("$.document.", "$."), ("$.payload.", "$."), ("$.targeting.", "$.")):
        if path.startswith(begin):
            path = end + path.removeprefix(begin)
    if path in _FIELDS:
        return _FIELDS[path]
    if path.startswith("$.tags"):
        return "in-tags"
    if (found := _ASKED.match(path)) is not None:
        return f"in-x-{found[1]}-{found[3] or found[2] or 'name'}"
    if (found := _DECORATED.match(path)) is not None:
        at = f"in-d-{found[1]}"
        return f"{at}-when" if found[2] else f"{at}-t-{found[3] or 0}-{found[4] or 'name'}"
    return next(
        (field for known, field in _FIELDS.items() if path.startswith((known + ".", known + "["))), ""
    )
