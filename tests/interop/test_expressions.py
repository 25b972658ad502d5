"""Real ddtrace and real dd-trace judge our expressions: what we compile they take, and evaluate as we do.

The variables are those of the judges; ddtrace captures them itself, so that our evaluator sees what it would
see in a snapshot. Where we say that it cannot be told, anything is right; the fixed cases must be told.
"""

from __future__ import annotations

import json
import math
import random
import subprocess
from typing import Any

import orjson
import pytest

from sealwire.products.probe_expressions import (
    OPERATORS,
    Call,
    Literal,
    Node,
    Ref,
    from_json,
    to_json,
    wrong_operand,
)
from sealwire.server.debugger.authoring import probe_wire, probes
from sealwire.server.debugger.expressions import operations, parser, printer
from sealwire.server.debugger.expressions.evaluator import Outcome, Verdict, evaluate
from sealwire.server.debugger.snapshots.captured import Reader, Value, parts
from sealwire.server.debugger.snapshots.snapshot import Snapshot, read
from tests.support.clients import APPS, require_ddtrace, require_node
from tests.support.processes import clean_environment

pytestmark = pytest.mark.interop

COMMON = """
n == 2
n != 2
n > 1 && n < 3
n >= 2 || nothing_like_it
n <= 1.5
b
!b
!(n > 1)
s == "hello wörld"
f == 1.5
none == null
"a" < "b"
n == 1 && n > "x"
isEmpty(empty)
isEmpty(none_yet)
isEmpty(l)
isEmpty(none)
isDefined(n)
isDefined(len(n))
len(s)
len(l)
len(none)
contains(s, "wör")
contains(s, "x")
contains(l, 2)
contains(l, 9)
contains(n, 2)
startsWith(s, "hello")
startsWith(s, "ello")
startsWith(n, "2")
endsWith(s, "rld")
endsWith(s, "x")
matches(s, "h.*d")
matches(s, "^hello$")
matches(s, "[a-z]+ w.r")
substring(s, 1, 4)
substring(s, 0, 99)
order.id == 7
order.total > 12 && order.total < 13
order.note == null
order.lines[0].sku == "a-1"
order.lines[1].price == 10
l[0]
d["k"]
d["z"] == null
d["w"] == "text"
any(l, {@it > 2})
any(l, {@it > 3})
all(l, {@it > 0})
all(none_yet, {@it > 0})
filter(l, {@it > 1})
len(filter(l, {@it > 1})) == 2
isEmpty(filter(l, {@it > 5}))
any(order.lines, {@it.price > 5 && startsWith(@it.sku, "b")})
any(rows, {@it["p"] > n})
any(rows, {any(l, {@it == 3})})
any(d, {@key == "k"})
any(d, {@value == "text"})
all(d, {@key != "nope"})
filter(d, {@key == "k"})
n == "2"
s == 2
n == 3 || n == 1 || n == 2
n > 0 && s == "hello wörld" && !isEmpty(l)
"""
ONLY_PYTHON = r"""
n == b
true == 1
n > s
none > 1
matches(s, "ello")
matches(s, "(")
l[-1]
l[9]
l["k"]
d["nope"]
d.k
s[0]
t[1]
t == t
contains(st, 2)
contains(d, "k")
len(d)
len(st)
len(order)
isDefined(d["nope"])
isDefined(l[9])
isDefined(n > s)
any(l, {isDefined(@it)})
any(s, {@it == "w"})
filter(s, {@it == "l"})
filter(t, {@it == 2})
instanceof(n, "int")
instanceof(b, "int")
instanceof(l, "list")
instanceof(l, "dict")
instanceof(n, "builtins.int")
instanceof(s, "str")
substring(s, -3, -1)
substring(n, 0, 1)
many[149]
len(many) == 150
startsWith(long, "yyy")
long == "y"
quoted == "it's \"so\"\n\t\\ ü"
@duration > 2
@return["ok"]
s && n
empty || n
l == l
d["k"] == l
"""
ONLY_JAVASCRIPT = r"""
n === n
n > s
none > 1
none < 1
true == 1
matches(s, "ello")
matches(n, "2")
l[-1]
l[9]
l["1"]
d["nope"]
d.k
s[0]
order.nope
isDefined(order.nope)
isDefined(none.x)
none.x
u == null
contains(st, 2)
contains(m, "k")
contains(d, "k")
len(d)
len(order)
isEmpty(d)
m["k"]
instanceof(n, "number")
instanceof(s, "string")
instanceof(l, "Array")
substring(s, -3, -1)
s && n
empty || n
l == l
"""


def cases(*texts: str) -> list[str]:
    return [line for text in texts for line in text.strip().splitlines() if "===" not in line]


def ask_ddtrace(**asked: Any) -> dict[str, Any]:
    return asked_of([require_ddtrace("ddtrace4") / "python", APPS / "judge_expressions.py"], asked)


def ask_dd_trace(**asked: Any) -> dict[str, Any]:
    node, modules = require_node()
    return asked_of([node, APPS / "judge_expressions.js", modules], asked)


def asked_of(command: list[Any], asked: dict[str, Any]) -> dict[str, Any]:
    ran = subprocess.run(
        command, input=json.dumps(asked), capture_output=True, text=True, timeout=100, env=clean_environment()
    )
    assert ran.returncode == 0, ran.stderr
    said: dict[str, Any] = json.loads(ran.stdout)
    return said


def snapshot_of(captured: dict[str, Any], language: str) -> Snapshot:
    """The variables in an envelope, as if they came from a probe."""
    context = {"locals": captured}
    snapshot = {
        "id": "s",
        "language": language,
        "probe": {"id": "p", "version": 1},
        "captures": {"return": context},
        "duration": 2_500_000,
    }
    return read(orjson.dumps({"debugger": {"snapshot": snapshot}}))


def plain(thing: object) -> object:
    """A value without what only a capture has: sizes and why something is not there."""
    if isinstance(thing, Value):
        simple = operations.thing(thing)
        if not isinstance(simple, Value):
            return plain(simple)
        if thing.text is not None:
            return (thing.type, thing.text)
        return (thing.type, tuple((part.name, plain(part.value)) for part in parts(thing)))
    if isinstance(thing, float) and thing.is_integer():
        return int(thing)
    if isinstance(thing, float) and math.isnan(thing):
        return "nan"
    return ("flag", thing) if isinstance(thing, bool) else thing


def disagreement(node: Node, ours: Outcome, theirs: dict[str, Any]) -> str:
    text = f"{printer.text_of(node)}: we say {ours}, the tracer {theirs}"
    if "refused" in theirs:
        return text
    if ours.verdict is Verdict.ERROR:
        return "" if "error" in theirs else text
    if ours.verdict is Verdict.VALUE:
        if "error" in theirs or plain(ours.value) != plain(Reader().value(theirs["value"], "$")):
            return text
        if ours.holds is not None and theirs["holds"] is not None and ours.holds != theirs["holds"]:
            return text
    return ""


def compare(nodes: list[Node], said: dict[str, Any], language: str) -> tuple[list[str], list[str]]:
    """Where we and the tracer say different things, and where we cannot tell."""
    snapshot = snapshot_of(said["captured"], language)
    wrong, unknown = [], []
    for node, theirs in zip(nodes, said["verdicts"], strict=True):
        ours = evaluate(node, snapshot)
        if found := disagreement(node, ours, theirs):
            wrong.append(found)
        if ours.verdict in (Verdict.UNKNOWN, Verdict.REDACTED):
            unknown.append(printer.text_of(node))
    return wrong, unknown


MADE_OF = ("n", "f", "b", "none", "s", "empty", "l", "words", "none_yet", "d", "st", "order", "rows")


def made_up(rng: random.Random, depth: int = 0, *, in_braces: bool = False) -> Node:
    """Any expression at all, mostly of variables that are there."""
    dice = rng.random()
    if depth > 4 or dice < 0.25:
        if in_braces and rng.random() < 0.6:
            return Ref(rng.choice(("@it", "@it", "@key", "@value")))
        if rng.random() < 0.65:
            return Ref(rng.choice(MADE_OF))
        return Literal(rng.choice((0, 1, 2, -1, 2.5, "", "a", "hello", "k", "p", True, False, None)))
    op = rng.choice([name for name in OPERATORS if name != "matches"])
    if op == "getmember":
        name = Literal(rng.choice(("id", "lines", "total", "note", "sku", "nope")))
        return Call(op, (made_up(rng, depth + 1, in_braces=in_braces), name))
    if op == "instanceof":
        kind = Literal(rng.choice(("int", "str", "list", "dict", "number", "string", "Array", "Nope")))
        return Call(op, (made_up(rng, depth + 1, in_braces=in_braces), kind))
    if OPERATORS[op].takes_lambda:
        listed = made_up(rng, depth + 1, in_braces=in_braces)
        return Call(op, (listed, made_up(rng, depth + 1, in_braces=True)))
    count = OPERATORS[op].arity
    args = tuple(made_up(rng, depth + 1, in_braces=in_braces) for _ in range(count))
    return args[0] if wrong_operand(op, args) else Call(op, args)


def many_made_up(number: int) -> list[Node]:
    rng = random.Random(5)
    # By way of the JSON, so that they are as the tree says they are.
    return [from_json(to_json(made_up(rng))) for _ in range(number)]


@pytest.mark.parametrize("language", ["python", "javascript"])
def test_each_operator_gives_what_the_real_tracer_gives(language: str) -> None:
    only, ask = (ONLY_PYTHON, ask_ddtrace) if language == "python" else (ONLY_JAVASCRIPT, ask_dd_trace)
    nodes = [parser.parse(text) for text in cases(COMMON, only)]

    said = ask(expressions=[to_json(node) for node in nodes])

    wrong, unknown = compare(nodes, said, language)
    assert not wrong, "\n".join(wrong)
    told = {"many[149]"}  # beyond what ddtrace captures
    assert set(unknown) <= told, unknown


@pytest.mark.parametrize("language", ["python", "javascript"])
def test_whatever_is_made_up_is_taken_and_evaluated_as_we_say(language: str) -> None:
    nodes = many_made_up(1_500)
    ask = ask_ddtrace if language == "python" else ask_dd_trace

    said = ask(expressions=[to_json(node) for node in nodes])

    wrong, unknown = compare(nodes, said, language)
    assert not wrong, f"{len(wrong)} of {len(nodes)}\n" + "\n".join(wrong[:20])
    assert len(unknown) < 0.6 * len(nodes)


WHERE = ({"file": "shop.py", "line": 3}, {"type": "shop", "method": "sell"})
DOCUMENTS: list[dict[str, Any]] = [
    {
        "kind": "log",
        "template": "sold {n} {{}} {any(l, {@it > 1})}",
        "snapshot": True,
        "limits": {"depth": 2},
    },
    {
        "kind": "log",
        "template": "",
        "expressions": [{"name": "x", "expression": "n", "limits": {"length": 9}}],
    },
    {"kind": "log", "template": "plain", "when": "n > 1", "per_second": 0.5, "tags": ["team:shop"]},
    {"kind": "metric", "metric": {"name": "shop.sold", "kind": "count"}},
    {"kind": "metric", "metric": {"name": "shop.sold", "kind": "histogram", "value": "n"}},
    {"kind": "span"},
    {
        "kind": "decoration",
        "span": "root",
        "decorations": [{"when": "n > 1", "tags": [{"name": "a", "template": "{n}"}]}],
    },
]


def test_ddtrace_takes_every_kind_of_probe_we_write_and_refuses_what_we_refuse() -> None:
    from sealwire.server.debugger.authoring import probe_facts

    made = [
        probes.parse({"language": "python", "where": where, **each}) for each in DOCUMENTS for where in WHERE
    ]

    said = ask_ddtrace(
        probes=[
            probe_wire.to_wire(each, probe_id="8f1c2d34-aaaa-4bbb-8ccc-0123456789ab", version=1)
            for each in made
        ]
    )

    for probe, theirs in zip(made, said["probes"], strict=True):
        assert ("refused" in theirs) is bool(probe_facts.refusals(probe)), (probe, theirs)
    assert sum("refused" in each for each in said["probes"]) == 1
