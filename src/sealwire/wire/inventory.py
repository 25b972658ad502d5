"""What an agent tells of itself once a minute, on the wire between our agent and our control plane.

    POST /api/sealwire/v1/inventory   gzipped JSON of ``Inventory`` -> JSON of ``Taken``

Hides the encoding. Invariants: every text, list and number has a bound, checked while it is read; unknown
fields are ignored, so that either side may be newer; what is hostile raises the ``UntrustedError`` family
and nothing else. No secret is in it: the agent leaves out what looks like one (``agent/telemetry.py``).
"""

from __future__ import annotations

import gzip
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from sealwire.errors import MalformedError, OversizeError
from sealwire.wire.packed import gunzip

PATH: Final = "/api/sealwire/v1/inventory"
FORMAT: Final = 1

# 2,000 settings of 500 characters are a tracer that tells everything; several of them share a post.
MAX_POST_BYTES: Final = 512 * 1024
MAX_DOCUMENT_BYTES: Final = 4 * 1024 * 1024
MAX_NAME_CHARS: Final = 300
MAX_VALUE_CHARS: Final = 500
MAX_SETTINGS: Final = 2000  # names of one runtime
MAX_KNOWN: Final = 8  # origins of one name
MAX_RUNTIMES: Final = 200  # of one post
MAX_SERVICES: Final = 500
MAX_RUNTIME_IDS: Final = 8  # of one service
MAX_TAGS: Final = 200
MAX_INT: Final = 2**53 - 1

_Name = Annotated[str, Meta(max_length=MAX_NAME_CHARS)]
_Value = Annotated[str, Meta(max_length=MAX_VALUE_CHARS + 1)]  # one for the mark of a cut
_Count = Annotated[int, Meta(ge=0, le=MAX_INT)]


class Known(msgspec.Struct, frozen=True, array_like=True):
    """One value of a tracer's setting.

    Attributes:
        origin: ``env_var``, ``code``, ``remote_config``, ``default`` and so on, as the tracer says.
        value: As text; None is "not set".
        seq_id: The larger, the later; 0 where the tracer does not count.
        error: Why the tracer did not take it; empty when it did.
    """

    origin: _Name
    value: _Value | None = None
    seq_id: _Count = 0
    error: _Value = ""


class Runtime(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A running tracer, by its own telemetry.

    Attributes:
        seen_ms: When it was last heard, Unix milliseconds.
        settings: Name -> what is known of it; the first is in force.
    """

    runtime_id: Annotated[str, Meta(min_length=1, max_length=200)]
    service: _Name = ""
    env: _Name = ""
    language: _Name = ""
    tracer_version: _Name = ""
    app_version: _Name = ""
    seen_ms: _Count = 0
    settings: Annotated[
        dict[_Name, Annotated[list[Known], Meta(min_length=1, max_length=MAX_KNOWN)]],
        Meta(max_length=MAX_SETTINGS),
    ] = {}


class Service(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A service that sends traces to this agent.

    Attributes:
        traces: How many were seen of it.
        client_seen: Whether a Remote Configuration client of it was here; None where none can be seen.
        runtime_ids: The newest of its runtimes.
        switched_off_by: Where its tracer says that its Remote Configuration is off: an origin; else empty.
    """

    service: _Name
    env: _Name = ""
    language: _Name = ""
    tracer_version: _Name = ""
    app_version: _Name = ""
    first_seen_ms: _Count = 0
    seen_ms: _Count = 0
    traces: _Count = 0
    client_seen: bool | None = None
    switched_off_by: _Name = ""
    runtime_ids: Annotated[list[_Name], Meta(max_length=MAX_RUNTIME_IDS)] = []


class Layer(msgspec.Struct, frozen=True, array_like=True):
    """A value that another one hides: ``file``, ``env_var`` or ``command_line``, and where exactly."""

    source: _Name
    value: _Value
    origin: _Value = ""


class Setting(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A setting of the agent.

    Attributes:
        source: ``default``, ``file``, ``env_var`` or ``command_line``.
        origin: The file, the variable or the option; empty for a default.
        hidden: What lower layers said, nearest first.
    """

    name: _Name
    value: _Value
    source: _Name
    origin: _Value = ""
    hidden: Annotated[list[Layer], Meta(max_length=4)] = []


class RemoteConfig(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """How Remote Configuration stands in the agent.

    Attributes:
        enabled: The operator's switch.
        is_on: Enabled, and nothing keeps it from starting.
        reason: Why it is not on, as a sentence.
        condition: Of the conversation with the control plane, in one word.
        error: Of the last exchange; empty when it succeeded.
    """

    enabled: bool = True
    is_on: bool = True
    reason: Annotated[str, Meta(max_length=1000)] = ""
    condition: _Name = ""
    error: Annotated[str, Meta(max_length=1000)] = ""


class Inventory(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """All of it.

    Attributes:
        token: ``Taken.token`` of the last post that was taken; empty at first.
        runtimes: Those with something new since.
        dropped: What was too large, too much or not to be read, counted by kind.
    """

    hostname: Annotated[str, Meta(min_length=1, max_length=MAX_NAME_CHARS)]
    agent_uuid: Annotated[str, Meta(min_length=1, max_length=100)]
    format: int = FORMAT
    token: Annotated[str, Meta(max_length=64)] = ""
    version: _Name = ""
    wire_version: _Name = ""
    os: _Name = ""
    kernel: _Name = ""
    architecture: _Name = ""
    python: _Name = ""
    uptime_s: _Count = 0
    tags: Annotated[list[_Name], Meta(max_length=MAX_TAGS)] = []
    remote_config: RemoteConfig = RemoteConfig()
    settings: Annotated[list[Setting], Meta(max_length=100)] = []
    services: Annotated[list[Service], Meta(max_length=MAX_SERVICES)] = []
    runtimes: Annotated[list[Runtime], Meta(max_length=MAX_RUNTIMES)] = []
    dropped: Annotated[dict[Annotated[str, Meta(max_length=60)], _Count], Meta(max_length=50)] = {}


class Taken(msgspec.Struct, frozen=True):
    """The answer to a post.

    Attributes:
        token: Changes when the control plane may have forgotten runtimes: then all are told again.
        next_s: When the next post is wanted.
    """

    token: Annotated[str, Meta(max_length=64)]
    next_s: Annotated[float, Meta(ge=1, le=3600)] = 60.0


_encoder = msgspec.json.Encoder()
_inventory = msgspec.json.Decoder(Inventory)
_taken = msgspec.json.Decoder(Taken)


def encode(post: Inventory) -> bytes:
    """A post as it travels: gzipped JSON."""
    return gzip.compress(_encoder.encode(post), compresslevel=5, mtime=0)


def decode(body: bytes, *, is_gzipped: bool) -> Inventory:
    """Read a post.

    Args:
        body: As received, unverified.
        is_gzipped: What its ``Content-Encoding`` says.

    Raises:
        OversizeError: It is larger than a post may be, packed or unpacked.
        MalformedError: It is no such document.
    """
    if len(body) > MAX_POST_BYTES:
        raise OversizeError(f"An inventory may have {MAX_POST_BYTES} bytes.")
    document = gunzip(body, limit=MAX_DOCUMENT_BYTES) if is_gzipped else body
    return read(document)


def read(document: bytes | str) -> Inventory:
    """Read the JSON of a post, as it is also kept.

    Raises:
        MalformedError: It is no such document.
    """
    try:
        return _inventory.decode(document)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedError(f"This is not an inventory: {str(error)[:200]}.") from error


def write(post: Inventory) -> str:
    """A post as plain JSON, to be kept."""
    return _encoder.encode(post).decode()


def encode_taken(taken: Taken) -> bytes:
    """The answer to a post."""
    return _encoder.encode(taken)


def decode_taken(body: bytes) -> Taken:
    """Read the answer to a post.

    Raises:
        MalformedError: It is no such answer.
    """
    try:
        return _taken.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedError(f"This does not answer an inventory: {str(error)[:200]}.") from error
