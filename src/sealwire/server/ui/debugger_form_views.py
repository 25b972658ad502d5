"""What the pages of writing a probe show, and what is wrong in the expressions of a draft.

Invariant: expressions are checked even where the rest of a probe is not there yet.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from sealwire.server.debugger.authoring.probes import ProbeKind
from sealwire.server.debugger.expressions import parser, printer, templates
from sealwire.server.debugger.expressions.parser import ExpressionError, Place
from sealwire.server.ui import debugger_form_draft as drafts
from sealwire.server.ui.debugger_form_draft import Draft
from sealwire.server.ui.security_signals_list import Option
from sealwire.server.ui.views import Link, Moment

MINUTES: Final = (15, 60, 240, 1_440, 10_080, 43_200, 129_600)


@dataclass(frozen=True, slots=True)
class Marked:
    """A text with what is wrong in it: before, the wrong characters, after."""

    before: str
    wrong: str
    after: str
    message: str


@dataclass(frozen=True, slots=True)
class Instances:
    """Instances of one agent; ``what`` says environment and tracer."""

    agent: Link
    count: int
    what: str


@dataclass(frozen=True, slots=True)
class Left:
    """Instances of the service that do not get it, and what to do."""

    count: int
    why: str
    way: Link | None


@dataclass(frozen=True, slots=True)
class Audience:
    """Who gets it now.

    Attributes:
        is_said: Whether a service is named at all.
    """

    is_said: bool = False
    count: int = 0
    agents: tuple[Instances, ...] = ()
    more: int = 0
    left: tuple[Left, ...] = ()


@dataclass(frozen=True, slots=True)
class Mistake:
    """Something that is wrong, and the field that it is wrong in; ``href`` is empty for none."""

    message: str
    field: str
    label: str


@dataclass(frozen=True, slots=True)
class TriedRow:
    """One snapshot that a probe was tried on."""

    match: str
    at: Moment
    href: str
    text: str
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Trying:
    """What it would have done with what is kept.

    Attributes:
        why_not: Why there is nothing to try it on; empty if it was tried.
        is_conditional: Whether there is a condition that snapshots can fail.
    """

    why_not: str
    total: int
    matched: int
    failed: int
    unknown: int
    is_conditional: bool
    is_whole: bool
    rows: tuple[TriedRow, ...]


@dataclass(frozen=True, slots=True)
class Look:
    """The panel beside the form.

    Attributes:
        language: That of the clients, or as chosen; empty if it cannot be told.
        mistakes: What is wrong with what was typed; ``missing``: the fields that are still empty.
        refusals: What the tracer of the language would not take.
        not_yours: What the person's permissions do not reach.
        cost: Sentences; empty while nobody can say.
        changes: Against the present version, in words; None for a new probe.
    """

    language: str
    language_words: str
    mistakes: tuple[Mistake, ...]
    missing: tuple[tuple[str, str], ...]
    refusals: tuple[str, ...]
    not_yours: tuple[str, ...]
    warnings: tuple[str, ...]
    audience: Audience
    cost: tuple[str, ...]
    ends: str
    trying: Trying | None
    changes: tuple[str, ...] | None

    @property
    def kind_note(self) -> str:
        """What stands at the kind while the tracer would not take it."""
        return " ".join(self.refusals)


@dataclass(frozen=True, slots=True)
class FormPage:
    """The form.

    Attributes:
        path: Where it is sent; ``back``: where leaving leads.
        probe_id: Of the probe that is changed; empty for a new one.
        wrong: What is wrong with a field, by its id; ``marks``: where in its text.
        stays: Service, environments and language of a probe that is changed; None for a new one.
        clone_href: Where it can be copied to another environment; empty for a new one.
        notes: Tone, words and more words.
        services, envs, files: To choose from; anything may be typed.
        may_save: Whether saving is theirs at all.
    """

    path: str
    back: str
    title: str
    probe_id: str
    draft: Draft
    look: Look
    mistakes: tuple[Mistake, ...]
    wrong: Mapping[str, str]
    marks: Mapping[str, Marked]
    focus: str
    stays: tuple[str, str, str] | None
    clone_href: str
    notes: tuple[tuple[str, str, str], ...]
    services: tuple[str, ...]
    envs: tuple[str, ...]
    files: tuple[str, ...]
    languages: tuple[Option, ...]
    periods: tuple[Option, ...]
    symbols: str
    may_save: bool
    owner: str
    is_unsaved: bool


# Expressions ----------------------------------------------------------------------------------------------


def place_of(draft: Draft) -> Place:
    """Where its expressions are evaluated."""
    if draft.place == drafts.LINE:
        return Place.LINE
    return Place.ENTRY if draft.kind == ProbeKind.SPAN or draft.at == "entry" else Place.EXIT


def expressions_of(draft: Draft) -> Iterator[tuple[str, str, bool]]:
    """The field, the text, and whether it is a message, of every text that has expressions in it."""
    if draft.when:
        yield "in-when", draft.when, False
    match draft.kind:
        case ProbeKind.LOG:
            yield "in-template", draft.template, True
            if draft.captures == drafts.SOME:
                for at, asked in enumerate(draft.asked):
                    if asked.expression:
                        yield f"in-x-{at}-expression", asked.expression, False
        case ProbeKind.METRIC:
            if draft.metric_value:
                yield "in-metric_value", draft.metric_value, False
        case ProbeKind.DECORATION:
            for at, decoration in enumerate(draft.decorations):
                if decoration.when:
                    yield f"in-d-{at}-when", decoration.when, False
                for number, tag in enumerate(decoration.tags):
                    if tag.template:
                        yield f"in-d-{at}-t-{number}-template", tag.template, True


def marks(draft: Draft) -> dict[str, Marked]:
    """What is wrong in its expressions, by the field."""
    place = place_of(draft)
    found = {}
    for field, text, is_template in expressions_of(draft):
        try:
            templates.parse(text, place=place) if is_template else parser.parse(text, place=place)
        except ExpressionError as error:
            found[field] = _marked(text, error)
    return found


def _marked(text: str, error: ExpressionError) -> Marked:
    begin, end = error.position, error.position + max(error.length, 1)
    message = f"{error.expected} {error.suggestion}".strip()
    return Marked(
        text[max(0, begin - 60) : begin], text[begin:end][:60] or " ", text[end : end + 60],
        f"Character {begin + 1}: {message}",
    )  # fmt: skip


def tidy(draft: Draft, text: str, *, is_template: bool) -> str:
    """A text as it should be read; as it is where it makes no sense."""
    place = place_of(draft)
    try:
        if is_template:
            return templates.text_of(templates.parse(text, place=place))
        return printer.text_of(parser.parse(text, place=place)) if text else text
    except ExpressionError:
        return text


# What fields are called -----------------------------------------------------------------------------------

LABELS: Final[Mapping[str, str]] = {
    "in-name": "Name",
    "in-service": "Service",
    "in-env": "Environments",
    "in-language": "Language",
    "in-kind": "Kind",
    "in-place": "Place",
    "in-file": "File",
    "in-line": "Line",
    "in-type": "Module or class",
    "in-method": "Function",
    "in-signature": "Signature",
    "in-at": "Evaluated",
    "in-when": "Condition",
    "in-template": "Message",
    "in-captures": "What is captured",
    "in-per_second": "At most per second",
    "in-metric_name": "Metric name",
    "in-metric_kind": "Metric kind",
    "in-metric_value": "Metric value",
    "in-span": "Which span",
    "in-tags": "Tags",
    "in-minutes": "Expires after",
    "in-comment": "Reason",
}


def label_of(field: str) -> str:
    """What people call a field."""
    if field in LABELS:
        return LABELS[field]
    if field.startswith("in-x-"):
        return f"Captured expression {int(field.split('-')[2]) + 1}"
    if field.startswith("in-d-"):
        return f"Tags {int(field.split('-')[2]) + 1}"
    return "Capture limits" if field.startswith("in-limit-") else ""
