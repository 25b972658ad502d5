"""Messages of probes as tracers send them, made to measure."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import orjson

PROBE = "8f1c2d34-aaaa-8bbb-8ccc-0123456789ab"
_numbers = itertools.count(1)


class Probe(NamedTuple):
    """A probe, as far as what arrives must know it."""

    template: str = "total is {total}"
    asked: Mapping[str, str] = MappingProxyType({})


def value(text: str, kind: str = "str") -> dict[str, Any]:
    """A captured text."""
    return {"type": kind, "value": f"'{text}'" if kind == "str" else text}


def message(
    snapshot_id: str = "",
    *,
    probe: str = PROBE,
    said: str = "total is 5",
    at_ms: int = 1_795_357_418_562,
    service: str = "shop",
    captured: dict[str, Any] | None = None,
    **snapshot: Any,
) -> bytes:
    """An envelope; ``captured`` are locals at a line."""
    captures = {"lines": {"13": {"arguments": {}, "locals": captured}}} if captured is not None else {}
    return orjson.dumps(
        {
            "service": service,
            "ddsource": "dd_debugger",
            "message": said,
            "timestamp": at_ms,
            "logger": {"name": "shop.py", "method": "helper"},
            "dd": {"trace_id": "6b02faea000000005a19a5ecaac67746", "span_id": "3131050198966581158"},
            "debugger": {
                "snapshot": {
                    "id": snapshot_id or f"{next(_numbers):08x}-0000-4000-8000-000000000000",
                    "timestamp": at_ms,
                    "language": "python",
                    "probe": {"id": probe, "version": 1, "location": {"file": "shop.py", "lines": ["13"]}},
                    "stack": [{"fileName": "shop.py", "function": "helper", "lineNumber": 13}],
                    "evaluationErrors": [],
                    "captures": captures,
                    **snapshot,
                }
            },
        }
    )


def body(*envelopes: bytes) -> bytes:
    """A list of them."""
    return b"[%b]" % b",".join(envelopes)


def status(
    word: str,
    *,
    probe: str = PROBE,
    version: int = 1,
    runtime: str = "run-1",
    at_ms: int | None = 1_795_357_418_562,
    error: tuple[str, str] | None = None,
    parent: str | None = None,
) -> bytes:
    """What a process says of a probe."""
    said: dict[str, Any] = {"probeId": probe, "probeVersion": version, "runtimeId": runtime, "status": word}
    if error is not None:
        said["exception"] = {"type": error[0], "message": error[1]}
    if parent is not None:
        said["parentId"] = parent
    envelope: dict[str, Any] = {"service": "shop", "type": "diagnostic", "debugger": {"diagnostics": said}}
    if at_ms is not None:
        envelope["timestamp"] = at_ms
    return orjson.dumps(envelope)


def form(*parts: tuple[str, str, str, bytes], boundary: str = "44617461646f67") -> tuple[str, bytes]:
    """Form data of parts (name, file name, type, content): its Content-Type, and the body."""
    lines = [
        b'--%b\r\nContent-Type: %b\r\nContent-Disposition: form-data; name="%b"; filename="%b"\r\n\r\n%b\r\n'
        % (boundary.encode(), kind.encode(), name.encode(), filename.encode(), content)
        for name, filename, kind, content in parts
    ]
    return f'multipart/form-data; boundary="{boundary}"', b"".join(lines) + f"--{boundary}--\r\n".encode()


def event(*envelopes: bytes) -> tuple[str, bytes]:
    """Form data whose only part is a list of envelopes."""
    return form(("event", "event.json", "application/json", body(*envelopes)))
