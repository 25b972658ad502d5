"""The list of signals: what an address asks for, and the rows that are shown for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode

from sealwire.server.access import Principal
from sealwire.server.security import rule_book, triage
from sealwire.server.security.rules import Severity
from sealwire.server.store import security as store
from sealwire.server.store.database import Database
from sealwire.server.store.security import SignalFilter, SignalRow
from sealwire.server.ui.render import dom_id, moment
from sealwire.server.ui.security_signal_words import (
    SEVERITIES,
    going,
    group_words,
    percent,
    rule_name,
    service_of,
    severity_named,
    triage_status,
)
from sealwire.server.ui.security_traces_words import visible
from sealwire.server.ui.views import Fact, Moment, Status, Tab

PATH: Final = "/security/signals"
PAGE_ROWS: Final = 50
MAX_TEXT: Final = 200
SINCE: Final[Mapping[str, tuple[int, str]]] = {
    "1h": (3_600, "last hour"),
    "24h": (86_400, "last 24 hours"),
    "7d": (7 * 86_400, "last 7 days"),
    "all": (0, "any time"),
}
_STATES: Final = {"open": "Going on", "ended": "Ended", "all": "All"}
_KEPT: Final = ("state", "triage", "severity", "service", "rule", "q", "since")


@dataclass(frozen=True, slots=True)
class Row:
    """One signal in the table.

    Attributes:
        group: What it stands for besides its service: ``("address", "198.51.100.7")`` each.
        assignee: Empty for nobody.
        may_change: Whether it is theirs to decide on.
    """

    dom_id: str
    signal_id: str
    href: str
    severity: Status
    rule: str
    group: tuple[tuple[str, str], ...]
    service: str
    first: Moment
    last: Moment
    requests: int
    blocked: str
    attackers: str
    state: Status
    triage: Status
    assignee: str
    comments: int
    may_change: bool


@dataclass(frozen=True, slots=True)
class Option:
    """A choice of a field."""

    value: str
    words: str
    chosen: bool


@dataclass(frozen=True, slots=True)
class SignalsPage:
    """All signals that an address asks for.

    Attributes:
        here: The address of these rows, to come back to.
        severity: The one that is asked for; empty for all.
    """

    facts: tuple[Fact, ...]
    tabs: tuple[Tab, ...]
    rows: tuple[Row, ...]
    text: str
    service: str
    state: str
    severity: str
    triages: tuple[Option, ...]
    rules: tuple[Option, ...]
    sinces: tuple[Option, ...]
    is_filtered: bool
    may_write: bool
    states: tuple[Option, ...]
    reasons: tuple[Option, ...]
    people: tuple[str, ...]
    newest_href: str
    next_href: str
    here: str
    live_href: str
    clear_href: str
    summary: str


@dataclass(frozen=True, slots=True)
class Asked:
    """What an address asks for, understood; what makes no sense asks for everything."""

    wanted: SignalFilter
    since: str
    before: tuple[int, str] | None
    kept: Mapping[str, str]

    def href(self, **changes: str) -> str:
        """The address of other rows; an empty value takes a parameter away, the page starts anew."""
        query = {name: value for name, value in {**self.kept, **changes}.items() if value}
        return f"{PATH}?{urlencode(query)}" if query else PATH


def asked(query: Mapping[str, str], *, now_ms: int) -> Asked:
    """Understand an address."""
    kept = {name: value[:MAX_TEXT] for name in _KEPT if (value := query.get(name, "").strip())}
    state = kept.get("state", "open")
    severity = severity_named(kept.get("severity", ""))
    since = kept.get("since", "all")
    seconds = SINCE.get(since, SINCE["all"])[0]
    state = state if state in _STATES else "open"
    progress = kept.get("triage", "")
    return Asked(
        SignalFilter(
            state=state,
            triage=progress if progress in triage.STATES else "",
            severities=() if severity is None else (severity.name.lower(),),
            service=kept.get("service", ""),
            rule_id=kept.get("rule", ""),
            text=kept.get("q", ""),
            since_ms=now_ms - seconds * 1000 if seconds else 0,
        ),
        since if since in SINCE else "all",
        _place(query.get("before", "")),
        kept,
    )


def _place(text: str) -> tuple[int, str] | None:
    number, _, signal_id = text.partition(".")
    if not (number.isascii() and number.isdigit() and len(number) <= 15 and len(signal_id) <= 16):
        return None
    return int(number), signal_id


def view(
    database: Database, org_id: int, query: Mapping[str, str], principal: Principal, *, now_ms: int
) -> SignalsPage:
    """The page (blocking)."""
    ask = asked(query, now_ms=now_ms)
    with database.read() as c:
        found = store.signals(c, org_id, ask.wanted, before=ask.before, limit=PAGE_ROWS + 1)
        counts = store.signal_counts(c, org_id, 0)
        rules = rule_book.entries(c, org_id)
    rows = tuple(_row(row, principal) for row in found[:PAGE_ROWS])
    last = found[PAGE_ROWS - 1] if len(found) > PAGE_ROWS else None
    wanted = ask.wanted
    severity = wanted.severities[0] if wanted.severities else ""
    total = sum(counts.values())
    grave = counts.get("critical", 0) + counts.get("high", 0)
    query_here = {**ask.kept, **({"before": query["before"]} if ask.before else {})}
    encoded = urlencode(query_here)
    return SignalsPage(
        facts=_facts(counts, ask),
        tabs=tuple(
            Tab(words, ask.href(state=state if state != "open" else ""), state == wanted.state, -1)
            for state, words in _STATES.items()
        ),
        rows=rows,
        text=wanted.text,
        service=wanted.service,
        state="" if wanted.state == "open" else wanted.state,
        severity=severity,
        triages=_options({"": "Any triage", **triage.STATES}, wanted.triage),
        rules=_options(
            {"": "Any rule", **{entry.rule_id: visible(entry.rule.name, 60) for entry in rules}},
            wanted.rule_id,
        ),
        sinces=_options({key: words for key, (_, words) in SINCE.items()}, ask.since),
        is_filtered=bool(ask.kept.keys() - {"state"}),
        may_write=principal.may(triage.WRITE),
        states=_options(triage.STATES, triage.UNDER_REVIEW),
        reasons=_options(triage.REASONS, ""),
        people=(),
        newest_href=ask.href() if ask.before else "",
        next_href="" if last is None else ask.href(before=_mark(last)),
        here=f"{PATH}?{encoded}" if encoded else PATH,
        live_href=f"/live{PATH}" + (f"?{encoded}" if encoded else ""),
        clear_href=f"{PATH}?state={wanted.state}" if wanted.state != "open" else PATH,
        summary=f"{total} signal{'' if total == 1 else 's'} going on, {grave} of them high or critical.",
    )


def _mark(row: SignalRow) -> str:
    return f"{int(row.signal.last_seen * 1000)}.{row.signal.id}"


def _options(choices: Mapping[str, str], chosen: str) -> tuple[Option, ...]:
    return tuple(Option(value, words, value == chosen) for value, words in choices.items())


def _facts(counts: Mapping[str, int], ask: Asked) -> tuple[Fact, ...]:
    found = []
    for severity in sorted(Severity, reverse=True):
        name = severity.name.lower()
        number = counts.get(name, 0)
        is_chosen = name in ask.wanted.severities
        found.append(
            Fact(
                SEVERITIES[severity].word,
                number,
                SEVERITIES[severity].tone if number else "",
                "shown: show all" if is_chosen else "going on",
                ask.href(severity="" if is_chosen else name),
            )
        )
    return tuple(found)


def _row(row: SignalRow, principal: Principal) -> Row:
    signal = row.signal
    attackers = len(signal.attackers)
    return Row(
        dom_id=dom_id("signal", signal.id),
        signal_id=signal.id,
        href=f"{PATH}/{signal.id}",
        severity=SEVERITIES[signal.severity],
        rule=rule_name(signal),
        group=group_words(signal, but="service"),
        service=service_of(signal),
        first=moment(signal.first_seen),
        last=moment(signal.last_seen),
        requests=signal.events,
        blocked=percent(signal.blocked, signal.events),
        attackers=f"{attackers}+" if attackers >= 100 else str(attackers),
        state=going(signal),
        triage=triage_status(row),
        assignee=visible(row.assignee, 80),
        comments=row.comments,
        may_change=triage.may_change(principal, row),
    )
