"""The Rust verifier inside the ddtrace wheel against our control plane itself, no agent between.

The strictest client there is: both repositories, every signature, and nothing of it written by us.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from sealwire.products.live_debugging import probe_id
from tests.support.rust_oracle import RustVerifier, Verdict
from tests.support.stack import ControlPlane

pytestmark = pytest.mark.interop

FIRST = {
    "rules_data": [{"id": "blocked_ips", "type": "ip_with_expiration", "data": [{"value": "192.0.2.1"}]}]
}
SECOND = {
    "rules_data": [{"id": "blocked_ips", "type": "ip_with_expiration", "data": [{"value": "192.0.2.2"}]}]
}


class Direct:
    """A control plane and a verifier that asks it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.control_plane = ControlPlane(folder / "server")
        self.verifiers: list[RustVerifier] = []

    def verifier(self, **changed: object) -> RustVerifier:
        roots = self.control_plane.api.get("/roots")["repositories"]
        ca_file = self.control_plane.ca_file
        assert ca_file is not None
        chosen = {
            "port": self.control_plane.port,
            "ca_file": ca_file,
            "director_root": roots["director"]["first_root"].encode(),
            "config_root": roots["config"]["first_root"].encode(),
            "log_folder": self.folder,
            "api_key": self.control_plane.api.new_api_key(),
            **changed,
        }
        made = RustVerifier(**chosen)  # type: ignore[arg-type]
        self.verifiers.append(made)
        return made

    def close(self) -> None:
        for verifier in self.verifiers:
            verifier.close()
        self.control_plane.stop()


@pytest.fixture
def direct(tmp_path: Path) -> Iterator[Direct]:
    made = Direct(tmp_path)
    yield made
    made.close()


def contents(verifier: RustVerifier) -> list[object]:
    return [json.loads(content) for content in verifier.held.values()]


def settled(verifier: RustVerifier, *products: str) -> Verdict:
    """Poll as often as a client must until an answer brings nothing new."""
    for _ in range(4):
        verdict = verifier.poll(*products)
        assert verdict.ok, verdict
        if not verdict.changes:
            return verdict
    return verdict


def test_it_accepts_first_contact_a_change_and_a_retirement(direct: Direct) -> None:
    config = direct.control_plane.api.create("ASM_DATA", FIRST)
    verifier = direct.verifier()

    settled(verifier, "ASM_DATA")
    assert contents(verifier) == [FIRST]

    config = direct.control_plane.api.change(config, SECOND)
    settled(verifier, "ASM_DATA")
    assert contents(verifier) == [SECOND]

    direct.control_plane.api.retire(config)
    settled(verifier, "ASM_DATA")
    assert contents(verifier) == []


def test_it_accepts_a_probe_its_next_version_and_the_order_for_symbols(direct: Direct) -> None:
    """Their ids have a word in front, which the delegations must cover."""
    api = direct.control_plane.api
    probe = {
        "type": "SPAN_PROBE", "language": "python", "tags": [],
        "where": {"typeName": "shop.orders", "methodName": "sell"},
    }  # fmt: skip
    config = api.create("LIVE_DEBUGGING", probe, service="shop")
    api.create("LIVE_DEBUGGING_SYMBOL_DB", {"upload_symbols": True}, service="shop")
    verifier = direct.verifier()
    products = ("LIVE_DEBUGGING", "LIVE_DEBUGGING_SYMBOL_DB")

    settled(verifier, *products)
    first = {"id": probe_id(config["id"]), "version": 1, **probe}
    assert sorted(contents(verifier), key=len) == [{"upload_symbols": True}, first]

    config = api.change(config, {**probe, "tags": ["team:shop"]})
    settled(verifier, *products)
    second = {**first, "tags": ["team:shop"], "version": 2}
    assert sorted(contents(verifier), key=len) == [{"upload_symbols": True}, second]


def test_it_accepts_empty_repositories_and_then_the_first_config(direct: Direct) -> None:
    verifier = direct.verifier()

    first = settled(verifier, "ASM_DATA")
    direct.control_plane.api.create("ASM_DATA", FIRST)
    settled(verifier, "ASM_DATA")

    assert first.interval_s == 25
    assert contents(verifier) == [FIRST]


def test_it_gets_one_merged_file_for_a_client_that_cannot_merge(direct: Direct) -> None:
    api = direct.control_plane.api
    api.create("APM_TRACING", {"lib_config": {"tracing_sampling_rate": 0.2, "log_injection_enabled": True}})
    api.create("APM_TRACING", {"lib_config": {"tracing_sampling_rate": 0.7}}, service="shop", env="prod")
    verifier = direct.verifier()

    settled(verifier, "APM_TRACING")

    (merged,) = contents(verifier)
    assert isinstance(merged, dict)
    assert merged["lib_config"]["tracing_sampling_rate"] == 0.7
    assert merged["lib_config"]["log_injection_enabled"] is True


@pytest.mark.parametrize("repository", ["director", "config"])
@pytest.mark.parametrize("action", ["rotate", "recover"])
def test_it_follows_a_new_root(direct: Direct, repository: str, action: str) -> None:
    api = direct.control_plane.api
    config = api.create("ASM_DATA", FIRST)
    verifier = direct.verifier()
    settled(verifier, "ASM_DATA")

    api.post(f"/roots/{repository}:{action}")
    assert verifier.poll("ASM_DATA").ok
    api.change(config, SECOND)
    settled(verifier, "ASM_DATA")

    assert contents(verifier) == [SECOND]


def test_a_newcomer_walks_the_whole_chain_of_roots(direct: Direct) -> None:
    api = direct.control_plane.api
    api.create("ASM_DATA", FIRST)
    for repository in ("director", "config", "config", "director"):
        api.post(f"/roots/{repository}:rotate")

    verifier = direct.verifier()
    settled(verifier, "ASM_DATA")

    assert contents(verifier) == [FIRST]


def test_it_recovers_from_an_error(direct: Direct) -> None:
    config = direct.control_plane.api.create("ASM_DATA", FIRST)
    verifier = direct.verifier()
    settled(verifier, "ASM_DATA")

    direct.control_plane.stop()
    assert not verifier.poll("ASM_DATA").ok
    direct.control_plane.start()
    direct.control_plane.api.change(config, SECOND)
    settled(verifier, "ASM_DATA")

    assert contents(verifier) == [SECOND]


def test_its_config_is_found_among_hundreds_for_others(direct: Direct) -> None:
    api = direct.control_plane.api
    verifier = direct.verifier()
    wanted = api.create("ASM_DATA", FIRST)
    settled(verifier, "ASM_DATA")
    for number in range(205):
        api.create("ASM_DATA", SECOND, service=f"other-{number}")
    api.change(wanted, SECOND)

    settled(verifier, "ASM_DATA")

    assert contents(verifier) == [SECOND]


def test_it_refuses_roots_that_are_not_ours(direct: Direct, tmp_path: Path) -> None:
    direct.control_plane.api.create("ASM_DATA", FIRST)
    stranger = ControlPlane(tmp_path / "stranger")
    try:
        roots = stranger.api.get("/roots")["repositories"]
    finally:
        stranger.stop()
    verifier = direct.verifier(director_root=roots["director"]["first_root"].encode())

    verdict = verifier.poll("ASM_DATA")

    assert not verdict.ok
    assert verifier.held == {}


def test_it_is_told_that_its_key_lacks_the_scope(direct: Direct) -> None:
    key = direct.control_plane.api.new_api_key("no scope", remote_config=False)
    verifier = direct.verifier(api_key=key)

    verdict = verifier.poll("ASM_DATA")

    assert not verdict.ok
    assert "401" in verdict.error or "nauthorized" in verdict.error


def test_it_goes_on_after_a_backup_was_restored(direct: Direct) -> None:
    plane = direct.control_plane
    config = plane.api.create("ASM_DATA", FIRST)
    key = plane.api.new_api_key()
    saved = direct.folder / "backup.tar.gz"
    folders = ("--data-dir", str(plane.data_dir), "--config-dir", str(plane.config_dir))
    plane.cli("backup", str(saved), *folders)
    verifier = direct.verifier(api_key=key)
    for number in range(10):
        config = plane.api.change(config, [SECOND, FIRST][number % 2])
        settled(verifier, "ASM_DATA")

    plane.stop()
    plane.cli("restore", str(saved), "--force", *folders)
    plane.start()
    restored = plane.api.get(f"/configs/{config['id']}")
    plane.api.change(restored, SECOND)
    settled(verifier, "ASM_DATA")

    assert restored["revision"] == 1
    assert contents(verifier) == [SECOND]
