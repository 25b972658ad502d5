"""Writing configs in a real browser: by keyboard, as JSON, by two people, and with far too much of it."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.browser.conftest import Visitor
from tests.browser.test_pages import WIDTHS, barriers, too_wide
from tests.support.payloads import denied_ips, tracing
from tests.support.simulated_fleet import SimulatedFleet
from tests.support.stack import ControlPlane

NEW = "/configs/new?product="
SCRIPT = "<script>document.title='owned'</script>\"'><img src=x onerror=alert(1)>"
EDITOR = "json-editor .cm-content"
CONFIG = re.compile(r"/configs/[0-9a-f]{16}$")


@pytest.fixture
def person(chromium: Any, control_plane: ControlPlane, fleet: SimulatedFleet) -> Iterator[Visitor]:
    """Somebody whose browser has nothing to complain of; their configs are retired afterwards."""
    before = {config["id"] for config in control_plane.api.get("/configs")["configs"]}
    somebody = Visitor(chromium, control_plane)
    yield somebody
    found = somebody.all_complaints()
    somebody.close()
    for config in control_plane.api.get("/configs")["configs"]:
        if config["id"] not in before:
            control_plane.api.delete(f"/configs/{config['id']}")
    assert found == []


def named(control_plane: ControlPlane, name: str) -> dict[str, Any]:
    (found,) = [one for one in control_plane.api.get("/configs")["configs"] if one["name"] == name]
    return dict(found)


def to(page: Any, what: str) -> None:
    """Press Tab until the element with this name, id or text has the focus."""
    for _ in range(200):
        page.keyboard.press("Tab")
        here = page.evaluate(
            "(() => { const e = document.activeElement; "
            "return [e.name ?? '', e.id, (e.textContent ?? '').trim(), e.value ?? '', e.localName]; })()"
        )
        if what in here[:3] or (here[0] == "do" and here[3] == what) or here[4] == what:
            return
    raise AssertionError(f"Tab never came to {what}")


def test_a_denylist_is_written_by_keyboard_alone(person: Visitor, control_plane: ControlPlane) -> None:
    page = person.visit(NEW + "ASM_DATA")
    to(page, "p.rules_data.0.data.0.value")
    page.keyboard.type("203.0.113.71")
    to(page, "add:p.rules_data.0.data")
    page.keyboard.press("Enter")
    page.locator(":focus[name='p.rules_data.0.data.1.value']").wait_for()
    page.keyboard.type("2001:db8:71::/48")
    to(page, "t.service")
    page.keyboard.type("shop")
    to(page, "in-name")
    page.keyboard.type("By keyboard")
    page.get_by_text("9 of 29 clients would get it now").wait_for()
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Review: By keyboard").wait_for()

    assert page.get_by_text("Blocks 2 addresses: 203.0.113.71, 2001:db8:71::/48").is_visible()
    to(page, "Publish")
    page.keyboard.press("Enter")
    page.wait_for_url(CONFIG)

    made = named(control_plane, "By keyboard")
    assert made["payload"] == denied_ips("203.0.113.71", "2001:db8:71::/48")
    assert made["targeting"] == {"service": ["shop"]}
    assert page.get_by_text("Published By keyboard, revision 1.").is_visible()


def test_tracing_is_written_by_keyboard_alone(person: Visitor, control_plane: ControlPlane) -> None:
    page = person.visit("/configs/new")
    to(page, "a")
    page.get_by_role("link", name="Tracing Sampling").focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**product=APM_TRACING")
    to(page, "p.lib_config.tracing_enabled")
    page.keyboard.press("ArrowRight")
    to(page, "p.lib_config.tracing_sampling_rate")
    page.keyboard.type("0.125")
    to(page, "set:p.lib_config.tracing_sampling_rules")
    page.keyboard.press("Enter")
    page.locator(":focus[name='p.lib_config.tracing_sampling_rules.0.sample_rate']").wait_for()
    page.keyboard.type("1")
    to(page, "p.lib_config.tracing_sampling_rules.0.provenance")
    page.keyboard.type("cust")
    to(page, "p.lib_config.tracing_sampling_rules.0.service")
    page.keyboard.type("shop")
    to(page, "in-name")
    page.keyboard.type("Tracing by keyboard")
    to(page, "expiry")
    page.keyboard.type("In an hour")
    to(page, "comment")
    page.keyboard.type("a try")
    to(page, "Review")
    page.keyboard.press("Enter")
    page.get_by_text("Sampling rate 0.125").wait_for()
    to(page, "Publish")
    page.keyboard.press("Enter")
    page.wait_for_url(CONFIG)

    made = named(control_plane, "Tracing by keyboard")
    rule = {"sample_rate": 1, "provenance": "customer", "service": "shop"}
    assert made["payload"] == tracing(
        tracing_enabled=True, tracing_sampling_rate=0.125, tracing_sampling_rules=[rule]
    )  # fmt: skip
    assert made["expires_at"] is not None


def test_json_is_a_tab_on_the_same_draft_both_ways(person: Visitor, control_plane: ControlPlane) -> None:
    page = person.visit(NEW + "APM_TRACING")
    page.get_by_label("Sampling rate").fill("0.5")
    page.get_by_label("Name", exact=True).fill("Both ways")
    page.get_by_role("button", name="JSON").click()
    editor = page.locator(EDITOR)
    editor.wait_for()
    assert json.loads(editor.inner_text().replace("\xa0", " ")) == tracing(tracing_sampling_rate=0.5)

    editor.press("ControlOrMeta+a")
    page.keyboard.insert_text('{"lib_config": {"tracing_sampling_rate": 7,\n "log_injection_enabled": true}}')
    page.get_by_role("button", name="Review", exact=True).last.click()
    page.get_by_text("One thing is not right yet.").wait_for()
    page.locator("json-editor .cm-lintRange-error").wait_for()
    assert page.locator("json-editor .cm-lintRange-error").inner_text() == "7"
    page.get_by_role("button", name="Form", exact=True).click()

    rate = page.get_by_label("Sampling rate")
    assert rate.input_value() == "7"
    assert page.get_by_role("radio", name="On").nth(1).is_checked()
    assert page.get_by_label("Name", exact=True).input_value() == "Both ways"
    rate.fill("0.75")
    page.get_by_role("button", name="Review", exact=True).last.click()
    page.get_by_role("button", name="Publish").click()
    page.wait_for_url(CONFIG)
    assert named(control_plane, "Both ways")["payload"] == tracing(
        tracing_sampling_rate=0.75, log_injection_enabled=True
    )  # fmt: skip


def test_json_that_is_none_stays_as_typed_with_the_place_of_the_mistake(person: Visitor) -> None:
    page = person.visit(NEW + "APM_TRACING")
    page.get_by_role("button", name="JSON").click()
    editor = page.locator(EDITOR)
    editor.press("ControlOrMeta+a")
    page.keyboard.insert_text('{"lib_config": \n oops')
    page.get_by_role("button", name="Form", exact=True).click()

    page.get_by_text("This is not JSON: a value is missing at line 2, column 2.").wait_for()
    assert "oops" in page.locator(EDITOR).inner_text()


def test_two_people_edit_one_config(chromium: Any, person: Visitor, control_plane: ControlPlane) -> None:
    made = control_plane.api.create("APM_TRACING", tracing(tracing_sampling_rate=0.1), name="Of two")
    other = Visitor(chromium, control_plane)
    mine, theirs = person.visit(f"/configs/{made['id']}/edit"), other.visit(f"/configs/{made['id']}/edit")
    mine.get_by_label("Sampling rate").fill("0.5")
    mine.get_by_role("button", name="Review", exact=True).last.click()
    theirs.get_by_role("radio", name="On").nth(1).check(force=True)
    theirs.get_by_role("button", name="Review", exact=True).last.click()
    theirs.get_by_role("button", name="Publish").click()
    theirs.wait_for_url(CONFIG)

    mine.get_by_role("button", name="Publish").click()
    mine.get_by_role("heading", name="Of two: somebody else was first").wait_for()
    assert mine.get_by_text("Log injection not set → on").is_visible()
    assert mine.get_by_text("Sampling rate 0.1 → 0.5").is_visible()
    mine.get_by_role("button", name="Put mine on top of theirs").click()
    assert mine.get_by_label("Sampling rate").input_value() == "0.5"
    assert mine.get_by_role("radio", name="On").nth(1).is_checked()
    mine.get_by_role("button", name="Review", exact=True).last.click()
    mine.get_by_role("button", name="Publish").click()
    mine.wait_for_url(CONFIG)

    complaints = other.all_complaints()
    other.close()
    assert complaints == []
    assert named(control_plane, "Of two")["payload"] == tracing(
        tracing_sampling_rate=0.5, log_injection_enabled=True
    )  # fmt: skip


def test_scripts_in_every_field_do_nothing(person: Visitor) -> None:
    page = person.visit(NEW + "ASM")
    page.get_by_role("button", name="Put in an example").click()
    page.get_by_text("Action 1: teapot").wait_for()
    for field in page.locator("#config-form input:visible:not([type=radio], [type=datetime-local])").all():
        field.fill(SCRIPT)
    page.wait_for_timeout(600)  # the count of clients is asked for
    page.get_by_role("button", name="Review", exact=True).last.click()
    page.get_by_text("not right yet").wait_for()
    page.get_by_role("button", name="JSON").click()
    page.locator(EDITOR).wait_for()
    page.get_by_role("button", name="Form", exact=True).click()
    page.get_by_role("button", name="Put in an example").wait_for()

    assert "owned" not in page.title()
    assert page.get_by_label("Name", exact=True).last.input_value() == SCRIPT


def test_five_megabytes_that_are_pasted_are_said_to_be_too_much_and_stay(person: Visitor) -> None:
    page = person.visit(NEW + "ASM_DATA")
    page.get_by_label("Name", exact=True).fill("Far too much")
    page.get_by_role("button", name="JSON").click()
    page.locator(EDITOR).wait_for()
    page.evaluate(
        """() => {
          const data = Array.from({length: 72000}, (_, n) =>
            ({value: `10.${n >> 16 & 255}.${n >> 8 & 255}.${n & 255}`, expiration: 4102444800}));
          const text = JSON.stringify({rules_data: [{id: "big", type: "ip_with_expiration", data}]}, null, 1);
          const view = document.querySelector("json-editor").view;
          const clipboard = new DataTransfer();
          clipboard.setData("text/plain", text);
          view.focus();
          view.dispatch({selection: {anchor: 0, head: view.state.doc.length}});
          view.contentDOM.dispatchEvent(
            new ClipboardEvent("paste", {clipboardData: clipboard, bubbles: true, cancelable: true}));
        }"""
    )
    begun = time.monotonic()
    alert = page.get_by_role("alert").get_by_text("One config may have 1.0 MB")
    alert.wait_for()
    page.get_by_role("button", name="Review", exact=True).last.click()
    took = time.monotonic() - begun

    assert took < 8  # half a second where nothing else runs
    assert page.url.endswith("product=ASM_DATA")
    assert page.evaluate("document.querySelector('json-editor').text().length") > 5_000_000
    assert page.get_by_label("Name", exact=True).input_value() == "Far too much"


def test_what_was_typed_is_offered_back_and_forgotten_once_it_is_published(person: Visitor) -> None:
    page = person.visit(NEW + "APM_TRACING")
    page.get_by_label("Sampling rate").fill("0.5")
    page.get_by_label("Name", exact=True).fill("Kept")
    page.wait_for_timeout(700)
    page.goto("/")
    page = person.visit(NEW + "APM_TRACING")
    assert page.get_by_label("Name", exact=True).input_value() == ""
    page.get_by_text("You have an unsaved draft from a moment ago.").wait_for()
    page.get_by_role("button", name="Restore it").click()

    page.locator("#in-name[value=Kept]").wait_for()
    assert page.get_by_label("Sampling rate").input_value() == "0.5"
    page.get_by_role("button", name="Review", exact=True).last.click()
    page.get_by_role("button", name="Publish").click()
    page.wait_for_url(CONFIG)
    page = person.visit(NEW + "APM_TRACING")
    page.wait_for_timeout(300)
    assert page.get_by_text("unsaved draft").count() == 0


def test_a_kept_draft_is_discarded_and_is_nobodys_after_signing_out(person: Visitor) -> None:
    page = person.visit(NEW + "ASM_FEATURES")
    page.get_by_label("Name", exact=True).fill("Not wanted")
    page.wait_for_timeout(700)
    page = person.visit(NEW + "ASM_FEATURES")
    page.get_by_role("button", name="Discard it").click()
    page = person.visit(NEW + "ASM_FEATURES")
    page.wait_for_timeout(300)
    assert page.get_by_text("unsaved draft").count() == 0

    page.get_by_label("Name", exact=True).fill("Signed out")
    page.wait_for_timeout(700)
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url("**/sign-in**")
    assert page.evaluate("Object.keys(sessionStorage).filter((key) => key.startsWith('sealwire:'))") == []


def test_a_session_that_ends_in_the_middle_of_the_form_takes_nothing_away(
    chromium: Any, control_plane: ControlPlane, fleet: SimulatedFleet
) -> None:
    visitor = Visitor(chromium, control_plane, extra_http_headers={})
    page = visitor.page

    def sign_in() -> None:
        page.goto("/sign-in")
        page.get_by_text("Use an application key").click()
        page.get_by_label("Application key").fill(control_plane.application_key)
        page.get_by_role("button", name="Sign in with the key").click()
        page.get_by_role("button", name="Sign out").wait_for(state="attached")

    sign_in()
    page.goto(NEW + "ASM_DATA")
    page.get_by_label("Value").first.fill("203.0.113.74")
    visitor.context.clear_cookies()
    page.get_by_label("Service", exact=True).fill("shop")
    page.get_by_text("Not up to date").wait_for()
    page.get_by_role("button", name="Add entry").click()
    page.get_by_role("heading", name="Sign in").wait_for()
    sign_in()
    page.goto(NEW + "ASM_DATA")
    page.get_by_role("button", name="Restore it").click()

    page.locator("#in-p\\.rules_data\\.0\\.data\\.0\\.value[value='203.0.113.74']").wait_for()
    assert page.get_by_label("Service", exact=True).input_value() == "shop"
    visitor.close()


@pytest.mark.parametrize("width", WIDTHS)
def test_the_pages_on_the_way_show_without_a_complaint_and_have_no_serious_barrier(
    width: str, chromium: Any, control_plane: ControlPlane, fleet: SimulatedFleet
) -> None:
    made = control_plane.api.create("APM_TRACING", tracing(tracing_sampling_rate=0.1), name="On the way")
    visitor = Visitor(chromium, control_plane, viewport={"width": WIDTHS[width], "height": 900})
    page = visitor.visit(f"/configs/{made['id']}/edit")
    found: list[Any] = []

    def look(name: str) -> None:
        page.wait_for_timeout(200)
        found.extend([*too_wide(page, f"config-{name}", width), *((name, one) for one in barriers(page))])

    look("edit")
    page.get_by_label("Sampling rate").fill("2")
    page.get_by_role("button", name="Review", exact=True).last.click()
    page.get_by_text("not right yet").wait_for()
    look("problem")
    page.get_by_role("button", name="JSON").click()
    page.locator(EDITOR).wait_for()
    look("json")
    page.get_by_role("button", name="Form", exact=True).click()
    page.get_by_label("Sampling rate").fill("0.7")
    page.get_by_label("Service", exact=True).fill("checkout")
    page.get_by_role("button", name="Review", exact=True).last.click()
    page.get_by_role("button", name="Publish").wait_for()
    look("review")
    control_plane.api.change(made, tracing(tracing_sampling_rate=0.2, log_injection_enabled=True))
    made = control_plane.api.get(f"/configs/{made['id']}")
    page.get_by_role("button", name="Publish").click()
    page.get_by_role("heading", name="somebody else was first").wait_for()
    page.get_by_text("Theirs and yours beside each other, as text").click()
    page.locator("json-diff .cm-changedText").first.wait_for()
    look("conflict")
    complaints = visitor.all_complaints()
    visitor.close()
    control_plane.api.delete(f"/configs/{made['id']}")

    assert complaints == []
    assert found == []


def test_everything_works_without_scripts(
    chromium: Any, control_plane: ControlPlane, fleet: SimulatedFleet
) -> None:
    visitor = Visitor(chromium, control_plane, java_script_enabled=False)
    page = visitor.page
    page.goto(NEW + "ASM_DATA")
    page.get_by_label("Value").first.fill("203.0.113.72")
    page.get_by_role("button", name="Add entry").click()
    page.locator("[name='p.rules_data.0.data.1.value']").fill("203.0.113.73")
    page.get_by_role("button", name="Remove Entry 1").click()
    page.get_by_label("Name", exact=True).fill("Without scripts")
    page.get_by_role("button", name="JSON").click()
    assert json.loads(page.locator("textarea[name=json]").input_value()) == denied_ips("203.0.113.73")
    page.get_by_role("button", name="Review", exact=True).last.click()
    page.get_by_role("button", name="Publish").click()
    page.wait_for_url(CONFIG)

    made = named(control_plane, "Without scripts")
    control_plane.api.delete(f"/configs/{made['id']}")
    visitor.close()
    assert made["payload"] == denied_ips("203.0.113.73")
