"""From a question to an answer out of a live program: real tracers, everything by the pages.

A service in Python under ddtrace and one in JavaScript under dd-trace work all the time. Probes are put into
them on the page, what they give is read on the page, and they are taken out again.
"""

from __future__ import annotations

import json
import re
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.browser.conftest import SCREENSHOTS, Visitor
from tests.support import visitors
from tests.support.clients import INSTRUMENTED, App, ExpressApp, FlaskApp, line_of
from tests.support.processes import wait_until
from tests.support.stack import Agent, ControlPlane

pytestmark = pytest.mark.interop

PICTURES = SCREENSHOTS / "instrumentation"
SELL = "here: order, total and note are known"
WHOLE = "here: whole is known"
SOON_MS = 60_000  # what takes seconds here may take longer where others work too


class Work:
    """People who order all the time: once one piece, once three."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)

    def _work(self) -> None:
        count = 1
        while not self._stop.wait(0.1):
            with suppress(OSError):
                self._app.get(f"/order?sku=wax&count={count}")
            count = 4 - count

    def __enter__(self) -> Work:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


class Scene:
    """A control plane, an agent, an application, and somebody who looks at the pages."""

    def __init__(self, plane: ControlPlane, agent: Agent, visitor: Visitor) -> None:
        self.plane, self.agent, self.visitor = plane, agent, visitor
        self.took_s: dict[str, float] = {}
        self._saved = 0.0

    @property
    def page(self) -> Any:
        return self.visitor.page

    def picture(self, what: str) -> None:
        PICTURES.mkdir(parents=True, exist_ok=True)
        self.page.evaluate("document.fonts.ready")
        self.page.screenshot(path=PICTURES / f"{what}.png", full_page=True)

    def fill(self, service: str, **fields: object) -> None:
        """Open the form of a new probe and fill it in, by the names of its fields."""
        self.visitor.visit("/debugger/new")
        page = self.page
        page.locator("#in-service").fill(service)
        page.locator("#in-env").fill("prod")
        for name, value in fields.items():
            field = page.locator(f"[name='{name.replace('__', '-')}']")
            if field.first.get_attribute("type") == "radio":
                page.locator(f"label:has([name='{name}'][value='{value}'])").click()
            elif field.evaluate("it => it.localName") == "select":
                field.select_option(str(value))
            else:
                field.fill(str(value))
                page.keyboard.press("Escape")  # what is offered would cover the next field

    def save(self) -> str:
        """Press Save; the id of the probe whose page that leads to."""
        self._saved = time.monotonic()
        self.page.get_by_role("button", name="Save", exact=True).click()
        self.page.wait_for_url(re.compile(r"/debugger/probes/[0-9a-f-]{36}$"))
        return str(self.page.url.rpartition("/")[2])

    def make(self, service: str, **fields: object) -> str:
        self.fill(service, **fields)
        return self.save()

    def wait_for(self, what: str, locator: str, *, text: str | re.Pattern[str] | None = None) -> None:
        """Wait until the open page shows something, by itself; ``took_s`` is how long that was after Save."""
        found = self.page.locator(locator, has_text=text) if text is not None else self.page.locator(locator)
        found.first.wait_for(timeout=SOON_MS)
        self.took_s[what] = round(time.monotonic() - self._saved, 2)

    def say(self, words: str) -> None:
        """Something that was measured, for whoever runs this with ``-s``."""
        sys.stdout.write(f"{words}\n")

    def tell(self) -> None:
        """How long it took from Save until something was on the page."""
        self.say("\n".join(f"{what}: {took} s" for what, took in self.took_s.items()))

    def emitting(self, what: str) -> None:
        self.wait_for(f"{what}: emitting", "#instances .st", text=re.compile("emitting", re.IGNORECASE))

    def remove(self, probe: str) -> None:
        self.visitor.visit(f"/debugger/probes/{probe}")
        self.page.get_by_role("button", name="Remove", exact=True).click()
        self.page.get_by_text("is removed: tracers take it out").wait_for()


@pytest.fixture
def scene(chromium: Any, tmp_path: Path) -> Iterator[Scene]:
    with ControlPlane(tmp_path / "control-plane") as plane, Agent(tmp_path / "host", plane) as agent:
        visitor = Visitor(chromium, plane)
        visitor.page.set_default_timeout(SOON_MS)
        yield Scene(plane, agent, visitor)
        complaints = visitor.all_complaints()
        visitor.close()
        assert complaints == []


def flask(scene: Scene, folder: Path, **extra: str) -> App:
    return FlaskApp(
        agent_url=scene.agent.url,
        log_folder=folder,
        program="probed_app.py",
        extra={"DD_DOGSTATSD_PORT": str(scene.agent.dogstatsd_port), **extra},
    )


AT_LINE = {"place": "line", "file": "probed_shop.py"}
ON_METHOD = {"place": "method", "type": "probed_shop"}


def test_every_kind_of_probe_in_a_python_service(scene: Scene, tmp_path: Path) -> None:
    page = scene.page
    line, whole = line_of("probed_shop.py", SELL), line_of("probed_shop.py", WHOLE)
    with flask(scene, tmp_path) as app, Work(app):
        # One click each, while it runs. Symbols come in their own time: tests/interop/test_symbols.py.
        scene.plane.api.wait_for_client("shop")
        scene.visitor.visit("/debugger/services")
        for what in ("Switch on", "Ask for symbols"):
            page.locator("#services tr", has_text="shop").get_by_role("button", name=what).click()
        scene.plane.api.wait_for_client("shop", lambda it: "LIVE_DEBUGGING" in it["products"])
        scene.picture("services")

        # A log at a line, with all variables.
        probe = scene.make(
            "shop", **AT_LINE, line=line, kind="log", template="sold {count} for {order.lines[0][\"price\"]}",
            captures="everything",
        )  # fmt: skip
        scene.emitting("log with snapshot at a line")
        scene.wait_for(
            "log with snapshot at a line: message", "#messages li", text=re.compile(r"sold [13] for 9\.5")
        )
        scene.picture("log-with-snapshot")
        page.locator("#messages li a.text").first.click()
        page.wait_for_url(re.compile("/debugger/snapshots/"))
        for name in ("order", "total", "note", "password"):
            page.get_by_text(name, exact=True).first.wait_for()
        assert "do not tell" not in page.content(), "its tracer redacts what is called a password"
        scene.picture("snapshot")

        # A condition filters, and the new text shows: a new version.
        scene.visitor.visit(f"/debugger/probes/{probe}/edit")
        page.locator("[name='template']").fill("many: {count}")
        page.locator("[name='when']").fill("count > 2")
        page.keyboard.press("Escape")
        page.locator("#tried").wait_for()
        scene.picture("tried-before-it-is-saved")
        scene.save()
        scene.wait_for("a changed log: message", "#messages li", text="many: 3")
        wait_until(
            lambda: page.locator("#messages li", has_text="many: 3").count() >= 2 or None, "it goes on"
        )
        assert page.locator("#messages li", has_text="many: 1").count() == 0
        assert page.locator("#document", has_text="version 2").count() == 1

        # A log on a method, at its end.
        scene.make(
            "shop", **ON_METHOD, method="sell", kind="log", template="gave {@return} in {@duration} ms",
        )  # fmt: skip
        scene.emitting("log on a method")
        scene.wait_for(
            "log on a method: message", "#messages li", text=re.compile(r"gave (9\.5|28\.5) in [\d.]+ ms")
        )

        # Captured expressions.
        scene.fill("shop", **AT_LINE, line=line, kind="log", template="some", captures="some")
        page.locator("#add-expression").click()
        page.locator("[name='x-0-name']").fill("how many")
        page.locator("[name='x-0-expression']").fill("len(order.lines)")
        page.keyboard.press("Escape")
        scene.save()
        scene.wait_for("captured expression: message", "#messages li", text="some")
        page.locator("#messages li a.text").first.click()
        page.get_by_text("how many", exact=True).first.wait_for()

        # Metrics, of each kind, at a line and on a method.
        for kind, value, place in (
            ("count", "", {**AT_LINE, "line": line}),
            ("gauge", "total", {**AT_LINE, "line": line}),
            ("histogram", "@duration", {**ON_METHOD, "method": "sell"}),
            ("distribution", "@return", {**ON_METHOD, "method": "Order.total"}),
        ):
            scene.make(
                "shop",
                **place,
                kind="metric",
                metric_name=f"orders.{kind}",
                metric_kind=kind,
                metric_value=value,
            )
            scene.wait_for(f"metric {kind}: a point", "#chart svg.none, #chart .plot")
            scene.emitting(f"metric {kind}")
        scene.picture("metric")

        # Spans of a method, and tags on the span that is there.
        scene.make("shop", **ON_METHOD, method="Order.total", kind="span")
        scene.wait_for("span", "#spans li")
        scene.emitting("span")
        scene.picture("spans")
        for words, place, text in (
            ("decoration at a line", {**AT_LINE, "line": whole}, "{len(self.lines)} lines"),
            ("decoration on a method", {**ON_METHOD, "method": "sell"}, "{count} ordered"),
        ):
            tag: dict[str, object] = {"d__0__t__0__name": "order.size", "d__0__t__0__template": text}
            scene.make("shop", **place, kind="decoration", **tag)
            scene.wait_for(words, "#spans li")
            scene.emitting(words)
        scene.wait_for("decoration: the value", "#spans li", text=re.compile(r"[13] ordered"))
    scene.tell()


def nanoseconds(app: App) -> float:
    """How long one call of the probed function takes, in the application itself."""
    return float(json.loads(app.request("/speed", timeout_s=60).body)["ns"])


def test_a_probe_that_is_removed_leaves_full_speed_and_what_cannot_be_is_explained(
    scene: Scene, tmp_path: Path
) -> None:
    page, api = scene.page, scene.plane.api
    with flask(scene, tmp_path, **INSTRUMENTED) as app:
        api.wait_for_client("shop", lambda it: "LIVE_DEBUGGING" in it["products"])

        # As fast as before once it is gone.
        before = nanoseconds(app)
        probe = scene.make(
            "shop", **AT_LINE, line=line_of("probed_shop.py", "here: doubled is known"), kind="metric",
            metric_name="quick.calls", metric_kind="count",
        )  # fmt: skip
        page.locator("#instances .st", has_text="Installed").wait_for()
        during = nanoseconds(app)
        page.locator("#instances .st", has_text="Emitting").wait_for()
        scene.remove(probe)
        wait_until(lambda: not api.client_of("shop")["configs"] or None, "it is out of the program")
        after = wait_until(
            lambda: took if (took := nanoseconds(app)) < 1.5 * before else None, "it is as fast as before"
        )
        scene.say(
            f"a call: {before:.0f} ns before, {during:.0f} with the probe, {after:.0f} once it is removed"
        )
        assert during > 3 * before, "it was in the program"

        # A line without code, a module that is not loaded yet, an expression that fails.
        scene.make("shop", **AT_LINE, line=line_of("probed_shop.py", "def sell"), kind="log", template="x")
        page.locator("#instances li .said", has_text="NoFunctionsAtLine").wait_for()
        page.locator("#instances .means", has_text="Choose one that is executed in a function").wait_for()
        page.locator("#standing", has_text="Error").wait_for()
        scene.picture("a-line-without-code")

        scene.make(
            "shop", place="line", file="probed_later.py", line=line_of("probed_later.py", "here: said"),
            kind="log", template="said {said}",
        )  # fmt: skip
        page.locator("#standing", has_text="Received").wait_for()
        page.locator("#standing", has_text=re.compile("not loaded|loads")).wait_for()
        scene.picture("a-module-that-is-not-loaded")
        app.get("/later")
        page.locator("#instances .st", has_text=re.compile("Installed|Emitting")).wait_for()
        app.get("/later")
        page.locator("#messages li", has_text="said 'hello you'").wait_for()

        scene.make("shop", **ON_METHOD, method="sell", kind="log", template="{order.nothing} and {count}")
        page.locator("#instances .st", has_text="Installed").wait_for()
        app.get("/order?count=2")
        page.locator("#messages li", has_text="ERROR and 2").wait_for()
        page.locator("#failing", has_text="An expression fails").wait_for()
        page.locator("#failing code", has_text="order.nothing").wait_for()
        scene.picture("an-expression-that-fails")


def test_a_javascript_service_and_what_its_tracer_cannot_do(scene: Scene, tmp_path: Path) -> None:
    page = scene.page
    line = line_of("probed_app.js", "here: order and total are known")
    with (
        ExpressApp(
            service="web",
            agent_url=scene.agent.url,
            log_folder=tmp_path,
            program="probed_app.js",
            extra=INSTRUMENTED,
        ) as app,
        Work(app),
    ):
        scene.plane.api.wait_for_client("web", lambda it: "LIVE_DEBUGGING" in it["products"])
        scene.make(
            "web", place="line", file="probed_app.js", line=line, kind="log",
            template="sold {count} for {total}", when="count > 2", captures="everything",
        )  # fmt: skip
        scene.wait_for("javascript: message", "#messages li", text="sold 3 for 28.5")
        scene.emitting("javascript")
        assert page.locator("#messages li", has_text="sold 1").count() == 0
        page.locator("#messages li a.text").first.click()
        page.wait_for_url(re.compile("/debugger/snapshots/"))
        for name in ("order", "total", "sku"):
            page.get_by_text(name, exact=True).first.wait_for()
        assert "do not tell" not in page.content()
        scene.picture("javascript-snapshot")

        # What it cannot do is said before; who saves it nevertheless sees what the tracer says.
        scene.fill(
            "web", place="line", file="probed_app.js", line=line, kind="metric", metric_name="orders",
            metric_kind="count",
        )  # fmt: skip
        page.locator("#look", has_text="dd-trace takes no metric").wait_for()
        scene.picture("said-before-it-is-saved")
        scene.save()
        page.locator("#instances li .said", has_text="Unsupported probe type: METRIC_PROBE").wait_for()
        page.locator("#instances .means", has_text="This tracer does not take this kind of probe").wait_for()
        scene.picture("the-tracers-own-error")
    scene.tell()


def signed_in(chromium: Any, plane: ControlPlane, email: str, role: str) -> Visitor:
    """Somebody who was invited with a role, at a browser of their own."""
    somebody = visitors.Visitor(plane)
    somebody.join(visitors.invite(plane, email, role))
    visitor = Visitor(chromium, plane, extra_http_headers={})
    cookie = {"name": "__Host-sealwire_session", "value": somebody.cookie("session"), "secure": True}
    visitor.context.add_cookies([{**cookie, "url": plane.url}])
    visitor.page.set_default_timeout(SOON_MS)
    return visitor


def test_who_may_not_set_probes_does_not_and_all_of_them_go_at_once(
    scene: Scene, chromium: Any, tmp_path: Path
) -> None:
    """Two processes of a service, one in production; permissions, the kill switch and the end of a probe."""
    page, api = scene.page, scene.plane.api
    line = line_of("probed_shop.py", SELL)
    with (
        flask(scene, tmp_path, **INSTRUMENTED) as prod,
        flask(scene, tmp_path, **INSTRUMENTED, DD_ENV="staging") as staging,
        Work(prod),
        Work(staging),
    ):
        for env in ("prod", "staging"):
            wait_until(
                lambda env=env: (
                    any(it["env"] == env and "LIVE_DEBUGGING" in it["products"] for it in api.clients())
                    or None
                ),
                f"the service in {env} asks for probes",
            )
        secret = scene.make(
            "shop", **AT_LINE, line=line, kind="log", template="sold {note}", captures="everything"
        )
        scene.wait_for("a message", "#messages li", text=re.compile("sold 'sold [13] of wax'"))

        # Standard: outside production only, and no values.
        person = signed_in(chromium, scene.plane, "stan@example.org", "standard")
        admin, scene.visitor = scene.visitor, person
        scene.fill("shop", **AT_LINE, line=line, kind="log", template="plain")
        scene.page.locator("#look", has_text=re.compile("outside production|debugger_write")).wait_for()
        scene.picture("not-in-production")
        scene.page.get_by_role("button", name="Save", exact=True).click()
        scene.page.locator("#problems", has_text="debugger_write").wait_for()
        scene.page.locator("#in-env").fill("staging")
        scene.page.locator("#look", has_text="1 instance would get it now").wait_for()
        scene.save()
        scene.wait_for("outside production", "#messages li", text="plain")
        scene.visitor.visit(f"/debugger/probes/{secret}")
        scene.page.locator("#messages li", has_text="sold {note}").first.wait_for()
        assert "of wax" not in scene.page.content()
        scene.page.locator("#messages li a.text").first.click()
        scene.page.wait_for_url(re.compile("/debugger/snapshots/"))
        scene.page.get_by_text("debugger_capture_variables").first.wait_for()
        assert "of wax" not in scene.page.content()
        scene.picture("values-are-not-shown")
        found = person.all_complaints()
        person.close()
        assert found == []
        scene.visitor = admin

        # All probes of the service go at once, and none comes in before that is lifted.
        scene.visitor.visit("/debugger/stop?service=shop")
        page.locator("#field-reason").fill("the shop is slow")
        scene.picture("stop")
        page.get_by_role("button", name="Stop service shop").click()
        page.get_by_text("Stopped service shop: 2 probes").wait_for()
        wait_until(lambda: not any(it["configs"] for it in api.clients()) or None, "no program has a probe")
        counted = api.get(f"/debugger/probes/{secret}/statuses")["snapshots"]["kept"]
        scene.fill("shop", **AT_LINE, line=line, kind="log", template="again")
        page.locator("#look", has_text="the shop is slow").wait_for()
        assert api.get(f"/debugger/probes/{secret}/statuses")["snapshots"]["kept"] <= counted + 1
        scene.visitor.visit("/debugger/stop")
        page.get_by_role("button", name=re.compile("Lift, and resume")).click()
        page.get_by_text("2 probes active again").wait_for()
        wait_until(
            lambda: api.get(f"/debugger/probes/{secret}/statuses")["snapshots"]["kept"] > counted + 1 or None,
            "it goes on",
        )

        # And one ends by itself, whatever becomes of the control plane.
        row = api.get(f"/debugger/probes/{secret}")
        config = api.get(f"/configs/{row['config_id']}")
        ends = datetime.now(UTC) + timedelta(seconds=3)
        api.put(
            f"/configs/{config['id']}",
            {"expected_revision": config["revision"], "expires_at": ends.isoformat()},
        )
        scene.visitor.visit(f"/debugger/probes/{secret}")
        page.locator("#standing", has_text="Expired").wait_for()
        wait_until(
            lambda: not any(it["configs"] for it in api.clients() if it["env"] == "prod") or None,
            "it is out of the program",
        )
