"""The inventory on the wire: what is written is read, what is hostile is refused."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealwire.errors import MalformedError, OversizeError, UntrustedError
from sealwire.wire import inventory as wire

FULL = wire.Inventory(
    hostname="web-1", agent_uuid="u1", token="t", version="0.1.0", wire_version="7.80.0", os="Debian 12",
    kernel="Linux 6", architecture="x86_64", python="3.11.7", uptime_s=5, tags=["env:prod"],
    remote_config=wire.RemoteConfig(enabled=False, is_on=False, reason="off", condition="", error="e"),
    settings=[
        wire.Setting(name="env", value="prod", source="env_var", origin="DD_ENV",
                     hidden=[wire.Layer("file", "dev", "/etc/x.yaml")]),
    ],
    services=[wire.Service(service="shop", env="prod", seen_ms=1, client_seen=False, runtime_ids=["r1"])],
    runtimes=[
        wire.Runtime(runtime_id="r1", service="shop",
                     settings={"DD_TAGS": [wire.Known("code", "a:b", 3), wire.Known("default")]}),
    ],
    dropped={"too_large": 3},
)  # fmt: skip


def document(**changes: Any) -> bytes:
    return json.dumps({"hostname": "h", "agent_uuid": "u", **changes}).encode()


def test_what_is_written_is_read() -> None:
    assert wire.decode(wire.encode(FULL), is_gzipped=True) == FULL
    assert wire.read(wire.write(FULL)) == FULL
    taken = wire.Taken("t", 30)
    assert wire.decode_taken(wire.encode_taken(taken)) == taken


def test_what_is_not_known_is_left_out() -> None:
    newer = document(something={"new": [1]}, services=[{"service": "shop", "mood": "good"}])

    assert wire.decode(newer, is_gzipped=False).services == [wire.Service(service="shop")]


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{}", b"[]", b"null", b"{", b"\xff", b"[" * 100_000, b'{"a":' * 100_000,
        b'{"hostname":"h"}', document(hostname=""), document(agent_uuid=""), document(hostname=None),
        document(hostname="h" * 301), document(agent_uuid="u" * 101), document(tags=["t"] * 201),
        document(tags=[5]), document(uptime_s=-1), document(uptime_s=2**53), document(uptime_s="5"),
        document(services=[{}]), document(services=[{"service": "s"}] * 501),
        document(services=[{"service": "s", "client_seen": "yes"}]),
        document(services=[{"service": "s", "runtime_ids": ["r"] * 9}]),
        document(runtimes=[{"runtime_id": ""}]), document(runtimes=[{"runtime_id": "r"}] * 201),
        document(runtimes=[{"runtime_id": "r", "settings": {"A": []}}]),
        document(runtimes=[{"runtime_id": "r", "settings": {"A": [["o"]] * 9}}]),
        document(runtimes=[{"runtime_id": "r", "settings": {"A": [["o", 5]]}}]),
        document(runtimes=[{"runtime_id": "r", "settings": {"A": [["o", "v" * 502]]}}]),
        document(runtimes=[{"runtime_id": "r", "settings": {f"N{n}": [["o"]] for n in range(2001)}}]),
        document(settings=[{"name": "n", "value": "v", "source": "s"}] * 101), document(dropped={"k": -1}),
        document(dropped={f"k{n}": 1 for n in range(51)}), document(remote_config={"enabled": "no"}),
        b'{"hostname":"\\ud800","agent_uuid":"u"}',
    ],
)  # fmt: skip
def test_what_is_no_inventory_is_malformed(body: bytes) -> None:
    with pytest.raises(MalformedError):
        wire.decode(body, is_gzipped=False)


def test_what_is_too_large_is_refused_packed_and_unpacked() -> None:
    with pytest.raises(OversizeError):
        wire.decode(b" " * (wire.MAX_POST_BYTES + 1), is_gzipped=False)
    bomb = gzip.compress(b" " * (100 * 1024 * 1024))
    assert len(bomb) < wire.MAX_POST_BYTES
    with pytest.raises(OversizeError):
        wire.decode(bomb, is_gzipped=True)


@pytest.mark.parametrize("body", [b"", b"{}", gzip.compress(document())[:-5]])
def test_broken_gzip_is_malformed(body: bytes) -> None:
    with pytest.raises(MalformedError):
        wire.decode(body, is_gzipped=True)


@pytest.mark.parametrize("body", [b"", b"{}", b'{"token":5}', b'{"token":"t","next_s":0}', b"[" * 10_000])
def test_an_answer_that_is_none_is_malformed(body: bytes) -> None:
    with pytest.raises(MalformedError):
        wire.decode_taken(body)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@given(
    st.dictionaries(
        st.sampled_from(["hostname", "agent_uuid", "tags", "settings", "services", "runtimes", "dropped"]),
        anything,
    )
)
def test_nothing_but_a_refusal_comes_of_a_strange_document(found: dict[str, Any]) -> None:
    try:
        wire.decode(json.dumps({"hostname": "h", "agent_uuid": "u", **found}).encode(), is_gzipped=False)
    except UntrustedError:
        return
