"""Probes through the real application: made, changed, paused, stopped, and who may do what."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
import sqlalchemy as sa

from sealwire.clock import utc_now
from sealwire.errors import NotPermittedError
from sealwire.products.live_debugging import config_id_of, probe_id
from sealwire.server.access.permissions import BUILT_IN_ROLES, Grant, Principal
from sealwire.server.debugger.authoring.desk import ProbeState
from sealwire.server.store.tables import configs
from tests.support.console import Console, run
from tests.support.simulated_agent import SimulatedAgent, tracer

PRODUCT = "LIVE_DEBUGGING"
LINE = {"file": "shop/orders.py", "line": 42}
#: Without values, with values in its message, with all variables.
PLAIN = {"kind": "log", "language": "python", "where": LINE, "template": "reached"}
SPEAKING = {**PLAIN, "template": "total {order.total}", "when": "order.total > 10"}
SNAPSHOT = {**PLAIN, "template": "here", "snapshot": True}
METRIC = {
    "kind": "metric", "language": "python", "where": {"type": "shop", "method": "sell"},
    "metric": {"name": "shop.sold", "kind": "histogram", "value": "count"},
}  # fmt: skip


def asks(client_id: str = "c1", **more: Any) -> Any:
    """A tracer with Dynamic Instrumentation on."""
    return tracer(client_id, products=["APM_TRACING", PRODUCT, "LIVE_DEBUGGING_SYMBOL_DB"], **more)


def headers(it: Console, role: str) -> dict[str, str]:
    key = it.plane.access.create_application_key(1, user=role, role=role, now_ms=it.plane.now_ms())
    return {"Authorization": f"Bearer {key}"}


async def make(it: Console, document: Any = PLAIN, **more: Any) -> Any:
    body = {"service": "shop", "env": ["prod"], "name": "a probe", "document": document, **more}
    return await it.post("/debugger/probes", body)


async def files(it: Console, agent: SimulatedAgent) -> dict[str, Any]:
    """The probes an agent holds, by their path, once all that was committed is published."""
    await it.published()
    await it.poll(agent)
    return {path: payload for path, payload in held(agent).items() if f"/{PRODUCT}/" in path}


def held(agent: SimulatedAgent) -> dict[str, Any]:
    """Every file an agent holds, by its path."""
    return {path: orjson.loads(target.raw) for path, target in agent.state.targets.items()}


async def actions(it: Console, subject: str) -> list[dict[str, Any]]:
    found = (await it.get("/audit?limit=200"))["events"]
    return [event for event in found if event["subject"] == subject]


def test_a_probe_is_a_signed_file_with_its_uuid_for_its_service_alone(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        shop, cart = it.agent(asks()), it.agent(asks("c2", service="cart"), name="host-b")

        made = await make(it, SPEAKING)

        ((path, file),) = (await files(it, shop)).items()
        assert path == f"datadog/1/{PRODUCT}/logProbe_{made['id']}/config"
        assert (file["id"], file["version"], file["type"]) == (made["id"], 1, "LOG_PROBE")
        assert file["when"]["json"] == {"gt": [{"getmember": [{"ref": "order"}, "total"]}, 10]}
        assert (config_id_of(made["id"]), probe_id(made["config_id"])) == (made["config_id"], made["id"])
        assert await files(it, cart) == {}
        assert made["state"] == "active"
        assert made["document"]["template"] == "total {order.total}"

    run(tmp_path, case)


def test_a_change_raises_the_version_and_no_change_does_not(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        agent = it.agent(asks())
        made = await make(it)
        body = {"expected_revision": made["revision"], "document": {**PLAIN, "template": "again"}}
        changed = await it.put(f"/debugger/probes/{made['id']}", body)
        again = await it.put(
            f"/debugger/probes/{made['id']}",
            {**body, "expected_revision": changed["revision"], "name": "new"},
        )

        assert [one["version"] for one in (made, changed, again)] == [1, 2, 2]
        ((path, file),) = (await files(it, agent)).items()
        assert (path.rpartition("/")[2], file["version"]) == ("v2", 2)
        told = (await it.get(f"/debugger/probes/{made['id']}/history"))["revisions"]
        assert [one["version"] for one in told] == [2, 2, 1]
        assert told[1]["changes"] == [{"path": "$.template", "before": "reached", "after": "again"}]
        (event,) = [
            one
            for one in await actions(it, f"probe {made['id']}")
            if one["action"] == "probe.changed" and one["detail"]["changes"]
        ]
        assert event["detail"]["changes"] == [["$.template", "reached", "again"]]
        stale = await it.ask("PUT", f"/debugger/probes/{made['id']}", body)
        assert stale.status_code == 409

    run(tmp_path, case)


def test_a_probe_stays_with_its_service_and_is_cloned_for_another(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        made = await make(it, METRIC)

        copy = await it.post(f"/debugger/probes/{made['id']}/clone", {"service": "cart", "env": ["staging"]})

        assert (copy["service"], copy["env"], copy["document"]) == ("cart", ["staging"], made["document"])
        assert copy["id"] != made["id"]
        problem = await it.refused(
            "PUT", f"/configs/{made['config_id']}",
            {"expected_revision": 1, "targeting": {"service": ["cart"], "env": ["prod"]}}, status=422,
        )  # fmt: skip
        assert "clone" in problem["problems"][0]["message"]

    run(tmp_path, case)


def test_a_paused_probe_is_kept_stays_paused_when_edited_and_comes_back(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        agent = it.agent(asks())
        made = await make(it)
        where = f"/debugger/probes/{made['id']}"
        assert await files(it, agent)

        paused = await it.post(f"{where}/pause", {"comment": "too loud"}, status=200)

        assert (paused["state"], paused["paused_by"], paused["stop_id"]) == ("paused", "admin", "")
        assert await files(it, agent) == {}
        edited = await it.put(
            where, {"expected_revision": paused["revision"], "document": {**PLAIN, "template": "less"}}
        )
        assert edited["state"] == "paused"
        assert await files(it, agent) == {}
        listed = (await it.get("/debugger/probes?state=paused"))["probes"]
        assert [one["id"] for one in listed] == [made["id"]]

        resumed = await it.post(f"{where}/resume", {}, status=200)

        assert (resumed["state"], resumed["version"]) == ("active", 2)
        assert [file["template"] for file in (await files(it, agent)).values()] == ["less"]
        done = [event["action"] for event in await actions(it, f"probe {made['id']}")]
        assert done == ["probe.resumed", "probe.changed", "probe.paused", "probe.created"]

    run(tmp_path, case)


def test_a_removed_probe_is_known_for_a_while_and_over_in_the_list(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        desk = it.plane.tenants[1].probes
        made = await make(it)
        known = desk.known(made["id"])
        assert known is not None
        assert (known.state, known.service, known.template) == (ProbeState.ACTIVE, "shop", "reached")
        await it.post(f"/debugger/probes/{made['id']}/pause", {}, status=200)
        paused = desk.known(made["id"])
        assert paused is not None
        assert paused.state is ProbeState.PAUSED

        gone = await it.ask("DELETE", f"/debugger/probes/{made['id']}?comment=done")

        assert gone.json()["state"] == "removed"
        assert (await it.get("/debugger/probes"))["probes"] == []
        assert [one["id"] for one in (await it.get("/debugger/probes?state=over"))["probes"]] == [made["id"]]
        known = desk.known(made["id"])
        assert known is not None
        assert known.state is ProbeState.REMOVED
        assert desk.known(probe_id("00" * 8)) is None

    run(tmp_path, case)


def test_a_probe_with_values_lasts_an_hour_others_a_month_whichever_way_they_are_made(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        def minutes(one: Any) -> float:
            ends = datetime.fromisoformat(one["expires_at"]) - datetime.fromisoformat(one["updated_at"])
            return ends / timedelta(minutes=1)

        made = [await make(it, document) for document in (SNAPSHOT, SPEAKING, METRIC)]
        assert [minutes(one) for one in made] == [60, 43_200, 43_200]
        brief = await make(it, {**PLAIN, "expires_in_minutes": 5})
        assert (minutes(brief), brief["expires_in_minutes"]) == (5, 5)
        config = await it.get(f"/configs/{made[0]['config_id']}")
        target = {"service": ["shop"]}
        other = await it.put_config(PRODUCT, config["payload"], targeting=target)
        assert minutes(other) == 60

    run(tmp_path, case)


def test_what_is_wrong_is_told_at_its_field_and_nothing_is_saved(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        async def problems(**more: Any) -> list[str]:
            body = {"service": "shop", "document": PLAIN, **more}
            told = await it.refused("POST", "/debugger/probes", body, status=422)
            tried = await it.post("/debugger/probes:check", body, status=200)
            assert tried["problems"] == told["problems"]
            return [one["path"] for one in told["problems"]]

        assert await problems(service="") == ["$.service"]
        assert await problems(env=["a\nb"]) == ["$.env[0]"]
        assert await problems(document={**PLAIN, "when": "a >"}) == ["$.document.when"]
        assert await problems(name="x" * 300) == ["$.name"]
        assert await problems(targeting={"service": ["cart"]}) == ["$.targeting"]
        # The generic way finds the same mistakes in what it is given.
        payload = (await it.get(f"/configs/{(await make(it))['config_id']}"))["payload"]
        wrong = {**payload, "when": {"dsl": "", "json": {"ref": "@duration"}}}
        body = {"product": PRODUCT, "payload": wrong, "targeting": {"service": ["shop"]}}
        assert (await it.refused("POST", "/configs", body, status=422))["problems"]
        anywhere = await it.refused(
            "POST", "/configs", {**body, "payload": payload, "targeting": {}}, status=422
        )
        assert [one["path"] for one in anywhere["problems"]] == ["$.targeting.service"]

    run(tmp_path, case)


def test_a_check_says_who_gets_it_what_it_costs_and_where_it_is_off(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        off = tracer("c3", products=["APM_TRACING"])
        agent = it.agent(asks("c1"), asks("c2"), off)
        await it.poll(agent)
        body = {"service": "shop", "env": ["prod"], "document": SNAPSHOT}

        found = await it.post("/debugger/probes:check", body, status=200)

        assert (found["processes"], sorted(one["client_id"] for one in found["matches"])) == (2, ["c1", "c2"])
        assert found["permitted"]
        assert found["cost"]["per_second"] == 1
        assert "DD_DYNAMIC_INSTRUMENTATION_ENABLED" in found["notices"][0]
        assert agent.hostname in found["notices"][0]
        node = {**PLAIN, "language": "javascript", "where": {"type": "Shop", "method": "sell"}}
        refused = await it.post("/debugger/probes:check", {**body, "document": node}, status=200)
        assert refused["refusals"][0]["path"] == "$.document.where"

    run(tmp_path, case)


@pytest.mark.parametrize("way", ["/debugger/probes", "/configs"])
def test_whoever_writes_outside_production_only_reaches_no_production(tmp_path: Path, way: str) -> None:
    async def case(it: Console) -> None:
        standard = headers(it, "standard")
        payload = (await it.get(f"/configs/{(await make(it))['config_id']}"))["payload"]

        def body(*envs: str) -> Any:
            if way == "/configs":
                aimed = {"service": ["shop"], **({"env": list(envs)} if envs else {})}
                return {"product": PRODUCT, "payload": payload, "targeting": aimed}
            return {"service": "shop", "env": list(envs), "document": PLAIN}

        for envs in ((), ("prod",), ("staging", "PRODUCTION"), (" Prod ",)):
            told = await it.refused("POST", way, body(*envs), status=403, headers=standard)
            assert "debugger_write_pre_prod" in told["detail"]
        made = await it.ask("POST", way, body("staging"), headers=standard)
        assert made.status_code == 201, made.text

        in_production = await make(it)
        where = f"/debugger/probes/{in_production['id']}"
        for method, path in (
            ("DELETE", where),
            ("POST", f"{where}/pause"),
            ("DELETE", f"/configs/{in_production['config_id']}"),
        ):
            asked = {} if method == "POST" else None
            await it.refused(method, path, asked, status=403, headers=standard)

    run(tmp_path, case)


def test_values_take_a_permission_of_their_own_by_every_way(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        standard = headers(it, "standard")
        loud = {"service": "shop", "env": ["staging"], "document": SPEAKING}
        for document in (SPEAKING, SNAPSHOT, {**PLAIN, "expressions": [{"name": "a", "expression": "a"}]}):
            told = await it.refused(
                "POST", "/debugger/probes", {**loud, "document": document}, status=403, headers=standard
            )
            assert "debugger_capture_variables" in told["detail"]
        made = await it.ask("POST", "/debugger/probes", {**loud, "document": METRIC}, headers=standard)
        assert made.status_code == 201, made.text
        quiet = await it.ask("POST", "/debugger/probes", {**loud, "document": PLAIN}, headers=standard)
        body = {"expected_revision": 1, "document": SPEAKING}
        await it.refused("PUT", f"/debugger/probes/{quiet.json()['id']}", body, status=403, headers=standard)
        # The generic way, a restored revision, and a pause that ends are no way around it.
        speaking = await it.post("/debugger/probes", loud)
        config = await it.get(f"/configs/{speaking['config_id']}")
        again = {"product": PRODUCT, "payload": config["payload"], "targeting": config["targeting"]}
        await it.refused("POST", "/configs", again, status=403, headers=standard)
        where = f"/debugger/probes/{speaking['id']}"
        paused = await it.ask("POST", f"{where}/pause", {}, headers=standard)
        assert paused.status_code == 200  # less is everybody's who may write there
        await it.refused("POST", f"{where}/resume", {}, status=403, headers=standard)
        restore = {"revision": 1, "expected_revision": 2}
        path = f"/configs/{speaking['config_id']}/restore"
        await it.refused("POST", path, restore, status=403, headers=standard)

    run(tmp_path, case)


def test_a_stop_pauses_all_it_is_for_lets_nothing_in_and_is_lifted(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        agent = it.agent(asks(), asks("c2", env="staging"))
        in_prod, everywhere = await make(it), await make(it, METRIC, env=[])
        staging = await make(it, PLAIN, env=["staging"])
        other = await make(it, PLAIN, service="cart")
        assert len(await files(it, agent)) == 3

        dry = await it.post(
            "/debugger/stops", {"service": "shop", "env": "prod", "reason": "", "dry_run": True}
        )
        assert (dry["count"], dry["stop_id"]) == (2, "")
        assert len(await files(it, agent)) == 3
        stopped = await it.post("/debugger/stops", {"service": "shop", "env": "prod", "reason": "slow"})

        assert {one["id"] for one in stopped["probes"]} == {in_prod["id"], everywhere["id"]}
        assert {file["id"] for file in (await files(it, agent)).values()} == {staging["id"]}
        states = {one["id"]: one["state"] for one in (await it.get("/debugger/probes"))["probes"]}
        paused, active = (in_prod["id"], everywhere["id"]), (staging["id"], other["id"])
        assert states == {**dict.fromkeys(paused, "paused"), **dict.fromkeys(active, "active")}
        payload = (await it.get(f"/configs/{in_prod['config_id']}"))["payload"]
        new = {"product": PRODUCT, "payload": payload, "targeting": {"service": ["Shop"]}}
        for method, path, body in (
            ("POST", "/debugger/probes", {"service": "shop", "document": PLAIN}),
            ("POST", "/configs", new),
            ("POST", f"/debugger/probes/{in_prod['id']}/resume", {}),
            ("POST", f"/configs/{in_prod['config_id']}/restore", {"revision": 1, "expected_revision": 2}),
        ):
            told = await it.refused(method, path, body, status=422)
            assert "slow" in told["problems"][0]["message"], told
        (stop,) = (await it.get("/debugger/stops"))["stops"]
        assert (stop["count"], stop["by"], stop["lifted_at"]) == (2, "admin", None)

        # What is removed meanwhile does not come back.
        await it.ask("DELETE", f"/debugger/probes/{everywhere['id']}")
        lifted = await it.ask("DELETE", f"/debugger/stops/{stop['id']}?resume=true")

        assert [one["id"] for one in lifted.json()["probes"]] == [in_prod["id"]]
        assert {file["id"] for file in (await files(it, agent)).values()} == {in_prod["id"], staging["id"]}
        assert (await it.get("/debugger/stops"))["stops"] == []
        assert len((await it.get("/debugger/stops?over=true"))["stops"]) == 1
        await it.refused("DELETE", f"/debugger/stops/{stop['id']}", status=404)

    run(tmp_path, case)


def test_what_a_stop_paused_can_be_resumed_by_itself_once_it_is_lifted(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        made = await make(it)
        stopped = await it.post("/debugger/stops", {"service": "shop", "reason": "slow"})
        path = f"/debugger/probes/{made['id']}"
        assert (await it.get(path))["stop_id"] == stopped["stop_id"]

        await it.ask("DELETE", f"/debugger/stops/{stopped['stop_id']}?resume=false")

        one = await it.get(path)
        assert (one["state"], one["stop_id"]) == ("paused", "")  # by this the page offers to resume it

    run(tmp_path, case)


def test_a_probe_of_a_newer_version_is_stopped_with_the_others(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        known, newer = await make(it), await make(it, name="newer")
        with it.plane.database.write() as c:
            mine = configs.c.config_id == newer["config_id"]
            (payload,) = c.execute(sa.select(configs.c.payload).where(mine)).one()
            payload = payload.replace(b"LOG_PROBE", b"NEW_PROBE")
            c.execute(configs.update().where(mine).values(payload=payload))
        scope = {"service": "shop", "env": "prod", "reason": "slow"}

        dry = await it.post("/debugger/stops", {**scope, "dry_run": True})
        stopped = await it.post("/debugger/stops", scope)

        assert (
            [one["id"] for one in stopped["probes"]] == [one["id"] for one in dry["probes"]] == [known["id"]]
        )
        assert (dry["count"], stopped["count"]) == (2, 2)
        assert (await it.get(f"/configs/{newer['config_id']}"))["state"] == "retired"
        lifted = await it.ask("DELETE", f"/debugger/stops/{stopped['stop_id']}?resume=true")
        assert [one["id"] for one in lifted.json()["probes"]] == [known["id"]]

    run(tmp_path, case)


def test_a_stop_needs_the_right_to_change_all_it_pauses(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        standard = headers(it, "standard")
        both = await make(it, PLAIN, env=["staging", "prod"])
        staging = await make(it, PLAIN, env=["staging"])
        scope = {"service": "shop", "env": "staging", "reason": "mine"}

        for body in ({"reason": "all"}, {"service": "shop", "reason": "all"}, scope):
            await it.refused("POST", "/debugger/stops", body, status=403, headers=standard)
        await it.ask("DELETE", f"/debugger/probes/{both['id']}")
        stopped = await it.ask("POST", "/debugger/stops", scope, headers=standard)

        assert [one["id"] for one in stopped.json()["probes"]] == [staging["id"]]

    run(tmp_path, case)


def test_a_grant_for_one_service_sets_probes_there_alone(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        desk = it.plane.tenants[1].probes
        grant = Grant(BUILT_IN_ROLES["admin"], services=frozenset({"shop"}))
        ann = Principal("ann", 1, (grant,))
        fields = {"service": "shop", "env": ["prod"], "document": SNAPSHOT}

        saved = await desk.create(ann, fields, now=utc_now())

        assert saved.probe.config.updated_by == "ann"
        with pytest.raises(NotPermittedError):
            await desk.create(ann, {**fields, "service": "cart"}, now=utc_now())
        with pytest.raises(NotPermittedError):
            await desk.stop(ann, reason="all", now=utc_now())
        assert (await desk.stop(ann, service="shop", reason="mine", now=utc_now())).count == 1

    run(tmp_path, case)


def test_dynamic_instrumentation_and_symbols_are_switched_for_a_service(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        desk = it.plane.tenants[1].probes
        admin = Principal("ann", 1, (Grant(BUILT_IN_ROLES["admin"]),))
        agent = it.agent(asks())
        assert desk.switches("shop", "prod") == (None, False, ())

        on = await desk.switch_on(
            admin, service="shop", envs=["prod"], dynamic_instrumentation=True, symbols=True, now=utc_now()
        )

        assert (on.dynamic_instrumentation, on.symbols, len(on.config_ids)) == (True, True, 2)
        assert desk.switches("shop", "staging") == (None, False, ())
        await it.published()
        await it.poll(agent)
        payloads = {path.split("/")[2]: payload for path, payload in held(agent).items()}
        assert payloads["APM_TRACING"]["lib_config"]["dynamic_instrumentation_enabled"] is True
        (symbols,) = [path for path in held(agent) if "SYMBOL_DB" in path]
        assert symbols.split("/")[3].startswith("symDb_")
        assert payloads["LIVE_DEBUGGING_SYMBOL_DB"] == {"upload_symbols": True}
        off = await desk.switch_on(
            admin, service="shop", envs=["prod"], dynamic_instrumentation=False, symbols=False, now=utc_now()
        )
        assert (off.dynamic_instrumentation, off.symbols) == (False, False)
        configs = (await it.get("/configs?product=APM_TRACING"))["configs"]
        assert [config["revision"] for config in configs] == [2]

    run(tmp_path, case)
