"""Rows change by themselves, without taking anything away from who is reading."""

from __future__ import annotations

import http.client
import json
import ssl
import time
from typing import Any
from urllib.parse import urlsplit

from tests.browser.conftest import Visitor
from tests.support.processes import wait_until
from tests.support.simulated_fleet import FAILING, REFUSES_RULES, WELL, SimulatedFleet
from tests.support.stack import ControlPlane

HOST = "ip-10-2-7-12"
ROW = f"#rows tr:has-text('{HOST}'):has(td.main a:text-is('shop'))"


def test_a_row_changes_when_its_client_reports(visitor: Visitor, fleet: SimulatedFleet) -> None:
    page = visitor.visit(f"/fleet?q=host:{HOST}")
    fleet.poll()
    page.locator(ROW).get_by_text("Connected").wait_for()
    page.evaluate("window.before = document.querySelector('#rows tr')")

    fleet.replies[HOST] = REFUSES_RULES
    try:
        fleet.report(HOST)

        page.locator(ROW).get_by_text("Config error").wait_for()
        assert "1 failed" in page.locator(ROW).inner_text()
        page.locator("#announcement", has_text="2 with a config error").wait_for(state="attached")
        still_there = page.evaluate("document.contains(window.before)")
        assert still_there, "the row was replaced and not morphed"
    finally:
        fleet.replies[HOST] = WELL
        fleet.report(HOST)
    page.locator(ROW).get_by_text("Connected").wait_for()


def test_focus_typed_text_and_open_details_outlive_a_change(visitor: Visitor, fleet: SimulatedFleet) -> None:
    page = visitor.visit(f"/fleet/clients/{FAILING}")
    opened = page.locator("#effective details").first
    opened.locator("summary").click()
    opened.locator("summary").focus()

    fleet.replies["ip-10-2-7-9"] = WELL
    try:
        fleet.report("ip-10-2-7-9")
        page.locator("#standing").get_by_text("Connected").wait_for()

        assert opened.evaluate("one => one.open")
        assert page.evaluate("document.activeElement.tagName") == "SUMMARY"
    finally:
        fleet.replies["ip-10-2-7-9"] = REFUSES_RULES
        fleet.report("ip-10-2-7-9")


def test_pause_keeps_what_is_shown_and_resume_brings_what_was_missed(
    visitor: Visitor, fleet: SimulatedFleet
) -> None:
    page = visitor.visit(f"/fleet?q=host:{HOST}")
    fleet.poll()
    page.locator(ROW).get_by_text("Connected").wait_for()
    page.get_by_role("button", name="Pause").click()
    page.get_by_text("Paused · as of").wait_for()

    fleet.replies[HOST] = REFUSES_RULES
    try:
        fleet.report(HOST)
        page.wait_for_timeout(2500)  # two events that must not come
        assert "Connected" in page.locator(ROW).inner_text()

        page.get_by_role("button", name="Resume").click()

        page.locator(ROW).get_by_text("Config error").wait_for()
        page.get_by_text("Live ·").wait_for()
    finally:
        fleet.replies[HOST] = WELL
        fleet.report(HOST)


def test_a_stream_sends_at_most_one_event_a_second(
    control_plane: ControlPlane, fleet: SimulatedFleet
) -> None:
    events = _events(control_plane, "/live/fleet", seconds=4, meanwhile=lambda: fleet.poll())

    assert 1 <= sum("data:" in one and "event:" not in one for one in events) <= 5


def test_what_is_done_elsewhere_comes_to_the_pages_of_the_organisation(
    visitor: Visitor, control_plane: ControlPlane
) -> None:
    api, page = control_plane.api, visitor.page

    visitor.visit("/people")
    api.post("/users", {"email": "late@example.org", "name": "Late", "roles": [{"role_id": "read_only"}]})
    page.locator("#rows").get_by_text("late@example.org").wait_for()

    visitor.visit("/people/roles")
    api.post("/roles", {"name": "late watchers", "permissions": ["fleet_read"]})
    page.locator("#rows").get_by_text("late watchers").wait_for()

    visitor.visit("/trust")
    before = page.locator("#director-root dd").first.inner_text()
    api.post("/roots/director:rotate")
    page.wait_for_function("one => document.querySelector('#director-root dd').innerText !== one", arg=before)

    hook = api.post(
        "/webhooks", {"name": "late", "url": "https://127.0.0.1:9/", "events": ["agent.error"]}
    )  # nobody listens there
    visitor.visit(f"/webhooks/{hook['id']}")
    page.locator("#no_calls b").wait_for()
    api.post(f"/webhooks/{hook['id']}/test")
    page.locator("#calls li").get_by_text("Not taken").wait_for()
    assert page.locator("#no_calls b").count() == 0


def test_events_come_on_top_of_the_trail_and_what_one_reads_stays_where_it_is(
    visitor: Visitor, control_plane: ControlPlane
) -> None:
    page = visitor.visit("/audit")
    read = page.locator("#events tr").nth(3)
    read.locator("summary").first.click()
    page.mouse.move(5, 5)
    row = read.get_attribute("id")
    place = f"document.getElementById('{row}').getBoundingClientRect().top"
    for scrolled in (0, 250):
        page.evaluate(f"window.scrollTo(0, {scrolled})")
        before = page.evaluate(place)

        control_plane.api.new_api_key(f"after {scrolled} px")
        page.locator("#events tr").first.get_by_text(f"Made the API key after {scrolled} px").wait_for()

        assert abs(page.evaluate(place) - before) < 1
        assert page.evaluate(f"document.querySelector('#{row} details').open")


def test_without_scripts_a_page_says_everything(
    chromium: Any, control_plane: ControlPlane, fleet: SimulatedFleet
) -> None:
    visitor = Visitor(chromium, control_plane, java_script_enabled=False)

    page = visitor.page
    page.goto("/fleet?q=service:shop")

    assert page.locator("#rows tr").count() > 0
    assert " UTC" in page.locator("#rows tr td").last.inner_text()
    visitor.close()


def test_who_is_not_signed_in_is_sent_to_sign_in_and_back(
    chromium: Any, control_plane: ControlPlane, fleet: SimulatedFleet
) -> None:
    visitor = Visitor(chromium, control_plane, extra_http_headers={})

    visitor.page.goto("/fleet?q=service:shop")

    assert visitor.page.url == f"{control_plane.url}/sign-in?next=/fleet%3Fq%3Dservice%3Ashop"
    visitor.close()


def test_a_server_that_stops_is_told_as_old_data(chromium: Any, tmp_path: Any) -> None:
    own = ControlPlane(tmp_path / "own")
    visitor = Visitor(chromium, own)
    visitor.page.goto("/fleet")
    visitor.page.get_by_text("Live ·").wait_for()

    assert own.stop() == 0

    visitor.page.get_by_text("Not live · as of").wait_for(timeout=20_000)
    visitor.close()


def _events(control_plane: ControlPlane, path: str, *, seconds: float, meanwhile: Any) -> list[str]:
    parts = urlsplit(control_plane.url)
    context = ssl.create_default_context(cafile=str(control_plane.ca_file))
    connection = http.client.HTTPSConnection(parts.hostname or "", parts.port, timeout=10, context=context)
    connection.request("GET", path, headers={"DD-Application-Key": control_plane.application_key})
    response = connection.getresponse()
    assert response.status == 200, json.loads(response.read())
    assert response.headers["content-type"].startswith("text/event-stream")
    received = b""
    ends = time.monotonic() + seconds

    def more() -> bool:
        nonlocal received
        meanwhile()
        received += response.read1()
        return time.monotonic() > ends

    wait_until(more, "the time is over", timeout_s=seconds + 10)
    connection.close()
    return received.decode().split("\n\n")
