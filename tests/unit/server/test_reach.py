"""Who gets a config, who gains and who loses it, and what each rule of the targeting does."""

from __future__ import annotations

import time
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from sealwire.products import PRODUCTS, ClientFacts
from sealwire.server.authoring.reach import MAX_CLIENTS, Group, Other, Reach, reach, to_dict
from sealwire.server.targeting import Targeting

TRACING, DATA = PRODUCTS["APM_TRACING"], PRODUCTS["ASM_DATA"]
ASKS = frozenset({"APM_TRACING", "ASM_DATA"})


def client(number: int, service: str = "shop", env: str = "prod", **more: Any) -> ClientFacts:
    given = {"language": "python", "tracer_version": "4.16.0", "products": ASKS, **more}
    return ClientFacts(client_id=f"c{number}", runtime_id=f"r{number}", service=service, env=env, **given)


FLEET = [
    *(client(number) for number in range(3)),
    *(client(number, env="staging") for number in range(3, 5)),
    *(client(number, "search", language="go", tracer_version="2.1.0") for number in range(5, 9)),
    client(9, products=frozenset()),
]


def of(targeting: dict[str, Any], before: dict[str, Any] | None = None, **more: Any) -> Reach:
    present = None if before is None else Targeting.parse(before)
    return reach(TRACING, Targeting.parse(targeting), FLEET, present=present, **more)


def test_everybody_who_matches_gains_what_is_new() -> None:
    found = of({"service": ["shop"], "env": ["prod"]})

    assert (found.population, found.asking, found.before) == (10, 9, 0)
    assert found.now.groups == (Group("shop", "prod", "python", 3),)
    assert found.gains == found.now
    assert found.losses.count == 0


def test_a_change_of_targeting_tells_who_gains_and_who_loses() -> None:
    found = of({"service": ["search"]}, before={"env": ["prod"]})
    other = of({"service": ["shop"]}, before={"env": ["prod"]})

    assert (found.before, found.now.count, found.gains.count, found.losses.count) == (7, 4, 0, 3)
    assert [one.client_id for one in other.gains.first] == ["c3", "c4"]
    assert other.losses.groups == (Group("search", "prod", "go", 4),)


def test_each_rule_tells_how_many_it_keeps_out_and_how_many_it_alone_does() -> None:
    found = of({"service": ["shop"], "env": ["prod"], "tracer_version": ">=3"})

    assert [(rule.field, rule.excludes, rule.alone) for rule in found.rules] == [
        ("product", 1, 1), ("service", 4, 0), ("env", 2, 2), ("tracer_version", 4, 0),
    ]  # fmt: skip
    assert [rule.words for rule in found.rules[1:]] == [
        "service shop", "environment prod", "tracer version >=3",
    ]  # fmt: skip


def test_a_client_that_is_named_is_found_among_its_equals() -> None:
    found = of({"client_id": ["c1", "nobody"]})

    assert [one.client_id for one in found.now.first] == ["c1"]
    assert found.rules[1].excludes == 8


def test_who_gets_it_when_nobody_matches_and_when_nobody_asks() -> None:
    nobody = of({"service": ["billing"]})
    unasked = reach(PRODUCTS["ASM_DD"], Targeting(), FLEET)
    empty = reach(TRACING, Targeting.parse({"env": ["x"]}), [])

    assert [one.kind for one in nobody.cautions] == ["nobody"]
    assert [one.kind for one in unasked.cautions] == ["nobody_asks", "everyone"]
    assert "10 clients it is for do not ask for ASM_DD" in unasked.cautions[0].words
    assert [one.kind for one in empty.cautions] == ["nobody"]


def test_clients_that_are_too_old_are_told_before() -> None:
    old = [client(number, tracer_version="4.9.0rc1") for number in range(2)]
    older = [client(9, tracer_version="1.20.0")]

    found = reach(TRACING, Targeting.parse({"env": ["prod"]}), [*old, *older])

    assert (found.now.count, found.too_old.count) == (3, 1)
    assert found.cautions[0].words == (
        "1 of 3 clients it is aimed at is older than Python 2.21.11 and may ignore it "
        "(Sampling, tags and tracing of a service): nothing older was tried."
    )


def test_among_merged_configs_the_more_precise_one_wins_and_then_the_newer() -> None:
    mine = {"lib_config": {"tracing_sampling_rate": 0.5}}
    others = [
        Other("a" * 16, "everywhere", Targeting(), {"lib_config": {"tracing_sampling_rate": 0.1}}),
        Other("b" * 16, "shop", Targeting.parse({"service": ["shop"]}), mine),
        Other("c" * 16, "shop in prod", Targeting.parse({"service": ["shop"], "env": ["prod"]}), mine),
        Other("d" * 16, "of others", Targeting.parse({"service": ["search"]}), mine),
        Other("e" * 16, "other things", Targeting(), {"lib_config": {"log_injection_enabled": True}}),
    ]

    found = of({"service": ["shop"]}, payload=mine, others=others)

    assert [(one.name, one.clients, one.wins) for one in found.beside] == [
        ("shop in prod", 3, False), ("everywhere", 5, True), ("shop", 5, True),
    ]  # fmt: skip
    assert found.beside[0].settings == ("$.lib_config.tracing_sampling_rate",)
    assert not [one for one in found.cautions if one.kind == "overridden"]


def test_a_config_that_another_overrides_wholly_says_so() -> None:
    mine = {"lib_config": {"tracing_sampling_rate": 0.5}}
    shop = Other("b" * 16, "", Targeting.parse({"service": ["shop"]}), mine)

    found = of({"language": ["python"]}, payload=mine, others=[shop])

    assert [one.words for one in found.cautions if one.kind == "overridden"] == [
        "Everything in this is overridden by bbbbbbbbbbbbbbbb, which is more precise."
    ]


def test_configs_of_a_product_that_is_not_merged_stand_side_by_side() -> None:
    other = Other("a" * 16, "", Targeting(), DATA.example)

    assert reach(DATA, Targeting(), FLEET, payload=DATA.example, others=[other]).beside == ()


def test_who_may_not_see_the_fleet_is_told_numbers_only() -> None:
    found = of({"service": ["shop"]})

    assert "shop" not in str({**to_dict(found, named=False), "rules": []})
    assert to_dict(found, named=False)["now"] == {"count": 5}
    assert to_dict(found)["now"]["clients"][0]["client_id"] == "c0"


SMALL = st.sampled_from(["a", "b", "A"])
TARGETINGS = st.fixed_dictionaries(
    {},
    optional={
        "service": st.lists(SMALL, min_size=1, max_size=2),
        "env": st.lists(SMALL, min_size=1, max_size=2),
        "host_tags": st.lists(st.sampled_from(["x:1", "x:2"]), min_size=1, max_size=2),
        "client_id": st.lists(st.sampled_from(["c0", "c1"]), min_size=1, max_size=2),
        "app_version": st.lists(SMALL, min_size=1, max_size=1),
    },
)
FACTS = st.builds(
    client, st.just(0), SMALL, SMALL, app_version=SMALL,
    host_tags=st.frozensets(st.sampled_from(["x:1", "x:2"])), products=st.sampled_from([ASKS, frozenset()]),
)  # fmt: skip


@given(st.lists(FACTS, max_size=12), TARGETINGS, st.none() | TARGETINGS)
def test_the_answer_is_the_one_of_asking_every_client(
    facts: list[ClientFacts], new: dict[str, Any], old: dict[str, Any] | None
) -> None:
    fleet = [
        ClientFacts(
            client_id=f"c{number}", service=one.service, env=one.env, app_version=one.app_version,
            host_tags=one.host_tags, products=one.products,
        )
        for number, one in enumerate(facts)
    ]  # fmt: skip
    targeting = Targeting.parse(new)
    present = None if old is None else Targeting.parse(old)

    found = reach(DATA, targeting, fleet, present=present)

    asking = [one for one in fleet if "ASM_DATA" in one.products]
    now = {one.client_id for one in asking if targeting.matches(one)}
    before = {one.client_id for one in asking if present is not None and present.matches(one)}
    assert {one.client_id for one in found.now.first} == now
    assert {one.client_id for one in found.gains.first} == now - before
    assert {one.client_id for one in found.losses.first} == before - now
    assert (found.now.count, found.before) == (len(now), len(before))


def test_ten_thousand_clients_on_two_thousand_hosts_take_less_than_50_ms() -> None:
    fleet = [
        client(
            number, service=f"service-{number % 40}", env=("prod", "staging")[number % 2],
            host_tags=frozenset({f"host:{number // 5}", "role:web"}),
        )
        for number in range(10_000)
    ]  # fmt: skip
    targeting = Targeting.parse(
        {"service": [f"service-{n}" for n in range(20)], "host_tags": ["role:web"], "tracer_version": ">=4"}
    )
    present = Targeting.parse({"env": ["prod"]})
    took = []
    for _ in range(5):
        begun = time.thread_time()
        found = reach(TRACING, targeting, fleet, present=present, payload=TRACING.example)
        took.append(time.thread_time() - begun)

    assert found.now.count == 5000
    assert len(found.now.first) == MAX_CLIENTS
    assert min(took) < 0.05, f"{min(took) * 1000:.0f} ms"
    print(f"{min(took) * 1000:.1f} ms")  # noqa: T201 - to be looked at with -s
