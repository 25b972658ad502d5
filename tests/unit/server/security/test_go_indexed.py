"""The format with a table of texts, the open-source Agent's default, as built by the protobuf library."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from hypothesis import given, settings
from hypothesis import strategies as st

from sealwire.errors import MalformedError, OversizeError, UntrustedError
from sealwire.server.security import go_indexed, go_payload
from sealwire.server.security.go_payload import read
from sealwire.server.security.rows import security_trace
from sealwire.wire.traces import SecuritySpan, Visit, select
from tests.support import spans as recorded

NOW_MS = 1_795_358_580_000
_F = descriptor_pb2.FieldDescriptorProto


def _messages() -> dict[str, Any]:
    """The messages, made from their published fields; a map travels as its pairs."""
    file = descriptor_pb2.FileDescriptorProto(name="indexed.proto", package="t", syntax="proto2")
    kinds = {
        "text": _F.TYPE_STRING, "ref": _F.TYPE_UINT32, "u64": _F.TYPE_UINT64, "fixed": _F.TYPE_FIXED64,
        "flag": _F.TYPE_BOOL, "double": _F.TYPE_DOUBLE, "i64": _F.TYPE_INT64, "raw": _F.TYPE_BYTES,
    }  # fmt: skip
    for line in (
        "Any string:ref:1 flag:flag:2 double:double:3 int:i64:4 raw:raw:5 list:*Any:6",
        "Pair key:ref:1 value:Any:2",
        (
            "Span service:ref:1 name:ref:2 resource:ref:3 spanID:fixed:4 parentID:u64:5 start:fixed:6"
            " duration:u64:7 error:flag:8 attributes:*Pair:9 type:ref:10 env:ref:13 version:ref:14"
            " component:ref:15 kind:ref:16"
        ),
        "Chunk priority:i64:1 origin:ref:2 attributes:*Pair:3 spans:*Span:4 traceID:raw:6",
        (
            "Tracer strings:*text:1 container:ref:2 language:ref:3 tracerVersion:ref:5 runtimeID:ref:6"
            " env:ref:7 appVersion:ref:9 attributes:*Pair:10 chunks:*Chunk:11"
        ),
        "Upload hostName:text:1 env:text:2 agentVersion:text:7 tracers:*Tracer:11",
    ):
        called, *fields = line.split()
        made = file.message_type.add(name=called)
        for each in fields:
            name, kind, number = each.split(":")
            is_many, kind = kind.startswith("*"), kind.removeprefix("*")
            made.field.add(
                name=name,
                number=int(number),
                type=kinds.get(kind, _F.TYPE_MESSAGE),
                label=_F.LABEL_REPEATED if is_many else _F.LABEL_OPTIONAL,
                type_name=None if kind in kinds else f".t.{kind}",
            )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    names = [each.name for each in file.message_type]
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"t.{name}")) for name in names}


M = _messages()
_RECORDED = (Path(__file__).parents[3] / "vectors" / "traces" / "go_agent_7.85.2.pb").read_bytes()


class Table:
    """Texts by number, as the Agent makes it: the first is empty."""

    def __init__(self) -> None:
        self.texts = {"": 0}

    def __call__(self, text: str) -> int:
        return self.texts.setdefault(text, len(self.texts))


def chunk(trace: list[dict[str, Any]], table: Table, *, promoted_only: bool = False) -> Any:
    """A trace of v0.4 as the Agent writes it.

    Args:
        promoted_only: Leave tags out that are fields now, as a tracer that sends this format does.
    """
    upper = next((int(span["meta"]["_dd.p.tid"], 16) for span in trace if "_dd.p.tid" in span["meta"]), 0)
    trace_id = upper.to_bytes(8, "big") + trace[0]["trace_id"].to_bytes(8, "big")
    made = M["Chunk"](priority=2, traceID=trace_id)
    for span in trace:
        meta = span["meta"]
        one = made.spans.add(
            service=table(span["service"]), name=table(span["name"]),
            resource=table(span.get("resource", "")), spanID=span["span_id"],
            parentID=span.get("parent_id", 0), start=span["start"],
            duration=span["duration"], error=bool(span.get("error")), type=table(span.get("type") or ""),
            env=table(meta.get("env", "")), version=table(meta.get("version", "")),
            component=table(meta.get("component", "")), kind=2,
        )  # fmt: skip
        for name, value in meta.items():
            if not (promoted_only and name in ("env", "version", "component", "_dd.p.tid")):
                one.attributes.add(key=table(name)).value.string = table(value)
        for name, value in span.get("metrics", {}).items():
            one.attributes.add(key=table(name)).value.double = value
        for name, value in span.get("meta_struct", {}).items():
            one.attributes.add(key=table(name)).value.raw = value
    return made


def upload(*traces: list[dict[str, Any]], promoted_only: bool = False, **tracer: str) -> bytes:
    table = Table()
    said = {"language": "python", "tracerVersion": "4.16.0", "runtimeID": "r-1", "env": "prod", **tracer}
    sender = M["Tracer"](**{name: table(text) for name, text in said.items()})
    sender.chunks.extend(chunk(trace, table, promoted_only=promoted_only) for trace in traces)
    sender.strings.extend(table.texts)
    return packed(sender)


def packed(*tracers: Any) -> bytes:
    made = M["Upload"](hostName="host-a", agentVersion="7.85.2", tracers=tracers)
    return bytes(made.SerializeToString())


def unpacked(span: SecuritySpan) -> tuple[SecuritySpan, object, object]:
    """A span without the order of its tags."""
    bare = msgspec.structs.replace(span, tags=b"", metrics=b"")
    return bare, msgspec.msgpack.decode(span.tags), msgspec.msgpack.decode(span.metrics)


@pytest.mark.parametrize("promoted_only", [False, True], ids=["as the Agent writes it", "as a tracer does"])
@pytest.mark.parametrize("name", sorted(recorded.RECORDED))
def test_a_trace_says_the_same_with_a_table_of_texts(name: str, promoted_only: bool) -> None:
    trace = recorded.recorded_trace(name)

    found = read(upload(trace, promoted_only=promoted_only), now_ms=NOW_MS)

    direct = select("/v0.4/traces", recorded.v04(trace))
    assert [unpacked(seen.span) for seen in found.spans] == list(map(unpacked, direct.spans))
    assert {
        Visit(each.service, each.env, each.ip, each.target, each.status): each.count for each in found.visits
    } == direct.visits
    assert sum(watched.count for watched in found.watched) == sum(direct.watched.values())
    assert (found.hostname, found.version) == ("host-a", "7.85.2")
    assert all((seen.lang, seen.tracer_version) == ("python", "4.16.0") for seen in found.spans)
    assert found.unreadable == found.crowded == 0


def test_an_upload_of_the_agent_itself_says_what_happened() -> None:
    """Agent 7.85.2 with its defaults, four requests to the Flask shop under ddtrace 4.16: one an attack."""
    found = read(_RECORDED, now_ms=NOW_MS)

    (seen,) = found.spans
    row = security_trace(seen.span, seen_at=seen.span.start_ns / 1e9)
    assert row is not None
    assert (row.service, row.env, row.version, row.lang) == ("shop", "prod", "1.2.3", "python")
    assert (row.actor_ip, row.activities) == ("203.0.113.7", ("attack_attempt.sql_injection",))
    assert (seen.lang, seen.tracer_version, found.hostname) == ("python", "4.16.0", "host-go")
    assert sorted((visit.ip, visit.target, visit.status) for visit in found.visits) == [
        ("127.0.0.1", "/", "200"),
        ("198.51.100.9", "/", "200"),
        ("198.51.100.9", "/headers", "200"),
        ("203.0.113.7", "/", "200"),
    ]
    assert [(watched.service, watched.count) for watched in found.watched] == [("shop", 4)]
    assert found.unreadable == found.crowded == 0


def test_what_a_tracer_says_once_counts_for_all_its_spans() -> None:
    trace = recorded.recorded_trace("sql_injection", meta={"env": None, "version": None, "runtime-id": None})
    (seen,) = read(upload(trace, env="stage", appVersion="9.9", runtimeID="r-9"), now_ms=NOW_MS).spans
    row = security_trace(seen.span, seen_at=NOW_MS / 1000)
    assert row is not None
    assert (row.env, row.version, row.runtime_id) == ("stage", "9.9", "r-9")
    assert "attack_attempt.sql_injection" in row.activities


def test_each_tracer_has_a_table_of_its_own() -> None:
    one, other = Table(), Table()
    other("shifts all its numbers")
    tracers = []
    for table, name in ((one, "sql_injection"), (other, "login_failure")):
        made = M["Tracer"](chunks=[chunk(recorded.recorded_trace(name), table)])
        made.strings.extend(table.texts)
        tracers.append(made)
    found = read(packed(*tracers), now_ms=NOW_MS)
    assert len(found.spans) == 2
    assert {seen.span.service for seen in found.spans} == {"shop"}


def test_traces_the_engine_did_not_see_are_not_written_out(monkeypatch: pytest.MonkeyPatch) -> None:
    quiet = recorded.trace({
        "service": "appsec of a kind", "name": "web", "trace_id": 1, "span_id": 1, "start": 1, "duration": 1,
        "meta": {"http.url": "http://h/appsec.event"},
    })  # fmt: skip
    attacked = recorded.recorded_trace("sql_injection")
    written: list[object] = []
    real = go_indexed.Indexed.chunk

    def counted(self: go_indexed.Indexed, where: tuple[int, int]) -> bytes:
        written.append(where)
        return real(self, where)

    monkeypatch.setattr(go_indexed.Indexed, "chunk", counted)
    assert len(read(upload(*[quiet] * 50, attacked, *[quiet] * 50), now_ms=NOW_MS).spans) == 1
    assert len(written) == 1


def test_kinds_of_values_become_what_a_tracer_would_have_sent() -> None:
    table = Table()
    (entry, *_) = recorded.recorded_trace("sql_injection")
    made = chunk([entry], table)
    add = made.spans[0].attributes.add
    add(key=table("is_yes")).value.flag = True
    add(key=table("is_no")).value.flag = False
    add(key=table("below_zero")).value.int = -3
    add(key=table("many")).value.list.add(string=1)
    add(key=table("nothing"))
    sender = M["Tracer"](chunks=[made])
    sender.strings.extend(table.texts)
    (seen,) = read(packed(sender), now_ms=NOW_MS).spans
    tags = msgspec.msgpack.decode(seen.span.tags)
    assert (tags["is_yes"], tags["is_no"]) == ("true", "false")
    assert msgspec.msgpack.decode(seen.span.metrics)["below_zero"] == -3.0
    assert not {"many", "nothing"} & set(tags)


def test_a_text_that_is_not_in_the_table_is_refused() -> None:
    table = Table()
    made = chunk(recorded.recorded_trace("sql_injection"), table)
    for strings in ([], list(table.texts)[:-1]):
        sender = M["Tracer"](chunks=[made], language=len(table.texts) - 1, strings=strings)
        with pytest.raises(MalformedError):
            read(packed(sender), now_ms=NOW_MS)
    assert read(packed(M["Tracer"](chunks=[made])), now_ms=NOW_MS).spans == []


def test_a_large_text_named_again_and_again_is_not_written_out_without_end() -> None:
    """Attack: a megabyte of text, and a hundred thousand tags of two bytes that stand for it."""
    sender = M["Tracer"](strings=["", "_dd.appsec.enabled", "x" * 1_000_000])
    made = sender.chunks.add()
    for _ in range(1_000):
        span = made.spans.add(service=2, name=2)
        span.attributes.add(key=1).value.string = 2
    with pytest.raises(OversizeError):
        read(packed(sender), now_ms=NOW_MS)


def test_a_chunk_that_is_too_large_leaves_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(go_payload, "MAX_CHUNK_BYTES", 100_000)
    large = recorded.recorded_trace("sql_injection", meta={"more": "x" * 200_000})
    found = read(upload(large, recorded.recorded_trace("attack_tool"), large), now_ms=NOW_MS)
    assert (len(found.spans), found.unreadable) == (1, 2)


def test_many_chunks_are_read_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    trace = recorded.recorded_trace("sql_injection")
    whole = read(upload(*[trace] * 20), now_ms=NOW_MS)
    monkeypatch.setattr(go_payload, "_AT_ONCE_BYTES", 1)
    parts = read(upload(*[trace] * 20), now_ms=NOW_MS)
    assert parts.spans == whole.spans
    assert sum(each.count for each in parts.visits) == sum(each.count for each in whole.visits) == 20
    assert sum(each.count for each in parts.watched) == 20


def test_tables_without_end_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(go_indexed, "MAX_TEXTS", 100)
    with pytest.raises(OversizeError):
        read(packed(M["Tracer"](strings=["x"] * 101)), now_ms=NOW_MS)


def test_many_names_like_those_of_the_engine_hide_nothing() -> None:
    meta = {f"appsec.{number}": "x" for number in range(2 * go_indexed._MAX_NAMES)}
    trace = recorded.recorded_trace("sql_injection", meta=meta)
    assert len(read(upload(trace), now_ms=NOW_MS).spans) == 1


@given(st.integers(0, 100_000), st.integers(0, 255))
@settings(max_examples=300, deadline=None)
def test_a_body_with_one_byte_changed_is_refused_or_read(at: int, byte: int) -> None:
    body = bytearray(_RECORDED)
    body[at % len(body)] = byte
    try:
        read(bytes(body), now_ms=NOW_MS)
    except UntrustedError:
        return
