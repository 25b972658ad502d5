"""Batches of symbols as tracers upload them, made small: what people complete from, and nothing else.

Hides the format of the attachment: nested scopes with symbols, JSON, mostly gzipped. Invariants: pure; what
unpacks to more than ``MAX_DOCUMENT_BYTES`` is not unpacked; a module is read by itself and left out where it
makes no sense or is too much, so that it spoils no other; depth, scopes, names and texts are bounded; only
``UntrustedErrors``.
"""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Iterator, Mapping
from typing import Annotated, Final, NamedTuple

import msgspec

from sealwire.errors import MalformedError, OversizeError
from sealwire.server.packing import zstd
from sealwire.wire.limits import check_size
from sealwire.wire.packed import gunzip

MAX_FILE_BYTES: Final = 16 * 1024 * 1024
MAX_DOCUMENT_BYTES: Final = 64 * 1024 * 1024  # 400 modules of ddtrace with 50,000 functions
MAX_MODULES: Final = 5_000
MAX_SCOPES: Final = 20_000  # at the top; more than the modules are left out
COUNTED_FROM_BYTES: Final = 256 * 1024
MAX_MODULE_BYTES: Final = 8 * 1024 * 1024
MAX_MODULE_OBJECTS: Final = 100_000  # scopes, symbols and ranges; ddtrace leaves out files above 1 MB
MAX_FUNCTIONS: Final = 50_000  # of a batch
MAX_DEPTH: Final = 30
MAX_NAMES: Final = 200  # of a function or a class
MAX_RANGES: Final = 500
MAX_NAME_CHARS: Final = 300
MAX_FILE_CHARS: Final = 1_000
MAX_LINE: Final = 1_000_000

_GZIP: Final = b"\x1f\x8b"
_HALF_PAIR: Final = re.compile(rb"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")
_CLASSES: Final = frozenset({"CLASS", "INTERFACE", "STRUCT", "ENUM", "TRAIT", "RECORD"})
_FUNCTIONS: Final = frozenset({"FUNCTION", "METHOD", "CLOSURE", "LAMBDA"})


class Function(msgspec.Struct, frozen=True, array_like=True):
    """A function.

    Attributes:
        owner: Its class, within the module; empty for one of the module.
        name: ``outer.<locals>.inner`` for one inside another.
        ranges: Lines a probe can sit on, as pairs of first and last.
        arguments, locals: Names and types; a type that is not told is empty.
    """

    owner: str
    name: str
    start_line: int
    end_line: int
    is_nested: bool = False
    ranges: tuple[tuple[int, int], ...] = ()
    arguments: tuple[tuple[str, str], ...] = ()
    locals: tuple[tuple[str, str], ...] = ()

    @property
    def is_named(self) -> bool:
        """Whether a probe can name it: not what is inside another, nor what has no name."""
        return not self.is_nested and not self.name.startswith("<")


class Class(msgspec.Struct, frozen=True, array_like=True):
    """A class: its name within the module, what its objects have and what it has itself."""

    name: str
    fields: tuple[tuple[str, str], ...] = ()
    statics: tuple[tuple[str, str], ...] = ()


class Module(msgspec.Struct, frozen=True, array_like=True):
    """A module, or a file of one."""

    name: str
    file: str
    functions: tuple[Function, ...] = ()
    classes: tuple[Class, ...] = ()
    statics: tuple[str, ...] = ()


class Batch(NamedTuple):
    """A batch.

    Attributes:
        upload_key: Of the upload it belongs to: 32 hexadecimal digits.
        skipped: Modules that were left out.
    """

    upload_key: str
    number: int
    service: str
    env: str
    version: str
    language: str
    modules: tuple[Module, ...]
    skipped: int = 0

    @property
    def functions(self) -> int:
        """How many a probe can name."""
        return sum(function.is_named for module in self.modules for function in module.functions)


_Text = Annotated[str, msgspec.Meta(max_length=MAX_FILE_CHARS)]


class _Symbol(msgspec.Struct):
    symbol_type: str = ""
    name: str = ""
    type: str | None = None


class _Range(msgspec.Struct):
    start: int
    end: int


class _Scope(msgspec.Struct):
    scope_type: str
    name: str = ""
    source_file: str | None = None
    start_line: int | None = 0
    end_line: int | None = 0
    symbols: list[_Symbol] | None = None
    scopes: list[_Scope] | None = None
    injectible_lines: list[_Range] | None = None


class _Document(msgspec.Struct):
    scopes: list[msgspec.Raw] | None = None
    service: _Text | None = None
    env: _Text | None = None
    version: _Text | None = None
    language: _Text | None = None
    upload_id: _Text | None = None
    batch_num: int | None = None


_document: Final = msgspec.json.Decoder(_Document)
_scope: Final = msgspec.json.Decoder(_Scope)
_modules: Final = msgspec.msgpack.Decoder(tuple[Module, ...])


class _CountedScope(msgspec.Struct, gc=False):
    """Attack: millions of scopes, two bytes each, of which each becomes an object."""

    def __post_init__(self) -> None:
        _counter.left -= 1
        if _counter.left < 0:
            raise OversizeError(f"A batch has at most {MAX_SCOPES} scopes.")


class _Counted(msgspec.Struct):
    scopes: list[_CountedScope] | None = None


_counter: Final = threading.local()
_counted: Final = msgspec.json.Decoder(_Counted)


def _read_document(raw: bytes) -> _Document:
    if len(raw) > COUNTED_FROM_BYTES:  # before anything is made of them
        _counter.left = MAX_SCOPES
        _counted.decode(raw)
    return _document.decode(raw)


def read(event: Mapping[str, object], file: bytes, *, env: str = "", version: str = "") -> Batch:
    """Read a batch.

    Args:
        event: Its announcement; unverified.
        file: Its attachment; unverified. What it says of itself goes before the announcement.
        env, version: Of the sender's tags, where neither says.

    Raises:
        MalformedError: It is none.
        OversizeError: It is too large, packed or unpacked.
    """
    check_size("attachment with symbols", len(file), MAX_FILE_BYTES)
    raw = gunzip(file, limit=MAX_DOCUMENT_BYTES) if file.startswith(_GZIP) else file
    try:
        try:
            document = _read_document(raw)
        except msgspec.DecodeError:
            # Names of files need not be Unicode, and Python writes what is not as half a pair.
            document = _read_document(_HALF_PAIR.sub(rb"\\ufffd", raw))
    except (msgspec.MsgspecError, RecursionError, UnicodeError) as error:
        raise MalformedError("The attachment holds no symbols.", detail=str(error)) from error
    said = {name: _said(event, name) for name in ("service", "version", "language", "uploadId", "runtimeId")}
    service = document.service or said["service"]
    if not _is_name(service):
        raise MalformedError("The symbols name no service.")
    who = (
        service,
        _tidy(document.env or env),
        _tidy(document.version or said["version"] or version),
        _tidy(document.language or said["language"] or _said(event, "ddsource")).lower(),
    )
    digest = hashlib.sha256(raw).digest()
    # Older tracers name no upload: then a process is one.
    upload = document.upload_id or said["uploadId"] or said["runtimeId"] or digest.hex()
    number = document.batch_num
    if number is None or not 0 <= number < 2**31:
        told = event.get("batchNum")
        has_told = isinstance(told, int) and not isinstance(told, bool) and 0 <= told < 2**31
        number = told if isinstance(told, int) and has_told else int.from_bytes(digest[:7])
    modules, skipped = _read_modules(document.scopes or [])
    key = hashlib.sha256("\0".join((*who, upload)).encode("utf-8", "surrogatepass")).hexdigest()[:32]
    said_of = [text[:MAX_NAME_CHARS] for text in who]
    return Batch(key, number, said_of[0], said_of[1], said_of[2], said_of[3], modules, skipped)


def announced(event: Mapping[str, object]) -> tuple[str, str, str]:
    """Service, version and upload, as the announcement alone has them; what it has not is empty."""
    return (
        _said(event, "service"),
        _said(event, "version"),
        _said(event, "uploadId") or _said(event, "runtimeId"),
    )


def pack(modules: tuple[Module, ...]) -> bytes:
    """Modules as they are kept."""
    return zstd.compress(msgspec.msgpack.encode(modules), 3)


def unpack(packed: bytes) -> tuple[Module, ...]:
    """What ``pack`` made."""
    return _modules.decode(zstd.decompress(packed))


def _said(event: Mapping[str, object], name: str) -> str:
    value = event.get(name)
    return value if isinstance(value, str) and len(value) <= MAX_FILE_CHARS else ""


def _tidy(text: str) -> str:
    return text if text.isprintable() else ""


def _is_name(text: str) -> bool:
    return 0 < len(text) <= MAX_NAME_CHARS and text.isprintable()


# From scopes to modules -----------------------------------------------------------------------------------


def _read_modules(scopes: list[msgspec.Raw]) -> tuple[tuple[Module, ...], int]:
    modules: list[Module] = []
    functions = skipped = 0
    for index, raw in enumerate(scopes):
        if index >= MAX_MODULES or functions >= MAX_FUNCTIONS:
            return tuple(modules), skipped + len(scopes) - index
        # Attack: braces are cheap to send and each becomes an object of a hundred bytes and more.
        if len(raw) > MAX_MODULE_BYTES or bytes(raw).count(b"{") > MAX_MODULE_OBJECTS:
            skipped += 1
            continue
        try:
            scope = _scope.decode(raw)
        except (msgspec.MsgspecError, RecursionError, UnicodeError):
            skipped += 1
            continue
        found = [module for module in _Reading(scope).modules() if _is_file(module.file)]
        skipped += not found
        modules += found
        functions += sum(len(module.functions) for module in found)
    return tuple(modules), skipped


def _is_file(file: str) -> bool:
    return 0 < len(file) <= MAX_FILE_CHARS and file.isprintable()


class _Gathered(NamedTuple):
    functions: list[Function]
    classes: list[Class]
    class_names: set[str]
    seen: set[tuple[str, int, int]]


class _Reading:
    """A scope at the top on its way to modules; several where its classes are in files of their own."""

    def __init__(self, top: _Scope) -> None:
        self._top = top
        self._files: dict[str, _Gathered] = {}
        self._functions = 0

    def modules(self) -> list[Module]:
        top = self._top
        file = top.source_file or ""
        statics = tuple(
            name for name, _ in _names(top.symbols, "STATIC_FIELD", "FIELD") if not name.startswith("__")
        )
        if file:
            self._gathered(file)
        is_itself = top.scope_type.upper() in _CLASSES | _FUNCTIONS
        for scope in [top] if is_itself else top.scopes or ():
            self._add(scope, owner="", outer="", file=file, depth=1)
        name = top.name if _is_name(top.name) and not is_itself else ""
        return [
            Module(name, each, tuple(found.functions), tuple(found.classes), statics if each == file else ())
            for each, found in self._files.items()
        ]

    def _add(self, scope: _Scope, *, owner: str, outer: str, file: str, depth: int) -> None:
        if depth > MAX_DEPTH or self._functions >= MAX_FUNCTIONS:
            return
        file = scope.source_file or file
        kind = scope.scope_type.upper()
        if kind in _CLASSES:
            owner, outer = self._add_class(scope, owner, file), ""
        elif kind in _FUNCTIONS and not outer and self._within(owner, scope.name) in self._names_of(file):
            owner = self._within(owner, scope.name)  # the body of a class is code as well
        elif kind in _FUNCTIONS:
            # A property of ddtrace is a function without lines around the one that has them.
            has_same = any(each.name == scope.name for each in scope.scopes or ())
            if not (scope.start_line == 0 and has_same):
                outer = self._add_function(scope, owner, outer, file)
        for each in scope.scopes or ():
            self._add(each, owner=owner, outer=outer, file=file, depth=depth + 1)

    def _add_class(self, scope: _Scope, owner: str, file: str) -> str:
        module = self._top.name + "."
        name = scope.name.removeprefix(module) if scope is not self._top else scope.name
        if not _is_name(name):
            return owner
        fields, statics = _names(scope.symbols, "FIELD"), _names(scope.symbols, "STATIC_FIELD")
        statics = tuple(each for each in statics if not each[0].startswith("__"))
        gathered = self._gathered(file)
        gathered.classes.append(Class(name, fields, statics))
        gathered.class_names.add(name)
        return name

    def _add_function(self, scope: _Scope, owner: str, outer: str, file: str) -> str:
        if not _is_name(scope.name):
            return outer
        name = f"{outer}.<locals>.{scope.name}" if outer else scope.name
        if len(name) > MAX_NAME_CHARS:
            return outer
        start, end = _line(scope.start_line), _line(scope.end_line)
        ranges = tuple(
            (first, last)
            for each in (scope.injectible_lines or ())[:MAX_RANGES]
            if (first := _line(each.start)) and (last := _line(each.end)) >= first
        )
        # ddtrace tells of a function by its name and again by its code.
        gathered, key = self._gathered(file), (scope.name, start, end)
        if key in gathered.seen:
            return name
        gathered.seen.add(key)
        gathered.functions.append(
            Function(
                owner, name, start, max(start, end), bool(outer), ranges,
                _names(scope.symbols, "ARG"), _names(scope.symbols, "LOCAL"),
            )
        )  # fmt: skip
        self._functions += 1
        return name

    def _names_of(self, file: str) -> set[str]:
        return self._gathered(file).class_names

    @staticmethod
    def _within(owner: str, name: str) -> str:
        return f"{owner}.{name}" if owner else name

    def _gathered(self, file: str) -> _Gathered:
        return self._files.setdefault(file, _Gathered([], [], set(), set()))


def _line(line: int | None) -> int:
    return line if line is not None and 0 <= line <= MAX_LINE else 0


def _names(symbols: list[_Symbol] | None, *kinds: str) -> tuple[tuple[str, str], ...]:
    def found() -> Iterator[tuple[str, str]]:
        for symbol in symbols or ():
            if symbol.symbol_type.upper() in kinds and _is_name(symbol.name):
                type_ = symbol.type or ""
                yield symbol.name, type_ if len(type_) <= MAX_NAME_CHARS and type_.isprintable() else ""

    return tuple(found())[:MAX_NAMES]
