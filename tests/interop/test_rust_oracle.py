"""What we sign, judged by the Rust verifier inside the ddtrace wheel.

It is not ours, so it does not share our mistakes.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from sealwire.trust.uptane import Answer, RepositoryParts
from tests.support.processes import REPOSITORY
from tests.support.replay import ReplayServer, to_wire
from tests.support.repository import Simulator, edited
from tests.support.rust_oracle import RustVerifier, Verdict

pytestmark = pytest.mark.interop

DENIED = "datadog/2/ASM_DATA/denied/config"
SAMPLING = "datadog/2/APM_TRACING/sampling/config"


class Bench:
    """A simulator, the server that replays it, and the verifier that asks."""

    def __init__(self, folder: Path) -> None:
        self.simulator = Simulator()
        for repository in (self.simulator.director, self.simulator.config):
            repository.publish_root(also_signed_by=repository.signers["root"])
        self.server = ReplayServer(folder, org_uuid=self.simulator.org_uuid)
        self.verifier = RustVerifier(
            port=self.server.port,
            ca_file=self.server.ca_file,
            director_root=self.simulator.director.roots[0],
            config_root=self.simulator.config.roots[0],
            log_folder=folder,
        )

    def poll(self, answer: bytes | int | None = None) -> Verdict:
        """One poll, answered with all the simulator has or with this."""
        self.server.answer = to_wire(self.simulator.answer()) if answer is None else answer
        return self.verifier.poll("ASM_DATA", "APM_TRACING")

    def publish(self, **files: bytes) -> None:
        self.simulator.put(DENIED, files.get("denied", b"{}"))
        self.simulator.publish()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.verifier.close()
    made.server.close()


def test_it_accepts_a_first_answer_and_a_change(bench: Bench) -> None:
    bench.publish(denied=b'{"rules_data":[]}')
    first = bench.poll()
    bench.publish(denied=b'{"rules_data":[1]}')
    second = bench.poll()

    assert (first.ok, first.changes) == (True, {DENIED: '{"rules_data":[]}'}), first
    assert (second.ok, second.changes) == (True, {DENIED: '{"rules_data":[1]}'}), second


def test_it_echoes_what_the_director_told_it(bench: Bench) -> None:
    bench.publish()
    bench.poll()
    bench.poll()

    last = bench.server.asked[-1].message

    assert last.backend_client_state == b'{"v":1}'
    assert last.current_director_root_version == 2
    assert last.current_config_root_version == 2


def test_it_takes_a_retired_config_away(bench: Bench) -> None:
    bench.simulator.put(SAMPLING, b"{}")
    bench.publish()
    bench.poll()
    bench.simulator.retire(DENIED)
    bench.simulator.publish()

    verdict = bench.poll()

    assert verdict.changes == {DENIED: None}
    assert bench.verifier.held == {SAMPLING: "{}"}


@pytest.mark.parametrize("repository", ["director", "config"])
def test_it_follows_a_rotation_of_every_key(bench: Bench, repository: str) -> None:
    bench.publish()
    bench.poll()
    getattr(bench.simulator, repository).rotate("root", "timestamp", "snapshot", "targets")
    bench.publish(denied=b'{"new":1}')

    verdict = bench.poll()

    assert (verdict.ok, verdict.changes) == (True, {DENIED: '{"new":1}'}), verdict


def test_it_recovers_after_an_error(bench: Bench) -> None:
    bench.publish()
    assert bench.poll().ok
    assert not bench.poll(503).ok
    assert not bench.poll(b"\xff\xff").ok
    bench.publish(denied=b'{"after":1}')

    verdict = bench.poll()

    assert (verdict.ok, bench.verifier.held) == (True, {DENIED: '{"after":1}'}), verdict


def test_it_recovers_from_versions_thrown_far_ahead(bench: Bench) -> None:
    bench.publish()
    bench.poll()
    bench.simulator.fast_forward("director", "timestamp", "snapshot", "targets")
    assert bench.poll().ok
    for role in ("timestamp", "snapshot", "targets"):
        bench.simulator.director.versions[role] = 10
    bench.simulator.director.rotate("timestamp", "snapshot", "targets")
    bench.publish(denied=b'{"recovered":1}')

    verdict = bench.poll()

    assert (verdict.ok, bench.verifier.held) == (True, {DENIED: '{"recovered":1}'}), verdict


def test_it_refuses_an_older_answer(bench: Bench) -> None:
    bench.publish(denied=b'{"old":1}')
    old = to_wire(bench.simulator.answer())
    bench.poll()
    bench.publish(denied=b'{"new":1}')
    bench.poll()

    verdict = bench.poll(old)

    assert not verdict.ok
    assert bench.verifier.held == {DENIED: '{"new":1}'}


def test_it_refuses_a_tampered_file(bench: Bench) -> None:
    bench.publish(denied=b'{"good":1}')
    answer = bench.simulator.answer()

    verdict = bench.poll(to_wire(edited(answer, files=dict.fromkeys(answer.files, b'{"evil":1}'))))

    assert not verdict.ok
    assert bench.verifier.held == {}


def test_it_refuses_a_target_only_the_director_lists(bench: Bench) -> None:
    bench.publish()
    path = "datadog/2/ASM_DATA/smuggled/config"
    bench.simulator.director.list(path, b"{}")
    bench.simulator.files[path] = b"{}"
    bench.simulator.director.publish()

    assert not bench.poll().ok
    assert bench.verifier.held == {}


def test_it_refuses_a_target_of_the_wrong_product_role(bench: Bench) -> None:
    bench.simulator.put(SAMPLING, b"{}")
    bench.publish()
    path = "datadog/2/ASM_DATA/foreign/config"
    bench.simulator.config.list(path, b"{}", role="APM_TRACING")
    bench.simulator.director.list(path, b"{}")
    bench.simulator.files[path] = b"{}"
    bench.simulator.publish()

    assert not bench.poll().ok


def test_it_refuses_an_older_snapshot_under_a_newer_timestamp(bench: Bench) -> None:
    bench.publish()
    older = bench.simulator.director.documents["snapshot"]
    bench.poll()
    bench.publish(denied=b'{"new":1}')

    assert not bench.poll(to_wire(edited(bench.simulator.answer(), director={"snapshot": older}))).ok


@pytest.mark.parametrize("repository", ["director", "config"])
def test_it_refuses_a_root_that_the_old_keys_did_not_sign(bench: Bench, repository: str) -> None:
    bench.publish()
    bench.poll()
    chosen = getattr(bench.simulator, repository)
    for role in ("root", "timestamp", "snapshot", "targets"):
        chosen.signers[role] = [chosen.new_key() for _ in chosen.signers[role]]
    chosen.publish_root()
    bench.publish(denied=b'{"stolen":1}')

    assert not bench.poll().ok
    assert bench.verifier.held == {DENIED: "{}"}


def test_it_refuses_the_answer_of_another_organisation(bench: Bench) -> None:
    bench.publish()
    bench.server.org_uuid = "00000000-0000-4000-8000-000000000000"

    assert not bench.poll().ok
    assert bench.verifier.held == {}


def test_it_refuses_a_role_below_its_threshold(bench: Bench) -> None:
    role = bench.simulator.config.delegate("ASM_DATA", ["datadog/*/ASM_DATA/*/*"], threshold=2, keys=2)
    bench.simulator.config.sign_with["ASM_DATA"] = role.signers[:1]
    bench.publish()
    assert not bench.poll().ok

    del bench.simulator.config.sign_with["ASM_DATA"]
    bench.publish()

    assert bench.poll().ok


def test_an_answer_of_timestamps_and_snapshots_alone_is_enough_when_nothing_changed(bench: Bench) -> None:
    bench.publish()
    bench.poll()
    answer = bench.simulator.answer()
    steady = replace(
        answer,
        director=replace(answer.director, roots=(), targets=None),
        config=replace(answer.config, roots=(), targets=None, delegated={}),
        files={},
    )

    verdict = bench.poll(to_wire(steady))

    assert (verdict.ok, verdict.changes) == (True, {}), verdict
    assert bench.verifier.held == {DENIED: "{}"}


# --- the sequences of tests/vectors --------------------------------------------------------------

VECTORS = sorted((REPOSITORY / "tests" / "vectors").glob("*.json"))


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ReplayServer, RustVerifier]]:
    """One server and one process for all sequences; each begins with a fresh client."""
    folder = tmp_path_factory.mktemp("vectors")
    nobody = Simulator()
    with (
        ReplayServer(folder, org_uuid=None) as server,
        RustVerifier(
            port=server.port,
            ca_file=server.ca_file,
            director_root=nobody.director.roots[0],
            config_root=nobody.config.roots[0],
            log_folder=folder,
        ) as verifier,
    ):
        yield server, verifier


def test_there_are_sequences() -> None:
    assert len(VECTORS) > 30


@pytest.mark.parametrize("vector", VECTORS, ids=lambda path: path.stem)
def test_it_takes_a_recorded_sequence_as_recorded(
    vector: Path, judge: tuple[ReplayServer, RustVerifier]
) -> None:
    server, verifier = judge
    sequence = json.loads(vector.read_text())
    verifier.begin(
        director_root=_bytes(sequence["director_root"]), config_root=_bytes(sequence["config_root"])
    )

    seen, errors = [], []
    for step in sequence["steps"]:
        server.org_uuid = step["org_uuid"]
        server.answer = to_wire(_answer(step["answer"]))
        verdict = verifier.poll("ASM_DATA", "ASM_DD", "APM_TRACING")
        seen.append("ok" if verdict.ok else "refused")
        errors.append(verdict.error)
        if step["expect"] == step["expect_rust"] == "ok" and "paths" in step["holds"]:
            assert sorted(verifier.held) == step["holds"]["paths"], verdict

    assert seen == [step["expect_rust"] for step in sequence["steps"]], errors


def _answer(written: dict[str, dict[str, object]]) -> Answer:
    director, config, files = written["director"], written["config"], written["files"]
    return Answer(
        director=_parts(director),
        config=_parts(config),
        files={path: _bytes(raw) for path, raw in files.items()},
    )


def _parts(written: dict[str, object]) -> RepositoryParts:
    return RepositoryParts(
        roots=tuple(_bytes(raw) for raw in written.get("roots") or ()),
        timestamp=_bytes(written.get("timestamp")),
        snapshot=_bytes(written.get("snapshot")),
        targets=_bytes(written.get("targets")),
        delegated={role: _bytes(raw) for role, raw in (written.get("delegated") or {}).items()},
    )


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else base64.b64decode(text)
