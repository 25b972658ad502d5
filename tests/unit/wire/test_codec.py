"""The messages of Remote Configuration, in the dialects of the tracers."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest

from sealwire.errors import MalformedError, OversizeError
from sealwire.wire import codec, limits
from sealwire.wire import remoteconfig_pb2 as pb
from sealwire.wire.codec import ApplyState

SHA256 = "9c906a780509e944f3d22eb4dd51d7c5f3aeac154ebb4cef008d228d2c1826ff"
PATH = "datadog/2/ASM_FEATURES/activation/config"
STATE = b'{"view":"a","version":41}'
STATE_TEXT = base64.b64encode(STATE).decode()
BITS = b"\x02\x23\x40\xa0\x08\xf0\x02"


def tracer(language: str, version: str, **changes: Any) -> dict[str, Any]:
    return {
        "runtime_id": "0f51ff08091e349feb13aa00f370a7a2",
        "language": language,
        "tracer_version": version,
        "service": "shop",
        "env": "prod",
        "app_version": "1.2.3",
    } | changes


def python_native_poll() -> dict[str, Any]:
    """As ddtrace from 4.14: byte fields are lists of numbers, the state's are the codes of its base64."""
    return {
        "client": {
            "state": {
                "root_version": 7,
                "targets_version": 41,
                "config_states": [
                    {
                        "id": "activation",
                        "version": 3,
                        "product": "ASM_FEATURES",
                        "apply_state": 2,
                        "apply_error": "",
                    }
                ],
                "has_error": False,
                "error": "",
                "backend_client_state": list(STATE_TEXT.encode()),
            },
            "id": "client-native",
            "products": ["ASM_FEATURES", "APM_TRACING"],
            "is_tracer": True,
            "client_tracer": tracer(
                "python",
                "4.16.0",
                extra_services=[],
                tags=["team:core"],
                process_tags=["entrypoint.name:app"],
                container_tags=[],
            ),
            "is_agent": False,
            "last_seen": 0,
            "capabilities": list(BITS),
            "is_updater": False,
            "client_updater": None,
        },
        "cached_target_files": [
            {"path": PATH, "length": 26, "hashes": [{"algorithm": "sha256", "hash": SHA256}]}
        ],
    }


def python_old_first_poll() -> dict[str, Any]:
    """As ddtrace before 4.14 at its very first poll: no products, no bits, no state of the backend."""
    return {
        "client": {
            "id": "client-old",
            "products": [],
            "is_tracer": True,
            "client_tracer": tracer("python", "4.13.1", extra_services=None, tags=["env:prod"]),
            "state": {"root_version": 1, "targets_version": 0, "config_states": [], "has_error": False},
            "capabilities": "",
        },
        "cached_target_files": [],
    }


def node_poll() -> dict[str, Any]:
    """As dd-trace-js: byte fields are base64, and a failure is told."""
    return {
        "client": {
            "state": {
                "root_version": 1,
                "targets_version": 40,
                "config_states": [
                    {
                        "id": "rules",
                        "version": 2,
                        "product": "ASM_DD",
                        "apply_state": 3,
                        "apply_error": "no rules",
                    }
                ],
                "has_error": True,
                "error": "Unable to find file for path x",
                "backend_client_state": STATE_TEXT,
            },
            "id": "client-node",
            "products": ["ASM_DD"],
            "is_tracer": True,
            "client_tracer": tracer("node", "5.132.0", tags=["service:shop"]),
            "capabilities": base64.b64encode(BITS).decode(),
        },
        "cached_target_files": [],
    }


def go_poll() -> dict[str, Any]:
    """As dd-trace-go: what is empty is left out, also apply_state 0; no state of the backend."""
    return {
        "client": {
            "state": {
                "root_version": 2,
                "targets_version": 41,
                "config_states": [{"id": "logProbe_1", "version": 1, "product": "LIVE_DEBUGGING"}],
            },
            "id": "Xa_9-bcdefghijklmnopq",
            "products": ["LIVE_DEBUGGING"],
            "is_tracer": True,
            "client_tracer": tracer("go", "v2.11.0"),
            "capabilities": base64.b64encode(BITS).decode(),
        }
    }


def java_poll() -> dict[str, Any]:
    """As dd-trace-java: bits are a list of signed bytes, lists may be null."""
    return {
        "client": {
            "state": {
                "root_version": 1,
                "targets_version": 0,
                "config_states": None,
                "has_error": None,
                "error": None,
                "backend_client_state": None,
            },
            "id": "client-java",
            "products": ["ASM"],
            "is_tracer": True,
            "client_tracer": tracer("java", "1.50.0", extra_services=None, tags=None),
            "capabilities": [byte - 256 if byte > 127 else byte for byte in BITS],
        },
        "cached_target_files": None,
    }


POLLS: list[Callable[[], dict[str, Any]]] = [
    python_native_poll,
    python_old_first_poll,
    node_poll,
    go_poll,
    java_poll,
]


def decode(document: object) -> pb.ClientGetConfigsRequest:
    return codec.decode_client_request(json.dumps(document).encode())


# --------------------------------------------------------------------------- reading a poll


@pytest.mark.parametrize("poll", POLLS)
def test_the_poll_of_every_tracer_is_read_and_valid(poll: Callable[[], dict[str, Any]]) -> None:
    document = poll()

    request = decode(document)

    codec.validate_client_request(request)
    assert request.client.id == document["client"]["id"]
    assert request.client.client_tracer.service == "shop"
    assert list(request.client.products) == document["client"]["products"]


@pytest.mark.parametrize("poll", [python_native_poll, node_poll, go_poll, java_poll])
def test_capabilities_are_the_same_bytes_in_both_forms(poll: Callable[[], dict[str, Any]]) -> None:
    assert decode(poll()).client.capabilities == BITS


@pytest.mark.parametrize("poll", [python_native_poll, node_poll])
def test_the_state_of_the_backend_comes_out_of_every_wrapping(poll: Callable[[], dict[str, Any]]) -> None:
    assert decode(poll()).client.state.backend_client_state == STATE


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        ("", b""),
        ([], b""),
        (None, b""),
        (STATE_TEXT, STATE),
        (list(STATE_TEXT.encode()), STATE),
        # Bytes that are somebody's own are kept, whichever way they come.
        ("not base64!", b"not base64!"),
        ("größe", "größe".encode()),
        ([123, 34, 120, 255], b'{"x\xff'),
        ([97, 98, 99], b"abc"),
    ],
)
def test_each_form_of_the_backends_state_is_read(sent: object, read: bytes) -> None:
    document = node_poll()
    document["client"]["state"]["backend_client_state"] = sent

    assert decode(document).client.state.backend_client_state == read


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        ("", b""),
        (None, b""),
        ([], b""),
        ([0], b"\0"),
        ("AA==", b"\0"),
        ([256 + 5, -1], b"\x05\xff"),
        ("AQAAAAAAAAAAAA==", b"\x01" + b"\0" * 9),
    ],
)
def test_each_form_of_the_capabilities_is_read(sent: object, read: bytes) -> None:
    document = node_poll()
    document["client"]["capabilities"] = sent

    assert decode(document).client.capabilities == read


def test_capabilities_may_be_missing() -> None:
    document = node_poll()
    del document["client"]["capabilities"]

    assert decode(document).client.capabilities == b""


@pytest.mark.parametrize(
    "sent", ["A", "AA", "AA=", "AA==AA==", "A A=", "é", "AiN_", [1.5], [None], ["1"], {}, 7, True]
)
def test_capabilities_of_another_form_are_refused(sent: object) -> None:
    document = node_poll()
    document["client"]["capabilities"] = sent

    with pytest.raises(MalformedError):
        decode(document)


@pytest.mark.parametrize(
    "sent",
    ["A" * 10_000, base64.b64encode(b"\1" * 129).decode(), [1] * 129],
    ids=["text", "129 bytes", "list"],
)
def test_more_capabilities_than_any_client_has_are_refused(sent: object) -> None:
    document = node_poll()
    document["client"]["capabilities"] = sent

    with pytest.raises(OversizeError):
        decode(document)


def test_a_state_of_the_backend_that_no_backend_gave_out_is_refused() -> None:
    document = node_poll()
    document["client"]["state"]["backend_client_state"] = "A" * (limits.MAX_BACKEND_STATE_BYTES + 1)

    with pytest.raises(OversizeError):
        decode(document)


def test_a_missing_apply_state_is_unknown() -> None:
    [state] = decode(go_poll()).client.state.config_states

    assert (state.id, state.version, state.product) == ("logProbe_1", 1, "LIVE_DEBUGGING")
    assert state.apply_state == ApplyState.UNKNOWN
    assert state.apply_error == ""


def test_an_apply_state_that_has_no_name_is_carried_on() -> None:
    document = node_poll()
    document["client"]["state"]["config_states"][0]["apply_state"] = 9

    assert decode(document).client.state.config_states[0].apply_state == 9


def test_what_a_client_reports_is_read() -> None:
    state = decode(node_poll()).client.state

    assert (state.root_version, state.targets_version) == (1, 40)
    assert (state.has_error, state.error) == (True, "Unable to find file for path x")
    assert state.config_states[0].apply_state == ApplyState.ERROR
    assert state.config_states[0].apply_error == "no rules"


def test_cached_files_are_read_and_their_hashes_are_lower_case() -> None:
    document = python_native_poll()
    document["cached_target_files"][0]["hashes"][0]["hash"] = SHA256.upper()

    [file] = decode(document).cached_target_files

    assert (file.path, file.length) == (PATH, 26)
    assert [(each.algorithm, each.hash) for each in file.hashes] == [("sha256", SHA256)]


def test_every_field_of_a_tracer_is_read() -> None:
    document = node_poll()
    document["client"]["last_seen"] = 5
    texts = ["runtime_id", "language", "tracer_version", "service", "env", "app_version"]
    lists = ["tags", "extra_services", "process_tags", "container_tags"]
    document["client"]["client_tracer"] = {each: f"a {each}" for each in texts} | {
        each: [f"one of {each}", "two"] for each in lists
    }

    client = decode(document).client

    assert client.last_seen == 5
    assert [getattr(client.client_tracer, each) for each in texts] == [f"a {each}" for each in texts]
    assert [list(getattr(client.client_tracer, each)) for each in lists] == [
        [f"one of {each}", "two"] for each in lists
    ]
    assert {each.name for each in pb.ClientTracer.DESCRIPTOR.fields} == {*texts, *lists}


def test_unknown_fields_are_skipped_wherever_they_are() -> None:
    document = python_native_poll()
    document["new"] = {"deep": [[1.5, None]]}
    document["client"]["new"] = "x"
    document["client"]["state"]["new"] = [{}]
    document["client"]["state"]["config_states"][0]["new"] = 1
    document["client"]["client_tracer"]["new"] = True
    document["cached_target_files"][0]["new"] = None

    assert decode(document) == decode(python_native_poll())


def test_null_is_the_same_as_missing_for_every_field() -> None:
    def without_values(value: object) -> object:
        if isinstance(value, dict):
            return {
                key: without_values(each) if isinstance(each, dict) else None for key, each in value.items()
            }
        return value

    request = decode(without_values(python_native_poll()))

    assert request.client == pb.Client(state=pb.ClientState(), client_tracer=pb.ClientTracer())
    assert not request.cached_target_files


def test_of_a_duplicate_key_the_last_counts() -> None:
    body = b'{"client":{"id":"first","id":"last"}}'

    assert codec.decode_client_request(body).client.id == "last"


def test_the_largest_numbers_of_the_wire_are_read() -> None:
    document = python_native_poll()
    document["client"]["state"]["targets_version"] = 2**64 - 1
    document["cached_target_files"][0]["length"] = 2**63 - 1

    request = decode(document)

    assert request.client.state.targets_version == 2**64 - 1
    assert request.cached_target_files[0].length == 2**63 - 1


@pytest.mark.parametrize(
    "number", ["-1", "18446744073709551616", "9" * 400, "9" * 5000, "1.5", "1e2", "NaN", '"1"']
)
def test_a_version_that_is_no_number_of_the_wire_is_refused(number: str) -> None:
    body = b'{"client":{"state":{"root_version":' + number.encode() + b"}}}"

    with pytest.raises(MalformedError):
        codec.decode_client_request(body)


def test_an_agent_that_polls_for_itself_is_read() -> None:
    request = decode(
        {
            "client": {
                "state": {"root_version": 1},
                "id": "agent-1",
                "is_agent": True,
                "client_agent": {
                    "name": "system-probe",
                    "version": "7.80.0",
                    "cluster_name": "c",
                    "cluster_id": "u",
                    "cws_workloads": ["w"],
                },
            }
        }
    )

    codec.validate_client_request(request)
    assert request.client.client_agent == pb.ClientAgent(
        name="system-probe", version="7.80.0", cluster_name="c", cluster_id="u", cws_workloads=["w"]
    )


def test_an_updater_is_read_with_its_packages() -> None:
    request = decode(
        {
            "client": {
                "state": {"root_version": 1},
                "id": "updater-1",
                "is_updater": True,
                "client_updater": {
                    "tags": ["t"],
                    "available_disk_space": 5,
                    "packages": [
                        {
                            "package": "agent",
                            "stable_version": "1",
                            "experiment_version": "2",
                            "stable_config_version": "3",
                            "experiment_config_version": "4",
                            "task": {"id": "7", "state": 4, "error": {"code": 1, "message": "no"}},
                        },
                        {"package": "other", "task": None},
                        {"package": "third", "task": {"state": 99}},
                    ],
                },
            }
        }
    )

    codec.validate_client_request(request)
    first, second, third = request.client.client_updater.packages
    assert (first.stable_config_version, first.experiment_config_version) == ("3", "4")
    assert (first.task.state, first.task.error.code, first.task.error.message) == (
        pb.TaskState.ERROR,
        1,
        "no",
    )
    assert not second.HasField("task")
    assert third.task.state == 99


@pytest.mark.parametrize(
    ("broken", "mended"),
    [
        # Half of an emoji, as a tracer that cuts its error texts leaves it.
        (rb'"cut \ud83d"', "cut \ufffd"),
        (rb'"\ude00 cut"', "\ufffd cut"),
        (rb'"\uD83D\uD83D\uDE00"', "\ufffd\U0001f600"),
        (rb'"\\ud83d \ud83d"', "\\ud83d \ufffd"),
        (rb'"\\\ud83d"', "\\\ufffd"),
        (b'"caf\xe9"', "caf\ufffd"),
        (b'"\xed\xa0\x80"', "\ufffd\ufffd\ufffd"),
    ],
)
def test_broken_text_in_a_report_does_not_lock_its_client_out(broken: bytes, mended: str) -> None:
    body = b'{"client":{"id":"c-1","state":{"root_version":1,"error":' + broken + b"}}}"

    request = codec.decode_client_request(body)

    assert (request.client.id, request.client.state.error) == ("c-1", mended)


def test_whole_emoji_are_read_as_they_are() -> None:
    body = rb'{"client":{"id":"\ud83d\ude00 \u00e9"}}'

    assert codec.decode_client_request(body).client.id == "\U0001f600 é"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"null",
        b"[]",
        b'"x"',
        b"1",
        b"{",
        b'{"client":}',
        b"{} {}",
        b"\xef\xbb\xbf{}",
        b"{}".decode().encode("utf-16"),
        b'{"client":[]}',
        b'{"client":{"id":7}}',
        b'{"client":{"products":"ASM"}}',
        b'{"client":{"products":[null]}}',
        b'{"client":{"is_tracer":1}}',
        b'{"client":{"state":{"config_states":{}}}}',
        b'{"client":{"state":{"has_error":"no"}}}',
        b'{"client":NaN}',
        b'{"new":Infinity}',
        b'{"cached_target_files":[null]}',
        b'{"cached_target_files":[{"length":9223372036854775808}]}',
        b"\x1f\x8b\x08\x00",
        b"{'client':{}}",
    ],
)
def test_what_is_no_poll_is_refused(body: bytes) -> None:
    with pytest.raises(MalformedError):
        codec.decode_client_request(body)


@pytest.mark.parametrize("opening", [b'{"new":', b"[", b'{"client":{"new":['])
def test_nesting_without_end_is_refused(opening: bytes) -> None:
    with pytest.raises(MalformedError):
        codec.decode_client_request(opening * 200_000)


def test_a_body_of_100_megabytes_is_refused_by_its_length() -> None:
    class Unread(bytes):
        """Claims a length and fails whoever reads on."""

        def __len__(self) -> int:
            return 100_000_000

    with pytest.raises(OversizeError, match="100000000"):
        codec.decode_client_request(Unread())
    with pytest.raises(OversizeError, match="100000000"):
        codec.parse_latest_configs_request(Unread())


@pytest.mark.parametrize(
    "body",
    [
        b'{"client":{"state":{"config_states":[' + b",".join([b"{}"] * 20_001) + b"]}}}",
        b'{"cached_target_files":[' + b",".join([b"{}"] * 20_001) + b"]}",
        b'{"cached_target_files":[{"hashes":[' + b",".join([b"{}"] * 17) + b"]}]}",
        b'{"client":{"client_updater":{"packages":[' + b",".join([b"{}"] * 20_001) + b"]}}}",
    ],
    ids=["config states", "cached files", "hashes", "packages"],
)
def test_lists_of_nothing_are_refused_before_they_cost(body: bytes) -> None:
    with pytest.raises(OversizeError):
        codec.decode_client_request(body)


def test_the_sentence_of_a_refusal_names_the_field_and_not_its_value() -> None:
    with pytest.raises(MalformedError) as refusal:
        codec.decode_client_request(b'{"client":{"id":{"secret":"s3cr3t"}}}')

    assert "$.client.id" in refusal.value.public
    assert "s3cr3t" not in refusal.value.public


# --------------------------------------------------------------------------- validating a poll


def agent_poll() -> pb.ClientGetConfigsRequest:
    return pb.ClientGetConfigsRequest(
        client=pb.Client(
            id="a-1",
            is_agent=True,
            client_agent=pb.ClientAgent(name="n"),
            state=pb.ClientState(root_version=1),
        )
    )


@pytest.mark.parametrize(
    ("break_it", "says"),
    [
        (lambda r: r.ClearField("client"), "no client"),
        (lambda r: r.client.ClearField("state"), "no state"),
        (lambda r: setattr(r.client.state, "root_version", 0), "root_version"),
        (lambda r: setattr(r.client, "is_tracer", False), "exactly one"),
        (lambda r: setattr(r.client, "is_agent", True), "exactly one"),
        (lambda r: setattr(r.client, "is_updater", True), "exactly one"),
        (lambda r: setattr(r.client, "id", ""), "no id"),
        (lambda r: r.client.ClearField("client_tracer"), "without client_tracer"),
        (lambda r: r.client.client_agent.SetInParent(), "with client_agent"),
        (lambda r: setattr(r.client, "id", r.client.client_tracer.runtime_id), "runtime_id"),
        (lambda r: setattr(r.client.client_tracer, "language", ""), "language"),
        (lambda r: setattr(r.cached_target_files[0], "path", ""), "no path"),
        (lambda r: setattr(r.cached_target_files[0], "path", "datadog/2/ASM"), "path"),
        (lambda r: setattr(r.cached_target_files[0], "length", 0), "no length"),
        (lambda r: r.cached_target_files[0].ClearField("hashes"), "no hash"),
        (lambda r: setattr(r.cached_target_files[0].hashes[0], "algorithm", ""), "lacks"),
        (lambda r: setattr(r.cached_target_files[0].hashes[0], "hash", ""), "lacks"),
        (lambda r: setattr(r.cached_target_files[0].hashes[0], "hash", "xyz0"), "hexadecimal"),
        (lambda r: setattr(r.cached_target_files[0].hashes[0], "hash", "abc"), "hexadecimal"),
        (lambda r: setattr(r.cached_target_files[0].hashes[0], "hash", "ab\n"), "hexadecimal"),
    ],
)
def test_a_poll_that_does_not_say_who_asks_is_refused(
    break_it: Callable[[pb.ClientGetConfigsRequest], object], says: str
) -> None:
    request = decode(python_native_poll())
    break_it(request)

    with pytest.raises(MalformedError, match=says):
        codec.validate_client_request(request)


def test_an_agent_says_that_it_is_one_and_no_tracer() -> None:
    codec.validate_client_request(agent_poll())

    with_tracer = agent_poll()
    with_tracer.client.client_tracer.SetInParent()
    with pytest.raises(MalformedError, match="with client_tracer"):
        codec.validate_client_request(with_tracer)

    nameless = agent_poll()
    nameless.client.ClearField("client_agent")
    with pytest.raises(MalformedError, match="without client_agent"):
        codec.validate_client_request(nameless)


def test_an_updater_needs_its_own_part() -> None:
    request = pb.ClientGetConfigsRequest(
        client=pb.Client(id="u-1", is_updater=True, state=pb.ClientState(root_version=1))
    )

    with pytest.raises(MalformedError, match="client_updater"):
        codec.validate_client_request(request)

    request.client.client_updater.SetInParent()
    codec.validate_client_request(request)


def test_a_client_that_asks_for_nothing_yet_is_valid() -> None:
    request = decode(python_old_first_poll())

    codec.validate_client_request(request)
    assert not request.client.products


# --------------------------------------------------------------------------- writing an answer


def test_an_answer_without_anything_is_exactly_two_bytes() -> None:
    assert codec.encode_client_response(pb.ClientGetConfigsResponse()) == b"{}"


def test_a_full_answer_is_written_as_the_tracers_expect_it() -> None:
    response = pb.ClientGetConfigsResponse(
        roots=[b'{"signed":2}', b'{"signed":3}'],
        targets=b'{"signed":{}}',
        target_files=[
            pb.File(path=PATH, raw=b'{"asm":{"enabled":true}}'),
            pb.File(path=PATH + "2", raw=b"\xff"),
        ],
        client_configs=[PATH, PATH + "2"],
        config_status=pb.CONFIG_STATUS_EXPIRED,
    )

    body = codec.encode_client_response(response)

    assert json.loads(body) == {
        "roots": ["eyJzaWduZWQiOjJ9", "eyJzaWduZWQiOjN9"],
        "targets": "eyJzaWduZWQiOnt9fQ==",
        "target_files": [
            {"path": PATH, "raw": base64.b64encode(b'{"asm":{"enabled":true}}').decode()},
            {"path": PATH + "2", "raw": "/w=="},
        ],
        "client_configs": [PATH, PATH + "2"],
        "config_status": 1,
    }
    assert b" " not in body
    assert b"\n" not in body


@pytest.mark.parametrize(
    ("response", "keys"),
    [
        (pb.ClientGetConfigsResponse(targets=b"t"), {"targets"}),
        (pb.ClientGetConfigsResponse(targets=b"t", config_status=pb.CONFIG_STATUS_OK), {"targets"}),
        (
            pb.ClientGetConfigsResponse(targets=b"t", config_status=pb.CONFIG_STATUS_EXPIRED),
            {"targets", "config_status"},
        ),
        (pb.ClientGetConfigsResponse(client_configs=["p"]), {"client_configs"}),
        (pb.ClientGetConfigsResponse(roots=[b"r"]), {"roots"}),
    ],
)
def test_what_is_empty_is_left_out_and_never_null(
    response: pb.ClientGetConfigsResponse, keys: set[str]
) -> None:
    assert json.loads(codec.encode_client_response(response)).keys() == keys


def test_a_path_that_needs_escapes_is_escaped() -> None:
    path = 'datadog/2/P/quote"\\back\u2028é/config'
    response = pb.ClientGetConfigsResponse(target_files=[pb.File(path=path, raw=b"x")], client_configs=[path])

    document = json.loads(codec.encode_client_response(response))

    assert document == {"target_files": [{"path": path, "raw": "eA=="}], "client_configs": [path]}


def test_a_file_always_has_its_bytes_even_when_there_are_none() -> None:
    response = pb.ClientGetConfigsResponse(target_files=[pb.File(path=PATH)])

    assert json.loads(codec.encode_client_response(response)) == {"target_files": [{"path": PATH, "raw": ""}]}


# --------------------------------------------------------------------------- our own client


@pytest.mark.parametrize("body", [b"", b"{}", b"null", b"{ }", b"{}\n", b'{"targets":null,"roots":null}'])
def test_nothing_new_is_read_in_every_spelling(body: bytes) -> None:
    assert codec.decode_client_response(body) == pb.ClientGetConfigsResponse()


def test_an_answer_that_was_written_is_read_again() -> None:
    response = pb.ClientGetConfigsResponse(
        roots=[b"root 2"],
        targets=b"targets",
        target_files=[pb.File(path=PATH, raw=bytes(range(256)))],
        client_configs=[PATH],
        config_status=pb.CONFIG_STATUS_EXPIRED,
    )

    assert codec.decode_client_response(codec.encode_client_response(response)) == response


@pytest.mark.parametrize(
    "body",
    [
        b"<html>",
        b"[]",
        b'{"targets":"@"}',
        b'{"targets":"A"}',
        b'{"targets":"\xc3\xa9"}',
        b'{"targets":{}}',
        b'{"roots":[null]}',
        b'{"roots":["@"]}',
        b'{"target_files":[{"path":"p","raw":"A"}]}',
        b'{"target_files":[null]}',
        b'{"config_status":"OK"}',
        b'{"config_status":99999999999}',
        b'{"client_configs":[1]}',
    ],
)
def test_what_is_no_answer_is_refused(body: bytes) -> None:
    with pytest.raises(MalformedError):
        codec.decode_client_response(body)


@pytest.mark.parametrize("poll", POLLS)
def test_a_poll_that_was_written_is_read_again(poll: Callable[[], dict[str, Any]]) -> None:
    request = decode(poll())

    assert codec.decode_client_request(codec.encode_client_request(request)) == request


def test_a_poll_is_written_as_the_python_tracer_does() -> None:
    document = json.loads(codec.encode_client_request(decode(python_native_poll())))

    assert document["client"]["capabilities"] == base64.b64encode(BITS).decode()
    assert document["client"]["state"]["backend_client_state"] == STATE_TEXT
    assert document["cached_target_files"] == python_native_poll()["cached_target_files"]
    assert "error" not in document["client"]["state"]
    assert "apply_error" not in document["client"]["state"]["config_states"][0]


# --------------------------------------------------------------------------- protobuf


def test_what_an_agent_asks_is_read() -> None:
    request = pb.LatestConfigsRequest(
        hostname="h",
        products=["ASM"],
        active_clients=[decode(python_native_poll()).client],
        current_director_root_version=3,
        backend_client_state=STATE,
    )

    assert codec.parse_latest_configs_request(request.SerializeToString()) == request


def test_an_empty_body_is_an_empty_message() -> None:
    assert codec.parse_latest_configs_request(b"") == pb.LatestConfigsRequest()
    assert codec.parse_latest_configs_response(b"") == pb.LatestConfigsResponse()
    assert codec.parse_org_status_response(b"") == pb.OrgStatusResponse(enabled=False, authorized=False)


def test_organisation_and_its_status_are_read() -> None:
    assert codec.parse_org_status_response(b"\x08\x01\x10\x01") == pb.OrgStatusResponse(
        enabled=True, authorized=True
    )
    assert codec.parse_org_data_response(b"\x0a\x03abc").uuid == "abc"


def test_unknown_fields_of_a_message_are_tolerated() -> None:
    assert codec.parse_org_data_response(b"\x0a\x03abc\xaa\x06\x02hi").uuid == "abc"


@pytest.mark.parametrize(
    "body",
    [
        b"\x0a",
        b"\x0a\xff",
        b"\x00\x01",
        b"\x0a\x02\xff\xfe",
        b"\x0f",
        b"\xff" * 20,
        b"<html><body>Bad gateway</body></html>",
    ],
)
def test_what_is_no_message_is_refused(body: bytes) -> None:
    for parse in (
        codec.parse_latest_configs_request,
        codec.parse_latest_configs_response,
        codec.parse_org_data_response,
        codec.parse_org_status_response,
    ):
        # A text that is no UTF-8 is refused where the field is a text.
        if parse is codec.parse_org_status_response and body == b"\x0a\x02\xff\xfe":
            continue
        if parse is codec.parse_latest_configs_response and body == b"\x0a\x02\xff\xfe":
            continue
        with pytest.raises(MalformedError):
            parse(body)


def test_more_clients_than_a_host_has_are_refused() -> None:
    request = pb.LatestConfigsRequest(active_clients=[pb.Client()] * (limits.MAX_AGENT_CLIENTS + 1))

    with pytest.raises(OversizeError, match="clients"):
        codec.parse_latest_configs_request(request.SerializeToString())


def test_more_config_states_than_a_host_has_are_refused() -> None:
    states = [pb.ConfigState()] * (limits.MAX_AGENT_CONFIG_STATES // 2 + 1)
    client = pb.Client(state=pb.ClientState(config_states=states))
    request = pb.LatestConfigsRequest(active_clients=[client, client])

    with pytest.raises(OversizeError, match="config states"):
        codec.parse_latest_configs_request(request.SerializeToString())


def test_an_organisation_of_a_megabyte_is_refused() -> None:
    with pytest.raises(OversizeError):
        codec.parse_org_data_response(pb.OrgDataResponse(uuid="u" * 1_000_000).SerializeToString())


def test_the_apply_states_have_the_numbers_of_the_wire() -> None:
    assert [(each.name, each.value) for each in ApplyState] == [
        ("UNKNOWN", 0),
        ("UNACKNOWLEDGED", 1),
        ("ACKNOWLEDGED", 2),
        ("ERROR", 3),
    ]
