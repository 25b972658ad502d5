"""The operators of expressions on captured values, in Python and in JavaScript.

Hides how each language compares, indexes and takes for true. Invariants: pure; raises ``FailedError`` where
the tracer reports an error and ``UnknownError`` where what was not captured could change the answer.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple, TypeAlias

from sealwire.server.debugger.expressions import patterns
from sealwire.server.debugger.snapshots.captured import Missing, Value, plain_text

MAX_COMPARED: Final = 5_000
_MAX_DIGITS: Final = 4_000


class Dialect(enum.Enum):
    """Whose rules hold."""

    PYTHON = "python"
    JAVASCRIPT = "javascript"


def dialect(language: str) -> Dialect:
    """The rules for programs of a language, as a snapshot names it."""
    return Dialect.JAVASCRIPT if language in ("javascript", "node", "nodejs") else Dialect.PYTHON


class Undefined(NamedTuple):
    """JavaScript's ``undefined``."""


class Cut(NamedTuple):
    """A text of which only the beginning was captured; there is at least one character more."""

    text: str


Thing: TypeAlias = bool | int | float | str | Undefined | Cut | Value | None
UNDEFINED: Final = Undefined()
UNMEASURED: Final = Value("", missing=Missing.OTHER, reason="not measured")  # of a special name


class FailedError(Exception):
    """The tracer reports an error."""

    def __init__(self, says: str) -> None:
        super().__init__(says)
        self.says = says
        self.span: tuple[int, int] | None = None


class UnknownError(Exception):
    """It cannot be told."""

    def __init__(self, says: str, *, is_redacted: bool = False) -> None:
        super().__init__(says)
        self.says = says
        self.is_redacted = is_redacted
        self.span: tuple[int, int] | None = None

    @classmethod
    def of(cls, value: Value) -> UnknownError:
        """Because this value, or what is in it, was not captured."""
        missing = value.missing or Missing.OTHER
        if missing.is_redacted:
            return cls(f"Redacted: {missing.says}", is_redacted=True)
        return cls(f"Not captured ({value.reason or 'other'}): {missing.says}")


_INTEGERS: Final = frozenset({"int", "long", "short", "byte", "bigint", "Integer", "Long", "Int32", "Int64"})
_NUMBERS: Final = _INTEGERS | {"float", "double", "number", "Number", "Double", "Float"}
_BOOLEANS: Final = frozenset({"bool", "boolean", "Boolean"})
_LISTS: Final = frozenset(
    {"list", "tuple", "dict", "set", "frozenset", "deque", "defaultdict", "OrderedDict"}
)
_PLAIN_PYTHON: Final = _LISTS | {"str", "int", "float", "bool", "NoneType"}


def thing(value: Value) -> Thing:
    """A captured value as a plain one, where it is a scalar whose form is known."""
    if value.is_null:
        return UNDEFINED if value.type == "undefined" else None
    if value.text is None:
        return value
    plain = plain_text(value)
    if plain is not None:
        return Cut(plain) if value.truncated else plain
    if value.type in _BOOLEANS and value.text.lower() in ("true", "false"):
        return value.text.lower() == "true"
    if value.type in _NUMBERS and not value.truncated and len(value.text) <= _MAX_DIGITS:
        return _number(value)
    return value


def _number(value: Value) -> Thing:
    text = (value.text or "").removesuffix("n")
    try:
        if value.type in _INTEGERS or (value.type == "number" and text.lstrip("-").isdecimal()):
            return int(text)
        return float(text)
    except ValueError:
        return value


def name_of(thing: Thing) -> str:
    """What the type of a value is called in a message."""
    match thing:
        case None:
            return "null"
        case Undefined():
            return "undefined"
        case bool():
            return "a truth value"
        case int() | float():
            return "a number"
        case str() | Cut():
            return "a text"
        case Value():
            return thing.type or "an object"


def _captured(value: Value) -> Value:
    if not value.is_captured:
        raise UnknownError.of(value)
    return value


def _is_collection(value: Value) -> bool:
    return value.elements is not None or value.entries is not None


def why_incomplete(value: Value) -> str:
    """What is not there of the parts of a value, as a sentence; empty if all are."""
    if value.missing is None and (value.size is None or value.held >= value.size):
        return ""
    of = f" of {value.size}" if value.size is not None else ""
    return f"Only {value.held}{of} were captured, which does not decide it."


# Truth ------------------------------------------------------------------------------------------------------


def truth(thing: Thing, dialect: Dialect) -> bool:
    """Whether a value holds as a condition."""
    match thing:
        case None | Undefined():
            return False
        case Cut():
            return True
        case float() if math.isnan(thing):
            return dialect is Dialect.PYTHON
        case bool() | int() | float() | str():
            return bool(thing)
        case Value():
            if dialect is Dialect.JAVASCRIPT:
                return True
            if _is_collection(thing) or (thing.size is not None and thing.type in _LISTS):
                return size(thing, dialect) > 0
            if not thing.is_captured:
                raise UnknownError.of(thing)
            raise UnknownError(f"Whether {name_of(thing)} counts as true is for its class to say.")


# Sizes and elements -----------------------------------------------------------------------------------------


def size(thing: Thing, dialect: Dialect) -> int:
    """``len``."""
    match thing:
        case str():
            return len(thing.encode("utf-16-le", "surrogatepass")) // 2 if _is_js(dialect) else len(thing)
        case Cut():
            raise UnknownError(f"The text was cut off after {len(thing.text)} characters.")
        case Value():
            if thing.missing is not None and thing.missing.is_redacted:
                raise UnknownError.of(thing)
            if thing.size is not None and not (thing.fields is not None and not _is_js(dialect)):
                return thing.size
            if _is_collection(thing):
                if thing.missing is not None:
                    raise UnknownError.of(thing)
                return thing.held
            if thing.fields is not None and _is_js(dialect) and thing.missing is None:
                return len(thing.fields)
            if not thing.is_captured or thing.missing is not None:
                raise UnknownError.of(thing)
            if thing.text is not None and thing.type not in _PLAIN_PYTHON:
                raise UnknownError(f"Of {name_of(thing)} only its text was captured.")
            raise FailedError(f"{name_of(thing)} has no length.")
        case _:
            raise FailedError(f"{name_of(thing)} has no length.")


def _is_js(dialect: Dialect) -> bool:
    return dialect is Dialect.JAVASCRIPT


class Elements(NamedTuple):
    """What a condition is asked of: ``@it``, ``@key``, ``@value`` each time, where they mean something."""

    found: tuple[Mapping[str, Thing], ...]
    why_incomplete: str
    of: Thing

    def picked(self, fits: Sequence[bool]) -> Thing:
        """The collection with only those that fit; as incomplete as it was."""
        source = self.of
        if isinstance(source, str):
            chosen = tuple(Value("str", repr(each)) for each, fit in zip(source, fits, strict=True) if fit)
            return Value("list", elements=chosen, size=len(chosen))
        if not isinstance(source, Value):
            raise FailedError(f"{name_of(source)} has no elements.")
        missing = (source.missing or Missing.COLLECTION_SIZE) if self.why_incomplete else None
        total = None if missing else sum(fits)
        reason = source.reason or (missing or "")
        if source.elements is not None:
            kept = tuple(each for each, fit in zip(source.elements, fits, strict=True) if fit)
            made = "Array" if source.type == "Set" else source.type  # dd-trace makes a list of it
            return Value(made, elements=kept, size=total, missing=missing, reason=reason)
        if source.entries is not None:
            pairs = tuple(each for each, fit in zip(source.entries, fits, strict=True) if fit)
            return Value(source.type, entries=pairs, size=total, missing=missing, reason=reason)
        named = tuple(each for each, fit in zip(source.fields or (), fits, strict=True) if fit)
        return Value("Object", fields=named, size=total, missing=missing, reason=reason)


def elements(source: Thing, dialect: Dialect) -> Elements:
    """What ``any``, ``all`` and ``filter`` go through."""
    match source:
        case str() if not _is_js(dialect):
            return Elements(tuple({"@it": each, "@key": None, "@value": None} for each in source), "", source)
        case Cut() if not _is_js(dialect):
            raise UnknownError(f"The text was cut off after {len(source.text)} characters.")
        case Value():
            _captured(source)
            why = why_incomplete(source)
            # In Python they are there in every condition, in JavaScript where they mean something.
            nothing: dict[str, Thing] = {} if _is_js(dialect) else {"@key": None, "@value": None}
            if _is_js(dialect) and source.type == "Set":
                nothing = {"@key": UNMEASURED, "@value": UNMEASURED}
            if source.elements is not None:
                return Elements(
                    tuple({**nothing, "@it": thing(each)} for each in source.elements), why, source
                )
            if source.entries is not None:
                if _is_js(dialect):
                    raise UnknownError("How dd-trace goes through a Map was not measured.")
                pairs = ((thing(key), thing(each)) for key, each in source.entries)
                return Elements(
                    tuple({"@it": key, "@key": key, "@value": each} for key, each in pairs), why, source
                )
            if source.fields is not None and _is_js(dialect):
                named = tuple({"@key": name, "@value": thing(each)} for name, each in source.fields)
                return Elements(named, why, source)
            if source.fields is not None and source.type not in _PLAIN_PYTHON:
                raise UnknownError(f"Whether {name_of(source)} can be gone through is for its class to say.")
    if _is_js(dialect) and source is not None and not isinstance(source, Undefined):
        if isinstance(source, str | Cut) and source != "":
            raise UnknownError("How dd-trace goes through a text was not measured.")
        return Elements((), "", Value("Object", fields=(), size=0))
    raise FailedError(f"{name_of(source)} has no elements.")


# Comparing --------------------------------------------------------------------------------------------------


def same(left: Thing, right: Thing, dialect: Dialect) -> bool:
    """``==``; in JavaScript ``===``."""
    return _same(left, right, dialect, [MAX_COMPARED])


def _same(left: Thing, right: Thing, dialect: Dialect, budget: list[int]) -> bool:
    budget[0] -= 1
    if budget[0] < 0:
        raise UnknownError("The values are too large to be compared here.")
    if isinstance(left, Cut) or isinstance(right, Cut):
        return _same_cut(left, right)
    if isinstance(left, Value) or isinstance(right, Value):
        if not isinstance(left, Value):
            left, right = right, left
        if not isinstance(left, Value):  # one of them is
            raise TypeError("a captured value was expected")
        if left.missing is not None and left.missing.is_redacted:
            raise UnknownError.of(left)
        return _same_captured(left, right, dialect, budget)
    if _is_js(dialect):
        is_bool = isinstance(left, bool), isinstance(right, bool)
        return is_bool[0] is is_bool[1] and type(left) in _alike(right) and left == right
    return left == right


def _alike(value: Thing) -> tuple[type, ...]:
    return (int, float) if isinstance(value, int | float) and not isinstance(value, bool) else (type(value),)


def _same_cut(left: Thing, right: Thing) -> bool:
    """A text that was cut off is longer than what is there, and begins so."""
    if isinstance(left, Cut) and isinstance(right, Cut):
        short, long = sorted((left.text, right.text), key=len)
        if long.startswith(short):
            raise UnknownError("Both texts were cut off, and begin alike.")
        return False
    cut, other = (left, right) if isinstance(left, Cut) else (right, left)
    if not isinstance(cut, Cut) or not isinstance(other, str):
        if isinstance(other, Value):
            raise UnknownError("The text was cut off, and the other is no plain value.")
        return False
    if len(other) <= len(cut.text) or not other.startswith(cut.text):
        return False
    raise UnknownError(f"The text was cut off after {len(cut.text)} characters, which are the same.")


def _same_captured(left: Value, right: Thing, dialect: Dialect, budget: list[int]) -> bool:
    if right is None or isinstance(right, Undefined):
        return False  # what was null would have been captured as null
    if _is_js(dialect):
        if not isinstance(right, Value):
            return False
        raise UnknownError("Whether both are one and the same object was not captured.")
    if not isinstance(right, Value):
        if left.type in _PLAIN_PYTHON and (left.is_captured or left.size is not None) and left.text is None:
            return False
        if not left.is_captured:
            raise UnknownError.of(left)
        raise UnknownError(f"Whether {name_of(left)} equals {name_of(right)} is for its class to say.")
    _captured(left)
    _captured(right)
    if left.type in _PLAIN_PYTHON and right.type in _PLAIN_PYTHON and left.type != right.type:
        return False
    if left.type not in _PLAIN_PYTHON or left.type != right.type:
        raise UnknownError(f"Whether {name_of(left)} equals {name_of(right)} is for its class to say.")
    if left.size is not None and right.size is not None and left.size != right.size:
        return False
    if left.elements is not None and right.elements is not None and left.type in ("list", "tuple"):
        for one, other in zip(left.elements, right.elements, strict=False):
            if not _same(thing(one), thing(other), dialect, budget):
                return False
        if why := why_incomplete(left) or why_incomplete(right):
            raise UnknownError(why)
        return left.held == right.held
    raise UnknownError(f"Two values of the type {left.type} are not compared here.")


def _less(left: Thing, right: Thing, dialect: Dialect) -> int | None:
    """Below 0, 0 or above 0 as the first is less, the same or greater; None if neither (NaN)."""
    if isinstance(left, Cut) or isinstance(right, Cut):
        return _less_cut(left, right, dialect)
    if isinstance(left, Value) or isinstance(right, Value):
        for each, other in ((left, right), (right, left)):
            if not isinstance(each, Value):
                continue
            if not each.is_captured and each.size is None:
                raise UnknownError.of(each)
            is_plain = each.type in _PLAIN_PYTHON and each.text is None and not isinstance(other, Value)
            if is_plain and not _is_js(dialect):
                raise FailedError(f"{name_of(left)} and {name_of(right)} cannot be compared.")
        raise UnknownError(f"How {name_of(left)} compares with {name_of(right)} is for its class to say.")
    if isinstance(left, str) and isinstance(right, str):
        if _is_js(dialect):
            units, others = (each.encode("utf-16-be", "surrogatepass") for each in (left, right))
            return (units > others) - (units < others)
        return (left > right) - (left < right)
    if _is_js(dialect):
        return _ordered(_as_number(left), _as_number(right))
    if isinstance(left, int | float) and isinstance(right, int | float):
        return _ordered(left, right)
    raise FailedError(f"{name_of(left)} and {name_of(right)} cannot be compared.")


def _ordered(left: int | float, right: int | float) -> int | None:
    if left != left or right != right:
        return None
    return (left > right) - (left < right)


def _as_number(value: Thing) -> int | float:
    match value:
        case None:
            return 0
        case bool() | int() | float():
            return value
        case str():
            try:
                return float(value.strip() or 0) if "_" not in value else math.nan
            except ValueError:
                return math.nan
        case _:
            return math.nan


def _less_cut(left: Thing, right: Thing, dialect: Dialect) -> int | None:
    one = left.text if isinstance(left, Cut) else left
    other = right.text if isinstance(right, Cut) else right
    if not isinstance(one, str) or not isinstance(other, str):
        if isinstance(one, Value) or isinstance(other, Value) or _is_js(dialect):
            raise UnknownError("The text was cut off.")
        raise FailedError(f"{name_of(left)} and {name_of(right)} cannot be compared.")
    if one.startswith(other) or other.startswith(one):
        shorter_is_whole = (len(other) <= len(one) and isinstance(right, str)) or (
            len(one) <= len(other) and isinstance(left, str)
        )
        if shorter_is_whole:
            return 1 if isinstance(left, Cut) else -1
        raise UnknownError("The text was cut off before it differs.")
    return _less(one, other, dialect)


# Parts ------------------------------------------------------------------------------------------------------


def member(subject: Thing, name: Thing, dialect: Dialect) -> Thing:
    """``.name``."""
    if not isinstance(name, str):
        raise FailedError("The name of a field is a text.")
    if not isinstance(subject, Value):
        if _is_js(dialect):
            if subject is None or isinstance(subject, Undefined):
                raise FailedError(f"{name_of(subject)} has no fields.")
            if name == "length" and isinstance(subject, str | Cut):
                return size(subject, dialect)
            return UNDEFINED
        raise FailedError(f"{name_of(subject)} has no field {name}.")
    if subject.fields is not None:
        found = subject.field(name)
        if found is not None:
            return thing(found)
        if subject.missing is not None:
            raise UnknownError.of(subject)
        if _is_js(dialect):
            return UNDEFINED
        raise UnknownError(
            f"{name} is no field of this {name_of(subject)}; what its class has was not captured."
        )
    if _is_collection(subject):
        if _is_js(dialect):
            if name == "length" and subject.elements is not None:
                return size(subject, dialect)
            raise UnknownError(f"Fields of {name_of(subject)} were not captured.")
        hint = f' Write ["{name}"].' if subject.entries is not None else ""
        raise FailedError(f"{name_of(subject)} has no field {name}.{hint}")
    if not subject.is_captured:
        raise UnknownError.of(subject)
    raise UnknownError(f"Of {name_of(subject)} only its text was captured.")


def item(subject: Thing, key: Thing, dialect: Dialect) -> Thing:
    """``[key]``."""
    if not isinstance(subject, Value):
        if _is_js(dialect) and isinstance(subject, str | Cut):
            return _character(subject, key)
        if _is_js(dialect) and subject is not None and not isinstance(subject, Undefined):
            return UNDEFINED
        raise FailedError(f"{name_of(subject)} is no list and no map.")
    if subject.elements is not None:
        if subject.type in ("set", "frozenset", "Set"):
            raise FailedError(f"{name_of(subject)} is no list and no map.")
        return _element(subject, key, dialect)
    if subject.entries is not None:
        for each, value in subject.entries:
            if same(thing(each), key, dialect):
                return thing(value)
        if why := why_incomplete(subject):
            raise UnknownError(why)
        if _is_js(dialect):
            return UNDEFINED
        raise FailedError(f"There is no key {_key(key)}.")
    if subject.fields is not None and _is_js(dialect):
        return member(subject, _as_text(key), dialect)
    if not subject.is_captured:
        raise UnknownError.of(subject)
    if subject.type not in _PLAIN_PYTHON and subject.fields is None:
        raise UnknownError(f"Of {name_of(subject)} only its text was captured.")
    raise FailedError(f"{name_of(subject)} is no list and no map.")


def _key(key: Thing) -> str:
    return f'"{key[:80]}"' if isinstance(key, str) else str(key)[:80]


def _character(subject: str | Cut, key: Thing) -> Thing:
    text = subject.text if isinstance(subject, Cut) else subject
    if isinstance(key, int) and not isinstance(key, bool) and 0 <= key < len(text):
        return text[key]
    if isinstance(subject, Cut):
        raise UnknownError(f"The text was cut off after {len(text)} characters.")
    return UNDEFINED


def _element(subject: Value, key: Thing, dialect: Dialect) -> Thing:
    found = subject.elements or ()
    if _is_js(dialect):
        key = int(key) if isinstance(key, str) and key.isdecimal() and len(key) < 10 else key
        if isinstance(key, bool) or not isinstance(key, int) or key < 0:
            return UNDEFINED
    elif not isinstance(key, int):
        raise FailedError(f"An element of a list is asked for by its number, not by {name_of(key)}.")
    total = subject.size if subject.size is not None else (len(found) if subject.missing is None else None)
    if key < 0:
        if total is None:
            raise UnknownError.of(subject)
        key += total
    if 0 <= key < len(found):
        return thing(found[key])
    if total is None or 0 <= key < total:
        raise UnknownError(f"Only the first {len(found)} elements were captured.")
    if _is_js(dialect):
        return UNDEFINED
    raise FailedError(f"The list has {total} elements; there is none with the number {key}.")


def contains(subject: Thing, wanted: Thing, dialect: Dialect) -> bool:
    """``contains``: a part of a text, an element of a list, a key of a map."""
    if isinstance(subject, str | Cut):
        return _in_text(subject, _as_text(wanted) if _is_js(dialect) else wanted)
    if not isinstance(subject, Value):
        raise FailedError(f"{name_of(subject)} contains nothing.")
    _captured(subject)
    if subject.elements is not None:
        inside: Iterator[Value] = iter(subject.elements)
    elif subject.entries is not None:
        inside = iter(key for key, _ in subject.entries)
    elif subject.type in _PLAIN_PYTHON or _is_js(dialect):
        raise FailedError(f"{name_of(subject)} contains nothing.")
    else:
        raise FailedError(f"ddtrace does not look into {name_of(subject)}.")
    is_hashed = subject.type in ("set", "frozenset") or subject.entries is not None
    if (
        is_hashed
        and isinstance(wanted, Value)
        and wanted.type in ("list", "dict", "set")
        and not _is_js(dialect)
    ):
        raise FailedError(f"{wanted.type} is never a key or an element of a set.")
    doubt: UnknownError | None = None
    for each in inside:
        try:
            if same(thing(each), wanted, dialect):
                return True
        except UnknownError as unknown:
            doubt = doubt or unknown
    if doubt is not None:
        raise doubt
    if why := why_incomplete(subject):
        raise UnknownError(why)
    return False


def _as_text(thing: Thing) -> Thing:
    """As JavaScript turns plain values into texts."""
    match thing:
        case None:
            return "null"
        case Undefined():
            return "undefined"
        case bool():
            return "true" if thing else "false"
        case int():
            return str(thing)
        case float():
            raise UnknownError("How JavaScript writes this number is not tried here.")
        case Value():
            raise UnknownError(f"How JavaScript writes {name_of(thing)} was not captured.")
        case _:
            return thing


def _in_text(subject: str | Cut, wanted: Thing) -> bool:
    if isinstance(wanted, Cut):
        raise UnknownError("The text that is looked for was cut off.")
    if isinstance(wanted, Value) and not wanted.is_captured:
        raise UnknownError.of(wanted)
    if not isinstance(wanted, str):
        raise FailedError(f"A text contains texts, not {name_of(wanted)}.")
    if wanted in (subject.text if isinstance(subject, Cut) else subject):
        return True
    if isinstance(subject, Cut):
        raise UnknownError(
            f"It is not in the first {len(subject.text)} characters, after which the text was cut off."
        )
    return False


# Texts ------------------------------------------------------------------------------------------------------


def _begins(subject: str | Cut, wanted: str) -> bool:
    if isinstance(subject, str):
        return subject.startswith(wanted)
    if len(wanted) > len(subject.text) and wanted.startswith(subject.text):
        raise UnknownError(f"The text was cut off after {len(subject.text)} characters.")
    return subject.text.startswith(wanted)


def _ends(subject: str | Cut, wanted: str) -> bool:
    if isinstance(subject, Cut):
        raise UnknownError(f"The text was cut off after {len(subject.text)} characters.")
    return subject.endswith(wanted)


def _fits(subject: str | Cut, wanted: str, dialect: Dialect) -> bool:
    text = subject.text if isinstance(subject, Cut) else subject
    try:
        fits = patterns.fits(wanted, text, anywhere=_is_js(dialect))
    except patterns.CostlyPatternError as error:
        raise UnknownError(str(error)) from error
    except patterns.WrongPatternError as error:
        if _is_js(dialect):
            raise UnknownError("The pattern is none of those that can be tried here.") from error
        raise FailedError(f"This is no regular expression: {error}.") from error
    if isinstance(subject, Cut) and (not fits or "$" in wanted or "\\Z" in wanted or "(?!" in wanted):
        raise UnknownError(f"The text was cut off after {len(text)} characters.")
    return fits


def _part(subject: Thing, start: Thing, end: Thing, dialect: Dialect) -> Thing:
    if isinstance(subject, Value) and not subject.is_captured:
        raise UnknownError.of(subject)
    if isinstance(subject, Value) and subject.elements is not None and not _is_js(dialect):
        raise UnknownError("Parts of lists are not tried here.")
    if not isinstance(subject, str | Cut):
        raise FailedError(f"{name_of(subject)} is no text.")
    is_flag = isinstance(start, bool) or isinstance(end, bool)
    if not _is_js(dialect) and isinstance(subject, str):
        start = 0 if start is None else start
        end = len(subject) if end is None else end
    if not isinstance(start, int) or not isinstance(end, int) or (is_flag and _is_js(dialect)):
        if _is_js(dialect):
            raise UnknownError("What JavaScript makes of bounds that are no whole numbers is not tried here.")
        raise FailedError("A part of a text is asked for by two whole numbers.")
    text = subject.text if isinstance(subject, Cut) else subject
    if _is_js(dialect):
        start, end = sorted((max(start, 0), max(end, 0)))
    if isinstance(subject, Cut) and (start < 0 or end < 0 or max(start, end) > len(text)):
        raise UnknownError(f"The text was cut off after {len(text)} characters.")
    return text[start:end]


def _is_instance(subject: Thing, wanted: Thing, dialect: Dialect) -> bool:
    """Only the very type was captured, so that a base class cannot be told."""
    if not isinstance(wanted, str):
        raise FailedError("The name of a type is a text.")
    actual = _type_of(subject, dialect)
    if isinstance(subject, bool) and not _is_js(dialect) and wanted in ("int", "builtins.int"):
        return True
    if _is_js(dialect):
        if wanted in _TYPEOF_WORDS:
            return actual == wanted if not isinstance(subject, Value) else wanted == "object"
        if wanted not in _CLASSES_OF_ALL:
            raise UnknownError(f"Whether {wanted} is known at that place was not captured.")
        if not isinstance(subject, Value):
            return False
        if actual == wanted or wanted == "Object":
            return True
        raise UnknownError(f"It is a {actual}; which types that is derived from was not captured.")
    if subject is None or isinstance(subject, bool | int | float | str | Cut):
        return wanted in (actual, f"builtins.{actual}") and subject is not None
    if actual in _PLAIN_PYTHON:
        return wanted in (actual, f"builtins.{actual}")
    if wanted == actual and "." in actual:
        return True
    raise UnknownError(f"It is a {actual}; its module and what it is derived from were not captured.")


_TYPEOF_WORDS: Final = frozenset({"number", "string", "boolean", "undefined", "object"})
_CLASSES_OF_ALL: Final = frozenset({"Object", "Array", "Map", "Set", "Date", "Error", "Number", "String"})


def _type_of(subject: Thing, dialect: Dialect) -> str:
    if isinstance(subject, Value):
        return subject.type
    js = _is_js(dialect)
    match subject:
        case None:
            return "object" if js else "NoneType"
        case Undefined():
            return "undefined"
        case bool():
            return "boolean" if js else "bool"
        case int():
            return "number" if js else "int"
        case float():
            return "number" if js else "float"
        case str() | Cut():
            return "string" if js else "str"


_ORDERS: Final[dict[str, Callable[[int], bool]]] = {
    "gt": lambda order: order > 0,
    "ge": lambda order: order >= 0,
    "lt": lambda order: order < 0,
    "le": lambda order: order <= 0,
}


def call(op: str, values: Sequence[Thing], dialect: Dialect) -> Thing:
    """An operator on values that were evaluated."""
    first = values[0]
    match op:
        case "eq":
            return same(first, values[1], dialect)
        case "ne":
            return not same(first, values[1], dialect)
        case "gt" | "ge" | "lt" | "le":
            order = _less(first, values[1], dialect)
            return order is not None and _ORDERS[op](order)
        case "isEmpty":
            return _is_empty(first, dialect)
        case "len":
            return size(first, dialect)
        case "contains":
            return contains(first, values[1], dialect)
        case "startsWith" | "endsWith" | "matches":
            return _of_texts(op, first, values[1], dialect)
        case "substring":
            return _part(first, values[1], values[2], dialect)
        case "getmember":
            return member(first, values[1], dialect)
        case "index":
            return item(first, values[1], dialect)
        case "instanceof":
            return _is_instance(first, values[1], dialect)
        case _:
            raise TypeError(f"{op} is no operator of values")


def _is_empty(subject: Thing, dialect: Dialect) -> bool:
    if isinstance(subject, Cut):
        return False
    if isinstance(subject, Value) and subject.held and (_is_collection(subject) or _is_js(dialect)):
        return False
    return size(subject, dialect) == 0


def _of_texts(op: str, subject: Thing, wanted: Thing, dialect: Dialect) -> bool:
    for each in (subject, wanted):
        if isinstance(each, Value):
            if not each.is_captured:
                raise UnknownError.of(each)
            if each.text is not None:
                raise UnknownError(f"Of {name_of(each)} only its text was captured.")
        if not isinstance(each, str | Cut):
            raise FailedError(f"{name_of(each)} is no text.")
    if isinstance(wanted, Cut):
        raise UnknownError("The text that is looked for was cut off.")
    if not isinstance(subject, str | Cut) or not isinstance(wanted, str):  # seen above
        raise TypeError("texts were expected")
    if op == "startsWith":
        return _begins(subject, wanted)
    if op == "endsWith":
        return _ends(subject, wanted)
    return _fits(subject, wanted, dialect)
