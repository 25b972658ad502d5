"""Keys in the browser: copied once, withdrawn while one watches, and everything by keyboard."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.browser.conftest import SCREENSHOTS, Visitor, playwright_api
from tests.support.simulated_fleet import SimulatedFleet
from tests.support.stack import ControlPlane


@pytest.fixture
def away(control_plane: ControlPlane, fleet: SimulatedFleet) -> Iterator[tuple[str, SimulatedFleet]]:
    """A key of its own with three agents, which hold what everybody gets."""
    made = control_plane.api.post("/keys", {"name": "batch hosts", "remote_config": True})
    agents = SimulatedFleet(control_plane, api_key=made["key"])
    for number in range(3):
        agents.add(f"batch-{number}", services=("batch",))
    agents.settle()
    yield made["id"], agents
    control_plane.api.delete(f"/keys/{made['id']}")


def test_a_new_key_is_copied_from_the_one_page_that_shows_it(
    visitor: Visitor, control_plane: ControlPlane
) -> None:
    visitor.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=control_plane.url)
    page = visitor.visit("/keys/new")
    page.get_by_label("Name").fill("one more")
    page.keyboard.press("Enter")
    shown = page.locator("#new-key").inner_text()
    page.get_by_role("button", name="Copy").click()
    page.get_by_text("Copied").wait_for()

    assert page.evaluate("navigator.clipboard.readText()") == shown
    page.get_by_role("link", name="I have it").click()
    page.get_by_role("heading", name="one more").wait_for()
    assert shown not in page.content()
    with pytest.raises(playwright_api.Error, match="ERR_CACHE_MISS"):
        page.go_back()  # nor did the browser keep it
    page.wait_for_timeout(200)  # it goes to a page of its own
    visitor.visit("/keys")


def test_a_withdrawal_is_watched_and_called_off(visitor: Visitor, away: tuple[str, SimulatedFleet]) -> None:
    key_id, agents = away
    page = visitor.visit(f"/keys/{key_id}")
    page.get_by_role("link", name="Take the scope").click()
    assert "3 agents with 3 clients use this key now." in page.locator("main").inner_text()
    page.get_by_label("Type the key's name").fill("batch hosts")
    page.keyboard.press("Enter")  # the first button is the one that loses nothing

    page.locator("#standing").get_by_text("0 of 3").first.wait_for()
    agents.poll("batch-0")
    agents.poll("batch-0")
    page.locator("#standing").get_by_text("1 of 3").first.wait_for()
    page.screenshot(path=SCREENSHOTS / "key-withdrawing.png", full_page=True)
    page.get_by_role("button", name="Call it off").click()
    page.locator("#standing").get_by_text("Agents with this key get configs.").wait_for()
    agents.settle()
    assert all(agent.state.targets for agent in agents.agents.values())


def test_the_end_of_a_withdrawal_shows_by_itself(
    visitor: Visitor, away: tuple[str, SimulatedFleet], control_plane: ControlPlane
) -> None:
    key_id, agents = away
    page: Any = visitor.visit(f"/keys/{key_id}")
    control_plane.api.post(f"/keys/{key_id}:withdraw")
    page.locator("#standing").get_by_text("Withdrawing").wait_for()

    agents.poll()
    agents.poll()

    page.locator("#standing").get_by_text("Agents with this key are refused.").wait_for()
    page.locator("#agents").get_by_text("holds nothing").first.wait_for()
    assert page.locator("#agents").get_by_text("Refused").count() == 3
