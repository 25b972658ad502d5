"""ASM_DATA: the lists rules look things up in, such as denied addresses and users.

Lists of the same id in several configs are joined by the client, so many configs may stand side by side;
only their type must agree, as the client takes it from the first it meets. Expirations are seconds: in
milliseconds an entry would never lapse. A list without entries is refused: libddwaf 2.1.0 reads past its end,
and the application dies with it.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping, Sequence

from sealwire.errors import Problem
from sealwire.products import wording
from sealwire.products.product import Others, Payload, Product, elements
from sealwire.products.schema import Integer, ListOf, Record, Report, Text, at, ip_or_network, quote

_LISTS = ("rules_data", "exclusion_data")
_IP = "ip_with_expiration"
_TEXT = "data_with_expiration"
_FIRST_MILLISECONDS = 10**11  # the year 5138 in seconds, March 1973 in milliseconds


def _seconds(value: int) -> str | None:
    if value >= _FIRST_MILLISECONDS:
        return f"{value} looks like milliseconds; expirations are seconds since 1970 (here {value // 1000})."
    return None


def _addresses(element: Mapping[str, object], path: str, report: Report) -> None:
    entries = element["data"]
    if element["type"] != _IP or not isinstance(entries, list | tuple):
        return
    for index, entry in enumerate(entries):
        wrong = ip_or_network(entry["value"])
        if wrong:
            report.add(at(at(at(path, "data"), index), "value"), wrong)
        if report.full:
            return


_ENTRY = Record(
    required={"value": Text(max_length=4096, says="An address or network, or the exact text.")},
    optional={
        "expiration": Integer(
            also=_seconds,
            form="unix-seconds",
            says="Seconds since 1970 at which it lapses; 0 or none: never.",
        )
    },
)
_LIST = Record(
    required={
        "id": Text(max_length=256, says="What rules call it; blocked_ips and blocked_users are standard."),
        "type": Text(one_of=(_IP, _TEXT), says="Addresses and networks, or exact texts."),
        # The engine ends the application that gives it a list without entries.
        "data": ListOf(item=_ENTRY, min_items=1, says="The entries."),
    },
    also=_addresses,
)
_SHAPE = Record(
    optional={
        "rules_data": ListOf(item=_LIST, unique="id", says="Lists for conditions of rules."),
        "exclusion_data": ListOf(item=_LIST, unique="id", says="Lists for conditions of exclusions."),
    },
    at_least_one=_LISTS,
)


def _types_that_differ(payload: Payload, others: Others) -> Iterator[Problem]:
    for name in _LISTS:
        known = {
            element.get("id"): (element.get("type"), config_id)
            for config_id, other in others.items()
            for _, element in elements(other, name)
        }
        for path, element in elements(payload, name):
            other_type, owner = known.get(element.get("id"), (None, None))
            if other_type is not None and other_type != element.get("type"):
                message = f"Config {owner} has {quote(element.get('id'))} with the type {quote(other_type)}."
                yield Problem(path=at(path, "type"), message=message)


def _worth_knowing(payload: Payload, _others: Others) -> Iterator[Problem]:
    standard = {"blocked_ips": _IP, "blocked_users": _TEXT}
    for path, element in elements(payload, *_LISTS):
        expected = standard.get(str(element.get("id")))
        if path.startswith("$.rules_data") and expected and element.get("type") != expected:
            message = f"The bundled rules read this list as {expected}."
            yield Problem(path=at(path, "type"), message=message)
        first: dict[object, int] = {}
        data = element.get("data")
        for index, entry in enumerate(data if isinstance(data, list | tuple) else ()):
            value = entry.get("value")
            earlier = first.setdefault(value, index)
            if earlier != index:
                message = (
                    f"Also at {_value_at(path, earlier)}; the later expiration wins, and never beats all."
                )
                yield Problem(path=_value_at(path, index), message=message)
            if element.get("type") == _IP and _is_everyone(value):
                message = "This network is every address there is."
                yield Problem(path=_value_at(path, index), message=message)


def _value_at(path: str, index: int) -> str:
    return at(at(at(path, "data"), index), "value")


def _is_everyone(value: object) -> bool:
    return isinstance(value, str) and value.endswith("/0") and ipaddress.ip_network(value).prefixlen == 0


def _entries(element: object) -> dict[str, int]:
    """Value -> the last second it counts; 0: for ever."""
    data = element.get("data") if isinstance(element, Mapping) else None
    found: dict[str, int] = {}
    for entry in data if isinstance(data, list | tuple) else ():
        value, until = entry.get("value"), entry.get("expiration") or 0
        if isinstance(value, str) and isinstance(until, int):
            found[value] = 0 if 0 in (until, found.get(value)) else max(until, found.get(value, 0))
    return found


def _told(place: str, before: object, after: object) -> Sequence[str] | None:
    """What it means that a list gains and loses entries."""
    if place not in ("$.rules_data[]", "$.exclusion_data[]"):
        return None
    element = after if after is not None else before
    if not isinstance(element, Mapping):
        return None
    if isinstance(before, Mapping) and isinstance(after, Mapping) and before.get("type") != after.get("type"):
        return None
    list_id = str(element.get("id"))
    one, many = ("address", "addresses") if element.get("type") == _IP else ("value", "values")
    if list_id == "blocked_users":
        one, many = "user", "users"
    blocks = place == "$.rules_data[]" and list_id in ("blocked_ips", "blocked_users")
    begins, ends = ("Blocks", "No longer blocks") if blocks else ("Adds", "Removes")
    where = "" if blocks else f" {{}} the list {wording.shown(list_id)}"
    old, new = _entries(before), _entries(after)
    added, removed = [v for v in new if v not in old], [v for v in old if v not in new]
    moved = [value for value in new if value in old and new[value] != old[value]]
    more = "more " if blocks and old else ""
    said = []
    if added:
        ends_at = {new[value] for value in added}
        until = f" until {wording.moment(ends_at.pop())}" if len(ends_at) == 1 and 0 not in ends_at else ""
        number = wording.counted(len(added), more + one, more + many)
        said.append(f"{begins} {number}{where.format('to')}{until}: {wording.some(added)}")
    if removed:
        number = wording.counted(len(removed), one, many)
        said.append(f"{ends} {number}{where.format('from')}: {wording.some(removed)}")
    if moved:
        first = [f"{v} {f'until {wording.moment(new[v])}' if new[v] else 'for good'}" for v in moved]
        number = wording.counted(len(moved), one, many)
        said.append(f"Changes until when {number}{where.format('of')} count: {wording.some(first)}")
    if not said and before is None:
        said.append(f"Makes the list {wording.shown(list_id)}, without an entry")
    if not said and after is None:
        said.append(f"Removes the list {wording.shown(list_id)}, which had no entry")
    return said or None


PRODUCT = Product(
    name="ASM_DATA",
    title="Denylists and passlists",
    reads="appsec_protect_read",
    writes="appsec_protect_write",
    summary="Lists of addresses, users and other values that rules and exclusions look up.",
    shape=_SHAPE,
    example={
        "rules_data": [
            {
                "id": "blocked_ips",
                "type": _IP,
                "data": [{"value": "203.0.113.7"}, {"value": "2001:db8::/32", "expiration": 4_102_444_800}],
            }
        ]
    },
    comparer=_types_that_differ,
    warner=_worth_knowing,
    beginning={"rules_data": [{"id": "blocked_ips", "type": _IP, "data": [{}]}]},
    labels={
        "$.rules_data": "Lists for rules",
        "$.rules_data[]": "List",
        "$.rules_data[].data": "Entries",
        "$.rules_data[].data[]": "Entry",
        "$.exclusion_data": "Lists for exclusions",
        "$.exclusion_data[]": "List",
        "$.exclusion_data[].data": "Entries",
        "$.exclusion_data[].data[]": "Entry",
        "$.rules_data[].data[].expiration": "Until; empty for good",
        "$.exclusion_data[].data[].expiration": "Until; empty for good",
    },
    teller=_told,
    capability={"$.rules_data": 2, "$.exclusion_data": 18},
)
