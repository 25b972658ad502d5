"""APM_TRACING: sampling, tags, log injection and the switches of a tracer.

Every client gets exactly one file, merged here setting by setting: Python, Go and .NET build their result
only from the files of the latest update, so a second file would make the first one's settings vanish.

What this hides:

- two dialects. Current Node reads only ``sdk_config`` (names and texts of environment variables), the
  others only ``lib_config``. Each author's ``lib_config`` is translated, and an author's own
  ``sdk_config`` value stands above the translation of the same config.
- values that stick. Some tracers keep a remote value when its file goes; they are sent the opposite once,
  or no value at all (docs/adr/0002-giving-values-back.md).
- the target. ``service_target`` is written with the client's own service and env, letter by letter, as
  Python and Node compare them so; who gets a config is decided by its targeting.

Invariant: the file holds nothing of the sources but their settings, so equal settings give equal bytes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence

import orjson

from sealwire.errors import Problem
from sealwire.products.product import ClientFacts, ConfigId, Merged, Others, Payload, Product, Source
from sealwire.products.schema import (
    Anything,
    Boolean,
    Integer,
    ListOf,
    MapOf,
    Number,
    OrNull,
    Record,
    Report,
    Scalar,
    Shape,
    Text,
    at,
    quote,
)

_LIB = "$.lib_config"
_SDK = "$.sdk_config.config"

# Settings a tracer keeps when the file that gave them goes, and the value that it keeps.
_STICKY: Mapping[str, Mapping[str, bool]] = {
    "python": {
        "dynamic_instrumentation_enabled": True,
        "exception_replay_enabled": True,
        "code_origin_enabled": True,
    },
    "java": {
        "dynamic_instrumentation_enabled": True,
        "exception_replay_enabled": True,
        "code_origin_enabled": True,
    },
    "go": {"tracing_enabled": False},
}


def _goes_by_files_that_are_gone(language: str, tracer_version: str) -> bool:
    """ddtrace 3.x applies a file that was removed, any setting of it, until the next one comes."""
    return language == "python" and tracer_version.startswith("3.")


_VARIABLE = re.compile(r"[A-Z][A-Z0-9_]*\Z", re.ASCII)


def _variable_is_wrong(name: str) -> str | None:
    return None if _VARIABLE.match(name) else "Expected the name of an environment variable, such as DD_TAGS."


def _tag_is_wrong(tag: str) -> str | None:
    if tag.count(":") != 1 or tag.startswith(":"):
        return f"Expected key:value with one colon, not {quote(tag)}; Python would drop the whole config."
    return None


def _header_is_wrong(header: str) -> str | None:
    return "A header has no spaces, commas or colons." if re.search(r"[\s,:]", header) else None


def _tag_name_is_wrong(name: str) -> str | None:
    return "A tag name has no spaces or commas." if re.search(r"[\s,]", name) else None


def _action_is_wrong(action: str) -> str | None:
    return (
        None
        if action == "enable"
        else 'Only "enable" has an effect; to take settings back, retire the config.'
    )


_GLOB = Text(max_length=512, says="* and ? are wildcards.")
_RATE = Number(least=0, most=1, says="Share of traces kept, 0 to 1.")
_PROVENANCE = Text(one_of=("customer", "dynamic"), says="Who made the rule.")
_RULE_KEYS = ("service", "name", "resource", "tags")


def _rule(tags: Shape) -> Record:
    return Record(
        required={"sample_rate": _RATE, "provenance": _PROVENANCE},
        optional={"service": _GLOB, "name": _GLOB, "resource": _GLOB, "tags": tags},
        at_least_one=_RULE_KEYS,
    )


_LIB_RULE = _rule(
    ListOf(
        item=Record(required={"key": Text(max_length=256), "value_glob": _GLOB}), unique="key", max_items=100
    )
)
_SDK_RULES = ListOf(item=_rule(MapOf(value=_GLOB, max_items=100)), max_items=1_000)


def _rules_text_is_wrong(text: str) -> str | None:
    try:
        rules = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        return f"Expected a text that holds JSON: {error}."
    report = Report()
    _SDK_RULES.check(rules, "$", report)
    inside = "; ".join(f"{problem.path}: {problem.message}" for problem in report.problems[:3])
    return f"In the JSON of this text, {inside}" if inside else None


def _rate_text_is_wrong(text: str) -> str | None:
    try:
        rate = float(text)
    except ValueError:
        rate = -1.0
    return None if 0 <= rate <= 1 else f"Expected a number from 0 to 1, not {quote(text)}."


class _RateText(Scalar):
    """A rate as a text, as environment variables are, or as a number."""

    def check(self, value: object, path: str, report: Report) -> None:
        if isinstance(value, str):
            Text(also=_rate_text_is_wrong).check(value, path, report)
        else:
            _RATE.check(value, path, report)


_MAPPING = Record(required={"from_key": Text(max_length=256), "to_name": Text(max_length=256)})
_LIB_SETTINGS: Mapping[str, Shape] = {
    "tracing_enabled": Boolean(says="Whether traces are made; Go takes only false, until it is restarted."),
    "tracing_sampling_rate": _RATE,
    "tracing_sampling_rules": ListOf(
        item=_LIB_RULE, max_items=1_000, says="First match wins, above the rate."
    ),
    "log_injection_enabled": Boolean(says="Trace ids in log lines."),
    "tracing_header_tags": ListOf(
        item=Record(
            required={
                "header": Text(max_length=256, also=_header_is_wrong),
                "tag_name": Text(max_length=256, also=_tag_name_is_wrong),
            }
        ),
        unique="header",
        max_items=1_000,
        says="HTTP headers that become span tags.",
    ),
    "tracing_tags": ListOf(
        item=Text(max_length=1024, also=_tag_is_wrong),
        max_items=1_000,
        says="key:value; in place of DD_TAGS.",
    ),
    "tracing_service_mapping": ListOf(
        item=_MAPPING, unique="from_key", says="Java: other names for services."
    ),
    "runtime_metrics_enabled": Boolean(says="Java."),
    "tracing_debug": Boolean(says="Java."),
    "data_streams_enabled": Boolean(says="Java and .NET."),
    "data_streams_transaction_extractors": Anything(says="Java."),
    "dynamic_instrumentation_enabled": Boolean(says="Probes in running code."),
    "exception_replay_enabled": Boolean(says="Variables with exceptions; Python, Java and .NET."),
    "code_origin_enabled": Boolean(says="The code a span comes from."),
    "live_debugging_enabled": Boolean(says="Java."),
    "dynamic_sampling_enabled": Boolean(says="Taken by .NET, without effect."),
    "llmobs": Record(
        required={"enabled": Boolean()}, optional={"ml_app_name": Text(max_length=256)}, says="Python."
    ),
}
_LIB_CONFIG = Record(
    optional={
        "library_language": OrNull(Text(max_length=32)),
        "library_version": OrNull(Text(max_length=32)),
        **{key: OrNull(shape) for key, shape in _LIB_SETTINGS.items()},
    },
    says="What is not set stays as it is in the application; null says the same.",
)
_SDK_CONFIG = Record(
    required={
        "config": MapOf(
            value=OrNull(Scalar()),
            known={
                "DD_TRACE_SAMPLING_RULES": OrNull(
                    Text(max_length=262_144, also=_rules_text_is_wrong, says="A text that holds JSON.")
                ),
                "DD_TRACE_SAMPLE_RATE": OrNull(_RateText(says="0 to 1.")),
            },
            key=_variable_is_wrong,
        )
    },
    says="Environment variables for Node; made from lib_config where absent.",
)
_CLUSTER = Record(
    required={"cluster_name": Text(max_length=256)},
    optional={
        "enabled": Boolean(),
        "enabled_namespaces": OrNull(ListOf(item=Text(max_length=256), max_items=1_000)),
    },
)
_SHAPE = Record(
    optional={
        "id": Text(max_length=256, says="For people."),
        "revision": Integer(says="For people."),
        "schema_version": Text(one_of=("v1.0.0",)),
        "action": Text(also=_action_is_wrong),
        "service_target": OrNull(
            Record(
                required={"service": Text(max_length=256), "env": Text(max_length=256)},
                says="Replaced by the client's own; use the targeting.",
            )
        ),
        "k8s_target_v2": OrNull(
            Record(required={"cluster_targets": ListOf(item=_CLUSTER, max_items=1_000)}, says="Not used.")
        ),
        "lib_config": _LIB_CONFIG,
        "sdk_config": _SDK_CONFIG,
    },
    at_least_one=("lib_config", "sdk_config"),
)


def _switch(value: object) -> str:
    return "true" if value else "false"


def _number(value: object) -> str:
    return orjson.dumps(value).decode()


def _joined(value: object) -> str:
    return ",".join(str(item) for item in value) if isinstance(value, list | tuple) else ""


def _headers(value: object) -> str:
    pairs = value if isinstance(value, list | tuple) else ()
    return _joined([f"{pair['header']}:{pair['tag_name']}" for pair in pairs])


def _rules_text(value: object) -> str:
    """Sampling rules as the environment variable has them: tags are an object there, not a list."""
    rules = []
    for rule in value if isinstance(value, list | tuple) else ():
        tags = rule.get("tags")
        as_object = {} if tags is None else {"tags": {tag["key"]: tag["value_glob"] for tag in tags}}
        rules.append({**rule, **as_object})
    return orjson.dumps(rules, option=orjson.OPT_SORT_KEYS).decode()


_TRANSLATIONS: Mapping[str, tuple[str, Callable[[object], str]]] = {
    "tracing_enabled": ("DD_TRACE_ENABLED", _switch),
    "tracing_sampling_rate": ("DD_TRACE_SAMPLE_RATE", _number),
    "log_injection_enabled": ("DD_LOGS_INJECTION", _switch),
    "tracing_header_tags": ("DD_TRACE_HEADER_TAGS", _headers),
    "tracing_tags": ("DD_TAGS", _joined),
    "tracing_sampling_rules": ("DD_TRACE_SAMPLING_RULES", _rules_text),
    "dynamic_instrumentation_enabled": ("DD_DYNAMIC_INSTRUMENTATION_ENABLED", _switch),
    "code_origin_enabled": ("DD_CODE_ORIGIN_FOR_SPANS_ENABLED", _switch),
}


def _section(payload: Payload, *keys: str) -> dict[str, object]:
    """The settings of a section that say something: not null."""
    section: object = payload
    for key in keys:
        section = section.get(key) if isinstance(section, Mapping) else None
    return (
        {key: value for key, value in section.items() if value is not None}
        if isinstance(section, Mapping)
        else {}
    )


def _merge(sources: Sequence[Source], client: ClientFacts, held: Mapping[str, object]) -> Merged:
    lib: dict[str, object] = {}
    sdk: dict[str, object] = {}
    provenance: dict[str, ConfigId] = {}
    for source in sources:
        given = {
            key: value
            for key, value in _section(source.payload, "lib_config").items()
            if key in _LIB_SETTINGS
        }
        # Translated per source, not from the result: a less specific config's own sdk_config value must
        # not stand above the lib_config of a more specific one.
        translated = {name: say(given[key]) for key, (name, say) in _TRANSLATIONS.items() if key in given}
        variables = translated | _section(source.payload, "sdk_config", "config")
        lib |= given
        sdk |= variables
        provenance |= {at(_LIB, key): source.config_id for key in given}
        provenance |= {at(_SDK, name): source.config_id for name in variables}
    released: dict[str, object] = {
        key: not kept
        for key, kept in _STICKY.get(client.language, {}).items()
        if held.get(key) is kept and key not in lib
    }
    # Told to have no value, it also forgets the file that had one.
    released |= {key: None for key in _LIB_SETTINGS if key in held and held[key] is None and key not in lib}
    if not (lib or sdk or released):
        return Merged(payload={}, provenance={})
    payload: dict[str, object] = {
        "id": "sealwire",
        "revision": 1,
        "schema_version": "v1.0.0",
        "action": "enable",
        "service_target": {"service": client.service or "*", "env": client.env or "*"},
        "lib_config": {"library_language": "all", "library_version": "latest", **lib, **released},
        "sdk_config": {"config": sdk},
    }
    return Merged(
        payload=payload,
        provenance=provenance,
        released={at(_LIB, key): value for key, value in released.items()},
    )


def _sticky_values(payload: Payload, language: str, tracer_version: str) -> dict[str, object]:
    lib = _section(payload, "lib_config")
    sticky = _STICKY.get(language, {})
    kept: dict[str, object] = {key: value for key, value in sticky.items() if lib.get(key) is value}
    if _goes_by_files_that_are_gone(language, tracer_version):
        kept |= {key: None for key in _LIB_SETTINGS if key in lib and key not in sticky}
    return kept


def _worth_knowing(payload: Payload, _others: Others) -> Iterator[Problem]:
    lib = _section(payload, "lib_config")
    for key in ("service_target", "k8s_target_v2"):
        if payload.get(key) is not None:
            message = "Not used: the targeting of the config decides who gets it."
            yield Problem(path=at("$", key), message=message)
    for key in ("library_language", "library_version"):
        if lib.get(key) not in (None, "all", "latest"):
            message = "Not used: the targeting of the config decides who gets it."
            yield Problem(path=at(_LIB, key), message=message)
    if lib.get("tracing_enabled") is False:
        message = "Go services stay off until they are restarted, also when this config is retired."
        yield Problem(path=at(_LIB, "tracing_enabled"), message=message)
    for key in ("dynamic_instrumentation_enabled", "exception_replay_enabled", "code_origin_enabled"):
        if lib.get(key) is False:
            message = (
                "Python and Java keep it off until they are restarted, also when this config is retired."
            )
            yield Problem(path=at(_LIB, key), message=message)
    tags = lib.get("tracing_tags")
    for index, tag in enumerate(tags if isinstance(tags, list | tuple) else ()):
        if "," in str(tag):
            message = "Node reads tags as one text with commas between them; this one would become two."
            yield Problem(path=at(at(_LIB, "tracing_tags"), index), message=message)


PRODUCT = Product(
    name="APM_TRACING",
    title="Tracing",
    reads="apm_remote_configuration_read",
    writes="apm_remote_configuration_write",
    summary="Sampling, tags, log injection and the switches of the tracers.",
    shape=_SHAPE,
    example={
        "lib_config": {
            "tracing_sampling_rate": 0.5,
            "tracing_tags": ["team:checkout"],
            "tracing_sampling_rules": [
                {"service": "shop", "resource": "GET /hello*", "sample_rate": 1.0, "provenance": "customer"}
            ],
        }
    },
    merger=_merge,
    warner=_worth_knowing,
    sticker=_sticky_values,
    beginning={"lib_config": {}},
    labels={
        _LIB: "Tracer settings",
        "$.sdk_config": "Environment variables",
        _SDK: "Variables",
        f"{_SDK}[]": "Variable",
        "$.id": "Id",
        "$.k8s_target_v2": "Kubernetes target",
        at(_LIB, "tracing_enabled"): "Tracing",
        at(_LIB, "tracing_sampling_rate"): "Sampling rate",
        at(_LIB, "tracing_sampling_rules"): "Sampling rules",
        at(_LIB, "tracing_header_tags"): "Header tags",
        at(_LIB, "tracing_tags"): "Tags",
        at(_LIB, "tracing_service_mapping"): "Service names",
        at(_LIB, "tracing_debug"): "Debug output",
        at(_LIB, "code_origin_enabled"): "Code origin of spans",
        at(_LIB, "llmobs"): "LLM Observability",
        f"{_LIB}.llmobs.ml_app_name": "Application name",
    },
    rare=frozenset(
        {
            *(at("$", key) for key in ("id", "revision", "schema_version", "action")),
            "$.service_target",
            "$.k8s_target_v2",
            at(_LIB, "library_language"),
            at(_LIB, "library_version"),
            at(_LIB, "dynamic_sampling_enabled"),
        }
    ),
    capability={
        at(_LIB, key): bit
        for key, bit in (
            ("tracing_sampling_rate", 12),
            ("log_injection_enabled", 13),
            ("tracing_header_tags", 14),
            ("tracing_tags", 15),
            ("tracing_enabled", 19),
            ("data_streams_enabled", 20),
            ("tracing_sampling_rules", 29),
            ("dynamic_instrumentation_enabled", 38),
            ("exception_replay_enabled", 39),
            ("code_origin_enabled", 40),
            ("live_debugging_enabled", 41),
            ("data_streams_transaction_extractors", 47),
            ("llmobs", 48),
        )
    },
)
