"""Somebody looks for an attack: types, clicks, goes by keyboard, sees one come, and reads it."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

from tests.browser.conftest import Visitor
from tests.support.attacks import attacked, matched, tell, trace_id
from tests.support.stack import ControlPlane

FIRST, SECOND, LIVE = 0x7EAC01, 0x7EAC02, 0x7EAC03


def test_an_attack_is_searched_narrowed_seen_live_and_read(
    visitor: Visitor, control_plane: ControlPlane
) -> None:
    machine = control_plane.machine(control_plane.api.new_api_key("attacked"))
    tell(
        machine,
        attacked(FIRST, ago_s=200, service="journey", ip="198.51.100.61"),
        attacked(SECOND, ago_s=5, service="journey", ip="198.51.100.62", like="login_failure"),
    )
    page = visitor.visit("/security/traces")

    # Names and values are completed, by keyboard alone.
    page.get_by_role("combobox", name="Search").click()
    page.keyboard.type("serv")
    page.get_by_role("option", name="service:").wait_for()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.keyboard.type("journ")
    page.get_by_role("option", name="journey").wait_for()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Tab")
    assert page.locator("#q").input_value() == "service:journey "
    page.keyboard.press("Enter")
    page.wait_for_url("**q=service%3Ajourney**")
    assert page.locator("#rows tr").count() == 2

    # A facet asks for a value, with Alt it leaves it out, and again takes it back.
    page.locator("#facet-actor-ip a.value", has_text="198.51.100.61").click()
    page.locator("#facet-actor-ip .chosen").wait_for()
    assert page.locator("#rows tr").count() == 1
    page.locator("#facet-actor-ip a.value", has_text="198.51.100.62").click(modifiers=["Alt"])
    page.locator("#facet-actor-ip .out").wait_for()
    assert "-@http.client_ip:198.51.100.62" in page.locator("#q").input_value()
    page.go_back()
    page.go_back()
    page.locator("#facet-actor-ip").wait_for()

    # Bars are gone along with arrows; one of them leads to its own times.
    page.locator(".timebars a[tabindex='0']").focus()
    page.keyboard.press("ArrowLeft")
    label = page.evaluate("document.activeElement.getAttribute('aria-label')")
    assert "1 attacked" in label
    page.keyboard.press("Enter")
    page.wait_for_url("**from=**")
    assert page.locator("#rows tr").count() == 1
    assert "from" in parse_qs(urlsplit(page.url).query)
    page.go_back()

    # A row comes by itself, on top, without moving the one that has the focus.
    page.get_by_text("Live ·").wait_for()
    reading = page.locator(f"#rows a[href='/security/traces/{trace_id(FIRST)}']")
    reading.focus()
    before = reading.bounding_box()
    tell(machine, attacked(LIVE, service="journey", triggers=[matched("1' OR 1=1", "' OR 1=1")]))
    newest = page.locator("#rows tr").first.locator(f"a[href='/security/traces/{trace_id(LIVE)}']")
    newest.wait_for()
    after = reading.bounding_box()
    assert before is not None
    assert after is not None
    assert abs(after["y"] - before["y"]) < 2 or page.evaluate("window.scrollY") == 0
    assert page.evaluate("document.activeElement.getAttribute('href')").endswith(trace_id(FIRST))

    # All of it: what matched is marked, and whoever sent it can be blocked.
    newest.focus()
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/security/traces/{trace_id(LIVE)}")
    assert page.locator("pre.value mark").first.inner_text() == "' OR 1=1"
    block = page.get_by_role("link", name="Block 198.51.100.7").first.get_attribute("href")
    assert parse_qs(urlsplit(block or "").query)["source"] == [f"trace:{trace_id(LIVE)}"]
    page.get_by_role("link", name="Search for IP address").click()
    page.wait_for_url("**q=@http.client_ip:198.51.100.7**")
