"""Capability bits and their bytes."""

from __future__ import annotations

import base64

import pytest

from sealwire.errors import OversizeError
from sealwire.wire import capabilities
from sealwire.wire.capabilities import Capability
from sealwire.wire.limits import MAX_CAPABILITIES_BYTES

NODE_BITS = frozenset({1, 12, 13, 14, 15, 19, 29, 31, 38, 40, 41, 45, 49})


def test_the_bits_of_a_node_tracer_are_read() -> None:
    assert capabilities.decode(base64.b64decode("AiNAoAjwAg==")) == NODE_BITS


def test_the_bits_of_a_node_tracer_are_written() -> None:
    assert capabilities.encode(NODE_BITS) == base64.b64decode("AiNAoAjwAg==")


def test_no_bits_are_no_bytes() -> None:
    assert capabilities.encode(()) == b""
    assert capabilities.decode(b"") == frozenset()


def test_the_zero_byte_that_some_send_for_none_is_none() -> None:
    assert capabilities.decode(b"\0") == frozenset()


def test_leading_zero_bytes_change_nothing() -> None:
    assert capabilities.decode(b"\0\0\x02") == {Capability.ASM_ACTIVATION}


@pytest.mark.parametrize(
    "bits", [{0}, {7, 8}, {63, 64}, {49, 200}, set(Capability), {8 * MAX_CAPABILITIES_BYTES - 1}]
)
def test_what_is_written_is_read_again(bits: set[int]) -> None:
    assert capabilities.decode(capabilities.encode(bits)) == bits


def test_the_fewest_bytes_are_written() -> None:
    assert capabilities.encode({Capability.ASM_IP_BLOCKING}) == b"\x04"
    assert capabilities.encode({8}) == b"\x01\x00"


def test_more_bytes_than_any_client_has_are_refused() -> None:
    with pytest.raises(OversizeError):
        capabilities.decode(b"\xff" * (MAX_CAPABILITIES_BYTES + 1))


@pytest.mark.parametrize("bit", [-1, 8 * MAX_CAPABILITIES_BYTES])
def test_a_bit_out_of_range_is_the_callers_mistake(bit: int) -> None:
    with pytest.raises(ValueError, match="is not between"):
        capabilities.encode({bit})


@pytest.mark.parametrize(
    ("name", "bit"),
    [
        ("ASM_ACTIVATION", 1),
        ("ASM_TRUSTED_IPS", 10),
        ("APM_TRACING_SAMPLE_RATE", 12),
        ("APM_TRACING_ENABLED", 19),
        ("ASM_RASP_XSS", 28),
        ("APM_TRACING_SAMPLE_RULES", 29),
        ("ASM_RASP_CMDI", 37),
        ("APM_TRACING_ENABLE_CODE_ORIGIN", 40),
        ("ASM_DD_MULTICONFIG", 42),
        ("APM_TRACING_MULTICONFIG", 45),
        ("LLMOBS_ACTIVATION", 48),
        ("SDK_CONFIGURATION", 49),
    ],
)
def test_the_names_stand_for_the_bits_of_the_table(name: str, bit: int) -> None:
    assert Capability[name] == bit


def test_every_bit_from_1_to_49_has_one_name() -> None:
    assert [each.value for each in Capability] == list(range(1, 50))
