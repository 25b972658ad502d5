"""Requests that real tracers sent, recorded from ddtrace and dd-trace-js, are all read.

The recordings live beside the repository and not in it; without them the tests are skipped.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sealwire.wire import capabilities, codec
from sealwire.wire import remoteconfig_pb2 as pb

CAPTURES = Path(__file__).resolve().parents[3].parent / "shared" / "protocol" / "captures"

pytestmark = pytest.mark.skipif(
    not CAPTURES.is_dir(), reason="The recorded requests of real tracers are not beside the repository."
)


def recorded_polls() -> list[Path]:
    names = sorted({*CAPTURES.glob("*_config_*.json"), *CAPTURES.glob("matrix_*.json")})
    return [each for each in names if json.loads(each.read_bytes())["path"] == "/v0.7/config"]


def body_of(recording: Path) -> dict[str, Any]:
    document = json.loads(recording.read_bytes())
    body = document["body"] if "body" in document else json.loads(document["body_text"])
    assert isinstance(body, dict)
    return body


def test_there_are_recordings_of_every_kind() -> None:
    names = [each.name for each in recorded_polls()]

    assert len(names) >= 25
    for prefix in ("py-2.", "py-3.", "py-4.13", "py-4.16", "js-5.120", "js-5.132", "matrix_py", "matrix_js"):
        assert any(name.startswith(prefix) for name in names), prefix


@pytest.mark.parametrize("recording", recorded_polls(), ids=lambda each: each.stem)
def test_a_recorded_poll_is_read_whole(recording: Path) -> None:
    body = body_of(recording)
    sent = body["client"]

    request = codec.decode_client_request(json.dumps(body).encode())
    codec.validate_client_request(request)

    client = request.client
    assert client.id == sent["id"]
    assert list(client.products) == sent["products"]
    for field in ("runtime_id", "language", "tracer_version", "service", "env", "app_version"):
        assert getattr(client.client_tracer, field) == sent["client_tracer"][field]
    for field in ("tags", "extra_services", "process_tags"):
        assert list(getattr(client.client_tracer, field)) == (sent["client_tracer"].get(field) or [])
    assert client.state.root_version == sent["state"]["root_version"]
    assert client.state.targets_version == sent["state"]["targets_version"]
    assert client.state.has_error == sent["state"]["has_error"]
    assert [
        (each.id, each.version, each.product, each.apply_state, each.apply_error)
        for each in client.state.config_states
    ] == [
        (each["id"], each["version"], each["product"], each["apply_state"], each.get("apply_error", ""))
        for each in sent["state"]["config_states"]
    ]
    assert [(each.path, each.length) for each in request.cached_target_files] == [
        (each["path"], each["length"]) for each in body["cached_target_files"]
    ]


@pytest.mark.parametrize("recording", recorded_polls(), ids=lambda each: each.stem)
def test_a_recorded_state_of_the_backend_is_what_the_backend_gave_out(recording: Path) -> None:
    sent = body_of(recording)["client"]["state"].get("backend_client_state")

    request = codec.decode_client_request(json.dumps(body_of(recording)).encode())

    # The backend of the recordings gave out base64 of this and nothing else.
    assert request.client.state.backend_client_state == (b'{"x":1}' if sent else b"")


@pytest.mark.parametrize("recording", recorded_polls(), ids=lambda each: each.stem)
def test_recorded_capabilities_announce_what_that_tracer_can(recording: Path) -> None:
    request = codec.decode_client_request(json.dumps(body_of(recording)).encode())

    bits = capabilities.decode(request.client.capabilities)

    # Every tracer recorded takes a sampling rate; ddtrace 4.13 says so from its second poll on.
    first_of_old = recording.stem.startswith("py-4.13.1_config_first")
    assert (capabilities.Capability.APM_TRACING_SAMPLE_RATE in bits) is not first_of_old


@pytest.mark.parametrize("recording", recorded_polls(), ids=lambda each: each.stem)
def test_a_recorded_poll_that_is_written_again_says_the_same(recording: Path) -> None:
    request = codec.decode_client_request(json.dumps(body_of(recording)).encode())

    assert codec.decode_client_request(codec.encode_client_request(request)) == request


@pytest.mark.parametrize("recording", sorted(CAPTURES.glob("*.protobuf.bin")), ids=lambda each: each.stem)
def test_a_recorded_request_of_an_agentless_tracer_is_read(recording: Path) -> None:
    described = json.loads(recording.with_name(recording.name.replace(".protobuf.bin", ".json")).read_bytes())

    request = codec.parse_latest_configs_request(recording.read_bytes())

    assert request.agentVersion == described["req"]["agentVersion"][0]
    assert list(request.products) == described["req"].get("products", [])
    [client] = request.active_clients
    assert (client.is_tracer, client.client_tracer.language) == (True, "python")
    assert capabilities.Capability.APM_TRACING_SAMPLE_RATE in capabilities.decode(client.capabilities)
    assert request.SerializeToString(deterministic=True) == _again(request)


def _again(request: pb.LatestConfigsRequest) -> bytes:
    return codec.parse_latest_configs_request(request.SerializeToString()).SerializeToString(
        deterministic=True
    )
