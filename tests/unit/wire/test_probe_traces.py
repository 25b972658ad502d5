"""What traces say of probes, in every encoding there is."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from sealwire.wire.traces import MAX_PROBE_SPANS, select

ID = "aaaaaaaa-0000-4000-8000-000000000003"
OTHER = "bbbbbbbb-0000-4000-8000-000000000004"
MADE = {"debugger.probeid": ID, "_dd.code_origin.frames.0.file": "/srv/shop.py", "secret": "not passed on"}
DECORATED = {
    "_dd.p.tid": "6b02faea00000000",
    "env": "prod",
    "runtime-id": "r1",
    "who": "ann",
    "_dd.di.who.probe_id": ID,
    "size": "5",
    "_dd.di.size.probe_id": OTHER,
    "_dd.di.lost.evaluation_error": "'No such local variable: nobody'",
}


def trace(*metas: dict[str, str]) -> list[dict[str, Any]]:
    return [
        {
            "service": "shop", "name": "dd.dynamic.span", "resource": "sell", "type": "", "trace_id": 5,
            "span_id": number, "parent_id": number - 1, "start": 10, "duration": 20, "error": 0, "meta": meta,
        }
        for number, meta in enumerate(metas, 1)
    ]  # fmt: skip


def v05(*traces: list[dict[str, Any]]) -> bytes:
    texts: dict[str, int] = {"": 0}

    def at(text: str) -> int:
        return texts.setdefault(text, len(texts))

    rows = [
        [
            [
                at(span["service"]), at(span["name"]), at(span["resource"]), span["trace_id"],
                span["span_id"], span["parent_id"], span["start"], span["duration"], span["error"],
                {at(name): at(value) for name, value in span["meta"].items()}, {}, at(span["type"]),
            ]
            for span in one
        ]
        for one in traces
    ]  # fmt: skip
    return msgspec.msgpack.encode([list(texts), rows])


def bodies(*traces: list[dict[str, Any]]) -> list[tuple[str, bytes]]:
    return [
        ("/v0.4/traces", msgspec.msgpack.encode(traces)),
        ("/v0.5/traces", v05(*traces)),
        ("/v0.7/traces", msgspec.msgpack.encode({"chunks": [{"spans": one} for one in traces]})),
    ]


@pytest.mark.parametrize("number", range(3))
def test_spans_that_probes_made_or_decorated_are_found(number: int) -> None:
    path, body = bodies(trace({}), trace(DECORATED, {}, MADE))[number]
    found = {(span.kind, span.probe_id): span for span in select(path, body).probes}
    assert set(found) == {("decoration", ID), ("decoration", OTHER), ("decoration", ""), ("span", ID)}
    assert found["decoration", ID].tags == {"who": "ann"}
    assert found["decoration", OTHER].tags == {"size": "5"}
    assert found["decoration", ""].errors == {"lost": "'No such local variable: nobody'"}
    made = found["span", ID]
    assert made.tags == {"_dd.code_origin.frames.0.file": "/srv/shop.py"}
    assert (made.trace_id, made.span_id, made.resource) == ("6b02faea000000000000000000000005", 3, "sell")
    assert (made.service, made.env, made.runtime_id) == ("shop", "prod", "r1")


@pytest.mark.parametrize("number", range(3))
def test_words_in_somebodys_text_make_no_probe(number: int) -> None:
    path, body = bodies(trace({"http.url": "/?debugger.probeid=1&_dd.di.x.probe_id=2", "_dd.di.": "x"}))[
        number
    ]
    assert select(path, body).probes == []


@pytest.mark.parametrize("number", range(3))
def test_no_more_spans_come_out_than_are_kept_of_one_body(number: int) -> None:
    path, body = bodies(*(trace(MADE) for _ in range(MAX_PROBE_SPANS + 7)))[number]
    found = select(path, body)
    assert (len(found.probes), found.probes_crowded) == (MAX_PROBE_SPANS, 7)


def test_texts_and_tags_are_bounded() -> None:
    many = {f"_dd.di.{number}.probe_id": ID for number in range(3_000)}
    long = {"_dd.di.t.probe_id": OTHER, "t": "x" * 50_000}
    spans = {span.probe_id: span for span in select(*bodies(trace({**many, **long}))[0]).probes}
    assert len(spans[ID].tags) == 20
    assert len(spans[OTHER].tags["t"]) == 2_000
