"""The first hour of a newcomer, from the one-time link to an address that is refused: nothing but the pages.

Each step leaves a picture in ``.cache/screenshots/newcomer``; README shows two of them.
"""

from __future__ import annotations

import http.client
import importlib.util
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.browser.conftest import SCREENSHOTS, WATCH, block_nevertheless
from tests.support.processes import Program, clean_environment, wait_until
from tests.support.stack import free_port

PICTURES = SCREENSHOTS / "newcomer"
DENIED, OTHER = "203.0.113.7", "198.51.100.9"
PASSWORD = "walrus lantern teapot orbit"
FOCUSED = """() => { const one = document.activeElement; if (!one || one === document.body) return '';
  const label = one.labels?.length ? [...one.labels].map((l) => l.textContent).join(' ') : '';
  return `${one.tagName} ${label} ${one.textContent} ${one.getAttribute('aria-label') ?? ''}`
    .replace(/\\s+/g, ' ').trim(); }"""


@dataclass
class Running:
    """``sealwire up`` and what it told whoever started it."""

    program: Program
    link: str
    shop_port: int

    def shop(self, from_ip: str) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", self.shop_port, timeout=10)
        try:
            connection.request("GET", "/", headers={"X-Forwarded-For": from_ip})
            return connection.getresponse().status
        finally:
            connection.close()


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    if importlib.util.find_spec("ddtrace") is None:
        pytest.skip("the shop's tracer is not installed beside us")
    home = tmp_path / "home"
    home.mkdir()
    ports = [free_port() for _ in range(3)]
    program = Program(
        [
            *(sys.executable, "-m", "sealwire", "up"),
            *("--data-dir", tmp_path / "data"),
            *("--server-port", str(ports[0])),
            *("--agent-port", str(ports[1])),
            *("--shop-port", str(ports[2])),
        ],
        name="sealwire up",
        log=tmp_path / "up.log",
        environment=clean_environment({"HOME": str(home), "XDG_CONFIG_HOME": str(home / ".config")}),
    )
    program.wait_for_line(r"^Ctrl-C stops everything\.", timeout_s=90)
    link = re.search(r"^Open this once in a browser.*\n +(https://\S+/join/\S+)$", program.said(), re.M)
    assert link is not None, program.said()
    yield Running(program, link[1], ports[2])
    program.stop()


class Newcomer:
    """Somebody at a browser who was given a link and nothing else."""

    def __init__(self, browser: Any, *, theme: str, pictures: str = "") -> None:
        self.context = browser.new_context(
            ignore_https_errors=True, viewport={"width": 1280, "height": 860}, color_scheme=theme
        )
        self.context.add_init_script(WATCH)
        self.page = self.context.new_page()
        self.page.set_default_timeout(20_000)
        self.complaints: list[str] = []
        self.page.on("pageerror", lambda error: self.complaints.append(f"uncaught: {error}"))
        self.page.on(
            "console",
            lambda said: self.complaints.append(said.text) if said.type in ("error", "warning") else None,
        )
        self._pictures = pictures
        self._taken = 0

    def picture(self, what: str) -> None:
        if self._pictures:
            self._taken += 1
            self.page.evaluate("document.fonts.ready")
            self.page.screenshot(path=PICTURES / f"{self._pictures}-{self._taken}-{what}.png")

    def tab_to(self, words: str) -> None:
        """Press Tab until what has the focus says these words, as somebody without a mouse would."""
        for _ in range(120):
            self.page.keyboard.press("Tab")
            if words in self.page.evaluate(FOCUSED):
                return
        raise AssertionError(f"Tab does not reach {words!r}")

    def close(self) -> None:
        found = [*self.complaints, *self.page.evaluate("window.complaints")]
        self.context.close()
        assert found == []


def steps_done(page: Any) -> int:
    count: int = page.locator("#progress .is-done").count()
    return count


@pytest.mark.interop
def test_a_newcomer_gets_from_the_link_to_an_address_that_is_refused(chromium: Any, running: Running) -> None:
    newcomer = Newcomer(chromium, theme="light", pictures="mouse")
    page = newcomer.page
    assert (running.shop(DENIED), running.shop(OTHER)) == (200, 200)

    page.goto(running.link)
    newcomer.picture("the-link")
    page.get_by_label("Email").fill("ada@example.org")
    page.get_by_label("Name").fill("Ada")
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_label("The same again").fill(PASSWORD)
    page.get_by_role("button", name="Set the password and go on").click()

    page.wait_for_url("**/start")
    page.locator("#step-2 .is-done").get_by_text("shop").wait_for()
    assert steps_done(page) == 2, "an agent is connected and a tracer asks: nobody had to do anything"
    newcomer.picture("agent-and-tracer-are-there")
    page.get_by_role("link", name="Switch on App and API Protection for shop").click()
    page.get_by_text("1 tracer now").wait_for()
    newcomer.picture("who-gets-it")
    page.get_by_role("button", name="Switch on").click()

    page.wait_for_url("**/start")
    page.locator("#detection").get_by_text("acknowledged by 1 of 1").wait_for()
    page.locator("#block").get_by_role("link", name="Block an address").wait_for()
    assert steps_done(page) == 3
    newcomer.picture("attack-detection-is-on")
    page.locator("#block").get_by_role("link", name="Block an address").click()
    newcomer.picture("the-block")
    with page.expect_navigation():
        page.locator("form.form").get_by_role("button", name="Block").click()
    block_nevertheless(page)

    page.wait_for_url("**/start")
    page.locator("#block").get_by_text(f"{DENIED} is refused.").wait_for()
    assert steps_done(page) == 4
    wait_until(lambda: running.shop(DENIED) == 403, f"{DENIED} gets 403", timeout_s=20, every_s=0.1)
    assert running.shop(OTHER) == 200
    page.locator("#step-4").scroll_into_view_if_needed()
    newcomer.picture("refused")

    page.get_by_role("link", name="See who is blocked").click()
    row = page.locator("#entries tr")
    assert row.get_by_text("1 of 1").is_visible()
    assert row.get_by_text("Trying it out").is_visible()
    assert row.get_by_text("ada@example.org").is_visible()
    newcomer.picture("protect")
    row.get_by_role("button", name="Unblock").click()
    page.get_by_text("Nobody is blocked").wait_for()
    wait_until(lambda: running.shop(DENIED) == 200, f"{DENIED} is let in again", timeout_s=20, every_s=0.1)

    page.get_by_role("link", name="Home").click()
    page.get_by_role("heading", name="Home").wait_for()
    assert page.locator("#first_steps a").count() == 0, "who has taken all steps is not led there again"
    newcomer.picture("home")
    page.goto(running.link)
    assert "This link was used" in page.locator("main").inner_text()
    newcomer.complaints = [one for one in newcomer.complaints if "404" not in one]
    newcomer.close()


@pytest.mark.interop
def test_the_same_by_keyboard_alone(chromium: Any, running: Running) -> None:
    newcomer = Newcomer(chromium, theme="dark", pictures="keyboard")
    page = newcomer.page
    page.goto(running.link)
    newcomer.tab_to("Email")
    page.keyboard.type("ada@example.org")
    newcomer.tab_to("INPUT Password")
    page.keyboard.type(PASSWORD)
    newcomer.tab_to("The same again")
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")

    page.wait_for_url("**/start")
    page.locator("#step-2 .is-done").get_by_text("shop").wait_for()
    newcomer.tab_to("Switch on App and API Protection for shop")
    page.keyboard.press("Enter")
    page.get_by_text("1 tracer now").wait_for()
    newcomer.tab_to("BUTTON Switch on")
    page.keyboard.press("Enter")

    page.wait_for_url("**/start")
    page.locator("#block").get_by_role("link", name="Block an address").wait_for()
    newcomer.picture("attack-detection-is-on")
    newcomer.tab_to("A Block an address")
    page.keyboard.press("Enter")
    page.wait_for_url("**/protect/block**")
    newcomer.tab_to("BUTTON Block")
    with page.expect_navigation():
        page.keyboard.press("Enter")
    if page.get_by_role("button", name="Block nevertheless").count():
        # The shop's own visitors come from there too, and that is said once it is known.
        newcomer.tab_to("BUTTON Block nevertheless")
        page.keyboard.press("Enter")

    page.wait_for_url("**/start")
    page.locator("#block").get_by_text(f"{DENIED} is refused.").wait_for()
    wait_until(lambda: running.shop(DENIED) == 403, f"{DENIED} gets 403", timeout_s=20, every_s=0.1)
    assert running.shop(OTHER) == 200
    newcomer.picture("refused")
    newcomer.close()
