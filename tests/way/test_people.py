"""Users, roles and application keys through the real application: who may what, and who may give it."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from html import unescape
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest

from sealwire.server.access.permissions import PERMISSIONS
from tests.support.payloads import denied_ips
from tests.support.stack import ADMIN, AdminApi, ControlPlane
from tests.support.visitors import PASSWORD, Visitor

pytestmark = pytest.mark.loopback
_number = count(1)


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    folder: Path = tmp_path_factory.mktemp("people")
    with ControlPlane(folder / "server") as made:
        yield made


class Person:
    """A user who joined, at a browser: what they ask for goes with their session."""

    def __init__(self, plane: ControlPlane, *roles: dict[str, Any], email: str = "") -> None:
        number = next(_number)
        self.plane = plane
        self.email = email or f"person{number}@example.org"
        invited = plane.api.post("/users", {"email": self.email, "name": "", "roles": list(roles)})
        self.user_id: str = invited["id"]
        self.visitor = Visitor(plane, f"203.0.113.{number % 250}")
        came = self.visitor.join(invited["link"])
        assert came.status_code == 303, came.text

    def ask(self, method: str, path: str, body: object = None) -> httpx.Response:
        """A request to the admin API, as a page of ours would send it."""
        return self.visitor.http.request(
            method, ADMIN + path, json=body, headers={"Origin": self.plane.url, "Accept": "application/json"}
        )

    def get(self, path: str) -> httpx.Response:
        return self.visitor.get(path)

    def post(self, path: str, **form: object) -> httpx.Response:
        return self.visitor.post(path, form)

    def key(self, scopes: list[str] | None = None) -> AdminApi:
        """The admin API with a fresh application key of theirs."""
        made = self.ask("POST", "/application-keys", {"name": "of a test", "scopes": scopes})
        assert made.status_code == 201, made.text
        return AdminApi(self.plane.url, ca_file=self.plane.ca_file, application_key=made.json()["key"])


def role(role_id: str, services: tuple[str, ...] = (), envs: tuple[str, ...] = ()) -> dict[str, Any]:
    return {"role_id": role_id, "services": list(services), "envs": list(envs)}


def config(**targeting: list[str]) -> dict[str, Any]:
    return {"product": "ASM_DATA", "name": "block", "payload": denied_ips("1.2.3.4"), "targeting": targeting}


def made_role(plane: ControlPlane, *permissions: str, name: str = "") -> dict[str, Any]:
    made: dict[str, Any] = plane.api.post(
        "/roles", {"name": name or f"Role {next(_number)}", "permissions": list(permissions)}
    )
    return made


def said(page: httpx.Response) -> str:
    """The words of a page."""
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", page.text)))


# From an invitation to work -------------------------------------------------------------------------------


def test_who_is_invited_for_one_service_joins_and_changes_that_and_no_other(plane: ControlPlane) -> None:
    ann = Person(plane, role("standard", ("Shop",), ("staging",)))

    mine = ann.ask("POST", "/configs", config(service=["shop"], env=["staging"]))
    assert mine.status_code == 201, mine.text
    for targeting in (
        {}, {"service": ["shop"]}, {"service": ["shop", "pay"], "env": ["staging"]},
        {"service": ["pay"], "env": ["staging"]}, {"service": ["shop"], "env": ["prod"]},
    ):  # fmt: skip
        assert ann.ask("POST", "/configs", config(**targeting)).status_code == 403, targeting
    config_id = mine.json()["id"]
    wider = {"expected_revision": 1, "targeting": {"service": ["shop"]}}
    assert ann.ask("PUT", f"/configs/{config_id}", wider).status_code == 403
    theirs = plane.api.post("/configs", config(service=["pay"]))
    assert ann.ask("DELETE", f"/configs/{theirs['id']}?expected_revision=1").status_code == 403
    assert ann.ask("DELETE", f"/configs/{config_id}?expected_revision=1").status_code == 200
    assert ann.ask("GET", f"/configs/{theirs['id']}").status_code == 200, "what is read is not cut"


def test_a_role_that_is_taken_away_is_gone_with_the_next_request(plane: ControlPlane) -> None:
    ann = Person(plane, role("standard"), role("read_only"))
    by_key = ann.key()
    user = plane.api.get(f"/users/{ann.user_id}")
    standard = next(one for one in user["roles"] if one["role_id"] == "standard")
    assert ann.ask("GET", "/keys").status_code == by_key.request("GET", f"{ADMIN}/keys").status == 200

    plane.api.delete(f"/users/{ann.user_id}/roles/{standard['binding_id']}")

    assert ann.ask("GET", "/keys").status_code == by_key.request("GET", f"{ADMIN}/keys").status == 403
    assert ann.ask("GET", "/configs").status_code == 200


def test_what_is_taken_out_of_a_role_is_gone_with_the_next_request(plane: ControlPlane) -> None:
    made = made_role(plane, "rc_config_read", "audit_logs_read")
    ann = Person(plane, role(made["id"]))
    assert ann.ask("GET", "/audit").status_code == 200

    plane.api.patch(f"/roles/{made['id']}", {"expected_revision": 1, "permissions": ["rc_config_read"]})

    assert ann.ask("GET", "/audit").status_code == 403


def test_a_user_who_is_disabled_is_out_at_once_and_so_are_their_keys(plane: ControlPlane) -> None:
    ann = Person(plane, role("standard"))
    by_key = ann.key()

    plane.api.patch(f"/users/{ann.user_id}", {"state": "disabled"})

    assert not ann.visitor.is_in
    assert by_key.request("GET", f"{ADMIN}/whoami").status == 401
    assert ann.visitor.sign_in(ann.email).status_code == 401
    plane.api.patch(f"/users/{ann.user_id}", {"state": "active"})
    assert by_key.request("GET", f"{ADMIN}/whoami").status == 200
    assert not ann.visitor.is_in, "sessions that ended stay so"
    assert ann.visitor.sign_in(ann.email).status_code == 303


def test_an_invitation_works_once_and_a_newer_one_ends_it(plane: ControlPlane) -> None:
    invited = plane.api.post("/users", {"email": "twice@example.org", "roles": [role("read_only")]})
    newer = plane.api.post(f"/users/{invited['id']}/invitation")

    assert Visitor(plane).join(invited["link"]).status_code == 404
    assert Visitor(plane).join(newer["link"]).status_code == 303
    assert Visitor(plane).join(newer["link"]).status_code == 404
    assert plane.api.request("POST", f"{ADMIN}/users/{invited['id']}/invitation", {}).status == 409


def test_a_reset_link_sets_a_password_and_ends_what_was(plane: ControlPlane) -> None:
    ann = Person(plane, role("standard"))
    link = plane.api.post(f"/users/{ann.user_id}/reset-link")["link"]
    assert ann.visitor.is_in, "until it is used"

    fresh = Visitor(plane)
    assert (
        fresh.join(link, password="another walrus on Friday", again="another walrus on Friday").status_code
        == 303
    )

    assert not ann.visitor.is_in
    assert ann.visitor.sign_in(ann.email, PASSWORD).status_code == 401


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"email": "no email", "roles": [role("standard")]}, "$.email"),
        ({"email": "x@example.org", "roles": []}, "$.roles"),
        ({"email": "x@example.org", "name": "a\nb\u202e", "roles": [role("standard")]}, "$.name"),
        ({"email": "x@example.org", "roles": [role("standard", ("x" * 201,))]}, "$.services"),
    ],
)
def test_an_invitation_that_cannot_be_is_refused_whole(
    plane: ControlPlane, body: dict[str, Any], path: str
) -> None:
    refused = plane.api.request("POST", f"{ADMIN}/users", body)

    assert refused.status == 422
    assert [problem["path"] for problem in refused.document["problems"]] == [path]
    assert "x@example.org" not in [user["email"] for user in plane.api.get("/users")["users"]]


def test_an_email_is_one_persons_however_it_is_written(plane: ControlPlane) -> None:
    plane.api.post("/users", {"email": "Straße@Example.org", "roles": [role("read_only")]})

    again = plane.api.request(
        "POST", f"{ADMIN}/users", {"email": "STRASSE@example.org", "roles": [role("read_only")]}
    )

    assert again.status == 409


# Who may give what ----------------------------------------------------------------------------------------


def test_nobody_climbs_without_the_permission_to_manage(plane: ControlPlane) -> None:
    ann = Person(plane, role("standard"))
    other = Person(plane, role("read_only"))

    for method, path, body in (
        ("POST", f"/users/{ann.user_id}/roles", role("admin")),
        ("POST", "/roles", {"name": "Mine", "permissions": ["fleet_read"]}),
        ("POST", "/users", {"email": "y@example.org", "roles": [role("read_only")]}),
        ("PATCH", f"/users/{other.user_id}", {"state": "disabled"}),
        ("POST", f"/users/{other.user_id}/reset-link", {}),
        ("DELETE", f"/users/{other.user_id}/second-factor", None),
        ("DELETE", f"/users/{other.user_id}/sessions", None),
        ("GET", f"/users/{other.user_id}/sessions", None),
        ("GET", "/organisation/application-keys", None),
    ):
        assert ann.ask(method, path, body).status_code == 403, (method, path)
    for path in (f"/people/{other.user_id}/disable", "/people/invite", "/people/roles/new", "/people/keys"):
        assert ann.get(path).status_code == 403, path
    assert other.ask("GET", "/users").status_code == 403


def test_who_manages_people_gives_nothing_they_do_not_have(plane: ControlPlane) -> None:
    managers = made_role(plane, "user_access_manage", "user_access_read", "user_access_invite", "fleet_read")
    ann = Person(plane, role(managers["id"]))
    admin = Person(plane, role("admin"))
    stronger = made_role(plane, "fleet_read", "rc_keys_manage")

    for method, path, body in (
        ("POST", f"/users/{ann.user_id}/roles", role("admin")),
        ("POST", f"/users/{ann.user_id}/roles", role("standard", ("shop",))),
        ("POST", f"/users/{ann.user_id}/roles", role(stronger["id"])),
        ("POST", "/users", {"email": "climber@example.org", "roles": [role("admin")]}),
        ("POST", "/roles", {"name": "More", "permissions": ["fleet_read", "rc_keys_manage"]}),
        ("PATCH", f"/roles/{managers['id']}",
         {"expected_revision": 1, "permissions": [*managers["permissions"], "rc_keys_manage"]}),
        ("POST", f"/users/{admin.user_id}/reset-link", {}),
        ("DELETE", f"/users/{admin.user_id}/second-factor", None),
    ):  # fmt: skip
        refused = ann.ask(method, path, body)
        assert refused.status_code == 403, (method, path, refused.text)
    assert not any(user["email"] == "climber@example.org" for user in plane.api.get("/users")["users"])
    may = ann.ask("POST", "/roles", {"name": "Lookers", "permissions": ["fleet_read"]})
    assert may.status_code == 201
    assert ann.ask("POST", f"/users/{admin.user_id}/roles", role(may.json()["id"])).status_code == 201


def test_no_invitation_link_of_somebody_stronger_is_had(plane: ControlPlane) -> None:
    inviters = made_role(plane, "user_access_invite", "user_access_read", "fleet_read")
    ann = Person(plane, role(inviters["id"]))
    boss = plane.api.post("/users", {"email": "boss@example.org", "roles": [role("admin")]})

    assert ann.ask("POST", f"/users/{boss['id']}/invitation", {}).status_code == 403

    equal = ann.ask("POST", "/users", {"email": "equal@example.org", "roles": [role(inviters["id"])]})
    assert equal.status_code == 201
    assert ann.ask("POST", f"/users/{equal.json()['id']}/invitation", {}).status_code == 201


def test_a_link_made_while_somebody_had_less_does_not_let_in_as_an_administrator(plane: ControlPlane) -> None:
    managers = made_role(plane, "user_access_manage", "user_access_read", "rc_config_read")
    lookers = made_role(plane, "rc_config_read")
    ann, ben = Person(plane, role(managers["id"])), Person(plane, role(lookers["id"]))
    link = ann.ask("POST", f"/users/{ben.user_id}/reset-link", {}).json()["link"]

    plane.api.post(f"/users/{ben.user_id}/roles", role("admin"))

    assert Visitor(plane).join(link).status_code == 404


def test_roles_that_are_always_there_stay_as_they_are(plane: ControlPlane) -> None:
    for role_id in ("admin", "standard", "read_only"):
        body = {"expected_revision": 0, "permissions": list(PERMISSIONS)}
        assert plane.api.request("PATCH", f"{ADMIN}/roles/{role_id}", body).status == 422
        assert plane.api.request("DELETE", f"{ADMIN}/roles/{role_id}?expected_revision=0").status == 422
    assert len(plane.api.get("/roles/read_only")["permissions"]) < len(PERMISSIONS)


def test_a_key_with_scopes_climbs_nowhere(plane: ControlPlane) -> None:
    admin = Person(plane, role("admin"))
    cut = admin.key(["user_access_manage", "user_access_read", "user_app_keys"])

    assert cut.request("GET", f"{ADMIN}/configs").status == 403
    for body in ({"name": "all", "scopes": None}, {"name": "more", "scopes": ["org_management"]}):
        assert cut.request("POST", f"{ADMIN}/application-keys", body).status == 403
    assert cut.request("POST", f"{ADMIN}/users/{admin.user_id}/roles", role("standard")).status == 403
    body = {"name": "Climb", "permissions": ["rc_keys_manage"]}
    assert cut.request("POST", f"{ADMIN}/roles", body).status == 403
    same = cut.request("POST", f"{ADMIN}/application-keys", {"name": "same", "scopes": ["user_access_read"]})
    assert same.status == 201


# The last administrator -----------------------------------------------------------------------------------


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[ControlPlane]:
    with ControlPlane(tmp_path / "server") as made:
        yield made


def admin_binding(plane: ControlPlane, person: Person) -> str:
    roles = plane.api.get(f"/users/{person.user_id}")["roles"]
    found: str = next(one["binding_id"] for one in roles if one["role_id"] == "admin")
    return found


def test_the_last_administrator_stays_however_it_is_tried(fresh: ControlPlane) -> None:
    boss = Person(fresh, role("admin"), role("standard"))
    Person(fresh, role("admin", ("shop",)))  # with a restriction: does not count
    fresh.api.post("/users", {"email": "late@example.org", "roles": [role("admin")]})  # did not join
    gone = Person(fresh, role("admin"))
    fresh.api.patch(f"/users/{gone.user_id}", {"state": "disabled"})
    binding = admin_binding(fresh, boss)

    taken = fresh.api.request("DELETE", f"{ADMIN}/users/{boss.user_id}/roles/{binding}")
    disabled = fresh.api.request("PATCH", f"{ADMIN}/users/{boss.user_id}", {"state": "disabled"})
    deleted = fresh.api.request("DELETE", f"{ADMIN}/roles/admin?expected_revision=0")

    assert [taken.status, disabled.status, deleted.status] == [422, 422, 422]
    assert "last administrator" in taken.document["detail"]
    assert "Make somebody else one first" in disabled.document["detail"]
    page = boss.get(f"/people/{boss.user_id}/disable")
    assert "This is the last administrator" in said(page)
    assert "<form" not in page.text.partition("<main")[2]
    sent = boss.post(f"/people/{boss.user_id}/disable", confirm=boss.email)
    assert sent.status_code == 422
    refused = boss.post(f"/people/{boss.user_id}/roles/{binding}/take")
    assert (refused.status_code, "last administrator" in said(refused)) == (422, True)
    assert boss.ask("GET", "/users").status_code == 200

    fresh.api.patch(f"/users/{gone.user_id}", {"state": "active"})
    assert fresh.api.request("DELETE", f"{ADMIN}/users/{boss.user_id}/roles/{binding}").status == 200


def test_of_two_who_remove_each_other_at_the_same_moment_one_stays(fresh: ControlPlane) -> None:
    one, other = Person(fresh, role("admin")), Person(fresh, role("admin"))
    binding = admin_binding(fresh, one)

    answers = at_once(
        lambda: one.ask("PATCH", f"/users/{other.user_id}", {"state": "disabled"}).status_code,
        lambda: other.ask("DELETE", f"/users/{one.user_id}/roles/{binding}").status_code,
    )

    # One request was taken; the other was refused, or whoever sent it was out already.
    assert answers.count(200) == 1, answers
    active = [
        user["email"]
        for user in fresh.api.get("/users")["users"]
        if user["state"] == "active" and any(held["role_id"] == "admin" for held in user["roles"])
    ]
    assert len(active) == 1


def at_once(*attempts: Callable[[], int]) -> list[int]:
    gate, answers = threading.Barrier(len(attempts)), []

    def run(attempt: Callable[[], int]) -> None:
        gate.wait()
        answers.append(attempt())

    threads = [threading.Thread(target=run, args=(attempt,)) for attempt in attempts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return answers


def test_two_who_change_one_role_lose_nothing(plane: ControlPlane) -> None:
    made = made_role(plane, "fleet_read")
    answers = at_once(
        *(
            lambda name=name: (
                plane.api.request(
                    "PATCH", f"{ADMIN}/roles/{made['id']}", {"expected_revision": 1, "name": name}
                ).status
            )
            for name in ("First of two", "Second of two")
        )
    )

    assert sorted(answers) == [200, 409]
    assert plane.api.get(f"/roles/{made['id']}")["revision"] == 2


@pytest.mark.parametrize("attempt", range(3))
def test_a_role_is_not_deleted_while_somebody_is_given_it(plane: ControlPlane, attempt: int) -> None:
    made, person = made_role(plane, "fleet_read"), Person(plane, role("read_only"))
    give, delete = f"{ADMIN}/users/{person.user_id}/roles", f"{ADMIN}/roles/{made['id']}?expected_revision=1"

    answers = at_once(
        lambda: plane.api.request("POST", give, role(made["id"])).status,
        lambda: plane.api.request("DELETE", delete).status,
    )

    assert sorted(answers) in ([201, 422], [204, 404])


# Other organisations --------------------------------------------------------------------------------------


def test_what_another_organisation_has_is_not_there(plane: ControlPlane) -> None:
    other = plane.api.post("/orgs", {"name": f"other {next(_number)}"})
    theirs = AdminApi(plane.url, ca_file=plane.ca_file, application_key=other["application_key"])
    user = theirs.post("/users", {"email": f"far{next(_number)}@example.org", "roles": [role("admin")]})
    binding = theirs.get(f"/users/{user['id']}")["roles"][0]["binding_id"]
    made = theirs.post("/roles", {"name": "Theirs", "permissions": ["fleet_read"]})
    key = theirs.get("/organisation/application-keys")["application_keys"][0]
    mine = Person(plane, role("admin"))
    before = theirs.get("/users"), theirs.get("/roles"), len(theirs.get("/audit")["events"])

    for method, path, body in (
        ("GET", f"/users/{user['id']}", None),
        ("PATCH", f"/users/{user['id']}", {"name": "mine"}),
        ("PATCH", f"/users/{user['id']}", {"state": "disabled"}),
        ("POST", f"/users/{user['id']}/invitation", {}),
        ("POST", f"/users/{user['id']}/reset-link", {}),
        ("DELETE", f"/users/{user['id']}/second-factor", None),
        ("GET", f"/users/{user['id']}/sessions", None),
        ("DELETE", f"/users/{user['id']}/sessions", None),
        ("POST", f"/users/{user['id']}/roles", role("read_only")),
        ("DELETE", f"/users/{user['id']}/roles/{binding}", None),
        ("DELETE", f"/users/{mine.user_id}/roles/{binding}", None),
        ("POST", f"/users/{mine.user_id}/roles", role(made["id"])),
        ("GET", f"/roles/{made['id']}", None),
        ("PATCH", f"/roles/{made['id']}", {"expected_revision": 1, "name": "mine"}),
        ("DELETE", f"/roles/{made['id']}?expected_revision=1", None),
        ("DELETE", f"/application-keys/{key['id']}", None),
        ("DELETE", f"/organisation/application-keys/{key['id']}", None),
    ):
        assert mine.ask(method, path, body).status_code == 404, (method, path)
    for path in (f"/people/{user['id']}", f"/people/{user['id']}/disable", f"/people/roles/{made['id']}",
                 f"/people/roles/{made['id']}/edit", f"/people/keys/{key['id']}/revoke"):  # fmt: skip
        assert mine.get(path).status_code == 404, path
    for path in (f"/people/{user['id']}/enable", f"/people/{user['id']}/sessions/end",
                 f"/people/{user['id']}/roles/{binding}/take", f"/people/{user['id']}/reset-link",
                 f"/people/roles/{made['id']}/delete", f"/people/keys/{key['id']}/revoke"):  # fmt: skip
        assert mine.post(path, confirm="x").status_code == 404, path
    assert (theirs.get("/users"), theirs.get("/roles"), len(theirs.get("/audit")["events"])) == before


@pytest.mark.parametrize("strange", ["%00", "x" * 300, "..%2F..", "%F0%9F%92%A9", "'--", "new"])
def test_what_is_no_id_is_not_there(plane: ControlPlane, strange: str) -> None:
    for path in (f"/users/{strange}", f"/users/{strange}/sessions", f"/roles/{strange}"):
        assert plane.api.request("GET", ADMIN + path).status == 404, path
    assert plane.api.request("DELETE", f"{ADMIN}/application-keys/{strange}").status in (404, 403)


# Application keys -----------------------------------------------------------------------------------------


def test_a_key_is_shown_once_seen_by_its_user_and_gone_when_revoked(plane: ControlPlane) -> None:
    ann = Person(plane, role("standard"))
    made = ann.ask("POST", "/application-keys", {"name": "deploys", "scopes": ["rc_config_read"]}).json()
    by_key = AdminApi(plane.url, ca_file=plane.ca_file, application_key=made["key"])

    assert by_key.get("/whoami")["user"] == ann.email
    assert by_key.request("GET", f"{ADMIN}/keys").status == 403
    listed = ann.ask("GET", "/application-keys").json()["application_keys"]
    assert [one["name"] for one in listed] == ["deploys"]
    assert listed[0]["last_used_at"] is not None
    assert "key" not in listed[0]
    everybodys = plane.api.get("/organisation/application-keys")["application_keys"]
    assert made["id"] in [one["id"] for one in everybodys]

    assert ann.ask("DELETE", f"/application-keys/{made['id']}").status_code == 204
    assert by_key.request("GET", f"{ADMIN}/whoami").status == 401


def test_nobody_revokes_a_key_of_somebody_else_without_the_permission(plane: ControlPlane) -> None:
    ann, ben = Person(plane, role("standard")), Person(plane, role("standard"))
    key_id = ann.ask("POST", "/application-keys", {"name": "ann's", "scopes": None}).json()["id"]

    assert ben.ask("DELETE", f"/application-keys/{key_id}").status_code == 404
    assert ben.ask("DELETE", f"/organisation/application-keys/{key_id}").status_code == 403
    assert plane.api.request("DELETE", f"{ADMIN}/organisation/application-keys/{key_id}").status == 204


# The pages ------------------------------------------------------------------------------------------------


def test_the_form_of_an_invitation_shows_its_link_once(plane: ControlPlane) -> None:
    admin = Person(plane, role("admin"))

    made = admin.post("/people/invite", email="nina@example.org", name="Nina", role="standard",
                      services="shop, cart", envs="staging")  # fmt: skip

    assert made.status_code == 200, made.text
    link = re.search(rf"{re.escape(plane.url)}/join/[\w-]+", made.text)
    assert link is not None
    assert made.headers["cache-control"] == "no-store"
    assert Visitor(plane).join(link[0]).status_code == 303
    page = said(admin.get("/people?q=nina"))
    assert "Nina nina@example.org Standard for cart, shop in staging" in page
    assert link[0] not in admin.get("/people").text


def test_a_form_that_is_not_taken_keeps_what_was_typed(plane: ControlPlane) -> None:
    admin = Person(plane, role("admin"))

    refused = admin.post("/people/invite", email='"><script>', name="Ann", role="standard", services="shop")

    assert refused.status_code == 422
    assert "This is not an email address." in said(refused)
    assert 'value="&#34;&gt;&lt;script&gt;"' in refused.text
    assert 'value="shop"' in refused.text
    assert '<option value="standard" selected>' in refused.text


def test_a_role_is_written_in_two_steps_with_what_it_means_between(plane: ControlPlane) -> None:
    admin = Person(plane, role("admin"))
    form = {"name": "Shop team", "description": "", "start": "read_only", "revision": "0",
            "permissions": ["fleet_read", "rc_config_read", "api_keys_write"]}  # fmt: skip

    review = admin.post("/people/roles/new", **form, do="review")

    assert review.status_code == 200
    words = said(review)
    assert "Make API keys, give and take the Remote Configuration scope" in words
    assert "against the role Read Only" in words
    assert not any(one["name"] == "Shop team" for one in plane.api.get("/roles")["roles"])
    back = admin.post("/people/roles/new", **form, do="edit")
    assert back.text.count(" checked") == 3
    saved = admin.post("/people/roles/new", **form, do="save")
    assert saved.status_code == 303
    made = next(one for one in plane.api.get("/roles")["roles"] if one["name"] == "Shop team")
    assert made["permissions"] == ["api_keys_write", "fleet_read", "rc_config_read"]

    # Two edit it: the second is told, keeps what they chose and sees how it differs.
    edit = f"/people/roles/{made['id']}/edit"
    assert admin.get(edit).text.count(" checked") == 3
    plane.api.patch(f"/roles/{made['id']}", {"expected_revision": 1, "permissions": ["fleet_read"]})
    mine = {"name": "Shop team", "revision": "1", "permissions": ["fleet_read", "rc_config_read"]}
    late = admin.post(edit, **mine, do="save")
    assert late.status_code == 409
    assert "Somebody saved this role since you opened it" in said(late)
    assert late.text.count(" checked") == 2
    again = admin.post(edit, **{**mine, "revision": "2"}, do="review")
    assert "See configs, their history and their targeting" in said(again)
    assert admin.post(edit, **{**mine, "revision": "2"}, do="save").status_code == 303

    held = plane.api.post(f"/users/{admin.user_id}/roles", role(made["id"]))
    assert "1 in the way" in said(admin.get(f"/people/roles/{made['id']}/delete"))
    plane.api.delete(f"/users/{admin.user_id}/roles/{held['binding_id']}")
    delete = f"/people/roles/{made['id']}/delete"
    assert admin.post(delete, confirm="shop", revision="3").status_code == 422
    assert admin.post(delete, confirm="Shop team", revision="3").status_code == 303


def test_disabling_somebody_says_what_it_means_and_wants_their_email(plane: ControlPlane) -> None:
    admin, ann = Person(plane, role("admin")), Person(plane, role("standard"))
    ann.key()

    page = said(admin.get(f"/people/{ann.user_id}/disable"))
    assert "1 session ends at once" in page
    assert "1 application key of theirs stops working" in page
    assert admin.post(f"/people/{ann.user_id}/disable", confirm="wrong").status_code == 422
    assert ann.visitor.is_in
    assert admin.post(f"/people/{ann.user_id}/disable", confirm=ann.email).status_code == 303
    assert not ann.visitor.is_in
    assert admin.post(f"/people/{ann.user_id}/enable").status_code == 303
    assert ann.visitor.sign_in(ann.email).status_code == 303


def test_pages_do_the_rest_of_what_the_api_does(plane: ControlPlane) -> None:
    admin, ann = Person(plane, role("admin")), Person(plane, role("read_only"))
    base = f"/people/{ann.user_id}"

    assert admin.post(f"{base}/roles", role="standard", services="shop cart", envs="").status_code == 303
    given = next(r for r in plane.api.get(f"/users/{ann.user_id}")["roles"] if r["role_id"] == "standard")
    assert given["services"] == ["cart", "shop"]
    assert "You have" not in said(admin.get(base))
    assert admin.post(f"{base}/roles", role="standard", services="shop, cart").status_code == 409
    assert admin.post(f"{base}/roles/{given['binding_id']}/take").status_code == 303
    assert admin.post(f"{base}/name", name="Ann of the shop").status_code == 303
    assert "Ann of the shop" in said(admin.get("/people"))
    assert "Firefox" in said(admin.get(base))
    assert admin.post(f"{base}/sessions/end").status_code == 303
    assert not ann.visitor.is_in
    link = admin.post(f"{base}/reset-link")
    assert "works once, within 24 hours" in said(link)
    assert admin.post(f"{base}/second-factor", confirm=ann.email).status_code == 404, "there is none"


def test_keys_by_pages(plane: ControlPlane) -> None:
    admin, ann = Person(plane, role("admin")), Person(plane, role("standard"))

    none = ann.post("/account/keys/new", name="nothing", reach="some")
    assert none.status_code == 422
    more = ann.post("/account/keys/new", name="more", reach="some", permissions=["org_management"])
    assert more.status_code == 403
    made = ann.post("/account/keys/new", name="deploys", reach="some", permissions=["rc_config_read"])
    secret = re.search(r"<code id=\"new-key\">([0-9a-f]{40})</code>", made.text)
    assert secret is not None
    by_key = AdminApi(plane.url, ca_file=plane.ca_file, application_key=secret[1])
    assert by_key.get("/whoami")["user"] == ann.email
    assert secret[1] not in ann.get("/account/keys").text
    key_id = ann.ask("GET", "/application-keys").json()["application_keys"][0]["id"]

    assert ann.post(f"/account/keys/{key_id}/revoke", confirm="deploy").status_code == 422
    assert admin.post(f"/people/keys/{key_id}/revoke", confirm="deploys").status_code == 303
    assert by_key.request("GET", f"{ADMIN}/whoami").status == 401
    assert ann.get("/account/keys").status_code == 200


def test_names_from_outside_are_shown_and_do_nothing(plane: ControlPlane) -> None:
    admin = Person(plane, role("admin"))
    evil = "<script>alert(1)</script>{{ 7*7 }}"
    made = plane.api.post("/roles", {"name": evil, "description": evil, "permissions": ["fleet_read"]})
    person = Person(plane, role(made["id"], (evil,), (evil,)), email="<b>@example.org")
    plane.api.patch(f"/users/{person.user_id}", {"name": evil})

    for path in (
        "/people", f"/people/{person.user_id}", f"/people/{person.user_id}/disable", "/people/roles",
        f"/people/roles/{made['id']}", f"/people/roles/{made['id']}/edit",
    ):  # fmt: skip
        page = admin.get(path)
        assert page.status_code == 200
        assert "<script>alert" not in page.text
        assert "{{ 7*7 }}" in page.text


def test_every_change_of_people_is_in_the_audit_trail(plane: ControlPlane) -> None:
    admin = Person(plane, role("admin"))
    made = admin.ask("POST", "/roles", {"name": "Watched", "permissions": ["fleet_read"]}).json()
    given = admin.ask("POST", f"/users/{admin.user_id}/roles", role(made["id"])).json()
    admin.ask("DELETE", f"/users/{admin.user_id}/roles/{given['binding_id']}")
    admin.ask("DELETE", f"/roles/{made['id']}?expected_revision=1")

    events = [(event["action"], event["actor"]) for event in plane.api.get("/audit?limit=10")["events"]]

    expected = ["role.deleted", "role.taken", "role.given", "role.created"]
    assert events[:4] == [(action, admin.email) for action in expected]


def test_replies_of_forms_of_another_site_are_refused(plane: ControlPlane) -> None:
    admin = Person(plane, role("admin"))

    for path in (
        "/people/invite",
        f"/people/{admin.user_id}/roles",
        "/people/roles/new",
        "/account/keys/new",
    ):
        forged = admin.visitor.post(path, {"email": "z@example.org"}, Origin="https://evil.example")
        assert forged.status_code == 403, path
