"""A captured value as a literal for a test: Python, JavaScript, JSON.

Hides how each language writes values. Invariants: the text is always valid in its language, whatever was
captured; what is not there is ``...``, ``undefined`` or ``null``, and said in ``gaps``; no captured text
becomes code: a value whose form is not known is written as a text.
"""

from __future__ import annotations

import enum
import json
import keyword
import math
import re
from collections.abc import Iterable
from typing import Final, NamedTuple

from sealwire.server.debugger.snapshots.captured import Value, is_encodable, parts, plain_text

MAX_CHARS: Final = 1_000_000
MAX_GAPS: Final = 100


class Language(enum.StrEnum):
    """Whose literal it is."""

    PYTHON = "python"
    JAVASCRIPT = "javascript"
    JSON = "json"


class Copied(NamedTuple):
    """A literal.

    Attributes:
        gaps: Paths, from the value on, of what was not captured or cut off, with why; at most 100.
        needs: Lines that must stand before it, such as an import.
    """

    text: str
    gaps: tuple[str, ...]
    needs: tuple[str, ...]


_INTEGER: Final = re.compile(r"-?\d{1,4000}")
_DECIMAL: Final = re.compile(r"-?\d{1,400}(?:\.\d{1,400})?(?:[eE][+-]?\d{1,4})?")
_INTEGERS: Final = frozenset({"int", "bigint", "long", "short", "byte", "Integer", "Long", "Int32", "Int64"})
_NUMBERS: Final = _INTEGERS | {"float", "double", "number", "Double", "Float", "Number"}
_BOOLEANS: Final = frozenset({"bool", "boolean", "Boolean"})
_SETS: Final = frozenset({"set", "frozenset", "Set"})
_RESULTS: Final = {"@return": "returned", "@exception": "raised"}
_PLAIN_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")


# fmt: off
_RESERVED: Final = {
    Language.PYTHON: frozenset(keyword.kwlist) | {"SimpleNamespace"},
    Language.JAVASCRIPT: frozenset(
        {
            "arguments", "await", "break", "case", "catch", "class", "const", "continue", "debugger",
            "default", "delete", "do", "else", "enum", "eval", "export", "extends", "false", "finally", "for",
            "function", "if", "implements", "import", "in", "instanceof", "interface", "let", "new", "null",
            "package", "private", "protected", "public", "return", "static", "super", "switch", "this",
            "throw", "true", "try", "typeof", "undefined", "var", "void", "while", "with", "yield",
        }
    ),
}
# fmt: on


def copy(value: Value, language: Language) -> Copied:
    """Write a value as a literal."""
    writer = _Writer(language)
    text = writer.written(value, "", 0)
    needs = ("from types import SimpleNamespace",) if writer.uses_namespace else ()
    return Copied(text, tuple(writer.gaps), needs)


def copy_all(named: Iterable[tuple[str, Value]], language: Language) -> Copied:
    """Write variables: a line each that gives a literal to its name; in JSON an object of them."""
    writer = _Writer(language)
    if language is Language.JSON:
        pairs = [f"    {writer.quoted(name)}: {writer.written(value, name, 1)}" for name, value in named]
        text = "{\n" + ",\n".join(pairs) + "\n}" if pairs else "{}"
        return Copied(text, tuple(writer.gaps), ())
    lines = []
    used: set[str] = set()
    for number, (name, value) in enumerate(named):
        plain = _RESULTS.get(name, name)
        is_plain = _PLAIN_NAME.fullmatch(plain) is not None and plain not in _RESERVED[language]
        variable = plain if is_plain else f"value_{number + 1}"
        while variable in used:
            variable += "_"
        used.add(variable)
        written = writer.written(value, name, 0)
        if language is Language.PYTHON:
            said = "" if variable == name else f"  # {name[:100]!a}"
            lines.append(f"{variable} = {written}{said}")
        else:
            said = "" if variable == name else f"  // {json.dumps(name[:100])}"
            lines.append(f"const {variable} = {written};{said}")
    needs = ("from types import SimpleNamespace",) if writer.uses_namespace else ()
    return Copied("\n".join(lines), tuple(writer.gaps), needs)


class _Writer:
    def __init__(self, language: Language) -> None:
        self.gaps: list[str] = []
        self.uses_namespace = False
        self._language = language
        self._chars = 0

    def written(self, value: Value, path: str, level: int) -> str:
        text = self._plain(value, path, level)
        self._chars += len(text) if level == 0 or not value.held else 0
        return text

    def _plain(self, value: Value, path: str, level: int) -> str:
        if self._chars > MAX_CHARS:
            return self._gap(path, "the literal is too long")
        if value.missing is not None and not value.is_captured:
            return self._gap(path, value.reason)
        if value.missing is not None or value.truncated:
            of = f" of {value.size}" if value.size is not None else ""
            held = len(value.text) if value.text is not None else value.held
            self._note(path, f"only {held}{of}")
        if value.is_null:
            if self._language is Language.JAVASCRIPT and value.type == "undefined":
                return "undefined"
            return "None" if self._language is Language.PYTHON else "null"
        if value.text is not None:
            return self._scalar(value, value.text)
        if value.elements is not None:
            return self._listed(value, path, level)
        if value.entries is not None:
            return self._mapped(value, path, level)
        if value.fields is not None:
            return self._object(value, path, level)
        return self._gap(path, "nothing was captured")

    def _note(self, path: str, why: str) -> None:
        if len(self.gaps) < MAX_GAPS:
            self.gaps.append(f"{path or 'the value'}: {why}")

    def _gap(self, path: str, why: str) -> str:
        self._note(path, why)
        if self._language is Language.PYTHON:
            return "..."
        return "undefined" if self._language is Language.JAVASCRIPT else "null"

    def quoted(self, text: str) -> str:
        """A text as a literal."""
        return self._text(text)

    # Scalars --------------------------------------------------------------------------------------------

    def _scalar(self, value: Value, text: str) -> str:
        plain = plain_text(value)
        if plain is not None:
            return self._text(plain)
        if value.type in _BOOLEANS and text.lower() in ("true", "false"):
            return text.capitalize() if self._language is Language.PYTHON else text.lower()
        if value.type in _NUMBERS and not value.truncated:
            return self._number(value.type, text)
        return self._text(text)

    def _text(self, text: str) -> str:
        if self._language is Language.PYTHON:
            return repr(text)
        whole = (
            text if is_encodable(text) else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        )
        said = json.dumps(whole, ensure_ascii=False)
        # What is not seen, or turns what stands beside it, is written out; some end a line of JavaScript.
        return said if said.isprintable() else "".join(map(_seen, said))

    def _number(self, kind: str, text: str) -> str:
        digits = text.removesuffix("n")
        if _INTEGER.fullmatch(digits):
            whole = f"{int(digits)}" if len(digits) < 4_000 else digits
            is_big = kind == "bigint" or len(digits) > 15
            return f"{whole}n" if self._language is Language.JAVASCRIPT and is_big else whole
        if _DECIMAL.fullmatch(text) and math.isfinite(float(text)):
            return repr(float(text))
        known = {
            "nan": "nan",
            "NaN": "nan",
            "inf": "inf",
            "Infinity": "inf",
            "-inf": "-inf",
            "-Infinity": "-inf",
        }
        special = known.get(text)
        if special is None:
            return self._text(text)
        if self._language is Language.PYTHON:
            return f'float("{special}")'
        if self._language is Language.JAVASCRIPT:
            return {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}[special]
        return self._text(text)

    # Collections ----------------------------------------------------------------------------------------

    def _listed(self, value: Value, path: str, level: int) -> str:
        inner = [self.written(part.value, path + part.step, level + 1) for part in parts(value)]
        if self._language is Language.PYTHON:
            if value.type == "tuple":
                return self._wrapped("(", inner, ",)" if len(inner) == 1 else ")", level)
            if value.type in _SETS:
                # What cannot be hashed cannot be in a literal of a set either.
                hashable = all(not text.startswith(("[", "{", "SimpleNamespace")) for text in inner)
                if value.type == "frozenset":
                    return f"frozenset({self._wrapped('[', inner, ']', level)})"
                return (
                    self._wrapped("{", inner, "}", level)
                    if inner and hashable
                    else (f"set({self._wrapped('[', inner, ']', level)})")
                )
        listed = self._wrapped("[", inner, "]", level)
        return (
            f"new Set({listed})" if self._language is Language.JAVASCRIPT and value.type == "Set" else listed
        )

    def _mapped(self, value: Value, path: str, level: int) -> str:
        pairs: list[tuple[str, str]] = []
        for (key, _), part in zip(value.entries or (), parts(value), strict=True):
            here = path + part.step
            if not key.is_captured or key.truncated:
                self._note(here, "its key was not captured whole")
            inner = self.written(part.value, here, level + 1)
            if self._language is Language.PYTHON:
                pairs.append((self._key_of_python(key, here, level), inner))
            elif self._language is Language.JAVASCRIPT:
                pairs.append((self.written(key, here, level + 1), inner))
            else:
                pairs.append((self._text(plain_text(key) or key.text or part.name), inner))
        if self._language is Language.JAVASCRIPT:
            if all(plain_text(key) is not None for key, _ in value.entries or ()) and value.type != "Map":
                return self._wrapped("{", [f"{_computed(key)}: {each}" for key, each in pairs], "}", level)
            return f"new Map({self._wrapped('[', [f'[{key}, {each}]' for key, each in pairs], ']', level)})"
        return self._wrapped("{", [f"{key}: {each}" for key, each in pairs], "}", level)

    def _key_of_python(self, key: Value, path: str, level: int) -> str:
        text = self.written(key, path, level + 1)
        return text if key.elements is None and key.entries is None and key.fields is None else repr(text)

    def _object(self, value: Value, path: str, level: int) -> str:
        pairs = [
            (name, self.written(part.value, path + part.step, level + 1))
            for (name, _), part in zip(value.fields or (), parts(value), strict=True)
        ]
        if self._language is Language.PYTHON:
            self.uses_namespace = True
            if all(name.isidentifier() and not keyword.iskeyword(name) for name, _ in pairs):
                inner = [f"{name}={each}" for name, each in pairs]
                return f"SimpleNamespace{self._wrapped('(', inner, ')', level)}"
            inner = [f"{name!r}: {each}" for name, each in pairs]
            return f"SimpleNamespace(**{self._wrapped('{', inner, '}', level)})"
        return self._wrapped("{", [f"{self._member(name)}: {each}" for name, each in pairs], "}", level)

    def _member(self, name: str) -> str:
        text = self._text(name)
        return _computed(text) if self._language is Language.JAVASCRIPT else text

    def _wrapped(self, opens: str, inner: list[str], closes: str, level: int) -> str:
        """In one line if it is short, else one line each."""
        if not inner:
            return opens + closes.lstrip(",")
        short = f"{opens}{', '.join(inner)}{closes}"
        if len(short) <= 80 and "\n" not in short:
            return short
        indent = "    " * (level + 1)
        comma = "," if self._language is Language.PYTHON else ""
        lines = f",\n{indent}".join(inner)
        return f"{opens}\n{indent}{lines}{comma}\n{'    ' * level}{closes.lstrip(',')}"


def _seen(character: str) -> str:
    return character if character.isprintable() else json.dumps(character)[1:-1]


def _computed(key: str) -> str:
    """In JavaScript ``{"__proto__": x}`` sets no member of that name, but a computed one does."""
    return f"[{key}]" if key == '"__proto__"' else key
