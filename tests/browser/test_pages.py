"""Every page, in both themes, wide and narrow: nothing to complain of, and a picture to look at."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.browser.conftest import SCREENSHOTS, Visitor
from tests.browser.pages import PAGES
from tests.support.processes import REPOSITORY
from tests.support.simulated_fleet import SimulatedFleet
from tests.support.stack import ControlPlane

AXE = next((REPOSITORY / "tests" / "browser" / "vendor").glob("axe-*.js"))
WIDTHS = {"wide": 1280, "narrow": 390}


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("name", PAGES)
def test_a_page_shows_without_a_complaint(
    name: str, theme: str, width: str, chromium: Any, control_plane: ControlPlane, fleet: SimulatedFleet
) -> None:
    visitor = Visitor(
        chromium, control_plane, viewport={"width": WIDTHS[width], "height": 900}, color_scheme=theme
    )
    fleet.poll()

    page = visitor.visit(PAGES[name])
    page.wait_for_timeout(300)  # a first live event may come
    page.screenshot(path=SCREENSHOTS / f"{name}-{theme}-{width}.png", full_page=True)
    overflow = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    complaints = visitor.all_complaints()
    visitor.close()

    assert complaints == []
    assert visitor.requested == {control_plane.url.removeprefix("https://")}
    assert overflow <= 0, f"the page is {overflow} px wider than the window"


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("name", PAGES)
def test_a_page_has_no_serious_barrier(
    name: str, theme: str, width: str, chromium: Any, control_plane: ControlPlane, fleet: SimulatedFleet
) -> None:
    visitor = Visitor(
        chromium, control_plane, viewport={"width": WIDTHS[width], "height": 900}, color_scheme=theme,
        bypass_csp=True,
    )  # fmt: skip

    page = visitor.visit(PAGES[name])
    page.evaluate(AXE.read_text())
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    visitor.close()

    serious = [
        {"id": one["id"], "help": one["help"], "nodes": [node["html"][:200] for node in one["nodes"][:3]],
         "why": one["nodes"][0]["failureSummary"]}
        for one in found["violations"]
        if one["impact"] in ("serious", "critical")
    ]  # fmt: skip
    assert serious == [], json.dumps(serious, indent=2)
