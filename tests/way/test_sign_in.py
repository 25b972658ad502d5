"""Signing in to the pages through the real application, and what must not work."""

from __future__ import annotations

import hashlib
import os
import re
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import pyotp
import pytest

from tests.support.stack import Api, ControlPlane, Reply
from tests.support.visitors import PASSWORD, Visitor, command, fields_of, first_run_link, invite

pytestmark = pytest.mark.loopback


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    folder: Path = tmp_path_factory.mktemp("sign-in")
    with ControlPlane(folder / "server") as made:
        yield made


def send(
    plane: ControlPlane, method: str, path: str, form: dict[str, str] | None = None, **headers: str
) -> Reply:
    body = None if form is None else urlencode(form).encode()
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return Api(plane.url, ca_file=plane.ca_file).request(
        method, path, body, headers={"Accept": "text/html", **given}
    )


def signed_in(plane: ControlPlane, next_path: str = "/") -> Reply:
    form = {"application_key": plane.application_key, "next": next_path}
    return send(plane, "POST", "/sign-in", form, Origin=plane.url)


def header(reply: Reply, name: str) -> str:
    return next((value for key, value in reply.headers.items() if key.lower() == name), "")


def cookie_of(reply: Reply) -> str:
    return header(reply, "set-cookie").partition(";")[0]


def test_a_page_sends_a_stranger_to_sign_in_and_back(plane: ControlPlane) -> None:
    stranger = send(plane, "GET", "/fleet?q=env:prod")

    assert stranger.status == 303
    assert header(stranger, "location") == "/sign-in?next=/fleet%3Fq%3Denv%3Aprod"
    assert send(plane, "GET", "/sign-in").status == 200
    back = signed_in(plane, "/fleet?q=env:prod")
    assert (back.status, header(back, "location")) == (303, "/fleet?q=env:prod")
    assert send(plane, "GET", "/fleet", Cookie=cookie_of(back)).status == 200


def test_the_cookie_is_out_of_reach_of_scripts_other_hosts_and_plain_http(plane: ControlPlane) -> None:
    cookie = header(signed_in(plane), "set-cookie")

    assert cookie.startswith("__Host-sealwire_session=")
    for attribute in ("HttpOnly", "Secure", "Path=/", "SameSite=lax"):
        assert attribute in cookie
    assert "Domain" not in cookie
    assert plane.application_key not in cookie


@pytest.mark.parametrize(
    "elsewhere", ["https://evil.example/", "//evil.example", "/\\evil.example", "javascript:x", "/a\r\nX: y"]
)
def test_signing_in_leads_nowhere_else(plane: ControlPlane, elsewhere: str) -> None:
    assert header(signed_in(plane, elsewhere), "location") == "/"


@pytest.mark.parametrize("origin", ["https://evil.example", "null", ""])
def test_a_form_of_another_site_changes_nothing(plane: ControlPlane, origin: str) -> None:
    cookie = cookie_of(signed_in(plane))
    elsewhere = {"Origin": origin} if origin else {}

    forged = Api(plane.url, ca_file=plane.ca_file, headers={"Cookie": cookie, **elsewhere}).request(
        "POST", "/api/admin/v1/keys", {"name": "forged", "remote_config": True}
    )

    assert forged.status == 403
    assert [key["name"] for key in plane.api.get("/keys")["keys"]].count("forged") == 0
    form = {"application_key": plane.application_key}
    assert send(plane, "POST", "/sign-in", form, **elsewhere).status == 403


def test_a_session_of_this_server_may_change_what_its_key_may(plane: ControlPlane) -> None:
    cookie = cookie_of(signed_in(plane))

    made = Api(plane.url, ca_file=plane.ca_file, headers={"Cookie": cookie, "Origin": plane.url}).request(
        "POST", "/api/admin/v1/keys", {"name": "own page", "remote_config": False}
    )

    assert made.status == 201


def test_a_token_that_was_planted_is_not_the_one_of_the_session(plane: ControlPlane) -> None:
    planted = "__Host-sealwire_session=planted"
    form = {"application_key": plane.application_key}

    reply = send(plane, "POST", "/sign-in", form, Origin=plane.url, Cookie=planted)

    assert cookie_of(reply) != planted
    assert send(plane, "GET", "/", Cookie=planted).status == 303


def test_signing_out_ends_the_session(plane: ControlPlane) -> None:
    cookie = cookie_of(signed_in(plane))

    assert send(plane, "POST", "/sign-out", {}, Origin=plane.url, Cookie=cookie).status == 303

    assert send(plane, "GET", "/", Cookie=cookie).status == 303


def test_guessing_is_slowed_down_by_address(plane: ControlPlane) -> None:
    somebody = Visitor(plane, "198.51.100.9")
    answers = [somebody.post("/sign-in", {"application_key": f"{n:040x}"}) for n in range(12)]

    assert [one.status_code for one in answers] == [401] * 10 + [429] * 2
    assert 1 <= int(answers[-1].headers["retry-after"]) <= 60


# People -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def root(plane: ControlPlane) -> str:
    """The first user, who came by the link that the server printed."""
    first = Visitor(plane)
    came = first.join(first_run_link(plane), email="root@example.org", name="Root")
    assert came.status_code == 303, came.text
    assert first.is_in
    return "root@example.org"


def joined(plane: ControlPlane, email: str, role: str = "standard") -> str:
    came = Visitor(plane, "198.51.100.1").join(invite(plane, email, role))
    assert came.status_code == 303, came.text
    return email


def database(plane: ControlPlane) -> sqlite3.Connection:
    return sqlite3.connect(plane.data_dir / "sealwire.db", timeout=10)


def age_session(plane: ControlPlane, visitor: Visitor, *, idle_s: float = 0, old_s: float = 0) -> None:
    """Let a session be as old as that."""
    sha256 = hashlib.sha256(visitor.cookie("session").encode()).hexdigest()
    connection = database(plane)
    with connection:
        changed = connection.execute(
            "UPDATE sessions SET last_seen_ms = last_seen_ms - ?, began_ms = began_ms - ? WHERE sha256 = ?",
            (int(idle_s * 1000), int(old_s * 1000), sha256),
        )
        assert changed.rowcount == 1
    connection.close()


def test_the_first_run_link_makes_an_administrator_once(plane: ControlPlane, root: str) -> None:
    link = first_run_link(plane)
    late = Visitor(plane)

    assert late.get(link.removeprefix(plane.url)).status_code == 404
    assert late.join(link, email="mallory@example.org").status_code == 404
    assert not late.is_in
    assert f"{root}  active  Admin" in command(plane, "list")


def test_an_email_and_a_password_sign_in_and_lead_on(plane: ControlPlane, root: str) -> None:
    visitor = Visitor(plane)
    came = visitor.sign_in(" ROOT@Example.org ", next_path="/fleet?q=env:prod")

    assert (came.status_code, came.headers["location"]) == (303, "/fleet?q=env:prod")
    assert visitor.get("/fleet").status_code == 200
    kept = {one.name: one for one in visitor.http.cookies.jar}
    assert kept["__Host-sealwire_device"].expires is not None
    assert kept["__Host-sealwire_session"].expires is None
    for one in came.headers.get_list("set-cookie"):
        for attribute in ("HttpOnly", "Secure", "Path=/", "SameSite=lax"):
            assert attribute in one


@pytest.mark.parametrize(
    "elsewhere",
    ["https://evil.example/", "//evil.example", "/\\evil.example", "javascript:alert(1)",
     "/a\r\nSet-Cookie: x=y", "evil.example", " //evil.example", "\t/x", "/\x00"],
)  # fmt: skip
def test_no_step_of_signing_in_leads_elsewhere(plane: ControlPlane, root: str, elsewhere: str) -> None:
    visitor = Visitor(plane, "198.51.100.2")
    came = visitor.sign_in(root, next_path=elsewhere)

    assert came.headers["location"] == "/"
    assert "x" not in visitor.http.cookies
    shown = Visitor(plane).http.get("/sign-in", params={"next": elsewhere})
    assert fields_of(shown)["next"] == "/"


@pytest.mark.parametrize(
    "path", ["/sign-in", "/sign-in/code", "/sign-out", "/join/x", "/account/password", "/resume/send"]
)
@pytest.mark.parametrize("origin", ["https://evil.example", "null", ""])
def test_no_form_of_people_is_taken_from_another_site(
    plane: ControlPlane, root: str, path: str, origin: str
) -> None:
    visitor = Visitor(plane, "198.51.100.3")
    visitor.sign_in(root)

    assert visitor.post(path, {"email": root, "password": PASSWORD}, Origin=origin).status_code == 403
    assert visitor.is_in


def test_no_page_of_people_is_framed_or_kept(plane: ControlPlane, root: str) -> None:
    visitor = Visitor(plane)
    visitor.sign_in(root)
    for path in ("/sign-in", "/join/x", "/account", "/account/second-factor"):
        answer = visitor.get(path)
        assert answer.headers["x-frame-options"] == "DENY"
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["cache-control"] == "private, no-store"
        assert answer.headers["referrer-policy"] == "same-origin"


def test_a_new_token_at_every_sign_in_and_the_one_before_is_dead(plane: ControlPlane, root: str) -> None:
    visitor = Visitor(plane)
    visitor.http.cookies.set("__Host-sealwire_session", "planted", domain="127.0.0.1", path="/")
    visitor.sign_in(root)
    first = visitor.cookie("session")
    visitor.sign_in(root)

    assert len({"", "planted", first, visitor.cookie("session")}) == 4
    stale = send(plane, "GET", "/account", Cookie=f"__Host-sealwire_session={first}")
    assert stale.status == 303


def worked_s(plane: ControlPlane) -> float:
    """How long the server's process has computed."""
    fields = Path(f"/proc/{plane.program.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_who_there_is_nobody_learns_neither_from_words_nor_from_time(plane: ControlPlane, root: str) -> None:
    invite(plane, "invited@example.org")
    took: dict[str, list[float]] = {}
    answers: dict[str, str] = {}
    for number in range(4):
        for email in (root, "nobody@example.org", "invited@example.org", "no email"):
            visitor = Visitor(plane, f"192.0.{number + 1}.1")
            visitor.get("/sign-in")
            # By the server's own clock of work, so that what else the machine does is not in it.
            started = worked_s(plane)
            came = visitor.sign_in(email, "wrong horse battery staple")
            took.setdefault(email, []).append(worked_s(plane) - started)
            assert came.status_code == 401
            answers[email] = came.text.replace(email, "")

    shown = {re.sub(r"data-now=.[^ >]*", "", text) for text in answers.values()}
    assert len(shown) == 1
    best = {email: min(times) for email, times in took.items()}
    assert max(best.values()) < 1.5 * min(best.values()), best


def test_guessing_at_somebody_waits_and_locks_nobody_out(plane: ControlPlane, root: str) -> None:
    email = joined(plane, "target@example.org")
    owner, attacker = Visitor(plane, "198.51.200.7"), Visitor(plane, "198.51.201.1")
    owner.sign_in(email)
    owner.post("/sign-out", {})
    answers = [attacker.sign_in(email, f"wrong password {n}") for n in range(7)]

    assert [one.status_code for one in answers] == [401] * 5 + [429] * 2
    assert "Try again in 5 minutes." in answers[-1].text
    assert int(answers[-1].headers["retry-after"]) > 200
    # Not even the right password tells anything now, and an email nobody has gets the same answer.
    assert attacker.sign_in(email).status_code == 429
    nobody = Visitor(plane, "198.51.202.1")
    assert [nobody.sign_in("no@example.org", "x").status_code for _ in range(6)] == [401] * 5 + [429]

    next_door = Visitor(plane, "198.51.201.2")
    next_door.http.cookies.update({"__Host-sealwire_device": owner.cookie("device")})
    assert next_door.sign_in(email).status_code == 303, "the owner's own browser, in the attacker's network"
    assert Visitor(plane, "198.51.203.1").sign_in(email).status_code == 303, "another network"


def test_the_command_line_on_the_server_invites_too(plane: ControlPlane, root: str) -> None:
    said = command(
        plane, "invite", "--role", "Read Only", "--name", "Zoë", "--url", plane.url, "zoe@example.org"
    )
    assert Visitor(plane).join(said.splitlines()[-1]).status_code == 303
    assert "zoe@example.org  active  Read Only  Zoë" in command(plane, "list")
    assert "already" in command(plane, "invite", "Zoe@example.org", exit_code=4)
    assert "no role" in command(plane, "invite", "--role", "king", "x@example.org", exit_code=3)
    assert "such as ann@example.org" in command(plane, "invite", "nonsense", exit_code=1)
    assert "no user" in command(plane, "disable", "x@example.org", exit_code=3)
    actors = {event["actor"] for event in plane.api.get("/audit?limit=200")["events"]}
    assert "command line on the server" in actors


def test_a_session_outlives_the_server(tmp_path: Path) -> None:
    with ControlPlane(tmp_path / "server") as plane:
        visitor = Visitor(plane)
        visitor.join(first_run_link(plane), email="root@example.org")
        assert visitor.is_in
        plane.restart()
        assert visitor.is_in
        assert "to make the first user" not in plane.program.said()


def test_as_long_as_there_is_nobody_each_start_prints_a_link(tmp_path: Path) -> None:
    with ControlPlane(tmp_path / "server") as plane:
        first = first_run_link(plane)
        plane.restart()
        second = first_run_link(plane)
        assert first != second
        assert Visitor(plane).get(second.removeprefix(plane.url)).status_code == 200


def test_an_idle_and_an_old_session_end(plane: ControlPlane, root: str) -> None:
    for aged in ({"idle_s": 3601.0}, {"old_s": 12 * 3600.0 + 1}):
        visitor = Visitor(plane)
        visitor.sign_in(root)
        assert visitor.is_in
        age_session(plane, visitor, **aged)
        gone = visitor.get("/account")
        assert (gone.status_code, gone.headers["location"]) == (303, "/sign-in?next=/account")


def test_sessions_are_seen_and_ended_by_their_user(plane: ControlPlane, root: str) -> None:
    email = joined(plane, "sessions@example.org")
    here, there, other = (Visitor(plane, f"198.51.100.{n}") for n in (11, 12, 13))
    for visitor in (here, there):
        visitor.sign_in(email)
    other.sign_in(root)
    page = here.get("/account")
    assert "198.51.100.12" in page.text
    assert "Firefox 140 on Linux" in page.text
    ids = re.findall(r"/account/sessions/([0-9a-f]{16})/end", page.text)

    for session_id in ids:
        assert other.post(f"/account/sessions/{session_id}/end", {}).status_code == 303
    assert there.is_in, "nobody ends the sessions of others"
    for session_id in ids:
        here.post(f"/account/sessions/{session_id}/end", {})

    assert not there.is_in
    assert here.is_in
    there.sign_in(email)
    here.post("/account/sessions/end-others", {})
    assert (here.is_in, there.is_in) == (True, False)


def test_another_password_ends_the_sessions_elsewhere(plane: ControlPlane, root: str) -> None:
    email = joined(plane, "password@example.org")
    here, there = Visitor(plane), Visitor(plane)
    for visitor in (here, there):
        visitor.sign_in(email)

    def change(current: str, new: str, again: str = "") -> int:
        return here.post(
            "/account/password", {"current_password": current, "new_password": new, "again": again or new}
        ).status_code

    new = "eleven quiet trombones"
    assert change("wrong", new) == 422
    assert change(PASSWORD, new, "something else") == 422
    assert change(PASSWORD, "password1234") == 422
    assert change(PASSWORD, PASSWORD) == 422
    assert there.is_in
    assert change(PASSWORD, new) == 303

    assert (here.is_in, there.is_in) == (True, False)
    assert there.sign_in(email).status_code == 401
    assert there.sign_in(email, new).status_code == 303


def test_whoever_is_disabled_is_out_at_once(plane: ControlPlane, root: str) -> None:
    email = joined(plane, "leaver@example.org")
    visitor = Visitor(plane)
    visitor.sign_in(email)
    assert visitor.is_in

    command(plane, "disable", email)

    assert not visitor.is_in
    assert visitor.sign_in(email).status_code == 401
    command(plane, "enable", email)
    assert visitor.sign_in(email).status_code == 303
    assert "last administrator" in command(plane, "disable", root, exit_code=1)


def test_a_link_works_once_and_a_look_at_it_uses_nothing_up(plane: ControlPlane, root: str) -> None:
    link = invite(plane, "invitee@example.org")
    visitor = Visitor(plane)
    for _ in range(2):
        assert "invitee@example.org" in visitor.get(link.removeprefix(plane.url)).text
    assert visitor.join(link, again="something else").status_code == 422
    assert visitor.join(link, password="short", again="short").status_code == 422
    assert visitor.join(link, email="mallory@example.org").status_code == 303
    assert visitor.is_in
    assert "invitee@example.org" in visitor.get("/account").text

    assert Visitor(plane).join(link).status_code == 404
    for garbage in ("/join/x", "/join/" + "x" * 3000, "/join/%00", "/join/..%2F..", "/join/" + "é" * 20):
        assert Visitor(plane).get(garbage).status_code == 404
        assert Visitor(plane).join(garbage).status_code in (404,)


def test_a_link_that_is_too_old_or_replaced_works_no_more(plane: ControlPlane, root: str) -> None:
    email = joined(plane, "forgetful@example.org")
    stale = command(plane, "reset-link", email).splitlines()[-1]
    fresh = command(plane, "reset-link", email).splitlines()[-1]
    visitor = Visitor(plane)
    assert visitor.get(stale.removeprefix(plane.url)).status_code == 404
    connection = database(plane)
    with connection:
        connection.execute("UPDATE links SET expires_ms = ?", (int(time.time() * 1000) - 1,))
    connection.close()
    assert visitor.join(fresh).status_code == 404
    again = command(plane, "reset-link", email).splitlines()[-1]
    assert (
        visitor.join(again, password="new words every time", again="new words every time").status_code == 303
    )
    assert Visitor(plane).sign_in(email).status_code == 401


def test_the_token_of_a_link_is_in_no_log(plane: ControlPlane, root: str) -> None:
    link = invite(plane, "logged@example.org")
    token = link.rpartition("/")[2]
    visitor = Visitor(plane)
    visitor.get(f"/join/{token}")
    visitor.post(f"/join/{token}", {}, Origin="https://evil.example")
    visitor.http.put(f"/join/{token}", headers={"Origin": plane.url})
    visitor.join(link, password="short")

    assert token not in (plane.folder / "log").read_text()


# Second factor ----------------------------------------------------------------------------------------


def set_up(plane: ControlPlane, email: str) -> tuple[Visitor, str, list[str]]:
    """Give somebody a second factor; returns them, its secret and the recovery codes."""
    visitor = Visitor(plane)
    visitor.sign_in(email)
    assert "secret" not in visitor.get("/account/second-factor").text
    page = visitor.post("/account/second-factor/begin", {"password": PASSWORD})
    assert page.status_code == 200
    secret = re.sub(r"\s", "", re.findall(r'<p class="secret"><code>([A-Z2-7 ]+)</code>', page.text)[0])
    ticket = fields_of(page)["ticket"]
    wrong = visitor.post("/account/second-factor", {"ticket": ticket, "code": "000000"})
    assert wrong.status_code == 422
    assert fields_of(wrong)["ticket"] == ticket
    done = visitor.post("/account/second-factor", {"ticket": ticket, "code": pyotp.TOTP(secret).now()})
    codes = re.findall(r"<li><code>([a-z2-9-]{19})</code></li>", done.text)
    assert len(codes) == 10
    return visitor, secret, codes


def test_a_second_factor_is_asked_for_and_each_code_works_once(plane: ControlPlane, root: str) -> None:
    email = joined(plane, "careful@example.org")
    first, secret, codes = set_up(plane, email)
    assert first.is_in, "the session it was set up in goes on"
    visitor = Visitor(plane, "198.51.100.21")

    came = visitor.sign_in(email, next_path="/account")
    assert came.headers["location"] == "/sign-in/code?next=/account"
    assert visitor.cookie("session") == ""
    assert not visitor.is_in, "a password is half of it"
    half = send(plane, "GET", "/account", Cookie=f"__Host-sealwire_session={visitor.cookie('half')}")
    assert half.status == 303, "half a session is none"
    assert email in visitor.get("/sign-in/code").text
    assert visitor.post("/sign-in/code", {"code": "000000"}).status_code == 401
    code = pyotp.TOTP(secret).at(int(time.time()) + 30)
    came = visitor.post("/sign-in/code", {"code": code, "next": "/account"})
    assert (came.status_code, came.headers["location"]) == (303, "/account")
    assert visitor.is_in
    assert "Password and second factor" in visitor.get("/account").text

    replayed = Visitor(plane, "198.51.100.22")
    replayed.sign_in(email)
    assert replayed.post("/sign-in/code", {"code": code}).status_code == 401
    assert replayed.post("/sign-in/code", {"code": codes[0]}).status_code == 303
    assert replayed.is_in
    again = Visitor(plane, "198.51.100.23")
    again.sign_in(email)
    assert again.post("/sign-in/code", {"code": codes[0]}).status_code == 401
    assert not again.is_in


def test_codes_cannot_be_guessed_though_the_password_is_known(plane: ControlPlane, root: str) -> None:
    email = joined(plane, "guessed@example.org")
    owner, _, codes = set_up(plane, email)
    device = owner.cookie("device")
    answers = []
    for number in range(12):
        attacker = Visitor(plane, f"192.0.{100 + number}.1")
        attacker.sign_in(email)
        answers.append(attacker.post("/sign-in/code", {"code": f"{number:06}"}).status_code)

    assert answers == [401] * 10 + [429] * 2
    owner = Visitor(plane, "198.51.100.31")
    owner.http.cookies.update({"__Host-sealwire_device": device})
    owner.sign_in(email)
    assert owner.post("/sign-in/code", {"code": codes[0]}).status_code == 303


def test_a_lost_second_factor_is_removed_on_the_server(plane: ControlPlane, root: str) -> None:
    email = joined(plane, "phoneless@example.org")
    visitor, _, _ = set_up(plane, email)

    command(plane, "reset-totp", email)

    assert not visitor.is_in
    assert visitor.sign_in(email).headers["location"] == "/"
    assert "no second factor" in command(plane, "reset-totp", email, exit_code=3)


def test_a_second_factor_is_set_up_only_with_the_password(plane: ControlPlane, root: str) -> None:
    # Attack: a browser left open, in which somebody sets a second factor that its owner has not.
    email = joined(plane, "left-open@example.org")
    owner = Visitor(plane)
    owner.sign_in(email)

    for password in ("", "wrong", "wrong password"):
        refused = owner.post("/account/second-factor/begin", {"password": password})
        assert refused.status_code == 422
        assert 'class="secret"' not in refused.text
        assert "ticket" not in fields_of(refused)
    forged = owner.post("/account/second-factor", {"ticket": "", "code": "000000"})
    assert forged.headers["location"] == "/account"
    tried = [
        owner.post("/account/second-factor/begin", {"password": f"wrong {n}"}).status_code for n in range(12)
    ]
    assert tried[-1] == 429, "wrong ones are counted like those of signing in"
    assert Visitor(plane, "198.51.100.77").sign_in(email).headers["location"] == "/", "there is none"


def test_the_second_factor_goes_only_with_the_password(plane: ControlPlane, root: str) -> None:
    email = joined(plane, "removing@example.org")
    visitor, _, codes = set_up(plane, email)
    assert visitor.post("/account/second-factor/remove", {"remove_password": "wrong"}).status_code == 422
    assert visitor.post("/account/recovery-codes", {"codes_password": "wrong"}).status_code == 422
    fresh = visitor.post("/account/recovery-codes", {"codes_password": PASSWORD})
    assert codes[0] not in fresh.text
    assert len(re.findall(r"<li><code>([a-z2-9-]{19})</code></li>", fresh.text)) == 10
    assert visitor.post("/account/second-factor/remove", {"remove_password": PASSWORD}).status_code == 303
    assert Visitor(plane).sign_in(email).headers["location"] == "/"


def test_a_lost_password_does_not_get_around_the_second_factor(plane: ControlPlane, root: str) -> None:
    email = joined(plane, "both@example.org")
    _, _, codes = set_up(plane, email)
    link = command(plane, "reset-link", email).splitlines()[-1]
    visitor = Visitor(plane)

    came = visitor.join(link)

    assert came.headers["location"] == "/sign-in/code?next=/"
    assert not visitor.is_in
    assert visitor.post("/sign-in/code", {"code": codes[3]}).status_code == 303
    assert visitor.is_in


# What was typed ---------------------------------------------------------------------------------------


def ended(plane: ControlPlane, email: str) -> Visitor:
    """Somebody whose session ended while they typed."""
    visitor = Visitor(plane)
    visitor.sign_in(email)
    age_session(plane, visitor, idle_s=3601)
    return visitor


TYPED = {
    "name": "a <script>alert(1)</script> ü\r\nsecond line",
    "url": "https://hooks.example/x",
    "events": "a & b",
}


def test_what_was_typed_survives_the_end_of_the_session(plane: ControlPlane, root: str) -> None:
    visitor = ended(plane, root)

    asked = visitor.post("/webhooks/new?from=here", {**TYPED, "my_password": "hunter2 hunter2"})
    assert asked.status_code == 401
    assert "What you typed is kept" in asked.text
    assert fields_of(asked)["next"] == "/resume"
    came = visitor.sign_in(root, next_path="/resume")
    assert came.headers["location"] == "/resume"
    page = visitor.get("/resume")
    assert "<script>alert" not in page.text
    assert "hunter2" not in page.text
    assert "my_password" in page.text
    assert fields_of(page) == TYPED

    sent = visitor.post("/resume/send", fields_of(page))
    assert (sent.status_code, sent.headers["location"]) == (307, "/webhooks/new?from=here")
    taken = visitor.post(sent.headers["location"], fields_of(page))
    assert taken.status_code not in (401, 403, 404, 405)
    assert visitor.get("/resume").headers["location"] == "/", "once is enough"


def test_what_was_typed_is_shown_to_nobody_else(plane: ControlPlane, root: str) -> None:
    visitor = ended(plane, root)
    visitor.post("/webhooks/new", TYPED)
    ticket = visitor.cookie("kept")
    other = joined(plane, "next-user@example.org")
    visitor.sign_in(other, next_path="/resume")

    assert visitor.get("/resume").status_code == 303
    assert visitor.post("/resume/send", {}).headers["location"] == "/"
    thief = Visitor(plane)
    thief.sign_in(root)
    assert thief.get("/resume").status_code == 303, "without the ticket there is nothing"
    thief.http.cookies.set("__Host-sealwire_kept", ticket)
    assert thief.get("/resume").status_code == 200, "the same user, with the ticket"
    assert thief.post("/resume/discard", {}).status_code == 303
    assert thief.get("/resume").status_code == 303


@pytest.mark.parametrize("origin", ["https://evil.example", "null", ""])
def test_another_site_puts_nothing_there(plane: ControlPlane, root: str, origin: str) -> None:
    visitor = ended(plane, root)
    assert visitor.post("/webhooks/new", TYPED, Origin=origin).status_code == 303
    assert visitor.cookie("kept") == ""


def test_a_form_without_a_former_session_or_too_large_is_not_kept_but_says_so(
    plane: ControlPlane, root: str
) -> None:
    stranger = Visitor(plane)
    assert stranger.post("/webhooks/new", TYPED).status_code == 303
    stranger.http.cookies.set("__Host-sealwire_session", "made up")
    asked = stranger.post("/webhooks/new", TYPED)
    assert (asked.status_code, stranger.cookie("kept")) == (401, "")
    visitor = ended(plane, root)
    asked = visitor.post("/webhooks/new", {"name": "x" * 300_000}, Referer=f"{plane.url}/webhooks?x=1")
    assert (asked.status_code, visitor.cookie("kept")) == (401, "")
    assert "too large to keep" in asked.text
    assert fields_of(asked)["next"] == "/webhooks?x=1"


# The API ----------------------------------------------------------------------------------------------


def test_what_the_pages_offer_the_api_does(plane: ControlPlane, root: str) -> None:
    email = joined(plane, "by-api@example.org")
    visitor = Visitor(plane)
    visitor.sign_in(email)
    there = Visitor(plane)
    there.sign_in(email)
    cookie = f"__Host-sealwire_session={visitor.cookie('session')}"
    api = Api(plane.url, ca_file=plane.ca_file, headers={"Cookie": cookie, "Origin": plane.url})

    def call(method: str, path: str, body: object = None) -> Reply:
        return api.request(method, f"/api/admin/v1/account{path}", body)

    account = call("GET", "").expect(200)
    assert account["user"]["email"] == email
    assert account["roles"] == [{"role_id": "standard", "role": "Standard", "services": [], "envs": []}]
    assert call("PATCH", "", {"name": "Ann"}).expect(200)["name"] == "Ann"
    listed = call("GET", "/sessions").expect(200)["sessions"]
    assert [one["present"] for one in listed] == [True, False, False]
    call("DELETE", f"/sessions/{listed[1]['id']}").expect(204)
    call("DELETE", f"/sessions/{listed[1]['id']}").expect(404)
    assert not there.is_in
    assert call("POST", "/sessions:end-others").expect(200) == {"ended": 1}
    call("POST", "/second-factor").expect(422)
    (problem,) = call("POST", "/second-factor", {"password": "wrong"}).expect(422)["problems"]
    assert problem["path"] == "$.password"
    begun = call("POST", "/second-factor", {"password": PASSWORD}).expect(200)
    code = pyotp.TOTP(begun["secret"].replace(" ", "")).now()
    codes = call("POST", "/second-factor:confirm", {"ticket": begun["ticket"], "code": code}).expect(200)
    assert len(codes["recovery_codes"]) == 10
    call("POST", "/second-factor", {"password": PASSWORD}).expect(409)
    call("POST", "/recovery-codes", {"password": PASSWORD}).expect(200)
    call("POST", "/second-factor:remove", {"password": "wrong"}).expect(422)
    call("POST", "/second-factor:remove", {"password": PASSWORD}).expect(204)
    change = {"current_password": PASSWORD, "new_password": "eleven quiet trombones"}
    assert call("PUT", "/password", {**change, "current_password": "x"}).expect(422)["problems"]
    call("PUT", "/password", change).expect(204)
    assert visitor.is_in


def test_an_application_key_of_nobody_has_no_account_to_change(plane: ControlPlane) -> None:
    assert plane.api.get("/account")["user"] is None
    assert plane.api.get("/account/sessions") == {"sessions": []}
    reply = plane.api.request("PATCH", "/api/admin/v1/account", {"name": "x"})
    assert reply.expect(404)["code"] == "not_found"
    visitor = Visitor(plane)
    assert visitor.post("/sign-in", {"application_key": plane.application_key}).status_code == 303
    assert "belongs to no user" in visitor.get("/account").text


def test_guessing_ones_password_from_a_session_left_open_ends_soon(plane: ControlPlane, root: str) -> None:
    email = joined(plane, "at-their-desk@example.org")
    visitor = Visitor(plane, "198.51.210.1")
    visitor.sign_in(email)
    visitor.http.cookies.delete("__Host-sealwire_device")
    form = {
        "current_password": "x",
        "new_password": "eleven quiet trombones",
        "again": "eleven quiet trombones",
    }
    answers = [visitor.post("/account/password", form).status_code for _ in range(7)]
    assert answers == [422] * 5 + [429] * 2
