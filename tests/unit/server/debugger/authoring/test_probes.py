"""The probe document, its payload, its versions, and what tracers make of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sealwire.errors import InvalidChangeError
from sealwire.server.debugger.authoring import probe_facts, probe_wire, probes
from sealwire.server.debugger.authoring.probe_wire import Version
from sealwire.server.debugger.authoring.probes import Probe, ProbeKind
from sealwire.server.debugger.snapshots import redaction

PAYLOADS: dict[str, Any] = json.loads(
    (Path(__file__).parents[4] / "vectors" / "debugger" / "probes.json").read_bytes()
)
ID = "8f1c2d34-aaaa-4bbb-8ccc-0123456789ab"
METHOD = {"type": "shop.orders", "method": "Order.pay"}
LINE = {"file": "shop/orders.py", "line": 13}


def document(**more: Any) -> dict[str, Any]:
    return {"kind": "log", "language": "python", "where": METHOD, "template": "x", **more}


def probe(**more: Any) -> Probe:
    return probes.parse(document(**more))


def problems(**more: Any) -> dict[str, str]:
    return {each.path: each.message for each in probes.check(document(**more))}


FULL = document(
    at="exit",
    when="total > 1",
    tags=["team:shop"],
    template="took {@duration} ms",
    snapshot=True,
    limits={"depth": 2, "length": 100},
    per_second=2,
)


def test_a_document_becomes_the_payload_that_tracers_read() -> None:
    assert probe_wire.to_wire(probes.parse(FULL), probe_id=ID, version=4) == {
        "id": ID,
        "version": 4,
        "type": "LOG_PROBE",
        "language": "python",
        "where": {"typeName": "shop.orders", "methodName": "Order.pay"},
        "tags": ["team:shop"],
        "evaluateAt": "EXIT",
        "when": {"dsl": "total > 1", "json": {"gt": [{"ref": "total"}, 1]}},
        "template": "took {@duration} ms",
        "segments": [{"str": "took "}, {"dsl": "@duration", "json": {"ref": "@duration"}}, {"str": " ms"}],
        "captureSnapshot": True,
        "capture": {"maxReferenceDepth": 2, "maxLength": 100},
        "sampling": {"snapshotsPerSecond": 2},
    }


def test_a_line_is_a_text_and_has_no_moment() -> None:
    payload = probe_wire.to_wire(probe(where=LINE), probe_id=ID, version=1)

    assert payload["where"] == {"sourceFile": "shop/orders.py", "lines": ["13"]}
    assert "evaluateAt" not in payload


@pytest.mark.parametrize("name", PAYLOADS)
def test_payloads_that_real_tracers_took_are_understood_and_written_again(name: str) -> None:
    received = probe_wire.from_wire(PAYLOADS[name])

    assert probe_wire.config_id(received.probe.kind, received.probe_id) == name
    assert probes.parse(probes.to_document(received.probe)) == received.probe
    again = probe_wire.to_wire(received.probe, probe_id=received.probe_id, version=received.version)
    assert probe_wire.from_wire(again) == received
    for key in (
        "type",
        "when",
        "kind",
        "metricName",
        "value",
        "targetSpan",
        "captureExpressions",
        "sampling",
    ):
        assert again.get(key) == PAYLOADS[name].get(key)


def test_ids_of_files_say_what_kind_of_probe_they_are() -> None:
    for kind in ProbeKind:
        assert probe_wire.probe_id_of(probe_wire.config_id(kind, ID)) == ID
    assert probe_wire.config_id(ProbeKind.DECORATION, ID) == f"spanDecorationProbe_{ID}"
    assert probe_wire.probe_id_of("symDb") is None


def test_the_version_rises_with_what_a_tracer_could_notice_and_with_nothing_else() -> None:
    first = probe_wire.version_after(None, probe())

    assert first.number == 1
    assert probe_wire.version_after(first, probe(expires_in_minutes=5)) == first
    assert probe_wire.version_after(Version(7, first.digest), probe(template="y")).number == 8
    for change in ({"when": "a"}, {"tags": ["a:b"]}, {"at": "entry"}, {"snapshot": True}, {"per_second": 1}):
        assert probe_wire.version_after(first, probe(**change)).number == 2


def test_what_takes_values_expires_after_an_hour_and_the_rest_after_30_days() -> None:
    assert probe(snapshot=True).expires_in_minutes == 60
    assert probe(expressions=[{"name": "a", "expression": "a"}]).expires_in_minutes == 60
    assert probe().expires_in_minutes == 30 * 24 * 60
    assert probe(snapshot=True).takes_values
    assert not probe().takes_values


@pytest.mark.parametrize(
    ("more", "path", "words"),
    [
        ({"when": "a ="}, "$.when", "character 3"),
        ({"template": "a {b"}, "$.template", "character 3"),
        ({"template": "{@return}", "where": LINE}, "$.template", "at a line"),
        ({"when": "@duration > 1", "at": "entry"}, "$.when", "begins"),
        ({"where": {"file": "a.py"}}, "$.where.line", "required"),
        ({"where": {"file": "a.py", "line": 1, "type": "a"}}, "$.where", "not parts of both"),
        ({"where": {}}, "$.where", "either"),
        ({"where": LINE, "at": "exit"}, "$.at", "only methods"),
        ({"snapshot": True, "expressions": [{"name": "a", "expression": "a"}]}, "$.expressions", "both"),
        ({"expressions": [{"name": "a", "expression": "b +"}]}, "$.expressions[0].expression", "character 3"),
        ({"limits": {"depth": 2}}, "$.limits", "snapshots"),
        ({"snapshot": True, "limits": {"depth": 9}}, "$.limits.depth", "0 to 5"),
        ({"snapshot": True, "per_second": 500}, "$.per_second", "At most 100"),
        ({"tags": ["a,b:c"]}, "$.tags[0]", "key:value"),
        ({"language": "cobol"}, "$.language", "Expected"),
        ({"kind": "trace"}, "$.kind", "Unknown kind"),
        ({"nmae": 1}, "$.nmae", "Unknown key"),
    ],
)
def test_what_makes_no_sense_is_a_problem_at_its_path(more: dict[str, Any], path: str, words: str) -> None:
    found = problems(**more)

    assert words in found[path]


def test_a_metric_needs_a_value_unless_it_counts() -> None:
    base = {"kind": "metric", "language": "python", "where": METHOD}

    assert not probes.check({**base, "metric": {"name": "shop.sold", "kind": "count"}})
    found = probes.check({**base, "metric": {"name": "shop sold|c", "kind": "gauge"}})
    assert found[0].path == "$.metric.name"
    assert probes.check({**base, "metric": {"name": "a", "kind": "gauge"}})[0].path == "$.metric.value"


def test_a_span_lasts_as_long_as_the_call() -> None:
    base = {"kind": "span", "language": "python", "where": METHOD}

    assert "evaluateAt" not in probe_wire.to_wire(probes.parse(base), probe_id=ID, version=1)
    assert probes.check({**base, "at": "exit"})[0].path == "$.at"
    assert probes.check({**base, "when": "@return"})[0].path == "$.when"


@pytest.mark.parametrize(
    ("payload", "words"),
    [
        (None, "object"),
        ({"type": "TRIGGER_PROBE"}, "$.type"),
        ({"type": "LOG_PROBE"}, "$.id"),
        ({"type": "LOG_PROBE", "id": "x", "version": -1}, "$.version"),
        ({"type": "SPAN_PROBE", "id": "x", "where": {"sourceFile": "a", "lines": []}}, "$.where.lines"),
        ({"type": "SPAN_PROBE", "id": "x", "where": METHOD, "when": {"dsl": "a"}}, "$.when.json"),
        (
            {"type": "LOG_PROBE", "id": "x", "where": METHOD, "segments": [{"json": {"eq": [1]}}]},
            "$.segments[0]",
        ),
    ],
)
def test_a_payload_that_is_no_probe_is_refused(payload: object, words: str) -> None:
    with pytest.raises(InvalidChangeError) as caught:
        probe_wire.from_wire(payload)

    said = " ".join(f"{each.path} {each.message}" for each in caught.value.problems)
    assert words in said


_JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=4)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(
                ["where", "when", "json", "segments", "str", "tags", "decorations", "value", "capture"]
            ),
            inner,
            max_size=4,
        ),
    ),
    max_leaves=10,
)


@given(st.sampled_from(sorted(PAYLOADS)), st.text("wheratgsdcionlupv", max_size=3), _JSON, st.integers(0, 12))
@settings(max_examples=80)
def test_any_payload_is_understood_or_refused(name: str, key: str, value: object, index: int) -> None:
    payload = dict(PAYLOADS[name])
    payload[key or sorted(payload)[index % len(payload)]] = value
    for read in (probe_wire.from_wire, probes.parse):
        try:
            read(payload)
            found = None
        except InvalidChangeError as error:
            found = error.problems
        assert found is None or found


# What tracers can do --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("language", "more", "words"),
    [
        ("python", {"kind": "log"}, ""),
        ("python", {"kind": "span", "where": LINE}, "on a method, not at a line"),
        ("javascript", {"kind": "log", "where": LINE}, ""),
        ("javascript", {"kind": "log"}, "at a line, not on a method"),
        ("javascript", {"kind": "span"}, "takes no span"),
        ("javascript", {"kind": "log", "where": LINE, "when": "a || null"}, "null beside ||"),
        ("javascript", {"kind": "log", "where": LINE, "when": "instanceof(a, 'b.C')"}, "without dots"),
        ("java", {"kind": "span"}, ""),
        ("go", {"kind": "log"}, "system-probe"),
    ],
)
def test_what_a_tracer_refuses_is_said_before(language: str, more: dict[str, Any], words: str) -> None:
    base: dict[str, Any] = {"language": language, "where": METHOD}
    extra = {"template": "x"} if more["kind"] == "log" else {}

    found = probe_facts.refusals(probes.parse({**base, **extra, **more}))

    assert words in " ".join(each.message for each in found)
    assert bool(found) is bool(words)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"when": "user.password == 'x'"}, "{redacted}"),
        ({"when": "any(l, {isDefined(@it)})"}, "whatever the element"),
        ({"when": "matches(a, 'b')"}, "beginning only"),
        ({"when": "instanceof(a, 'Order')"}, "module"),
        ({"tags": ["env:prod"]}, "drops a probe"),
        ({"when": "1 == 1"}, "always the same"),
    ],
)
def test_what_an_author_should_know_is_said(more: dict[str, Any], words: str) -> None:
    assert words in probe_facts.warnings(probe(**more))[0].message
    assert not probe_facts.warnings(probe(when="a > 1"))


def test_the_cost_is_said() -> None:
    assert probe_facts.cost(probe(snapshot=True)).per_second == 1
    assert probe_facts.cost(probe()).per_second == 5_000
    said = " ".join(probe_facts.cost(probe(snapshot=True, when="a"), processes=20).says)
    assert "20 snapshots per second together" in said
    assert "150 ms" in said


@pytest.mark.parametrize("name", ["password", "API_KEY", "x-api-key", "AccessToken", "setCookie"])
def test_names_are_redacted_however_they_are_written(name: str) -> None:
    assert redaction.is_redacted(name)
    assert not redaction.is_redacted(name, taken=[name.lower()])
    assert not redaction.is_redacted("total")
    assert redaction.is_redacted("Iban", added=["IBAN"])
