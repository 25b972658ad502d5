"""LIVE_DEBUGGING: probes of Dynamic Instrumentation, one config and one file for each.

The payload is what tracers read, but for ``id``: that is made of the config's own id, both ways without a
table, and put in when the file is published. ``version`` is not the author's either: it is 1 at first and
grows with every change of what a tracer reads, as tracers compare versions and install anew.

Invariants: a UUID of a probe and a config id are two spellings of one thing; the two characters that name
the audience of a config stand first in both.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from typing import Final

from sealwire.errors import MalformedError, Problem
from sealwire.products.probe_expressions import from_json
from sealwire.products.product import ConfigId, Others, Payload, Product, Published
from sealwire.products.schema import (
    Anything,
    Boolean,
    Integer,
    ListOf,
    Number,
    Record,
    Report,
    Text,
    at,
)

PREFIXES: Final[Mapping[str, str]] = {
    "LOG_PROBE": "logProbe_",
    "METRIC_PROBE": "metricProbe_",
    "SPAN_PROBE": "spanProbe_",
    "SPAN_DECORATION_PROBE": "spanDecorationProbe_",
}
CAPTURES: Final = "debugger_capture_variables"
MINUTES_WITH_VALUES: Final = 60  # a probe that takes values out of a program does not stay by accident
MINUTES_OTHERWISE: Final = 30 * 24 * 60
MAX_TOGETHER: Final = 100  # probes that one program may get: each costs it something

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-8[0-9a-f]{3}-[0-9a-f]{12}", re.ASCII)


def probe_id(config_id: str) -> str:
    """The UUID of the probe that a config is: version 8, which means that its digits are one's own."""
    rest = hashlib.sha256(config_id.encode()).hexdigest()
    digits = f"{config_id[:12]}8{config_id[12:15]}8{config_id[15:]}{rest}"[:32]
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def config_id_of(probe_id_: str) -> str | None:
    """The config that a probe is; None if no config can be it."""
    if not _UUID.fullmatch(probe_id_):
        return None
    digits = probe_id_.replace("-", "")
    config_id = digits[:12] + digits[13:16] + digits[17]
    return config_id if probe_id(config_id) == probe_id_ else None


def file_id(config_id: str, payload: Payload) -> str:
    """The id of the file: Java and .NET choose their reader by what stands before the probe's id."""
    return f"{PREFIXES[str(payload['type'])]}{probe_id(config_id)}"


# What a tracer reads ----------------------------------------------------------------------------------------


def _compiles(value: Mapping[str, object], path: str, report: Report) -> None:
    where = at(path, "json")
    try:
        from_json(value["json"], path=where)
    except MalformedError as error:
        place, _, said = error.public.partition(": ")
        if said and place.startswith(where):
            report.add(place, said)
        else:
            report.add(where, error.public)


def _lines(value: Mapping[str, object], path: str, report: Report) -> None:
    if ("sourceFile" in value) is ("methodName" in value):
        report.add(path, "Expected either sourceFile and lines, or typeName and methodName.")
    elif ("sourceFile" in value) is not ("lines" in value):
        report.add(path, "sourceFile and lines go together.")
    elif ("methodName" in value) is not ("typeName" in value):
        report.add(path, "typeName and methodName go together.")


def _number(text: str) -> str | None:
    return None if text.isascii() and text.isdigit() and len(text) < 8 else "Expected the number of a line."


def _one_part(value: Mapping[str, object], path: str, report: Report) -> None:
    if ("str" in value) is ("json" in value):
        report.add(path, "Expected either str or json.")
    elif "json" in value:
        _compiles(value, path, report)


_EXPRESSION: Final = Record(
    says="An expression: its text for people, its JSON for tracers.",
    required={"json": Anything(says="What is evaluated.")},
    optional={"dsl": Text(min_length=0, max_length=20_000, says="What people read.")},
    also=_compiles,
)
_SEGMENT: Final = Record(
    says="A text, or an expression.",
    optional={
        "str": Text(min_length=0, max_length=8_192, says="Printed as it is."),
        "json": Anything(says="An expression."),
        "dsl": Text(min_length=0, max_length=20_000, says="The expression as people read it."),
    },
    also=_one_part,
)
_SEGMENTS: Final = ListOf(item=_SEGMENT, max_items=101, says="The message in its parts.")
_CAPTURE: Final = Record(
    says="How much of a value is captured.",
    optional={
        "maxReferenceDepth": Integer(least=0, most=5),
        "maxCollectionSize": Integer(least=0, most=1_000),
        "maxLength": Integer(least=0, most=10_000),
        "maxFieldCount": Integer(least=0, most=100),
    },
)
_WHERE: Final = Record(
    says="A line of a file, or a method.",
    optional={
        "sourceFile": Text(max_length=500),
        "lines": ListOf(item=Text(max_length=8, also=_number), min_items=1, max_items=1),
        "typeName": Text(max_length=500),
        "methodName": Text(max_length=500),
        "signature": Text(max_length=1_000),
    },
    also=_lines,
)


_TAG: Final = Record(
    says="A tag of a span.",
    required={
        "name": Text(max_length=200, says="Of the tag."),
        "value": Record(
            required={"segments": _SEGMENTS},
            optional={"template": Text(min_length=0, max_length=20_000, says="As people read it.")},
        ),
    },
)
_OF_ALL: Final = frozenset({"type", "language", "where", "version", "tags", "evaluateAt", "when"})
# What a type must have, and what it may have besides.
_OF_TYPE: Final[Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    "LOG_PROBE": (
        ("template",),
        ("segments", "captureSnapshot", "capture", "captureExpressions", "sampling"),
    ),
    "METRIC_PROBE": (("metricName", "kind"), ("value",)),
    "SPAN_PROBE": ((), ()),
    "SPAN_DECORATION_PROBE": (("decorations",), ("targetSpan",)),
}


def _of_its_type(value: Mapping[str, object], path: str, report: Report) -> None:
    kind = str(value["type"])
    required, optional = _OF_TYPE[kind]
    for key in required:
        if key not in value:
            report.add(at(path, key), f"A {kind} needs this key.")
    for key in value:
        if key not in _OF_ALL and key not in required and key not in optional:
            report.add(at(path, key), f"A {kind} has no such key.")


SHAPE: Final = Record(
    says="A probe.",
    required={
        "type": Text(one_of=tuple(PREFIXES), says="What it gives."),
        "language": Text(one_of=("python", "javascript", "java", "dotnet", "go"), says="Of the service."),
        "where": _WHERE,
    },
    optional={
        "when": _EXPRESSION,
        "evaluateAt": Text(one_of=("DEFAULT", "ENTRY", "EXIT"), says="Of a probe on a method."),
        "tags": ListOf(item=Text(max_length=200), max_items=20, says="Go with what it gives."),
        "version": Integer(says="Given by the control plane, whatever stands here."),
        "template": Text(min_length=0, max_length=20_000, says="Of a log: the message."),
        "segments": _SEGMENTS,
        "captureSnapshot": Boolean(says="Of a log: capture arguments, locals and the stack."),
        "capture": _CAPTURE,
        "captureExpressions": ListOf(
            says="Of a log: captured instead of all variables.",
            max_items=20,
            unique="name",
            item=Record(
                required={"name": Text(max_length=100, says="Of what is captured."), "expr": _EXPRESSION},
                optional={"capture": _CAPTURE},
            ),
        ),
        "sampling": Record(
            optional={"snapshotsPerSecond": Number(least=0.001, most=5_000, says="Per process.")},
            says="Of a log: at most so many.",
        ),
        "metricName": Text(max_length=200, says="Of a metric."),
        "kind": Text(one_of=("COUNT", "GAUGE", "HISTOGRAM", "DISTRIBUTION"), says="Of a metric."),
        "value": _EXPRESSION,
        "targetSpan": Text(one_of=("ACTIVE", "ROOT"), says="Of a decoration: which span."),
        "decorations": ListOf(
            says="Of a decoration: its tags.",
            min_items=1,
            max_items=20,
            item=Record(
                required={"tags": ListOf(item=_TAG, min_items=1, max_items=20, unique="name")},
                optional={"when": _EXPRESSION},
            ),
        ),
    },
    also=_of_its_type,
)


# What it means for people -----------------------------------------------------------------------------------


def takes_values(payload: Payload) -> bool:
    """Whether it captures variables."""
    return bool(payload.get("captureSnapshot") or payload.get("captureExpressions"))


def shows_values(payload: Payload) -> bool:
    """Whether values of the program come out by it: captured, in a message or in a tag."""
    return takes_values(payload) or any(map(_has_expression, _messages(payload)))


def _messages(payload: Payload) -> Iterator[object]:
    yield payload.get("segments")
    decorations = payload.get("decorations")
    for decoration in decorations if isinstance(decorations, list | tuple) else ():
        for tag in decoration.get("tags", ()):
            yield tag["value"].get("segments")


def _has_expression(segments: object) -> bool:
    return isinstance(segments, list | tuple) and any("json" in segment for segment in segments)


def _demands(payload: Payload) -> tuple[str, ...]:
    return (CAPTURES,) if shows_values(payload) else ()


def _lasting(payload: Payload) -> int | None:
    return MINUTES_WITH_VALUES if takes_values(payload) else MINUTES_OTHERWISE


def _too_many(_payload: Payload, others: Others) -> Iterator[Problem]:
    if len(others) >= MAX_TOGETHER:
        message = f"There are {len(others)} probes there already; a program takes at most {MAX_TOGETHER}."
        yield Problem("$", message)


def _one_service(targeting: Mapping[str, object]) -> Iterator[Problem]:
    services = targeting.get("service")
    if not isinstance(services, list | tuple) or len(services) != 1:
        yield Problem("$.service", "A probe is for one service: name exactly one.")


def _published(config_id: ConfigId, payload: Payload) -> Published:
    version = payload.get("version", 1)
    # A probe that changes in its place ddtrace leaves at its old line, with its old rate and limits; one that
    # goes and comes it installs anew.
    moves = payload["language"] == "python" and version != 1
    name = f"v{version}" if moves else "config"
    return Published(file_id(config_id, payload), {**payload, "id": probe_id(config_id)}, name)


def _succeed(before: Payload | None, payload: Payload) -> Payload:
    number = before.get("version") if before is not None else None
    if before is None or not isinstance(number, int):
        return {**payload, "version": 1}
    same = {**before, "version": 0} == {**payload, "version": 0}
    return {**payload, "version": number if same else number + 1}


PRODUCT = Product(
    name="LIVE_DEBUGGING",
    title="Probes",
    reads="debugger_read",
    writes="debugger_write",
    writes_outside_production="debugger_write_pre_prod",
    summary="Puts a log, a metric, a span or the tags of one at a line or a method of a running program.",
    shape=SHAPE,
    example={
        "type": "LOG_PROBE",
        "language": "python",
        "where": {"sourceFile": "shop/orders.py", "lines": ["42"]},
        "tags": [],
        "template": "reached",
        "segments": [{"str": "reached"}],
        "captureSnapshot": False,
        "version": 1,
    },
    beginning={"type": "LOG_PROBE", "where": {}},
    comparer=_too_many,
    demander=_demands,
    moves=False,
    aimer=_one_service,
    lasting=_lasting,
    file_prefixes=tuple(PREFIXES.values()),
    publisher=_published,
    successor=_succeed,
)
