"""What became of a probe in each process: received, installed, emitting, failed, and what to make of it.

Hides the messages of ``/debugger/v1/diagnostics`` and their order. Invariants: pure, time is an argument; an
error is not the end, as a module that is only being imported has its functions a moment later; the order in
which messages arrive does not matter, but for those that carry no time.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Final, NamedTuple

import orjson

from sealwire.errors import MalformedError
from sealwire.products.schema import kind
from sealwire.server.debugger.snapshots.snapshot import envelopes

STALE_AFTER_MS: Final = 2 * 3_600_000  # tracers say everything again each hour
MAX_MESSAGE: Final = 2_000
MAX_STACK: Final = 8_000
_MAX_ENVELOPE_BYTES: Final = 64 * 1024


class Status(enum.StrEnum):
    """What a tracer says of a probe."""

    RECEIVED = "RECEIVED"
    INSTALLED = "INSTALLED"
    EMITTING = "EMITTING"
    WARNING = "WARNING"
    BLOCKED = "BLOCKED"
    ERROR = "ERROR"


# Of two messages of the same millisecond, the one that comes later in the life of a probe.
_RANK: Final = {
    Status.RECEIVED: 0,
    Status.ERROR: 1,
    Status.BLOCKED: 2,
    Status.WARNING: 3,
    Status.INSTALLED: 4,
    Status.EMITTING: 5,
}


class Failure(NamedTuple):
    """Why a probe does not work, in the words of the tracer."""

    type: str
    message: str
    stack: str = ""


class Key(NamedTuple):
    """A version of a probe in a process."""

    probe_id: str
    version: int
    runtime_id: str


class Diagnostic(NamedTuple):
    """A message about a probe.

    Attributes:
        at_ms: When it happened, by the clock of the program but never after it arrived.
        parent_id: The runtime this process was forked from.
        has_time: Whether the tracer said when; dd-trace does not, and sends its messages in their order.
    """

    key: Key
    status: Status
    at_ms: int
    service: str = ""
    failure: Failure | None = None
    parent_id: str = ""
    has_time: bool = True


class Diagnostics(NamedTuple):
    """What became of a body.

    Attributes:
        others: Envelopes that are no diagnostics but messages of probes: dd-trace sends them here too when it
            finds no better place; for ``snapshot.read``.
    """

    found: tuple[Diagnostic, ...]
    others: tuple[bytes, ...]
    refused: tuple[MalformedError, ...]


def read_all(body: bytes, *, arrived_ms: int) -> Diagnostics:
    """Understand the part ``event`` of a body; one bad envelope does not spoil the others.

    Raises:
        MalformedError, OversizeError: It is no list of envelopes.
    """
    found: list[Diagnostic] = []
    others: list[bytes] = []
    refused: list[MalformedError] = []
    for raw in envelopes(body):
        try:
            diagnostic = _read(raw, arrived_ms)
        except MalformedError as error:
            refused.append(error)
            continue
        if diagnostic is None:
            others.append(raw)
        else:
            found.append(diagnostic)
    return Diagnostics(tuple(found), tuple(others), tuple(refused))


def _read(raw: bytes, arrived_ms: int) -> Diagnostic | None:
    try:
        envelope = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise MalformedError("A diagnostic is a JSON object.", detail=str(error)[:200]) from error
    debugger = _object(_object(envelope, "$").get("debugger"), "$.debugger")
    if "diagnostics" not in debugger and "snapshot" in debugger:
        return None
    if len(raw) > _MAX_ENVELOPE_BYTES:
        raise MalformedError(f"A diagnostic has at most {_MAX_ENVELOPE_BYTES} bytes.")
    said = _object(debugger.get("diagnostics"), "$.debugger.diagnostics")
    word = said.get("status")
    if not isinstance(word, str) or word not in Status.__members__:
        raise MalformedError("$.debugger.diagnostics.status: There is no such status.")
    status = Status(word)
    stamp = envelope.get("timestamp", said.get("timestamp"))
    is_stamp = isinstance(stamp, int) and not isinstance(stamp, bool) and stamp > 0
    version = said.get("probeVersion", 0)
    if isinstance(version, bool) or not isinstance(version, int) or not 0 <= version < 2**53:
        raise MalformedError("$.debugger.diagnostics.probeVersion: Expected a whole number.")
    return Diagnostic(
        key=Key(_id(said, "probeId"), version, _id(said, "runtimeId")),
        status=status,
        at_ms=min(int(stamp), arrived_ms) if is_stamp else arrived_ms,
        service=_text(envelope.get("service"), 200),
        failure=_failure(said.get("exception"), status, envelope.get("message")),
        parent_id=_text(said.get("parentId"), 128),
        has_time=is_stamp,
    )


def _object(raw: object, path: str) -> Mapping[str, object]:
    if not isinstance(raw, Mapping):
        raise MalformedError(f"{path}: Expected an object, not {kind(raw)}.")
    return raw


def _id(said: Mapping[str, object], key: str) -> str:
    value = said.get(key)
    if not isinstance(value, str) or not 0 < len(value) <= 128:
        raise MalformedError(f"$.debugger.diagnostics.{key}: Expected a text of 1 to 128 characters.")
    return value


def _text(raw: object, most: int) -> str:
    return raw[:most] if isinstance(raw, str) else ""


def _failure(raw: object, status: Status, message: object) -> Failure | None:
    if status not in (Status.ERROR, Status.BLOCKED, Status.WARNING):
        return None
    if not isinstance(raw, Mapping):
        return Failure("", _text(message, MAX_MESSAGE))
    stack = raw.get("stacktrace")
    return Failure(
        _text(raw.get("type"), 200),
        _text(raw.get("message"), MAX_MESSAGE),
        _text(stack, MAX_STACK) if isinstance(stack, str) else "",
    )


# The state of a probe in a process --------------------------------------------------------------------------


class State(NamedTuple):
    """Where a version of a probe is in a process.

    Attributes:
        at_ms: Of the message that decided it.
        since_ms: Since when it has been so; saying it again does not change that.
        seen_ms: When anything was last heard of it.
    """

    status: Status
    at_ms: int
    since_ms: int
    seen_ms: int
    failure: Failure | None = None

    def is_stale(self, now_ms: int) -> bool:
        """Whether so long nothing was heard of it that the process is thought to be gone."""
        return now_ms - self.seen_ms > STALE_AFTER_MS


def after(held: State | None, news: Diagnostic, *, arrived_ms: int) -> State:
    """The state that follows; an older message only shows that the process lives."""
    if held is None:
        return State(news.status, news.at_ms, news.at_ms, arrived_ms, news.failure)
    seen = max(held.seen_ms, arrived_ms)
    is_newer = (news.at_ms, _RANK[news.status]) >= (held.at_ms, _RANK[held.status])
    is_newer = is_newer or (not news.has_time and news.at_ms >= held.at_ms)
    if not is_newer:
        is_same = news.status is held.status
        since = min(held.since_ms, news.at_ms) if is_same and held.since_ms == held.at_ms else held.since_ms
        return held._replace(seen_ms=seen, since_ms=since)
    since = held.since_ms if news.status is held.status else news.at_ms
    return State(news.status, news.at_ms, since, seen, news.failure)


class Headline(enum.StrEnum):
    """What is said of a probe as a whole."""

    WAITING = "waiting for instances"
    RECEIVED = "received"
    INSTALLED = "installed"
    EMITTING = "emitting"
    WARNING = "warning"
    BLOCKED = "blocked"
    ERROR = "error"


_FIRST: Final = (
    Status.ERROR,
    Status.BLOCKED,
    Status.WARNING,
    Status.EMITTING,
    Status.INSTALLED,
    Status.RECEIVED,
)


class Summary(NamedTuple):
    """A probe over all processes.

    Attributes:
        counts: Of live processes with the current version.
        behind: Live processes that still have an older version.
        stale: Processes that are gone, or not heard of for two hours.
    """

    headline: Headline
    counts: Mapping[Status, int]
    behind: int
    stale: int

    @property
    def live(self) -> int:
        return sum(self.counts.values()) + self.behind


def summary(
    states: Iterable[tuple[Key, State]],
    *,
    version: int,
    now_ms: int,
    is_alive: Callable[[str], bool] = lambda _runtime_id: True,
) -> Summary:
    """Sum up the states of one probe.

    Args:
        version: The one that is wanted.
        is_alive: Whether a runtime is still in the table of clients.
    """
    newest: dict[str, tuple[Key, State]] = {}
    for key, state in states:
        held = newest.get(key.runtime_id)
        if held is None or key.version > held[0].version:
            newest[key.runtime_id] = (key, state)
    counts = dict.fromkeys(Status, 0)
    behind = stale = 0
    for key, state in newest.values():
        if state.is_stale(now_ms) or not is_alive(key.runtime_id):
            stale += 1
        elif key.version < version:
            behind += 1
        else:
            counts[state.status] += 1
    first = next((status for status in _FIRST if counts[status]), None)
    headline = Headline[first.name] if first is not None else Headline.WAITING
    return Summary(headline, {status: count for status, count in counts.items() if count}, behind, stale)


# Explaining -------------------------------------------------------------------------------------------------

_EXPLAINED: Final = {
    "NoFunctionsAtLine": "No function has code at this line. Choose one that is executed in a function: "
    "not a def, a decorator, a comment or an empty line.",
    "NoFunctionInModule": "The module has no such function, or not yet: while it is imported this passes by "
    "itself. Check the name, and whether a decorator hides the function.",
    "UnresolvedLocation|NoSourceFile": "The program has no file whose path ends so. Check the path; the main "
    "program of Python cannot be probed by line in every version.",
    "No loaded script found": "The program has loaded no file whose path ends so. Check the path and "
    "whether it is loaded yet.",
    "Error setting breakpoint": "The file has no code at this line nor after it. Choose a line with a "
    "statement in a function.",
    "Unsupported probe type": "This tracer does not take this kind of probe. dd-trace takes logs at a line.",
    "Unsupported probe insertion point": "This tracer takes probes at lines only, not on methods.",
    "Invalid predicate|Invalid argument|Unknown AST node|Illegal identifier": "The tracer does not "
    "understand an expression of the probe.",
}


def explained(failure: Failure) -> str:
    """What a failure means and what to do; empty if nothing is known beyond its own words."""
    said = f"{failure.type} {failure.message}"
    for pattern, sentence in _EXPLAINED.items():
        if re.search(pattern, said):
            return sentence
    return ""
