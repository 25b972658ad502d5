"""How long it takes from a save to its effect: saved, signed, fetched by the agent, applied by the client.

Every delivery that a client confirms is measured once, step by step: when its newest config was saved, when
the bundle that first had it was ready, when its agent was given the bytes, when the client said that it has
them. Who appeared after the save, or asked for the product after it, is measured from then and counted
apart: that is no change on its way but a client that starts.

Counts are kept by step, product and service: those of this hour in slots of ten minutes, those of the week
by the hour, which are also written to the database, each running control plane its own. The deliveries
themselves are remembered only in memory, the last ``REMEMBERED`` of them. Lives on the event loop.
"""

from __future__ import annotations

import asyncio
import secrets
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from sealwire.server.store import propagation as stored
from sealwire.server.store import rows
from sealwire.server.store.database import Database
from sealwire.wire.codec import ApplyState

if TYPE_CHECKING:
    from sealwire.server.distribute import Session
    from sealwire.server.publish import Publisher

REMEMBERED = 20_000
SLOT_MS = 10 * 60 * 1000
HOUR_MS = 3600 * 1000
KEPT_HOURS = 8 * 24
MAX_SERVICES = 500  # told apart in one hour; deliveries to further ones count as of no service

#: Upper edges of the buckets, seconds; the last bucket has none.
EDGES_S = (
    0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1, 1.2, 1.4, 1.6, 1.8, 2, 2.25, 2.5, 2.75, 3, 3.5, 4,
    4.5, 5, 5.5, 6, 7, 8, 9, 10, 12, 15, 20, 25, 30, 45, 60, 90, 120, 180, 300, 600, 1200, 1800, 3600, 7200,
    21600, 86400,
)  # fmt: skip
_LONGEST_S = 7 * 86400.0


class Step(StrEnum):
    """What is measured."""

    WHOLE = "whole"  # save to applied
    SIGNED = "signed"  # save to signed
    FETCHED = "fetched"  # signed to given to the agent
    APPLIED = "applied"  # given to the agent to confirmed by the client
    STARTED = "started"  # a client's appearing, or its asking for the product, to applied
    FAILED = "failed"  # save to the client saying that it did not take it


class Window(StrEnum):
    """Over which time."""

    HOUR = "hour"
    DAY = "day"
    WEEK = "week"


_WINDOW_MS: Mapping[Window, int] = {
    Window.HOUR: HOUR_MS,
    Window.DAY: 24 * HOUR_MS,
    Window.WEEK: 7 * 24 * HOUR_MS,
}

Key = tuple[str, str]  # product, service


@dataclass(frozen=True, slots=True)
class Delivery:
    """One delivery that came to its end.

    Attributes:
        config_id: The newest of the configs in it.
        began_ms: When it was saved; or when the client appeared or asked, if that was later (``is_start``).
        signed_ms, fetched_ms: None where it is not known, as after a restart of this program.
        failed: The client did not take it.
        is_waiting_agent: Its agent holds its polls open, and so hears of a change at once.
    """

    config_id: str
    path: str
    product: str
    service: str
    env: str
    client_id: str
    hostname: str
    began_ms: int
    is_start: bool
    signed_ms: int | None
    fetched_ms: int | None
    ended_ms: int
    failed: bool
    is_waiting_agent: bool

    @property
    def took_s(self) -> float:
        return max(0, self.ended_ms - self.began_ms) / 1000

    def steps(self) -> Iterator[tuple[Step, float]]:
        """Each step that is known, and how long it took, seconds."""
        if self.failed:
            yield Step.FAILED, self.took_s
            return
        if self.is_start:
            yield Step.STARTED, self.took_s
            return
        yield Step.WHOLE, self.took_s
        if self.signed_ms is None or self.fetched_ms is None:
            return
        yield Step.SIGNED, max(0, self.signed_ms - self.began_ms) / 1000
        yield Step.FETCHED, max(0, self.fetched_ms - self.signed_ms) / 1000
        yield Step.APPLIED, max(0, self.ended_ms - self.fetched_ms) / 1000


@dataclass(slots=True)
class Tally:
    """Deliveries by step and bucket."""

    counts: dict[str, dict[int, int]] = field(default_factory=dict)

    def add(self, step: Step, seconds: float) -> None:
        """One more."""
        buckets = self.counts.setdefault(step.value, {})
        bucket = bisect_right(EDGES_S, seconds)
        buckets[bucket] = buckets.get(bucket, 0) + 1

    def merge(self, counts: stored.Counts) -> None:
        """All of others, too."""
        for step, others in counts.items():
            buckets = self.counts.setdefault(step, {})
            for bucket, number in others.items():
                buckets[bucket] = buckets.get(bucket, 0) + number

    def total(self, step: Step) -> int:
        """How many deliveries were measured."""
        return sum(self.counts.get(step.value, {}).values())

    def quantile(self, step: Step, q: float) -> float | None:
        """Seconds within which a share of them was done; None without any. Exact to its bucket."""
        buckets = self.counts.get(step.value, {})
        total = sum(buckets.values())
        if not total:
            return None
        wanted = q * total
        for bucket in sorted(buckets):
            number = buckets[bucket]
            if wanted <= number:
                low = EDGES_S[bucket - 1] if bucket else 0.0
                high = EDGES_S[bucket] if bucket < len(EDGES_S) else _LONGEST_S
                return low + (high - low) * wanted / number
            wanted -= number
        return None

    def within(self, step: Step, seconds: float) -> int:
        """How many took at most so long; ``seconds`` is one of the edges."""
        last = bisect_right(EDGES_S, seconds) - 1
        return sum(number for bucket, number in self.counts.get(step.value, {}).items() if bucket <= last)


class Propagation:
    """What was measured in one organisation."""

    def __init__(
        self, publisher: Publisher, database: Database, org_id: int, *, clock_ms: Callable[[], int]
    ) -> None:
        self.began_ms = clock_ms()
        self._publisher = publisher
        self._database = database
        self._org_id = org_id
        self._clock_ms = clock_ms
        self._writer = secrets.token_hex(8)
        self._deliveries: deque[Delivery] = deque(maxlen=REMEMBERED)
        self._asked_ms: dict[str, dict[str, int]] = {}  # client id -> product -> since when, if not at first
        self._slots: deque[tuple[int, dict[Key, Tally]]] = deque()
        self._mine: dict[int, dict[Key, Tally]] = {}  # by the hour
        self._unwritten: set[tuple[int, Key]] = set()
        self._others: dict[int, dict[Key, Tally]] = {}
        self._is_shared = not database.is_sqlite
        self._load()

    # Measuring (event loop) ---------------------------------------------------------------------------

    def asks(self, row: rows.ClientRow, before: rows.ClientRow | None) -> None:
        """A client told of itself; a product it did not ask for before counts from now."""
        if before is None or row.facts["products"] == before.facts.get("products"):
            return
        known = set(before.facts.get("products", ()))
        for product in row.facts["products"]:
            if product not in known:
                self._asked_ms.setdefault(row.client_id, {})[product] = row.last_seen_ms

    def said(
        self,
        session: Session,
        client: rows.ClientRow,
        delivery: rows.DeliveryRow,
        had: tuple[int, int, str] | None,
    ) -> None:
        """A client said something new of a file.

        Args:
            had: What it said of that file before: version, apply state, error.
        """
        if delivery.apply_state not in (ApplyState.ACKNOWLEDGED, ApplyState.ERROR):
            return
        if had is not None and had[:2] == (delivery.version, ApplyState.ACKNOWLEDGED):
            return
        file = self._publisher.files.get(delivery.path)
        if file is None or file.version != delivery.version:
            return
        saved_ms, config_id = self._saved(file, is_new_to_client=had is None)
        if not config_id or saved_ms > delivery.since_ms:
            return
        product = delivery.path.split("/")[2]
        asked_ms = self._asked_ms.get(client.client_id, {}).get(product, 0)
        began_ms = max(saved_ms, client.first_seen_ms, asked_ms)
        signed_ms, fetched_ms = _times(session, delivery, began_ms)
        self._take(
            Delivery(
                config_id=config_id,
                path=delivery.path,
                product=product,
                service=str(client.facts.get("service", "")),
                env=str(client.facts.get("env", "")),
                client_id=client.client_id,
                hostname=session.hostname,
                began_ms=began_ms,
                is_start=began_ms != saved_ms,
                signed_ms=signed_ms,
                fetched_ms=fetched_ms,
                ended_ms=delivery.since_ms,
                failed=delivery.apply_state == ApplyState.ERROR,
                is_waiting_agent=any(tag.startswith("sealwire_version:") for tag in session.tags),
            )
        )

    def _saved(self, file: rows.FileRow, *, is_new_to_client: bool) -> tuple[int, str]:
        """When what a client was given was saved, and the config that did it; 0 and nothing if unknown.

        Who had the file is given it anew for its contents, which a later change of nothing but the targeting
        leaves alone; who had it not is given it for the newest change of all.
        """
        version, saved_ms, config_id = self._publisher.saved.get(file.path, (0, 0, ""))
        if version == file.version and not is_new_to_client:
            return saved_ms, config_id
        active = self._publisher.catalogue.active
        # A config that was changed again meanwhile says nothing of when this file was saved.
        times = (
            (item.row.updated_ms, one)
            for one, revision in file.sources.items()
            if (item := active.get(one)) is not None and item.row.revision == revision
        )
        return max(times, default=(0, ""))

    def forget(self, client_ids: Iterable[str]) -> None:
        """Clients that are gone for good."""
        for client_id in client_ids:
            self._asked_ms.pop(client_id, None)

    def _take(self, delivery: Delivery) -> None:
        self._deliveries.append(delivery)
        now_ms = delivery.ended_ms
        slot_ms, hour_ms = now_ms - now_ms % SLOT_MS, now_ms - now_ms % HOUR_MS
        if not self._slots or self._slots[-1][0] < slot_ms:
            self._slots.append((slot_ms, {}))
            while self._slots[0][0] < slot_ms - HOUR_MS - SLOT_MS:
                self._slots.popleft()
        hour = self._mine.setdefault(hour_ms, {})
        key = (delivery.product, delivery.service)
        if key not in hour and len(hour) >= MAX_SERVICES:
            key = (delivery.product, "")
        self._unwritten.add((hour_ms, key))
        for tallies in (self._slots[-1][1], hour):
            tally = tallies.setdefault(key, Tally())
            for step, seconds in delivery.steps():
                tally.add(step, seconds)

    # Asking -------------------------------------------------------------------------------------------

    def tallies(self, window: Window) -> dict[Key, Tally]:
        """By product and service, over a window that ends now.

        The last hour is exact to ten minutes, and to the hour for what others counted or this program did
        before it was started; the rest is exact to the hour.
        """
        now_ms = self._clock_ms()
        since_ms = now_ms - _WINDOW_MS[window]
        found: dict[Key, Tally] = {}
        if window is Window.HOUR:
            parts = [tallies for slot_ms, tallies in self._slots if slot_ms + SLOT_MS > since_ms]
        else:
            parts = [tallies for hour_ms, tallies in self._mine.items() if hour_ms + HOUR_MS > since_ms]
        parts += [tallies for hour_ms, tallies in self._others.items() if hour_ms + HOUR_MS > since_ms]
        for tallies in parts:
            for key, tally in tallies.items():
                found.setdefault(key, Tally()).merge(tally.counts)
        return found

    def deliveries(self, window: Window) -> Iterator[Delivery]:
        """Those that are remembered, the last one first."""
        since_ms = self._clock_ms() - _WINDOW_MS[window]
        for delivery in reversed(self._deliveries):
            if delivery.ended_ms < since_ms:
                return
            yield delivery

    # Keeping ------------------------------------------------------------------------------------------

    async def keep(self) -> None:
        """Write what was counted since the last time, and read what other control planes wrote."""
        unwritten, self._unwritten = self._unwritten, set()
        hours = [
            stored.HourRow(hour_ms, key[0], key[1], _copied(self._mine[hour_ms][key].counts))
            for hour_ms, key in unwritten
        ]
        horizon = self._clock_ms() - KEPT_HOURS * HOUR_MS
        try:
            others = await asyncio.to_thread(self._write, hours, horizon)
        except Exception:
            self._unwritten |= unwritten
            raise
        if others is not None:
            self._others = others
        for hour_ms in [one for one in self._mine if one < horizon]:
            del self._mine[hour_ms]

    def _write(self, hours: list[stored.HourRow], horizon: int) -> dict[int, dict[Key, Tally]] | None:
        if hours:
            with self._database.write() as c:
                stored.put(c, self._org_id, self._writer, hours)
                stored.forget(c, self._org_id, before_ms=horizon)
        return self._read(horizon) if self._is_shared else None

    def _load(self) -> None:
        self._others = self._read(self._clock_ms() - KEPT_HOURS * HOUR_MS)

    def _read(self, since_ms: int) -> dict[int, dict[Key, Tally]]:
        with self._database.read() as c:
            found = stored.load(c, self._org_id, since_ms=since_ms, without=self._writer)
        hours: dict[int, dict[Key, Tally]] = {}
        for row in found:
            key = (row.product, row.service)
            hours.setdefault(row.hour_ms, {}).setdefault(key, Tally()).merge(row.counts)
        return hours


def _times(session: Session, delivery: rows.DeliveryRow, began_ms: int) -> tuple[int | None, int | None]:
    """When the bundle was ready, and when its agent was given it; None where nobody saw it."""
    for version, ready, given_ms in (
        session.given.get(delivery.path, (0, (), 0)),
        (delivery.version, *session.last_given),  # who is new to a file that its agent has
    ):
        if version == delivery.version and began_ms <= given_ms <= delivery.since_ms:
            return min((ready_ms for ready_ms in ready if ready_ms >= began_ms), default=began_ms), given_ms
    return None, None


def _copied(counts: stored.Counts) -> stored.Counts:
    return {step: dict(buckets) for step, buckets in counts.items()}
