"""Requests that people paste, as a tracer would tell the firewall's rules of them.

A request is raw HTTP/1.1, a curl command line, or JSON; which one, its first character tells. What comes of
it are addresses, named, decoded and shortened as the tracers do it, so that rules judge here what they will
judge there. Whatever of a request the rules are not told is said in a note.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from sealwire.errors import InvalidChangeError, MalformedError, Problem
from sealwire.products.schema import quote
from sealwire.server.waf import curl_command

MAX_TEXT_CHARACTERS = 1024 * 1024
# What tracers cut before the rules see it.
MAX_STRING_CHARACTERS = 4096
MAX_ITEMS = 256
MAX_DEPTH = 20

EXAMPLE = "GET /search?q=shoes HTTP/1.1"
_METHOD = re.compile(r"[A-Za-z][A-Za-z0-9!#$%&'*+.^_`|~-]{0,30}", re.ASCII)
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", re.ASCII)
_CLIENT_IP_HEADERS = (
    "x-forwarded-for", "x-real-ip", "true-client-ip", "x-client-ip", "forwarded", "forwarded-for",
    "x-cluster-client-ip", "fastly-client-ip", "cf-connecting-ip", "cf-connecting-ipv6",
)  # fmt: skip


@dataclass(slots=True)
class SampleRequest:
    """A request somebody wants to try.

    Attributes:
        form: What it was written as: ``http``, ``curl`` or ``json``.
        target: Path and query, undecoded.
        headers: In order, names as written.
        body: As text; what it says is read by its Content-Type.
        parsed_body: A body that was given as JSON values, instead of a text.
        peer: The address of whoever is connected; empty: not known.
        user: Who is signed in; empty: nobody.
        more: Addresses that were given as such; they win over what the rest says.
    """

    form: str
    method: str
    target: str
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: str | None = None
    parsed_body: Any = None
    peer: str = ""
    user: str = ""
    more: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Told:
    """What the rules are told of a request.

    Attributes:
        addresses: By their name, such as ``server.request.query``.
        notes: What they are not told, and why.
    """

    addresses: Mapping[str, Any]
    notes: tuple[str, ...]


def parse(text: str | bytes, *, path: str = "$") -> SampleRequest:
    """Read a request in any of the three forms.

    Args:
        path: Where it stands, for the error.

    Raises:
        InvalidChangeError: It is none; the sentence says which line is wrong and what was expected.
    """
    if isinstance(text, bytes):
        text = text.decode(errors="replace")
    if len(text) > MAX_TEXT_CHARACTERS:
        words = f"A request has at most {MAX_TEXT_CHARACTERS} characters, not {len(text)}."
        raise InvalidChangeError(words, problems=(Problem(path, words),))
    skipped = re.match(r"[ \t]*(?:\r?\n[ \t]*)*", text)
    start = skipped.end() if skipped else 0
    begin = text[start:]
    try:
        if begin.startswith("{"):
            made = _from_json(text)
        elif re.match(r"curl(?:\s|$|\\)", begin):
            made = _from_curl(text)
        else:
            made = _from_http(begin, first_line=text.count("\n", 0, start) + 1)
    except MalformedError as error:
        raise InvalidChangeError(error.public, problems=(Problem(path, error.public),)) from error
    except RecursionError as error:
        words = "Line 1: this JSON is nested too deeply."
        raise InvalidChangeError(words, problems=(Problem(path, words),)) from error
    made.target = _encodable(made.target)
    return made


# Raw HTTP -----------------------------------------------------------------------------------------------


def _from_http(text: str, *, first_line: int) -> SampleRequest:
    head, _, body = _head_and_body(text)
    lines = head.split("\n")
    method, target = _request_line(lines[0].rstrip("\r"), first_line)
    headers = []
    for number, raw_line in enumerate(lines[1:], first_line + 1):
        line = raw_line.rstrip("\r")
        name, colon, value = line.partition(":")
        if line[:1] in (" ", "\t"):
            raise MalformedError(f"Line {number}: a header begins without space; write each on one line.")
        if not colon or not _HEADER_NAME.fullmatch(name):
            raise MalformedError(
                f"Line {number}: expected a header, such as Accept: text/html, or an empty line before the "
                f"body; found {quote(line)}."
            )
        headers.append((name, value.strip()))
    return SampleRequest("http", method, target, headers, body or None)


def _head_and_body(text: str) -> tuple[str, str, str]:
    found = re.search(r"\r?\n\r?\n", text)
    if found is None:
        return text.rstrip("\r\n"), "", ""
    return text[: found.start()], found[0], text[found.end() :]


def _request_line(line: str, number: int) -> tuple[str, str]:
    parts = line.split(" ")
    if not line:
        raise MalformedError(f"Line {number}: there is no request here; paste one such as {EXAMPLE}.")
    if len(parts) < 2 or not _METHOD.fullmatch(parts[0]) or not parts[1]:
        raise MalformedError(
            f"Line {number}: expected a method, a path and HTTP/1.1, such as {EXAMPLE}; a curl command, or a "
            f"JSON object; found {quote(line)}."
        )
    # A target with spaces is none, and what attackers send all the same: all up to the version is taken.
    has_version = len(parts) > 2 and parts[-1].upper().startswith("HTTP/")
    if len(parts) > 2 and not has_version:
        raise MalformedError(f"Line {number}: expected HTTP/1.1 at the end, not {quote(parts[-1])}.")
    target = " ".join(parts[1:-1] if has_version else parts[1:])
    if target.startswith(("/", "*")):
        return parts[0], target
    return parts[0], _target_of(target, f"Line {number}")


def _target_of(address: str, where: str) -> str:
    found = re.match(r"https?://[^/?#]+", address, re.IGNORECASE)
    if found is None:
        raise MalformedError(f"{where}: a path begins with /, not {quote(address)}.")
    target = address[found.end() :].partition("#")[0]
    return target if target.startswith("/") else f"/{target}"


def _from_curl(text: str) -> SampleRequest:
    made = curl_command.parse(text)
    if not _METHOD.fullmatch(made.method):
        raise MalformedError(f"Line 1: {quote(made.method)} is no method.")
    return SampleRequest("curl", made.method, made.target, made.headers, made.body)


# JSON ---------------------------------------------------------------------------------------------------

_FIELDS = ("method", "url", "headers", "cookies", "body", "client_ip", "user")


def _from_json(text: str) -> SampleRequest:
    try:
        document = _json(text)
    except json.JSONDecodeError as error:
        raise MalformedError(f"Line {error.lineno}: this is not JSON: {error.msg}.") from error
    except (ValueError, RecursionError) as error:
        raise MalformedError("Line 1: this JSON has numbers or depths that nothing takes.") from error
    made = SampleRequest("json", "GET", "/")
    for name, value in document.items():
        if name not in _FIELDS and "." not in name:
            raise MalformedError(
                f"Line {_line_of(text, name)}: there is no field {quote(name)}; there are "
                f"{', '.join(_FIELDS)}, and addresses such as server.request.query."
            )
        wrong = _take(made, name, value)
        if wrong:
            raise MalformedError(f"Line {_line_of(text, name)}: {name} takes {wrong}, not {quote(value)}.")
    return made


def _take(made: SampleRequest, name: str, value: Any) -> str:
    """Take a field; what it should have been, if it is not."""
    if "." in name:
        made.more[name] = value
    elif name == "body":
        made.body, made.parsed_body = (value, None) if isinstance(value, str) else (None, value)
    elif name in ("headers", "cookies"):
        pairs = _pairs(value)
        if pairs is None:
            return "an object of texts, or of lists of texts"
        if name == "headers":
            made.headers[:0] = pairs
        else:
            made.headers.append(("cookie", "; ".join(f"{key}={text}" for key, text in pairs)))
    elif not isinstance(value, str):
        return "a text"
    elif name == "method":
        if not _METHOD.fullmatch(value):
            return "a method such as GET"
        made.method = value
    elif name == "url":
        if not re.match(r"/|https?://[^/?#]", value, re.IGNORECASE):
            return "a path that begins with /, or an http address"
        made.target = value if value.startswith("/") else _target_of(value, "url")
    elif name == "client_ip":
        if _ip(value) is None:
            return "an address"
        made.peer = value
    else:
        made.user = value
    return ""


def _pairs(value: Any) -> list[tuple[str, str]] | None:
    if not isinstance(value, dict):
        return None
    pairs = [
        (name, text)
        for name, texts in value.items()
        for text in (texts if isinstance(texts, list) else [texts])
    ]
    return pairs if all(isinstance(text, str) for _, text in pairs) else None


def _line_of(text: str, name: str) -> int:
    position = text.find(json.dumps(name, ensure_ascii=False))
    return text.count("\n", 0, max(position, 0)) + 1


def _json(text: str) -> Any:
    return json.loads(text, parse_constant=_refuse_constant)


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")


# Addresses ----------------------------------------------------------------------------------------------


def tell(request: SampleRequest, *, peer: str = "", user: str = "") -> Told:
    """What a tracer would tell the rules of a request.

    Args:
        peer, user: Of requests that do not say.
    """
    notes: list[str] = []
    headers: dict[str, list[str]] = {}
    for name, value in request.headers:
        headers.setdefault(name.lower(), []).append(value)
    cookies = [text for value in headers.pop("cookie", ()) for text in value.split(";")]
    addresses: dict[str, Any] = {
        "server.request.method": request.method,
        "server.request.uri.raw": request.target,
        "server.request.query": _lists(_pairs_of_form(request.target.partition("?")[2])),
        "server.request.headers.no_cookies": {
            name: values[0] if len(values) == 1 else values for name, values in headers.items()
        },
    }
    if cookies:
        halves = (text.strip().partition("=") for text in cookies)
        addresses["server.request.cookies"] = _lists(
            (name, value.strip('"')) for name, _, value in halves if name
        )
    addresses |= _body(request, headers, notes)
    client_ip = find_client_ip(headers, request.peer or peer)
    if client_ip:
        addresses["http.client_ip"] = client_ip
    if request.user or user:
        addresses["usr.id"] = request.user or user
    addresses |= request.more
    cut: set[str] = set()
    shortened = {_encodable(name): _shortened(value, 0, cut) for name, value in addresses.items()}
    notes.extend(sorted(cut))
    return Told(shortened, tuple(notes))


def find_client_ip(headers: Mapping[str, Sequence[str]], peer: str) -> str:
    """Where a request comes from, as tracers find it: the first public address that anybody names.

    Without any: the peer if it is public, else the first private address named, else the peer.
    """
    private = ""
    for name in _CLIENT_IP_HEADERS:
        for value in headers.get(name, ()):
            for candidate in _candidates(name, value):
                address = _ip(candidate)
                if address is None:
                    continue
                if address.is_global:
                    return str(address)
                private = private or str(address)
    known = _ip(peer)
    if known is not None and known.is_global:
        return str(known)
    return private or ("" if known is None else str(known))


def _candidates(name: str, value: str) -> list[str]:
    if name != "forwarded":
        return value.split(",")
    return re.findall(r"(?i)(?:^|[;,\s])for=([^;,\s]+)", value)


def _ip(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """An address, with or without a port, brackets, quotes."""
    text = text.strip().strip('"')
    bracketed = re.match(r"\[([^\]]*)\]", text)
    if bracketed:
        text = bracketed[1]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def _body(request: SampleRequest, headers: Mapping[str, list[str]], notes: list[str]) -> dict[str, Any]:
    if request.parsed_body is not None:
        return {"server.request.body": request.parsed_body}
    text = request.body
    if not text:
        return {}
    kind, _, parameters = headers.get("content-type", [""])[0].partition(";")
    kind = kind.strip().lower()
    for name in ("transfer-encoding", "content-encoding"):
        if headers.get(name, ["identity"])[0].lower() != "identity":
            notes.append(f"{name} is not undone: the body is taken as it stands.")
    if kind == "application/json" or kind.endswith("+json"):
        try:
            return {"server.request.body": _json(text)}
        except json.JSONDecodeError as error:
            notes.append(
                f"The body is not JSON ({error.msg} in its line {error.lineno}): rules are told nothing."
            )
        except (ValueError, RecursionError):
            notes.append("The body is JSON that nothing takes: rules are told nothing of it.")
        return {}
    if kind == "application/x-www-form-urlencoded":
        return {"server.request.body": _lists(_pairs_of_form(text.rstrip("\r\n")))}
    if kind == "multipart/form-data":
        return _multipart(text, parameters, notes)
    said = f"of the type {quote(kind)}" if kind else "without a Content-Type"
    notes.append(f"Rules are told nothing of a body {said}; they are of JSON and forms.")
    return {}


def _multipart(text: str, parameters: str, notes: list[str]) -> dict[str, Any]:
    found = re.search(r'(?i)boundary=(?:"([^"]*)"|([^;\s]+))', parameters)
    boundary = (found[1] or found[2]) if found else ""
    if not boundary:
        notes.append("The multipart body has no boundary in its Content-Type: rules are told nothing of it.")
        return {}
    fields: list[tuple[str, str]] = []
    files: list[tuple[str, str]] = []
    parts = f"\n{text}".split(f"\n--{boundary}")[1:]
    for part in parts:
        if part.startswith("--"):
            break
        head, _, content = _head_and_body(part.lstrip("\r\n"))
        name = _parameter(head, "name")
        if name is None:
            notes.append("A part of the multipart body has no name, and is left out.")
            continue
        filename = _parameter(head, "filename")
        if filename is None:
            fields.append((name, content.removesuffix("\r")))
        else:
            files.append((name, filename))
    if not parts:
        notes.append("The boundary of the multipart body is nowhere in it: rules are told nothing of it.")
        return {}
    addresses: dict[str, Any] = {"server.request.body": _lists(fields)}
    if files:
        addresses["server.request.body.files_field_names"] = [name for name, _ in files]
        addresses["server.request.body.filenames"] = [filename for _, filename in files]
    return addresses


def _parameter(head: str, name: str) -> str | None:
    found = re.search(rf'(?im)^content-disposition:.*?[;\s]{name}=(?:"([^"\n]*)"|([^;\s"]+))', head)
    return None if found is None else found[1] if found[1] is not None else found[2]


def _pairs_of_form(text: str) -> list[tuple[str, str]]:
    return parse_qsl(text, keep_blank_values=True, errors="replace")


def _lists(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, value in pairs:
        found.setdefault(name, []).append(value)
    return found


def _shortened(value: Any, depth: int, cut: set[str]) -> Any:
    """A value as long, wide and deep as tracers pass it on, and nothing that is not text in a text."""
    if isinstance(value, str):
        if len(value) > MAX_STRING_CHARACTERS:
            cut.add(f"Texts are cut after {MAX_STRING_CHARACTERS} characters, as tracers do.")
        return _encodable(value[:MAX_STRING_CHARACTERS])
    if isinstance(value, dict | list):
        if depth >= MAX_DEPTH:
            cut.add(f"What is nested deeper than {MAX_DEPTH} is left out, as tracers do.")
            return {} if isinstance(value, dict) else []
        if len(value) > MAX_ITEMS:
            cut.add(f"Lists and objects are cut after {MAX_ITEMS} items, as tracers do.")
        if isinstance(value, list):
            return [_shortened(item, depth + 1, cut) for item in value[:MAX_ITEMS]]
        return {
            _shortened(key, 0, cut): _shortened(item, depth + 1, cut)
            for key, item in list(value.items())[:MAX_ITEMS]
        }
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        return str(value)
    return value


def _encodable(text: str) -> str:
    """A text without halves of characters, which escapes in JSON and in a shell may make."""
    return text.encode(errors="replace").decode()
