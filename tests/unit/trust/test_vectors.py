"""The sequences in ``tests/vectors`` come out as they are meant to."""

from __future__ import annotations

import base64
import json
from datetime import datetime
from typing import Any

import pytest

from sealwire.errors import UntrustedError
from sealwire.trust.uptane import Answer, RepositoryParts, TrustedState
from tests.vectors import build

FILES = sorted(build.HERE.glob("*.json"))


def parts(written: dict[str, Any]) -> RepositoryParts:
    def raw(name: str) -> bytes | None:
        return None if written[name] is None else base64.b64decode(written[name])

    return RepositoryParts(
        roots=tuple(base64.b64decode(root) for root in written["roots"]),
        timestamp=raw("timestamp"),
        snapshot=raw("snapshot"),
        targets=raw("targets"),
        delegated={name: base64.b64decode(text) for name, text in written.get("delegated", {}).items()},
    )


def check_holds(state: TrustedState, holds: dict[str, Any]) -> None:
    found = {
        "director_root": state.director_root_version,
        "config_root": state.config_root_version,
        "director_version": state.director_version,
        "config_snapshot": state.config_snapshot_version,
        "paths": sorted(state.targets),
    }
    assert {name: found[name] for name in holds} == holds


@pytest.mark.parametrize("restarted", [False, True], ids=["warm", "restored before each step"])
@pytest.mark.parametrize("file", FILES, ids=[file.stem for file in FILES])
def test_a_sequence_comes_out_as_it_is_meant_to(file: Any, restarted: bool) -> None:
    vector = json.loads(file.read_text())
    roots = {name: base64.b64decode(vector[name]) for name in ("director_root", "config_root")}
    state = TrustedState.bootstrap(**roots)

    for step in vector["steps"]:
        now = datetime.fromisoformat(step["now"])
        if restarted:
            state = TrustedState.restore(state.dump(), **roots, now=now)
        files = {path: base64.b64decode(text) for path, text in step["answer"]["files"].items()}
        answer = Answer(parts(step["answer"]["director"]), parts(step["answer"]["config"]), files)
        try:
            state = state.update(answer, now=now, org_uuid=step["org_uuid"])
            outcome = "ok"
        except UntrustedError as error:
            outcome = error.code
        assert outcome == step["expect"]
        check_holds(state, step["holds"])


def test_the_files_are_what_the_builder_builds() -> None:
    assert {file.name: file.read_text() for file in FILES} == dict(build.built())


def test_the_files_stay_small() -> None:
    assert sum(file.stat().st_size for file in FILES) < 2_000_000
