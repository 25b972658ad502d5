"""Reads expressions of probes as JSON, one list on standard input; says what ddtrace makes of each.

Also says how ddtrace captures the variables they are evaluated on.
"""

import json
import sys
from datetime import date

from ddtrace.debugging._expressions import dd_compile
from ddtrace.debugging._probe.remoteconfig import build_probe
from ddtrace.debugging._signal.utils import capture_pairs, capture_value


class Line:
    def __init__(self, sku, price):
        self.sku = sku
        self.price = price


class Order:
    def __init__(self):
        self.id = 7
        self.total = 12.5
        self.lines = [Line("a-1", 2.5), Line("b-2", 10)]
        self.note = None


VARIABLES = {
    "n": 2,
    "f": 1.5,
    "b": True,
    "none": None,
    "s": "hello wörld",
    "empty": "",
    "l": [1, 2, 3],
    "t": ("x", 2),
    "words": ["ab", "b", ""],
    "none_yet": [],
    "d": {"k": 1, "z": None, "w": "text"},
    "st": {1, 2},
    "order": Order(),
    "rows": [{"p": 1}, {"p": 20}],
    "long": "y" * 300 + "end",
    "many": list(range(150)),
    "when": date(2020, 1, 2),
    "quoted": 'it\'s "so"\n\t\\ ü',
    "@return": {"ok": True},
    "@duration": 2.5,
}


def verdict(expression):
    try:
        compiled = dd_compile(expression)
    except Exception as error:
        return {"refused": f"{type(error).__name__}: {error}"}
    try:
        value = compiled(VARIABLES)
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}
    is_builtin = type(value).__module__ == "builtins"
    return {"value": capture_value(value), "holds": bool(value) if is_builtin else None}


def taken(payload):
    try:
        return {"probe": type(build_probe(payload)).__name__}
    except Exception as error:
        return {"refused": f"{type(error).__name__}: {error}"}


asked = json.load(sys.stdin)
json.dump(
    {
        "captured": capture_pairs(VARIABLES.items()),
        "verdicts": [verdict(each) for each in asked.get("expressions", [])],
        "probes": [taken(each) for each in asked.get("probes", [])],
    },
    sys.stdout,
)
