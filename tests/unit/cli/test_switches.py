"""Off by the command line: what is asked, what is said, and how it ends."""

from __future__ import annotations

from typing import Any

import pytest

from sealwire.cli import org
from tests.unit.cli.conftest import Run
from tests.unit.cli.stub import Request, StubAdmin

pytestmark = pytest.mark.loopback

ON: dict[str, Any] = {"name": "main", "remote_config": True, "withdrawing_at": None, "withdrawal": None}
OFF = {**ON, "remote_config": False}
KEY: dict[str, Any] = {"id": "0123456789ab", "name": "web", "remote_config": True, "used_by": 2}


def going(fetched: int) -> dict[str, Any]:
    """Settings in the middle of a withdrawal."""
    progress = {"agents": 2, "fetched": fetched, "clients": 5, "dropped": fetched, "still_holding": []}
    return {**ON, "withdrawing_at": "2026-11-22T17:00:00Z", "withdrawal": progress}


class Settings(StubAdmin):
    """Settings that answer each time with the next of ``said``."""

    said: tuple[dict[str, Any], ...] = ()

    def answer(self, request: Request) -> tuple[int, Any]:
        if request.path != "/settings":
            return super().answer(request)
        self.requests.append(request)
        return 200, self.said[min(len(self.requests), len(self.said)) - 1]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(org, "WATCH_EVERY_S", 0.0)


def answers(admin: StubAdmin, *said: dict[str, Any]) -> None:
    admin.__class__ = Settings
    admin.said = said  # type: ignore[attr-defined]


def test_off_waits_until_it_is_and_tells_how_far_it_is(run: Run, admin: StubAdmin) -> None:
    answers(admin, going(0), going(1), going(1), OFF)

    ran = run("org", "off")

    assert ran.code == 0
    assert admin.only_write().body == {"remote_config": False, "at_once": False}
    assert ran.err.count("0 of 2 agents") == ran.err.count("1 of 2 agents") == 1
    assert "is off for main" in ran.out


def test_off_that_somebody_calls_off_says_so(run: Run, admin: StubAdmin) -> None:
    answers(admin, going(0), ON)

    ran = run("org", "off")

    assert ran.code == 1
    assert "called it off" in ran.out


def test_off_need_not_wait_nor_withdraw(run: Run, admin: StubAdmin) -> None:
    answers(admin, going(0))
    assert "is going off" in run("org", "off", "--no-wait").out

    answers(admin, OFF)
    assert "is off for main" in run("org", "off", "--at-once").out
    assert admin.writes()[-1].body == {"remote_config": False, "at_once": True}


def test_on(run: Run, admin: StubAdmin) -> None:
    answers(admin, ON)

    assert "is on for main" in run("org", "on").out
    assert admin.only_write().body == {"remote_config": True}


def test_a_key_is_withdrawn_and_revoked(run: Run, admin: StubAdmin) -> None:
    admin.canned |= {
        f"POST /keys/{KEY['id']}:withdraw": {**KEY, "withdrawing_at": "2026-11-22T17:00:00Z"},
        f"DELETE /keys/{KEY['id']}": {**KEY, "withdrawing_at": "2026-11-22T17:00:00Z"},
        "GET /keys": {"keys": [{**KEY, "withdrawing_at": "2026-11-22T17:00:00Z"}]},
    }

    assert "2 agents hold nothing" in run("key", "withdraw", KEY["id"]).out
    assert "revoked once its 2 agents" in run("key", "revoke", KEY["id"], "--withdraw-first").out
    assert admin.writes()[-1].query == {"withdraw_first": "true"}
    assert "withdrawing" in run("key", "list").out


def test_a_key_that_is_revoked_at_once_tells_until_when_its_agents_keep_what_they_have(
    run: Run, admin: StubAdmin
) -> None:
    until = "2026-12-02T17:00:00.000Z"
    admin.canned[f"DELETE /keys/{KEY['id']}"] = {**KEY, "revoked_at": "x", "held_until": until}

    assert until in run("key", "revoke", KEY["id"]).out
