"""What a source of events is to the rest: one small interface, and a plain statement of what it can give.

An ``Offer`` says of every event type and field whether a source gives it, nearly gives it, or does not, and
why, in words for a page. What an offer does not mention is given.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from sealwire.secl.catalogue import FIELDS, Field, Place
from sealwire.secl.event import Event


class SourceError(Exception):
    """A source cannot be used here; its text says why, and what to do."""


class Standing(enum.IntEnum):
    """How well something can be seen."""

    NOT = 0
    PARTLY = 1
    FULLY = 2


@dataclass(frozen=True, slots=True)
class Offer:
    """What a source can give.

    Attributes:
        source: What it is, as words in the middle of a sentence.
        events: Types of event.
        partly: Fields, or event types, that are nearly right, and why.
        missing: Fields, or event types, that it cannot give, and why.

    A field is found by its whole name, or ``process.<key>`` for one of a process, or ``file.<rest>`` for one
    of any file; a key that ends with a dot stands for everything below.
    """

    source: str
    events: frozenset[str]
    partly: Mapping[str, str] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)

    def of(self, event: str, name: str) -> tuple[Standing, str]:
        """How well a field of an event can be seen, and why not better."""
        if event not in self.events:
            return Standing.NOT, f"{event} events are not seen by {self.source}"
        keys = _keys(name)
        for table, standing in ((self.missing, Standing.NOT), (self.partly, Standing.PARTLY)):
            for key in keys:
                if key in table:
                    return standing, table[key]
        return Standing.FULLY, ""

    def of_event(self, event: str) -> tuple[Standing, str]:
        """How well an event type can be seen at all."""
        if event not in self.events:
            return Standing.NOT, f"{event} events are not seen by {self.source}"
        return (Standing.PARTLY, self.partly[event]) if event in self.partly else (Standing.FULLY, "")


def _keys(name: str) -> list[str]:
    known: Field | None = FIELDS.get(name)
    names = [name]
    if known is not None and known.place is not Place.EVENT and known.place is not Place.HOST:
        names.append(f"process.{known.key}")
    if ".file." in name:
        rest = name.rpartition(".file.")[2]
        names.append(f"file.{rest.removeprefix('destination.')}")
    found: list[str] = []
    for each in names:
        found.append(each)
        parts = each.split(".")
        found += [".".join(parts[:at]) + "." for at in range(len(parts) - 1, 0, -1)]
    return found


@dataclass(frozen=True, slots=True)
class Verdict:
    """How well a rule can be evaluated with some sources; reasons where not fully, by field or event."""

    standing: Standing
    reasons: tuple[tuple[str, str], ...] = ()


def judge(event: str, fields: Collection[str], offers: Sequence[Offer]) -> Verdict:
    """How well a rule for one event type that asks for some fields can be evaluated.

    The best source counts; fields are not put together from several.
    """
    best = Verdict(Standing.NOT, ((event, "no source sees it"),))
    for offer in offers:
        standing, reason = offer.of_event(event)
        reasons = [(event, reason)] if reason else []
        if standing is not Standing.NOT:
            for name in sorted(fields):
                each, why = offer.of(event, name)
                if each is not Standing.FULLY:
                    reasons.append((name, why))
                    standing = min(standing, each)
        if standing > best.standing or (standing is best.standing is Standing.NOT and event in offer.events):
            best = Verdict(standing, tuple(reasons))
    return best


def unavailable(offers: Sequence[Offer]) -> Callable[[str, str], str]:
    """A function that says why none of some sources can give a field for an event type; empty if one can."""

    def why(event: str, name: str) -> str:
        reasons = []
        for offer in offers:
            standing, reason = offer.of(event, name)
            if standing is not Standing.NOT:
                return ""
            if event in offer.events:
                reasons.append(reason)
        return "; ".join(dict.fromkeys(reasons)) or f"{event} events are not seen by any source in use"

    return why


class Source(Protocol):
    """Something that sees what happens on this host.

    It is used by one thread. Nothing blocks: who reads waits for ``filenos`` to become readable, and calls
    ``read`` at least every ``due_s`` seconds as well.
    """

    @property
    def offer(self) -> Offer: ...

    @property
    def due_s(self) -> float:
        """Longest time between two reads."""

    def start(self) -> None:
        """Begin. Raises SourceError, having changed nothing."""

    def stop(self) -> None:
        """End, and leave the kernel as it was found; may be called twice."""

    def filenos(self) -> tuple[int, ...]:
        """What becomes readable when there is something to read."""

    def read(self, *, limit: int) -> list[Event]:
        """What happened, oldest first, at most about ``limit``; never raises for what it reads."""

    @property
    def lost(self) -> int:
        """Events (or records of them) known to be lost since the start."""
