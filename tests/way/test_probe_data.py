"""Metrics and spans of probes on their way: sent as agents do, taken once or refused, shown to some."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from sealwire.wire import probe_batch
from sealwire.wire.probe_batch import Batch, Measured, ProbeSpan, SpansSeen
from sealwire.wire.sketch import Sketch
from tests.support.console import Console, run
from tests.way.test_debugger_intake import new_key, people

TRACE = "6b02faea000000005a19a5ecaac67746"
SECRET = "open-sesame-4711"
HOSTILE = "<b>\x1b[31m\u202e\x00'; --"


async def probe(it: Console, kind: str, **more: Any) -> str:
    document = {"kind": kind, "language": "python", "where": {"type": "shop", "method": "sell"}, **more}
    fields = {"name": kind, "service": "shop", "env": ["prod"], "document": document}
    return str((await it.post("/debugger/probes", fields))["id"])


async def a_metric(it: Console) -> str:
    return await probe(it, "metric", metric={"name": "m", "kind": "distribution", "value": "@duration"})


async def a_decoration(it: Console) -> str:
    tags = [{"name": "who", "template": "{user}"}, {"name": "lost", "template": "{nobody}"}]
    return await probe(it, "decoration", decorations=[{"tags": tags}])


def measured(probe_id: str, value: float, *tags: str) -> Measured:
    sketch = Sketch()
    sketch.add(value)
    at_ms = time.time_ns() // 1_000_000 // 10_000 * 10_000
    return Measured(probe_id, "m", "d", tuple(sorted(tags)), at_ms, 1, value, value, value, value, sketch)


def decorated(
    probe_id: str, tags: dict[str, str], errors: dict[str, str], service: str = "shop"
) -> ProbeSpan:
    return ProbeSpan(
        probe_id, "decoration", service, "prod", "1", "r1", "python", TRACE, 7, time.time_ns(), 5_000_000,
        "web.request", "GET /", False, tags, errors,
    )  # fmt: skip


def batch(number: int = 1, **parts: Any) -> bytes:
    return probe_batch.encode(
        Batch(hostname="web-1", agent_uuid="u1", number=number, started_ms=1, sent_ms=2, **parts)
    )


async def send(it: Console, key: str, content: bytes, encoding: str = "gzip") -> httpx.Response:
    headers = {"content-type": probe_batch.CONTENT_TYPE, "content-encoding": encoding, "dd-api-key": key}
    return await it.client.post(probe_batch.PATH, content=content, headers=headers)


def test_a_batch_is_written_when_it_is_answered_and_counts_once(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        key, probe_id = await new_key(it), await a_metric(it)
        first = batch(metrics=[measured(probe_id, 5, "env:prod", "v:1"), measured(probe_id, 7, "v:2")])
        for _ in range(2):
            assert (await send(it, key, first)).status_code == 200
        found = await it.get(f"/debugger/probes/{probe_id}/metrics")
        assert (found["metric"], found["kind"], found["tags"]) == ("m", "distribution", ["env", "v"])
        points = [point for line in found["lines"] for point in line["points"]]
        assert (sum(point["count"] for point in points), sum(point["sum"] for point in points)) == (2, 12)
        by_tag = await it.get(f"/debugger/probes/{probe_id}/metrics?by=v&step_s=60")
        assert {line["label"] for line in by_tag["lines"]} == {"1", "2"}
        assert found["last_at"] is not None

    run(tmp_path, case)


def test_values_on_spans_are_shown_to_whom_they_may_be_and_to_nobody_else(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        key, probe_id = await new_key(it), await a_decoration(it)
        spans = [
            decorated(probe_id, {"who": SECRET}, {}),
            decorated("", {}, {"lost": f"{SECRET} has no nobody"}),  # as ddtrace says it: without a probe
        ]
        seen = [SpansSeen(probe_id, "decoration", "shop", "prod", 40, 1)]
        assert (await send(it, key, batch(spans=spans, seen=seen))).status_code == 200

        path = f"/debugger/probes/{probe_id}/spans"
        whole = await it.get(path)
        assert (whole["seen"], whole["kept"], len(whole["spans"])) == (41, 2, 2)
        assert {span["tags"].get("who") for span in whole["spans"]} == {SECRET, None}
        assert all(span["shows_values"] and span["trace_id"] == TRACE for span in whole["spans"])

        shown = []
        words = ("debugger_read", "debugger_read debugger_capture_variables")
        for headers in people(it, *words, services=frozenset({"shop"})):
            answer = await it.client.get(f"/api/admin/v1{path}", headers=headers)
            shown.append(SECRET in answer.text)
            assert {name for span in answer.json()["spans"] for name in (*span["tags"], *span["errors"])} == {
                "who", "lost",
            }  # fmt: skip
        assert shown == [False, True]
        (elsewhere,) = people(it, words[1], services=frozenset({"till"}))
        assert SECRET not in (await it.client.get(f"/api/admin/v1{path}", headers=elsewhere)).text

    run(tmp_path, case)


def test_hostile_names_and_texts_are_kept_as_texts(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        key, probe_id, decoration = await new_key(it), await a_metric(it), await a_decoration(it)
        sent = batch(
            metrics=[measured(probe_id, 1, f"k:{HOSTILE}", HOSTILE), measured("no-such-probe", 1, HOSTILE)],
            spans=[decorated(decoration, {HOSTILE: HOSTILE}, {}, service=HOSTILE)],
            dropped={'quo"tes\n': 7},
        )
        assert (await send(it, key, sent)).status_code == 200
        found = await it.get(f"/debugger/probes/{probe_id}/metrics?by=k")
        assert all(line["label"].isprintable() for line in found["lines"])
        metrics = (await it.client.get("/metrics")).text
        assert 'sealwire_debugger{org="1",what="metrics_unknown"} 1' in metrics
        assert 'what="agents_quotes"} 7' in metrics
        (span,) = (await it.get(f"/debugger/probes/{decoration}/spans"))["spans"]
        assert list(span["tags"].values()) == [HOSTILE]
        assert (await it.client.get("/debugger/probes/no-such-probe")).status_code != 500

    run(tmp_path, case)


@pytest.mark.parametrize(
    ("content", "encoding", "status"),
    [
        (b"no batch", "gzip", 400),
        (b"no batch", "", 400),
        (batch()[:-9], "gzip", 400),
        (batch(metrics=[measured("p", float("nan"))]), "gzip", 400),
        (b"\0" * (probe_batch.MAX_BATCH_BYTES + 1), "", 413),
        (batch(), "br", 415),
    ],
)
def test_what_is_no_batch_is_refused(tmp_path: Path, content: bytes, encoding: str, status: int) -> None:
    async def case(it: Console) -> None:
        key = await new_key(it)
        assert (await send(it, key, content, encoding)).status_code == status
        assert (await send(it, "0" * 32, content, encoding)).status_code == 401
        assert (await send(it, key, batch())).status_code == 200

    run(tmp_path, case)


def test_what_is_asked_for_oddly_is_explained(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        probe_id = await a_metric(it)
        for query in ("since=yesterday", "step_s=1", "until=9999999999-01-01"):
            await it.refused("GET", f"/debugger/probes/{probe_id}/metrics?{query}", status=422)
        await it.refused("GET", "/debugger/probes/nobody/metrics", status=404)
        await it.refused("GET", "/debugger/probes/nobody/spans", status=404)
        empty = await it.get(f"/debugger/probes/{probe_id}/metrics?since=2000-01-01&by=%00")
        assert (empty["lines"], empty["kind"], empty["last_at"]) == ([], "", None)

    run(tmp_path, case)
