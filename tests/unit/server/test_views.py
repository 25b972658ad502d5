"""Who gets what: the signed predicates select exactly the clients that the targeting means.

``sealwire.wire.predicates``, the agent's judge, decides here; the code that wrote the predicates does not.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sealwire.products import PRODUCTS, ClientFacts
from sealwire.server.store.rows import ConfigRow
from sealwire.server.targeting import Targeting
from sealwire.server.views import AgentFacts, Catalogue, Content, View, keeps, next_version
from sealwire.wire import predicates
from sealwire.wire import remoteconfig_pb2 as pb
from tests.support.parts import ASM_ON, denylist, facts, tracing
from tests.support.simulated_agent import tracer

ORG = 7


def config(number: int, product: str, payload: Any, targeting: Any = None, **changes: Any) -> ConfigRow:
    values: dict[str, Any] = {
        "org_id": ORG,
        "config_id": f"{number:016x}",
        "product": product,
        "name": "",
        "targeting": targeting or {},
        "payload": orjson.dumps(payload),
        "revision": 1,
        "state": "active",
        "created_ms": 0,
        "updated_ms": number,
        "updated_by": "test",
        "comment": "",
        "expires_ms": None,
        "generation": number,
        **changes,
    }
    return ConfigRow(**values)


def catalogue(*rows: ConfigRow) -> Catalogue:
    made = Catalogue(ORG)
    made.apply(rows, now_ms=0)
    return made


def view_of(made: Catalogue, *clients: ClientFacts, **more: Any) -> View:
    tags = more.pop("host_tags", frozenset())
    clients = tuple(dataclasses.replace(client, host_tags=tags) for client in clients)
    return made.view(
        AgentFacts("host-a", tags, clients),
        more.pop("held", {}),
        more.pop("keeping", {}),
        more.pop("versions", {}),
    )


def as_message(client: ClientFacts) -> pb.Client:
    return tracer(
        client.client_id,
        service=client.service,
        env=client.env,
        language=client.language,
        tracer_version=client.tracer_version,
        app_version=client.app_version,
        products=sorted(client.products),
    )


def handed_out(view: View, client: ClientFacts) -> set[str]:
    """What an agent hands to a client, by the predicates in the signed document."""
    message = as_message(client)
    given_out = set()
    for path, (content, wanted) in view.entries.items():
        custom: dict[str, object] = {"v": 1}
        if wanted:
            custom["tracer-predicates"] = {"tracer_predicates_v1": [dict(each) for each in wanted]}
        if content.product in client.products and predicates.matches(custom, message, now_s=0):
            given_out.add(path)
    return given_out


def only(view: View, product: str) -> tuple[Content, tuple[Mapping[str, str], ...]]:
    (found,) = (entry for entry in view.entries.values() if entry[0].product == product)
    return found


# Every fleet, every targeting -----------------------------------------------------------------------------

SERVICES = ("shop", "Shop", "cart", "a b", "", "sh\nop", "x" * 400)
ENVS = ("prod", "PROD", "staging", "")
LANGUAGES = ("python", "node", "go", "")
APP_VERSIONS = ("1.0", "2.0", "")
TRACER_VERSIONS = ("4.16.0", "2.8.0", "v2.1.0-dev.3", "")
TAGS = ("role:web", "role:db", "zone:a")

one_targeting = st.fixed_dictionaries(
    {},
    optional={
        "service": st.lists(st.sampled_from(["shop", "SHOP", "cart", "a b"]), min_size=1, max_size=2),
        "env": st.lists(st.sampled_from(["prod", "staging"]), min_size=1, max_size=2),
        "language": st.lists(st.sampled_from(["python", "node"]), min_size=1, max_size=2),
        "app_version": st.lists(st.sampled_from(["1.0", "2.0"]), min_size=1, max_size=1),
        "host_tags": st.lists(st.sampled_from(TAGS), min_size=1, max_size=2),
        "client_id": st.lists(st.sampled_from(["c0", "c1", "c2"]), min_size=1, max_size=2),
        "tracer_version": st.sampled_from([">=2.8.0", "<4", ">=2,<5"]),
    },
)
one_payload = st.one_of(
    st.tuples(st.just("ASM_DATA"), st.just(denylist("203.0.113.7"))),
    st.tuples(
        st.just("ASM_FEATURES"), st.sampled_from([ASM_ON, {"auto_user_instrum": {"mode": "disabled"}}])
    ),
    st.tuples(
        st.just("APM_TRACING"),
        st.sampled_from(
            [
                tracing(tracing_sampling_rate=0.5),
                tracing(dynamic_instrumentation_enabled=True),
                tracing(tracing_enabled=False),
            ]
        ),
    ),
)
attributes = st.fixed_dictionaries(
    {
        "service": st.sampled_from(SERVICES),
        "env": st.sampled_from(ENVS),
        "language": st.sampled_from(LANGUAGES),
        "app_version": st.sampled_from(APP_VERSIONS),
        "tracer_version": st.sampled_from(TRACER_VERSIONS),
        "products": st.sets(st.sampled_from(["ASM_DATA", "ASM_FEATURES", "APM_TRACING", "CWS_DD"])).map(
            frozenset
        ),
    }
)
sticking = st.dictionaries(
    st.sampled_from(["dynamic_instrumentation_enabled", "exception_replay_enabled"]),
    st.just(True),
    max_size=2,
)


@settings(max_examples=400, deadline=None)
@given(
    configs=st.lists(st.tuples(one_payload, one_targeting), max_size=6),
    fleet=st.lists(attributes, max_size=6),
    newcomer=attributes,
    tags=st.sets(st.sampled_from(TAGS)).map(frozenset),
    held=st.dictionaries(st.sampled_from(["c0", "c1", "c2"]), sticking, max_size=2),
    keeping=st.sets(st.sampled_from(["c0", "c1", "c2", "c3"])),
)
def test_predicates_select_exactly_the_receivers(
    configs: list[tuple[tuple[str, Any], dict[str, Any]]],
    fleet: list[dict[str, Any]],
    newcomer: dict[str, Any],
    tags: frozenset[str],
    held: dict[str, dict[str, object]],
    keeping: set[str],
) -> None:
    made = catalogue(
        *(config(n, product, payload, targeting) for n, ((product, payload), targeting) in enumerate(configs))
    )
    clients = [ClientFacts(client_id=f"c{n}", host_tags=tags, **each) for n, each in enumerate(fleet)]
    view = view_of(
        made,
        *clients,
        host_tags=tags,
        held={client_id: {"APM_TRACING": values} for client_id, values in held.items()},
        keeping={client_id: frozenset({"datadog/7/ASM_FEATURES/old/config"}) for client_id in keeping},
    )

    # 1. What a client is handed is what it shall have.
    assert set(view.wanted) == {client.client_id for client in clients}
    for client in clients:
        assert handed_out(view, client) == set(view.wanted[client.client_id])
    # 2. What it shall have of a plain product is what the targeting says, decided a second time.
    for client in clients:
        meant = {
            f"{n:014x}"  # the first two characters tell the audience
            for n, ((product, _), targeting) in enumerate(configs)
            if product == "ASM_DATA"
            and product in client.products
            and Targeting.parse(targeting).matches(client)
        }
        found = [path.split("/")[3][2:] for path in view.wanted[client.client_id] if "/ASM_DATA/" in path]
        assert sorted(found) == sorted(meant)
        for product in ("ASM_FEATURES", "APM_TRACING"):
            assert sum(f"/{product}/" in path for path in view.wanted[client.client_id]) <= 1
    # 3. Nothing is listed that nobody here shall have.
    assert set(view.entries) == {path for paths in view.wanted.values() for path in paths}
    # 4. A process the control plane has not heard of is handed nothing that is not for it too.
    stranger = ClientFacts(client_id="new", host_tags=tags, **newcomer)
    alone = view_of(made, stranger, host_tags=tags)
    assert handed_out(view, stranger) <= set(alone.wanted["new"])


@given(st.permutations(range(5)))
def test_a_view_does_not_depend_on_the_order_of_clients(order: list[int]) -> None:
    made = catalogue(
        config(1, "ASM_DATA", denylist("203.0.113.7"), {"service": ["shop"]}),
        config(2, "ASM_FEATURES", ASM_ON, {"app_version": ["1.0"]}),
    )
    clients = [
        facts(f"c{n}", service="shop" if n % 2 else "cart", app_version=f"{n % 3}.0") for n in range(5)
    ]

    assert view_of(made, *(clients[n] for n in order)).key == view_of(made, *clients).key


# Single cases, by name --------------------------------------------------------------------------------------


def test_a_config_for_everybody_carries_no_predicate() -> None:
    view = view_of(catalogue(config(1, "ASM_DATA", denylist("203.0.113.7"))), facts())

    _, wanted = only(view, "ASM_DATA")
    assert wanted == ()


def test_a_config_targeted_elsewhere_is_in_no_entry() -> None:
    made = catalogue(
        config(1, "ASM_DATA", denylist("203.0.113.7"), {"service": ["cart"]}),
        config(2, "ASM_FEATURES", ASM_ON, {"host_tags": ["role:db"]}),
        config(3, "ASM_DATA", denylist("203.0.113.8"), {"client_id": ["somebody-else"]}),
    )

    view = view_of(made, facts(), host_tags=frozenset({"role:web"}))

    assert view.entries == {}
    assert view.wanted == {"c1": ()}


def test_predicates_are_as_coarse_as_the_targeting_so_that_a_restarted_process_is_served_at_once() -> None:
    made = catalogue(config(1, "ASM_DATA", denylist("203.0.113.7"), {"service": ["shop"]}))

    _, wanted = only(view_of(made, facts(env=""), facts("c2", env="prod")), "ASM_DATA")

    assert wanted == ({"service": "shop"},)


def test_one_config_for_one_client_does_not_make_the_others_fine() -> None:
    made = catalogue(
        config(1, "ASM_DATA", denylist("203.0.113.7"), {"client_id": ["c1"]}),
        config(2, "ASM_DATA", denylist("203.0.113.8"), {"service": ["shop"]}),
    )

    view = view_of(made, facts("c1"), facts("c2"))

    assert [wanted for _, wanted in view.entries.values()] == [({"clientID": "c1"},), ({"service": "shop"},)]


def test_a_client_without_service_and_env_is_named_by_its_id() -> None:
    made = catalogue(config(1, "ASM_FEATURES", ASM_ON))

    view = view_of(made, facts("c1", service="", env=""), facts("c2", service="shop", env=""))

    assert sorted(str(wanted) for _, wanted in view.entries.values()) == [
        "({'clientID': 'c1'},)",
        "({'clientID': 'c2'},)",
    ]


def test_the_same_service_in_two_versions_of_the_application() -> None:
    made = catalogue(
        config(1, "ASM_FEATURES", ASM_ON, {"service": ["shop"]}),
        config(2, "ASM_FEATURES", {"asm": {"enabled": False}}, {"service": ["shop"], "app_version": ["2.0"]}),
    )
    old, new = facts("c1", app_version="1.0"), facts("c2", app_version="2.0")

    view = view_of(made, old, new)

    contents = {client: view.entries[paths[0]][0] for client, paths in view.wanted.items()}
    assert orjson.loads(contents["c1"].raw) == ASM_ON
    assert orjson.loads(contents["c2"].raw) == {"asm": {"enabled": False}}
    assert contents["c1"].path != contents["c2"].path
    assert handed_out(view, old) == {contents["c1"].path}
    assert handed_out(view, facts("c3", app_version="2.0")) == {contents["c2"].path}
    assert contents["c2"].provenance == {"$.asm.enabled": f"{2:016x}"}


def test_a_merged_file_keeps_its_path_while_its_content_changes() -> None:
    made = catalogue(config(1, "ASM_FEATURES", ASM_ON, {"service": ["shop"]}))
    before, _ = only(view_of(made, facts()), "ASM_FEATURES")

    made.apply([config(2, "ASM_FEATURES", {"auto_user_instrum": {"mode": "disabled"}})], now_ms=0)
    with_more, _ = only(view_of(made, facts()), "ASM_FEATURES")
    made.apply(
        [config(1, "ASM_FEATURES", {"asm": {"enabled": False}}, {"service": ["shop"]}, revision=2)], now_ms=0
    )
    changed, _ = only(view_of(made, facts("c2")), "ASM_FEATURES")

    assert before.path == with_more.path == changed.path
    assert len({before.raw, with_more.raw, changed.raw}) == 3
    assert changed.sources == {f"{1:016x}": 2, f"{2:016x}": 1}


def test_equal_clients_share_a_merged_file_and_unequal_ones_do_not() -> None:
    made = catalogue(config(1, "APM_TRACING", tracing(tracing_sampling_rate=0.5)))

    view = view_of(made, facts("c1"), facts("c2"), facts("c3", service="cart"), facts("c4", language="node"))

    paths = view.wanted
    assert paths["c1"] == paths["c2"]
    assert len({paths["c1"], paths["c3"], paths["c4"]}) == 3


def test_who_did_not_ask_for_a_product_gets_nothing_of_it() -> None:
    made = catalogue(config(1, "ASM_DATA", denylist("203.0.113.7")), config(2, "ASM_FEATURES", ASM_ON))

    view = view_of(made, facts("c1", products=frozenset({"ASM_FEATURES"})))

    assert [content.product for content, _ in view.entries.values()] == ["ASM_FEATURES"]


def test_a_client_whose_id_cannot_be_signed_gets_nothing_and_disturbs_nobody() -> None:
    made = catalogue(config(1, "ASM_FEATURES", ASM_ON))

    view = view_of(made, facts("c1"), facts("c\n2"), facts("c" * 400))

    assert set(view.wanted) == {"c1"}


def test_retired_and_expired_configs_and_those_of_unknown_products_are_left_out() -> None:
    made = Catalogue(ORG)
    made.apply(
        [
            config(1, "ASM_DATA", denylist("203.0.113.1"), state="retired"),
            config(2, "ASM_DATA", denylist("203.0.113.2"), expires_ms=1_000),
            config(3, "OF_TOMORROW", {}),
            config(4, "ASM_DATA", denylist("203.0.113.4"), expires_ms=1_001),
        ],
        now_ms=1_000,
    )

    assert [set(content.sources) for content in made.plain_contents()] == [{f"{4:016x}"}]
    assert made.next_expiry_ms() == 1_001
    assert made.expire(now_ms=1_000) is False
    assert made.expire(now_ms=1_001) is True
    assert view_of(made, facts()).entries == {}


def test_the_version_of_a_file_is_foretold() -> None:
    made = catalogue(config(1, "ASM_DATA", denylist("203.0.113.7")))
    view = view_of(made, facts())
    content, _ = only(view, "ASM_DATA")

    assert next_version(content, None) == 1
    assert next_version(content, (content.sha256, 4)) == 4
    assert next_version(content, ("0" * 64, 4)) == 5
    assert view_of(made, facts(), versions={content.path: (content.sha256, 1)}).key == view.key
    assert view_of(made, facts(), versions={content.path: ("0" * 64, 1)}).key != view.key


# Values that stick (ADR 2) and paths that may not move (ADR 3) ---------------------------------------------

HELD = {"c1": {"APM_TRACING": {"dynamic_instrumentation_enabled": True}}}


def test_a_held_value_that_nothing_asks_for_is_released_to_that_client_alone() -> None:
    view = view_of(Catalogue(ORG), facts("c1"), held=HELD)

    content, wanted = only(view, "APM_TRACING")

    assert orjson.loads(content.raw)["lib_config"]["dynamic_instrumentation_enabled"] is False
    assert wanted == ({"clientID": "c1"},)
    # A second process of the service holds nothing: the release would switch off its own setting.
    assert handed_out(view, facts("c2")) == set()


def test_a_held_value_is_not_released_while_a_config_asks_for_it() -> None:
    made = catalogue(config(1, "APM_TRACING", tracing(dynamic_instrumentation_enabled=True)))

    with_it = view_of(made, facts("c1"), facts("c2"), held=HELD)
    without = view_of(made, facts("c1"), facts("c2"))

    assert with_it.key == without.key
    assert with_it.wanted["c1"] == with_it.wanted["c2"]


def test_a_release_leaves_the_file_of_its_classmates_alone() -> None:
    made = catalogue(config(1, "APM_TRACING", tracing(tracing_sampling_rate=0.5)))

    view = view_of(made, facts("c1"), facts("c2"), held=HELD)

    assert view.wanted["c1"] != view.wanted["c2"]
    assert handed_out(view, facts("c2")) == set(view.wanted["c2"])
    alone = view_of(made, facts("c2"))
    assert view.wanted["c2"] == alone.wanted["c2"]


def test_only_the_languages_that_keep_a_value_are_sent_its_opposite() -> None:
    view = view_of(Catalogue(ORG), facts("c1", language="node"), held=HELD)

    assert view.entries == {}


def test_a_tracer_that_cannot_move_is_first_given_none() -> None:
    made = catalogue(config(1, "ASM_FEATURES", ASM_ON))
    node, python = facts("c1", language="node"), facts("c2", language="python")
    old = "datadog/7/ASM_FEATURES/0123456789abcdef/config"
    assert keeps("node", [old, "datadog/7/ASM_DATA/1/config"]) == {old}
    assert keeps("python", [old]) == frozenset()

    moving = view_of(made, node, python, keeping={"c1": frozenset({old}), "c2": frozenset({old})})
    moved = view_of(made, node, python, keeping={})
    staying = view_of(made, node, python, keeping={"c1": frozenset(moved.wanted["c1"])})

    assert moving.wanted["c1"] == ()
    assert handed_out(moving, node) == set()
    assert len(moving.wanted["c2"]) == 1
    assert len(moved.wanted["c1"]) == 1
    assert staying.wanted == moved.wanted


@pytest.mark.parametrize("product", sorted(PRODUCTS))
def test_every_product_is_listed_under_a_path_of_the_organisation(product: str) -> None:
    made = catalogue(config(1, product, PRODUCTS[product].example))

    content, _ = only(view_of(made, facts(products=frozenset({product}))), product)

    assert content.path.startswith(f"datadog/{ORG}/{product}/")
    assert content.path.endswith("/config")
    assert content.sources == {f"{1:016x}": 1}
