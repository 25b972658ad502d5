"""``sealwire probe``: what it asks, what it prints, how it ends."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.cli.conftest import Run
from tests.unit.cli.stub import StubAdmin

pytestmark = pytest.mark.loopback

DOCUMENT = {"kind": "log", "language": "python", "where": {"file": "a.py", "line": 3}, "template": "here"}
PROBE: dict[str, Any] = {
    "id": "p1", "name": "n", "kind": "log", "where": "a.py:3", "service": "shop", "env": ["prod"],
    "state": "active", "version": 2, "expires_at": "2026-11-30T12:00:00Z", "warnings": [],
}  # fmt: skip


def test_a_probe_is_made_of_a_file(run: Run, admin: StubAdmin, tmp_path: Path) -> None:
    file = tmp_path / "probe.json"
    file.write_text(json.dumps(DOCUMENT))
    admin.canned["POST /debugger/probes"] = {**PROBE, "warnings": [{"path": "$.document", "message": "hm"}]}

    ran = run("probe", "create", str(file), "--service", "shop", "--env", "prod", "--name", "n")

    assert ran.code == 0
    assert admin.only_write().body == {
        "service": "shop", "env": ["prod"], "name": "n", "comment": "", "document": DOCUMENT,
    }  # fmt: skip
    assert "Made probe p1 at a.py:3 of shop" in ran.out
    assert "hm" in ran.err


def test_a_document_that_is_no_json_never_leaves(run: Run, admin: StubAdmin, tmp_path: Path) -> None:
    file = tmp_path / "probe.json"
    file.write_text("{")

    assert run("probe", "create", str(file), "--service", "shop").code == 1
    assert not admin.requests


def test_probes_are_listed_paused_and_removed(run: Run, admin: StubAdmin) -> None:
    admin.canned["GET /debugger/probes"] = {"probes": [PROBE]}
    admin.canned["POST /debugger/probes/p1/pause"] = {**PROBE, "state": "paused"}
    admin.canned["DELETE /debugger/probes/p1"] = {**PROBE, "state": "removed"}

    assert "a.py:3" in run("probe", "list", "--state", "active").out
    assert admin.requests[-1].query["state"] == "active"
    assert "is paused" in run("probe", "pause", "p1").out
    assert "is removed" in run("probe", "remove", "p1").out


def test_a_stop_asks_first_and_says_how_to_end_it(run: Run, admin: StubAdmin) -> None:
    admin.canned["POST /debugger/stops"] = {"stop_id": "s1", "count": 3, "probes": []}
    admin.canned["DELETE /debugger/stops/s1"] = {"stop_id": "s1", "count": 3, "probes": []}

    refused = run("probe", "stop", "--service", "shop", "--reason", "slow")
    assert refused.code == 1
    assert [request.body.get("dry_run") for request in admin.requests] == [True]
    stopped = run("probe", "stop", "--service", "shop", "--reason", "slow", "--yes")
    assert "sealwire probe lift s1" in stopped.out
    assert admin.requests[-1].body == {"service": "shop", "env": "", "reason": "slow"}
    assert "3 probes came back" in run("probe", "lift", "s1", "--resume").out
    assert admin.requests[-1].query == {"resume": "true"}
