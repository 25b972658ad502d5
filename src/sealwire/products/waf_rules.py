"""The rule language that ASM and ASM_DD share: rules, conditions, actions, processors, scanners.

The tracers skip what they do not understand without a word to anybody, so these shapes are stricter
than they are: an operator must be one they have, with the parameters it reads.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from sealwire.errors import Problem
from sealwire.products import regex
from sealwire.products.product import Payload, elements
from sealwire.products.schema import (
    Boolean,
    Integer,
    ListOf,
    MapOf,
    Number,
    Record,
    Report,
    Scalar,
    Shape,
    Text,
    Variant,
    at,
    either,
    ip_or_network,
    quote,
)

BUILT_IN_ACTIONS = frozenset({"block", "stack_trace", "extract_schema", "monitor"})
_RESERVED_PARAMETERS = frozenset({"security_response_id", "stack_id"})
_REDIRECTS = (301, 302, 303, 307)

_TRANSFORMERS = (
    "lowercase",
    "removeNulls",
    "compressWhiteSpace",
    "normalizePath",
    "normalizePathWin",
    "unicode_normalize",
    "base64Decode",
    "base64UrlDecode",
    "base64Encode",
    "cmdLine",
    "cssDecode",
    "htmlEntityDecode",
    "jsDecode",
    "shellUnescape",
    "removeComments",
    "urlDecode",
    "urlDecodeUni",
    "url_path",
    "url_querystring",
    "keys_only",
    "values_only",
)

_VERSION = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9}){2}\Z", re.ASCII)
_SCHEMA_2 = re.compile(r"2\.[0-9]{1,9}\Z", re.ASCII)


def _version_is_wrong(text: str) -> str | None:
    return None if _VERSION.match(text) else f"Expected a version such as 1.25.0, not {quote(text)}."


def _ruleset_version_is_wrong(text: str) -> str | None:
    return None if _SCHEMA_2.match(text) else f'Expected "2.x"; {quote(text)} would be another schema.'


# The engine takes no other for an address, and blocks without a word instead of sending somebody there.
_PLAIN = r"(?:[A-Za-z0-9._~!$&'()*+,;=:@/-]|%[0-9A-Fa-f]{2})"
_LOCATION = re.compile(
    rf"(?:https?://(?:[A-Za-z0-9._~@:-]|\[[0-9A-Fa-f:.]+\])+(?=[/?#]|\Z)|(?=/(?!/))){_PLAIN}*"
    rf"(?:\?(?:{_PLAIN}|[\[\]?])*)?(?:\#(?:{_PLAIN}|\?)*)?\Z",
    re.ASCII,
)


def location_is_wrong(text: str) -> str | None:
    """Why nobody would be redirected there; None where they would."""
    if _LOCATION.match(text):
        return None
    if not (text.startswith(("http://", "https://")) or (text.startswith("/") and not text.startswith("//"))):
        return "Expected an http or https address, or a path that starts with a single /."
    return (
        "Tracers take no such address, and would block instead: other signs are written as %20, "
        "and [security_response_id] stands after a ?."
    )


def _redirect_is_wrong(status: int) -> str | None:
    return None if status in _REDIRECTS else "Expected 301, 302, 303 or 307."


def _no_reserved_name(key: str) -> str | None:
    return f"{quote(key)} is filled by the tracer itself." if key in _RESERVED_PARAMETERS else None


ELEMENT_ID = Text(max_length=256, says="Unique among all active configs of the product.")
RULESET_VERSION = Text(also=_ruleset_version_is_wrong, says="Schema of the rules, 2.x.")
VERSION = Text(max_length=32, also=_version_is_wrong)
ON_MATCH = ListOf(item=Text(max_length=256), max_items=64, says="Ids of actions.")
TAGS = MapOf(value=Text(min_length=0, max_length=2048), min_items=1, says="Tags that must all agree.")
RULE_TAGS = MapOf(
    value=Text(min_length=0, max_length=2048),
    known={"type": Text(max_length=256, says="What the rule finds.")},
    required=("type",),
    says="Type, category and whatever else should be on the event.",
)
TRANSFORMERS = ListOf(item=Text(one_of=_TRANSFORMERS), max_items=64, says="Applied to the input, in order.")
_INPUT = Record(
    required={"address": Text(max_length=256, says="What is looked at, such as server.request.query.")},
    optional={
        "key_path": ListOf(
            item=Text(max_length=512), max_items=32, says="Where in it; headers in lower case."
        ),
        "transformers": TRANSFORMERS,
    },
)
INPUTS = ListOf(item=_INPUT, min_items=1, max_items=1_000, says="What is looked at.")
RULES_TARGET = ListOf(
    item=Record(optional={"rule_id": Text(max_length=256), "tags": TAGS}, exactly_one=("rule_id", "tags")),
    min_items=1,
    max_items=10_000,
    says="Rules by id, or by tags.",
)

_REGEX = Text(max_length=regex.MAX_REGEX_LENGTH, also=regex.why_refused, form="regex", says="RE2 syntax.")
_REGEX_OPTIONS = Record(optional={"case_sensitive": Boolean(), "min_length": Integer(most=65_536)})
_PHRASE_OPTIONS = Record(optional={"case_sensitive": Boolean(), "enforce_word_boundary": Boolean()})
_TEXTS = ListOf(item=Text(max_length=4096), min_items=1, says="Texts to find.")
_NETWORKS = ListOf(item=Text(max_length=64, also=ip_or_network), min_items=1, says="Addresses and networks.")
_DATA_ID = Text(max_length=256, says="Id of a list in ASM_DATA.")
_COMPARED_TYPE = Text(one_of=("boolean", "string", "signed", "unsigned", "float"))


def _case(
    operators: tuple[str, ...],
    *,
    required: Mapping[str, Shape],
    optional: Mapping[str, Shape] | None = None,
    exactly_one: tuple[str, ...] = (),
) -> tuple[tuple[str, ...], Record]:
    parameters = Record(required=required, optional=optional or {}, exactly_one=exactly_one)
    return operators, Record(required={"operator": Text(one_of=operators), "parameters": parameters})


_DETECTORS = tuple(
    name + version
    for name in ("lfi_detector", "ssrf_detector", "sqli_detector", "shi_detector", "cmdi_detector")
    for version in ("", "@v1", "@v2", "@v3")
)
CONDITION = Variant(
    by="operator",
    says="One test; all of a rule must hold.",
    cases=(
        _case(
            ("match_regex", "!match_regex"),
            required={"inputs": INPUTS, "regex": _REGEX},
            optional={"options": _REGEX_OPTIONS},
        ),
        _case(
            ("phrase_match", "!phrase_match"),
            required={"inputs": INPUTS, "list": _TEXTS},
            optional={"options": _PHRASE_OPTIONS},
        ),
        _case(
            ("ip_match", "!ip_match"),
            required={"inputs": INPUTS},
            optional={"list": _NETWORKS, "data": _DATA_ID},
            exactly_one=("list", "data"),
        ),
        _case(
            ("exact_match", "!exact_match"),
            required={"inputs": INPUTS},
            optional={"list": _TEXTS, "data": _DATA_ID},
            exactly_one=("list", "data"),
        ),
        _case(
            ("equals", "!equals", "greater_than", "lower_than"),
            required={"inputs": INPUTS, "value": Scalar()},
            optional={"type": _COMPARED_TYPE, "delta": Number(least=0)},
        ),
        _case(
            ("exists", "!exists", "is_sqli", "!is_sqli", "is_xss", "!is_xss", "hidden_ascii_match"),
            required={"inputs": INPUTS},
        ),
        _case(
            _DETECTORS,
            required={"resource": INPUTS, "params": INPUTS},
            optional={"db_type": INPUTS, "options": MapOf(value=Scalar())},
        ),
    ),
)
CONDITIONS = ListOf(item=CONDITION, max_items=1_000, says="Tests that must all hold.")

_ATTRIBUTE = Record(
    optional={
        "value": Scalar(),
        "address": Text(max_length=256),
        "key_path": ListOf(item=Text(max_length=512), max_items=32),
        "transformers": TRANSFORMERS,
    },
    exactly_one=("value", "address"),
)
_OUTPUT = Record(
    optional={
        "event": Boolean(says="Whether a match is a security event."),
        "keep": Boolean(says="Whether the trace is kept."),
        "attributes": MapOf(value=_ATTRIBUTE, says="Tags put on the trace."),
    },
)


def _versions_in_order(element: Mapping[str, object], path: str, report: Report) -> None:
    """A rule whose ``max_version`` is below its ``min_version`` would never be loaded."""
    least, most = element.get("min_version"), element.get("max_version")
    if isinstance(least, str) and isinstance(most, str) and _numbers(most) < _numbers(least):
        report.add(at(path, "max_version"), f"{most} is below min_version {least}.")


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


RULE = Record(
    required={
        "id": ELEMENT_ID,
        "name": Text(max_length=512),
        "tags": RULE_TAGS,
        "conditions": ListOf(item=CONDITION, min_items=1, max_items=1_000, says="Tests that must all hold."),
    },
    optional={
        "transformers": TRANSFORMERS,
        "on_match": ON_MATCH,
        "output": _OUTPUT,
        "enabled": Boolean(),
        "min_version": VERSION,
        "max_version": VERSION,
    },
    also=_versions_in_order,
)

_FREE_PARAMETERS = MapOf(value=Scalar(), key=_no_reserved_name, max_items=64)
_BLOCK = Record(
    optional={
        "status_code": Integer(least=200, most=599, says="403 where absent."),
        "type": Text(one_of=("auto", "json", "html", "none"), says="auto: as the Accept header asks."),
        "grpc_status_code": Integer(most=16, says="10 where absent."),
    }
)
_REDIRECT = Record(
    required={
        "location": Text(
            max_length=2048, also=location_is_wrong, says="[security_response_id] becomes the event's id."
        )
    },
    optional={"status_code": Integer(also=_redirect_is_wrong, least=301, most=307)},
)


def _action(types: tuple[str, ...], parameters: Shape, *, needed: bool) -> tuple[tuple[str, ...], Record]:
    members: dict[str, Shape] = {"id": ELEMENT_ID, "type": Text(one_of=types)}
    if needed:
        return types, Record(required={**members, "parameters": parameters})
    return types, Record(required=members, optional={"parameters": parameters})


ACTION = Variant(
    by="type",
    says="What happens on a match.",
    cases=(
        _action(("block_request",), _BLOCK, needed=True),
        _action(("redirect_request",), _REDIRECT, needed=True),
        _action(
            ("generate_stack", "generate_schema", "monitor", "extended_data_collection"),
            _FREE_PARAMETERS,
            needed=False,
        ),
    ),
)

SCANNER_TARGETS = ListOf(
    item=Record(optional={"id": Text(max_length=256), "tags": TAGS}, exactly_one=("id", "tags")),
    max_items=1_000,
)
_MAPPING = Record(
    required={"output": Text(max_length=256)},
    optional=dict.fromkeys(
        ("inputs", "method", "uri_raw", "body", "query", "headers", "cookies", "session_id", "user_id"),
        INPUTS,
    ),
)
PROCESSOR = Record(
    required={
        "id": ELEMENT_ID,
        "generator": Text(max_length=128),
        "parameters": Record(
            required={"mappings": ListOf(item=_MAPPING, min_items=1, max_items=1_000)},
            optional={"scanners": SCANNER_TARGETS},
        ),
    },
    optional={
        "conditions": CONDITIONS,
        "evaluate": Boolean(),
        "output": Boolean(),
        "min_version": VERSION,
        "max_version": VERSION,
    },
)


def _scanner_case(
    operators: tuple[str, ...], required: Mapping[str, Shape], options: Record | None = None
) -> tuple[tuple[str, ...], Record]:
    return _case(operators, required=required, optional={"options": options} if options else {})


_SCANNER_TEST = Variant(
    by="operator",
    cases=(
        _scanner_case(("match_regex",), {"regex": _REGEX}, _REGEX_OPTIONS),
        _scanner_case(("phrase_match",), {"list": _TEXTS}, _PHRASE_OPTIONS),
        _scanner_case(("exact_match",), {"list": _TEXTS}),
        _scanner_case(("ip_match",), {"list": _NETWORKS}),
    ),
)
SCANNER = Record(
    required={
        "id": ELEMENT_ID,
        "tags": MapOf(value=Text(max_length=256), required=("type", "category"), says="Type and category."),
    },
    optional={"name": Text(max_length=512), "key": _SCANNER_TEST, "value": _SCANNER_TEST},
    at_least_one=("key", "value"),
)


def action_ids(payload: Payload) -> frozenset[str]:
    """Ids of the actions a payload defines."""
    return frozenset(str(element.get("id")) for _, element in elements(payload, "actions"))


def actions_that_are_missing(payload: Payload, *arrays: str, known: frozenset[str]) -> Iterator[Problem]:
    """A problem for each ``on_match`` that names an action nobody defines: the event is reported only."""
    for path, element in elements(payload, *arrays):
        on_match = element.get("on_match")
        if isinstance(on_match, str):
            named = [(at(path, "on_match"), on_match)]
        elif isinstance(on_match, list | tuple):
            named = [(at(at(path, "on_match"), index), name) for index, name in enumerate(on_match)]
        else:
            continue
        for name_path, name in named:
            if name not in known:
                message = f"No active config defines the action {quote(name)}; nothing would be blocked."
                yield Problem(
                    path=name_path, message=f"{message} Built in: {either(sorted(BUILT_IN_ACTIONS))}."
                )
