"""The table of expressions, events and verdicts: written by hand from the description of the language."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sealwire.secl.check import Language, check_rule
from sealwire.secl.compiler import Compiler
from sealwire.secl.definitions import Origin
from sealwire.secl.event import Event, Process
from sealwire.secl.merge import load
from sealwire.secl.needs import about, cover, needed
from sealwire.secl.policy import read_policy
from sealwire.secl.problems import ExpressionError
from sealwire.secl.variables import VariableStore

VECTORS = Path(__file__).parents[2] / "vectors" / "secl"
TABLES = (
    "texts",
    "paths",
    "numbers",
    "booleans",
    "addresses",
    "arrays",
    "ancestors",
    "times",
    "logic",
    "macros",
)
EVENTS: dict[str, Any] = json.loads((VECTORS / "events.json").read_text())


def cases() -> list[Any]:
    found = []
    for table in TABLES:
        document = json.loads((VECTORS / f"{table}.json").read_text())
        for case in document["cases"]:
            found.append(pytest.param(case, document.get("macros", {}), id=f"{table}: {case['expression']}"))
    return found


def holds(expression: str, event: Event, macros: dict[str, str]) -> bool:
    checked = check_rule(expression, Language(macros=macros))
    verdicts = [
        Compiler(VariableStore(), str).rule(variant.condition, checked.registers)(event)
        for variant in checked.variants
        if variant.event_type == event.type
    ]
    assert len(verdicts) == 1, f"the expression is not for {event.type}"
    return verdicts[0]


def test_the_table_has_at_least_three_hundred_cases() -> None:
    assert len(cases()) >= 300


@pytest.mark.parametrize(("case", "macros"), cases())
def test_the_verdict_is_that_of_the_table(case: dict[str, Any], macros: dict[str, str]) -> None:
    event = Event.from_document(EVENTS[case["event"]])

    assert holds(case["expression"], event, macros) is case["holds"]


def has_one_opposite(expression: str) -> bool:
    """Not so where all ways of binding a name are tried, or several files are meant, of which any counts."""
    return "[A]" not in expression and "fim.write" not in expression


@pytest.mark.parametrize(
    ("case", "macros"), [each for each in cases() if has_one_opposite(each.values[0]["expression"])]
)
def test_the_opposite_has_the_opposite_verdict(case: dict[str, Any], macros: dict[str, str]) -> None:
    event = Event.from_document(EVENTS[case["event"]])

    assert holds(f"!({case['expression']}\n)", event, macros) is not case["holds"]


@pytest.mark.parametrize(("case", "macros"), [each for each in cases() if each.values[0]["holds"]])
def test_what_an_expression_needs_is_met_by_every_event_it_holds_for(
    case: dict[str, Any], macros: dict[str, str]
) -> None:
    event = Event.from_document(EVENTS[case["event"]])
    checked = check_rule(case["expression"], Language(macros=macros))
    variant = next(each for each in checked.variants if each.event_type == event.type)
    compiler = Compiler(VariableStore(), str)

    assert needed(variant.condition) is not None
    listed = cover(variant.condition)
    assert listed != ()
    for field in checked.fields:
        # What is left of the condition when only this field is known must hold as well.
        assert compiler.rule(about(variant.condition, {field}), checked.registers)(event)


# What is refused --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "case", json.loads((VECTORS / "errors.json").read_text())["cases"], ids=lambda case: case["expression"]
)
def test_what_is_wrong_is_said_with_its_place(case: dict[str, Any]) -> None:
    with pytest.raises(ExpressionError) as caught:
        check_rule(case["expression"], Language())

    assert caught.value.column == case["column"]
    assert case["says"] in caught.value.public


# Variables --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sequence",
    json.loads((VECTORS / "variables.json").read_text())["sequences"],
    ids=lambda sequence: sequence["about"],
)
def test_rules_hold_in_a_row_as_the_table_says(sequence: dict[str, Any]) -> None:
    raw = json.dumps({"version": "1", "rules": sequence["rules"]}).encode()
    policy = read_policy(raw, name="table", origin=Origin.REMOTE)
    loaded = load([policy], host={}, agent_version="7.80.0", store=VariableStore(), new_id=str)
    assert loaded.problems == ()
    processes: dict[int, Process] = {}

    for number, step in enumerate(sequence["steps"]):
        event = _opened(step, processes)

        found = loaded.rule_set.evaluate(event, now_ns=step["at_s"] * 1_000_000_000)

        assert [match.rule.id for match in found] == step["matches"], f"step {number}: {step}"


def _opened(step: dict[str, Any], processes: dict[int, Process]) -> Event:
    pid = step["pid"]
    if pid not in processes:
        processes[pid] = Process({"pid": pid, "comm": f"p{pid}", "file.path": f"/bin/p{pid}"})
    process = processes[pid]
    if "parent" in step:
        process.parent = processes.setdefault(
            step["parent"], Process({"pid": step["parent"], "comm": f"p{step['parent']}"})
        )
    process.values["cgroup.id"] = step.get("cgroup", "/main")
    process.values["container.id"] = step.get("container", "")
    process.values["argv"] = tuple(step.get("argv", ()))
    return Event("open", values={"open.file.path": step["path"]}, process=process)
