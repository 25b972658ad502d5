"""What a span says happened: the rules of the engine that matched, and the business events told by the code.

Hides the two places of matches (packed beside the span, or JSON in a tag) and the shapes of their parameters.
Everything here is text that an attacker may have written: it is bounded in number and length, stays text,
and is never an error; what cannot be read is missing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from sealwire.wire.probe_traces import DECORATED, without_decorations
from sealwire.wire.traces import MAX_TRIGGER_BYTES, SecuritySpan, texts_of

MAX_TRIGGERS: Final = 50  # of one span
MAX_MATCHES: Final = 10  # of one trigger
MAX_PARAMETERS: Final = 10  # of one match
MAX_EVENTS: Final = 20
MAX_EVENT_TAGS: Final = 30
MAX_VALUE_CHARS: Final = 1_000
MAX_NAME_CHARS: Final = 200

_EVENTS: Final = "appsec.events."
_TRACK: Final = ".track"


class Parameter(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where in a request something matched.

    Attributes:
        name: Which of the inputs of an operator that has several; empty for the others.
    """

    address: str
    value: str = ""
    key_path: tuple[str, ...] = ()
    highlight: tuple[str, ...] = ()
    name: str = ""


class Match(msgspec.Struct, frozen=True, omit_defaults=True):
    """One condition of a rule that held."""

    operator: str
    operator_value: str = ""
    parameters: tuple[Parameter, ...] = ()


class Trigger(msgspec.Struct, frozen=True, omit_defaults=True):
    """A rule of the engine that matched.

    Attributes:
        type: What kind of thing the rule finds, such as ``sql_injection``.
        category: ``attack_attempt``, ``security_response``, ``vulnerability_trigger``...
        response_id: Of the answer that blocked; empty where nothing was blocked.
    """

    rule_id: str
    name: str = ""
    type: str = ""
    category: str = ""
    module: str = ""
    tags: dict[str, str] = {}
    on_match: tuple[str, ...] = ()
    matches: tuple[Match, ...] = ()
    response_id: str = ""
    stack_id: str = ""


class Event(msgspec.Struct, frozen=True, omit_defaults=True):
    """Something the application said happened.

    Attributes:
        name: Such as ``users.login.failure``.
        tags: What it said about it, such as ``usr.id``.
    """

    name: str
    tags: dict[str, str] = {}


def tags_of(span: SecuritySpan) -> dict[str, str]:
    """The tags of a span; unverified, not bounded one by one.

    Without those that a probe put on: they say nothing of an attack, and are values of the program, which not
    everybody may see who sees attacks.
    """
    tags = texts_of(span.tags)
    return without_decorations(tags) if DECORATED.encode() in span.tags else tags


def metrics_of(span: SecuritySpan) -> dict[str, float]:
    """What the engine counted and took: finite numbers."""
    try:
        metrics: dict[str, float] = _decode_metrics(span.metrics)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return {}
    return {
        name: value
        for name, value in metrics.items()
        if name.startswith("_dd.appsec.") and -1e18 < value < 1e18  # no infinities, no NaN
    }


_decode_metrics = msgspec.msgpack.Decoder(dict[str, float]).decode


def triggers_of(span: SecuritySpan, tags: Mapping[str, str]) -> tuple[Trigger, ...]:
    """The rules that matched, from both places, each once."""
    found: list[Any] = []
    if span.triggers and len(span.triggers) <= MAX_TRIGGER_BYTES:
        found += _listed(_unpacked(span.triggers))
    text = tags.get("_dd.appsec.json", "")
    if text and len(text) <= MAX_TRIGGER_BYTES:
        found += _listed(_parsed(text))
    kept: list[Trigger] = []
    for item in found[: 4 * MAX_TRIGGERS]:
        trigger = _trigger(item)
        if trigger is not None and trigger not in kept:
            kept.append(trigger)
            if len(kept) == MAX_TRIGGERS:
                break
    return tuple(kept)


def events_of(meta: Mapping[str, str]) -> tuple[Event, ...]:
    """The business events that tags tell of."""
    names = sorted(
        name[len(_EVENTS) : -len(_TRACK)]
        for name, value in meta.items()
        if name.startswith(_EVENTS) and name.endswith(_TRACK) and value.lower() == "true"
    )
    events = []
    for name in names[:MAX_EVENTS]:
        if not name or len(name) > MAX_NAME_CHARS:
            continue
        prefix = f"{_EVENTS}{name}."
        tags = {
            key[len(prefix) :][:MAX_NAME_CHARS]: value[:MAX_VALUE_CHARS]
            for key, value in meta.items()
            if key.startswith(prefix) and key != f"{_EVENTS}{name}{_TRACK}"
        }
        events.append(Event(name, dict(list(tags.items())[:MAX_EVENT_TAGS])))
    return tuple(events)


def stacks_of(span: SecuritySpan) -> dict[str, Any]:
    """Stack traces of exploits, by their ids; plain values, as received."""
    if not span.stacks or len(span.stacks) > MAX_TRIGGER_BYTES:
        return {}
    read = _unpacked(span.stacks)
    items = read.get("exploit") if isinstance(read, dict) else None
    if not isinstance(items, list):
        return {}
    return {
        item["id"][:MAX_NAME_CHARS]: item
        for item in items[:MAX_TRIGGERS]
        if isinstance(item, dict) and isinstance(item.get("id"), str)
    }


def _unpacked(packed: bytes) -> Any:
    try:
        return msgspec.msgpack.decode(packed)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError, TypeError, ValueError):
        return None


def _parsed(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.MsgspecError, RecursionError, UnicodeError, ValueError):
        return None


def _listed(read: Any) -> list[Any]:
    triggers = read.get("triggers") if isinstance(read, dict) else None
    return triggers[: 4 * MAX_TRIGGERS] if isinstance(triggers, list) else []


def _text(value: Any, limit: int = MAX_NAME_CHARS) -> str:
    """A value as text: numbers too, as keys of lists and versions are sometimes numbers."""
    if isinstance(value, str):
        return value[:limit]
    if isinstance(value, bool) or value is None:
        return ""
    if isinstance(value, bytes):
        return value[:limit].decode(errors="replace")
    return str(value)[:limit] if isinstance(value, (int, float)) else ""


def _trigger(item: Any) -> Trigger | None:
    rule = item.get("rule") if isinstance(item, dict) else None
    if not isinstance(rule, dict) or not _text(rule.get("id")):
        return None
    given = rule.get("tags")
    tags = {}
    if isinstance(given, dict):
        for name, value in list(given.items())[:MAX_EVENT_TAGS]:
            if isinstance(name, str) and (text := _text(value)):
                tags[name[:MAX_NAME_CHARS]] = text
    matches = item.get("rule_matches")
    return Trigger(
        rule_id=_text(rule["id"]),
        name=_text(rule.get("name")),
        type=tags.get("type", ""),
        category=tags.get("category", ""),
        module=tags.get("module", ""),
        tags=tags,
        on_match=_texts(rule.get("on_match")),
        matches=tuple(_match(match) for match in matches[:MAX_MATCHES] if isinstance(match, dict))
        if isinstance(matches, list)
        else (),
        response_id=_text(item.get("security_response_id")),
        stack_id=_text(item.get("stack_id")),
    )


def _match(match: dict[Any, Any]) -> Match:
    parameters: list[Parameter] = []
    given = match.get("parameters")
    for one in given[:MAX_PARAMETERS] if isinstance(given, list) else []:
        if not isinstance(one, dict):
            continue
        highlight = _texts(one.get("highlight"), MAX_VALUE_CHARS)
        if "address" in one:
            parameters.append(_parameter(one, "", highlight))
            continue
        for name, part in list(one.items())[:MAX_PARAMETERS]:  # operators with inputs of several kinds
            if isinstance(part, dict):
                parameters.append(_parameter(part, _text(name), highlight))
    return Match(
        _text(match.get("operator")),
        _text(match.get("operator_value"), MAX_VALUE_CHARS),
        tuple(parameters[: 2 * MAX_PARAMETERS]),
    )


def _parameter(part: dict[Any, Any], name: str, highlight: tuple[str, ...]) -> Parameter:
    return Parameter(
        _text(part.get("address")),
        _text(part.get("value"), MAX_VALUE_CHARS),
        _texts(part.get("key_path")),
        _texts(part.get("highlight"), MAX_VALUE_CHARS) or highlight,
        name,
    )


def _texts(value: Any, limit: int = MAX_NAME_CHARS) -> tuple[str, ...]:
    if not isinstance(value, list):
        return ()
    return tuple(_text(one, limit) for one in value[:MAX_PARAMETERS])
