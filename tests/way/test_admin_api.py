"""The admin API through the real application: every route, every refusal, in the words of RFC 9457."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from litestar import Litestar

from sealwire.clock import utc_now
from sealwire.errors import UnavailableError
from sealwire.server.access.permissions import PERMISSIONS
from sealwire.server.api import admin
from sealwire.server.store import audit
from sealwire.wire.codec import ApplyState
from tests.support.console import ADMIN, Console, run
from tests.support.parts import ASM_OFF, ASM_ON, NOTED, denylist, dump
from tests.support.simulated_agent import tracer


def problems(document: Any) -> dict[str, str]:
    return {problem["path"]: problem["message"] for problem in document["problems"]}


# Who may --------------------------------------------------------------------------


def admin_routes() -> list[tuple[str, str, dict[str, Any]]]:
    """Method, path and options of every route of the admin API, as the framework knows them."""
    application = Litestar(route_handlers=[admin.router()], openapi_config=None)
    return sorted(
        (
            (method, route.path, handler.opt)
            for route in application.routes
            for handler, _ in getattr(route, "route_handler_map", {}).values()
            for method in handler.http_methods
            if method != "OPTIONS"
        ),
        key=lambda found: found[:2],
    )


def alternatives(options: Mapping[str, Any]) -> tuple[str, ...]:
    """The permissions a route declares, one of which is enough."""
    declared = options.get("permission", "")
    return declared if isinstance(declared, tuple) else (declared,)


def test_every_route_of_the_contract_is_there_and_declares_its_permission() -> None:
    routes = admin_routes()

    assert {(method, path.removeprefix(ADMIN)) for method, path, _ in routes} >= {
        ("GET", "/whoami"),
        ("GET", "/configs"),
        ("POST", "/configs"),
        ("POST", "/configs:check"),
        ("GET", "/configs/{config_id:str}"),
        ("PUT", "/configs/{config_id:str}"),
        ("DELETE", "/configs/{config_id:str}"),
        ("GET", "/configs/{config_id:str}/history"),
        ("GET", "/clients"),
        ("GET", "/agents"),
        ("GET", "/keys"),
        ("POST", "/keys"),
        ("PATCH", "/keys/{key_id:str}"),
        ("DELETE", "/keys/{key_id:str}"),
        ("GET", "/audit"),
        ("GET", "/orgs"),
        ("POST", "/orgs"),
        ("GET", "/roots"),
        ("POST", "/roots/{command:str}"),
        ("GET", "/status"),
    }
    changes_nothing = (":check", ":try", ":compile", ":complete", ":evaluate", ":format")
    for method, path, options in routes:
        for permission in alternatives(options):
            assert permission == "signed_in" or permission in PERMISSIONS, (method, path)
            if permission.endswith("_read"):
                assert method == "GET" or path.endswith(changes_nothing), (method, path)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer "},
        {"Authorization": "Bearer 0000000000000000000000000000000000000000"},
        {"Authorization": "Basic YWRtaW46YWRtaW4="},
        {"DD-Application-Key": "x" * 10_000},
        {"DD-Application-Key": b"\xff\xfe"},
    ],
    ids=["none", "empty", "unknown", "basic", "long", "no text"],
)
def test_every_route_wants_a_key_before_it_reads_anything(tmp_path: Path, headers: Any) -> None:
    async def case(it: Console) -> None:
        it.headers = headers
        # The first use of an unknown key is audited within a second, the others once a minute.
        await it.ask("GET", "/whoami")
        await asyncio.to_thread(it.plane.trail.refusals.flush)
        for method, path, _ in admin_routes():
            concrete = path.removeprefix(ADMIN).replace("{config_id:str}", "0" * 16)
            concrete = concrete.replace("{key_id:str}", "0" * 12).replace("{command:str}", "director:rotate")
            for asked in (method, "OPTIONS"):
                told = await it.refused(asked, concrete, status=401, content=b"{not even JSON")
                assert told["code"] == "unauthenticated"

    run(tmp_path, case)


def test_an_api_key_of_an_agent_is_no_application_key(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        secret = (await it.post("/keys", {"name": "agents", "remote_config": True}))["key"]
        it.headers = {"Authorization": f"Bearer {secret}"}
        await it.refused("GET", "/whoami", status=401)

    run(tmp_path, case)


def test_both_headers_sign_in(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        secret = it.headers["Authorization"].removeprefix("Bearer ")
        me = await it.get("/whoami")
        it.headers = {"DD-Application-Key": secret}
        assert await it.get("/whoami") == me
        it.headers = {"authorization": f"bEaReR {secret}"}
        assert await it.get("/whoami") == me
        assert (me["user"], me["role"]) == ("admin", "Admin")
        assert (me["org_id"], me["org_name"]) == (1, "main")
        assert len(me["org_uuid"]) == 36

    run(tmp_path, case)


def test_a_role_that_may_only_read_only_reads(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        key = it.plane.access.create_application_key(1, user="eve", role="read_only", now_ms=0)
        it.headers = {"Authorization": f"Bearer {key}"}
        for method, path in (
            ("POST", "/configs"),
            ("POST", "/keys"),
            ("PUT", "/settings"),
        ):  # all: route walk
            told = await it.refused(method, path, {}, status=403)
            assert told["code"] == "not_permitted"
        await it.get("/configs")
        assert (await it.get("/whoami"))["role"] == "Read Only"

    run(tmp_path, case)


def test_another_organisation_is_another_world(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        config = await it.put_config("ASM_FEATURES", ASM_ON)
        key = await it.post("/keys", {"name": "agents", "remote_config": True})
        made = await it.post("/orgs", {"name": "other"})
        other = Console(it.plane, it.client, made["application_key"])

        assert (await other.get("/whoami"))["org_id"] == made["org_id"] == 2
        assert (await other.get("/configs?state=all"))["configs"] == []
        assert (await other.get("/keys"))["keys"] == []
        assert (await other.get("/clients"))["clients"] == []
        for method, path, body in (
            ("GET", f"/configs/{config['id']}", None),
            ("GET", f"/configs/{config['id']}/history", None),
            ("PUT", f"/configs/{config['id']}", {"expected_revision": 1}),
            ("DELETE", f"/configs/{config['id']}", None),
            ("PATCH", f"/keys/{key['id']}", {"name": "mine"}),
            ("DELETE", f"/keys/{key['id']}", None),
        ):
            assert (await other.refused(method, path, body, status=404))["code"] == "not_found"
        mine, theirs = await it.get("/roots"), await other.get("/roots")
        assert (
            mine["repositories"]["director"]["first_root"] != theirs["repositories"]["director"]["first_root"]
        )
        assert [org["name"] for org in (await it.get("/orgs"))["orgs"]] == ["main", "other"]
        assert "other" not in str((await it.get("/audit"))["events"])

    run(tmp_path, case)


# Configs --------------------------------------------------------------------------


def test_the_life_of_a_config(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        made = await it.put_config(
            "ASM_FEATURES", ASM_ON, name="On", targeting={"service": ["shop"]}, comment="why"
        )
        assert len(made["id"]) == 16
        assert made["revision"] == 1
        assert made["state"] == "active"
        assert made["payload"] == ASM_ON
        assert made["targeting"] == {"service": ["shop"]}
        assert made["updated_by"] == "admin"
        assert made["created_at"] == made["updated_at"]
        assert made["created_at"].endswith("Z")
        assert made["deliveries"] == {"wanted": 0, "acknowledged": 0, "applying": 0, "failed": 0}
        assert made["warnings"] == []

        path = f"/configs/{made['id']}"
        changed = await it.put(path, {"expected_revision": 1, "payload": ASM_OFF, "comment": "off"})
        assert (changed["revision"], changed["payload"], changed["name"]) == (2, ASM_OFF, "On")
        read_back = await it.get(path)
        assert {**read_back, "warnings": []} == changed

        retired = (await it.ask("DELETE", f"{path}?expected_revision=2")).json()
        assert (retired["state"], retired["revision"]) == ("retired", 3)
        history = (await it.get(f"{path}/history"))["revisions"]
        assert [revision["revision"] for revision in history] == [3, 2, 1]
        assert [revision["state"] for revision in history] == ["retired", "active", "active"]
        assert [revision["comment"] for revision in history] == ["", "off", "why"]
        assert history[2]["payload"] == ASM_ON
        assert history[0]["by"] == "admin"

        again = await it.put(path, {"expected_revision": 3, "payload": ASM_ON})
        assert (again["state"], again["revision"]) == ("active", 4)

    run(tmp_path, case)


def test_configs_are_listed_by_state_and_product(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        first = await it.put_config("ASM_FEATURES", ASM_ON)
        second = await it.put_config("ASM_DATA", denylist("203.0.113.7"))
        await it.ask("DELETE", f"/configs/{first['id']}")

        async def ids(query: str) -> list[str]:
            return [config["id"] for config in (await it.get(f"/configs{query}"))["configs"]]

        assert await ids("") == [second["id"]]
        assert await ids("?state=active") == [second["id"]]
        assert await ids("?state=retired") == [first["id"]]
        assert await ids("?state=all") == [first["id"], second["id"]]
        assert await ids("?state=all&product=ASM_DATA") == [second["id"]]
        assert await ids("?product=ASM_FEATURES") == []
        assert set(problems(await it.refused("GET", "/configs?state=gone", status=422))) == {"$.state"}
        told = problems(await it.refused("GET", "/configs?product=ASM_DATAA", status=422))
        assert "ASM_DATA" in told["$.product"]

    run(tmp_path, case)


def test_a_wrong_expected_revision_is_a_conflict_that_tells_both(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        made = await it.put_config("ASM_FEATURES", ASM_ON)
        path = f"/configs/{made['id']}"
        await it.put(path, {"expected_revision": 1, "payload": ASM_OFF})

        for told in (
            await it.refused("PUT", path, {"expected_revision": 1, "payload": ASM_ON}, status=409),
            await it.refused("PUT", path, {"expected_revision": 1, "payload": "not even one"}, status=409),
            await it.refused("DELETE", f"{path}?expected_revision=1", status=409),
        ):
            assert told["code"] == "conflict"
            assert (told["expected_revision"], told["actual_revision"]) == (1, 2)
            assert "look at it again" in told["detail"]

    run(tmp_path, case)


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"product": "ASM_FEATURES", "payload": {"asm": {"enabled": 1}}}, "$.payload.asm.enabled"),
        ({"product": "ASM_FEATURES", "payload": {}}, "$.payload"),
        ({"product": "ASM_FEATURES", "payload": None}, "$.payload"),
        ({"product": "NOTHING", "payload": {}}, "$.product"),
        ({"product": "ASM_FEATURES", "payload": ASM_ON, "zzz": 1}, "$.zzz"),
        ({"product": "ASM_FEATURES", "payload": ASM_ON, "targeting": {"zzz": ["a"]}}, "$.targeting.zzz"),
        ({"product": "ASM_FEATURES", "payload": ASM_ON, "targeting": []}, "$.targeting"),
        ({"product": "ASM_FEATURES", "payload": ASM_ON, "name": 5}, "$.name"),
        ({"product": "ASM_FEATURES", "payload": ASM_ON, "expires_at": "soon"}, "$.expires_at"),
        ({"product": "ASM_FEATURES", "payload": ASM_ON, "expires_at": 5}, "$.expires_at"),
        ({"product": 5, "payload": ASM_ON}, "$.product"),
        ({"payload": ASM_ON}, "$.product"),
        ({"product": "ASM_FEATURES"}, "$.payload"),
        ([], "$"),
    ],
    ids=repr,
)
def test_a_mistake_is_told_at_its_path(tmp_path: Path, body: Any, path: str) -> None:
    async def case(it: Console) -> None:
        told = await it.refused("POST", "/configs", body, status=422)
        assert set(problems(told)) == {path}

    run(tmp_path, case)


def test_an_unknown_product_lists_the_known_ones(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        body = {"product": "ASM_FEATUERS", "payload": ASM_ON}
        told = problems(await it.refused("POST", "/configs", body, status=422))
        for known in ("APM_TRACING", "ASM", "ASM_DATA", "ASM_DD", "ASM_FEATURES"):
            assert known in told["$.product"]

    run(tmp_path, case)


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"", 422),
        (b"{", 400),
        (b"\xff\xfe", 400),
        (b'{"product":"ASM","payload":' + b"[" * 50_000 + b"]" * 50_000 + b"}", 400),
        (b'{"product":"ASM","payload":' + b"9" * 5_000 + b"}", 400),
        (b'{"product":"ASM","payload":1e999}', 400),
        (b'{"product":"\\ud800","payload":{}}', 400),
        (b'{"product":"\\u0000","payload":{}}', 422),
        (b"x" * (4 * 1024 * 1024 + 1), 413),
    ],
    ids=["empty", "cut", "no text", "deep", "long number", "infinite", "half a character", "NUL", "large"],
)
def test_a_body_that_is_no_request_is_refused(tmp_path: Path, content: bytes, status: int) -> None:
    async def case(it: Console) -> None:
        await it.refused("POST", "/configs", status=status, content=content)

    run(tmp_path, case)


@pytest.mark.parametrize(
    "config_id",
    [
        "0" * 16,
        "..",
        "..%2f..%2fetc",
        "%2e%2e",
        "..%5c..",
        "%00",
        "a%0ab",
        "x" * 5_000,
        "%ff%fe",
        ".git",
        "%F0%9F%98%80",
    ],
)
def test_a_config_id_that_is_none_is_not_found(tmp_path: Path, config_id: str) -> None:
    async def case(it: Console) -> None:
        for method, path, body in (
            ("GET", f"/configs/{config_id}", None),
            ("GET", f"/configs/{config_id}/history", None),
            ("PUT", f"/configs/{config_id}", {"expected_revision": 1}),
            ("DELETE", f"/configs/{config_id}", None),
        ):
            reply = await it.ask(method, path, body)
            # `..` is resolved by the client, and may then name another resource and method.
            assert reply.status_code in (404, 405), (method, path, reply.text)
            assert len(reply.content) < 1_000
        assert (await it.get("/configs?state=all"))["configs"] == []

    run(tmp_path, case)


def test_a_dry_run_tells_problems_and_how_many_it_is_for_and_changes_nothing(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        agent = it.agent(tracer("c1"), tracer("c2", service="cart"))
        await it.poll(agent)
        await it.plane.tenants[1].observer.flush()
        before = dump(it.plane.database, without=NOTED)
        body = {"product": "ASM_FEATURES", "payload": ASM_ON, "targeting": {"service": ["SHOP"]}}

        good = await it.post("/configs:check", body, status=200)
        bad = await it.post("/configs:check", {**body, "payload": {"asm": 1}}, status=200)
        unknown = await it.post("/configs:check", {**body, "product": "X"}, status=200)

        assert good.items() >= {"problems": [], "warnings": [], "matches": 1, "permitted": True}.items()
        assert [problem["path"] for problem in bad["problems"]] == ["$.payload.asm"]
        assert [problem["path"] for problem in unknown["problems"]] == ["$.product"]
        assert dump(it.plane.database, without=NOTED) == before

    run(tmp_path, case)


def test_warnings_come_with_the_change(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        made = await it.put_config("ASM_DATA", denylist("0.0.0.0/0"))
        assert [warning["path"] for warning in made["warnings"]] == ["$.rules_data[0].data[0].value"]

    run(tmp_path, case)


def test_products_come_with_their_schemas(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        found = {product["name"]: product for product in (await it.get("/products"))["products"]}
        assert found["ASM_FEATURES"]["merged"] is True
        assert found["ASM_DATA"]["merged"] is False
        assert all("$schema" in product["schema"] for product in found.values())

    run(tmp_path, case)


# The fleet --------------------------------------------------------------------------


def test_clients_and_agents_are_told_as_they_are(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        config = await it.put_config("ASM_FEATURES", ASM_ON, targeting={"service": ["shop"]})
        agent = it.agent(tracer("c1"), tracer("c2", service="cart"))
        agent.tags = ("env:prod", "sealwire_version:1")
        await it.poll(agent)
        agent.apply(now=utc_now())
        await it.poll(agent)

        clients = {client["client_id"]: client for client in (await it.get("/clients"))["clients"]}
        shop, cart = clients["c1"], clients["c2"]
        assert (shop["service"], shop["env"], shop["language"]) == ("shop", "prod", "python")
        assert (shop["agent"], shop["state"], cart["state"]) == ("host-a", "in_step", "in_step")
        assert shop["kind"] == "tracer"
        (delivery,) = shop["configs"]
        assert delivery["config_ids"] == [config["id"]]
        assert delivery["state"] == "in_step"
        assert delivery["version"] == delivery["reported_version"] == 1
        assert 0 <= delivery["took_s"] < 60
        assert delivery["acknowledged_at"] >= delivery["saved_at"]
        assert cart["configs"] == []
        only = (await it.get("/clients?service=cart"))["clients"]
        assert [client["client_id"] for client in only] == ["c2"]

        (host,) = (await it.get("/agents"))["agents"]
        assert host["hostname"] == "host-a"
        assert (host["state"], host["clients"], host["waiting"]) == ("in_step", 2, False)
        assert host["director_version"] == host["wanted_version"] == agent.state.director_version
        assert host["tags"] == ["env:prod", "sealwire_version:1"]
        counted = (await it.get(f"/configs/{config['id']}"))["deliveries"]
        assert counted == {"wanted": 1, "acknowledged": 1, "applying": 0, "failed": 0}

        agent.apply(
            now=utc_now(), states={"ASM_FEATURES": ApplyState.ERROR}, errors={"ASM_FEATURES": "no WAF"}
        )
        await it.poll(agent)
        (failed,) = (await it.get("/clients?service=shop"))["clients"]
        assert (failed["state"], failed["configs"][0]["error"]) == ("failed", "no WAF")

        agent.error = "tuf: rollback: the director's timestamp is older"
        await it.plane.tenants[1].distributor.poll(agent.request())
        (refused,) = (await it.get("/agents"))["agents"]
        assert (refused["state"], refused["error"]) == ("refused", agent.error)

    run(tmp_path, case)


def test_an_agent_that_waits_is_shown_as_waiting(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        agent = it.agent(tracer("c1"))
        await it.poll(agent)
        await it.poll(agent)
        held = asyncio.create_task(it.plane.tenants[1].distributor.poll(agent.request(), wait_s=30))
        await asyncio.sleep(0)

        assert (await it.get("/agents"))["agents"][0]["waiting"] is True
        it.plane.tenants[1].distributor.release_waiters()
        await held
        assert (await it.get("/agents"))["agents"][0]["waiting"] is False

    run(tmp_path, case)


# Keys, organisations, roots, audit, status ------------------------------------------------------------------


def test_the_life_of_an_api_key(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        made = await it.post("/keys", {"name": "agents", "remote_config": True})
        secret = made.pop("key")
        assert made["last4"] == secret[-4:]
        assert made["revoked_at"] is None
        assert (await it.get("/keys"))["keys"] == [made]
        assert secret not in str(await it.get("/keys"))
        assert secret not in str(await it.get("/audit"))

        path = f"/keys/{made['id']}"
        changed = (await it.ask("PATCH", path, {"remote_config": False})).json()
        assert (changed["name"], changed["remote_config"]) == ("agents", False)
        renamed = (await it.ask("PATCH", path, {"name": "old"})).json()
        assert (renamed["name"], renamed["remote_config"]) == ("old", False)
        it.plane.access.agent_key(secret)
        assert (await it.get("/keys"))["keys"][0]["last_used_at"] is not None

        revoked = (await it.ask("DELETE", path)).json()
        assert revoked["revoked_at"] is not None
        assert it.plane.access.agent_key(secret) is None

        assert set(problems(await it.refused("PATCH", path, {}, status=422))) == {"$"}
        assert set(problems(await it.refused("POST", "/keys", {"name": "x"}, status=422))) == {
            "$.remote_config"
        }
        empty = {"name": " ", "remote_config": True}
        assert set(problems(await it.refused("POST", "/keys", empty, status=422))) == {"$.name"}
        await it.refused("PATCH", "/keys/000000000000", {"name": "x"}, status=404)
        await it.refused("DELETE", "/keys/%00", status=404)

    run(tmp_path, case)


def test_an_organisation_has_a_name_of_its_own(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        made = await it.post("/orgs", {"name": "other"})
        assert made["roots_on_server"] is True

        assert (await it.refused("POST", "/orgs", {"name": "other"}, status=409))["code"] == "conflict"
        assert set(problems(await it.refused("POST", "/orgs", {"name": "\x00"}, status=422))) == {"$.name"}
        assert (await it.refused("POST", "/orgs", {"name": "x" * 101}, status=422))["problems"]

    run(tmp_path, case)


@pytest.mark.parametrize("repository", ["director", "config"])
@pytest.mark.parametrize("action", ["rotate", "recover"])
def test_roots_are_renewed_and_agents_follow(tmp_path: Path, repository: str, action: str) -> None:
    async def case(it: Console) -> None:
        await it.put_config("ASM_FEATURES", ASM_ON)
        agent = it.agent(tracer("c1"))
        await it.poll(agent)
        before = await it.get("/roots")
        assert before["repositories"][repository]["version"] == 2
        assert before["repositories"][repository]["keys"] == 3
        assert before["repositories"][repository]["threshold"] == 2
        assert before["repositories"][repository]["roots_on_server"] is True

        done = await it.post(f"/roots/{repository}:{action}", status=200)
        await it.poll(agent)

        assert done == {"repository": repository, "version": 3}
        versions = {"director": agent.state.director_root_version, "config": agent.state.config_root_version}
        assert versions == {"director": 2, "config": 2, repository: 3}
        after = await it.get("/roots")
        assert after["repositories"][repository]["version"] == 3
        assert (
            after["repositories"][repository]["first_root"]
            == before["repositories"][repository]["first_root"]
        )
        newest = (await it.get("/audit?limit=1&action=root.*"))["events"][0]
        assert newest["action"] == ("root.rotated" if action == "rotate" else "root.recovered")

    run(tmp_path, case)


def test_there_are_two_repositories_and_two_commands(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        assert set(problems(await it.refused("POST", "/roots/images:rotate", status=422))) == {"$.repository"}
        await it.refused("POST", "/roots/director:destroy", status=404)
        await it.refused("POST", "/roots/director", status=404)

    run(tmp_path, case)


def test_a_rotation_without_the_root_keys_says_where_they_should_be(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        folder = it.plane.keyring.root_folder(it.plane.tenants[1].organisation.uuid)
        for file in folder.glob("director-root-*"):
            file.unlink()

        told = await it.refused("POST", "/roots/director:rotate", status=409)

        assert told["code"] == "settings"
        assert str(folder) in told["detail"]

    run(tmp_path, case)


def test_audit_comes_in_pages(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        for n in range(7):
            await it.post("/keys", {"name": f"key {n}", "remote_config": True})
        everything = (await it.get("/audit?limit=1000"))["events"]
        pages: list[Any] = []
        before = ""
        while page := (await it.get(f"/audit?limit=3{before}"))["events"]:
            assert len(page) <= 3
            pages += page
            before = f"&before={page[-1]['id']}"

        assert pages == everything
        assert [event["id"] for event in pages] == sorted((event["id"] for event in pages), reverse=True)
        assert pages[0]["action"] == "api_key.created"
        assert pages[0]["actor"] == "admin"
        assert {"id", "at", "actor", "action", "subject", "summary", "detail"} <= set(pages[0])
        for query in ("limit=0", "limit=1001", "limit=x", "before=x", "before=0", f"before={10**30}"):
            name = query.partition("=")[0]
            told = await it.refused("GET", f"/audit?{query}", status=422)
            assert set(problems(told)) == {f"$.{name}"}, query

    run(tmp_path, case)


def test_status_tells_versions_and_alarms(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        await it.put_config("ASM_FEATURES", ASM_ON)
        await it.published()
        agent = it.agent(tracer("c1"))
        await it.poll(agent)
        await it.plane.tenants[1].distributor.poll(agent.request(current_director_root_version=9))

        status = await it.get("/status")

        assert status["configs"] == 1
        assert status["agents"] == 1
        assert status["director_version"] >= agent.state.director_version
        assert status["organisation"]["name"] == "main"
        assert [alarm["kind"] for alarm in status["alarms"]] == ["ahead-of-ledger"]

    run(tmp_path, case)


# The rest of the door ------------------------------------------------------------------------------------


def test_what_is_open_to_everybody(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        for path in ("/healthz", "/readyz", "/metrics", f"{ADMIN}/openapi/openapi.json"):
            reply = await it.client.get(path)
            assert reply.status_code == 200, path
        metrics = (await it.client.get("/metrics")).text
        assert 'sealwire_director_version{org="1"}' in metrics
        document = (await it.client.get(f"{ADMIN}/openapi/openapi.json")).json()
        described = {(method.upper(), path) for path, item in document["paths"].items() for method in item}
        declared = {
            (method, path.replace(":str}", "}").replace(":path}", "}")) for method, path, _ in admin_routes()
        }
        assert declared <= described

    run(tmp_path, case)


def test_no_page_of_ours_loads_anything_from_elsewhere(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        for path in ("", "/", "/openapi.json", "/scalar", "/swagger", "/redoc", "/elements", "/rapidoc"):
            reply = await it.client.get(f"{ADMIN}/openapi{path}")
            assert b"cdn" not in reply.content
            assert b"<script" not in reply.content

    run(tmp_path, case)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404),
        ("PUT", f"{ADMIN}/whoami", 405),
        ("GET", f"{ADMIN}/nothing", 404),
        ("GET", f"{ADMIN}/configs/{'0' * 16}/history/x", 404),
        ("GET", "/api/v0.1/nothing", 404),
    ],
)
def test_what_is_not_there_is_a_problem_document(tmp_path: Path, method: str, path: str, status: int) -> None:
    async def case(it: Console) -> None:
        reply = await it.client.request(method, path, headers=it.headers)
        it._document(reply, status)

    run(tmp_path, case)


def test_a_database_that_does_not_answer_is_503_with_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise UnavailableError("The database does not answer.", retry_after_s=2)

    async def case(it: Console) -> None:
        monkeypatch.setattr(audit, "find", fail)
        reply = await it.ask("GET", "/audit")
        assert it._document(reply, 503)["code"] == "unavailable"
        assert reply.headers["retry-after"] == "2"

    run(tmp_path, case)


def test_what_nobody_foresaw_says_nothing_of_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("the secret of the house")

    async def case(it: Console) -> None:
        monkeypatch.setattr(audit, "find", fail)
        reply = await it.ask("GET", "/audit")
        assert "secret of the house" not in reply.text
        assert it._document(reply, 500)["code"] == "error"

    run(tmp_path, case)
    assert "request failed" in capsys.readouterr().out


def test_a_body_that_is_no_utf_8_is_not_understood(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        for body in (b'{"name":"\xff"}', b'{"name":"\xed\xa0\x80"}'):
            told = await it.refused(
                "POST", "/keys", status=400, content=body,
                headers={**it.headers, "Content-Type": "application/json"},
            )  # fmt: skip
            assert told["detail"]

    run(tmp_path, case)


def test_a_revision_that_no_database_can_hold_is_not_valid(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        config = await it.put_config("ASM_FEATURES", ASM_ON)
        await it.published()
        huge = 2**63
        for method, path, body in (
            ("PUT", f"/configs/{config['id']}", {"expected_revision": huge}),
            ("DELETE", f"/configs/{config['id']}?expected_revision={huge}", None),
            ("DELETE", f"/roles/none?expected_revision={huge}", None),
        ):
            told = await it.refused(method, path, body, status=422)
            assert "$.expected_revision" in problems(told)

    run(tmp_path, case)
