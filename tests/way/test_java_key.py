"""The key that ``sealwire root export --java`` prints verifies what applications are handed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import orjson
import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from sealwire.cli.agent_settings import java_text
from tests.support.console import Console, run
from tests.support.parts import ASM_ON, denylist
from tests.support.simulated_agent import tracer


def as_java_writes_it(value: Any) -> str:
    """JSON without spaces, keys sorted without regard to case: the order its canonical form has."""
    if isinstance(value, dict):
        members = sorted(value.items(), key=lambda member: member[0].lower())
        return "{" + ",".join(f"{as_java_writes_it(k)}:{as_java_writes_it(v)}" for k, v in members) + "}"
    if isinstance(value, list):
        return "[" + ",".join(as_java_writes_it(item) for item in value) + "]"
    return orjson.dumps(value).decode()


def verify(lines: str, raw_targets: bytes) -> None:
    """What a Java tracer does with the three variables.

    Raises:
        InvalidSignature: The targets are not signed with that key.
    """
    said = dict(re.findall(r"^export (\w+)=(\S+)$", lines, re.M))
    assert said["DD_REMOTE_CONFIG_INTEGRITY_CHECK_ENABLED"] == "true"
    document = orjson.loads(raw_targets)
    signatures = {one["keyid"]: one["sig"] for one in document["signatures"]}
    key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(said["DD_RC_TARGETS_KEY"]))
    signature = signatures.get(said["DD_RC_TARGETS_KEY_ID"], "00" * 64)
    key.verify(bytes.fromhex(signature), as_java_writes_it(document["signed"]).encode())


def test_the_printed_key_verifies_the_targets_until_the_root_is_rotated(tmp_path: Path) -> None:
    async def lines(it: Console) -> str:
        return java_text((await it.get("/roots"))["repositories"]["director"]["latest_root"])

    async def targets(it: Console) -> bytes:
        agent = it.agent(tracer("c1", service="shop"))
        await it.poll(agent)
        raw = agent.state.director_targets_raw
        assert raw is not None
        return raw

    async def case(it: Console) -> None:
        await it.put_config("ASM_FEATURES", ASM_ON)
        await it.put_config("ASM_DATA", denylist("203.0.113.7"), targeting={"service": ["shop"]})
        await it.put_config("APM_TRACING", {"lib_config": {"tracing_sampling_rate": 0.5}})
        await it.published()
        before = await lines(it)
        verify(before, await targets(it))

        await it.post("/roots/director:rotate", status=200)

        with pytest.raises(InvalidSignature):
            verify(before, await targets(it))
        verify(await lines(it), await targets(it))

    run(tmp_path, case)
