"""Everything is reached and worked without a mouse."""

from __future__ import annotations

from typing import Any

import pytest

from tests.browser.conftest import Visitor
from tests.browser.pages import PAGES
from tests.support.simulated_fleet import SimulatedFleet
from tests.support.stack import ControlPlane

FOCUSABLE = """() => [...document.querySelectorAll(
  'a[href], button, input:not([type=hidden]), select, textarea, summary, [tabindex="0"]')]
  .filter((one) => one.checkVisibility({visibilityProperty: true}) && !one.disabled && one.tabIndex >= 0)
  .filter((one) => one.type !== "radio" || one.checked).length"""
FOCUSED = """() => { const one = document.activeElement;
  if (!one || one === document.body) return null;
  window.order ??= new Map(); if (!window.order.has(one)) window.order.set(one, window.order.size);
  const box = one.getBoundingClientRect(), style = getComputedStyle(one);
  return {number: window.order.get(one), tag: one.tagName, outline: style.outlineStyle, wide: box.width}; }"""


@pytest.mark.parametrize("name", PAGES)
def test_the_tab_key_reaches_everything_and_shows_where_it_is(name: str, visitor: Visitor) -> None:
    page = visitor.visit(PAGES[name])
    page.get_by_role("button", name="Pause").click() if page.locator("live-status").count() else None
    page.evaluate("document.activeElement.blur()")
    wanted = page.evaluate(FOCUSABLE)

    reached: dict[int, Any] = {}
    page.evaluate("window.getSelection().removeAllRanges(); document.body.focus()")
    for _ in range(2 * wanted + 50):  # a time has a stop for each of its parts
        page.keyboard.press("Tab")
        here = page.evaluate(FOCUSED)
        if here is not None and here["number"] == 0 and len(reached) > 1:
            break  # once around
        if here is not None:
            reached[here["number"]] = here

    assert len(reached) >= wanted
    assert [one for one in reached.values() if one["outline"] == "none"] == []


def test_from_filter_to_a_client_and_back_by_keyboard_alone(visitor: Visitor) -> None:
    page = visitor.visit("/fleet")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to content"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"

    page.get_by_label("Filter", exact=True).focus()
    page.keyboard.type("state:failing")
    page.keyboard.press("Enter")
    page.wait_for_url("**/fleet?q=state%3Afailing*")
    page.locator("#rows a").first.focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/fleet/clients/*")

    assert page.locator("#standing").get_by_text("Config error").is_visible()
    page.go_back()
    assert page.get_by_label("Filter", exact=True).input_value() == "state:failing"


def test_the_theme_is_kept_and_the_menu_opens_on_a_small_screen(
    chromium: Any, control_plane: ControlPlane, fleet: SimulatedFleet
) -> None:
    visitor = Visitor(chromium, control_plane, viewport={"width": 390, "height": 800}, color_scheme="light")
    page = visitor.visit("/")
    menu = page.get_by_role("button", name="Menu")
    menu.focus()
    page.keyboard.press("Enter")
    dark = page.get_by_role("button", name="Dark")
    dark.wait_for()
    dark.focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Escape")
    page.get_by_role("link", name="Fleet").wait_for(state="hidden")

    page.goto("/fleet")

    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 22, 26)"
    found = visitor.all_complaints()
    visitor.close()
    assert found == []
