"""Hostile bytes on every parser of the wire raise `UntrustedError` and nothing else, and end."""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sealwire.errors import MalformedError, OversizeError, UntrustedError
from sealwire.wire import capabilities, codec, limits
from sealwire.wire import remoteconfig_pb2 as pb
from sealwire.wire.path import ConfigPath
from sealwire.wire.predicates import matches
from sealwire.wire.semver import Constraint, Version

# Generous, because the machine may be busy: what is meant is "ends", not "is fast".
FUZZ = settings(deadline=5000, max_examples=300)

POLL: dict[str, Any] = {
    "client": {
        "state": {
            "root_version": 7,
            "targets_version": 3002,
            "config_states": [
                {"id": "act", "version": 1, "product": "ASM_FEATURES", "apply_state": 2, "apply_error": ""}
            ],
            "has_error": False,
            "error": "cut \ud83d",
            "backend_client_state": [101, 121, 74, 52],
        },
        "id": "c-1",
        "products": ["ASM_FEATURES"],
        "is_tracer": True,
        "client_tracer": {
            "runtime_id": "r-1",
            "language": "python",
            "tracer_version": "4.16.0",
            "service": "shop",
            "env": "prod",
            "tags": ["team:core"],
        },
        "client_agent": None,
        "client_updater": {
            "tags": ["t"],
            "packages": [{"package": "p", "task": {"state": 1, "error": {"code": 1}}}],
        },
        "capabilities": "AiNAoAjwAg==",
    },
    "cached_target_files": [
        {"path": "datadog/2/ASM/a/config", "length": 26, "hashes": [{"algorithm": "sha256", "hash": "9c"}]}
    ],
}
ANSWER: dict[str, Any] = {
    "roots": ["e30="],
    "targets": "e30=",
    "target_files": [{"path": "datadog/2/ASM/a/config", "raw": "e30="}],
    "client_configs": ["datadog/2/ASM/a/config"],
    "config_status": 1,
}
CUSTOM: dict[str, Any] = {
    "v": 1,
    "expires": 1_900_000_000,
    "tracer-predicates": {
        "tracer_predicates_v1": [
            {"clientID": "c-1", "service": "shop", "tracerVersion": ">=2.0.0, <5.0.0 || 1.x"},
            {"environment": "prod", "language": "python", "tracerVersion": "1.0.0 - 5.0.0"},
        ]
    },
}
ASKED = pb.LatestConfigsRequest(
    hostname="h",
    products=["ASM"],
    active_clients=[
        pb.Client(
            id="c-1",
            state=pb.ClientState(root_version=1, config_states=[pb.ConfigState(id="a", apply_error="é")]),
            client_tracer=pb.ClientTracer(language="python"),
            capabilities=b"\x02",
        )
    ],
).SerializeToString()
ANSWERED = pb.LatestConfigsResponse(
    config_metas=pb.ConfigMetas(
        roots=[pb.TopMeta(version=2, raw=b"{}")],
        delegatedTargets=[pb.DelegatedMeta(version=1, role="ASM", raw=b"{}")],
    ),
    director_metas=pb.DirectorMetas(timestamp=pb.TopMeta(version=1, raw=b"{}")),
    target_files=[pb.File(path="datadog/2/ASM/a/config", raw=b"{}")],
).SerializeToString()

PARSERS: dict[str, tuple[Callable[[bytes], object], bytes]] = {
    "client request": (codec.decode_client_request, json.dumps(POLL).encode()),
    "client response": (codec.decode_client_response, json.dumps(ANSWER).encode()),
    "latest configs request": (codec.parse_latest_configs_request, ASKED),
    "latest configs response": (codec.parse_latest_configs_response, ANSWERED),
    "organisation": (codec.parse_org_data_response, b"\x0a\x03abc"),
    "organisation's status": (codec.parse_org_status_response, b"\x08\x01\x10\x01"),
    "capabilities": (capabilities.decode, b"\x02\x23\x40"),
}

# Values that parsers have tripped over somewhere.
HOSTILE: list[Any] = [
    None,
    True,
    -1,
    0,
    2**31,
    2**53 + 1,
    2**63,
    2**64,
    10**400,
    1.5,
    1e308,
    float("nan"),
    float("-inf"),
    "",
    "\x00",
    "\ud800",
    "\udc00\ud800",
    "=",
    "A===",
    "/" * 5000,
    "é" * 300,
    [],
    [[]],
    [None],
    [-1, 256, 10**30],
    [0] * 1000,
    {},
    {"": None},
    {"client": {"client": {}}},
]
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(codec=None, exclude_categories=()), max_size=20)
    | st.sampled_from(HOSTILE),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


def refuses_or_takes(parse: Callable[[], object]) -> object:
    """What the parser made of it, or ``None`` when it refused; anything else it raises fails the test."""
    try:
        return parse()
    except UntrustedError as error:
        refusal = error
    assert type(refusal) in (MalformedError, OversizeError)
    # It can be shown and logged, whatever it was made from.
    assert refusal.public.encode()
    assert len(refusal.public) < 500
    return None


@st.composite
def damaged(draw: st.DrawFn, whole: bytes) -> bytes:
    """The bytes with some cut out, put in, repeated or changed."""
    body = bytearray(whole)
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, len(body)))
        match draw(st.sampled_from(["cut", "insert", "flip", "repeat", "copy"])):
            case "cut":
                del body[at : at + draw(st.integers(1, 40))]
            case "insert":
                body[at:at] = draw(
                    st.binary(max_size=8)
                    | st.sampled_from(
                        [
                            b"\\ud800",
                            b"\\",
                            b'"',
                            b"null",
                            b"NaN",
                            b"9" * 400,
                            b"[" * 3000,
                            b'{"a":' * 3000,
                            b"\xff",
                        ]
                    )
                )
            case "flip" if at < len(body):
                body[at] ^= 1 << draw(st.integers(0, 7))
            case "repeat":
                body[at:at] = body[at : at + draw(st.integers(1, 30))] * draw(st.integers(1, 200))
            case "copy":
                source = draw(st.integers(0, len(body)))
                body[at:at] = body[source : source + draw(st.integers(1, 40))]
    return bytes(body)


@st.composite
def perverted(draw: st.DrawFn, document: Any) -> Any:
    """The document with one or two of its values replaced by hostile ones, somewhere in the tree."""
    copy = json.loads(json.dumps(document))
    for _ in range(draw(st.integers(1, 2))):
        node = copy
        while True:
            keys: list[Any] = list(node) if isinstance(node, dict) else list(range(len(node)))
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            inner = node[key]
            if isinstance(inner, dict | list) and inner and draw(st.booleans()):
                node = inner
                continue
            # A copy, lest a second replacement goes into the list itself.
            node[key] = deepcopy(draw(st.sampled_from(HOSTILE) | json_values))
            break
    return copy


def use(request: pb.ClientGetConfigsRequest) -> None:
    """Do with a poll that was read what an agent does."""
    refuses_or_takes(lambda: codec.validate_client_request(request))
    refuses_or_takes(lambda: capabilities.decode(request.client.capabilities))
    refuses_or_takes(lambda: matches(CUSTOM, request.client, now_s=1_800_000_000))
    for file in request.cached_target_files:
        refuses_or_takes(lambda path=file.path: ConfigPath.parse(path))
    assert pb.ClientGetConfigsRequest.FromString(request.SerializeToString()) == request
    codec.encode_client_request(request)


@pytest.mark.parametrize("name", PARSERS)
def test_the_whole_body_is_taken(name: str) -> None:
    """Else the tests below would damage what is refused anyway."""
    parse, whole = PARSERS[name]

    parse(whole)


@pytest.mark.parametrize("name", PARSERS)
@given(body=st.binary(max_size=300))
@FUZZ
def test_random_bytes_are_refused_in_order(name: str, body: bytes) -> None:
    parse, _ = PARSERS[name]

    refuses_or_takes(lambda: parse(body))


@pytest.mark.parametrize("name", PARSERS)
@given(data=st.data())
@FUZZ
def test_damaged_bodies_are_refused_in_order(name: str, data: st.DataObject) -> None:
    parse, whole = PARSERS[name]
    body = data.draw(damaged(whole))

    read = refuses_or_takes(lambda: parse(body))

    if isinstance(read, pb.ClientGetConfigsRequest):
        use(read)


@given(document=perverted(POLL))
@FUZZ
def test_polls_with_hostile_values_are_refused_in_order(document: Any) -> None:
    read = refuses_or_takes(lambda: codec.decode_client_request(json.dumps(document).encode()))

    if isinstance(read, pb.ClientGetConfigsRequest):
        use(read)


@given(document=perverted(ANSWER))
@FUZZ
def test_answers_with_hostile_values_are_refused_in_order(document: Any) -> None:
    read = refuses_or_takes(lambda: codec.decode_client_response(json.dumps(document).encode()))

    if isinstance(read, pb.ClientGetConfigsResponse):
        again = codec.decode_client_response(codec.encode_client_response(read))
        assert again == read


@given(document=json_values)
@FUZZ
def test_any_json_at_all_is_refused_in_order(document: Any) -> None:
    body = json.dumps(document).encode()

    refuses_or_takes(lambda: codec.decode_client_request(body))
    refuses_or_takes(lambda: codec.decode_client_response(body))


@given(
    custom=perverted(CUSTOM) | st.dictionaries(st.sampled_from(["expires", "tracer-predicates"]), json_values)
)
@FUZZ
def test_hostile_custom_objects_are_refused_in_order(custom: Any) -> None:
    client = pb.Client(id="c-1", is_tracer=True, client_tracer=pb.ClientTracer(tracer_version="4.16.0"))

    refuses_or_takes(lambda: matches(custom, client, now_s=1_800_000_000))


@given(text=st.text() | st.from_regex(r"(datadog/[0-9]{1,20}|employee)(/[^/]{0,6}){2,4}", fullmatch=True))
@example("datadog/1/\ud800/a/b")
@FUZZ
def test_a_path_that_is_taken_has_one_spelling(text: str) -> None:
    path = refuses_or_takes(lambda: ConfigPath.parse(text))

    if isinstance(path, ConfigPath):
        assert str(path) == text
        assert ConfigPath.parse(str(path)) == path


@given(
    org_id=st.integers(-1, 2**31 + 1),
    product=st.text("ASM_-9.a", max_size=8),
    config_id=st.text("aZ0.-_/é\n", max_size=8),
    name=st.text("aZ0.-_/", max_size=8),
)
@FUZZ
def test_a_path_that_is_emitted_is_taken_by_everyone(
    org_id: int, product: str, config_id: str, name: str
) -> None:
    path = refuses_or_takes(lambda: ConfigPath.for_org(org_id, product, config_id, name))

    if isinstance(path, ConfigPath):
        assert ConfigPath.parse(str(path)) == path
        # What JSON must escape, some clients cannot read.
        assert json.dumps(str(path)) == f'"{path}"'
        assert "." not in path.name


versions = st.text("0123456789.-+vxX*|abrc", max_size=20) | st.text(max_size=20)
comparisons = st.text("0123456789.-+vxX*|abrc<>=!~^, ", max_size=40) | st.text(max_size=40)


@given(constraint=comparisons, version=versions)
@example(constraint="1" * 1000 + " - ", version="1")
@example(constraint="1 - " * 256, version="1")
@example(constraint=" " * 1000 + " - ", version="1")
@example(constraint="1.1.1-" + "a." * 500, version="1")
@example(constraint="||" * 512, version="1")
@example(constraint="9" * 1024, version="9" * 256)
@FUZZ
def test_any_constraint_and_any_version_are_refused_or_compared(constraint: str, version: str) -> None:
    parsed = refuses_or_takes(lambda: Constraint.parse(constraint))
    compared = refuses_or_takes(lambda: Version.parse(version))

    if isinstance(parsed, Constraint) and isinstance(compared, Version):
        assert parsed.admits(compared) in (True, False)
        assert compared.compare(compared) == 0


WORST_BODIES = {
    "nesting": b'{"new":' + b"[" * (limits.MAX_CLIENT_REQUEST_BYTES - 100),
    "empty states": b'{"client":{"state":{"config_states":[' + b"{}," * 1_300_000,
    "half pairs": b'{"new":"' + rb"\ud800" * 80_000 + b'"}',
    "backslashes": b'{"new":"' + b"\\" * (limits.MAX_MENDED_BYTES - 100),
    "more backslashes": b'{"new":"' + b"\\" * (limits.MAX_CLIENT_REQUEST_BYTES - 100),
    "bytes that are no text": b'{"client":{"id":"' + b"\xff" * 400_000 + b'"}}',
    "a number": b'{"client":{"state":{"root_version":' + b"9" * 4_000_000 + b"}}}",
    "a fraction": b'{"client":{"state":{"root_version":0.' + b"9" * 4_000_000 + b"}}}",
    "one key": b"{" + b'"client":{},' * 300_000 + b'"client":{}}',
    "a hundred megabytes": bytes(100_000_000),
}


@pytest.mark.timeout(30)
@pytest.mark.parametrize("name", WORST_BODIES)
def test_the_worst_bodies_end(name: str) -> None:
    refuses_or_takes(lambda: codec.decode_client_request(WORST_BODIES[name]))
    refuses_or_takes(lambda: codec.parse_latest_configs_request(WORST_BODIES[name]))


@pytest.mark.timeout(30)
@pytest.mark.parametrize("field", [b"\x32\x00", b"\x0a\x00", b"\x33", b"\x32\x04\x0a\x02\x1a\x00"])
def test_messages_of_nothing_end(field: bytes) -> None:
    body = field * (limits.MAX_LATEST_CONFIGS_REQUEST_BYTES // len(field))

    refuses_or_takes(lambda: codec.parse_latest_configs_request(body))
