"""An inventory on its way: posted over HTTP, refused or taken, seen in the API and on the pages."""

from __future__ import annotations

import gzip
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import orjson
import pytest

from sealwire.clock import utc_now
from sealwire.wire import inventory as wire
from sealwire.wire import remoteconfig_pb2 as pb
from tests.support.console import Console, run
from tests.support.simulated_agent import SimulatedAgent, tracer

SHOP = "web-1:11111111-2222-3333-4444-555555555555"
UUID = SHOP.partition(":")[2]


def now_ms() -> int:
    return int(time.time() * 1000)


def post(hostname: str = "web-1", **changes: Any) -> wire.Inventory:
    values: dict[str, Any] = {
        "hostname": hostname, "agent_uuid": UUID, "version": "0.1.0", "wire_version": "7.80.0",
        "os": "Debian GNU/Linux 12", "kernel": "Linux 6.1", "architecture": "x86_64", "python": "3.11.7",
        "uptime_s": 7300, "tags": ["team:core"],
        "settings": [
            wire.Setting(name="env", value="prod", source="env_var", origin="DD_ENV",
                         hidden=[wire.Layer("file", "dev", "/etc/datadog-agent/datadog.yaml")]),
            wire.Setting(name="api_key", value="(redacted)", source="file", origin="/etc/x.yaml"),
            wire.Setting(name="log_level", value="info", source="default"),
        ],
        "services": [
            wire.Service(service="shop", env="prod", language="python", seen_ms=now_ms(), traces=7,
                         client_seen=True, runtime_ids=["runtime-c1"]),
            wire.Service(service="mail", env="prod", language="java", seen_ms=now_ms(), traces=3,
                         client_seen=False, switched_off_by="env_var"),
        ],
        "runtimes": [
            wire.Runtime(runtime_id="runtime-c1", service="shop", seen_ms=now_ms(), settings={
                "DD_TRACE_SAMPLE_RATE": [
                    wire.Known("remote_config", "0.5", 9), wire.Known("default", None, 1),
                ],
                "DD_TAGS": [wire.Known("env_var", "<script>alert(1)</script>", 4)],
                "DD_VERSION": [wire.Known("default", None, 2)],
            }),
        ],
        "dropped": {"too_busy": 4},
    }  # fmt: skip
    return wire.Inventory(**{**values, **changes})


async def send(it: Console, key: str, body: bytes, **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await it.client.post(wire.PATH, content=body, headers={"DD-Api-Key": key, **named})


async def send_post(it: Console, key: str, told: wire.Inventory) -> httpx.Response:
    return await send(it, key, wire.encode(told), Content_Encoding="gzip")


async def new_key(it: Console, *, remote_config: bool = True) -> str:
    made = await it.post("/keys", {"name": f"agents {remote_config}", "remote_config": remote_config})
    secret: str = made["key"]
    return secret


async def poll(it: Console, agent: SimulatedAgent, key: str, *, status: int = 200) -> bytes:
    for _ in range(5):
        reply = await it.client.post(
            "/api/v0.1/configurations", content=agent.request(), headers={"DD-Api-Key": key}
        )
        if reply.status_code != 503:
            break
        await it.published()  # a busy machine takes longer for first signatures than a poll waits
    assert reply.status_code == status, reply.text
    if status == 200:
        agent.take(reply.content, now=utc_now())
        agent.apply(now=utc_now())
    return reply.content


async def page(it: Console, path: str) -> str:
    reply = await it.client.get(path, headers={**it.headers, "Accept": "text/html"})
    assert reply.status_code == 200, (path, reply.status_code, reply.text[:500])
    return reply.text


async def standing(it: Console, hostname: str = "web-1") -> dict[str, Any]:
    it.plane.tenants[1].overview._services_at = it.plane.tenants[1].overview._agents_read_at = 0
    agents = {one["hostname"]: one for one in (await it.get("/agents"))["agents"]}
    found: dict[str, Any] = agents[hostname]["standing"]
    return found


def test_what_an_agent_tells_is_in_the_api_and_on_its_page(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        key = await new_key(it)
        config = await it.put_config(
            "APM_TRACING", {"lib_config": {"tracing_sampling_rate": 0.5}}, name="Half", targeting={}
        )
        agent = it.agent(tracer("c1"), name="web-1")
        agent.agent_uuid = UUID
        for _ in range(3):
            await poll(it, agent, key)
        taken = await send_post(it, key, post())
        assert taken.status_code == 200
        assert wire.decode_taken(taken.content).next_s == 60

        told = await it.get(f"/agents/{quote(SHOP, safe='')}")
        assert told["standing"]["state"] == "connected"
        assert (told["api_key"], told["client_ids"]) == ("agents True", ["c1"])
        assert told["root_versions"] == {
            "director": agent.state.director_root_version, "config": agent.state.config_root_version
        }  # fmt: skip
        assert len(told["files"]) == 1
        inventory = told["inventory"]
        assert (inventory["os"], inventory["uptime_s"]) == ("Debian GNU/Linux 12", 7300)
        env = next(one for one in inventory["settings"] if one["name"] == "env")
        assert (env["value"], env["source"], env["origin"]) == ("prod", "env_var", "DD_ENV")
        assert env["hidden"] == [
            {"source": "file", "value": "dev", "origin": "/etc/datadog-agent/datadog.yaml"}
        ]
        services = {one["service"]: one for one in told["services"]}
        assert services["shop"]["standing"] is None
        assert services["mail"]["standing"]["state"] == "not_detected"
        assert [one["agent_id"] for one in (await it.get("/inventory"))["agents"]] == [SHOP]

        client = await it.get("/clients/c1")
        settings = {one["name"]: one for one in client["settings"]}
        rate = settings["DD_TRACE_SAMPLE_RATE"]
        assert (rate["value"], rate["origin"]) == ("0.5", "remote_config")
        assert (rate["sent"]["config_id"], rate["sent"]["value"]) == (config["id"], "0.5")
        assert rate["others"] == [{"origin": "default", "value": None, "seq_id": 1, "error": ""}]
        assert client["settings"][0] == rate
        assert client["reasons"][0]["verdict"] == "has"
        assert client["telemetry_at"]

        shown = await page(it, f"/fleet/agents/{quote(SHOP, safe='')}")
        for text in (
            "Debian GNU/Linux 12", "2 h 1 min", "DD_ENV", "file says", "mail", "agents True",
            "Remote Configuration is off in its tracer (environment)", "uploads, to stay light", "team:core",
        ):  # fmt: skip
            assert text in shown, text
        shown = await page(it, "/fleet/clients/c1")
        for text in ("DD_TRACE_SAMPLE_RATE", "Half", "by its own telemetry", "1 that nobody chose"):
            assert text in shown, text
        assert "<script>alert" not in shown
        assert f"/fleet/agents/{quote(SHOP, safe='')}" in shown
        assert "mail" in await page(it, "/fleet?q=state:not_detected")
        assert "web-1" in await page(it, "/fleet?tab=agents")
        await it.refused("GET", "/clients/nobody", status=404)
        await it.refused("GET", "/agents/nobody", status=404)

    run(tmp_path, case)


def test_a_poll_refused_for_lack_of_scope_leaves_its_host(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        scope, none = await new_key(it), await new_key(it, remote_config=False)
        agent = it.agent(tracer("c1"), name="go-host")
        agent.agent_uuid = UUID

        body = await poll(it, agent, none, status=401)

        assert b"scope" in body
        found = await standing(it, "go-host")
        assert found["state"] == "unauthorized"
        assert "agents False" in found["detail"]
        assert found["remedy"]
        (listed,) = (await it.get("/agents"))["agents"]
        assert (listed["version"], listed["clients"], listed["state"]) == ("7.80.0", 0, "silent")
        assert (await it.get("/clients"))["clients"] == [], "nothing else of a refused poll is kept"

        await poll(it, agent, scope)
        await poll(it, agent, scope)
        assert (await standing(it, "go-host"))["state"] == "connected"
        told = await it.get(f"/agents/{quote(f'go-host:{UUID}', safe='')}")
        assert (told["api_key"], told["inventory"]) == ("agents True", None)
        await it.plane.tenants[1].inventory.flush()
        told = await it.get(f"/agents/{quote(f'go-host:{UUID}', safe='')}")
        assert (told["refused_at"], told["refused_for"]) == (None, "")
        assert "go-host" in await page(it, f"/fleet/agents/{quote(f'go-host:{UUID}', safe='')}")

    run(tmp_path, case)


@pytest.mark.parametrize("key", ["", "0" * 32, "x" * 5000])
def test_an_unknown_key_leaves_nothing(tmp_path: Path, key: str) -> None:
    async def case(it: Console) -> None:
        agent = it.agent(tracer("c1"))
        await poll(it, agent, key, status=401)
        assert (await send_post(it, key, post())).status_code == 401
        assert (await it.get("/agents"))["agents"] == []
        assert it.plane.tenants[1].inventory.rows == {}

    run(tmp_path, case)


def test_a_key_without_the_scope_may_tell_and_a_revoked_one_may_not(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        none = await new_key(it, remote_config=False)
        assert (await send_post(it, none, post())).status_code == 200
        assert (await standing(it))["state"] == "unauthorized"

        (key,) = (await it.get("/keys"))["keys"]
        await it.ask("DELETE", f"/keys/{key['id']}")
        assert (await send_post(it, none, post())).status_code == 401
        found = await standing(it)
        assert (found["state"], found["detail"]) == ("revoked", "its API key agents False was revoked")

    run(tmp_path, case)


def test_each_organisation_sees_its_own(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        other = await it.post("/orgs", {"name": "other"})
        await send_post(it, await new_key(it), post())
        it.headers = {"Authorization": f"Bearer {other['application_key']}"}

        assert (await it.get("/agents"))["agents"] == []
        assert (await it.get("/inventory"))["agents"] == []
        await it.refused("GET", f"/agents/{quote(SHOP, safe='')}", status=404)

    run(tmp_path, case)


GOOD = wire.encode(post())


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"", {}, 400),
        (b"{}", {}, 400),
        (b"[" * 100_000, {}, 400),
        (b"\xff" * 100, {"Content_Encoding": "gzip"}, 400),
        (GOOD[:-10], {"Content_Encoding": "gzip"}, 400),
        (GOOD, {}, 400),
        (GOOD, {"Content_Encoding": "br"}, 415),
        (b" " * (wire.MAX_POST_BYTES + 1), {}, 413),
        (gzip.compress(b" " * (50 * 1024 * 1024)), {"Content_Encoding": "gzip"}, 413),
        (orjson.dumps({"hostname": "h", "agent_uuid": "u", "uptime_s": -1}), {}, 400),
        (orjson.dumps({"hostname": "h\0", "agent_uuid": "u"}), {}, 200),
    ],
)
def test_hostile_posts_are_ordinary(
    tmp_path: Path, body: bytes, headers: dict[str, str], status: int
) -> None:
    async def case(it: Console) -> None:
        reply = await send(it, await new_key(it), body, **headers)

        assert reply.status_code == status
        assert len(it.plane.tenants[1].inventory.rows) == (status == 200)
        await it.plane.tenants[1].inventory.flush()
        metrics = (await it.client.get("/metrics")).text
        assert f'sealwire_answers_total{{endpoint="inventory",status="{status}"}} 1' in metrics

    run(tmp_path, case)


def test_only_posts_are_taken_and_not_too_many(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        key = await new_key(it)
        assert (await it.client.get(wire.PATH, headers={"DD-Api-Key": key})).status_code == 405
        replies = [await send_post(it, key, post()) for _ in range(20)]
        assert {reply.status_code for reply in replies} == {200, 429}
        assert int(replies[-1].headers["retry-after"]) >= 10

    run(tmp_path, case)


def test_refused_polls_that_are_hostile_leave_nothing(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        key = await new_key(it, remote_config=False)
        large = pb.LatestConfigsRequest(hostname="h", tags=["t" * 1000] * 1500).SerializeToString()
        for body in (b"", b"\xff" * 1000, b"\x0a\xff\xff\xff\xff\x0f", large):
            reply = await it.client.post(
                "/api/v0.1/configurations", content=body, headers={"DD-Api-Key": key}
            )
            assert reply.status_code == 401
        assert it.plane.tenants[1].inventory.rows == {}

    run(tmp_path, case)


def test_strange_names_make_no_trouble_on_any_page(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        key = await new_key(it)
        strange = '"><img src=x onerror=alert(1)>/../%2e\u202e日本'
        told = post(
            strange, os=strange, tags=[strange], services=[wire.Service(service=strange, env=strange)],
            settings=[wire.Setting(name=strange, value=strange, source=strange, origin=strange)],
            dropped={"strange_kind": 1}, remote_config=wire.RemoteConfig(is_on=False, reason=strange),
        )  # fmt: skip
        assert (await send_post(it, key, told)).status_code == 200
        agent_id = f"{strange}:{UUID}"

        shown = await page(it, f"/fleet/agents/{quote(agent_id, safe='')}")
        listed = await page(it, "/fleet?tab=agents")

        for html in (shown, listed, await page(it, "/fleet"), await page(it, "/")):
            assert "<img" not in html
        assert "strange kind" in shown
        assert (await it.get(f"/agents/{quote(agent_id, safe='')}"))["hostname"] == strange

    run(tmp_path, case)
