"""Webhooks through the real application, with a real receiver that verifies what it gets."""

from __future__ import annotations

import asyncio
import base64
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import orjson
import pytest
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from sealwire.clock import utc_now
from sealwire.server import webhooks as module
from sealwire.wire.codec import ApplyState
from tests.support.console import Console, run
from tests.support.parts import ASM_ON
from tests.support.simulated_agent import tracer

LOOPBACK = {"webhook_networks": ("127.0.0.0/8",)}
EVERYTHING = list(module.EVENTS)


class Receiver:
    """Whoever is called. ``statuses`` are given in turn, the last one for ever."""

    def __init__(self, *statuses: int) -> None:
        self.statuses = list(statuses or (200,))
        self.calls: list[tuple[dict[str, str], bytes]] = []
        self.url = ""

    def bodies(self) -> list[Any]:
        return [orjson.loads(body) for _, body in self.calls]

    async def called(self, times: int) -> None:
        deadline = time.monotonic() + 20
        while len(self.calls) < times:
            assert time.monotonic() < deadline, f"called {len(self.calls)} times, not {times}"
            await asyncio.sleep(0.05)


async def settled(it: Console, webhook_id: str) -> Any:
    """The only call of a webhook, once it was taken or is not tried again."""
    async with asyncio.timeout(20):
        while True:
            (call,) = (await it.get(f"/webhooks/{webhook_id}/calls"))["calls"]
            if call["next_at"] is None:
                return call
            await asyncio.sleep(0.02)


@contextmanager
def receiver(*statuses: int, location: str = "") -> Iterator[Receiver]:
    known = Receiver(*statuses)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            known.calls.append(({name.lower(): value for name, value in self.headers.items()}, body))
            self.send_response(known.statuses.pop(0) if len(known.statuses) > 1 else known.statuses[0])
            if location:
                self.send_header("Location", location)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Nobody reads it."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    known.url = f"http://127.0.0.1:{server.server_port}/hook?room=7"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield known
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


async def made(it: Console, url: str, events: list[str] = EVERYTHING) -> tuple[str, str]:
    document = await it.post("/webhooks", {"name": "Chat", "url": url, "events": events})
    return document["id"], document["secret"]


def test_a_test_call_arrives_signed_as_the_specification_says(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        with receiver() as chat:
            webhook_id, secret = await made(it, chat.url)

            told = await it.post(f"/webhooks/{webhook_id}/test", status=200)

            assert (told["status"], told["error"]) == (200, "")
            headers, body = chat.calls[0]
            assert Webhook(secret).verify(body, headers)["type"] == "test"
            assert headers["host"].startswith("127.0.0.1:")
            with pytest.raises(WebhookVerificationError):
                Webhook(secret).verify(body + b" ", headers)
            with pytest.raises(WebhookVerificationError):
                Webhook("whsec_" + base64.b64encode(bytes(32)).decode()).verify(body, headers)

    run(tmp_path, case, **LOOPBACK)


def test_times_are_written_as_everywhere_else_in_the_api(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        with receiver() as chat:
            webhook_id, _ = await made(it, chat.url)
            await it.post(f"/webhooks/{webhook_id}/test", status=200)
            (body,) = chat.bodies()
            (webhook,) = (await it.get("/webhooks"))["webhooks"]
            director = (await it.get("/roots"))["repositories"]["director"]

            times = [
                body["timestamp"], webhook["created_at"], webhook["last_call"]["delivered_at"],
                director["expires"], *(role["signed_at"] for role in director["roles"]),
                *(role["expires"] for role in director["roles"]),
            ]  # fmt: skip
            assert len(times) > 8
            for at in times:
                assert at is None or re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", at), times

    run(tmp_path, case, **LOOPBACK)


def test_the_secret_is_shown_once_and_stored_sealed(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        webhook_id, secret = await made(it, "https://chat.example.org/x")

        listed = await it.ask("GET", "/webhooks")
        row = it.plane.tenants[1].webhooks.get(webhook_id)

        assert secret.removeprefix("whsec_") not in listed.text
        assert base64.b64decode(secret.removeprefix("whsec_")) not in row.secret_sealed
        assert "secret" not in str((await it.get("/audit"))["events"][0]["detail"])

    run(tmp_path, case)


def test_a_failing_config_is_told_once_when_it_begins_and_once_when_it_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOOK_EVERY_S", 0.2)
    monkeypatch.setattr(module, "TRY_EVERY_S", 0.1)
    monkeypatch.setattr(module, "ENDED_AFTER_S", 1.0)

    async def case(it: Console) -> None:
        with receiver() as chat:
            await made(it, chat.url, ["config.failing"])
            config = await it.put_config("ASM_FEATURES", ASM_ON, name="Switch it on")
            await it.published()
            agent = it.agent(tracer("c1", products=("ASM_FEATURES",)))
            await it.poll(agent)
            agent.apply(
                now=utc_now(),
                states={"ASM_FEATURES": ApplyState.ERROR},
                errors={"ASM_FEATURES": "no such WAF"},
            )
            await it.poll(agent)
            await chat.called(1)
            await asyncio.sleep(1.0)  # many looks later it has still been told once
            assert len(chat.calls) == 1

            agent.apply(now=utc_now())
            await it.poll(agent)
            await chat.called(2)

            began, ended = chat.bodies()
            assert (began["type"], began["state"]) == ("config.failing", "began")
            assert "Switch it on" in began["data"]["title"]
            assert began["data"]["detail"] == "no such WAF"
            assert began["data"]["subject"] == config["id"]
            assert (ended["type"], ended["state"]) == ("config.failing", "ended")

    run(tmp_path, case, **LOOPBACK)


def test_a_call_that_is_not_taken_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK_EVERY_S", 0.2)
    monkeypatch.setattr(module, "TRY_EVERY_S", 0.1)
    monkeypatch.setattr(module, "RETRY_AFTER_S", (0, 0, 0))

    async def case(it: Console) -> None:
        with receiver(500, 503, 200) as chat:
            webhook_id, _ = await made(it, chat.url, ["alarm.raised"])
            it.plane.tenants[1].observer.alarm("ahead-of-ledger", "agent host-a", "It has the future.")
            await chat.called(3)

            call = await settled(it, webhook_id)
            assert (call["attempts"], call["status"], call["error"]) == (3, 200, "")
            assert call["delivered_at"] is not None
            ids = {headers["webhook-id"] for headers, _ in chat.calls}
            assert len(ids) == 1  # so that a receiver can tell a repetition

    run(tmp_path, case, **LOOPBACK)


def test_a_call_nobody_takes_is_given_up_and_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOOK_EVERY_S", 0.2)
    monkeypatch.setattr(module, "TRY_EVERY_S", 0.1)
    monkeypatch.setattr(module, "RETRY_AFTER_S", (0, 0))

    async def case(it: Console) -> None:
        with receiver(500) as chat:
            webhook_id, _ = await made(it, chat.url, ["alarm.raised"])
            it.plane.tenants[1].observer.alarm("ahead-of-ledger", "agent host-a", "It has the future.")
            await chat.called(3)

            call = await settled(it, webhook_id)
            await asyncio.sleep(0.5)  # several looks later nothing was tried again
            assert len(chat.calls) == 3
            assert (call["next_at"], call["delivered_at"]) == (None, None)
            assert call["error"] == "It answered 500."

    run(tmp_path, case, **LOOPBACK)


def test_a_webhook_that_is_off_is_not_called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK_EVERY_S", 0.2)
    monkeypatch.setattr(module, "TRY_EVERY_S", 0.1)

    async def case(it: Console) -> None:
        with receiver() as off, receiver() as on:
            webhook_id, _ = await made(it, off.url)
            await made(it, on.url)
            await it.ask("PATCH", f"/webhooks/{webhook_id}", {"enabled": False})
            it.plane.tenants[1].observer.alarm("ahead-of-ledger", "agent host-a", "It has the future.")
            await on.called(1)

            assert off.calls == []

    run(tmp_path, case, **LOOPBACK)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:1/",
        "http://localhost:1/",
        "http://[::1]:1/",
        "http://[::ffff:127.0.0.1]:1/",
        "http://169.254.169.254/latest/meta-data/",
        "http://10.0.0.1/",
        "http://0.0.0.0:1/",
        "http://2130706433:1/",
    ],
)
def test_a_webhook_does_not_reach_the_server_s_own_neighbours(tmp_path: Path, url: str) -> None:
    """Attack: a server made to call itself or its neighbours."""

    async def case(it: Console) -> None:
        webhook_id, _ = await made(it, url)
        told = await it.post(f"/webhooks/{webhook_id}/test", status=200)
        assert told["status"] is None
        assert "webhook_networks" in told["error"] or "not found" in told["error"]

    run(tmp_path, case)


def test_a_redirect_is_not_followed(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        with receiver() as inside, receiver(302, location=inside.url) as chat:
            webhook_id, _ = await made(it, chat.url)
            told = await it.post(f"/webhooks/{webhook_id}/test", status=200)
            assert (told["status"], told["error"]) == (302, "It answered 302.")
            assert inside.calls == []

    run(tmp_path, case, **LOOPBACK)


def test_what_is_wrong_with_a_webhook_is_said_at_its_field(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        for body, field in (
            ({"name": "", "url": "https://x.example/", "events": EVERYTHING}, "$.name"),
            ({"name": "a", "url": "ftp://x.example/", "events": EVERYTHING}, "$.url"),
            ({"name": "a", "url": "https://u:p@x.example/", "events": EVERYTHING}, "$.url"),
            ({"name": "a", "url": "https://x.example/\r\nHost: y", "events": EVERYTHING}, "$.url"),
            ({"name": "a", "url": "https://x.example:99999/", "events": EVERYTHING}, "$.url"),
            ({"name": "a", "url": "https://x.example/", "events": []}, "$.events"),
            ({"name": "a", "url": "https://x.example/", "events": ["no.such"]}, "$.events"),
        ):
            told = await it.refused("POST", "/webhooks", body, status=422)
            assert [problem["path"] for problem in told["problems"]] == [field], body

    run(tmp_path, case)


def test_another_organisation_has_its_own_webhooks(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        webhook_id, _ = await made(it, "https://chat.example.org/x")
        other = Console(it.plane, it.client, (await it.post("/orgs", {"name": "other"}))["application_key"])

        assert (await other.get("/webhooks"))["webhooks"] == []
        for method, path in (
            ("PATCH", f"/webhooks/{webhook_id}"),
            ("DELETE", f"/webhooks/{webhook_id}"),
            ("POST", f"/webhooks/{webhook_id}/test"),
            ("POST", f"/webhooks/{webhook_id}/secret"),
            ("GET", f"/webhooks/{webhook_id}/calls"),
        ):
            await other.refused(method, path, {} if method == "PATCH" else None, status=404)

    run(tmp_path, case)
