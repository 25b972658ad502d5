"""What the open-source Agent passes on, as a message built by the protobuf library, and by nobody at all."""

from __future__ import annotations

import gzip
import sys
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from hypothesis import given, settings
from hypothesis import strategies as st

from sealwire.errors import MalformedError, OversizeError, UntrustedError
from sealwire.server.security import go_messages, go_payload
from sealwire.server.security.go_payload import Payload, read, unpack
from sealwire.server.security.rows import SecurityTrace, security_trace
from sealwire.wire.traces import MAX_TRACES_BYTES, SecuritySpan, Visit, select
from tests.support import spans as recorded

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

NOW_MS = 1_795_358_580_000
_F = descriptor_pb2.FieldDescriptorProto


def _messages() -> dict[str, Any]:
    """The messages, made from their published fields."""
    file = descriptor_pb2.FileDescriptorProto(name="agent_payload.proto", package="t", syntax="proto3")

    def message(called: str, /, **fields: tuple[int, int, str]) -> None:
        made = file.message_type.add(name=called)
        for field, (number, kind, of) in fields.items():
            is_map = of.startswith("map:")
            if is_map:
                entry = made.nested_type.add(name=f"{field.title().replace('_', '')}Entry")
                entry.options.map_entry = True
                entry.field.add(name="key", number=1, type=_F.TYPE_STRING, label=_F.LABEL_OPTIONAL)
                entry.field.add(name="value", number=2, type=kind, label=_F.LABEL_OPTIONAL)
            is_message = kind == _F.TYPE_MESSAGE or is_map
            type_name = f".t.{called}.{made.nested_type[-1].name}" if is_map else f".t.{of}" if of else None
            made.field.add(
                name=field,
                number=number,
                type=_F.TYPE_MESSAGE if is_message else kind,
                label=_F.LABEL_REPEATED if is_message else _F.LABEL_OPTIONAL,
                type_name=type_name,
            )

    text, u64, i64, i32, double, raw, part = (
        _F.TYPE_STRING, _F.TYPE_UINT64, _F.TYPE_INT64, _F.TYPE_INT32, _F.TYPE_DOUBLE, _F.TYPE_BYTES,
        _F.TYPE_MESSAGE,
    )  # fmt: skip
    message(
        "Span", service=(1, text, ""), name=(2, text, ""), resource=(3, text, ""), traceID=(4, u64, ""),
        spanID=(5, u64, ""), parentID=(6, u64, ""), start=(7, i64, ""), duration=(8, i64, ""),
        error=(9, i32, ""), meta=(10, text, "map:"), metrics=(11, double, "map:"), type=(12, text, ""),
        meta_struct=(13, raw, "map:"),
    )  # fmt: skip
    message("TraceChunk", priority=(1, i32, ""), origin=(2, text, ""), spans=(3, part, "Span"))
    message(
        "TracerPayload", containerID=(1, text, ""), languageName=(2, text, ""), tracerVersion=(4, text, ""),
        runtimeID=(5, text, ""), chunks=(6, part, "TraceChunk"), env=(8, text, ""), appVersion=(10, text, ""),
    )  # fmt: skip
    message(
        "AgentPayload", hostName=(1, text, ""), env=(2, text, ""), tracerPayloads=(5, part, "TracerPayload"),
        agentVersion=(7, text, ""), targetTPS=(8, double, ""),
    )  # fmt: skip
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    names = ("Span", "TraceChunk", "TracerPayload", "AgentPayload")
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"t.{name}")) for name in names}


M = _messages()


def chunk(trace: list[dict[str, Any]]) -> Any:
    made = M["TraceChunk"](priority=2)
    for span in trace:
        one = made.spans.add(
            service=span["service"], name=span["name"], resource=span.get("resource", ""),
            type=span.get("type") or "",
            traceID=span["trace_id"], spanID=span["span_id"], parentID=span.get("parent_id", 0),
            start=span["start"], duration=span["duration"], error=span.get("error", 0),
        )  # fmt: skip
        one.meta.update(span["meta"])
        one.metrics.update(span.get("metrics", {}))
        one.meta_struct.update(span.get("meta_struct", {}))
    return made


def payload(*traces: list[dict[str, Any]], host: str = "host-a") -> bytes:
    tracer = M["TracerPayload"](
        languageName="python", tracerVersion="4.16.0", runtimeID="r-1", env="prod", appVersion="1.2",
        chunks=[chunk(trace) for trace in traces],
    )  # fmt: skip
    made = M["AgentPayload"](hostName=host, agentVersion="7.80.0", targetTPS=10.0, tracerPayloads=[tracer])
    return bytes(made.SerializeToString())


def rows(found: Payload) -> list[SecurityTrace | None]:
    return [security_trace(seen.span, seen_at=NOW_MS / 1000) for seen in found.spans]


@pytest.mark.parametrize("name", sorted(recorded.RECORDED))
def test_a_trace_says_the_same_by_way_of_the_other_agent(name: str) -> None:
    trace = recorded.recorded_trace(name)

    found = read(payload(trace), now_ms=NOW_MS)

    direct = select("/v0.4/traces", recorded.v04(trace))
    assert [_unpacked(seen.span) for seen in found.spans] == list(map(_unpacked, direct.spans))
    assert {
        Visit(each.service, each.env, each.ip, each.target, each.status): each.count for each in found.visits
    } == direct.visits
    assert sum(watched.count for watched in found.watched) == sum(direct.watched.values())
    assert found.hostname == "host-a"
    assert all((seen.lang, seen.tracer_version) == ("python", "4.16.0") for seen in found.spans)


def _unpacked(span: SecuritySpan) -> tuple[SecuritySpan, object, object]:
    """A span without the order of its tags, which that of a message is free to be another."""
    bare = msgspec.structs.replace(span, tags=b"", metrics=b"")
    return bare, msgspec.msgpack.decode(span.tags), msgspec.msgpack.decode(span.metrics)


def test_matches_in_a_tag_are_read_as_well() -> None:
    span = recorded.with_tag(recorded.entry_span("sql_injection"))
    found = read(payload([span]), now_ms=NOW_MS)
    (row,) = rows(found)
    assert row is not None
    assert "attack_attempt.sql_injection" in row.activities


def test_what_a_tracer_says_once_counts_for_all_its_spans() -> None:
    trace = recorded.recorded_trace("sql_injection", meta={"env": None, "version": None, "runtime-id": None})
    (row,) = rows(read(payload(trace), now_ms=NOW_MS))
    assert row is not None
    assert (row.env, row.version, row.runtime_id) == ("prod", "1.2", "r-1")


def test_spans_of_probes_come_the_same_way() -> None:
    trace = recorded.recorded_trace("attack_tool")
    trace[0]["meta"] |= {"debugger.probeid": "p1", "who": "ann", "_dd.di.who.probe_id": "p2"}
    quiet = [{**trace[0], "meta": {"debugger.probeid": "p3"}, "meta_struct": {}, "metrics": {}}]

    found = read(payload(trace, quiet), now_ms=NOW_MS)

    assert {(span.kind, span.probe_id) for span in found.probes} == {
        ("span", "p1"), ("decoration", "p2"), ("span", "p3"),
    }  # fmt: skip
    assert {span.lang for span in found.probes} == {"python"}
    assert len(found.spans) == 1


def test_bytes_that_are_no_text_spare_nobody() -> None:
    packed = payload(recorded.recorded_trace("sql_injection"))
    odd = packed.replace(b"GET /", b"\xff\xfe\xff /")
    (row,) = rows(read(odd, now_ms=NOW_MS))
    assert row is not None
    assert "attack_attempt.sql_injection" in row.activities


@pytest.mark.parametrize("pack", [bytes, gzip.compress, zstd.compress])
def test_every_packing_is_undone(pack: Callable[[bytes], bytes]) -> None:
    encoding = {bytes: "", gzip.compress: "gzip", zstd.compress: "zstd"}[pack]
    assert unpack(pack(b"abc" * 1000), encoding=encoding) == b"abc" * 1000


@pytest.mark.parametrize("pack", [gzip.compress, zstd.compress])
def test_a_body_that_unpacks_to_too_much_is_not_unpacked(pack: Callable[[bytes], bytes]) -> None:
    bomb = pack(bytes(MAX_TRACES_BYTES + 1))
    encoding = "gzip" if pack is gzip.compress else "zstd"
    with pytest.raises(OversizeError):
        unpack(bomb, encoding=encoding)
    with pytest.raises(MalformedError):
        unpack(pack(b"abc" * 1000)[:-5], encoding=encoding)
    with pytest.raises(MalformedError):
        unpack(b"abc", encoding=encoding)


def test_a_window_of_gigabytes_is_refused() -> None:
    wide = zstd.compress(b"abc" * 10, options={zstd.CompressionParameter.window_log: 27})
    streamed = zstd.ZstdCompressor(options={zstd.CompressionParameter.window_log: 27})
    many = streamed.compress(b"abc" * 10) + streamed.flush()
    assert unpack(wide, encoding="zstd") == b"abc" * 10  # says how long it is, and needs no more
    with pytest.raises(MalformedError):
        unpack(many, encoding="zstd")


def test_more_than_may_be_sent_is_refused_by_its_length() -> None:
    with pytest.raises(OversizeError):
        unpack(bytes(go_payload.MAX_PACKED_BYTES + 1), encoding="")
    with pytest.raises(MalformedError):
        unpack(b"", encoding="br")


def field(number: int, body: bytes) -> bytes:
    return bytes((number << 3 | 2,)) + _varint(len(body)) + body


def _varint(value: int) -> bytes:
    made = b""
    while value >= 0x80:
        made += bytes((value & 0x7F | 0x80,))
        value >>= 7
    return made + bytes((value,))


@pytest.mark.parametrize(
    "body",
    [
        b"\x2a\x7f",  # longer than what holds it
        b"\x2a" + b"\xff" * 9 + b"\x7f",  # 2**63 bytes
        b"\x2a" + b"\xff" * 11,  # a length without end
        b"\x2a",  # no length
        b"\x02\x00",  # field 0
        b"\x0b",  # a group
        b"\x09abc",  # half a number
        field(5, field(6, field(3, b"\x0a\x7fappsec"))),  # a span's service, longer than the span
        b"\xff" * 100,
        b"\x80",
    ],
)
def test_what_lies_about_its_length_is_refused(body: bytes) -> None:
    with pytest.raises(MalformedError):
        read(body, now_ms=NOW_MS)


def test_a_message_within_a_message_within_a_message_costs_nothing() -> None:
    body = b"appsec"
    for _ in range(5_000):
        body = field(3, body)
    assert read(field(5, field(6, body)), now_ms=NOW_MS).spans == []


def test_parts_without_end_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(go_messages, "MAX_FIELDS", 1_000)
    monkeypatch.setattr(go_payload, "MAX_TRACES", 100)
    monkeypatch.setattr(go_payload, "MAX_PAYLOADS", 50)
    for body in (b"\x10\x00" * 1_001, field(5, field(6, b"") * 101), field(5, b"") * 51):
        with pytest.raises(OversizeError):
            read(body, now_ms=NOW_MS)


@given(
    st.binary(max_size=200) | st.binary(max_size=100).map(lambda body: field(5, field(6, b"appsec" + body)))
)
@settings(max_examples=300, deadline=None)
def test_odd_bytes_are_refused_or_say_nothing(body: bytes) -> None:
    try:
        found = read(body, now_ms=NOW_MS)
    except UntrustedError:
        return
    assert found.spans == []


@given(st.integers(0, 10_000), st.integers(0, 255))
@settings(max_examples=200, deadline=None)
def test_a_body_with_one_byte_changed_is_refused_or_read(at: int, byte: int) -> None:
    body = bytearray(_BODY)
    body[at % len(body)] = byte
    try:
        read(bytes(body), now_ms=NOW_MS)
    except UntrustedError:
        return


_BODY = payload(recorded.recorded_trace("sql_injection"), recorded.recorded_trace("login_failure"))


def test_fields_that_are_not_known_are_passed_over() -> None:
    more = _BODY + field(12, b"anything") + field(99 % 16, b"x") + b"\x80\x01\x05"
    assert len(read(more, now_ms=NOW_MS).spans) == 2
