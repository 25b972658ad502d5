"""A curl command line, as browsers copy it, as the request it would send.

Words are split as a POSIX shell does, without anything a shell would look up or run: a variable stays the
text it is. Files are never read. Mistakes name their line.
"""

from __future__ import annotations

import base64
import re
import string
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import quote_plus

from sealwire.errors import MalformedError
from sealwire.products.schema import quote

USER_AGENT = "curl/8.5.0"
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://", re.ASCII)
_BOUNDARY = "------------------------sealwire"

_LONG_OF = {
    "X": "request", "H": "header", "d": "data", "F": "form", "A": "user-agent", "b": "cookie", "e": "referer",
    "u": "user", "G": "get", "I": "head",
}  # fmt: skip
_WITH_VALUE = frozenset(
    {
        "request", "header", "data", "data-raw", "data-ascii", "data-binary", "data-urlencode", "json",
        "form", "form-string", "user-agent", "cookie", "referer", "user", "url", "url-query",
    }
)  # fmt: skip
_FLAGS = frozenset({"get", "head"})
# What says how to send it, or what to do with the answer: the request is the same.
_IDLE_SHORT, _IDLE_SHORT_VALUE = frozenset("0123456789#gfijklLnNOpqRsSvZ"), frozenset("cCDEmoPQrtwxyYz")
_IDLE = frozenset(
    {
        "anyauth", "compressed", "digest", "fail", "fail-with-body", "globoff", "http0.9", "http1.0",
        "http1.1", "http2", "http2-prior-knowledge", "http3", "include", "insecure", "ipv4", "ipv6",
        "junk-session-cookies", "keepalive", "location", "location-trusted", "path-as-is", "post301",
        "post302", "post303", "progress-bar", "remote-name", "show-error", "silent", "ssl", "tcp-nodelay",
        "tlsv1", "tlsv1.0", "tlsv1.1", "tlsv1.2", "tlsv1.3", "verbose",
    }
)  # fmt: skip
_IDLE_VALUE = frozenset(
    {
        "cacert", "capath", "cert", "ciphers", "connect-timeout", "connect-to", "cookie-jar", "dns-servers",
        "interface", "key", "limit-rate", "max-redirs", "max-time", "noproxy", "output", "proxy", "resolve",
        "retry", "retry-delay", "retry-max-time", "stderr", "trace", "trace-ascii", "unix-socket",
        "write-out",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Word:
    """A word of a command line; ``bare`` as long as nothing in it was quoted."""

    text: str
    line: int
    bare: bool


@dataclass(slots=True)
class Command:
    """The request of a command line.

    Attributes:
        target: Path and query as they would be sent.
        headers: In the order they would be sent.
    """

    method: str = ""
    target: str = "/"
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: str | None = None


def parse(text: str) -> Command:
    """Read a command line.

    Raises:
        MalformedError: It is none, or says something that is not known here; with the line.
    """
    return _Reader(list(words(text))).command()


# Words ------------------------------------------------------------------------------------------------


def words(text: str) -> Iterator[Word]:
    """Split as a shell does.

    Raises:
        MalformedError: A quote is never closed, or the command ends before the text does.
    """
    text = text.replace("\r\n", "\n")
    position, line = 0, 1
    while position < len(text):
        character = text[position]
        if character.isspace():
            line += character == "\n"
            position += 1
        elif text.startswith("\\\n", position):
            line, position = line + 1, position + 2
        else:
            started = line
            word, position, line, bare = _word(text, position, line)
            yield Word(word, started, bare)


def _word(text: str, position: int, line: int) -> tuple[str, int, int, bool]:
    parts: list[str] = []
    bare = True
    while position < len(text) and not text[position].isspace():
        character = text[position]
        if text.startswith("\\\n", position):
            line, position = line + 1, position + 2
            continue
        if character in "|;&<>()`":
            raise MalformedError(
                f"Line {line}: outside quotes a shell takes {character} for itself. Put the address or value "
                "in quotes, and paste one command without what follows it."
            )
        if character == "'" or text.startswith("$'", position):
            ansi = character == "$"
            part, end = _quoted(text, position + ansi, line, ansi=ansi)
            bare = False
        elif character == '"':
            part, end = _double_quoted(text, position, line)
            bare = False
        elif character == "\\":
            part, end = text[position + 1 : position + 2], position + 2
        else:
            part, end = character, position + 1
        parts.append(part)
        line += text.count("\n", position, end)
        position = end
    return "".join(parts), position, line, bare


def _quoted(text: str, start: int, line: int, *, ansi: bool) -> tuple[str, int]:
    """What stands between single quotes; ``ansi`` of the kind that knows escapes."""
    position = start + 1
    parts: list[str] = []
    while position < len(text):
        if text[position] == "'":
            return "".join(parts), position + 1
        if ansi and text[position] == "\\":
            part, position = _escape(text, position)
        else:
            part, position = text[position], position + 1
        parts.append(part)
    raise MalformedError(f"Line {line}: the ' is never closed.")


_ESCAPES = {
    "n": "\n",
    "t": "\t",
    "r": "\r",
    "a": "\a",
    "b": "\b",
    "f": "\f",
    "v": "\v",
    "e": "\x1b",
    "E": "\x1b",
}
_NUMBERS = {"x": (16, 2), "u": (16, 4), "U": (16, 8)}


def _escape(text: str, position: int) -> tuple[str, int]:
    letter = text[position + 1 : position + 2]
    if letter in _NUMBERS or letter in tuple("01234567"):
        base, most = _NUMBERS.get(letter, (8, 3))
        start = position + 2 if letter in _NUMBERS else position + 1
        end = start
        known = string.hexdigits if base == 16 else string.octdigits
        while end < len(text) and end - start < most and text[end] in known:
            end += 1
        if end > start:
            number = int(text[start:end], base)
            return chr(number) if number <= 0x10FFFF else "\ufffd", end
    return _ESCAPES.get(letter, letter), position + 2


def _double_quoted(text: str, start: int, line: int) -> tuple[str, int]:
    position = start + 1
    parts: list[str] = []
    while position < len(text):
        character = text[position]
        if character == '"':
            return "".join(parts), position + 1
        following = text[position + 1 : position + 2]
        if character == "\\" and following and following in '$`"\\\n':
            parts.append("" if following == "\n" else following)
            position += 2
        else:
            parts.append(character)
            position += 1
    raise MalformedError(f'Line {line}: the " is never closed.')


# Options ----------------------------------------------------------------------------------------------


class _Reader:
    """Goes through the words of one command."""

    def __init__(self, given: list[Word]) -> None:
        self._words = given
        self._next = 1
        self._url: Word | None = None
        self._data: list[str] = []
        self._queries: list[str] = []
        self._form: list[str] = []
        self._json = self._get = self._head = False
        self._headers: list[tuple[str, str]] = []
        self._left_out: set[str] = set()
        self._made = Command()

    def command(self) -> Command:
        first = self._words[0] if self._words else Word("", 1, bare=True)
        if first.text != "curl":
            raise MalformedError(f"Line {first.line}: expected curl, not {quote(first.text)}.")
        while self._next < len(self._words):
            word = self._take()
            if word.bare and word.text == "^":
                raise MalformedError(
                    f"Line {word.line}: this is written for cmd.exe; copy the request as curl for bash."
                )
            if word.text.startswith("--") and len(word.text) > 2:
                self._long(word)
            elif word.text.startswith("-") and len(word.text) > 1:
                self._short(word)
            else:
                self._address(word)
        return self._finish()

    def _take(self) -> Word:
        self._next += 1
        return self._words[self._next - 1]

    def _value(self, option: Word) -> Word:
        if self._next >= len(self._words):
            raise MalformedError(f"Line {option.line}: {quote(option.text)} wants a value after it.")
        return self._take()

    def _long(self, word: Word) -> None:
        name = word.text[2:]
        if name in _FLAGS:
            self._apply(name, word)
        elif name in _WITH_VALUE:
            self._apply(name, self._value(word))
        elif name in _IDLE_VALUE or name.startswith("proxy-"):
            self._value(word)
        elif name not in _IDLE and not name.startswith("no-"):
            raise MalformedError(f"Line {word.line}: the option {quote(word.text)} is not known here.")

    def _short(self, word: Word) -> None:
        position = 1
        while position < len(word.text):
            letter, rest = word.text[position], word.text[position + 1 :]
            position += 1
            name = _LONG_OF.get(letter, "")
            if name in _FLAGS:
                self._apply(name, word)
            elif name or letter in _IDLE_SHORT_VALUE:
                value = Word(rest, word.line, bare=False) if rest else self._value(word)
                if name:
                    self._apply(name, value)
                return
            elif letter not in _IDLE_SHORT:
                raise MalformedError(f"Line {word.line}: the option -{quote(letter)} is not known here.")

    def _address(self, word: Word) -> None:
        if self._url is not None:
            raise MalformedError(
                f"Line {word.line}: a second address {quote(word.text)}; paste one at a time."
            )
        self._url = word

    def _apply(self, name: str, value: Word) -> None:
        text = value.text
        if name in ("data", "data-ascii", "data-binary", "json") and text.startswith("@"):
            raise MalformedError(
                f"Line {value.line}: files are not read here; write out what {quote(text)} holds."
            )
        match name:
            case "request":
                self._made.method = text
            case "header":
                self._header(value)
            case "data" | "data-raw" | "data-ascii" | "data-binary":
                self._data.append(text)
            case "json":
                self._data.append(text)
                self._json = True
            case "data-urlencode":
                self._data.append(_urlencoded(value))
            case "url-query":
                self._queries.append(text[1:] if text.startswith("+") else _urlencoded(value))
            case "form" | "form-string":
                self._form.append(_part(value, plain=name == "form-string"))
            case "user-agent" | "referer":
                self._headers.append((name if name == "referer" else "user-agent", text))
            case "cookie":
                if "=" not in text:
                    raise MalformedError(
                        f"Line {value.line}: files are not read here; write cookies as name=value."
                    )
                self._headers.append(("cookie", text))
            case "user":
                secret = base64.b64encode(text.encode(errors="replace")).decode()
                self._headers.append(("authorization", f"Basic {secret}"))
            case "url":
                self._address(value)
            case "get":
                self._get = True
            case "head":
                self._head = True

    def _header(self, value: Word) -> None:
        if value.text.startswith("@"):
            raise MalformedError(f"Line {value.line}: files are not read here; write the headers out.")
        name, colon, text = value.text.partition(":")
        if not colon and value.text.endswith(";"):
            self._headers.append((value.text[:-1].strip(), ""))  # so curl is told to send it without a value
            return
        if not colon:
            raise MalformedError(
                f"Line {value.line}: a header is a name, a colon and a value, not {quote(value.text)}."
            )
        if text.strip():
            self._headers.append((name.strip(), text.strip()))
        else:
            self._left_out.add(name.strip().lower())

    def _finish(self) -> Command:
        if self._url is None:
            raise MalformedError("Line 1: the command has no address.")
        address = self._url.text if _SCHEME.match(self._url.text) else f"http://{self._url.text}"
        scheme, _, rest = address.partition("://")
        end = re.search(r"[/?#]|$", rest)
        host = rest[: end.start() if end else None].rpartition("@")[2]
        if scheme.lower() not in ("http", "https") or not host:
            raise MalformedError(f"Line {self._url.line}: {quote(self._url.text)} is no http address.")
        if any(character <= " " for character in address):
            raise MalformedError(f"Line {self._url.line}: an address has no spaces; write %20 for one.")
        target = rest[end.start() if end else 0 :].partition("#")[0]
        query = [*self._queries, *(self._data if self._get else ())]
        if query:
            joined = "&".join(query)
            target += ("&" if "?" in target else "?") + joined
        made = self._made
        made.target = target if target.startswith("/") else f"/{target}"
        kind = self._body(made)
        made.method = made.method or ("HEAD" if self._head else "GET" if made.body is None else "POST")
        standard = [("host", host), ("user-agent", USER_AGENT), ("accept", "*/*")]
        if self._json:
            standard[2] = ("accept", "application/json")
        if kind:
            standard.append(("content-type", kind))
        given = self._left_out | {name.lower() for name, _ in self._headers}
        made.headers = [one for one in standard if one[0] not in given]
        made.headers += self._headers
        return made

    def _body(self, made: Command) -> str:
        if self._form:
            made.body = (
                "".join(f"--{_BOUNDARY}\r\n{part}\r\n" for part in self._form) + f"--{_BOUNDARY}--\r\n"
            )
            return f"multipart/form-data; boundary={_BOUNDARY}"
        if self._data and not self._get:
            made.body = ("" if self._json else "&").join(self._data)
            return "application/json" if self._json else "application/x-www-form-urlencoded"
        return ""


def _urlencoded(value: Word) -> str:
    name, sign, text = value.text.partition("=")
    if not sign:
        if "@" in value.text:
            raise MalformedError(f"Line {value.line}: files are not read here; write out what it holds.")
        return quote_plus(value.text, errors="replace")
    encoded = quote_plus(text, errors="replace")
    return f"{name}={encoded}" if name else encoded


def _part(value: Word, *, plain: bool) -> str:
    name, sign, text = value.text.partition("=")
    if not sign:
        raise MalformedError(f"Line {value.line}: a part of a form is name=value, not {quote(value.text)}.")
    name = name.translate({34: "%22", 13: "%0D", 10: "%0A"})
    if plain or not text.startswith(("@", "<")):
        return f'Content-Disposition: form-data; name="{name}"\r\n\r\n{text}'
    if text.startswith("<"):
        raise MalformedError(f"Line {value.line}: files are not read here; write out what it holds.")
    file = text[1:].partition(";")[0].rpartition("/")[2]  # the name is looked at, what is in the file is not
    return f'Content-Disposition: form-data; name="{name}"; filename="{file}"\r\n\r\n'
