"""Who sees what a program had in its variables."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from sealwire.server.access.permissions import ADMIN, READ_ONLY, STANDARD, Principal, grants_of
from sealwire.server.debugger.snapshots import discretion, masking, snapshot, written
from sealwire.server.debugger.snapshots.keep import Kept, Opened
from tests.support.debugger_keep import NOW_MS, Keep, principal
from tests.support.messages import PROBE, Probe, message, value

SECRET = "open-sesame-4711"
RAW = message(
    said=f"total is {SECRET}",
    evaluationErrors=[{"expr": "user.name", "message": f"no such name in {SECRET}"}],
    captures={
        "entry": {"arguments": {SECRET: value(SECRET)}, "locals": {}},
        "return": {
            "locals": {"x": {"type": SECRET, "fields": {"y": value(SECRET)}}},
            "captureExpressions": {SECRET: value(SECRET)},
            "staticFields": {"s": value(SECRET)},
            "throwable": {"type": "ValueError", "message": SECRET, "stacktrace": [
                {"fileName": "shop.py", "function": "helper", "lineNumber": 3}]},
        },
    },
)  # fmt: skip
KEPT = Kept("s", "p", 1, NOW_MS, "shop", "prod", "", "web-1", "python", "", "", True, 1, len(RAW), None)
OPENED = Opened(KEPT, snapshot.read(RAW), template="total is {total}")


@pytest.mark.parametrize(
    ("who", "sees"),
    [
        (Principal("ada", 1, grants_of(ADMIN)), True),
        (Principal("ada", 1, grants_of(STANDARD)), False),
        (Principal("ada", 1, grants_of(READ_ONLY)), False),
        (Principal("ada", 1, grants_of(ADMIN), scopes=frozenset({"debugger_read"})), False),
        (principal("debugger_capture_variables"), True),
        (principal("debugger_export", "debugger_read", "debugger_write", "org_management"), False),
        (principal("debugger_capture_variables", services=("shop",), envs=("prod",)), True),
        (principal("debugger_capture_variables", services=("cart",)), False),
        (principal("debugger_capture_variables", envs=("dev",)), False),
    ],
)
def test_values_are_for_those_who_may_capture_them_there(who: Principal, sees: bool) -> None:
    assert discretion.may_see(who, KEPT) is sees
    said = (
        repr(discretion.shown(who, OPENED)),
        discretion.line(who, KEPT, f"total is {SECRET}", "total is {total}"),
        written.line(written.whole(who, OPENED)).decode(),
    )
    assert [SECRET in one for one in said] == [sees] * 3


def test_a_restricted_grant_says_nothing_of_what_has_no_environment() -> None:
    who = principal("debugger_capture_variables", envs=("prod",))

    assert not discretion.may_see(who, KEPT._replace(env=""))
    assert discretion.may_see(principal("debugger_capture_variables"), KEPT._replace(service="", env=""))


def test_without_values_there_is_still_where_when_and_what_failed() -> None:
    found = discretion.shown(principal("debugger_read"), OPENED)

    assert [each.moment for each in found.captures] == ["entry", "return"]
    assert all(list(each.groups) == [] for each in found.captures)
    assert found.errors[0] == snapshot.EvaluationError("user.name", "")
    thrown = found.captures[1].thrown
    assert thrown is not None
    assert (thrown.type, thrown.message, thrown.stack[0].line) == ("ValueError", "", 3)
    assert (found.message, found.stack, found.has_values) == (
        "total is {total}",
        OPENED.snapshot.stack,
        False,
    )


def test_a_template_that_reads_a_masked_name_is_shown_instead_of_its_message() -> None:
    for template in ("{user.i_ban}", "{iban}", "{len(Iban)}"):
        assert masking.message(SECRET, template, ["iban"]) == template
    assert masking.message(SECRET, "{ibanish}", ["iban"]) == SECRET
    assert masking.message(SECRET, "{iban}", []) == SECRET


def test_an_expression_that_reads_a_masked_name_does_not_say_why_it_failed() -> None:
    found = masking.masked(OPENED.snapshot, ["NAME"])

    assert found.errors == (snapshot.EvaluationError("user.name", ""),)
    assert masking.masked(OPENED.snapshot, ["other"]).errors == OPENED.snapshot.errors


def test_what_was_asked_for_by_an_expression_that_reads_a_masked_name_is_masked(tmp_path: Path) -> None:
    async def case() -> None:
        keep = Keep(tmp_path, {PROBE: Probe(asked={"first": "user.iban", "second": "user.name"})})
        keep.make_organisation()
        captures = {"return": {"captureExpressions": {"first": value(SECRET), "second": value("Ada")}}}
        keep.snapshots.take([message("s1", said="here", captures=captures)], keep.source())
        keep.settings.change(redacted_names=["IBAN"], by="ada", now_ms=NOW_MS)
        for _ in ("from memory", "from the database"):
            (capture,) = (await keep.snapshots.open("s1")).snapshot.captures
            assert SECRET not in repr(capture)
            assert "Ada" in repr(capture)
            assert not (await keep.snapshots.search(PROBE, SECRET, may_see=lambda _: True)).hits
            await keep.snapshots.flush()

    asyncio.run(case())


def test_a_file_is_written_with_what_its_reader_may_see(tmp_path: Path) -> None:
    async def case() -> None:
        keep = Keep(tmp_path)
        keep.snapshots.take(
            [RAW, message(said="half \ud800".encode("utf-8", "replace").decode())], keep.source()
        )
        await keep.snapshots.flush()
        exported = [one async for one in keep.snapshots.export()]
        for who, sees in (
            (principal("debugger_capture_variables"), True),
            (principal("debugger_export"), False),
        ):
            lines = [written.line(written.whole(who, one)) for one in exported]
            assert len(lines) == 2
            assert any(SECRET.encode() in line for line in lines) is sees

    asyncio.run(case())
