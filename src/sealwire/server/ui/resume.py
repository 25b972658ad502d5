"""What was typed survives the end of a session.

A form that is sent when its session has ended is answered with the sign-in page; what was typed is kept,
in memory and bounded, under a ticket in a cookie. Whoever signs in at that browser next, if it is the same
user, is shown what they typed and may send it or let it go. Kept is only what a page of ours sent, for a
session that there was: nobody else can fill this memory. Secrets among the fields are never kept.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from litestar import Request, Response, get, post
from litestar.enums import RequestEncodingType
from litestar.exceptions import HTTPException
from litestar.response import Redirect
from litestar.types import Receive, Scope, Send

from sealwire.errors import NotPermittedError
from sealwire.server.access import Principal
from sealwire.server.api.guard import Asker, OwnTenant, from_own_page, own_cookie, session_cookie
from sealwire.server.control_plane import ControlPlane
from sealwire.server.store.people import SessionRow
from sealwire.server.ui import forms, render, sign_in
from sealwire.server.ui.forms import local_path
from sealwire.server.ui.views import Moment

MAX_BYTES = 256 * 1024
MAX_FORMS = 200
MAX_AGE_S = 30 * 60.0
MAX_SHOWN_CHARS = 2000
_SECRET = re.compile(r"password|secret|^(code|again|application_key)$", re.IGNORECASE)
# Forms that are no work to lose, and this module's own.
_NOT_KEPT = ("/sign-in", "/sign-out", "/join/", "/resume", "/account/")


@dataclass(frozen=True, slots=True)
class KeptForm:
    """A form as it was sent.

    Attributes:
        path: Where it was sent, with its query.
        fields: Name and value each, in order.
        left_out: Names of fields that were not kept, because they are secrets.
        at_s: When, seconds since 1970.
    """

    path: str
    fields: tuple[tuple[str, str], ...]
    left_out: tuple[str, ...]
    org_id: int
    user_id: str | None
    at_s: float


class KeptForms:
    """Forms by the hash of their ticket; the oldest goes when there are too many."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._forms: OrderedDict[str, KeptForm] = OrderedDict()

    def keep(self, form: KeptForm) -> str:
        """Keep a form; returns its ticket."""
        self._expire()
        ticket = secrets.token_urlsafe(24)
        self._forms[_digest(ticket)] = form
        if len(self._forms) > MAX_FORMS:
            self._forms.popitem(last=False)
        return ticket

    def of(self, ticket: str, principal: Principal) -> KeptForm | None:
        """The form of a ticket, for the one who sent it; None otherwise."""
        self._expire()
        form = self._forms.get(_digest(ticket))
        if form is None or (form.org_id, form.user_id or "") != (principal.org_id, principal.user_id):
            return None
        return form

    def drop(self, ticket: str) -> None:
        """Forget a form."""
        self._forms.pop(_digest(ticket), None)

    def _expire(self) -> None:
        oldest = self._clock() - MAX_AGE_S
        while self._forms and next(iter(self._forms.values())).at_s < oldest:
            self._forms.popitem(last=False)

    def __len__(self) -> int:
        return len(self._forms)


@dataclass(frozen=True, slots=True)
class Field:
    """A field as it was typed.

    Attributes:
        shown: All its values, cut where they are very long.
        more_chars: How many are not shown.
        has_lines: There are several lines in it.
    """

    name: str
    shown: str
    more_chars: int
    has_lines: bool


@dataclass(frozen=True, slots=True)
class ResumePage:
    """What was typed before the session ended.

    Attributes:
        fields: As people look at it, one for each name.
        sent: As it is sent, name and value each.
    """

    path: str
    at: Moment
    fields: tuple[Field, ...]
    sent: tuple[tuple[str, str], ...]
    left_out: tuple[str, ...]


def ask_again(request: Request[Any, Any, Any]) -> Response[Any] | None:
    """The answer to a form that came without a session, when there is something to keep; else None."""
    kind, _, _ = request.headers.get("content-type", "").partition(";")
    if (
        request.method != "POST"
        or kind.strip().lower() != RequestEncodingType.URL_ENCODED
        or request.url.path.startswith(_NOT_KEPT)
        or "hx-request" in request.headers
        or not request.cookies.get(session_cookie(request), "")
    ):
        return None
    try:
        from_own_page(request)
    except NotPermittedError:
        return None
    return _AskAgain(request)


class _AskAgain(Response[None]):
    """The sign-in page, after the body was read: only this answers an error and may await."""

    def __init__(self, request: Request[Any, Any, Any]) -> None:
        super().__init__(None, status_code=401)
        self._request = request

    def to_asgi_response(self, *_: Any, **given: Any) -> Any:
        """As the framework calls every answer."""

        async def send_page(scope: Scope, receive: Receive, send: Send) -> None:
            answer = await _keep_and_ask(self._request)
            await answer.to_asgi_response(
                app=None, request=self._request, type_encoders=given.get("type_encoders")
            )(scope, receive, send)

        return send_page


async def _keep_and_ask(request: Request[Any, Any, Any]) -> Response[str]:
    plane: ControlPlane = request.app.state.plane
    kept_forms: KeptForms = request.app.state.kept_forms
    session = await asyncio.to_thread(plane.sessions.whose, request.cookies[session_cookie(request)])
    path = local_path(request.url.path + (f"?{request.url.query}" if request.url.query else ""))
    form = None if session is None else await _read(request, path, session)
    if form is None:
        said = "Your session has ended. What you sent was too large to keep: go back in the browser for it."
        if session is None:
            said = (
                "Your session has ended, too long ago to keep what you sent: go back in the browser for it."
            )
        return sign_in.page(request, _page_before(request), kept=said, status_code=401)
    answer = sign_in.page(
        request, "/resume", status_code=401,
        kept="Your session has ended. What you typed is kept: sign in, and you get it back.",
    )  # fmt: skip
    ticket = kept_forms.keep(form)
    answer.set_cookie(sign_in.cookie(request, "kept", ticket, max_age=int(MAX_AGE_S)))
    return answer


async def _read(request: Request[Any, Any, Any], path: str, session: SessionRow) -> KeptForm | None:
    """The form that was sent; None when it is too large, or none."""
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_BYTES:
                return None
        sent = parse_qsl(
            body.decode("utf-8", "replace").replace("%00", ""), keep_blank_values=True,
            max_num_fields=forms.MAX_FIELDS,
        )  # fmt: skip
    except (HTTPException, ValueError):
        return None
    return KeptForm(
        path,
        tuple((name, value) for name, value in sent if not _SECRET.search(name)),
        tuple(dict.fromkeys(name for name, _ in sent if _SECRET.search(name))),
        session.org_id,
        session.user_id,
        time.time(),
    )


def _page_before(request: Request[Any, Any, Any]) -> str:
    """The page the form is on, as the browser says; the first page when it does not, or it is elsewhere."""
    said = urlsplit(request.headers.get("referer", ""))
    if said.netloc != request.headers.get("host", ""):
        return "/"
    return local_path((said.path or "/") + (f"?{said.query}" if said.query else ""))


@get("/resume", opt={"permission": "signed_in"}, include_in_schema=False)
async def show_resume(request: Request[Any, Any, Any], principal: Asker, tenant: OwnTenant) -> Response[Any]:
    """What was typed, to be looked at before it is sent."""
    form = _kept(request, principal)
    if form is None:
        return forms.went("/", "Signed in. Nothing is kept of a form any more.")
    view = ResumePage(
        form.path,
        render.moment(form.at_s),
        tuple(_field(name, form) for name in dict.fromkeys(name for name, _ in form.fields)),
        form.fields,
        form.left_out,
    )
    return render.page(
        request, "sign_in/resume.html", title="Carry on", view=view, principal=principal, tenant=tenant
    )


@post("/resume/send", opt={"permission": "signed_in"}, include_in_schema=False)
async def send_kept(request: Request[Any, Any, Any], principal: Asker) -> Response[Any]:
    """Send it where it was sent: the browser repeats the form there, which is in this one."""
    await request.body()
    form = _kept(request, principal)
    if form is None:
        return forms.went("/", "Nothing is kept of this form any more.")
    request.app.state.kept_forms.drop(_ticket(request))
    return Redirect(form.path, status_code=307, cookies=[sign_in.cookie(request, "kept", "", max_age=0)])


@post("/resume/discard", opt={"permission": "signed_in"}, status_code=303, include_in_schema=False)
async def discard(request: Request[Any, Any, Any], principal: Asker) -> Response[Any]:
    """Let it go."""
    form = _kept(request, principal)
    if form is not None:
        request.app.state.kept_forms.drop(_ticket(request))
    answer = forms.went("/", "Discarded what you had typed.")
    answer.set_cookie(sign_in.cookie(request, "kept", "", max_age=0))
    return answer


def _field(name: str, form: KeptForm) -> Field:
    values = [value for other, value in form.fields if other == name]
    has_lines = any("\n" in value for value in values)
    text = ("\n" if has_lines else ", ").join(values)
    return Field(name, text[:MAX_SHOWN_CHARS], max(0, len(text) - MAX_SHOWN_CHARS), has_lines)


def _kept(request: Request[Any, Any, Any], principal: Principal) -> KeptForm | None:
    kept_forms: KeptForms = request.app.state.kept_forms
    return kept_forms.of(_ticket(request), principal)


def _ticket(request: Request[Any, Any, Any]) -> str:
    return request.cookies.get(own_cookie(request, "kept"), "")[:100]


def _digest(ticket: str) -> str:
    return hashlib.sha256(ticket.encode("utf-8", "surrogatepass")).hexdigest()


HANDLERS = [show_resume, send_kept, discard]
