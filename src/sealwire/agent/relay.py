"""What applications send: taken, counted, answered so that tracers are content.

Hides which paths tracers upload to and what each wants to hear. Bodies are read to their end, so that
connections stay usable, and not kept; each piece goes to who wants to look at it (``sights``) and to who it
is passed on to (``forward``). Invariants: no body above the limit is read further, unless somebody else takes
it; nothing here looks into a body.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Protocol

from aiohttp import StreamReader

from sealwire.errors import OversizeError

MAX_UPLOAD_BYTES = 25 * 1024 * 1024

_RATES = b'{"rate_by_service":{"service:,env:":1.0}}'
_NOTHING = b"{}"

# Path -> kind. A path that ends in a slash stands for all below it.
_EXACT = {
    "/v0.3/traces": "traces",
    "/v0.4/traces": "traces",
    "/v0.5/traces": "traces",
    "/v0.7/traces": "traces",
    "/v0.3/services": "services",
    "/v0.4/services": "services",
    "/v0.6/stats": "stats",
    "/v0.1/pipeline_stats": "pipeline_stats",
    "/debugger/v1/input": "debugger",
    "/debugger/v1/diagnostics": "debugger",
    "/debugger/v2/input": "debugger",
    "/symdb/v1/input": "symdb",
    "/dogstatsd/v2/proxy": "dogstatsd",
    "/profiling/v1/input": "profiling",
    "/tracer_flare/v1": "tracer_flare",
    "/config/set": "config_set",
}
_BELOW = {"/telemetry/proxy/": "telemetry", "/evp_proxy/v2/": "evp", "/evp_proxy/v4/": "evp"}
_ANSWERS = {"traces": _RATES}

# As /info lists them.
ENDPOINTS = (*(path for path in _EXACT if path != "/tracer_flare/v1"), *_BELOW)


def kind_of(path: str) -> str | None:
    """What is uploaded to a path; None where nothing is."""
    kind = _EXACT.get(path)
    if kind is not None:
        return kind
    return next((kind for prefix, kind in _BELOW.items() if path.startswith(prefix)), None)


class Passing(Protocol):
    """An upload on its way to somebody else; none of this raises."""

    @property
    def is_alive(self) -> bool:
        """Whether the other may still take it."""

    async def feed(self, chunk: bytes) -> None:
        """One more piece of the body; waits, for a bounded time, while the other does not keep up."""

    async def cancel(self) -> None:
        """The rest will not come."""


class Sight(Protocol):
    """Somebody who looks at an upload; none of this raises or takes long."""

    def add(self, chunk: bytes) -> None:
        """One more piece of the body."""

    def done(self) -> None:
        """That was all of it."""

    def lost(self) -> None:
        """The rest will not come; nothing after ``done``."""


@dataclass(slots=True)
class Relay:
    """What was taken so far, by kind."""

    requests: Counter[str] = field(default_factory=Counter)
    size: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)

    async def take(
        self,
        kind: str,
        content: StreamReader,
        *,
        sight: Sight | None = None,
        passing: Passing | None = None,
    ) -> bytes:
        """Read an upload to its end and count it.

        Args:
            kind: What is uploaded.
            content: The body.
            sight: Who wants to look at it.
            passing: Where it goes on to, whatever its size.

        Returns:
            What its sender wants to hear.

        Raises:
            OversizeError: It is larger than the limit; the rest was not read.
        """
        size = 0
        try:
            async for chunk in content.iter_any():
                size += len(chunk)
                if size > MAX_UPLOAD_BYTES and (passing is None or not passing.is_alive):
                    self.refused[kind] += 1
                    raise OversizeError(f"at most {MAX_UPLOAD_BYTES} bytes are taken")
                if sight is not None:
                    sight.add(chunk)
                if passing is not None:
                    await passing.feed(chunk)
            if sight is not None:
                sight.done()
        except BaseException:
            if passing is not None:
                await passing.cancel()
            raise
        finally:
            if sight is not None:
                sight.lost()
        self.requests[kind] += 1
        self.size[kind] += size
        return _ANSWERS.get(kind, _NOTHING)
