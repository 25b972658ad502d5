"""The roster: who is here, and what is new about them."""

from __future__ import annotations

from sealwire.agent.roster import MAX_REMEMBERED_BODY_BYTES, Arrival, Roster
from sealwire.wire import remoteconfig_pb2 as pb


def client(client_id: str = "c1", *products: str, apply_state: int = 0) -> pb.Client:
    return pb.Client(
        id=client_id,
        products=products or ("ASM",),
        is_tracer=True,
        state=pb.ClientState(
            root_version=1,
            config_states=[pb.ConfigState(id="x", version=1, product="ASM", apply_state=apply_state)],
        ),
        client_tracer=pb.ClientTracer(runtime_id="r", language="python", service="shop"),
    )


def note(roster: Roster, who: pb.Client, now_s: float, body: bytes | None = None) -> Arrival:
    return roster.note(who, now_s=now_s, wall_ms=int(now_s * 1000), body=body)[0]


def test_a_client_is_new_once_and_then_nothing_is_new() -> None:
    roster = Roster()

    assert note(roster, client(), 0) is Arrival.NEW_CLIENT
    assert note(roster, client(), 5) is Arrival.NOTHING_NEW
    assert Arrival.NEW_CLIENT.wants_news


def test_a_new_product_of_a_known_client_wants_news_and_one_less_is_only_a_change() -> None:
    roster = Roster()
    note(roster, client("c1", "ASM_FEATURES"), 0)

    more = note(roster, client("c1", "ASM_FEATURES", "ASM"), 1)
    less = note(roster, client("c1", "ASM"), 2)

    assert (more, less) == (Arrival.NEW_PRODUCT, Arrival.CHANGED)
    assert not less.wants_news
    assert roster.products() == {"ASM"}


def test_who_names_a_new_product_is_given_time_to_get_ready_for_it() -> None:
    roster = Roster(settles_s=3)
    note(roster, client("c1", "ASM_FEATURES"), 100)
    ready = roster.get("c1")
    assert ready is not None
    assert ready.settled_s <= 100, "a newcomer is ready"

    note(roster, client("c1", "ASM_FEATURES", "ASM"), 101)
    assert ready.settled_s == 104

    note(roster, client("c1", "ASM_FEATURES", "ASM"), 102)
    assert ready.settled_s == 104, "the same products again change nothing"


def test_a_change_of_apply_state_is_a_change_and_last_seen_alone_is_none() -> None:
    roster = Roster()
    note(roster, client(), 0)
    again = client()
    again.last_seen = 12345

    assert note(roster, again, 1) is Arrival.NOTHING_NEW
    assert note(roster, client(apply_state=2), 2) is Arrival.CHANGED


def test_a_client_unseen_for_the_time_to_live_is_gone_and_new_when_it_returns() -> None:
    roster = Roster(ttl_s=30)
    note(roster, client("old"), 0)
    note(roster, client("young"), 20)

    gone = roster.sweep(now_s=31)

    assert [seen.client.id for seen in gone] == ["old"]
    assert [seen.client.id for seen in roster] == ["young"]
    assert note(roster, client("old"), 32) is Arrival.NEW_CLIENT


def test_a_client_that_returns_late_is_new_even_before_a_sweep() -> None:
    roster = Roster(ttl_s=30)
    note(roster, client(), 0, b"body")

    seen = roster.get("c1")
    assert seen is not None
    seen.answer_of = 1

    assert roster.same_again(b"body", answer_of=1, now_s=31, wall_ms=31) is None
    assert note(roster, client(), 31, b"body") is Arrival.NEW_CLIENT


def test_a_sweep_looks_at_the_last_request_not_at_the_first() -> None:
    roster = Roster(ttl_s=30)
    note(roster, client("a"), 0)
    note(roster, client("b"), 1)
    note(roster, client("a"), 29)

    assert [seen.client.id for seen in roster.sweep(now_s=32)] == ["b"]


def test_a_request_that_is_the_same_bytes_is_known_without_reading_it() -> None:
    roster = Roster()
    note(roster, client(), 0, b"first")
    seen = roster.get("c1")
    assert seen is not None
    seen.answer, seen.answer_of = b"{}", 7

    known = roster.same_again(b"first", answer_of=7, now_s=3, wall_ms=3000)

    assert known is seen
    assert (seen.last_seen_ms, seen.requests) == (3000, 2)
    assert roster.same_again(b"other", answer_of=7, now_s=3, wall_ms=3000) is None
    assert roster.same_again(b"first", answer_of=8, now_s=3, wall_ms=3000) is None
    assert seen.requests == 2


def test_only_the_last_body_of_a_client_is_remembered_and_a_new_one_drops_the_answer() -> None:
    roster = Roster()
    note(roster, client(), 0, b"first")
    seen = roster.get("c1")
    assert seen is not None
    seen.answer, seen.answer_of = b"{}", 7

    note(roster, client(apply_state=2), 1, b"second")

    assert roster.same_again(b"first", answer_of=7, now_s=2, wall_ms=2) is None
    assert (seen.answer, seen.answer_of) == (b"", -1)
    assert roster.same_again(b"second", answer_of=-1, now_s=2, wall_ms=2) is seen


def test_a_huge_body_is_not_kept() -> None:
    roster = Roster()
    body = b" " * (MAX_REMEMBERED_BODY_BYTES + 1)

    note(roster, client(), 0, body)

    assert roster.same_again(body, answer_of=-1, now_s=1, wall_ms=1) is None


def test_a_full_roster_turns_newcomers_away_until_somebody_leaves() -> None:
    roster = Roster(ttl_s=30, max_clients=2)
    note(roster, client("a"), 0)
    note(roster, client("b"), 20)

    refused = roster.note(client("c"), now_s=25, wall_ms=0)
    taken = roster.note(client("c"), now_s=31, wall_ms=0)

    assert refused == (Arrival.NOTHING_NEW, None)
    assert taken[0] is Arrival.NEW_CLIENT
    assert (len(roster), roster.turned_away) == (2, 1)


def test_reports_carry_the_time_last_seen_and_leave_the_entry_alone() -> None:
    roster = Roster()
    note(roster, client(), 7)

    (report,) = roster.reports()

    seen = roster.get("c1")
    assert seen is not None
    assert (report.last_seen, seen.client.last_seen) == (7000, 0)


def test_a_client_out_of_all_proportion_does_not_keep_the_others_from_being_reported() -> None:
    roster = Roster()
    huge = client("huge")
    huge.state.error = "x" * (2 * 1024 * 1024)
    note(roster, huge, 0)
    note(roster, client("usual"), 1)

    assert [report.id for report in roster.reports()] == ["usual"]


def test_a_report_never_holds_more_than_a_control_plane_takes() -> None:
    roster = Roster()
    for index in range(20):
        large = client(f"c{index}")
        large.state.error = "x" * 900_000
        note(roster, large, index)

    reports = roster.reports()

    assert sum(report.ByteSize() for report in reports) < 8 * 1024 * 1024
    assert reports[0].id == "c19"
