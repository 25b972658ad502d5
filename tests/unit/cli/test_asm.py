"""``sealwire asm``: flags into requests, answers into words. The rules are the control plane's."""

from __future__ import annotations

from pathlib import Path
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
    admin.canned[ACTIVATION] = outcome("App and API Protection is what you wanted.")

    ran = run("asm", *words, "--service", "shop", "--env", "prod", "--reason", "attack")

    assert (ran.code, ran.out) == (0, "App and API Protection is what you wanted.\n")
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
    note = {"kind": "nothing_enforces", "words": "No service has App and API Protection on."}
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


def test_suspicious_addresses_are_a_kind_of_their_own(run: Run, admin: StubAdmin) -> None:
    note = {"kind": "still_blocked", "words": "It stays.", "value": "203.0.113.0/24", "targeting": {}}
    admin.canned |= {CHECK: checked("203.0.113.7"), DENYLIST: outcome("Blocked.")}
    admin.canned[UNBLOCK] = outcome("Unblocked.", note)

    assert run("asm", "block", "ip", "203.0.113.7", "--suspicious").code == 0
    ran = run("asm", "unblock", "ip", "203.0.113.7", "--suspicious")

    assert admin.writes()[1].body["kind"] == "suspicious"
    assert admin.writes()[-1].query["kind"] == "suspicious"
    assert "sealwire asm unblock ip --suspicious 203.0.113.0/24" in ran.err


# --- import

DRAFT = {
    "id": "00ab", "good": 2, "bad": 0, "new": 2, "extended": 0, "already": 0, "covered": 1, "dangerous": 0,
    "file_entries": 3, "file_size": 120, "problems": [], "risks": [],
}  # fmt: skip
MAKE, SEND = "POST /protect/drafts", "POST /protect/drafts/00ab/block"


def test_a_file_is_checked_and_then_blocked(run: Run, admin: StubAdmin, tmp_path: Path) -> None:
    admin.canned |= {MAKE: DRAFT, SEND: outcome("Blocked 2.")}
    (tmp_path / "list.txt").write_text("203.0.113.7\n203.0.113.8\n")

    ran = run("asm", "import", str(tmp_path / "list.txt"), "--for", "7d", "--reason", "scan")

    assert ran.code == 0
    assert "2 can be blocked: 2 new" in ran.out
    assert ran.out.endswith("Blocked 2.\n")
    first, second = admin.writes()
    assert first.body == {
        "kind": "ip", "text": "203.0.113.7\n203.0.113.8\n", "reason": "scan", "for_s": 604800,
    }  # fmt: skip
    assert second.body == {"confirm": True}


def test_a_file_with_bad_lines_is_kept_and_named_and_blocked_only_when_that_is_meant(
    run: Run, admin: StubAdmin, tmp_path: Path
) -> None:
    bad = {**DRAFT, "bad": 1, "problems": [{"line": 4711, "text": "x", "message": "'x' is no address."}]}
    admin.canned |= {MAKE: bad, SEND: outcome("Blocked 2.")}
    (tmp_path / "list.txt").write_text("x")

    refused = run("asm", "import", str(tmp_path / "list.txt"))

    assert refused.code == 1
    assert "Line 4,711: 'x' is no address." in refused.err
    assert "/protect/import/00ab" in refused.err
    assert len(admin.writes()) == 1
    assert run("asm", "import", str(tmp_path / "list.txt"), "--skip-bad").code == 0


def test_a_dry_run_leaves_nothing_behind(run: Run, admin: StubAdmin, tmp_path: Path) -> None:
    admin.canned |= {MAKE: {**DRAFT, "dangerous": 1}, "DELETE /protect/drafts/00ab": {}}
    (tmp_path / "list.txt").write_text("203.0.113.7")

    assert run("asm", "import", str(tmp_path / "list.txt"), "--dry-run").code == 0

    assert [request.method for request in admin.writes()] == ["POST", "DELETE"]
    assert run("asm", "import", str(tmp_path / "missing.txt")).code == 1


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

    assert "on                      service shop" in ran.out
    assert "203.0.113.7  ip    2026-11-22 17:06 UTC  the whole organisation  ada  stuffing" in ran.out
    assert "mallory      user  unblocked" in ran.out


def test_list_as_json_and_where_nothing_is(run: Run, admin: StubAdmin) -> None:
    admin.canned |= LISTED
    assert run("asm", "list", "--json").json["blocked"][0]["value"] == "203.0.113.7"
    admin.canned |= {"GET /protect/activation": {"activations": []}, "GET /protect/denylist": {"entries": []}}

    ran = run("asm", "list")

    assert "on nowhere" in ran.out
    assert "Nobody is blocked." in ran.out
