"""The audit trail in a browser: a row unfolds to what it changed, and the chain is verified by a button."""

from __future__ import annotations

from tests.browser.conftest import SCREENSHOTS, Visitor


def test_a_row_unfolds_to_what_was_changed(visitor: Visitor) -> None:
    page = visitor.visit("/audit?q=action:config.changed")

    page.locator("tbody tr summary").first.click()
    diff = page.locator("tbody tr").first.locator(".change .diff")
    diff.wait_for()
    page.screenshot(path=SCREENSHOTS / "audit-unfolded.png", full_page=True)

    assert page.locator("tbody tr").first.locator(".change li.add, .change li.del").count() > 0
    assert "Request id" in page.locator("tbody tr").first.inner_text()


def test_the_chain_is_verified_by_a_button(visitor: Visitor) -> None:
    page = visitor.visit("/audit")

    page.get_by_role("button", name="Verify now").click()
    page.get_by_text("events are as they were written").wait_for()

    assert page.locator(".chain .st").inner_text() == "Holds"


def test_rotating_wants_the_name_and_then_signs_the_next_root(visitor: Visitor) -> None:
    page = visitor.visit("/trust/director/rotate")
    page.get_by_label("Type director to confirm").fill("config")
    page.get_by_role("button", name="Rotate the director repository").click()
    assert page.locator(".wrong").inner_text() == "Type director to confirm."
    visitor.complaints = [one for one in visitor.complaints if "status of 422" not in one]
    before = int(page.locator(".will li").nth(1).inner_text().split()[1])

    page.get_by_label("Type director to confirm").fill("director")
    page.get_by_role("button", name="Rotate the director repository").click()
    page.get_by_text(f"Root {before} of the director repository is signed").wait_for()

    assert f"version {before}" in page.locator("#director dl").inner_text()
