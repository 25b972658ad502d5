"""Starts, stops, outages, kills: applications keep what they had, and get what is new as soon as may be.

Each test has a control plane and an agent of its own, so that it may end them as it likes.
"""

from __future__ import annotations

import json
import random
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sealwire.agent.roster import SETTLES_S
from tests.support.clients import TRACERS, start_app
from tests.support.payloads import DENIED, ON, OTHER, denied_ips
from tests.support.processes import wait_until
from tests.support.stack import Agent, Api, ControlPlane
from tests.support.tracers import FakeTracer
from tests.support.wiretap import Wiretap

pytestmark = pytest.mark.interop

POLL_S = 0.3


@pytest.fixture
def control_plane(tmp_path: Path) -> Iterator[ControlPlane]:
    with ControlPlane(tmp_path / "control-plane") as running:
        yield running


@pytest.fixture
def agent(control_plane: ControlPlane, tmp_path: Path) -> Iterator[Agent]:
    with Agent(tmp_path / "host-a", control_plane) as running:
        yield running


def protect(control_plane: ControlPlane, service: str = "shop") -> dict[str, Any]:
    """Application Security on, ``DENIED`` blocked; returns the config of the block."""
    control_plane.api.create("ASM_FEATURES", ON, service=service)
    return control_plane.api.create("ASM_DATA", denied_ips(DENIED), service=service)


def fake_shop(agent: Agent, **more: Any) -> FakeTracer:
    """A second process of the shop, which asks when we want it to."""
    known = next(client for client in agent.status()["clients"] if client["service"] == "shop")
    return FakeTracer(
        client_id="another",
        language=known["language"],
        tracer_version=known["tracer_version"],
        products=known["products"],
        **more,
    )


def versions(agent: Agent) -> dict[str, int]:
    told: dict[str, int] = agent.status()["remote_configuration"]["versions"]
    return told


def condition(agent: Agent) -> str:
    return str(agent.status()["remote_configuration"]["condition"])


def test_a_restarted_agent_serves_from_its_disk_at_once(
    control_plane: ControlPlane, agent: Agent, tmp_path: Path
) -> None:
    protect(control_plane)
    with start_app("ddtrace4", agent_url=agent.url, log_folder=tmp_path, poll_s=POLL_S) as app:
        app.wait_for_status(403, from_ip=DENIED)
        newcomer = fake_shop(agent)
        before = versions(agent)
        control_plane.stop()

        agent.kill9()
        agent.start()

        started = time.monotonic()
        assert newcomer.take(agent.poll(newcomer.request()).body)
        # Asking a control plane that is away may take the agent 1.5 s, a tracer gives up after 2 s; one that
        # waited for it to come back would wait for good. The rest is what a busy machine may add.
        assert time.monotonic() - started < 5
        assert any(DENIED.encode() in raw for raw in newcomer.files.values())
        assert versions(agent) == before
        assert agent.status()["remote_configuration"]["cache"]["restored"] is True
        assert app.status(from_ip=DENIED) == 403


def test_a_restarted_control_plane_issues_no_new_versions_and_is_waited_at_again(
    control_plane: ControlPlane, agent: Agent, tmp_path: Path
) -> None:
    denied = protect(control_plane)
    with (
        # Nothing is for it, so what it has was signed before the rest.
        Agent(tmp_path / "host-b", control_plane, hostname="host-b") as idle,
        Wiretap(agent.url) as tap,
        start_app("ddtrace4", agent_url=tap.url, log_folder=tmp_path, poll_s=POLL_S) as app,
    ):
        control_plane.api.wait_until_acknowledged("shop", denied)
        for name in ("host-a", "host-b"):
            control_plane.api.wait_for_agent(name, lambda known: known["waiting"], "the agent waits")
        issued, held, held_idle = control_plane.api.get("/status"), versions(agent), versions(idle)
        assert held_idle["director"] < held["director"]
        polls_before = len(tap.exchanges)

        control_plane.restart()
        ready = time.monotonic()

        for name in ("host-a", "host-b"):
            control_plane.api.wait_for_agent(name, lambda known: known["waiting"], "the agent waits again")
        assert time.monotonic() - ready < 10
        agent.wait_for_status(
            lambda status: status["remote_configuration"]["mode"] == "waiting", "it knows that it waits"
        )
        tap.wait_for_polls(2)
        after = control_plane.api.get("/status")
        for name in ("director_version", "config_version"):
            assert after[name] == issued[name]
        assert versions(agent) == held
        assert versions(idle) == held_idle
        assert all(each.says_nothing_new for each in tap.exchanges[polls_before:])
        # What was acknowledged before is known to be acknowledged still.
        client = control_plane.api.wait_for_client("shop", lambda known: known["state"] == "in_step")
        assert all(each["acknowledged_at"] for each in client["configs"])

        control_plane.api.retire(denied)

        app.wait_for_status(200, from_ip=DENIED, timeout_s=10)


def test_an_application_that_starts_while_the_control_plane_is_away_is_protected(
    control_plane: ControlPlane, agent: Agent, tmp_path: Path
) -> None:
    """The agent has what another process of the service was given; it serves that."""
    denied = protect(control_plane)
    with start_app("ddtrace4", agent_url=agent.url, log_folder=tmp_path, poll_s=POLL_S):
        control_plane.api.wait_until_acknowledged("shop", denied)
    control_plane.stop()

    with start_app("ddtrace4", agent_url=agent.url, log_folder=tmp_path, poll_s=POLL_S) as app:
        app.wait_for_status(403, from_ip=DENIED)
        assert app.status(from_ip=OTHER) == 200
        agent.wait_for_status(
            lambda status: status["remote_configuration"]["condition"] == "unreachable",
            "it says that nobody answers",
        )


@pytest.mark.parametrize("tracer", TRACERS)
def test_an_application_that_started_before_its_agent_is_served_once_there_is_one(
    tracer: str, control_plane: ControlPlane, agent: Agent, tmp_path: Path
) -> None:
    denied = protect(control_plane)
    agent.stop()
    with start_app(tracer, agent_url=agent.url, log_folder=tmp_path, poll_s=POLL_S) as app:
        assert app.status(from_ip=DENIED) == 200

        agent.start()

        app.wait_for_status(403, from_ip=DENIED, timeout_s=30)
        control_plane.api.wait_until_acknowledged("shop", denied)


@pytest.mark.parametrize("tracer", TRACERS)
def test_a_product_asked_for_late_is_applied_once_the_tracer_had_time_to_get_ready(
    tracer: str,
    control_plane: ControlPlane,
    agent: Agent,
    tmp_path: Path,
) -> None:
    """A tracer asks for ASM_DATA only once it is switched on; what is there comes a moment later (ADR 6)."""
    denied = control_plane.api.create("ASM_DATA", denied_ips(DENIED), service="shop")
    with (
        Wiretap(agent.url) as tap,
        start_app(tracer, agent_url=tap.url, log_folder=tmp_path, poll_s=POLL_S) as app,
    ):
        control_plane.api.wait_for_client("shop", lambda client: "ASM_FEATURES" in client["products"])
        assert not any("ASM_DATA" in each.products for each in tap.exchanges)
        name = f"ASM_DATA/{denied['id']}"

        control_plane.api.create("ASM_FEATURES", ON, service="shop")

        applied = tap.wait_for(lambda each: each.states.get(name, (0, 0))[1] == 2, "the block is applied")
        app.wait_for_status(403, from_ip=DENIED)
        polls = tap.exchanges
        asks = next(index for index, each in enumerate(polls) if "ASM_DATA" in each.products)
        gets = next(
            index
            for index, each in enumerate(polls)
            if any(DENIED.encode() in raw for raw in each.files.values())
        )
        tells = next(index for index, each in enumerate(polls) if each.at == applied.at)
        ready = next(
            index for index, each in enumerate(polls) if each.at >= polls[asks].answered_at + SETTLES_S
        )
        assert asks < gets <= ready
        assert tells - gets <= 1
        # Tracers give up after 2 s. Polls of the agent itself are held for a minute: none of these waited for
        # one. The rest is what a busy machine may add.
        assert max(each.answered_at - each.at for each in polls) < 5


def test_an_agent_killed_in_the_middle_of_changes_never_steps_back_and_gets_the_last(
    control_plane: ControlPlane, agent: Agent, tmp_path: Path
) -> None:
    chance = random.Random(20261122)
    denied = protect(control_plane)
    with start_app("ddtrace4", agent_url=agent.url, log_folder=tmp_path, poll_s=POLL_S) as app:
        control_plane.api.wait_until_acknowledged("shop", denied)
        held = versions(agent)
        for number in range(6):
            address = f"198.51.100.{50 + number}"
            denied = control_plane.api.change(denied, denied_ips(address))
            time.sleep(chance.uniform(0, 0.08))  # the moment of the kill is what varies
            agent.kill9()
            agent.start()
            after = versions(agent)
            for role in held:
                assert after[role] >= held[role], (number, role)
            held = after

        app.wait_for_status(403, from_ip=address)
        app.wait_for_status(200, from_ip=DENIED)
        delivery = control_plane.api.wait_until_acknowledged("shop", denied)
        assert delivery["state"] == "in_step"
        assert agent.status()["remote_configuration"]["refusals"] == {}


def test_an_agent_with_an_empty_disk_and_no_control_plane_says_nothing_new(
    control_plane: ControlPlane, agent: Agent, tmp_path: Path
) -> None:
    denied = protect(control_plane)
    agent.stop()
    shutil.rmtree(agent.run_path)
    control_plane.stop()
    agent.start()
    with (
        Wiretap(agent.url) as tap,
        start_app("ddtrace4", agent_url=tap.url, log_folder=tmp_path, poll_s=POLL_S) as app,
    ):
        tap.wait_for_polls(4)
        assert {each.raw_answer for each in tap.exchanges} == {b"{}"}
        assert {each.status for each in tap.exchanges} == {200}
        assert app.status(from_ip=DENIED) == 200
        assert Api(agent.url).request("GET", "/readyz").status == 503
        assert condition(agent) == "unreachable"

        control_plane.start()

        app.wait_for_status(403, from_ip=DENIED, timeout_s=40)
        control_plane.api.wait_until_acknowledged("shop", denied)
        assert Api(agent.url).request("GET", "/readyz").status == 200


def test_an_agent_that_cannot_write_goes_on_in_memory_and_says_so(
    control_plane: ControlPlane, tmp_path: Path
) -> None:
    # A permission would not stop an administrator, and these tests may be run by one.
    (tmp_path / "no-folder").write_text("a file, where a folder would have to be made\n")
    denied = protect(control_plane)
    with (
        Agent(
            tmp_path / "host-r",
            control_plane,
            hostname="host-r",
            settings={"run_path": str(tmp_path / "no-folder" / "run")},
        ) as agent,
        start_app("ddtrace4", agent_url=agent.url, log_folder=tmp_path, poll_s=POLL_S) as app,
    ):
        app.wait_for_status(403, from_ip=DENIED)
        control_plane.api.wait_until_acknowledged("shop", denied)

        cache = agent.status()["remote_configuration"]["cache"]
        assert cache["mode"] == "memory"
        assert "no-folder" in cache["reason"]
        assert agent.log().count("state is kept in memory only") == 1
        shown = control_plane.cli("agent", "status", "--url", agent.url).said()
        assert "in memory only" in shown
        assert json.loads(Api(agent.url).request("GET", "/sealwire/v1/status").body)["clients"]

        # It is the same agent to the control plane after a restart, and gets everything again.
        agent.restart()
        app.wait_for_status(403, from_ip=DENIED)
        wait_until(lambda: versions(agent)["director"] > 0, "it has fetched its configs again")
        assert len([known for known in control_plane.api.agents() if known["hostname"] == "host-r"]) == 1
