"""What the pages of probes say: states in words, what nobody has and why, metrics as pictures."""

from __future__ import annotations

import time
from typing import Any

import pytest

from sealwire.server.debugger.authoring import probes
from sealwire.server.debugger.authoring.probes import MetricKind, Probe
from sealwire.server.debugger.reports import statuses
from sealwire.server.debugger.reports.metrics import Point
from sealwire.server.debugger.reports.statuses import Failure, Key, State, Status
from sealwire.server.fleet.connection import CONNECTED, Connection, Standing
from sealwire.server.fleet.overview import AgentLine, ClientLine, Fleet
from sealwire.server.ui import debugger_words
from sealwire.server.ui.debugger_charts import metric_chart, number_words, spark

CONFIG = "00000000000000aa"


def log(**more: object) -> Probe:
    return probes.parse(
        {
            "kind": "log", "language": "python", "where": {"file": "shop/orders.py", "line": 7},
            "template": "sold", **more,
        }
    )  # fmt: skip


def client(**facts: Any) -> ClientLine:
    known = {"service": "shop", "env": "prod", "language": "python", "products": ["LIVE_DEBUGGING"], **facts}
    return ClientLine("c", "a", "host", known, (), 0, 0, CONNECTED, "", 0.0, time.time(), True)


def agent(standing: Standing = CONNECTED) -> AgentLine:
    return AgentLine("a", "host", "1", (), standing, "", 1, 1, 1, None, 0.0, 0.0, True)


def why_nobody(*here: ClientLine, agents: tuple[AgentLine, ...] = (agent(),), **more: Any) -> str:
    fleet = Fleet(more.get("known", here), agents, {}, {}, 0.0, more.get("services", ()))
    said = debugger_words.waiting_for(
        log(), "shop", more.get("envs", ("prod",)), CONFIG, here=here, fleet=fleet,
        clone_href="/debugger/probes/p/clone",
    )  # fmt: skip
    assert said.way is not None
    assert said.way.href
    return f"{said.title}. {said.text} -> {said.way.href}"


def test_what_nobody_has_is_explained_by_what_the_fleet_is_known_to_be() -> None:
    assert "-> /start" in why_nobody(agents=())
    assert "No agent is connected" in why_nobody(client(), agents=(agent(Standing(Connection.OFFLINE)),))
    assert "No service shop is known" in why_nobody(client(service="search"))
    assert "is not here now" in why_nobody(known=(client(),))
    assert "sends traces and asks for no configuration" in why_nobody(services=(client(),))
    elsewhere = why_nobody(client(env="staging"))
    assert "does not run in prod" in elsewhere
    assert "staging" in elsewhere
    assert "/clone" in elsewhere
    assert "is no python program" in why_nobody(client(language="nodejs"))
    off = why_nobody(client(products=["ASM"]))
    assert "Dynamic Instrumentation is off there" in off
    assert "/debugger/services?service=shop&env=prod" in off
    assert "On its way" in why_nobody(client(), envs=())
    # Names are anybody's text, and are shown as such.
    assert "⟨U+202E⟩" in why_nobody(client(env="\u202eprod"))


def summed_up(*states: Status, version: int = 1) -> statuses.Summary:
    now = 1_000_000
    failure = Failure("NoFunctionsAtLine", "nothing at line 7")
    return statuses.summary(
        [
            (Key("p", version, f"runtime-{n}"), State(one, now, now, now, failure))
            for n, one in enumerate(states)
        ],
        version=1, now_ms=now,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("states", "counts", "text"),
    [
        ((Status.EMITTING, Status.EMITTING, Status.INSTALLED), "2 of 3 emitting", "below, as it comes"),
        ((Status.ERROR, Status.EMITTING), "1 of 2 with an error, 1 emitting", "1 instance with data"),
        ((Status.INSTALLED,), "1 of 1 installed", "nothing has passed there yet"),
        ((Status.RECEIVED,), "1 of 1 received", "has not loaded yet"),
        ((Status.BLOCKED,), "1 of 1 refuse it", "Choose another method or line"),
        ((), "no instance yet", "No instance has said anything"),
    ],
)
def test_each_state_says_what_it_means(states: tuple[Status, ...], counts: str, text: str) -> None:
    summary = summed_up(*states)

    assert debugger_words.counts_words(summary) == counts
    assert text in debugger_words.explained(log(), summary).text


def test_a_condition_that_may_never_hold_is_thought_of() -> None:
    said = debugger_words.explained(log(when="total > 9"), summed_up(Status.INSTALLED))
    assert "the condition did not hold" in said.text


def point(at_s: int, value: float, count: int = 4) -> Point:
    return Point(
        (900 + at_s) * 1000, count, value * count, value, value * 2, value, value, value * 1.5, value * 1.8
    )


def drawn(kind: MetricKind, *series: tuple[str, list[Point]]) -> Any:
    return metric_chart(kind, series, since_ms=900_000, until_ms=1_800_000, step_s=10)


def test_a_distribution_is_its_quantiles_and_a_gap_stays_one() -> None:
    points = [point(at, 10) for at in (0, 10, 20, 100, 110)]

    chart = drawn(MetricKind.DISTRIBUTION, ("", points))

    assert [line.name for line in chart.lines] == ["p50", "p95", "p99"]
    assert [line.path.count("M") for line in chart.lines] == [2, 2, 2]
    assert chart.ticks[0][1] == "20"
    assert chart.ticks[-1] == (100.0, "0")
    assert "p95 15" in chart.slots[0].words
    assert "00:15:00 UTC" in chart.slots[0].words
    assert "20 values, from 10 to 20" in chart.caption
    assert len(chart.rows) == 5
    assert chart.rows[0].at.iso > chart.rows[-1].at.iso


def test_a_count_is_bars_and_several_tags_are_a_line_each() -> None:
    one = drawn(MetricKind.COUNT, ("", [point(0, 2), point(10, 4)]))
    assert not one.lines
    assert [bar.height for bar in one.bars] == [100.0, 200.0]
    assert "24 in all, at most 16 in 10 s" in one.caption

    many = drawn(MetricKind.COUNT, *((f"v{n}", [point(0, 1, count=n + 1)]) for n in range(9)))
    assert [line.name for line in many.lines] == ["v8", "v7", "v6", "v5", "v4", "v3"]
    assert len({line.look for line in many.lines}) == 6
    assert many.more == 3
    assert len(many.rows) == 9  # the table leaves nothing out


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -5.0, 1e300, 1e-300, 1e-320, 5e-324, 1.7e308])
@pytest.mark.parametrize("other", [1.0, 0.0, -1.7e308])
def test_numbers_that_no_axis_is_made_for_make_a_picture_nevertheless(value: float, other: float) -> None:
    chart = drawn(MetricKind.GAUGE, ("", [point(0, value), point(10, other)]))

    assert len(chart.ticks) == 5
    drawn_as = "".join([*(line.path for line in chart.lines), chart.band])
    assert "nan" not in drawn_as
    assert "inf" not in drawn_as


def test_nothing_is_said_to_be_nothing() -> None:
    chart = drawn(MetricKind.GAUGE, ("", []))

    assert chart.is_empty
    assert chart.caption == "No value came in this time."
    assert spark([0] * 30).bars == ()
    assert spark([]).words == ""
    assert "7 messages in 30 minutes, at most 5" in spark([5, 0, 2]).words


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0.00123, "0.00123"),
        (17.239, "17.2"),
        (1234.5, "1,234"),
        (41_233, "41.2 k"),
        (2.5e9, "2.5 G"),
        (None, "–"),
    ],
)
def test_numbers_have_three_digits_that_matter(value: float | None, words: str) -> None:
    assert number_words(value) == words
