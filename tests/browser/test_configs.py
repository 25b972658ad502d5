"""Configs in a real browser: rows and pages that change by themselves, undo, restore, retire."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.browser.conftest import Visitor
from tests.browser.test_pages import WIDTHS, barriers, too_wide
from tests.support import payloads
from tests.support.processes import wait_until
from tests.support.simulated_fleet import REFUSES_RULES, WELL, SimulatedFleet
from tests.support.stack import ControlPlane

HOST = "ip-10-2-7-12"
WIDE = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


def config_of(control_plane: ControlPlane, name: str) -> Any:
    listed = control_plane.api.get("/configs?state=all")["configs"]
    return next(config for config in listed if config["name"] == name)


def polled_until(fleet: SimulatedFleet, locator: Any) -> None:
    """Let agents ask until something is to be seen: what was saved is published a moment later."""

    def seen() -> bool:
        fleet.poll()
        return bool(locator.is_visible())

    wait_until(seen, "the page shows it", timeout_s=20)


@pytest.fixture(scope="module")
def sampling(control_plane: ControlPlane, fleet: SimulatedFleet) -> str:
    """The address of a config with a history, that several clients have."""
    api = control_plane.api
    made = api.create(
        "APM_TRACING", payloads.tracing(tracing_sampling_rate=0.2), name="Sampling, workers",
        service="shop-worker",
    )  # fmt: skip
    api.change(made, payloads.tracing(tracing_sampling_rate=0.4))
    fleet.settle()
    return f"/configs/{made['id']}"


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("end", ["", "/restore?revision=1", "/retire"], ids=["itself", "restore", "retire"])
def test_the_pages_of_a_config_show_without_a_complaint(
    end: str, width: str, chromium: Any, control_plane: ControlPlane, sampling: str
) -> None:
    visitor = Visitor(chromium, control_plane, viewport={"width": WIDTHS[width], "height": 900})
    page = visitor.visit(sampling + end)
    page.wait_for_timeout(300)  # a first live event may come
    name = f"config{'-' + end[1:].partition('?')[0] if end else ''}"
    wrong = too_wide(page, name, width)
    complaints = visitor.all_complaints()
    wrong += barriers(page)
    visitor.close()
    assert complaints == []
    assert wrong == [], json.dumps(wrong, indent=2)[:3000]


def test_a_row_counts_a_client_that_fails_as_it_happens(
    visitor: Visitor, control_plane: ControlPlane, fleet: SimulatedFleet
) -> None:
    page = visitor.visit('/configs?q=name:"custom+rules"')
    row = page.locator("#rows tr", has_text="Custom rules")
    row.get_by_text("1 failed").wait_for()
    page.evaluate("window.before = document.querySelector('#rows tr')")

    fleet.replies[HOST] = REFUSES_RULES
    try:
        fleet.report(HOST)
        row.get_by_text("2 failed").wait_for()
        assert page.evaluate("document.contains(window.before)"), "the row was replaced and not morphed"
    finally:
        fleet.replies[HOST] = WELL
        fleet.report(HOST)
    row.get_by_text("1 failed").wait_for()


def test_a_new_config_appears_in_the_list_by_itself(
    visitor: Visitor, control_plane: ControlPlane, fleet: SimulatedFleet
) -> None:
    page = visitor.visit("/configs?q=name:appears*")
    page.get_by_text("No config matches this filter").wait_for()

    control_plane.api.create("ASM_DATA", payloads.denied_ips("203.0.113.99"), name="Appears <b>by itself</b>")

    page.locator("#rows").get_by_text("Appears <b>by itself</b>").wait_for()


def test_a_change_is_undone_with_one_button_and_everybody_sees_it(
    visitor: Visitor, control_plane: ControlPlane, fleet: SimulatedFleet, sampling: str
) -> None:
    api = control_plane.api
    made = config_of(control_plane, "Sampling, workers")
    page = visitor.visit(sampling)
    page.locator("#says").get_by_text("Sampling rate 0.4").wait_for()

    api.change(made, payloads.tracing(tracing_sampling_rate=0.9))

    page.locator("#says").get_by_text("Sampling rate 0.9").wait_for()
    page.locator("#standing").get_by_text("on its way").wait_for()
    polled_until(fleet, page.locator("#standing").get_by_text("have confirmed it"))

    page.get_by_role("button", name="Undo the last change").click()

    page.get_by_role("status").get_by_text("is in force again").wait_for()
    page.locator("#says").get_by_text("Sampling rate 0.4").wait_for()
    page.locator("#history").get_by_text("Sampling rate 0.9 → 0.4").wait_for()
    fleet.settle()


def test_a_revision_is_restored_by_keyboard_after_its_difference_was_shown(
    visitor: Visitor, control_plane: ControlPlane, fleet: SimulatedFleet, sampling: str
) -> None:
    page = visitor.visit(sampling)
    page.get_by_role("link", name="Restore revision 1", exact=True).focus()
    page.keyboard.press("Enter")
    page.get_by_text("Sampling rate 0.4 → 0.2").wait_for()
    page.get_by_text("The text that changes").click()
    assert page.locator(".diff .del").first.inner_text().startswith("removed:")

    page.get_by_label("Reason").fill("Too much <storage> ‏עלות")
    page.keyboard.press("Enter")

    page.wait_for_url(f"**{sampling}")
    page.locator("#history").get_by_text("Too much <storage> ‏עלות").wait_for()
    assert config_of(control_plane, "Sampling, workers")["payload"]["lib_config"] == {
        "tracing_sampling_rate": 0.2
    }
    fleet.settle()


def test_retiring_wants_the_name_and_can_be_undone(
    visitor: Visitor, control_plane: ControlPlane, fleet: SimulatedFleet, sampling: str
) -> None:
    fleet.settle()
    page = visitor.visit(sampling)
    page.get_by_role("link", name="Retire…").click()
    page.get_by_label("Type its name to confirm").fill("Sampling")
    page.get_by_role("button", name="Retire and publish").click()
    page.get_by_text("This is not its name").wait_for()
    assert config_of(control_plane, "Sampling, workers")["state"] == "active"
    visitor.complaints.clear()  # a browser writes a 422 to its console

    page.get_by_label("Type its name to confirm").fill("Sampling, workers")
    page.get_by_role("button", name="Retire and publish").click()

    page.get_by_role("status").get_by_text("is retired").wait_for()
    page.get_by_role("button", name="Undo the retirement").click()
    page.get_by_role("status").get_by_text("is in force again").wait_for()
    assert config_of(control_plane, "Sampling, workers")["state"] == "active"
    fleet.settle()


def test_configs_can_be_read_and_restored_without_scripts(
    chromium: Any, control_plane: ControlPlane, fleet: SimulatedFleet, sampling: str
) -> None:
    visitor = Visitor(chromium, control_plane, java_script_enabled=False)
    page = visitor.page
    page.goto("/configs?q=service:shop-worker")
    page.get_by_role("link", name="Sampling, workers").click()
    assert " UTC" in page.locator("#about").inner_text()
    page.get_by_role("link", name="Restore revision 2", exact=True).click()
    page.get_by_role("button", name="Restore and publish").click()

    assert "is in force again" in page.locator(".done").inner_text()
    visitor.close()
    fleet.settle()


def test_propagation_shows_a_change_as_it_arrives(
    visitor: Visitor, control_plane: ControlPlane, fleet: SimulatedFleet
) -> None:
    page = visitor.visit("/propagation?product=ASM_DATA&service=search")
    listed = page.locator("#slowest")
    made = control_plane.api.create(
        "ASM_DATA", payloads.denied_ips("203.0.113.5"), name="Watched", service="search"
    )

    polled_until(fleet, listed.get_by_role("link", name="Watched"))

    assert page.locator("#whole figcaption").inner_text().endswith(" s.")
    assert config_of(control_plane, "Watched")["id"] == made["id"]
