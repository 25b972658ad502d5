"""A probe document in words: what it is, and what is different between two.

Pure. Invariants: any two documents that mean different things differ in words, and two that mean the same do
not; a document of an unknown shape is said as it is and raises nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from sealwire.errors import InvalidChangeError
from sealwire.server.debugger.authoring import probes

KINDS: Final[Mapping[str, str]] = {
    "log": "Log",
    "metric": "Metric",
    "span": "Span",
    "decoration": "Span decoration",
}
LANGUAGES: Final[Mapping[str, str]] = {
    "python": "Python",
    "javascript": "JavaScript",
    "java": "Java",
    "dotnet": ".NET",
    "go": "Go",
}
_NAMES: Final[Mapping[str, str]] = {
    "kind": "Kind",
    "language": "Language",
    "where": "Place",
    "at": "Evaluated",
    "when": "Condition",
    "template": "Message",
    "snapshot": "Snapshot",
    "limits": "Capture limits",
    "expressions": "Captured expressions",
    "per_second": "At most per second",
    "metric": "Metric",
    "span": "Span decorated",
    "decorations": "Decorations",
    "tags": "Tags",
    "expires_in_minutes": "Expires after",
}
_LIMITS: Final = {"depth": "depth", "elements": "elements", "length": "characters", "fields": "fields"}

Document = Mapping[str, Any]


def place(where: object) -> str:
    """A place as people write it."""
    if not isinstance(where, Mapping):
        return ""
    if "file" in where:
        return f"{where.get('file', '')}:{where.get('line', '')}"
    return f"{where.get('type', '')}.{where.get('method', '')}{where.get('signature', '')}"


def minutes(number: object) -> str:
    """A span of minutes in the largest unit that is whole."""
    if isinstance(number, bool) or not isinstance(number, int):
        return str(number)
    for size, one in ((1_440, "day"), (60, "hour")):
        if number >= size and number % size == 0:
            return f"{number // size} {one}{'' if number == size else 's'}"
    return f"{number} minute{'' if number == 1 else 's'}"


def describe(document: Document) -> tuple[tuple[str, str], ...]:
    """What it is: labels and texts, in the order people think of them."""
    said = _said(document)
    return tuple(
        (_NAMES.get(key, key), said[key]) for key in (*_NAMES, *sorted({*said} - {*_NAMES})) if key in said
    )


def changes(before: Document, after: Document) -> tuple[str, ...]:
    """What is different, a sentence each; nothing where both mean the same."""
    old, new = _said(_canonical(before)), _said(_canonical(after))
    found = []
    for key in (*_NAMES, *sorted({*old, *new} - {*_NAMES})):
        was, now = old.get(key), new.get(key)
        name = _NAMES.get(key, key)
        if was == now:
            continue
        if was is None:
            found.append(f"{name} added: {now}")
        elif now is None:
            found.append(f"{name} removed; it was {was}")
        else:
            found.append(f"{name}: {was} → {now}")
    return tuple(found)


def _canonical(document: Document) -> Document:
    """Without what only looks different; as it is where it is no probe."""
    try:
        return probes.to_document(probes.parse(document))
    except InvalidChangeError:
        return document


def _said(document: Document) -> dict[str, str]:
    return {key: _value(key, value) for key, value in document.items() if value not in (None, [], {}, "")}


def _value(key: str, value: Any) -> str:
    try:
        match key:
            case "kind":
                return KINDS.get(value, str(value))
            case "language":
                return LANGUAGES.get(value, str(value))
            case "where":
                return place(value)
            case "at":
                return {"entry": "when it is called", "exit": "when it returns"}.get(value, str(value))
            case "snapshot":
                return "all variables" if value else "none"
            case "limits":
                return _limits(value)
            case "expressions":
                return "; ".join(_asked(each) for each in value)
            case "per_second":
                return f"{value:g}"
            case "metric":
                what = f" of {value['value']}" if value.get("value") else ""
                return f"{value['kind']} {value['name']}{what}"
            case "span":
                return {"active": "the active one", "root": "the root of the trace"}.get(value, str(value))
            case "decorations":
                return "; ".join(_decoration(each) for each in value)
            case "tags":
                return ", ".join(map(str, value))
            case "expires_in_minutes":
                return minutes(value)
    except (TypeError, ValueError, KeyError, AttributeError):
        pass
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _limits(limits: Mapping[str, Any]) -> str:
    return ", ".join(f"{limits[key]} {word}" for key, word in _LIMITS.items() if key in limits)


def _asked(asked: Mapping[str, Any]) -> str:
    limits = asked.get("limits")
    return f"{asked['name']} = {asked['expression']}" + (f" ({_limits(limits)})" if limits else "")


def _decoration(decoration: Mapping[str, Any]) -> str:
    tags = ", ".join(f"{each['name']}: {each['template']}" for each in decoration["tags"])
    return f"{tags} when {decoration['when']}" if decoration.get("when") else tags
