"""What the fleet page says of a client: its state, and why it has or has not a config."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from sealwire.clock import utc_now
from sealwire.products import ClientFacts
from sealwire.server.control_plane import ControlPlane
from sealwire.server.fleet import overview as overview_module
from sealwire.server.fleet.connection import REMEDIES, Connection, Standing, agent_standing, client_standing
from sealwire.server.fleet.explain import DeliveryState, FileState, Verdict, reasons, rules
from sealwire.server.fleet.overview import ClientLine
from sealwire.server.store.rows import ConfigRow
from sealwire.server.targeting import Targeting
from sealwire.server.ui.views import connection_status
from tests.support.parts import ASM_ON, settings_in
from tests.support.simulated_agent import SimulatedAgent, tracer

NOW = 1_700_000_000.0
SHOP = ClientFacts(
    client_id="c1", service="shop", env="prod", language="python", tracer_version="4.16.0",
    host_tags=frozenset({"role:web"}), products=frozenset({"ASM_FEATURES"}),
)  # fmt: skip


def file(
    state: DeliveryState = DeliveryState.IN_STEP, *, product: str = "ASM_FEATURES", saved_s: float = NOW - 5,
    error: str = "", provenance: dict[str, str] | None = None, config: str = "a" * 16,
) -> FileState:  # fmt: skip
    return FileState(
        path=f"datadog/1/{product}/x/config", product=product, config_ids=(config,), version=1,
        reported_version=1, state=state, error=error, since_ms=None, saved_ms=int(saved_s * 1000),
        acknowledged_ms=None, took_s=None, provenance=provenance or {},
    )  # fmt: skip


def standing(*files: FileState, age_s: float = 1, agent_error: str = "", **more: Any) -> Standing:
    given = {"language": "python", "tracer_version": "4.16.0", **more}
    return client_standing(files, now_s=NOW, age_s=age_s, agent_error=agent_error, **given)


@pytest.mark.parametrize(
    ("found", "expected", "detail"),
    [
        (standing(), Connection.CONNECTED, ""),
        (standing(file()), Connection.CONNECTED, ""),
        (standing(file(DeliveryState.BEHIND)), Connection.PENDING, "ASM_FEATURES"),
        (
            standing(file(DeliveryState.APPLYING), file(DeliveryState.FAILED, error="no such operator")),
            Connection.DEGRADED,
            "ASM_FEATURES: no such operator",
        ),
        (standing(file(), age_s=300), Connection.ERROR, "it stopped asking for configs"),
        (standing(file(), agent_error="tuf: expired"), Connection.ERROR, "tuf: expired"),
        (standing(file(DeliveryState.FAILED), age_s=601), Connection.OFFLINE, ""),
        (
            standing(file(DeliveryState.BEHIND), tracer_version="1.0.0"),
            Connection.UNSUPPORTED,
            "ASM_FEATURES needs 2.21.11, this is 1.0.0",
        ),
        (standing(file(), tracer_version="1.0.0"), Connection.CONNECTED, ""),
        (
            standing(file(), remote_config=False),
            Connection.UNAUTHORIZED,
            "Remote Configuration is off for this organisation",
        ),
        (standing(file(), client_error="bad target file"), Connection.DEGRADED, "bad target file"),
    ],
)
def test_the_first_condition_that_holds_is_the_state(
    found: Standing, expected: Connection, detail: str
) -> None:
    assert (found.state, found.detail) == (expected, detail)


def test_a_pending_one_is_late_after_five_minutes() -> None:
    soon = standing(file(DeliveryState.BEHIND, saved_s=NOW - 200))
    late = standing(file(DeliveryState.BEHIND, saved_s=NOW - 400))

    assert (soon.late, late.late) == (False, True)
    assert (connection_status(soon).tone, connection_status(late).tone) == ("wait", "bad")


def test_who_has_just_come_is_not_late_with_what_was_saved_long_before() -> None:
    old = file(DeliveryState.BEHIND, saved_s=NOW - 86400)

    assert not standing(old, known_for_s=20).late
    assert standing(old, known_for_s=301).late


def test_every_state_has_a_word_and_all_but_one_a_remedy() -> None:
    for state in Connection:
        status = connection_status(Standing(state))
        assert status.word
        assert status.icon
        assert bool(REMEDIES[state]) is (state is not Connection.CONNECTED)


def test_an_agent_is_as_well_as_its_clients() -> None:
    failing = agent_standing(age_s=1, error="", failing_clients=2, has_version=3, wanted_version=3)
    behind = agent_standing(age_s=1, error="", failing_clients=0, has_version=2, wanted_version=3)

    assert (failing.state, failing.detail) == (
        Connection.DEGRADED,
        "2 clients behind it did not take a config",
    )
    assert (behind.state, behind.detail) == (Connection.PENDING, "has version 2, shall have 3")


# Why ----------------------------------------------------------------------------------------------------


def config(**targeting: Any) -> ConfigRow:
    return ConfigRow(
        org_id=1, config_id="a" * 16, product="ASM_FEATURES", name="on", targeting=targeting, payload=b"{}",
        revision=1, state="active", created_ms=0, updated_ms=0, updated_by="x", comment="", expires_ms=None,
        generation=1,
    )  # fmt: skip


def test_each_rule_is_told_true_or_false() -> None:
    targeting = Targeting(
        service=("shop",), env=("staging",), host_tags=("role:web",), tracer_version=">=4,<5"
    )

    told = rules("ASM_FEATURES", targeting, SHOP)

    assert [(rule.holds, rule.text) for rule in told] == [
        (True, "It asks for ASM_FEATURES."),
        (True, "Its service is shop."),
        (False, 'Its env is "prod"; this config is for "staging".'),
        (True, "Its host has the tag role:web."),
        (True, "Its tracer version 4.16.0 is within >=4,<5."),
    ]


@pytest.mark.parametrize("product", ["ASM_FEATURES", "ASM_DATA"])
@pytest.mark.parametrize("service", [(), ("shop",), ("other",)])
@pytest.mark.parametrize("version", [None, ">=4", ">=5"])
def test_all_rules_hold_exactly_when_the_client_gets_it(
    product: str, service: tuple[str, ...], version: str | None
) -> None:
    targeting = Targeting(service=service, tracer_version=version)

    told = rules(product, targeting, SHOP)

    assert all(rule.holds for rule in told) is (product in SHOP.products and targeting.matches(SHOP))


def test_a_config_whose_every_value_comes_from_others_is_overridden() -> None:
    wins = file(provenance={"$.asm.enabled": "a" * 16})
    loses = file(provenance={"$.asm.enabled": "b" * 16})

    assert reasons(config(), Targeting(), SHOP, [wins]).verdict is Verdict.HAS
    assert reasons(config(), Targeting(), SHOP, [loses]).verdict is Verdict.OVERRIDDEN
    other = reasons(config(), Targeting(service=("x",)), SHOP, [wins])
    assert other.verdict is Verdict.NOT_FOR_IT


# The whole fleet ------------------------------------------------------------------------------------------


@asynccontextmanager
async def at_work(folder: Path) -> AsyncIterator[tuple[ControlPlane, SimulatedAgent]]:
    plane = ControlPlane(settings_in(folder))
    roots = plane.tenants[1].publisher.roots
    agent = SimulatedAgent((roots.director[0], roots.config[0]), clients={"c1": tracer("c1")})
    await plane.start()
    try:
        yield plane, agent
    finally:
        await plane.stop()


async def poll(plane: ControlPlane, agent: SimulatedAgent, *, times: int = 3, **said: Any) -> None:
    for _ in range(times):
        agent.take(await plane.tenants[1].distributor.poll(agent.request()), now=utc_now())
        agent.apply(now=utc_now(), **said)


async def look(plane: ControlPlane) -> ClientLine:
    overview = plane.tenants[1].overview
    overview._last = None
    (line,) = (await overview.look()).clients
    return line


def test_a_client_is_followed_from_its_first_poll_to_its_failure(tmp_path: Path) -> None:
    async def run() -> None:
        async with at_work(tmp_path) as (plane, agent):
            tenant = plane.tenants[1]
            await poll(plane, agent)
            assert (await look(plane)).state is Connection.CONNECTED

            draft = tenant.author.check(product="ASM_FEATURES", payload=ASM_ON, now=utc_now())
            tenant.author.create(draft, by="x", now=utc_now())
            tenant.reconciler.nudge()
            await tenant.reconciler.settle(timeout_s=5)
            assert (await look(plane)).state is Connection.PENDING

            await poll(plane, agent)
            applied = await look(plane)
            assert (applied.state, applied.in_step, len(applied.files)) == (Connection.CONNECTED, 1, 1)
            assert await look(plane) is applied, "nothing happened, so nothing was worked out anew"

            await poll(plane, agent, states={"ASM_FEATURES": 3}, errors={"ASM_FEATURES": "cannot"})
            failed = await look(plane)
            assert failed.standing == Standing(Connection.DEGRADED, "ASM_FEATURES: cannot")

    asyncio.run(run())


def test_a_client_whose_agent_went_away_shows_what_it_would_get(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run() -> None:
        async with at_work(tmp_path) as (plane, agent):
            tenant = plane.tenants[1]
            draft = tenant.author.check(product="ASM_FEATURES", payload=ASM_ON, now=utc_now())
            tenant.author.create(draft, by="x", now=utc_now())
            await poll(plane, agent)
            await tenant.observer.flush()
            tenant.distributor.sessions.clear()
            later = time.time() + 700
            monkeypatch.setattr(time, "time", lambda: later)

            line = await look(plane)

            assert line.state is Connection.OFFLINE
            assert [one.state for one in line.files] == [DeliveryState.IN_STEP]

    asyncio.run(run())


def test_a_restart_forgets_nobody(tmp_path: Path) -> None:
    async def run() -> None:
        async with at_work(tmp_path) as (plane, agent):
            await poll(plane, agent, states={"ASM_FEATURES": 3})
        again = ControlPlane(settings_in(tmp_path))
        try:
            line = await look(again)
            assert (line.client_id, line.state, line.hostname) == ("c1", Connection.CONNECTED, "host-a")
        finally:
            again.database.close()

    asyncio.run(run())


def test_a_report_that_comes_while_somebody_looks_disturbs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look at many clients lets polls be answered in between; they replace rows it has not come to."""
    monkeypatch.setattr(overview_module, "ROWS_AT_ONCE", 1)

    async def run() -> None:
        async with at_work(tmp_path) as (plane, agent):
            for number in range(2, 20):
                agent.clients[f"c{number}"] = tracer(f"c{number}")
            await poll(plane, agent)
            overview = plane.tenants[1].overview
            overview._last = None
            looking = asyncio.create_task(overview.look())
            while not looking.done():
                await asyncio.sleep(0)
                for client in agent.clients.values():
                    client.state.targets_version += 1  # something new to report
                agent.take(await plane.tenants[1].distributor.poll(agent.request()), now=utc_now())

            assert len((await looking).clients) == 19

    asyncio.run(run())


def test_a_process_that_ended_is_offline_as_soon_as_its_agent_no_longer_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run() -> None:
        async with at_work(tmp_path) as (plane, agent):
            agent.clients["c2"] = tracer("c2")
            await poll(plane, agent)
            del agent.clients["c1"]
            await poll(plane, agent)

            async def states() -> dict[str, Connection]:
                overview = plane.tenants[1].overview
                return {line.client_id: line.state for line in (await overview.look(fresh_for_s=-1)).clients}

            # An agent that just started has not heard from everybody yet.
            assert await states() == {"c1": Connection.CONNECTED, "c2": Connection.CONNECTED}
            later = time.time() + 40
            monkeypatch.setattr(time, "time", lambda: later)
            assert await states() == {"c1": Connection.OFFLINE, "c2": Connection.CONNECTED}

    asyncio.run(run())
