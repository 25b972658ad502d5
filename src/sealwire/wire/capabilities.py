"""What a client says it can do: a set of bits, the integer they make written big endian in the fewest bytes.

What the module hides: the numbers of the bits, and their byte form. Its invariants:

- ``decode(encode(bits)) == bits``; ``decode`` takes bits without a name: clients may be newer than we.
- A bit is a claim and not a right: ddtrace before 4 does not announce blocking after one-click activation, so
  delivery must never depend on bits alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum
from typing import Final

from sealwire.wire.limits import MAX_CAPABILITIES_BYTES, check_size


class Capability(IntEnum):
    """The bits that have a name. Bit 0 is reserved: it was an early flag of ASM."""

    ASM_ACTIVATION = 1
    ASM_IP_BLOCKING = 2
    ASM_DD_RULES = 3
    ASM_EXCLUSIONS = 4
    ASM_REQUEST_BLOCKING = 5
    ASM_RESPONSE_BLOCKING = 6
    ASM_USER_BLOCKING = 7
    ASM_CUSTOM_RULES = 8
    ASM_CUSTOM_BLOCKING_RESPONSE = 9
    ASM_TRUSTED_IPS = 10
    ASM_API_SECURITY_SAMPLE_RATE = 11
    APM_TRACING_SAMPLE_RATE = 12
    APM_TRACING_LOGS_INJECTION = 13
    APM_TRACING_HTTP_HEADER_TAGS = 14
    APM_TRACING_CUSTOM_TAGS = 15
    ASM_PROCESSOR_OVERRIDES = 16
    ASM_CUSTOM_DATA_SCANNERS = 17
    ASM_EXCLUSION_DATA = 18
    APM_TRACING_ENABLED = 19
    APM_TRACING_DATA_STREAMS_ENABLED = 20
    ASM_RASP_SQLI = 21
    ASM_RASP_LFI = 22
    ASM_RASP_SSRF = 23
    ASM_RASP_SHI = 24
    ASM_RASP_XXE = 25
    ASM_RASP_RCE = 26
    ASM_RASP_NOSQLI = 27
    ASM_RASP_XSS = 28
    APM_TRACING_SAMPLE_RULES = 29
    CSM_ACTIVATION = 30
    ASM_AUTO_USER_INSTRUM_MODE = 31
    ASM_ENDPOINT_FINGERPRINT = 32
    ASM_SESSION_FINGERPRINT = 33
    ASM_NETWORK_FINGERPRINT = 34
    ASM_HEADER_FINGERPRINT = 35
    ASM_TRUNCATION_RULES = 36
    ASM_RASP_CMDI = 37
    APM_TRACING_ENABLE_DYNAMIC_INSTRUMENTATION = 38
    APM_TRACING_ENABLE_EXCEPTION_REPLAY = 39
    APM_TRACING_ENABLE_CODE_ORIGIN = 40
    APM_TRACING_ENABLE_LIVE_DEBUGGING = 41
    ASM_DD_MULTICONFIG = 42
    ASM_TRACE_TAGGING_RULES = 43
    ASM_EXTENDED_DATA_COLLECTION = 44
    APM_TRACING_MULTICONFIG = 45
    FFE_FLAG_CONFIGURATION_RULES = 46
    DATA_STREAMS_TRANSACTION_EXTRACTORS = 47
    LLMOBS_ACTIVATION = 48
    # dd-trace-js and the system tests say it for sdk_config; libdatadog has another, ASM meaning for the same
    # bit. Ask for the client's language before believing it.
    SDK_CONFIGURATION = 49


# The set bits of each byte value, so that `decode` walks bytes and not bits.
_BITS_OF_BYTE: Final = tuple(tuple(bit for bit in range(8) if value >> bit & 1) for value in range(256))


def encode(bits: Iterable[int]) -> bytes:
    """Write a set of bits; none at all are no bytes.

    Args:
        bits: `Capability` or plain numbers, from 0 to 1,023.

    Raises:
        ValueError: A bit is outside that range, which is the caller's mistake.
    """
    number = 0
    for bit in bits:
        if not 0 <= bit < 8 * MAX_CAPABILITIES_BYTES:
            raise ValueError(f"bit {bit} is not between 0 and {8 * MAX_CAPABILITIES_BYTES - 1}")
        number |= 1 << bit
    return number.to_bytes((number.bit_length() + 7) // 8, "big")


def decode(raw: bytes) -> frozenset[int]:
    """Read the set of bits of a client. Leading zero bytes are harmless; some clients send one for none.

    Args:
        raw: As received, unverified.

    Raises:
        OversizeError: More than `limits.MAX_CAPABILITIES_BYTES`.
    """
    check_size("list of capabilities", len(raw), MAX_CAPABILITIES_BYTES)
    last = len(raw) - 1
    return frozenset(
        8 * (last - position) + bit for position, value in enumerate(raw) for bit in _BITS_OF_BYTE[value]
    )
