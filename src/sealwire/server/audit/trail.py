"""The audit trail of a control plane at work: refusals are written, chains verified, verdicts remembered.

Every organisation's chain is verified from its beginning soon after the start and then, by what was added,
every hour: a break raises an alarm. A verification reads in small pieces and rests between them, so that
polls go on.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

import structlog

from sealwire.errors import SealwireError, UnavailableError
from sealwire.server.audit import refusals
from sealwire.server.audit.chain import NO_HEAD, Head, Verdict, Verifier
from sealwire.server.store import audit as store
from sealwire.server.store import read, write
from sealwire.server.store.database import Database

log = structlog.get_logger()

FLUSH_EVERY_S = 1.0
FIRST_CHECK_S = 20.0
CHECK_EVERY_S = 3600.0
PIECE = 250
REST_S = 0.005
MAX_AT_ONCE = 250_000  # events in one verification that a page asks for; the command has no such bound


@dataclass(frozen=True, slots=True)
class Checked:
    """The last verification of a chain.

    Attributes:
        last_id: Of the last event that was looked at: the next verification may go on from there.
        complete: It reached the end of the trail.
    """

    verdict: Verdict
    at_ms: int
    last_id: int
    complete: bool


class Trail:
    """The audit trails of all organisations of this process."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self.refusals = refusals.Refusals(self._write)
        self.checked: dict[int, Checked] = {}
        self._database = database
        self._clock = clock
        self._verifying = threading.Lock()

    def _write(self, refused: Sequence[refusals.Refused]) -> None:
        with self._database.write() as c:
            for one in refused:
                event = store.new_event(
                    one.org_id, at_ms=one.at_ms, actor=one.actor, action=one.action, subject=one.subject,
                    summary=one.summary, detail=refusals.detail_of(one), context=one.context,
                )  # fmt: skip
                store.add(c, event)

    def head(self, org_id: int) -> Head | None:
        """Where a chain ends now (blocking)."""
        with self._database.read() as c:
            return store.head(c, org_id)

    def verify(self, org_id: int, *, anew: bool = True, at_most: int = MAX_AT_ONCE) -> Checked:
        """Verify a chain (blocking, takes long): from its beginning, or what was added since the last time.

        Raises:
            UnavailableError: Another verification is going on.
        """
        if not self._verifying.acquire(blocking=False):
            raise UnavailableError("The chain is being verified already; look again in a moment.")
        try:
            checked = self._verify(org_id, anew, at_most)
        finally:
            self._verifying.release()
        self.checked[org_id] = checked
        if checked.verdict.found is not None:
            log.error("audit trail broken", org=org_id, found=checked.verdict.found.text)
            with self._database.write() as c:
                write.raise_alarm(
                    c, org_id, at_ms=checked.at_ms, kind="audit-chain", subject="audit trail",
                    message="The audit trail is not what was written. " + checked.verdict.found.text,
                )  # fmt: skip
        return checked

    def _verify(self, org_id: int, anew: bool, at_most: int) -> Checked:
        before = None if anew else self.checked.get(org_id)
        if before is not None and not before.verdict.holds:
            before = None
        with self._database.read() as c:
            org = next(one.uuid for one in read.organisations(c) if one.org_id == org_id)
        start = None if before is None else Head(before.verdict.events, before.verdict.sha256)
        verifier = Verifier(org, start=start)
        last_id, seen = (0 if before is None else before.last_id), 0
        while seen < at_most and not verifier.broken:
            with self._database.read() as c:  # events and head as of one moment
                head = store.head(c, org_id)
                found = store.oldest(c, org_id, after=last_id, limit=PIECE)
            for row in found:
                verifier.take(store.to_chain(row, org))
                last_id = row.id
            seen += len(found)
            if len(found) < PIECE:
                verdict = verifier.verdict(head or NO_HEAD)
                return Checked(verdict, self._now_ms(), last_id, complete=True)
            time.sleep(REST_S)
        return Checked(verifier.verdict(None), self._now_ms(), last_id, complete=False)

    def _now_ms(self) -> int:
        return int(self._clock().timestamp() * 1000)

    # Loops ------------------------------------------------------------------------------------------------

    async def write_refusals(self) -> None:
        """Write refusals as they become due, for ever."""
        while True:
            await asyncio.sleep(FLUSH_EVERY_S)
            try:
                if self.refusals.is_waiting:
                    await asyncio.to_thread(self.refusals.flush)
            except SealwireError as error:
                log.warning("refusals not written yet", code=error.code, detail=error.detail)

    async def keep_verifying(self, org_ids: Callable[[], Sequence[int]]) -> None:
        """Verify every chain soon, and what is added every hour, for ever."""
        await asyncio.sleep(FIRST_CHECK_S)
        while True:
            for org_id in org_ids():
                try:
                    await asyncio.to_thread(self.verify, org_id, anew=False)
                except SealwireError as error:
                    log.warning("audit trail not verified", code=error.code, detail=error.detail)
            await asyncio.sleep(CHECK_EVERY_S)

    def close(self) -> None:
        """Write what is left (blocking)."""
        self.refusals.flush(everything=True)
