"""Forms that are kept are few, short-lived, and of one user."""

from __future__ import annotations

from sealwire.server.access import Principal
from sealwire.server.ui.resume import MAX_AGE_S, MAX_FORMS, KeptForm, KeptForms

ANN = Principal("ann@example.org", 1, (), user_id="a" * 16)


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def form(at_s: float = 1000.0, user_id: str | None = ANN.user_id) -> KeptForm:
    return KeptForm("/configs/new", (("name", "x"),), (), 1, user_id, at_s)


def test_a_form_is_kept_for_its_user_until_it_is_dropped() -> None:
    kept = KeptForms(Clock())
    ticket = kept.keep(form())

    assert kept.of(ticket, ANN) == form()
    for other in (
        Principal("bob@example.org", 1, (), user_id="b" * 16),
        Principal("robot", 1, ()),
        Principal("ann@example.org", 2, (), user_id=ANN.user_id),
    ):
        assert kept.of(ticket, other) is None
    assert kept.of(ticket + "x", ANN) is None
    assert kept.of("", ANN) is None
    kept.drop(ticket)
    assert kept.of(ticket, ANN) is None


def test_a_form_of_an_application_key_is_for_one_of_its_organisation() -> None:
    kept = KeptForms(Clock())
    ticket = kept.keep(form(user_id=None))
    assert kept.of(ticket, Principal("robot", 1, ())) is not None
    assert kept.of(ticket, ANN) is None


def test_a_form_is_kept_for_half_an_hour() -> None:
    clock = Clock()
    kept = KeptForms(clock)
    ticket = kept.keep(form())
    clock.now += MAX_AGE_S
    assert kept.of(ticket, ANN) is not None
    clock.now += 1
    assert kept.of(ticket, ANN) is None
    assert len(kept) == 0


def test_the_oldest_form_makes_room() -> None:
    kept = KeptForms(Clock())
    first = kept.keep(form())
    last = [kept.keep(form()) for _ in range(MAX_FORMS)][-1]
    assert len(kept) == MAX_FORMS
    assert kept.of(first, ANN) is None
    assert kept.of(last, ANN) is not None
