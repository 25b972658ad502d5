"""The pages of people with people on them: an administrator's, as they look and as they work."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser.conftest import SCREENSHOTS, Visitor
from tests.browser.test_pages import WIDTHS, barriers, too_wide
from tests.support import processes
from tests.support.stack import ControlPlane
from tests.support.visitors import PASSWORD
from tests.support.visitors import Visitor as Client


class Crowd:
    """A control plane of its own with users, roles and keys; ``ann`` is an administrator."""

    def __init__(self, folder: Path) -> None:
        self.plane = ControlPlane(folder)
        processes.of_this_test.remove(self.plane.program)  # it belongs to all tests here
        api = self.plane.api
        self.team = api.post("/roles", {
            "name": "Shop team", "description": "Blocks and samples for the shop.",
            "permissions": ["fleet_read", "rc_config_read", "rc_config_publish", "appsec_protect_write"],
        })["id"]  # fmt: skip
        self.ids = {
            "ann": self.joins("ann@example.org", "Ann Example", {"role_id": "admin"}),
            "ben": self.joins(
                "ben@example.org", "Benedikt Überlinger-Wolkenstein",
                {"role_id": self.team, "services": ["shop", "checkout"], "envs": ["staging"]},
                {"role_id": "read_only"},
            ),
            "eve": self.joins("eve@example.org", "", {"role_id": "standard"}),
        }  # fmt: skip
        api.post("/users", {"email": "late@example.org", "roles": [{"role_id": "standard"}]})
        api.patch(f"/users/{self.ids['eve']}", {"state": "disabled"})
        ben = Client(self.plane)
        ben.sign_in("ben@example.org")

    def joins(self, email: str, name: str, *roles: dict[str, Any]) -> str:
        invited = self.plane.api.post("/users", {"email": email, "name": name, "roles": list(roles)})
        assert Client(self.plane).join(invited["link"]).status_code == 303
        user_id: str = invited["id"]
        return user_id

    @property
    def pages(self) -> dict[str, str]:
        ann, ben, eve = (f"/people/{self.ids[name]}" for name in ("ann", "ben", "eve"))
        team = f"/people/roles/{self.team}"
        return {
            "all": "/people", "self": ann, "user": ben, "user-disabled": eve, "disable": f"{ben}/disable",
            "disable-last": f"{ann}/disable", "roles": "/people/roles", "role": team,
            "role-admin": "/people/roles/admin", "role-edit": f"{team}/edit", "role-delete": f"{team}/delete",
            "keys": "/people/keys", "own-keys": "/account/keys", "own-key-new": "/account/keys/new",
        }  # fmt: skip


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crowd]:
    made = Crowd(tmp_path_factory.mktemp("crowd"))
    yield made
    made.plane.stop()


def ann_at(chromium: Any, crowd: Crowd, **options: Any) -> Visitor:
    """Ann, signed in."""
    visitor = Visitor(chromium, crowd.plane, extra_http_headers={}, **options)
    visitor.page.goto("/sign-in")
    visitor.page.get_by_label("Email").fill("ann@example.org")
    visitor.page.get_by_label("Password", exact=True).fill(PASSWORD)
    visitor.page.get_by_role("button", name="Sign in", exact=True).click()
    visitor.page.wait_for_url("**/")
    return visitor


@pytest.mark.parametrize("width", WIDTHS)
def test_every_page_of_people_shows_without_a_complaint_or_a_barrier(
    width: str, chromium: Any, crowd: Crowd
) -> None:
    visitor = ann_at(
        chromium, crowd, viewport={"width": WIDTHS[width], "height": 900},
        bypass_csp=True,  # for axe; the policy is watched below, where Ann works
    )  # fmt: skip
    found: dict[str, Any] = {}
    for name, path in crowd.pages.items():
        page = visitor.visit(path)
        wrong = [*too_wide(page, f"people-{name}", width), *barriers(page)]
        if wrong:
            found[name] = wrong
    complaints = visitor.all_complaints()
    visitor.close()

    assert found == {}, json.dumps(found, indent=1)
    assert complaints == []


def test_an_administrator_invites_restricts_and_disables_by_the_pages(chromium: Any, crowd: Crowd) -> None:
    visitor = ann_at(chromium, crowd)
    page = visitor.page
    page.get_by_role("link", name="People").click()
    page.get_by_role("link", name="Invite somebody").click()
    page.get_by_label("Email").fill("nina@example.org")
    page.get_by_label("Role").select_option("Shop team")
    page.get_by_label("For services").fill("shop, cart")
    page.get_by_role("button", name="Invite").click()
    link = page.locator(".secret code").inner_text()
    page.screenshot(path=SCREENSHOTS / "people-link-light-wide.png", full_page=True)
    page.get_by_role("link", name="I have it").click()
    page.get_by_text("They did not join yet.").wait_for()
    assert Client(crowd.plane).join(link).status_code == 303

    page.reload()
    page.get_by_text("Give a role").click()
    page.locator("#field-role").select_option("Standard")
    page.get_by_label("For services").fill("pay")
    page.get_by_role("button", name="Give it").click()
    page.get_by_text("They have the role Standard for pay now.").wait_for()
    page.get_by_role("button", name="Take away Shop team for cart, shop").click()
    page.get_by_text("They do not have the role Shop team for cart, shop any more.").wait_for()

    page.get_by_role("link", name="Disable").click()
    page.get_by_label("Type their email").fill("nina@example.org")
    page.get_by_role("button", name="Disable").click()
    page.get_by_text("nobody comes in as them any more").wait_for()
    page.get_by_role("button", name="Enable").click()
    page.get_by_text("nina@example.org is active again.").wait_for()
    found = visitor.all_complaints()
    visitor.close()
    assert found == []


def test_an_administrator_writes_a_role_and_sees_what_it_means_first(chromium: Any, crowd: Crowd) -> None:
    visitor = ann_at(chromium, crowd)
    page = visitor.visit("/people/roles/standard")
    page.get_by_role("link", name="New role from this").click()
    page.get_by_label("Name", exact=True).fill("Operators")
    page.get_by_label("Export the audit trail").check()
    page.get_by_label("Ask an agent for a flare").uncheck()
    page.get_by_role("button", name="What it means").click()
    page.get_by_text("People may, and could not before").wait_for()
    page.screenshot(path=SCREENSHOTS / "people-role-review-light-wide.png", full_page=True)
    assert page.get_by_text("Organisation: Export the audit trail").is_visible()
    assert page.get_by_text("Fleet: Ask an agent for a flare").is_visible()
    page.get_by_role("button", name="Back to the form").click()
    assert page.get_by_label("Export the audit trail").is_checked()
    page.get_by_role("button", name="What it means").click()
    page.get_by_role("button", name="Make the role").click()

    page.get_by_text("Made the role Operators.").wait_for()
    found = visitor.all_complaints()
    visitor.close()
    assert found == []


def test_a_key_with_scopes_is_made_and_revoked_by_the_pages(chromium: Any, crowd: Crowd) -> None:
    visitor = ann_at(chromium, crowd)
    page = visitor.visit("/account")
    page.get_by_role("link", name="Application keys").click()
    page.get_by_role("link", name="New key").first.click()
    page.get_by_label("Name", exact=True).fill("deploys of shop")
    page.get_by_label("Only what is ticked below").check()
    page.get_by_text("Scopes", exact=True).click()
    page.get_by_label("See configs, their history and their targeting").check()
    page.get_by_role("button", name="Make the key").click()
    secret = page.locator("#new-key").inner_text()
    page.screenshot(path=SCREENSHOTS / "people-key-secret-light-wide.png", full_page=True)
    page.get_by_role("link", name="I have it").click()
    page.screenshot(path=SCREENSHOTS / "people-own-keys-full-light-wide.png", full_page=True)
    assert len(secret) == 40
    page.get_by_role("link", name="Revoke deploys of shop").click()
    page.get_by_label("Type its name").fill("deploys of shop")
    page.screenshot(path=SCREENSHOTS / "people-key-revoke-light-wide.png", full_page=True)
    page.get_by_role("button", name="Revoke").click()

    page.get_by_text("opens nothing any more").wait_for()
    found = visitor.all_complaints()
    visitor.close()
    assert found == []
