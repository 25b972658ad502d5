"""Rule sets as versions: whether they are right, what is other, where they work, which can be had back."""

from __future__ import annotations

import gzip
import os
from pathlib import Path
from typing import Any

import pytest

from sealwire.errors import NotFoundError
from sealwire.server.workload.bundled import bundled
from sealwire.server.workload.policy_checks import policy_of
from sealwire.server.workload.rule_files import read_bytes
from sealwire.server.workload.rule_sets import KEPT, Edition, Hosts, Shelf, compare, coverage, look

PUBLIC = Path(os.environ.get("SEALWIRE_DEFAULT_POLICY") or "/nonexistent")


def rule(id_: str, expression: str = 'open.file.path == "/a"', **more: Any) -> dict[str, Any]:
    return {"id": id_, "expression": expression, **more}


def document(*rules: dict[str, Any], version: str = "1", **more: Any) -> dict[str, Any]:
    return {"version": version, "rules": list(rules), **more}


# Whether it is right ----------------------------------------------------------------------------------------


def test_a_set_with_a_broken_rule_may_be_published_but_does_not_go_by_itself() -> None:
    found = look(document(rule("good"), rule("bad", "open.nothing == 1")))

    assert found.may_be_published
    assert not found.may_go_by_itself
    assert [(problem.path, problem.message[:5]) for problem in found.broken] == [
        ("$.rules[1].expression", "bad: ")
    ]
    assert found.usable == {"good"}


def test_a_set_without_a_usable_rule_may_not_be_published() -> None:
    assert not look(document(rule("bad", "nothing"))).may_be_published
    assert not look({"version": "1"}).may_be_published


def test_what_a_set_breaks_in_custom_policies_is_said() -> None:
    customs = [
        policy_of(document(rule("mine", "open.file.path in FILES")), name="web.policy"),
        policy_of(document({"id": "base", "disabled": True}), name="less.policy"),
    ]
    before = document(rule("base"), macros=[{"id": "FILES", "values": ["/a"]}])

    assert look(before, customs=customs).cautions == ()
    said = [problem.message for problem in look(document(rule("other")), customs=customs).cautions]
    assert [words.partition(":")[0] for words in said] == [
        "Custom policy less.policy, base",
        "Custom policy web.policy, mine",
    ]


def test_the_bundled_set_may_go_by_itself() -> None:
    assert look(bundled().document).may_go_by_itself


# What is other ----------------------------------------------------------------------------------------------


def test_the_difference_names_what_came_went_and_changed_and_how() -> None:
    before = document(
        rule("gone"),
        rule("same", tags={"a": "b"}),
        rule("text", description="old"),
        rule("sharper"),
        rule("off"),
        rule("acts"),
        rule("tagged", tags={"a": "b"}),
        rule("layout", 'open.file.path   ==\n"/a"'),
    )
    after = document(
        rule("new"),
        rule("same", tags={"a": "b"}),
        rule("text", description="new"),
        rule("sharper", 'open.file.path == "/b"', description="more"),
        rule("off", disabled=True),
        rule("acts", actions=[{"hash": {}}]),
        rule("tagged", tags={"a": "c"}),
        rule("layout"),
        version="2",
    )

    found = compare(before, after)

    assert (found.added, found.removed, found.same) == (("new",), ("gone",), 2)
    assert [change.words for change in found.changed] == [
        "text: description.",
        "sharper: expression, description.",
        "off is switched off.",
        "acts: actions.",
        "tagged: tags.",
    ]
    assert found.versions == ("1", "2")
    assert found.words == (
        "1 rule added: new.",
        "1 rule removed: gone.",
        "5 rules changed.",
        "Other description: text, sharper.",
        "Other expression: sharper.",
        "Other whether it is on: off.",
        "Other actions: acts.",
        "Other tags: tagged.",
    )


def test_a_rule_whose_macro_changed_has_changed_also_through_another_macro() -> None:
    def with_files(path: str) -> dict[str, Any]:
        macros = [
            {"id": "FILES", "expression": f'["{path}"]'},
            {"id": "IN_FILES", "expression": "open.file.path in FILES"},
            {"id": "FILES_TOO", "expression": '["/z"]'},
        ]
        rules = [rule("r", "IN_FILES"), rule("s", "open.file.path in FILES_TOO")]
        return document(*rules, macros=macros)

    found = compare(with_files("/a"), with_files("/b"))

    assert found.macros == ("FILES",)
    assert [change.words for change in found.changed] == ["r: macro IN_FILES."]
    assert found.same == 1
    assert compare(with_files("/a"), with_files("/a")).is_nothing


def test_two_variants_of_a_rule_are_compared_each_with_its_own() -> None:
    old, new = rule("r", agent_version="< 7.71"), rule("r", agent_version=">= 7.71")

    found = compare(document(old, new), document(old, {**new, "expression": "open.flags == 1"}))

    assert ([change.rule_id for change in found.changed], found.same) == (["r"], 1)


def test_the_same_set_is_no_difference() -> None:
    found = compare(bundled().document, {**bundled().document, "version": "9"})

    assert found.is_nothing
    assert found.words == ("Every rule is as it was.",)


# Where it works ---------------------------------------------------------------------------------------------

AUDIT = Hosts("audit", 8, "7.80.0", missing={"splice": "Audit has no pipes."})
POLLING = Hosts(
    "polling",
    2,
    "7.80.0",
    missing={"open": "Polling sees no files.", "process.file.hashes": "Polling has no hashes."},
)


def test_the_coverage_says_on_how_many_hosts_a_rule_works_and_why_not_elsewhere() -> None:
    found = coverage(
        document(
            rule("file"),
            rule("program", 'exec.file.path == "/a"'),
            rule("hashed", 'exec.file.path == "/a" && process.file.hashes == "sha1:00"'),
            rule("pipes", "splice.pipe_entry_flag == 1"),
            rule("elsewhere", filters=['os == "windows"']),
            rule("off", disabled=True),
            rule("bad", "open.nothing == 1"),
        ),
        [AUDIT, POLLING],
    )

    by_id = {each.rule_id: each for each in found.rules}
    assert found.hosts == 10
    assert {rule_id: each.hosts for rule_id, each in by_id.items()} == {
        "file": 8, "program": 10, "hashed": 8, "pipes": 2, "elsewhere": 0, "off": 0, "bad": 0,
    }  # fmt: skip
    assert (by_id["elsewhere"].for_others, by_id["off"].for_others) == (10, 10)
    ((why, hosts),) = by_id["file"].reasons.items()
    assert ("Polling sees no files." in why, hosts) == (True, 2)
    assert [each.rule_id for each in found.nowhere] == ["bad"]
    assert found.share == pytest.approx(28 / 50)
    assert found.words[0] == (
        "1 of 7 rules can be evaluated on every host they are for, 56% of all rules over 10 hosts."
    )
    assert found.words[1] == "1 rule nowhere: bad."


def test_a_rule_that_works_in_one_of_its_variants_works() -> None:
    old, new = rule("r", agent_version="< 7.71"), rule("r", agent_version=">= 7.71")

    for rules in ((old, new), (new, old)):
        assert coverage(document(*rules), [AUDIT]).rules[0].hosts == 8


def test_a_rule_for_several_events_may_work_in_part() -> None:
    (found,) = coverage(document(rule("fim", 'fim.write.file.path == "/a"')), [POLLING]).rules

    assert (found.hosts, found.partly) == (2, 2)


def test_without_hosts_nothing_is_estimated() -> None:
    found = coverage(bundled().document, [])

    assert found.words == ("No host has said yet what it can see.",)
    assert found.share == 1


@pytest.mark.skipif(not PUBLIC.is_file(), reason="SEALWIRE_DEFAULT_POLICY names no file")
def test_the_public_policy_is_read_and_compared_with_ours() -> None:
    raw = PUBLIC.read_bytes()
    public = read_bytes(raw, name=PUBLIC.name)

    assert look(public.document).may_go_by_itself
    assert len(compare(bundled().document, public.document).added) > 200
    plain = gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
    assert read_bytes(plain, name="default.policy").sha256 == public.sha256


# Which can be had back --------------------------------------------------------------------------------------


def take_in(shelf: Shelf, name: str, now_ms: int) -> tuple[Shelf, Edition]:
    return shelf.take_in(version=name, sha256=name, now_ms=now_ms)


def published(count: int) -> Shelf:
    shelf = Shelf()
    for number in range(1, count + 1):
        shelf, edition = take_in(shelf, f"v{number}", number)
        shelf = shelf.publish(edition.number, now_ms=number)
    return shelf


def test_the_last_five_published_ones_are_kept_and_four_can_be_restored() -> None:
    shelf = published(8)

    assert [edition.version for edition in shelf.editions] == ["v8", "v7", "v6", "v5", "v4"]
    assert len(shelf.editions) == KEPT
    assert [edition.version for edition in shelf.restorable] == ["v7", "v6", "v5", "v4"]
    assert shelf.in_force == 8
    with pytest.raises(NotFoundError):
        shelf.publish(3, now_ms=9)


def test_a_restored_one_is_in_force_and_the_one_before_it_stays_restorable() -> None:
    shelf = published(5).publish(2, now_ms=6)

    assert shelf.in_force == 2
    assert [edition.version for edition in shelf.restorable] == ["v5", "v4", "v3", "v1"]
    shelf, edition = take_in(shelf, "v6", 7)
    shelf = shelf.publish(edition.number, now_ms=7)
    assert [edition.version for edition in shelf.restorable] == ["v2", "v5", "v4", "v3"]


def test_a_new_one_that_waits_makes_room_for_the_next_and_takes_nothing_from_the_kept() -> None:
    shelf, first = take_in(published(5), "a", 6)
    shelf, second = take_in(shelf, "b", 7)

    assert [edition.version for edition in shelf.editions] == ["b", "v5", "v4", "v3", "v2", "v1"]
    assert (first.number, second.number) == (6, 7)
    with pytest.raises(NotFoundError):
        shelf.get(first.number)


def test_the_same_rules_again_are_no_new_version() -> None:
    shelf, edition = take_in(published(3), "v3", 9)

    assert (shelf, edition.number) == (published(3), 3)
    again, waiting = take_in(*take_in(shelf, "x", 10)[:1], "x", 11)
    assert (again.editions[0], waiting.taken_in_ms) == (waiting, 10)


def test_an_earlier_one_that_comes_again_is_a_new_one() -> None:
    _, edition = take_in(published(3), "v1", 9)

    assert edition.number == 4
