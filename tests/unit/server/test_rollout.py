"""Staged roll-outs: who has the change at each moment, what moves it on, and what takes it back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from sealwire.errors import ConflictError, InvalidChangeError, MalformedError
from sealwire.server import rollout as module
from sealwire.server.rollout import (
    AT_ONCE,
    CAREFUL,
    MAX_HISTORY,
    Health,
    HostReport,
    Phase,
    Plan,
    Rollout,
    Uptake,
    Wave,
    begin,
    hurry,
    of_document,
    pause,
    plan_of_document,
    plan_to_document,
    problems_of,
    progress,
    resume,
    step,
    take_back,
    to_document,
)

MINUTE = 60_000
THREE = Plan(
    (
        Wave(hosts=frozenset({"h0"}), soak_s=600),
        Wave(tags=frozenset({"ring:early"}), soak_s=600),
        Wave(share=1.0, soak_s=300),
    ),
    Health(patience_s=1_800),
)


def fleet(count: int = 10, *, early: int = 4) -> list[HostReport]:
    return [
        HostReport(host=f"h{n}", tags=frozenset({"ring:early"} if n < early else {"ring:late"}))
        for n in range(count)
    ]


def taken(rollout: Rollout, hosts: list[HostReport]) -> list[HostReport]:
    """The hosts, once those that have the change have acknowledged it."""
    return [
        replace(host, uptake=Uptake.ACKNOWLEDGED) if rollout.includes(host.host, host.tags) else host
        for host in hosts
    ]


def but(hosts: list[HostReport], name: str, **more: Any) -> list[HostReport]:
    return [replace(host, **more) if host.host == name else host for host in hosts]


def who(rollout: Rollout, hosts: list[HostReport]) -> set[str]:
    return {host.host for host in hosts if rollout.includes(host.host, host.tags)}


def begun(plan: Plan = THREE, hosts: list[HostReport] | None = None) -> Rollout:
    return begin(plan, seed="r1", hosts=fleet() if hosts is None else hosts, now_ms=0)


def at_second_wave() -> Rollout:
    first = begun()
    well = step(first, taken(first, fleet()), now_ms=1)
    return step(well, taken(well, fleet()), now_ms=1 + 10 * MINUTE)


# Who has it -------------------------------------------------------------------------------------------------


def test_it_begins_with_the_first_wave_and_no_other_host() -> None:
    assert who(begun(), fleet()) == {"h0"}


def test_a_wave_goes_on_when_all_have_acknowledged_and_were_well_for_its_time() -> None:
    rollout = begun()
    hosts = taken(rollout, fleet())

    well = step(rollout, hosts, now_ms=2 * MINUTE)
    still = step(well, hosts, now_ms=12 * MINUTE - 1)
    second = step(still, hosts, now_ms=12 * MINUTE)

    assert (well.wave, still.wave, second.wave) == (0, 0, 1)
    assert who(second, fleet()) == {"h0", "h1", "h2", "h3"}


def test_the_last_wave_is_everybody_and_then_it_is_done() -> None:
    second = at_second_wave()
    well = step(second, taken(second, fleet()), now_ms=20 * MINUTE)
    third = step(well, taken(well, fleet()), now_ms=30 * MINUTE)
    assert who(third, fleet()) == {host.host for host in fleet()}
    assert third.phase is Phase.RUNNING

    well = step(third, taken(third, fleet()), now_ms=31 * MINUTE)
    done = step(well, taken(well, fleet()), now_ms=36 * MINUTE)

    assert done.phase is Phase.DONE
    assert done.includes("a host that is new")
    assert [each.words for each in done.history] == [
        "Begun with 3 waves.",
        "Wave 1 of 3: 1 host.",
        "Wave 2 of 3: 4 hosts.",
        "Wave 3 of 3: 10 hosts.",
        "Done: every host has it.",
    ]


def test_a_share_takes_its_part_of_a_large_fleet_and_others_with_another_seed() -> None:
    hosts = [HostReport(host=f"host-{n}") for n in range(2_000)]
    plan = Plan((Wave(share=0.1), Wave(share=0.5), Wave(share=1.0)))
    first, other = (begin(plan, seed=seed, hosts=hosts, now_ms=0) for seed in ("a", "b"))

    tenth = who(first, hosts)

    assert 140 < len(tenth) < 260
    assert who(other, hosts) != tenth
    assert tenth < who(replace(first, wave=1), hosts)


def test_a_wave_has_at_least_as_many_hosts_as_it_says_and_silent_ones_last() -> None:
    hosts = [HostReport(host=f"h{n}", silent=n < 5) for n in range(8)]
    plan = Plan((Wave(share=0.0, least=3), Wave(share=1.0)))

    rollout = begin(plan, seed="x", hosts=hosts, now_ms=0)

    assert len(who(rollout, hosts)) == 3
    assert who(rollout, hosts) <= {"h5", "h6", "h7"}
    assert who(begin(plan, seed="x", hosts=hosts[:2], now_ms=0), hosts[:2]) == {"h0", "h1"}


def test_hosts_that_were_chosen_keep_it_when_the_next_wave_chooses_more() -> None:
    plan = Plan((Wave(least=2), Wave(least=5), Wave(share=1.0)))
    first = begun(plan)

    second = hurry(first, fleet(), by="ada", now_ms=1)

    assert len(who(first, fleet())) == 2
    assert len(who(second, fleet())) == 5
    assert who(first, fleet()) < who(second, fleet())


def test_waves_without_hosts_are_passed_at_once_and_said() -> None:
    hosts = [HostReport(host="z", tags=frozenset({"ring:late"}))]

    rollout = step(begun(hosts=hosts), hosts, now_ms=1)

    assert rollout.wave == 2
    assert [each.words for each in rollout.history][2:4] == ["No host is in wave 1.", "Wave 2 of 3: 0 hosts."]


def test_without_any_host_it_is_done_at_once() -> None:
    assert step(begun(hosts=[]), [], now_ms=1).phase is Phase.DONE


def test_at_once_is_one_wave_of_all() -> None:
    rollout = begun(AT_ONCE)

    assert len(who(rollout, fleet())) == 10
    assert step(rollout, taken(rollout, fleet()), now_ms=1).phase is Phase.DONE


def test_why_a_host_does_not_have_it_is_said() -> None:
    rollout = begun()
    paused = pause(rollout, by="ada", now_ms=1, reason="Lunch.")

    assert rollout.why_not("h0") == ""
    assert rollout.why_not("h1", {"ring:early"}) == "It gets it with wave 2; this is wave 1."
    assert paused.why_not("h9") == ("It gets it with wave 3; this is wave 1. The roll-out is paused. Lunch.")
    assert take_back(paused, by="ada", now_ms=2).why_not("h0") == "The roll-out went back. ada took it back."


# When it waits ----------------------------------------------------------------------------------------------


def test_it_pauses_by_itself_when_too_few_have_taken_it_for_too_long() -> None:
    rollout = at_second_wave()
    hosts = but(taken(rollout, fleet()), "h2", uptake=Uptake.WAITING)
    begun_ms = rollout.wave_ms

    before = step(rollout, hosts, now_ms=begun_ms + 30 * MINUTE - 1)
    paused = step(before, hosts, now_ms=begun_ms + 30 * MINUTE)

    assert before.phase is Phase.RUNNING
    assert paused.phase is Phase.PAUSED
    assert paused.reason == "After 30 minutes only 3 of 4 hosts have taken it; waiting for h2."
    assert who(paused, fleet()) == who(rollout, fleet())


def test_fewer_may_be_enough() -> None:
    plan = replace(THREE, health=Health(acknowledged_share=0.75))
    rollout = replace(at_second_wave(), plan=plan)
    hosts = but(taken(rollout, fleet()), "h2", uptake=Uptake.WAITING)

    well = step(rollout, hosts, now_ms=20 * MINUTE)

    assert step(well, hosts, now_ms=30 * MINUTE).wave == 2


def test_a_silent_host_holds_nothing_up_and_speaks_for_nothing() -> None:
    rollout = at_second_wave()
    hosts = but(taken(rollout, fleet()), "h2", uptake=Uptake.FAILED, errors=3, silent=True)

    well = step(rollout, hosts, now_ms=20 * MINUTE)

    assert step(well, hosts, now_ms=30 * MINUTE).wave == 2


def test_it_does_not_go_on_where_all_are_silent() -> None:
    hosts = but(fleet(), "h0", silent=True, uptake=Uptake.ACKNOWLEDGED)

    paused = step(begun(), hosts, now_ms=30 * MINUTE)

    assert paused.reason == "None of the 1 host of wave 1 was heard of for 30 minutes."


def test_a_host_that_comes_later_begins_the_time_anew() -> None:
    rollout = at_second_wave()
    well = step(rollout, taken(rollout, fleet()), now_ms=20 * MINUTE)
    late = HostReport(host="new", tags=frozenset({"ring:early"}))

    waits = step(well, [*taken(rollout, fleet()), late], now_ms=29 * MINUTE)

    assert waits.well_ms is None
    assert waits.phase is Phase.RUNNING
    assert step(waits, [*taken(rollout, fleet()), late], now_ms=40 * MINUTE).wave == 1


def test_a_clock_that_went_back_delays_and_never_hastens() -> None:
    rollout = begun()
    hosts = taken(rollout, fleet())
    well = step(rollout, hosts, now_ms=100 * MINUTE)

    back = step(well, hosts, now_ms=5 * MINUTE)

    assert (back.wave, back.well_ms) == (0, 5 * MINUTE)
    assert step(back, hosts, now_ms=15 * MINUTE - 1).wave == 0
    assert step(back, hosts, now_ms=15 * MINUTE).wave == 1


def test_patience_is_counted_from_where_the_clock_went_back_to() -> None:
    rollout = begin(THREE, seed="r1", hosts=fleet(), now_ms=1_000 * MINUTE)

    back = step(rollout, fleet(), now_ms=5 * MINUTE)

    assert step(back, fleet(), now_ms=35 * MINUTE - 1).phase is Phase.RUNNING
    assert step(back, fleet(), now_ms=35 * MINUTE).phase is Phase.PAUSED


def test_a_step_with_nothing_new_changes_nothing() -> None:
    rollout = begun()

    assert step(rollout, fleet(), now_ms=1) == rollout
    well = step(rollout, taken(rollout, fleet()), now_ms=1)
    assert step(well, taken(rollout, fleet()), now_ms=2) == well


# When it goes back ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (
            {"uptake": Uptake.FAILED, "error": "rule x: no field\ny"},
            "1 of 4 hosts could not take it: h2. h2 says: rule x: no field y.",
        ),
        (
            {"uptake": Uptake.ACKNOWLEDGED, "errors": 2, "error": "rule x failed."},
            "1 of 4 hosts report errors with it: h2. h2 says: rule x failed.",
        ),
        ({"uptake": Uptake.ACKNOWLEDGED, "errors": 1}, "1 of 4 hosts report errors with it: h2."),
        (
            {"uptake": Uptake.ACKNOWLEDGED, "lost_before": 4.0, "lost_now": 80.0},
            (
                "Lost events rose from 1.0 to 20.0 in a minute on an average of 4 hosts, "
                "most on h2, h0, h1 and 1 more."
            ),
        ),
    ],
)
@pytest.mark.parametrize("paused", [False, True])
def test_bad_health_takes_it_back_with_the_reason_also_when_paused(
    more: dict[str, Any], says: str, paused: bool
) -> None:
    rollout = at_second_wave()
    if paused:
        rollout = pause(rollout, by="ada", now_ms=12 * MINUTE)

    back = step(rollout, but(taken(rollout, fleet()), "h2", **more), now_ms=13 * MINUTE)

    assert back.phase is Phase.BACK
    assert back.reason == says
    assert who(back, fleet()) == set()
    assert back.history[-1].words == f"Went back at wave 2. {says}"
    assert back.history[-1].by == ""


def test_what_hosts_outside_the_wave_report_is_no_reason() -> None:
    rollout = at_second_wave()
    hosts = but(taken(rollout, fleet()), "h9", uptake=Uptake.FAILED, errors=9, lost_now=1e6)

    assert step(rollout, hosts, now_ms=13 * MINUTE).phase is Phase.RUNNING


def test_as_many_may_fail_as_the_plan_says() -> None:
    plan = replace(THREE, health=Health(failed=1, errors=1, lost_rise=100.0))
    rollout = replace(at_second_wave(), plan=plan)
    hosts = but(taken(rollout, fleet()), "h2", uptake=Uptake.FAILED, errors=1, lost_now=90.0)

    assert step(rollout, hosts, now_ms=13 * MINUTE).phase is Phase.RUNNING
    assert step(rollout, but(hosts, "h1", uptake=Uptake.FAILED), now_ms=13 * MINUTE).phase is Phase.BACK


def test_of_many_hosts_a_share_may_fail() -> None:
    plan = Plan((Wave(share=1.0),), Health(failed_share=0.25))
    rollout = begun(plan)
    two = but(but(fleet(), "h1", uptake=Uptake.FAILED), "h2", uptake=Uptake.FAILED)

    assert step(rollout, two, now_ms=1).phase is Phase.RUNNING
    assert step(rollout, but(two, "h3", uptake=Uptake.FAILED), now_ms=1).phase is Phase.BACK


def test_events_that_were_lost_before_as_well_are_no_reason() -> None:
    rollout = at_second_wave()
    hosts = [replace(host, lost_before=500.0, lost_now=505.0) for host in taken(rollout, fleet())]

    assert step(rollout, hosts, now_ms=13 * MINUTE).phase is Phase.RUNNING


def test_a_long_complaint_is_cut() -> None:
    rollout = begun()
    hosts = but(fleet(), "h0", uptake=Uptake.FAILED, error="x" * 5_000)

    assert len(step(rollout, hosts, now_ms=1).reason) < 400


# What people do ---------------------------------------------------------------------------------------------


def test_a_paused_one_never_goes_on_and_a_resumed_one_is_watched_anew() -> None:
    rollout = begun()
    hosts = taken(rollout, fleet())
    paused = pause(step(rollout, hosts, now_ms=0), by="ada", now_ms=MINUTE)
    assert step(paused, hosts, now_ms=10_000 * MINUTE) == paused

    again = resume(paused, by="bob", now_ms=10_000 * MINUTE)
    well = step(again, hosts, now_ms=10_000 * MINUTE)

    assert (well.phase, well.wave, well.reason) == (Phase.RUNNING, 0, "")
    assert step(well, hosts, now_ms=10_009 * MINUTE).wave == 0
    assert step(well, hosts, now_ms=10_010 * MINUTE).wave == 1
    assert [(each.words, each.by) for each in again.history[-2:]] == [
        ("Paused. ada paused it.", "ada"),
        ("Resumed.", "bob"),
    ]


def test_somebody_may_send_it_on_without_waiting_but_not_past_bad_health() -> None:
    rollout = begun()

    second = hurry(rollout, fleet(), by="ada", now_ms=1)
    assert second.wave == 1
    assert hurry(hurry(second, fleet(), by="ada", now_ms=2), fleet(), by="ada", now_ms=3).phase is Phase.DONE
    with pytest.raises(ConflictError, match="could not take it"):
        hurry(rollout, but(fleet(), "h0", uptake=Uptake.FAILED), by="ada", now_ms=1)


ACTS: list[tuple[Callable[[Rollout], Rollout], set[Phase]]] = [
    (lambda r: pause(r, by="a", now_ms=5), {Phase.RUNNING}),
    (lambda r: resume(r, by="a", now_ms=5), {Phase.PAUSED}),
    (lambda r: hurry(r, fleet(), by="a", now_ms=5), {Phase.RUNNING}),
    (lambda r: take_back(r, by="a", now_ms=5), {Phase.RUNNING, Phase.PAUSED}),
]


@pytest.mark.parametrize(("act", "allowed"), ACTS, ids=["pause", "resume", "hurry", "take back"])
@pytest.mark.parametrize("phase", Phase)
def test_an_act_that_does_not_fit_is_refused_in_words(
    act: Callable[[Rollout], Rollout], allowed: set[Phase], phase: Phase
) -> None:
    rollout = replace(begun(), phase=phase, reason="R.")

    if phase in allowed:
        assert act(rollout).history != rollout.history
    else:
        with pytest.raises(ConflictError) as caught:
            act(rollout)
        assert caught.value.public.startswith("The roll-out")


def test_the_history_is_bounded() -> None:
    rollout = begun()
    for number in range(MAX_HISTORY):
        rollout = resume(pause(rollout, by="a", now_ms=number), by="a", now_ms=number)

    assert len(rollout.history) == MAX_HISTORY


# Plans, words, storage --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("plan", "path"),
    [
        (Plan(()), "$.plan.waves"),
        (Plan((Wave(share=0.5),)), "$.plan.waves[0].share"),
        (Plan((Wave(share=0.5), Wave(share=0.2), Wave(share=1.0))), "$.plan.waves[1].share"),
        (Plan((Wave(), Wave(share=1.0))), "$.plan.waves[0]"),
        (Plan((Wave(share=float("nan")), Wave(share=1.0))), "$.plan.waves[0].share"),
        (Plan((Wave(share=1.0, soak_s=-1),)), "$.plan.waves[0].soak_s"),
        (Plan((Wave(share=1.0),), Health(patience_s=0)), "$.plan.health.patience_s"),
        (Plan((Wave(share=1.0),), Health(acknowledged_share=0)), "$.plan.health.acknowledged_share"),
        (Plan((Wave(share=1.0),), Health(failed_share=1)), "$.plan.health.failed_share"),
        (Plan((Wave(share=1.0),), Health(lost_rise=float("inf"))), "$.plan.health.lost_rise"),
    ],
)
def test_a_plan_with_a_mistake_does_not_begin(plan: Plan, path: str) -> None:
    with pytest.raises(InvalidChangeError) as caught:
        begun(plan)

    assert path in [problem.path for problem in caught.value.problems]


def test_the_plans_that_come_along_are_right() -> None:
    assert problems_of(CAREFUL) == ()
    assert problems_of(AT_ONCE) == ()


def test_progress_is_told_in_words() -> None:
    rollout = begun()
    hosts = taken(rollout, fleet())
    well = step(rollout, hosts, now_ms=0)

    assert progress(rollout, fleet(), now_ms=0).words == "Wave 1 of 3: 0 of 1 host have taken it."
    assert (
        progress(well, hosts, now_ms=4 * MINUTE).words == "Wave 1 of 3 is well; wave 2 begins in 6 minutes."
    )
    assert progress(pause(well, by="ada", now_ms=0), hosts, now_ms=0).words == (
        "Paused at wave 1 of 3. ada paused it."
    )
    found = progress(well, hosts, now_ms=0)
    assert (found.hosts, found.included, found.acknowledged, found.failed, found.silent) == (10, 1, 1, 0, 0)


def test_a_stored_one_goes_on_where_it_stood() -> None:
    rollout = at_second_wave()

    stored = orjson.loads(orjson.dumps(to_document(rollout)))

    assert of_document(stored) == rollout
    assert plan_of_document(plan_to_document(CAREFUL)) == CAREFUL


@pytest.mark.parametrize(
    "change",
    [
        {"phase": "sideways"},
        {"wave": 3},
        {"wave": -1},
        {"plan": {"waves": []}},
        {"plan": 3},
        {"history": [1]},
    ],
)
def test_what_is_no_stored_roll_out_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(MalformedError):
        of_document({**to_document(begun()), **change})


# Whatever happens -------------------------------------------------------------------------------------------

NAMES = [f"m{n}" for n in range(6)]
uptakes = st.sampled_from(list(Uptake))


class AnyRollout(RuleBasedStateMachine):
    """Hosts, people and the clock do what they like; what the module promises holds all the same."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0
        self.hosts: dict[str, HostReport] = {}
        self.had: set[str] = set()

    @initialize(
        count=st.integers(0, 6),
        least=st.integers(0, 3),
        share=st.floats(0, 1),
        failed=st.integers(0, 1),
        acknowledged=st.floats(0.3, 1),
    )
    def begin(self, count: int, least: int, share: float, failed: int, acknowledged: float) -> None:
        self.hosts = {
            name: HostReport(host=name, tags=frozenset({f"g:{at % 2}"}))
            for at, name in enumerate(NAMES[:count])
        }
        waves = (
            Wave(hosts=frozenset({"m0"}), least=least, soak_s=60),
            Wave(share=share, tags=frozenset({"g:1"}), soak_s=60),
            Wave(share=1.0, soak_s=0),
        )
        health = Health(failed=failed, acknowledged_share=acknowledged, patience_s=300)
        self.rollout = begin(Plan(waves, health), seed="s", hosts=list(self.hosts.values()), now_ms=0)
        self.moved(self.rollout)

    def moved(self, after: Rollout, *, back_is_allowed: bool = True) -> None:
        """Look at a change of the roll-out."""
        now = who(after, list(self.hosts.values()))
        if after.phase is Phase.BACK:
            assert back_is_allowed
            assert not now
            assert after.reason
        else:
            assert self.had & set(self.hosts) <= now
        if after.phase is Phase.PAUSED:
            assert after.reason
        self.had = now
        self.rollout = after

    @rule(name=st.sampled_from(NAMES), uptake=uptakes, errors=st.integers(0, 1), silent=st.booleans())
    def report(self, name: str, uptake: Uptake, errors: int, silent: bool) -> None:
        if name in self.hosts:
            self.hosts[name] = replace(
                self.hosts[name],
                uptake=uptake,
                errors=errors if uptake is Uptake.FAILED else 0,
                silent=silent,
            )

    @rule()
    def all_take_it(self) -> None:
        self.hosts = {
            name: replace(host, uptake=Uptake.ACKNOWLEDGED, errors=0, silent=False)
            for name, host in self.hosts.items()
        }

    @rule(name=st.sampled_from(NAMES))
    def come_or_go(self, name: str) -> None:
        if self.hosts.pop(name, None) is None:
            self.hosts[name] = HostReport(host=name, tags=frozenset({"g:0"}))
        self.had = who(self.rollout, list(self.hosts.values()))

    @rule(seconds=st.sampled_from([0, 1, 59, 60, 61, 300, 5_000, -1, -1_000]))
    def time_passes(self, seconds: int) -> None:
        self.now = max(0, self.now + seconds * 1000)

    @rule()
    def look(self) -> None:
        hosts = list(self.hosts.values())
        before, after = self.rollout, step(self.rollout, hosts, now_ms=self.now)
        members = [each for each in hosts if before.includes(each.host, each.tags) and not each.silent]
        sick = sum(each.uptake is Uptake.FAILED for each in members) > before.plan.health.failed
        if before.is_over:
            assert after is before
        elif sick:
            assert after.phase is Phase.BACK
        if before.phase is Phase.PAUSED and after.phase is not Phase.BACK:
            assert after.wave == before.wave
            assert after.phase is Phase.PAUSED
        assert after.wave >= before.wave
        if after.wave > before.wave and members:
            taken_by = sum(each.uptake is Uptake.ACKNOWLEDGED for each in members)
            assert taken_by >= before.plan.health.acknowledged_share * len(members)
            assert self.now - (before.well_ms or 0) >= 60_000 or before.well_ms is None
        self.moved(after)
        assert step(after, hosts, now_ms=self.now) == after

    @precondition(lambda self: self.rollout.phase is Phase.RUNNING)
    @rule()
    def somebody_pauses(self) -> None:
        self.moved(pause(self.rollout, by="ada", now_ms=self.now), back_is_allowed=False)

    @precondition(lambda self: self.rollout.phase is Phase.PAUSED)
    @rule()
    def somebody_resumes(self) -> None:
        self.moved(resume(self.rollout, by="ada", now_ms=self.now), back_is_allowed=False)

    @precondition(lambda self: self.rollout.phase is Phase.RUNNING)
    @rule()
    def somebody_hurries(self) -> None:
        try:
            after = hurry(self.rollout, list(self.hosts.values()), by="ada", now_ms=self.now)
        except ConflictError:
            return
        self.moved(after, back_is_allowed=False)

    @invariant()
    def what_is_stored_is_the_same(self) -> None:
        if hasattr(self, "rollout"):
            assert of_document(orjson.loads(orjson.dumps(to_document(self.rollout)))) == self.rollout
            assert progress(self.rollout, list(self.hosts.values()), now_ms=self.now).words


TestAnyRollout = AnyRollout.TestCase
TestAnyRollout.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)


def test_it_rests_on_no_store_and_no_product() -> None:
    """So that any product may use it."""
    names = {value.__name__ for value in vars(module).values() if type(value) is type(module)}

    assert names <= {"enum", "hashlib"}
