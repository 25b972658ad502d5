"""What holds for every product that is found, whoever adds the next one."""

from __future__ import annotations

import importlib
import json

import orjson
import pytest

from sealwire.errors import InvalidChangeError
from sealwire.products import PRODUCTS, ClientFacts, ConfigId, Product, Source, get
from sealwire.products.product import MAX_PAYLOAD_BYTES
from sealwire.products.schema import MAX_PROBLEMS

ALL = [pytest.param(product, id=name) for name, product in PRODUCTS.items()]
NON_OBJECTS = [None, True, 3, 0.5, "text", [], [{}]]


def test_the_five_products_are_found() -> None:
    assert {"ASM", "ASM_DATA", "ASM_DD", "ASM_FEATURES", "APM_TRACING"} <= set(PRODUCTS)


@pytest.mark.parametrize("product", ALL)
def test_a_product_lives_in_the_file_of_its_name(product: Product) -> None:
    module = importlib.import_module(f"sealwire.products.{product.name.lower()}")

    assert module.PRODUCT is product
    assert product.title
    assert product.summary.endswith(".")


@pytest.mark.parametrize("product", ALL)
def test_its_example_passes_its_own_check_without_a_warning(product: Product) -> None:
    assert product.check(product.example) == ()
    assert product.conflicts(product.example, {}) == ()
    assert product.warn(product.example, {}) == ()


@pytest.mark.parametrize("product", ALL)
def test_its_json_schema_is_json_and_names_every_key(product: Product) -> None:
    schema = product.json_schema()

    assert schema["type"] == "object"
    assert schema["title"] == product.title
    assert set(schema["properties"]) == set(product.shape.members)  # type: ignore[call-overload]
    assert schema["additionalProperties"] is False
    assert json.loads(json.dumps(schema)) == schema


@pytest.mark.parametrize("product", ALL)
@pytest.mark.parametrize("payload", NON_OBJECTS, ids=repr)
def test_what_is_not_an_object_is_refused_at_the_root(product: Product, payload: object) -> None:
    (problem,) = product.check(payload)

    assert problem.path == "$"
    assert problem.message.startswith("Expected an object")


@pytest.mark.parametrize("product", ALL)
def test_an_empty_payload_is_refused(product: Product) -> None:
    assert product.check({})


@pytest.mark.parametrize("product", ALL)
def test_an_unknown_key_is_refused_with_the_nearest_known_one(product: Product) -> None:
    key = max(product.shape.members, key=len)
    payload = {**product.example, key + "x": 1}

    problems = product.check(payload)

    assert [problem.path for problem in problems] == [f"$.{key}x"]
    assert f'Did you mean "{key}"?' in problems[0].message


@pytest.mark.parametrize("product", ALL)
def test_a_payload_over_a_megabyte_is_refused_with_its_size(product: Product) -> None:
    payload = {**product.example, "filler": "x" * MAX_PAYLOAD_BYTES}

    (problem,) = product.check(payload)

    assert problem.path == "$"
    assert "1 MB" in problem.message


@pytest.mark.parametrize("product", ALL)
@pytest.mark.parametrize("value", [2**70, "\ud800", {1: 2}], ids=["integer", "surrogate", "key"])
def test_what_json_cannot_hold_is_refused_and_does_not_raise(product: Product, value: object) -> None:
    problems = product.check({**product.example, "id": value})

    assert problems


@pytest.mark.parametrize("product", ALL)
def test_problems_are_capped(product: Product) -> None:
    problems = product.check({f"key{number}": 0 for number in range(200)})

    assert len(problems) == MAX_PROBLEMS


@pytest.mark.parametrize("product", ALL)
def test_the_same_payload_in_another_order_gives_the_same_bytes(product: Product) -> None:
    turned = dict(reversed(product.example.items()))

    assert product.render(turned) == product.render(product.example)
    assert orjson.loads(product.render(turned)) == product.example


@pytest.mark.parametrize("product", ALL)
def test_only_a_single_file_product_is_merged(product: Product) -> None:
    source = Source(config_id=ConfigId("0a"), revision=1, priority=1, payload=product.example)
    client = ClientFacts(client_id="c", service="shop", env="prod", language="python")

    if product.single_file:
        merged = product.merge([source], client)
        assert product.check(merged.payload) == ()
        assert set(merged.provenance.values()) == {"0a"}
        assert not product.merge([], client)
    else:
        with pytest.raises(RuntimeError):
            product.merge([source], client)


def test_an_unknown_product_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InvalidChangeError) as caught:
        get("ASM_DAT")

    (problem,) = caught.value.problems
    assert problem.path == "$.product"
    assert 'Did you mean "ASM_DATA"?' in problem.message
    assert "APM_TRACING" in problem.message
