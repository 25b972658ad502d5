"""Taking back what agents hold, before they may ask no longer. Pure decisions.

An agent that is refused keeps what it has until its timestamp expires, days later. So before a key loses its
scope, or an organisation switches Remote Configuration off, its agents are first given a signed state in
which there is nothing: *withdrawing*. Once every agent that still asks has fetched that, and its clients
have given up what they had, the scope or the switch goes. An agent that is away is not waited for: it keeps
what it has until that expires, and pages say until when.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

#: The subject of a withdrawal that concerns every agent of the organisation; others are ids of API keys.
EVERYTHING = ""
#: Key of a view without a file.
EMPTY_VIEW = hashlib.sha256().hexdigest()

#: So long clients are given to give back values that they would keep by themselves (ADR 2).
RELEASE_PATIENCE_S = 30.0
#: So long clients are given to drop what they have, once all agents have fetched the empty state.
DROP_PATIENCE_S = 20.0


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """Whose configs are being taken back.

    Attributes:
        subjects: Ids of API keys, or ``EVERYTHING``.
        hurried: Those of them whose clients had their time to give back what they keep by themselves.
    """

    subjects: frozenset[str] = frozenset()
    hurried: frozenset[str] = frozenset()

    def concerns(self, key_id: str) -> bool:
        """Whether an agent with this key is to hold nothing."""
        return key_id in self.subjects or EVERYTHING in self.subjects

    def hurries(self, key_id: str) -> bool:
        """Whether it is to hold nothing even while a client of it has something to give back."""
        return key_id in self.hurried or EVERYTHING in self.hurried


NOTHING_WITHDRAWN = Withdrawn()


@dataclass(frozen=True, slots=True)
class Holder:
    """An agent, and what it may still hold.

    Attributes:
        key_id: Of the API key it last asked with; empty when that is not known.
        address: It last asked from; empty when that is not known.
        asks: It was heard lately, or may be heard any moment since the server started.
        holds_nothing: It said that it has the empty state, or never had another.
        clients: Tracers behind it.
        holding: Those of them that still report a config.
        seen_s: When it last asked, seconds since 1970.
        until_s: When what it holds expires, at the latest; None when it holds nothing.
    """

    agent_id: str
    hostname: str
    key_id: str
    address: str
    asks: bool
    holds_nothing: bool
    clients: int
    holding: tuple[str, ...]
    seen_s: float
    until_s: float | None


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a withdrawal is.

    Attributes:
        subject: Id of the API key, or ``EVERYTHING``.
        since_s: When it began.
        then_revoked: The key is revoked at the end.
        holders: Its agents.
    """

    subject: str
    since_s: float
    holders: tuple[Holder, ...]
    then_revoked: bool = False
    agents: int = field(init=False)
    fetched: int = field(init=False)
    clients: int = field(init=False)
    dropped: int = field(init=False)

    def __post_init__(self) -> None:
        asking = [holder for holder in self.holders if holder.asks]
        clients = sum(holder.clients for holder in asking)
        set_ = object.__setattr__  # frozen, and worked out once
        set_(self, "agents", len(asking))
        set_(self, "fetched", sum(holder.holds_nothing for holder in asking))
        set_(self, "clients", clients)
        set_(self, "dropped", clients - sum(len(holder.holding) for holder in asking))

    @property
    def all_fetched(self) -> bool:
        """Whether every agent that asks has the empty state."""
        return self.fetched == self.agents

    def still_holding(self, now_s: float) -> tuple[Holder, ...]:
        """Agents that may hold configs now, those for the longest first."""
        return still_holding(self.holders, now_s)


def still_holding(holders: Sequence[Holder], now_s: float) -> tuple[Holder, ...]:
    """Agents that may hold configs now, those for the longest first."""
    found = [holder for holder in holders if holder.until_s is not None and holder.until_s > now_s]
    return tuple(sorted(found, key=lambda holder: (-(holder.until_s or 0), holder.hostname)))


def is_complete(progress: Progress, *, now_s: float, all_fetched_s: float | None) -> bool:
    """Whether the scope, or the switch, may go.

    Args:
        all_fetched_s: Since when all agents have the empty state; None while some have not.
    """
    if not progress.all_fetched or all_fetched_s is None:
        return False
    return progress.dropped == progress.clients or now_s - all_fetched_s >= DROP_PATIENCE_S


def asks(
    *, seen_s: float, now_s: float, heard_within_s: float, since_s: float | None, started_s: float
) -> bool:
    """Whether an agent counts as asking.

    Right after a start nobody has asked yet: whoever was there when the withdrawal began is given the same
    time from then on, or a restart in its middle would end it over the heads of all agents.
    """
    if since_s is not None and seen_s >= since_s - heard_within_s:
        seen_s = max(seen_s, started_s)
    return now_s - seen_s <= heard_within_s
