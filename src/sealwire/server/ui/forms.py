"""What a browser sends with a form, and the answer to it: another page, with a word on what was done.

A form that is taken answers with a redirect, so that a reload does nothing twice; one that is not taken
answers with the same page, what was typed still in it. The word on what was done travels in a cookie that
the next page shows once.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, quote, unquote

from litestar import Request
from litestar.datastructures import Cookie
from litestar.response import Redirect

from sealwire.errors import InvalidChangeError, OversizeError

MAX_FORM_BYTES = 64 * 1024
MAX_FIELDS = 2000
DONE_COOKIE = "sealwire_done"
DONE_S = 30
MAX_DONE_CHARS = 300
NOT_DONE = "! "  # before a word on what was not done: shown as such


@dataclass(frozen=True, slots=True)
class Form:
    """The fields of a form as sent: text, untrusted."""

    fields: dict[str, list[str]]

    def text(self, name: str, default: str = "") -> str:
        """The first value of a field, without space around it."""
        return self.fields.get(name, [default])[0].strip()

    def raw(self, name: str) -> str:
        """The first value of a field, as typed: passwords and documents."""
        return self.fields.get(name, [""])[0]

    def all(self, name: str) -> tuple[str, ...]:
        """Every value of a field that is not empty."""
        return tuple(value.strip() for value in self.fields.get(name, []) if value.strip())

    def flag(self, name: str) -> bool:
        """Whether a box is ticked."""
        return self.text(name) not in ("", "0", "off", "false")


async def read(
    request: Request[Any, Any, Any], *, max_bytes: int = MAX_FORM_BYTES, max_fields: int = MAX_FIELDS
) -> Form:
    """The form that was sent.

    Raises:
        OversizeError: It has more than ``max_bytes``.
        InvalidChangeError: It has too many fields.
    """
    body = await request.body()
    if len(body) > max_bytes:
        raise OversizeError(f"This form may have {max_bytes} bytes; it has {len(body)}.")
    if len(body) > MAX_FORM_BYTES:
        return await asyncio.to_thread(_parse, body, max_fields)  # takes long, and polls go on
    return _parse(body, max_fields)


def _parse(body: bytes, max_fields: int) -> Form:
    try:
        # A lone NUL cannot be stored by PostgreSQL, and nobody types one.
        text = body.decode("utf-8", "replace").replace("%00", "")
        return Form(parse_qs(text, keep_blank_values=True, max_num_fields=max_fields))
    except ValueError as error:
        raise InvalidChangeError(f"A form may have {max_fields} fields.") from error


def local_path(path: str) -> str:
    """Where to go after signing in: a path of this server, whatever was asked for."""
    if not path.startswith("/") or path.startswith(("//", "/\\")) or any(ord(c) < 33 for c in path):
        return "/"
    return path


def went(path: str, done: str = "") -> Redirect:
    """Go on to a page of ours, which says once what was done."""
    said = Cookie(key=DONE_COOKIE, path="/", max_age=DONE_S, httponly=True, samesite="lax")
    if done:
        said.value = quote(done[:MAX_DONE_CHARS], safe=" ")
    return Redirect(path, status_code=303, cookies=[said] if done else [])


def did_not(path: str, why: str) -> Redirect:
    """Go back to a page of ours, which says once why nothing came of it."""
    return went(path, NOT_DONE + why)


def was_done(request: Request[Any, Any, Any]) -> str:
    """What the page before did; a page that shows it takes the cookie away."""
    return unquote(request.cookies.get(DONE_COOKIE, ""))[:MAX_DONE_CHARS]
