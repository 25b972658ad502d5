"""The snapshots of one organisation: taken within a quota, written behind, kept for a while, opened again.

What arrives is read as far as its head; values are packed and sealed as they came. Lists know nothing of what
was in a program's variables: ``Kept`` has neither values nor the message. Invariants: what is queued is
bounded, and full means no, not slow; a snapshot that comes again is not kept again; counts survive a restart;
nothing in here writes what a program said to a log. Lives on the event loop; databases and reading whole
snapshots are in threads.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import Final, NamedTuple, Protocol

from sealwire.server.debugger.settings import SettingsDesk
from sealwire.server.debugger.snapshot import Snapshot
from sealwire.server.debugger.vault import Vault
from sealwire.server.store.database import Database

MAX_NEWEST: Final = 50


class KnownProbe(Protocol):
    """What is known of a probe where its data arrives: ``desk.Known`` is such a thing."""

    @property
    def template(self) -> str: ...


class Kept(NamedTuple):
    """A snapshot as lists have it; nothing of what was in the program's variables.

    Attributes:
        at_ms: When the probe was reached, by our clock as well as can be told.
        has_values: Whether it captured any.
        errors: How many expressions failed.
        bytes: As it came.
    """

    snapshot_id: str
    probe_id: str
    probe_version: int
    at_ms: int
    service: str
    env: str
    version: str
    host: str
    language: str
    trace_id: str
    span_id: str
    has_values: bool
    errors: int
    bytes: int
    duration_ns: int | None


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
    """

    kept: Kept
    snapshot: Snapshot
    problem: str = ""


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


class Snapshots:
    """The snapshots of one organisation.

    Args:
        known: A probe that programs may speak of, from memory; None: there is none.
        max_snapshots, max_bytes: Beyond, the oldest go first.
    """

    def __init__(
        self,
        database: Database,
        org_id: int,
        vault: Vault,
        settings: SettingsDesk,
        *,
        known: Callable[[str], KnownProbe | None],
        clock: Callable[[], datetime],
        max_snapshots: int = 200_000,
        max_bytes: int = 2 * 1024**3,
    ) -> None:
        self._database = database
        self._org_id = org_id
        self._vault = vault
        self._settings = settings
        self._known = known
        self._clock = clock
        self._max_snapshots = max_snapshots
        self._max_bytes = max_bytes

    def take(self, envelopes: Sequence[bytes], source: Source) -> Taken:
        """Take what arrived, as far as the quota allows; refused are those that make no sense.

        Raises:
            UnavailableError: Too much is queued; send it again.
        """
        raise NotImplementedError

    async def list(
        self,
        *,
        probe_id: str = "",
        service: str = "",
        env: str = "",
        trace_id: str = "",
        version: int | None = None,
        has_values: bool | None = None,
        has_errors: bool | None = None,
        since_ms: int = 0,
        until_ms: int | None = None,
        before: tuple[int, str] | None = None,
        limit: int = 50,
    ) -> list[Kept]:
        """Snapshots, newest first.

        Args:
            version: Of the probe.
            before: ``at_ms`` and ``snapshot_id`` of the last one of the page before.
        """
        raise NotImplementedError

    async def open(self, snapshot_id: str) -> Opened:
        """One with its values. Whoever shows it asks ``discretion`` first.

        Raises:
            NotFoundError: There is none, or no more.
        """
        raise NotImplementedError

    async def messages(self, kepts: Collection[Kept]) -> dict[str, str]:
        """The messages of snapshots by id; whoever shows them asks ``discretion`` first."""
        raise NotImplementedError

    def newest(self, probe_id: str, limit: int = MAX_NEWEST) -> Sequence[tuple[Kept, str]]:
        """The last ones that arrived, newest first, with their messages; from memory."""
        raise NotImplementedError

    def counts(self, probe_id: str) -> Counts:
        """What came of a probe; from memory."""
        raise NotImplementedError

    def per_minute(self, probe_id: str) -> Sequence[int]:
        """How many were kept in each of the last 30 minutes, the present one last; from memory."""
        raise NotImplementedError

    def generation(self, probe_id: str) -> int:
        """Grows with everything that arrives of a probe."""
        raise NotImplementedError

    async def search(
        self,
        probe_id: str,
        text: str,
        *,
        may_see: Callable[[Kept], bool],
        limit: int = 50,
        scan: int = 2_000,
    ) -> Found:
        """Find a text in values and messages of the newest snapshots of a probe.

        Args:
            may_see: Only in these is looked: what is found tells what is there. Mostly
                ``functools.partial(discretion.may_see, principal)``.
        """
        raise NotImplementedError

    def export(
        self,
        *,
        probe_id: str = "",
        service: str = "",
        env: str = "",
        since_ms: int = 0,
        until_ms: int | None = None,
        limit: int = 10_000,
    ) -> AsyncIterator[Opened]:
        """Snapshots with their values, newest first. Whoever passes them on asks ``discretion`` first."""
        raise NotImplementedError
