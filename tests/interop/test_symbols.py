"""A real ddtrace uploads its symbols when a config asks for them, and completion knows the application."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.support.clients import INSTRUMENTED, FlaskApp, line_of
from tests.support.go_trace_agent import GoTraceAgent
from tests.support.processes import wait_until
from tests.support.stack import Agent, ControlPlane

pytestmark = pytest.mark.interop

PROGRAM = "probed_shop.py"


@pytest.fixture
def go_agent(control_plane: ControlPlane, tmp_path: Path) -> Iterator[GoTraceAgent]:
    with GoTraceAgent(tmp_path / "go-agent", control_plane) as running:
        yield running


@pytest.fixture
def control_plane(tmp_path: Path) -> Iterator[ControlPlane]:
    with ControlPlane(tmp_path / "control-plane") as running:
        yield running


@pytest.fixture
def agent(control_plane: ControlPlane, tmp_path: Path) -> Iterator[Agent]:
    with Agent(tmp_path / "host-a", control_plane) as running:
        yield running


def test_functions_lines_and_names_of_a_flask_application_are_known(
    control_plane: ControlPlane, agent: Agent, tmp_path: Path
) -> None:
    def ask(what: str, **more: object) -> Any:
        query = urlencode({"service": "shop", "env": "prod", **more})
        return control_plane.api.get(f"/debugger/symbols/{what}?{query}")

    def methods(text: str) -> list[tuple[str, str]]:
        found = ask("functions", text=text)["functions"]
        return [(each["type"], each["method"]) for each in found]

    assert ask("summary") == {"symbols": None}
    control_plane.api.create("LIVE_DEBUGGING_SYMBOL_DB", {"upload_symbols": True}, service="shop", env="prod")
    with FlaskApp(
        agent_url=agent.url, log_folder=tmp_path, program="probed_app.py", extra=INSTRUMENTED
    ) as app:
        wait_until(lambda: methods("sell"), "the symbols are there", timeout_s=100, program=app.program)

        assert methods("sell") == [("probed_shop", "sell")]
        assert methods("total") == [("probed_shop", "Order.total")]
        file = ask("files", text="probed_shop")["files"][0]
        assert file["file"].endswith("/apps/" + PROGRAM)
        assert (file["module"], file["functions"] >= 4) == ("probed_shop", True)

        line = line_of(PROGRAM, "here: order, total and note are known")
        lines = {each["line"]: each for each in ask("lines", file=PROGRAM)["lines"]}
        assert lines[line] == {"line": line, "function": "sell", "is_injectible": True}
        names = {each["name"]: each["kind"] for each in ask("names", file=PROGRAM, line=line)["names"]}
        assert names == {
            "sku": "argument", "count": "argument", "order": "local", "total": "local", "note": "local",
            "PRICES": "static", "annotations": "static",
        }  # fmt: skip
        of_total = ask("names", type="probed_shop", method="Order.total")["names"]
        assert {"self", "whole", "self.sku", "self.password"} <= {each["name"] for each in of_total}

        # A module that is loaded later comes in a batch of its own.
        assert methods("greet") == []
        assert app.get("/later").status == 200
        wait_until(
            lambda: methods("greet"), "what was loaded later is there", timeout_s=100, program=app.program
        )
        summary = ask("summary")["symbols"]
        assert (summary["env"], summary["version"], summary["language"]) == ("prod", "1.2.3", "python")

    sent = agent.status()["debugger"]
    assert sent["sent"]["symbols"] >= 2
    assert sent["dropped"] == {}


def test_symbols_come_by_way_of_the_go_agent_as_well(
    control_plane: ControlPlane, go_agent: GoTraceAgent, tmp_path: Path
) -> None:
    forced = {**INSTRUMENTED, "_DD_SYMBOL_DATABASE_FORCE_UPLOAD": "true"}  # there is no Remote Configuration
    with FlaskApp(agent_url=go_agent.url, log_folder=tmp_path, program="probed_app.py", extra=forced) as app:
        asked = "/debugger/symbols/functions?service=shop&env=prod&text=sell"
        found = wait_until(
            lambda: control_plane.api.get(asked)["functions"],
            "the symbols are there",
            timeout_s=100,
            program=app.program,
        )
        assert [(each["type"], each["method"]) for each in found] == [("probed_shop", "sell")]
    assert go_agent.complaints() == []
