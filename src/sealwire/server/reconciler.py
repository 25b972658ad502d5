"""Wakes publishing: by a nudge, by a poll that waits for it, and by a timer.

One reconciliation runs at a time for an organisation, in a thread, on a copy of what live agents need; who
asks while it runs is served by the next one, and all of them by the same.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping

import structlog

from sealwire.clock import utc_now
from sealwire.errors import SealwireError
from sealwire.server.publish import Bundle, Demand, Publisher
from sealwire.server.views import View

log = structlog.get_logger()

TIMER_S = 30.0
RETRY_S = 1.0


class Reconciler:
    """The loop around ``Publisher.reconcile`` of one organisation."""

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher
        self._demands: Callable[[], list[Demand]] = list
        self._settle: Callable[[Mapping[str, tuple[Bundle, View]]], None] = lambda _outcomes: None
        self._wake = asyncio.Event()
        self._next_round: asyncio.Future[None] | None = None
        self._jump: tuple[int, int] | None = None
        self._reload = False
        self.rounds = 0
        self.last_took_s = 0.0

    def attach(
        self,
        demands: Callable[[], list[Demand]],
        settle: Callable[[Mapping[str, tuple[Bundle, View]]], None],
    ) -> None:
        """Where the demands come from, and where the outcomes go."""
        self._demands, self._settle = demands, settle

    def nudge(self) -> None:
        """Something changed; look soon."""
        self._wake.set()

    def reload(self) -> None:
        """Roots or keys were changed beside the publisher; read them, then look."""
        self._reload = True
        self._wake.set()

    def jump(self, *, director_above: int, config_above: int) -> None:
        """Overtake versions that agents hold and the ledger does not know."""
        self._jump = (director_above, config_above)
        self._wake.set()

    async def settle(self, *, timeout_s: float) -> None:
        """Wait for a round that began after this call, or for the time to be over."""
        if self._next_round is None:
            self._next_round = asyncio.get_running_loop().create_future()
        self._wake.set()
        await asyncio.wait([self._next_round], timeout=timeout_s)

    async def run(self) -> None:
        """Reconcile until cancelled. A failure is logged, and tried again."""
        while True:
            try:
                async with asyncio.timeout(self._sleep_s()):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()
            finished, self._next_round = self._next_round, None
            try:
                await self._round()
            except SealwireError as error:
                log.error("publishing failed", code=error.code, reason=error.public, detail=error.detail)
                await asyncio.sleep(RETRY_S)
                self._wake.set()
            except Exception:
                log.exception("publishing failed")
                await asyncio.sleep(RETRY_S)
                self._wake.set()
            finally:
                if finished is not None and not finished.done():
                    finished.set_result(None)

    def _sleep_s(self) -> float:
        expiry_ms = self._publisher.catalogue.next_expiry_ms()
        if expiry_ms is None:
            return TIMER_S
        return min(TIMER_S, max(0.0, expiry_ms / 1000 - utc_now().timestamp()) + 0.01)

    async def _round(self) -> None:
        started = time.perf_counter()
        before = (self._publisher.director_version, self._publisher.config_version)
        jump, self._jump = self._jump, None
        if jump is not None and jump[0] > self._publisher.director_version:
            await asyncio.to_thread(self._publisher.jump, director_above=jump[0], config_above=jump[1])
        if self._reload:
            self._reload = False
            try:
                await asyncio.to_thread(self._publisher.reload)
            except SealwireError:
                self._reload = True
                raise
        demands = self._demands()
        outcomes = await asyncio.to_thread(self._publisher.reconcile, demands, now=utc_now())
        self._settle(outcomes)
        self.rounds += 1
        self.last_took_s = time.perf_counter() - started
        after = (self._publisher.director_version, self._publisher.config_version)
        if after != before:
            log.info(
                "version published",
                org=self._publisher.organisation.org_id,
                director=after[0],
                config=after[1],
                bundles=after[0] - before[0],
                agents=len(demands),
                took_s=round(self.last_took_s, 4),
            )
