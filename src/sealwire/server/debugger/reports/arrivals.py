"""What agents pass on from tracers' debuggers: a body in, its parts where they belong.

A body is a JSON list of messages, or form data whose part ``event`` is such a list or announces symbols.
Tracers mix: messages come among statuses and statuses among messages, and each goes its way. Invariants: one
bad envelope does not spoil the others; unpacking and reading are bounded; nothing of it is in a log.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import orjson

from sealwire.errors import MalformedError
from sealwire.server.debugger.code.symbols import Symbols
from sealwire.server.debugger.reports import statuses
from sealwire.server.debugger.reports.instances import ProbeStatuses
from sealwire.server.debugger.snapshots.keep import Snapshots, Source
from sealwire.server.debugger.snapshots.snapshot import envelopes
from sealwire.server.packing import unpack
from sealwire.server.security.rows import plain
from sealwire.wire import multipart

MAX_UPLOAD_BYTES: Final = 10 * 1024 * 1024  # of messages at most 8 MiB; the rest is for symbols
MAX_TAGS_CHARS: Final = 4_001  # where agents cut
MAX_TAGS: Final = 200
READ_IN_THREAD_BYTES: Final = 128 * 1024
READ_AT_ONCE: Final = 4  # large bodies
AT_ONCE: Final = 50  # envelopes, between two chances for others
_STATUS_BYTES: Final = 64 * 1024


class Upload(NamedTuple):
    """A body as it arrived, unverified.

    Attributes:
        encoding: Its ``Content-Encoding``.
        tags: Its query parameter ``ddtags``.
        ahead_ms: How far the clock of the sender is ahead of ours.
    """

    body: bytes
    content_type: str
    encoding: str
    tags: str
    key_id: str
    arrived_ms: int
    ahead_ms: int = 0


class Outcome(NamedTuple):
    """What became of a body; ``refused`` are envelopes that make no sense."""

    snapshots: int = 0
    over_quota: int = 0
    statuses: int = 0
    symbols: int = 0
    refused: int = 0
    unknown: int = 0


class _Parts(NamedTuple):
    messages: Sequence[bytes] = ()
    said: Sequence[statuses.Diagnostic] = ()
    refused: int = 0
    announced: Mapping[str, object] | None = None
    file: bytes = b""


class Arrivals:
    """Where everything that probes bring comes in, of one organisation."""

    def __init__(self, snapshots: Snapshots, said: ProbeStatuses, symbols: Symbols) -> None:
        self._snapshots = snapshots
        self._statuses = said
        self._symbols = symbols
        self._seen: Counter[str] = Counter()
        self._reading = asyncio.Semaphore(READ_AT_ONCE)

    async def take(self, upload: Upload) -> Outcome:
        """Take a body.

        Raises:
            MalformedError: It cannot be read at all.
            OversizeError: It is too large, packed or unpacked.
            UnavailableError: Too much is waiting; send it again.
        """
        if len(upload.body) > READ_IN_THREAD_BYTES or upload.encoding not in ("", "identity"):
            async with self._reading:
                parts = await asyncio.to_thread(_read, upload)
        else:
            parts = _read(upload)
        source = source_of(upload)
        outcome = Outcome(refused=parts.refused)
        if parts.announced is not None:
            await self._symbols.take(parts.announced, parts.file, source=source)
            outcome = outcome._replace(symbols=1)
        if parts.said:
            taken = self._statuses.take(parts.said, source)
            outcome = outcome._replace(statuses=taken.taken, unknown=taken.unknown)
        for start in range(0, len(parts.messages), AT_ONCE):
            if start:
                await asyncio.sleep(0)
            became = self._snapshots.take(
                parts.messages[start : start + AT_ONCE], source, is_whole=start == 0
            )
            outcome = outcome._replace(
                snapshots=outcome.snapshots + became.kept,
                over_quota=outcome.over_quota + became.over_quota,
                refused=outcome.refused + became.refused,
                unknown=outcome.unknown + became.unknown,
            )
        self._seen.update(outcome._asdict())
        return outcome

    def counters(self) -> dict[str, int]:
        """What became of everything that arrived since the start, for metrics."""
        return {**dict.fromkeys(Outcome._fields, 0), **self._seen}


# Reading ----------------------------------------------------------------------------------------------------


def _read(upload: Upload) -> _Parts:
    """Of large bodies in a thread."""
    body = unpack(upload.body, encoding=upload.encoding, limit=MAX_UPLOAD_BYTES)
    if not multipart.is_multipart(upload.content_type):
        return _messages(body, upload.arrived_ms + upload.ahead_ms)
    event, file = b"", b""
    for part in multipart.read(upload.content_type, body):
        if part.name == "event" or (not event and part.filename.endswith(".json")):
            event = part.body
        elif not file:
            file = part.body
    if not event.strip():
        raise MalformedError("There is no part event.")
    announced = _announced(event) if file else None
    if announced is not None:
        return _Parts(announced=announced, file=file)
    read = statuses.read_all(event, arrived_ms=upload.arrived_ms + upload.ahead_ms)
    return _Parts(read.others, read.found, len(read.refused))


def _messages(body: bytes, arrived_ms: int) -> _Parts:
    body = body.strip()
    if body.startswith(b"{"):
        body = b"[%b]" % body
    messages: list[bytes] = []
    said: list[statuses.Diagnostic] = []
    refused = 0
    for raw in envelopes(body):
        # A variable may have that name too: who reads it says what it is.
        if len(raw) > _STATUS_BYTES or b'"diagnostics"' not in raw:
            messages.append(raw)
            continue
        read = statuses.read_all(b"[%b]" % raw, arrived_ms=arrived_ms)
        messages += read.others
        said += read.found
        refused += len(read.refused)
    return _Parts(messages, said, refused)


def _announced(event: bytes) -> Mapping[str, object] | None:
    """The announcement of symbols, if this is one."""
    if len(event) > _STATUS_BYTES:
        return None
    try:
        found = orjson.loads(event)
    except orjson.JSONDecodeError as error:
        raise MalformedError("The part event is JSON.", detail=str(error)[:200]) from error
    if isinstance(found, list) and len(found) == 1:
        found = found[0]
    return found if isinstance(found, dict) and found.get("type") == "symdb" else None


def source_of(upload: Upload) -> Source:
    """Who sent it, by its tags: those of the agent come first, and of several of a name the first counts."""
    tags: dict[str, str] = {}
    for each in upload.tags[:MAX_TAGS_CHARS].split(",")[:MAX_TAGS]:
        key, _, value = each.strip().partition(":")
        if key and value:
            tags.setdefault(plain(key), plain(value))
    default_env = tags.get("default_env", "")
    return Source(
        host=tags.get("host") or tags.get("host_name", ""),
        env=tags.get("env") or ("" if default_env == "none" else default_env),
        version=tags.get("version", ""),
        tags=tags,
        key_id=upload.key_id,
        arrived_ms=upload.arrived_ms,
        ahead_ms=upload.ahead_ms,
    )
