"""Somebody looks at a signal and writes a rule of it, without a mouse."""

from __future__ import annotations

from typing import Any

from tests.browser.conftest import Visitor
from tests.support.processes import wait_until
from tests.support.signals import SCANNER, SEEDED
from tests.support.stack import ControlPlane

SIGNAL = f"/security/signals/{SEEDED['attack-tool']}"


def press(page: Any, locator: Any) -> None:
    """Go there and press Enter, as somebody without a mouse does."""
    locator.focus()
    page.keyboard.press("Enter")


def test_a_signal_is_read_talked_about_and_decided_on(visitor: Visitor, control_plane: ControlPlane) -> None:
    page = visitor.visit("/security/signals")
    press(page, page.locator("#rows").get_by_role("link", name="Attack tool"))
    page.wait_for_url(f"**{SIGNAL}")
    page.locator("#attackers code").get_by_text(SCANNER).wait_for()
    # What the attacker called itself is shown, and does nothing.
    assert page.locator("#clusters").get_by_text("<script>alert(1)</script>").count() == 1

    page.get_by_label("Say something").focus()
    page.keyboard.type("Not ours; <b>blocked</b> at the edge.")
    press(page, page.get_by_role("button", name="Comment"))
    page.locator("#comments blockquote").get_by_text("<b>blocked</b>").wait_for()
    page.get_by_label("It is", exact=True).select_option("under_review")
    page.get_by_label("Whose it is").select_option("admin")
    press(page, page.get_by_role("button", name="Save"))
    page.locator("#standing").get_by_text("Under review").wait_for()
    page.locator("#timeline").get_by_text("Under review, given to admin").wait_for()

    # Somebody else says something meanwhile: it comes by itself, and what is being typed stays.
    page.get_by_label("Say something").fill("half a sent")
    control_plane.api.post(f"{SIGNAL}/comments", {"text": "from the other shift"})
    page.locator("#comments").get_by_text("from the other shift").wait_for()
    assert page.get_by_label("Say something").input_value() == "half a sent"


def test_chosen_signals_stay_chosen_while_rows_change(visitor: Visitor, control_plane: ControlPlane) -> None:
    page = visitor.visit("/security/signals")
    path = f"/security/signals/{SEEDED['cred-stuffing']}"
    for name in ("sqli-single-ip", "cred-stuffing"):
        box = page.locator(f'input[value="{SEEDED[name]}"]')
        box.focus()
        page.keyboard.press("Space")
    control_plane.api.post(f"{path}/comments", {"text": "look"})
    row = page.locator("#rows tr").filter(has=page.locator(f'a[href="{path}"]'))
    row.get_by_text("1 comment").wait_for()
    assert page.locator("#rows input:checked").count() == 2

    page.get_by_label("Triage", exact=True).last.select_option("archived")
    press(page, page.get_by_role("button", name="Do it"))
    page.get_by_role("alert").get_by_text("choose a reason").wait_for()
    for name in ("sqli-single-ip", "cred-stuffing"):
        page.locator(f'input[value="{SEEDED[name]}"]').check()
    page.get_by_label("Triage", exact=True).last.select_option("archived")
    page.get_by_label("Reason, when archived").select_option("testing")
    press(page, page.get_by_role("button", name="Do it"))

    page.get_by_role("status").get_by_text("2 signals changed.").wait_for()
    assert control_plane.api.get(path)["archive_reason"] == "testing"


def test_a_rule_is_tried_and_saved(visitor: Visitor, control_plane: ControlPlane) -> None:
    page = visitor.visit("/security/rules")
    press(page, page.get_by_role("link", name="New rule"))
    page.get_by_label("Name", exact=True).first.focus()
    page.keyboard.type("Two injections from one address")
    page.get_by_label("Which requests").focus()
    page.keyboard.type("@appsec.type:sql_injektion @http.status:500")
    page.get_by_label("When", exact=True).fill("a >= 1")
    press(page, page.get_by_role("button", name="Try it"))
    page.get_by_role("alert").get_by_text("There is no facet @http.status").wait_for()
    assert page.evaluate("document.activeElement.id") == "in-q-0-query"

    page.keyboard.press("Control+a")
    page.keyboard.type("@appsec.type:sql_injection")
    press(page, page.get_by_role("button", name="Try it"))
    page.locator("#tried").get_by_text("in 24 hours").wait_for()
    page.locator("#tried").get_by_text(SCANNER).wait_for()
    assert page.get_by_label("Name", exact=True).first.input_value() == "Two injections from one address"
    press(page, page.get_by_role("button", name="Save"))
    page.get_by_role("heading", name="Two injections from one address").wait_for()

    rules = control_plane.api.get("/security/rules")["rules"]
    (own,) = [one for one in rules if one["name"] == "Two injections from one address"]
    assert page.url.endswith(f"/security/rules/{own['id']}")
    press(page, page.get_by_role("button", name="Switch off"))
    wait_until(
        lambda: not control_plane.api.get(f"/security/rules/{own['id']}")["enabled"] or None,
        "the rule is off", timeout_s=10,
    )  # fmt: skip
    press(page, page.get_by_role("link", name="Delete"))
    press(page, page.get_by_role("button", name="Delete it"))
    page.get_by_role("status").get_by_text("The rule is gone.").wait_for()
