"""ASM_FEATURES: switches of App and API Protection, such as its one-click activation.

Clients are given exactly one file: Go acts only on a single one, Node refuses a second that names
``auto_user_instrum``. So configs are merged key by key, the most specific one that says anything wins.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sealwire.products.product import ClientFacts, ConfigId, Merged, Product, Source
from sealwire.products.schema import Boolean, Number, Record, Text, at

_USER_MODES = ("identification", "anonymization", "disabled")

_SHAPE = Record(
    optional={
        "asm": Record(
            says="App and API Protection itself.",
            required={
                "enabled": Boolean(says="On or off; honoured only where DD_APPSEC_ENABLED is not set at all.")
            },
        ),
        "auto_user_instrum": Record(
            says="Automatic collection of user ids at login.",
            required={
                "mode": Text(one_of=_USER_MODES, says="What is collected; anonymization hashes the ids.")
            },
        ),
        "api_security": Record(
            says="Read by old tracers only.",
            required={"request_sample_rate": Number(least=0, most=1, says="Share of requests, 0 to 1.")},
        ),
    },
    at_least_one=("asm", "auto_user_instrum", "api_security"),
)


def _merge(sources: Sequence[Source], _client: ClientFacts, _held: Mapping[str, object]) -> Merged:
    payload: dict[str, dict[str, object]] = {}
    provenance: dict[str, ConfigId] = {}
    for source in sources:
        for feature, settings in source.payload.items():
            for key, value in settings.items() if isinstance(settings, Mapping) else ():
                if value is not None:
                    payload.setdefault(feature, {})[key] = value
                    provenance[at(at("$", feature), key)] = source.config_id
    return Merged(payload=dict(payload), provenance=provenance)


PRODUCT = Product(
    name="ASM_FEATURES",
    title="App and API Protection",
    reads="appsec_activation_read",
    writes="appsec_activation_write",
    summary="Turns App and API Protection on or off, and says how user ids are collected.",
    shape=_SHAPE,
    example={"asm": {"enabled": True}},
    merger=_merge,
    gives_up_first=frozenset({"node"}),
    rare=frozenset({"$.api_security"}),
    beginning={"asm": {}},
    labels={
        "$.asm": "App and API Protection",
        "$.asm.enabled": "App and API Protection",
        "$.auto_user_instrum": "User ids at login",
        "$.auto_user_instrum.mode": "User ids at login",
        "$.api_security": "API Security",
    },
    capability={"$.asm.enabled": 1, "$.auto_user_instrum.mode": 31, "$.api_security.request_sample_rate": 11},
)
