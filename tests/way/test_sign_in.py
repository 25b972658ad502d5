"""Signing in to the pages through the real application, and what must not work."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest

from tests.support.stack import Api, ControlPlane, Reply

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
    answers = [
        send(plane, "POST", "/sign-in", {"application_key": f"{n:040x}"}, Origin=plane.url).status
        for n in range(12)
    ]

    assert answers[:10] == [401] * 10
    assert answers[10:] == [429] * 2
