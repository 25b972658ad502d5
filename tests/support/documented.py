"""The OpenAPI document of the admin API, as the control plane serves it, and whether an answer is in it."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import jsonschema_rs
from litestar import Litestar

from sealwire.server.api import admin, openapi

ADMIN = "/api/admin/v1"
#: Problems any server may answer with before a route is found.
_WITHOUT_ROUTE = (404, 405)


@cache
def document() -> dict[str, Any]:
    """The document, without a control plane."""
    application = Litestar(
        route_handlers=[admin.router()], openapi_config=openapi.config(), plugins=[openapi.Described()]
    )
    return application.openapi_schema.to_schema()


@cache
def _operations() -> tuple[tuple[str, re.Pattern[str], dict[str, Any]], ...]:
    """Method, path and operation; paths without parameters come first."""
    paths = sorted(document()["paths"].items(), key=lambda found: "{" in found[0])
    return tuple(
        (method.upper(), _pattern(path), operation)
        for path, item in paths
        for method, operation in item.items()
    )


def _pattern(path: str) -> re.Pattern[str]:
    # What hosts and tracers name themselves may have slashes in it.
    free = re.escape(path).replace(r"\{client_id\}", ".+").replace(r"\{agent_id\}", ".+")
    return re.compile(re.sub(r"\\\{\w+\\\}", "[^/]+", free), re.DOTALL)


@cache
def _validator(reference: str) -> jsonschema_rs.Validator:
    return jsonschema_rs.Draft202012Validator({**document(), "$ref": reference})


def undocumented(method: str, path: str, status: int, media_type: str, body: Any) -> str:
    """What of an answer the document does not say; empty when all of it is there.

    Args:
        path: Without the query.
        body: As JSON, if it is.
    """
    if method in ("OPTIONS", "HEAD") or status == 500:
        return ""  # what nobody foresaw is not foreseen in the document either: tests look for it themselves
    operation = next((o for m, pattern, o in _operations() if m == method and pattern.fullmatch(path)), None)
    if operation is None:
        return "" if status in _WITHOUT_ROUTE or status == 401 else "there is no such operation"
    return not_in_document(operation["operationId"], status, media_type, body)


@cache
def _responses() -> dict[str, dict[str, Any]]:
    return {operation["operationId"]: operation["responses"] for _, _, operation in _operations()}


def not_in_document(name: str, status: int, media_type: str, body: Any) -> str:
    """What of an answer to an operation the document does not say; empty when all of it is there."""
    response = _responses()[name].get(str(status))
    if response is None:
        return f"{name} does not say {status}"
    content = response.get("content") or {}
    if not content:
        return ""
    schema = content.get(media_type.partition(";")[0])
    if schema is None:
        return f"{name} does not say {media_type}"
    reference = schema["schema"].get("$ref")
    if reference is None:
        return ""
    found = [f"{error.instance_path}: {error.message}" for error in _validator(reference).iter_errors(body)]
    return "; ".join(found[:5])
