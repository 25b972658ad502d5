"""``sealwire asm``: flags into requests, answers into words. The rules are the control plane's."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.cli.conftest import Run
from tests.unit.cli.stub import StubAdmin

pytestmark = pytest.mark.loopback

ACTIVATION, DENYLIST = "POST /protect/activation", "POST /protect/denylist"
CHECK, UNBLOCK = "POST /protect/denylist:check", "DELETE /protect/denylist"


def outcome(sentence: str, *notes: dict[str, Any], changed: bool = True) -> dict[str, Any]:
    config = {"id": "0000000000000002", "product": "ASM_DATA", "revision": 1}
    return {"changed": changed, "sentence": sentence, "config": config, "notes": list(notes)}


def checked(*values: str, risk: str = "") -> dict[str, Any]:
    return {"values": [{"typed": one, "value": one, "risks": [risk] if risk else []} for one in values]}


# --- enable, disable


@pytest.mark.parametrize(
    ("words", "wanted"),
    [(["enable"], "on"), (["disable"], "not_on"), (["disable", "--force-off"], "off")],
)
def test_a_switch_says_what_is_wanted_for_whom_and_why(
    run: Run, admin: StubAdmin, words: list[str], wanted: str
) -> None:
    admin.canned[ACTIVATION] = outcome("Attack detection is what you wanted.")

    ran = run("asm", *words, "--service", "shop", "--env", "prod", "--reason", "attack")

    assert (ran.code, ran.out) == (0, "Attack detection is what you wanted.\n")
    assert admin.only_write().body == {
        "wanted": wanted,
        "service": ["shop"],
        "env": ["prod"],
        "reason": "attack",
    }


def test_a_switch_without_a_target_is_refused_until_everywhere_is_said(run: Run, admin: StubAdmin) -> None:
    admin.canned[ACTIVATION] = outcome("Done.")
    assert run("asm", "enable").code == 2
    assert run("asm", "enable", "--everywhere", "--env", "prod").code == 2
    assert admin.requests == []

    assert run("asm", "enable", "--everywhere").code == 0
    assert admin.only_write().body == {"wanted": "on", "reason": ""}


def test_what_remains_comes_with_the_option_that_overrides_it(run: Run, admin: StubAdmin) -> None:
    note = {"kind": "wider_remains", "words": "An organisation-wide activation remains."}
    admin.canned[ACTIVATION] = outcome("Taken back.", note)

    ran = run("asm", "disable", "--service", "shop")

    assert ran.err == "An organisation-wide activation remains. To be off in spite of it, add --force-off.\n"


def test_the_result_as_json(run: Run, admin: StubAdmin) -> None:
    admin.canned[ACTIVATION] = {"changed": False, "sentence": "Nothing.", "config": None, "notes": []}

    ran = run("asm", "disable", "--service", "shop", "--json")

    assert ran.json == {"changed": False, "config": None, "notes": []}


# --- block


def test_a_block_is_checked_and_then_made(run: Run, admin: StubAdmin) -> None:
    admin.canned |= {CHECK: checked("203.0.113.7", "2001:db8::1"), DENYLIST: outcome("Blocked both.")}

    ran = run(
        "asm", "block", "ip", "203.0.113.7", "2001:db8::1", "--for", "1h", "--reason", "stuffing",
        "--service", "shop",
    )  # fmt: skip

    assert (ran.code, ran.out, ran.err) == (0, "Blocked both.\n", "")
    body = {
        "kind": "ip",
        "values": ["203.0.113.7", "2001:db8::1"],
        "service": ["shop"],
        "for_s": 3600,
        "reason": "stuffing",
    }
    assert [request.body for request in admin.writes()] == [body, {**body, "confirm": True}]


def test_a_block_for_ever_names_no_end_and_a_user_is_one(run: Run, admin: StubAdmin) -> None:
    admin.canned |= {CHECK: checked("mallory"), DENYLIST: outcome("Blocked mallory.")}

    assert run("asm", "block", "user", "mallory").code == 0

    sent = admin.writes()[-1].body
    assert sent == {"kind": "user", "values": ["mallory"], "reason": "", "confirm": True}


def test_what_may_hurt_is_not_done_without_yes(run: Run, admin: StubAdmin) -> None:
    admin.canned |= {CHECK: checked("0.0.0.0/0", risk="It is everybody."), DENYLIST: outcome("Blocked all.")}

    refused = run("asm", "block", "ip", "0.0.0.0/0")

    assert refused.code == 1
    assert "Careful: It is everybody." in refused.err
    assert "--yes" in refused.err
    assert len(admin.writes()) == 1
    assert run("asm", "block", "ip", "0.0.0.0/0", "--yes").code == 0


def test_another_spelling_is_said(run: Run, admin: StubAdmin) -> None:
    one = {"typed": "203.0.113.7/24", "value": "203.0.113.0/24", "risks": []}
    admin.canned |= {CHECK: {"values": [one]}, DENYLIST: outcome("Blocked.")}

    ran = run("asm", "block", "ip", "203.0.113.7/24")

    assert ran.err == "203.0.113.7/24 is written 203.0.113.0/24.\n"


def test_a_block_that_nothing_enforces_comes_with_the_command_that_helps(run: Run, admin: StubAdmin) -> None:
    note = {"kind": "nothing_enforces", "words": "No service has attack detection on."}
    admin.canned |= {CHECK: checked("203.0.113.7"), DENYLIST: outcome("Blocked.", note)}

    assert "sealwire asm enable --service SERVICE" in run("asm", "block", "ip", "203.0.113.7").err


# --- unblock


def test_unblocking_names_the_value_and_the_list(run: Run, admin: StubAdmin) -> None:
    admin.canned[UNBLOCK] = outcome("Unblocked 203.0.113.7.")

    ran = run("asm", "unblock", "ip", "203.0.113.7", "--env", "prod")

    assert (ran.code, ran.out) == (0, "Unblocked 203.0.113.7.\n")
    assert admin.only_write().query == {"kind": "ip", "value": "203.0.113.7", "env": "prod"}


def test_unblocking_what_is_not_blocked_is_not_found(run: Run, admin: StubAdmin) -> None:
    admin.canned[UNBLOCK] = (
        404,
        {"status": 404, "code": "not_found", "detail": "203.0.113.7 was not blocked."},
    )

    assert run("asm", "unblock", "ip", "203.0.113.7").code == 3


def test_what_still_blocks_comes_with_the_command_that_ends_it(run: Run, admin: StubAdmin) -> None:
    note = {
        "kind": "still_blocked",
        "words": "mallory stays blocked.",
        "value": "mallory",
        "targeting": {"service": ["shop"]},
    }
    admin.canned[UNBLOCK] = outcome("Unblocked.", note)

    assert "sealwire asm unblock user mallory --service shop" in run("asm", "unblock", "user", "mallory").err


# --- list

LISTED = {
    "GET /protect/activation": {
        "activations": [{"config_id": "e04b", "on": True, "targeting": {"service": ["shop"]}}]
    },
    "GET /protect/denylist": {
        "entries": [
            {
                "kind": "ip",
                "value": "203.0.113.7",
                "until": "2026-11-22T17:06:00Z",
                "targeting": {},
                "config_id": "229a",
                "by": "ada",
                "reason": "stuffing",
            },
            {"kind": "user", "value": "mallory", "until": None, "targeting": {}, "config_id": "229a"},
        ]
    },
}


def test_list_shows_what_is_in_force(run: Run, admin: StubAdmin) -> None:
    admin.canned |= LISTED

    ran = run("asm", "list")

    assert "on                service shop" in ran.out
    assert "203.0.113.7  ip    2026-11-22 17:06 UTC  the whole organisation  ada  stuffing" in ran.out
    assert "mallory      user  unblocked" in ran.out


def test_list_as_json_and_where_nothing_is(run: Run, admin: StubAdmin) -> None:
    admin.canned |= LISTED
    assert run("asm", "list", "--json").json["blocked"][0]["value"] == "203.0.113.7"
    admin.canned |= {"GET /protect/activation": {"activations": []}, "GET /protect/denylist": {"entries": []}}

    ran = run("asm", "list")

    assert "on nowhere" in ran.out
    assert "Nobody is blocked." in ran.out
