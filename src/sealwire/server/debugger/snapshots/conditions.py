"""A condition out of a captured value: an expression that held when it was captured.

Pure. Invariants: what is given can be compiled, and holds on the snapshot the value is of; a value of which
no such thing can be said gives nothing, and so does one that was redacted.
"""

from __future__ import annotations

import math
import re
from typing import Final

from sealwire.server.debugger.expressions.printer import text_of_literal
from sealwire.server.debugger.snapshots.captured import Value, is_encodable, plain_text

MAX_COMPARED: Final = 200  # characters of a text; of a longer one its beginning is compared
_INTEGER: Final = re.compile(r"-?\d{1,15}")
_DECIMAL: Final = re.compile(r"-?\d{1,20}\.\d{1,20}(?:[eE][+-]?\d{1,3})?")
_INTEGERS: Final = frozenset({"int", "long", "short", "byte", "Integer", "Long", "Int32", "Int64", "number"})
_DECIMALS: Final = frozenset({"float", "double", "number", "Double", "Float"})


def condition_of(expression: str, value: Value) -> str:
    """The condition under which a probe is reached with this value again; empty if there is none.

    Args:
        expression: Reads the value; empty for what no expression reads.
    """
    if not expression:
        return ""
    if value.is_null:
        return "" if value.type == "undefined" else f"{expression} == null"
    if value.text is not None:
        return _of_text(expression, value, value.text)
    if value.missing is not None and not value.is_captured:
        return ""
    if value.elements is not None or value.entries is not None:
        count = value.size if value.size is not None else value.held if value.missing is None else None
        return "" if count is None else f"len({expression}) == {count}"
    return ""


def _of_text(expression: str, value: Value, text: str) -> str:
    plain = plain_text(value)
    if plain is not None:
        if not is_encodable(plain):
            return ""
        if value.truncated or len(plain) > MAX_COMPARED:
            beginning = plain[:MAX_COMPARED]
            return f"startsWith({expression}, {text_of_literal(beginning)})" if beginning else ""
        return f"{expression} == {text_of_literal(plain)}"
    if value.type in ("bool", "boolean", "Boolean") and text.lower() in ("true", "false"):
        return f"{expression} == {text.lower()}"
    if value.truncated:
        return ""
    if value.type in _INTEGERS and _INTEGER.fullmatch(text):
        return f"{expression} == {int(text)}"
    if value.type in _DECIMALS and _DECIMAL.fullmatch(text) and math.isfinite(float(text)):
        return f"{expression} == {text_of_literal(float(text))}"
    return ""
