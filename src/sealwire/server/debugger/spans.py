"""The spans that probes made or put tags on, of one organisation.

Hides that only some of them arrive: an agent passes on a few a second and counts the others. What a decoration
put on are values of the program: who shows them asks ``discretion`` first, and they are sealed at rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, NamedTuple

from sealwire.wire.probe_batch import SpanKind

if TYPE_CHECKING:
    from sealwire.server.store.database import Database

MAX_LISTED: Final = 200


class ProbeSpan(NamedTuple):
    """A span that was kept.

    Attributes:
        at_ms: When it began.
        tags: Of a decoration: what was put on, values of the program. Of a span: where its code is.
        errors: By the tag that could not be made, why; may hold values of the program too.
    """

    row_id: int
    probe_id: str
    kind: SpanKind
    at_ms: int
    service: str
    env: str
    version: str
    host: str
    runtime_id: str
    language: str
    trace_id: str
    span_id: int
    name: str
    resource: str
    duration_us: int
    is_error: bool
    tags: Mapping[str, str]
    errors: Mapping[str, str]

    def without_values(self) -> ProbeSpan:
        """As somebody sees it who may not see values: names of tags stay."""
        if self.kind == "span":
            return self
        return self._replace(tags=dict.fromkeys(self.tags, ""), errors=dict.fromkeys(self.errors, ""))


class SpanCounts(NamedTuple):
    """Of one probe, over the last day.

    Attributes:
        seen: By agents.
        kept: Of these, here.
        per_s: Seen a second, over the last ten.
        last_ms: When the newest began; 0 for none.
    """

    seen: int = 0
    kept: int = 0
    per_s: float = 0.0
    last_ms: int = 0


class ProbeSpans:
    """What traces said of probes.

    Args:
        database: Where it is kept.
        org_id: Whose.
    """

    def __init__(self, database: Database, org_id: int) -> None:
        self._database = database
        self._org_id = org_id

    async def list(
        self,
        probe_id: str,
        *,
        service: str = "",
        env: str = "",
        trace_id: str = "",
        since_ms: int = 0,
        before: int | None = None,
        limit: int = 50,
    ) -> list[ProbeSpan]:
        """Spans of a probe, newest first; ``before`` is the row id of the last one on the page before."""
        return []

    def counts(self, probe_id: str) -> SpanCounts:
        """How many there were, from memory."""
        return SpanCounts()

    def generation(self, probe_id: str) -> int:
        """Grows whenever one arrives."""
        return 0

    async def run(self) -> None:
        """Write behind until cancelled; the rest is written on the way out."""
