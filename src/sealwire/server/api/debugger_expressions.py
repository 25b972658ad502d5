"""Expressions of probes by the admin API: compiled, formatted, completed, and tried on what is kept.

Nothing here changes anything. What makes no sense is no error of the request: the answer says where and why,
so that an editor can show it at its character. Values of programs are told to those only who may see them.
"""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Final, Literal, TypedDict

import msgspec
from litestar import post
from litestar.params import JSONBody
from litestar.types import ControllerRouterHandler

from sealwire.clock import written
from sealwire.errors import NotPermittedError
from sealwire.products.probe_expressions import Node, to_json
from sealwire.server.api.guard import Asker, OwnTenant
from sealwire.server.debugger.authoring import probe_facts, probes, tryout, workbench
from sealwire.server.debugger.authoring.probes import AtLine, OnMethod, Probe, ProbeKind
from sealwire.server.debugger.authoring.tryout import Match
from sealwire.server.debugger.authoring.workbench import Workbench
from sealwire.server.debugger.expressions import (
    completion,
    evaluator,
    operations,
    parser,
    printer,
    templates,
)
from sealwire.server.debugger.expressions.parser import ExpressionError, Place
from sealwire.server.debugger.expressions.templates import Template
from sealwire.server.debugger.snapshots import discretion

READ: Final = {"permission": "debugger_read"}
MAX_ENVS: Final = 50
MAX_CHARS: Final = 10_000  # more than the longest message of a probe

PlaceName = Literal["anywhere", "line", "entry", "exit"]
Expression = Annotated[str, msgspec.Meta(max_length=MAX_CHARS)]
Word = Annotated[str, msgspec.Meta(max_length=1_000, pattern=r"^[^\x00]*$")]  # PostgreSQL takes no NUL
Language = Literal["", "python", "javascript", "java", "dotnet", "go"]


class ExpressionText(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """An expression, or the text of a message with expressions in braces, and where it is evaluated."""

    text: Expression
    is_template: bool = False
    place: PlaceName = "anywhere"
    language: Language = ""


class ExpressionPlace(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Where a probe sits: a line of a file, or a method."""

    file: Word = ""
    line: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] = 0
    type: Word = ""
    method: Word = ""


class ExpressionCursor(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A text and a cursor in it; the more is said of the place, the more names are known."""

    text: Expression
    cursor: Annotated[int, msgspec.Meta(ge=0, le=MAX_CHARS)]
    is_template: bool = False
    place: PlaceName = "anywhere"
    service: Word = ""
    envs: Annotated[list[Word], msgspec.Meta(max_length=MAX_ENVS)] = []
    where: ExpressionPlace | None = None
    probe_id: Word = ""


class ExpressionOnSnapshot(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """An expression and the snapshot it is tried on; without a moment on the last one that was captured."""

    text: Expression
    snapshot_id: Word
    is_template: bool = False
    moment: Annotated[str, msgspec.Meta(max_length=20)] = ""


class ProbeOnSnapshots(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A probe that is tried on snapshots of the same probe, or of any at the same place."""

    document: Any
    service: Word
    envs: Annotated[list[Word], msgspec.Meta(max_length=MAX_ENVS)] = []
    probe_id: Word = ""


class ExpressionProblem(TypedDict):
    """What is wrong with a text.

    Attributes:
        position: Of the first character that is wrong, from 0.
        length: How many are; 0 at the end of the text.
        expected: What should stand there.
        suggestion: What to write instead; may be empty.
    """

    position: int
    length: int
    token: str
    expected: str
    suggestion: str


class CompiledExpression(TypedDict):
    """A text, compiled.

    Attributes:
        text: As it is formatted; as it came where it makes no sense.
        json: What tracers read; null of a message, and where it makes no sense.
        segments: The same of a message; null of an expression.
        refusals: Why the tracer of the language would not take it.
        warnings: What its author should know.
    """

    text: str
    json: Any
    segments: list[dict[str, Any]] | None
    problems: list[ExpressionProblem]
    refusals: list[ExpressionProblem]
    warnings: list[str]


class FormattedExpression(TypedDict):
    """A text as it should be read; as it came where it makes no sense."""

    text: str
    problems: list[ExpressionProblem]


class ExpressionCandidate(TypedDict):
    """What may be put at a cursor.

    Attributes:
        kind: name, field, function, special, constant or operator.
        detail: A type, or a sentence.
        caret: How many characters of it stand behind the cursor afterwards.
    """

    text: str
    kind: str
    detail: str
    caret: int


class ExpressionCompletion(TypedDict):
    """What may stand in place of the characters from start to end, the likeliest first."""

    start: int
    end: int
    candidates: list[ExpressionCandidate]


class EvaluatedExpression(TypedDict):
    """What an expression gives on a snapshot.

    Attributes:
        verdict: value, error (the tracer would report it), redacted or unknown (what it needs is not there).
        shown: The value; of a message its text.
        holds: Whether it would let a probe emit; null where that cannot be told, and of a message.
        says: Why there is no value.
        start, end: Where in the text the reason lies.
    """

    verdict: str
    shown: str
    holds: bool | None
    says: str
    start: int
    end: int
    problems: list[ExpressionProblem]


class TriedOnSnapshot(TypedDict):
    """What a probe would have done with one snapshot.

    Attributes:
        match: yes, no, fails or unknown.
        says: Why it fails, or cannot be told.
        message: Of a log.
        value: Of a metric.
        troubles: What of message or value was not there.
    """

    snapshot_id: str
    at: str
    probe_version: int
    match: str
    says: str
    message: str
    value: str
    troubles: list[str]


class TriedProbe(TypedDict):
    """What a probe would have done with the newest snapshots that are kept.

    Attributes:
        why_not: Why there is nothing; empty if it was tried.
        is_whole: False where there were more snapshots, or time was over.
    """

    tried: int
    matched: int
    failed: int
    unknown: int
    is_whole: bool
    why_not: str
    snapshots: list[TriedOnSnapshot]


@post("/debugger/expressions:compile", status_code=200, opt=READ)
async def compile_expression(data: JSONBody[ExpressionText]) -> CompiledExpression:
    """Compile an expression or a message: the JSON that tracers read, or where it makes no sense."""
    try:
        found = _parsed(data)
    except ExpressionError as error:
        return {
            "text": data.text, "json": None, "segments": None, "problems": [_problem(error)], "refusals": [],
            "warnings": [],
        }  # fmt: skip
    return {
        "text": _text_of(found),
        "json": None if isinstance(found, Template) else to_json(found),
        "segments": templates.to_wire(found)[1] if isinstance(found, Template) else None,
        "problems": [],
        "refusals": _refusals(found, data.language, data.text),
        "warnings": _warnings(found, data.language),
    }


@post("/debugger/expressions:format", status_code=200, opt=READ)
async def format_expression(data: JSONBody[ExpressionText]) -> FormattedExpression:
    """Write an expression or a message as it should be read."""
    try:
        return {"text": _text_of(_parsed(data)), "problems": []}
    except ExpressionError as error:
        return {"text": data.text, "problems": [_problem(error)]}


@post("/debugger/expressions:complete", status_code=200, opt=READ)
async def complete_expression(
    data: JSONBody[ExpressionCursor], tenant: OwnTenant, principal: Asker
) -> ExpressionCompletion:
    """Say what may stand at a cursor: names that were seen there, special names, functions, operators."""
    where = _where(data.where)
    place = Place(data.place)
    moment = tryout.MOMENTS[place]
    known = await Workbench(tenant, principal).names(
        workbench.Place(data.service, tuple(data.envs), where, moment, data.probe_id)
    )
    complete = completion.complete_template if data.is_template else completion.complete
    found = await asyncio.to_thread(complete, data.text, data.cursor, names=known, place=place)
    return {
        "start": found.start,
        "end": found.end,
        "candidates": [
            {"text": each.text, "kind": each.kind, "detail": each.detail, "caret": each.caret}
            for each in found.candidates
        ],
    }


@post("/debugger/expressions:evaluate", status_code=200, opt=READ)
async def evaluate_expression(
    data: JSONBody[ExpressionOnSnapshot], tenant: OwnTenant, principal: Asker
) -> EvaluatedExpression:
    """Try an expression or a message on a snapshot; takes the permission to see values."""
    opened = await tenant.snapshots.open(data.snapshot_id)
    if not discretion.may_see(principal, opened.kept):
        raise NotPermittedError(
            f"It takes the permission {discretion.CAPTURE} to try an expression on a snapshot.",
            permission=discretion.CAPTURE,
        )
    try:
        found = _parsed(data)
    except ExpressionError as error:
        return {
            "verdict": "error", "shown": "", "holds": None, "says": error.public, "start": error.position,
            "end": error.position + error.length, "problems": [_problem(error)],
        }  # fmt: skip
    if isinstance(found, Template):
        text, troubles = await asyncio.to_thread(
            tryout.try_template, found, opened.snapshot, moment=data.moment
        )
        return {
            "verdict": "value", "shown": text, "holds": None, "says": " ".join(troubles), "start": 0,
            "end": 0, "problems": [],
        }  # fmt: skip
    outcome = await asyncio.to_thread(evaluator.evaluate, found, opened.snapshot, moment=data.moment)
    is_value = outcome.verdict is evaluator.Verdict.VALUE
    return {
        "verdict": outcome.verdict.value,
        "shown": evaluator.shown(outcome.value) if is_value else "",
        "holds": outcome.holds,
        "says": outcome.says,
        "start": outcome.span[0],
        "end": outcome.span[1],
        "problems": [],
    }


@post("/debugger/expressions:try", status_code=200, opt=READ)
async def try_probe(data: JSONBody[ProbeOnSnapshots], tenant: OwnTenant, principal: Asker) -> TriedProbe:
    """Say what a probe would have done with the newest snapshots of its place, before it is saved."""
    probe = probes.parse(data.document)
    place = workbench.place_of(probe, data.service, data.envs, data.probe_id)
    trial = await Workbench(tenant, principal).try_probe(probe, place)
    tried = trial.tried
    return {
        "tried": len(tried.rows),
        "matched": tried.count(Match.YES),
        "failed": tried.count(Match.FAILS),
        "unknown": tried.count(Match.UNKNOWN),
        "is_whole": tried.is_whole,
        "why_not": trial.why_not,
        "snapshots": [
            {
                "snapshot_id": each.snapshot_id,
                "at": written(each.at_ms),
                "probe_version": each.probe_version,
                "match": each.match.value,
                "says": each.says,
                "message": each.message,
                "value": each.value,
                "troubles": list(each.troubles),
            }
            for each in tried.rows
        ],
    }


HANDLERS: list[ControllerRouterHandler] = [
    compile_expression,
    format_expression,
    complete_expression,
    evaluate_expression,
    try_probe,
]


def _parsed(data: ExpressionText | ExpressionOnSnapshot) -> Node | Template:
    place = Place(data.place) if isinstance(data, ExpressionText) else Place.ANYWHERE
    if data.is_template:
        return templates.parse(data.text, place=place)
    return parser.parse(data.text, place=place)


def _text_of(found: Node | Template) -> str:
    return templates.text_of(found) if isinstance(found, Template) else printer.text_of(found)


def _problem(error: ExpressionError) -> ExpressionProblem:
    return {
        "position": error.position,
        "length": error.length,
        "token": error.token,
        "expected": error.expected,
        "suggestion": error.suggestion,
    }


def _refusals(found: Node | Template, language: str, text: str) -> list[ExpressionProblem]:
    if not language:
        return []
    dialect = operations.dialect(language)
    refused = [
        evaluator.refused(node, dialect)
        for node in (found.expressions if isinstance(found, Template) else (found,))
    ]
    return [
        {"position": span[0], "length": span[1] - span[0], "token": text[span[0] : span[1]], "expected": says,
         "suggestion": ""}
        for says, span in (each for each in refused if each is not None)
    ]  # fmt: skip


def _warnings(found: Node | Template, language: str) -> list[str]:
    if not language:
        return []
    probe = Probe(
        kind=ProbeKind.LOG,
        language=language,
        where=AtLine("", 1),
        when=None if isinstance(found, Template) else found,
        template=found if isinstance(found, Template) else None,
    )
    return [each.message for each in probe_facts.warnings(probe)]


def _where(place: ExpressionPlace | None) -> AtLine | OnMethod | None:
    if place is None:
        return None
    if place.method:
        return OnMethod(place.type, place.method)
    return AtLine(place.file, place.line) if place.file and place.line else None
