"""Off is off: keys that lose their scope, an organisation that is switched off, and what agents keep.

The real application, asked over ASGI; agents are ``SimulatedAgent``, which verifies each answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from sealwire.clock import utc_now
from sealwire.server import withdrawal
from sealwire.server.app import build
from sealwire.server.control_plane import ControlPlane
from sealwire.server.store import read
from sealwire.wire import remoteconfig_pb2 as pb
from tests.support.parts import ASM_ON, running, tracing
from tests.support.simulated_agent import SimulatedAgent, tracer

ADMIN = "/api/admin/v1"
POLL = "/api/v0.1/configurations"
NOT_KNOWN, REVOKED = "This API key is not known here.\n", "This API key was revoked.\n"
NO_SCOPE = "This API key does not carry the Remote Configuration scope.\n"
OFF = "Remote Configuration is off for this organisation.\n"


class Scene:
    """A control plane as an administrator and its agents see it."""

    def __init__(self, plane: ControlPlane, client: httpx.AsyncClient) -> None:
        self.plane = plane
        self.client = client
        self.tenant = plane.tenants[1]
        self.application_key = self.key_of_role("admin")

    def key_of_role(self, role: str, org_id: int = 1) -> str:
        return self.plane.access.create_application_key(
            org_id, user=role, role=role, now_ms=self.plane.now_ms()
        )

    async def ask(self, method: str, path: str, body: Any = None, *, key: str = "") -> httpx.Response:
        headers = {"Authorization": f"Bearer {key or self.application_key}"}
        return await self.client.request(method, ADMIN + path, json=body, headers=headers)

    async def done(self, method: str, path: str, body: Any = None, *, key: str = "") -> Any:
        reply = await self.ask(method, path, body, key=key)
        assert reply.status_code in (200, 201), reply.text
        return reply.json()

    async def refused(self, method: str, path: str, body: Any = None, *, status: int, key: str = "") -> str:
        reply = await self.ask(method, path, body, key=key)
        assert reply.status_code == status, reply.text
        detail: str = reply.json()["detail"]
        return detail

    async def new_key(self, name: str = "hosts", *, remote_config: bool = True) -> tuple[str, str]:
        made = await self.done("POST", "/keys", {"name": name, "remote_config": remote_config})
        return made["id"], made["key"]

    async def put(self, product: str = "ASM_FEATURES", payload: Any = ASM_ON, *, key: str = "") -> Any:
        made = await self.done("POST", "/configs", {"product": product, "payload": payload}, key=key)
        for tenant in self.plane.tenants.values():
            await tenant.reconciler.settle(timeout_s=10)
        return made

    def agent(self, *clients: pb.Client, name: str = "host-a", org_id: int = 1) -> SimulatedAgent:
        tenant = self.plane.tenants[org_id]
        roots = tenant.publisher.roots
        return SimulatedAgent(
            (roots.director[0], roots.config[0]),
            hostname=name,
            org_uuid=tenant.organisation.uuid,
            clients={client.id: client for client in clients or (tracer(f"client-{name}"),)},
        )

    async def send(self, agent: SimulatedAgent, secret: str, *, wait_s: int = 0) -> httpx.Response:
        headers = {"DD-Api-Key": secret, "Content-Type": "application/x-protobuf"}
        if wait_s:
            headers["Sealwire-Wait"] = str(wait_s)
        return await self.client.post(POLL, content=agent.request(), headers=headers)

    async def poll(self, agent: SimulatedAgent, secret: str, *, wait_s: int = 0) -> None:
        """One poll, believed, and the clients take what it brought."""
        reply = await self.send(agent, secret, wait_s=wait_s)
        assert reply.status_code == 200, reply.text
        agent.take(reply.content, now=utc_now())
        agent.apply(now=utc_now())

    async def settle(self, agent: SimulatedAgent, secret: str) -> None:
        for _ in range(3):
            await self.poll(agent, secret)

    async def said_of(self, secret: str) -> tuple[bool, bool]:
        """``/status``: whether the organisation is on, and whether the key may."""
        reply = await self.client.get("/api/v0.1/status", headers={"DD-Api-Key": secret})
        assert reply.status_code == 200
        status = pb.OrgStatusResponse.FromString(reply.content)
        return status.enabled, status.authorized

    async def why_not(self, agent: SimulatedAgent, secret: str) -> str:
        reply = await self.send(agent, secret)
        assert reply.status_code == 401
        return reply.text

    async def until(self, happened: Callable[[], Awaitable[Any]], what: str) -> Any:
        for _ in range(500):
            if found := await happened():
                return found
            await asyncio.sleep(0.02)
        raise AssertionError(what)

    async def until_off(self) -> None:
        async def off() -> bool:
            return not self.tenant.organisation.remote_config

        await self.until(off, "the organisation is switched off")

    def actions(self) -> list[str]:
        with self.plane.database.read() as c:
            return [row.action for row in reversed(read.audit(c, 1))]


@asynccontextmanager
async def scene(folder: Path, **settings: Any) -> AsyncIterator[Scene]:
    async with running(folder, **settings) as plane:
        application, _ = build(plane)
        transport = httpx.ASGITransport(application)
        async with httpx.AsyncClient(transport=transport, base_url="http://sealwire") as client:
            yield Scene(plane, client)


def run(folder: Path, case: Callable[[Scene], Awaitable[None]]) -> None:
    async def with_scene() -> None:
        async with scene(folder) as it:
            await case(it)

    asyncio.run(with_scene())


def held_of(agent: SimulatedAgent) -> int:
    return len(agent.state.targets)


# Held polls -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "body", "why"),
    [
        ("DELETE", "/keys/{id}", None, REVOKED),
        ("PATCH", "/keys/{id}", {"remote_config": False}, NO_SCOPE),
        ("PUT", "/settings", {"remote_config": False, "at_once": True}, OFF),
    ],
)
def test_a_held_poll_ends_at_once_when_it_may_go_on_no_longer(
    tmp_path: Path, method: str, path: str, body: Any, why: str
) -> None:
    async def case(it: Scene) -> None:
        key_id, secret = await it.new_key()
        agent = it.agent()
        await it.put()
        await it.settle(agent, secret)
        held = asyncio.create_task(it.send(agent, secret, wait_s=30))

        async def is_held() -> bool:
            return any(session.waiters for session in it.tenant.distributor.sessions.values())

        await it.until(is_held, "the poll is held")
        started = asyncio.get_running_loop().time()
        await it.done(method, path.format(id=key_id), body)
        reply = await asyncio.wait_for(held, 5)

        assert asyncio.get_running_loop().time() - started < 15  # of the 30 s that it would wait
        assert (reply.status_code, reply.text) == (401, why)
        assert await it.why_not(agent, secret) == why

    run(tmp_path, case)


def test_a_held_poll_of_another_key_goes_on(tmp_path: Path) -> None:
    async def case(it: Scene) -> None:
        (gone, _), (_, secret) = await it.new_key("one"), await it.new_key("two")
        agent = it.agent()
        await it.settle(agent, secret)
        held = asyncio.create_task(it.send(agent, secret, wait_s=30))
        await asyncio.sleep(0.05)

        await it.done("DELETE", f"/keys/{gone}")
        await asyncio.sleep(0.1)

        assert not held.done()
        await it.put()
        assert (await asyncio.wait_for(held, 5)).status_code == 200

    run(tmp_path, case)


def test_a_key_that_was_changed_beside_the_switches_ends_its_polls_too(tmp_path: Path) -> None:
    async def case(it: Scene) -> None:
        key_id, secret = await it.new_key()
        agent = it.agent()
        await it.settle(agent, secret)
        held = asyncio.create_task(it.send(agent, secret, wait_s=30))
        await asyncio.sleep(0.05)

        it.plane.access.revoke_api_key(1, key_id, by="test", now_ms=it.plane.now_ms())

        assert (await asyncio.wait_for(held, 5)).status_code == 401

    run(tmp_path, case)


# The organisation's switch ------------------------------------------------------------


def test_off_is_off_in_order_the_empty_state_before_the_refusal(tmp_path: Path) -> None:
    async def case(it: Scene) -> None:
        _, secret = await it.new_key()
        agent = it.agent()
        await it.put()
        await it.settle(agent, secret)
        assert held_of(agent) == 1
        version = agent.state.director_version

        told = await it.done("PUT", "/settings", {"remote_config": False})

        assert (told["remote_config"], told["withdrawal"]["agents"], told["withdrawal"]["fetched"]) == (
            True, 1, 0,
        )  # fmt: skip
        assert [one["hostname"] for one in told["withdrawal"]["still_holding"]] == ["host-a"]
        await asyncio.sleep(1.2)  # nothing is refused before the empty state was fetched
        assert await it.said_of(secret) == (True, True)
        await it.poll(agent, secret)
        assert held_of(agent) == 0
        assert agent.state.director_version > version
        assert await it.said_of(secret) == (True, True)
        await it.poll(agent, secret)  # says that it has it, and that its client dropped everything
        await it.until_off()
        assert await it.said_of(secret) == (False, True)
        assert await it.why_not(agent, secret) == OFF
        settings = await it.done("GET", "/settings")
        assert (settings["remote_config"], settings["withdrawing_at"]) == (False, None)
        assert it.actions()[-2:] == ["organisation.withdrawing", "organisation.switched_off"]

        # On again, everything comes back, under higher versions.
        empty = agent.state.director_version
        await it.done("PUT", "/settings", {"remote_config": True})
        await it.settle(agent, secret)
        assert held_of(agent) == 1
        assert agent.state.director_version > empty
        assert await it.said_of(secret) == (True, True)

    run(tmp_path, case)


def test_a_poll_that_is_held_is_answered_with_the_empty_state(tmp_path: Path) -> None:
    async def case(it: Scene) -> None:
        _, secret = await it.new_key()
        agent = it.agent()
        await it.put()
        await it.settle(agent, secret)
        held = asyncio.create_task(it.poll(agent, secret, wait_s=30))
        await asyncio.sleep(0.05)

        await it.done("PUT", "/settings", {"remote_config": False})
        await asyncio.wait_for(held, 5)

        assert held_of(agent) == 0

    run(tmp_path, case)


def test_an_agent_that_is_away_keeps_what_it_has_until_it_expires_and_that_is_said(tmp_path: Path) -> None:
    async def case(it: Scene) -> None:
        _, secret = await it.new_key()
        here, away = it.agent(name="here"), it.agent(name="away")
        await it.put()
        for agent in (here, away):
            await it.settle(agent, secret)
        expires = away.state.director_timestamp_expires
        (gone,) = (one for one in it.tenant.distributor.sessions.values() if one.hostname == "away")
        gone.last_seen -= it.tenant.switches.heard_within_s + 1

        told = await it.done("PUT", "/settings", {"remote_config": False})
        assert told["withdrawal"]["agents"] == 1
        await it.poll(here, secret)
        await it.poll(here, secret)
        await it.until_off()

        # It is too late for the one that comes back: it has what it had, until that expires.
        assert await it.why_not(away, secret) == OFF
        assert held_of(away) == 1
        (key,) = (await it.done("GET", "/keys"))["keys"]
        (one,) = [
            agent
            for agent in (await it.done("GET", f"/keys/{key['id']}"))["agents"]
            if not agent["holds_nothing"]
        ]
        assert one["hostname"] == "away"
        assert expires is not None
        assert abs((datetime.fromisoformat(one["holds_until"]) - expires).total_seconds()) < 1
        assert key["held_until"] == one["holds_until"]

    run(tmp_path, case)


def test_at_once_refuses_before_anything_is_fetched(tmp_path: Path) -> None:
    async def case(it: Scene) -> None:
        _, secret = await it.new_key()
        agent = it.agent()
        await it.put()
        await it.settle(agent, secret)

        await it.done("PUT", "/settings", {"remote_config": False})
        await it.done("PUT", "/settings", {"remote_config": False, "at_once": True})

        assert await it.said_of(secret) == (False, True)
        assert await it.why_not(agent, secret) == OFF
        assert held_of(agent) == 1

    run(tmp_path, case)


def test_a_restart_in_the_middle_goes_on_where_it_was(tmp_path: Path) -> None:
    async def first() -> tuple[str, SimulatedAgent]:
        async with scene(tmp_path) as it:
            _, secret = await it.new_key()
            agent = it.agent()
            await it.put()
            await it.settle(agent, secret)
            await it.done("PUT", "/settings", {"remote_config": False})
            return secret, agent

    async def second(secret: str, agent: SimulatedAgent) -> None:
        async with scene(tmp_path) as it:
            # Nobody has asked this process yet; that is no reason to end over the agent's head.
            await asyncio.sleep(1.2)
            (going,) = (await it.done("GET", "/withdrawals"))["withdrawals"]
            assert (going["subject"], going["agents"], going["fetched"]) == ("organisation", 1, 0)
            assert await it.said_of(secret) == (True, True)
            await it.poll(agent, secret)
            assert held_of(agent) == 0
            await it.poll(agent, secret)
            await it.until_off()
            assert await it.why_not(agent, secret) == OFF

    async def third(secret: str, agent: SimulatedAgent) -> None:
        async with scene(tmp_path) as it:
            assert await it.said_of(secret) == (False, True)
            assert await it.why_not(agent, secret) == OFF

    secret, agent = asyncio.run(first())
    asyncio.run(second(secret, agent))
    asyncio.run(third(secret, agent))


def test_switched_on_in_the_middle_nothing_was_refused_and_everything_comes_back(tmp_path: Path) -> None:
    async def case(it: Scene) -> None:
        _, secret = await it.new_key()
        agent = it.agent()
        await it.put()
        await it.settle(agent, secret)
        await it.done("PUT", "/settings", {"remote_config": False})
        await it.poll(agent, secret)
        assert held_of(agent) == 0

        await it.done("PUT", "/settings", {"remote_config": True})
        await it.settle(agent, secret)

        assert held_of(agent) == 1
        assert (await it.done("GET", "/withdrawals"))["withdrawals"] == []
        assert it.actions()[-2:] == ["organisation.withdrawing", "organisation.switched_on"]

    run(tmp_path, case)


def test_another_organisation_is_not_touched(tmp_path: Path) -> None:
    async def case(it: Scene) -> None:
        made, theirs = await it.plane.create_organisation("other", by="test")
        key = await it.done("POST", "/keys", {"name": "theirs", "remote_config": True}, key=theirs)
        agent = it.agent(name="theirs", org_id=made.org_id)
        await it.put(key=theirs)
        await it.settle(agent, key["key"])
        version = agent.state.director_version

        await it.done("PUT", "/settings", {"remote_config": False, "at_once": True})
        await it.settle(agent, key["key"])

        assert (held_of(agent), agent.state.director_version) == (1, version)
        assert await it.said_of(key["key"]) == (True, True)
        # Nor can either reach the keys of the other.
        for method, path in (("GET", ""), ("DELETE", ""), ("POST", ":withdraw"), ("PATCH", "")):
            body = {"remote_config": False} if method == "PATCH" else None
            await it.refused(method, f"/keys/{key['id']}{path}", body, status=404)
        assert (await it.done("GET", "/settings", key=theirs))["remote_config"] is True

    run(tmp_path, case)


def test_configs_can_be_saved_while_it_is_off_with_a_word_on_it(tmp_path: Path) -> None:
    async def case(it: Scene) -> None:
        _, secret = await it.new_key()
        agent = it.agent()
        await it.settle(agent, secret)
        await it.done("PUT", "/settings", {"remote_config": False, "at_once": True})

        made = await it.put()

        assert "off" in made["warnings"][0]["message"]
        await it.done("PUT", "/settings", {"remote_config": True})
        await it.settle(agent, secret)
        assert held_of(agent) == 1

    run(tmp_path, case)


def test_what_a_client_keeps_by_itself_is_taken_back_before_the_state_is_empty(tmp_path: Path) -> None:
    """Python leaves Dynamic Instrumentation on when its config goes; it must be told to switch it off."""

    async def case(it: Scene) -> None:
        _, secret = await it.new_key()
        agent = it.agent(tracer("c1"))
        await it.put("APM_TRACING", tracing(dynamic_instrumentation_enabled=True))
        await it.settle(agent, secret)

        await it.done("PUT", "/settings", {"remote_config": False})
        await it.poll(agent, secret)

        payload = agent.payload("c1", "APM_TRACING", now=utc_now())
        assert isinstance(payload, dict)
        assert payload["lib_config"]["dynamic_instrumentation_enabled"] is False
        assert (await it.done("GET", "/withdrawals"))["withdrawals"][0]["fetched"] == 0
        await it.settle(agent, secret)
        assert held_of(agent) == 0
        await it.until_off()

    run(tmp_path, case)


def test_a_client_that_never_gives_back_stops_nothing_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sealwire.server.switches.RELEASE_PATIENCE_S", 0.5)
    monkeypatch.setattr(withdrawal, "DROP_PATIENCE_S", 0.5)

    async def case(it: Scene) -> None:
        _, secret = await it.new_key()
        agent = it.agent(tracer("c1"))
        await it.put("APM_TRACING", tracing(dynamic_instrumentation_enabled=True))
        await it.settle(agent, secret)
        await it.done("PUT", "/settings", {"remote_config": False})

        async def deaf() -> bool:
            reply = await it.send(agent, secret)
            if reply.status_code == 401:
                return True
            agent.take(reply.content, now=utc_now())  # the agent believes, its client says nothing new
            return False

        await it.until(deaf, "the organisation is switched off")
        assert held_of(agent) == 0

    run(tmp_path, case)


# Keys -------------------------------------------------------------------------------------


def test_a_keys_scope_is_taken_when_its_agents_hold_nothing_and_others_keep_theirs(tmp_path: Path) -> None:
    async def case(it: Scene) -> None:
        (going, secret), (_, staying_secret) = await it.new_key("going"), await it.new_key("staying")
        agent, other = it.agent(name="host-a"), it.agent(name="host-b")
        await it.put()
        await it.settle(agent, secret)
        await it.settle(other, staying_secret)

        told = await it.done("POST", f"/keys/{going}:withdraw")

        assert (told["used_by"], told["remote_config"]) == (1, True)
        assert told["withdrawing_at"] is not None
        await it.poll(other, staying_secret)
        await it.poll(agent, secret)
        assert (held_of(agent), held_of(other)) == (0, 1)
        await it.poll(agent, secret)

        async def taken() -> bool:
            return not (await it.done("GET", f"/keys/{going}"))["remote_config"]

        await it.until(taken, "the scope is taken")
        assert await it.why_not(agent, secret) == NO_SCOPE
        assert await it.said_of(secret) == (True, False)
        await it.settle(other, staying_secret)
        assert held_of(other) == 1
        # Given again, the agent gets everything back.
        await it.done("PATCH", f"/keys/{going}", {"remote_config": True})
        await it.settle(agent, secret)
        assert held_of(agent) == 1

    run(tmp_path, case)


def test_a_key_is_revoked_when_its_agents_hold_nothing(tmp_path: Path) -> None:
    async def case(it: Scene) -> None:
        key_id, secret = await it.new_key()
        agent = it.agent()
        await it.put()
        await it.settle(agent, secret)

        told = await it.done("DELETE", f"/keys/{key_id}?withdraw_first=true")

        assert (told["revoked_at"], told["revoked_after_withdrawal"]) == (None, True)
        await it.settle(agent, secret)

        async def revoked() -> Any:
            return (await it.done("GET", f"/keys/{key_id}"))["revoked_at"]

        await it.until(revoked, "the key is revoked")
        assert await it.why_not(agent, secret) == REVOKED
        assert held_of(agent) == 0
        assert await it.why_not(agent, "f" * 32) == NOT_KNOWN

    run(tmp_path, case)


def test_a_withdrawal_is_called_off_by_giving_the_key_its_scope(tmp_path: Path) -> None:
    async def case(it: Scene) -> None:
        key_id, secret = await it.new_key()
        agent = it.agent()
        await it.put()
        await it.settle(agent, secret)
        await it.done("DELETE", f"/keys/{key_id}?withdraw_first=true")
        await it.poll(agent, secret)

        told = await it.done("PATCH", f"/keys/{key_id}", {"remote_config": True})

        assert (told["withdrawing_at"], told["revoked_after_withdrawal"]) == (None, False)

        async def has_it_back() -> bool:
            await it.poll(agent, secret)
            return held_of(agent) == 1

        await it.until(has_it_back, "what was withdrawn comes back")

    run(tmp_path, case)


def test_while_the_organisation_is_off_a_scope_can_only_be_taken(tmp_path: Path) -> None:
    async def case(it: Scene) -> None:
        with_scope, _ = await it.new_key("with")
        without, _ = await it.new_key("without", remote_config=False)
        await it.done("PUT", "/settings", {"remote_config": False, "at_once": True})

        why = await it.refused("PATCH", f"/keys/{without}", {"remote_config": True}, status=409)
        assert "Switch it on in the settings first" in why
        await it.refused("POST", "/keys", {"name": "new", "remote_config": True}, status=409)
        await it.refused("POST", f"/keys/{with_scope}:withdraw", status=409)
        await it.done("POST", "/keys", {"name": "new", "remote_config": False})
        assert (await it.done("PATCH", f"/keys/{with_scope}", {"remote_config": False}))[
            "remote_config"
        ] is False

    run(tmp_path, case)


def test_a_revoked_key_is_for_good(tmp_path: Path) -> None:
    async def case(it: Scene) -> None:
        key_id, _ = await it.new_key()
        first = await it.done("DELETE", f"/keys/{key_id}")

        assert await it.done("DELETE", f"/keys/{key_id}") == first
        for body in ({"name": "again"}, {"remote_config": True}):
            assert "is revoked" in await it.refused("PATCH", f"/keys/{key_id}", body, status=409)
        assert "is revoked" in await it.refused("POST", f"/keys/{key_id}:withdraw", status=409)
        assert it.actions().count("api_key.revoked") == 1

    run(tmp_path, case)


def test_the_agent_at_ones_own_address_is_told_apart(tmp_path: Path) -> None:
    async def case(it: Scene) -> None:
        key_id, secret = await it.new_key()
        await it.settle(it.agent(), secret)

        (agent,) = (await it.done("GET", f"/keys/{key_id}"))["agents"]

        assert agent["from_your_address"] is True
        it.tenant.distributor.sessions[agent["agent_id"]].address = "192.0.2.7"
        (agent,) = (await it.done("GET", f"/keys/{key_id}"))["agents"]
        assert agent["from_your_address"] is False

    run(tmp_path, case)


def test_an_agent_is_found_under_the_key_it_asks_with_now_also_after_a_restart(tmp_path: Path) -> None:
    async def first() -> tuple[str, str]:
        async with scene(tmp_path) as it:
            (one, one_secret), (two, two_secret) = await it.new_key("one"), await it.new_key("two")
            agent = it.agent()
            await it.settle(agent, one_secret)
            assert (await it.done("GET", f"/keys/{one}"))["used_by"] == 1
            await it.settle(agent, two_secret)
            assert (await it.done("GET", f"/keys/{one}"))["used_by"] == 0
            return one, two

    async def second(one: str, two: str) -> None:
        async with scene(tmp_path) as it:
            keys = {key["id"]: key["used_by"] for key in (await it.done("GET", "/keys"))["keys"]}
            assert keys == {one: 0, two: 1}

    one, two = asyncio.run(first())
    asyncio.run(second(one, two))


# Several control planes over one database ---------------------------------------------------------


def test_what_one_control_plane_switches_off_the_other_withdraws_and_refuses(
    tmp_path: Path, postgres_dsn: str
) -> None:
    async def case() -> None:
        async with (
            scene(tmp_path, database_url=postgres_dsn) as one,
            scene(tmp_path, database_url=postgres_dsn) as other,
        ):
            _, secret = await other.new_key()
            agent = other.agent()
            await other.put()
            await other.settle(agent, secret)
            held = asyncio.create_task(other.poll(agent, secret, wait_s=30))
            await asyncio.sleep(0.05)
            await other.tenant.observer.flush()  # what the agent has is written

            await one.done("PUT", "/settings", {"remote_config": False})

            await asyncio.wait_for(held, 10)
            assert held_of(agent) == 0
            assert (await one.done("GET", "/settings"))["remote_config"] is True
            await other.poll(agent, secret)
            await other.until_off()
            assert await other.why_not(agent, secret) == OFF
            await one.until_off()

    asyncio.run(case())


# Two administrators, and those who are none -----------------------------------------------------


def test_two_administrators_at_once_leave_one_state_and_a_record_of_both(tmp_path: Path) -> None:
    async def case(it: Scene) -> None:
        _, secret = await it.new_key()
        agent = it.agent()
        await it.put()
        await it.settle(agent, secret)

        begun = await asyncio.gather(
            *(it.done("PUT", "/settings", {"remote_config": False}) for _ in range(4))
        )

        assert len({one["withdrawing_at"] for one in begun}) == 1
        assert it.actions().count("organisation.withdrawing") == 1
        await asyncio.gather(
            it.done("PUT", "/settings", {"remote_config": True}),
            it.done("PUT", "/settings", {"remote_config": False, "at_once": True}),
        )
        settings = await it.done("GET", "/settings")
        assert await it.said_of(secret) == (settings["remote_config"], True)
        assert settings["withdrawing_at"] is None

    run(tmp_path, case)


def test_settings_that_somebody_changed_meanwhile_are_not_overwritten(tmp_path: Path) -> None:
    async def case(it: Scene) -> None:
        seen = await it.done("GET", "/settings")
        await it.done("PUT", "/settings", {"production_envs": ["live"]})

        why = await it.refused(
            "PUT", "/settings",
            {"production_envs": ["prod", "eu"], "seen": {"production_envs": seen["production_envs"]}},
            status=409,
        )  # fmt: skip

        assert "look at them again" in why
        assert (await it.done("GET", "/settings"))["production_envs"] == ["live"]
        await it.done("PUT", "/settings", {"name": "Acme", "seen": {"name": seen["name"]}})
        assert (await it.done("GET", "/whoami"))["org_name"] == "Acme"

    run(tmp_path, case)


@pytest.mark.parametrize(
    "body",
    [
        {"name": " "}, {"name": "x" * 101}, {"name": "a\nb"}, {"production_envs": [""]},
        {"production_envs": ["x" * 201]}, {"production_envs": [str(n) for n in range(51)]},
    ],
)  # fmt: skip
def test_settings_that_are_none_are_refused(tmp_path: Path, body: Any) -> None:
    async def case(it: Scene) -> None:
        before = await it.done("GET", "/settings")
        await it.refused("PUT", "/settings", body, status=422)
        assert await it.done("GET", "/settings") == before

    run(tmp_path, case)


@pytest.mark.parametrize("role", ["standard", "read_only"])
def test_who_is_no_administrator_changes_nothing(tmp_path: Path, role: str) -> None:
    async def case(it: Scene) -> None:
        key_id, secret = await it.new_key()
        weak = it.key_of_role(role)

        for method, path, body in (
            ("POST", "/keys", {"name": "mine", "remote_config": True}),
            ("PATCH", f"/keys/{key_id}", {"remote_config": False}),
            ("POST", f"/keys/{key_id}:withdraw", None),
            ("DELETE", f"/keys/{key_id}", None),
            ("DELETE", f"/keys/{key_id}?withdraw_first=true", None),
            ("PUT", "/settings", {"remote_config": False}),
        ):
            await it.refused(method, path, body, status=403, key=weak)

        assert await it.said_of(secret) == (True, True)
        may_see = 200 if role == "standard" else 403
        for path in ("/keys", f"/keys/{key_id}", "/withdrawals"):
            assert (await it.ask("GET", path, key=weak)).status_code == may_see

    run(tmp_path, case)
