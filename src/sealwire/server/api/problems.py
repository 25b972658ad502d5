"""Problem details (RFC 9457): the one table from error to status and log level."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Any

import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException

from sealwire import errors
from sealwire.server import audit
from sealwire.server.security.query import QueryError

log = structlog.get_logger()

STATUS: dict[type[errors.SealwireError], tuple[int, str, str]] = {
    errors.InvalidChangeError: (422, "The change is not valid", "info"),
    errors.ConflictError: (409, "Somebody changed it first", "info"),
    errors.NotPermittedError: (403, "Not permitted", "warning"),
    errors.NotFoundError: (404, "Not found", "info"),
    errors.UnauthenticatedError: (401, "No valid key", "info"),
    errors.TooOftenError: (429, "Asked too often", "info"),
    errors.UnavailableError: (503, "Not available at the moment", "warning"),
    errors.OversizeError: (413, "Too large", "info"),
    errors.UntrustedError: (400, "Not understood", "info"),
    errors.SettingsError: (409, "Not possible with these settings", "warning"),
    errors.SealwireError: (500, "Failed", "error"),
}


def status_of(error: errors.SealwireError) -> tuple[int, str, str]:
    """Status, title and log level of an error."""
    for kind in type(error).__mro__:
        if kind in STATUS:
            return STATUS[kind]
    return STATUS[errors.SealwireError]


def logged_path() -> str:
    """The path of this request as logs may have it: without what may be a link that works once."""
    return audit.context().path


def from_error(request: Request[Any, Any, Any], error: errors.SealwireError) -> Response[dict[str, Any]]:
    """One of ours as a problem document."""
    status, title, level = status_of(error)
    getattr(log, level)(
        "request refused", path=logged_path(), code=error.code, reason=error.public, detail=error.detail
    )
    body: dict[str, Any] = {
        "type": f"urn:sealwire:error:{error.code}",
        "title": title,
        "status": status,
        "detail": error.public,
        "code": error.code,
    }
    headers = {}
    if isinstance(error, errors.InvalidChangeError):
        body["problems"] = [{"path": p.path, "message": p.message} for p in error.problems]
    if isinstance(error, QueryError):
        body["position"] = error.position
    if isinstance(error, errors.ConflictError):
        if error.expected_revision is not None:
            body["expected_revision"] = error.expected_revision
        if error.actual_revision is not None:
            body["actual_revision"] = error.actual_revision
    if isinstance(error, errors.UnavailableError):
        headers["Retry-After"] = str(max(1, round(error.retry_after_s)))
    return Response(body, status_code=status, media_type="application/problem+json", headers=headers)


def from_http(request: Request[Any, Any, Any], error: HTTPException) -> Response[dict[str, Any]]:
    """The framework's own refusals as problem documents: 400 is no JSON, 422 not what was wanted."""
    problems = []
    if isinstance(error.extra, list):
        problems = [_problem(item) for item in error.extra if isinstance(item, dict)]
    status, detail = error.status_code, error.detail
    if problems:
        status, detail = 422, "The request has fields that are not as they should be; nothing was changed."
    body: dict[str, Any] = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail[:1000],
        "code": "not_found" if status == 404 else "request",
    }
    if problems:
        body["problems"] = problems
    return Response(
        body,
        status_code=status,
        media_type="application/problem+json",
        headers=error.headers or {},
    )


_FIELD = re.compile(r"Object (contains unknown|missing required) field `([^`]*)`", re.ASCII)


def _problem(item: dict[str, Any]) -> dict[str, str]:
    """Path and sentence of one mistake the framework found; ``data`` is its word for the body."""
    key = str(item.get("key", ""))
    path = "$" if key in ("", "data") else f"$.{key}"
    message = str(item.get("message", ""))
    found = _FIELD.search(message)
    if found is None:
        return {"path": path, "message": message[:500]}
    said = "There is no such field." if found[1] == "contains unknown" else "This field is needed."
    return {"path": f"{path}.{found[2][:100]}", "message": said}


def from_depth(request: Request[Any, Any, Any], error: RecursionError) -> Response[dict[str, Any]]:
    """A body that nests deeper than anything that means something."""
    return _no_json("The JSON is nested too deeply.")


def from_bytes(request: Request[Any, Any, Any], error: UnicodeDecodeError) -> Response[dict[str, Any]]:
    """A body that is not text."""
    return _no_json("The JSON is not UTF-8.")


def _no_json(detail: str) -> Response[dict[str, Any]]:
    body = {
        "type": "about:blank",
        "title": HTTPStatus.BAD_REQUEST.phrase,
        "status": 400,
        "detail": detail,
        "code": "request",
    }
    return Response(body, status_code=400, media_type="application/problem+json")


def from_anything(request: Request[Any, Any, Any], error: Exception) -> Response[dict[str, Any]]:
    """What nobody foresaw: logged with its trace, answered without."""
    log.error("request failed", path=logged_path(), exc_info=error)
    body = {
        "type": "about:blank",
        "title": "Failed",
        "status": 500,
        "detail": "The control plane failed on this request; its log says why.",
        "code": "error",
    }
    return Response(body, status_code=500, media_type="application/problem+json")
