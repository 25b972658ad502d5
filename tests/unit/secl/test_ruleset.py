"""Sets of rules: the index finds what evaluation finds, filters let through what can match, limits hold."""

from __future__ import annotations

import json
import random
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sealwire.secl.definitions import Origin
from sealwire.secl.event import Event, Process, flags_of, options_of
from sealwire.secl.limiter import BURST, MAX_TOKENS, Limiter
from sealwire.secl.merge import Loaded, load
from sealwire.secl.needs import AnyBit
from sealwire.secl.patterns import Glob, TextSet
from sealwire.secl.policy import read_policy
from sealwire.secl.variables import VariableStore

SECOND_NS = 1_000_000_000


def rules(*expressions: str | dict[str, Any], **settings_: Any) -> Loaded:
    """Rules ``r0``, ``r1`` and so on, loaded."""
    written = [
        {"id": f"r{at}", **({"expression": each} if isinstance(each, str) else each)}
        for at, each in enumerate(expressions)
    ]
    raw = json.dumps({"version": "1", "rules": written}).encode()
    policy = read_policy(raw, name="test.policy", origin=Origin.REMOTE)
    loaded = load(
        [policy], host={"os": "linux"}, agent_version="7.80.0", store=VariableStore(), new_id=str, **settings_
    )
    assert loaded.problems == ()
    return loaded


def opened(path: str = "/a", *, flags: int = 0, **process: Any) -> Event:
    return Event("open", values={"open.file.path": path, "open.flags": flags}, process=Process(process))


def ids(loaded: Loaded, event: Event, now_ns: int = 0) -> list[str]:
    return [match.rule.id for match in loaded.rule_set.evaluate(event, now_ns=now_ns)]


# The index --------------------------------------------------------------------------------------------------

LEAVES = (
    'open.file.path == "/a"', 'open.file.path in ["/a", "/b/c"]', 'open.file.path =~ "/b/*"',
    'open.file.path =~ "/**"', 'open.file.path =~ "/*/c"', 'open.file.path =~ r"c$"',
    'open.file.path != "/a"',
    'open.file.path not in [~"/b/**"]', 'open.file.name == "c"', 'open.file.name in [~"c*", "a"]',
    "open.flags & O_CREAT > 0", "open.flags == 0", "open.flags in [0, 64]", 'process.comm == "x"',
    'process.comm in [~"x*", "y"]', 'process.argv in ["-i"]', 'process.argv not in ["-i"]',
    'process.argv allin ["-i"]', 'process.parent.comm == "p"', 'process.ancestors.comm == "p"',
    'process.ancestors.comm != "p"', "open.retval == 0 && true", "open.retval == 0 && false",
    'process.ancestors[A].comm == "p" && process.ancestors[A].pid == 1', 'fim.write.file.path =~ "/b/*"',
    "process.is_thread", "process.file.path.length > 1",
)  # fmt: skip
OF_OPEN = [each for each in LEAVES if "open." in each]
expressions = st.recursive(
    st.sampled_from([each for each in LEAVES if "fim" not in each]),
    lambda inner: st.one_of(
        inner.map(lambda one: f"!({one})"),
        st.tuples(inner, st.sampled_from((" && ", " || ")), inner).map(lambda three: f"({''.join(three)})"),
    ),
    max_leaves=5,
)
events = st.builds(
    lambda path, flags, comm, argv, parent: Event(
        "open",
        values={"open.file.path": path, "open.flags": flags},
        process=Process({"comm": comm, "argv": argv, "file.path": "/x"}, parent),
    ),
    st.sampled_from(("/a", "/b", "/b/c", "/b/c/d", "/c", "a", "", "/", "//c")),
    st.sampled_from((0, 64, 65)),
    st.sampled_from(("x", "xy", "y", "")),
    st.sampled_from(((), ("-i",), ("-i", "-x"), ("-x",))),
    st.sampled_from((None, Process({"comm": "p", "pid": 1}), Process({"comm": "q"}, Process({"comm": "p"})))),
)


@settings(max_examples=400)
@given(st.lists(expressions, min_size=1, max_size=6), st.lists(events, min_size=1, max_size=6))
def test_the_index_finds_exactly_the_rules_that_hold(texts: list[str], several: list[Event]) -> None:
    loaded = rules(
        *[f"open.retval == 0 && ({text})" for text in texts], *[text for text in LEAVES if "open." in text]
    )

    for _ in range(2):  # the second time from what is kept
        for event in several:
            wanted = [
                rule.id
                for rule in loaded.rule_set.rules
                if any(variant.event_type == "open" and variant.test(event) for variant in rule.variants)
            ]
            assert ids(loaded, event) == wanted


@settings(max_examples=400)
@given(expressions, events)
def test_filters_never_turn_away_what_matches(text: str, event: Event) -> None:
    loaded = rules(f"open.retval == 0 && ({text})")
    if not ids(loaded, event):
        return

    known = {
        "open.file.path": event.values["open.file.path"],
        "open.flags": event.values["open.flags"],
        "process.comm": event.process.values["comm"],
    }
    for name, value in known.items():
        assert loaded.rule_set.can_match("open", {name: value})
        assert not loaded.rule_set.discarder("open", name)(value)
    assert loaded.rule_set.can_match("open", known)
    for name, values in loaded.rule_set.approvers("open").items():
        if isinstance(values, TextSet) and name in known:
            assert values.test()(str(known[name]))


def test_filters_turn_away_what_cannot_match() -> None:
    loaded = rules(
        'open.file.path in ["/etc/shadow", ~"/etc/cron.*/**"] && open.flags & (O_CREAT|O_WRONLY) > 0',
        'open.file.path == "/etc/passwd" && open.flags & O_TRUNC > 0 && process.comm != "passwd"',
    )
    found = loaded.rule_set.approvers("open")

    assert found["open.file.path"] == TextSet(
        exact=frozenset({"/etc/shadow", "/etc/passwd"}), globs=(Glob("/etc/cron.*/**", "/"),)
    )
    assert found["open.flags"] == AnyBit(0o1101)
    discards = loaded.rule_set.discarder("open", "open.file.path")
    assert discards("/tmp/x")
    assert not discards("/etc/passwd")
    assert not loaded.rule_set.can_match("open", {"open.file.path": "/etc/passwd", "process.comm": "passwd"})
    assert loaded.rule_set.can_match("open", {"open.file.path": "/etc/shadow", "process.comm": "passwd"})
    assert not loaded.rule_set.can_match("exec", {})


def test_what_is_known_of_the_file_is_not_taken_for_the_program() -> None:
    loaded = rules('open.file.path == "/a" && process.file.path != "/b" && process.parent.comm == "p"')

    def can_match(**more: Any) -> bool:
        known = {name.replace("__", "."): value for name, value in more.items()}
        return loaded.rule_set.can_match("open", known)

    assert can_match(process__file__path="/a", open__file__path="/a")
    assert not can_match(process__file__path="/b", open__file__path="/a")
    assert not can_match(open__file__path="/b", process__file__path="/a")
    assert can_match(process__parent__comm="p")
    assert not can_match(process__parent__comm="q")
    assert can_match(process__ancestors__comm="q", unknown__field=1)


def test_a_rule_without_literal_values_leaves_nothing_to_filter_by() -> None:
    loaded = rules('open.file.path == "/a"', "open.retval < 0")

    assert loaded.rule_set.approvers("open") == {}
    assert [dict(needed) for _, needed in loaded.rule_set.needed_by("open")] == [
        {"open.file.path": TextSet(exact=frozenset({"/a"}))},
        {},
    ]


def test_rules_for_any_change_of_a_file_are_for_each_event() -> None:
    loaded = rules('fim.write.file.path == "/etc/x"')

    assert loaded.rule_set.event_types == {"open", "chmod", "chown", "link", "rename", "unlink", "utimes"}
    assert ids(loaded, opened("/etc/x", flags=1)) == ["r0"]
    assert ids(loaded, opened("/etc/x", flags=0)) == []
    assert ids(loaded, Event("link", values={"link.file.destination.path": "/etc/x"})) == ["r0"]
    assert ids(loaded, Event("link", values={"link.file.path": "/etc/x"})) == ["r0"]


def test_higher_priorities_come_first() -> None:
    loaded = rules(
        {"expression": 'open.file.path == "/a"'},
        {"expression": 'open.file.path == "/a"', "priority": 5},
    )

    assert ids(loaded, opened()) == ["r1", "r0"]


def test_what_is_remembered_of_values_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sealwire.secl.ruleset.MAX_REMEMBERED", 10)
    loaded = rules('open.file.path =~ "/x/*"')

    for at in range(100):
        assert ids(loaded, opened(f"/x/{at}")) == ["r0"]
    (indexed,) = (each.__self__ for each in loaded.rule_set._buckets["open"].indexed)
    assert len(indexed._remembered) <= 10


# Matches ----------------------------------------------------------------------------------------------------


def test_a_match_says_which_parts_held_and_why() -> None:
    expression = (
        'open.file.path in [~"/etc/*"] && process.argv in ["-x", "-y"] && '
        "(open.flags == 7 || open.flags == 1)"
    )
    loaded = rules(expression)
    (match,) = loaded.rule_set.evaluate(opened("/etc/x", flags=1, argv=("-a", "-y")), now_ns=0)

    held = loaded.rule_set.explain(match)

    assert [(each.field, each.value, expression[each.start : each.end]) for each in held] == [
        ("open.file.path", "/etc/x", 'open.file.path in [~"/etc/*"]'),
        ("process.argv", "-y", 'process.argv in ["-x", "-y"]'),
        ("open.flags", 1, "open.flags == 1"),
    ]


def test_actions_are_handed_back_if_their_filter_holds() -> None:
    loaded = rules(
        {
            "expression": 'open.file.path == "/a"',
            "actions": [
                {"hash": {"field": "process.file", "max_file_size": 1000}},
                {"filter": 'process.comm == "x"', "kill": {"signal": "SIGKILL", "scope": "container"}},
                {"filter": 'process.comm == "y"', "log": {"message": "seen", "level": "warn"}},
                {"coredump": {"process": True}},
            ],
        }
    )
    (match,) = loaded.rule_set.evaluate(opened(comm="x"), now_ns=0)

    assert [(action.kind, dict(action.options)) for action in match.actions] == [
        ("hash", {"field": "process.file", "max_file_size": 1000}),
        ("kill", {"signal": "SIGKILL", "scope": "container"}),
        ("coredump", {"process": True}),
    ]
    assert loaded.reports[0].rules[0].message == "Core dumps are not taken."


def test_a_set_action_may_be_meant_for_another_process() -> None:
    other = Process({"pid": 7})
    loaded = rules(
        {
            "expression": "signal.type == SIGKILL",
            "actions": [
                {"set": {"name": "hit", "value": True, "scope": "process", "scope_field": "signal.pid"}}
            ],
        },
        'open.file.path == "/a" && ${process.hit}',
        resolve_pid=lambda pid: other if pid == 7 else None,
    )

    ids(loaded, Event("signal", values={"signal.type": 9, "signal.pid": 7}))
    ids(loaded, Event("signal", values={"signal.type": 9, "signal.pid": 8}))

    assert ids(loaded, opened()) == []
    assert ids(loaded, Event("open", values={"open.file.path": "/a"}, process=other)) == ["r1"]


def test_a_rule_reads_its_own_tags() -> None:
    loaded = rules(
        {"expression": 'open.file.path == "/a" && event.rule.tags == "team:a"', "tags": {"team": "a"}},
        {"expression": 'open.file.path == "/a" && event.rule.tags == "team:a"', "tags": {"team": "b"}},
    )

    assert ids(loaded, opened()) == ["r0"]


# Limits -----------------------------------------------------------------------------------------------------


def test_a_rule_reports_a_burst_and_then_ten_a_second() -> None:
    loaded = rules('open.file.path == "/a"')

    def reported(at_ns: int, count: int) -> int:
        found = [loaded.rule_set.evaluate(opened(), now_ns=at_ns)[0].reported for _ in range(count)]
        return sum(found)

    assert reported(0, 100) == BURST
    assert reported(SECOND_NS // 2, 100) == 5
    assert reported(SECOND_NS, 100) == 5
    assert reported(60 * SECOND_NS, 100) == BURST


def test_a_rule_with_every_reports_once_in_that_time() -> None:
    loaded = rules({"expression": 'open.file.path == "/a"', "every": "10s"})

    found = [loaded.rule_set.evaluate(opened(), now_ns=at * SECOND_NS)[0].reported for at in range(25)]

    assert [at for at, reported in enumerate(found) if reported] == [0, 10, 20]


def test_a_rule_with_a_token_limits_each_value_on_its_own() -> None:
    loaded = rules(
        {"expression": 'open.file.path == "/a"', "every": "10s", "limiter_token": ["process.comm"]}
    )

    found = [loaded.rule_set.evaluate(opened(comm=comm), now_ns=0)[0].reported for comm in ("a", "b", "a")]

    assert found == [True, True, False]


def test_the_limiter_forgets_what_it_has_not_seen_for_longest() -> None:
    limiter = Limiter(every_ns=SECOND_NS)
    for at in range(MAX_TOKENS + 1):
        assert limiter.allows(at, 0)

    assert limiter.allows(0, 0), "the first was forgotten"
    assert not limiter.allows(MAX_TOKENS, 0)


def test_a_clock_that_jumps_back_neither_frees_nor_blocks_for_ever() -> None:
    limiter = Limiter(every_ns=SECOND_NS)

    assert limiter.allows("a", 100 * SECOND_NS)
    assert not limiter.allows("a", 1 * SECOND_NS)
    assert limiter.allows("a", 101 * SECOND_NS)


# Bounds -----------------------------------------------------------------------------------------------------


def test_ten_thousand_rules_load_and_are_evaluated_quickly() -> None:
    started = time.process_time()
    loaded = rules(
        *[f'open.file.path in ["/a/{at}", ~"/b{at}/**"] && process.comm != "x{at}"' for at in range(10_000)]
    )
    loading = time.process_time() - started
    started = time.process_time()
    for at in range(1_000):
        assert ids(loaded, opened(f"/b{at}/c")) == [f"r{at}"]
    evaluating = time.process_time() - started

    assert loading < 30
    assert evaluating < 5


def test_events_with_hostile_values_are_evaluated() -> None:
    loaded = rules(*[each for each in LEAVES if "fim" in each or "open." in each])
    huge = "/" + "a/" * 1_000_000

    for path in (huge, "\x00\x1b[31m", "/\udcff\n", "*" * 100_000):
        started = time.process_time()
        ids(loaded, opened(path, comm="\x00" * 16, argv=(huge, "-i")))
        assert time.process_time() - started < 2


def test_texts_that_were_too_much_work_are_counted() -> None:
    loaded = rules('open.file.name =~ r"(a|b)*a(a|b){700}c$"')
    hostile = "".join(random.Random(6).choices("ab", k=200_000))

    assert loaded.rule_set.given_up == 0
    assert ids(loaded, opened(f"/{hostile}c")) == []
    assert loaded.rule_set.given_up == 1


def test_a_chain_of_ancestors_that_runs_in_a_circle_ends() -> None:
    process = Process({"comm": "x"})
    process.parent = process
    loaded = rules(
        'open.file.path == "/a" && process.ancestors.comm == "p"',
        'open.file.path == "/a" && process.ancestors[A].comm == "p"',
        'open.file.path == "/a" && process.ancestors[A].comm == "p" && process.ancestors[B].comm == "p"',
        'open.file.path == "/a" && process.ancestors.length > 5',
        'open.file.path == "/a" && process.ancestors.argv in ["x"]',
    )

    assert ids(loaded, Event("open", values={"open.file.path": "/a"}, process=process)) == ["r3"]


def test_events_survive_being_kept_as_documents() -> None:
    event = Event(
        "ptrace",
        timestamp_ns=5,
        values={"ptrace.request": 16},
        process=Process({"comm": "x", "argv": ("a",)}, Process({"comm": "p"})),
        target=Process({"comm": "t"}),
    )

    again = Event.from_document(json.loads(json.dumps(event.to_document())))

    assert again.to_document() == event.to_document()
    assert again.process.parent is not None
    assert again.target.values["comm"] == "t"


KEYS = ("type", "timestamp", "values", "process", "target", "parent", "argv", "comm", "open.flags")
documents = st.recursive(
    st.none() | st.integers() | st.text(), lambda inner: st.dictionaries(st.sampled_from(KEYS), inner)
)


@given(documents)
def test_any_document_is_an_event(document: Any) -> None:
    event = Event.from_document(document if isinstance(document, dict) else {})
    loaded = rules('open.file.path == "/a" || process.argv in ["x"] && open.flags > 0')

    assert ids(loaded, event) in ([], ["r0"])


@pytest.mark.parametrize(
    ("argv", "flags", "options"),
    [
        (("-ln",), ("ln", "l", "n"), ()),
        (("--version",), ("version",), ()),
        (("-T", "8", "--width=8"), ("T",), ("T=8", "width=8")),
        (("-aG", "sudo", "bob"), ("aG", "a", "G"), ("aG=sudo",)),
        (("-", "--", "-x"), (), ()),
        (("-o=1", "x"), (), ("o=1",)),
        (("install", "-y", "pkg"), ("y",), ("y=pkg",)),
        ((), (), ()),
    ],
)
def test_flags_and_options_are_found_in_arguments(
    argv: tuple[str, ...], flags: tuple[str, ...], options: tuple[str, ...]
) -> None:
    assert flags_of(argv) == flags
    assert options_of(argv) == options
