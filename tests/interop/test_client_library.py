"""Our own client library in an application: from a saved change to a verified config in a handler."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sealwire.client import Config, RemoteConfig
from tests.support.processes import wait_until
from tests.support.stack import Agent, ControlPlane

pytestmark = pytest.mark.interop

PAYLOAD = {
    "rules_data": [{"id": "blocked_ips", "type": "ip_with_expiration", "data": [{"value": "192.0.2.1"}]}]
}


def test_a_saved_change_is_verified_applied_and_acknowledged_over_both_transports(tmp_path: Path) -> None:
    with (
        ControlPlane(tmp_path / "server") as control_plane,
        Agent(tmp_path / "agent", control_plane) as agent,
    ):
        root = control_plane.api.get("/roots")["repositories"]["director"]["first_root"].encode()
        for number, url in enumerate((agent.url, agent.socket_url)):
            seen: dict[str, bytes | None] = {}

            def handler(config: Config | None, path: str, seen: dict[str, bytes | None] = seen) -> None:
                seen[path] = None if config is None else config.raw

            service = f"library-{number}"
            client = RemoteConfig(director_root=root, service=service, agent_url=url, interval_s=0.2)
            client.subscribe("ASM_DATA", handler)
            client.start()
            try:
                config = control_plane.api.create("ASM_DATA", PAYLOAD, service=service)
                delivery = control_plane.api.wait_until_acknowledged(service, config)
                assert list(seen) == [delivery["path"]]
                control_plane.api.post("/roots/director:rotate")
                control_plane.api.retire(config)
                wait_until(lambda seen=seen: list(seen.values()) == [None], "the config is taken back")
                assert client.session.director.root_version == 3 + number
                assert not client.session.error
            finally:
                client.stop()


def test_a_forked_child_is_a_client_of_its_own(tmp_path: Path) -> None:
    with (
        ControlPlane(tmp_path / "server") as control_plane,
        Agent(tmp_path / "agent", control_plane) as agent,
    ):
        root = control_plane.api.get("/roots")["repositories"]["director"]["first_root"].encode()
        client = RemoteConfig(director_root=root, service="forks", agent_url=agent.url, interval_s=0.2)
        client.subscribe("ASM_DATA", lambda _config, _path: None)
        assert client.poll()
        child = os.fork()
        if child == 0:
            os._exit(0 if client.poll() else 1)
        _, status = os.waitpid(child, 0)

        assert os.waitstatus_to_exitcode(status) == 0
        wait_until(
            lambda: sum(c["service"] == "forks" for c in control_plane.api.clients()) == 2,
            "parent and child are two clients",
        )
