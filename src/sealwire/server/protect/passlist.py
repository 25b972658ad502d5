"""The passlist: what the in-app firewall lets be, as the engine's exclusion filters.

An entry names whom it is about (addresses, paths) and what it lets be (rules, kinds of rules, parameters);
whatever it does not name it does not ask about. It bypasses, so that nothing is looked for, or monitors, so
that what is found is told and not blocked.

Entries of a target that stay are one config. One that ends is a config of its own, which ends by itself, as
the engine knows no end of a filter.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sealwire.errors import InvalidChangeError, NotFoundError, Problem
from sealwire.server.protect import policy
from sealwire.server.protect.policy import ASM, PASSLIST, Origin, Plan, Policies
from sealwire.server.store import rows
from sealwire.server.targeting import Targeting

MAX_VALUES = 1_000  # of one kind in one entry
CLIENT_IP = "http.client_ip"
URI = "server.request.uri.raw"
#: Where a parameter may be, as people call it, and as the engine does.
PLACES: Mapping[str, str] = {
    "query": "server.request.query",
    "body": "server.request.body",
    "header": "server.request.headers.no_cookies",
    "cookie": "server.request.cookies",
    "path": "server.request.path_params",
}
# The path alone, decoded once and without dots: /static/../admin is not below /static.
_TO_PATH = ("url_path", "urlDecode", "normalizePath")


class Mode(StrEnum):
    """What an entry does."""

    BYPASS = "bypass"
    MONITOR = "monitor"


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter that rules do not look at.

    Attributes:
        key_path: Below the address; empty: all of it.
    """

    address: str
    key_path: tuple[str, ...] = ()

    def __str__(self) -> str:
        place = next((name for name, address in PLACES.items() if address == self.address), self.address)
        return " ".join((place, ".".join(self.key_path))).strip()


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """Something that is let be.

    Attributes:
        addresses: Of clients, and networks.
        paths: With ``*`` for anything but a slash and ``**`` for anything.
        rules, types: Ids of rules, and kinds.
    """

    id: str
    addresses: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    rules: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    parameters: tuple[Parameter, ...] = ()
    mode: Mode = Mode.BYPASS

    @property
    def words(self) -> str:
        """What it does, in words."""
        what = [*(f"rule {one}" for one in self.rules), *(one.replace("_", " ") for one in self.types)]
        found = (
            "Does not look for anything"
            if self.mode is Mode.BYPASS
            else "Tells of attacks and does not block"
        )
        if self.parameters:
            found = f"Does not look at {_some(map(str, self.parameters))}"
            found += f" for {_some(what)}" if what else ""
        elif what:
            act = "Does not look for" if self.mode is Mode.BYPASS else "Tells of and does not block"
            found = f"{act} {_some(what)}"
        if self.addresses:
            found += f", from {_some(self.addresses)}"
        if self.paths:
            found += f", at {_some(self.paths)}"
        return found


def _some(values: Iterable[str]) -> str:
    listed = list(values)
    return ", ".join(listed[:4]) + (f" and {len(listed) - 4} more" if len(listed) > 4 else "")


@dataclass(frozen=True, slots=True)
class Listed:
    """An entry that is in force.

    Attributes:
        until_ms: When it ends by itself.
        is_alone: It is all that its config holds.
    """

    entry: Entry
    row: rows.ConfigRow
    target: Targeting
    origin: Origin | None
    until_ms: int | None
    is_alone: bool


# What people type -------------------------------------------------------------------------------------


def checked(
    *,
    addresses: Sequence[str] = (),
    paths: Sequence[str] = (),
    rules: Sequence[str] = (),
    types: Sequence[str] = (),
    parameters: Sequence[str] = (),
    mode: str = "bypass",
    entry_id: str = "",
) -> Entry:
    """An entry of what somebody typed.

    Args:
        parameters: Each a place and a key below it: ``query comment``, ``header user-agent``, ``body``.

    Raises:
        InvalidChangeError: With the problem of each value.
    """
    problems: list[Problem] = []
    for name, values in (
        ("addresses", addresses), ("paths", paths), ("rules", rules), ("types", types),
        ("parameters", parameters),
    ):  # fmt: skip
        if len(values) > MAX_VALUES:
            problems.append(Problem(f"$.{name}", f"At most {MAX_VALUES}, not {len(values)}."))
    made = []
    for index, text in enumerate(parameters[:MAX_VALUES]):
        try:
            made.append(_parameter(text))
        except ValueError as error:
            problems.append(Problem(f"$.parameters[{index}]", str(error)))
    networks = []
    for index, text in enumerate(addresses[:MAX_VALUES]):
        try:
            networks.append(_address(text))
        except ValueError as error:
            problems.append(Problem(f"$.addresses[{index}]", str(error)))
    problems += [
        Problem(f"$.paths[{index}]", why)
        for index, text in enumerate(paths[:MAX_VALUES])
        if (why := path_is_wrong(text))
    ]
    if mode not in list(Mode):
        problems.append(Problem("$.mode", "bypass or monitor"))
    elif mode == Mode.MONITOR and parameters:
        problems.append(Problem("$.mode", "Parameters are not looked at at all: they can only be bypassed."))
    if not (addresses or paths or rules or types or parameters):
        problems.append(
            Problem("$", "Name what to let be: an address, a path, a rule, a type or a parameter.")
        )  # fmt: skip
    if problems:
        words = (
            problems[0].message
            if len(problems) == 1
            else f"{len(problems)} things are wrong with this entry."
        )
        raise InvalidChangeError(words, problems=tuple(problems))
    return Entry(
        id=entry_id or f"pass-{secrets.token_hex(6)}",
        addresses=tuple(dict.fromkeys(networks)),
        paths=tuple(dict.fromkeys(paths)),
        rules=tuple(dict.fromkeys(rules)),
        types=tuple(dict.fromkeys(types)),
        parameters=tuple(dict.fromkeys(made)),
        mode=Mode(mode),
    )


def _address(text: str) -> str:
    try:
        network = ipaddress.ip_network(text.strip(), strict=False)
    except ValueError:
        raise ValueError(f"{text[:60]!r} is no address and no network.") from None
    if network.prefixlen == 0:
        raise ValueError("This is every address there is: switch a mode off instead.")
    return str(network.network_address) if network.num_addresses == 1 else str(network)


def path_is_wrong(text: str) -> str:
    """Why this is no path of an entry; empty where it is one."""
    if not text.startswith("/"):
        return f"A path begins with a slash, unlike {text[:60]!r}."
    if any(mark in text for mark in "?#") or any(ord(one) < 33 for one in text):
        return "A path has no query, no fragment and no spaces."
    if len(text) > 500 or "***" in text:
        return "At most 500 characters, and no more than two stars in a row."
    return ""


def _parameter(text: str) -> Parameter:
    place, _, key = text.strip().partition(" ")
    address = PLACES.get(place, place)
    if address not in PLACES.values() and not re.fullmatch(r"[a-z_]+(\.[a-z_]+)+", address):
        raise ValueError(f"{place[:60]!r} is no place: {', '.join(PLACES)}, or an address of the engine.")
    keys = [part for part in key.strip().split(".") if part]
    if place == "header":
        keys = [key.strip().lower()] if key.strip() else []
    return Parameter(address, tuple(keys))


def cautions(entry: Entry) -> tuple[str, ...]:
    """What to know before an entry is in force."""
    said = []
    if entry.addresses and entry.mode is Mode.BYPASS and not (entry.rules or entry.types or entry.parameters):
        said.append(
            "Blocked addresses and users among these are let in again: the denylist is a rule like others."
        )
    if entry.addresses:
        said.append(
            "Who asks is read from headers such as X-Forwarded-For: unless a proxy of yours sets them, "
            "anybody can claim one of these addresses."
        )
    wide = [one for one in entry.addresses if _is_wide(one)]
    if wide:
        said.append(f"{_some(wide)} {'is' if len(wide) == 1 else 'are'} more than 65,536 addresses.")
    if not (entry.addresses or entry.paths or entry.parameters):
        what = "are not looked for" if entry.mode is Mode.BYPASS else "do not block"
        said.append(
            f"This is for every request: these rules {what} anywhere in the target. A mode says the same."
        )
    if "/**" in entry.paths:
        said.append("/** is every path there is.")
    return tuple(said)


def _is_wide(text: str) -> bool:
    network = ipaddress.ip_network(text)
    return network.num_addresses > 2**16 if network.version == 4 else network.prefixlen < 48


# As the engine has it ---------------------------------------------------------------------------------


def rendered(entry: Entry) -> dict[str, Any]:
    """The exclusion filter of an entry."""
    conditions: list[dict[str, Any]] = []
    if entry.addresses:
        conditions.append(
            {
                "operator": "ip_match",
                "parameters": {"inputs": [{"address": CLIENT_IP}], "list": list(entry.addresses)},
            }
        )
    if entry.paths:
        conditions.append(
            {
                "operator": "match_regex",
                "parameters": {
                    "inputs": [{"address": URI, "transformers": list(_TO_PATH)}],
                    "regex": regex_of(entry.paths),
                    "options": {"case_sensitive": True},
                },
            }
        )
    made: dict[str, Any] = {"id": entry.id}
    targets = [
        *({"rule_id": rule} for rule in entry.rules),
        *({"tags": {"type": kind}} for kind in entry.types),
    ]
    if targets:
        made["rules_target"] = targets
    if conditions:
        made["conditions"] = conditions
    if entry.parameters:
        made["inputs"] = [
            {"address": one.address, **({"key_path": list(one.key_path)} if one.key_path else {})}
            for one in entry.parameters
        ]
    else:
        made["on_match"] = str(entry.mode)
    return made


def read(exclusion: Mapping[str, Any]) -> Entry | None:
    """The entry of an exclusion filter; None for one that no entry says, such as one that blocks."""
    mode = exclusion.get("on_match", "bypass")
    if mode not in list(Mode) or not isinstance(exclusion.get("id"), str):
        return None
    addresses: list[str] = []
    paths: list[str] = []
    for condition in exclusion.get("conditions", ()):
        parameters = condition.get("parameters", {})
        inputs = parameters.get("inputs")
        if condition.get("operator") == "ip_match" and inputs == [{"address": CLIENT_IP}] and not addresses:
            addresses = list(parameters.get("list", ()))
        elif condition.get("operator") == "match_regex" and not paths:
            if inputs != [{"address": URI, "transformers": list(_TO_PATH)}]:
                return None
            paths = globs_of(str(parameters.get("regex", ""))) or []
            if not paths:
                return None
        else:
            return None
    if exclusion.get("conditions") and not (addresses or paths):
        return None
    rules: list[str] = []
    types: list[str] = []
    for target in exclusion.get("rules_target", ()):
        tags = target.get("tags", {})
        if "rule_id" in target:
            rules.append(str(target["rule_id"]))
        elif set(tags) == {"type"}:
            types.append(str(tags["type"]))
        else:
            return None
    inputs_ = tuple(
        Parameter(str(one.get("address", "")), tuple(map(str, one.get("key_path", ()))))
        for one in exclusion.get("inputs", ())
    )
    return Entry(
        id=exclusion["id"], addresses=tuple(addresses), paths=tuple(paths), rules=tuple(rules),
        types=tuple(types), parameters=inputs_, mode=Mode.BYPASS if inputs_ else Mode(mode),
    )  # fmt: skip


_SPECIAL = frozenset("\\.^$+?{}[]|()*")


def regex_of(globs: Sequence[str]) -> str:
    """The pattern of some globs, anchored at both ends."""
    return f"^(?:{'|'.join(map(_regex, globs))})$"


def _regex(glob: str) -> str:
    found, at = [], 0
    while at < len(glob):
        if glob.startswith("**", at):
            found.append(".*")
            at += 2
            continue
        one = glob[at]
        # Decoding makes a space of a plus sign, which in a path it is not.
        found.append(
            "[^/]*" if one == "*" else "[+ ]" if one == "+" else f"\\{one}" if one in _SPECIAL else one
        )
        at += 1
    return "".join(found)


_TOKEN = re.compile(r"\.\*|\[\^/\]\*|\[\+ \]|\\(.)|(\|)|([^\\.^$+?{}\[\]|()*])", re.S)


def globs_of(regex: str) -> list[str] | None:
    """The globs a pattern was made of; None when it was not."""
    if not (regex.startswith("^(?:") and regex.endswith(")$")):
        return None
    body, at, globs, glob = regex[4:-2], 0, [], ""
    while at < len(body):
        match = _TOKEN.match(body, at)
        if match is None:
            return None
        if match[2]:
            globs.append(glob)
            glob = ""
        else:
            glob += {".*": "**", "[^/]*": "*", "[+ ]": "+"}.get(match[0], match[1] or match[3] or "")
        at = match.end()
    return [*globs, glob]


# In force ---------------------------------------------------------------------------------------------


async def listed(work: Policies) -> list[Listed]:
    """Every entry that is in force, the newest first."""
    return await asyncio.to_thread(_listed, work)


def _listed(work: Policies) -> list[Listed]:
    found = []
    for row in policy.active(work.plane, work.tenant, ASM):
        payload = policy.payload_of(row)
        exclusions = policy.array(payload, "exclusions")
        entries = [entry for entry in map(read, exclusions) if entry is not None]
        if not entries:
            continue
        known = policy.origins(work.plane, work.tenant, row, "exclusions")
        target = Targeting.parse(row.targeting)
        is_alone = len(exclusions) == 1 and policy.with_array(payload, "exclusions", ()) is None
        found += [
            Listed(entry, row, target, known.get(entry.id), row.expires_ms, is_alone) for entry in entries
        ]
    found.sort(key=lambda one: (-(one.origin.at_ms if one.origin else 0), one.entry.id))
    return found


async def adding(
    work: Policies, entry: Entry, target: Targeting, *, until: datetime | None, reason: str
) -> Plan:
    """The plan to let something be."""
    sentence = f"{entry.words}, for {policy.where(target)}."
    if until is not None:
        at = until.replace(microsecond=0)
        return Plan(
            product=ASM, name=f"{PASSLIST} until {at:%Y-%m-%d %H:%M} UTC", target=target, row=None,
            payload={"exclusions": [rendered(entry)]}, comment=reason, expires_at=at.isoformat(),
            sentence=sentence,
        )  # fmt: skip
    row = await work.own(PASSLIST, target)
    present = {} if row is None else policy.payload_of(row)
    payload = policy.with_array(
        present, "exclusions", [*policy.array(present, "exclusions"), rendered(entry)]
    )
    return Plan(
        product=ASM, name=PASSLIST, target=target, row=row, payload=payload, comment=reason, sentence=sentence
    )


async def removing(work: Policies, entry_id: str, *, reason: str = "") -> Plan:
    """The plan to take an entry away, wherever it stands.

    Raises:
        NotFoundError: It is on no passlist that is in force.
    """
    for row in await work.active():
        payload = policy.payload_of(row)
        exclusions = policy.array(payload, "exclusions")
        kept = [one for one in exclusions if one.get("id") != entry_id]
        if len(kept) == len(exclusions):
            continue
        gone = read(next(one for one in exclusions if one.get("id") == entry_id))
        if gone is None:
            break
        target = Targeting.parse(row.targeting)
        return Plan(
            product=ASM, name=row.name, target=target, row=row,
            payload=policy.with_array(payload, "exclusions", kept), comment=reason,
            sentence=f"No longer for {policy.where(target)}: {gone.words[:1].lower()}{gone.words[1:]}.",
        )  # fmt: skip
    raise NotFoundError(f"There is no entry {entry_id[:40]} on a passlist; it may have ended.")
