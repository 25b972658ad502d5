"""The hash chain of an audit trail: how an event is hashed, and where a trail stops being what was written.

Every event of an organisation carries the hash of the event before it and its own:

    sha256 = hex(SHA-256(json(event without sha256)))

where ``json`` is JSON with sorted keys, no spaces and nothing but ASCII (``json.dumps`` of Python with
``sort_keys=True, separators=(",", ":")``), and the event is an object with exactly the members of
``FIELDS``: its id, the UUID of the organisation, the time in milliseconds since 1970, who, what, to what,
in words, details, context of the request, and the hash before (``GENESIS`` for the first event). A head,
kept beside the events, counts them and repeats the hash of the last, so that a cut end is seen.

Who can write to the database can write a whole new chain: what gives that away is a head that was noted
elsewhere (``Verifier.expected_head``). Only the standard library is used here, so that an export can be
verified on any machine; docs/security/audit.md does it in ten lines without this program.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

GENESIS = "0" * 64
FIELDS = ("action", "actor", "at_ms", "context", "detail", "id", "org", "prev_sha256", "subject", "summary")

CHANGED, MISSING, REORDERED, INSERTED = "changed", "missing", "reordered", "inserted"
UNCHAINED, TRUNCATED, HEAD, OTHER_HEAD = "unchained", "truncated", "head differs", "another chain"


def event_sha256(event: Mapping[str, Any]) -> str:
    """The hash of an event: of everything it says but ``sha256`` itself."""
    hashed = {name: value for name, value in event.items() if name != "sha256"}
    text = json.dumps(hashed, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def is_as_written(event: Mapping[str, Any], org: str) -> bool:
    """Whether an event is what its own hash says, whatever is beside it."""
    return event.get("org") == org and event_sha256(event) == event.get("sha256")


@dataclass(frozen=True, slots=True)
class Head:
    """Where a chain ends: how many events it has, and the hash of the last (``GENESIS`` without any)."""

    events: int
    sha256: str


NO_HEAD = Head(-1, "")  # there should be one


@dataclass(frozen=True, slots=True)
class Break:
    """The first place where a trail is not what was written.

    Attributes:
        kind: One of the words above.
        place: Which event in the trail, the first is 1; one past the last when the end is missing.
        event_id: Of the event there; None when there is none.
        text: What is wrong, as a sentence.
    """

    kind: str
    place: int
    event_id: int | None
    text: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of a verification.

    Attributes:
        events: How many were looked at.
        sha256: The hash of the last that held; note it elsewhere.
        found: The first break, or None.
        expected_at: At which event the head that was expected is; None when none was, or it is not there.
    """

    events: int
    sha256: str
    found: Break | None
    expected_at: int | None = None

    @property
    def holds(self) -> bool:
        """Whether all is as it was written."""
        return self.found is None


class Verifier:
    """Takes the events of one organisation in order, then says whether they are what was written.

    Args:
        org: UUID of the organisation.
        start: Where to begin, when what is before was verified earlier.
        expected_head: A head noted elsewhere: it must be in the chain, at its end or before.
    """

    def __init__(self, org: str, *, start: Head | None = None, expected_head: str = "") -> None:
        begin = start or Head(0, GENESIS)
        self.events, self.sha256 = begin.events, begin.sha256
        self._org = org
        self._before = ""  # the hash before the last event
        self._expected = expected_head.strip().lower()
        self._expected_at = begin.events if self._expected and self._expected == begin.sha256 else None
        self._found: Break | None = None
        self._wanted = ""  # after a gap: the event before, should it come later

    @property
    def broken(self) -> bool:
        """Whether a break was found: what follows only tells which kind it is."""
        return self._found is not None

    def take(self, event: Mapping[str, Any]) -> None:
        """The next event: the members of ``FIELDS`` and ``sha256``."""
        said = event.get("sha256")
        if self._found is not None:
            if self._wanted and said == self._wanted:
                self._found = _reordered(self._found)
                self._wanted = ""
            return
        place, event_id = self.events + 1, event.get("id")
        before = event.get("prev_sha256")
        if not isinstance(event_id, int):
            event_id = None
        if said is None:
            self._stop(UNCHAINED, place, event_id, "was written past the chain: it has no hash")
        elif not is_as_written(event, self._org):
            self._stop(CHANGED, place, event_id, "is not as it was written: its hash is of something else")
        elif before != self.sha256:
            if before == self._before and self.events:
                self._stop(
                    INSERTED, place, event_id, "follows another event than the one before it: one was put in"
                )
            else:
                self._stop(
                    MISSING, place, event_id, "does not follow the one before it: what was between is missing"
                )
                self._wanted = str(before)
        else:
            self._before, self.sha256 = self.sha256, str(said)
            self.events = place
            if self._expected and said == self._expected:
                self._expected_at = place

    def _stop(self, kind: str, place: int, event_id: int | None, text: str) -> None:
        name = f"Event {event_id}" if event_id is not None else "An event without an id"
        self._found = Break(kind, place, event_id, f"{name} (number {place}) {text}.")

    def verdict(self, head: Head | None) -> Verdict:
        """After the last event: what is so of the whole; ``head`` is what was kept beside the events."""
        found = self._found
        if found is None and head == NO_HEAD:
            found = Break(HEAD, self.events, None, "The head of the chain is missing: the end may be cut.")
        if found is None and head is not None and self.events < head.events:
            gone = head.events - self.events
            found = Break(
                TRUNCATED, self.events + 1, None,
                f"The end is missing: {gone} event{'s' if gone > 1 else ''} after number {self.events}.",
            )  # fmt: skip
        if found is None and head is not None and (head.events, head.sha256) != (self.events, self.sha256):
            found = Break(
                HEAD, self.events, None,
                f"The head tells of {head.events} events and ends in {head.sha256}; "
                f"the events are {self.events} and end in {self.sha256}.",
            )  # fmt: skip
        if found is None and self._expected and self._expected_at is None:
            found = Break(
                OTHER_HEAD, self.events, None,
                "The head that was noted is nowhere in this chain: it was written anew, or is another's.",
            )  # fmt: skip
        return Verdict(self.events, self.sha256, found, self._expected_at)


def _reordered(gap: Break) -> Break:
    text = gap.text.replace("what was between is missing", "what was between comes later")
    return Break(REORDERED, gap.place, gap.event_id, text)
