"""Names that an organisation wants masked, wherever a snapshot is opened. Pure.

What tracers redact by themselves never came; this is for what they let through. What is masked looks as if
the tracer had redacted it. A message whose template reads such a name gives way to the template.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Final

import msgspec

from sealwire.server.debugger.snapshots.captured import Missing, Value, plain_text
from sealwire.server.debugger.snapshots.redaction import normal
from sealwire.server.debugger.snapshots.snapshot import EvaluationError, Snapshot

_NOTHING: Final[Mapping[str, str]] = MappingProxyType({})
_WORD: Final = re.compile(r"[\w$@-]+")


def reads(text: str, names: Collection[str]) -> bool:
    """Whether an expression or template mentions one of the names."""
    hidden = frozenset(map(normal, names))
    return any(normal(word) in hidden for word in _WORD.findall(text)) if hidden else False


def message(said: str, template: str, names: Collection[str]) -> str:
    """A message as it may be shown to those who see values."""
    return template if names and reads(template, names) else said


def masked(
    snapshot: Snapshot, names: Collection[str], template: str = "", asked: Mapping[str, str] = _NOTHING
) -> Snapshot:
    """The same snapshot, without the values of variables, fields and keys of these names.

    Args:
        template: Of the probe.
        asked: What it captured by name, with the expressions: of one that reads such a name nothing is left.
    """
    if not names:
        return snapshot
    hidden = frozenset(map(normal, names))
    return msgspec.structs.replace(
        snapshot,
        message=message(snapshot.message, template, names),
        errors=tuple(
            EvaluationError(each.expression, "") if reads(each.expression, names) else each
            for each in snapshot.errors
        ),
        captures=tuple(
            msgspec.structs.replace(
                each,
                arguments=_named(each.arguments, hidden),
                locals=_named(each.locals, hidden),
                static_fields=_named(each.static_fields, hidden),
                expressions=tuple(
                    (name, _gone(value) if reads(asked.get(name, ""), names) else _value(name, value, hidden))
                    for name, value in each.expressions
                ),
            )
            for each in snapshot.captures
        ),
    )


def _named(values: tuple[tuple[str, Value], ...], hidden: frozenset[str]) -> tuple[tuple[str, Value], ...]:
    return tuple((name, _value(name, value, hidden)) for name, value in values)


def _gone(value: Value) -> Value:
    return Value(type=value.type, missing=Missing.REDACTED_NAME, reason=Missing.REDACTED_NAME.value)


def _value(name: str | None, value: Value, hidden: frozenset[str]) -> Value:
    if name is not None and normal(name) in hidden:
        return _gone(value)
    if not (value.fields or value.elements or value.entries):
        return value
    return msgspec.structs.replace(
        value,
        fields=None if value.fields is None else _named(value.fields, hidden),
        elements=None
        if value.elements is None
        else tuple(_value(None, each, hidden) for each in value.elements),
        entries=None
        if value.entries is None
        else tuple((key, _value(plain_text(key), each, hidden)) for key, each in value.entries),
    )
