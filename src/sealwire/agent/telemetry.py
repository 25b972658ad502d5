"""A tracer's telemetry as it passes: what settings are in force in it, and where each came from.

Hides the dialects. Every tracer sends ``/telemetry/proxy/api/v2/apmtelemetry`` in its own shape: one message
or a batch of them, values as text or as JSON, with ``seq_id`` or without, every setting with each change
(Node) or only what changed (Python). Pure: bytes in, values out.

Invariants: nothing larger than ``MAX_BODY_BYTES`` is read, packed or unpacked; what cannot be read is a
``MalformedError`` or an ``OversizeError`` and nothing else; a value whose name looks like a secret does not
leave this module.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import msgspec

from sealwire.errors import MalformedError, OversizeError
from sealwire.wire.inventory import (
    MAX_INT,
    MAX_KNOWN,
    MAX_NAME_CHARS,
    MAX_SETTINGS,
    MAX_VALUE_CHARS,
    Known,
)
from sealwire.wire.packed import gunzip

# The largest that tracers were seen to send have 52 kB.
MAX_BODY_BYTES = 1024 * 1024
MAX_PARTS = 200
MAX_RUNTIME_ID_CHARS = 200
REDACTED = "(redacted)"

# Messages without settings, which need not be read: their sender is heard by the others.
_NOTHING_IN_IT = frozenset(
    {
        "app-dependencies-loaded",
        "app-integrations-change",
        "app-endpoints",
        "distributions",
        "generate-metrics",
        "logs",
    }
)
_WHOLE = frozenset({"app-started", "app-extended-heartbeat"})
_CHANGE = "app-client-configuration-change"

Settings = dict[str, list[Known]]  # name -> one value per origin, the one in force first


class _Message(msgspec.Struct, frozen=True):
    request_type: Any = None
    runtime_id: Any = None
    application: Any = None
    payload: msgspec.Raw = msgspec.Raw(b"null")


class _Part(msgspec.Struct, frozen=True):
    request_type: Any = None
    payload: msgspec.Raw = msgspec.Raw(b"null")


class _Configuration(msgspec.Struct, frozen=True):
    configuration: Any = None


_message = msgspec.json.Decoder(_Message)
_parts = msgspec.json.Decoder(list[_Part])
_configuration = msgspec.json.Decoder(_Configuration)
_encoder = msgspec.json.Encoder()


@dataclass(frozen=True, slots=True)
class Said:
    """What one request told.

    Attributes:
        settings: Values in the order they were told; empty where it was about something else.
        is_whole: They are all there are: what was known before does not hold.
        is_closing: The runtime ends.
    """

    runtime_id: str
    service: str
    env: str
    language: str
    tracer_version: str
    app_version: str
    settings: tuple[tuple[str, Known], ...]
    is_whole: bool
    is_closing: bool


def is_worth_reading(request_type: str) -> bool:
    """Whether a request may say anything we keep, by its ``DD-Telemetry-Request-Type`` header."""
    return request_type not in _NOTHING_IN_IT


def read(body: bytes, *, is_gzipped: bool = False) -> Said:
    """Read one request.

    Args:
        body: As received, unverified.
        is_gzipped: What its ``Content-Encoding`` says.

    Raises:
        OversizeError: It is too large to be looked at.
        MalformedError: It is no telemetry.
    """
    if len(body) > MAX_BODY_BYTES:
        raise OversizeError(f"At most {MAX_BODY_BYTES} bytes of telemetry are read.")
    if is_gzipped:
        body = gunzip(body, limit=MAX_BODY_BYTES)
    try:
        return _read(_message.decode(body))
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise MalformedError(f"This is not telemetry: {str(error)[:200]}.") from error


def _read(message: _Message) -> Said:
    runtime_id = _text(message.runtime_id, MAX_RUNTIME_ID_CHARS)
    if not runtime_id:
        raise MalformedError("Telemetry without a runtime id.")
    if message.request_type == "message-batch":
        parts = _parts.decode(message.payload)[:MAX_PARTS]
    else:
        parts = [_Part(message.request_type, message.payload)]
    found: list[tuple[str, Known]] = []
    is_whole = is_closing = False
    for part in parts:
        kind = _text(part.request_type)
        if kind in _WHOLE or kind == _CHANGE:
            if kind in _WHOLE:
                is_whole, found = True, []
            found.extend(_settings(part.payload))
        elif kind == "app-closing":
            is_closing = True
    told = message.application if isinstance(message.application, dict) else {}
    return Said(
        runtime_id=runtime_id,
        service=_text(told.get("service_name")),
        env=_text(told.get("env")),
        language=_text(told.get("language_name")),
        tracer_version=_text(told.get("tracer_version")),
        app_version=_text(told.get("service_version")),
        settings=tuple(found),
        is_whole=is_whole and bool(found),
        is_closing=is_closing,
    )


def _settings(payload: msgspec.Raw) -> list[tuple[str, Known]]:
    listed = _configuration.decode(payload).configuration
    found: list[tuple[str, Known]] = []
    if not isinstance(listed, list):
        return found
    for item in listed:
        if not isinstance(item, dict):
            continue
        name = _text(item.get("name"))
        if not name:
            continue
        number = item.get("seq_id")
        if not isinstance(number, int) or not 0 <= number <= MAX_INT:
            number = 0
        found.append(
            (
                name,
                Known(
                    origin=_text(item.get("origin")) or "unknown",
                    value=_shown(name, item.get("value")),
                    seq_id=int(number),
                    error=_error(item.get("error")),
                ),
            )
        )
    return found


def _text(value: object, limit: int = MAX_NAME_CHARS) -> str:
    return value[:limit] if isinstance(value, str) else ""


def _error(value: object) -> str:
    if isinstance(value, dict):
        value = value.get("message") or value.get("code")
    return "" if value is None else _cut(value if isinstance(value, str) else str(value))


# Values -------------------------------------------------------------------------------------------


def as_text(value: object) -> str | None:
    """A value as text: JSON unless it is text already, bounded; None is "not set"."""
    if value is None or isinstance(value, str):
        return None if value is None else _cut(value)
    return _cut(_encoder.encode(value).decode())


def _cut(text: str) -> str:
    return text if len(text) <= MAX_VALUE_CHARS else text[:MAX_VALUE_CHARS] + "…"


def _shown(name: str, value: object) -> str | None:
    return redacted(name, as_text(value))


_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_SECRET = frozenset(
    {
        "apikey", "appkey", "auth", "authorization", "bearer", "cookie", "credential", "credentials", "dsn",
        "key", "passphrase", "passwd", "password", "passwords", "private", "pwd", "secret", "secrets",
        "token", "tokens",
    }
)  # fmt: skip
# "keys" and "headers" by themselves are lists of names (tags, tables); after these words they are secrets.
_PLURALS = {
    "keys": frozenset({"access", "api", "app", "application", "encryption", "private", "secret"}),
    "headers": frozenset({"exporter", "logs", "metrics", "otlp", "traces"}),
}
# Patterns that find secrets are none.
_HARMLESS_END = frozenset({"enabled", "pattern", "regex", "regexp"})
_NO_SECRET = frozenset({"", "true", "false", "none", "null", "0", "1"})
_USERINFO = re.compile(r"(?<=://)[^/@\s]+@")


def is_secret(name: str) -> bool:
    """Whether a setting's name looks like that of a key, a token or a password."""
    words = [word.lower() for word in _WORDS.findall(name)]
    if not words or words[-1] in _HARMLESS_END:
        return False
    if not _SECRET.isdisjoint(words):
        return True
    return any(
        word in _PLURALS and not _PLURALS[word].isdisjoint(words[:number])
        for number, word in enumerate(words)
    )


def redacted(name: str, value: str | None) -> str | None:
    """A value as it may leave the host: without secrets, and URLs without who signs in to them."""
    if value is None or value.lower() in _NO_SECRET:
        return value
    if is_secret(name):
        return REDACTED
    return _USERINFO.sub("…@", value) if "://" in value else value


# Together -----------------------------------------------------------------------------------------


def merged(known: Settings, said: Said) -> Settings:
    """What is known after a request: one value per name and origin, the one in force first.

    The last one told is in force: tracers that give a value back tell the one below it again, with a higher
    ``seq_id``. Of a tracer that does not count the order of telling decides.
    """
    after: Settings = {} if said.is_whole else dict(known)
    for name, value in said.settings:
        before = after.get(name)
        if before is None:
            if len(after) < MAX_SETTINGS:
                after[name] = [value]
            continue
        if any(one.origin == value.origin and one.seq_id > value.seq_id for one in before):
            continue  # it was told before, and repeated late
        others = [one for one in before if one.origin != value.origin]
        place = next((number for number, one in enumerate(others) if one.seq_id <= value.seq_id), len(others))
        others.insert(place, value)
        # What came from the control plane and is not in force any more is gone, not a layer below.
        after[name] = [others[0], *(one for one in others[1:] if one.origin != "remote_config")][:MAX_KNOWN]
    return after


def in_force(settings: Settings, *names: str) -> Known | None:
    """The value in force of the first of these names that is known."""
    return next((settings[name][0] for name in names if name in settings), None)
