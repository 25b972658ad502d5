"""Whatever bytes a stranger sends, they are refused with one of our errors and with no other."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sealwire.errors import UntrustedError
from sealwire.trust.canonical import canonical_bytes
from sealwire.trust.uptane import Answer, TrustedState
from tests.support.repository import NOW, Simulator, edited, sign_anything

PARTS = ["roots", "timestamp", "snapshot", "targets", "delegated"]
ODD_VALUES: list[Any] = [
    None,
    True,
    -1,
    0,
    2**63,
    10**400,
    1.5,
    "",
    "é\x00",
    [],
    {},
    [[]],
    {"a": {}},
    "9" * 5000,
]


def published() -> Simulator:
    simulator = Simulator()
    simulator.put("datadog/2/ASM_DATA/blocked/config", b"{}")
    simulator.publish()
    simulator.director.rotate("timestamp")
    simulator.config.rotate("timestamp")
    simulator.publish()
    return simulator


SIMULATOR = published()
STATE = SIMULATOR.bootstrap()


def with_part(repository: str, part: str, raw: bytes) -> Answer:
    value: Any = {"roots": (raw,), "delegated": {"ASM_DATA": raw}}.get(part, raw)
    return edited(SIMULATOR.answer(), **{repository: {part: value}})


def outcome(answer: Answer, state: TrustedState = STATE) -> str:
    """Accepted or refused; any other error escapes and fails the test."""
    try:
        SIMULATOR.update(state, answer)
    except UntrustedError:
        return "refused"
    return "accepted"


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("repository", ["director", "config"])
@given(raw=st.binary(max_size=200))
def test_random_bytes_are_refused(repository: str, part: str, raw: bytes) -> None:
    if repository == "director" and part == "delegated":
        return  # nothing is ever delegated there, so nothing is looked at

    assert outcome(with_part(repository, part, raw)) == "refused"


@pytest.mark.parametrize("part", PARTS)
@given(
    value=st.recursive(
        st.none() | st.integers() | st.text() | st.floats(),
        lambda v: st.lists(v) | st.dictionaries(st.text(), v),
    )
)
def test_random_json_is_refused(part: str, value: object) -> None:
    raw = json.dumps({"signed": value, "signatures": []}).encode("utf-8", "surrogatepass")

    assert outcome(with_part("config", part, raw)) == "refused"


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(found for key, item in inner for found in places(item, (*path, key)))]


def replaced(value: Any, path: tuple[Any, ...], odd: Any) -> Any:
    if not path:
        return odd
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = replaced(value[path[0]], path[1:], odd)
    return copy


def document(repository: str, part: str) -> bytes:
    chosen = getattr(SIMULATOR, repository)
    if part == "roots":
        return bytes(chosen.roots[-1])
    return bytes(chosen.documents["ASM_DATA" if part == "delegated" else part])


@pytest.mark.parametrize("part", PARTS)
def test_a_document_with_one_odd_value_anywhere_is_refused(part: str) -> None:
    whole = json.loads(document("config", part))

    for path in places(whole):
        for odd in ODD_VALUES:
            changed = replaced(whole, path, odd)
            if changed == whole:
                continue
            raw = json.dumps(changed).encode()
            answer = with_part("config", part, raw)
            if outcome(answer) == "accepted":
                # Only a signature that nobody needs may be odd.
                assert path[0] == "signatures", path


@pytest.mark.parametrize("part", PARTS)
def test_odd_values_signed_with_the_right_keys_raise_nothing_strange(part: str) -> None:
    """The keys of one role were stolen, so the signature is good and the contents are anything."""
    chosen = SIMULATOR.config
    role = {"roots": "root", "delegated": "ASM_DATA"}.get(part, part)
    signers = chosen.roles[role].signers if role in chosen.roles else chosen.signers[role]
    signed = json.loads(document("config", part))["signed"]

    for path in places(signed):
        for odd in ODD_VALUES:
            try:
                raw = sign_anything(replaced(signed, path, odd), signers)
            except (UntrustedError, AttributeError):
                continue
            outcome(with_part("config", part, raw))


@settings(max_examples=300)
@given(seed=st.integers(0, 2**32))
def test_flipped_and_cut_bytes_are_refused(seed: int) -> None:
    chance = random.Random(seed)
    repository, part = chance.choice(["director", "config"]), chance.choice(PARTS[:-1])
    raw = bytearray(document(repository, part))
    if chance.random() < 0.3:
        del raw[chance.randrange(len(raw)) :]
    else:
        for _ in range(chance.randint(1, 4)):
            raw[chance.randrange(len(raw))] ^= 1 << chance.randrange(8)

    # A flip inside a signature nobody needs, or none at all after two of them, leaves a good document.
    if outcome(with_part(repository, part, bytes(raw))) == "accepted":
        assert json.loads(bytes(raw))["signed"] == json.loads(document(repository, part))["signed"]


def test_deep_nesting_is_refused() -> None:
    raw = b'{"signatures":[],"signed":' + b"[" * 100_000 + b"]" * 100_000 + b"}"

    for part in ("snapshot", "targets", "delegated", "roots"):
        assert outcome(with_part("config", part, raw)) == "refused"


def test_the_documents_used_here_are_accepted_as_they_are() -> None:
    """Otherwise every refusal above would prove nothing."""
    assert outcome(SIMULATOR.answer()) == "accepted"
    assert STATE.update(SIMULATOR.answer(), now=NOW, org_uuid=None).director_root_version == 2
    assert canonical_bytes(json.loads(document("config", "targets"))) == document("config", "targets")
