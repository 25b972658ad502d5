"""Backup and restore: agents that saw what the backup did not accept what comes next."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import tarfile
from pathlib import Path

import pytest

from sealwire.clock import utc_now
from sealwire.errors import SettingsError
from sealwire.server import backup
from sealwire.server.control_plane import ControlPlane
from sealwire.server.settings import ServerSettings
from sealwire.server.store import read
from tests.support.parts import denylist, dump, running, settings_in
from tests.support.simulated_agent import Sightings, SimulatedAgent, tracer


class Session:
    """An agent and the control plane it asks."""

    def __init__(self, plane: ControlPlane, agent: SimulatedAgent | None = None) -> None:
        self.plane = plane
        (self.tenant,) = plane.tenants.values()
        roots = self.tenant.publisher.roots
        self.agent = agent or SimulatedAgent(
            (roots.director[0], roots.config[0]),
            org_uuid=self.tenant.organisation.uuid,
            clients={"c1": tracer("c1")},
            sightings=Sightings(),
        )

    async def poll(self) -> None:
        body = await self.tenant.distributor.poll(self.agent.request())
        self.agent.take(body, now=utc_now())

    async def publish(self, address: str, **targeting: object) -> None:
        now = self.plane.clock()
        draft = self.tenant.author.check(
            product="ASM_DATA", payload=denylist(address), targeting=targeting, now=now
        )
        self.tenant.author.create(draft, by="test", now=now)
        await self.tenant.reconciler.settle(timeout_s=10)


def restored(folder: Path, file: Path, *, force: bool = True) -> ServerSettings:
    settings = settings_in(folder)
    backup.restore(settings, file, force=force)
    return settings


def test_agents_accept_what_follows_a_backup_that_is_fifty_publications_old(tmp_path: Path) -> None:
    file = tmp_path / "backup.tar.gz"

    async def before() -> SimulatedAgent:
        async with running(tmp_path) as plane:
            it = Session(plane)
            await it.publish("203.0.113.1")
            await it.poll()
            backup.backup(plane.settings, file)
            for n in range(50):
                # Every one for another audience: roles come to be that the backup never heard of.
                await it.publish(f"198.51.100.{n}", service=["shop", f"s{n}"])
                await it.poll()
            assert len(it.agent.state.targets) == 51
            return it.agent

    async def after(agent: SimulatedAgent) -> None:
        async with running(tmp_path) as plane:
            it = Session(plane, agent)
            held = agent.state.director_version, agent.state.config_snapshot_version
            await it.poll()
            assert len(agent.state.targets) == 1
            await it.publish("203.0.113.2")
            await it.poll()
            assert len(agent.state.targets) == 2
            assert agent.state.director_version > held[0]
            assert agent.state.config_snapshot_version > held[1]
            with plane.database.read() as c:
                assert read.open_alarms(c) == []
                assert "server.restored" in [event.action for event in read.audit(c, 1)]

    agent = asyncio.run(before())
    restored(tmp_path, file)
    asyncio.run(after(agent))


def test_a_database_that_was_copied_back_by_hand_is_overtaken_once_an_agent_asks(tmp_path: Path) -> None:
    """No restore, no jump: the echo of the agent is all there is."""
    copy = tmp_path / "copy.db"

    async def before() -> SimulatedAgent:
        async with running(tmp_path) as plane:
            it = Session(plane)
            await it.publish("203.0.113.1")
            await it.poll()
            plane.database.backup_to(copy)
            for n in range(50):
                # Every one for another audience: roles come to be that the backup never heard of.
                await it.publish(f"198.51.100.{n}", service=["shop", f"s{n}"])
                await it.poll()
            return it.agent

    async def after(agent: SimulatedAgent) -> None:
        async with running(tmp_path) as plane:
            it = Session(plane, agent)
            await it.poll()
            assert len(agent.state.targets) == 1
            await it.tenant.observer.flush()
            with plane.database.read() as c:
                assert [alarm.kind for alarm in read.open_alarms(c)] == ["ahead-of-ledger"]
            await it.publish("203.0.113.2")
            await it.poll()
            assert len(agent.state.targets) == 2

    agent = asyncio.run(before())
    agent.sightings = Sightings()  # the same versions do come again here, before the first poll; never to it
    (tmp_path / "data" / "sealwire.db").unlink()
    copy.replace(tmp_path / "data" / "sealwire.db")
    asyncio.run(after(agent))


def made(folder: Path) -> ServerSettings:
    """A control plane that ran once."""

    async def once() -> None:
        async with running(folder) as plane:
            await Session(plane).publish("203.0.113.1")

    asyncio.run(once())
    return settings_in(folder)


def test_a_backup_brings_everything_but_the_key_that_wraps(tmp_path: Path) -> None:
    settings = made(tmp_path / "old")
    file = tmp_path / "backup.tar.gz"
    said = backup.backup(settings, file)

    assert file.stat().st_mode & 0o777 == 0o600
    assert str(settings.config_dir / "kek") in said
    kek = (settings.config_dir / "kek").read_text()
    with tarfile.open(file) as archive:
        contents = {entry.name: archive.extractfile(entry) for entry in archive if entry.isfile()}
        assert {"manifest.json", "sealwire.db"} < set(contents)
        for stream in contents.values():
            assert stream is not None
            assert kek.encode() not in stream.read()

    there = restored(tmp_path / "new", file, force=False)
    assert not (there.config_dir / "kek").exists()
    (there.config_dir / "kek").write_text(kek)

    async def work() -> None:
        async with running(tmp_path / "new") as plane:
            it = Session(plane)
            await it.poll()
            assert len(it.agent.state.targets) == 1
            await asyncio.to_thread(it.tenant.rotate, "config", recover=False, by="test")
            it.tenant.reconciler.reload()
            await it.tenant.reconciler.settle(timeout_s=10)
            await it.poll()
            assert it.agent.state.config_root_version == 3

    asyncio.run(work())


def test_without_the_key_that_wraps_the_server_says_what_is_missing(tmp_path: Path) -> None:
    settings = made(tmp_path / "old")
    file = tmp_path / "backup.tar.gz"
    backup.backup(settings, file)
    there = restored(tmp_path / "new", file)

    with pytest.raises(SettingsError, match="kek"):
        ControlPlane(there)


def test_what_is_there_is_not_replaced_unless_told_so(tmp_path: Path) -> None:
    settings = made(tmp_path)
    file = tmp_path / "backup.tar.gz"
    backup.backup(settings, file)
    before = (settings.data_dir / "sealwire.db").read_bytes()

    with pytest.raises(SettingsError, match="exists already"):
        backup.backup(settings, file)
    with pytest.raises(SettingsError, match="--force"):
        backup.restore(settings, file, force=False)

    assert (settings.data_dir / "sealwire.db").read_bytes() == before


def test_a_restore_under_a_running_server_is_refused(tmp_path: Path) -> None:
    settings = made(tmp_path)
    file = tmp_path / "backup.tar.gz"
    backup.backup(settings, file)

    async def while_it_runs() -> None:
        async with running(tmp_path):
            with pytest.raises(SettingsError, match="stop it first"):
                backup.restore(settings, file, force=True)

    asyncio.run(while_it_runs())
    with backup.exclusive_use(settings.data_dir), pytest.raises(SettingsError, match="being restored"):
        ControlPlane(settings)
    backup.restore(settings, file, force=True)


def truncated(file: Path) -> None:
    raw = file.read_bytes()
    file.write_bytes(raw[: len(raw) // 2])


def garbage(file: Path) -> None:
    file.write_bytes(os.urandom(10_000))


def flipped(file: Path) -> None:
    raw = bytearray(file.read_bytes())
    raw[len(raw) // 2] ^= 0xFF
    file.write_bytes(raw)


def without_database(file: Path) -> None:
    file.unlink()
    with tarfile.open(file, "w:gz") as archive:
        archive.add(__file__, "manifest.json")


def with_another_file_as_database(file: Path) -> None:
    manifest = file.with_name("manifest.json")
    digest = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()
    manifest.write_text(json.dumps({"sha256": {"sealwire.db": digest}}))
    file.unlink()
    with tarfile.open(file, "w:gz") as archive:
        archive.add(manifest, "manifest.json")
        archive.add(__file__, "sealwire.db")


def without_manifest(file: Path) -> None:
    file.unlink()
    with tarfile.open(file, "w:gz") as archive:
        archive.add(__file__, "sealwire.db")


@pytest.mark.parametrize(
    "damage", [truncated, garbage, flipped, without_database, with_another_file_as_database, without_manifest]
)
def test_a_damaged_backup_is_refused_and_the_present_data_stays(tmp_path: Path, damage: object) -> None:
    settings = made(tmp_path)
    file = tmp_path / "backup.tar.gz"
    backup.backup(settings, file)
    assert callable(damage)
    damage(file)

    async def state() -> object:
        async with running(tmp_path) as plane:
            return dump(plane.database)

    before = asyncio.run(state())
    with pytest.raises(SettingsError, match=r"backup\.tar\.gz"):
        backup.restore(settings, file, force=True)

    assert asyncio.run(state()) == before
    assert [path.name for path in settings.data_dir.iterdir() if path.is_dir()] == []


def test_a_member_that_climbs_out_of_the_archive_is_refused(tmp_path: Path) -> None:
    """Attack: a backup that somebody else made."""
    settings = made(tmp_path / "a")
    file = tmp_path / "evil.tar.gz"
    with tarfile.open(file, "w:gz") as archive:
        archive.add(settings.data_dir / "sealwire.db", "sealwire.db")
        archive.add(__file__, "../../escaped")

    with pytest.raises(SettingsError):
        backup.restore(settings_in(tmp_path / "a" / "b"), file, force=True)

    assert list(tmp_path.rglob("escaped")) == []


def test_a_backup_wants_data_and_a_place_to_go(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no database"):
        backup.backup(settings_in(tmp_path / "nothing"), tmp_path / "x.tar.gz")
    settings = made(tmp_path)
    with pytest.raises(SettingsError, match="no folder"):
        backup.backup(settings, tmp_path / "nowhere" / "x.tar.gz")
    with pytest.raises(SettingsError, match="is not a Sealwire backup"):
        backup.restore(settings, tmp_path / "missing.tar.gz", force=True)


def test_postgresql_is_backed_up_by_its_own_tools(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, database_url="postgresql+psycopg://nobody@127.0.0.1:1/x")
    with pytest.raises(SettingsError, match="pg_dump"):
        backup.backup(settings, tmp_path / "x.tar.gz")
    with pytest.raises(SettingsError, match="pg_restore"):
        backup.restore(settings, tmp_path / "x.tar.gz", force=True)
