"""Symbols of one program in memory, so that what people type is completed at once.

Hides how they are searched: light rows for files and functions in the order of the alphabet, everything else
packed and read when somebody asks about one file. Invariants: pure; one pass over the rows for an answer, and
at most ``limit`` of it are made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple, TypeVar

import msgspec

from sealwire.server.debugger.authoring.probes import AtLine, OnMethod
from sealwire.server.debugger.code.symbol_upload import Function, Module

MAX_FUNCTIONS: Final = 200_000
MAX_LINES: Final = 20_000  # of an answer
MAX_TEXT_CHARS: Final = 1_000

_SELF: Final = ("self", "this")
_RANKS: Final = 4
T = TypeVar("T")

_decoder: Final = msgspec.msgpack.Decoder(Module)


class FileHit(NamedTuple):
    """A file; ``functions`` are counted."""

    file: str
    module: str
    functions: int


class FunctionHit(NamedTuple):
    """A function; ``type`` and ``method`` are what a probe wants as its place."""

    type: str
    method: str
    file: str
    start_line: int
    end_line: int


class LineHit(NamedTuple):
    """A line of a function; a probe can sit where it ``is_injectible``."""

    line: int
    function: str
    is_injectible: bool


class Name(NamedTuple):
    """A name an expression may use; ``kind`` is ``argument``, ``local``, ``field`` or ``static``.

    A field is written as an expression reaches it: ``self.total`` in Python, ``total`` elsewhere.
    """

    name: str
    kind: str
    type: str


class Index:
    """Of one program.

    Args:
        modules: Where two are the same module and file, the first counts.
    """

    def __init__(self, modules: Iterable[Module], *, language: str) -> None:
        self.language = language
        self._packed: dict[str, list[bytes]] = {}  # by file
        files: list[tuple[str, FileHit]] = []
        functions: list[tuple[str, FunctionHit]] = []
        seen: set[tuple[str, str]] = set()
        read = 0
        for module in modules:
            if (module.name, module.file) in seen:
                continue
            read += len(module.functions)
            if read > MAX_FUNCTIONS:
                break
            seen.add((module.name, module.file))
            self._packed.setdefault(module.file, []).append(msgspec.msgpack.encode(module))
            before = len(functions)
            for function in module.functions:
                if function.is_named:
                    type_, method = self._place(module, function)
                    hit = FunctionHit(type_, method, module.file, function.start_line, function.end_line)
                    functions.append((f"{type_}.{method}".lower(), hit))
            hit_file = FileHit(module.file, module.name, len(functions) - before)
            files.append((_key(module.file), hit_file))
        self.modules = len(seen)
        self.functions = len(functions)
        files.sort()
        functions.sort()
        self._files = files
        self._functions = functions

    def _place(self, module: Module, function: Function) -> tuple[str, str]:
        """What a probe says: in Python the module, elsewhere the class."""
        if self.language == "python":
            return module.name, f"{function.owner}.{function.name}" if function.owner else function.name
        return function.owner or module.name, function.name

    def complete_files(self, text: str, limit: int) -> list[FileHit]:
        """Files whose path or module has ``text`` in it."""
        text = _key(text)

        def rank(key: str, hit: FileHit) -> int | None:
            if text in key:
                return 0 if key.rpartition("/")[2].startswith(text) or key.endswith("/" + text) else 2
            module = hit.module.lower()
            return (1 if module.startswith(text) else 3) if text in module else None

        return _best(self._files, rank, limit)

    def complete_functions(self, text: str, file: str, limit: int) -> list[FunctionHit]:
        """Functions whose name has every word of ``text`` in it; of ``file`` where given."""
        words = text.lower()[:MAX_TEXT_CHARS].split()
        first = words[0] if words else ""
        wanted = set(self.files_like(file)) if file else None

        def rank(key: str, hit: FunctionHit) -> int | None:
            if wanted is not None and hit.file not in wanted:
                return None
            for word in words:
                if word not in key:
                    return None
            method = hit.method.lower()
            if method.startswith(first) or method.rpartition(".")[2].startswith(first):
                return 0
            return 1 if key.startswith(first) else 2 if first in method else 3

        return _best(self._functions, rank, limit)

    def lines(self, file: str) -> list[LineHit]:
        """Lines of the functions of a file; of nested ones the inner has the line."""
        found: dict[int, LineHit] = {}
        left = 4 * MAX_LINES  # Attack: a thousand functions that each have all lines
        for path in self.files_like(file)[:1]:
            for module in self._unpacked(path):
                # The outer ones first, so that the inner ones have the last word.
                for function in sorted(module.functions, key=lambda each: each.start_line - each.end_line):
                    first, last = max(1, function.start_line), function.end_line
                    spans = [(max(first, start), min(last, end)) for start, end in function.ranges]
                    left -= last - first + 1 + sum(max(0, end - start + 1) for start, end in spans)
                    if left < 0:
                        break
                    can = {line for start, end in spans for line in range(start, end + 1)}
                    name = f"{function.owner}.{function.name}" if function.owner else function.name
                    for line in range(first, last + 1):
                        before = found.get(line)
                        if before is None or line in can or not before.is_injectible:
                            found[line] = LineHit(line, name, line in can)
        return [found[line] for line in sorted(found)][:MAX_LINES]

    def names_at(self, where: AtLine | OnMethod) -> list[Name]:
        """Names an expression may use there."""
        found = self._function_at(where)
        if found is None:
            return []
        module, function = found
        names = [Name(name, "argument", type_) for name, type_ in function.arguments]
        names += [Name(name, "local", type_) for name, type_ in function.locals]
        itself = function.arguments[0][0] if function.arguments else ""
        prefix = f"{itself}." if itself in _SELF else "" if self.language != "python" else None
        for each in module.classes:
            if each.name != function.owner:
                continue
            if prefix is not None:
                names += [Name(prefix + name, "field", type_) for name, type_ in each.fields]
            if self.language != "python":
                names += [Name(name, "static", type_) for name, type_ in each.statics]
        names += [Name(name, "static", "") for name in module.statics]
        return list({each.name: each for each in reversed(names)}.values())[::-1]

    def files_like(self, file: str) -> list[str]:
        """Files whose path ends so, the shortest first; without one, those a shorter end of it fits."""
        rest = file.replace("\\", "/").strip().lstrip("/")[:MAX_TEXT_CHARS]
        while rest:
            end = "/" + rest
            found = [
                path for path in self._packed if ("/" + path.replace("\\", "/").lstrip("/")).endswith(end)
            ]
            if found:
                return sorted(found, key=lambda path: (len(path), path))
            rest = rest.partition("/")[2]
        return []

    def _function_at(self, where: AtLine | OnMethod) -> tuple[Module, Function] | None:
        if isinstance(where, AtLine):
            around = [
                (module, function)
                for path in self.files_like(where.file)[:1]
                for module in self._unpacked(path)
                for function in module.functions
                if function.start_line <= where.line <= function.end_line
            ]
            return min(around, key=lambda each: each[1].end_line - each[1].start_line, default=None)
        wanted = (where.type, where.method)
        key = f"{where.type}.{where.method}".lower()
        file = next((hit.file for each, hit in self._functions if each == key and hit[:2] == wanted), "")
        for module in self._unpacked(file) if file else ():
            for function in module.functions:
                if self._place(module, function) == wanted:
                    return module, function
        return None

    def _unpacked(self, path: str) -> list[Module]:
        return [_decoder.decode(packed) for packed in self._packed.get(path, ())]


def _key(path: str) -> str:
    return path[:MAX_TEXT_CHARS].strip().replace("\\", "/").lower()


def _best(rows: Sequence[tuple[str, T]], rank: Callable[[str, T], int | None], limit: int) -> list[T]:
    """The first ``limit`` rows by rank, then in their order; rows without a rank are none."""
    found: list[list[T]] = [[] for _ in range(_RANKS)]
    for key, hit in rows:
        at = rank(key, hit)
        if at is not None and len(found[at]) < limit:
            found[at].append(hit)
            if at == 0 and len(found[0]) == limit:
                break
    return [hit for each in found for hit in each][:limit]
