"""Delivers what was gathered, of security above all: packed, posted, kept while the control plane is away.

Hides when a post is made and what becomes of one that fails. New batches go before old ones, so that people
see what happens now within seconds; what was kept follows. A control plane that is too old to know of
batches is left alone for long, and nothing is gathered meanwhile.

Invariants: a batch is delivered at least once or counted as dropped; at most ``MAX_QUEUED_BYTES`` wait in
memory; one post at a time; nothing here can stop the agent.
"""

from __future__ import annotations

import asyncio
import random
import threading
import time
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import ClassVar, Final, NamedTuple, Protocol, TypeVar

import structlog

from sealwire.agent.exchange import ApiError, Trouble
from sealwire.agent.pace import Backoff
from sealwire.agent.security import Collector
from sealwire.agent.spool import Entry, Spool
from sealwire.errors import UntrustedError
from sealwire.wire import security_batch
from sealwire.wire.security_batch import MAX_DROPPED, MAX_NAME_CHARS, Batch

log = structlog.get_logger("sealwire.agent.reporter")

MAX_QUEUED: Final = 4  # batches; more go to the disk
MAX_QUEUED_BYTES: Final = 8 * 1024 * 1024  # where there is no disk
RETRY_START_S, RETRY_CAP_S = 1.0, 15.0
REFUSED_CAP_S: Final = 300.0  # a key that is not accepted
# A control plane that does not know of batches is not replaced every minute.
UNKNOWN: Final = frozenset({404, 405, 501})
UNKNOWN_START_S, UNKNOWN_CAP_S = 120.0, 3600.0
# It will not take this batch, whenever it comes.
HOPELESS: Final = frozenset({400, 411, 413, 415, 422})
# And one that makes it stumble each time is not worth more.
STUMBLES: Final = 5
AWAY_PATIENCE: Final = 5.0  # fewer and larger batches while nobody takes them
REPLAY_PAUSE_S: Final = 0.25  # between batches that were kept, so that a fleet does not return at once
LAST_WORDS_S: Final = 2.0  # to deliver when the agent stops
PACK_IN_THREAD: Final = 50  # spans

T = TypeVar("T")


class Plane(Protocol):
    """What is needed of the control plane."""

    async def post_security(self, packed: bytes) -> None:
        """Deliver one batch."""


class Gathering(Protocol):
    """Who gathers what is told."""

    is_wanted: bool
    patience: float
    on_stir: Callable[[], None]
    dropped: Counter[str]

    def due_in_s(self) -> float | None:
        """How long until something is to be told; None while there is nothing."""


class Packed(NamedTuple):
    """A batch as it travels."""

    entry: Entry
    packed: bytes


class Deliverer(ABC):
    """Delivers batches of one kind until cancelled.

    Args:
        gathering: Who gathers what is told.
        post: Delivers one batch.
        open_spool: Opens the folder for what cannot be delivered; called once, in a thread. Without it what
            waits does so in memory.
        random: Draws the pauses.

    Attributes:
        what: What is in a batch, in one word.
        posts: Tried so far; as are the next.
        failures: Not answered with 200.
        told: Requests (or whatever a batch has) that were taken.
        last_taken: ``time.time()`` of the last post that was taken.
        last_error: Of the last post; empty when it was taken.
    """

    what: ClassVar[str]

    def __init__(
        self,
        gathering: Gathering,
        *,
        post: Callable[[bytes], Awaitable[None]],
        open_spool: Callable[[], Spool] | None = None,
        random: random.Random | None = None,
    ) -> None:
        self.posts = self.failures = self.told = 0
        self.last_taken: float | None = None
        self.last_error = ""
        self.spool: Spool | None = None
        self._gathering = gathering
        self._send = post
        self._open_spool = open_spool
        self._backoff = Backoff() if random is None else Backoff(random)
        self._number = 0
        self._queue: deque[Packed] = deque()
        self._is_away = False
        self._stirred = asyncio.Event()
        self._queued = asyncio.Event()
        self._disk = threading.Lock()
        self._is_stopping = False
        self._stumbles: tuple[Entry | None, int] = (None, 0)
        self._spool_dropped: Counter[str] = Counter()
        gathering.on_stir = self._stirred.set

    @property
    def queued(self) -> int:
        """Requests that wait in memory, packed."""
        return sum(each.entry.requests for each in self._queue)

    async def run(self) -> None:
        """Tell for ever; the last words are delivered or kept."""
        gathering: asyncio.Task[None] | None = None
        try:
            try:
                await self._on_disk(self._take_spool)
            except Exception:
                log.exception("batches are kept in memory only", what=self.what)
            gathering = asyncio.create_task(self._gather_for_ever())
            await self._deliver_for_ever()
        finally:
            # Not cancelled, as a batch that is being packed would be lost.
            self._is_stopping = True
            self._stirred.set()
            if gathering is not None:
                await gathering
            await self._last_words()

    def _take_spool(self) -> None:
        if self.spool is None and self._open_spool is not None:
            self.spool = self._open_spool()

    # Gathering ----------------------------------------------------------------------------------------

    async def _gather_for_ever(self) -> None:
        while not self._is_stopping:
            self._stirred.clear()
            wait_s = self._gathering.due_in_s()
            if wait_s is None or wait_s > 0:
                with suppress(TimeoutError):
                    async with asyncio.timeout(wait_s):
                        await self._stirred.wait()
                continue
            try:
                await self._put(await self._pack())
            except Exception:
                log.exception("a batch could not be made", what=self.what)
                await asyncio.sleep(RETRY_START_S)

    @abstractmethod
    async def _pack(self) -> Packed | None:
        """The next batch, if there is something to tell; it has the next number."""

    async def _put(self, packed: Packed | None) -> None:
        """Queue a batch, or keep it where the queue does not move."""
        if packed is None:
            return
        is_kept = (self._is_away or len(self._queue) >= MAX_QUEUED) and await self._keep(packed)
        if not is_kept:
            self._queue.append(packed)
            while len(self._queue) > 1 and sum(len(each.packed) for each in self._queue) > MAX_QUEUED_BYTES:
                self._drop("queue", self._queue.popleft().entry)
        self._queued.set()

    # Delivering ---------------------------------------------------------------------------------------

    async def _deliver_for_ever(self) -> None:
        while True:
            pause_s = 0.0
            try:
                pause_s = await self._deliver_next()
            except Exception:
                log.exception("a batch could not be delivered", what=self.what)
                pause_s = RETRY_CAP_S
            if pause_s:
                await asyncio.sleep(pause_s)

    async def _deliver_next(self) -> float:
        """Deliver the newest batch, or else the oldest that was kept; returns how long to pause."""
        self._queued.clear()
        if self._queue:
            # It stays in the queue meanwhile, and so is not lost where this is cancelled.
            return await self._post(self._queue[0])
        kept = await self._on_disk(self._oldest)
        if kept is None:
            await self._queued.wait()
            return 0.0
        pause_s = await self._post(Packed(*kept), is_kept=True)
        return pause_s or REPLAY_PAUSE_S

    async def _post(self, packed: Packed, *, is_kept: bool = False) -> float:
        self.posts += 1
        try:
            await self._send(packed.packed)
        except (ApiError, UntrustedError) as error:
            return await self._failed(error, packed, is_kept=is_kept)
        self._backoff.success()
        self._back()
        self.last_taken, self.last_error = time.time(), ""
        self.told += packed.entry.requests
        await self._forget(packed, is_kept=is_kept)
        return 0.0

    async def _failed(self, error: ApiError | UntrustedError, packed: Packed, *, is_kept: bool) -> float:
        self.failures += 1
        self.last_error = error.public
        log.debug("batch not taken", what=self.what, error=error.public)
        status = error.status if isinstance(error, ApiError) else 0
        retry_after_s = error.retry_after_s if isinstance(error, ApiError) else 0.0
        if status in HOPELESS or self._stumbles_again(status, packed.entry):
            self._drop("refused", packed.entry)
            await self._forget(packed, is_kept=is_kept)
            return RETRY_START_S
        if status in UNKNOWN:
            return await self._leave_alone(packed, is_kept=is_kept)
        self._is_away = True
        self._gathering.patience = AWAY_PATIENCE
        if not is_kept:
            await self._keep_queue()
        is_refused = isinstance(error, ApiError) and (error.trouble is Trouble.UNAUTHORIZED or status == 403)
        return self._backoff.after_failure_s(
            start_s=RETRY_START_S,
            cap_s=REFUSED_CAP_S if is_refused else RETRY_CAP_S,
            at_least_s=max(RETRY_START_S / 4, retry_after_s),
        )

    def _stumbles_again(self, status: int, entry: Entry) -> bool:
        """Whether the control plane failed over a batch once too often."""
        if status != 500:
            return False
        last, times = self._stumbles
        self._stumbles = (entry, times + 1 if last == entry else 1)
        return self._stumbles[1] >= STUMBLES

    async def _leave_alone(self, packed: Packed, *, is_kept: bool) -> float:
        """Gather nothing for a while: the control plane is older than this agent."""
        self._gathering.is_wanted = False
        if not is_kept:
            for each in self._queue:
                self._drop("not_wanted", each.entry)
            self._queue.clear()
        pause_s = self._backoff.after_failure_s(
            start_s=UNKNOWN_START_S, cap_s=UNKNOWN_CAP_S, at_least_s=UNKNOWN_START_S / 2
        )
        await asyncio.sleep(pause_s)
        self._gathering.is_wanted = True
        return 0.0

    def _back(self) -> None:
        if self._is_away:
            self._is_away = False
            self._gathering.patience = 1.0
            log.debug("batches are taken again", what=self.what)

    def _drop(self, reason: str, entry: Entry) -> None:
        self._gathering.dropped[f"{self.what}_{reason}"] += max(1, entry.requests)

    async def _last_words(self) -> None:
        """What is left is delivered if that works at once, and kept otherwise."""
        with suppress(asyncio.CancelledError):
            async with asyncio.timeout(3 * LAST_WORDS_S):
                await self._on_disk(self._take_spool)  # and what was begun there is ended
                while (packed := await self._pack()) is not None:
                    self._queue.append(packed)
                if self._queue and not self._is_away and self._gathering.is_wanted:
                    with suppress(ApiError, UntrustedError, TimeoutError):
                        async with asyncio.timeout(LAST_WORDS_S):
                            while self._queue:
                                await self._send(self._queue[0].packed)
                                self._queue.popleft()
                await self._keep_queue()
        if self.spool is not None:
            self.spool.close()

    # The disk -----------------------------------------------------------------------------------------

    async def _on_disk(self, step: Callable[[], T]) -> T:
        """One at a time, away from the loop; a step that has begun ends, though its caller be cancelled."""

        def alone() -> T:
            with self._disk:
                return step()

        done = await asyncio.to_thread(alone)
        if self.spool is not None and self.spool.dropped != self._spool_dropped:
            self._gathering.dropped.update(self.spool.dropped - self._spool_dropped)
            self._spool_dropped = self.spool.dropped.copy()
        return done

    def _oldest(self) -> tuple[Entry, bytes] | None:
        return None if self.spool is None else self.spool.oldest()

    async def _keep(self, packed: Packed) -> bool:
        spool = self.spool
        if spool is None:
            return False
        return await self._on_disk(lambda: spool.put(packed.entry, packed.packed))

    async def _keep_queue(self) -> None:
        while self._queue:
            if not await self._keep(self._queue[0]):
                return
            self._queue.popleft()

    async def _forget(self, packed: Packed, *, is_kept: bool) -> None:
        """A batch was delivered, or never will be."""
        spool = self.spool
        if is_kept and spool is not None:
            await self._on_disk(lambda: spool.remove(packed.entry))
        elif self._queue and self._queue[0] is packed:
            self._queue.popleft()


class Reporter(Deliverer):
    """Delivers what was gathered of security.

    Args:
        collector: What is told.
        plane: Where to; its owner closes it.
        open_spool: Opens the folder for what cannot be delivered.
        hostname: Where this agent is.
        agent_uuid: Who it is.
        started_ms: When this run began.
        random: Draws the pauses.
    """

    what = "security"

    def __init__(
        self,
        collector: Collector,
        *,
        plane: Plane,
        open_spool: Callable[[], Spool],
        hostname: str,
        agent_uuid: str,
        started_ms: int,
        random: random.Random | None = None,
    ) -> None:
        super().__init__(collector, post=plane.post_security, open_spool=open_spool, random=random)
        self._collector = collector
        self._hostname = hostname[:MAX_NAME_CHARS]
        self._agent_uuid = agent_uuid
        self._started_ms = started_ms

    async def _pack(self) -> Packed | None:
        gathered = self._collector.gather()
        if gathered is None:
            return None
        self._number += 1
        dropped = {
            name: count
            for name, count in sorted(self._collector.dropped.items())
            if name.startswith(("security_", "traces_"))
        }
        batch = Batch(
            hostname=self._hostname,
            agent_uuid=self._agent_uuid,
            number=self._number,
            started_ms=self._started_ms,
            sent_ms=int(time.time() * 1000),
            spans=gathered.spans,
            visits=gathered.visits,
            watched=gathered.watched,
            dropped=dict(list(dropped.items())[:MAX_DROPPED]),
        )
        if len(gathered.spans) > PACK_IN_THREAD or len(gathered.visits) > 10 * PACK_IN_THREAD:
            packed = await asyncio.to_thread(security_batch.encode, batch)
        else:
            packed = security_batch.encode(batch)
        return Packed(Entry(self._started_ms, batch.number, gathered.requests), packed)
