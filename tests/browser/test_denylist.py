"""A long list, from a paste with mistakes to blocks that are found, extended and lifted."""

from __future__ import annotations

from tests.browser.conftest import SCREENSHOTS, Visitor
from tests.browser.test_pages import CUT_OFF
from tests.support.stack import ControlPlane


def test_a_list_with_mistakes_is_kept_mended_blocked_found_extended_and_unblocked(
    visitor: Visitor, control_plane: ControlPlane
) -> None:
    lines = [f"198.51.{number // 250}.{number % 250}" for number in range(300)]
    lines[70] = "198.51.0.0/33"
    page = visitor.visit("/protect/import")
    page.get_by_label("The list").fill("\n".join(lines))
    page.get_by_label("How long").select_option("6 hours")
    page.get_by_label("Reason").fill("scanners of tonight")
    page.get_by_role("button", name="Check the list").click()

    page.get_by_role("heading", name="1 line cannot be read").wait_for()
    page.get_by_text("Line 71:").wait_for()
    kept = page.url
    page.screenshot(path=SCREENSHOTS / "denylist-draft-light-wide.png", full_page=True)
    page.goto(f"{visitor.url}/protect/denylist")
    page.get_by_role("link", name="300 lines").click()
    assert page.url == kept
    page.get_by_label("Those lines, to be mended").fill("203.0.113.0/24")
    page.get_by_role("button", name="Save and check again").click()
    page.get_by_text("Every line can be read now.").wait_for()
    page.get_by_role("button", name="Block 300").click()

    page.wait_for_url("**/protect/denylist")
    assert control_plane.api.get("/protect/drafts")["drafts"] == []
    page.get_by_role("link", name="Next").click()
    page.get_by_role("link", name="Previous").wait_for()
    page.get_by_label("Look for").fill("198.51.1.49 tonight")
    page.get_by_role("button", name="Filter").click()
    row = page.locator("#entries tr")
    row.get_by_role("code").get_by_text("198.51.1.49").wait_for()
    assert row.count() == 1
    assert row.get_by_role("link", name="a pasted list").is_visible()
    page.screenshot(path=SCREENSHOTS / "denylist-found-light-wide.png", full_page=True)
    assert page.evaluate(CUT_OFF) == []
    row.get_by_role("link", name="Extend").click()
    page.get_by_label("How long").select_option("until unblocked")
    page.locator("form.form").get_by_role("button", name="Block").click()
    row.get_by_text("when unblocked").wait_for()
    row.get_by_role("button", name="Unblock").click()
    page.get_by_text("Nobody on the list matches").wait_for()

    page.get_by_label("Look for").fill("tonight")
    page.get_by_role("button", name="Filter").click()
    page.locator("#count").get_by_text("299 of").wait_for()
    entries = control_plane.api.get("/protect/denylist?q=tonight&limit=1000")["entries"]
    assert len(entries) == 299
    ids = [entry["id"] for entry in entries]
    assert control_plane.api.post("/protect/denylist:unblock", {"ids": ids})["changed"]
    page.get_by_text("Nobody on the list matches").wait_for()
