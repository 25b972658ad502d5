"""What people make of signals."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sealwire.errors import InvalidChangeError, NotFoundError, NotPermittedError
from sealwire.server.access.permissions import BUILT_IN_ROLES, Grant, Principal
from sealwire.server.security.triage import (
    MAX_AT_ONCE,
    MAX_COMMENT_CHARS,
    Change,
    Triage,
    may_change,
    showable,
)
from sealwire.server.store import audit as audit_store
from sealwire.server.store import security as store
from sealwire.server.store.audit import Criteria
from tests.support.parts import Domain
from tests.support.signals import scan, signals_of, stuffing

NOW = 1_795_358_575.0
ANN = Principal("ann@example.org", 1, (Grant(BUILT_IN_ROLES["standard"]),))


class Desk:
    """Signals of two attacks, and who works on them."""

    def __init__(self, folder: Path) -> None:
        self.domain = Domain(folder)
        found = signals_of([*scan(NOW), *stuffing(NOW)])
        self.ids = [signal.id for signal in found]
        with self.domain.database.write() as c:
            store.put_signals(c, self.domain.org_id, found)
        self.triage = Triage(self.domain.database, self.domain.org_id)

    def audit(self) -> list[str]:
        with self.domain.database.read() as c:
            found = audit_store.find(c, self.domain.org_id, Criteria(), limit=20)
        return [event.summary for event in found if event.action.startswith("signal.")]


@pytest.fixture
def it(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path)
    yield desk
    desk.domain.database.close()


def test_several_are_archived_at_once_with_a_reason_and_in_the_trail(it: Desk) -> None:
    found = it.triage.change(
        it.ids, Change(triage="archived", archive_reason="testing", assignee=ANN.user), by=ANN, now_ms=9
    )

    assert {(row.triage, row.archive_reason, row.assignee, row.triaged_by) for row in found} == {
        ("archived", "testing", ANN.user, ANN.user)
    }
    assert len(it.audit()) == len(it.ids)
    assert it.audit()[0].endswith(f"Archived: Testing or maintenance, given to {ANN.user}")


def test_what_stays_as_it_is_leaves_no_trace(it: Desk) -> None:
    it.triage.change(it.ids[:1], Change(triage="open", assignee=""), by=ANN, now_ms=9)

    assert it.audit() == []
    assert it.triage.get(it.ids[0]).triaged_by == ""


def test_going_back_to_open_takes_the_reason_away(it: Desk) -> None:
    it.triage.change(it.ids[:1], Change(triage="archived", archive_reason="other"), by=ANN, now_ms=9)
    (row,) = it.triage.change(it.ids[:1], Change(triage="under_review"), by=ANN, now_ms=10)

    assert (row.triage, row.archive_reason, row.triaged_ms) == ("under_review", "", 10)


def test_what_cannot_become_of_a_signal_is_named(it: Desk) -> None:
    for change, path in (
        (Change(triage="done"), "$.triage"),
        (Change(triage="archived"), "$.archive_reason"),
        (Change(triage="archived", archive_reason="because"), "$.archive_reason"),
        (Change(triage="open", archive_reason="other"), "$.archive_reason"),
        (Change(assignee="nobody@example.org"), "$.assignee"),
        (Change(), "$"),
    ):
        with pytest.raises(InvalidChangeError) as refused:
            it.triage.change(it.ids, change, by=ANN, now_ms=9)
        assert path in [problem.path for problem in refused.value.problems]
    assert it.audit() == []


def test_one_that_is_not_there_stops_the_others_too(it: Desk) -> None:
    with pytest.raises(NotFoundError):
        it.triage.change([it.ids[0], "0" * 16], Change(triage="under_review"), by=ANN, now_ms=9)
    for ids in ([], [f"{n:016x}" for n in range(MAX_AT_ONCE + 1)]):
        with pytest.raises(InvalidChangeError):
            it.triage.change(ids, Change(triage="under_review"), by=ANN, now_ms=9)

    assert it.triage.get(it.ids[0]).triage == "open"


def test_a_role_for_another_service_decides_nothing_here(it: Desk) -> None:
    there = Principal(
        "bob@example.org", 1, (Grant(BUILT_IN_ROLES["standard"], services=frozenset({"checkout"})),)
    )
    here = Principal("eve@example.org", 1, (Grant(BUILT_IN_ROLES["standard"], services=frozenset({"shop"})),))

    row = it.triage.get(it.ids[0])
    assert (may_change(there, row), may_change(here, row)) == (False, True)
    with pytest.raises(NotPermittedError):
        it.triage.change(it.ids[:1], Change(triage="under_review"), by=there, now_ms=9)
    with pytest.raises(NotPermittedError):
        it.triage.comment(it.ids[0], "mine?", by=there, now_ms=9)
    assert it.triage.change(it.ids[:1], Change(triage="under_review"), by=here, now_ms=9)


def test_a_comment_is_kept_as_text_without_what_does_not_show(it: Desk) -> None:
    said = it.triage.comment(
        it.ids[0], "<b>look</b>\r\n\u202eevil\0 \u0645\u06cc\u200c\u062e", by=ANN, now_ms=9
    )

    assert said.text == "<b>look</b>\n\ufffdevil\ufffd \u0645\u06cc\u200c\u062e"
    assert [one.text for one in it.triage.comments(it.ids[0])] == [said.text]
    assert it.triage.get(it.ids[0]).comments == 1
    assert len(it.audit()) == 1


def test_an_empty_or_endless_comment_is_refused(it: Desk) -> None:
    for text in ("", " \n ", "x" * (MAX_COMMENT_CHARS + 1)):
        with pytest.raises(InvalidChangeError):
            it.triage.comment(it.ids[0], text, by=ANN, now_ms=9)

    assert it.triage.comments(it.ids[0]) == []


def test_what_shows_stays() -> None:
    assert showable("plain\u00a0text\tand\nlines") == "plain\u00a0text\tand\nlines"
