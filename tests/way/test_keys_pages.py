"""The pages of API keys and settings, as a browser without scripts uses them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest

from tests.support.simulated_fleet import SimulatedFleet
from tests.support.stack import Api, ControlPlane, Reply

pytestmark = pytest.mark.loopback

HOSTILE = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    with ControlPlane(tmp_path_factory.mktemp("keys") / "server") as made:
        yield made


def get(plane: ControlPlane, path: str) -> Reply:
    return _send(plane, "GET", path)


def post(plane: ControlPlane, path: str, **form: str) -> Reply:
    return _send(plane, "POST", path, urlencode(form).encode())


def _send(plane: ControlPlane, method: str, path: str, body: bytes | None = None) -> Reply:
    headers = {"Accept": "text/html", "DD-Application-Key": plane.application_key, "Origin": plane.url}
    return Api(plane.url, ca_file=plane.ca_file).request(method, path, body, headers=headers)


def header(reply: Reply, name: str) -> str:
    return next((value for key, value in reply.headers.items() if key.lower() == name), "")


def words(reply: Reply) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", reply.body.decode()))


def new_key(plane: ControlPlane, name: str) -> tuple[str, str]:
    made = plane.api.post("/keys", {"name": name, "remote_config": True})
    return made["id"], made["key"]


def test_a_key_is_shown_once_and_nothing_keeps_it(plane: ControlPlane) -> None:
    made = post(plane, "/keys/new", name="web hosts", remote_config="on")

    assert made.status == 200
    found = re.search(r'id="new-key">([0-9a-f]{32})<', made.body.decode())
    assert found is not None
    secret = found[1]
    assert header(made, "cache-control") == "no-store"
    assert header(made, "location") == header(made, "set-cookie") == ""
    (key,) = [key for key in plane.api.get("/keys")["keys"] if key["name"] == "web hosts"]
    assert (key["last4"], key["remote_config"]) == (secret[-4:], True)
    for path in ("/keys", f"/keys/{key['id']}", f"/keys/{key['id']}/revoke", f"/keys/{key['id']}/scope"):
        assert secret not in get(plane, path).body.decode()
    assert secret not in plane.log()


def test_a_name_that_is_none_comes_back_as_it_was_typed(plane: ControlPlane) -> None:
    before = plane.api.get("/keys")

    reply = post(plane, "/keys/new", name="x" * 101, remote_config="on")

    assert reply.status == 422
    assert "x" * 101 in reply.body.decode()
    assert "1 to 100 printable characters" in words(reply)
    assert plane.api.get("/keys") == before


def test_a_hostile_name_is_text_everywhere(plane: ControlPlane) -> None:
    key_id, _ = new_key(plane, HOSTILE)

    for path in ("/keys", f"/keys/{key_id}", f"/keys/{key_id}/scope", f"/keys/{key_id}/revoke"):
        page = get(plane, path).body.decode()
        assert HOSTILE not in page
        assert "&lt;script&gt;" in page
    post(plane, f"/keys/{key_id}/revoke", confirm=HOSTILE, do="at_once").expect(303)
    assert plane.api.get(f"/keys/{key_id}")["revoked_at"]


def test_nothing_is_taken_before_the_name_was_typed(plane: ControlPlane) -> None:
    key_id, _ = new_key(plane, "dear")

    for action in ("scope", "revoke"):
        for confirm in ("", "Dear", "dear one"):
            reply = post(plane, f"/keys/{key_id}/{action}", confirm=confirm, do="at_once")
            assert reply.status == 422
            assert "Type dear to go on." in words(reply)
    assert post(plane, "/settings/remote-configuration", confirm="", do="at_once").status == 422
    key = plane.api.get(f"/keys/{key_id}")
    assert (key["remote_config"], key["revoked_at"]) == (True, None)
    assert plane.api.get("/settings")["remote_config"] is True


def test_ones_own_agent_is_told_of_first_and_then_how_many_by_name_and_until_when(
    plane: ControlPlane,
) -> None:
    key_id, secret = new_key(plane, "busy")
    fleet = SimulatedFleet(plane, api_key=secret)
    for number in range(12):
        fleet.add(f"busy-{number:02}")
    plane.api.create("ASM_FEATURES", {"asm": {"enabled": True}})
    fleet.settle()

    page = words(get(plane, f"/keys/{key_id}/revoke"))

    own, count = page.index("talks to us from your address"), page.index("12 agents with 12 clients use this")
    assert own < count < page.index("keeps what it has until")
    assert page.index("busy-00") < page.index("busy-09")
    assert "and 2 more" in page
    assert re.search(r"until \d{4}-\d\d-\d\d \d\d:\d\d UTC \(in (9|10) days\)", page)
    assert "12 polling now" in words(get(plane, f"/keys/{key_id}"))
    assert "12 of" in words(get(plane, f"/fleet?tab=agents&q=key:{key_id}"))

    # Withdrawn from the page, watched on it, called off on it, and done after all.
    went = post(plane, f"/keys/{key_id}/scope", confirm="busy", do="withdraw")
    assert (went.status, header(went, "location")) == (303, f"/keys/{key_id}")
    assert "0 of 12" in words(get(plane, f"/keys/{key_id}"))
    fleet.poll("busy-00", "busy-01")
    fleet.poll("busy-00", "busy-01")
    assert "2 of 12" in words(get(plane, f"/keys/{key_id}"))
    assert "Withdrawing" in words(get(plane, "/keys"))
    post(plane, f"/keys/{key_id}/scope", do="give").expect(303)
    fleet.settle()
    assert plane.api.get(f"/keys/{key_id}")["withdrawing_at"] is None
    assert len(fleet.agents["busy-00"].state.targets) == 1
    post(plane, f"/keys/{key_id}/scope", confirm="busy", do="at_once").expect(303)
    assert "Refused" in words(get(plane, f"/keys/{key_id}"))


def test_a_withdrawal_that_somebody_else_ended_is_not_ended_again(plane: ControlPlane) -> None:
    key_id, secret = new_key(plane, "shared")
    fleet = SimulatedFleet(plane, api_key=secret)
    fleet.add("shared-host")
    fleet.settle()
    plane.api.create("ASM_FEATURES", {"asm": {"enabled": True}})
    fleet.settle()
    post(plane, f"/keys/{key_id}/revoke", confirm="shared", do="withdraw").expect(303)
    page = get(plane, f"/keys/{key_id}/revoke").body.decode()
    since = re.search(r'name="since" value="(\d+)"', page)
    assert since is not None
    plane.api.patch(f"/keys/{key_id}", {"remote_config": True})

    late = post(plane, f"/keys/{key_id}/revoke", confirm="shared", do="at_once", since=since[1])

    assert late.status == 409
    assert "Somebody else ended this withdrawal" in words(late)
    assert plane.api.get(f"/keys/{key_id}")["revoked_at"] is None


def test_settings_that_two_people_edit_are_shown_to_the_second_with_what_was_typed(
    plane: ControlPlane,
) -> None:
    seen = {"seen_name": "main", "seen_envs": "prod\nproduction"}
    post(plane, "/settings", name="main", production_envs="live", **seen).expect(303)

    second = post(plane, "/settings", name="main", production_envs="prod\r\neu", **seen)

    assert second.status == 409
    assert "They say now: main; production: live" in words(second)
    assert "prod\neu" in second.body.decode().replace("\r", "")
    assert plane.api.get("/settings")["production_envs"] == ["live"]
    again = {"seen_name": "main", "seen_envs": "live"}
    post(plane, "/settings", name="main", production_envs="prod\r\neu", **again).expect(303)
    assert plane.api.get("/settings")["production_envs"] == ["prod", "eu"]


def test_every_page_says_that_it_is_off_and_the_switch_brings_it_back(plane: ControlPlane) -> None:
    post(plane, "/settings/remote-configuration", confirm="main", do="at_once").expect(303)

    for path in ("/", "/fleet", "/keys"):
        assert "Remote Configuration is off" in words(get(plane, path))
    assert "can be given once it is on" in words(get(plane, "/keys/new"))
    assert "off already" in words(get(plane, "/settings/remote-configuration"))

    post(plane, "/settings/remote-configuration", do="on").expect(303)
    assert "Remote Configuration is off" not in words(get(plane, "/fleet"))
    assert plane.api.get("/settings")["remote_config"] is True


def test_a_key_that_is_none_is_no_page(plane: ControlPlane) -> None:
    for path in ("/keys/0123456789ab", "/keys/..%2f", "/keys/0123456789ab/revoke", "/keys/%00/scope"):
        assert get(plane, path).status == 404


def test_what_was_done_here_is_in_the_audit_trail_without_a_secret(
    plane: ControlPlane, tmp_path: Path
) -> None:
    events = plane.api.get("/audit?limit=200")["events"]

    actions = {event["action"] for event in events}
    assert {
        "api_key.created",
        "api_key.withdrawing",
        "api_key.revoked",
        "organisation.switched_off",
    } <= actions
    assert not re.search(r"[0-9a-f]{32}", " ".join(event["summary"] for event in events))
