"""Signing in as people do: by keyboard, in both themes, wide and narrow, with nothing to complain of."""

from __future__ import annotations

import itertools
from typing import Any

import pyotp
import pytest

from tests.browser.conftest import SCREENSHOTS, Visitor
from tests.browser.test_pages import WIDTHS, barriers, too_wide
from tests.support.stack import ControlPlane
from tests.support.visitors import PASSWORD, invite

number = itertools.count(1)


@pytest.mark.parametrize("width", WIDTHS)
def test_from_an_invitation_to_a_second_factor_and_back_in(
    width: str, chromium: Any, control_plane: ControlPlane
) -> None:
    email = f"ann{next(number)}-{width}@example.org"
    visitor = Visitor(
        chromium, control_plane, viewport={"width": WIDTHS[width], "height": 900},
        extra_http_headers={}, bypass_csp=True,
    )  # fmt: skip
    wrong: list[Any] = []

    def look(name: str) -> None:
        page.evaluate("document.fonts.ready")
        wrong.extend([*too_wide(page, name, width), *((name, one) for one in barriers(page))])

    page = visitor.visit(invite(control_plane, email, "admin").removeprefix(control_plane.url))
    look("join")
    page.get_by_label("Password", exact=True).fill("password1234")
    page.get_by_role("button", name="Show password").click()
    assert page.get_by_label("Password", exact=True).get_attribute("type") == "text"
    page.get_by_label("The same again").fill("password1234")
    page.get_by_role("button", name="Set the password").click()
    page.get_by_text("among the first that are tried").wait_for()
    look("join-refused")
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_label("The same again").fill(PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_url(control_plane.url + "/")

    page.goto("/account")
    look("account")
    page.get_by_role("link", name="Set up a second factor").click()
    page.get_by_role("heading", name="Set up a second factor").wait_for()
    look("second-factor-password")
    page.get_by_label("Your password", exact=True).fill("not this one")
    page.keyboard.press("Enter")
    page.get_by_text("This is not your password").wait_for()
    page.get_by_label("Your password", exact=True).fill(PASSWORD)
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Put this into your authenticator").wait_for()
    look("second-factor")
    secret = page.locator(".secret code").inner_text().replace(" ", "")
    page.get_by_role("textbox", name="Code").fill(pyotp.TOTP(secret).now())
    page.get_by_role("button", name="Switch it on").click()
    page.get_by_role("heading", name="Recovery codes").wait_for()
    look("recovery-codes")
    code = page.locator(".codes code").first.inner_text()
    page.get_by_role("link", name="I have kept them").click()
    page.get_by_text("10 recovery codes left").wait_for()
    look("account-second-factor")

    visitor.context.clear_cookies()
    page.goto("/account")
    page.get_by_role("heading", name="Sign in").wait_for()
    look("sign-in")
    page.get_by_label("Email").fill(email)
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Second factor").wait_for()
    look("sign-in-code")
    assert page.evaluate("document.activeElement.name") == "code"
    page.keyboard.type(code)
    page.keyboard.press("Enter")
    page.wait_for_url(control_plane.url + "/account")
    found = [one for one in visitor.all_complaints() if "status of 422" not in one]
    visitor.close()

    assert found == []
    assert wrong == []


def test_what_was_typed_comes_back_after_signing_in_again(chromium: Any, control_plane: ControlPlane) -> None:
    email = f"ann{next(number)}-typing@example.org"
    visitor = Visitor(chromium, control_plane, extra_http_headers={})
    page = visitor.visit(invite(control_plane, email, "admin").removeprefix(control_plane.url))
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_label("The same again").fill(PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_url(control_plane.url + "/")
    page.goto("/webhooks/new")
    page.get_by_label("Name").fill("On-call <b>chat</b> ü")
    page.get_by_label("Address").fill("https://hooks.example/x")
    user = next(one for one in control_plane.api.get("/users")["users"] if one["email"] == email)
    control_plane.api.delete(f"/users/{user['id']}/sessions")

    page.get_by_role("button", name="Make the webhook").click()
    page.get_by_text("What you typed is kept").wait_for()
    page.screenshot(path=SCREENSHOTS / "sign-in-kept.png", full_page=True)
    page.get_by_label("Email").fill(email)
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_url(control_plane.url + "/resume")
    page.screenshot(path=SCREENSHOTS / "resume.png", full_page=True)
    assert page.locator(".typed").get_by_text("On-call <b>chat</b> ü").is_visible()
    page.get_by_role("button", name="Send it now").click()

    page.wait_for_url("**/webhooks/new")
    page.get_by_role("heading", name="Secret of On-call <b>chat</b> ü").wait_for()
    found = [one for one in visitor.all_complaints() if "status of 4" not in one]
    visitor.close()
    assert found == []
