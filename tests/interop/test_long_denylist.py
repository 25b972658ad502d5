"""Ten thousand blocked addresses: one feed, one file, acknowledged and enforced by real tracers."""

from __future__ import annotations

import ipaddress
from pathlib import Path

import pytest

from tests.support.clients import start_app
from tests.support.stack import Agent, ControlPlane

pytestmark = pytest.mark.interop

#: Every second address, so that none covers another.
LISTED = [str(ipaddress.ip_address("203.0.0.0") + 2 * number) for number in range(10_000)]
FREE = str(ipaddress.ip_address(LISTED[-1]) + 1)


def test_ten_thousand_addresses_are_acknowledged_and_refused(tmp_path: Path) -> None:
    with (
        ControlPlane(tmp_path / "control-plane") as plane,
        Agent(tmp_path / "host", plane) as agent,
        start_app("ddtrace4", agent_url=agent.url, log_folder=tmp_path) as shop,
        start_app("dd-trace-js", agent_url=agent.url, log_folder=tmp_path, service="web") as web,
    ):
        plane.api.post("/protect/activation", {"wanted": "on"})
        for app in (shop, web):
            plane.api.wait_for_client(app.service, lambda it: "ASM_DATA" in it["products"], "is switched on")
            assert app.status() == 200, "its engine starts with a request"

        came = plane.api.put("/protect/feeds/threats", {"entries": list(LISTED), "kind": "ip"})

        assert came["in_force"] == came["added"] == len(LISTED)
        listed = plane.api.get("/protect/denylist?limit=1")["entries"][0]
        for app in (shop, web):
            plane.api.wait_until_acknowledged(app.service, {"id": listed["config_id"]})
            app.wait_for_status(403, from_ip=LISTED[-1])
            assert app.status(from_ip=LISTED[0]) == 403
            assert app.status(from_ip=FREE) == 200
