"""The JSON of ``/v0.7/config`` as types, for `codec` alone.

What the module hides: that the JSON is that of the protobuf messages, same names and same nesting, in which
every field may be missing or ``null``. Its invariant: a type says what may *arrive*, so nothing is required,
and numbers have no range yet; unknown fields are skipped by the decoder.
"""

from __future__ import annotations

import msgspec

# A byte field: base64 text, or a list of numbers (ddtrace from 4.14, Java).
ByteField = str | list[int] | None


class ConfigState(msgspec.Struct, gc=False):
    id: str | None = None
    version: int | None = None
    product: str | None = None
    apply_state: int | None = None
    apply_error: str | None = None


class ClientState(msgspec.Struct):
    root_version: int | None = None
    targets_version: int | None = None
    config_states: list[ConfigState] | None = None
    has_error: bool | None = None
    error: str | None = None
    backend_client_state: ByteField = None


class ClientTracer(msgspec.Struct):
    runtime_id: str | None = None
    language: str | None = None
    tracer_version: str | None = None
    service: str | None = None
    env: str | None = None
    app_version: str | None = None
    tags: list[str] | None = None
    extra_services: list[str] | None = None
    process_tags: list[str] | None = None
    container_tags: list[str] | None = None


class ClientAgent(msgspec.Struct):
    name: str | None = None
    version: str | None = None
    cluster_name: str | None = None
    cluster_id: str | None = None
    cws_workloads: list[str] | None = None


class TaskError(msgspec.Struct):
    code: int | None = None
    message: str | None = None


class PackageStateTask(msgspec.Struct):
    id: str | None = None
    state: int | None = None
    error: TaskError | None = None


class PackageState(msgspec.Struct):
    package: str | None = None
    stable_version: str | None = None
    experiment_version: str | None = None
    task: PackageStateTask | None = None
    stable_config_version: str | None = None
    experiment_config_version: str | None = None


class ClientUpdater(msgspec.Struct):
    tags: list[str] | None = None
    packages: list[PackageState] | None = None
    available_disk_space: int | None = None


class Client(msgspec.Struct):
    state: ClientState | None = None
    id: str | None = None
    products: list[str] | None = None
    is_tracer: bool | None = None
    client_tracer: ClientTracer | None = None
    is_agent: bool | None = None
    client_agent: ClientAgent | None = None
    last_seen: int | None = None
    capabilities: ByteField = None
    is_updater: bool | None = None
    client_updater: ClientUpdater | None = None


class FileHash(msgspec.Struct, gc=False):
    algorithm: str | None = None
    hash: str | None = None


class CachedFile(msgspec.Struct):
    path: str | None = None
    length: int | None = None
    hashes: list[FileHash] | None = None


class ClientRequest(msgspec.Struct):
    client: Client | None = None
    cached_target_files: list[CachedFile] | None = None


class File(msgspec.Struct, gc=False):
    path: str | None = None
    raw: str | None = None


class ClientResponse(msgspec.Struct):
    roots: list[str] | None = None
    targets: str | None = None
    target_files: list[File] | None = None
    client_configs: list[str] | None = None
    config_status: int | None = None
