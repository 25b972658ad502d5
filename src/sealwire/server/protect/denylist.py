"""The denylist as data: what is in the payload of one ASM_DATA config, and how a change looks.

Pure: payload in, payload out. Invariants: parts of the payload that are not the two lists stay as
they were; expired entries are gone after any change; no address is listed beneath a wider prefix
that outlasts it, because tracers go by the longest prefix and a lapsed /32 would open a hole in
a blocked /24.

Source: tracer protocol notes, product ASM_DATA: ids, types, expiry in whole unix seconds, 0 or absent
means for ever.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from sealwire.errors import InvalidChangeError, Problem

IpNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network


class Kind(Enum):
    """The two lists that the rules bundled with every tracer look at."""

    IP = ("blocked_ips", "ip_with_expiration")
    USER = ("blocked_users", "data_with_expiration")

    @property
    def list_id(self) -> str:
        return self.value[0]

    @property
    def data_type(self) -> str:
        return self.value[1]


@dataclass(frozen=True, slots=True)
class Entry:
    """One blocked address, network or user.

    Attributes:
        value: Canonical text.
        until_s: Unix seconds at which it lapses; None is never.
    """

    value: str
    until_s: int | None = None

    def lives(self, now_s: int) -> bool:
        """Whether it has not lapsed."""
        return self.until_s is None or self.until_s > now_s

    def outlasts(self, other: Entry) -> bool:
        """Whether this one holds at least as long."""
        return self.until_s is None or (other.until_s is not None and self.until_s >= other.until_s)


@dataclass(frozen=True, slots=True)
class Address:
    """An address or network as typed, made canonical.

    Attributes:
        value: ``203.0.113.7`` or ``203.0.113.0/24``.
        was_rewritten: Host bits or another spelling were dropped.
        risks: Why blocking it may hurt, a sentence each; empty if it is an ordinary address.
    """

    value: str
    was_rewritten: bool
    risks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Checked:
    """One value that somebody wants to block.

    Attributes:
        typed: As it came.
        value: As it would be written.
        risks: Why it may hurt, a sentence each; empty for an ordinary one.
    """

    typed: str
    value: str
    risks: tuple[str, ...] = ()


MAX_VALUES = 1000  # in one change
MAX_USER_CHARS = 4096

_PRIVATE = tuple(
    ipaddress.ip_network(text)
    for text in (
        "10.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "::1/128",
        "fc00::/7",
        "fe80::/10",
    )
)
# Wider than what one site usually holds: a slip of the finger, or many strangers at once.
_WIDEST = {4: 16, 6: 32}


def check(
    kind: Kind, values: Sequence[str], *, own_address: str = "", agents: Mapping[str, str] | None = None
) -> tuple[Checked, ...]:
    """Read what somebody wants to block, each once, and say what of it may hurt.

    Args:
        own_address: Where this person's request came from.
        agents: Address -> host name of agents that ask.

    Raises:
        InvalidChangeError: With the problem of each value that is none.
    """
    if not 1 <= len(values) <= MAX_VALUES:
        raise InvalidChangeError(
            f"Name 1 to {MAX_VALUES} at once.",
            problems=(Problem("$.values", f"1 to {MAX_VALUES}, not {len(values)}"),),
        )
    found: dict[str, Checked] = {}
    problems = []
    for index, typed in enumerate(values):
        try:
            is_user = kind is Kind.USER
            one = _checked_user(typed) if is_user else _checked_address(typed, own_address, agents or {})
        except ValueError as error:
            problems.append(Problem(f"$.values[{index}]", str(error)))
        else:
            found.setdefault(one.value, one)
    if problems:
        raise InvalidChangeError(problems[0].message, problems=tuple(problems))
    return tuple(found.values())


def _checked_user(typed: str) -> Checked:
    if not typed.strip() or len(typed) > MAX_USER_CHARS or any(ord(character) < 32 for character in typed):
        raise ValueError("A user id is a text that is not empty, without control characters.")
    return Checked(typed, typed)


def _checked_address(typed: str, own_address: str, agents: Mapping[str, str]) -> Checked:
    address = canonical_address(typed)
    risks = [*address.risks]
    if own_address and holds(address.value, own_address):
        risks.append(f"You are at {own_address} yourself: services that see you there would refuse you.")
    hit = sorted({host for at, host in agents.items() if holds(address.value, at)})
    if hit:
        who = f"{len(hit)} agents ask" if len(hit) > 1 else "An agent asks"
        risks.append(
            f"{who} from there, and applications of the same hosts may call from there: {some(hit)}."
        )
    return Checked(typed, address.value, tuple(risks))


def some(values: Sequence[str]) -> str:
    """The first few, and how many more."""
    if len(values) <= 5:
        return ", ".join(values)
    return f"{', '.join(values[:5])} and {len(values) - 5} more"


def canonical_address(text: str) -> Address:
    """Read an address or network as people write them.

    Raises:
        ValueError: It is neither; the message is a sentence.
    """
    try:
        network = ipaddress.ip_network(text.strip(), strict=False)
    except ValueError:
        raise ValueError(
            f"{text!r} is not an IP address or network such as 203.0.113.7, 203.0.113.0/24 or 2001:db8::/32."
        ) from None
    if isinstance(network, ipaddress.IPv6Network):
        if network.network_address.scope_id:
            raise ValueError(f"{text!r} names an interface of one machine; leave the part after % away.")
        mapped = network.network_address.ipv4_mapped
        if mapped is not None and network.prefixlen >= 96:
            # Tracers see the client's IPv4 address, never its mapped form.
            network = ipaddress.ip_network(f"{mapped}/{network.prefixlen - 96}")
    value = _network_text(network)
    return Address(value, value != text.strip(), tuple(_risks(network)))


def _network_text(network: IpNetwork) -> str:
    if network.prefixlen == network.max_prefixlen:
        return str(network.network_address)
    return str(network)


def _risks(network: IpNetwork) -> Iterator[str]:
    shown = _network_text(network)
    if network.prefixlen == 0:
        yield f"{shown} is every address there is: nobody could use the service."
        return
    if network.prefixlen < _WIDEST[network.version]:
        yield f"{shown} is very wide: {how_many(network)}."
    private = [str(one) for one in _PRIVATE if one.version == network.version and one.overlaps(network)]
    if private:
        yield (
            f"{shown} is in the private range {private[0]}: proxies, load balancers "
            "and health checks call from there."
        )


def how_many(network: IpNetwork) -> str:
    """How many addresses a network has, as people read it."""
    count = network.num_addresses
    if count < 10**12:
        return f"{count:,} address{'es' if count > 1 else ''}"
    return f"2^{network.max_prefixlen - network.prefixlen} addresses"


def holds(value: str, address: str) -> bool:
    """Whether an entry blocks an address; a text that is no address is held by none."""
    wider, one = _network(value), _network(address)
    if isinstance(one, ipaddress.IPv6Network) and (mapped := one.network_address.ipv4_mapped) is not None:
        one = ipaddress.ip_network(mapped)
    return wider is not None and one is not None and _contains(wider, one)


def entries(payload: Mapping[str, object], kind: Kind) -> list[Entry]:
    """What one list holds, in the order of the payload."""
    found: list[Entry] = []
    for element in _elements(payload):
        data = element.get("data")
        if element.get("id") != kind.list_id or not isinstance(data, list):
            continue
        for item in data:
            if isinstance(item, dict) and isinstance(item.get("value"), str):
                expiration = item.get("expiration")
                until_s = int(expiration) if isinstance(expiration, int | float) and expiration > 0 else None
                found.append(Entry(item["value"], until_s))
    return found


def replaced(payload: Mapping[str, object], kind: Kind, listed: Sequence[Entry]) -> dict[str, object]:
    """The payload with one list exchanged; a list without entries is left out."""
    kept = [element for element in _elements(payload) if element.get("id") != kind.list_id]
    if listed:
        data: list[dict[str, object]] = [
            {"value": entry.value}
            if entry.until_s is None
            else {"value": entry.value, "expiration": entry.until_s}
            for entry in listed
        ]
        kept.append({"id": kind.list_id, "type": kind.data_type, "data": data})
    out = {key: value for key, value in payload.items() if key != "rules_data"}
    if kept:
        out["rules_data"] = kept
    return out


def is_empty(payload: Mapping[str, object]) -> bool:
    """Whether nothing is left that a tracer could use."""
    return not any(payload.values())


def tidied(payload: Mapping[str, object], *, now_s: int) -> dict[str, object]:
    """The payload without entries that lapsed and without addresses a longer-lived prefix covers."""
    out = dict(payload)
    for kind in Kind:
        live = alive(entries(payload, kind), now_s=now_s)
        out = replaced(out, kind, without_covered(live) if kind is Kind.IP else live)
    return out


def alive(listed: Iterable[Entry], *, now_s: int) -> list[Entry]:
    """The entries that have not lapsed."""
    return [entry for entry in listed if entry.lives(now_s)]


def added(listed: Sequence[Entry], new: Entry) -> list[Entry]:
    """The list with the entry in it; an older entry of the same value gives way to it."""
    return [*(entry for entry in listed if entry.value != new.value), new]


def covering(listed: Iterable[Entry], entry: Entry) -> Entry | None:
    """A wider prefix that already blocks this address at least as long."""
    network = _network(entry.value)
    for other in listed:
        wider = _network(other.value)
        if network is None or wider is None or other.value == entry.value:
            continue
        if _contains(wider, network) and other.outlasts(entry):
            return other
    return None


def still_covering(listed: Iterable[Entry], value: str) -> list[Entry]:
    """Every entry that blocks this address, itself and wider ones."""
    network = _network(value)
    return [
        entry
        for entry in listed
        if entry.value == value
        or (
            network is not None and (wider := _network(entry.value)) is not None and _contains(wider, network)
        )
    ]


def without_covered(listed: Sequence[Entry]) -> list[Entry]:
    """The list without addresses beneath a prefix that outlasts them."""
    prefixes: dict[tuple[int, int], dict[int, Entry]] = {}
    networks = [(entry, _network(entry.value)) for entry in listed]
    for entry, network in networks:
        if network is not None:
            prefixes.setdefault((network.version, network.prefixlen), {})[int(network.network_address)] = (
                entry
            )
    kept = []
    for entry, network in networks:
        if network is None or not any(
            wider.outlasts(entry)
            for (version, length), held in prefixes.items()
            if version == network.version
            and length < network.prefixlen
            and (wider := held.get(_masked(network, length))) is not None
        ):
            kept.append(entry)
    return kept


def _masked(network: IpNetwork, length: int) -> int:
    shift = network.max_prefixlen - length
    return int(network.network_address) >> shift << shift


def _contains(wider: IpNetwork, network: IpNetwork) -> bool:
    return (
        wider.version == network.version
        and wider.prefixlen <= network.prefixlen
        and _masked(network, wider.prefixlen) == int(wider.network_address)
    )


def _network(value: str) -> IpNetwork | None:
    try:
        return ipaddress.ip_network(value, strict=False)
    except ValueError:
        return None


def _elements(payload: Mapping[str, object]) -> list[dict[str, object]]:
    listed = payload.get("rules_data")
    return [element for element in listed if isinstance(element, dict)] if isinstance(listed, list) else []
