"""Protection and denylist through the API: one config per target, changed by read, modify, write."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest

from sealwire.errors import ConflictError
from sealwire.server.authoring.editing import Editor
from sealwire.server.protect import actions as protect
from sealwire.server.protect import origins as history
from sealwire.server.protect.denylist import Kind
from sealwire.server.store import rows
from tests.support import payloads
from tests.support.console import Console, run
from tests.support.simulated_agent import tracer

ON, OFF = payloads.ON, payloads.OFF
SHOP = {"service": ["shop"]}
REST = {"auto_user_instrum": {"mode": "identification"}}


async def configs(console: Console, product: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await console.get(f"/configs?product={product}&state=all"))["configs"]
    return found


async def activate(console: Console, wanted: str, **target: Any) -> Any:
    return await console.post("/protect/activation", {"wanted": wanted, **target}, status=200)


async def block(console: Console, *values: str, **more: Any) -> Any:
    body = {"kind": "ip", "values": list(values), **more}
    return await console.post("/protect/denylist", body, status=200)


async def unblock(console: Console, *values: str, query: str = "", kind: str = "ip") -> Any:
    asked = "&".join(f"value={value}" for value in values)
    reply = await console.ask("DELETE", f"/protect/denylist?kind={kind}&{asked}{query}")
    assert reply.status_code == 200, reply.text
    return reply.json()


def entries(config: dict[str, Any], kind: str = "blocked_ips") -> list[dict[str, Any]]:
    return [entry for part in config["payload"]["rules_data"] if part["id"] == kind for entry in part["data"]]


def notes(outcome: Any) -> list[str]:
    return [note["kind"] for note in outcome["notes"]]


# On and off


def test_on_makes_one_activation_for_the_target(tmp_path: Path) -> None:
    async def case(console: Console) -> None:
        made = await activate(console, "on", service=["shop"], env=["prod"], reason="attack")

        assert made["changed"]
        assert "on for service shop, env prod" in made["sentence"]
        (config,) = await configs(console, "ASM_FEATURES")
        assert (config["name"], config["payload"], config["comment"]) == ("activation", ON, "attack")
        assert config["targeting"] == {"service": ["shop"], "env": ["prod"]}

    run(tmp_path, case)


def test_on_twice_writes_once_whatever_the_case(tmp_path: Path) -> None:
    async def case(console: Console) -> None:
        await activate(console, "on", service=["shop"])

        again = await activate(console, "on", service=["SHOP"])

        assert not again["changed"]
        assert "already on" in again["sentence"]
        assert [config["revision"] for config in await configs(console, "ASM_FEATURES")] == [1]

    run(tmp_path, case)


def test_on_turns_an_off_and_keeps_what_else_the_config_says(tmp_path: Path) -> None:
    async def case(console: Console) -> None:
        await console.put_config("ASM_FEATURES", {**OFF, **REST}, name="activation", targeting=SHOP)

        await activate(console, "on", service=["shop"])

        (config,) = await configs(console, "ASM_FEATURES")
        assert (config["payload"], config["revision"]) == ({**ON, **REST}, 2)

    run(tmp_path, case)


def test_on_tells_of_a_narrower_config_that_says_off(tmp_path: Path) -> None:
    async def case(console: Console) -> None:
        await console.put_config(
            "ASM_FEATURES", OFF, name="activation", targeting={"service": ["shop"], "env": ["prod"]}
        )

        made = await activate(console, "on", service=["shop"])

        assert "Service shop, env prod stays off" in made["notes"][0]["words"]

    run(tmp_path, case)


def test_taking_an_activation_back_retires_it_and_says_that_a_wider_one_remains(tmp_path: Path) -> None:
    async def case(console: Console) -> None:
        await activate(console, "on")
        await activate(console, "on", service=["shop"])

        taken = await activate(console, "not_on", service=["shop"])

        assert taken["config"]["state"] == "retired"
        assert notes(taken) == ["wider_remains"]

    run(tmp_path, case)


def test_taking_an_activation_back_keeps_what_else_its_config_says(tmp_path: Path) -> None:
    async def case(console: Console) -> None:
        await console.put_config("ASM_FEATURES", {**ON, **REST}, name="activation", targeting=SHOP)

        await activate(console, "unset", service=["shop"])

        (config,) = await configs(console, "ASM_FEATURES")
        assert (config["payload"], config["state"]) == (REST, "active")

    run(tmp_path, case)


def test_what_is_not_on_is_not_taken_back_and_an_off_stays_when_only_on_is_meant(tmp_path: Path) -> None:
    async def case(console: Console) -> None:
        assert not (await activate(console, "unset", service=["shop"]))["changed"]
        await activate(console, "off", service=["shop"])

        assert not (await activate(console, "not_on", service=["shop"]))["changed"]

        (config,) = await configs(console, "ASM_FEATURES")
        assert (config["payload"], config["state"]) == (OFF, "active")
        assert (await activate(console, "unset", service=["shop"]))["config"]["state"] == "retired"

    run(tmp_path, case)


# Blocking


def test_a_block_makes_the_organisations_denylist(tmp_path: Path) -> None:
    async def case(console: Console) -> None:
        made = await block(console, "203.0.113.7", for_s=3600, reason="stuffing")

        (config,) = await configs(console, "ASM_DATA")
        assert (config["name"], config["targeting"], config["comment"]) == ("denylist", {}, "stuffing")
        (entry,) = entries(config)
        assert entry["value"] == "203.0.113.7"
        assert abs(entry["expiration"] - console.plane.now_ms() // 1000 - 3600) < 30
        assert made["sentence"].startswith("Blocked 203.0.113.7 until 20")
        assert notes(made) == ["nothing_enforces"]

    run(tmp_path, case)


def test_a_block_is_added_and_other_lists_in_the_config_stay(tmp_path: Path) -> None:
    other = {"id": "blocked_sessions", "type": "data_with_expiration", "data": [{"value": "sess-42"}]}

    async def case(console: Console) -> None:
        lists = payloads.denied_ips("198.51.100.3")
        await console.put_config("ASM_DATA", {"rules_data": [other, *lists["rules_data"]]}, name="denylist")

        await block(console, "2001:DB8:0::1")

        (config,) = await configs(console, "ASM_DATA")
        assert config["payload"]["rules_data"][0] == other
        assert [entry["value"] for entry in entries(config)] == ["198.51.100.3", "2001:db8::1"]

    run(tmp_path, case)


def test_blocking_again_extends_and_keeps_who_did_it_first(tmp_path: Path) -> None:
    async def case(console: Console) -> None:
        await block(console, "203.0.113.7", for_s=60, reason="stuffing")
        (first,) = (await console.get("/protect/denylist"))["entries"]
        await block(console, "203.0.113.8", reason="other")

        await block(console, "203.0.113.7", for_s=86400)

        listed = {one["value"]: one for one in (await console.get("/protect/denylist"))["entries"]}
        assert listed["203.0.113.7"]["created_at"] == first["created_at"]
        assert listed["203.0.113.7"]["until"] > first["until"]
        assert listed["203.0.113.7"]["reason"] == "stuffing"
        assert listed["203.0.113.8"]["reason"] == "other"
        assert listed["203.0.113.8"]["by"] == "admin"

    run(tmp_path, case)


def test_an_address_beneath_a_wider_one_comes_into_the_file_when_that_ends(
    tmp_path: Path,
) -> None:
    async def case(console: Console) -> None:
        await block(console, "203.0.113.0/24")

        again = await block(console, "203.0.113.7", for_s=3600)

        assert notes(again)[:1] == ["covered"]
        assert entries((await configs(console, "ASM_DATA"))[0]) == [{"value": "203.0.113.0/24"}]
        listed = {one["value"]: one for one in (await console.get("/protect/denylist"))["entries"]}
        assert listed["203.0.113.7"]["covered_by"] == "203.0.113.0/24"
        await unblock(console, "203.0.113.0/24")
        assert [one["value"] for one in entries((await configs(console, "ASM_DATA"))[0])] == ["203.0.113.7"]

    run(tmp_path, case)


def test_what_may_hurt_is_refused_until_it_is_confirmed(tmp_path: Path) -> None:
    async def case(console: Console) -> None:
        body = {"kind": "ip", "values": ["203.0.113.7", "0.0.0.0/0"]}
        refused = await console.refused("POST", "/protect/denylist", body, status=422)
        assert {problem["path"] for problem in refused["problems"]} == {"$.values[1]"}
        assert "every address" in refused["detail"]
        checked = await console.post("/protect/denylist:check", body, status=200)
        assert [bool(one["risks"]) for one in checked["values"]] == [False, True]

        await block(console, "203.0.113.7", "0.0.0.0/0", confirm=True)

        assert len(entries((await configs(console, "ASM_DATA"))[0])) == 1  # the wider one covers the other

    run(tmp_path, case)


def test_the_callers_own_address_is_refused_until_it_is_confirmed(tmp_path: Path) -> None:
    async def case(console: Console) -> None:
        body = {"kind": "ip", "values": ["127.0.0.1"]}

        refused = await console.refused("POST", "/protect/denylist", body, status=422)

        assert "You are at 127.0.0.1 yourself" in refused["detail"]

    run(tmp_path, case)


@pytest.mark.parametrize(
    "more",
    [
        {"for_s": 0},
        {"for_s": 10**12},
        {"until": "tomorrow"},
        {"until": "2020-01-01T00:00:00Z"},
        {"for_s": 60, "until": "2099-01-01T00:00:00Z"},
        {"values": []},
        {"values": ["203.0.113.9"] * 1001},
        {"service": [""]},
        {"reason": "x" * 3000},
    ],
)
def test_a_block_that_makes_no_sense_is_refused(tmp_path: Path, more: dict[str, Any]) -> None:
    async def case(console: Console) -> None:
        body = {"kind": "ip", "values": ["203.0.113.7"], **more}
        await console.refused("POST", "/protect/denylist", body, status=422)

    run(tmp_path, case)


def test_users_and_services_have_lists_of_their_own(tmp_path: Path) -> None:
    async def case(console: Console) -> None:
        await block(console, "203.0.113.7")
        await block(console, "mallory", kind="user")
        await block(console, "203.0.113.8", service=["shop"])

        everywhere, shop = sorted(await configs(console, "ASM_DATA"), key=lambda one: len(one["targeting"]))
        assert entries(everywhere, "blocked_users") == [{"value": "mallory"}]
        assert (shop["targeting"], entries(shop)) == (SHOP, [{"value": "203.0.113.8"}])

    run(tmp_path, case)


# Unblocking


def test_unblocking_one_of_two_keeps_the_other_and_the_last_retires_the_config(tmp_path: Path) -> None:
    async def case(console: Console) -> None:
        await block(console, "203.0.113.7", "203.0.113.8")

        await unblock(console, "203.0.113.7")
        assert [entry["value"] for entry in entries((await configs(console, "ASM_DATA"))[0])] == [
            "203.0.113.8"
        ]
        last = await unblock(console, "203.0.113.8")

        assert last["config"]["state"] == "retired"
        assert (await console.get("/protect/denylist"))["entries"] == []

    run(tmp_path, case)


def test_unblocking_tells_what_else_still_blocks(tmp_path: Path) -> None:
    async def case(console: Console) -> None:
        await block(console, "203.0.113.7")
        await block(console, "203.0.113.0/24", service=["shop"])

        done = await unblock(console, "203.0.113.7")

        (note,) = done["notes"]
        assert (note["kind"], note["value"], note["targeting"]) == ("still_blocked", "203.0.113.0/24", SHOP)

    run(tmp_path, case)


def test_unblocking_by_config_reaches_a_list_for_any_targeting(tmp_path: Path) -> None:
    async def case(console: Console) -> None:
        made = await console.put_config(
            "ASM_DATA", payloads.denied_ips("203.0.113.7"), name="denylist", targeting={"language": ["go"]}
        )

        done = await unblock(console, "203.0.113.7", query=f"&config_id={made['id']}")

        assert done["config"]["id"] == made["id"]

    run(tmp_path, case)


def test_unblocking_what_is_not_blocked_is_not_found(tmp_path: Path) -> None:
    async def case(console: Console) -> None:
        path = "/protect/denylist?kind=ip&value=203.0.113.7"
        await console.refused("DELETE", path, status=404)

    run(tmp_path, case)


# Who may


@pytest.mark.parametrize("role", ["read_only"])
def test_somebody_who_may_only_look_changes_nothing(tmp_path: Path, role: str) -> None:
    async def case(console: Console) -> None:
        await block(console, "203.0.113.7")
        key = console.plane.access.create_application_key(
            1, user="reader", role=role, now_ms=console.plane.now_ms()
        )
        console.headers = {"Authorization": f"Bearer {key}"}

        assert len((await console.get("/protect/denylist"))["entries"]) == 1
        await console.get("/protect/activation")
        body = {"kind": "ip", "values": ["203.0.113.8"]}
        await console.ask("POST", "/protect/denylist", body)
        for method, path, sent in (
            ("POST", "/protect/denylist", body),
            ("POST", "/protect/denylist:check", body),
            ("DELETE", "/protect/denylist?kind=ip&value=203.0.113.7", None),
            ("POST", "/protect/activation", {"wanted": "on"}),
        ):
            assert (await console.ask(method, path, sent)).status_code == 403

    run(tmp_path, case)


# Somebody else at the same time


def test_many_who_block_at_once_lose_nothing_and_make_one_list(tmp_path: Path) -> None:
    async def case(console: Console) -> None:
        await asyncio.gather(*(block(console, f"203.0.113.{number}") for number in range(1, 9)))

        (config,) = await configs(console, "ASM_DATA")
        assert len(entries(config)) == 8

    run(tmp_path, case)


def test_a_change_from_elsewhere_in_between_is_kept_and_ours_added_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    change = Editor.change
    interfered = 0

    async def with_somebody_else(
        self: Editor, config_id: str, fields: Any, *, expected_revision: int, **more: Any
    ) -> Any:
        nonlocal interfered
        if interfered < 2:
            interfered += 1
            row = await self.get(config_id)
            payload = orjson.loads(row.payload)
            payload["rules_data"][0]["data"].append({"value": f"203.0.113.10{interfered}"})
            await change(self, config_id, {"payload": payload}, expected_revision=row.revision)
        return await change(self, config_id, fields, expected_revision=expected_revision, **more)

    async def case(console: Console) -> None:
        await block(console, "203.0.113.1")
        monkeypatch.setattr(Editor, "change", with_somebody_else)

        await block(console, "203.0.113.7")

        (config,) = await configs(console, "ASM_DATA")
        values = [entry["value"] for entry in entries(config)]
        assert values == ["203.0.113.1", "203.0.113.101", "203.0.113.102", "203.0.113.7"]

    run(tmp_path, case)


def test_after_five_conflicts_it_gives_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tries = 0

    async def always_late(*_: Any, **__: Any) -> Any:
        nonlocal tries
        tries += 1
        raise ConflictError("Somebody was faster.", expected_revision=tries, actual_revision=tries + 1)

    async def case(console: Console) -> None:
        await activate(console, "off", service=["shop"])
        monkeypatch.setattr(Editor, "change", always_late)

        body = {"wanted": "on", "service": ["shop"]}
        await console.refused("POST", "/protect/activation", body, status=409)

        assert tries == protect.ATTEMPTS

    run(tmp_path, case)


def test_a_list_that_another_control_plane_made_meanwhile_stays_and_ours_gives_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = Editor.create

    async def after_somebody_else(self: Editor, fields: Any, **more: Any) -> Any:
        monkeypatch.setattr(Editor, "create", create)
        theirs = payloads.denied_ips("203.0.113.1")
        somebody = Editor(self._tenant, self._principal, now=self._now - timedelta(seconds=1))
        await create(somebody, {"product": "ASM_DATA", "name": "denylist", "payload": theirs})
        return await create(self, fields, **more)

    async def case(console: Console) -> None:
        monkeypatch.setattr(Editor, "create", after_somebody_else)

        await block(console, "203.0.113.7")

        active = [one for one in await configs(console, "ASM_DATA") if one["state"] == "active"]
        assert [[entry["value"] for entry in entries(one)] for one in active] == [
            ["203.0.113.1", "203.0.113.7"]
        ]

    run(tmp_path, case)


# What is in force


def test_a_service_shows_what_was_requested_and_what_its_tracers_said(tmp_path: Path) -> None:
    async def case(console: Console) -> None:
        agent = console.agent(
            tracer("a", service="shop"),
            tracer("b", service="shop", tracer_version="4.13.1"),
            tracer("c", service="mail", products=["APM_TRACING"]),
        )
        await console.poll(agent)
        await activate(console, "on", service=["shop"])
        await console.published()

        mail, shop = (await console.get("/protect/activation"))["services"]
        assert (mail["switchable"], mail["requested_on"], mail["config_id"]) == (0, 0, None)
        assert (shop["clients"], shop["requested_on"], shop["acknowledged"]) == (2, 2, 0)
        assert len(shop["tracers"]) == 2
        assert shop["observed"] is None

    run(tmp_path, case)


def test_who_blocked_whom_survives_a_config_that_was_retired_and_came_back() -> None:
    def revision(number: int, *values: str, state: str = "active") -> rows.RevisionRow:
        payload = orjson.dumps(payloads.denied_ips(*values))
        return rows.RevisionRow(
            number, "denylist", {}, payload, state, number * 1000, f"user{number}", f"why{number}", None
        )

    origins: Any = {}
    for one in (
        revision(1, "203.0.113.1"),
        revision(2, "203.0.113.1", "203.0.113.2"),
        revision(3, "203.0.113.1", "203.0.113.2", state="retired"),
        revision(4, "203.0.113.2"),
    ):
        origins = history.follow(origins, one)

    assert {value: origin.by for (_, value), origin in origins.items()} == {"203.0.113.2": "user4"}
    assert origins[Kind.IP, "203.0.113.2"].created_ms == 4000
