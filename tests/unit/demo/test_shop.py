"""The sample shop and its visitors."""

from __future__ import annotations

import itertools
import random
import sys
from types import SimpleNamespace

import pytest

from sealwire.demo import traffic
from sealwire.demo.shop import PASSWORD, make_shop, numbers_like

shop = make_shop(secret=b"test")


@pytest.mark.parametrize("path", ["/", "/product/1", "/search?q=wax", "/login", "/cart", "/healthz"])
def test_every_page_opens(path: str) -> None:
    assert shop.test_client().get(path).status_code == 200


def test_the_front_page_shows_where_the_visitor_comes_from() -> None:
    page = shop.test_client().get("/", headers={"X-Forwarded-For": "203.0.113.7, 10.0.0.1"}).text

    assert "<strong>203.0.113.7</strong>" in page


@pytest.mark.parametrize("where", ["/search?q=<script>", "/"])
def test_what_a_visitor_sends_is_shown_as_text(where: str) -> None:
    page = shop.test_client().get(where, headers={"X-Forwarded-For": "<script>"}).text

    assert "&lt;script&gt;" in page
    assert "<script>" not in page


def test_the_cart_keeps_what_was_put_in() -> None:
    visitor = shop.test_client()

    visitor.post("/cart", data={"number": "3"})

    assert "Carrier pigeon" in visitor.get("/cart").text
    assert visitor.post("/cart", data={"number": "99"}).status_code == 400


def test_logins_are_told_to_a_tracer_that_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[str, str]] = []
    sdk = SimpleNamespace(
        track_login_success=lambda login, user_id: told.append(("success", user_id)),
        track_login_failure=lambda login, exists, user_id: told.append(("failure", user_id)),
    )
    monkeypatch.setitem(sys.modules, "ddtrace", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "ddtrace.appsec", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "ddtrace.appsec.track_user_sdk", sdk)
    visitor = shop.test_client()

    assert visitor.post("/login", data={"login": "mallory", "password": "guess"}).status_code == 401
    assert visitor.post("/login", data={"login": "mallory", "password": PASSWORD}).status_code == 302

    assert told == [("failure", "mallory"), ("success", "mallory")]
    assert "Hello, mallory" in visitor.get("/").text


def test_a_search_finds_by_any_part_of_the_text_and_takes_it_as_text() -> None:
    assert list(numbers_like("PIGEON")) == [3]
    assert list(numbers_like("' or 1=1 --")) == []


def test_visits_come_from_reserved_addresses_only() -> None:
    for path, address in itertools.islice(traffic.visits(random.Random(1)), 200):
        assert path.startswith("/")
        assert address.startswith(("198.51.100.", "203.0.113.", "192.0.2.", "2001:db8:"))


def test_only_changes_of_what_an_address_gets_are_said() -> None:
    seen: dict[str, int] = {}
    said: list[str] = []

    for status in (200, 200, 403, 403, None, 200):
        traffic.changes(seen, "203.0.113.7", status, said.append)

    assert said == ["203.0.113.7 gets 403 Forbidden (was 200)", "203.0.113.7 gets 200 OK (was 403)"]
