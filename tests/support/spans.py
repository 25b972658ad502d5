"""Bodies of the trace intake, built from recorded entry spans: one request each, with the spans below it."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import msgspec

RECORDED: dict[str, dict[str, Any]] = json.loads(
    (Path(__file__).parents[1] / "vectors" / "traces" / "python_v04.json").read_bytes()
)
pack = msgspec.msgpack.encode


def entry_span(name: str, **changes: Any) -> dict[str, Any]:
    """A recorded entry span as plain values.

    Args:
        name: One of ``RECORDED``.
        changes: Fields to replace; those of ``meta`` are merged, and a tag that is None goes.
    """
    span = copy.deepcopy(RECORDED[name]["entry_span"])
    meta = span["meta"] | changes.pop("meta", {})
    span |= changes
    span["meta"] = {name: value for name, value in meta.items() if value is not None}
    return dict(span)


def packed(span: dict[str, Any]) -> dict[str, Any]:
    """A span as it travels in v0.4: values of ``meta_struct`` are packed for themselves."""
    if "meta_struct" not in span:
        return span
    return span | {"meta_struct": {name: pack(value) for name, value in span["meta_struct"].items()}}


def trace(span: dict[str, Any], *, spans: int | None = None) -> list[dict[str, Any]]:
    """An entry span with as many spans in all as were recorded with it, or as said."""
    below = [
        {
            "service": span["service"],
            "name": f"flask.step_{number}",
            "resource": f"step_{number}",
            "trace_id": span["trace_id"],
            "span_id": span["span_id"] + number,
            "parent_id": span["span_id"],
            "start": span["start"] + 1000 * number,
            "duration": 40_000,
            "error": 0,
            "type": "sql" if number == 3 else "",
            "meta": {"component": "flask", "_dd.base_service": "", "language": "python"},
            "metrics": {"_dd.measured": 1.0},
        }
        for number in range(1, spans or 9)
    ]
    return [packed(span), *below]


def recorded_trace(name: str, **changes: Any) -> list[dict[str, Any]]:
    """A recorded request, with spans below it."""
    return trace(entry_span(name, **changes), spans=RECORDED[name]["spans_in_trace"])


def v04(*traces: list[dict[str, Any]]) -> bytes:
    """A body of ``/v0.4/traces``."""
    return pack(list(traces))


def v07(*traces: list[dict[str, Any]], **payload: Any) -> bytes:
    """A body of ``/v0.7/traces``."""
    return pack({"chunks": [{"priority": 2, "spans": spans} for spans in traces], **payload})


def v05(*traces: list[dict[str, Any]]) -> bytes:
    """A body of ``/v0.5/traces``: no place for what is packed beside a span."""
    texts: dict[str, int] = {"": 0}

    def number(text: str) -> int:
        return texts.setdefault(text, len(texts))

    arrays = [
        [
            [
                number(span.get("service", "")), number(span.get("name", "")),
                number(span.get("resource", "")),
                span.get("trace_id", 0), span.get("span_id", 0), span.get("parent_id", 0),
                span.get("start", 0), span.get("duration", 0), span.get("error", 0),
                {number(name): number(value) for name, value in span.get("meta", {}).items()},
                {number(name): value for name, value in span.get("metrics", {}).items()},
                number(span.get("type", "")),
            ]
            for span in spans
        ]
        for spans in traces
    ]  # fmt: skip
    return pack([list(texts), arrays])


def with_tag(span: dict[str, Any]) -> dict[str, Any]:
    """The same span as tracers send it that put the matches in a tag."""
    changed = {name: value for name, value in span.items() if name != "meta_struct"}
    changed["meta"] = span["meta"] | {"_dd.appsec.json": json.dumps(span["meta_struct"]["appsec"])}
    return changed
