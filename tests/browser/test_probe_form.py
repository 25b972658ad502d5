"""Probes are written in a real browser: by keyboard, with what is known of the program, and tried before."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.browser.conftest import Visitor
from tests.browser.test_pages import barriers
from tests.support import probed
from tests.support.simulated_fleet import SimulatedFleet
from tests.support.stack import ControlPlane
from tests.support.symbols import SHOP, attachment, event

SCRIPT = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module", autouse=True)
def known(control_plane: ControlPlane, fleet: SimulatedFleet) -> None:
    """What shop is made of, as its tracer tells; and probes of which something came."""
    if not probed.SEEDED:
        probed.seed(control_plane)
    parts = (("event", "application/json", json.dumps([event()]).encode()),
             ("file", "application/gzip", attachment(SHOP)))  # fmt: skip
    body = b"".join(
        b'--b\r\nContent-Type: %b\r\nContent-Disposition: form-data; name="%b"; filename="%b"\r\n\r\n%b\r\n'
        % (kind.encode(), name.encode(), name.encode(), content)
        for name, kind, content in parts
    )
    machine = control_plane.machine(control_plane.api.new_api_key("symbols"))
    machine.request(
        "POST", "/api/v2/debugger", body + b"--b--\r\n", {"Content-Type": 'multipart/form-data; boundary="b"'}
    ).expect(202)


@pytest.fixture
def removed(control_plane: ControlPlane) -> Iterator[None]:
    """Probes that a test makes go when it is over."""
    before = {one["id"] for one in control_plane.api.get("/debugger/probes")["probes"]}
    yield
    for one in control_plane.api.get("/debugger/probes")["probes"]:
        if one["id"] not in before:
            control_plane.api.delete(f"/debugger/probes/{one['id']}")


def offered(page: Any, field: str, *texts: str) -> None:
    """Wait for what is offered at a field, and take the first of it by keyboard."""
    for text in texts:
        page.locator(f"#offers-{field} li", has_text=text).first.wait_for()
    page.keyboard.press("ArrowDown")
    page.locator(f"#offers-{field} [aria-selected=true]", has_text=texts[0]).wait_for()
    page.keyboard.press("Enter")
    page.locator(f"#offers-{field}").wait_for(state="hidden")


def test_a_probe_is_written_by_keyboard_with_what_is_known_of_the_program(
    visitor: Visitor, control_plane: ControlPlane, removed: None
) -> None:
    page = visitor.visit("/debugger/new")
    keyboard = page.keyboard
    page.locator("#in-service").focus()
    keyboard.type("sho")
    offered(page, "service", "shop")
    assert page.locator("#in-service").input_value() == "shop"
    keyboard.press("Tab")
    keyboard.type("pro")
    offered(page, "env", "prod")
    page.locator("#about-language", has_text="Python, as its clients.").wait_for()
    page.locator("#look", has_text="Dynamic Instrumentation is off in it").wait_for()

    # A function fills the module too; the line field is gone with the choice.
    page.get_by_label("At a line").focus()
    keyboard.press("ArrowRight")
    assert not page.locator("#in-file").is_visible()
    page.locator("#in-method").focus()
    keyboard.type("check")
    offered(page, "method", "shop.checkout")
    assert page.locator("#in-type").input_value() == "shop"
    assert page.locator("#in-method").input_value() == "checkout"

    # What is wrong stands at its character, and goes when it is right.
    page.locator("#in-template").focus()
    keyboard.type("Sold {us")
    offered(page, "template", "user")
    says = page.locator("#says-in-template")
    says.get_by_text("The } that closes this expression is missing.").wait_for()
    assert says.locator("mark").inner_text() == "{"
    keyboard.type("} in {@dur")
    offered(page, "template", "@duration")
    keyboard.type("}")
    says.locator("p").wait_for(state="detached")
    assert page.locator("#in-template").input_value() == "Sold {user} in {@duration}"
    page.locator("#in-at").select_option("entry")
    says.get_by_text("@duration", exact=False).first.wait_for()
    page.locator("#in-at").select_option("exit")
    says.locator("p").wait_for(state="detached")

    page.locator("#in-when").focus()
    keyboard.type("isE")
    offered(page, "when", "isEmpty(")
    keyboard.type("order.")
    keyboard.press("Escape")
    keyboard.type("lines)")
    assert page.locator("#in-when").input_value() == "isEmpty(order.lines))"
    page.locator("#says-in-when mark").wait_for()
    keyboard.press("Backspace")
    page.locator("#says-in-when mark").wait_for(state="detached")
    assert not barriers_that_matter(page)

    page.locator("#in-name").focus()
    keyboard.type(SCRIPT)
    page.get_by_role("button", name="Save").focus()
    keyboard.press("Enter")
    page.wait_for_url("**/debugger/probes/*")
    (made,) = control_plane.api.get("/debugger/probes?service=shop")["probes"]
    assert made["name"] == SCRIPT
    assert made["env"] == ["prod"]
    assert made["document"]["where"] == {"type": "shop", "method": "checkout"}
    assert made["document"]["template"] == "Sold {user} in {@duration}"
    assert made["document"]["when"] == "isEmpty(order.lines)"


def barriers_that_matter(page: Any) -> list[Any]:
    """Barriers while fields are in use; the picture under a page of ours is looked at elsewhere."""
    return [one for one in barriers(page) if one["id"] != "color-contrast"]


def test_a_change_is_tried_before_it_is_saved_and_two_people_are_both_shown(
    visitor: Visitor, control_plane: ControlPlane, removed: None
) -> None:
    document = probed.DOCUMENTS["log"]
    probe = probed.make(
        control_plane, {**document, "where": {"file": "till/form.py", "line": 7}}, name="Form"
    )
    machine = control_plane.machine(control_plane.api.new_api_key("form"))
    messages = [
        probed.message(probe["id"], f"sold {n}", values={"user": f"user-{n % 2}"}, at_ms=0) for n in range(6)
    ]
    probed.send(machine, *messages)
    page = visitor.visit(f"/debugger/probes/{probe['id']}/edit")
    when = page.locator("#in-when")
    when.fill('user == "user-1"')
    page.keyboard.press("Escape")
    page.locator("#tried", has_text="3 of 6 snapshots would have matched").wait_for()
    page.locator(".differences", has_text='order.total > 100 → user == "user-1"').wait_for()
    template = page.locator("#in-template")
    template.fill("by {user}")
    page.keyboard.press("Escape")
    page.locator(".tried-rows code", has_text="by user-1").first.wait_for()

    theirs = {"document": {**probe["document"], "tags": ["team:checkout"]}}
    control_plane.api.put(
        f"/debugger/probes/{probe['id']}", {**theirs, "expected_revision": probe["revision"]}
    )
    page.get_by_role("button", name="Save").click()
    page.get_by_role("heading", name="Form: somebody else was first").wait_for()
    assert page.get_by_text("Tags added: team:checkout").is_visible()
    page.get_by_role("button", name="Put mine on top of theirs").click()
    page.get_by_text("Your changes are on top of what").wait_for()
    assert page.locator("#in-tags").input_value().strip() == "team:checkout"
    page.get_by_role("button", name="Save").click()
    page.wait_for_url(f"**/debugger/probes/{probe['id']}")
    found = control_plane.api.get(f"/debugger/probes/{probe['id']}")["document"]
    assert (found["tags"], found["when"]) == (["team:checkout"], 'user == "user-1"')


def test_rows_come_and_go_and_what_a_tracer_cannot_do_is_said(visitor: Visitor) -> None:
    page = visitor.visit("/debugger/new?service=storefront&file=app.js:3&kind=decoration")
    page.locator("#kind-note", has_text="dd-trace takes no decoration at a line").wait_for()
    page.get_by_role("button", name="Another tag").click()
    page.locator(":focus#in-d-0-t-1-name").wait_for()
    page.keyboard.type("user.tier")
    page.get_by_role("button", name="Tags under another condition").click()
    page.locator(":focus#in-d-1-t-0-name").wait_for()
    assert page.locator("#in-d-0-t-1-name").input_value() == "user.tier"
    assert barriers_that_matter(page) == []
    page.get_by_role("button", name="Remove tags 2").click()
    page.locator("#in-d-1-t-0-name").wait_for(state="detached")
    page.get_by_label("Log", exact=True).check()
    page.locator("#kind-note").wait_for(state="hidden")
    assert page.locator("#in-file").input_value() == "app.js"


def test_without_script_the_form_shows_the_fields_of_the_kind_that_is_chosen(
    chromium: Any, control_plane: ControlPlane, fleet: SimulatedFleet
) -> None:
    plain = Visitor(chromium, control_plane, java_script_enabled=False)
    page = plain.page
    page.goto("/debugger/new?service=shop&env=prod")
    assert page.locator("#in-template").is_visible()
    page.get_by_label("Metric", exact=True).check()
    assert page.locator("#in-metric_name").is_visible()
    assert not page.locator("#in-template").is_visible()
    page.get_by_label("On a function or method").check()
    assert page.locator("#in-method").is_visible()
    page.get_by_role("button", name="Save").click()
    assert page.get_by_role("alert").is_visible()
    assert page.locator("#in-metric_name").get_attribute("aria-invalid") == "true"
    plain.close()
