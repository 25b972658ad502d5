"""Who of a signal is blocked now, and what was blocked because of it.

Hides that the denylist is long and changes seldom: it is read again when its version moved, and an address is
looked up in what was read, networks around it included.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final
from weakref import WeakKeyDictionary

import orjson
import sqlalchemy as sa

from sealwire.server.protect.targets import EVERYWHERE
from sealwire.server.store import protect as store
from sealwire.server.store.protect import Criteria, EntryRow
from sealwire.server.targeting import Targeting
from sealwire.server.tenant import Tenant
from sealwire.server.ui.security_traces_words import visible

MAX_ACTIONS: Final = 50
_ADDRESSES: Final = "ip"
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class Standing:
    """A block that is in force; ``until_s`` is None for one without end."""

    words: str
    until_s: float | None


@dataclass(frozen=True, slots=True)
class Action:
    """Something that was blocked because of a signal."""

    at_s: float
    words: str
    by: str
    until_s: float | None


@dataclass(frozen=True, slots=True)
class Blocks:
    """What is known of blocks around a signal."""

    addresses: Mapping[str, Standing] = field(default_factory=dict)
    actions: tuple[Action, ...] = ()


@dataclass(slots=True)
class _Known:
    """The denylist as of a version."""

    version: int
    single: dict[Address, list[EntryRow]] = field(default_factory=dict)
    networks: list[tuple[Network, EntryRow]] = field(default_factory=list)


_KNOWN: WeakKeyDictionary[Tenant, _Known] = WeakKeyDictionary()


def blocks(
    c: sa.Connection,
    tenant: Tenant,
    signal_id: str,
    values: Iterable[str],
    *,
    now_ms: int,
    services: Collection[str] = (),
) -> Blocks:
    """What is blocked of these addresses, and what was because of this signal.

    Args:
        services: That were attacked: who is blocked for others only is not blocked.
    """
    org_id = tenant.organisation.org_id
    known = _known(c, tenant)
    found = store.search(
        c, org_id, Criteria(source=f"signal:{signal_id}", state="all"), now_ms=now_ms, limit=MAX_ACTIONS
    )
    found_of = {value: _standing(known, value, now_ms, services) for value in values}
    standing = {value: one for value, one in found_of.items() if one is not None}
    return Blocks(standing, tuple(_action(row, now_ms) for row in found))


def _known(c: sa.Connection, tenant: Tenant) -> _Known:
    version, _ = store.head(c, tenant.organisation.org_id)
    held = _KNOWN.get(tenant)
    if held is not None and held.version == version:
        return held
    known = _Known(version)
    for row in store.alive(c, tenant.organisation.org_id):
        if row.kind != _ADDRESSES:
            continue
        try:
            network = ipaddress.ip_network(row.value, strict=False)
        except ValueError:
            continue
        if network.num_addresses == 1:
            known.single.setdefault(network.network_address, []).append(row)
        else:
            known.networks.append((network, row))
    _KNOWN[tenant] = known
    return known


def _reaches(row: EntryRow, services: Collection[str]) -> bool:
    """Whether an entry is for all of these services, in every environment."""
    if row.target_key == EVERYWHERE:
        return True
    target = Targeting.parse(orjson.loads(row.target))
    named = {one.casefold() for one in target.service}
    return set(target.to_dict()) == {"service"} and bool(services) and named >= {*map(str.casefold, services)}


def _standing(known: _Known, value: str, now_ms: int, services: Collection[str]) -> Standing | None:
    try:
        address = ipaddress.ip_address(value)
    except ValueError:
        return None
    rows = [
        *known.single.get(address, ()),
        *(
            row
            for network, row in known.networks
            if network.version == address.version and address in network
        ),
    ]
    lasting = [
        row for row in rows if (row.until_ms is None or row.until_ms > now_ms) and _reaches(row, services)
    ]
    if not lasting:
        return None
    longest = max(lasting, key=lambda row: (row.until_ms is None, row.until_ms or 0))
    words = "" if longest.value == value else f"with {visible(longest.value, 60)}"
    return Standing(words, None if longest.until_ms is None else longest.until_ms / 1000)


def _action(row: EntryRow, now_ms: int) -> Action:
    kinds = {"ip": "", "user": "the user ", "suspicious": "suspicious requests of "}
    words = f"Blocked {kinds.get(row.kind, '')}{visible(row.value, 80)}"
    if row.ended_as == "unblocked":
        words += f", unblocked by {visible(row.ended_by, 80)}"
    elif row.ended_ms is not None or (row.until_ms is not None and row.until_ms <= now_ms):
        words += ", over by now"
    return Action(
        row.created_ms / 1000, words, visible(row.created_by, 100),
        None if row.until_ms is None else row.until_ms / 1000,
    )  # fmt: skip
