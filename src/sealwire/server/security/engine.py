"""The detection engine: rows in, changes of signals out. Pure; the clock is an argument.

Hides how a window slides: for each rule and group, counts stand in ten sub-buckets by the time of the rows,
so that late rows land where they belong and old ones fall out a bucket at a time. Values that are counted
once each are kept exactly up to a thousand, then as "a thousand or more".

Invariants, whatever anybody sends: at most ``max_groups`` groups are held (of the rule with the most, the one
touched longest ago goes, so a flood under one rule does not blind another), at most ``max_open`` signals of a
rule are open (further groups share one), and a row that was seen is not counted twice. A signal's severity
only rises. Replaying rows that are in restored signals changes nothing and says nothing.
"""

from __future__ import annotations

import itertools
import math
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Final

import msgspec

from sealwire.server.security.facets import values_of
from sealwire.server.security.rows import SecurityTrace
from sealwire.server.security.rules import Query, Rule, Severity
from sealwire.server.security.signals import (
    ELSEWHERE,
    Change,
    Happening,
    Signal,
    identify,
    new_signal,
)

BUCKETS: Final = 10
MAX_VALUES: Final = 1_000  # counted exactly, of one group
MAX_ALL_VALUES: Final = 500_000
MAX_GROUPS: Final = 50_000
MAX_OPEN: Final = 500  # signals of one rule
MAX_WAITING: Final = 50  # rows of one group that may yet become a signal
MAX_ALL_WAITING: Final = 10_000
MAX_SEEN: Final = 200_000
MAX_KEYS: Final = 8  # groups of one row under one rule
MAX_ACTIVITIES: Final = 4_096  # whose rules are remembered
MAX_PASTS: Final = 1_000
PAST_S: Final = 86_400
LEAST_PAST: Final = 6  # windows, before a mean means anything

Key = tuple[str, ...]


class Counters(msgspec.Struct):
    """What the engine did, for people to see.

    Attributes:
        late: Rows older than the window of a rule that they matched.
        evicted: Groups forgotten for room.
        ungrouped: Rows that a rule matched, without a value to group them by.
        folded: Groups that share a signal because their rule has too many open.
    """

    rows: int = 0
    duplicates: int = 0
    late: int = 0
    evicted: int = 0
    ungrouped: int = 0
    folded: int = 0


class Past(msgspec.Struct):
    """How many rows came in each full window of the last day."""

    counts: list[int] = []
    window: int = -1
    running: int = 0
    limit: float = -1.0  # of the windows in `counts`, once asked for

    def add(self, window: int, count: int, longest: int) -> None:
        """Rows of a window; those of an earlier one are of no use any more."""
        if self.window < 0:
            self.window = window
        if window > self.window:
            gap = min(window - self.window - 1, longest)
            self.counts = [*self.counts, self.running, *[0] * gap][-longest:]
            self.window, self.running, self.limit = window, 0, -1.0
        if window == self.window:
            self.running += count

    def usual(self, sigmas: float) -> float:
        """What is not out of the ordinary; 0 while too little is known."""
        if self.limit < 0:
            known = len(self.counts)
            mean = sum(self.counts) / max(known, 1)
            variance = sum((each - mean) ** 2 for each in self.counts) / max(known, 1)
            self.limit = mean + sigmas * math.sqrt(variance) if known >= LEAST_PAST else 0.0
        return self.limit


class _Group:
    """The window of one group under one rule."""

    __slots__ = ("buckets", "held", "newest", "saturated", "signal", "totals", "touched", "values", "waiting")

    def __init__(self, rule: Rule) -> None:
        self.buckets: list[list[int]] = []  # the number of each, then a count per query
        self.totals = [0] * len(rule.queries)
        # By their hashes, as an attacker chooses their lengths; each with its last bucket.
        self.values: list[dict[int, int] | None] = [{} if query.distinct else None for query in rule.queries]
        self.saturated: list[int] | None = None
        self.held = 0
        self.newest = 0
        self.touched = 0.0
        self.signal: Key | None = None  # whose group the rows go to, once they went anywhere
        self.waiting: list[tuple[SecurityTrace, tuple[str, ...], int]] = []

    def add(self, bucket: int, at: Sequence[int], count: int) -> None:
        """Count in a bucket, for the queries at these places."""
        buckets = self.buckets
        if not buckets or bucket > self.newest:
            self.newest = bucket
            self._forget(bucket - BUCKETS + 1)
            buckets.append([bucket] + [0] * len(self.totals))
            found = buckets[-1]
        else:
            for place in range(len(buckets) - 1, -1, -1):
                if buckets[place][0] == bucket:
                    found = buckets[place]
                    break
                if buckets[place][0] < bucket:
                    found = [bucket] + [0] * len(self.totals)
                    buckets.insert(place + 1, found)
                    break
            else:
                found = [bucket] + [0] * len(self.totals)
                buckets.insert(0, found)
        for query in at:
            found[query + 1] += count
            self.totals[query] += count

    def add_value(self, query: int, text: str, bucket: int, *, room: bool) -> None:
        """Count a value once, as long as it stays in the window."""
        values = self.values[query]
        if values is None:
            return
        value = hash(text)
        if value in values:
            values[value] = max(values[value], bucket)
        elif room and len(values) < MAX_VALUES:
            values[value] = bucket
            self.held += 1
        else:
            if self.saturated is None:
                self.saturated = [-1] * len(self.totals)
            self.saturated[query] = max(self.saturated[query], bucket)

    def counts(self) -> list[float]:
        """What conditions are asked with."""
        return [
            total
            if values is None
            else len(values) + (1 if self.saturated is not None and self.saturated[query] >= 0 else 0)
            for query, (total, values) in enumerate(zip(self.totals, self.values, strict=True))
        ]

    def _forget(self, oldest: int) -> None:
        dropped = 0
        for bucket in self.buckets:
            if bucket[0] >= oldest:
                break
            dropped += 1
            for query in range(len(self.totals)):
                self.totals[query] -= bucket[query + 1]
        if not dropped:
            return
        del self.buckets[:dropped]
        for query, values in enumerate(self.values):
            if values:
                self.values[query] = {value: at for value, at in values.items() if at >= oldest}
            if self.saturated is not None and self.saturated[query] < oldest:
                self.saturated[query] = -1
        self.held = sum(len(values) for values in self.values if values)


class _Watch:
    """One rule at work."""

    __slots__ = ("bucket_s", "distinct", "getters", "groups", "names", "open", "predicates", "rule")

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.bucket_s = max(1, rule.window_s // BUCKETS)
        self.predicates = tuple(query.matches for query in rule.queries)
        self.distinct = tuple(values_of(query.distinct) if query.distinct else None for query in rule.queries)
        self.getters = tuple(values_of(facet) for facet in rule.group_by)
        self.names = tuple(query.name for query in rule.queries)
        self.groups: OrderedDict[Key, _Group] = OrderedDict()
        self.open: dict[Key, Signal] = {}

    def keys(self, row: SecurityTrace) -> list[Key]:
        """The groups of a row; none where it lacks a value."""
        values = [get(row) for get in self.getters]
        if all(len(each) == 1 for each in values):
            return [tuple(each[0] for each in values)]
        return list(itertools.islice(itertools.product(*values), MAX_KEYS))


class Engine:
    """Every rule of one organisation.

    Args:
        rules: Those that are switched off are passed over.
        max_groups: Of all rules together.
        max_open: Signals of one rule.
    """

    def __init__(
        self, rules: Iterable[Rule], *, max_groups: int = MAX_GROUPS, max_open: int = MAX_OPEN
    ) -> None:
        self.counters = Counters()
        self._max_groups = max_groups
        self._max_open = max_open
        self._groups = 0
        self._waiting = 0
        self._values = 0
        self._watches: dict[str, _Watch] = {}
        self._pasts: OrderedDict[tuple[str, Key], Past] = OrderedDict()
        self._changed: dict[str, Signal] = {}
        self._seen: tuple[set[int], set[int]] = (set(), set())
        self._of_activity: dict[str, tuple[_Watch, ...]] = {}
        self._of_any: tuple[_Watch, ...] = ()
        self._fullest: _Watch | None = None  # as of the last look
        self.set_rules(rules)

    @property
    def groups(self) -> int:
        """How many groups are held."""
        return self._groups

    def open_signals(self) -> list[Signal]:
        """Signals that may still grow."""
        return [signal for watch in self._watches.values() for signal in watch.open.values()]

    def take_changed(self) -> list[Signal]:
        """Signals that grew, rose or closed since this was last asked: to be written down."""
        changed, self._changed = list(self._changed.values()), {}
        return changed

    def pasts(self) -> dict[tuple[str, Key], Past]:
        """What rules with a memory remember: to be written down, and given back to ``restore``."""
        return dict(self._pasts)

    def set_rules(self, rules: Iterable[Rule]) -> None:
        """Work with these rules; what is counted for those that did not change stays."""
        watches: dict[str, _Watch] = {}
        for rule in rules:
            if not rule.enabled:
                continue
            held = self._watches.get(rule.id)
            if held is not None and held.rule.version == rule.version:
                watches[rule.id] = held
            else:
                watches[rule.id] = _Watch(rule)
                if held is not None and held.rule.group_by == rule.group_by:
                    watches[rule.id].open = held.open
        for gone in self._watches.keys() - watches.keys():
            for signal in self._watches[gone].open.values():
                signal.closed_at, signal.closed_because = signal.last_seen, "its rule is switched off"
                self._changed[signal.id] = signal
        self._watches = watches
        self._fullest = None
        self._values = sum(group.held for watch in watches.values() for group in watch.groups.values())
        self._groups = sum(len(watch.groups) for watch in watches.values())
        self._waiting = sum(
            len(group.waiting) for watch in watches.values() for group in watch.groups.values()
        )
        self._of_activity = {}
        self._of_any = tuple(
            watch for watch in watches.values() if any(query.needed is None for query in watch.rule.queries)
        )

    def restore(self, signals: Iterable[Signal], pasts: Mapping[tuple[str, Key], Past] | None = None) -> None:
        """Go on with signals that were open when the program ended; then ``replay`` the last rows."""
        for signal in signals:
            watch = self._watches.get(signal.rule_id)
            if watch is not None and not signal.closed_at:
                signal.restored_to = signal.last_seen
                watch.open[tuple(signal.group.values())] = signal
        for key, past in (pasts or {}).items():
            self._pasts[key] = past

    def replay(self, rows: Iterable[SecurityTrace]) -> list[Change]:
        """Count the rows of the last windows again, oldest first.

        Returns:
            What nobody has been told: signals that were not among the restored ones.
        """
        changes: list[Change] = []
        for row in sorted(rows, key=lambda row: (row.ts, row.trace_id)):
            changes += self.insert(row, now=row.ts)
        return changes

    def withdraw(self, signal: Signal) -> None:
        """Take an opened signal back, as if its case had not held yet; its group goes on to be counted."""
        watch = self._watches.get(signal.rule_id)
        key = tuple(signal.group.values())
        if watch is not None and watch.open.get(key) is signal:
            del watch.open[key]
        self._changed.pop(signal.id, None)

    def insert(self, row: SecurityTrace, *, now: float, count: int = 1) -> list[Change]:
        """Take one row, or a number of rows like it.

        Args:
            now: In seconds since 1970; a row that claims to be later counts as now.
        """
        self.counters.rows += count
        if row.trace_id and self._is_seen(row):
            self.counters.duplicates += 1
            return []
        changes: list[Change] = []
        ts = min(row.ts, now)
        for watch in self._candidates(row):
            at = [place for place, matches in enumerate(watch.predicates) if matches(row)]
            if not at:
                continue
            if ts < now - watch.rule.window_s:
                self.counters.late += 1
                continue
            keys = watch.keys(row)
            if not keys:
                self.counters.ungrouped += 1
            for key in keys:
                self._count(watch, key, row, at, ts, now, count, changes)
        return changes

    def tick(self, *, now: float) -> list[Change]:
        """Close what has ended and forget what has passed; every ten seconds or so."""
        changes: list[Change] = []
        for watch in self._watches.values():
            for key, signal in list(watch.open.items()):
                if now - signal.last_true > watch.rule.keep_alive_s:
                    self._close(watch, key, signal, now, "ended", changes)
                elif now - signal.first_seen > watch.rule.max_duration_s:
                    self._close(watch, key, signal, now, "lasted too long", changes)
            groups = watch.groups
            while groups:
                key = next(iter(groups))
                if groups[key].touched >= now - watch.rule.window_s:
                    break
                self._drop(watch, key)
        return changes

    # Inside -------------------------------------------------------------------------------------------------

    def _is_seen(self, row: SecurityTrace) -> bool:
        mark = hash((row.trace_id, row.span_id))
        newer, older = self._seen
        if mark in newer or mark in older:
            return True
        newer.add(mark)
        if len(newer) >= MAX_SEEN // 2:
            self._seen = (set(), newer)
        return False

    def _candidates(self, row: SecurityTrace) -> Sequence[_Watch]:
        """Rules that this row may matter to."""
        activities = row.activities
        if not activities:
            return self._of_any
        if len(activities) == 1:
            return self._for(activities[0])
        found = {watch.rule.id: watch for activity in activities for watch in self._for(activity)}
        return tuple(found.values())

    def _for(self, activity: str) -> tuple[_Watch, ...]:
        found = self._of_activity.get(activity)
        if found is None:
            low = activity.lower()
            found = tuple(
                watch
                for watch in self._watches.values()
                if any(_may_match(query, low) for query in watch.rule.queries)
            )
            if len(self._of_activity) >= MAX_ACTIVITIES:
                self._of_activity.clear()
            self._of_activity[activity] = found
        return found

    def _count(
        self,
        watch: _Watch,
        key: Key,
        row: SecurityTrace,
        at: Sequence[int],
        ts: float,
        now: float,
        count: int,
        changes: list[Change],
    ) -> None:
        rule = watch.rule
        group = watch.groups.get(key)
        if group is None:
            group = watch.groups[key] = _Group(rule)
            self._groups += 1
            if self._groups > self._max_groups:
                self._evict()
        else:
            watch.groups.move_to_end(key)
        group.touched = now
        bucket = int(ts // watch.bucket_s)
        if bucket <= group.newest - BUCKETS:
            self.counters.late += 1
            return
        held = group.held
        group.add(bucket, at, count)
        for place in at:
            get = watch.distinct[place]
            if get is not None:
                for value in get(row):
                    group.add_value(place, value, bucket, room=self._values < MAX_ALL_VALUES)
        self._values += group.held - held
        names = tuple(watch.names[place] for place in at)
        severity = rule.severity(group.counts())
        if rule.sigmas is not None:
            severity = self._beyond_usual(rule, key, group, at, ts, count, severity)
        signal = watch.open.get(group.signal or key)
        if signal is not None and now - signal.first_seen > rule.max_duration_s:
            self._close(watch, group.signal or key, signal, now, "lasted too long", changes)
            signal = None
        if signal is None:
            self._wait(group, row, names, count)
            if severity is not None:
                self._open(watch, key, group, severity, row, now, changes)
            return
        group.signal = group.signal or key
        if row.ts > signal.restored_to:
            signal.note(row, names, count)
            self._changed[signal.id] = signal
        if severity is not None:
            self._hold(signal, severity, ts, now, changes)

    def _beyond_usual(
        self,
        rule: Rule,
        key: Key,
        group: _Group,
        at: Sequence[int],
        ts: float,
        count: int,
        severity: Severity | None,
    ) -> Severity | None:
        past = self._pasts.pop((rule.id, key), None) or Past()
        self._pasts[rule.id, key] = past
        if len(self._pasts) > MAX_PASTS:
            self._pasts.popitem(last=False)
        if 0 in at:
            past.add(int(ts // rule.window_s), count, PAST_S // rule.window_s)
        if severity is None or group.totals[0] <= past.usual(rule.sigmas or 0):
            return None
        return severity

    def _wait(self, group: _Group, row: SecurityTrace, names: tuple[str, ...], count: int) -> None:
        """Keep a row in case it turns out to be one of a signal's first."""
        if len(group.waiting) >= MAX_WAITING:
            group.waiting.pop(0)
            self._waiting -= 1
        if self._waiting < MAX_ALL_WAITING:
            group.waiting.append((row, names, count))
            self._waiting += 1

    def _open(
        self,
        watch: _Watch,
        key: Key,
        group: _Group,
        severity: Severity,
        row: SecurityTrace,
        now: float,
        changes: list[Change],
    ) -> None:
        oldest = now - watch.rule.window_s
        waiting = [one for one in group.waiting if one[0].ts >= oldest] or [(row, (), 1)]
        self._waiting -= len(group.waiting)
        group.waiting = []
        if len(watch.open) >= self._max_open:
            self.counters.folded += 1
            key = self._folded(watch, key)
        group.signal = key
        signal = watch.open.get(key)
        if signal is None:
            signal = new_signal(watch.rule, key, severity, row)
            watch.open[key] = signal
            changes.append(Change(Happening.OPENED, signal, now))
        for one, names, count in waiting:
            if one.ts > signal.restored_to:
                signal.note(one, names, count)
        if not signal.id:
            identify(signal, key)
        self._changed[signal.id] = signal
        self._hold(signal, severity, min(row.ts, now), now, changes)

    def _folded(self, watch: _Watch, key: Key) -> Key:
        """The group that many share: its service is kept, unless there are too many of these as well."""
        shared = tuple(
            value if facet.name == "service" else ELSEWHERE
            for facet, value in zip(watch.rule.group_by, key, strict=True)
        )
        if shared in watch.open or len(watch.open) < self._max_open + 50:
            return shared
        return (ELSEWHERE,) * len(key)

    def _hold(self, signal: Signal, severity: Severity, ts: float, now: float, changes: list[Change]) -> None:
        signal.last_true = max(signal.last_true, ts)
        if severity > signal.severity:
            signal.severity = severity
            signal.severities.append((ts, severity))
            self._changed[signal.id] = signal
            changes.append(Change(Happening.RAISED, signal, now))

    def _close(
        self, watch: _Watch, key: Key, signal: Signal, now: float, because: str, changes: list[Change]
    ) -> None:
        signal.closed_at, signal.closed_because = now, because
        del watch.open[key]
        self._changed[signal.id] = signal
        changes.append(Change(Happening.CLOSED, signal, now))

    def _evict(self) -> None:
        """Make room. Attack: addresses that change with every request."""
        watch = self._fullest
        if watch is None or not watch.groups or self.counters.evicted % 64 == 0:
            watch = self._fullest = max(self._watches.values(), key=lambda watch: len(watch.groups))
        self._drop(watch, next(iter(watch.groups)))
        self.counters.evicted += 1

    def _drop(self, watch: _Watch, key: Key) -> None:
        group = watch.groups.pop(key)
        self._waiting -= len(group.waiting)
        self._values -= group.held
        self._groups -= 1


def _may_match(query: Query, activity: str) -> bool:
    return query.needed is None or any(fnmatchcase(activity, _escaped(one)) for one in query.needed)


def _escaped(text: str) -> str:
    return text.replace("[", "[[]").replace("?", "[?]")
