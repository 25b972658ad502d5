"""Every page, in both themes, wide and narrow: nothing to complain of, and a picture to look at."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.browser.conftest import SCREENSHOTS, Visitor
from tests.browser.pages import PAGES
from tests.support import probed, snapshots
from tests.support.processes import REPOSITORY
from tests.support.simulated_fleet import SimulatedFleet
from tests.support.stack import ControlPlane

AXE = next((REPOSITORY / "tests" / "browser" / "vendor").glob("axe-*.js"))
THEMES = ("light", "dark")
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
WIDTHS = {"wide": 1280, "narrow": 390}
#: Pages whose tables end in what can be done about a row: nothing of it may be beyond the edge.
WHOLE = frozenset(
    {"probes", "protect", "denylist", "denylist-lapsed", "passlist", "custom-rules", "policies"}
)
CUT_OFF = """() => [...document.querySelectorAll(".tablewrap")]
    .map(one => one.scrollWidth - one.clientWidth).filter(more => more > 0)"""


@pytest.fixture(scope="module", params=WIDTHS)
def watched(
    request: pytest.FixtureRequest, chromium: Any, control_plane: ControlPlane, fleet: SimulatedFleet
) -> Iterator[tuple[str, Visitor]]:
    """Somebody with a wide or a narrow window, who opens one page after the other."""
    visitor = Visitor(
        chromium, control_plane, viewport={"width": WIDTHS[request.param], "height": 900},
        color_scheme=THEMES[0],
    )  # fmt: skip
    fleet.poll()
    if not probed.SEEDED:
        probed.seed(control_plane)
        snapshots.send(control_plane, snapshots.probe(control_plane))
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
        visitor.visit(probed.address(PAGES[name]))
        if page.locator("live-status").count():
            page.wait_for_timeout(300)  # a first live event may come
        wrong = too_wide(page, name, width)
        complaints, requested = visitor.all_complaints(), set(visitor.requested)
        wrong += barriers(page)  # from here on the page is not ours alone
    finally:
        page.close()

    assert complaints == []
    assert requested == {control_plane.url.removeprefix("https://")}
    assert wrong == [], json.dumps(wrong, indent=2)


def too_wide(page: Any, name: str, width: str) -> list[Any]:
    """Take a picture of a page as it stands, in each theme; where it or a table is too wide."""
    found = []
    for theme in THEMES:
        page.emulate_media(color_scheme=theme, reduced_motion="reduce")  # a colour on its way is neither
        page.screenshot(path=SCREENSHOTS / f"{name}-{theme}-{width}.png", full_page=True)
        overflow = page.evaluate(OVERFLOW)
        found += [(name, theme, f"{overflow} px wider than the window")] if overflow > 0 else []
    if name in WHOLE:
        found += [(name, f"{more} px of a table are cut off") for more in page.evaluate(CUT_OFF)]
    return found


def barriers(page: Any) -> list[Any]:
    """What of a page as it stands keeps somebody out, in each theme. It is left in the first one."""
    found = []
    page.evaluate(AXE.read_text())
    for theme in reversed(THEMES):
        page.emulate_media(color_scheme=theme, reduced_motion="reduce")
        violations = page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
        found += [
            {"theme": theme, "id": one["id"], "help": one["help"], "why": one["nodes"][0]["failureSummary"],
             "nodes": [node["html"][:200] for node in one["nodes"][:3]]}
            for one in violations
            if one["impact"] in ("serious", "critical")
        ]  # fmt: skip
    return found


def test_the_way_around_fits_a_usual_window_and_shows_where_one_is_in_a_low_one(visitor: Visitor) -> None:
    page = visitor.visit("/support")
    assert page.evaluate("(({ scrollHeight, clientHeight }) => scrollHeight - clientHeight)(nav)") == 0

    page.set_viewport_size({"width": 1280, "height": 480})
    page = visitor.visit("/support")

    current = page.locator("#nav [aria-current='page']").bounding_box()
    assert current is not None
    assert 0 <= current["y"] <= 480 - current["height"]
    assert page.evaluate("scrollY") == 0
