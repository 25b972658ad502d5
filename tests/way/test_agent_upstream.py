"""An agent and a control plane in one process: what is asked when, and what becomes of the answers."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from structlog.testing import capture_logs

import sealwire.agent.upstream as upstream_module
from sealwire.agent.daemon import Agent
from sealwire.agent.settings import AgentSettings, load_settings
from sealwire.agent.upstream import Condition
from sealwire.clock import utc_now
from sealwire.wire import remoteconfig_pb2 as pb
from tests.support.fake_control_plane import API_KEY, FakeControlPlane, full_answer
from tests.support.tracers import FakeTracer

BLOCKED = "datadog/2/ASM_DATA/blocked/config"
FEATURES = "datadog/2/ASM_FEATURES/on/config"


@pytest.fixture
def plane() -> FakeControlPlane:
    return FakeControlPlane()


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses after failures in hundredths of what they are; what is tested is that they happen."""
    monkeypatch.setattr(upstream_module, "QUICK_START_S", 0.02)
    monkeypatch.setattr(upstream_module, "QUICK_CAP_S", 0.1)


@pytest.fixture
def logs() -> Iterator[list[Any]]:
    with capture_logs() as captured:
        yield captured


def settings_for(plane: FakeControlPlane, folder: Path, *overrides: str) -> AgentSettings:
    lines = [
        f"api_key={API_KEY}",
        f"remote_configuration.rc_dd_url={plane.url}",
        "remote_configuration.no_tls=true",
        f"remote_configuration.config_root={plane.simulator.config.roots[0].decode()}",
        f"remote_configuration.director_root={plane.simulator.director.roots[0].decode()}",
        f"run_path={folder / 'run'}",
        "apm_config.receiver_port=0",
        "hostname=host-1",
        "env=prod",
        "tags=team:core",
    ]
    return load_settings(environ={}, search=(), overrides=[*lines, *overrides])


@asynccontextmanager
async def running(settings: AgentSettings) -> AsyncIterator[Agent]:
    agent = Agent(settings)
    stop = asyncio.Event()
    task = asyncio.create_task(agent.run(stop))
    try:
        yield agent
    finally:
        stop.set()
        await task


async def poll(agent: Agent, tracer: FakeTracer) -> bool:
    assert agent.polls is not None
    status, body = await agent.polls.poll(tracer.request())
    assert status == 200, body
    return tracer.take(body)


async def until_served(agent: Agent, version: int) -> None:
    """Wait until the agent serves a director version."""
    assert agent.trusted is not None
    async with asyncio.timeout(10):
        while agent.trusted.state.director_version != version:
            await asyncio.sleep(0.01)


async def until_condition(agent: Agent, condition: Condition) -> None:
    assert agent.upstream is not None
    async with asyncio.timeout(10):
        while agent.upstream.facts.condition is not condition:
            await asyncio.sleep(0.01)


def test_first_contact_asks_org_then_status_and_all_and_tells_who_it_is(
    plane: FakeControlPlane, tmp_path: Path
) -> None:
    async def scene() -> None:
        async with plane.serving(), running(settings_for(plane, tmp_path)) as agent:
            first = await plane.until_poll(lambda _: True)
            await until_served(agent, 1)

            assert {request.api_key for request in plane.requests} == {API_KEY}
            paths = [request.path for request in plane.requests]
            assert paths.index("/api/v0.1/org") < paths.index("/api/v0.1/configurations")
            assert "/api/v0.1/status" in paths
            assert first.hostname == "host-1"
            assert first.agentVersion == "7.80.0"
            assert first.agent_uuid
            assert first.org_uuid == plane.simulator.org_uuid
            assert first.trace_agent_env == "prod"
            assert list(first.tags) == ["team:core", "env:prod", "sealwire_version:0.1.0"]
            assert (first.current_director_root_version, first.current_config_root_version) == (1, 1)
            assert (first.current_config_snapshot_version, first.backend_client_state) == (0, b"")
            assert not first.has_error

    asyncio.run(scene())


def test_a_change_reaches_a_tracer_through_a_held_poll(plane: FakeControlPlane, tmp_path: Path) -> None:
    async def scene() -> None:
        async with plane.serving(), running(settings_for(plane, tmp_path)) as agent:
            tracer = FakeTracer()
            await poll(agent, tracer)
            await plane.until(lambda: plane.holding == 1)
            assert agent.upstream is not None
            assert agent.upstream.holding

            plane.simulator.put(BLOCKED, b'{"rules_data":[]}')
            await plane.publish()
            await until_served(agent, 2)

            assert await poll(agent, tracer)
            assert tracer.files == {BLOCKED: b'{"rules_data":[]}'}
            held = await plane.until_poll(lambda each: each.backend_client_state == b"published 2")
            assert held.current_config_snapshot_version == 2

    asyncio.run(scene())


def test_a_change_of_apply_state_is_told_at_once_on_a_second_connection(
    plane: FakeControlPlane, tmp_path: Path
) -> None:
    async def scene() -> None:
        plane.simulator.put(BLOCKED, b"{}")
        async with plane.serving(), running(settings_for(plane, tmp_path)) as agent:
            tracer = FakeTracer()
            await plane.publish()
            await until_served(agent, 2)
            await poll(agent, tracer)
            await plane.until(lambda: plane.holding == 1)
            told = len(plane.polls)

            await poll(agent, tracer)
            report = await plane.until_poll(
                lambda each: each.active_clients[0].state.config_states[0].apply_state == 2, after=told
            )

            assert plane.holding == 1
            (client,) = report.active_clients
            assert (client.id, client.state.targets_version) == (tracer.client_id, 2)
            assert client.last_seen > 0
            report_request = next(request for request in plane.requests if request.message is report)
            assert report_request.wait_s is None

    asyncio.run(scene())


def test_changes_close_together_are_told_in_one_report(plane: FakeControlPlane, tmp_path: Path) -> None:
    async def scene() -> None:
        plane.simulator.put(BLOCKED, b"{}")
        async with plane.serving(), running(settings_for(plane, tmp_path)) as agent:
            tracers = [FakeTracer(f"client-{number}") for number in range(5)]
            await plane.publish()
            await until_served(agent, 2)
            await asyncio.gather(*(poll(agent, tracer) for tracer in tracers))
            await plane.until(lambda: plane.holding == 1)
            told = len(plane.polls)

            for tracer in tracers:
                await poll(agent, tracer)
            report = await plane.until_poll(lambda _: True, after=told)

            assert [len(client.state.config_states) for client in report.active_clients] == [1] * 5
            assert len(plane.polls) == told + 1

    asyncio.run(scene())


def test_newcomers_that_start_together_share_one_request_and_wait_for_its_answer(
    plane: FakeControlPlane, tmp_path: Path
) -> None:
    async def scene() -> None:
        async with plane.serving(), running(settings_for(plane, tmp_path)) as agent:
            await plane.until(lambda: plane.holding == 1)
            told = len(plane.polls)
            tracers = [FakeTracer(f"client-{number}") for number in range(4)]
            plane.simulator.put(BLOCKED, b"{}")
            plane.publish_quietly()

            news = await asyncio.gather(*(poll(agent, tracer) for tracer in tracers))

            assert news == [True] * 4
            assert len(plane.polls) == told + 1
            assert len(plane.polls[-1].active_clients) == 4
            assert set(plane.polls[-1].new_products) == {"ASM_DATA", "ASM_FEATURES"}

    asyncio.run(scene())


def test_a_new_product_of_a_known_client_wakes_the_conversation(
    plane: FakeControlPlane, tmp_path: Path
) -> None:
    async def scene() -> None:
        async with plane.serving(), running(settings_for(plane, tmp_path)) as agent:
            agent.roster.settles_s = 0.5
            tracer = FakeTracer(products=["ASM_FEATURES"])
            await poll(agent, tracer)
            await plane.until(lambda: plane.holding == 1)
            plane.simulator.put("datadog/2/ASM/rules/config", b"{}")
            plane.publish_quietly()

            tracer.products = ["ASM_FEATURES", "ASM"]

            assert not await poll(agent, tracer), "what it brings comes when the tracer had time to get ready"
            await asyncio.sleep(agent.roster.settles_s)
            assert await poll(agent, tracer)
            asked = [(list(each.products), list(each.new_products)) for each in plane.polls]
            assert (["ASM_FEATURES"], ["ASM"]) in asked

    asyncio.run(scene())


def test_a_client_that_left_is_told(plane: FakeControlPlane, tmp_path: Path) -> None:
    async def scene() -> None:
        async with plane.serving(), running(settings_for(plane, tmp_path)) as agent:
            agent.roster.ttl_s = 0.5
            await poll(agent, FakeTracer())
            await plane.until_poll(lambda each: len(each.active_clients) == 1)

            await plane.until_poll(lambda each: len(each.active_clients) == 0 and list(each.products) != [])

    asyncio.run(scene())


def test_a_newcomer_is_answered_in_time_by_a_control_plane_that_hangs(
    plane: FakeControlPlane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upstream_module, "NEWCOMER_PATIENCE_S", 0.1)

    async def scene() -> None:
        async with plane.serving(), running(settings_for(plane, tmp_path)) as agent:
            await plane.until(lambda: plane.holding == 1)
            never = asyncio.Event()

            async def hang() -> None:
                await never.wait()

            assert agent.upstream is not None
            monkeypatch.setattr(agent.upstream, "_exchange", hang)
            async with asyncio.timeout(2):
                assert await poll(agent, FakeTracer())

    asyncio.run(scene())


def test_a_refused_answer_keeps_the_last_good_is_told_and_asks_for_everything(
    plane: FakeControlPlane, tmp_path: Path, logs: list[Any]
) -> None:
    def tamper(message: pb.LatestConfigsResponse) -> None:
        for file in message.target_files:
            file.raw = file.raw.replace(b"1", b"2")

    async def scene() -> None:
        plane.simulator.put(FEATURES, b'{"asm":1}')
        plane.publish_quietly()
        async with plane.serving(), running(settings_for(plane, tmp_path)) as agent:
            tracer = FakeTracer()
            await poll(agent, tracer)
            await plane.until(lambda: plane.holding == 1)

            plane.edit = tamper
            plane.simulator.put(BLOCKED, b'{"blocked":1}')
            await plane.publish()
            complaint = await plane.until_poll(lambda each: each.has_error)

            assert complaint.error.startswith("tuf: digest: ")
            assert BLOCKED in complaint.error
            assert (complaint.current_config_snapshot_version, complaint.backend_client_state) == (0, b"")
            assert complaint.current_config_root_version == 1
            assert not await poll(agent, tracer)
            assert tracer.files == {FEATURES: b'{"asm":1}'}
            assert agent.upstream is not None
            assert agent.upstream.facts.condition is Condition.REFUSED
            await plane.until_poll(lambda each: each.has_error, after=len(plane.polls))

            plane.edit = None
            await until_served(agent, 3)
            await plane.until_poll(lambda each: not each.has_error, after=len(plane.polls) - 1)
            assert await poll(agent, tracer)
            assert sorted(tracer.files) == [BLOCKED, FEATURES]
            assert agent.upstream.facts.error == ""

    asyncio.run(scene())
    lines = [entry["event"] for entry in logs if entry["log_level"] != "debug"]
    assert lines.count("update refused, the last good state stays in service") == 1
    assert lines.count("control plane connected again") == 1


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"\xff\xff\xff", "tuf: malformed"),
        (b"\x0a\x05abc", "tuf: malformed"),
    ],
)
def test_an_answer_that_is_no_message_is_refused(
    plane: FakeControlPlane, tmp_path: Path, body: bytes, said: str
) -> None:
    async def scene() -> None:
        async with plane.serving(), running(settings_for(plane, tmp_path)) as agent:
            await plane.until(lambda: plane.holding == 1)
            plane.body = body
            await plane.publish()

            complaint = await plane.until_poll(lambda each: each.has_error)

            assert complaint.error.startswith(said)
            assert agent.trusted is not None
            assert agent.trusted.state.director_version == 1

    asyncio.run(scene())


def test_an_answer_that_is_too_large_is_refused_while_reading(
    plane: FakeControlPlane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sealwire.agent.exchange.MAX_ANSWER_BYTES", 100_000)

    async def scene() -> None:
        async with plane.serving(), running(settings_for(plane, tmp_path)):
            await plane.until(lambda: plane.holding == 1)
            plane.body = b"x" * 200_000
            await plane.publish()

            complaint = await plane.until_poll(lambda each: each.has_error)

            assert complaint.error.startswith("tuf: oversize")

    asyncio.run(scene())


def test_a_wrong_organisation_is_refused(plane: FakeControlPlane, tmp_path: Path) -> None:
    async def scene() -> None:
        async with plane.serving(), running(settings_for(plane, tmp_path)):
            await plane.until(lambda: plane.holding == 1)
            plane.simulator.config.custom["snapshot"] = {"org_uuid": "somebody else's"}
            await plane.publish()

            complaint = await plane.until_poll(lambda each: each.has_error)

            assert complaint.error.startswith("tuf: disagreement")

    asyncio.run(scene())


def test_a_config_root_rotation_is_followed_and_asks_for_the_organisation_again(
    plane: FakeControlPlane, tmp_path: Path
) -> None:
    async def scene() -> None:
        async with plane.serving(), running(settings_for(plane, tmp_path)) as agent:
            await plane.until(lambda: plane.holding == 1)
            asked = [request.path for request in plane.requests].count("/api/v0.1/org")
            plane.simulator.config.rotate("timestamp", "snapshot", "targets")
            plane.simulator.director.rotate("timestamp", "snapshot", "targets")
            await plane.publish()
            told = await plane.until_poll(lambda each: each.current_config_root_version == 2)

            assert [request.path for request in plane.requests].count("/api/v0.1/org") == asked + 1
            assert (told.current_director_root_version, told.has_error) == (2, False)
            tracer = FakeTracer()
            await poll(agent, tracer)
            assert tracer.root_version == 2

    asyncio.run(scene())


def test_after_a_restart_without_a_control_plane_the_kept_state_is_served(
    plane: FakeControlPlane, tmp_path: Path, logs: list[Any]
) -> None:
    async def scene() -> None:
        plane.simulator.put(BLOCKED, b"{}")
        plane.publish_quietly()
        async with plane.serving():
            settings = settings_for(plane, tmp_path)
            async with running(settings) as agent:
                await until_served(agent, 2)
                first_uuid = agent.agent_uuid

        async with running(settings) as agent:
            tracer = FakeTracer()
            assert await poll(agent, tracer)
            assert list(tracer.files) == [BLOCKED]
            assert agent.is_ready()
            assert agent.agent_uuid == first_uuid
            await until_condition(agent, Condition.UNREACHABLE)

            async with plane.serving(port=plane.port):
                told = await plane.until_poll(lambda each: each.has_error)
                await until_condition(agent, Condition.CONNECTED)

                assert told.error.startswith("api: ")
                assert told.backend_client_state == b"published 2"
                assert told.current_config_snapshot_version == 2

    asyncio.run(scene())
    warned = [entry["event"] for entry in logs if entry["log_level"] in ("warning", "error")]
    assert warned == ["control plane not reached"]


def test_a_kept_state_that_was_tampered_with_is_set_aside(
    plane: FakeControlPlane, tmp_path: Path, logs: list[Any]
) -> None:
    import hashlib

    import msgspec

    async def scene() -> None:
        plane.simulator.put(BLOCKED, b'{"blocked":1}')
        plane.publish_quietly()
        async with plane.serving():
            settings = settings_for(plane, tmp_path)
            async with running(settings) as agent:
                await until_served(agent, 2)
        state = tmp_path / "run" / "remote-config" / "state"
        raw = state.read_bytes()
        magic, body = raw[:23], raw[23 + 32 :]
        file = msgspec.msgpack.decode(body)
        file["dump"][f"files/{BLOCKED}"] = b'{"blocked":9}'
        body = msgspec.msgpack.encode(file)
        state.write_bytes(magic + hashlib.sha256(body).digest() + body)

        async with running(settings) as agent:
            assert not await poll(agent, FakeTracer())
            assert agent.trusted is not None
            assert agent.trusted.state.director_version == 0

    asyncio.run(scene())
    (entry,) = [each for each in logs if each["event"] == "kept state was set aside"]
    assert "digest" in entry["reason"]


def test_a_key_that_is_not_accepted_is_one_line_and_heals_by_itself(
    plane: FakeControlPlane, tmp_path: Path, logs: list[Any]
) -> None:
    async def scene() -> None:
        plane.status, plane.status_text = 401, "this key has no Remote Configuration scope"
        async with plane.serving(), running(settings_for(plane, tmp_path)) as agent:
            await until_condition(agent, Condition.UNAUTHORIZED)
            assert agent.upstream is not None
            assert "no Remote Configuration scope" in agent.upstream.facts.error
            await plane.until(lambda: len(plane.requests) > 6)

            plane.status = 200
            await until_condition(agent, Condition.CONNECTED)

    asyncio.run(scene())
    events = [entry["event"] for entry in logs if entry["log_level"] != "debug"]
    assert events.count("API key not accepted for Remote Configuration") == 1
    assert events.count("control plane connected") == 1


def test_a_control_plane_that_restarts_is_noticed_and_one_line_tells_of_each_way(
    plane: FakeControlPlane, tmp_path: Path, logs: list[Any]
) -> None:
    async def scene() -> None:
        first = plane.serving()
        await first.__aenter__()
        async with running(settings_for(plane, tmp_path)) as agent:
            await plane.until(lambda: plane.holding == 1)

            # Every connection is cut, the held one too.
            await first.__aexit__(None, None, None)
            await until_condition(agent, Condition.UNREACHABLE)
            assert agent.upstream is not None
            async with asyncio.timeout(10):
                while agent.upstream.facts.failures < 4:
                    await asyncio.sleep(0.01)
            async with plane.serving(port=plane.port):
                await until_condition(agent, Condition.CONNECTED)
                await plane.until(lambda: plane.holding == 1)

    asyncio.run(scene())
    events = [entry["event"] for entry in logs if entry["log_level"] != "debug"]
    assert events == [
        "sealwire agent ready",
        "control plane connected",
        "control plane not reached",
        "control plane connected again",
    ]


def test_an_answer_overtaken_by_a_newer_one_is_dropped_and_no_attack(
    plane: FakeControlPlane, tmp_path: Path
) -> None:
    async def scene() -> None:
        async with plane.serving(), running(settings_for(plane, tmp_path)) as agent:
            await plane.until(lambda: plane.holding == 1)
            # The held poll will be answered with version 2, after a report was answered with version 3.
            plane.publish_quietly()
            plane.held_body = full_answer(plane.simulator).SerializeToString()
            plane.simulator.put(BLOCKED, b"{}")
            plane.publish_quietly()
            await poll(agent, FakeTracer())
            await until_served(agent, 3)
            told = len(plane.polls)
            await plane.release()

            await plane.until_poll(lambda _: True, after=told)
            await plane.until(lambda: plane.holding == 1)

            assert not any(each.has_error for each in plane.polls)
            assert agent.upstream is not None
            assert not agent.upstream.facts.refusals

    asyncio.run(scene())


def test_an_old_answer_that_nothing_overtook_is_refused_as_a_rollback(
    plane: FakeControlPlane, tmp_path: Path
) -> None:
    async def scene() -> None:
        old = full_answer(plane.simulator).SerializeToString()
        plane.publish_quietly()
        async with plane.serving(), running(settings_for(plane, tmp_path)) as agent:
            await plane.until(lambda: plane.holding == 1)
            plane.held_body = old
            await plane.release()

            told = await plane.until_poll(lambda each: each.has_error)

            assert told.error.startswith("tuf: rollback: ")
            assert agent.trusted is not None
            assert agent.trusted.state.director_version == 2

    asyncio.run(scene())


def test_a_busy_control_plane_is_given_the_time_it_asks_for(plane: FakeControlPlane, tmp_path: Path) -> None:
    async def scene() -> None:
        plane.status = 503
        async with plane.serving(), running(settings_for(plane, tmp_path)) as agent:
            await until_condition(agent, Condition.UNREACHABLE)
            assert agent.upstream is not None
            assert "busy (503)" in agent.upstream.facts.error

    asyncio.run(scene())


def test_a_clock_a_day_ahead_is_named_in_status_log_and_report(
    plane: FakeControlPlane, tmp_path: Path, logs: list[Any]
) -> None:
    async def scene() -> None:
        plane.clock_ahead_s = -86_400
        async with plane.serving(), running(settings_for(plane, tmp_path)) as agent:
            told = await plane.until_poll(lambda each: "clock skew" in each.error)

            assert told.error.startswith("clock skew: this host's clock is 1 day 0 h ahead of the control")
            assert not told.has_error
            assert b"1 day 0 h ahead" in agent.status_json()

    asyncio.run(scene())
    assert [entry["event"] for entry in logs].count("clock skew found") == 1


def test_what_is_expired_to_a_wrong_clock_is_reported_with_the_skew(
    plane: FakeControlPlane, tmp_path: Path
) -> None:
    async def scene() -> None:
        plane.clock_ahead_s = -86_400
        plane.simulator.director.expires["timestamp"] = utc_now() - timedelta(hours=1)
        plane.publish_quietly()
        async with plane.serving(), running(settings_for(plane, tmp_path)):
            told = await plane.until_poll(lambda each: each.has_error)

            assert told.error.startswith("tuf: expired: ")
            assert "clock skew: this host's clock is 1 day 0 h ahead of the control plane" in told.error

    asyncio.run(scene())


def test_a_control_plane_that_does_not_hold_polls_is_asked_at_the_interval(tmp_path: Path) -> None:
    async def scene() -> None:
        plane = FakeControlPlane(holds=False)
        interval = "remote_configuration.refresh_interval=300ms", "sealwire.least_refresh_interval=100ms"
        async with plane.serving(), running(settings_for(plane, tmp_path, *interval)) as agent:
            loop = asyncio.get_running_loop()
            await plane.until(lambda: len(plane.polls) >= 2)
            started = loop.time()
            await plane.until(lambda: len(plane.polls) >= 5)
            took_s = loop.time() - started

            assert 0.8 < took_s < 3.0
            assert agent.upstream is not None
            assert not agent.upstream.holding

    asyncio.run(scene())


def test_plain_polling_asks_for_newcomers_at_most_five_times_a_window(tmp_path: Path) -> None:
    async def scene() -> None:
        plane = FakeControlPlane(holds=False)
        async with plane.serving(), running(settings_for(plane, tmp_path)) as agent:
            await plane.until(lambda: len(plane.polls) >= 1)
            told = len(plane.polls)

            for number in range(9):
                await poll(agent, FakeTracer(f"client-{number}"))

            # A window may have ended on the way; without a limit it would be nine each time.
            assert len(plane.polls) - told in (5, 6, 7, 8)

    asyncio.run(scene())


def test_without_an_upstream_no_connection_is_attempted_and_tracers_are_served(
    plane: FakeControlPlane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts: list[object] = []

    async def scene() -> None:
        settings = settings_for(plane, tmp_path, "remote_configuration.rc_dd_url=")
        monkeypatch.setattr(socket.socket, "connect", lambda *args: attempts.append(args))
        monkeypatch.setattr(
            asyncio.get_running_loop(), "getaddrinfo", lambda *args, **kw: attempts.append(args)
        )
        monkeypatch.setattr("sealwire.agent.local._is_answered", lambda path: False)
        async with running(settings) as agent:
            await asyncio.sleep(0.05)
            assert agent.polls is None
            assert b"remote_configuration.rc_dd_url" in agent.status_json()
            assert not (tmp_path / "run" / "remote-config").exists()

    asyncio.run(scene())
    assert attempts == []


def test_tls_of_a_private_authority_is_believed_and_of_a_strange_one_is_not(
    plane: FakeControlPlane, tmp_path: Path
) -> None:
    ours, strange = tmp_path / "ours.pem", tmp_path / "strange.pem"
    context = server_tls(ours, tmp_path / "key.pem")
    server_tls(strange, tmp_path / "other-key.pem")

    async def scene() -> None:
        async with plane.serving(tls=context):
            believed = settings_for(plane, tmp_path / "a", f"remote_configuration.ca_file={ours}")
            async with running(believed) as agent:
                await until_served(agent, 1)
            asked = len(plane.requests)

            distrusted = settings_for(plane, tmp_path / "b", f"remote_configuration.ca_file={strange}")
            async with running(distrusted) as agent:
                await until_condition(agent, Condition.UNREACHABLE)
                assert agent.upstream is not None
                assert "certificate is not trusted" in agent.upstream.facts.error

            unchecked = settings_for(
                plane,
                tmp_path / "c",
                "skip_ssl_validation=true",
                "remote_configuration.no_tls_validation=true",
            )
            assert len(plane.requests) == asked
            async with running(unchecked) as agent:
                await until_served(agent, 1)

    asyncio.run(scene())


def server_tls(certificate_file: Path, key_file: Path) -> ssl.SSLContext:
    """A self-signed certificate for this machine, and a context that shows it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "control plane of a test")])
    now = utc_now()
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate_file, key_file)
    return context
