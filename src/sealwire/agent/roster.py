"""Who is here: the clients seen on this host, and what each said last.

Hides how a change is noticed. A client is known by its ``client.id`` and stays for a time to live after
its last request. Of each the whole last message is kept, since that is what is reported; two messages
are the same when all but ``last_seen`` is, so any change of state, product, tag or error is one.

Invariants: at most ``max_clients`` are kept, and a newcomer to a full roster is still answered, only not
reported. Time is handed in (``now_s`` counts up and never jumps; ``wall_ms`` is what people call the
time). No I/O.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum

from sealwire.wire import remoteconfig_pb2 as pb

MAX_CLIENTS = 1000
# A request this large is remembered as its meaning only, not as bytes to compare the next one with.
MAX_REMEMBERED_BODY_BYTES = 64 * 1024
# What a control plane takes in one request is 8 MiB; one client must not keep the others from being told of.
MAX_REPORT_BYTES = 7 * 1024 * 1024
MAX_CLIENT_REPORT_BYTES = 1024 * 1024
# A tracer that is switched on asks for products before all of it is ready to take them (docs/adr/0006).
SETTLES_S = 3.0


class Arrival(Enum):
    """What a request told us that the one before did not."""

    NOTHING_NEW = "nothing new"
    CHANGED = "changed"
    NEW_PRODUCT = "new product"
    FIRST_PRODUCTS = "first products"
    NEW_CLIENT = "new client"

    @property
    def wants_news(self) -> bool:
        """Whether the control plane may now have configs for this client that it had no reason to send."""
        return self in (Arrival.NEW_CLIENT, Arrival.NEW_PRODUCT, Arrival.FIRST_PRODUCTS)


@dataclass(slots=True)
class Seen:
    """One client, as last seen.

    Attributes:
        client: Its last message, as it came.
        first_seen_ms: When it was first seen in its present stay, Unix milliseconds.
        last_seen_s: On the clock of ``now_s``.
        answer: The encoded answer to ``body``, valid while the served state is ``answer_of``.
        problem: Why its last request could not be answered; "" when it was.
        settled_s: From when on it is ready for what it asked for last, on the clock of ``now_s``.
    """

    client: pb.Client
    fingerprint: bytes
    first_seen_ms: int
    last_seen_s: float
    last_seen_ms: int
    requests: int = 1
    body: bytes | None = None
    answer: bytes = b""
    answer_of: int = -1
    problem: str = ""
    settled_s: float = 0.0


@dataclass(slots=True)
class Roster:
    """The clients of this host.

    Args:
        ttl_s: How long a client is here after its last request.
        max_clients: More are not reported.
        settles_s: How long a client that names a new product is given to get ready for it.
    """

    ttl_s: float = 30.0
    max_clients: int = MAX_CLIENTS
    settles_s: float = SETTLES_S
    turned_away: int = 0
    _seen: OrderedDict[str, Seen] = field(default_factory=OrderedDict)
    _by_body: dict[bytes, Seen] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self._seen)

    def __iter__(self) -> Iterator[Seen]:
        return iter(self._seen.values())

    def get(self, client_id: str) -> Seen | None:
        """The client of that id, if it is here."""
        return self._seen.get(client_id)

    def same_again(self, body: bytes, *, answer_of: int, now_s: float, wall_ms: int) -> Seen | None:
        """Note a request that is byte for byte its client's last one, without reading it.

        Args:
            body: As received.
            answer_of: The generation of the state that is served now.
            now_s: A clock that only counts up.
            wall_ms: Unix milliseconds.

        Returns:
            The client, whose ``answer`` is good; None, and nothing noted, when this is not anybody's last
            request, its client was gone meanwhile, or the state is another one.
        """
        seen = self._by_body.get(body)
        if seen is None or seen.answer_of != answer_of or now_s - seen.last_seen_s > self.ttl_s:
            return None
        self._note(seen, now_s, wall_ms)
        return seen

    def note(
        self, client: pb.Client, *, now_s: float, wall_ms: int, body: bytes | None = None
    ) -> tuple[Arrival, Seen | None]:
        """Note a request.

        Args:
            client: Validated. Kept; the caller must not change it afterwards.
            now_s: A clock that only counts up.
            wall_ms: Unix milliseconds, reported as ``last_seen``.
            body: The request it came in, to know it again.

        Returns:
            What is new, and the entry; None where the roster is full.
        """
        client.last_seen = 0
        fingerprint = client.SerializeToString(deterministic=True)
        seen = self._seen.get(client.id)
        if seen is not None and now_s - seen.last_seen_s > self.ttl_s:
            self._forget(client.id)
            seen = None
        if seen is None:
            if len(self._seen) >= self.max_clients:
                self.sweep(now_s=now_s)
            if len(self._seen) >= self.max_clients:
                self.turned_away += 1
                return Arrival.NOTHING_NEW, None
            seen = Seen(client, fingerprint, wall_ms, now_s, wall_ms)
            self._seen[client.id] = seen
            self._remember(seen, body)
            return Arrival.NEW_CLIENT, seen

        arrival = Arrival.NOTHING_NEW
        if fingerprint != seen.fingerprint:
            more_products = not set(client.products) <= set(seen.client.products)
            arrival = Arrival.CHANGED
            if more_products:
                # ddtrace up to 4.13 names no product at all in its first request.
                arrival = Arrival.NEW_PRODUCT if seen.client.products else Arrival.FIRST_PRODUCTS
            if arrival is Arrival.NEW_PRODUCT:
                seen.settled_s = now_s + self.settles_s
            seen.client = client
            seen.fingerprint = fingerprint
        self._note(seen, now_s, wall_ms)
        self._remember(seen, body)
        return arrival, seen

    def sweep(self, *, now_s: float) -> list[Seen]:
        """Forget who was not seen for the time to live, and say who that was."""
        gone = []
        while self._seen:
            # Kept in the order of the last request, so the first that is here ends the search.
            client_id, seen = next(iter(self._seen.items()))
            if now_s - seen.last_seen_s <= self.ttl_s:
                break
            gone.append(seen)
            self._forget(client_id)
        return gone

    def reports(self) -> list[pb.Client]:
        """The clients as the control plane is told, each with the time it was last seen.

        Those seen last come first. One whose message is out of all proportion is left out, and so are the
        last ones where all together would be more than a request may hold.
        """
        reported = []
        room = MAX_REPORT_BYTES
        for seen in reversed(self._seen.values()):
            size = len(seen.fingerprint)
            if size > MAX_CLIENT_REPORT_BYTES or size > room:
                continue
            room -= size + 32
            client = pb.Client()
            client.CopyFrom(seen.client)
            client.last_seen = seen.last_seen_ms
            reported.append(client)
        return reported

    def products(self) -> set[str]:
        """Every product somebody here asks for."""
        return {product for seen in self._seen.values() for product in seen.client.products}

    def _note(self, seen: Seen, now_s: float, wall_ms: int) -> None:
        seen.last_seen_s = now_s
        seen.last_seen_ms = wall_ms
        seen.requests += 1
        self._seen.move_to_end(seen.client.id)

    def _remember(self, seen: Seen, body: bytes | None) -> None:
        if body == seen.body:
            return
        if seen.body is not None:
            self._by_body.pop(seen.body, None)
        seen.body = body if body is not None and len(body) <= MAX_REMEMBERED_BODY_BYTES else None
        seen.answer, seen.answer_of = b"", -1
        if seen.body is not None:
            self._by_body[seen.body] = seen

    def _forget(self, client_id: str) -> None:
        seen = self._seen.pop(client_id)
        if seen.body is not None:
            self._by_body.pop(seen.body, None)
