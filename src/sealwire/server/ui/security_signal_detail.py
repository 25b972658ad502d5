"""One signal: what is on its page, made of the signal, its rule, and what people did about it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlencode

from markupsafe import Markup

from sealwire.server.access import Principal
from sealwire.server.security import signals, triage
from sealwire.server.security.rule_book import Version
from sealwire.server.security.rule_words import counts, span
from sealwire.server.security.rules import Severity
from sealwire.server.security.signals import Signal, top
from sealwire.server.store.security import Comment, SignalRow
from sealwire.server.ui import safe_markdown
from sealwire.server.ui.render import moment
from sealwire.server.ui.security_signal_blocks import Blocks
from sealwire.server.ui.security_signal_words import (
    SEVERITIES,
    going,
    group_query,
    group_words,
    percent,
    rule_name,
    severity_named,
    term,
    traces_href,
    triage_status,
)
from sealwire.server.ui.security_signals_list import PATH, Option
from sealwire.server.ui.security_timeline import Happened, Timeline, timeline
from sealwire.server.ui.security_traces_words import visible
from sealwire.server.ui.views import NEVER, Link, Moment, Status

SHOWN_ATTACKERS: Final = 10
MAX_ATTACKERS: Final = 100
SHOWN: Final = 8  # of users, endpoints and the like


@dataclass(frozen=True, slots=True)
class Attacker:
    """An address that takes part.

    Attributes:
        blocked: None while it is not.
        block_href: Empty where it is blocked, is no address, or is not theirs to block.
    """

    value: str
    requests: int
    share: float
    traces_href: str
    blocked: Status | None
    until: Moment
    block_href: str


@dataclass(frozen=True, slots=True)
class Counted:
    """Something that was seen so often; ``share`` is of the most, in percent."""

    value: str
    requests: int
    share: float
    href: str
    block_href: str = ""


@dataclass(frozen=True, slots=True)
class Listing:
    """What was seen most of one kind."""

    title: str
    dom_id: str
    one: str
    counted: tuple[Counted, ...]
    more: int


@dataclass(frozen=True, slots=True)
class Cluster:
    """Requests as if one program had sent them."""

    user_agent: str
    fp_header: str
    fp_network: str
    requests: int
    words: str
    traces_href: str
    rule_href: str


@dataclass(frozen=True, slots=True)
class QueryLine:
    """A query of the rule, and how many requests of the signal it found."""

    name: str
    text: str
    counts: str
    found: int


@dataclass(frozen=True, slots=True)
class CaseLine:
    """A case of the rule; ``holds`` where it gave the severity the signal has."""

    severity: Status
    name: str
    condition: str
    holds: bool


@dataclass(frozen=True, slots=True)
class Said:
    """A comment."""

    by: str
    at: Moment
    text: str


@dataclass(frozen=True, slots=True)
class SignalPage:
    """One signal.

    Attributes:
        message: What the rule says it means.
        rule: Leads to the rule while there is one.
        because: Why it ended.
        block_all_href: Empty where there is nobody to block, or it is not theirs to do.
        actions: What was blocked because of it: words, and until when.
        typed: What was typed into the comment that was not taken; ``wrong`` is why.
    """

    signal_id: str
    href: str
    title: str
    severity: Status
    state: Status
    because: str
    triage: Status
    group: tuple[tuple[str, str], ...]
    first: Moment
    last: Moment
    lasted: str
    requests: int
    blocked: int
    blocked_share: str
    attackers_count: str
    users_count: int
    message: Markup
    rule: Link
    rule_version: int
    tags: tuple[str, ...]
    window: str
    queries: tuple[QueryLine, ...]
    cases: tuple[CaseLine, ...]
    timeline: Timeline
    attackers: tuple[Attacker, ...]
    more_attackers: tuple[Attacker, ...]
    not_blocked: int
    block_all_href: str
    traces_href: str
    listings: tuple[Listing, ...]
    clusters: tuple[Cluster, ...]
    samples: tuple[Link, ...]
    actions: tuple[tuple[str, str, Moment, Moment], ...]
    comments: tuple[Said, ...]
    may_write: bool
    states: tuple[Option, ...]
    reasons: tuple[Option, ...]
    people: tuple[Option, ...]
    assignee: str
    triaged_by: str
    triaged: Moment
    typed: str
    wrong: str
    live_href: str
    summary: str


def page_of(
    row: SignalRow,
    version: Version | None,
    said: Sequence[Comment],
    blocks: Blocks,
    people: Iterable[str],
    principal: Principal,
    *,
    typed: str = "",
    wrong: str = "",
    has_rule: bool = True,
) -> SignalPage:
    """The page.

    Args:
        version: The rule as it was when the signal opened; None where nobody knows any more.
        has_rule: Whether the rule is still there to be looked at.
    """
    signal = row.signal
    href = f"{PATH}/{signal.id}"
    attackers = [_attacker(signal, ip, count, blocks, principal) for ip, count in signal.top_attackers()]
    open_ones = [one for one in attackers if one.block_href]
    document = version.document if version is not None else {}
    name = rule_name(signal)
    options = document.get("options", {})
    return SignalPage(
        signal_id=signal.id,
        href=href,
        title=name,
        severity=SEVERITIES[signal.severity],
        state=going(signal),
        because=visible(signal.closed_because, 100) if signal.closed_at else "",
        triage=triage_status(row),
        group=group_words(signal),
        first=moment(signal.first_seen),
        last=moment(signal.last_seen),
        lasted=_lasted(signal.last_seen - signal.first_seen),
        requests=signal.events,
        blocked=signal.blocked,
        blocked_share=percent(signal.blocked, signal.events),
        attackers_count=f"{MAX_ATTACKERS}+"
        if len(signal.attackers) >= MAX_ATTACKERS
        else str(len(signal.attackers)),
        users_count=len(signal.users),
        message=safe_markdown.render(str(document.get("message", ""))),
        rule=Link(
            name,
            f"/security/rules/{signal.rule_id}"
            if has_rule and principal.may("security_monitoring_rules_read")
            else None,
        ),
        rule_version=signal.rule_version,
        tags=tuple(visible(str(tag), 80) for tag in document.get("tags", ())),
        window=span(int(options.get("evaluationWindow", 300))),
        queries=tuple(
            QueryLine(
                str(query.get("name", "")),
                str(query.get("query", "")),
                counts(query),
                signal.counts.get(str(query.get("name", "")), 0),
            )
            for query in document.get("queries", ())
        ),
        cases=_cases(document.get("cases", ()), signal.severity),
        timeline=timeline(signal.by_minute, _happened(row, said, blocks)),
        attackers=tuple(attackers[:SHOWN_ATTACKERS]),
        more_attackers=tuple(attackers[SHOWN_ATTACKERS:]),
        not_blocked=len(open_ones),
        block_all_href=f"/protect/block?{urlencode({'signal': signal.id, 'next': href})}"
        if open_ones
        else "",
        traces_href=traces_href(group_query(signal), signal),
        listings=_listings(signal, principal),
        clusters=tuple(_cluster(signal, one, principal) for one in signal.shown_clusters()),
        samples=tuple(Link(trace_id, f"/security/traces/{trace_id}") for trace_id in signal.samples),
        actions=tuple(
            (one.words, one.by, moment(one.at_s), NEVER if one.until_s is None else moment(one.until_s))
            for one in blocks.actions
        ),
        comments=tuple(Said(visible(one.by, 120), moment(one.at_ms / 1000), one.text) for one in said),
        may_write=triage.may_change(principal, row),
        states=tuple(Option(key, words, key == row.triage) for key, words in triage.STATES.items()),
        reasons=tuple(Option(key, words, key == row.archive_reason) for key, words in triage.REASONS.items()),
        people=tuple(
            Option(email, visible(email, 100), email == row.assignee)
            for email in sorted({*people, *filter(None, [row.assignee])})
        ),
        assignee=visible(row.assignee, 100),
        triaged_by=visible(row.triaged_by, 100),
        triaged=moment(None if row.triaged_ms is None else row.triaged_ms / 1000),
        typed=typed,
        wrong=wrong,
        live_href=f"/live{href}",
        summary=f"{SEVERITIES[signal.severity].word}, {signal.events:,} requests, "
        f"{going(signal).word.lower()}, {len(said)} comments.",
    )


def _lasted(seconds: float) -> str:
    if seconds < 60:
        return "under a minute"
    minutes = int(seconds // 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


def _cases(cases: Iterable[Mapping[str, object]], severity: Severity) -> tuple[CaseLine, ...]:
    """The cases, the first of the severity it has marked: cases are asked from the top."""
    found: list[CaseLine] = []
    for case in cases:
        known = severity_named(str(case.get("status", ""))) or Severity.INFO
        holds = known is severity and not any(one.holds for one in found)
        found.append(
            CaseLine(
                SEVERITIES[known],
                visible(str(case.get("name", "")), 100),
                str(case.get("condition", "")),
                holds,
            )
        )
    return tuple(found)


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def block_href(kind: str, value: str, signal: Signal) -> str:
    """The page that blocks one, and comes back."""
    query = {
        "kind": kind, "values": value, "source": f"signal:{signal.id}", "next": f"{PATH}/{signal.id}",
    }  # fmt: skip
    return f"/protect/block?{urlencode(query)}"


def _attacker(signal: Signal, ip: str, count: int, blocks: Blocks, principal: Principal) -> Attacker:
    standing = blocks.addresses.get(ip)
    may_block = principal.may("appsec_protect_write") and _is_address(ip)
    most = max(signal.attackers.values(), default=1)
    return Attacker(
        value=visible(ip, 64),
        requests=count,
        share=round(100 * count / max(most, 1), 1),
        traces_href=traces_href(term("@http.client_ip", ip), signal),
        blocked=None if standing is None else Status("Blocked", "ok", "shield", standing.words),
        until=NEVER if standing is None or standing.until_s is None else moment(standing.until_s),
        block_href=block_href("ip", ip, signal) if may_block and standing is None else "",
    )


def _listings(signal: Signal, principal: Principal) -> tuple[Listing, ...]:
    may_block = principal.may("appsec_protect_write")
    found = []
    for title, one, values, facet in (
        ("Users", "user", signal.users, "@usr.account"),
        ("Services", "service", signal.services, "service"),
        ("Endpoints", "endpoint", signal.endpoints, "@http.target"),
        ("Tools", "tool", signal.tools, "@appsec.tool_name"),
        ("Rules of the engine", "rule", signal.rules, "@appsec.rule_id"),
    ):
        if not values:
            continue
        most = max(values.values())
        shown = []
        for value, count in top(values, SHOWN):
            asked = value.partition(" ")[2] or value if one == "endpoint" else value
            shown.append(
                Counted(
                    visible(value, 160),
                    count,
                    round(100 * count / most, 1),
                    traces_href(term(facet, asked), signal),
                    block_href("user", value, signal) if one == "user" and may_block else "",
                )
            )
        found.append(Listing(title, f"list-{one}", one, tuple(shown), max(0, len(values) - SHOWN)))
    return tuple(found)


def _cluster(signal: Signal, one: signals.Cluster, principal: Principal) -> Cluster:
    header, network, agent, rows = one
    asked = [
        term(facet, value)
        for facet, value in (
            ("@http.useragent", agent), ("@appsec.fp.header", header), ("@appsec.fp.network", network),
        )
        if value
    ]  # fmt: skip
    may_rule = bool(agent) and principal.may("appsec_event_rule_write")
    return Cluster(
        visible(agent, 300),
        visible(header, 120),
        visible(network, 120),
        rows,
        percent(rows, signal.events),
        traces_href(" ".join(asked), signal),
        f"/protect/rules/new?{urlencode({'user_agent': agent})}" if may_rule else "",
    )


def _happened(row: SignalRow, said: Sequence[Comment], blocks: Blocks) -> list[Happened]:
    signal = row.signal
    found = []
    for place, (at_s, severity) in enumerate(signal.severities):
        words = f"Opened as {severity.name.lower()}" if not place else f"Rose to {severity.name.lower()}"
        found.append(Happened(at_s, "severity", SEVERITIES[severity].icon, words))
    found += [
        Happened(one.at_s, "block", "shield", one.words, visible(one.by, 100)) for one in blocks.actions
    ]
    found += [
        Happened(one.at_ms / 1000, "comment", "file-pen", "Comment", visible(one.by, 100), one.text[:200])
        for one in said
    ]
    if row.triaged_ms is not None:
        words = triage.STATES.get(row.triage, row.triage)
        if row.archive_reason:
            words += f": {triage.REASONS.get(row.archive_reason, row.archive_reason)}"
        if row.assignee:
            words += f", given to {visible(row.assignee, 100)}"
        found.append(
            Happened(row.triaged_ms / 1000, "triage", "user-check", words, visible(row.triaged_by, 100))
        )
    if signal.closed_at:
        found.append(
            Happened(
                signal.closed_at, "state", "circle-check", f"Ended: {visible(signal.closed_because, 100)}"
            )
        )
    return found
