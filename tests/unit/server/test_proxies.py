"""Who really asks: proxies that are trusted are believed, and nobody else."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealwire.errors import SettingsError
from sealwire.server.api.proxies import Proxies, behind
from sealwire.server.app import build
from sealwire.server.settings import LOOPBACK, load
from tests.support.parts import denylist, running
from tests.support.simulated_agent import SimulatedAgent, tracer

OURS = (*LOOPBACK, "10.0.0.0/8", "2001:db8:1::/48")


@pytest.mark.parametrize(
    ("peer", "forwarded", "is_who"),
    [
        # Attack: whoever is no proxy of ours says to be somebody else.
        ("203.0.113.9", ["198.51.100.1"], "203.0.113.9"),
        ("203.0.113.9", ["127.0.0.1"], "203.0.113.9"),
        ("2001:db8:2::9", ["2001:db8:1::1"], "2001:db8:2::9"),
        ("::ffff:203.0.113.9", ["198.51.100.1"], "203.0.113.9"),
        # One hop, several, and what stood in the header before the first proxy of ours.
        ("127.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("::1", ["198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["198.51.100.1, 10.0.0.2"], "198.51.100.1"),
        ("10.0.0.1", ["198.51.100.1, 10.0.0.3, 10.0.0.2"], "198.51.100.1"),
        ("10.0.0.1", ["192.0.2.66, 198.51.100.1, 10.0.0.2"], "198.51.100.1"),
        ("10.0.0.1", ["127.0.0.1, 198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["10.9.9.9, 198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["192.0.2.66", "198.51.100.1", "10.0.0.2"], "198.51.100.1"),
        # IPv6, mapped addresses, ports, zones.
        ("2001:db8:1::1", ["2001:db8:7::42"], "2001:db8:7::42"),
        ("2001:db8:1::1", ["2001:DB8:7:0::42"], "2001:db8:7::42"),
        ("::ffff:10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["::ffff:198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["198.51.100.1, ::ffff:10.0.0.2"], "198.51.100.1"),
        ("10.0.0.1", ["198.51.100.1:4711"], "198.51.100.1"),
        ("10.0.0.1", ["[2001:db8:7::42]:4711"], "2001:db8:7::42"),
        ("10.0.0.1", ["[2001:db8:7::42]"], "2001:db8:7::42"),
        ("10.0.0.1", ["fe80::1%eth0"], "fe80::1"),
        # All are ours: the one that is furthest away.
        ("10.0.0.1", ["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        # Nothing that is an address: the last that was proven.
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", [""], "10.0.0.1"),
        ("10.0.0.1", ["unknown"], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.1, unknown"], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.1, unknown, 10.0.0.2"], "10.0.0.2"),
        ("10.0.0.1", ["198.51.100.1,"], "10.0.0.1"),
        ("10.0.0.1", ["<script>, 198.51.100.1:http"], "10.0.0.1"),
        ("10.0.0.1", ["[198.51.100.1"], "10.0.0.1"),
        ("10.0.0.1", ["1" * 5000], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.1, " + "10.0.0.2, " * 5000 + "10.0.0.3"], "10.0.0.2"),
    ],
)
def test_the_last_address_that_is_no_proxy_of_ours_is_who_asks(
    peer: str, forwarded: Sequence[str], is_who: str
) -> None:
    assert Proxies(OURS).who(peer, forwarded, [])[0] == is_who


@pytest.mark.parametrize(
    ("peer", "forwarded", "protocols", "scheme"),
    [
        ("203.0.113.9", [], ["https"], ""),
        ("10.0.0.1", [], ["https"], "https"),
        ("10.0.0.1", ["198.51.100.1"], ["HTTPS"], "https"),
        ("10.0.0.1", ["198.51.100.1"], ["http"], "http"),
        ("10.0.0.1", ["198.51.100.1"], ["http, https"], "https"),
        ("10.0.0.1", ["198.51.100.1, 10.0.0.2"], ["https, http"], "https"),
        ("10.0.0.1", ["198.51.100.1, 10.0.0.2"], ["http, https, http"], "https"),
        ("10.0.0.1", ["198.51.100.1, 10.0.0.2"], ["https"], "https"),
        ("10.0.0.1", ["198.51.100.1"], ["javascript"], ""),
        ("10.0.0.1", ["198.51.100.1"], [], ""),
    ],
)
def test_the_scheme_is_that_of_the_same_proxy(
    peer: str, forwarded: Sequence[str], protocols: Sequence[str], scheme: str
) -> None:
    assert Proxies(OURS).who(peer, forwarded, protocols)[1] == scheme


def test_who_trusts_nobody_believes_no_header() -> None:
    assert Proxies(()).who("127.0.0.1", ["198.51.100.1"], ["https"]) == ("127.0.0.1", "")


@given(st.lists(st.text(max_size=60), max_size=5))
def test_no_header_hides_who_came_through_a_proxy(said: list[str]) -> None:
    """Whatever somebody writes there, the proxy's own addition comes after it."""
    assert Proxies(OURS).who("10.0.0.1", [*said, "198.51.100.1"], [])[0] == "198.51.100.1"
    assert Proxies(OURS).who("203.0.113.9", said, said) == ("203.0.113.9", "")


def test_the_scope_is_changed_for_requests_alone() -> None:
    seen: list[dict[str, Any]] = []

    async def application(scope: Any, _receive: Any, _send: Any) -> None:
        seen.append(dict(scope))

    async def case() -> None:
        told = behind(application, Proxies(OURS))
        headers = [(b"x-forwarded-for", b"198.51.100.1"), (b"x-forwarded-proto", b"https")]
        http = {"type": "http", "scheme": "http", "headers": headers}
        for scope in (
            {**http, "client": ("10.0.0.1", 4711)},
            {**http, "client": ("203.0.113.9", 4711)},
            {**http, "client": None},
            {"type": "lifespan"},
        ):
            await told(scope, None, None)  # type: ignore[arg-type]

    asyncio.run(case())
    assert [(one.get("client"), one.get("scheme")) for one in seen] == [
        (("198.51.100.1", 0), "https"),
        (("203.0.113.9", 4711), "http"),
        (None, "http"),
        (None, None),
    ]


@pytest.mark.parametrize(("peer", "address"), [("192.0.2.10", "198.51.100.1"), ("192.0.2.77", "192.0.2.77")])
def test_sessions_audit_agents_and_warnings_go_by_the_same_address(
    tmp_path: Path, peer: str, address: str
) -> None:
    """Through the whole application: once through a trusted proxy, once with the header made up."""

    async def case() -> None:
        async with running(tmp_path, trusted_proxies=("192.0.2.10/32",)) as plane:
            application, _ = build(plane)
            tenant = plane.tenants[1]
            key = plane.access.create_application_key(1, user="admin", role="admin", now_ms=plane.now_ms())
            made = plane.access.create_api_key(
                1, name="agents", remote_config=True, by="admin", now_ms=plane.now_ms()
            )
            agent = SimulatedAgent(
                (tenant.publisher.roots.director[0], tenant.publisher.roots.config[0]),
                org_uuid=tenant.organisation.uuid, clients={"c1": tracer("c1")},
            )  # fmt: skip
            transport = httpx.ASGITransport(application, client=(peer, 4711))
            headers = {"X-Forwarded-For": "127.0.0.1, 198.51.100.1"}
            async with httpx.AsyncClient(
                transport=transport, base_url="http://sealwire", headers=headers
            ) as client:
                polled = await client.post(
                    "/api/v0.1/configurations", content=agent.request(), headers={"DD-Api-Key": made[1]}
                )
                assert polled.status_code == 200
                assert [one.address for one in tenant.distributor.sessions.values()] == [address]

                person = {"Authorization": f"Bearer {key}"}
                body = {"product": "ASM_DATA", "payload": denylist("203.0.113.7")}
                saved = await client.post("/api/admin/v1/configs", json=body, headers=person)
                assert saved.status_code == 201
                events = (await client.get("/api/admin/v1/audit", headers=person)).json()["events"]
                mine = next(one for one in events if one["action"] == "config.created")
                assert mine["network"]["client"]["ip"] == address

                blocked = await client.post(
                    "/api/admin/v1/protect/denylist", headers=person,
                    json={"kind": "ip", "values": [address]},
                )  # fmt: skip
                assert f"You are at {address} yourself" in blocked.text

                # Counted by that address: another one behind the same proxy is not kept waiting.
                origin = {"Origin": "http://sealwire"}
                tried = [
                    await client.post("/sign-in", data={"application_key": f"{n:040x}"}, headers=origin)
                    for n in range(12)
                ]
                assert [one.status_code for one in tried] == [401] * 10 + [429] * 2
                other = await client.post(
                    "/sign-in", data={"application_key": "f" * 40},
                    headers={**origin, "X-Forwarded-For": "203.0.113.200"},
                )  # fmt: skip
                assert other.status_code == (429 if address == peer else 401)

    asyncio.run(case())


def chosen(folder: Path, text: str = "", **environ: str) -> tuple[str, ...]:
    (folder / "server.toml").write_text(text)
    return load({"config_dir": folder, "data_dir": folder}, environ).trusted_proxies


def test_loopback_is_trusted_unless_something_else_is_said(tmp_path: Path) -> None:
    assert chosen(tmp_path) == LOOPBACK
    assert chosen(tmp_path, "trusted_proxies = []") == ()
    assert chosen(tmp_path, 'trusted_proxies = ["10.0.0.5", "2001:db8::/64"]') == (
        "10.0.0.5",
        "2001:db8::/64",
    )
    assert chosen(tmp_path, SEALWIRE_TRUSTED_PROXIES="10.0.0.0/8, ::1") == ("10.0.0.0/8", "::1")
    assert chosen(tmp_path, SEALWIRE_TRUSTED_PROXIES="none") == ()


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("0.0.0.0/0", "anybody could then say to be anybody else"),
        ("::/0", "anybody could then say to be anybody else"),
        ("*", "takes addresses and networks such as 10.0.0.5 or 10.0.0.0/8, not '*'"),
        ("proxy.example.org", "not 'proxy.example.org'"),
        ("10.0.0.1/8", "Did you mean 10.0.0.0/8?"),
        ("::ffff:10.0.0.0/104", "takes IPv4 networks as such"),
        ("none, 10.0.0.1", "not 'none'"),
    ],
)
def test_a_network_that_cannot_be_trusted_is_refused_at_start(tmp_path: Path, given: str, says: str) -> None:
    with pytest.raises(SettingsError) as refused:
        chosen(tmp_path, SEALWIRE_TRUSTED_PROXIES=given)
    assert says in str(refused.value)


def test_proxies_elsewhere_are_asked_about_before_they_are_blocked(tmp_path: Path) -> None:
    (tmp_path / "server.toml").write_text(
        'own_networks = ["192.0.2.0/24"]\ntrusted_proxies = ["127.0.0.0/8", "10.0.0.5"]'
    )
    settings = load({"config_dir": tmp_path, "data_dir": tmp_path}, {})
    assert settings.networks_of_ours == ("192.0.2.0/24", "10.0.0.5")
