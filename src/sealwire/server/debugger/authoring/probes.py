"""The probe document: what an author asks a live program for.

A probe is a log, a metric, a span or the decoration of one; it sits at a line of a file or on a method. Its
texts are checked here as expressions, in the place where the program will evaluate them. ``probe_wire`` makes
it what tracers read, ``probe_facts`` says what they can do and what it costs.

Invariants: ``parse`` gives a probe whose parts all make sense together, or every problem at its JSON path;
``to_document`` of it is canonical, and ``parse`` reads that to the same probe.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from sealwire.errors import InvalidChangeError, Problem
from sealwire.products.live_debugging import MINUTES_OTHERWISE, MINUTES_WITH_VALUES
from sealwire.products.probe_expressions import Node
from sealwire.products.schema import (
    Boolean,
    Integer,
    ListOf,
    Number,
    Record,
    Report,
    Shape,
    Text,
    Variant,
    at,
)
from sealwire.server.debugger.expressions import parser, printer, templates
from sealwire.server.debugger.expressions.parser import ExpressionError, Place
from sealwire.server.debugger.expressions.templates import Template

LANGUAGES: Final = ("python", "javascript", "java", "dotnet", "go")
MAX_MINUTES: Final = 90 * 24 * 60
MAX_SNAPSHOTS_PER_S: Final = 100
MAX_LOGS_PER_S: Final = 5_000


class ProbeKind(enum.StrEnum):
    """What it gives."""

    LOG = "log"
    METRIC = "metric"
    SPAN = "span"
    DECORATION = "decoration"


class MetricKind(enum.StrEnum):
    """How the values of a metric are joined."""

    COUNT = "count"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"
    DISTRIBUTION = "distribution"


class Moment(enum.StrEnum):
    """When a probe on a method is evaluated."""

    ENTRY = "entry"
    EXIT = "exit"


class TargetSpan(enum.StrEnum):
    """Which span a decoration goes to."""

    ACTIVE = "active"
    ROOT = "root"


@dataclass(frozen=True, slots=True)
class AtLine:
    """A line of a file; tracers look for a file whose path ends so."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True, slots=True)
class OnMethod:
    """A method; in Python the path of a module, and a function or ``Class.method`` in it."""

    type: str
    method: str
    signature: str = ""

    def __str__(self) -> str:
        return f"{self.type}.{self.method}"


@dataclass(frozen=True, slots=True)
class Limits:
    """How much of a value is captured; None: as much as the tracer does by itself."""

    depth: int | None = None
    elements: int | None = None
    length: int | None = None
    fields: int | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """An expression whose value is captured instead of all variables."""

    name: str
    expression: Node
    limits: Limits = Limits()


@dataclass(frozen=True, slots=True)
class Metric:
    name: str
    kind: MetricKind
    value: Node | None = None


@dataclass(frozen=True, slots=True)
class SpanTag:
    name: str
    text: Template


@dataclass(frozen=True, slots=True)
class Decoration:
    """Tags for a span, if the condition holds."""

    tags: tuple[SpanTag, ...]
    when: Node | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """A probe whose parts make sense together.

    Attributes:
        moment: Of a probe on a method; a line has none, nor has a span, which lasts as long as the call.
        when: Only then it gives anything.
        template, snapshot, asked, limits, per_second: Of a log.
        target, decorations: Of a decoration.
        expires_in_minutes: After it was last changed.
    """

    kind: ProbeKind
    language: str
    where: AtLine | OnMethod
    moment: Moment | None = None
    when: Node | None = None
    tags: tuple[str, ...] = ()
    template: Template | None = None
    snapshot: bool = False
    asked: tuple[Asked, ...] = ()
    limits: Limits = Limits()
    per_second: float | None = None
    metric: Metric | None = None
    target: TargetSpan = TargetSpan.ACTIVE
    decorations: tuple[Decoration, ...] = ()
    expires_in_minutes: int = MINUTES_OTHERWISE

    @property
    def takes_values(self) -> bool:
        """Whether it captures variables; such a probe is rare, dear, and over soon."""
        return self.snapshot or bool(self.asked)

    @property
    def shows_values(self) -> bool:
        """Whether values of the program come out by it: captured, in a message or in a tag.

        The value of a metric does not count: it is a number that is made to be charted.
        """
        texts = [tag.text for decoration in self.decorations for tag in decoration.tags]
        texts += [self.template] if self.template else []
        return self.takes_values or any(text.expressions for text in texts)

    @property
    def place(self) -> Place:
        """Where its expressions are evaluated."""
        return _place(self.where, self.moment)

    @property
    def expressions(self) -> tuple[Node, ...]:
        """Every expression of it."""
        found = [
            self.when,
            self.metric.value if self.metric else None,
            *(each.expression for each in self.asked),
        ]
        if self.template:
            found.extend(self.template.expressions)
        for decoration in self.decorations:
            found.append(decoration.when)
            for tag in decoration.tags:
                found.extend(tag.text.expressions)
        return tuple(each for each in found if each is not None)


def _place(where: AtLine | OnMethod, moment: Moment | None) -> Place:
    if isinstance(where, AtLine):
        return Place.LINE
    return Place.EXIT if moment is Moment.EXIT else Place.ENTRY  # a span begins where its method does


# Its form ---------------------------------------------------------------------------------------------------

_FILE = re.compile(r"[^\x00-\x1f\x7f]+")
_METRIC_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.]*")
_TAG = re.compile(r"[^\x00-\x20,|#\x7f][^\x00-\x1f,|#\x7f]*")


def _plain(text: str) -> str | None:
    return (
        None if _FILE.fullmatch(text) and text.isprintable() else "Control characters are not allowed here."
    )


def _metric_name(text: str) -> str | None:
    if _METRIC_NAME.fullmatch(text):
        return None
    return "A metric's name begins with a letter and has letters, digits, dots and underscores."


def _tag(text: str) -> str | None:
    if _TAG.fullmatch(text) and ":" in text.strip(":"):
        return None
    return "A tag is key:value, without commas, bars and control characters."


_LIMITS: Final = Record(
    says="How much of a value is captured; what is left out is as the tracer has it.",
    optional={
        "depth": Integer(least=0, most=5, says="Levels of objects in objects."),
        "elements": Integer(least=0, most=1_000, says="Elements of a list or map."),
        "length": Integer(least=0, most=10_000, says="Characters of a text."),
        "fields": Integer(least=0, most=100, says="Fields of an object."),
    },
)
_EXPRESSION: Final = Text(max_length=4_000, says="An expression, such as order.total > 100.")
_MESSAGE: Final = Text(
    min_length=0,
    max_length=templates.MAX_CHARS,
    says="A text with expressions in braces: took {@duration} ms.",
)


def _one_place(value: Mapping[str, object], path: str, report: Report) -> None:
    if ("file" in value) is ("method" in value):
        report.add(path, "Expected either file and line, or type and method.")
    elif "file" in value and "line" not in value:
        report.add(at(path, "line"), "This key is required.")
    elif "method" in value and "type" not in value:
        report.add(at(path, "type"), "This key is required.")
    elif ("line" in value) is not ("file" in value) or (("type" in value) is not ("method" in value)):
        report.add(path, "Expected either file and line, or type and method, not parts of both.")


_WHERE: Final = Record(
    says="A line of a file, or a method.",
    optional={
        "file": Text(max_length=500, also=_plain, says="The path of a file, or its end: shop/orders.py."),
        "line": Integer(least=1, most=1_000_000, says="A line with code in a function."),
        "type": Text(max_length=500, also=_plain, says="Module or class: shop.orders in Python."),
        "method": Text(max_length=500, also=_plain, says="Function, or Class.method in Python."),
        "signature": Text(max_length=1_000, also=_plain, says="Of an overloaded method in Java."),
    },
    also=_one_place,
)
_OF_ALL: Final[Mapping[str, Shape]] = {
    "at": Text(one_of=("entry", "exit"), says="When a method is looked at; a line has no such choice."),
    "when": _EXPRESSION,
    "tags": ListOf(item=Text(max_length=200, also=_tag), max_items=20, says="Go with what it gives."),
    "expires_in_minutes": Integer(
        least=1, most=MAX_MINUTES, says="Minutes until it is removed; 60 with values, else 30 days."
    ),
}


def _of_kind(kind: ProbeKind, required: Mapping[str, Shape], optional: Mapping[str, Shape]) -> Record:
    return Record(
        required={
            "kind": Text(one_of=(kind.value,)),
            "language": Text(one_of=LANGUAGES, says="Of the service."),
            "where": _WHERE,
            **required,
        },
        optional={**_OF_ALL, **optional},
        also=_together,
    )


def _together(value: Mapping[str, object], path: str, report: Report) -> None:
    where = value["where"]
    if "at" in value and value["kind"] == ProbeKind.SPAN:
        report.add(at(path, "at"), "A span lasts from the entry of a method to its exit.")
    elif "at" in value and isinstance(where, Mapping) and "file" in where:
        report.add(
            at(path, "at"), "A line is looked at when it is reached; only methods have entry and exit."
        )
    if value.get("snapshot") and value.get("expressions"):
        hint = "Choose all variables or single expressions; tracers refuse a probe that asks for both."
        report.add(at(path, "expressions"), hint)
    if "limits" in value and not value.get("snapshot"):
        report.add(at(path, "limits"), "Limits are for snapshots, and for each expression that is captured.")
    takes = bool(value.get("snapshot") or value.get("expressions"))
    rate = value.get("per_second")
    if takes and isinstance(rate, int | float) and rate > MAX_SNAPSHOTS_PER_S:
        report.add(at(path, "per_second"), f"At most {MAX_SNAPSHOTS_PER_S} with values.")


_LOG: Final = _of_kind(
    ProbeKind.LOG,
    {"template": _MESSAGE},
    {
        "snapshot": Boolean(says="Capture arguments, locals and the stack."),
        "limits": _LIMITS,
        "expressions": ListOf(
            says="Captured instead of all variables.",
            max_items=20,
            unique="name",
            item=Record(
                required={"name": Text(max_length=100, also=_plain), "expression": _EXPRESSION},
                optional={"limits": _LIMITS},
            ),
        ),
        "per_second": Number(
            least=0.001, most=MAX_LOGS_PER_S, says="At most so many per process; 1 with values, else 5000."
        ),
    },
)
_METRIC: Final = _of_kind(
    ProbeKind.METRIC,
    {
        "metric": Record(
            required={
                "name": Text(max_length=200, also=_metric_name),
                "kind": Text(one_of=tuple(MetricKind)),
            },
            optional={"value": _EXPRESSION},
        )
    },
    {},
)
_DECORATION: Final = _of_kind(
    ProbeKind.DECORATION,
    {
        "decorations": ListOf(
            min_items=1,
            max_items=20,
            item=Record(
                required={
                    "tags": ListOf(
                        min_items=1,
                        max_items=20,
                        unique="name",
                        item=Record(
                            required={"name": Text(max_length=200, also=_plain), "template": _MESSAGE}
                        ),
                    )
                },
                optional={"when": _EXPRESSION},
            ),
        )
    },
    {"span": Text(one_of=tuple(TargetSpan), says="The span that is active there, or the root of the trace.")},
)
SHAPE: Final = Variant(
    by="kind",
    says="A probe.",
    cases=(
        ((ProbeKind.LOG.value,), _LOG),
        ((ProbeKind.METRIC.value,), _METRIC),
        ((ProbeKind.SPAN.value,), _of_kind(ProbeKind.SPAN, {}, {})),
        ((ProbeKind.DECORATION.value,), _DECORATION),
    ),
)


# Reading ----------------------------------------------------------------------------------------------------


def parse(document: object) -> Probe:
    """Understand a probe document.

    Raises:
        InvalidChangeError: Every problem, at its JSON path; of an expression with the character.
    """
    report = Report()
    SHAPE.check(document, "$", report)
    probe = None
    if not len(report) and isinstance(document, Mapping):
        probe = _Reading(document, report).probe()
    if probe is None or len(report):
        raise InvalidChangeError("The probe makes no sense as it is.", problems=report.problems)
    return probe


def check(document: object) -> tuple[Problem, ...]:
    """What is wrong with a probe document; nothing if it may be published."""
    try:
        parse(document)
    except InvalidChangeError as error:
        return error.problems
    return ()


class _Reading:
    """Builds a probe from a document of the right shape; what is wrong in its texts goes to the report."""

    def __init__(self, document: Mapping[str, object], report: Report) -> None:
        self._document = document
        self._report = report
        self._where = _where(document["where"])
        self._moment: Moment | None = None
        if isinstance(self._where, OnMethod) and document["kind"] != ProbeKind.SPAN:
            self._moment = Moment(str(document.get("at", "exit")))
        self._place = _place(self._where, self._moment)

    def probe(self) -> Probe:
        document = self._document
        kind = ProbeKind(str(document["kind"]))
        asked = tuple(
            Asked(
                str(each["name"]),
                self._expression(each["expression"], f"$.expressions[{number}].expression"),
                _limits(each.get("limits")),
            )
            for number, each in enumerate(_records(document.get("expressions")))
        )
        takes = bool(document.get("snapshot") or asked)
        template = document.get("template")
        rate = document.get("per_second")
        minutes = document.get("expires_in_minutes", MINUTES_WITH_VALUES if takes else MINUTES_OTHERWISE)
        tags = document.get("tags") or ()
        return Probe(
            kind=kind,
            language=str(document["language"]),
            where=self._where,
            moment=self._moment,
            when=self._condition(document.get("when"), "$.when"),
            tags=tuple(map(str, tags)) if isinstance(tags, list | tuple) else (),
            template=self._template(template, "$.template") if template is not None else None,
            snapshot=document.get("snapshot") is True,
            asked=asked,
            limits=_limits(document.get("limits")),
            per_second=float(rate) if isinstance(rate, int | float) else None,
            metric=self._metric(document.get("metric")),
            target=TargetSpan(str(document.get("span", "active"))),
            decorations=tuple(
                self._decoration(each, f"$.decorations[{number}]")
                for number, each in enumerate(_records(document.get("decorations")))
            ),
            expires_in_minutes=minutes if isinstance(minutes, int) else MINUTES_WITH_VALUES,
        )

    def _note(self, path: str, error: ExpressionError) -> None:
        said = f"{error.expected} {error.suggestion}".strip()
        self._report.add(path, f"At character {error.position + 1}: {said}")

    def _expression(self, text: object, path: str) -> Node:
        try:
            return parser.parse(str(text), place=self._place)
        except ExpressionError as error:
            self._note(path, error)
            return parser.parse("null")

    def _condition(self, text: object, path: str) -> Node | None:
        return None if text is None else self._expression(text, path)

    def _template(self, text: object, path: str) -> Template:
        try:
            return templates.parse(str(text), place=self._place)
        except ExpressionError as error:
            self._note(path, error)
            return Template(())

    def _metric(self, value: object) -> Metric | None:
        if not isinstance(value, Mapping):
            return None
        kind = MetricKind(str(value["kind"]))
        expression = self._condition(value.get("value"), "$.metric.value")
        if expression is None and kind is not MetricKind.COUNT:
            self._report.add("$.metric.value", f"A {kind} needs a value; only a count can do without.")
        return Metric(str(value["name"]), kind, expression)

    def _decoration(self, value: Mapping[str, object], path: str) -> Decoration:
        tags = tuple(
            SpanTag(str(each["name"]), self._template(each["template"], f"{path}.tags[{number}].template"))
            for number, each in enumerate(_records(value["tags"]))
        )
        return Decoration(tags, self._condition(value.get("when"), f"{path}.when"))


def _records(value: object) -> list[Mapping[str, object]]:
    return [each for each in value if isinstance(each, Mapping)] if isinstance(value, list | tuple) else []


def _where(value: object) -> AtLine | OnMethod:
    where = value if isinstance(value, Mapping) else {}
    if "file" in where:
        return AtLine(str(where["file"]), int(where["line"]))
    return OnMethod(str(where["type"]), str(where["method"]), str(where.get("signature", "")))


def _limits(value: object) -> Limits:
    limits = value if isinstance(value, Mapping) else {}
    return Limits(*(limits.get(key) for key in ("depth", "elements", "length", "fields")))


# Writing ----------------------------------------------------------------------------------------------------


def to_document(probe: Probe) -> dict[str, object]:
    """The document of a probe; expressions in their canonical text, nothing that goes without saying."""
    document: dict[str, object] = {
        "kind": probe.kind.value,
        "language": probe.language,
        "where": _where_document(probe.where),
    }
    if probe.moment is not None:
        document["at"] = probe.moment.value
    if probe.when is not None:
        document["when"] = printer.text_of(probe.when)
    if probe.tags:
        document["tags"] = list(probe.tags)
    if probe.template is not None:
        document["template"] = templates.text_of(probe.template)
    if probe.kind is ProbeKind.LOG:
        document["snapshot"] = probe.snapshot
    if limits := limits_document(probe.limits):
        document["limits"] = limits
    if probe.asked:
        document["expressions"] = [_asked_document(each) for each in probe.asked]
    if probe.per_second is not None:
        document["per_second"] = probe.per_second
    if probe.metric is not None:
        metric: dict[str, object] = {"name": probe.metric.name, "kind": probe.metric.kind.value}
        if probe.metric.value is not None:
            metric["value"] = printer.text_of(probe.metric.value)
        document["metric"] = metric
    if probe.kind is ProbeKind.DECORATION:
        document["span"] = probe.target.value
        document["decorations"] = [_decoration_document(each) for each in probe.decorations]
    document["expires_in_minutes"] = probe.expires_in_minutes
    return document


def _where_document(where: AtLine | OnMethod) -> dict[str, object]:
    if isinstance(where, AtLine):
        return {"file": where.file, "line": where.line}
    document: dict[str, object] = {"type": where.type, "method": where.method}
    return document | {"signature": where.signature} if where.signature else document


def limits_document(limits: Limits) -> dict[str, object]:
    """The limits that are set, by their names."""
    named = {
        "depth": limits.depth,
        "elements": limits.elements,
        "length": limits.length,
        "fields": limits.fields,
    }
    return {key: value for key, value in named.items() if value is not None}


def _asked_document(asked: Asked) -> dict[str, object]:
    document: dict[str, object] = {"name": asked.name, "expression": printer.text_of(asked.expression)}
    limits = limits_document(asked.limits)
    return document | {"limits": limits} if limits else document


def _decoration_document(decoration: Decoration) -> dict[str, object]:
    tags = [{"name": each.name, "template": templates.text_of(each.text)} for each in decoration.tags]
    document: dict[str, object] = {"tags": tags}
    return document | {"when": printer.text_of(decoration.when)} if decoration.when is not None else document
