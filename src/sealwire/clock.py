"""The only reading of the clock.

Everything that decides is handed ``now``; the shells of the actors read it here, so a test can
put a program on another day without touching the machine.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta

# A shift of the clock for rehearsals and tests, in seconds: what a host with a wrong clock would see.
_OFFSET = timedelta(seconds=float(os.environ.get("SEALWIRE_CLOCK_OFFSET_S", "0") or "0"))


def utc_now() -> datetime:
    """The present moment, UTC, with zone."""
    return datetime.now(UTC) + _OFFSET


def written(at_ms: int) -> str:
    """A moment as it is written for programs: ISO 8601 in UTC, always with milliseconds."""
    moment = datetime.fromtimestamp(at_ms // 1000, UTC).replace(tzinfo=None)
    return f"{moment.isoformat()}.{at_ms % 1000:03d}Z"
