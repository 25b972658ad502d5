"""Problem details (RFC 9457): the one table from error to status and log level."""

from __future__ import annotations

from typing import Any

import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException

from sealwire import errors

log = structlog.get_logger()

STATUS: dict[type[errors.SealwireError], tuple[int, str, str]] = {
    errors.InvalidChangeError: (422, "The change is not valid", "info"),
    errors.ConflictError: (409, "Somebody changed it first", "info"),
    errors.NotPermittedError: (403, "Not permitted", "warning"),
    errors.NotFoundError: (404, "Not found", "info"),
    errors.UnauthenticatedError: (401, "No valid key", "info"),
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


def from_error(request: Request[Any, Any, Any], error: errors.SealwireError) -> Response[dict[str, Any]]:
    """One of ours as a problem document."""
    status, title, level = status_of(error)
    getattr(log, level)(
        "request refused", path=request.url.path, code=error.code, reason=error.public, detail=error.detail
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
    if isinstance(error, errors.ConflictError):
        if error.expected_revision is not None:
            body["expected_revision"] = error.expected_revision
        if error.actual_revision is not None:
            body["actual_revision"] = error.actual_revision
    if isinstance(error, errors.UnavailableError):
        headers["Retry-After"] = str(max(1, round(error.retry_after_s)))
    return Response(body, status_code=status, media_type="application/problem+json", headers=headers)


def from_http(request: Request[Any, Any, Any], error: HTTPException) -> Response[dict[str, Any]]:
    """The framework's own refusals as problem documents."""
    problems = []
    if isinstance(error.extra, list):
        for item in error.extra:
            if isinstance(item, dict):
                key = str(item.get("key", ""))
                problems.append({"path": f"$.{key}" if key else "$", "message": str(item.get("message", ""))})
    body: dict[str, Any] = {
        "type": "about:blank",
        "title": error.detail.partition("\n")[0][:200],
        "status": error.status_code,
        "detail": error.detail[:1000],
        "code": "not_found" if error.status_code == 404 else "request",
    }
    if problems:
        body["problems"] = problems
    return Response(
        body,
        status_code=error.status_code,
        media_type="application/problem+json",
        headers=error.headers or {},
    )


def from_anything(request: Request[Any, Any, Any], error: Exception) -> Response[dict[str, Any]]:
    """What nobody foresaw: logged with its trace, answered without."""
    log.error("request failed", path=request.url.path, exc_info=error)
    body = {
        "type": "about:blank",
        "title": "Failed",
        "status": 500,
        "detail": "The control plane failed on this request; its log says why.",
        "code": "error",
    }
    return Response(body, status_code=500, media_type="application/problem+json")
