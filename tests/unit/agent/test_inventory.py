"""What an agent tells of itself, and when: bounded posts, no secrets, quiet where nobody listens."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import orjson
import pytest

from sealwire.agent import inventory as module
from sealwire.agent.exchange import ApiError, ControlPlane, Trouble
from sealwire.agent.inventory import JITTER, SOON_S, Inventory, Poster, shown_settings
from sealwire.agent.roster import Roster
from sealwire.agent.settings import AgentSettings, load_settings
from sealwire.agent.sights import TELEMETRY_PATH, Sights
from sealwire.errors import MalformedError
from sealwire.wire import inventory as wire
from sealwire.wire import remoteconfig_pb2 as pb

KEY = "0123456789abcdef0123456789abcdef"
ROOT = '{"signatures":[],"signed":{"_type":"root","version":1}}'


def settings(
    *overrides: str, environ: dict[str, str] | None = None, file: Path | None = None
) -> AgentSettings:
    lines = ("remote_configuration.rc_dd_url=https://rc.example:8443", f"api_key={KEY}", "hostname=web-1")
    return load_settings(config_file=file, environ=environ or {}, overrides=[*lines, *overrides], search=())


ROOTS = (f"remote_configuration.config_root={ROOT}", f"remote_configuration.director_root={ROOT}")


@dataclass
class FakePlane:
    """A control plane that takes posts, or does not."""

    answers: list[wire.Taken | Exception] = field(default_factory=list)
    posts: list[wire.Inventory] = field(default_factory=list)

    async def post_inventory(self, post: bytes) -> wire.Taken:
        assert len(post) <= wire.MAX_POST_BYTES
        self.posts.append(wire.decode(post, is_gzipped=True))
        answer = self.answers.pop(0) if self.answers else wire.Taken("t1", 60)
        if isinstance(answer, Exception):
            raise answer
        return answer


def an_inventory(
    chosen: AgentSettings, *, sights: Sights | None = None, roster: Roster | None = None
) -> Inventory:
    return Inventory(
        chosen, agent_uuid="u1", sights=sights or Sights(), roster=roster or Roster(),
        upstream=None, started=0,
    )  # fmt: skip


def a_poster(plane: FakePlane, sights: Sights | None = None) -> Poster:
    made = an_inventory(settings(*ROOTS), sights=sights)
    return Poster(made, plane=cast("ControlPlane", plane), random=random.Random(1))


def tell(sights: Sights, runtime_id: str, **values: str) -> None:
    configuration = [{"name": name, "value": value, "origin": "code"} for name, value in values.items()]
    body = orjson.dumps(
        {"request_type": "app-started", "runtime_id": runtime_id, "payload": {"configuration": configuration},
         "application": {"service_name": "shop"}}
    )  # fmt: skip
    sight = sights.at(TELEMETRY_PATH, {}, length=len(body))
    assert sight is not None
    sight.add(body)
    sight.done()


def run_posts(poster: Poster, count: int) -> Sequence[float]:
    async def case() -> list[float]:
        return [await poster.post() for _ in range(count)]

    return asyncio.run(case())


# What ---------------------------------------------------------------------------------------------------


def test_an_agent_tells_what_it_is() -> None:
    post, _, _ = an_inventory(settings(*ROOTS, "tags=team:core,env:prod")).post(token="t")

    assert (post.hostname, post.agent_uuid, post.token) == ("web-1", "u1", "t")
    assert post.version
    assert post.wire_version.startswith("7.")
    assert post.kernel.startswith("Linux ")
    assert {"team:core", "env:prod"} <= set(post.tags)
    assert post.remote_config == wire.RemoteConfig(enabled=True, is_on=True)
    assert post.uptime_s > 0


@pytest.mark.parametrize(
    ("overrides", "enabled", "reason"),
    [
        (("remote_configuration.enabled=false",), False, "remote_configuration.enabled is false"),
        ((), True, "config_root` is missing"),
    ],
)
def test_an_agent_without_remote_configuration_tells_so(
    overrides: tuple[str, ...], enabled: bool, reason: str
) -> None:
    chosen = settings(*overrides)
    post, _, _ = an_inventory(chosen).post(token="")

    assert chosen.inventory_url == "https://rc.example:8443"
    assert (post.remote_config.enabled, post.remote_config.is_on) == (enabled, False)
    assert reason in post.remote_config.reason


@pytest.mark.parametrize(
    "overrides",
    [
        ("sealwire.inventory=false",),
        ("remote_configuration.rc_dd_url=",),
        ("remote_configuration.rc_dd_url=http://rc.example",),
        ("remote_configuration.rc_dd_url=https://config.datadoghq.com",),
        ("remote_configuration.rc_dd_url=https://config.datadoghq.com", "allow_datadog_upstream=true"),
        ("remote_configuration.rc_dd_url=", "site=datadoghq.eu", "allow_datadog_upstream=true"),
        ("api_key=",),
        ("skip_ssl_validation=true",),
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("enabled", ["true", "false"])
def test_nothing_is_told_where_no_control_plane_of_ones_own_is_named(
    overrides: tuple[str, ...], enabled: str
) -> None:
    assert settings(*ROOTS, *overrides, f"remote_configuration.enabled={enabled}").inventory_url == ""


def test_each_setting_says_which_layer_it_comes_from_and_what_that_hides(tmp_path: Path) -> None:
    file = tmp_path / "datadog.yaml"
    file.write_text("env: from-file\nlog_level: debug\nremote_configuration:\n  refresh_interval: 10s\n")
    chosen = settings(
        *ROOTS, "env=from-line", environ={"DD_ENV": "from-env", "DD_LOG_LEVEL": "warn"}, file=file
    )

    shown = {one.name: one for one in shown_settings(chosen)}

    env = shown["env"]
    assert (env.value, env.source, env.origin) == ("from-line", "command_line", "--set env")
    assert env.hidden == [
        wire.Layer("env_var", "from-env", "DD_ENV"),
        wire.Layer("file", "from-file", str(file)),
    ]
    assert (shown["log_level"].value, shown["log_level"].source) == ("warn", "env_var")
    assert (shown["remote_configuration.refresh_interval"].source) == "file"
    assert (shown["remote_configuration.enabled"].value, shown["sealwire.wait"].source) == ("true", "default")


def test_neither_keys_nor_roots_are_told(tmp_path: Path) -> None:
    file = tmp_path / "datadog.yaml"
    file.write_text(f"api_key: {KEY[::-1]}\nremote_configuration:\n  api_key: {KEY}\n")
    chosen = settings(*ROOTS, environ={"DD_API_KEY": KEY}, file=file)

    told = wire.write(an_inventory(chosen).post(token="")[0])

    assert KEY not in told
    assert KEY[::-1] not in told
    assert "signatures" not in told
    shown = {one.name: one.value for one in shown_settings(chosen)}
    assert shown["remote_configuration.config_root"].startswith("set, SHA-256 ")


def test_a_service_is_told_with_whether_a_client_of_it_is_here() -> None:
    roster, sights = Roster(), Sights()
    client = pb.Client(
        id="c1", is_tracer=True,
        client_tracer=pb.ClientTracer(
            runtime_id="r1", service="Shop", env="prod", extra_services=["shop-db"]
        ),
    )  # fmt: skip
    roster.note(client, now_s=0, wall_ms=0)
    has_client = an_inventory(settings(*ROOTS), sights=sights, roster=roster)._has_client()

    assert has_client("shop", "prod", frozenset())
    assert has_client("shop-db", "PROD", frozenset())
    assert has_client("other", "test", frozenset({"r1"}))
    assert not has_client("shop", "test", frozenset({"r2"}))


# When ---------------------------------------------------------------------------------------------------


def test_a_runtime_is_told_once_and_again_when_the_post_was_not_taken() -> None:
    sights, plane = Sights(), FakePlane()
    plane.answers = [ApiError("down", trouble=Trouble.UNREACHABLE)]
    poster = a_poster(plane, sights)
    tell(sights, "r1", A="1")

    run_posts(poster, 3)

    assert [[one.runtime_id for one in post.runtimes] for post in plane.posts] == [["r1"], ["r1"], []]
    assert (poster.posts, poster.failures, poster.last_error) == (3, 1, "")


def test_another_control_plane_is_told_everything_at_once() -> None:
    sights, plane = Sights(), FakePlane(answers=[wire.Taken("t1"), wire.Taken("t1"), wire.Taken("t2")])
    poster = a_poster(plane, sights)
    tell(sights, "r1", A="1")
    tell(sights, "r2", A="1")

    first, second, third, _ = run_posts(poster, 4)

    assert [len(post.runtimes) for post in plane.posts] == [2, 0, 0, 2]
    assert [post.token for post in plane.posts] == ["", "t1", "t1", "t2"]
    assert min(first, second) >= 60 * (1 - JITTER)
    assert third <= SOON_S * (1 + JITTER), "what it forgot is told soon"


def test_many_runtimes_are_told_in_several_posts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_SETTINGS_CHARS", 20_000)
    sights, plane = Sights(), FakePlane()
    for number in range(10):
        tell(sights, f"r{number}", **{f"N{n}": "x" * 400 for n in range(15)})
    poster = a_poster(plane, sights)

    pauses = run_posts(poster, 6)

    told = [one.runtime_id for post in plane.posts for one in post.runtimes]
    assert sorted(told) == [f"r{number}" for number in range(10)]
    assert len(plane.posts[0].runtimes) < 5
    assert max(pauses[:3]) <= SOON_S * (1 + JITTER)
    assert pauses[-1] > 30


@pytest.mark.parametrize("status", [404, 405, 501])
def test_a_control_plane_that_knows_no_inventories_is_asked_less_and_less(status: int) -> None:
    error = ApiError("no", trouble=Trouble.REFUSED_BY_SERVER, status=status)
    poster = a_poster(FakePlane(answers=[error] * 30))

    pauses = run_posts(poster, 30)

    assert max(pauses) <= 3600
    assert sum(pauses[10:]) / 20 > 600


@pytest.mark.parametrize(
    "error",
    [
        ApiError("down", trouble=Trouble.UNREACHABLE),
        ApiError("401", trouble=Trouble.UNAUTHORIZED, status=401),
        MalformedError("not an answer"),
    ],
)
def test_a_control_plane_that_is_away_is_asked_again_within_minutes(error: Exception) -> None:
    poster = a_poster(FakePlane(answers=[error] * 20))

    pauses = run_posts(poster, 20)

    assert pauses[0] <= 20
    assert max(pauses) <= 300
    assert poster.last_error


def test_a_busy_control_plane_is_given_the_time_it_asks_for() -> None:
    busy = ApiError("busy", trouble=Trouble.BUSY, retry_after_s=45, status=429)

    assert run_posts(a_poster(FakePlane(answers=[busy])), 1)[0] >= 45


def test_a_post_that_cannot_be_made_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    plane = FakePlane()
    poster = a_poster(plane)
    slept: list[float] = []

    def fail(**_: object) -> None:
        raise RuntimeError("ours")

    async def sleep(pause_s: float) -> None:
        slept.append(pause_s)
        if len(slept) > 2:
            raise asyncio.CancelledError

    monkeypatch.setattr(poster._inventory, "post", fail)
    monkeypatch.setattr(asyncio, "sleep", sleep)

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(poster.run())

    assert 1 < slept[0] < 3
    assert slept[1] > 60
