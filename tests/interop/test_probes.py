"""Probes as configs of LIVE_DEBUGGING reach real, unmodified tracers, signed like every other config.

What the probes give is looked at between tracer and agent; ``tests/browser/test_instrumentation.py`` sees it
on the pages.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from sealwire.products.live_debugging import probe_id
from tests.support.clients import INSTRUMENTED, App, ExpressApp, FlaskApp, line_of
from tests.support.processes import wait_until
from tests.support.stack import Agent, ControlPlane
from tests.support.wiretap import Wiretap

pytestmark = pytest.mark.interop

PRODUCT = "LIVE_DEBUGGING"


@pytest.fixture
def control_plane(tmp_path: Path) -> Iterator[ControlPlane]:
    with ControlPlane(tmp_path / "control-plane") as running:
        yield running


@pytest.fixture
def tap(control_plane: ControlPlane, tmp_path: Path) -> Iterator[Wiretap]:
    with Agent(tmp_path / "host-a", control_plane) as agent, Wiretap(agent.url) as tapped:
        yield tapped


def log_at(file: str, text: str, message: str, *names: str, language: str = "python") -> dict[str, Any]:
    """A log at the line of ``file`` that has ``text``; it says ``message`` and the values of ``names``."""
    segments: list[dict[str, object]] = [{"str": message}]
    segments += [{"dsl": name, "json": {"ref": name}} for name in names]
    return {
        "type": "LOG_PROBE",
        "language": language,
        "where": {"sourceFile": file, "lines": [str(line_of(file, text))]},
        "template": message + "".join(f"{{{name}}}" for name in names),
        "segments": segments,
        "captureSnapshot": False,
    }


def installed(tap: Wiretap, probe: str, version: int) -> None:
    """Wait until the tracer says that it installed this version of a probe."""
    wanted = (probe, '"INSTALLED"', f'"probeVersion": {version}')
    compact = (probe, '"INSTALLED"', f'"probeVersion":{version}')
    wait_until(
        lambda: tap.probes_said(*wanted) or tap.probes_said(*compact) or None,
        f"version {version} of the probe is installed",
    )


def wait_until_said(tap: Wiretap, app: App, path: str, *texts: str) -> None:
    """Ask for ``path`` until a probe has said these texts; one that is being installed misses calls."""
    wait_until(
        lambda: (app.get(path).status == 200 and tap.probes_said(*texts)) or None,
        f"a probe says {texts}",
        every_s=0.2,
    )


def test_a_log_probe_reaches_ddtrace_changes_goes_and_expires(
    control_plane: ControlPlane, tap: Wiretap, tmp_path: Path
) -> None:
    api = control_plane.api
    with FlaskApp(agent_url=tap.url, log_folder=tmp_path, program="probed_app.py", extra=INSTRUMENTED) as app:
        api.wait_for_client("shop", lambda client: PRODUCT in client["products"])
        at = "here: order, total and note are known"
        probe = api.create(
            PRODUCT, log_at("probed_shop.py", at, "first ", "count"), service="shop", env="prod"
        )
        other = api.create(PRODUCT, log_at("probed_shop.py", "here: whole", "beside"), service="shop")
        uuid = probe_id(probe["id"])

        delivery = api.wait_until_acknowledged("shop", probe)
        assert delivery["path"] == f"datadog/1/{PRODUCT}/logProbe_{uuid}/config"
        assert probe["payload"]["version"] == 1
        assert "id" not in probe["payload"]
        installed(tap, uuid, 1)
        wait_until_said(tap, app, "/order?count=3", "first 3", uuid)

        changed = api.change(probe, log_at("probed_shop.py", "note = f", "second ", "count"))
        assert changed["payload"]["version"] == 2
        installed(tap, uuid, 2)
        wait_until_said(tap, app, "/order?count=4", "second 4", uuid)

        api.retire(changed)
        gone = tap.wait_for(
            lambda poll: poll.raw_targets and delivery["path"] not in poll.applies,
            "the probe is taken back",
            since=len(tap.exchanges) - 1,
        )
        tap.wait_for(
            lambda poll: poll.at > gone.answered_at and delivery["path"] not in poll.caches,
            "the tracer holds it no more",
        )
        wait_until_said(tap, app, "/order?count=5", "beside", probe_id(other["id"]))
        assert not tap.probes_said("second 5")

        soon = datetime.now(UTC) + timedelta(seconds=3)
        short = api.post(
            "/configs",
            {
                "product": PRODUCT,
                "targeting": {"service": ["shop"]},
                "payload": log_at("probed_shop.py", "here: doubled", "short"),
                "expires_at": soon.isoformat(),
            },
        )
        path = f"datadog/1/{PRODUCT}/logProbe_{probe_id(short['id'])}/config"
        tap.wait_for(lambda poll: path in poll.caches, "the tracer holds it")
        seen = len(tap.exchanges)
        tap.wait_for(lambda poll: path not in poll.caches, "its time is over", since=seen)
        assert datetime.now(UTC) >= soon


def test_a_log_probe_by_line_reaches_dd_trace_js(
    control_plane: ControlPlane, tap: Wiretap, tmp_path: Path
) -> None:
    api = control_plane.api
    with ExpressApp(
        agent_url=tap.url, log_folder=tmp_path, program="probed_app.js", extra=INSTRUMENTED
    ) as app:
        api.wait_for_client("shop", lambda client: PRODUCT in client["products"])
        at = "here: order and total are known"
        payload = log_at("probed_app.js", at, "total ", "total", language="javascript")
        probe = api.create(PRODUCT, payload, service="shop")

        api.wait_until_acknowledged("shop", probe)
        wait_until_said(tap, app, "/order?sku=ring&count=2", "total 98", probe_id(probe["id"]))
