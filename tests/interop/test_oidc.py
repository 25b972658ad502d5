"""People sign in with a real provider of OpenID Connect, through its own pages."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

from tests.support import processes
from tests.support.oidc_provider import Claims, FormBrowser, OidcProvider
from tests.support.stack import ControlPlane

pytestmark = pytest.mark.interop
LOCAL = ("127.0.0.1", "localhost")
BACK = "/sign-in/oidc/callback"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class Both:
    """A control plane and the provider its people come from."""

    def __init__(self, folder: Path, **settings: object) -> None:
        self.provider = OidcProvider(folder / "provider")
        self.control_plane = ControlPlane(folder / "plane", settings=self.provider.settings(**settings))
        self.provider.start(self.control_plane.url + BACK)
        self._browsers: list[FormBrowser] = []
        # They outlive one test.
        for program in (self.control_plane.program, self.provider.program):
            if program in processes.of_this_test:
                processes.of_this_test.remove(program)

    def browser(self) -> FormBrowser:
        self._browsers.append(FormBrowser(self.control_plane.url, self.control_plane.ca_file))
        return self._browsers[-1]

    def invite(self, email: str, role: str = "standard") -> dict[str, Any]:
        invited: dict[str, Any] = self.control_plane.api.post(
            "/users", {"email": email, "roles": [{"role_id": role}]}
        )
        return invited

    def users(self) -> dict[str, dict[str, Any]]:
        listed = self.control_plane.api.get("/users")["users"]
        return {user["email"]: user for user in listed}

    def actions(self) -> list[str]:
        return [event["action"] for event in self.control_plane.api.get("/audit?limit=50")["events"]]

    def stop(self) -> None:
        for browser in self._browsers:
            browser.close()
        self.control_plane.stop()
        self.provider.program.stop()


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    made = Both(tmp_path_factory.mktemp("invited"))
    yield made
    made.stop()


@pytest.fixture(scope="module")
def open_to_newcomers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    made = Both(
        tmp_path_factory.mktemp("newcomers"),
        oidc_default_role="read_only", oidc_allowed_domains="example.org",
    )  # fmt: skip
    yield made
    made.stop()


def person(name: str, *, verified: bool = True, domain: str = "example.org") -> Claims:
    return {"email": f"{name}@{domain}", "email_verified": verified, "name": name.title()}


# In -------------------------------------------------------------------------------------------------------


def test_who_was_invited_signs_in_and_is_known_again_by_their_subject(both: Both) -> None:
    both.invite("ann@example.org")
    both.provider.has(ann=person("ann"))
    first, second = both.browser(), both.browser()

    page = first.sign_in("ann", next_path="/account")

    assert page.status_code == 200, page.text[:2000]
    assert str(page.url) == f"{both.control_plane.url}/account"
    assert "ann@example.org" in page.text
    user = both.users()["ann@example.org"]
    assert (user["state"], user["issuers"]) == ("active", [both.provider.issuer])
    assert both.actions()[:3] == ["user.signed_in", "user.linked", "user.activated"]
    assert "__Host-sealwire_journey" not in first.cookies

    both.provider.has(ann=person("ann", domain="renamed.example"))
    assert "ann@example.org" in second.sign_in("ann").text


def test_in_a_real_browser_two_sites_apart(both: Both) -> None:
    playwright_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("chromium is not installed: apt-get install chromium")
    both.invite("chris@example.org")
    both.provider.has(chris=person("chris"))
    complaints: list[str] = []
    with playwright_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        context = chromium.new_context(base_url=both.control_plane.url, ignore_https_errors=True)
        # The pages of the provider name a font of somebody else's.
        context.route(lambda url: urlsplit(url).hostname not in LOCAL, lambda route: route.abort())
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)

        page.goto("/account")
        page.get_by_role("link", name="Sign in with Example ID").click()
        page.get_by_placeholder("Enter any login").fill("chris")
        page.get_by_placeholder("and password").fill("any")
        page.get_by_role("button", name="Sign-in").click()
        page.get_by_role("button", name="Continue").click()
        page.wait_for_url(f"{both.control_plane.url}/account")
        shown = page.content()
        kept = {cookie["name"]: cookie for cookie in context.cookies(both.control_plane.url)}
        chromium.close()

    assert "chris@example.org" in shown
    assert "__Host-sealwire_journey" not in kept
    session = kept["__Host-sealwire_session"]
    assert (session["httpOnly"], session["secure"], session["sameSite"]) == (True, True, "Lax")
    ours = [text for text in complaints if both.control_plane.url in text]
    assert ours == []


def test_a_newcomer_of_an_allowed_domain_joins_with_the_default_role(open_to_newcomers: Both) -> None:
    open_to_newcomers.provider.has(nora=person("nora"))
    browser = open_to_newcomers.browser()

    assert browser.sign_in("nora").status_code == 200

    user = open_to_newcomers.users()["nora@example.org"]
    assert [role["role_id"] for role in user["roles"]] == ["read_only"]
    assert (user["name"], user["state"]) == ("Nora", "active")


# Not in ---------------------------------------------------------------------------------------------------


def assert_stays_outside(browser: FormBrowser, page: Any, says: str, status: int = 403) -> None:
    assert page.status_code == status, page.text[:2000]
    assert says in page.text
    assert not browser.is_signed_in


def test_whom_nobody_invited_stays_outside(both: Both) -> None:
    both.provider.has(bob=person("bob"))
    browser = both.browser()

    assert_stays_outside(browser, browser.sign_in("bob"), "Nobody invited bob@example.org.")

    assert "bob@example.org" not in both.users()
    assert "sign_in.refused" in both.actions()


def test_an_email_that_is_not_verified_is_nobodys(both: Both) -> None:
    both.invite("vera@example.org", "admin")
    both.provider.has(vera=person("vera", verified=False))
    browser = both.browser()

    assert_stays_outside(browser, browser.sign_in("vera"), "did not verify your email")

    assert both.users()["vera@example.org"]["state"] == "invited"


def test_somebody_who_got_anothers_email_does_not_get_their_user(both: Both) -> None:
    both.invite("dora@example.org", "admin")
    both.provider.has(dora=person("dora"), mallory=person("dora"))
    assert both.browser().sign_in("dora").status_code == 200
    browser = both.browser()

    assert_stays_outside(browser, browser.sign_in("mallory"), "belongs to another account")


def test_a_user_who_is_disabled_is_out_and_stays_out(both: Both) -> None:
    user_id = both.invite("eric@example.org")["id"]
    both.provider.has(eric=person("eric"))
    browser = both.browser()
    assert browser.sign_in("eric").status_code == 200
    assert browser.is_signed_in

    both.control_plane.api.patch(f"/users/{user_id}", {"state": "disabled"})

    assert not browser.is_signed_in
    again = both.browser()
    assert_stays_outside(again, again.sign_in("eric"), "is disabled here")


@pytest.mark.parametrize(("domain", "verified"), [("evil.example", True), ("example.org", False)])
def test_a_newcomer_of_another_domain_or_without_a_verified_email_stays_outside(
    domain: str, verified: bool, open_to_newcomers: Both
) -> None:
    open_to_newcomers.provider.has(max=person("max", verified=verified, domain=domain))
    browser = open_to_newcomers.browser()

    assert_stays_outside(browser, browser.sign_in("max"), "a verified email of example.org")


FORGED: dict[str, Claims] = {
    "another nonce": {"nonce": "another"},
    "no nonce": {"nonce": None},
    "another audience": {"aud": "another-client"},
    "another issuer": {"iss": "http://localhost:1"},
    "an end that is past": {"exp": int(time.time()) - 3600},
    "no subject": {"sub": None},
}


@pytest.mark.parametrize("what", FORGED)
def test_a_token_the_provider_signed_with_other_claims_is_refused(what: str, both: Both) -> None:
    name = "forged" + str(list(FORGED).index(what))
    both.invite(f"{name}@example.org")
    both.provider.has(**{name: person(name)})
    both.provider.forges(FORGED[what])
    browser = both.browser()

    assert_stays_outside(browser, browser.sign_in(name), "cannot be trusted as it is")

    assert both.users()[f"{name}@example.org"]["state"] == "invited"
    assert both.browser().sign_in(name).status_code == 200, "the same without the forgery"


# The way there and back -----------------------------------------------------------------------------------


def answer_of(browser: FormBrowser, login: str) -> dict[str, str]:
    """What the provider sends a browser back with, kept from it."""
    asked = browser.get("/sign-in/oidc?next=/account")
    browser.client.event_hooks["response"] = [_stop_before_we_are_reached]
    try:
        consent = browser.submit(asked, login=login, password="any")
        if "Authorize" in consent.text:
            browser.submit(consent)
    except _BackError as back:
        return back.answer
    finally:
        browser.client.event_hooks["response"] = []
    raise AssertionError("the provider did not send the browser back")


class _BackError(Exception):
    def __init__(self, answer: dict[str, str]) -> None:
        super().__init__("the provider sends the browser back")
        self.answer = answer


def _stop_before_we_are_reached(response: Any) -> None:
    where = response.headers.get("location", "")
    if BACK in where:
        raise _BackError({name: values[0] for name, values in parse_qs(urlsplit(where).query).items()})


def test_an_answer_counts_once_in_the_browser_that_began_with_its_own_state(both: Both) -> None:
    both.invite("olga@example.org")
    both.provider.has(olga=person("olga"))
    victim, attacker = both.browser(), both.browser()
    answer = answer_of(attacker, "olga")

    def back(browser: FormBrowser, **changes: str) -> Any:
        return browser.get(f"{BACK}?{urlencode({**answer, **changes})}")

    assert_stays_outside(victim, back(victim), "did not begin to sign in")
    victim.get("/sign-in/oidc")  # a journey of the victim's own does not help the attacker either
    assert_stays_outside(victim, back(victim), "state that came back")
    assert_stays_outside(attacker, back(attacker, state="other"), "state that came back")
    assert_stays_outside(attacker, back(attacker), "did not begin to sign in")  # its cookie is gone


def test_a_code_is_redeemed_with_the_verifier_it_was_asked_for_with(both: Both) -> None:
    both.invite("pia@example.org")
    both.provider.has(pia=person("pia"))
    browser, other = both.browser(), both.browser()
    stolen = answer_of(other, "pia")["code"]
    own = answer_of(browser, "pia")

    page = browser.get(f"{BACK}?{urlencode({**own, 'code': stolen})}")

    assert_stays_outside(browser, page, "invalid_grant")


@pytest.mark.parametrize(
    "next_path", ["https://evil.example/", "//evil.example/", "/\\evil.example", "%09//evil.example"]
)
def test_it_goes_on_at_a_page_of_ours_whatever_was_asked_for(next_path: str, both: Both) -> None:
    name = "rita"
    if f"{name}@example.org" not in both.users():
        both.invite(f"{name}@example.org")
        both.provider.has(**{name: person(name)})

    page = both.browser().sign_in(name, next_path=next_path)

    assert str(page.url).startswith(both.control_plane.url + "/"), page.url


def test_who_turns_back_at_the_provider_is_told_so(both: Both) -> None:
    browser = both.browser()
    asked = browser.get("/sign-in/oidc")
    abort = asked.text.split('/abort"')[0].rpartition('"')[2] + "/abort"

    page = browser.get(abort)

    assert_stays_outside(browser, page, "Example ID did not let you in: access_denied.")
    assert 'href="/sign-in/oidc"' in page.text


def test_the_sign_in_page_has_a_button_only_where_a_provider_is_set(both: Both, tmp_path: Path) -> None:
    assert 'href="/sign-in/oidc?next=/fleet"' in both.browser().get("/sign-in?next=/fleet").text
    with ControlPlane(tmp_path / "alone") as alone:
        browser = FormBrowser(alone.url, alone.ca_file)
        assert "/sign-in/oidc" not in browser.get("/sign-in").text
        assert browser.get("/sign-in/oidc").status_code == 404
        assert browser.get(BACK).status_code == 404
        browser.close()


def test_while_the_provider_is_away_a_page_says_so_and_nothing_is_logged_that_is_secret(
    tmp_path: Path,
) -> None:
    own = Both(tmp_path)
    own.invite("ann@example.org")
    own.provider.has(ann=person("ann"))
    assert own.browser().sign_in("ann").status_code == 200
    own.provider.program.stop()
    own.control_plane.restart()
    browser = own.browser()

    page = browser.get("/sign-in/oidc")

    assert_stays_outside(browser, page, "Example ID cannot be used right now", status=503)
    said = own.control_plane.log()
    own.stop()
    assert "a secret of the test" not in said
    assert "provider not usable" in said
    assert json.dumps("code=")[1:-1] not in said
