"""The OpenAPI document is complete, and the real control plane keeps to it whatever it is asked.

schemathesis makes requests out of the document: some that it allows, some that it does not, half of them for
things that are really there. It asks as an administrator, over HTTP, from a fixed seed. With
``SEALWIRE_OPENAPI_EXAMPLES=200`` each operation is asked that often, and from another seed each time.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.support.documented import document, not_in_document
from tests.support.postgres import PostgresServer
from tests.support.stack import ControlPlane
from tests.way.test_admin_api import admin_routes

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    response_headers_conformance,
]
EXAMPLES = int(os.environ.get("SEALWIRE_OPENAPI_EXAMPLES", "0"))

#: Answers without a schema of their own: 204 has no content, an export is a file.
WITHOUT_SCHEMA = {"export_audit", "export_security_traces", "export_snapshots"}


def operations() -> dict[str, tuple[str, str]]:
    """Operation id -> method and path."""
    return {
        operation["operationId"]: (method.upper(), path)
        for path, item in document()["paths"].items()
        for method, operation in item.items()
    }


# The document -----------------------------------------------------------------------------------------


def test_every_route_is_in_the_document() -> None:
    routes = {(method, re.sub(r":\w+\}", "}", path)) for method, path, _ in admin_routes()}

    assert set(operations().values()) == routes


def test_every_answer_has_a_schema_that_allows_nothing_else() -> None:
    schemas = document()["components"]["schemas"]
    wrong = []
    for name, (method, path) in operations().items():
        operation = document()["paths"][path][method.lower()]
        (status,) = (status for status in operation["responses"] if status < "300")
        content = operation["responses"][status].get("content") or {}
        if status == "204" or name in WITHOUT_SCHEMA:
            continue
        reference = content["application/json"]["schema"].get("$ref", "")
        schema = schemas.get(reference.removeprefix("#/components/schemas/"), {})
        if not schema.get("properties") or schema.get("additionalProperties") is not False:
            wrong.append(f"{name}: {content}")
    assert wrong == []


def test_every_route_says_what_it_refuses_with_and_what_it_is() -> None:
    for name, (method, path) in operations().items():
        operation = document()["paths"][path][method.lower()]
        refusals = {status for status in operation["responses"] if status >= "400"}
        assert {"400", "401", "403", "404", "422", "429", "503"} <= refusals, name
        if method != "GET":
            assert {"409", "413"} <= refusals, name
        for status in refusals:
            assert list(operation["responses"][status]["content"]) == ["application/problem+json"], name
        assert operation["summary"].endswith(".") or operation["summary"].endswith("``."), name
        assert operation["tags"], name


# The control plane ------------------------------------------------------------------------------------


@dataclass(slots=True)
class Asked:
    """A control plane, and what is really there."""

    url: str
    session: requests.Session
    ca_file: str
    there: Mapping[str, tuple[str, ...]]

    def hold(self, case: Any) -> None:
        """Ask, and hold the answer against the document."""
        response = case.call(base_url=self.url, session=self.session, verify=self.ca_file, timeout=20)
        case.validate_response(response, checks=CHECKS)

    def expect(self, name: str, method: str, url: str, body: bytes | None) -> None:
        """Ask for something that is written by hand."""
        headers = {} if body is None else {"Content-Type": "application/json"}
        request = self.session.prepare_request(requests.Request(method, url, data=body, headers=headers))
        request.url = url  # as it is, whatever it has in it
        response = self.session.send(request, verify=self.ca_file, timeout=20)
        try:
            answer = response.json()
        except ValueError:
            answer = None
        kind = response.headers.get("content-type", "")
        path = operations()[name][1]
        wrong = not_in_document(name, response.status_code, kind, answer)
        if wrong and response.status_code == 404 and path not in url:
            wrong = ""  # another path, or none
        shown = (body or b"")[:200]
        assert not wrong, f"{method} {url[:300]} {shown!r}: {wrong}: {response.text[:300]}"


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asked]:
    with serving(tmp_path_factory.mktemp("openapi")) as it:
        yield it


@pytest.fixture(scope="module")
def asked_with_postgres(
    tmp_path_factory: pytest.TempPathFactory, postgres_server: PostgresServer
) -> Iterator[Asked]:
    """With the database that takes less: no NUL, no numbers beyond 64 bits."""
    name = postgres_server.create_database()
    with serving(tmp_path_factory.mktemp("openapi"), database_url=postgres_server.dsn(name)) as it:
        yield it
    postgres_server.drop_database(name)


@contextmanager
def serving(folder: Path, **settings: object) -> Iterator[Asked]:
    with ControlPlane(folder, settings=settings) as plane, requests.Session() as session:
        session.headers["Authorization"] = f"Bearer {plane.application_key}"
        yield Asked(plane.url, session, str(plane.ca_file), furnish(plane.api))


def furnish(api: Any) -> dict[str, tuple[str, ...]]:
    """Things that are really there: parameter -> ids."""
    configs = [
        api.create("ASM_FEATURES", {"asm": {"enabled": True}}, service="shop"),
        api.create("APM_TRACING", {"lib_config": {"tracing_sampling_rate": 0.5}}, service="shop", env="prod"),
    ]
    role = api.post("/roles", {"name": "watchers", "permissions": ["fleet_read"]})
    user = api.post("/users", {"email": "ann@example.org", "roles": [{"role_id": role["id"]}]})
    # Nobody listens there: a call of it is refused by this machine at once.
    webhook = api.post(
        "/webhooks", {"name": "hook", "url": "https://127.0.0.1:9/", "events": ["agent.error"]}
    )
    key = api.post("/keys", {"name": "agents", "remote_config": True})
    return {
        "config_id": tuple(config["id"] for config in configs),
        "key_id": (key["id"], f"{key['id']}:withdraw"),
        "role_id": (role["id"], "admin"),
        "user_id": (user["id"],),
        "binding_id": (api.get(f"/users/{user['id']}")["roles"][0]["binding_id"],),
        "webhook_id": (webhook["id"],),
        "event_id": ("1",),
        "command": ("director:rotate", "config:recover"),
    }


@pytest.mark.parametrize("name", sorted(operations()))
def test_whatever_is_asked_the_answer_is_in_the_document(asked: Asked, name: str) -> None:
    method, path = operations()[name]
    operation = schemathesis.openapi.from_dict(document())[path][method]
    cases = st.one_of([operation.as_strategy(generation_mode=mode) for mode in GenerationMode])
    there = st.fixed_dictionaries(
        {
            parameter.name: st.none() | st.sampled_from(asked.there[parameter.name])
            for parameter in operation.path_parameters
            if parameter.name in asked.there
        }
    )

    @settings(
        max_examples=EXAMPLES or 20, deadline=None, database=None, derandomize=not EXAMPLES,
        suppress_health_check=list(HealthCheck), phases=[Phase.explicit, Phase.generate],
    )  # fmt: skip
    @given(case=cases, real=there)
    def ask(case: Any, real: Mapping[str, str | None]) -> None:
        for parameter, value in real.items():
            if value is not None:
                case.path_parameters[parameter] = value
        asked.hold(case)

    ask()


@pytest.mark.parametrize("name", sorted(operations()))
def test_at_the_edges_too(asked: Asked, name: str) -> None:
    """Each bound, each missing field, each method that there is not: the same cases every time."""
    method, path = operations()[name]
    schema = schemathesis.openapi.from_dict(document())
    for case in schema.iter_coverage_cases(
        schema[path][method],
        generation_modes=list(GenerationMode),
        generation_config=schema.config.generation,
    ):
        asked.hold(case)


#: What no field should have, as JSON.
STRANGE = (
    '"\\u0000"', '"a\\u0000b"', '"\\ud800"', '"\\udfff\\ud800"', '"\\u202e\\ufeff"', '"\\r\\nX-Mark: 1"',
    f'"{"x" * 70_000}"', '"*"', '","', '""', "9223372036854775808", "18446744073709551616",
    "-9223372036854775809",
    "1e400", f"1{'0' * 5000}", "NaN", "Infinity", "null", "true", "0", "-1", "1.5", "[]", "{}", "[null]",
    '[{"a":[]}]', '{"\\u0000":"\\u0000"}', '{"\\ud800":1}', '["\\u0000"]', '["\\ud800"]',
    f"{'[' * 3000}{']' * 3000}", '{"a":' * 3000 + "1" + "}" * 3000,
)  # fmt: skip
STRANGE_BODIES = (
    b"", b"{", b"null", b"[]", b'"x"', b"\xff\xfe", b'{"name":"\xff"}', b'{"name":"\xed\xa0\x80"}',
    b"[" * 100_000, b'{"a":' * 100_000, b"\xef\xbb\xbf{}", b"{}{}",
)  # fmt: skip
STRANGE_VALUES = (
    "%00", "a%00b", "%FF%FE", "%ED%A0%80", "%0D%0AX-Mark:%201", "%2e%2e", "9223372036854775808",
    "1" + "0" * 5000, "x" * 5000, "*", "%25", "nan", "-1", "1e3", "%F0%9F%A6%AD", "NULL", "%27%22%3B--",
)  # fmt: skip


def with_body() -> list[str]:
    """Operations that take a body."""
    return sorted(
        name
        for name, (method, path) in operations().items()
        if "requestBody" in document()["paths"][path][method.lower()]
    )


@pytest.mark.parametrize("name", with_body())
def test_a_field_may_have_anything_in_it(asked_with_postgres: Asked, name: str) -> None:
    asked = asked_with_postgres
    method, path = operations()[name]
    url = asked.url + filled(path, asked.there)
    for body in STRANGE_BODIES:
        asked.expect(name, method, url, body)
    for text in strange_bodies(name):
        asked.expect(name, method, url, text.encode())


def strange_bodies(name: str) -> Iterator[str]:
    """Bodies that are as they should be but for one field."""
    method, path = operations()[name]
    content = document()["paths"][path][method.lower()]["requestBody"]["content"]["application/json"]
    schema = document()["components"]["schemas"][content["schema"]["$ref"].rpartition("/")[2]]
    known = {**dict.fromkeys(schema["required"], '"x"'), **KNOWN}
    usual = {field: known[field] for field in schema["required"]}
    for field in schema["properties"]:
        for value in STRANGE:
            fields = {**usual, field: value}
            yield "{" + ",".join(f"{json.dumps(name)}:{text}" for name, text in fields.items()) + "}"


#: Fields that are needed, as they may be.
KNOWN = {
    "product": '"ASM_FEATURES"', "payload": '{"asm":{"enabled":true}}', "kind": '"user"', "values": '["eve"]',
    "wanted": '"on"', "expected_revision": "1", "revision": "1", "remote_config": "true",
    "permissions": '["fleet_read"]',
    "roles": '[{"role_id":"read_only"}]', "role_id": '"read_only"', "email": '"bob@example.org"',
    "url": '"https://127.0.0.1:9/"', "events": '["agent.error"]',
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(operations()))
def test_a_parameter_may_be_anything(asked_with_postgres: Asked, name: str) -> None:
    asked = asked_with_postgres
    method, path = operations()[name]
    if "requestBody" in document()["paths"][path][method.lower()]:
        body: bytes | None = b"{}"
    else:
        body = None
    parameters = document()["paths"][path][method.lower()].get("parameters", [])
    for parameter in parameters:
        for value in STRANGE_VALUES:
            if parameter["in"] == "path":
                strange = path.replace(f"{{{parameter['name']}}}", value)
                asked.expect(name, method, asked.url + filled(strange, asked.there), body)
            else:
                usual = filled(path, asked.there)
                asked.expect(name, method, f"{asked.url}{usual}?{parameter['name']}={value}", body)


def filled(path: str, there: Mapping[str, tuple[str, ...]]) -> str:
    """A path with ids of things that are there."""
    return re.sub(r"\{(\w+)\}", lambda found: there.get(found[1], ("none",))[0], path)
