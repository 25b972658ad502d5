"""JSON as people read and type it: printed so that a list is one line per element, read with the place of
the first mistake.

Stricter than the library: a key that stands twice would lose a value without a word, and numbers no client
could read are none.
"""

from __future__ import annotations

import json
from typing import Any

from sealwire.errors import InvalidChangeError, Problem

LINE = 100  # what fits into so many characters stays on one line


def compact(value: object) -> str:
    """On one line, for fields that nobody sees."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=_is_odd(value))


def pretty(value: object) -> str:
    """For people: nested by two spaces, short objects and lists on one line."""
    lines: list[str] = []
    _print(value, "", "", "", lines, ensure_ascii=_is_odd(value), in_list=False)
    return "\n".join(lines)


def _is_odd(value: object) -> bool:
    """Whether there are characters that no page and no file can hold: half of a pair."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return True
    return False


def _print(
    value: object,
    indent: str,
    before: str,
    after: str,
    lines: list[str],
    *,
    ensure_ascii: bool,
    in_list: bool,
) -> None:
    # Members of an object have a line each, so that a change of one is one line of a diff.
    fits = in_list or not isinstance(value, dict)
    one_line = _short(value, LINE - len(indent) - len(before), ensure_ascii) if fits else None
    if one_line is not None or not isinstance(value, dict | list | tuple) or not value:
        text = one_line if one_line is not None else json.dumps(value, ensure_ascii=ensure_ascii)
        lines.append(f"{indent}{before}{text}{after}")
        return
    opening, closing = "{}" if isinstance(value, dict) else "[]"
    lines.append(f"{indent}{before}{opening}")
    items: list[tuple[str, object]]
    if isinstance(value, dict):
        items = [(f"{json.dumps(key, ensure_ascii=ensure_ascii)}: ", inner) for key, inner in value.items()]
    else:
        items = [("", inner) for inner in value]
    for number, (name, inner) in enumerate(items, start=1):
        comma = "," if number < len(items) else ""
        in_list = not isinstance(value, dict)
        _print(inner, f"{indent}  ", name, comma, lines, ensure_ascii=ensure_ascii, in_list=in_list)
    lines.append(f"{indent}{closing}{after}")


def _short(value: object, width: int, ensure_ascii: bool) -> str | None:
    """The value on one line, if it is short and not nested deeply; never more work than its width."""
    if isinstance(value, dict | list | tuple):
        if len(value) * 3 > width:
            return None
        inner = value.values() if isinstance(value, dict) else value
        for item in inner:
            if isinstance(item, dict | list | tuple) and (
                len(item) * 3 > width
                or any(
                    isinstance(x, dict | list) and x
                    for x in (item.values() if isinstance(item, dict) else item)
                )
            ):
                return None
            if isinstance(item, str) and len(item) > width:
                return None
        text = json.dumps(value, ensure_ascii=ensure_ascii)
        return text if len(text) <= width else None
    return None


def parse(text: str) -> Any:
    """The value.

    Raises:
        InvalidChangeError: It is no JSON; the problem says where.
    """
    try:
        return json.loads(text, object_pairs_hook=_object, parse_constant=_constant)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise _wrong(f"This is not JSON: {_WORDS.get(error.msg, error.msg)} at {where}.") from error
    except RecursionError as error:
        raise _wrong("The JSON is nested too deeply.") from error
    except ValueError as error:
        if isinstance(error, _MistakeError):
            raise _wrong(str(error)) from error
        raise _wrong("The JSON has a number that is too long.") from error


_WORDS = {
    "Expecting value": "a value is missing",
    "Expecting ',' delimiter": "a comma is missing",
    "Expecting ':' delimiter": "a colon is missing",
    "Expecting property name enclosed in double quotes": "a key in double quotes is missing",
    "Extra data": "there is more after its end",
    "Unterminated string starting at": "a text that is not closed begins",
    "Illegal trailing comma before end of object": "a comma too many",
    "Illegal trailing comma before end of array": "a comma too many",
    "Invalid control character at": "a control character",
    "Invalid \\escape": "an escape that does not exist",
}


class _MistakeError(ValueError):
    """Something that the library would take."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise _MistakeError(f"The key {json.dumps(twice[:80])} stands twice in one object.")
    return found


def _constant(name: str) -> Any:
    raise _MistakeError(f"{name} is no JSON number.")


def _wrong(message: str) -> InvalidChangeError:
    return InvalidChangeError(message, problems=(Problem("$", message),))
