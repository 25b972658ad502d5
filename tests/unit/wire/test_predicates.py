"""Whether a config is meant for a client."""

from __future__ import annotations

from typing import Any

import pytest

from sealwire.errors import MalformedError, OversizeError
from sealwire.wire import remoteconfig_pb2 as pb
from sealwire.wire.predicates import matches

NOW_S = 1_800_000_000


def tracer(**changes: str) -> pb.Client:
    facts = {
        "runtime_id": "r-1",
        "language": "python",
        "tracer_version": "4.16.0",
        "service": "shop",
        "env": "prod",
        "app_version": "1.2.3",
    }
    return pb.Client(id="c-1", is_tracer=True, client_tracer=pb.ClientTracer(**{**facts, **changes}))


def custom(*predicates: dict[str, Any]) -> dict[str, object]:
    return {"v": 1, "tracer-predicates": {"tracer_predicates_v1": list(predicates)}}


@pytest.mark.parametrize(
    "of_everyone",
    [
        {},
        {"v": 7},
        {"tracer-predicates": None},
        {"tracer-predicates": {}},
        {"tracer-predicates": {"tracer_predicates_v1": None}},
        {"tracer-predicates": {"tracer_predicates_v1": []}},
        {"tracer-predicates": {"other": 1}},
    ],
)
def test_a_config_without_predicates_is_for_every_client(of_everyone: dict[str, object]) -> None:
    assert matches(of_everyone, tracer(), now_s=NOW_S)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("clientID", "c-1"),
        ("service", "shop"),
        ("environment", "prod"),
        ("appVersion", "1.2.3"),
        ("tracerVersion", ">=4.0.0"),
        ("language", "python"),
        ("runtimeID", "r-1"),
    ],
)
def test_one_field_that_holds_is_enough_when_it_is_alone(field: str, value: str) -> None:
    assert matches(custom({field: value}), tracer(), now_s=NOW_S)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("clientID", "c-2"),
        ("service", "other"),
        ("service", "Shop"),
        ("service", "sho*"),
        ("environment", "PROD"),
        ("appVersion", "1.2"),
        ("tracerVersion", "<4.16.0"),
        ("language", "node"),
        ("runtimeID", "c-1"),
    ],
)
def test_a_field_that_does_not_hold_to_the_letter_keeps_the_config_back(field: str, value: str) -> None:
    assert not matches(custom({"clientID": "c-1", field: value}), tracer(), now_s=NOW_S)


def test_all_fields_of_a_predicate_must_hold() -> None:
    assert matches(custom({"service": "shop", "environment": "prod"}), tracer(), now_s=NOW_S)
    assert not matches(custom({"service": "shop", "environment": "test"}), tracer(), now_s=NOW_S)


def test_one_of_several_predicates_must_hold() -> None:
    assert matches(custom({"service": "other"}, {"environment": "prod"}), tracer(), now_s=NOW_S)
    assert not matches(custom({"service": "other"}, {"environment": "test"}), tracer(), now_s=NOW_S)


@pytest.mark.parametrize("empty", ["", None])
def test_an_empty_field_says_nothing(empty: str | None) -> None:
    assert matches(custom({"service": empty, "environment": "prod"}), tracer(), now_s=NOW_S)


def test_a_predicate_without_any_field_is_for_every_client() -> None:
    assert matches(custom({}), tracer(), now_s=NOW_S)
    assert matches(custom({"future_field": {"a": 1}}), tracer(), now_s=NOW_S)


def test_extra_services_do_not_count_as_the_service() -> None:
    client = tracer()
    client.client_tracer.extra_services.append("worker")

    assert not matches(custom({"service": "worker"}), client, now_s=NOW_S)


@pytest.mark.parametrize(
    "client",
    [
        pb.Client(id="c-1", is_agent=True, client_agent=pb.ClientAgent(name="trace-agent")),
        pb.Client(id="c-1", is_updater=True, client_updater=pb.ClientUpdater()),
    ],
)
def test_a_client_that_is_no_tracer_is_asked_for_its_id_only(client: pb.Client) -> None:
    assert matches(custom({"service": "other", "tracerVersion": "rubbish"}), client, now_s=NOW_S)
    assert matches(custom({"clientID": "c-1", "language": "go"}), client, now_s=NOW_S)
    assert not matches(custom({"clientID": "c-2"}), client, now_s=NOW_S)


@pytest.mark.parametrize(
    ("expires", "live"),
    [(0, True), (None, True), (NOW_S + 1, True), (NOW_S, True), (NOW_S - 1, False), (-1, False)],
)
def test_a_config_is_for_nobody_once_its_time_is_past(expires: int | None, live: bool) -> None:
    assert matches({"expires": expires}, tracer(), now_s=NOW_S) is live


@pytest.mark.parametrize(
    "expires", ["1800000000", 1.8e9, True, [], 2**63, pytest.param(10**5000, id="10**5000")]
)
def test_an_expiry_that_is_no_number_of_seconds_is_refused(expires: object) -> None:
    with pytest.raises(MalformedError, match="expires"):
        matches({"expires": expires}, tracer(), now_s=NOW_S)


@pytest.mark.parametrize(
    "broken",
    [
        {"tracer-predicates": []},
        {"tracer-predicates": "all"},
        {"tracer-predicates": {"tracer_predicates_v1": {}}},
        {"tracer-predicates": {"tracer_predicates_v1": "x"}},
        {"tracer-predicates": {"tracer_predicates_v1": [None]}},
        {"tracer-predicates": {"tracer_predicates_v1": ["x"]}},
        {"tracer-predicates": {"tracer_predicates_v1": [{"service": 1}]}},
        {"tracer-predicates": {"tracer_predicates_v1": [{"tracerVersion": ["4.16.0"]}]}},
    ],
)
def test_predicates_that_cannot_be_read_are_refused(broken: dict[str, object]) -> None:
    with pytest.raises(MalformedError):
        matches(broken, tracer(), now_s=NOW_S)


def test_a_broken_predicate_is_refused_even_behind_one_that_matches() -> None:
    with pytest.raises(MalformedError):
        matches(custom({"service": "shop"}, {"service": 5}), tracer(), now_s=NOW_S)


def test_broken_predicates_are_refused_even_when_the_config_has_expired() -> None:
    with pytest.raises(MalformedError):
        matches({"expires": 1, "tracer-predicates": 7}, tracer(), now_s=NOW_S)


@pytest.mark.parametrize("constraint", ["rubbish", ">=4.0.0 <5.0.0", ">= 1.0, ", "4.16.0rc1"])
def test_a_constraint_that_cannot_be_read_is_refused(constraint: str) -> None:
    with pytest.raises(MalformedError):
        matches(custom({"tracerVersion": constraint}), tracer(), now_s=NOW_S)


@pytest.mark.parametrize("version", ["", "2.9.0rc1", "4.x", "latest"])
def test_a_tracer_version_that_cannot_be_read_is_refused_once_it_is_compared(version: str) -> None:
    client = tracer(tracer_version=version)

    assert matches(custom({"service": "shop"}), client, now_s=NOW_S)
    with pytest.raises(MalformedError):
        matches(custom({"tracerVersion": ">=1.0.0"}), client, now_s=NOW_S)


def test_a_go_tracer_says_its_version_with_a_v() -> None:
    assert matches(custom({"tracerVersion": ">=2.0.0"}), tracer(tracer_version="v2.11.0"), now_s=NOW_S)


def test_a_constraint_as_long_as_a_book_is_refused() -> None:
    with pytest.raises(OversizeError):
        matches(custom({"tracerVersion": "1.0.0 ||" * 1000}), tracer(), now_s=NOW_S)
