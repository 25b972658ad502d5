"""What every answer to a browser carries, and errors as pages or as JSON, whichever was asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import structlog
from litestar import Request, Response
from litestar.datastructures import MutableScopeHeaders
from litestar.exceptions import HTTPException
from litestar.response import Redirect
from litestar.types import Message, Scope

from sealwire.errors import InvalidChangeError, NotPermittedError, SealwireError, UnauthenticatedError
from sealwire.server import audit
from sealwire.server.api import problems
from sealwire.server.ui import render, resume
from sealwire.server.ui.sign_in import sign_in_href
from sealwire.server.ui.views import ErrorPage

log = structlog.get_logger()

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    # Not no-referrer: browsers would then send "Origin: null" with our own forms.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Frame-Options": "DENY",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}
MACHINE_PATHS = ("/api/", "/healthz", "/readyz", "/metrics")


async def add_headers(message: Message, scope: Scope) -> None:
    """Hook on every answer: the headers of a page, wherever the answer came from."""
    if message["type"] != "http.response.start":
        return
    headers = MutableScopeHeaders.from_message(message)
    if _is_machine(scope["path"]):
        headers["X-Content-Type-Options"] = "nosniff"
        # Attack: a cache on the way keeps an answer that a key in a header of ours got; it does not know it.
        if "cache-control" not in headers:
            headers["Cache-Control"] = "no-store"
        return
    for name, value in HEADERS.items():
        headers[name] = value
    if "cache-control" not in headers:
        headers["Cache-Control"] = "private, no-store"


def from_error(request: Request[Any, Any, Any], error: SealwireError) -> Response[Any]:
    """One of ours."""
    if isinstance(error, NotPermittedError):
        audit.refused_access(error)
    if not _wants_page(request):
        return problems.from_error(request, error)
    if isinstance(error, UnauthenticatedError):
        again = resume.ask_again(request)
        if again is not None:
            return again
        asked = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        return Redirect(sign_in_href(asked), status_code=303)
    status, title, level = problems.status_of(error)
    getattr(log, level)("page refused", path=problems.logged_path(), code=error.code, detail=error.detail)
    found = error.problems if isinstance(error, InvalidChangeError) else ()
    return _page(request, ErrorPage(status, title, error.public, found))


def from_http(request: Request[Any, Any, Any], error: HTTPException) -> Response[Any]:
    """The framework's own refusals."""
    if not _wants_page(request):
        return problems.from_http(request, error)
    title, text = _WORDS.get(error.status_code, ("That did not work", "The request was not understood."))
    return _page(request, ErrorPage(error.status_code, title, text))


def from_anything(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    """What nobody foresaw: logged with its trace, answered without."""
    if not _wants_page(request):
        return problems.from_anything(request, error)
    log.error("page failed", path=problems.logged_path(), exc_info=error)
    return _page(request, ErrorPage(500, *_WORDS[500]))


_WORDS = {
    403: ("Not permitted", "Your role does not allow this. An administrator can change that."),
    404: ("Nothing is here", "There is no such page, or it is of something that is gone."),
    413: ("Too large", "This page takes less than that. Nothing was changed; go back, the browser has it."),
    405: ("Nothing is here", "This address takes no such request."),
    500: ("This page failed", "The control plane failed on this request; its log says why."),
}


def _page(request: Request[Any, Any, Any], view: ErrorPage) -> Response[str]:
    return render.page(
        request,
        "error.html",
        title=view.title,
        view=view,
        principal=None,
        tenant=None,
        status_code=view.status,
    )


def _is_machine(path: str) -> bool:
    return path.startswith(MACHINE_PATHS)


def _wants_page(request: Request[Any, Any, Any]) -> bool:
    path = request.url.path
    return (
        not _is_machine(path)
        and not path.startswith("/live/")
        and "text/html" in request.headers.get("accept", "")
    )


Handlers = dict[Any, Callable[[Request[Any, Any, Any], Any], Response[Any]]]
EXCEPTION_HANDLERS: Handlers = {
    SealwireError: from_error,
    HTTPException: from_http,
    Exception: from_anything,
}
