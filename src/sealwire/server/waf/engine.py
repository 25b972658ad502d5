"""The firewall engine of the tracers, libddwaf, by ctypes: what it says of rules, what rules say of requests.

Hides the engine's objects and who owns them. The library is the one that comes inside the ``ddtrace``
package, found without importing it, or one that was named. It is native code that meets what authors and
attackers wrote: the control plane never loads it. ``worker`` does, in a process of its own, and
``waf_box`` is the way there.

Whoever is given an object destroys it, and a context is gone before what was told to it: rules and their
builder last, and only after every context.
"""

from __future__ import annotations

import ctypes
import importlib.util
import json
import os
import platform
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from sealwire.errors import SettingsError

ENVIRONMENT = "SEALWIRE_DDWAF_LIBRARY"
MAJOR = 2
NOT_INSTALLED = (
    "The tracers' firewall engine is not installed on this server, so rules and requests cannot be tried. "
    "Install the package ddtrace beside sealwire, or name a libddwaf 2 with ddwaf_library in server.toml."
)
NO_RULES = "No rule was loaded, so there is nothing to match."
BUNDLED = "ASM_DD/bundled"

_ARCHITECTURES = {"amd64": "x86_64", "x86_64": "x86_64", "arm64": "aarch64", "aarch64": "aarch64"}
_BOOL, _SIGNED, _UNSIGNED, _FLOAT, _STRINGS, _ARRAY, _MAP = 2, 4, 6, 8, (0x10, 0x12, 0x14), 0x20, 0x40
_MAX_DEPTH = 40  # of what the engine hands back
_MATCH = 1


# What it says -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Section:
    """What became of one array of a document.

    Attributes:
        name: Such as ``custom_rules``.
        error: Why all of it was refused; empty: it was not.
        loaded, failed, skipped: Ids of elements; ``index:3`` for one without.
        reasons: The engine's words, and the elements they are about.
    """

    name: str
    error: str = ""
    loaded: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
    reasons: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Diagnostics:
    """What became of a document.

    Attributes:
        taken: Whether any of it is in force.
        error: Why all of it was refused; empty: it was not.
        rules_version: Of a ruleset that says one.
    """

    path: str
    taken: bool
    error: str = ""
    sections: tuple[Section, ...] = ()
    rules_version: str = ""


@dataclass(frozen=True, slots=True)
class Match:
    """Where a condition held.

    Attributes:
        parameter: Name of the operator's parameter; empty for operators with one.
        key_path: Below the address: keys and positions.
        value: What was there, as the engine tells it: what is sensitive it leaves out.
        highlight: What of it matched.
    """

    operator: str
    operator_value: str
    parameter: str
    address: str
    key_path: tuple[str | int, ...]
    value: str
    highlight: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Event:
    """A rule that matched."""

    rule_id: str
    name: str
    type: str
    category: str
    tags: Mapping[str, str]
    on_match: tuple[str, ...]
    matches: tuple[Match, ...]


@dataclass(frozen=True, slots=True)
class Action:
    """What a tracer would do: such as ``block_request`` or ``redirect_request``."""

    type: str
    parameters: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the rules say of a request.

    Attributes:
        attributes: Tags that would be put on the trace.
        keep: Whether the trace would be kept.
        timed_out: The budget was spent before every rule was tried.
        took_us: By the engine's own clock.
        problem: Why nothing was tried; empty: it was.
    """

    events: tuple[Event, ...] = ()
    actions: tuple[Action, ...] = ()
    attributes: Mapping[str, Any] = field(default_factory=dict)
    keep: bool = False
    timed_out: bool = False
    took_us: int = 0
    problem: str = ""


# Where it is ------------------------------------------------------------------------------------------


def library_file(named: str = "") -> Path | None:
    """The engine's file: the one that is named, in the settings or the environment, or ddtrace's."""
    named = named or os.environ.get(ENVIRONMENT, "")
    if named:
        return Path(named).expanduser()
    folder = _package()
    if folder is None:
        return None
    machine = _ARCHITECTURES.get(platform.machine().lower(), platform.machine())
    home = folder / "appsec" / "_ddwaf" / "libddwaf" / machine / "lib"
    for name in ("libddwaf.so", "libddwaf.dylib", "ddwaf.dll"):
        if (home / name).is_file():
            return home / name
    return None


def bundled_rules_file() -> Path | None:
    """The rules that come with ddtrace, which tracers have until they are given others."""
    folder = _package()
    file = None if folder is None else folder / "appsec" / "rules.json"
    return file if file is not None and file.is_file() else None


def _package() -> Path | None:
    try:
        found = importlib.util.find_spec("ddtrace")
    except (ImportError, ValueError):
        return None
    return None if found is None or found.origin is None else Path(found.origin).parent


def available(named: str = "") -> str | None:
    """The engine's version, or None where there is none. Loads it: not for the control plane's process."""
    try:
        return Engine(library_file(named)).version
    except SettingsError:
        return None


# The engine -------------------------------------------------------------------------------------------


class _Object(ctypes.Structure):
    """A value of the engine's: sixteen bytes that only its own functions read."""

    _fields_ = (("raw", ctypes.c_uint64 * 2),)


_Pointer = ctypes.POINTER(_Object)
_Handle = ctypes.c_void_p
_FUNCTIONS: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "get_version": (ctypes.c_char_p, ()),
    "get_default_allocator": (_Handle, ()),
    "builder_init": (_Handle, ()),
    "builder_add_or_update_config": (
        ctypes.c_bool,
        (_Handle, ctypes.c_char_p, ctypes.c_uint32, _Pointer, _Pointer),
    ),
    "builder_build_instance": (_Handle, (_Handle,)),
    "builder_destroy": (None, (_Handle,)),
    "destroy": (None, (_Handle,)),
    "context_init": (_Handle, (_Handle, _Handle)),
    "context_eval": (ctypes.c_int, (_Handle, _Pointer, _Handle, _Pointer, ctypes.c_uint64)),
    "context_destroy": (None, (_Handle,)),
    "object_from_json": (ctypes.c_bool, (_Pointer, ctypes.c_char_p, ctypes.c_uint32, _Handle)),
    "object_destroy": (None, (_Pointer, _Handle)),
    "object_get_type": (ctypes.c_int, (_Pointer,)),
    "object_get_size": (ctypes.c_size_t, (_Pointer,)),
    "object_at_key": (_Pointer, (_Pointer, ctypes.c_size_t)),
    "object_at_value": (_Pointer, (_Pointer, ctypes.c_size_t)),
    "object_get_string": (ctypes.c_void_p, (_Pointer, ctypes.POINTER(ctypes.c_size_t))),
    "object_get_unsigned": (ctypes.c_uint64, (_Pointer,)),
    "object_get_signed": (ctypes.c_int64, (_Pointer,)),
    "object_get_float": (ctypes.c_double, (_Pointer,)),
    "object_get_bool": (ctypes.c_bool, (_Pointer,)),
}


class Engine:
    """The loaded library.

    Raises:
        SettingsError: It is not there, cannot be loaded, or is of another major version.
    """

    def __init__(self, file: Path | None) -> None:
        if file is None:
            raise SettingsError(NOT_INSTALLED)
        try:
            self._library = ctypes.CDLL(str(file))
            for name, (result, arguments) in _FUNCTIONS.items():
                function = getattr(self._library, f"ddwaf_{name}")
                function.restype, function.argtypes = result, list(arguments)
                if name == "get_version":
                    self.version: str = function().decode()
                    if self.version.partition(".")[0] != str(MAJOR):
                        raise SettingsError(
                            f"{file} is libddwaf {self.version}; Sealwire needs a version {MAJOR}."
                        )
        except OSError as error:
            raise SettingsError(f"{file} cannot be loaded as libddwaf.", detail=str(error)) from error
        except AttributeError as error:
            raise SettingsError(f"{file} is no libddwaf {MAJOR}.", detail=str(error)) from error
        self.allocator = self.call("get_default_allocator")

    def call(self, name: str, *arguments: Any) -> Any:
        """One of the engine's functions."""
        return getattr(self._library, f"ddwaf_{name}")(*arguments)

    def parse(self, raw: bytes) -> _Object | None:
        """A JSON text as an object, which is the caller's to destroy; None where it is no JSON."""
        made = _Object()
        if not self.call("object_from_json", ctypes.byref(made), raw, len(raw), self.allocator):
            return None
        return made

    def destroy(self, value: _Object) -> None:
        """Give an object back."""
        self.call("object_destroy", ctypes.byref(value), self.allocator)

    def read(self, value: Any, depth: int = 0) -> Any:
        """An object as Python knows it; the object stays whose it was."""
        kind = self.call("object_get_type", value)
        if kind in _STRINGS:
            return self._text(value)
        if kind in (_ARRAY, _MAP):
            if depth > _MAX_DEPTH:
                return None
            below = range(self.call("object_get_size", value))
            if kind == _ARRAY:
                return [self.read(self.call("object_at_value", value, i), depth + 1) for i in below]
            return {
                self._text(self.call("object_at_key", value, i)): self.read(
                    self.call("object_at_value", value, i), depth + 1
                )
                for i in below
            }
        name = {_BOOL: "bool", _SIGNED: "signed", _UNSIGNED: "unsigned", _FLOAT: "float"}.get(kind)
        return None if name is None else self.call(f"object_get_{name}", value)

    def _text(self, value: Any) -> str:
        length = ctypes.c_size_t()
        start = self.call("object_get_string", value, ctypes.byref(length))
        return ctypes.string_at(start, length.value).decode(errors="replace") if start else ""


class Rules:
    """Documents put together as a tracer puts them together, ready to be asked.

    Args:
        documents: JSON texts by path, such as ``ASM/block-scanners``. They are taken in order; of two
            elements with one id the later is refused.

    Attributes:
        diagnostics: Of every document, in order.
    """

    def __init__(self, engine: Engine, documents: Mapping[str, bytes]) -> None:
        self._engine = engine
        self._instance = None
        self._builder = engine.call("builder_init")
        try:
            self.diagnostics = tuple(self._add(path, raw) for path, raw in documents.items())
            self._instance = engine.call("builder_build_instance", self._builder)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Rules:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give everything back; twice does no harm."""
        if self._instance:
            self._engine.call("destroy", self._instance)
        if self._builder:
            self._engine.call("builder_destroy", self._builder)
        self._instance = self._builder = None

    def _add(self, path: str, raw: bytes) -> Diagnostics:
        document = self._engine.parse(raw)
        if document is None:
            return Diagnostics(path, taken=False, error="not a JSON document")
        said = _Object()
        name = path.encode()
        try:
            taken = self._engine.call(
                "builder_add_or_update_config",
                self._builder, name, len(name), ctypes.byref(document), ctypes.byref(said),
            )  # fmt: skip
            return _diagnostics(path, taken, self._engine.read(ctypes.byref(said)))
        finally:
            self._engine.destroy(said)
            self._engine.destroy(document)

    def run(self, addresses: Mapping[str, object], *, budget_ms: float) -> Verdict:
        """Ask the rules about a request.

        Args:
            addresses: What a tracer would tell of it (``sample_request``).
            budget_ms: After this long the engine stops and says so.
        """
        engine = self._engine
        if not self._instance:
            return Verdict(problem=NO_RULES)
        try:
            text = json.dumps(addresses, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        except (ValueError, RecursionError):
            return Verdict(problem="The request holds something that is not JSON.")
        data = engine.parse(text.encode(errors="replace"))
        if data is None:
            return Verdict(problem="The engine does not take this request.")
        result = _Object()
        context = engine.call("context_init", self._instance, engine.allocator)
        try:
            # No allocator: the data stays ours, and is destroyed after the context that reads it.
            code = engine.call(
                "context_eval", context, ctypes.byref(data), None, ctypes.byref(result),
                max(1, round(budget_ms * 1000)),
            )  # fmt: skip
            if code < 0:
                return Verdict(problem=f"The engine failed on this request (code {code}).")
            return _verdict(engine.read(ctypes.byref(result)))
        finally:
            engine.destroy(result)
            engine.call("context_destroy", context)
            engine.destroy(data)


def _diagnostics(path: str, taken: bool, said: Any) -> Diagnostics:
    document = said if isinstance(said, dict) else {}
    sections = [_section(name, value) for name, value in document.items() if isinstance(value, dict)]
    return Diagnostics(
        path,
        taken=taken,
        error=str(document.get("error") or ""),
        sections=tuple(sections),
        rules_version=str(document.get("ruleset_version") or ""),
    )


def _section(name: str, said: Mapping[str, Any]) -> Section:
    reasons: dict[str, tuple[str, ...]] = {}
    for kind in ("errors", "warnings"):  # a warning may be all it says of an element that failed
        for words, ids in (said.get(kind) or {}).items():
            reasons[words] = (*reasons.get(words, ()), *_texts(ids))
    return Section(
        name,
        error=str(said.get("error") or ""),
        loaded=_texts(said.get("loaded")),
        failed=_texts(said.get("failed")),
        skipped=_texts(said.get("skipped")),
        reasons=reasons,
    )


def _verdict(said: Any) -> Verdict:
    result: dict[str, Any] = said if isinstance(said, dict) else {}
    return Verdict(
        events=tuple(_event(event) for event in result.get("events") or ()),
        actions=tuple(Action(kind, parameters) for kind, parameters in (result.get("actions") or {}).items()),
        attributes=result.get("attributes") or {},
        keep=bool(result.get("keep")),
        timed_out=bool(result.get("timeout")),
        took_us=int(result.get("duration") or 0) // 1000,
    )


def _event(said: Mapping[str, Any]) -> Event:
    rule = said.get("rule") or {}
    tags = {str(name): str(value) for name, value in (rule.get("tags") or {}).items()}
    return Event(
        rule_id=str(rule.get("id", "")),
        name=str(rule.get("name", "")),
        type=tags.get("type", ""),
        category=tags.get("category", ""),
        tags=tags,
        on_match=_texts(rule.get("on_match")),
        matches=tuple(match for one in said.get("rule_matches") or () for match in _matches(one)),
    )


def _matches(said: Mapping[str, Any]) -> Iterator[Match]:
    for parameter in said.get("parameters") or ():
        if "address" in parameter:
            yield _match(said, "", parameter, parameter.get("highlight"))
            continue
        for name, value in parameter.items():  # an operator of several, such as resource and params
            if isinstance(value, dict):
                yield _match(said, name, value, parameter.get("highlight"))


def _match(said: Mapping[str, Any], name: str, value: Mapping[str, Any], highlight: Any) -> Match:
    return Match(
        operator=str(said.get("operator", "")),
        operator_value=str(said.get("operator_value", "")),
        parameter=name,
        address=str(value.get("address", "")),
        key_path=tuple(part if isinstance(part, int) else str(part) for part in value.get("key_path") or ()),
        value=str(value.get("value", "")),
        highlight=_texts(highlight),
    )


def _texts(values: Any) -> tuple[str, ...]:
    return tuple(str(value) for value in values or ())
