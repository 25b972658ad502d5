"""``sealwire up``: ports, child programs, and the files it writes."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sealwire.cli import profile, up
from sealwire.cli.api import AdminApi
from sealwire.cli.children import ChildDiedError, Children, StopRequested, is_important
from sealwire.cli.ports import free_port
from sealwire.cli.profile import Profile
from sealwire.cli.up import Places
from sealwire.errors import SealwireError
from tests.unit.cli.conftest import Run
from tests.unit.cli.stub import KEY, StubAdmin

pytestmark = pytest.mark.loopback

SLEEPER = """
import signal, sys, time
name = sys.argv[1]
def stop(*_):
    print(f"{name} saw the signal", flush=True)
    sys.exit(0)
signal.signal(signal.SIGTERM, stop)
print("an ordinary line", flush=True)
print(f"{name} is ready now", flush=True)
while True:
    time.sleep(60)
"""
STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready", flush=True)
time.sleep(60)
"""


class Screen:
    """The lines shown, in order."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def show(self, line: str) -> None:
        self.lines.append(line)


@pytest.fixture
def screen() -> Screen:
    return Screen()


@pytest.fixture
def children(tmp_path: Path, screen: Screen) -> Iterator[Children]:
    made = Children(tmp_path / "logs", screen.show)
    yield made
    made.stop_all()


def start(children: Children, name: str, code: str = SLEEPER) -> None:
    child = children.start(name, [sys.executable, "-c", code, name], env=os.environ, ready_line="ready")
    children.wait_ready(child, timeout_s=20)


# --- ports


def test_a_port_that_is_taken_makes_way_for_the_next_free_one() -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        wanted = holder.getsockname()[1]

        picked = free_port(wanted)

        assert picked > wanted
        assert free_port(wanted, taken=[picked]) > picked


def test_no_free_port_is_an_error_not_a_loop() -> None:
    with pytest.raises(SealwireError, match="No free port from 65535 to 65535"):
        free_port(65535, taken=[65535])


# --- children


def test_children_are_stopped_in_the_opposite_order(
    children: Children, screen: Screen, tmp_path: Path
) -> None:
    for name in ("first", "second"):
        start(children, name)

    children.stop_all()

    assert [line for line in screen.lines if "stopped" in line] == ["second stopped.", "first stopped."]
    assert "first saw the signal" in (tmp_path / "logs" / "first.log").read_text()


def test_important_lines_are_shown_with_their_name_and_all_are_logged(
    children: Children, screen: Screen, tmp_path: Path
) -> None:
    start(children, "shop")
    children.stop_all()

    assert "shop   | shop is ready now" in screen.lines
    assert not any("ordinary" in line for line in screen.lines)
    assert "an ordinary line" in (tmp_path / "logs" / "shop.log").read_text()


def test_a_child_that_dies_is_told_with_its_last_lines(children: Children) -> None:
    start(children, "first")
    children.start(
        "second", [sys.executable, "-c", "print('port taken'); raise SystemExit(7)"], env=os.environ
    )

    with pytest.raises(ChildDiedError) as died:
        children.watch()

    assert "second ended by itself (exit code 7)" in died.value.public
    assert "second | port taken" in died.value.public


def test_a_child_that_never_gets_ready_is_told(children: Children) -> None:
    child = children.start(
        "slow", [sys.executable, "-c", SLEEPER, "slow"], env=os.environ, ready_line="never said"
    )

    with pytest.raises(ChildDiedError, match="slow was not ready"):
        children.wait_ready(child, timeout_s=0.3)


def test_a_child_that_ignores_the_signal_is_killed(
    children: Children, screen: Screen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sealwire.cli.children.STOP_PATIENCE_S", 0.3)
    start(children, "stubborn", STUBBORN)

    children.stop_all()

    assert "stubborn did not stop in time and was killed." in screen.lines


def test_a_signal_becomes_a_wish_to_stop(children: Children) -> None:
    with children.signals_as_events():
        start(children, "first")
        threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGTERM)).start()

        with pytest.raises(StopRequested):
            children.watch()


def test_waiting_for_something_ends_when_it_is_so_or_time_is_over(children: Children) -> None:
    answers = iter([False, True])

    assert children.wait_until(lambda: next(answers), timeout_s=5, every_s=0.01)
    assert not children.wait_until(lambda: False, timeout_s=0.05, every_s=0.01)


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's tie is Linux only")
def test_children_do_not_outlive_a_starter_that_is_killed(tmp_path: Path) -> None:
    starter = f"""
import os, pathlib, sys, time
from sealwire.cli.children import Children
children = Children(pathlib.Path({str(tmp_path)!r}), print)
command = [sys.executable, "-c", {SLEEPER!r}, "first"]
child = children.start("first", command, env=os.environ, ready_line="ready")
children.wait_ready(child, timeout_s=20)
print("pid", child.process.pid, flush=True)
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", starter], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        pid = next(int(line.split()[1]) for line in process.stdout if line.startswith("pid"))
        process.kill()

    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and is_running(pid):
        time.sleep(0.02)
    assert not is_running(pid)


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("2026-11-22 [warning  ] upstream refused", True),
        ("sealwire server ready on https://127.0.0.1:8443", True),
        ("Traceback (most recent call last):", True),
        ("127.0.0.1 - - GET /terror HTTP/1.1 200", False),
        ("version published version=4", False),
    ],
)
def test_what_is_important(line: str, shown: bool) -> None:
    assert is_important(line) is shown


# --- files


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places(tmp_path / "up", 8443, 8126, 8080)


@pytest.fixture
def api(admin: StubAdmin) -> AdminApi:
    state = {"version": 1, "first_root": '{"signed":{"version":1}}'}
    ca = "-----BEGIN CERTIFICATE-----\nAAEC\n-----END CERTIFICATE-----\n"
    admin.canned |= {
        "GET /roots": {"repositories": {"director": state, "config": state}, "ca_pem": ca},
        "POST /keys": (201, {"id": "1", "name": "x", "remote_config": True, "key": "agent-key-0001"}),
        "GET /keys": {"keys": [{"id": "1", "last4": "0001", "remote_config": True}]},
    }
    return AdminApi(Profile(admin.url, KEY))


def test_the_agents_file_has_what_the_agent_needs_and_is_private(places: Places, api: AdminApi) -> None:
    yaml = pytest.importorskip("yaml")

    up.write_agent_file(places, api)

    document = yaml.safe_load(places.agent_file.read_text())
    assert document["api_key"] == "agent-key-0001"
    assert document["apm_config"]["receiver_port"] == 8126
    assert document["remote_configuration"]["rc_dd_url"] == api.url
    assert Path(document["remote_configuration"]["ca_file"]).exists()
    assert places.agent_file.stat().st_mode & 0o777 == 0o600


def test_the_next_start_uses_the_same_api_key_unless_it_was_revoked(
    places: Places, api: AdminApi, admin: StubAdmin
) -> None:
    up.write_agent_file(places, api)
    up.write_agent_file(places, api)
    assert len(admin.writes()) == 1

    admin.canned["GET /keys"] = {
        "keys": [{"id": "1", "last4": "0001", "remote_config": True, "revoked_at": "x"}]
    }
    admin.canned["POST /keys"] = (201, {"id": "2", "key": "agent-key-0002"})
    up.write_agent_file(places, api)

    assert "agent-key-0002" in places.agent_file.read_text()


def test_the_profile_follows_the_port_and_reaches_the_user(places: Places, tmp_path: Path) -> None:
    environ = {"XDG_CONFIG_HOME": str(tmp_path / "config")}
    profile.write(
        places.admin_profile, Profile("https://127.0.0.1:9999", KEY, places.data / "config" / "ca.pem")
    )

    admin = up._settle_profile(places)
    chosen = up._share_profile(places, admin, None, environ)

    assert admin.url == places.server_url
    assert chosen == tmp_path / "config" / "sealwire" / "cli.toml"
    assert profile.read(chosen) == profile.read(places.admin_profile) == admin
    assert up._share_profile(places, admin, None, environ) == chosen


def test_a_profile_of_another_control_plane_is_left_alone(places: Places, tmp_path: Path) -> None:
    environ = {"XDG_CONFIG_HOME": str(tmp_path)}
    theirs = Profile("https://production", "their-key")
    profile.write(profile.user_path(environ), theirs)

    chosen = up._share_profile(places, Profile(places.server_url, KEY), None, environ)

    assert chosen == places.admin_profile
    assert profile.read(profile.user_path(environ)) == theirs
    assert f"  export SEALWIRE_PROFILE={chosen}" in up.what_now(places, chosen, environ, has_shop=True)


def test_what_now_names_the_ports_in_use(tmp_path: Path) -> None:
    places = Places(tmp_path, 8444, 8127, 8081)

    text = "\n".join(up.what_now(places, profile.user_path({}), {"HOME": "/"}, has_shop=True))

    assert "asm block ip 203.0.113.7 --for 1h" in text
    assert "http://127.0.0.1:8081/" in text


def test_what_now_gives_the_link_of_the_first_user_or_the_plain_address(tmp_path: Path) -> None:
    places = Places(tmp_path, 8444, 8127, 8081)
    link = "https://127.0.0.1:8444/join/abc"

    first = up.what_now(places, tmp_path, {"HOME": "/"}, has_shop=True, first_link=link)
    later = up.what_now(places, tmp_path, {"HOME": "/"}, has_shop=True)

    assert f"  {link}" in first
    assert not any("/join/" in line for line in later)
    assert later.count("  https://127.0.0.1:8444") == 1


def test_the_childrens_environment_has_nobody_elses_settings() -> None:
    environ = up.child_environment(
        {"PATH": "/bin", "DD_API_KEY": "x", "DD_SITE": "y", "SEALWIRE_URL": "z", "HOME": "/h"}
    )

    assert environ == {"PATH": "/bin", "HOME": "/h", "PYTHONUNBUFFERED": "1"}


def test_the_shop_of_the_last_start_is_not_taken_for_this_ones(api: AdminApi, admin: StubAdmin) -> None:
    def shop(age_s: float) -> dict[str, object]:
        return {"clients": [{"client_id": "c", "service": "shop", "age_s": age_s}]}

    opened_s = time.monotonic() - 2
    admin.canned["GET /clients"] = shop(30)
    assert not up._shop_is_seen(api, since_s=opened_s)

    admin.canned["GET /clients"] = shop(0.1)
    assert up._shop_is_seen(api, since_s=opened_s)


def test_a_second_up_on_the_same_data_is_refused(run_alone: Run, tmp_path: Path) -> None:
    with up._only_one(tmp_path / "up"):
        ran = run_alone("up", "--data-dir", str(tmp_path / "up"))

    assert ran.code == 1
    assert f"already runs on {tmp_path / 'up'} (process {os.getpid()})" in ran.err
