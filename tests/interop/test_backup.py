"""A backup that is 50 publishes old comes back: real agents never step back, and accept the next change."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.clients import App, start_app
from tests.support.payloads import ON, denied_ips
from tests.support.processes import wait_until
from tests.support.stack import Agent, ControlPlane
from tests.support.wiretap import Wiretap

pytestmark = pytest.mark.interop

PUBLISHES = 50
AT_BACKUP, LATEST, NEXT = "203.0.113.1", "203.0.113.250", "203.0.113.99"


@dataclass
class Scene:
    """A shop whose block was changed 50 times since the backup was made."""

    control_plane: ControlPlane
    agent: Agent
    tap: Wiretap
    app: App
    backup: Path
    denied: dict[str, Any]

    @property
    def folders(self) -> tuple[str, ...]:
        plane = self.control_plane
        return ("--data-dir", str(plane.data_dir), "--config-dir", str(plane.config_dir))

    def versions(self) -> dict[str, int]:
        told: dict[str, int] = self.agent.status()["remote_configuration"]["versions"]
        return told

    def refusals(self) -> dict[str, int]:
        told: dict[str, int] = self.agent.status()["remote_configuration"]["refusals"]
        return told


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with (
        ControlPlane(tmp_path / "control-plane") as control_plane,
        Agent(tmp_path / "host-a", control_plane) as agent,
        Wiretap(agent.url) as tap,
        start_app("ddtrace4", agent_url=tap.url, log_folder=tmp_path, poll_s=0.3) as app,
    ):
        api = control_plane.api
        api.create("ASM_FEATURES", ON, service="shop")
        denied = api.create("ASM_DATA", denied_ips(AT_BACKUP), service="shop")
        api.wait_until_acknowledged("shop", denied)
        made = Scene(control_plane, agent, tap, app, tmp_path / "backup.tar.gz", denied)
        done = control_plane.cli("backup", str(made.backup), *made.folders)
        assert done.returncode == 0, done.said()

        first = api.get("/status")["director_version"]
        for number in range(PUBLISHES):
            address = LATEST if number == PUBLISHES - 1 else f"203.0.113.{2 + number}"
            made.denied = api.change(made.denied, denied_ips(address))
            wait_until(
                lambda number=number: api.get("/status")["director_version"] > first + number,
                "it is published",
            )
        app.wait_for_status(403, from_ip=LATEST)
        agent.wait_for_status(
            lambda status: status["remote_configuration"]["versions"]["director"] >= first + PUBLISHES,
            "the agent has the last of them",
        )
        yield made


def assert_nobody_stepped_back(scene: Scene, before: dict[str, int]) -> None:
    for role, version in scene.versions().items():
        assert version >= before[role], role
    held = [exchange.holds_version for exchange in scene.tap.exchanges]
    assert held == sorted(held)
    assert scene.refusals() == {}


def assert_the_next_change_arrives(scene: Scene) -> None:
    api = scene.control_plane.api
    config = api.get(f"/configs/{scene.denied['id']}")
    changed = api.change(config, denied_ips(NEXT))
    scene.app.wait_for_status(403, from_ip=NEXT, timeout_s=30)
    api.wait_until_acknowledged("shop", changed)
    assert scene.app.status(from_ip=LATEST) == 200


def test_after_a_restore_agents_take_what_was_backed_up_and_the_next_change(scene: Scene) -> None:
    before = scene.versions()
    scene.control_plane.stop()
    done = scene.control_plane.cli("restore", str(scene.backup), "--force", *scene.folders)
    assert done.returncode == 0, done.said()
    scene.control_plane.start()

    scene.app.wait_for_status(403, from_ip=AT_BACKUP, timeout_s=30)
    scene.app.wait_for_status(200, from_ip=LATEST)
    assert_the_next_change_arrives(scene)

    assert_nobody_stepped_back(scene, before)
    assert scene.control_plane.api.get("/status")["alarms"] == []


def test_an_old_database_put_back_by_hand_raises_the_alarm_and_is_overtaken(scene: Scene) -> None:
    """Nobody said ``restore``: the agents' echo tells that history was lost."""
    before = scene.versions()
    scene.control_plane.stop()
    for file in scene.control_plane.data_dir.glob("sealwire.db*"):
        file.unlink()
    with tarfile.open(scene.backup) as archive:
        archive.extract("sealwire.db", scene.control_plane.data_dir, filter="data")
    scene.control_plane.start()

    scene.app.wait_for_status(403, from_ip=AT_BACKUP, timeout_s=30)
    assert_the_next_change_arrives(scene)

    assert_nobody_stepped_back(scene, before)
    alarms = scene.control_plane.api.get("/status")["alarms"]
    assert [alarm["kind"] for alarm in alarms] == ["ahead-of-ledger"]
    assert "host-a" in alarms[0]["message"]
