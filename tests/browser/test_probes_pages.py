"""Somebody watches probes: how they are in each instance, what they bring; pauses, removes, stops them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.browser.conftest import Visitor
from tests.support import probed, visitors
from tests.support.probed import HOSTILE, Numbers, make, message, said, send
from tests.support.simulated_fleet import SimulatedFleet
from tests.support.stack import Api, ControlPlane

LOG = {
    "kind": "log", "language": "python", "where": {"file": "counter/orders.py", "line": 41},
    "when": "order.total > 100", "template": "sold for {order.total} to {user}", "snapshot": True,
}  # fmt: skip
MISSING = ("NoFunctionsAtLine", "No function has code at line 41 of counter/orders.py")


def press(page: Any, locator: Any) -> None:
    """Go there and press Enter, as somebody without a mouse does."""
    locator.focus()
    page.keyboard.press("Enter")


@pytest.fixture(scope="module")
def machine(control_plane: ControlPlane) -> Api:
    return control_plane.machine(control_plane.api.new_api_key("probes"))


@pytest.fixture
def onlooker(chromium: Any, control_plane: ControlPlane, fleet: SimulatedFleet) -> Iterator[Visitor]:
    """Somebody who sees probes, and no values; changes nothing."""
    somebody = visitors.Visitor(control_plane)
    somebody.join(visitors.invite(control_plane, "onlooker@example.org", "read_only"))
    visitor = Visitor(chromium, control_plane, extra_http_headers={})
    cookie = {"name": "__Host-sealwire_session", "value": somebody.cookie("session"), "secure": True}
    visitor.context.add_cookies([{**cookie, "url": control_plane.url}])
    yield visitor
    found = visitor.all_complaints()
    visitor.close()
    assert found == []


def test_a_probe_is_watched_paused_changed_and_taken_away(
    visitor: Visitor, control_plane: ControlPlane, machine: Api
) -> None:
    probe = make(control_plane, LOG, name="Counter sales", service="counter")
    probe_id = probe["id"]
    page = visitor.visit("/debugger?service=counter")
    row = page.locator("#rows tr").filter(has_text="Counter sales")
    row.get_by_text("no instance yet").wait_for()
    press(page, row.get_by_role("link", name="Counter sales"))
    page.wait_for_url(f"**/debugger/probes/{probe_id}")
    page.locator("#standing").get_by_text("No service counter is known").wait_for()

    # What each instance says comes by itself, with what it means.
    send(machine, said(probe_id, "runtime-a", "RECEIVED"))
    page.locator("#standing").get_by_text("has not loaded yet").wait_for()
    send(machine, said(probe_id, "runtime-a", "INSTALLED"))
    send(machine, said(probe_id, "runtime-b", "ERROR", failure=MISSING))
    page.locator("#standing").get_by_text("1 of 2 with an error").wait_for()
    page.locator("#instances").get_by_text(MISSING[1]).wait_for()
    page.locator("#instances").get_by_text("Choose one that is executed in a function").wait_for()
    send(
        machine,
        said(probe_id, "runtime-a", "EMITTING"),
        said(probe_id, "runtime-b", "EMITTING"),
        message(probe_id, f"sold for 120 to {HOSTILE}\nand more", values={"user": HOSTILE}),
    )
    page.locator("#standing").get_by_text("2 of 2 emitting").wait_for()
    line = page.locator("#messages a").first
    assert line.inner_text() == "sold for 120 to <script>alert(1)</script>⟨U+202E⟩eve\nand more"
    failed = [("order.total > 100", "No such local variable: 'order'")]
    send(machine, message(probe_id, "", errors=failed))
    page.locator("#failing").get_by_text("No such local variable: 'order'").wait_for()
    page.locator("#failing").get_by_text("It is the condition").wait_for()
    page.locator("#facts").get_by_text("2 of 2 emitting").wait_for()

    # A new version: what instances have of the old one is said, and what was different.
    control_plane.api.put(
        f"/debugger/probes/{probe_id}",
        {
            "document": {**LOG, "template": "sold!"},
            "expected_revision": probe["revision"],
            "comment": "short",
        },
    )
    page.locator("#instances").get_by_text("has version 1").first.wait_for()
    page.locator("#history").get_by_text("sold for {order.total} to {user} → sold!").wait_for()

    before = control_plane.api.get(f"/debugger/probes/{probe_id}")
    press(page, page.get_by_role("button", name="Begin its time anew"))
    page.get_by_role("status").get_by_text("Its time begins anew.").wait_for()
    after = control_plane.api.get(f"/debugger/probes/{probe_id}")
    assert after["expires_at"] > before["expires_at"]
    assert after["version"] == before["version"] == 2  # tracers do nothing

    press(page, page.get_by_role("button", name="Pause", exact=True).last)
    page.locator("#standing").get_by_text("Tracers have taken it out").wait_for()
    assert control_plane.api.get(f"/debugger/probes/{probe_id}")["state"] == "paused"
    press(page, page.get_by_role("button", name="Resume"))
    page.locator("#standing").get_by_role("button", name="Pause").wait_for()

    press(page, page.get_by_role("button", name="Remove"))
    page.wait_for_url("**/debugger?did=removed*")
    page.get_by_role("status").get_by_text("Counter sales is removed").wait_for()
    assert page.locator("#rows").get_by_text("Counter sales").count() == 0
    press(page, page.get_by_role("button", name="Undo"))
    page.locator("#rows").get_by_text("Counter sales").wait_for()
    assert control_plane.api.get(f"/debugger/probes/{probe_id}")["state"] == "active"


def test_numbers_and_spans_are_drawn_as_they_come(
    visitor: Visitor, control_plane: ControlPlane, machine: Api
) -> None:
    metric = make(control_plane, probed.DOCUMENTS["metric"], name="Pricing", service="counter")["id"]
    tags = make(control_plane, probed.DOCUMENTS["tags"], name="Owners", service="counter")["id"]
    numbers = Numbers(machine)
    page = visitor.visit(f"/debugger/probes/{metric}")
    page.locator("#chart").get_by_text("No value in this time").wait_for()

    numbers.measured(metric, [10.0, 20.0, 30.0], tags=("env:prod", "version:1"))
    numbers.measured(metric, [90.0], tags=("env:prod", "version:2"))
    page.locator("#chart .plot .look-2").wait_for(state="attached")
    assert "p95" in page.locator("#chart .slots title").last.text_content()
    press(page, page.locator("#chart summary"))
    page.locator("#chart-numbers tbody tr").first.wait_for()
    page.reload()  # what it can be told apart by is known now
    page.get_by_label("Lines").select_option("version")
    page.get_by_label("Time").select_option("1h")
    press(page, page.get_by_role("button", name="Show"))
    page.wait_for_url("**range=1h*")
    assert page.locator(".looks bdi").all_inner_texts() == ["1", "2"]

    page = visitor.visit(f"/debugger/probes/{tags}")
    page.locator("#no_spans").get_by_text("No span has come yet").wait_for()
    numbers.decorated(tags, {"cart.owner": HOSTILE}, {"cart.size": "No such local variable: 'cart'"})
    page.locator("#spans").get_by_text("No such local variable: 'cart'").wait_for()
    assert page.locator("#spans dd").first.inner_text() == "<script>alert(1)</script>⟨U+202E⟩eve"


def test_who_may_not_see_values_sees_none_and_changes_nothing(
    onlooker: Visitor, control_plane: ControlPlane, machine: Api
) -> None:
    log = make(control_plane, LOG, name="Seen by anybody", service="counter")["id"]
    tags = make(control_plane, probed.DOCUMENTS["tags"], name="Tagged", service="counter")["id"]
    secret = "s3cr3t-of-the-program"
    page = onlooker.visit(f"/debugger/probes/{log}")
    send(machine, said(log, "runtime-a", "EMITTING"))
    send(
        machine, message(log, f"sold to {secret}", values={"user": secret}, errors=[("user", f"no {secret}")])
    )
    Numbers(machine).decorated(tags, {"cart.owner": secret}, {"cart.size": secret})

    page.locator("#messages").get_by_text("sold for {order.total} to {user}").wait_for()
    page.locator("#failing").get_by_text("Why is shown to who may see values").wait_for()
    assert secret not in page.content()
    for action in ("Pause", "Edit", "Remove", "Copy…"):
        assert page.locator("#standing").get_by_text(action).count() == 0
    page = onlooker.visit(f"/debugger/probes/{tags}")
    page.locator("#spans").get_by_text("not shown to your role").wait_for()
    assert secret not in page.content()
    page = onlooker.visit("/debugger?service=counter")
    page.locator("#rows").get_by_text("Seen by anybody").wait_for()
    assert page.locator("#rows button").count() == 0
    assert secret not in page.content()


def test_all_probes_of_a_service_are_stopped_and_come_back(
    visitor: Visitor, control_plane: ControlPlane
) -> None:
    first = make(control_plane, LOG, name="Cellar one", service="cellar")["id"]
    paused = make(control_plane, LOG, name="Cellar two", service="cellar")["id"]
    control_plane.api.post(f"/debugger/probes/{paused}/pause")
    page = visitor.visit("/debugger")
    press(page, page.get_by_role("link", name="Stop…"))
    page.get_by_label("Service", exact=True).fill("cellar")
    press(page, page.get_by_role("button", name="Show what would go"))
    page.get_by_text("1 of service cellar").wait_for()
    page.get_by_label("Reason").fill("the release is slow")
    press(page, page.get_by_role("button", name="Stop service cellar"))
    page.get_by_role("status").get_by_text("Stopped service cellar: 1 probe").wait_for()

    refused = control_plane.api.request(
        "POST", "/api/admin/v1/debugger/probes",
        {"name": "late", "service": "cellar", "env": ["prod"], "document": LOG},
    )  # fmt: skip
    assert refused.status == 422
    page = visitor.visit(f"/debugger/probes/{first}")
    page.locator("#standing").get_by_text("the release is slow").wait_for()
    press(page, page.locator("#standing").get_by_role("link", name="The stop"))
    held = page.locator(".held li").filter(has_text="service cellar")
    press(page, held.get_by_role("button", name="Lift, and resume"))
    page.get_by_role("status").get_by_text("1 probe active again").wait_for()
    assert control_plane.api.get(f"/debugger/probes/{first}")["state"] == "active"
    assert control_plane.api.get(f"/debugger/probes/{paused}")["state"] == "paused"  # somebody had paused it
