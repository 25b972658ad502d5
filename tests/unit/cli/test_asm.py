"""``sealwire asm``: one activation and one denylist per target, changed by read, modify, write."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.cli.conftest import NOW, Run
from tests.unit.cli.stub import Request, StubAdmin

pytestmark = pytest.mark.loopback

NOW_S = int(NOW.timestamp())
ON = {"asm": {"enabled": True}}
OFF = {"asm": {"enabled": False}}
SHOP = {"service": ["shop"]}


def blocked(*entries: dict[str, Any]) -> dict[str, Any]:
    return {"rules_data": [{"id": "blocked_ips", "type": "ip_with_expiration", "data": list(entries)}]}


# --- enable, disable


def test_enable_makes_one_activation_for_the_target(run: Run, admin: StubAdmin) -> None:
    ran = run("asm", "enable", "--service", "shop", "--env", "prod", "--reason", "attack")

    assert ran.code == 0
    assert admin.only_write().body == {
        "product": "ASM_FEATURES",
        "name": "activation",
        "targeting": {"service": ["shop"], "env": ["prod"]},
        "payload": ON,
        "comment": "attack",
    }
    assert "on for service shop, env prod" in ran.out


def test_enable_twice_writes_once(run: Run, admin: StubAdmin) -> None:
    run("asm", "enable", "--service", "shop")

    ran = run("asm", "enable", "--service", "SHOP")

    assert ran.code == 0
    assert "already on" in ran.out
    assert len(admin.writes()) == 1


def test_enable_turns_a_forced_off_activation_and_keeps_the_rest_of_its_payload(
    run: Run, admin: StubAdmin
) -> None:
    rest = {"auto_user_instrum": {"mode": "identification"}}
    config = admin.add("ASM_FEATURES", "activation", {**OFF, **rest}, SHOP)

    run("asm", "enable", "--service", "shop")

    assert admin.only_write().body == {"expected_revision": 1, "payload": {**ON, **rest}}
    assert config["revision"] == 2


def test_enable_without_a_target_is_refused_until_everywhere_is_said(run: Run, admin: StubAdmin) -> None:
    assert run("asm", "enable").code == 2
    assert admin.requests == []

    assert run("asm", "enable", "--everywhere").code == 0
    assert admin.only_write().body["targeting"] == {}


def test_enable_tells_of_a_narrower_config_that_says_off(run: Run, admin: StubAdmin) -> None:
    admin.add("ASM_FEATURES", "activation", OFF, {"service": ["shop"], "env": ["prod"]})

    ran = run("asm", "enable", "--service", "shop")

    assert "Service shop, env prod stays off" in ran.err


def test_disable_retires_the_activation_and_says_that_a_wider_one_remains(run: Run, admin: StubAdmin) -> None:
    admin.add("ASM_FEATURES", "activation", ON)
    own = admin.add("ASM_FEATURES", "activation", ON, SHOP)

    ran = run("asm", "disable", "--service", "shop")

    assert ran.code == 0
    assert own["state"] == "retired"
    assert admin.only_write().query == {"expected_revision": "1"}
    assert "An organisation-wide activation remains" in ran.err


def test_disable_keeps_what_else_the_config_says(run: Run, admin: StubAdmin) -> None:
    rest = {"auto_user_instrum": {"mode": "identification"}}
    admin.add("ASM_FEATURES", "activation", {**ON, **rest}, SHOP)

    run("asm", "disable", "--service", "shop")

    assert admin.only_write().body["payload"] == rest


def test_disable_of_what_is_not_on_changes_nothing(run: Run, admin: StubAdmin) -> None:
    ran = run("asm", "disable", "--service", "shop", "--json")

    assert ran.code == 0
    assert ran.json == {"changed": False, "config": None, "notes": []}
    assert admin.writes() == []


def test_force_off_publishes_off(run: Run, admin: StubAdmin) -> None:
    admin.add("ASM_FEATURES", "activation", ON)

    ran = run("asm", "disable", "--service", "shop", "--force-off")

    assert ran.code == 0
    assert admin.only_write().body["payload"] == OFF
    assert admin.only_write().body["targeting"] == SHOP


# --- block


def test_block_makes_the_organisations_denylist(run: Run, admin: StubAdmin) -> None:
    admin.add("ASM_FEATURES", "activation", ON)

    ran = run("asm", "block", "ip", "203.0.113.7", "--for", "1h", "--reason", "stuffing")

    assert admin.only_write().body == {
        "product": "ASM_DATA",
        "name": "denylist",
        "targeting": {},
        "payload": blocked({"value": "203.0.113.7", "expiration": NOW_S + 3600}),
        "comment": "stuffing",
    }
    assert ran.out == (
        "Blocked 203.0.113.7 until 2026-11-22 18:05 UTC (config 0000000000000002, revision 1)\n"
    )
    assert ran.err == ""


def test_block_adds_to_the_list_and_purges_what_lapsed(run: Run, admin: StubAdmin) -> None:
    other = {"id": "blocked_sessions", "type": "data_with_expiration", "data": [{"value": "sess-42"}]}
    lists = blocked(
        {"value": "198.51.100.1", "expiration": NOW_S},
        {"value": "198.51.100.2", "expiration": NOW_S + 1},
        {"value": "198.51.100.3"},
        {"value": "198.51.100.4", "expiration": 0},
    )
    admin.add("ASM_DATA", "denylist", {"rules_data": [other, *lists["rules_data"]]})

    run("asm", "block", "ip", "2001:DB8:0::1")

    write = admin.only_write()
    assert (write.method, write.body["expected_revision"]) == ("PUT", 1)
    assert write.body["payload"] == {
        "rules_data": [
            other,
            *blocked(
                {"value": "198.51.100.2", "expiration": NOW_S + 1},
                {"value": "198.51.100.3"},
                {"value": "198.51.100.4"},
                {"value": "2001:db8::1"},
            )["rules_data"],
        ]
    }


def test_the_end_of_a_short_block_is_told_to_the_second(run: Run, admin: StubAdmin) -> None:
    assert "until 2026-11-22 17:05:30 UTC" in run("asm", "block", "ip", "203.0.113.7", "--for", "30s").out


def test_block_again_replaces_the_expiry(run: Run, admin: StubAdmin) -> None:
    admin.add("ASM_DATA", "denylist", blocked({"value": "203.0.113.7", "expiration": NOW_S + 60}))

    run("asm", "block", "ip", "203.0.113.7", "--for", "2d")

    assert admin.only_write().body["payload"] == blocked(
        {"value": "203.0.113.7", "expiration": NOW_S + 172800}
    )


def test_an_address_beneath_a_prefix_that_outlasts_it_is_not_listed(run: Run, admin: StubAdmin) -> None:
    """Tracers go by the longest prefix: a lapsed /32 would open a hole in the blocked /24."""
    admin.add("ASM_DATA", "denylist", blocked({"value": "203.0.113.0/24"}))

    ran = run("asm", "block", "ip", "203.0.113.7", "--for", "1h")

    assert ran.code == 0
    assert "already blocked: 203.0.113.0/24" in ran.err
    assert admin.writes() == []


def test_blocking_a_wider_prefix_takes_up_the_addresses_it_outlasts(run: Run, admin: StubAdmin) -> None:
    lasting = {"value": "203.0.113.9"}
    admin.add("ASM_DATA", "denylist", blocked({"value": "203.0.113.7", "expiration": NOW_S + 60}, lasting))

    run("asm", "block", "ip", "203.0.113.0/24", "--for", "1h")

    assert admin.only_write().body["payload"] == blocked(
        lasting, {"value": "203.0.113.0/24", "expiration": NOW_S + 3600}
    )


def test_block_user_uses_the_list_of_users(run: Run, admin: StubAdmin) -> None:
    admin.add("ASM_DATA", "denylist", blocked({"value": "203.0.113.7"}))

    run("asm", "block", "user", "mallory")

    assert admin.only_write().body["payload"]["rules_data"][1] == {
        "id": "blocked_users",
        "type": "data_with_expiration",
        "data": [{"value": "mallory"}],
    }


def test_block_for_a_service_has_a_list_of_its_own(run: Run, admin: StubAdmin) -> None:
    admin.add("ASM_DATA", "denylist", blocked({"value": "203.0.113.7"}))

    ran = run("asm", "block", "ip", "203.0.113.8", "--service", "shop")

    assert admin.only_write().method == "POST"
    assert admin.only_write().body["targeting"] == SHOP
    assert "for service shop" in ran.out


@pytest.mark.parametrize(
    ("typed", "risk"),
    [
        ("0.0.0.0/0", "every address"),
        ("::/0", "every address"),
        ("10.1.2.3", "private range"),
        ("192.168.0.0/24", "private range"),
        ("::ffff:10.0.0.1", "private range"),
        ("100.64.0.0/10", "private range"),
        ("32.0.0.0/4", "very wide"),
    ],
)
def test_blocking_a_range_that_may_hurt_needs_yes(run: Run, admin: StubAdmin, typed: str, risk: str) -> None:
    refused = run("asm", "block", "ip", typed)

    assert refused.code == 1
    assert risk in refused.err
    assert "--yes" in refused.err
    assert admin.requests == []

    assert run("asm", "block", "ip", typed, "--yes").code == 0
    assert len(admin.writes()) == 1


@pytest.mark.parametrize("typed", ["203.0.113", "203.0.113.7/33", "fe80::1%eth0", "example.org", ""])
def test_what_is_no_address_is_refused(run: Run, admin: StubAdmin, typed: str) -> None:
    assert run("asm", "block", "ip", typed).code == 1
    assert admin.requests == []


def test_host_bits_are_dropped_and_said(run: Run, admin: StubAdmin) -> None:
    ran = run("asm", "block", "ip", "203.0.113.7/24")

    assert "203.0.113.7/24 is written 203.0.113.0/24." in ran.err
    assert admin.only_write().body["payload"] == blocked({"value": "203.0.113.0/24"})


def test_a_block_that_nothing_enforces_comes_with_a_hint(run: Run, admin: StubAdmin) -> None:
    admin.canned["GET /clients"] = {
        "clients": [{"client_id": "c", "service": "shop", "products": ["ASM_FEATURES"]}]
    }

    assert "asm enable" in run("asm", "block", "ip", "203.0.113.7").err


def test_no_hint_where_a_client_has_security_on_by_itself(run: Run, admin: StubAdmin) -> None:
    admin.canned["GET /clients"] = {
        "clients": [{"client_id": "c", "service": "shop", "products": ["ASM_DATA"]}]
    }

    assert run("asm", "block", "ip", "203.0.113.7").err == ""


# --- unblock


def test_unblocking_the_last_entry_retires_the_config(run: Run, admin: StubAdmin) -> None:
    config = admin.add("ASM_DATA", "denylist", blocked({"value": "203.0.113.7"}))

    ran = run("asm", "unblock", "ip", "203.0.113.7")

    assert ran.code == 0
    assert config["state"] == "retired"
    assert admin.only_write().method == "DELETE"


def test_unblocking_one_of_two_keeps_the_other(run: Run, admin: StubAdmin) -> None:
    admin.add("ASM_DATA", "denylist", blocked({"value": "203.0.113.7"}, {"value": "203.0.113.8"}))

    run("asm", "unblock", "ip", "203.0.113.7")

    assert admin.only_write().body["payload"] == blocked({"value": "203.0.113.8"})


def test_unblocking_what_is_not_blocked_is_not_found(run: Run, admin: StubAdmin) -> None:
    ran = run("asm", "unblock", "ip", "203.0.113.7")

    assert ran.code == 3
    assert admin.writes() == []


def test_unblocking_tells_what_else_still_blocks(run: Run, admin: StubAdmin) -> None:
    admin.add("ASM_DATA", "denylist", blocked({"value": "203.0.113.7"}))
    admin.add("ASM_DATA", "denylist", blocked({"value": "203.0.113.0/24"}), SHOP)

    ran = run("asm", "unblock", "ip", "203.0.113.7")

    assert ran.code == 0
    assert "sealwire asm unblock ip 203.0.113.0/24 --service shop" in ran.err


def test_unblock_user(run: Run, admin: StubAdmin) -> None:
    run("asm", "block", "user", "mallory", "eve")

    assert run("asm", "unblock", "user", "eve").code == 0

    assert admin.writes()[-1].body["payload"]["rules_data"][0]["data"] == [{"value": "mallory"}]


# --- somebody else at the same time


def test_a_change_in_between_is_kept_and_ours_added_to_it(run: Run, admin: StubAdmin) -> None:
    config = admin.add("ASM_DATA", "denylist", blocked({"value": "203.0.113.1"}))

    def somebody(write: int) -> None:
        if write <= 2:
            config["payload"]["rules_data"][0]["data"].append({"value": f"203.0.113.10{write}"})
            config["revision"] += 1

    admin.interfere = somebody

    ran = run("asm", "block", "ip", "203.0.113.7")

    assert ran.code == 0
    assert len(admin.writes()) == 3
    values = [entry["value"] for entry in config["payload"]["rules_data"][0]["data"]]
    assert values == ["203.0.113.1", "203.0.113.101", "203.0.113.102", "203.0.113.7"]


def test_after_five_conflicts_it_gives_up_with_both_revisions(run: Run, admin: StubAdmin) -> None:
    config = admin.add("ASM_FEATURES", "activation", OFF, SHOP)

    def somebody(write: int) -> None:
        config["revision"] += 1

    admin.interfere = somebody

    ran = run("asm", "enable", "--service", "shop")

    assert ran.code == 4
    assert len(admin.writes()) == 5
    assert "Expected was revision 5, actual is 6" in ran.err


def test_two_who_make_the_first_denylist_at_once_end_with_one(run: Run, admin: StubAdmin) -> None:
    answer, theirs = admin.answer, blocked({"value": "203.0.113.1"})

    def with_somebody_else(request: Request) -> tuple[int, Any]:
        if request.method == "POST" and not admin.configs:
            admin.add("ASM_DATA", "denylist", theirs)
        return answer(request)

    admin.answer = with_somebody_else  # type: ignore[method-assign]  # to be asked between two of its own steps

    assert run("asm", "block", "ip", "203.0.113.7").code == 0

    older, younger = admin.configs.values()
    assert older["payload"] == blocked({"value": "203.0.113.1"}, {"value": "203.0.113.7"})
    assert younger["state"] == "retired"


# --- list


def test_list_shows_what_is_in_force(run: Run, admin: StubAdmin) -> None:
    admin.add("ASM_FEATURES", "activation", ON, SHOP)
    admin.add(
        "ASM_DATA",
        "denylist",
        blocked(
            {"value": "203.0.113.7", "expiration": NOW_S + 60},
            {"value": "203.0.113.8", "expiration": NOW_S - 1},
        ),
    )

    ran = run("asm", "list")

    assert "on                    service shop" in ran.out
    assert "203.0.113.7  ip    2026-11-22 17:06 UTC  the whole organisation" in ran.out
    assert "203.0.113.8" not in ran.out


def test_list_as_json(run: Run, admin: StubAdmin) -> None:
    admin.add("ASM_FEATURES", "activation", ON, SHOP)
    admin.add("ASM_DATA", "denylist", blocked({"value": "203.0.113.7"}))

    listed = run("asm", "list", "--json").json

    assert listed["activations"][0]["targeting"] == SHOP
    assert listed["blocked"] == [
        {
            "kind": "ip",
            "value": "203.0.113.7",
            "expiration": None,
            "targeting": {},
            "config_id": "0000000000000002",
        }
    ]
