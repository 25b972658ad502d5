"""A signal: what a rule found for one group, as it grows; and what is said when something of it changes.

Everything a signal holds is bounded: of addresses, users, endpoints and the like it keeps those seen most, so
that a flood from everywhere costs no more than one from somewhere. Severity only rises.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from enum import Enum
from typing import Final, NamedTuple

import msgspec

from sealwire.server.security.rows import SecurityTrace
from sealwire.server.security.rules import Rule, Severity

MAX_ATTACKERS: Final = 100
MAX_NAMED: Final = 50  # users, endpoints
MAX_FEW: Final = 20  # services, tools, rules of the engine
MAX_CLUSTERS: Final = 50
MAX_SAMPLES: Final = 20
SHOWN_CLUSTER: Final = 0.1  # of a signal's attack rows
ELSEWHERE: Final = "*"  # a group value that stands for many


class Signal(msgspec.Struct):
    """What a rule found for one group.

    Attributes:
        id: The same for the same rule, group and first row.
        group: Values of the facets the rule groups by; ``*`` stands for many that are told apart no more.
        first_seen: Of its rows, seconds since 1970; as are the other times.
        last_true: When a case of the rule last held.
        events: Rows since ``first_seen``.
        counts: Rows of each query since then.
        by_minute: Rows of each minute.
        severities: When it rose to what.
        clusters: Rows by fingerprints of headers and network, and user agent, a line each.
        restored_to: Rows up to then are in it already, as it was read back; 0 for one that was not.
    """

    id: str
    rule_id: str
    rule_version: int
    title: str
    group: dict[str, str]
    severity: Severity
    first_seen: float
    last_seen: float
    last_true: float
    closed_at: float = 0.0
    closed_because: str = ""
    events: int = 0
    blocked: int = 0
    counts: dict[str, int] = {}
    by_minute: dict[int, int] = {}
    severities: list[tuple[float, Severity]] = []
    attackers: dict[str, int] = {}
    users: dict[str, int] = {}
    services: dict[str, int] = {}
    endpoints: dict[str, int] = {}
    tools: dict[str, int] = {}
    rules: dict[str, int] = {}
    clusters: dict[str, int] = {}
    samples: list[str] = []
    restored_to: float = 0.0

    def note(self, row: SecurityTrace, queries: Iterable[str], count: int) -> None:
        """One more row, or a number of rows like it."""
        self.events += count
        if row.blocked:
            self.blocked += count
        if row.ts > self.last_seen:
            self.last_seen = row.ts
        if row.ts < self.first_seen:
            self.first_seen = row.ts
        for name in queries:
            self.counts[name] = self.counts.get(name, 0) + count
        minute = int(row.ts // 60)
        self.by_minute[minute] = self.by_minute.get(minute, 0) + count
        if len(self.by_minute) > 3_000:  # two days; a signal lasts one at most
            del self.by_minute[min(self.by_minute)]
        tally(self.attackers, row.actor_ip, count, MAX_ATTACKERS)
        tally(self.users, row.account, count, MAX_NAMED)
        tally(self.services, row.service, count, MAX_FEW)
        tally(self.endpoints, f"{row.method} {row.target}".strip(), count, MAX_NAMED)
        for tool in row.tools:
            tally(self.tools, tool, count, MAX_FEW)
        for rule_id in row.rule_ids:
            tally(self.rules, rule_id, count, MAX_FEW)
        if row.activities:
            tally(self.clusters, f"{row.fp_header}\n{row.fp_network}\n{row.user_agent}", count, MAX_CLUSTERS)
        if row.trace_id and len(self.samples) < MAX_SAMPLES and row.trace_id not in self.samples:
            self.samples.append(row.trace_id)

    def top_attackers(self) -> list[tuple[str, int]]:
        """The addresses seen most, most first."""
        return top(self.attackers, MAX_ATTACKERS)

    def shown_clusters(self) -> list[Cluster]:
        """Kinds of askers that make up more than a tenth of the rows, most first."""
        found = []
        for key, count in top(self.clusters, MAX_CLUSTERS):
            if count > self.events * SHOWN_CLUSTER:
                header, network, agent = key.split("\n", 2)
                found.append(Cluster(header, network, agent, count))
        return found


class Cluster(NamedTuple):
    """Rows that look as if one program had sent them."""

    fp_header: str
    fp_network: str
    user_agent: str
    rows: int


class Happening(Enum):
    """What became of a signal."""

    OPENED = "opened"
    RAISED = "raised"
    CLOSED = "closed"


class Change(NamedTuple):
    """Something about a signal that people want to hear of."""

    what: Happening
    signal: Signal
    at: float


def new_signal(rule: Rule, key: tuple[str, ...], severity: Severity, row: SecurityTrace) -> Signal:
    """The signal of a group, as its case first held with this row."""
    return Signal(
        id="",
        rule_id=rule.id,
        rule_version=rule.version,
        title=" · ".join([rule.name, *("many" if part == ELSEWHERE else part for part in key)]),
        group={facet.name: value for facet, value in zip(rule.group_by, key, strict=True)},
        severity=severity,
        first_seen=row.ts,
        last_seen=row.ts,
        last_true=row.ts,
        severities=[(row.ts, severity)],
    )


def identify(signal: Signal, key: tuple[str, ...]) -> None:
    """Give a signal its id, when its first row is known."""
    text = "\0".join([signal.rule_id, *key, f"{signal.first_seen:.6f}"])
    signal.id = hashlib.sha256(text.encode(errors="replace")).hexdigest()[:16]


def tally(counts: dict[str, int], key: str, count: int, limit: int) -> None:
    """Count one of many; of more than twice ``limit``, those seen least are forgotten."""
    if key in counts:
        counts[key] += count
    elif key:
        if len(counts) >= 2 * limit:
            kept = top(counts, limit)
            counts.clear()
            counts.update(kept)
        counts[key] = count


def top(counts: dict[str, int], limit: int) -> list[tuple[str, int]]:
    """The keys seen most, most first; the same order for the same counts."""
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:limit]
