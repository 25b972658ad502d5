"""What a poll says, compared with what the last one said, without reading it.

Two requests of one agent say the same when they differ in nothing but when clients were last seen, and the
order of clients and products (a Go Agent keeps both in maps, so each poll has another order). Only the
outer layer is parsed: clients and everything else are kept as the bytes they are, which costs a third of
reading them.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from sealwire.errors import MalformedError
from sealwire.wire import remoteconfig_pb2 as pb
from sealwire.wire.limits import (
    MAX_AGENT_CLIENTS,
    MAX_LATEST_CONFIGS_REQUEST_BYTES,
    check_count,
    check_size,
)

_BYTES = descriptor_pb2.FieldDescriptorProto.TYPE_BYTES
_UINT64 = descriptor_pb2.FieldDescriptorProto.TYPE_UINT64
_MESSAGE = descriptor_pb2.FieldDescriptorProto.TYPE_MESSAGE


class Identity(NamedTuple):
    """Who polls, as it says."""

    hostname: bytes
    agent_uuid: bytes


class Gist(NamedTuple):
    """What a request says. Equal gists say the same.

    Attributes:
        clients_sent: How many, so that one sent twice counts.
        clients: Each without its ``last_seen``.
        rest: Everything but clients and products.
    """

    clients_sent: int
    products: frozenset[bytes]
    clients: frozenset[bytes]
    rest: bytes

    def request(self) -> bytes:
        """A request that says just this."""
        poll = _Poll.FromString(self.rest)
        poll.products.extend(sorted(self.products))
        for client in sorted(self.clients):
            poll.clients.add().ParseFromString(client)
        raw: bytes = poll.SerializeToString()
        return raw


def read(body: bytes) -> tuple[Identity, Gist]:
    """Who asks, and what it says. Strings and the insides of clients are not checked here.

    Raises:
        MalformedError: Not a protobuf message.
        OversizeError: Too large, or with too many clients.
    """
    if len(body) > MAX_LATEST_CONFIGS_REQUEST_BYTES:
        check_size("request for configurations", len(body), MAX_LATEST_CONFIGS_REQUEST_BYTES)
    try:
        poll = _Poll.FromString(body)
    except DecodeError as error:
        raise MalformedError("The request is not a LatestConfigsRequest.") from error
    sent = poll.clients
    if len(sent) > MAX_AGENT_CLIENTS:
        check_count("clients of an agent", len(sent), MAX_AGENT_CLIENTS)
    clients = []
    for client in sent:
        client.last_seen = 0  # as good as absent
        clients.append(_bytes_of_client(client))
    products = frozenset(poll.products)
    identity = _new_tuple(Identity, (poll.hostname, poll.agent_uuid))
    poll.ClearField("clients")
    poll.ClearField("products")
    gist = (len(clients), products, frozenset(clients), poll.SerializeToString())
    return identity, _new_tuple(Gist, gist)


def _outline() -> Any:
    """LatestConfigsRequest with few of its fields: protobuf keeps the others as the bytes they came in."""
    file = descriptor_pb2.FileDescriptorProto(
        name="sealwire/outline.proto", package="sealwire.outline", syntax="proto3"
    )
    request = pb.LatestConfigsRequest.DESCRIPTOR.fields_by_name
    poll = file.message_type.add(name="Poll")
    for name in ("hostname", "agent_uuid"):
        poll.field.add(name=name, number=request[name].number, type=_BYTES, label=1)
    poll.field.add(name="products", number=request["products"].number, type=_BYTES, label=3)
    poll.field.add(
        name="clients",
        number=request["active_clients"].number,
        type=_MESSAGE,
        type_name=".sealwire.outline.Client",
        label=3,
    )
    last_seen = pb.Client.DESCRIPTOR.fields_by_name["last_seen"].number
    client = file.message_type.add(name="Client")
    client.field.add(name="last_seen", number=last_seen, type=_UINT64, label=1)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("sealwire.outline.Poll"))


_Poll = _outline()
# This module is on the way of every poll: what is looked up once here would be looked up per client there.
_bytes_of_client = type(_Poll().clients.add()).SerializeToString
_new_tuple: Any = tuple.__new__
