"""What the engines in the applications were last seen to do: one of the three facts of an activation.

That somebody wanted protection on and that a tracer acknowledged it say nothing of whether requests are
looked at; this does. Bounded in services; the versions are the engine's own words.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import msgspec

from sealwire.server.security.rows import plain
from sealwire.server.security.traffic import Hour
from sealwire.wire.security_batch import Watched

MAX_SERVICES: Final = 5_000


class Observed(NamedTuple):
    """Requests that the engine looked at.

    Attributes:
        requests_1h: In the last hour, as far as this program has run.
    """

    last_ms: int
    requests_1h: int
    waf_version: str
    rules_version: str


class _Kept(msgspec.Struct, array_like=True):
    service: str
    env: str
    last_ms: int
    waf_version: str = ""
    rules_version: str = ""


@dataclass(slots=True)
class _Held:
    last_ms: int = 0
    waf_version: str = ""
    rules_version: str = ""
    hour: Hour = field(default_factory=Hour)


class Sightings:
    """What was observed of each service and environment."""

    def __init__(self, kept: list[bytes]) -> None:
        self._held: dict[tuple[str, str], _Held] = {}
        self._changed: set[tuple[str, str]] = set()
        for packed in kept:
            try:
                one = msgspec.msgpack.decode(packed, type=_Kept)
            except msgspec.MsgspecError:  # of another version of this program
                continue
            self._held[one.service, one.env] = _Held(one.last_ms, one.waf_version, one.rules_version)

    def note(self, watched: Watched, *, now_ms: int) -> None:
        """An engine ran."""
        key = (plain(watched.service), plain(watched.env))
        held = self._held.get(key)
        if held is None:
            if len(self._held) >= MAX_SERVICES:
                return
            held = self._held[key] = _Held()
        at_ms = min(watched.at_ms, now_ms)
        held.last_ms = max(held.last_ms, at_ms)
        held.waf_version = plain(watched.waf_version, 40) or held.waf_version
        held.rules_version = plain(watched.rules_version, 40) or held.rules_version
        held.hour.add(at_ms // 60_000, watched.count)
        self._changed.add(key)

    def of(self, service: str, env: str, *, now_ms: int) -> Observed | None:
        """What was observed of one; None where nothing ever was."""
        held = self._held.get((service, env))
        if held is None:
            return None
        return Observed(held.last_ms, held.hour.until(now_ms // 60_000), held.waf_version, held.rules_version)

    def take_changed(self) -> dict[str, bytes]:
        """What is to be written down, since this was last asked."""
        changed, self._changed = self._changed, set()
        return {
            hashlib.sha256("\0".join(key).encode(errors="replace")).hexdigest()[:32]: msgspec.msgpack.encode(
                _Kept(*key, held.last_ms, held.waf_version, held.rules_version)
            )
            for key in changed
            for held in (self._held[key],)
        }

    def forget_before(self, before_ms: int) -> None:
        """Drop what nobody has seen since."""
        for key in [key for key, held in self._held.items() if held.last_ms < before_ms]:
            del self._held[key]
            self._changed.discard(key)
