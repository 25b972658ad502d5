"""Names come from applications that anybody may run: nothing in them acts, and every one can be opened."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.browser.conftest import Visitor
from tests.support.simulated_agent import tracer
from tests.support.simulated_fleet import SimulatedFleet
from tests.support.stack import ControlPlane

STRANGE = (
    "<script>document.title='owned'</script>",
    '"><img src=x onerror=alert(1)>',
    "a/b?c=d#e%2F&f",
    "магазин 商店 🛒",
    "{{ 7*7 }} ${7*7}",
    "javascript:alert(1)",
    "x" * 190,
)


def test_strange_names_are_shown_as_they_are_and_lead_to_their_page(chromium: Any, tmp_path: Path) -> None:
    with ControlPlane(tmp_path / "own") as own:
        fleet = SimulatedFleet(own)
        agent = fleet.add("<b>host</b>", services=())
        for name in STRANGE:
            agent.clients[name] = tracer(name, service=name, env=name[:50], app_version=name[:50])
        own.api.create("ASM_FEATURES", {"asm": {"enabled": True}}, name="<script>alert(1)</script>")
        fleet.settle()
        visitor = Visitor(chromium, own, viewport={"width": 390, "height": 800})
        page = visitor.visit("/fleet")

        shown = page.locator("#rows td.main a").all_inner_texts()
        assert sorted(shown) == sorted(STRANGE)
        for name in STRANGE:
            page = visitor.visit("/fleet")
            page.locator("#rows td.main a", has_text=name).click()
            page.locator("h1", has_text=name).wait_for()
            page.locator("#reasons").get_by_text("<script>alert(1)</script>").wait_for()
            wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
            assert page.evaluate(wide) <= 0
        visitor.visit("/")
        visitor.visit("/fleet?tab=agents&q=<script>alert(1)</script>")

        found = visitor.all_complaints()
        visitor.close()
    assert found == []


@pytest.mark.parametrize(
    "path", ["/static/x/../../pages.py", "/static/x/%2e%2e/pages.py", "/static/x/nothing"]
)
def test_nothing_but_static_files_is_served_as_such(path: str, control_plane: ControlPlane) -> None:
    assert control_plane.api.request("GET", path).status == 404


def test_a_static_file_is_kept_for_a_year_under_its_hash_only(control_plane: ControlPlane) -> None:
    home = control_plane.api.request("GET", "/", headers={"Accept": "text/html"})
    css = next(part for part in home.body.decode().split('"') if part.endswith("/app.css"))

    kept = control_plane.api.request("GET", css)
    other = control_plane.api.request("GET", css.replace(css.split("/")[2], "0" * 16))

    assert kept.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert kept.headers["content-type"] == "text/css; charset=utf-8"
    assert other.headers["cache-control"] == "no-cache"
    assert home.headers["cache-control"] == "private, no-store"
    assert home.headers["referrer-policy"] == "same-origin"


def test_who_asks_for_json_is_answered_in_json(control_plane: ControlPlane) -> None:
    api = control_plane.api

    missing = api.request("GET", "/api/admin/v1/nothing", headers={"Accept": "text/html"})
    unknown = api.request("GET", "/nothing")
    page = api.request("GET", "/nothing", headers={"Accept": "text/html"})

    assert missing.headers["content-type"] == unknown.headers["content-type"] == "application/problem+json"
    assert (page.status, page.headers["content-type"]) == (404, "text/html; charset=utf-8")
