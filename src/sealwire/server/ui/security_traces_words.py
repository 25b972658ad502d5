"""What rows of security traces say, in words: badges for what happened, texts of attackers made visible.

Everything an attacker may have written goes through ``visible``: what has no shape of its own (control
characters, marks that turn the direction of writing, marks that are not seen at all) is shown by its number,
and what is long is cut. Escaping is the template's.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final
from urllib.parse import quote

from sealwire.server.security.rows import SecurityTrace
from sealwire.server.ui.views import Status

MAX_BADGES: Final = 3
MAX_CHARS: Final = 1_000
MAX_MARKS: Final = 3  # on one letter: more of them reach over the lines beside it

_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_KINDS = MappingProxyType(
    {
        "attack_tool": "Attack tool",
        "commercial_scanner": "Commercial scanner",
        "security_scanner": "Security scanner",
        "sql_injection": "SQL injection",
        "nosql_injection": "NoSQL injection",
        "command_injection": "Command injection",
        "php_code_injection": "PHP code injection",
        "js_code_injection": "JavaScript code injection",
        "java_code_injection": "Java code injection",
        "ldap_injection": "LDAP injection",
        "xss": "Cross-site scripting",
        "lfi": "Local file inclusion",
        "rfi": "Remote file inclusion",
        "ssrf": "Request forgery (SSRF)",
        "http_protocol_violation": "Protocol violation",
        "block_ip": "Address blocked",
        "block_user": "User blocked",
        "users.login.failure": "Login failed",
        "users.login.success": "Login",
        "users.signup": "Sign-up",
        "users.password_reset": "Password reset",
        "users.delete": "Account deleted",
        "payment.failure": "Payment failed",
    }
)
_EVENTS = MappingProxyType(
    {
        "users.login.failure": ("wait", "user-x"),
        "users.login.success": ("info", "log-in"),
        "users.signup": ("info", "user-plus"),
        "users.password_reset": ("info", "key-round"),
        "users.delete": ("wait", "user-x"),
        "payment.failure": ("wait", "circle-x"),
    }
)
_QUALIFIED = MappingProxyType(
    {
        "harmful": Status("Harmful", "bad", "triangle-alert", "It reached what it was for."),
        "safe": Status("Safe", "mute", "shield-check", "It was blocked or refused."),
    }
)


def visible(text: str, limit: int = MAX_CHARS) -> str:
    """Text of anybody as people may look at it: nothing in it is unseen, nor turns what stands beside it."""
    cut = len(text) > limit
    text = text[:limit]
    if not text.isascii() or not text.isprintable():
        text = "".join(_seen(text))
    return text + "…" if cut else text


def _seen(text: str) -> Iterable[str]:
    marks = 0
    for character in text:
        category = unicodedata.category(character)
        marks = marks + 1 if category in ("Mn", "Me") else 0
        if character == "\ufffd":
            yield character
        elif category == "Cc" and character < "\x20":
            yield chr(0x2400 + ord(character))  # a picture of it, of its own block
        elif category in _UNSEEN or marks > MAX_MARKS:
            yield f"⟨U+{ord(character):04X}⟩"
        else:
            yield character


def pieces(value: str, highlight: Sequence[str]) -> tuple[tuple[str, bool], ...]:
    """A value in pieces, each with whether it is a part that matched."""
    marked = [False] * len(value)
    for part in highlight:
        at = value.find(part) if part else -1
        while at >= 0:
            marked[at : at + len(part)] = [True] * len(part)
            at = value.find(part, at + len(part))
    found: list[tuple[str, bool]] = []
    start = 0
    for at in range(1, len(value) + 1):
        if at == len(value) or marked[at] != marked[start]:
            found.append((visible(value[start:at]), marked[start]))
            start = at
    return tuple(found)


def elsewhere(value: str, highlight: Iterable[str]) -> tuple[str, ...]:
    """What matched and does not stand in the value as it is: the engine saw it decoded."""
    return tuple(visible(part, 200) for part in highlight if part and part not in value)


def kind_words(kind: str) -> str:
    """The kind of a rule, or a business event, in words."""
    known = _KINDS.get(kind)
    if known is not None:
        return known
    text = visible(kind, 60).replace("_", " ").replace(".", " ")
    return text[:1].upper() + text[1:]


def badge(activity: str) -> Status:
    """One thing that happened: its icon, word and colour."""
    category, _, kind = activity.partition(".")
    words = kind_words(kind or category)
    if category == "vulnerability_trigger":
        return Status(f"Exploit: {words}", "bad", "zap", activity)
    if category == "security_response":
        return Status(words, "ok", "ban", activity)
    if category == "business_logic":
        tone, icon = _EVENTS.get(kind, ("info", "activity"))
        return Status(words, tone, icon, activity)
    if kind in ("attack_tool", "commercial_scanner", "security_scanner"):
        return Status(words, "wait", "crosshair", activity)
    return Status(words, "bad" if category == "attack_attempt" else "wait", "shield-alert", activity)


_FIRST = ("vulnerability_trigger", "attack_attempt", "business_logic", "security_response")


def badges(row: SecurityTrace) -> tuple[Status, ...]:
    """What happened in a request, the worst first."""

    def place(activity: str) -> tuple[int, int, str]:
        category, _, kind = activity.partition(".")
        rank = _FIRST.index(category) if category in _FIRST else 2
        return rank, kind in ("attack_tool", "commercial_scanner", "security_scanner"), activity

    found = [badge(activity) for activity in sorted(row.activities, key=place)]
    return tuple(Status(each.word, each.tone, each.icon, visible(each.detail, 200)) for each in found)


def qualified(qualification: str) -> Status | None:
    """What an attack came to; None where nothing is known of it."""
    return _QUALIFIED.get(qualification)


def status_tone(status: int) -> str:
    """The colour of a status of HTTP."""
    return "bad" if status >= 500 else "wait" if status >= 400 else ""


# The request again --------------------------------------------------------------------------------------

_METHOD = re.compile(r"[A-Za-z]{1,16}", re.ASCII)
_HOST = re.compile(r"[A-Za-z0-9._:\[\]-]{1,200}", re.ASCII)
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}", re.ASCII)
_IN_ADDRESS = "".join(chr(code) for code in range(0x21, 0x7F))


@dataclass(slots=True)
class _Again:
    headers: dict[str, str]
    cookies: list[str]
    form: list[tuple[str, str]]


def curl(row: SecurityTrace) -> str:
    """The request as a curl command, as far as the trace has it: for the box that tries rules.

    Attack: a request written so that whoever pastes its command runs another one, or sends a file of theirs.
    Each text is inside of single quotes, in one line; options are ours; no header begins like a file.
    """
    again = _Again({}, [], [])
    if row.user_agent:
        again.headers["User-Agent"] = row.user_agent
    if row.actor_ip:
        again.headers["X-Forwarded-For"] = row.actor_ip
    for trigger in row.triggers:
        for match in trigger.matches:
            for parameter in match.parameters:
                _add(again, parameter.address, parameter.key_path, parameter.value)
    method = row.method if _METHOD.fullmatch(row.method) else "GET"
    lines = [f"curl -g --path-as-is -X {method} {_word(_url(row))}"]
    lines += [f"-H {_word(f'{name}: {value}')}" for name, value in again.headers.items()]
    if again.cookies:
        lines.append(f"-b {_word('; '.join(again.cookies))}")
    lines += [f"--data-urlencode {_word(f'{name}={value}')}" for name, value in again.form]
    return " \\\n  ".join(lines)


def _add(again: _Again, address: str, path: Sequence[str], value: str) -> None:
    """Put a value that matched where it stood."""
    name = path[0] if path else ""
    if address.startswith("server.request.headers"):
        if _HEADER.fullmatch(name) and name.lower() not in {one.lower() for one in again.headers}:
            again.headers[name] = value
    elif address == "server.request.cookies" and _HEADER.fullmatch(name):
        again.cookies.append(f"{name}={value.replace(';', '%3B')}")
    elif address == "server.request.body":
        given = (name.replace("=", "") or "body", value)
        if given not in again.form:
            again.form.append(given)


def _url(row: SecurityTrace) -> str:
    found = re.match(r"(?:(https?)://([^/?#]*))?([^#]*)", row.url or row.target)
    scheme, host, rest = found.groups() if found else (None, None, "")
    host = host if host and _HOST.fullmatch(host) else "localhost"
    rest = quote(rest, safe=_IN_ADDRESS, errors="replace")
    return f"{scheme or 'http'}://{host}{rest if rest.startswith(('/', '?')) else f'/{rest}'}"


def _word(text: str) -> str:
    plain = "".join(c if c.isprintable() else "\ufffd" for c in text)
    return "'" + plain.replace("'", "'\\''") + "'"
