"""Bytes <-> the messages of Remote Configuration.

What the module hides: the JSON of ``/v0.7/config`` in the dialects of the tracers, and the protobuf of
``/api/v0.1/*``. Its invariants:

- What arrives is read as tolerantly as the agents out there read it: missing and ``null`` are the same,
  unknown fields are skipped, both forms of byte fields are taken. What is sent has the form that all take.
- Hostile bytes raise `MalformedError` or `OversizeError` and nothing else, in time linear in their length.
- A message is only read here. Whether it makes sense is asked of `validate_client_request`.
"""

from __future__ import annotations

import re
from binascii import Error as Base64Error
from binascii import a2b_base64, b2a_base64
from enum import IntEnum
from typing import Any, Final, TypeVar

import msgspec
from google.protobuf.message import DecodeError, Message

from sealwire.errors import MalformedError
from sealwire.wire import documents, limits
from sealwire.wire import remoteconfig_pb2 as pb
from sealwire.wire.limits import check_count, check_size
from sealwire.wire.path import ConfigPath


class ApplyState(IntEnum):
    """What became of a config in a client."""

    UNKNOWN = 0
    UNACKNOWLEDGED = 1
    ACKNOWLEDGED = 2
    ERROR = 3


_T = TypeVar("_T")
_M = TypeVar("_M", bound=Message)

_REQUEST_DECODER: Final = msgspec.json.Decoder(documents.ClientRequest)
_RESPONSE_DECODER: Final = msgspec.json.Decoder(documents.ClientResponse)

# What msgspec and upb raise on hostile input: MsgspecError and UnicodeError are ValueErrors, a number out of
# a field's range is ValueError, nesting is RecursionError.
_HOSTILE: Final = (ValueError, TypeError, OverflowError, RecursionError)


def decode_client_request(body: bytes) -> pb.ClientGetConfigsRequest:
    """Read a client's poll of ``/v0.7/config``, whichever tracer wrote it.

    Byte fields become bytes: capabilities as in `sealwire.wire.capabilities`, the backend's state with every
    base64 around it taken off. Hashes become lower case.

    Args:
        body: As received, unverified.

    Raises:
        MalformedError: Not JSON, or a field has another type than on the wire.
        OversizeError: Larger than `limits.MAX_CLIENT_REQUEST_BYTES`, or a list or byte field is too long.
    """
    check_size("client request", len(body), limits.MAX_CLIENT_REQUEST_BYTES)
    document = _decode_json("client request", _REQUEST_DECODER, body)
    cached_files = document.cached_target_files or ()
    check_count("cached files", len(cached_files), limits.MAX_CLIENT_CONFIGS)
    try:
        request = pb.ClientGetConfigsRequest(
            cached_target_files=[_cached_file(each) for each in cached_files]
        )
        if document.client is not None:
            request.client.CopyFrom(_client(document.client))
    except _HOSTILE as error:
        raise MalformedError("A number of the client request is out of range.", detail=str(error)) from error
    return request


def decode_client_response(body: bytes) -> pb.ClientGetConfigsResponse:
    """Read an agent's answer to a poll; an empty body, ``{}`` and ``null`` all mean that nothing is new.

    Args:
        body: As received, unverified.

    Raises:
        MalformedError: Not JSON, or a field has another type than on the wire.
        OversizeError: Larger than `limits.MAX_CLIENT_RESPONSE_BYTES`.
    """
    check_size("agent's answer", len(body), limits.MAX_CLIENT_RESPONSE_BYTES)
    if body in (b"", b"{}", b"null"):
        return pb.ClientGetConfigsResponse()
    document = _decode_json("agent's answer", _RESPONSE_DECODER, body)
    try:
        return pb.ClientGetConfigsResponse(
            roots=[_base64("roots", each) for each in document.roots or ()],
            targets=_base64("targets", document.targets or ""),
            target_files=[
                pb.File(path=each.path or "", raw=_base64("target_files", each.raw or ""))
                for each in document.target_files or ()
            ],
            client_configs=document.client_configs or (),
            # proto3 keeps numbers it has no name for; the caller meets them as they came.
            config_status=document.config_status or 0,  # type: ignore[arg-type]
        )
    except _HOSTILE as error:
        raise MalformedError("A number of the agent's answer is out of range.", detail=str(error)) from error


def encode_client_response(response: pb.ClientGetConfigsResponse) -> bytes:
    """Write an agent's answer to a poll, in the form that every tracer takes.

    What is empty is left out and never ``null``. An answer without anything is exactly ``{}``, no newline:
    dd-trace-js takes ``{}`` and a newline for "remove all". ``config_status`` is left out when it is 0,
    because ddtrace before 4.13 refuses the key.
    """
    # Base64 text needs no JSON escaping, so it is put between quotes as it is and not scanned a second time.
    members: list[bytes] = []
    if response.roots:
        members.append(b'"roots":[' + b",".join(_quoted_base64(each) for each in response.roots) + b"]")
    if targets := response.targets:
        members.append(b'"targets":' + _quoted_base64(targets))
    if response.target_files:
        files = [
            b'{"path":' + _json(each.path) + b',"raw":' + _quoted_base64(each.raw) + b"}"
            for each in response.target_files
        ]
        members.append(b'"target_files":[' + b",".join(files) + b"]")
    if response.client_configs:
        members.append(b'"client_configs":' + _json(list(response.client_configs)))
    if response.config_status:
        members.append(b'"config_status":%d' % response.config_status)
    return b"{" + b",".join(members) + b"}"


def encode_client_request(request: pb.ClientGetConfigsRequest) -> bytes:
    """Write a poll as the Python tracer does, with byte fields as base64 text, which every agent reads.

    Empty lists are written, so is ``has_error``; an ``apply_error`` or ``error`` that is empty is not. Only a
    tracer polls in this way: the parts of agents and updaters are not written.
    """
    document: dict[str, object] = {}
    if request.HasField("client"):
        document["client"] = _client_document(request.client)
    document["cached_target_files"] = [
        {
            "path": each.path,
            "length": each.length,
            "hashes": [{"algorithm": one.algorithm, "hash": one.hash} for one in each.hashes],
        }
        for each in request.cached_target_files
    ]
    return _json(document)


def validate_client_request(request: pb.ClientGetConfigsRequest) -> None:
    """Refuse a poll that does not say who asks, or what it holds.

    The rules are the Agent's, no stricter. A client without products is valid: ddtrace begins like that.

    Raises:
        MalformedError: Says which rule.

    Source: agent-backend.md 7.2, step 1.
    """
    # 1. A client, and where it stands.
    if not request.HasField("client"):
        raise MalformedError("The request has no client.")
    client = request.client
    if not client.HasField("state"):
        raise MalformedError("The client has no state.")
    if client.state.root_version < 1:
        raise MalformedError("The client's root_version is below 1.")
    # 2. Exactly one kind.
    if client.is_tracer + client.is_agent + client.is_updater != 1:
        raise MalformedError("The client is not exactly one of tracer, agent and updater.")
    if not client.id:
        raise MalformedError("The client has no id.")
    # 3. What its kind needs.
    if client.is_tracer:
        if not client.HasField("client_tracer"):
            raise MalformedError("The client is a tracer without client_tracer.")
        if client.HasField("client_agent"):
            raise MalformedError("The client is a tracer with client_agent.")
        if client.id == client.client_tracer.runtime_id:
            raise MalformedError("The client's id is its runtime_id.")
        if not client.client_tracer.language:
            raise MalformedError("The tracer has no language.")
    elif client.is_agent:
        if not client.HasField("client_agent"):
            raise MalformedError("The client is an agent without client_agent.")
        if client.HasField("client_tracer"):
            raise MalformedError("The client is an agent with client_tracer.")
    elif not client.HasField("client_updater"):
        raise MalformedError("The client is an updater without client_updater.")
    # 4. What it says it holds.
    for each in request.cached_target_files:
        _validate_cached_file(each)


# --------------------------------------------------------------------------- protobuf


def parse_latest_configs_request(body: bytes) -> pb.LatestConfigsRequest:
    """Read what an agent asks a control plane; raises `MalformedError` or `OversizeError`."""
    request = _parse(
        "request for configurations",
        pb.LatestConfigsRequest(),
        body,
        limits.MAX_LATEST_CONFIGS_REQUEST_BYTES,
    )
    check_count("clients of an agent", len(request.active_clients), limits.MAX_AGENT_CLIENTS)
    config_states = sum(len(each.state.config_states) for each in request.active_clients)
    check_count("config states of an agent", config_states, limits.MAX_AGENT_CONFIG_STATES)
    return request


def parse_latest_configs_response(body: bytes) -> pb.LatestConfigsResponse:
    """Read what a control plane answers, maybe an empty body; raises `MalformedError` or `OversizeError`."""
    return _parse(
        "answer with configurations",
        pb.LatestConfigsResponse(),
        body,
        limits.MAX_LATEST_CONFIGS_RESPONSE_BYTES,
    )


def parse_org_data_response(body: bytes) -> pb.OrgDataResponse:
    """Read the organisation's UUID; raises `MalformedError` or `OversizeError`."""
    return _parse("answer about the organisation", pb.OrgDataResponse(), body, limits.MAX_ORG_BYTES)


def parse_org_status_response(body: bytes) -> pb.OrgStatusResponse:
    """Read whether organisation and key may; an empty body says no twice. Raises as the others do."""
    return _parse(
        "answer about the organisation's status", pb.OrgStatusResponse(), body, limits.MAX_ORG_BYTES
    )


def _parse(what: str, message: _M, body: bytes, limit: int) -> _M:
    check_size(what, len(body), limit)
    try:
        message.ParseFromString(body)
    except (DecodeError, *_HOSTILE) as error:
        raise MalformedError(
            f"The {what} is not the protobuf message it should be.", detail=str(error)
        ) from error
    return message


# --------------------------------------------------------------------------- JSON, reading


def _decode_json(what: str, decoder: msgspec.json.Decoder[_T], body: bytes) -> _T:
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        # It names types and our own field names only, so it is safe to show.
        raise MalformedError(f"The {what} is not as it should be: {error}.") from error
    except _HOSTILE as error:
        mended = _mend_text(body) if len(body) <= limits.MAX_MENDED_BYTES else body
        if mended == body:
            raise MalformedError(f"The {what} is not JSON.", detail=str(error)) from error
    try:
        return decoder.decode(mended)
    except _HOSTILE as error:
        raise MalformedError(f"The {what} is not JSON.", detail=str(error)) from error


# Every escape of a JSON text, so that the second backslash of `\\ud800` is not taken for the start of one.
_ESCAPE: Final = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)",
    re.DOTALL,
)


def _mend_text(body: bytes) -> bytes:
    """Put U+FFFD where text is broken: half a surrogate pair, or bytes that are not UTF-8.

    An error text that was cut in the middle of an emoji must not lock its client out. Go does the same.
    """
    text = body.decode("utf-8", "replace").encode()
    return _ESCAPE.sub(lambda match: rb"\ufffd" if match.group(1) else match.group(0), text)


def _client(client: documents.Client) -> pb.Client:
    message = pb.Client(
        id=client.id or "",
        products=client.products or (),
        is_tracer=client.is_tracer or False,
        is_agent=client.is_agent or False,
        is_updater=client.is_updater or False,
        last_seen=client.last_seen or 0,
        capabilities=_capabilities(client.capabilities),
    )
    if (state := client.state) is not None:
        message.state.CopyFrom(_client_state(state))
    if (tracer := client.client_tracer) is not None:
        message.client_tracer.CopyFrom(
            pb.ClientTracer(
                runtime_id=tracer.runtime_id or "",
                language=tracer.language or "",
                tracer_version=tracer.tracer_version or "",
                service=tracer.service or "",
                env=tracer.env or "",
                app_version=tracer.app_version or "",
                tags=tracer.tags or (),
                extra_services=tracer.extra_services or (),
                process_tags=tracer.process_tags or (),
                container_tags=tracer.container_tags or (),
            )
        )
    if (agent := client.client_agent) is not None:
        message.client_agent.CopyFrom(
            pb.ClientAgent(
                name=agent.name or "",
                version=agent.version or "",
                cluster_name=agent.cluster_name or "",
                cluster_id=agent.cluster_id or "",
                cws_workloads=agent.cws_workloads or (),
            )
        )
    if (updater := client.client_updater) is not None:
        message.client_updater.CopyFrom(_client_updater(updater))
    return message


def _client_state(state: documents.ClientState) -> pb.ClientState:
    config_states = state.config_states or ()
    check_count("config states", len(config_states), limits.MAX_CLIENT_CONFIGS)
    return pb.ClientState(
        root_version=state.root_version or 0,
        targets_version=state.targets_version or 0,
        config_states=[
            pb.ConfigState(
                id=each.id or "",
                version=each.version or 0,
                product=each.product or "",
                # Go leaves it out when it is 0.
                apply_state=each.apply_state or 0,
                apply_error=each.apply_error or "",
            )
            for each in config_states
        ],
        has_error=state.has_error or False,
        error=state.error or "",
        backend_client_state=_backend_state(state.backend_client_state),
    )


def _client_updater(updater: documents.ClientUpdater) -> pb.ClientUpdater:
    message = pb.ClientUpdater(
        tags=updater.tags or (), available_disk_space=updater.available_disk_space or 0
    )
    packages = updater.packages or ()
    check_count("packages", len(packages), limits.MAX_CLIENT_CONFIGS)
    for each in packages:
        package = message.packages.add(
            package=each.package or "",
            stable_version=each.stable_version or "",
            experiment_version=each.experiment_version or "",
            stable_config_version=each.stable_config_version or "",
            experiment_config_version=each.experiment_config_version or "",
        )
        if (task := each.task) is not None:
            package.task.id = task.id or ""
            package.task.state = task.state or 0  # type: ignore[assignment]
            if (error := task.error) is not None:
                package.task.error.CopyFrom(pb.TaskError(code=error.code or 0, message=error.message or ""))
    return message


def _cached_file(file: documents.CachedFile) -> pb.TargetFileMeta:
    hashes = file.hashes or ()
    check_count("hashes of a cached file", len(hashes), limits.MAX_FILE_HASHES)
    return pb.TargetFileMeta(
        path=file.path or "",
        length=file.length or 0,
        hashes=[
            pb.TargetFileHash(algorithm=each.algorithm or "", hash=(each.hash or "").lower())
            for each in hashes
        ],
    )


def _capabilities(value: documents.ByteField) -> bytes:
    if not value:
        return b""
    if isinstance(value, str):
        # A length is checked before the decoding, in the larger of the two forms.
        check_size("list of capabilities", len(value), 2 * limits.MAX_CAPABILITIES_BYTES)
        raw = _base64("capabilities", value)
    else:
        check_size("list of capabilities", len(value), limits.MAX_CAPABILITIES_BYTES)
        # Java's bytes have a sign.
        raw = bytes([each & 0xFF for each in value])
    check_size("list of capabilities", len(raw), limits.MAX_CAPABILITIES_BYTES)
    return raw


def _backend_state(value: documents.ByteField) -> bytes:
    """The state as the backend knows it: what is inside the base64 of ``opaque_backend_state``.

    Most tracers echo that text; ddtrace from 4.14 sends the codes of its characters. Bytes that are not
    base64 are somebody's own and kept.
    """
    if not value:
        return b""
    check_size("backend_client_state", len(value), limits.MAX_BACKEND_STATE_BYTES)
    if isinstance(value, str):
        raw = value.encode()
    else:
        raw = bytes([each & 0xFF for each in value])
    try:
        return a2b_base64(raw, strict_mode=True)
    except Base64Error:
        return raw


def _base64(what: str, text: str) -> bytes:
    try:
        return a2b_base64(text, strict_mode=True)
    except ValueError as error:
        raise MalformedError(f"{what} is not base64.", detail=str(error)) from error


def _validate_cached_file(file: pb.TargetFileMeta) -> None:
    if not file.path:
        raise MalformedError("A cached file has no path.")
    ConfigPath.parse(file.path)
    if file.length == 0:
        raise MalformedError("A cached file has no length.")
    if not file.hashes:
        raise MalformedError("A cached file has no hash.")
    for each in file.hashes:
        if not each.algorithm or not each.hash:
            raise MalformedError("A hash of a cached file lacks its algorithm or its value.")
        if len(each.hash) % 2 or not _HEX.fullmatch(each.hash):
            raise MalformedError("A hash of a cached file is not hexadecimal.")


_HEX: Final = re.compile(r"[0-9a-fA-F]+", re.ASCII)

# --------------------------------------------------------------------------- JSON, writing

_json: Final = msgspec.json.Encoder().encode


def _quoted_base64(raw: bytes) -> bytes:
    return b'"' + b2a_base64(raw, newline=False) + b'"'


def _client_document(client: pb.Client) -> dict[str, Any]:
    state = client.state
    document: dict[str, Any] = {
        "id": client.id,
        "products": list(client.products),
        "is_tracer": client.is_tracer,
    }
    if client.HasField("client_tracer"):
        tracer = client.client_tracer
        document["client_tracer"] = {
            "runtime_id": tracer.runtime_id,
            "language": tracer.language,
            "tracer_version": tracer.tracer_version,
            "service": tracer.service,
            "extra_services": list(tracer.extra_services),
            "env": tracer.env,
            "app_version": tracer.app_version,
            "tags": list(tracer.tags),
            "process_tags": list(tracer.process_tags),
        }
    document["state"] = {
        "root_version": state.root_version,
        "targets_version": state.targets_version,
        "config_states": [_config_state_document(each) for each in state.config_states],
        "has_error": state.has_error,
    }
    if state.error:
        document["state"]["error"] = state.error
    if state.backend_client_state:
        document["state"]["backend_client_state"] = b2a_base64(
            state.backend_client_state, newline=False
        ).decode()
    document["capabilities"] = b2a_base64(client.capabilities, newline=False).decode()
    return document


def _config_state_document(state: pb.ConfigState) -> dict[str, Any]:
    document: dict[str, Any] = {
        "id": state.id,
        "version": state.version,
        "product": state.product,
        "apply_state": state.apply_state,
    }
    if state.apply_error:
        document["apply_error"] = state.apply_error
    return document
