"""What is said of snapshots: who sent them, what became of them, what was found in them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol

from sealwire.server.debugger.snapshots.snapshot import Snapshot
from sealwire.server.store.debugger import Kept


class KnownProbe(Protocol):
    """What is known of a probe where its data arrives: ``desk.Known`` is such a thing."""

    @property
    def template(self) -> str: ...

    @property
    def asked(self) -> Mapping[str, str]:
        """Names of what it captures instead of all variables, and the expressions."""


class Source(NamedTuple):
    """Who sent something.

    Attributes:
        ahead_ms: How far the clock of the sender is ahead of ours.
    """

    host: str
    env: str
    version: str
    tags: Mapping[str, str]
    key_id: str
    arrived_ms: int
    ahead_ms: int = 0


class Taken(NamedTuple):
    """What became of a lot of envelopes."""

    kept: int = 0
    over_quota: int = 0
    refused: int = 0
    unknown: int = 0
    again: int = 0


class Opened(NamedTuple):
    """A snapshot with its values; names the organisation wants masked are.

    Attributes:
        problem: Why its values cannot be shown, if they make no sense; empty else.
        template: Of the probe as it was then; has no values.
    """

    kept: Kept
    snapshot: Snapshot
    problem: str = ""
    template: str = ""


class Counts(NamedTuple):
    """What came of a probe since it was made.

    Attributes:
        per_s: How many were kept per second, over the last ten.
        last_ms: When the last one arrived; 0: none did.
    """

    kept: int = 0
    over_quota: int = 0
    refused: int = 0
    per_s: float = 0.0
    last_ms: int = 0


class Hit(NamedTuple):
    """A snapshot in which a text was found.

    Attributes:
        message: As it may be shown to those who see values.
        paths: Of the rows it was found in (``tree``), with the value in one line; at most a few.
        total: In how many rows.
        in_message: Whether the message has it.
    """

    kept: Kept
    message: str
    paths: tuple[tuple[str, str], ...]
    total: int
    in_message: bool


class Found(NamedTuple):
    """What a search found, newest first.

    Attributes:
        scanned: How many snapshots were looked into.
        is_all: Whether there are no others that might have it.
    """

    hits: tuple[Hit, ...]
    scanned: int
    is_all: bool
