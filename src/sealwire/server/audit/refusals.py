"""Refusals on their way to the audit trail: anybody can cause them, so they are counted and bounded.

Equal refusals, of one actor and one thing, are counted together: the first is written at once, then there is
one row a minute with how many there were. An organisation gains at most ``ROWS_AN_HOUR`` rows an hour that
way, and one a minute for all the rest together.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sealwire.server import audit

WINDOW_S = 60.0
MAX_WINDOWS = 200  # of one organisation at a time; what is more is counted together
ROWS_AN_HOUR = 240
MAX_ADDRESSES = 5

_Key = tuple[int, str, str, str]  # organisation, action, actor, subject; both empty for many together


@dataclass(frozen=True, slots=True)
class Refused:
    """One kind of refusal, counted."""

    org_id: int
    actor: str
    action: str
    subject: str
    summary: str
    context: Mapping[str, str]
    at_ms: int
    count: int = 1
    first_ms: int = 0
    addresses: tuple[str, ...] = ()


@dataclass(slots=True)
class _Window:
    waiting: Refused | None
    written_s: float | None = None


@dataclass(slots=True)
class _Hour:
    began_s: float
    rows: int = 0


@dataclass(slots=True)
class Refusals:
    """Refusals on their way to the audit trail, from any thread.

    Args:
        write: Writes rows, blocking; what it raises leaves everything waiting.
    """

    write: Callable[[Sequence[Refused]], None]
    clock: Callable[[], float] = time.time
    _windows: dict[_Key, _Window] = field(default_factory=dict)
    _hours: dict[int, _Hour] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _writing: threading.Lock = field(default_factory=threading.Lock)

    def note(self, org_id: int, *, actor: str, action: str, subject: str, summary: str) -> None:
        """Count a refusal; costs nothing but a little memory."""
        now_ms = int(self.clock() * 1000)
        found = audit.context()
        one = Refused(
            org_id=org_id,
            actor=audit.clean(actor, audit.MAX_ACTOR_CHARS),
            action=action,
            subject=audit.clean(subject, audit.MAX_SUBJECT_CHARS),
            summary=audit.clean(summary, audit.MAX_SUMMARY_CHARS),
            context=found.to_dict(),
            at_ms=now_ms,
            first_ms=now_ms,
            addresses=(found.address,) if found.address else (),
        )
        with self._lock:
            key = (org_id, action, one.actor, one.subject)
            if key not in self._windows and sum(k[0] == org_id for k in self._windows) >= MAX_WINDOWS:
                key, one = _among_many(key, one)
            self._wait(key, one)

    def _wait(self, key: _Key, one: Refused) -> None:
        window = self._windows.setdefault(key, _Window(None))
        window.waiting = one if window.waiting is None else _added(window.waiting, one)

    @property
    def is_waiting(self) -> bool:
        """Whether there is anything to do for ``flush``."""
        return bool(self._windows)

    def flush(self, *, everything: bool = False) -> None:
        """Write what is due (blocking): the first of its kind at once, then one row a minute."""
        with self._writing:
            with self._lock:
                due = self._due(self.clock(), everything)
            if not due:
                return
            try:
                self.write([one for _, one in due])
            except Exception:
                with self._lock:
                    for key, one in due:
                        self._wait(key, one)
                        self._windows[key].written_s = None
                raise

    def _due(self, now_s: float, everything: bool) -> list[tuple[_Key, Refused]]:
        due = []
        # The windows that count many come last: what goes beyond the bound now is in them then.
        for key in sorted(self._windows, key=lambda key: not key[2]):
            window = self._windows[key]
            passed = window.written_s is None or now_s - window.written_s >= WINDOW_S
            one = window.waiting
            if one is None:
                if passed:
                    del self._windows[key]
            elif passed or everything:
                if key[2] and not self._may_grow(key[0], now_s):
                    del self._windows[key]
                    self._wait(*_among_many(key, one))
                    continue
                due.append((key, one))
                window.waiting, window.written_s = None, now_s
        fresh = [
            (key, window)
            for key, window in self._windows.items()
            if not key[2] and window.written_s is None and window.waiting is not None
        ]
        for key, window in fresh:
            assert window.waiting is not None
            due.append((key, window.waiting))
            window.waiting, window.written_s = None, now_s
        return due

    def _may_grow(self, org_id: int, now_s: float) -> bool:
        hour = self._hours.get(org_id)
        if hour is None or now_s - hour.began_s >= 3600:
            hour = self._hours[org_id] = _Hour(now_s)
        hour.rows += 1
        return hour.rows <= ROWS_AN_HOUR


def _among_many(key: _Key, one: Refused) -> tuple[_Key, Refused]:
    """Where a refusal is counted when there are too many kinds to tell apart."""
    summary = "Refused more than is listed one by one"
    return (key[0], key[1], "", ""), replace(one, actor="(many)", subject="", summary=summary)


def _added(held: Refused, one: Refused) -> Refused:
    addresses = held.addresses
    for address in one.addresses:
        if address not in addresses and len(addresses) < MAX_ADDRESSES:
            addresses += (address,)
    return replace(one, count=held.count + one.count, first_ms=held.first_ms, addresses=addresses)


def detail_of(one: Refused) -> dict[str, Any]:
    """What a row of refusals says besides."""
    return {"count": one.count, "first_ms": one.first_ms, "addresses": list(one.addresses)}
