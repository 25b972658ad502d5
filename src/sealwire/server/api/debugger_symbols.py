"""What is known of a program's files, functions, lines and names, by the admin API: to complete from.

Where nothing is known every list is empty, and people write what they know themselves.
"""

from __future__ import annotations

from typing import Annotated, Final, TypedDict

from litestar import get
from litestar.params import QueryParameter
from litestar.types import ControllerRouterHandler

from sealwire.errors import InvalidChangeError
from sealwire.server.api import shapes
from sealwire.server.api.guard import OwnTenant
from sealwire.server.debugger.authoring.probes import AtLine, OnMethod
from sealwire.server.debugger.code.symbols import MAX_LIMIT

READ: Final = {"permission": "debugger_read"}

_NO_NUL: Final = r"^[^\x00]*$"  # PostgreSQL takes none

Service = Annotated[str, QueryParameter(min_length=1, max_length=300, pattern=_NO_NUL)]
Env = Annotated[str, QueryParameter(max_length=300, pattern=_NO_NUL)]
Text = Annotated[str, QueryParameter(max_length=1_000, pattern=_NO_NUL)]
Limit = Annotated[int, QueryParameter(ge=1, le=MAX_LIMIT)]


class SymbolFile(TypedDict):
    """A file of a program, its module, and how many functions it has."""

    file: str
    module: str
    functions: int


class SymbolFiles(TypedDict):
    """Files, the likeliest first."""

    files: list[SymbolFile]


class SymbolFunction(TypedDict):
    """A function. ``type`` and ``method`` are what a probe takes as its place."""

    type: str
    method: str
    file: str
    start_line: int
    end_line: int


class SymbolFunctions(TypedDict):
    """Functions, the likeliest first."""

    functions: list[SymbolFunction]


class SymbolLine(TypedDict):
    """A line of a function, and whether a probe can sit on it."""

    line: int
    function: str
    is_injectible: bool


class SymbolLines(TypedDict):
    """Lines of a file that belong to a function, in order."""

    lines: list[SymbolLine]


class SymbolName(TypedDict):
    """A name an expression may use.

    Attributes:
        kind: argument, local, field or static.
        type: As the program calls it; empty where it does not say.
    """

    name: str
    kind: str
    type: str


class SymbolNames(TypedDict):
    """Names an expression may use at a place: arguments and locals first."""

    names: list[SymbolName]


class SymbolsKnown(TypedDict):
    """What is known of a program.

    Attributes:
        env: Of the program that answers: another than was asked for where that one sent nothing.
        uploaded_at: When the last of it came.
    """

    modules: int
    functions: int
    env: str
    version: str
    language: str
    uploaded_at: str | None


class SymbolsSummary(TypedDict):
    """What is known of a service; null where its tracers uploaded nothing."""

    symbols: SymbolsKnown | None


@get("/debugger/symbols/files", opt=READ)
async def complete_files(
    tenant: OwnTenant, service: Service, env: Env = "", text: Text = "", limit: Limit = 50
) -> SymbolFiles:
    """Files of a service whose path or module has a text in it."""
    found = await tenant.symbols.complete_files(service, env, text, limit)
    return {"files": [{"file": hit.file, "module": hit.module, "functions": hit.functions} for hit in found]}


@get("/debugger/symbols/functions", opt=READ)
async def complete_functions(
    tenant: OwnTenant, service: Service, env: Env = "", text: Text = "", file: Text = "", limit: Limit = 50
) -> SymbolFunctions:
    """Functions of a service, or of one of its files, whose name has each word of a text in it."""
    found = await tenant.symbols.complete_functions(service, env, text, file, limit)
    return {
        "functions": [
            {
                "type": hit.type,
                "method": hit.method,
                "file": hit.file,
                "start_line": hit.start_line,
                "end_line": hit.end_line,
            }
            for hit in found
        ]
    }


@get("/debugger/symbols/lines", opt=READ)
async def list_lines(
    tenant: OwnTenant,
    service: Service,
    file: Annotated[str, QueryParameter(min_length=1, max_length=1_000, pattern=_NO_NUL)],
    env: Env = "",
) -> SymbolLines:
    """Lines of a file a probe can sit on, and the functions they belong to. The end of a path is enough."""
    found = await tenant.symbols.lines(service, env, file)
    return {
        "lines": [
            {"line": hit.line, "function": hit.function, "is_injectible": hit.is_injectible} for hit in found
        ]
    }


@get("/debugger/symbols/names", opt=READ)
async def list_names(
    tenant: OwnTenant,
    service: Service,
    env: Env = "",
    file: Text = "",
    line: Annotated[int, QueryParameter(ge=0, le=1_000_000)] = 0,
    type_: Annotated[str, QueryParameter(name="type", max_length=1_000, pattern=_NO_NUL)] = "",
    method: Text = "",
) -> SymbolNames:
    """Names an expression may use at a line of a file, or in a method of a type."""
    where: AtLine | OnMethod
    if file and line and not method:
        where = AtLine(file, line)
    elif method and not (file or line):
        where = OnMethod(type_, method)
    else:
        raise InvalidChangeError("Name a file and a line, or a type and a method.")
    found = await tenant.symbols.names_at(service, env, where)
    return {"names": [{"name": name.name, "kind": name.kind, "type": name.type} for name in found]}


@get("/debugger/symbols/summary", opt=READ)
async def symbols_summary(tenant: OwnTenant, service: Service, env: Env = "") -> SymbolsSummary:
    """How much is known of a service, of which of its programs, and since when."""
    found = await tenant.symbols.summary(service, env)
    if found is None:
        return {"symbols": None}
    return {
        "symbols": {
            "modules": found.modules,
            "functions": found.functions,
            "env": found.env,
            "version": found.version,
            "language": found.language,
            "uploaded_at": shapes.time(found.uploaded_ms),
        }
    }


HANDLERS: list[ControllerRouterHandler] = [
    complete_files, complete_functions, list_lines, list_names, symbols_summary,
]  # fmt: skip
