"""A probe tried on what is kept, the names that were seen there, and a probe in words."""

from __future__ import annotations

from typing import Any

import pytest

from sealwire.server.debugger.authoring import probe_words, probes, scope, tryout
from sealwire.server.debugger.authoring.tryout import Match
from sealwire.server.debugger.expressions.completion import Known
from sealwire.server.debugger.snapshots import snapshot
from tests.support.messages import message, value

LOG: dict[str, Any] = {
    "kind": "log", "language": "python", "where": {"file": "shop.py", "line": 13}, "template": "n={n} {name}",
}  # fmt: skip


def snapshots(*captured: dict[str, Any]) -> list[snapshot.Snapshot]:
    return [snapshot.read(message(captured=each)) for each in captured]


def probe(**changes: Any) -> probes.Probe:
    return probes.parse({**LOG, **changes})


def test_each_snapshot_says_whether_it_would_have_matched_and_what_the_message_would_be() -> None:
    seen = snapshots(
        {"n": value("1", "int"), "name": value("ann")},
        {"n": value("7", "int"), "name": {"type": "str", "notCapturedReason": "redactedIdent"}},
        {"n": value("many")},
        {},
    )

    tried = tryout.try_probe(probe(when="n > 5"), seen)

    assert [each.match for each in tried.rows] == [Match.NO, Match.YES, Match.FAILS, Match.UNKNOWN]
    assert [each.message for each in tried.rows] == ["", "n=7 {redacted}", "n=many ?", "n=? ?"]
    assert tried.rows[1].troubles
    assert tried.rows[2].says
    assert tried.is_whole


def test_a_metric_says_its_values() -> None:
    metric = {"kind": "metric", "metric": {"name": "size", "kind": "gauge", "value": "len(name)"}}
    document = {key: text for key, text in LOG.items() if key != "template"} | metric

    tried = tryout.try_probe(probes.parse(document), snapshots({"name": value("ann")}))

    assert [each.value for each in tried.rows] == ["3"]


def test_trying_stops_when_its_time_is_over_and_says_so() -> None:
    seen = snapshots(*({"n": value(str(n), "int")} for n in range(5)))
    times = iter([0.0, 0.0, 0.1, 0.2, 9.0])

    tried = tryout.try_probe(probe(when="n > 2", template="x"), seen, clock=lambda: next(times))

    assert (len(tried.rows), tried.is_whole) == (3, False)


def test_no_more_snapshots_are_tried_than_may_be() -> None:
    seen = snapshots(*({"n": value("1", "int")} for _ in range(tryout.MAX_SNAPSHOTS + 1)))

    tried = tryout.try_probe(probe(), seen)

    assert (len(tried.rows), tried.is_whole) == (tryout.MAX_SNAPSHOTS, False)


def test_names_of_several_snapshots_are_put_together() -> None:
    order = {"type": "Order", "fields": {"id": value("1", "int")}}
    line = {"type": "Line", "fields": {"price": value("1", "int")}}
    other = {"type": "Order", "fields": {"lines": {"type": "list", "elements": [line]}}}
    names = {
        each.name: each for each in scope.seen(snapshots({"order": order}, {"order": other, "n": order}))
    }

    assert set(names) == {"order", "n"}
    assert [each.name for each in names["order"].members] == ["id", "lines"]
    (element,) = names["order"].members[1].members
    assert (element.kind, [each.name for each in element.members]) == ("element", ["price"])


def test_names_are_bounded_whatever_a_snapshot_holds() -> None:
    deep: dict[str, Any] = value("1", "int")
    for _ in range(15):
        deep = {"type": "Box", "fields": {f"f{n}": deep if n == 0 else value("1", "int") for n in range(80)}}
    many = {f"name_{n}": value("1", "int") for n in range(500)}

    found = scope.seen(snapshots({"deep": deep, "x" * 200: deep, **many}))

    assert len(found) <= scope.MAX_NAMES
    assert all(len(each.name) < 200 for each in found)

    def size(known: Known) -> int:
        return 1 + sum(map(size, known.members))

    assert size(found[0]) < 300


WHOLE: dict[str, Any] = {
    **LOG, "when": "n > 1", "tags": ["team:shop"], "per_second": 0.5, "expires_in_minutes": 90,
    "expressions": [{"name": "n", "expression": "n", "limits": {"depth": 1}}], "snapshot": False,
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"template": "other"}, "Message: n={n} {name} → other"),
        ({"when": None}, "Condition removed; it was n > 1"),
        ({"tags": ["a:b"]}, "Tags: team:shop → a:b"),
        ({"where": {"type": "shop", "method": "sell"}}, "Place: shop.py:13 → shop.sell"),
        ({"expires_in_minutes": 120}, "Expires after: 90 minutes → 2 hours"),
        ({"expressions": [{"name": "n", "expression": "n + "}]}, "Captured expressions"),
        ({"per_second": 2}, "At most per second: 0.5 → 2"),
    ],
)
def test_what_is_different_is_said(change: dict[str, Any], said: str) -> None:
    after = {key: text for key, text in {**WHOLE, **change}.items() if text is not None}

    assert any(each.startswith(said) for each in probe_words.changes(WHOLE, after))
    assert probe_words.changes(WHOLE, dict(WHOLE)) == ()


def test_what_only_looks_different_is_not_said() -> None:
    assert probe_words.changes(WHOLE, {**WHOLE, "when": "n>1"}) == ()


@pytest.mark.parametrize(
    "document", [{}, {"kind": 1, "where": 3, "metric": [], "decorations": [1], "tags": 4}]
)
def test_a_document_of_an_unknown_shape_is_said_as_it_is(document: dict[str, Any]) -> None:
    assert len(probe_words.describe(document)) <= len(document)
