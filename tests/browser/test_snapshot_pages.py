"""Somebody reads snapshots: finds a value, goes through the tree by keyboard, compares, makes a condition."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

from tests.browser.conftest import Visitor
from tests.support import snapshots
from tests.support.snapshots import LATER, LINE, NASTY, WIDE, salted
from tests.support.stack import ControlPlane

SALT = "10cab1e0"


def focused(page: object, attribute: str) -> str:
    """An attribute of what has the focus."""
    return str(page.evaluate(f"document.activeElement.getAttribute('{attribute}')"))  # type: ignore[attr-defined]


def test_a_value_is_found_gone_to_by_keyboard_compared_copied_and_made_a_condition(
    visitor: Visitor, control_plane: ControlPlane
) -> None:
    probe_id = snapshots.probe(control_plane, "Read by somebody")
    line, later = salted(LINE, SALT), salted(LATER, SALT)
    page = visitor.visit(f"/debugger/snapshots?probe={probe_id}")
    page.get_by_text("No snapshot is like this").wait_for()
    page.get_by_text("Live ·").wait_for()

    # They come by themselves, and a value is found in those of a probe.
    snapshots.send(control_plane, probe_id, salt=SALT)
    page.locator(f"#rows a[href='/debugger/snapshots/{later}']").wait_for()
    assert page.locator("#rows tr").count() == 7
    page.get_by_role("searchbox", name="Search in values").fill("alice")
    page.keyboard.press("Enter")
    page.get_by_text("Scanned 7 of 7").wait_for()
    assert page.locator("#rows tr").count() == 1
    page.get_by_role("link", name='order.owner["name"]', exact=True).click()
    page.wait_for_url(f"**/debugger/snapshots/{later}**")

    # The value that was found is chosen; the tree goes by keyboard.
    chosen = page.locator("[role=treeitem][aria-selected=true]")
    assert chosen.get_attribute("data-path") == '13/order.owner["name"]'
    assert page.locator("#value pre.value").first.inner_text() == "'alice'"
    when = page.get_by_role("link", name="Use it in the probe").get_attribute("href") or ""
    assert parse_qs(urlsplit(when).query)["when"] == ['order.owner["name"] == "alice"']
    chosen.focus()
    page.keyboard.press("ArrowLeft")
    assert focused(page, "data-path") == "13/order.owner"
    page.keyboard.press("ArrowLeft")
    assert focused(page, "aria-expanded") == "false"
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert focused(page, "data-path") == '13/order.owner["name"]'
    page.keyboard.press("Home")
    assert focused(page, "aria-level") == "1"
    page.keyboard.type("nums")
    assert focused(page, "data-path") == "13/nums"
    page.keyboard.press("Enter")
    page.locator("#value-title").get_by_text("nums").wait_for()
    assert parse_qs(urlsplit(page.url).query)["show"] == ["13/nums"]
    page.locator("#value").get_by_text("1 place is not whole").first.wait_for()

    # What is folded is fetched; a longer list than a page of rows comes a page at a time.
    page.keyboard.press("ArrowRight")
    rows = page.locator("[role=treeitem][data-path^='13/nums[']")
    rows.nth(99).wait_for()
    page.keyboard.press("ArrowRight")
    assert focused(page, "data-path") == "13/nums[0]"

    # The one before, with the same value; then both side by side.
    page.get_by_role("link", name="Older").click()
    page.wait_for_url(f"**/debugger/snapshots/{line}?show=13%2Fnums")
    page.get_by_role("link", name="Newer").click()
    page.wait_for_url(f"**/debugger/snapshots/{later}?**")
    page.get_by_role("link", name="With the one before").click()
    page.locator("#compare").wait_for()
    changed = page.locator("#compare tr", has_text="total").first
    assert [word in changed.inner_text() for word in ("Changed", "5", "6")] == [True] * 3
    page.locator("#compare tr", has_text="Added").wait_for()
    page.locator("#compare tr", has_text="Removed").wait_for()


def test_a_large_snapshot_is_unfolded_by_hand_and_a_hostile_one_is_only_text(
    visitor: Visitor, control_plane: ControlPlane
) -> None:
    snapshots.send(control_plane, snapshots.probe(control_plane, "Large"), salt="20cab1e0")
    page = visitor.visit(f"/debugger/snapshots/{salted(WIDE, '20cab1e0')}")
    assert page.locator("[role=treeitem]").count() < 150
    group = page.locator("[role=treeitem][data-path='13/group_3']")
    group.locator(".named .icon").click()
    page.locator("[data-path='13/group_3[99]']").wait_for()
    more = page.get_by_text("The next 100 of 225")
    more.click()
    page.locator("[data-path='13/group_3[199]']").wait_for()
    assert page.locator(".leafline.more").count() == 1
    assert focused(page, "data-path") == "13/group_3[100]"
    page.locator("[data-path='13/group_3[100]'] .named bdi").first.click()
    page.locator("[data-path='13/group_3[100].n']").wait_for()
    page.locator("#value-title").get_by_text("100").wait_for()
    page.get_by_role("button", name="Copy the expression").wait_for()

    page = visitor.visit(f"/debugger/snapshots/{salted(NASTY, '20cab1e0')}")
    page.get_by_text("was thrown").first.wait_for()
    for row in page.locator("[role=treeitem]").all():
        row.focus()
        page.keyboard.press("Enter")
        page.keyboard.press("ArrowRight")
    page.locator("#value .literal").first.wait_for()
    assert page.locator("img").count() == 0
