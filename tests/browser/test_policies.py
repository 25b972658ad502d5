"""A rule of one's own from the first word to being in force, and a kind of rules set to block."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sealwire.server.waf import engine as waf
from tests.browser.conftest import SCREENSHOTS, Visitor
from tests.support.stack import ControlPlane

pytestmark = pytest.mark.skipif(
    waf.library_file() is None, reason="ddtrace, which brings the engine, is not installed"
)


@pytest.fixture
def left_clean(control_plane: ControlPlane) -> Iterator[None]:
    """Other tests look at the same control plane: what this one makes is gone afterwards."""
    before = {one["id"] for one in control_plane.api.get("/configs?product=ASM")["configs"]}
    yield
    for one in control_plane.api.get("/configs?product=ASM")["configs"]:
        if one["id"] not in before:
            control_plane.api.delete(f"/configs/{one['id']}")


@pytest.mark.usefixtures("left_clean")
def test_a_rule_is_written_tried_refused_mended_and_saved_and_a_kind_blocks(visitor: Visitor) -> None:
    page = visitor.visit("/protect/rules/new?user_agent=acme-scanner/1.0")
    page.get_by_label("A request").fill("curl 'https://shop.example/?q=1' -A 'acme-scanner/1.0'")
    page.get_by_role("button", name="Try", exact=True).click()
    page.locator("#tried").get_by_text("Matches, and tells").wait_for()
    assert page.locator("#tried mark").inner_text() == "acme-scanner/1.0"

    page.get_by_label("Regex").fill("(a{1,100}){1,100}")
    page.get_by_role("button", name="Try", exact=True).click()
    page.locator("#tried").get_by_text("invalid regular expression: {1,100}").wait_for()
    page.get_by_role("button", name="Review").last.click()
    page.locator("#problems").get_by_text(
        "The tracers' engine says: invalid regular expression: {1,100}"
    ).wait_for()

    page.get_by_label("Regex").fill("^acme-")
    page.get_by_label("When it matches").select_option("block")
    page.get_by_role("button", name="Try", exact=True).click()
    page.locator("#tried").get_by_text("Matches, and blocks").wait_for()
    page.get_by_role("button", name="Review").last.click()
    page.get_by_role("heading", name="What will be different").wait_for()
    page.screenshot(path=SCREENSHOTS / "custom-rule-review.png", full_page=True)
    page.get_by_role("button", name="Publish").click()
    page.get_by_role("status").get_by_text("blocks what it matches").wait_for()
    page.get_by_role("link", name="User agent acme-scanner/1.0", exact=True).wait_for()

    page.get_by_role("link", name="Modes", exact=True).click()
    page.get_by_label("Mode of sql injection").select_option("block")
    page.get_by_role("button", name="Review").click()
    page.get_by_text("Of the last 24 hours").wait_for()
    page.get_by_role("button", name="Publish").click()
    page.get_by_role("status").get_by_text("The modes for the whole organisation are set.").wait_for()
    assert page.get_by_label("Mode of sql injection").input_value() == "block"
