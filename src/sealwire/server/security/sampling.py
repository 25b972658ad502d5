"""Which security traces are kept whole when there are too many of the same: an attack is a flood.

Hides the counting: the first of a minute, for one service, rule of the engine (or business event) and
address, are kept, as long as its service has not had very many; the others are counted, by user, and come out
as rows with a number that grows until the minute is over. Invariant: what is held is bounded, whatever the
addresses; what finds no room any more is still counted, for its service and what happened, without its
address.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

import msgspec

from sealwire.server.security.rows import SecurityTrace

KEPT_EACH_MINUTE: Final = 20
# A minute, and as many counts with an address: an attack from everywhere must not push out what was kept
# before.
KEPT_OF_SERVICE: Final = 1_000
MAX_KEYS: Final = 20_000  # of the minutes not yet counted out
LATE_MINUTES: Final = 2  # a minute is counted out so long after its end


@dataclass(slots=True)
class Counted:
    """Requests that were counted instead of kept.

    Attributes:
        row: Like each of them, without what tells one from another; at the start of the minute.
        mark: Of this count; no other has it.
    """

    row: SecurityTrace
    count: int
    mark: str


class _Kind(NamedTuple):
    minute: int
    service: str
    what: str
    actor_ip: str


class Sampler:
    """Says of each row whether it is kept.

    Args:
        kept_each_minute: Of one kind.
        kept_of_service: Of all kinds of one service, each minute; and counted by address.
        max_keys: Kinds held at once.
    """

    def __init__(
        self,
        *,
        kept_each_minute: int = KEPT_EACH_MINUTE,
        kept_of_service: int = KEPT_OF_SERVICE,
        max_keys: int = MAX_KEYS,
    ) -> None:
        self._limit = kept_each_minute
        self._limit_of_service = kept_of_service
        self._of_service: Counter[tuple[int, str]] = Counter()
        self._counts_of_service: Counter[tuple[int, str]] = Counter()
        self._token = secrets.token_hex(6)
        self._marks = 0
        self._changed: dict[str, Counted] = {}
        self._max_keys = max_keys
        self._kept: dict[_Kind, int] = {}
        self._counted: dict[tuple[_Kind, str, bool], Counted] = {}
        self.kept = 0
        self.counted = 0

    @property
    def held(self) -> int:
        """How many kinds are held."""
        return len(self._kept) + len(self._counted)

    def keep(self, row: SecurityTrace, count: int = 1) -> bool:
        """Whether a row is kept whole; counts it if not.

        A row is kept if it is among the first of anything that it shows.

        Args:
            row: The first of those it stands for.
            count: Requests it stands for; the others are counted, whether it is kept or not.
        """
        kinds = self._kinds(row)
        keep = False
        of_service = (kinds[0].minute, row.service)
        has_room = self._of_service[of_service] < self._limit_of_service
        for kind in kinds if has_room else ():
            seen = self._kept.get(kind)
            if seen is None:
                if len(self._kept) >= self._max_keys:
                    continue
                seen = 0
            if seen < self._limit:
                self._kept[kind] = seen + 1
                keep = True
        if keep:
            self.kept += 1
            self._of_service[of_service] += 1
            count -= 1
        if count:
            self._count(kinds[0], row, count)
        return keep

    def changed(self) -> list[Counted]:
        """What was counted since this was last asked, with all that it came to."""
        changed, self._changed = list(self._changed.values()), {}
        return changed

    def take(self, *, now: float) -> list[Counted]:
        """What was counted in minutes that are over; forgets these minutes."""
        over = int(now // 60) - LATE_MINUTES
        self._kept = {kind: seen for kind, seen in self._kept.items() if kind.minute > over}
        for of_service in (self._of_service, self._counts_of_service):
            for gone in [key for key in of_service if key[0] <= over]:
                del of_service[gone]
        done = [one for (kind, _, _), one in self._counted.items() if kind.minute <= over]
        self._counted = {key: one for key, one in self._counted.items() if key[0].minute > over}
        return done

    def _kinds(self, row: SecurityTrace) -> list[_Kind]:
        minute = int(row.ts // 60)
        shows: Iterable[str] = (
            *row.rule_ids,
            *(activity for activity in row.activities if activity.startswith("business_logic.")),
        )
        return [_Kind(minute, row.service, what, row.actor_ip) for what in shows] or [
            _Kind(minute, row.service, "", row.actor_ip)
        ]

    def _count(self, kind: _Kind, row: SecurityTrace, count: int) -> None:
        self.counted += count
        key = (kind, row.account, row.blocked)
        held = self._counted.get(key)
        of_service = (kind.minute, kind.service)
        is_crowded = (
            len(self._counted) >= self._max_keys
            or self._counts_of_service[of_service] >= self._limit_of_service
        )
        if held is None and is_crowded:
            kind = kind._replace(actor_ip="")
            key = (kind, "", row.blocked)
            held = self._counted.get(key)
            if held is None and len(self._counted) >= 2 * self._max_keys:
                return  # services and rules without end: `counted` still tells
        if held is None:
            self._marks += 1
            self._counts_of_service[of_service] += 1
            mark = f"{self._token}:{self._marks}"
            held = self._counted[key] = Counted(_like(row, kind, account=key[1]), 0, mark)
        held.count += count
        self._changed[held.mark] = held


def _like(row: SecurityTrace, kind: _Kind, *, account: str) -> SecurityTrace:
    return msgspec.structs.replace(
        row,
        trace_id="",
        span_id="",
        ts=kind.minute * 60.0,
        actor_ip=kind.actor_ip,
        account=account,
        user_id=account,
        user_login="",
        session_id="",
        url="",
        security_response_id="",
        triggers=(),
        events=(),
        duration_ms=0.0,
    )
