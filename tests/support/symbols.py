"""Symbols as ddtrace 4.16 uploads them, made up: modules, classes, functions, the code of all of it."""

from __future__ import annotations

import gzip
import json
from typing import Any, NamedTuple


class Sender(NamedTuple):
    """Who sent an upload."""

    env: str = ""
    version: str = ""
    arrived_ms: int = 1_000_000


def symbols(kind: str, *names: str) -> list[dict[str, Any]]:
    return [{"symbol_type": kind, "name": name, "line": 0, "type": None} for name in names]


def function(
    name: str,
    lines: tuple[int, int],
    *,
    arguments: tuple[str, ...] = (),
    local: tuple[str, ...] = (),
    inner: tuple[dict[str, Any], ...] = (),
    kind: str = "FUNCTION",
    file: str = "",
) -> dict[str, Any]:
    return {
        "scope_type": kind,
        "name": name,
        "source_file": file,
        "start_line": lines[0],
        "end_line": lines[1],
        "symbols": symbols("ARG", *arguments) + symbols("LOCAL", *local),
        "scopes": list(inner),
        "injectible_lines": [{"start": lines[0], "end": lines[1]}],
        "has_injectible_lines": True,
        "language_specifics": {},
    }


def cls(name: str, *methods: dict[str, Any], fields: tuple[str, ...] = (), file: str = "") -> dict[str, Any]:
    return {
        "scope_type": "CLASS",
        "name": name,
        "source_file": file,
        "start_line": 1,
        "end_line": 9,
        "symbols": symbols("STATIC_FIELD", "__module__", "KIND") + symbols("FIELD", *fields),
        "scopes": list(methods),
        "language_specifics": {"super_classes": []},
    }


def module(
    name: str, *scopes: dict[str, Any], file: str = "", statics: tuple[str, ...] = ()
) -> dict[str, Any]:
    path = file or f"/srv/app/{name.replace('.', '/')}.py"
    for scope in scopes:
        _put_in(path, scope)
    return {
        "scope_type": "MODULE",
        "name": name,
        "source_file": path,
        "start_line": 0,
        "end_line": 0,
        "symbols": symbols("STATIC_FIELD", "__name__", *statics),
        "scopes": list(scopes),
        "injectible_lines": [],
        "language_specifics": {"file_hash": "0" * 40},
    }


def _put_in(file: str, scope: dict[str, Any]) -> None:
    scope["source_file"] = scope["source_file"] or file
    for inner in scope["scopes"]:
        _put_in(file, inner)


def attachment(*modules: dict[str, Any], **said: Any) -> bytes:
    document = {
        "schema_version": 1,
        "service": "shop",
        "env": "prod",
        "version": "1.2.3",
        "language": "python",
        "scopes": modules,
        **said,
    }
    return gzip.compress(json.dumps(document).encode(), 1)


def event(upload: str = "u1", number: int = 1, **said: Any) -> dict[str, Any]:
    return {
        "ddsource": "python",
        "service": "shop",
        "version": "1.2.3",
        "language": "python",
        "runtimeId": "r1",
        "parentId": None,
        "type": "symdb",
        "uploadId": upload,
        "final": False,
        "batchNum": number,
        "attachmentSize": 785,
        **said,
    }


SHOP = module(
    "shop",
    cls(
        "shop.Order",
        function("__init__", (4, 6), arguments=("self", "total")),
        # A property has a function without lines around the one that has them.
        {
            **function("due", (0, 0)),
            "injectible_lines": [],
            "scopes": [function("due", (8, 9), arguments=("self",))],
        },
        fields=("total", "lines"),
    ),
    function(
        "checkout",
        (12, 30),
        arguments=("order", "user"),
        local=("price",),
        inner=(function("price_of", (15, 17), arguments=("line",), local=("each",), kind="CLOSURE"),),
    ),
    # ddtrace tells of the code again: of functions, of the body of the class and what is decorated in it.
    function("Order", (3, 3), kind="CLOSURE", inner=(function("decorated", (10, 11), kind="CLOSURE"),)),
    function("checkout", (12, 30), kind="CLOSURE"),
    function("<lambda>", (31, 31), kind="CLOSURE"),
    statics=("RATES",),
)
