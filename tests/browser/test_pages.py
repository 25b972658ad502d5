"""Every page, in both themes, wide and narrow: nothing to complain of, and a picture to look at."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.browser.conftest import SCREENSHOTS, Visitor
from tests.browser.pages import PAGES
from tests.support.processes import REPOSITORY
from tests.support.simulated_fleet import SimulatedFleet
from tests.support.stack import ControlPlane

AXE = next((REPOSITORY / "tests" / "browser" / "vendor").glob("axe-*.js")).read_text()
THEMES = ("light", "dark")
OVERFLOW = "Math.max(0, document.documentElement.scrollWidth - document.documentElement.clientWidth)"
WIDTHS = {"wide": 1280, "narrow": 390}


@pytest.fixture(scope="module", params=WIDTHS)
def watched(
    request: pytest.FixtureRequest, chromium: Any, control_plane: ControlPlane, fleet: SimulatedFleet
) -> Iterator[tuple[str, Visitor]]:
    """Somebody with a wide or a narrow window, who opens one page after the other."""
    visitor = Visitor(
        chromium, control_plane, viewport={"width": WIDTHS[request.param], "height": 900},
        reduced_motion="reduce",  # a colour that is on its way to another one is neither
    )  # fmt: skip
    fleet.poll()
    yield request.param, visitor
    visitor.close()


@pytest.mark.parametrize("name", PAGES)
def test_a_page_shows_without_a_complaint_or_a_serious_barrier(
    name: str, watched: tuple[str, Visitor], control_plane: ControlPlane
) -> None:
    """Each page is loaded once for each width; a theme is nothing but colours and is changed as it stands."""
    width, visitor = watched
    visitor.open()
    page = visitor.page
    try:
        page.emulate_media(color_scheme=THEMES[0])
        visitor.visit(PAGES[name])
        if page.locator("live-status").count():
            page.wait_for_timeout(300)  # a first live event may come
        wide: dict[str, int] = {}
        for theme in THEMES:
            page.emulate_media(color_scheme=theme)
            page.screenshot(path=SCREENSHOTS / f"{name}-{theme}-{width}.png", full_page=True)
            wide[theme] = page.evaluate(OVERFLOW)
        complaints, requested = visitor.all_complaints(), set(visitor.requested)

        page.evaluate(AXE)  # from here on the page is not ours alone
        barriers = {}
        for theme in reversed(THEMES):
            page.emulate_media(color_scheme=theme)
            barriers[theme] = serious(page.evaluate("axe.run(document, {resultTypes: ['violations']})"))
    finally:
        page.close()

    assert complaints == []
    assert requested == {control_plane.url.removeprefix("https://")}
    assert wide == dict.fromkeys(THEMES, 0), "the page is so many px wider than the window"
    assert barriers == {theme: [] for theme in THEMES}, json.dumps(barriers, indent=2)


def serious(found: Any) -> list[dict[str, Any]]:
    """What keeps somebody out."""
    return [
        {"id": one["id"], "help": one["help"], "nodes": [node["html"][:200] for node in one["nodes"][:3]],
         "why": one["nodes"][0]["failureSummary"]}
        for one in found["violations"]
        if one["impact"] in ("serious", "critical")
    ]  # fmt: skip
