"""The denylist as data: what may be listed, what of it may hurt, and how it looks in a payload.

Pure: payload in, payload out. Invariants: parts of the payload that are not our lists stay as they were; a
list without entries is left out; no address is listed beneath a wider prefix that outlasts it, because
tracers go by the longest prefix and a lapsed /32 would open a hole in a blocked /24.

Source: tracer protocol notes, products ASM_DATA and ASM: ids, types, expiry in whole unix seconds, 0 or
absent means for ever.
"""

from __future__ import annotations

import ipaddress
import socket
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache

from sealwire.errors import InvalidChangeError, Problem

IpNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network


class Kind(Enum):
    """The lists: two that the rules bundled with every tracer look at, and one that our exclusion does.

    Of an address that is suspicious only requests that match a rule are refused.
    """

    IP = ("ip", "rules_data", "blocked_ips", "ip_with_expiration")
    USER = ("user", "rules_data", "blocked_users", "data_with_expiration")
    SUSPICIOUS = ("suspicious", "exclusion_data", "suspicious_ips_data_id", "ip_with_expiration")

    @property
    def word(self) -> str:
        """As the API and the tables say it."""
        return self.value[0]

    @property
    def section(self) -> str:
        return self.value[1]

    @property
    def list_id(self) -> str:
        return self.value[2]

    @property
    def data_type(self) -> str:
        return self.value[3]


KINDS: Mapping[str, Kind] = {kind.word: kind for kind in Kind}


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
        risks: Why it may hurt, a sentence each; empty for an ordinary one. With any it is asked about.
        cautions: What else to know before: who came from there lately.
    """

    typed: str
    value: str
    risks: tuple[str, ...] = ()
    cautions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Traffic:
    """Healthy requests of the last hour from an address or network, or of a user."""

    requests: int
    addresses: int
    services: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What is to be spared.

    Attributes:
        own_address: Where this person's request came from.
        agents: Address -> host name of agents that ask.
        networks: Of one's own: proxies, offices.
        traffic: Who came lately; None: nobody knows.
    """

    own_address: str = ""
    agents: Mapping[str, str] | None = None
    networks: tuple[IpNetwork, ...] = ()
    traffic: Callable[[str], Traffic | None] | None = None


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
_PRIVATE_V4 = sorted(
    (int(one.network_address), int(one.broadcast_address)) for one in _PRIVATE if one.version == 4
)
# Wider than what one site usually holds: a slip of the finger, or many strangers at once.
_WIDEST = {4: 16, 6: 32}


def check(
    kind: Kind, values: Sequence[str], around: Surroundings | None = None, *, most: int = MAX_VALUES
) -> tuple[Checked, ...]:
    """Read what somebody wants to block, each once, and say what of it may hurt.

    Raises:
        InvalidChangeError: With the problem of each value that is none.
    """
    if not 1 <= len(values) <= most:
        raise InvalidChangeError(
            f"Name 1 to {most:,} at once.",
            problems=(Problem("$.values", f"1 to {most}, not {len(values)}"),),
        )
    found: dict[str, Checked] = {}
    problems = []
    for index, typed in enumerate(values):
        try:
            one = check_one(kind, typed, around)
        except ValueError as error:
            problems.append(Problem(f"$.values[{index}]", str(error)))
        else:
            found.setdefault(one.value, one)
    if problems:
        raise InvalidChangeError(problems[0].message, problems=tuple(problems[:50]))
    return tuple(found.values())


def check_one(kind: Kind, typed: str, around: Surroundings | None = None) -> Checked:
    """Read one value.

    Raises:
        ValueError: It is none; the message is a sentence.
    """
    checked = _checked_user(typed) if kind is Kind.USER else _checked_address(typed, around)
    return checked if around is None else with_traffic(checked, around.traffic)


def with_traffic(checked: Checked, traffic: Callable[[str], Traffic | None] | None) -> Checked:
    """The same, with a word on who of them came without harm lately."""
    seen = None if traffic is None else traffic(checked.value)
    if seen is None or not seen.requests:
        return checked
    return Checked(checked.typed, checked.value, checked.risks, (_in_numbers(checked.value, seen),))


def _in_numbers(value: str, seen: Traffic) -> str:
    requests = f"{seen.requests:,} healthy request{'' if seen.requests == 1 else 's'}"
    source = f"{seen.addresses:,} addresses" if seen.addresses > 1 else "1 address"
    where = f" to {some(seen.services)}" if seen.services else ""
    of = f" of {value}" if seen.addresses > 1 or "/" in value else ""
    return f"{requests} from {source}{of}{where} in the last hour."


def _checked_user(typed: str) -> Checked:
    if not typed.strip() or len(typed) > MAX_USER_CHARS or any(ord(character) < 32 for character in typed):
        raise ValueError("A user id is a text that is not empty, without control characters.")
    return Checked(typed, typed)


def _checked_address(typed: str, around: Surroundings | None) -> Checked:
    if _is_plain(typed):
        value, risks = typed, list[str]()  # one public address, as most are
    else:
        address = canonical_address(typed)
        value, risks = address.value, [*address.risks]
    if around is None:
        return Checked(typed, value, tuple(risks))
    is_one = "/" not in value
    own = around.own_address.removeprefix("::ffff:")
    if own == value or (own and not is_one and holds(value, own)):
        at = around.own_address
        risks.append(f"You are at {at} yourself: services that see you there would refuse you.")
    agents = around.agents or {}
    if is_one:  # of ten thousand most are
        hit = [agents[value]] if value in agents else []
    else:
        hit = sorted({host for at, host in agents.items() if holds(value, at)})
    if hit:
        who = f"{len(hit)} agents ask" if len(hit) > 1 else "An agent asks"
        risks.append(
            f"{who} from there, and applications of the same hosts may call from there: {some(hit)}."
        )
    if around.networks and (packed := pack(value)) is not None:
        ours = [str(one) for one in around.networks if _meets(packed, one)]
        if ours:
            risks.append(f"{value} meets {some(ours)}: the settings of this server name it as yours.")
    return Checked(typed, value, tuple(risks))


def _meets(packed: Packed, network: IpNetwork) -> bool:
    version, number, length = packed
    if version != network.version:
        return False
    shift = network.max_prefixlen - min(length, network.prefixlen)
    return number >> shift == int(network.network_address) >> shift


def some(values: Sequence[str]) -> str:
    """The first few, and how many more."""
    if len(values) <= 5:
        return ", ".join(values)
    return f"{', '.join(values[:5])} and {len(values) - 5} more"


def _is_plain(text: str) -> bool:
    """Whether this is an IPv4 address, written as it should be, that is in no private range."""
    try:
        raw = socket.inet_pton(socket.AF_INET, text)
    except (OSError, ValueError):
        return False
    number = int.from_bytes(raw)
    at = bisect_right(_PRIVATE_V4, (number, 2**32)) - 1
    return (at < 0 or number > _PRIVATE_V4[at][1]) and socket.inet_ntop(socket.AF_INET, raw) == text


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


Packed = tuple[int, int, int]
"""Version, network address as a number, length of the prefix."""


@lru_cache(maxsize=50_000)
def pack(value: str) -> Packed | None:
    """A canonical address or network as numbers; None for what is neither."""
    text, _, length = value.partition("/")
    try:
        if ":" in text:
            raw, longest, version = socket.inet_pton(socket.AF_INET6, text), 128, 6
        else:
            raw, longest, version = socket.inet_pton(socket.AF_INET, text), 32, 4
        return version, int.from_bytes(raw), int(length) if length else longest
    except (OSError, ValueError):
        return None


def sort_key(kind: Kind, value: str) -> str:
    """What a list is sorted by: addresses in their own order, users as letters go."""
    packed = None if kind is Kind.USER else pack(value)
    if packed is None:
        return value.casefold()[:100]
    return f"{packed[0]}{packed[1]:032x}{packed[2]:03d}"


def prefixes_of(address: str) -> list[Packed]:
    """An address, and every network it may be in, the longest prefix first."""
    packed = pack(address)
    if packed is None:
        return []
    version, number, longest = packed
    width = 32 if version == 4 else 128
    return [(version, _cut(number, width, length), length) for length in range(longest, -1, -1)]


def _cut(number: int, width: int, length: int) -> int:
    return number >> (width - length) << (width - length)


def holds(value: str, address: str) -> bool:
    """Whether an entry blocks an address; a text that is no address is held by none."""
    wider, one = _network(value), _network(address)
    if isinstance(one, ipaddress.IPv6Network) and (mapped := one.network_address.ipv4_mapped) is not None:
        one = ipaddress.ip_network(mapped)
    return wider is not None and one is not None and _contains(wider, one)


def entries(payload: Mapping[str, object], kind: Kind) -> list[Entry]:
    """What one list holds, in the order of the payload."""
    found: list[Entry] = []
    for element in _elements(payload, kind.section):
        data = element.get("data")
        if element.get("id") != kind.list_id or not isinstance(data, list):
            continue
        for item in data:
            if isinstance(item, dict) and isinstance(item.get("value"), str):
                expiration = item.get("expiration")
                until_s = int(expiration) if isinstance(expiration, int | float) and expiration > 0 else None
                found.append(Entry(item["value"], until_s))
    return found


def replaced(payload: Mapping[str, object], kind: Kind, listed: Iterable[Entry]) -> dict[str, object]:
    """The payload with one list exchanged; a list without entries is left out."""
    kept = [element for element in _elements(payload, kind.section) if element.get("id") != kind.list_id]
    data: list[dict[str, object]] = [
        {"value": entry.value}
        if entry.until_s is None
        else {"value": entry.value, "expiration": entry.until_s}
        for entry in listed
    ]
    if data:
        kept.append({"id": kind.list_id, "type": kind.data_type, "data": data})
    out = {key: value for key, value in payload.items() if key != kind.section}
    if kept:
        out[kind.section] = kept
    return out


def rendered(
    before: Mapping[str, object], listed: Mapping[Kind, Iterable[Entry]]
) -> tuple[dict[str, object], dict[tuple[Kind, str], str]]:
    """The payload of a file: each value once, for as long as any entry says, none beneath a wider one.

    Args:
        before: What the file says now; what is not a list of ours stays.
        listed: What is in force, of each kind.

    Returns:
        The payload, and of what was left out beneath a wider prefix which that is.
    """
    out, covered = dict(before), dict[tuple[Kind, str], str]()
    for kind in Kind:
        longest: dict[str, Entry] = {}
        for entry in listed.get(kind, ()):
            known = longest.get(entry.value)
            if known is None or not known.outlasts(entry):
                longest[entry.value] = entry
        kept: Iterable[Entry] = longest.values()
        if kind is not Kind.USER:
            kept, beneath = uncovered(list(longest.values()))
            covered.update({(kind, value): wider for value, wider in beneath.items()})
        out = replaced(out, kind, kept)
    return out, covered


def exclusion(key: str = "") -> dict[str, object]:
    """The ASM payload that has requests of suspicious addresses refused when they match a rule.

    Args:
        key: Sets the elements of several files apart; ids are unique over all of a client's.
    """
    tail = f"_{key}" if key else ""
    action = f"block_suspicious{tail}"
    condition = {
        "operator": "ip_match",
        "parameters": {"data": Kind.SUSPICIOUS.list_id, "inputs": [{"address": "http.client_ip"}]},
    }
    parameters = {"status_code": 403, "type": "auto"}
    return {
        "exclusions": [{"id": f"suspicious_ips{tail}", "on_match": action, "conditions": [condition]}],
        "actions": [{"id": action, "type": "block_request", "parameters": parameters}],
    }


def is_empty(payload: Mapping[str, object]) -> bool:
    """Whether nothing is left that a tracer could use."""
    return not any(payload.values())


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


def uncovered(listed: Sequence[Entry]) -> tuple[list[Entry], dict[str, str]]:
    """Addresses that are not beneath a prefix that outlasts them; of the others, which one that is."""
    prefixes: dict[tuple[int, int], dict[int, Entry]] = {}
    packed = [(entry, pack(entry.value)) for entry in listed]
    for entry, one in packed:
        if one is not None:
            prefixes.setdefault((one[0], one[2]), {})[one[1]] = entry
    lengths: dict[int, list[int]] = {4: [], 6: []}
    for version, length in sorted(prefixes):
        lengths[version].append(length)
    kept, beneath = [], {}
    for entry, one in packed:
        wider = None if one is None else _wider(prefixes, lengths[one[0]], one, entry)
        if wider is None:
            kept.append(entry)
        else:
            beneath[entry.value] = wider.value
    return kept, beneath


def _wider(
    prefixes: Mapping[tuple[int, int], Mapping[int, Entry]],
    lengths: Sequence[int],
    one: Packed,
    entry: Entry,
) -> Entry | None:
    version, number, own = one
    width = 32 if version == 4 else 128
    for length in lengths:
        if length >= own:
            return None
        found = prefixes[version, length].get(_cut(number, width, length))
        if found is not None and found.outlasts(entry):
            return found
    return None


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


def _elements(payload: Mapping[str, object], section: str) -> list[dict[str, object]]:
    listed = payload.get(section)
    return [element for element in listed if isinstance(element, dict)] if isinstance(listed, list) else []
