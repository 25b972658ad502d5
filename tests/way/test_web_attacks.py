"""Attacks on the pages and on the admin API, each against the real application: what must not work.

Where it is cheap, an attack is tried on every route there is (``routes.WHO``), with things that are there.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import httpx
import pytest

from sealwire.clock import utc_now
from sealwire.errors import ConflictError, NotPermittedError, UnavailableError
from sealwire.server.access import oidc
from sealwire.server.access.permissions import Grant, Principal, Role
from sealwire.server.access.sessions import Browser
from sealwire.server.app import build
from sealwire.server.authoring.author import Author
from sealwire.server.authoring.editing import Editor
from sealwire.server.store import rows
from sealwire.server.ui import live
from sealwire.server.ui.filters import Field, Grammar
from sealwire.server.ui.live import Viewers
from tests.support.console import ADMIN, Console, run
from tests.support.parts import ASM_ON, dump
from tests.support.simulated_agent import tracer
from tests.support.visitors import PASSWORD
from tests.way.routes import API, PAGES, WHO
from tests.way.test_route_walk import ask, concrete, furnish, without

ORIGIN = "http://sealwire"
ASM_BOTH = ("appsec_activation_read", "appsec_activation_write")
LIB = {"lib_config": {"tracing_sampling_rate": 0.125}}


class Person:
    """A user at a browser of their own; ``ask`` is a request of one of our pages to the admin API."""

    def __init__(self, it: Console, email: str, user_id: str, link: str) -> None:
        application, _ = build(it.plane)
        self.email, self.user_id, self.link = email, user_id, link
        self.http = httpx.AsyncClient(
            transport=httpx.ASGITransport(application), base_url=ORIGIN,
            headers={"Origin": ORIGIN, "Accept": "text/html"},
        )  # fmt: skip

    async def join(self) -> httpx.Response:
        return await self.http.post(
            re.sub(r".*(?=/join/)", "", self.link), data={"password": PASSWORD, "again": PASSWORD}
        )

    async def ask(self, method: str, path: str, body: Any = None) -> httpx.Response:
        return await self.http.request(method, ADMIN + path, json=body)


async def invited(it: Console, email: str, *roles: dict[str, Any]) -> Person:
    made = await it.post("/users", {"email": email, "roles": list(roles)})
    return Person(it, email, made["id"], made["link"])


async def person(it: Console, email: str, *roles: dict[str, Any]) -> Person:
    somebody = await invited(it, email, *roles)
    assert (await somebody.join()).status_code == 303
    return somebody


def role(role_id: str, services: tuple[str, ...] = (), envs: tuple[str, ...] = ()) -> dict[str, Any]:
    return {"role_id": role_id, "services": list(services), "envs": list(envs)}


# Every route ------------------------------------------------------------------------------------------------

FOREIGN = (
    None, "null", "https://evil.example", "http://sealwire.evil.example", "http://evil.example/sealwire",
    "https://sealwire", "http://sealwire:81", "http://SEALWIRE.", "",
)  # fmt: skip
HOSTILE = (
    "https://evil.example/", "//evil.example", "/\\evil.example", "/\t/evil.example", "///evil.example",
    "javascript:alert(1)", "/x\r\nX-Injected: 1", "\u2028//evil.example", "/@evil.example\n",
    "http:evil.example",
)  # fmt: skip


async def session_of(it: Console) -> tuple[Any, dict[str, str]]:
    """The application, and the headers of an administrator's browser, without an Origin."""
    application, _ = build(it.plane)
    key = it.plane.access.create_application_key(1, user="root", role="admin", now_ms=it.plane.now_ms())
    token = it.plane.sessions.begin_with_key(key, Browser(), now_ms=it.plane.now_ms())
    return application, {"Host": "sealwire", "Cookie": f"sealwire_session={token}", "Accept": "text/html"}


def test_no_route_takes_a_change_that_another_site_sends_with_a_session(tmp_path: Path) -> None:
    # Attack: cross-site request forgery, with every Origin but the one of this server, and without any.
    async def case(it: Console) -> None:
        ids = await furnish(it)
        application, browser = await session_of(it)
        before, wrong = without(dump(it.plane.database)), []
        for name in WHO:
            method, path = name.split(" ", 1)
            if method == "GET":
                continue
            for origin in FOREIGN:
                kind = "application/json" if path.startswith("/api/") else "application/x-www-form-urlencoded"
                headers = {**browser, "Content-Type": kind} | ({} if origin is None else {"Origin": origin})
                answer = await ask(application, method, concrete(path, ids), headers, b"{}")
                if answer.status != 403:
                    wrong.append(f"{name} from {origin!r}: {answer.status}")
        assert wrong == []
        assert without(dump(it.plane.database)) == before

    run(tmp_path, case)


def test_no_get_changes_anything(tmp_path: Path) -> None:
    # Attack: a picture or a link of another site; a session goes with it.
    async def case(it: Console) -> None:
        ids = await furnish(it)
        application, browser = await session_of(it)
        before, wrong = without(dump(it.plane.database)), []
        for name in WHO:
            method, path = name.split(" ", 1)
            if method == "GET" and not path.startswith("/live/"):
                await ask(application, method, concrete(path, ids), browser, b"")
                if without(dump(it.plane.database)) != before:
                    wrong.append(name)
                    before = without(dump(it.plane.database))
        assert wrong == []

    run(tmp_path, case)


def test_every_page_says_that_it_is_not_to_be_framed_kept_or_guessed_at(tmp_path: Path) -> None:
    # Attack: clickjacking; secrets in a cache; a page that is taken for another type.
    async def case(it: Console) -> None:
        ids = await furnish(it)
        application, browser = await session_of(it)
        stranger = {"Host": "sealwire", "Accept": "text/html"}
        places = [(name, who) for name in PAGES for who in (browser, stranger)]
        places += [("GET /nothing/here", browser), ("PUT /fleet", browser), ("POST /keys/new", browser)]
        wrong = []
        for name, headers in places:
            method, path = name.split(" ", 1)
            if path.startswith(("/live/", "/static/", "/install/")):
                continue
            answer = await ask(application, method, concrete(path, ids), headers, b"")
            policy = answer.headers.get("content-security-policy", "")
            is_right = (
                "frame-ancestors 'none'" in policy
                and "default-src 'none'" in policy
                and "unsafe" not in policy
                and answer.headers.get("x-frame-options") == "DENY"
                and answer.headers.get("x-content-type-options") == "nosniff"
                and answer.headers.get("referrer-policy") == "same-origin"
                and "no-store" in answer.headers.get("cache-control", "")
            )
            if not is_right:
                wrong.append((name, answer.status, answer.headers))
        assert wrong == []

    run(tmp_path, case)


def test_no_cache_keeps_an_answer_of_the_api(tmp_path: Path) -> None:
    # Attack: a proxy that does not know our header of a key gives the answer to somebody else.
    async def case(it: Console) -> None:
        ids = await furnish(it)
        application, _ = await session_of(it)
        headers = {"Host": "sealwire", "DD-Application-Key": it.headers["Authorization"].split()[1]}
        wrong = []
        for name in API:
            method, path = name.split(" ", 1)
            if method == "GET":
                answer = await ask(application, method, concrete(path, ids), headers, b"")
                if "no-store" not in answer.headers.get("cache-control", ""):
                    wrong.append((name, answer.status, answer.headers.get("cache-control")))
        assert wrong == []

    run(tmp_path, case)


def test_no_page_leads_elsewhere_and_no_answer_gets_a_header_from_outside(tmp_path: Path) -> None:
    # Attack: open redirect and header injection: in the query, in a path, in a form, in headers.
    async def case(it: Console) -> None:
        ids = await furnish(it)
        application, browser = await session_of(it)
        stranger = {"Host": "sealwire", "Accept": "text/html"}
        asked: list[tuple[str, str, dict[str, str], bytes]] = []
        hostile = "%0d%0aX-Injected:%201"
        for name in PAGES:
            method, path = name.split(" ", 1)
            if method == "GET" and not path.startswith("/live/"):
                evil = quote(HOSTILE[1], safe="")
                query = "&".join(f"{field}={evil}" for field in ("next", "back", "to", "url", "q", "return"))
                asked += [("GET", f"{concrete(path, ids)}?{query}", who, b"") for who in (browser, stranger)]
                odd = concrete(path, dict.fromkeys(ids, "\r\nX-Injected: 1"))
                asked.append(("GET", f"{odd}?next=/{hostile}", browser, b""))
        for target in HOSTILE:
            form = {**stranger, "Origin": ORIGIN, "Content-Type": "application/x-www-form-urlencoded"}
            key = it.headers["Authorization"].split()[1]
            body = urlencode({"application_key": key, "next": target}).encode()
            asked.append(("POST", "/sign-in", form, body))
            asked.append(("GET", f"/sign-in?next={quote(target, safe='')}", stranger, b""))
            dead = {
                **form,
                "Cookie": "sealwire_session=gone",
                "Referer": target.encode("ascii", "replace").decode(),
            }
            asked.append(("POST", "/keys/new", dead, b"name=x"))
        odd_headers = {"X-Request-Id": "a\r\nX-Injected: 1", "Cookie": "sealwire_done=a%0d%0aX-Injected:%201"}
        asked.append(("GET", "/sign-in", {**stranger, **odd_headers}, b""))
        asked.append(("GET", "/", {"Host": "evil.example", "Accept": "text/html"}, b""))
        wrong = []
        for method, path, headers, body in asked:
            answer = await ask(application, method, path, headers, body)
            location = answer.headers.get("location", "/")
            parts = urlsplit(location)
            leads_away = bool(parts.scheme or parts.netloc) or not location.startswith("/")
            leads_away = leads_away or location.startswith(("//", "/\\"))
            injected = "x-injected" in answer.headers or any(
                "\r" in value or "\n" in value for value in answer.headers.values()
            )
            links = re.findall(rb'(?:href|action|value)="((?:https?:)?//evil[^"]*)"', answer.body)
            forms = [
                one for one in links if b'href="' + one in answer.body or b'action="' + one in answer.body
            ]
            if leads_away or injected or forms or answer.status >= 500:
                wrong.append((method, path, answer.status, location, forms))
        assert wrong == []

    run(tmp_path, case)


def test_whatever_token_a_browser_brings_signing_in_makes_another_and_ends_that_one(tmp_path: Path) -> None:
    # Attack: session fixation, with a token that is nobody's and with one of the attacker's own session.
    async def case(it: Console) -> None:
        ann = await person(it, "ann@example.org", role("admin"))
        eve = await person(it, "eve@example.org", role("read_only"))
        of_eve = eve.http.cookies["sealwire_session"]
        for planted in ("planted", of_eve):
            ann.http.cookies.clear()
            form = {"email": ann.email, "password": PASSWORD}
            came = await ann.http.post(
                "/sign-in", data=form,
                headers={"Cookie": f"sealwire_session={planted}; sealwire_half={planted}"},
            )  # fmt: skip
            assert came.status_code == 303
            token = came.cookies["sealwire_session"]
            assert token not in ("", planted)
            looked = await it.client.get(f"{ADMIN}/whoami", headers={"Cookie": f"sealwire_session={planted}"})
            assert looked.status_code == 401

    run(tmp_path, case)


# Climbing ---------------------------------------------------------------------------------------------------


def test_an_administrator_of_one_service_does_nothing_to_the_whole_organisation(tmp_path: Path) -> None:
    # Attack: a role for one service switches everybody off, makes keys, rotates roots.
    async def case(it: Console) -> None:
        ann = await person(it, "ann@example.org", role("admin", ("shop",)))
        key = await it.post("/keys", {"name": "fleet", "remote_config": True})
        for method, path, body in (
            ("PUT", "/settings", {"remote_config": False, "at_once": True}),
            ("PUT", "/settings", {"name": "mine"}),
            ("POST", "/orgs", {"name": "mine"}),
            ("POST", "/keys", {"name": "mine", "remote_config": True}),
            ("DELETE", f"/keys/{key['id']}", None),
            ("PATCH", f"/keys/{key['id']}", {"remote_config": False}),
            ("POST", "/install/commands", {"name": "mine"}),
            ("POST", "/roots/director:rotate", {}),
            ("POST", "/webhooks", {"name": "m", "url": "https://m.example.org/", "events": ["agent.error"]}),
        ):
            refused = await ann.ask(method, path, body)
            assert refused.status_code == 403, (method, path, refused.text)
        assert "whole organisation" in (await ann.ask("POST", "/orgs", {"name": "mine"})).json()["detail"]
        mine = {"product": "ASM_FEATURES", "payload": ASM_ON, "targeting": {"service": ["shop"]}}
        assert (await ann.ask("POST", "/configs", mine)).status_code == 201

    run(tmp_path, case)


def test_an_invitation_dies_when_somebody_else_gives_its_user_more(tmp_path: Path) -> None:
    # Attack: keep the link of an invitation, wait until its user is made an administrator, and join as them.
    async def case(it: Console) -> None:
        inviting = ["user_access_invite", "fleet_read"]
        makers = await it.post("/roles", {"name": "Inviters", "permissions": inviting})
        ann = await person(it, "ann@example.org", role(makers["id"]))
        made = await ann.ask("POST", "/users", {"email": "ben@example.org", "roles": [role(makers["id"])]})
        ben = Person(it, "ben@example.org", made.json()["id"], made.json()["link"])

        await it.post(f"/users/{ben.user_id}/roles", role("admin"))

        assert (await ben.join()).status_code == 404
        ben.link = (await it.post(f"/users/{ben.user_id}/invitation", {}))["link"]
        assert (await ben.join()).status_code == 303

    run(tmp_path, case)


def test_a_link_dies_when_somebody_else_puts_more_into_the_role_of_its_user(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        inviting = ["user_access_invite", "fleet_read"]
        makers = await it.post("/roles", {"name": "Inviters", "permissions": inviting})
        lookers = await it.post("/roles", {"name": "Lookers", "permissions": ["fleet_read"]})
        ann = await person(it, "ann@example.org", role(makers["id"]))
        made = await ann.ask("POST", "/users", {"email": "ben@example.org", "roles": [role(lookers["id"])]})
        ben = Person(it, "ben@example.org", made.json()["id"], made.json()["link"])
        cem = await invited(it, "cem@example.org", role(lookers["id"]))

        change = {"expected_revision": 1, "permissions": ["fleet_read", "org_management"]}
        assert (await it.ask("PATCH", f"/roles/{lookers['id']}", change)).status_code == 200

        assert (await ben.join()).status_code == 404
        assert (await cem.join()).status_code == 303  # whoever gave more may hand out what they gave

    run(tmp_path, case)


def test_a_key_cut_down_to_looking_does_not_sign_its_user_out(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        ann = await person(it, "ann@example.org", role("standard"))
        cut = await ann.ask("POST", "/application-keys", {"name": "look", "scopes": ["fleet_read"]})
        headers = {"DD-Application-Key": cut.json()["key"]}
        sessions = (await ann.ask("GET", "/account/sessions")).json()["sessions"]

        for method, path in (
            ("POST", "/account/sessions:end-others"),
            ("DELETE", f"/account/sessions/{sessions[0]['id']}"),
        ):
            reply = await it.client.request(method, ADMIN + path, headers=headers)
            assert reply.status_code == 403, reply.text

        assert (await ann.ask("GET", "/whoami")).status_code == 200

    run(tmp_path, case)


# Reading what is not one's own to read ----------------------------------------------------------------------


def test_a_client_shows_no_config_of_a_product_one_may_not_read(tmp_path: Path) -> None:
    # Read Only may see the fleet, and not the configuration of tracers.
    async def case(it: Console) -> None:
        config = await it.put_config("APM_TRACING", LIB, name="sampling-secret")
        await it.published()
        agent = it.agent(tracer("c1", service="shop", products=("APM_TRACING",)))
        for _ in range(2):
            await it.poll(agent)
            agent.apply(now=utc_now())
        await it.plane.tenants[1].observer.flush()
        half = {"name": "Half", "permissions": ["fleet_read", "apm_remote_configuration_read"]}
        half_role = role((await it.post("/roles", half))["id"])
        lookers = [
            await person(it, "look@example.org", role("read_only")),
            await person(it, "half@example.org", half_role),  # of the product, but no configs at all
        ]
        worker = await person(it, "work@example.org", role("standard"))

        for path in ("/fleet/clients/c1", f"{ADMIN}/clients/c1", f"{ADMIN}/clients"):
            seen = (await worker.http.get(path)).text
            assert config["id"] in seen, path
            for looker in lookers:
                hidden = await looker.http.get(path)
                assert hidden.status_code == 200
                assert config["id"] not in hidden.text, path
                assert "sampling-secret" not in hidden.text, path
                assert "0.125" not in hidden.text, path

    run(tmp_path, case)


@pytest.mark.parametrize("way", ["change", "retire", "restore"])
def test_a_config_that_is_widened_at_this_moment_is_no_longer_ones_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    # Attack: a race between the look at a config's targeting and the change of it.
    publishing = Role("r", "R", frozenset({"rc_config_publish", *ASM_BOTH}))
    mine = {"payload": ASM_ON, "targeting": {"service": ["shop"]}}
    read = Author.get
    looks = 0

    def get(author: Author, config_id: str) -> rows.ConfigRow:
        nonlocal looks
        looks += 1
        row = read(author, config_id)
        if looks == 1:
            everybody: dict[str, Any] = {"targeting": {}}
            author.change(
                config_id, expected_revision=row.revision, fields=everybody, by="root", now=utc_now()
            )
        return row

    async def case(it: Console) -> None:
        config = await it.post("/configs", {"product": "ASM_FEATURES", **mine})
        ann = Principal("ann", 1, (Grant(publishing, services=frozenset({"shop"})),))
        editor = Editor(it.plane.tenants[1], ann, now=utc_now())
        with monkeypatch.context() as patched:
            patched.setattr(Author, "get", get)
            ways: dict[str, Callable[[], Awaitable[object]]] = {
                "change": lambda: editor.change(config["id"], mine, expected_revision=2),
                "retire": lambda: editor.retire(config["id"], expected_revision=None),
                "restore": lambda: editor.restore(config["id"], 1, expected_revision=2),
            }
            with pytest.raises(ConflictError):
                await ways[way]()
        after = await it.get(f"/configs/{config['id']}")
        assert (after["revision"], after["state"], after["targeting"]) == (2, "active", {})

    run(tmp_path, case)


# Unicode ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("invited_as", "vouched"),
    [
        ("strasse@example.org", "straße@example.org"),
        ("sam@example.org", "ſam@example.org"),
        ("kim@example.org", "\u212aim@example.org"),
        ("ann@strasse.example", "ann@straße.example"),
    ],
)
def test_a_provider_s_email_that_only_folds_to_the_same_is_not_the_same_person(
    tmp_path: Path, invited_as: str, vouched: str
) -> None:
    # Attack: another mailbox, verified in good faith, whose address is case folded to somebody's.
    async def case(it: Console) -> None:
        await it.post("/users", {"email": invited_as, "roles": [role("admin")]})
        settings = replace(it.plane.settings, oidc_allowed_domains=("*",), oidc_default_role="read_only")
        who = oidc.Vouched("https://idp.example", "subject-1", vouched, "")

        with pytest.raises(NotPermittedError, match="not written like"), it.plane.database.write() as c:
            oidc.admit(c, who, settings, org_id=1, now_ms=it.plane.now_ms())

        same = oidc.Vouched("https://idp.example", "subject-2", invited_as.upper(), "")
        with it.plane.database.write() as c:
            assert oidc.admit(c, same, settings, org_id=1, now_ms=it.plane.now_ms()).email == invited_as

    run(tmp_path, case)


def test_a_domain_that_only_folds_to_an_allowed_one_is_another(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        settings = replace(
            it.plane.settings, oidc_allowed_domains=("strasse.example",), oidc_default_role="read_only"
        )
        who = oidc.Vouched("https://idp.example", "subject-1", "ann@straße.example", "")

        with pytest.raises(NotPermittedError, match="come in from here"), it.plane.database.write() as c:
            oidc.admit(c, who, settings, org_id=1, now_ms=it.plane.now_ms())

    run(tmp_path, case)


# Exhaustion -------------------------------------------------------------------------------------------------


def test_a_filter_of_many_stars_takes_no_time(tmp_path: Path) -> None:
    # Attack: a pattern that goes back over what it matched, again and again, while every poll waits.
    grammar: Grammar[str] = Grammar(host=Field(lambda row: (row,), is_name=True))
    for text in ("a*" * 60 + "b", "host:" + "a*" * 60 + "b"):
        asked = grammar.parse(text)
        began = time.thread_time()
        assert not asked.matches("a" * 300)
        assert time.thread_time() - began < 0.5, text
    assert grammar.parse("we*d").matches("a-web-node-1")
    assert grammar.parse("[1]?").matches("host[1]?")
    assert not grammar.parse("[1]?").matches("host1x")


def test_one_viewer_does_not_take_every_live_page(tmp_path: Path) -> None:
    async def case() -> None:
        async def screen() -> dict[str, str]:
            return {"count": '<b id="count">1</b>'}

        viewers = Viewers(asyncio.Event())
        open_ones = [viewers._events(screen, await screen(), "1 eve") for _ in range(live.MAX_OF_ONE)]
        for stream in open_ones:
            await anext(stream)

        with pytest.raises(UnavailableError):
            await viewers.of("1 eve").stream(screen)
        await viewers.of("1 ann").stream(screen)

        await open_ones[0].aclose()
        await viewers.of("1 eve").stream(screen)
        for stream in open_ones[1:]:
            await stream.aclose()
        assert not viewers._of

    asyncio.run(case())


# Calls to elsewhere -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("address", ["64:ff9b::7f00:1", "2002:7f00:1::1", "::7f00:1", "64:ff9b::a00:1"])
def test_a_webhook_reaches_no_neighbour_through_an_address_that_carries_another(
    tmp_path: Path, address: str
) -> None:
    # Attack: an IPv6 address that a gateway turns into a private IPv4 one.
    async def case(it: Console) -> None:
        hook = {"name": "x", "url": f"http://[{address}]:1/", "events": ["agent.error"]}
        made = await it.post("/webhooks", hook)
        told = await it.post(f"/webhooks/{made['id']}/test", status=200)
        assert told["status"] is None
        assert "webhook_networks" in told["error"]

    run(tmp_path, case)


def test_a_webhook_that_no_request_can_carry_is_refused_at_once(tmp_path: Path) -> None:
    # Attack: one call that fails in an unforeseen way, and with it all those beside it.
    async def case(it: Console) -> None:
        for url in (
            "https://b\u00fccher.example/",
            "https://example.org/a\u2028b",
            "https://example.org/\ud800",
        ):
            hook = {"name": "x", "url": url, "events": ["agent.error"]}
            reply = await it.client.post(
                f"{ADMIN}/webhooks", content=json.dumps(hook).encode(),
                headers={**it.headers, "Content-Type": "application/json"},
            )  # fmt: skip
            assert reply.status_code in (400, 422), reply.text

    run(tmp_path, case)
