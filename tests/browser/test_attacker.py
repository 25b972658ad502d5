"""From an attack to a blocked attacker: real tracers, real attacks, everything by the pages.

Two shops are attacked, one in Python under ddtrace and one in JavaScript under dd-trace: by a scanner, by SQL
injection, by cross-site scripting and by passwords that leaked elsewhere.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from sealwire.demo.attacker import KINDS, Shot, attack, send
from tests.browser.conftest import SCREENSHOTS, Visitor, block_nevertheless
from tests.support.clients import App, DemoShop, ExpressApp
from tests.support.processes import wait_until
from tests.support.stack import Agent, ControlPlane

PICTURES = SCREENSHOTS / "attacker"
#: Who attacks which shop; nobody of them is met in the other one.
ATTACKERS = {"shop": "203.0.113.66", "web": "203.0.113.67"}
HONEST = "198.51.100.9"
INJECTION = Shot("/search?q=%27%20or%201%3D1%20--")
RULES = ["attack-tool", "cred-stuffing", "sqli-single-ip", "xss-single-ip"]


class Scene:
    """A control plane, an agent, two shops, and somebody who looks at the pages."""

    def __init__(self, plane: ControlPlane, agent: Agent, shops: dict[str, App], visitor: Visitor) -> None:
        self.plane, self.agent, self.shops, self.visitor = plane, agent, shops, visitor
        self._pictures = 0

    def picture(self, what: str) -> None:
        PICTURES.mkdir(parents=True, exist_ok=True)
        self._pictures += 1
        self.visitor.page.evaluate("document.fonts.ready")
        self.visitor.page.screenshot(path=PICTURES / f"{self._pictures:02}-{what}.png", full_page=True)

    def url(self, service: str) -> str:
        return f"http://127.0.0.1:{self.shops[service].port}"

    def status(self, service: str, from_ip: str, shot: Shot | None = None) -> int | None:
        return send(self.url(service), shot or Shot("/"), from_ip=from_ip)

    def login(self, service: str, name: str, from_ip: str, password: str = "letters") -> int | None:
        return self.status(
            service, from_ip, Shot("/login", "POST", form={"login": name, "password": password})
        )

    def wait_for(self, wanted: int | None, what: str, service: str, from_ip: str, shot: Shot | None) -> None:
        wait_until(
            lambda: self.status(service, from_ip, shot) == wanted or None, what, timeout_s=30, every_s=0.05
        )

    def traces(self, query: str) -> list[dict[str, Any]]:
        told = self.plane.api.get(f"/security/traces?limit=200&q={quote(query)}")
        found: list[dict[str, Any]] = told["traces"]
        return found

    def signals(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.plane.api.get("/security/signals?state=all&limit=200")["signals"]
        return found


@pytest.fixture
def scene(chromium: Any, tmp_path: Path) -> Iterator[Scene]:
    with (
        ControlPlane(tmp_path / "control-plane") as plane,
        Agent(tmp_path / "host", plane) as agent,
        DemoShop(agent_url=agent.url, log_folder=tmp_path) as shop,
        ExpressApp(agent_url=agent.url, log_folder=tmp_path, service="web") as web,
    ):
        visitor = Visitor(chromium, plane)
        visitor.page.set_default_timeout(20_000)
        yield Scene(plane, agent, {"shop": shop, "web": web}, visitor)
        complaints = visitor.all_complaints()
        visitor.close()
        assert complaints == []


@pytest.mark.interop
def test_from_an_attack_to_a_blocked_attacker(scene: Scene) -> None:
    page = scene.visitor.page

    # One click each.
    for service in ATTACKERS:
        scene.visitor.visit("/protect")
        page.get_by_role("link", name=f"for {service} prod").click()
        page.get_by_role("button", name="Switch on").click()
        page.wait_for_url("**/protect")
    for service, app in scene.shops.items():
        scene.plane.api.wait_for_client(service, lambda it: "ASM_DATA" in it["products"], "is switched on")
        assert app.status(from_ip=HONEST) == 200, "its engine starts with a request"

    # What is attacked is seen, by both tracers alike.
    for service, address in ATTACKERS.items():
        for kind in KINDS:
            statuses = attack(scene.url(service), kind, from_ip=address)
            assert not {"403", "no answer"} & set(statuses), "nobody is blocked yet"
    wait_until(lambda: len(scene.traces("")) >= 100, "the traces are there", timeout_s=20, every_s=0.05)
    wait_until(lambda: len(scene.signals()) >= 8 or None, "the signals are open", timeout_s=20)
    scene.visitor.visit("/security/traces")
    page.get_by_text("SQL injection").first.wait_for()
    scene.picture("traces")
    for service, address in ATTACKERS.items():
        found = scene.traces(f"service:{service}")
        assert {one["client_ip"] for one in found} == {address}
        happened = Counter(activity for one in found for activity in one["activities"])
        assert {"attack_attempt.sql_injection", "attack_attempt.xss"} <= set(happened)
        assert happened["business_logic.users.login.failure"] > 0

    # Each signal once, and one click from there to a block.
    scene.visitor.visit("/security/signals")
    scene.picture("signals")
    opened = Counter((one["group"].get("service"), one["rule_id"]) for one in scene.signals())
    assert opened == {(service, rule): 1 for service in ATTACKERS for rule in RULES}
    for service, address in ATTACKERS.items():
        signal = next(
            one
            for one in scene.signals()
            if one["rule_id"] == "sqli-single-ip" and one["group"]["service"] == service
        )
        scene.visitor.visit(f"/security/signals/{signal['id']}")
        page.locator("#attackers code").get_by_text(address).wait_for()
        scene.picture(f"signal-of-{service}")
        page.locator("#attackers").get_by_role("link", name="Block this one").click()
        assert page.get_by_label("Who", exact=True).input_value() == address
        scene.picture("the-block")
        with page.expect_navigation():
            page.locator("form.form").get_by_role("button", name="Block", exact=True).click()
        block_nevertheless(page)
        page.wait_for_url(f"**/security/signals/{signal['id']}")
        page.locator("#attackers").get_by_text("Blocked").first.wait_for()
        scene.wait_for(403, f"{address} is refused by {service}", service, address, None)
        assert scene.status(service, HONEST) == 200

    # A user, from a trace of hers.
    for service in ATTACKERS:
        name = f"mallory-{service}"
        assert scene.login(service, name, "203.0.113.70") in (200, 302)
        found = wait_until(
            lambda name=name: scene.traces(f"@usr.id:{name}"), f"a trace of {name}", timeout_s=20
        )
        scene.visitor.visit(f"/security/traces/{found[0]['trace_id']}")
        page.get_by_role("link", name=re.compile(f"Block.*{name}")).first.click()
        assert page.get_by_label("Who", exact=True).input_value() == name
        with page.expect_navigation():
            page.locator("form.form").get_by_role("button", name="Block", exact=True).click()
        block_nevertheless(page)
        page.wait_for_url("**/security/traces/**")
        login = Shot("/login", "POST", form={"login": name, "password": "letters"})
        scene.wait_for(403, f"{name} is refused", service, "203.0.113.70", login)
        assert scene.login(service, "ada", "203.0.113.70") in (200, 302)

    # Suspicious requests of an address: what is harmless passes.
    suspect = "203.0.113.71"
    for service in ATTACKERS:
        assert scene.status(service, suspect, INJECTION) == 200
    query = f"@http.client_ip:{suspect}"
    found = wait_until(lambda: scene.traces(query), f"a trace of {suspect}", timeout_s=20)
    scene.visitor.visit(f"/security/traces/{found[0]['trace_id']}")
    scene.picture("trace")
    page.get_by_role("link", name="suspicious").first.click()
    scene.picture("suspicious")
    with page.expect_navigation():
        page.locator("form.form").get_by_role("button", name="Block", exact=True).click()
    block_nevertheless(page)
    page.wait_for_url("**/security/traces/**")
    for service in ATTACKERS:
        scene.wait_for(403, "an attack is refused", service, suspect, INJECTION)
        assert scene.status(service, suspect) == 200

    # It ends on time, though nobody looks.
    until = (datetime.now(UTC) + timedelta(seconds=9)).replace(microsecond=0)  # engines know whole seconds
    entry = {"kind": "ip", "values": ["203.0.113.72"], "until": until.isoformat().replace("+00:00", "Z")}
    scene.plane.api.post("/protect/denylist", entry)
    for service in ATTACKERS:
        scene.wait_for(403, "203.0.113.72 is refused", service, "203.0.113.72", None)
        assert datetime.now(UTC) < until, "refused before it ends, or this says nothing"
    for service in ATTACKERS:
        scene.wait_for(200, "203.0.113.72 is let in again", service, "203.0.113.72", None)
    assert datetime.now(UTC) >= until

    # Whoever was blocked by mistake is let in.
    scene.visitor.visit("/protect/denylist")
    scene.picture("denylist")
    row = page.locator("#entries tr").filter(has_text=ATTACKERS["shop"])
    row.get_by_role("button", name="Unblock").click()
    scene.wait_for(200, "the attacker is let in", "shop", ATTACKERS["shop"], None)
    assert scene.status("web", ATTACKERS["web"]) == 403

    # Off stops it all.
    for service in ATTACKERS:
        scene.visitor.visit("/protect")
        page.get_by_role("link", name=f"for {service} prod").click()
        page.get_by_label(f"Type {service} to confirm").fill(service)
        page.get_by_role("button", name="Switch off").click()
        page.wait_for_url("**/protect")
    scene.wait_for(200, "web lets its attacker in", "web", ATTACKERS["web"], None)
    scene.wait_for(200, "shop lets attacks through", "shop", suspect, INJECTION)
    assert scene.status("shop", "203.0.113.73", INJECTION) == 200
    assert scene.status("web", "203.0.113.73", INJECTION) == 200
    # A later request of a service that still reports would come after it, so nothing is on its way any more.
    assert scene.traces("@http.client_ip:203.0.113.73") == []
