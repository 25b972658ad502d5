"""How many snapshots an organisation keeps per second, shared between its probes.

Each active probe has a share of the rate that nobody else can take, and may take what others leave. So a
probe in a loop does not starve one that is reached now and then, and a probe that is alone has everything.

Invariants: over time no more than the rate is let through, at once no more than ``BURST_S`` of it; what is in
the shares is always covered by what is in the whole.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

BURST_S: Final = 2.0  # tracers send once a second, together, and a little late
ACTIVE_S: Final = 10.0


@dataclass(slots=True)
class _Share:
    level: float
    used_at: float


class Quota:
    """One organisation's.

    Args:
        per_s: How many are kept per second.
    """

    def __init__(self, per_s: float) -> None:
        self.per_s = per_s
        self._whole = per_s * BURST_S
        self._shares: dict[str, _Share] = {}
        self._reserved = 0.0
        self._at: float | None = None

    def refill(self, now: float) -> None:
        """Let time pass; to be called before each lot of ``take``."""
        passed = 0.0 if self._at is None else max(0.0, now - self._at)
        self._at = now
        most = self.per_s * BURST_S
        self._whole = min(most, self._whole + passed * self.per_s)
        for probe_id in [key for key, share in self._shares.items() if now - share.used_at > ACTIVE_S]:
            del self._shares[probe_id]
        count = len(self._shares)
        for share in self._shares.values():
            share.level = min(most / count, share.level + passed * self.per_s / count)
        self._cover()

    def take(self, probe_id: str) -> bool:
        """Whether one more of this probe is kept."""
        share = self._shares.get(probe_id)
        if share is None:
            share = self._join(probe_id)
        assert self._at is not None
        share.used_at = self._at
        if share.level >= 1.0:
            share.level -= 1.0
            self._reserved -= 1.0
            self._whole -= 1.0
            return True
        if self._whole - self._reserved + share.level >= 1.0:
            self._whole -= 1.0
            self._reserved -= share.level
            share.level = 0.0
            return True
        return False

    def _join(self, probe_id: str) -> _Share:
        """One more takes part: the shares of the others become smaller."""
        count = len(self._shares) + 1
        fair = self.per_s * BURST_S / count
        for each in self._shares.values():
            each.level = min(each.level, fair)
        # Of what is there its part: were it given more, others would lose what was theirs.
        share = _Share(max(0.0, min(fair, self._whole / count)), self._at or 0.0)
        self._shares[probe_id] = share
        self._cover()
        return share

    def _cover(self) -> None:
        total = sum(share.level for share in self._shares.values())
        if total > self._whole:
            scale = max(0.0, self._whole) / total if total else 0.0
            for share in self._shares.values():
                share.level *= scale
            total = max(0.0, self._whole)
        self._reserved = total
