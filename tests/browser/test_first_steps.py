"""First steps and Protect, in what a picture does not show: what turns green, what asks again."""

from __future__ import annotations

import json
import re

from tests.browser.conftest import SCREENSHOTS, Visitor
from tests.browser.test_pages import AXE
from tests.support.simulated_fleet import SimulatedFleet
from tests.support.stack import ControlPlane


def test_the_command_is_shown_once_and_its_agent_turns_the_step_green(
    visitor: Visitor, control_plane: ControlPlane
) -> None:
    page = visitor.visit("/start")
    page.get_by_text("Connect another agent").click()
    page.get_by_label("Name of its API key").fill("hosts of the test")
    page.get_by_role("button", name="Make the command").click()

    line = page.locator("#command").inner_text()
    api_key = re.search(r"DD_API_KEY=([0-9a-f]{32}) sh ", line)
    assert api_key is not None, line
    page.locator("#agent").get_by_text("Waiting for an agent that asks with this key").wait_for()
    page.screenshot(path=SCREENSHOTS / "start-command-light-wide.png", full_page=True)
    newcomers = SimulatedFleet(control_plane, api_key=api_key[1])
    newcomers.add("fresh-host-1", services=())
    newcomers.settle()

    page.locator("#agent").get_by_text("Your agent is connected.").wait_for()
    assert page.locator("#agent").get_by_role("link", name="fresh-host-1").first.is_visible()
    page.goto("/start")
    assert page.locator("#command").count() == 0
    assert api_key[1] not in page.content()


def test_a_name_that_cannot_be_used_is_said_beside_its_field(visitor: Visitor) -> None:
    page = visitor.visit("/start")
    page.get_by_text("Connect another agent").click()
    page.get_by_label("Name of its API key").fill("x" * 200)
    page.get_by_role("button", name="Make the command").click()

    assert page.get_by_label("Name of its API key").get_attribute("aria-invalid") == "true"
    assert page.get_by_label("Name of its API key").input_value() == "x" * 200
    visitor.complaints = [one for one in visitor.complaints if "422" not in one]


def test_a_range_that_may_hurt_is_asked_about_with_numbers_and_wants_its_name_typed(
    visitor: Visitor, control_plane: ControlPlane
) -> None:
    page = visitor.visit("/protect/block")
    page.get_by_label("Who").fill("10.0.0.0/8\n127.0.0.1")
    page.get_by_label("Reason").fill("a slip of the finger")
    page.locator("form.form").get_by_role("button", name="Block").click()

    assert page.get_by_role("heading", name="This may hurt").is_visible()
    said = page.locator(".risks").inner_text()
    assert "16,777,216 addresses" in said
    assert "private range" in said
    assert "You are at 127.0.0.1 yourself" in said
    assert "agents ask from there" in said or "An agent asks from there" in said
    page.screenshot(path=SCREENSHOTS / "protect-sure-light-wide.png", full_page=True)
    page.get_by_label("Type 10.0.0.0/8 to confirm").fill("yes")
    page.get_by_role("button", name="Block nevertheless").click()
    assert page.get_by_label("Type 10.0.0.0/8 to confirm").get_attribute("aria-invalid") == "true"
    listed = control_plane.api.get("/protect/denylist")["entries"]
    assert "10.0.0.0/8" not in {entry["value"] for entry in listed}

    page.get_by_label("Type 10.0.0.0/8 to confirm").fill("10.0.0.0/8")
    page.get_by_role("button", name="Block nevertheless").click()

    page.wait_for_url("**/protect/denylist")
    row = page.locator("#entries tr").filter(has_text="10.0.0.0/8")
    assert row.get_by_text("a slip of the finger").is_visible()
    row.get_by_role("button", name="Unblock").click()
    page.get_by_text("Unblocked 10.0.0.0/8").wait_for()
    page.locator("#entries tr").filter(has_text="127.0.0.1").get_by_role("button", name="Unblock").click()
    page.get_by_text("Unblocked 127.0.0.1").wait_for()
    visitor.complaints = [one for one in visitor.complaints if "422" not in one]


def test_the_page_that_asks_again_has_no_serious_barrier(
    visitor: Visitor, control_plane: ControlPlane
) -> None:
    page = visitor.context.browser.new_page(
        ignore_https_errors=True, bypass_csp=True,
        extra_http_headers={"DD-Application-Key": control_plane.application_key},
    )  # fmt: skip
    page.goto(f"{visitor.url}/protect/block")
    page.get_by_label("Who").fill("0.0.0.0/0")
    page.locator("form.form").get_by_role("button", name="Block").click()
    page.get_by_role("heading", name="This may hurt").wait_for()
    page.evaluate(AXE.read_text())
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    page.close()

    serious = [one for one in found["violations"] if one["impact"] in ("serious", "critical")]
    assert serious == [], json.dumps(serious, indent=2)


def test_what_is_no_address_is_said_and_what_was_typed_stays(visitor: Visitor) -> None:
    page = visitor.visit("/protect/block")
    page.get_by_label("Who").fill("203.0.113.7\nexample.org")
    page.get_by_label("How long").select_option("7 days")
    page.locator("form.form").get_by_role("button", name="Block").click()

    assert "'example.org' is not an IP address" in page.locator("#about-values").inner_text()
    assert page.get_by_label("Who").input_value() == "203.0.113.7\nexample.org"
    assert page.get_by_label("How long").input_value() == "1w"
    visitor.complaints = [one for one in visitor.complaints if "422" not in one]


def test_a_user_is_blocked_for_one_service_and_extended(
    visitor: Visitor, control_plane: ControlPlane
) -> None:
    page = visitor.visit("/protect/block")
    page.get_by_label("User id").check()
    page.get_by_label("Who").fill("<b>mallory</b>")
    page.get_by_text("Only for some services").click()
    page.get_by_label("Services").fill("shop")
    page.locator("form.form").get_by_role("button", name="Block").click()

    row = page.locator("#entries tr").filter(has_text="<b>mallory</b>")
    assert row.get_by_text("service shop").is_visible()
    row.get_by_role("link", name="Extend").click()
    assert page.get_by_label("User id").is_checked()
    assert page.get_by_label("Who").input_value() == "<b>mallory</b>"
    assert page.get_by_label("Services").input_value() == "shop"
    page.get_by_label("How long").select_option("until unblocked")
    page.locator("form.form").get_by_role("button", name="Block").click()

    page.locator("#entries tr").filter(has_text="when unblocked").filter(has_text="mallory").wait_for()
    row.get_by_role("button", name="Unblock").click()
    page.get_by_text("nobody is left on this list").wait_for()


def test_attack_detection_goes_off_only_when_the_service_is_typed(
    visitor: Visitor, control_plane: ControlPlane
) -> None:
    page = visitor.visit("/protect")
    row = page.locator("#services tr").filter(has_text="checkout").filter(has_text="staging")
    row.get_by_role("link", name="Switch off").click()
    page.get_by_role("button", name="Switch off").click()
    page.get_by_label("Type checkout to confirm").fill("checkout")
    page.get_by_role("button", name="Switch off").click()

    page.wait_for_url("**/protect")
    row.get_by_role("link", name="Switch on").click()
    page.get_by_role("button", name="Switch on").click()
    page.wait_for_url("**/protect")
    row.get_by_role("link", name="Switch off").wait_for()
    target = {"service": ["checkout"], "env": ["staging"]}
    assert control_plane.api.post("/protect/activation", {"wanted": "unset", **target})["changed"]
    visitor.complaints = [one for one in visitor.complaints if "422" not in one]
