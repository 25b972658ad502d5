"""One control plane, one fleet, one browser for all page tests; what a browser complains of fails a test."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.support import processes, signals
from tests.support.processes import REPOSITORY
from tests.support.simulated_fleet import SimulatedFleet, shop_fleet
from tests.support.stack import ControlPlane

playwright_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: make setup")

SCREENSHOTS = REPOSITORY / ".cache" / "screenshots"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
WATCH = """
window.complaints = [];
document.addEventListener('securitypolicyviolation', (e) =>
  window.complaints.push(`${e.violatedDirective}: ${e.blockedURI} ${e.sourceFile}:${e.lineNumber}`));
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="session")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    running = ControlPlane(tmp_path_factory.mktemp("control-plane"))
    processes.of_this_test.remove(running.program)  # it belongs to all tests of the session
    yield running
    running.stop()


@pytest.fixture(scope="session")
def fleet(control_plane: ControlPlane) -> SimulatedFleet:
    signals.seed(control_plane)
    return shop_fleet(control_plane)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("chromium is not installed: apt-get install chromium")
    with playwright_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


class Visitor:
    """Somebody at a browser; ``complaints`` is all that the browser found wrong."""

    def __init__(self, browser: Any, control_plane: ControlPlane, **options: Any) -> None:
        self.url = control_plane.url
        size = options.pop("viewport", {"width": 1280, "height": 900})
        headers = {"DD-Application-Key": control_plane.application_key}
        self.context = browser.new_context(
            base_url=self.url,
            ignore_https_errors=True,
            viewport=size,
            extra_http_headers=options.pop("extra_http_headers", headers),
            **options,
        )
        self.context.add_init_script(WATCH)
        self.open()

    def open(self) -> None:
        """A new window of the same browser, of which nothing is known yet."""
        self.page = self.context.new_page()
        self.page.set_default_timeout(10_000)
        self.complaints: list[str] = []
        self.requested: set[str] = set()
        self.page.on("console", self._heard)
        self.page.on("pageerror", lambda error: self.complaints.append(f"uncaught: {error}"))
        self.page.on("request", lambda request: self.requested.add(urlsplit(request.url).netloc))

    def _heard(self, message: Any) -> None:
        # A page that is not found is an error to the console; the test asked for it.
        if message.type in ("error", "warning") and "status of 404" not in message.text:
            self.complaints.append(f"{message.type}: {message.text}")

    def visit(self, path: str) -> Any:
        self.page.goto(path)
        self.page.evaluate("document.fonts.ready")
        return self.page

    def all_complaints(self) -> list[str]:
        return [*self.complaints, *self.page.evaluate("window.complaints")]

    def close(self) -> None:
        self.context.close()


def block_nevertheless(page: Any) -> None:
    """Confirm on the page that shows healthy traffic of an address, if that page came; press its button."""
    page.wait_for_load_state()
    again = page.get_by_role("button", name="Block nevertheless")
    if again.count():
        again.click()


@pytest.fixture
def visitor(chromium: Any, control_plane: ControlPlane, fleet: SimulatedFleet) -> Iterator[Visitor]:
    fleet.poll()  # who has not asked for minutes is offline, and a slow machine takes minutes to get here
    somebody = Visitor(chromium, control_plane)
    yield somebody
    found = somebody.all_complaints()
    somebody.close()
    assert found == []
