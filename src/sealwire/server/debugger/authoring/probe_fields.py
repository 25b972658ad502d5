"""The fields of a probe as people give them, and as a config takes them.

Pure. Hides where problems of a config belong in the fields of a probe, and that a probe stays with its
service, its environments and its language.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

import orjson

from sealwire.errors import InvalidChangeError, Problem
from sealwire.products import wording
from sealwire.server.debugger.authoring import probes
from sealwire.server.debugger.authoring.probe_rows import MINUTE_MS, ProbeRow
from sealwire.server.debugger.authoring.probe_wire import PRODUCT
from sealwire.server.debugger.authoring.probes import Probe
from sealwire.server.fleet.overview import ClientLine
from sealwire.server.fleet.support import LANGUAGES
from sealwire.server.targeting import Targeting

_TRACERS: Final = {"javascript": "node"}  # what its tracers call a language that probes call otherwise


class Draft(NamedTuple):
    """Fields that were understood."""

    probe: Probe
    targeting: Targeting
    name: str
    comment: str


def read(fields: Mapping[str, Any], row: ProbeRow | None) -> Draft:
    """What somebody asks for; what is not given is as ``row`` has it.

    Raises:
        InvalidChangeError: Every problem, at the path of the field.
    """
    problems: list[Problem] = []
    probe = None
    document = fields.get("document", None if row is None else row.document)
    try:
        probe = probes.parse(document)
    except InvalidChangeError as error:
        problems.extend(under("$.document", error.problems))
    targeting = None
    if row is None:
        targeting = _targeting(fields, probe, problems)
    else:
        targeting = Targeting.parse(row.config.targeting)
        _stays(fields, row, probe, problems)
    if probe is None or targeting is None or problems:
        raise InvalidChangeError("The probe makes no sense as it is.", problems=tuple(problems))
    name = fields.get("name", "" if row is None else row.config.name)
    return Draft(probe, targeting, name, fields.get("comment") or "")


def _targeting(fields: Mapping[str, Any], probe: Probe | None, problems: list[Problem]) -> Targeting | None:
    service, env = fields.get("service"), fields.get("env") or []
    more = fields.get("targeting") or {}
    if not isinstance(service, str) or not service.strip():
        problems.append(Problem("$.service", "A probe is for one service: name it."))
        service = "-"
    if not isinstance(more, Mapping) or {"service", "env"} & more.keys():
        problems.append(Problem("$.targeting", "Service and environments stand beside it."))
        more = {}
    wanted: dict[str, object] = {**more, "service": [service.strip()]}
    if env:
        wanted["env"] = env
    if probe is not None:
        wanted.setdefault("language", [_TRACERS.get(probe.language, probe.language)])
    try:
        return Targeting.parse(wanted)
    except InvalidChangeError as error:
        problems.extend(in_fields(error.problems))
        return None


def _stays(fields: Mapping[str, Any], row: ProbeRow, probe: Probe | None, problems: list[Problem]) -> None:
    """A probe stays with its service, its environments and its language."""
    message = "A probe stays where it is: clone it for another service, environment or language."
    if fields.get("service", row.service) != row.service:
        problems.append(Problem("$.service", message))
    if sorted(fields.get("env", row.envs) or ()) != sorted(row.envs):
        problems.append(Problem("$.env", message))
    if probe is not None and probe.language != row.probe.language:
        problems.append(Problem("$.document.language", message))


def config_fields(draft: Draft, payload: Mapping[str, object], now: datetime) -> dict[str, Any]:
    end_ms = int(now.timestamp() * 1000) + draft.probe.expires_in_minutes * MINUTE_MS
    return {
        "product": PRODUCT,
        "name": draft.name,
        "targeting": draft.targeting.to_dict(),
        "payload": orjson.loads(orjson.dumps(payload)),
        "comment": draft.comment,
        "expires_at": end_ms,
    }


def under(path: str, problems: Iterable[Problem]) -> tuple[Problem, ...]:
    return tuple(Problem(path + one.path.removeprefix("$"), one.message) for one in problems)


_FIELDS: Final = (
    ("$.targeting.service", "$.service"),
    ("$.targeting.env", "$.env"),
    ("$.payload", "$.document"),
)


def in_fields(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """Problems of a config at the fields of a probe."""
    found = []
    for one in problems:
        path = one.path
        for theirs, ours in _FIELDS:
            if path.startswith(theirs):
                path = ours + path.removeprefix(theirs)
        found.append(Problem(path, one.message))
    return tuple(found)


def notices(
    draft: Draft, getting: Sequence[ClientLine], lacking: Sequence[ClientLine], *, sees_fleet: bool
) -> Iterable[str]:
    """What keeps clients from getting a probe, as sentences; hosts are named for who may see the fleet."""
    language = LANGUAGES.get(_TRACERS.get(draft.probe.language, draft.probe.language), draft.probe.language)
    if not getting and not lacking:
        where = f"{draft.targeting.service[0]}" + (
            f" in {wording.some(draft.targeting.env)}" if draft.targeting.env else ""
        )
        yield f"No {language} program of {where} is here now. The probe waits for those that come."
    if lacking:
        many = wording.counted(len(lacking), "process")
        hosts = wording.some(sorted({line.hostname for line in lacking})[:3])
        named = f" (on {hosts})" if sees_fleet else ""
        yield (
            f"{many} it is for{named} do not take probes: Dynamic Instrumentation is off there. Switch "
            "it on for the service, or set DD_DYNAMIC_INSTRUMENTATION_ENABLED=true and restart."
        )
