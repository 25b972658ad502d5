"""A tree that is unfolded only so far, and conditions made of what stands in it."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from sealwire.server.debugger.expressions import evaluator, parser
from sealwire.server.debugger.snapshots import literals, snapshot, tree, unfolding
from sealwire.server.debugger.snapshots.captured import Missing, Value
from sealwire.server.debugger.snapshots.conditions import condition_of
from sealwire.server.debugger.snapshots.snapshot import Snapshot
from sealwire.server.debugger.snapshots.unfolding import Branch

RECORDED = Path(__file__).parents[4] / "vectors" / "debugger"


def _recorded() -> list[Snapshot]:
    return [
        each
        for name in ("ddtrace_4.16_messages.json", "dd_trace_5.132_messages.json")
        for each in snapshot.read_all((RECORDED / name).read_bytes()).snapshots
    ]


def _of(captures: object) -> Snapshot:
    inner = {"id": "s", "probe": {"id": "p", "version": 1}, "language": "python", "captures": captures}
    return snapshot.read(orjson.dumps({"debugger": {"snapshot": inner}}))


def _count(branches: list[Branch] | tuple[Branch, ...]) -> int:
    return sum(1 + _count(each.inner) for each in branches)


WIDE = {
    "lines": {
        "7": {
            "locals": {
                f"group_{group}": {
                    "type": "list",
                    "size": 450,
                    "elements": [{"type": "int", "value": str(number)} for number in range(450)],
                }
                for group in range(12)
            }
        }
    }
}


def test_every_recorded_value_is_reached_by_its_path() -> None:
    for one in _recorded():
        for row in tree.rows(one):
            found = unfolding.unfold(one, show=row.path).chosen
            assert found is not None
            assert found.value is row.value
            assert found.place.path == row.path


def test_however_many_values_there_are_a_page_begins_with_few_of_them() -> None:
    wide = _of(WIDE)

    assert wide.values == 5_412
    assert _count(unfolding.unfold(wide).branches) <= unfolding.BUDGET + 1
    chosen = unfolding.unfold(wide, show="7/group_11[449]")
    assert chosen.chosen is not None
    assert chosen.chosen.position == 450
    assert _count(chosen.branches) < unfolding.BUDGET + 2 * unfolding.PAGE


def test_what_is_not_shown_of_a_long_list_comes_a_page_at_a_time() -> None:
    wide = _of(WIDE)
    seen = []
    first = 0
    while True:
        branch = unfolding.inside(wide, "7/group_3", first=first)
        assert branch is not None
        seen += [each.place.path for each in branch.inner]
        if branch.last == branch.total:
            break
        first = branch.last

    assert seen == [f"7/group_3[{number}]" for number in range(450)]
    assert unfolding.inside(wide, "7/group_3[450]") is None
    assert unfolding.inside(wide, "8") is None


def test_names_that_look_like_paths_lead_to_what_they_name() -> None:
    value = {"type": "int", "value": "1"}
    inner = {"type": "Box", "fields": {"b": {"type": "str", "value": "'in a'"}}}
    hostile = _of(
        {"entry": {"locals": {"a": inner, "a.b.c": value, "a[0": value, "": value, "return": value}}}
    )

    for row in tree.rows(hostile):
        found = unfolding.unfold(hostile, show=row.path).chosen
        assert found is not None
        assert found.value is row.value
    keys = [branch.key for top in unfolding.unfold(hostile).branches for branch in top.inner]
    assert len(keys) == len(set(keys)) == 5


def test_a_condition_made_of_a_value_holds_where_it_was_captured() -> None:
    made = 0
    for one in _recorded():
        for row in tree.rows(one):
            text = condition_of(row.expression, row.value)
            if text:
                found = evaluator.evaluate(parser.parse(text), one, moment=row.path.split("/")[0])
                assert found.holds is True, text
                made += 1
    assert made > 300


@pytest.mark.parametrize(
    ("value", "condition"),
    [
        (Value("str", "'it\\'s \"x\"'"), 'x == "it\'s \\"x\\""'),
        (Value("str", "'abc", truncated=True, size=900), 'startsWith(x, "abc")'),
        (Value("str", "'\\udc80'"), ""),
        (Value("int", "0042"), "x == 42"),
        (Value("int", "1; drop"), ""),
        (Value("float", "nan"), ""),
        (Value("float", "2.50"), "x == 2.5"),
        (Value("bool", "True"), "x == true"),
        (Value("NoneType", is_null=True), "x == null"),
        (Value("list", elements=(), size=150), "len(x) == 150"),
        (Value("Order", fields=()), ""),
        (Value("str"), ""),
    ],
)
def test_a_condition_says_what_can_be_said_of_a_value(value: Value, condition: str) -> None:
    assert condition_of("x", value) == condition
    assert condition_of("", value) == ""


def test_all_variables_of_a_moment_are_written_as_lines_that_run_and_mean_them() -> None:
    hostile = [
        ("total", Value("int", "5")),
        ("@return", Value("list", elements=(Value("str", "'a'"),))),
        ("class", Value("NoneType", is_null=True)),
        ("x\nimport os", Value("str", '\'\\n"""\'')),
        ("order", Value("Order", fields=(("oid", Value("int", "7")),))),
        ("gone", Value("str", missing=Missing.REDACTED_NAME, reason="redactedIdent")),
    ]
    copied = literals.copy_all(hostile, literals.Language.PYTHON)
    scope: dict[str, object] = {}
    exec("\n".join([*copied.needs, copied.text]), scope)

    assert scope["total"] == 5
    assert scope["returned"] == ["a"]
    assert scope["value_3"] is None
    assert scope["value_4"] == '\n"""'
    assert getattr(scope["order"], "oid", None) == 7
    assert scope["gone"] is ...
    assert copied.gaps == ("gone: redactedIdent",)
    assert orjson.loads(literals.copy_all(hostile, literals.Language.JSON).text)["class"] is None
    javascript = literals.copy_all(hostile, literals.Language.JAVASCRIPT).text.split("\n")
    assert javascript[0] == "const total = 5;"
    assert javascript[3].endswith('// "x\\nimport os"')
