"""The rule book: what is built in, what people changed, and nothing lost between two of them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sealwire.errors import ConflictError, InvalidChangeError, NotFoundError
from sealwire.server.security.builtin import BUILTIN
from sealwire.server.security.rule_book import MAX_RULES, Kind, RuleBook, load
from sealwire.server.security.rule_documents import checked, imported
from sealwire.server.security.rule_words import changes
from sealwire.server.security.rules import Rule
from sealwire.server.store import audit as audit_store
from sealwire.server.store import security as store
from sealwire.server.store.audit import Criteria
from sealwire.server.store.security import RuleRow
from tests.support.parts import Domain

OWN: dict[str, Any] = {
    "name": "Too many logins",
    "message": "Look.",
    "queries": [
        {"name": "a", "query": "@appsec.security_activity:business_logic.users.login.failure",
         "groupByFields": ["service"]},
    ],
    "cases": [{"name": "many", "status": "low", "condition": "a > 10"}],
    "options": {"evaluationWindow": 300},
    "tags": ["category:mine"],
}  # fmt: skip


class Book:
    """A rule book with the rules it told the engine last."""

    def __init__(self, folder: Path) -> None:
        self.domain = Domain(folder)
        self.used: list[Rule] = []
        self.book = RuleBook(self.domain.database, self.domain.org_id, self._use)

    def _use(self, rules: list[Rule]) -> None:
        self.used = rules

    def create(self, document: Any = OWN, **more: Any) -> Any:
        return asyncio.run(self.book.create(document, by="ann", now_ms=1, **more))

    def save(self, rule_id: str, document: Any, version: int, by: str = "ann") -> Any:
        return asyncio.run(
            self.book.save(rule_id, document, expected_version=version, by=by, now_ms=2, comment="why")
        )

    def switch(self, rule_id: str, *, is_on: bool) -> Any:
        return asyncio.run(self.book.switch(rule_id, is_on=is_on, by="ann", now_ms=3))

    def events(self) -> list[Any]:
        with self.domain.database.read() as c:
            found = audit_store.find(c, self.domain.org_id, Criteria(), limit=100)
        return [event for event in found if event.action.startswith("detection_rule.")]


@pytest.fixture
def it(tmp_path: Path) -> Iterator[Book]:
    book = Book(tmp_path)
    yield book
    book.domain.database.close()


def test_without_any_change_there_are_the_built_in_rules(it: Book) -> None:
    entries = it.book.all()

    assert [entry.rule_id for entry in entries] == list(BUILTIN)
    assert {entry.kind for entry in entries} == {Kind.BUILTIN}
    assert [len(it.book.versions(entry.rule_id)) for entry in entries] == [1] * len(BUILTIN)


def test_a_built_in_rule_that_is_only_switched_follows_the_server_s_updates(it: Book) -> None:
    off = it.switch("xss-single-ip", is_on=False)

    assert (off.rule.enabled, off.kind, off.version) == (False, Kind.BUILTIN, 2)
    with it.domain.database.read() as c:
        (row,) = store.rules(c, it.domain.org_id)
    assert row.document == {"isEnabled": False}
    assert [rule.enabled for rule in it.used if rule.id == "xss-single-ip"] == [False]

    again = it.switch("xss-single-ip", is_on=True)
    assert again.rule.enabled
    assert again.version == 3
    assert it.switch("xss-single-ip", is_on=True).version == 3  # nothing to do, nothing done
    assert len(it.events()) == 2


def test_a_changed_built_in_rule_is_restored_to_what_it_came_with(it: Book) -> None:
    document = {**BUILTIN["attack-tool"], "name": "Tools"}
    changed = it.save("attack-tool", document, 1)
    assert (changed.kind, changed.version, changed.comment) == (Kind.CHANGED, 2, "why")

    back = asyncio.run(it.book.restore("attack-tool", expected_version=2, by="bob", now_ms=4))

    assert (back.kind, back.version, back.rule.name) == (Kind.BUILTIN, 3, "Attack tool")
    versions = it.book.versions("attack-tool")
    assert [one.version for one in versions] == [3, 2, 1]
    assert versions[1].changes == ("Name: Attack tool → Tools",)
    assert versions[0].changes == ("Name: Tools → Attack tool",)
    assert [event.action for event in it.events()] == ["detection_rule.restored", "detection_rule.changed"]
    assert it.events()[1].detail["changes"] == ["Name: Attack tool → Tools"]


def test_whoever_comes_second_is_told_and_changes_nothing(it: Book) -> None:
    made = it.create()
    it.save(made.rule_id, {**OWN, "name": "Bob's"}, 1, by="bob")

    with pytest.raises(ConflictError) as refused:
        it.save(made.rule_id, {**OWN, "name": "Ann's"}, 1)

    assert (refused.value.expected_revision, refused.value.actual_revision) == (1, 2)
    assert it.book.get(made.rule_id).rule.name == "Bob's"


def test_saving_what_is_there_already_makes_no_version(it: Book) -> None:
    made = it.create()

    assert it.save(made.rule_id, dict(made.document), 1).version == 1
    assert len(it.events()) == 1


def test_a_rule_of_one_s_own_ends_and_can_still_be_read(it: Book) -> None:
    made = it.create()
    asyncio.run(it.book.delete(made.rule_id, expected_version=1, by="ann", now_ms=5))

    with pytest.raises(NotFoundError):
        it.book.get(made.rule_id)
    assert made.rule_id not in [rule.id for rule in it.used]
    ended, before = it.book.versions(made.rule_id)
    assert (ended.document, ended.changes) == ({}, ("The rule is deleted",))
    assert before.document["name"] == "Too many logins"


def test_a_built_in_rule_is_not_deleted_and_one_s_own_is_not_restored(it: Book) -> None:
    made = it.create()

    with pytest.raises(InvalidChangeError, match="switch it off"):
        asyncio.run(it.book.delete("attack-tool", expected_version=1, by="ann", now_ms=5))
    with pytest.raises(InvalidChangeError, match="nothing to be restored"):
        asyncio.run(it.book.restore(made.rule_id, expected_version=1, by="ann", now_ms=5))


def test_of_several_rules_with_a_mistake_none_is_saved(it: Book) -> None:
    wrong = {**OWN, "cases": [{"status": "low", "condition": "b > 1"}]}

    with pytest.raises(InvalidChangeError) as refused:
        asyncio.run(it.book.create_all([OWN, wrong], by="ann", now_ms=1))

    assert [problem.path for problem in refused.value.problems] == ["$[1].cases[0].condition"]
    assert len(it.book.all()) == len(BUILTIN)


def test_there_are_not_more_rules_than_an_engine_should_run(it: Book) -> None:
    asyncio.run(it.book.create_all([OWN] * MAX_RULES, by="ann", now_ms=1))

    with pytest.raises(InvalidChangeError, match=f"can be {MAX_RULES}"):
        it.create()


def test_what_an_earlier_program_took_and_this_one_does_not_is_left_out(it: Book) -> None:
    with it.domain.database.write() as c:
        store.put_rule(c, it.domain.org_id, RuleRow("old-one", 1, {"name": "?"}, False, "ann", 1, ""))

    with it.domain.database.read() as c:
        assert len(load(c, it.domain.org_id)) == len(BUILTIN)


def test_a_rule_that_is_not_there_is_not_found(it: Book) -> None:
    for rule_id in ("", "no-such", "../x", "a" * 300, "nul\0", "\ud800"):
        for look in (it.book.get, it.book.versions):
            with pytest.raises(NotFoundError):
                look(rule_id)


# Documents --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"name": "good\u202edab"}, "$.name"),
        ({"name": "nul\0"}, "$.name"),
        ({"message": "half \ud800 a pair"}, "$.message"),
        ({"tags": ["fine", "bell\x07"]}, "$.tags[1]"),
        ({"queries": [{"name": "a", "query": "*", "metric": "x"}]}, "$.queries[0].metric"),
        (
            {"cases": [{"status": "low", "condition": "a > 1", "customStatus": "x"}]},
            "$.cases[0].customStatus",
        ),
        ({"options": {"evaluationWindow": 300, "learningDuration": 7}}, "$.options.learningDuration"),
        ({"colour": "red"}, "$.colour"),
    ],
)
def test_what_does_not_belong_into_a_document_is_named(change: dict[str, Any], path: str) -> None:
    with pytest.raises(InvalidChangeError) as refused:
        checked({**OWN, **change})

    assert path in [problem.path for problem in refused.value.problems]


def test_a_document_without_end_is_refused() -> None:
    nested: Any = "x"
    for _ in range(50):
        nested = [nested]

    with pytest.raises(InvalidChangeError):
        checked({**OWN, "tags": nested})
    long = {"query": 'service:"' + "\u20ac" * 1_980 + '"'}
    queries = [{"name": name, **long} for name in "abcdefghij"]
    with pytest.raises(InvalidChangeError, match="too long"):
        checked({**OWN, "queries": queries, "message": "\u20ac" * 9_999})


def test_a_document_from_elsewhere_loses_what_means_nothing_here() -> None:
    theirs = {
        **OWN, "id": "abc-def", "creationAuthorId": 7, "isDefault": False, "hasExtendedTitle": True,
        "queries": [{**OWN["queries"][0], "distinctFields": [], "dataSource": "logs"}],
        "cases": [{**OWN["cases"][0], "notifications": ["@slack"]}],
        "options": {"evaluationWindow": 300, "keepAlive": 3600, "decreaseCriticalityBasedOnEnv": False},
    }  # fmt: skip

    for file in (theirs, [theirs], {"rules": [theirs]}, {"data": [theirs]}):
        (document,) = imported(file)
        stored, rule = checked(document)
        assert rule.name == OWN["name"]
        assert "notifications" not in stored["cases"][0]
        assert set(stored) == set(OWN)


@pytest.mark.parametrize("file", [[], {"rules": []}, [OWN] * 201])
def test_a_file_without_rules_or_with_too_many_is_refused(file: Any) -> None:
    with pytest.raises(InvalidChangeError):
        imported(file)


# Words ------------------------------------------------------------------------------------------------------


def test_every_difference_is_said() -> None:
    after = {
        **OWN,
        "isEnabled": False,
        "message": "Look twice.",
        "queries": [
            {**OWN["queries"][0], "aggregation": "cardinality", "distinctFields": ["@usr.id"],
             "groupByFields": ["service", "@http.client_ip"]},
            {"name": "b", "query": "service:shop", "groupByFields": ["service", "@http.client_ip"]},
        ],
        "cases": [{"name": "many", "status": "high", "condition": "a > 20"}],
        "options": {"evaluationWindow": 600},
        "tags": ["category:yours"],
    }  # fmt: skip

    assert changes(OWN, after) == (
        "Switched off",
        "The message says something else",
        "Query a counts different values of @usr.id, not requests",
        "New query b counts requests: service:shop",
        "Counted for each: service → service, @http.client_ip",
        "Case 1: low when a > 10 → high when a > 20",
        "Window: 5 min → 10 min",
        "Without the tag category:mine",
        "With the tag category:yours",
    )
    assert changes(OWN, OWN) == ()
    assert changes(OWN, {}) == ("The rule is deleted",)
    assert changes({}, OWN) == ("A new rule: Too many logins",)


def test_cases_that_come_go_or_change_places_are_said() -> None:
    one, other = OWN["cases"][0], {"name": "", "status": "high", "condition": "a > 50"}

    assert changes(OWN, {**OWN, "cases": [other, one]}) == ("Now high when a > 50",)
    assert changes({**OWN, "cases": [other, one]}, OWN) == ("No longer high when a > 50",)
    assert len(changes({**OWN, "cases": [other, one]}, {**OWN, "cases": [one, other]})) == 2
    assert changes({**OWN, "cases": [one, one]}, OWN) == ("2 cases → 1 case",)
