"""The Go Agent's own remote-config service judges and serves what our control plane sends.

Real control plane, real HTTPS, the Agent's published modules from its poll loop to the repository of a Go
tracer: what it accepts here, an unmodified Agent accepts.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.go_agent import GoAgent, go_agent_program
from tests.support.stack import ControlPlane

# The first test may have to fetch and build.
pytestmark = [pytest.mark.interop, pytest.mark.timeout(600)]

ON = {"asm": {"enabled": True}}
OFF = {"asm": {"enabled": False}}


def denied(address: str) -> dict[str, object]:
    return {"rules_data": [{"id": "blocked_ips", "type": "ip_with_expiration", "data": [{"value": address}]}]}


@pytest.fixture(scope="module", autouse=True)
def _built() -> None:
    go_agent_program()


@pytest.fixture
def control_plane(tmp_path: Path, _built: None) -> Iterator[ControlPlane]:
    with ControlPlane(tmp_path / "control-plane", settings={"refresh_interval_s": 1}) as running:
        yield running


@pytest.fixture
def agent(tmp_path: Path, control_plane: ControlPlane) -> Iterator[GoAgent]:
    with GoAgent(tmp_path / "go-agent", control_plane) as running:
        running.wait_for(lambda seen: seen.targets, "first contact")
        yield running


def wait_for_asm(agent: GoAgent, payload: object) -> None:
    agent.wait_for(lambda seen: seen.payload("ASM_FEATURES") == payload, f"ASM_FEATURES is {payload}")


def test_it_takes_both_repositories_at_first_contact_though_nothing_is_authored(
    control_plane: ControlPlane, agent: GoAgent
) -> None:
    seen = agent.wait_for(lambda seen: seen.key_scoped, "it knows its status")

    assert (seen.org_enabled, seen.key_scoped, seen.agent_error) == ("true", "true", "")
    assert (seen.director["root.json"], seen.config["root.json"], seen.root) == (2, 2, 2)
    assert set(seen.director) >= {"timestamp.json", "snapshot.json", "targets.json"}
    assert (seen.status, seen.files, seen.stored) == ("CONFIG_STATUS_OK", {}, [])
    assert agent.complaints() == []
    known = control_plane.api.wait_for_agent(
        "host-go", lambda agent: agent["clients"] == 1, "its client is seen"
    )
    assert (known["version"], known["tags"], known["error"]) == ("7.85.2", ["team:interop"], "")


def test_it_polls_at_the_interval_we_hand_it_and_steady_answers_change_nothing(agent: GoAgent) -> None:
    before = agent.pictures()[-1]

    agent.wait_for_polls(4, timeout_s=10)

    assert "refresh interval to 1s" in agent.program.said()
    assert agent.pictures()[-1].director == before.director
    assert agent.pictures()[-1].config == before.config
    assert agent.complaints() == []


def test_a_config_for_its_service_arrives_byte_for_byte_changes_in_place_and_goes(
    control_plane: ControlPlane, agent: GoAgent
) -> None:
    api = control_plane.api
    api.create("ASM_FEATURES", ON, service="shop")
    config = api.create("ASM_DATA", denied("203.0.113.7"), service="shop")

    first = agent.wait_for(lambda seen: len(seen.files) == 2, "both files")
    (path,) = (path for path in first.files if "/ASM_DATA/" in path)

    assert first.files[path] == json.dumps(denied("203.0.113.7"), separators=(",", ":"), sort_keys=True)
    assert first.client_configs == first.stored == sorted(first.files)
    api.wait_until_acknowledged("shop", config)

    config = api.change(config, denied("203.0.113.8"))
    second = agent.wait_for(lambda seen: seen.payload("ASM_DATA") == denied("203.0.113.8"), "the new content")

    assert sorted(second.files) == sorted(first.files)
    assert second.targets > first.targets
    api.wait_until_acknowledged("shop", config)

    api.retire(config)
    third = agent.wait_for(lambda seen: path not in seen.files, "the retired file is gone")

    assert path not in third.stored
    assert third.payload("ASM_FEATURES") == ON
    assert agent.complaints() == []


def test_a_probe_arrives_with_a_word_before_its_id_and_changes(
    control_plane: ControlPlane, tmp_path: Path
) -> None:
    api = control_plane.api
    probe = {
        "type": "SPAN_PROBE", "language": "python", "tags": [],
        "where": {"typeName": "shop.orders", "methodName": "sell"},
    }  # fmt: skip
    config = api.create("LIVE_DEBUGGING", probe, service="shop")
    api.create("LIVE_DEBUGGING_SYMBOL_DB", {"upload_symbols": True}, service="shop")
    products = ("LIVE_DEBUGGING", "LIVE_DEBUGGING_SYMBOL_DB")
    with GoAgent(tmp_path / "go-agent", control_plane, products=products) as agent:
        first = agent.wait_for(lambda seen: len(seen.files) == 2, "both files")
        names = [path.split("/")[3] for path in first.files]
        assert sorted(name.partition("_")[0] for name in names) == ["spanProbe", "symDb"]

        api.change(config, {**probe, "tags": ["team:shop"]})
        agent.wait_for(
            lambda seen: (seen.payload("LIVE_DEBUGGING") or {}).get("version") == 2, "the next version"
        )
        assert agent.complaints() == []


def test_a_file_it_once_had_and_dropped_comes_again(control_plane: ControlPlane, agent: GoAgent) -> None:
    api = control_plane.api
    config = api.create("ASM_DATA", denied("203.0.113.7"), service="shop")
    first = agent.wait_for(lambda seen: seen.files, "the file")

    def aim(config: dict[str, Any], service: str) -> dict[str, Any]:
        body = {"expected_revision": config["revision"], "targeting": {"service": [service]}}
        aimed: dict[str, Any] = api.put(f"/configs/{config['id']}", body)
        return aimed

    config = aim(config, "billing")
    agent.wait_for(lambda seen: not seen.files and not seen.stored, "the file is gone")
    aim(config, "shop")
    agent.wait_for(lambda seen: seen.files == first.files, "the file is back")

    assert agent.pictures()[-1].stored == list(first.files)
    assert agent.complaints() == []


def test_a_config_for_another_service_on_another_host_never_reaches_it(
    control_plane: ControlPlane, agent: GoAgent, tmp_path: Path
) -> None:
    with GoAgent(tmp_path / "other", control_plane, hostname="host-other", service="billing") as other:
        other.wait_for(lambda seen: seen.targets, "first contact")
        secret = control_plane.api.create("ASM_DATA", denied("198.51.100.99"), service="billing")
        control_plane.api.create("ASM_FEATURES", ON)

        other.wait_for(lambda seen: len(seen.files) == 2, "both files")
        seen = agent.wait_for(lambda seen: seen.files, "the one file for all")
        agent.wait_for_polls(2)

        assert list(seen.files) == seen.stored
        assert seen.payload("ASM_DATA") is None
        assert other.keeps(b"198.51.100.99")
        assert not agent.keeps(b"198.51.100.99")
        assert not agent.keeps(secret["id"].encode())
        assert agent.complaints() == other.complaints() == []


@pytest.mark.parametrize(
    ("action", "repositories"),
    [("rotate", ("director",)), ("rotate", ("config",)), ("recover", ("director", "config"))],
    ids=["rotate director", "rotate config", "recover both"],
)
def test_it_follows_new_roots(
    action: str, repositories: tuple[str, ...], control_plane: ControlPlane, agent: GoAgent
) -> None:
    control_plane.api.create("ASM_FEATURES", ON, service="shop")
    wait_for_asm(agent, ON)
    versions = dict.fromkeys(("director", "config"), 2)

    for repository in repositories:
        versions[repository] = control_plane.api.post(f"/roots/{repository}:{action}")["version"]
    config = control_plane.api.create("ASM_DATA", denied("203.0.113.7"), service="shop")
    agent.wait_for(
        lambda seen: (
            seen.payload("ASM_DATA") == denied("203.0.113.7")
            and (seen.director["root.json"], seen.config["root.json"])
            == (versions["director"], versions["config"])
        ),
        "a change under the new roots",
    )

    assert any(version > 2 for version in versions.values())
    control_plane.api.wait_until_acknowledged("shop", config)
    assert agent.pictures()[-1].root == versions["director"], "its tracer verified the chain, too"
    assert agent.complaints() == []


def test_it_recovers_when_the_control_plane_was_away(control_plane: ControlPlane, agent: GoAgent) -> None:
    control_plane.api.create("ASM_FEATURES", ON, service="shop")
    wait_for_asm(agent, ON)

    control_plane.kill9()
    agent.program.wait_for_line("^agent (warn|error): .*(refused|EOF|reset)", timeout_s=20)
    agent.new_application()
    served = agent.wait_for(lambda seen: seen.files, "a new client is served from what the Agent holds")
    assert served.payload("ASM_FEATURES") == ON

    control_plane.start()
    control_plane.api.create("ASM_DATA", denied("203.0.113.7"), service="shop")
    agent.new_application()  # it reports its error, and cannot take an answer that leaves anything out
    agent.wait_for(lambda seen: seen.payload("ASM_DATA") == denied("203.0.113.7"), "a change after the error")
    agent.wait_for_polls(3)
    control_plane.api.wait_for_agent("host-go", lambda agent: not agent["error"], "no error is left")


@pytest.mark.parametrize("meanwhile", ["nothing", "a change", "new roots"])
def test_it_goes_on_with_its_database_after_it_was_killed(
    meanwhile: str, control_plane: ControlPlane, agent: GoAgent
) -> None:
    config = control_plane.api.create("ASM_FEATURES", ON, service="shop")
    wait_for_asm(agent, ON)
    control_plane.api.wait_until_acknowledged("shop", config)

    agent.kill9()
    if meanwhile == "a change":
        config = control_plane.api.change(config, OFF)
    if meanwhile == "new roots":
        control_plane.api.post("/roots/director:rotate")
        control_plane.api.post("/roots/config:rotate")
    agent.start()

    wait_for_asm(agent, OFF if meanwhile == "a change" else ON)
    agent.wait_for_polls(3)
    control_plane.api.change(config, {"asm": {"enabled": meanwhile == "a change"}})
    wait_for_asm(agent, ON if meanwhile == "a change" else OFF)
    assert agent.complaints() == []


def test_it_takes_the_next_change_after_an_old_backup_was_restored(
    control_plane: ControlPlane, agent: GoAgent, tmp_path: Path
) -> None:
    api = control_plane.api
    config = api.create("ASM_DATA", denied("203.0.113.0"), service="shop")
    folders = (
        *("--data-dir", str(control_plane.data_dir)),
        *("--config-dir", str(control_plane.config_dir)),
    )
    backup = str(tmp_path / "backup")
    assert control_plane.cli("backup", backup, *folders).returncode == 0
    api.create("ASM_FEATURES", ON, service="shop")
    changed = config
    for last in range(1, 51):
        changed = api.change(changed, denied(f"203.0.113.{last}"))
    agent.wait_for(lambda seen: seen.payload("ASM_DATA") == denied("203.0.113.50"), "the 50th change")
    control_plane.stop()
    assert control_plane.cli("restore", backup, *folders, "--force").returncode == 0
    control_plane.start()

    agent.new_application()
    agent.wait_for(
        lambda seen: seen.payload("ASM_DATA") == denied("203.0.113.0") and len(seen.files) == 1,
        "the state of the backup",
    )
    control_plane.api.change(config, denied("198.51.100.1"))
    agent.wait_for(lambda seen: seen.payload("ASM_DATA") == denied("198.51.100.1"), "the next change")

    assert not [why for why in agent.complaints() if "tuf" in why.lower() or "version" in why]


def test_it_refuses_a_control_plane_whose_roots_it_was_not_given_and_tells_it_so(
    control_plane: ControlPlane, tmp_path: Path
) -> None:
    control_plane.api.create("ASM_FEATURES", ON, service="shop")
    with (
        ControlPlane(tmp_path / "stranger") as stranger,
        GoAgent(tmp_path / "go-agent", control_plane, roots_of=stranger) as agent,
    ):
        seen = agent.wait_for(lambda seen: "tuf" in seen.agent_error, "a refusal")
        agent.new_application()  # or its report would wait for the end of the back-off
        told = control_plane.api.wait_for_agent("host-go", lambda agent: agent["error"], "the refusal")

        assert (seen.targets, seen.root, seen.files) == (0, 1, {})
        assert told["error"].startswith("tuf: ")
        assert not agent.pictures()[-1].files


def test_a_key_without_the_scope_is_refused_in_words_its_operator_can_act_on(
    control_plane: ControlPlane, tmp_path: Path
) -> None:
    api = control_plane.api
    key = api.post("/keys", {"name": "no scope", "remote_config": False})
    with GoAgent(tmp_path / "go-agent", control_plane, api_key=key["key"]) as agent:
        seen = agent.wait_for(lambda seen: seen.org_enabled, "it knows its status")
        assert (seen.org_enabled, seen.key_scoped, seen.targets) == ("true", "false", 0)
        agent.program.wait_for_line(r"^agent debug: .*unauthorized\. .*has the Remote Config scope")
        agent.program.wait_for_line(
            r"^agent info: .*Add the Remote Configuration Read permission to its API key"
        )

        api.patch(f"/keys/{key['id']}", {"remote_config": True})
        api.create("ASM_FEATURES", ON, service="shop")
        agent.new_application()
        wait_for_asm(agent, ON)


def test_a_key_that_loses_the_scope_is_its_last_error_until_it_has_it_again(
    control_plane: ControlPlane, tmp_path: Path
) -> None:
    api = control_plane.api
    key = api.post("/keys", {"name": "to be revoked", "remote_config": True})
    with GoAgent(tmp_path / "go-agent", control_plane, api_key=key["key"]) as agent:
        api.create("ASM_FEATURES", ON, service="shop")
        wait_for_asm(agent, ON)

        api.patch(f"/keys/{key['id']}", {"remote_config": False})
        seen = agent.wait_for(lambda seen: seen.agent_error, "an error")
        assert seen.agent_error.endswith("non-200 response code: 401")  # its words for this request
        agent.program.wait_for_line(
            "^agent debug: .*This API key does not carry the Remote Configuration scope"
        )
        assert seen.payload("ASM_FEATURES") == ON

        api.patch(f"/keys/{key['id']}", {"remote_config": True})
        api.create("ASM_DATA", denied("203.0.113.7"), service="shop")
        agent.new_application()
        agent.wait_for(lambda seen: len(seen.files) == 2 and not seen.agent_error, "all is well again")


def test_with_an_interval_of_its_own_it_has_a_change_within_that_and_a_little(
    control_plane: ControlPlane, tmp_path: Path
) -> None:
    with GoAgent(tmp_path / "go-agent", control_plane, refresh="5s") as agent:
        agent.wait_for(lambda seen: seen.targets, "first contact")
        control_plane.api.create("ASM_FEATURES", ON, service="shop")

        # 5 s, 0.2 s for us, 0.5 s until its tracer asks, and the rest for a busy machine.
        agent.wait_for(lambda seen: seen.files, "the change", timeout_s=7)
        assert agent.complaints() == []
