"""The OpenAPI document of the admin API: what is said of every route in one place.

An answer is declared as a ``TypedDict`` beside its route: mypy holds the code to it, and nothing is copied to
write it down. Here it becomes a schema that allows nothing besides, with the words of its docstring. Every
route has the problems it may answer with, its area as a tag, and its docstring as summary and description.
"""

from __future__ import annotations

import inspect
import re
from functools import cache
from typing import Any, NotRequired, TypedDict, get_args, get_origin

from litestar.handlers.http_handlers import HTTPRouteHandler
from litestar.openapi import OpenAPIConfig
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Components, Reference, Schema, SecurityScheme
from litestar.plugins import OpenAPISchemaPlugin, ReceiveRoutePlugin
from litestar.routes import BaseRoute, HTTPRoute
from litestar.typing import FieldDefinition

from sealwire.server.api.shapes import ProblemAt

PATH = "/api/admin/v1/openapi"


class Problem(TypedDict):
    """Why a request was refused (RFC 9457).

    Attributes:
        type: A URN of the kind of refusal, or about:blank.
        code: The kind of refusal, in one word.
        problems: What is wrong with the request, and where.
        expected_revision: The revision that the request was made for.
        actual_revision: The revision that is there now.
        position: Of the character in a query that makes no sense there, from 0.
    """

    type: str
    title: str
    status: int
    detail: str
    code: str
    problems: NotRequired[list[ProblemAt]]
    expected_revision: NotRequired[int]
    actual_revision: NotRequired[int]
    position: NotRequired[int]


_ALWAYS = {
    400: "The request was not understood.",
    401: "There is no application key, or one that is not known.",
    403: "The role of whoever asks does not allow this.",
    404: "There is no such thing in this organisation.",
    422: "The request was understood, and is not valid: problems says where.",
    429: "Asked too often: Retry-After says when to ask again.",
    503: "Not available at the moment: Retry-After says when to ask again.",
}
_CHANGING = {
    409: "Somebody changed it first, or it cannot be done as things stand.",
    413: "The request is too large.",
}


def config() -> OpenAPIConfig:
    """What is said of the document as a whole."""
    return OpenAPIConfig(
        title="Sealwire admin API",
        version="1",
        description=(
            "Everything that people and the command line do. The organisation is the application key's. "
            "Times are ISO 8601 in UTC. What is refused is answered with a problem document (RFC 9457)."
        ),
        path=PATH,
        render_plugins=[JsonRenderPlugin()],  # the pages of the others load scripts from elsewhere
        operation_id_creator=lambda handler, _method, _path: handler.handler_name,
        components=Components(
            security_schemes={
                "bearer": SecurityScheme(type="http", scheme="bearer", description="An application key."),
                "application_key": SecurityScheme(
                    type="apiKey", name="DD-Application-Key", security_scheme_in="header",
                    description="An application key.",
                ),
            }
        ),
        security=[{"bearer": []}, {"application_key": []}],
    )  # fmt: skip


class Described(OpenAPISchemaPlugin, ReceiveRoutePlugin):
    """Completes what the framework finds out about routes and answers by itself."""

    def receive_route(self, route: BaseRoute) -> None:
        """Say of a route of the API what holds for all of them."""
        if not isinstance(route, HTTPRoute) or not route.path.startswith("/api/"):
            return
        for handler, _ in route.route_handler_map.values():
            if handler.resolve_include_in_schema():
                _describe(handler)

    def is_plugin_supported_field(self, field_definition: FieldDefinition) -> bool:
        """Answers are typed dictionaries."""
        return field_definition.is_typeddict_type

    def to_openapi_schema(self, field_definition: FieldDefinition, schema_creator: Any) -> Schema:
        """The schema of an answer: its fields, and no others."""
        kind = field_definition.type_
        hints = field_definition.get_type_hints(include_extras=True, resolve_generics=True)
        # Python itself takes all keys for required where annotations are strings.
        optional = {
            name: get_args(hint)[0] for name, hint in hints.items() if get_origin(hint) is NotRequired
        }
        schema: Schema = schema_creator.create_component_schema(
            field_definition,
            required=sorted(hints.keys() - optional.keys()),
            property_fields={
                name: FieldDefinition.from_kwarg(hint, name) for name, hint in {**hints, **optional}.items()
            },
        )
        schema.additional_properties = False
        schema.description, said = _words(kind)
        properties = dict(schema.properties or {})
        for name, words in said.items():
            found = properties.get(name)
            if isinstance(found, Reference):
                properties[name] = Schema(all_of=[found], description=words)
            elif isinstance(found, Schema):
                found.description = words
        schema.properties = properties
        return schema


def _describe(handler: HTTPRouteHandler) -> None:
    text = inspect.cleandoc(handler.fn.__doc__ or "").split("\n\nRaises:")[0]
    first, _, more = text.partition("\n\n")
    handler.summary = " ".join(first.split())
    handler.description = " ".join(more.split()) or handler.summary
    handler.tags = [handler.fn.__module__.rpartition(".")[2]]
    statuses = _ALWAYS if handler.http_methods <= {"GET", "HEAD"} else {**_ALWAYS, **_CHANGING}
    handler.responses = {
        status: ResponseSpec(
            Problem, description=words, media_type="application/problem+json", generate_examples=False
        )
        for status, words in sorted(statuses.items())
    }


_ATTRIBUTE = re.compile(r"^    (\w+(?:, \w+)*): (.*(?:\n        .*)*)", re.MULTILINE)


@cache
def _words(kind: type) -> tuple[str, dict[str, str]]:
    """What a docstring says of a type, and of its fields."""
    text = inspect.cleandoc(kind.__doc__ or "")
    about, _, attributes = text.partition("\n\nAttributes:\n")
    said = {
        name: " ".join(words.split())
        for names, words in _ATTRIBUTE.findall(attributes)
        for name in names.split(", ")
    }
    return " ".join(about.split()), said
