"""Attacks on the pages and on the admin API, each against the real application: what must not work."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from sealwire.clock import utc_now
from sealwire.errors import ConflictError, NotPermittedError
from sealwire.server.access import oidc
from sealwire.server.access.permissions import Grant, Principal, Role
from sealwire.server.app import build
from sealwire.server.author import Author
from sealwire.server.editing import Editor
from sealwire.server.store import rows
from tests.support.console import ADMIN, Console, run
from tests.support.parts import ASM_ON
from tests.support.simulated_agent import tracer
from tests.support.visitors import PASSWORD

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
        looker = await person(it, "look@example.org", role("read_only"))
        worker = await person(it, "work@example.org", role("standard"))

        for path in ("/fleet/clients/c1", f"{ADMIN}/clients/c1", f"{ADMIN}/clients"):
            seen = (await worker.http.get(path)).text
            assert config["id"] in seen, path
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
