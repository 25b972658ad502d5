"""What runs beside the requests: roots are renewed, reports are written, and no failure ends a loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from sealwire.clock import utc_now
from sealwire.errors import UnavailableError
from sealwire.server import observe
from sealwire.server.control_plane import ControlPlane
from sealwire.server.store import read, rows, write
from tests.support.parts import ASM_ON, settings_in
from tests.support.simulated_agent import SimulatedAgent, tracer


@asynccontextmanager
async def at_work(folder: Path, ahead: timedelta = timedelta()) -> AsyncIterator[ControlPlane]:
    """A control plane whose clock is ahead."""

    def clock() -> datetime:
        return utc_now() + ahead

    plane = ControlPlane(settings_in(folder), clock)
    await plane.start()
    try:
        yield plane
    finally:
        await plane.stop()


def agent_of(plane: ControlPlane) -> SimulatedAgent:
    roots = plane.tenants[1].publisher.roots
    return SimulatedAgent((roots.director[0], roots.config[0]), clients={"c1": tracer("c1")})


async def poll(plane: ControlPlane, agent: SimulatedAgent) -> None:
    agent.take(await plane.tenants[1].distributor.poll(agent.request()), now=utc_now())
    agent.apply(now=utc_now())


async def until(happened: object, what: str) -> None:
    assert callable(happened)
    deadline = time.monotonic() + 10
    while not happened():
        assert time.monotonic() < deadline, what
        await asyncio.sleep(0.01)


def alarms(plane: ControlPlane) -> list[rows.AlarmRow]:
    with plane.database.read() as c:
        return read.open_alarms(c)


def test_roots_are_renewed_two_months_before_they_expire(tmp_path: Path) -> None:
    async def case() -> None:
        async with at_work(tmp_path) as plane:
            agent = agent_of(plane)
            await poll(plane, agent)
        async with at_work(tmp_path, timedelta(days=300)) as plane:
            await poll(plane, agent)
            assert agent.state.director_root_version == 2
        async with at_work(tmp_path, timedelta(days=310)) as plane:
            publisher = plane.tenants[1].publisher
            await until(
                lambda: len(publisher.roots.director) == len(publisher.roots.config) == 3,
                "the publisher heard of both",
            )
            await poll(plane, agent)
            assert (agent.state.director_root_version, agent.state.config_root_version) == (3, 3)
            assert agent.state.director.root.expires > utc_now() + timedelta(days=600)

    asyncio.run(case())


def test_roots_that_cannot_be_renewed_here_do_not_end_upkeep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The root keys were taken offline, and nobody has said so."""
    monkeypatch.setattr("sealwire.server.tenant.UPKEEP_S", 0.01)

    async def case() -> None:
        async with at_work(tmp_path) as plane:
            folder = plane.keyring.root_folder(plane.tenants[1].organisation.uuid)
        for file in folder.glob("director-root-*"):
            file.unlink()
        async with at_work(tmp_path, timedelta(days=310)) as plane:
            (upkeep,) = (task for task in asyncio.all_tasks() if task.get_name() == "upkeep")
            for _ in range(3):
                await until(lambda: "upkeep not done yet" in capsys.readouterr().out, "it tried again")
            assert not upkeep.done()
            await poll(plane, agent_of(plane))

    asyncio.run(case())


def test_reports_that_could_not_be_written_are_written_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def case() -> None:
        async with at_work(tmp_path) as plane:
            tenant = plane.tenants[1]
            draft = tenant.author.check(product="ASM_FEATURES", payload=ASM_ON, now=plane.clock())
            tenant.author.create(draft, by="test", now=plane.clock())
            await tenant.reconciler.settle(timeout_s=10)
            agent = agent_of(plane)
            with monkeypatch.context() as patch:

                def fail(*_: object, **__: object) -> None:
                    raise UnavailableError("The disk is full.")

                patch.setattr(write, "put_deliveries", fail)
                for _ in range(3):
                    await poll(plane, agent)
                with pytest.raises(UnavailableError):
                    await tenant.observer.flush()
            await tenant.observer.flush()

            with plane.database.read() as c:
                (delivery,) = read.deliveries(c, 1)
                (client,) = read.clients(c, 1)
                (host,) = read.agents(c, 1)
        assert (delivery.client_id, delivery.apply_state) == ("c1", 2)
        assert client.client_id == "c1"
        assert host.director_version == agent.state.director_version

    asyncio.run(case())


def test_clients_that_were_not_seen_for_a_week_are_forgotten_everywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def case() -> None:
        async with at_work(tmp_path) as plane:
            tenant = plane.tenants[1]
            agent = agent_of(plane)
            await poll(plane, agent)
            agent.clients = {"c2": tracer("c2")}
            await poll(plane, agent)
            tenant.observer.remember_held("c1", "APM_TRACING", {"a": True})
            await tenant.observer.flush()
            old = int((utc_now() - timedelta(days=8)).timestamp() * 1000)
            with plane.database.write() as c:
                c.exec_driver_sql("update clients set last_seen_ms = ? where client_id = 'c1'", (old,))

            assert await tenant.observer.forget_old() == ["c1"]

            with plane.database.read() as c:
                assert [client.client_id for client in read.clients(c, 1)] == ["c2"]
                assert read.held_values(c, 1) == {}

    asyncio.run(case())


def test_keys_that_another_replica_made_or_revoked_are_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sealwire.server.control_plane.KEYS_EVERY_S", 0.01)

    async def case() -> None:
        async with at_work(tmp_path) as one, at_work(tmp_path) as other:
            row, secret = other.access.create_api_key(1, name="x", remote_config=True, by="ann", now_ms=1)
            await until(lambda: one.access.agent_key(secret) is not None, "the key is known")
            other.access.revoke_api_key(1, row.key_id, by="ann", now_ms=2)
            await until(lambda: one.access.agent_key(secret) is None, "the key is gone")

    asyncio.run(case())


@pytest.mark.parametrize("text", ["", "plain", "a\x00b", "\x00" * 10, "x" * 1000, "😀" * 400])
def test_what_is_stored_fits_every_database(text: str) -> None:
    stored = observe.storable(text)

    assert "\x00" not in stored
    assert len(stored) <= observe.MAX_FACT_CHARS
    assert stored == observe.storable(stored)


def test_a_step_of_the_upkeep_that_fails_keeps_no_other_from_its_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def case() -> None:
        done: list[str] = []

        async def fails(_self: object) -> None:
            done.append("inventory")
            raise UnavailableError("The database is away.", retry_after_s=1)

        async def works(_self: object) -> None:
            done.append("snapshots")

        monkeypatch.setattr("sealwire.server.fleet.inventory.Inventories.forget_old", fails)
        monkeypatch.setattr("sealwire.server.debugger.snapshots.keep.Snapshots.forget_old", works)
        async with at_work(tmp_path):
            await until(lambda: done == ["inventory", "snapshots"], "both had their turn")

    asyncio.run(case())
