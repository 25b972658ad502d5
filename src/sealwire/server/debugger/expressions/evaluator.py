"""What an expression would give on what a snapshot holds, or why that cannot be told.

A snapshot is not the program: values are cut off, left out, redacted. So there are four verdicts: a value; an
error, which the tracer would report too; redacted; and unknown, which says what was not captured. Python and
JavaScript have their own rules for comparing, indexing and truth; for other languages those of Python hold.

Invariants: nothing is guessed: where what is missing could change the answer, the verdict is unknown; steps
and time are bounded whatever the expression and the snapshot.

Source: measured with ddtrace 4.16 and dd-trace 5.132; the interoperability tests ask them again.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple, TypeAlias

from sealwire.products.probe_expressions import (
    OF_LAMBDAS,
    OPERATORS,
    Call,
    Literal,
    Node,
    Ref,
    is_name,
    members,
    walk,
)
from sealwire.products.schema import nearest
from sealwire.server.debugger.expressions import operations as ops
from sealwire.server.debugger.expressions.operations import FailedError, Thing, UnknownError
from sealwire.server.debugger.snapshots import redaction
from sealwire.server.debugger.snapshots.captured import Value, plain_text
from sealwire.server.debugger.snapshots.snapshot import Snapshot

MAX_STEPS: Final = 20_000

Scope: TypeAlias = Mapping[str, Thing]


class Verdict(enum.StrEnum):
    """What became of an expression."""

    VALUE = "value"
    ERROR = "error"
    REDACTED = "redacted"
    UNKNOWN = "unknown"


class Outcome(NamedTuple):
    """What an expression gave.

    Attributes:
        value: Of the verdict ``VALUE``: a plain value, or a captured one that is no scalar.
        holds: Whether it would let a probe emit, as a condition; None if that cannot be told.
        says: Of the other verdicts: why, as a sentence.
        span: Where in the text the reason lies.
    """

    verdict: Verdict
    value: Thing = None
    holds: bool | None = None
    says: str = ""
    span: tuple[int, int] = (0, 0)


def evaluate(
    node: Node,
    snapshot: Snapshot,
    *,
    moment: str = "",
    is_redacted: Callable[[str], bool] = redaction.is_redacted,
) -> Outcome:
    """Try an expression on a snapshot.

    Args:
        moment: ``entry``, ``return`` or a line; the last capture if empty.
        is_redacted: Whether the program redacts a name.
    """
    capture = snapshot.capture(moment)
    if capture is None:
        return Outcome(Verdict.UNKNOWN, says="The snapshot has no values of that moment.")
    scope: dict[str, Thing] = {name: ops.thing(each) for name, each in capture.names().items()}
    if snapshot.duration_ns is not None and capture.moment == "return":
        scope["@duration"] = snapshot.duration_ns / 1e6
    return evaluate_in(node, scope, dialect=ops.dialect(snapshot.language), is_redacted=is_redacted)


def evaluate_in(
    node: Node,
    scope: Scope,
    *,
    dialect: ops.Dialect,
    is_redacted: Callable[[str], bool] = redaction.is_redacted,
) -> Outcome:
    """Try an expression on values by their names."""
    for name in sorted(members(node)):
        if is_redacted(name):
            says = f"The program redacts what is called {name}: the expression gives {redaction.SHOWN}."
            return Outcome(Verdict.REDACTED, says=says, span=_where(node, name))
    if (why := refused(node, dialect)) is not None:
        return Outcome(Verdict.ERROR, says=why[0], span=why[1])
    evaluation = _Evaluation(scope, dialect)
    try:
        value = evaluation.of(node, None)
        if isinstance(value, Value) and not value.is_captured and value.missing is not None:
            raise UnknownError.of(value)
    except FailedError as failed:
        return Outcome(Verdict.ERROR, says=failed.says, span=failed.span or node.span)
    except UnknownError as unknown:
        verdict = Verdict.REDACTED if unknown.is_redacted else Verdict.UNKNOWN
        return Outcome(verdict, says=unknown.says, span=unknown.span or node.span)
    try:
        holds = evaluation.truth(value)
    except UnknownError:
        holds = None
    return Outcome(Verdict.VALUE, value, holds)


def _where(node: Node, name: str) -> tuple[int, int]:
    if isinstance(node, Ref) and node.name == name:
        return node.span
    if isinstance(node, Literal) and node.value == name:
        return node.span
    if isinstance(node, Call):
        return next((found for each in node.args if (found := _where(each, name)) != (0, 0)), (0, 0))
    return (0, 0)


def refused(node: Node, dialect: ops.Dialect) -> tuple[str, tuple[int, int]] | None:
    """Why the tracer would not compile an expression that is right by itself, and where."""
    if dialect is not ops.Dialect.JAVASCRIPT:
        return None
    for each in walk(node):
        if not isinstance(each, Call):
            continue
        if each.op in ("and", "or") and Literal(None) in each.args:
            return f"dd-trace does not compile null beside {OPERATORS[each.op].symbol}.", each.span
        if each.op == "instanceof":
            name = each.args[1]
            if isinstance(name, Literal) and isinstance(name.value, str) and not is_name(name.value):
                return "dd-trace knows classes by one name, without dots.", name.span
    return None


Element: TypeAlias = Mapping[str, Thing]  # what ``@it``, ``@key`` and ``@value`` are in a condition


class _Evaluation:
    def __init__(self, scope: Scope, dialect: ops.Dialect) -> None:
        self._scope = scope
        self._dialect = dialect
        self._steps = 0

    def step(self, number: int = 1) -> None:
        self._steps += number
        if self._steps > MAX_STEPS:
            raise UnknownError(f"It takes more than {MAX_STEPS} steps; it is not tried further here.")

    def of(self, node: Node, element: Element | None) -> Thing:
        """The value of a node; a failure knows the innermost place it came from."""
        self.step()
        try:
            match node:
                case Literal(value):
                    return value
                case Ref(name):
                    return self._named(name, element)
                case Call():
                    return self._called(node, element)
        except (FailedError, UnknownError) as error:
            error.span = error.span or node.span
            raise

    def truth(self, thing: Thing) -> bool:
        return ops.truth(thing, self._dialect)

    def _named(self, name: str, element: Element | None) -> Thing:
        if name in OF_LAMBDAS:
            if element is None or name not in element:
                raise FailedError(f"There is no {name} here.")
            if element[name] is ops.UNMEASURED:
                raise UnknownError(f"What {name} is here was not measured.")
            return element[name]
        if name in self._scope:
            return self._scope[name]
        if name.startswith("@"):
            raise UnknownError(
                f"The snapshot has no {name}: it is that of a line, or of the beginning of a call."
            )
        hint = nearest(name, self._scope)
        raise UnknownError(f"{name} is no argument and no local that was captured; it may be a global.{hint}")

    def _called(self, node: Call, element: Element | None) -> Thing:
        op, args = node.op, node.args
        if op in ("and", "or"):
            return self._chain(op, args, element)
        if op in ("any", "all", "filter"):
            return self._asked(op, self.of(args[0], element), args[1], element)
        if op == "isDefined":
            return self._is_defined(args[0], element)
        if op in ("eq", "ne") and args[0] == args[1] and isinstance(args[0], Ref):
            same = self._itself(self.of(args[0], element))
            return same if op == "eq" else not same
        if op == "instanceof" and self._dialect is ops.Dialect.JAVASCRIPT and _is_infix(args[0]):
            raise UnknownError("dd-trace reads an operator within instanceof as one around it.")
        if op == "instanceof" and self._is_undeclared(args[0], element):
            return ops.call(op, (ops.UNDEFINED, self.of(args[1], element)), self._dialect)
        values = [self.of(each, element) for each in args]
        for each in values:
            if isinstance(each, Value):
                self.step(each.held if op in ("eq", "ne", "contains") else 0)
        if op == "not":
            return not self.truth(values[0])
        return ops.call(op, values, self._dialect)

    def _is_undeclared(self, node: Node, element: Element | None) -> bool:
        """Whether it is a special name that JavaScript does not know there; ``typeof`` of it is no error."""
        is_js = self._dialect is ops.Dialect.JAVASCRIPT
        return (
            is_js and isinstance(node, Ref) and node.name in OF_LAMBDAS and node.name not in (element or {})
        )

    def _itself(self, thing: Thing) -> bool:
        """Whether a variable equals itself: all but NaN do."""
        if isinstance(thing, Value) and not thing.is_captured and thing.missing is not None:
            raise UnknownError.of(thing)
        return thing == thing

    def _chain(self, op: str, args: tuple[Node, ...], element: Element | None) -> Thing:
        """The operand that decides, as in the languages themselves."""
        value: Thing = None
        for number, each in enumerate(args):
            value = self.of(each, element)
            if number < len(args) - 1 and self.truth(value) is (op == "or"):
                return value
        return value

    def _is_defined(self, node: Node, element: Element | None) -> Thing:
        if self._dialect is ops.Dialect.PYTHON:
            element = None  # ddtrace looks for @it among the locals only, and finds none
        try:
            self.of(node, element)
        except FailedError:
            return False
        return True

    def _asked(self, op: str, thing: Thing, condition: Node, outer: Element | None) -> Thing:
        elements = ops.elements(thing, self._dialect)
        picked: list[bool] = []
        doubt: UnknownError | None = None
        # In JavaScript the braces are a function in a function: what they do not bind is that of the outer.
        around = outer if outer is not None and self._dialect is ops.Dialect.JAVASCRIPT else {}
        for each in elements.found:
            try:
                fits = self.truth(self.of(condition, {**around, **each}))
            except UnknownError as unknown:
                if op == "filter":
                    raise
                doubt = doubt or unknown  # another element may decide
                continue
            if op != "filter" and fits is (op == "any"):
                return fits
            picked.append(fits)
        if op == "filter":
            return elements.picked(picked)
        if doubt is not None:
            raise doubt
        if elements.why_incomplete:
            raise UnknownError(elements.why_incomplete)
        return op == "all"


def _is_infix(node: Node) -> bool:
    return isinstance(node, Call) and bool(OPERATORS[node.op].symbol) and node.op != "not"


def shown(thing: Thing) -> str:
    """A value as it is shown to people; texts in quotation marks."""
    match thing:
        case None:
            return "null"
        case bool():
            return "true" if thing else "false"
        case int() | float():
            return repr(thing)
        case str():
            return f'"{thing}"'
        case ops.Cut(text=text):
            return f'"{text}…"'
        case ops.Undefined():
            return "undefined"
        case Value():
            plain = plain_text(thing)
            if plain is not None:
                return f'"{plain}"'
            if thing.text is not None:
                return thing.text
            count = thing.size if thing.size is not None else thing.held
            return f"{thing.type or 'object'} ({count})"
