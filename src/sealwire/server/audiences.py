"""Which configs stand in one delegated role: those for the same audience. Pure.

A delegated role of the config repository goes whole to every agent that needs one of its files. So a
role holds the files of one audience only (the same targeting; for a merged file, the same kind of
client), and an agent learns of no path that is not meant for it. A role is known by the first two
characters of the ids it lists; where tracers want a word in front of an id (``logProbe_``), by the two
behind it. Roles can never be taken back, so there are at most ``LIMIT`` of a product; audiences beyond
share them, and their agents may then see each other's opaque paths, though never a file (ADR 5).
"""

from __future__ import annotations

from collections.abc import Iterable

import orjson

from sealwire.trust.canonical import sha256_hex

LIMIT = 64  # a snapshot lists every role, and goes with every answer: 64 of 5 products are 12 kB


def audience_key(description: object) -> str:
    """One audience, however it is described: 64 hex characters."""
    return sha256_hex(orjson.dumps(description, option=orjson.OPT_SORT_KEYS))


class Audiences:
    """The audiences of an organisation and the first two characters of the ids each one's files get.

    Attributes:
        fresh: (product, audience, number) of those not stored yet.
    """

    def __init__(self, stored: Iterable[tuple[str, str, int]] = ()) -> None:
        self._numbers: dict[tuple[str, str], int] = {}
        self._used: dict[str, int] = {}
        self.fresh: list[tuple[str, str, int]] = []
        for product, audience, number in stored:
            self._numbers[product, audience] = number
            self._used[product] = max(self._used.get(product, 0), number + 1)

    def prefix(self, product: str, audience: str) -> str:
        """The first two characters of the ids for an audience; a new audience takes the next free ones."""
        number = self._numbers.get((product, audience))
        if number is None:
            number = next_number(self._used.get(product, 0), audience)
            self._numbers[product, audience] = number
            self._used[product] = max(self._used.get(product, 0), number + 1)
            self.fresh.append((product, audience, number))
        return f"{number:02x}"

    def learn(self, stored: Iterable[tuple[str, str, int]]) -> None:
        """Take in what authors stored."""
        for product, audience, number in stored:
            self._numbers.setdefault((product, audience), number)
            self._used[product] = max(self._used.get(product, 0), number + 1)


def next_number(used: int, audience: str) -> int:
    """The number of a new audience, when the first ``used`` are taken."""
    return used if used < LIMIT else int(audience[:8], 16) % LIMIT


def role_of(path: str) -> str:
    """The delegated role that lists a path."""
    _, _, product, file_id, _ = path.split("/")
    return f"{product}-{file_id.rpartition('_')[2][:2].upper()}"


def patterns_of(org_id: int, role: str, prefixes: Iterable[str]) -> tuple[str, ...]:
    """The paths a delegated role may list.

    Args:
        prefixes: What the ids of files of its product may begin with.
    """
    product, start = split_role(role)
    return tuple(f"datadog/{org_id}/{product}/{prefix}{start.lower()}*/*" for prefix in prefixes)


def split_role(name: str) -> tuple[str, str]:
    """Product and first two characters (upper case) of a role; no characters: the role of all the rest."""
    return (name[:-3], name[-2:]) if name[-3:-2] == "-" else (name, "")
