"""Documents of detection rules on their way in: what may be in one, and what files of others have besides.

Pure. ``checked`` is the one way from something somebody wrote to something that is stored.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from sealwire.errors import InvalidChangeError, Problem
from sealwire.server.security.rules import Rule, check
from sealwire.server.security.triage import is_showable

MAX_IMPORTED: Final = 200
MAX_DOCUMENT_BYTES: Final = 64 * 1024
_MAX_DEPTH: Final = 8

Document = Mapping[str, Any]

#: Of documents made elsewhere: what is said of a rule there and means nothing here.
_FOREIGN: Final = frozenset(
    {
        "id", "version", "isDefault", "isDeleted", "isPartner", "isBeta", "createdAt", "creationAuthorId",
        "creator", "updatedAt", "updateAuthorId", "updater", "hasExtendedTitle", "filters", "defaultTags",
        "complianceSignalOptions", "customMessage", "customName", "deprecationDate", "groupSignalsBy",
        "schedulingOptions", "referenceTables", "thirdPartyCases", "deprecated", "blocking",
    }
)  # fmt: skip
_QUERY_FIELDS: Final = ("name", "query", "aggregation", "distinctFields", "groupByFields")
_CASE_FIELDS: Final = ("name", "status", "condition", "notifications")
_OPTION_FIELDS: Final = (
    "evaluationWindow", "keepAlive", "maxSignalDuration", "detectionMethod", "sigmas",
)  # fmt: skip


def checked(document: object) -> tuple[dict[str, Any], Rule]:
    """A document as it is stored, and its rule.

    Raises:
        InvalidChangeError: It has mistakes, each at its path.
    """
    problems = list(_unshowable(document))
    if not problems and isinstance(document, Mapping):
        problems += _unknown(document)
    try:
        rule = check(document, rule_id="new")
    except InvalidChangeError as error:
        raise InvalidChangeError(error.public, problems=(*error.problems, *problems)) from error
    if problems or not isinstance(document, Mapping):
        raise InvalidChangeError("The rule has mistakes.", problems=tuple(problems))
    if len(json.dumps(document, ensure_ascii=False).encode()) > MAX_DOCUMENT_BYTES:
        raise InvalidChangeError(
            "The rule is too long.", problems=(Problem("$", f"at most {MAX_DOCUMENT_BYTES} bytes"),)
        )
    found = plain(document)
    for case in found["cases"]:
        case.pop("notifications", None)  # webhooks tell of signals, whatever rule opened them
    return found, rule


def plain(document: Document) -> dict[str, Any]:
    """As it comes out of a store: tuples are lists there."""
    found: dict[str, Any] = json.loads(json.dumps(document))
    return found


def imported(value: object) -> list[object]:
    """The documents of a file: one, a list of them, or ``{"rules": [...]}``; what only means something
    elsewhere is left out.

    Raises:
        InvalidChangeError: There is none in it, or too many.
    """
    if isinstance(value, Mapping) and isinstance(value.get("rules"), list):
        value = value["rules"]
    elif isinstance(value, Mapping) and isinstance(value.get("data"), list):
        value = value["data"]
    documents = value if isinstance(value, list) else [value]
    if not 1 <= len(documents) <= MAX_IMPORTED:
        raise InvalidChangeError(
            "There is no rule in it." if not documents else f"These are more than {MAX_IMPORTED} rules.",
            problems=(Problem("$", f"1 to {MAX_IMPORTED} rules"),),
        )
    return [_ours(document) for document in documents]


def _ours(document: object) -> object:
    if not isinstance(document, Mapping):
        return document
    found = {key: value for key, value in document.items() if key not in _FOREIGN}
    for key, known in (("queries", _QUERY_FIELDS), ("cases", _CASE_FIELDS)):
        if isinstance(found.get(key), list):
            found[key] = [
                {name: value for name, value in item.items() if name in known}
                if isinstance(item, Mapping)
                else item
                for item in found[key]
            ]
    if isinstance(found.get("options"), Mapping):
        found["options"] = {name: value for name, value in found["options"].items() if name in _OPTION_FIELDS}
    return found


def _unknown(document: Document) -> Iterator[Problem]:
    for key, known in (("queries", _QUERY_FIELDS), ("cases", _CASE_FIELDS)):
        items = document.get(key)
        for place, item in enumerate(items if isinstance(items, list) else ()):
            for name in item if isinstance(item, Mapping) else ():
                if name not in known:
                    yield Problem(f"$.{key}[{place}].{str(name)[:60]}", "There is no such field.")
    options = document.get("options")
    for name in options if isinstance(options, Mapping) else ():
        if name not in _OPTION_FIELDS:
            yield Problem(f"$.options.{str(name)[:60]}", "There is no such field.")


def _unshowable(value: object, path: str = "$", depth: int = 0) -> Iterator[Problem]:
    """Attack: a name that hides what it is by turning the direction of writing, or that no database takes."""
    if depth > _MAX_DEPTH:
        yield Problem(path, "This is nested too deeply.")
    elif isinstance(value, str):
        if not all(map(is_showable, value)):
            yield Problem(path, "There are characters in it that do not show, such as control characters.")
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            if not isinstance(key, str) or not all(map(is_showable, key)):
                yield Problem(path, "A field has characters in its name that do not show.")
            else:
                yield from _unshowable(inner, f"{path}.{key[:60]}", depth + 1)
    elif isinstance(value, list | tuple):
        for place, inner in enumerate(value):
            yield from _unshowable(inner, f"{path}[{place}]", depth + 1)
