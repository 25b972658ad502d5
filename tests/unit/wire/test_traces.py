"""What bodies of traces say of security: as tracers send them, and as nobody should."""

from __future__ import annotations

import json
import resource
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sealwire.errors import MalformedError, OversizeError, UntrustedError
from sealwire.wire import traces
from sealwire.wire.security import events_of, metrics_of, stacks_of, tags_of, triggers_of
from sealwire.wire.traces import (
    MAX_TRIGGER_BYTES,
    PATHS,
    Engine,
    SecuritySpan,
    Sender,
    Visit,
    select,
    texts_of,
)
from tests.support.spans import RECORDED, entry_span, pack, recorded_trace, trace, v04, v05, v07, with_tag

SENDERS: dict[str, Any] = json.loads(
    (Path(__file__).parents[2] / "vectors" / "traces" / "senders.json").read_bytes()
)
RUNTIME = "e810bdf353a34a67b59ff82cd070c881"
SHOP = Sender("shop", "prod", "1.2.3", RUNTIME)
TELLING = sorted(set(RECORDED) - {"benign"})


def only(path: str, body: bytes) -> SecuritySpan:
    (span,) = select(path, body).spans
    return span


@pytest.mark.parametrize("name", SENDERS)
def test_a_recorded_body_tells_its_service(name: str) -> None:
    body = SENDERS[name]["body"]
    if name == "python_v05":  # JSON has no numbers as keys
        texts, spans = body
        body = [texts, [[[numbered(field) for field in span] for span in trace] for trace in spans]]

    (sender,) = select(SENDERS[name]["path"], pack(body)).senders

    assert (sender.service, sender.env, sender.version) == ("shop", "prod", "1.2.3")
    assert len(sender.runtime_id) in (32, 36)


def numbered(field: Any) -> Any:
    return {int(name): value for name, value in field.items()} if isinstance(field, dict) else field


# What is kept -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TELLING)
def test_a_recorded_request_that_carries_security_is_kept(name: str) -> None:
    recorded = RECORDED[name]["entry_span"]

    found = select("/v0.4/traces", v04(recorded_trace("benign"), recorded_trace(name)))

    (span,) = found.spans
    assert span.trace_id == f"{recorded['meta']['_dd.p.tid']}{recorded['trace_id']:016x}"
    assert (span.span_id, span.start_ns) == (recorded["span_id"], recorded["start"])
    assert (span.service, span.env, span.runtime_id) == ("shop", "prod", RUNTIME)
    assert tags_of(span) == recorded["meta"]
    assert metrics_of(span)["_dd.appsec.enabled"] == 1.0
    assert (found.senders, found.watched) == ({SHOP: 2}, {SHOP: 2})


def test_a_benign_request_is_counted_and_not_kept() -> None:
    found = select("/v0.4/traces", v04(*[recorded_trace("benign")] * 3))

    assert found.spans == []
    assert found.visits == {Visit("shop", "prod", "127.0.0.1", "/", "200"): 3}
    assert found.seen_ns == 1795358575173454984 + 8417996


def test_a_service_without_the_engine_is_counted_as_such() -> None:
    plain = {"service": "worker", "span_id": 1, "meta": {"env": "prod"}}

    found = select("/v0.4/traces", v04([plain], recorded_trace("benign")))

    assert found.senders == {Sender("worker", "prod", "", ""): 1, SHOP: 1}
    assert found.watched == {SHOP: 1}


def test_matches_are_read_from_both_places() -> None:
    packed = only("/v0.4/traces", v04(recorded_trace("sql_injection")))
    tagged = only("/v0.4/traces", v04(trace(with_tag(entry_span("sql_injection")))))

    (trigger,) = triggers_of(packed, tags_of(packed))
    assert triggers_of(tagged, tags_of(tagged)) == (trigger,)
    assert (trigger.rule_id, trigger.type, trigger.category) == (
        "crs-942-100",
        "sql_injection",
        "attack_attempt",
    )
    (parameter,) = trigger.matches[0].parameters
    assert (parameter.address, parameter.key_path) == ("server.request.query", ("q",))
    assert parameter.highlight == ("s&1UE",)


def test_a_match_told_in_both_places_counts_once() -> None:
    both = entry_span("attack_tool")
    both["meta"]["_dd.appsec.json"] = json.dumps(both["meta_struct"]["appsec"])

    span = only("/v0.4/traces", v04(trace(both)))

    assert [trigger.rule_id for trigger in triggers_of(span, tags_of(span))] == ["ua0-600-12x"]


def test_a_match_on_a_span_below_the_root_is_kept_under_the_roots_service() -> None:
    root = {"service": "gateway", "span_id": 1, "trace_id": 5, "meta": {"_dd.p.tid": "6b02ff6f00000000"}}
    below = entry_span("attack_tool", trace_id=5, parent_id=1, meta={"_dd.p.tid": None})

    span = only("/v0.4/traces", v04([root, *trace(below)]))

    assert span.service == "gateway"
    assert span.trace_id == "6b02ff6f000000000000000000000005"


def test_kinds_of_the_spans_of_a_request_come_along() -> None:
    assert only("/v0.4/traces", v04(recorded_trace("sql_injection"))).touches == ("sql", "web")


def test_the_words_in_somebodys_text_are_no_match() -> None:
    said = entry_span(
        "benign", meta={"http.url": "http://h/?appsec.event=true&_dd.appsec.json={}&appsec.blocked"}
    )

    found = select("/v0.4/traces", v04(trace(said)))

    assert (found.spans, found.watched) == ([], {SHOP: 1})


def test_business_events_are_found_without_a_match() -> None:
    span = only("/v0.4/traces", v04(recorded_trace("login_failure")))

    (event,) = events_of(tags_of(span))
    assert event.name == "users.login.failure"
    assert (event.tags["usr.id"], event.tags["usr.exists"]) == ("alice", "true")


def test_an_event_of_the_applications_own_is_found() -> None:
    own = entry_span(
        "benign",
        meta={"appsec.events.payment.failure.track": "true", "appsec.events.payment.failure.card": "x"},
    )

    span = only("/v0.4/traces", v04(trace(own)))

    assert [(event.name, event.tags) for event in events_of(tags_of(span))] == [
        ("payment.failure", {"card": "x"})
    ]


def test_a_path_that_no_route_took_is_told_apart() -> None:
    body = v04(
        trace(
            entry_span(
                "benign",
                meta={"http.status_code": "404", "http.url": "http://h/a.php?q=1", "http.route": None},
            )
        ),
        trace(
            entry_span("benign", meta={"http.status_code": "404", "http.url": "http://h", "http.route": "/x"})
        ),
    )

    assert [visit.target for visit in select("/v0.4/traces", body).visits] == ["/a.php", "/"]


# Encodings ----------------------------------------------------------------------------------------------


def test_v05_tells_the_same_of_what_fits_into_it() -> None:
    spans = [
        trace(entry_span("login_failure")),
        trace(with_tag(entry_span("attack_tool"))),
        recorded_trace("benign"),
    ]

    by_arrays, by_maps = select("/v0.5/traces", v05(*spans)), select("/v0.4/traces", v04(*spans))

    assert by_arrays.visits == by_maps.visits
    assert (by_arrays.senders, by_arrays.watched) == (by_maps.senders, by_maps.watched)
    assert [tags_of(span) for span in by_arrays.spans] == [tags_of(span) for span in by_maps.spans]
    assert [metrics_of(span) for span in by_arrays.spans] == [metrics_of(span) for span in by_maps.spans]
    assert [span.trace_id for span in by_arrays.spans] == [span.trace_id for span in by_maps.spans]


def test_v07_fills_in_what_its_spans_leave_out() -> None:
    bare = entry_span("attack_tool", meta={"env": None, "version": None, "runtime-id": None})

    found = select("/v0.7/traces", v07(trace(bare), env="test", app_version="9", runtime_id="r"))

    (span,) = found.spans
    assert found.watched == {Sender("shop", "test", "9", "r"): 1}
    assert (span.env, span.version, span.runtime_id) == ("test", "9", "r")


def test_missing_keys_and_nothing_at_all_are_legal() -> None:
    for body in ([], [[]], [[{}]], [[{"service": None, "meta": None}]], [[{"meta": {"env": 5}}]]):
        assert select("/v0.4/traces", pack(body)).spans == []


def test_a_service_that_is_named_after_what_it_talks_to_says_whose_it_is() -> None:
    spans = [{"service": "redis", "span_id": 1, "meta": {"_dd.base_service": "worker"}}]

    assert select("/v0.4/traces", pack([spans])).senders == {Sender("worker", "", "", ""): 1}


def test_stacks_of_exploits_are_found_by_their_ids() -> None:
    hit = entry_span("sql_injection")
    hit["meta_struct"]["_dd.stack"] = {
        "exploit": [{"id": "7", "language": "python", "frames": []}, {"id": 8}, 5]
    }

    span = only("/v0.4/traces", v04(trace(hit)))

    assert stacks_of(span) == {"7": {"id": "7", "language": "python", "frames": []}}


def test_parameters_with_names_are_read() -> None:
    hit = entry_span("sql_injection")
    hit["meta_struct"]["appsec"]["triggers"][0]["rule_matches"] = [
        {
            "operator": "sqli_detector",
            "parameters": [
                {
                    "resource": {"address": "server.db.statement", "value": "SELECT ?"},
                    "params": {"address": "server.request.query", "key_path": ["q", 0], "value": "1' OR"},
                    "db_type": {"address": "server.db.system", "value": "sqlite"},
                    "highlight": ["1' OR"],
                }
            ],
        }
    ]

    span = only("/v0.4/traces", v04(trace(hit)))

    (trigger,) = triggers_of(span, tags_of(span))
    assert [(one.name, one.key_path) for one in trigger.matches[0].parameters] == [
        ("resource", ()), ("params", ("q", "0")), ("db_type", ()),
    ]  # fmt: skip


# Hostile ------------------------------------------------------------------------------------------------


def test_bytes_that_are_no_text_do_not_hide_a_match() -> None:
    mark = b"\xa9ABCDEFGHI"
    hit = trace(entry_span("attack_tool", resource="ABCDEFGHI", meta={"http.url": "ABCDEFGHI"}))
    body = v04(hit)
    assert body.count(mark) == 2

    span = only("/v0.4/traces", body.replace(mark, b"\xa9AB\xff\xfe\xc0FGHI"))

    assert span.resource == "AB\ufffd\ufffd\ufffdFGHI"
    assert tags_of(span)["http.url"] == "AB\ufffd\ufffd\ufffdFGHI"
    assert tags_of(span)["appsec.event"] == "true"


def test_bytes_that_are_no_text_do_not_hide_a_match_in_arrays() -> None:
    body = v05(trace(with_tag(entry_span("attack_tool", meta={"http.url": "ABCDEFGHI"}))))

    span = only("/v0.5/traces", body.replace(b"\xa9ABCDEFGHI", b"\xa9AB\xff\xfe\xc0FGHI"))

    assert tags_of(span)["http.url"] == "AB\ufffd\ufffd\ufffdFGHI"


def test_a_tag_that_is_no_text_leaves_the_others() -> None:
    span = only("/v0.4/traces", v04(trace(entry_span("attack_tool", meta={"odd": 5}))))

    assert tags_of(span) == RECORDED["attack_tool"]["entry_span"]["meta"]


@pytest.mark.parametrize(
    "triggers",
    [{}, {"triggers": 5}, {"triggers": [5, {}, {"rule": []}, {"rule": {"id": ""}}]}, [], "x", None, 1e308],
)
def test_triggers_of_another_shape_are_none(triggers: Any) -> None:
    odd = entry_span("attack_tool")
    odd["meta_struct"]["appsec"] = triggers
    odd["meta"]["_dd.appsec.json"] = json.dumps(triggers)

    span = only("/v0.4/traces", v04(trace(odd)))

    assert triggers_of(span, tags_of(span)) == ()


def test_triggers_beyond_their_number_are_left_out() -> None:
    many = entry_span("attack_tool")
    (one,) = many["meta_struct"]["appsec"]["triggers"]
    many["meta_struct"]["appsec"]["triggers"] = [
        one | {"rule": one["rule"] | {"id": str(number)}} for number in range(500)
    ]

    span = only("/v0.4/traces", v04(trace(many)))

    assert len(triggers_of(span, tags_of(span))) == 50


def test_a_trace_that_cannot_be_read_leaves_the_others() -> None:
    long = [{}] * (traces.MAX_TRACE_SPANS + 1)
    good = recorded_trace("attack_tool")

    for odd in (long, [5], ["x"], {"a": 1}, [{"span_id": "text"}], [{"duration": []}]):
        found = select("/v0.4/traces", pack([odd, good]))
        assert (len(found.spans), found.unreadable) == (1, 1)


@pytest.mark.parametrize("path", sorted(PATHS))
@pytest.mark.parametrize(
    "body",
    [b"", b"\xc1", b"\x91", b"\xdd\xff\xff\xff\xff", b"\xa5shop", b"\x91" * 200_000, b"\xff" * 1000, b"{}",
     b"\xdd\x00\x00\xff\xff" * 1000],
)  # fmt: skip
def test_what_is_no_body_of_traces_is_malformed(path: str, body: bytes) -> None:
    with pytest.raises(MalformedError):
        select(path, body)


def test_too_large_a_body_is_not_read() -> None:
    with pytest.raises(OversizeError):
        select("/v0.4/traces", b"\x90" * (traces.MAX_TRACES_BYTES + 1))


@pytest.mark.parametrize(
    "body",
    [
        b"\xdc\xc3\x50" + b"\x90" * 50_000,
        b"\xdc\x04\x00" + (b"\xdc\x4e\x20" + b"\x80" * 20_000) * 1024,  # 20 million spans of nothing
        b"\x91\x91\x81\xa4meta\xdd\x01\x00\x00\x00" + b"\x90" * 2**24,
    ],
)
def test_bodies_of_nothing_cost_little(body: bytes) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    found = select("/v0.4/traces", body)

    assert found.spans == []
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 * 1024


def test_what_comes_out_of_a_body_is_bounded() -> None:
    body = v04(
        *[
            [
                entry_span(
                    "login_failure",
                    trace_id=number,
                    service=f"s{number}",
                    meta={"http.client_ip": f"10.0.{number}"},
                )
            ]
            for number in range(2_500)
        ]
    )

    found = select("/v0.4/traces", body)

    assert len(found.spans) == traces.MAX_SELECTED
    assert len(found.visits) == traces.MAX_VISITS
    assert len(found.senders) == len(found.watched) == traces.MAX_SENDERS
    assert found.crowded > 0


_WHOLE = {
    "/v0.4/traces": v04(recorded_trace("sql_injection"), recorded_trace("login_failure")),
    "/v0.5/traces": v05(trace(with_tag(entry_span("sql_injection")))),
    "/v0.7/traces": v07(recorded_trace("sql_injection"), env="prod"),
}


@settings(max_examples=300)
@given(st.sampled_from(sorted(_WHOLE)), st.data())
def test_bytes_changed_on_the_way_are_read_or_refused(path: str, data: st.DataObject) -> None:
    body = bytearray(_WHOLE[path])
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, 30))

    try:
        found = select(path, bytes(body[: len(body) - cut]))
    except UntrustedError:
        return
    for span in found.spans:
        tags = tags_of(span)
        triggers_of(span, tags), events_of(tags), metrics_of(span), stacks_of(span)
        assert msgspec.msgpack.decode(pack(span), type=SecuritySpan) == span


def test_a_sender_says_which_engine_ran_in_it() -> None:
    for path, body in (
        ("/v0.4/traces", v04(recorded_trace("benign"), recorded_trace("login_failure"))),
        ("/v0.5/traces", v05(recorded_trace("benign"), recorded_trace("login_failure"))),
        ("/v0.7/traces", v07(recorded_trace("benign"))),
    ):
        found = select(path, body)
        assert found.engines
        assert set(found.engines) <= set(found.watched)
        assert set(found.engines.values()) == {Engine("2.1.0", "1.18.2")}


def test_tags_without_end_are_cut_to_what_a_batch_takes() -> None:
    tags = {f"{number}{'n' * 300}": "\U0001f600" * 2_000 for number in range(400)}
    attack = recorded_trace("sql_injection")
    attack[0]["meta"] = tags | attack[0]["meta"]
    (span,) = select("/v0.4/traces", v04(attack)).spans

    assert len(span.tags) <= MAX_TRIGGER_BYTES
    assert len(texts_of(span.tags)) == 150
    assert texts_of(span.tags)["appsec.event"] == "true", "what matters is not crowded out"


def test_a_name_is_found_wherever_in_a_large_body_it_stands() -> None:
    """It is looked for in pieces, and some stand across two."""
    for room in range(traces._WINDOW - 3000, traces._WINDOW + 100, 7):
        filler = [{"service": "filler", "span_id": 1, "resource": "x" * room}]
        found = select("/v0.4/traces", v04(filler, [{"service": "shop", "meta": {"appsec.event": "true"}}]))
        assert len(found.spans) == 1
        large = [{"service": "shop", "meta": {"x": "x" * room, "appsec.event": "true"}}]
        assert len(select("/v0.7/traces", v07(large)).spans) == 1
