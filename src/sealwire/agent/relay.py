"""What applications send: taken, counted, answered so that tracers are content.

Hides which paths tracers upload to and what each wants to hear. Bodies are read to their end, so that
connections stay usable, and not kept; one that somebody wants to look at (``sights``) is handed over once.
Invariants: no body above the limit is read further; nothing here looks into a body.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

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


@dataclass(frozen=True, slots=True)
class Sight:
    """Somebody who looks at an upload.

    Attributes:
        look: Called with the whole body; never raises and never takes long.
        limit: The most bytes it wants.
        pass_over: Called instead where there are more.
    """

    look: Callable[[bytes], None]
    limit: int
    pass_over: Callable[[], None]


@dataclass(slots=True)
class Relay:
    """What was taken so far, by kind."""

    requests: Counter[str] = field(default_factory=Counter)
    size: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)

    async def take(self, kind: str, content: StreamReader, *, sight: Sight | None = None) -> bytes:
        """Read an upload to its end and count it.

        Args:
            kind: What is uploaded.
            content: The body.
            sight: Who wants to look at it; it is kept no longer than that takes.

        Returns:
            What its sender wants to hear.

        Raises:
            OversizeError: It is larger than the limit; the rest was not read.
        """
        size = 0
        chunks: list[bytes] = []
        async for chunk in content.iter_any():
            size += len(chunk)
            if sight is not None:
                if size <= sight.limit:
                    chunks.append(chunk)
                else:
                    chunks.clear()
                    sight.pass_over()
                    sight = None
            if size > MAX_UPLOAD_BYTES:
                self.refused[kind] += 1
                raise OversizeError(f"at most {MAX_UPLOAD_BYTES} bytes are taken")
        self.requests[kind] += 1
        self.size[kind] += size
        if sight is not None:
            sight.look(b"".join(chunks))
        return _ANSWERS.get(kind, _NOTHING)
