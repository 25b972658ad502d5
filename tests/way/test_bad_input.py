"""Bad input to a real server over TLS: a clear refusal each time, and nothing changed.

After every test the tables are what they were before it. Left out are what says who was here and when: the
reports of agents, and when a key was last used.
"""

from __future__ import annotations

import http.client
import os
import random
import select
import socket
import ssl
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from sealwire.server.store.database import Database
from sealwire.wire import remoteconfig_pb2 as pb
from sealwire.wire.limits import MAX_LATEST_CONFIGS_REQUEST_BYTES
from tests.support.parts import ASM_ON, NOTED, dump
from tests.support.processes import Program, clean_environment
from tests.support.simulated_agent import SimulatedAgent, tracer
from tests.support.stack import ControlPlane, free_port

POLL, ORG, STATUS = "/api/v0.1/configurations", "/api/v0.1/org", "/api/v0.1/status"
ADMIN = "/api/admin/v1"
FUZZ_S = 8.0
FUZZ_AT_ONCE = 4
HUNDRED_MB = 100 * 1024 * 1024
REPORTS = ("agents", "clients", "deliveries", "held_values")


class Target:
    """A running control plane, its keys, and a judge of its tables."""

    def __init__(self, folder: Path) -> None:
        self.server = ControlPlane(folder)
        self.key = self.server.api.new_api_key("agents")
        self.unscoped = self.server.api.new_api_key("no scope", remote_config=False)
        revoked = self.server.api.post("/keys", {"name": "revoked", "remote_config": True})
        self.server.api.delete(f"/keys/{revoked['id']}")
        self.revoked: str = revoked["key"]
        self.config = self.server.api.create("ASM_FEATURES", ASM_ON, service=["shop"])
        roots = self.server.api.get("/roots")["repositories"]
        self.agent = SimulatedAgent(
            (roots["director"]["first_root"].encode(), roots["config"]["first_root"].encode()),
            clients={"c1": tracer("c1")},
        )
        self.context = ssl.create_default_context(cafile=str(self.server.ca_file))
        self.request = self.agent.request()
        self.poll(self.request)  # so that its view is published before anything is compared

    def poll(self, body: bytes, key: str | None = None) -> http.client.HTTPResponse:
        return self.ask("POST", POLL, body, {"DD-Api-Key": self.key if key is None else key})

    def ask(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> http.client.HTTPResponse:
        connection = http.client.HTTPSConnection(
            "127.0.0.1", self.server.port, timeout=30, context=self.context
        )
        connection.request(method, path, body, headers or {})
        reply = connection.getresponse()
        reply.content = reply.read()  # type: ignore[attr-defined]  # kept beside its status
        connection.close()
        return reply

    def connect(self) -> ssl.SSLSocket:
        """A TLS connection to write anything to."""
        plain = socket.create_connection(("127.0.0.1", self.server.port), timeout=30)
        return self.context.wrap_socket(plain, server_hostname="127.0.0.1")

    def tables(self) -> dict[str, list[Any]]:
        database = Database(f"sqlite:///{self.server.data_dir / 'sealwire.db'}")
        try:
            found = dump(database, without=(*REPORTS, *NOTED))
        finally:
            database.close()
        # key_id ... last_used_ms, revoked_ms
        found["api_keys"] = sorted((*row[:8], row[9]) for row in found["api_keys"])
        return found

    def errors_in_log(self) -> list[str]:
        return [
            line for line in self.server.log().splitlines() if "level=error" in line or "Traceback" in line
        ]


def content(reply: http.client.HTTPResponse) -> bytes:
    found: bytes = reply.content  # type: ignore[attr-defined]  # set by Target.ask
    return found


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    target = Target(tmp_path_factory.mktemp("server"))
    yield target
    target.server.stop()


@pytest.fixture
def target(running: Target) -> Iterator[Target]:
    before = running.tables()
    yield running
    assert running.tables() == before
    assert running.errors_in_log() == []
    assert running.ask("GET", "/healthz").status == 200
    assert running.poll(running.request).status == 200


# Keys -------------------------------------------------------------------------------------------------------


def test_a_key_with_the_scope_is_let_in(target: Target) -> None:
    assert target.poll(target.request).status == 200
    uuid = pb.OrgDataResponse.FromString(
        content(target.ask("GET", ORG, headers={"DD-Api-Key": target.key}))
    ).uuid
    assert len(uuid) == 36
    status = target.ask("GET", STATUS, headers={"DD-Api-Key": target.key})
    assert content(status) == b"\x08\x01\x10\x01"


def test_a_key_without_the_scope_is_told_so(target: Target) -> None:
    headers = {"DD-Api-Key": target.unscoped}
    for reply in (target.poll(target.request, target.unscoped), target.ask("GET", ORG, headers=headers)):
        assert reply.status == 401
        assert b"Remote Configuration scope" in content(reply)
        assert reply.headers["content-type"].startswith("text/plain")
    status = target.ask("GET", STATUS, headers=headers)
    assert status.status == 200
    told = pb.OrgStatusResponse.FromString(content(status))
    assert (told.enabled, told.authorized) == (True, False)


@pytest.mark.parametrize("key", ["", "0" * 32, "x" * 60_000, "\xff\xfe", " ", "null", "revoked"], ids=ascii)
def test_a_key_of_nobody_is_refused_everywhere(target: Target, key: str) -> None:
    key = target.revoked if key == "revoked" else key
    headers = {"DD-Api-Key": key}
    for reply in (
        target.poll(target.request, key),
        target.ask("GET", ORG, headers=headers),
        target.ask("GET", STATUS, headers=headers),
    ):
        assert reply.status == 401
        expected = b"was revoked" if key == target.revoked else b"not known here"
        assert expected in content(reply)


def test_no_key_at_all_and_the_wrong_kind_of_key_are_refused(target: Target) -> None:
    application_key = target.server.application_key
    for headers in ({}, {"Authorization": f"Bearer {target.key}"}, {"DD-Api-Key": application_key}):
        assert target.ask("POST", POLL, target.request, headers).status == 401
        assert target.ask("GET", ORG, headers=headers).status == 401
    for headers in ({"DD-Api-Key": target.key}, {"Authorization": f"Bearer {target.key}"}):
        assert target.ask("GET", f"{ADMIN}/whoami", headers=headers).status == 401


def test_only_a_post_is_a_poll(target: Target) -> None:
    for method in ("GET", "PUT", "DELETE", "PATCH"):
        assert target.ask(method, POLL, headers={"DD-Api-Key": target.key}).status == 405


# Protobuf ---------------------------------------------------------------------------------------------------


def test_a_request_cut_anywhere_is_never_a_fault_of_ours(target: Target) -> None:
    whole = target.request
    statuses = [target.poll(whole[:length]).status for length in range(0, len(whole), 7)]

    assert set(statuses) <= {200, 400}
    assert statuses.count(400) > len(statuses) // 2
    reply = target.poll(whole[:-1])
    assert reply.status == 400
    assert b"not a LatestConfigsRequest" in content(reply)


def test_a_string_that_is_no_text_is_refused(target: Target) -> None:
    assert target.poll(b"\x0a\x02\xff\xfe").status == 400


def test_a_hundred_megabytes_are_refused_at_their_header(target: Target) -> None:
    with target.connect() as connection:
        connection.sendall(
            f"POST {POLL} HTTP/1.1\r\nHost: x\r\nDD-Api-Key: {target.key}\r\n"
            f"Content-Length: {HUNDRED_MB}\r\n\r\n".encode()
        )
        reply = http.client.HTTPResponse(connection)
        reply.begin()
        assert reply.status == 413
        assert b"8388608" in reply.read()
        assert reply.headers["connection"] == "close"
        assert connection.recv(1) == b""  # and the connection is over, not drained


def test_a_hundred_megabytes_in_chunks_are_refused_soon_after_the_limit(target: Target) -> None:
    sent = 0
    chunk = b"10000\r\n" + b"\x00" * 0x10000 + b"\r\n"
    with target.connect() as connection:
        connection.sendall(
            f"POST {POLL} HTTP/1.1\r\nHost: x\r\nDD-Api-Key: {target.key}\r\n"
            "Transfer-Encoding: chunked\r\n\r\n".encode()
        )
        while sent < HUNDRED_MB and not select.select([connection], [], [], 0)[0]:
            connection.sendall(chunk)
            sent += 0x10000
        reply = http.client.HTTPResponse(connection)
        reply.begin()
        assert reply.status == 413
        # Twice the limit is what lies in the buffers of both ends.
        assert MAX_LATEST_CONFIGS_REQUEST_BYTES // 2 < sent < 3 * MAX_LATEST_CONFIGS_REQUEST_BYTES


def test_a_hundred_megabytes_without_a_key_are_not_read(target: Target) -> None:
    with target.connect() as connection:
        connection.sendall(
            f"POST {POLL} HTTP/1.1\r\nHost: x\r\nContent-Length: {HUNDRED_MB}\r\n\r\n".encode()
        )
        reply = http.client.HTTPResponse(connection)
        reply.begin()
        assert reply.status == 401


@pytest.mark.parametrize(
    "length",
    ["-1", "99999999999999999999999999", "1e3", "0x10", "5, 5", "", "5\r\nContent-Length: 6", "1_0", "+5"],
    ids=ascii,
)
def test_a_length_that_is_none_is_refused_and_the_connection_ends(target: Target, length: str) -> None:
    with target.connect() as connection:
        connection.sendall(
            f"POST {POLL} HTTP/1.1\r\nHost: x\r\nDD-Api-Key: {target.key}\r\n"
            f"Content-Length: {length}\r\n\r\nabcde".encode()
        )
        connection.settimeout(5)
        try:
            answer = connection.recv(65_536)
        except TimeoutError:
            answer = b""
        assert not answer.startswith(b"HTTP/1.1 200")
        assert b" 500 " not in answer.partition(b"\r\n")[0]


def test_a_length_that_lies_waits_for_the_rest_and_disturbs_nobody(target: Target) -> None:
    with target.connect() as connection:
        connection.sendall(
            f"POST {POLL} HTTP/1.1\r\nHost: x\r\nDD-Api-Key: {target.key}\r\n"
            "Content-Length: 4000\r\n\r\nabc".encode()
        )
        assert target.poll(target.request).status == 200  # meanwhile
    # Less than it said, then gone: nothing was asked.


def test_more_than_the_length_says_is_another_request(target: Target) -> None:
    with target.connect() as connection:
        connection.sendall(
            f"POST {POLL} HTTP/1.1\r\nHost: x\r\nDD-Api-Key: {target.key}\r\nContent-Length: 1\r\n\r\n"
            "xGET /nothing\r\n\r\n".encode()
        )
        first = http.client.HTTPResponse(connection)
        first.begin()
        assert first.status == 400
        first.read()
        rest = connection.recv(65_536)
        assert not rest or b" 40" in rest.partition(b"\r\n")[0]


def test_two_lengths_and_chunks_at_once_are_no_way_to_smuggle(target: Target) -> None:
    """Attack: two readings of where a request ends."""
    with target.connect() as connection:
        connection.sendall(
            f"POST {POLL} HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n"
            f"DD-Api-Key: {target.key}\r\n\r\n0\r\n\r\n"
            f"GET {ADMIN}/whoami HTTP/1.1\r\nHost: x\r\n\r\n".encode()
        )
        connection.settimeout(5)
        try:
            said = connection.recv(65_536)
        except TimeoutError:
            said = b""
        assert b"org_uuid" not in said
        assert b" 500 " not in said


@pytest.mark.parametrize("wait", ["-1", "x", "99999999999", "1.5", "", "0"])
def test_a_wait_that_is_none_is_not_waited_for(target: Target, wait: str) -> None:
    started = time.monotonic()
    reply = target.ask("POST", POLL, target.request, {"DD-Api-Key": target.key, "Sealwire-Wait": wait})
    assert reply.status == 200
    assert time.monotonic() - started < 20  # one that is waited for lasts a minute


# Paths ------------------------------------------------------------------------------------------------------

TRICKS = [
    "/api/v0.1/../admin/v1/keys",
    "/api/v0.1/%2e%2e/admin/v1/keys",
    "//api/admin/v1/keys",
    "/api/admin/v1/../../../../etc/passwd",
    "/api/admin/v1/configs/..%2f..%2f..%2fetc%2fpasswd",
    "/api/admin/v1/configs/..\\..\\windows",
    "/api/admin/v1/configs/%00",
    "/api/admin/v1/configs/%0d%0aSet-Cookie:%20a=b",
    "/api/admin/v1/configs/" + "a/" * 500,
    "/api/admin/v1/configs/" + "a" * 20_000,
    "/api/admin/v1/configs/%ff%fe%fd",
    "/api/admin/v1/configs/%",
    "/api/v0.1/org/",
    "/API/V0.1/ORG",
    "/api/v0.1/org%00",
    "/api/v0.1/org;x",
    "http://elsewhere.example.org/api/admin/v1/keys",
    "*",
    "/api/admin/v1/audit?limit=%00",
    "/api/admin/v1/configs?product=%00&state=active",
    "/api/admin/v1/configs?" + "a=b&" * 2_000,
    "/api/admin/v1/clients?service=%00",
]


@pytest.mark.parametrize("path", TRICKS, ids=lambda path: path[:50])
@pytest.mark.parametrize("signed_in", [True, False], ids=["signed in", "anonymous"])
def test_a_path_that_plays_tricks_opens_nothing(target: Target, path: str, signed_in: bool) -> None:
    authorization = f"Authorization: Bearer {target.server.application_key}\r\n" if signed_in else ""
    with target.connect() as connection:
        connection.sendall(
            f"GET {path} HTTP/1.1\r\nHost: x\r\n{authorization}Connection: close\r\n\r\n".encode("latin-1")
        )
        answer = b""
        while more := connection.recv(65_536):
            answer += more
    status = int(answer.split(b" ", 2)[1])
    assert status < 500, answer[:500]
    assert b"root:" not in answer
    assert b"set-cookie" not in answer.partition(b"\r\n\r\n")[0].lower()
    if not signed_in:
        assert status >= 400, answer[:500]


@pytest.mark.parametrize(
    "odd",
    ["../../etc/passwd", "..\\..\\x", "a.b", "a/b", "\x00", "\n", "x" * 100_000, "", "ＡＳＭ"],
    ids=ascii,
)
def test_paths_that_clients_report_are_kept_as_words_and_nothing_else(target: Target, odd: str) -> None:
    client = tracer("c1")
    client.state.config_states.add(id=odd, product=odd, version=1, apply_state=2)
    agent = SimulatedAgent(target.agent.roots, hostname=odd[:300], clients={"c1": client})
    client.client_tracer.service = odd[:1000]

    assert target.poll(agent.request()).status == 200

    listed = target.server.api.clients()
    assert all(len(found["service"]) <= 300 for found in listed)
    # The client as it was, so that what follows is compared with the same fleet.
    assert target.poll(target.request).status == 200


# Plain HTTP -------------------------------------------------------------------------------------------------


def test_plain_http_gets_no_answer_from_the_tls_port(target: Target) -> None:
    with socket.create_connection(("127.0.0.1", target.server.port), timeout=10) as connection:
        connection.sendall(f"GET {ORG} HTTP/1.1\r\nHost: x\r\nDD-Api-Key: {target.key}\r\n\r\n".encode())
        said = b""
        try:
            while more := connection.recv(4096):
                said += more
        except OSError:
            pass
    assert b"HTTP/1.1 200" not in said
    assert b"uuid" not in said


def test_plain_http_is_served_only_by_a_setting_that_names_the_risk(tmp_path: Path) -> None:
    plain = ControlPlane(tmp_path, settings={"plain_http_sends_api_keys_unencrypted": "true"})
    try:
        assert plain.url.startswith("http://")
        assert "API keys and configs travel unencrypted" in plain.log()
        assert plain.ca_file is None
        assert plain.api.get("/whoami")["user"] == "admin"
    finally:
        plain.stop()


@pytest.mark.parametrize("name", ["PLAIN_HTTP", "TLS", "INSECURE"])
def test_no_other_word_switches_tls_off(target: Target, tmp_path: Path, name: str) -> None:
    with ControlPlane(tmp_path, environment={f"SEALWIRE_{name}": "true"}) as server:
        assert server.url.startswith("https://")


# A server that cannot start says why ----------------------------------------------------------------------


def started(folder: Path, *arguments: str) -> tuple[int, str]:
    program = Program(
        [
            sys.executable,
            "-m",
            "sealwire",
            *arguments,
            "--data-dir",
            folder / "d",
            "--config-dir",
            folder / "c",
        ],
        name="sealwire",
        log=folder / "log",
        environment=clean_environment({"HOME": str(folder)}),
    )
    return program.wait_for_end(timeout_s=60), program.said()


def test_a_port_that_is_taken_is_said_in_a_line_and_the_next_start_is_a_first_start(tmp_path: Path) -> None:
    port = free_port()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        code, said = started(tmp_path, "server", "--port", str(port))
    assert code == 1
    assert said.startswith(f"sealwire: 127.0.0.1:{port} cannot be used")
    assert "Traceback" not in said

    # Nobody could have signed in so far: the key of the administrator is made now.
    with ControlPlane(tmp_path) as server:
        assert server.api.get("/whoami")["role"] == "Admin"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("server", "--port", "70000"), "port must be between"),
        (("server", "--listen", "nowhere"), "listen takes an IP address"),
        (("server", "--database-url", "nonsense"), "database_url is not usable"),
        (("backup", "x.tar.gz"), "There is no database"),
        (("restore", "missing.tar.gz"), "is not a Sealwire backup"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_a_command_that_cannot_be_done_says_why_in_one_line(
    tmp_path: Path, arguments: tuple[str, ...], says: str
) -> None:
    code, said = started(tmp_path, *arguments)
    assert code == 1
    assert says in said
    assert "Traceback" not in said


@pytest.mark.parametrize("path", ["/", "/sign-in", f"{ADMIN}/whoami", "/nowhere"])
@pytest.mark.parametrize(
    "host",
    ["x: 12", "x:port", "x:65536", "x:123456", "[::1", "[zz]", "[1:2]", "a b", "a@b", "a/b", "é", "x" * 400],
)
def test_a_host_that_is_none_is_refused(target: Target, path: str, host: str) -> None:
    with target.connect() as connection:
        head = f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
        connection.sendall(head.encode())
        assert connection.recv(65_536).startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize(
    "host", ["x", "sealwire.example.org:8443", "[::1]:8443", "127.0.0.1", "a_b-c.d", "x:", ""]
)
def test_a_host_may_be_any_name_or_address(target: Target, host: str) -> None:
    with target.connect() as connection:
        connection.sendall(f"GET /healthz HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        assert connection.recv(65_536).startswith(b"HTTP/1.1 200 ")


# Random bytes ---------------------------------------------------------------------------------------------


def test_random_bytes_on_every_endpoint(target: Target) -> None:
    """A bounded run with fresh seeds; a failure names the one to try again with ``FUZZ_SEED``.

    Several at once: a request that promises more than it brings is waited for, and nothing else happens.
    """
    ends = time.monotonic() + FUZZ_S
    with ThreadPoolExecutor(FUZZ_AT_ONCE) as pool:
        fuzzers = [pool.submit(_fuzz_until, target, ends) for _ in range(FUZZ_AT_ONCE)]
    runs = sum(fuzzer.result() for fuzzer in fuzzers)
    print(f"{runs} random requests in {FUZZ_S:g} s")  # noqa: T201 - shown with a failure
    assert runs > 50


def _fuzz_until(target: Target, ends: float) -> int:
    given = os.environ.get("FUZZ_SEED")
    runs = 0
    while time.monotonic() < ends:
        seed = int(given) if given else random.SystemRandom().randrange(2**48)
        say = f"FUZZ_SEED={seed}"
        try:
            status = _fuzz_once(target, random.Random(seed))
        except Exception as error:
            raise AssertionError(say) from error
        assert status is None or status < 500, f"{say}: {status}"
        runs += 1
    return runs


def _fuzz_once(target: Target, chance: random.Random) -> int | None:
    """One hostile request; the status of the answer, None when the connection was closed without one."""
    method = chance.choice(["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD", "TRACE", "X" * 30])
    path = chance.choice([
        POLL, ORG, STATUS, "/", "/healthz", "/metrics", f"{ADMIN}/whoami", f"{ADMIN}/configs",
        f"{ADMIN}/configs:check", f"{ADMIN}/configs/{target.config['id']}", f"{ADMIN}/keys", f"{ADMIN}/audit",
        f"{ADMIN}/orgs", f"{ADMIN}/roots", f"{ADMIN}/clients", f"{ADMIN}/agents", f"{ADMIN}/status",
        f"{ADMIN}/{chance.randbytes(12).hex()}", f"{ADMIN}/openapi/openapi.json",
    ])  # fmt: skip
    noise = chance.randbytes(chance.choice([0, 1, 10, 1_000, 50_000]))
    body = chance.choice([noise, _mutated(target.request, chance), b'{"product":' + noise + b"}"])
    keys = [("DD-Api-Key", target.key), ("DD-Api-Key", noise[:50].hex())]
    # Never a body that could be a valid change: with the administrator's key, noise only.
    is_machine = path.startswith("/api/v0.1")
    if not is_machine and method not in ("DELETE", "POST") and body is noise:
        keys.append(("Authorization", f"Bearer {target.server.application_key}"))
    name, key = chance.choice(keys)
    head = f"{method} {path} HTTP/1.1\r\nHost: x\r\n{name}: {key}\r\nContent-Length: {len(body)}\r\n\r\n"
    raw = head.encode() + body
    if chance.random() < 0.3:  # the framing itself
        raw = _mutated(raw[:400], chance) + raw[400:]
    with target.connect() as connection:
        connection.settimeout(0.7)
        try:
            connection.sendall(raw)
            answer = connection.recv(65_536)
        except TimeoutError:
            return None  # it waits for the rest of what it was promised
        except OSError:
            return None
    if not answer.startswith(b"HTTP/1.1 "):
        assert answer == b"", answer[:200]
        return None
    return int(answer[9:12])


def _mutated(raw: bytes, chance: random.Random) -> bytes:
    changed = bytearray(raw)
    for _ in range(chance.randrange(1, 6)):
        place = chance.randrange(len(changed))
        match chance.randrange(4):
            case 0:
                changed[place] ^= 1 << chance.randrange(8)
            case 1:
                del changed[place : place + chance.randrange(1, 20)]
            case 2:
                changed[place:place] = chance.randbytes(chance.randrange(1, 20))
            case 3:
                del changed[place:]
        if not changed:
            break
    return bytes(changed)


def test_bytes_that_are_no_tls_are_hung_up_on(target: Target) -> None:
    chance = random.Random(1)
    for _ in range(50):
        with socket.create_connection(("127.0.0.1", target.server.port), timeout=10) as connection:
            connection.sendall(chance.randbytes(chance.randrange(1, 2000)))
