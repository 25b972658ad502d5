"""A probe as tracers read it: one file of the product LIVE_DEBUGGING.

Hides the members of the payload. Invariants: of the same probe always the same payload; every change that a
tracer could notice raises the version and none else does, as tracers compare versions and install anew; text
and JSON of an expression always say the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Final, NamedTuple

import orjson

from sealwire.errors import InvalidChangeError, MalformedError, Problem
from sealwire.products.probe_expressions import Node, from_json
from sealwire.products.schema import kind as kind_of
from sealwire.server.debugger.authoring import probes
from sealwire.server.debugger.authoring.probes import AtLine, Limits, Probe, ProbeKind
from sealwire.server.debugger.expressions import printer, templates

PRODUCT: Final = "LIVE_DEBUGGING"
_TYPES: Final = {
    ProbeKind.LOG: "LOG_PROBE",
    ProbeKind.METRIC: "METRIC_PROBE",
    ProbeKind.SPAN: "SPAN_PROBE",
    ProbeKind.DECORATION: "SPAN_DECORATION_PROBE",
}
_PREFIXES: Final = {
    ProbeKind.LOG: "logProbe_",
    ProbeKind.METRIC: "metricProbe_",
    ProbeKind.SPAN: "spanProbe_",
    ProbeKind.DECORATION: "spanDecorationProbe_",
}
_LIMITS: Final = {
    "depth": "maxReferenceDepth",
    "elements": "maxCollectionSize",
    "length": "maxLength",
    "fields": "maxFieldCount",
}


def config_id(kind: ProbeKind, probe_id: str) -> str:
    """The id of the file: Java and .NET choose their reader by what stands before the probe's id."""
    return f"{_PREFIXES[kind]}{probe_id}"


def probe_id_of(config_id: str) -> str | None:
    """The probe that a file is of; None if it is of none."""
    for prefix in _PREFIXES.values():
        if config_id.startswith(prefix):
            return config_id.removeprefix(prefix)
    return None


def to_wire(probe: Probe, *, probe_id: str, version: int) -> dict[str, object]:
    """The payload of a probe.

    Args:
        probe_id: A UUID; also in the path of the file.
        version: As ``version_after`` says.
    """
    payload: dict[str, object] = {
        "id": probe_id,
        "version": version,
        "type": _TYPES[probe.kind],
        "language": probe.language,
        "where": _where(probe),
        "tags": list(probe.tags),
    }
    if probe.moment is not None:
        payload["evaluateAt"] = probe.moment.value.upper()
    if probe.when is not None:
        payload["when"] = templates.expression_to_wire(probe.when)
    match probe.kind:
        case ProbeKind.LOG:
            payload |= _log(probe)
        case ProbeKind.METRIC:
            payload |= _metric(probe)
        case ProbeKind.DECORATION:
            payload |= _decorations(probe)
        case ProbeKind.SPAN:
            pass
    return payload


def _where(probe: Probe) -> dict[str, object]:
    where = probe.where
    if isinstance(where, AtLine):
        return {"sourceFile": where.file, "lines": [str(where.line)]}
    payload: dict[str, object] = {"typeName": where.type, "methodName": where.method}
    return payload | {"signature": where.signature} if where.signature else payload


def _log(probe: Probe) -> dict[str, object]:
    text, segments = templates.to_wire(probe.template or templates.Template(()))
    payload: dict[str, object] = {
        "template": text,
        "segments": segments,
        "captureSnapshot": probe.snapshot,
    }
    if limits := _limits(probe.limits):
        payload["capture"] = limits
    if probe.asked:
        payload["captureExpressions"] = [
            {"name": each.name, "expr": templates.expression_to_wire(each.expression)}
            | ({"capture": limits} if (limits := _limits(each.limits)) else {})
            for each in probe.asked
        ]
    if probe.per_second is not None:
        rate = probe.per_second
        payload["sampling"] = {"snapshotsPerSecond": int(rate) if rate.is_integer() else rate}
    return payload


def _metric(probe: Probe) -> dict[str, object]:
    metric = probe.metric
    if metric is None:
        raise TypeError("a metric probe has a metric")
    payload: dict[str, object] = {"metricName": metric.name, "kind": metric.kind.value.upper()}
    if metric.value is not None:
        payload["value"] = templates.expression_to_wire(metric.value)
    return payload


def _decorations(probe: Probe) -> dict[str, object]:
    found: list[dict[str, object]] = []
    for each in probe.decorations:
        tags = []
        for tag in each.tags:
            text, segments = templates.to_wire(tag.text)
            tags.append({"name": tag.name, "value": {"template": text, "segments": segments}})
        decoration: dict[str, object] = {"tags": tags}
        if each.when is not None:
            decoration["when"] = templates.expression_to_wire(each.when)
        found.append(decoration)
    return {"targetSpan": probe.target.value.upper(), "decorations": found}


def _limits(limits: Limits) -> dict[str, object]:
    return {_LIMITS[key]: value for key, value in probes.limits_document(limits).items()}


# Versions ---------------------------------------------------------------------------------------------------


class Version(NamedTuple):
    """The version of a probe, and the content it stands for."""

    number: int
    digest: str


def digest(probe: Probe) -> str:
    """What tells two contents apart: SHA-256 of all a tracer reads but id and version."""
    payload = to_wire(probe, probe_id="", version=0)
    return hashlib.sha256(orjson.dumps(payload, option=orjson.OPT_SORT_KEYS)).hexdigest()


def version_after(held: Version | None, probe: Probe) -> Version:
    """The version of a probe that follows the one that is held; the same if nothing changed for tracers."""
    content = digest(probe)
    if held is None:
        return Version(1, content)
    return held if held.digest == content else Version(held.number + 1, content)


# Reading ----------------------------------------------------------------------------------------------------


class Received(NamedTuple):
    """A payload that was understood."""

    probe_id: str
    version: int
    probe: Probe


def from_wire(payload: object) -> Received:
    """Understand a payload, also one that was written elsewhere.

    Raises:
        InvalidChangeError: It is no probe; problems are at the JSON paths of the payload where they are
            known, else of the document it would be.
    """
    try:
        return _received(payload)
    except MalformedError as error:
        problem = Problem("$", error.public)
        raise InvalidChangeError("The payload is no probe.", problems=(problem,)) from error


def _received(payload: object) -> Received:
    wire = _object(payload, "$")
    kinds = {name: kind for kind, name in _TYPES.items()}
    type_name = wire.get("type")
    if not isinstance(type_name, str) or type_name not in kinds:
        raise MalformedError(f"$.type: Expected one of {', '.join(kinds)}.")
    probe_id, version = wire.get("id"), wire.get("version", 0)
    if not isinstance(probe_id, str) or not probe_id:
        raise MalformedError("$.id: Expected a text.")
    if isinstance(version, bool) or not isinstance(version, int) or version < 0:
        raise MalformedError("$.version: Expected a whole number.")
    kind = kinds[type_name]
    document: dict[str, object] = {
        "kind": kind.value,
        "language": wire.get("language"),
        "where": _where_document(wire.get("where")),
    }
    moment = wire.get("evaluateAt")
    has_moment = kind is not ProbeKind.SPAN and "method" in _object(document["where"], "$.where")
    if moment in ("ENTRY", "EXIT") and has_moment:
        document["at"] = str(moment).lower()
    if wire.get("when") is not None:
        document["when"] = _text(wire["when"], "$.when")
    if wire.get("tags"):
        document["tags"] = wire["tags"]
    match kind:
        case ProbeKind.LOG:
            document |= _log_document(wire)
        case ProbeKind.METRIC:
            document["metric"] = _metric_document(wire)
        case ProbeKind.DECORATION:
            document["span"] = str(wire.get("targetSpan", "ACTIVE")).lower()
            document["decorations"] = [
                _decoration_document(each, f"$.decorations[{number}]")
                for number, each in enumerate(_list(wire.get("decorations"), "$.decorations"))
            ]
        case ProbeKind.SPAN:
            pass
    return Received(probe_id, version, probes.parse(document))


def _object(value: object, path: str) -> Mapping[str, object]:
    if not isinstance(value, Mapping):
        raise MalformedError(f"{path}: Expected an object, not {kind_of(value)}.")
    return value


def _list(value: object, path: str) -> list[object]:
    if not isinstance(value, list) or len(value) > 200:
        raise MalformedError(f"{path}: Expected a list of at most 200.")
    return value


def _text(value: object, path: str) -> str:
    """The text of an expression, from its JSON: ``dsl`` may say anything."""
    return printer.text_of(_node(value, path))


def _node(value: object, path: str) -> Node:
    held = _object(value, path)
    if "json" not in held:
        raise MalformedError(f"{path}.json: This key is required.")
    return from_json(held["json"], path=f"{path}.json")


def _where_document(value: object) -> dict[str, object]:
    where = _object(value, "$.where")
    if where.get("sourceFile"):
        lines = _list(where.get("lines"), "$.where.lines")
        line = lines[0] if len(lines) == 1 else None
        if not isinstance(line, str | int) or not str(line).isascii() or not str(line).isdigit():
            raise MalformedError("$.where.lines: Expected one line, as a text.")
        return {"file": where["sourceFile"], "line": int(str(line)[:9])}
    document: dict[str, object] = {"type": where.get("typeName"), "method": where.get("methodName")}
    return document | {"signature": where["signature"]} if where.get("signature") else document


def _log_document(wire: Mapping[str, object]) -> dict[str, object]:
    if wire.get("segments") is not None:
        template = templates.from_wire(wire["segments"], path="$.segments")
    else:
        template = templates.Template((str(wire["template"]),) if wire.get("template") else ())
    document: dict[str, object] = {
        "template": templates.text_of(template),
        "snapshot": wire.get("captureSnapshot") is True,
    }
    if document["snapshot"] and (limits := _limits_document(wire.get("capture"), "$.capture")):
        document["limits"] = limits
    if wire.get("captureExpressions"):
        found = []
        for number, each in enumerate(_list(wire["captureExpressions"], "$.captureExpressions")):
            path = f"$.captureExpressions[{number}]"
            asked = _object(each, path)
            text = _text(asked.get("expr"), f"{path}.expr")
            one: dict[str, object] = {"name": asked.get("name"), "expression": text}
            if limits := _limits_document(asked.get("capture"), f"{path}.capture"):
                one["limits"] = limits
            found.append(one)
        document["expressions"] = found
    sampling = wire.get("sampling")
    if sampling is not None and _object(sampling, "$.sampling").get("snapshotsPerSecond") is not None:
        document["per_second"] = _object(sampling, "$.sampling")["snapshotsPerSecond"]
    return document


def _limits_document(value: object, path: str) -> dict[str, object]:
    if value is None:
        return {}
    limits = _object(value, path)
    return {ours: limits[theirs] for ours, theirs in _LIMITS.items() if limits.get(theirs) is not None}


def _metric_document(wire: Mapping[str, object]) -> dict[str, object]:
    document: dict[str, object] = {"name": wire.get("metricName"), "kind": str(wire.get("kind")).lower()}
    if wire.get("value") is not None:
        document["value"] = _text(wire["value"], "$.value")
    return document


def _decoration_document(value: object, path: str) -> dict[str, object]:
    decoration = _object(value, path)
    tags = []
    for number, each in enumerate(_list(decoration.get("tags"), f"{path}.tags")):
        here = f"{path}.tags[{number}]"
        tag = _object(each, here)
        segments = _object(tag.get("value"), f"{here}.value").get("segments")
        text = templates.text_of(templates.from_wire(segments, path=f"{here}.value.segments"))
        tags.append({"name": tag.get("name"), "template": text})
    document: dict[str, object] = {"tags": tags}
    if decoration.get("when") is not None:
        document["when"] = _text(decoration["when"], f"{path}.when")
    return document
