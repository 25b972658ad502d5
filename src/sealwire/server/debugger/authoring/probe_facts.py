"""What tracers can do with a probe, what the author should know of it, and what it costs the program.

Facts only: each was measured or is documented, for the versions named here. Others may do more; a form that
says so beforehand spares an author an error from a running program, which is shown too if it comes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from sealwire.errors import Problem
from sealwire.products.probe_expressions import Call, Literal, Node, members, names_of_element, walk
from sealwire.server.debugger.authoring.probes import AtLine, Probe, ProbeKind
from sealwire.server.debugger.expressions import evaluator, operations, printer
from sealwire.server.debugger.snapshots import redaction

_ON_METHODS: Final = frozenset(ProbeKind)
_AT_LINES: Final = frozenset({ProbeKind.LOG, ProbeKind.METRIC, ProbeKind.DECORATION})


@dataclass(frozen=True, slots=True)
class Support:
    """What the tracer of a language does with probes.

    Attributes:
        at_lines, on_methods: The kinds it takes there.
        tracer: What it is called.
        seen_with: The version this was measured with; empty if it is from documents only.
        capture_ms: How long it captures at most, before it leaves out the rest.
        snapshots_per_s: Of all probes of a process together; None if no limit is known.
        says: What an author should know of it.
    """

    tracer: str
    at_lines: frozenset[ProbeKind]
    on_methods: frozenset[ProbeKind]
    seen_with: str = ""
    capture_ms: int | None = None
    snapshots_per_s: int | None = None
    says: str = ""


SUPPORT: Final[Mapping[str, Support]] = {
    "python": Support("ddtrace", _AT_LINES, _ON_METHODS, "4.16.0", 150, 100),
    "javascript": Support(
        "dd-trace",
        frozenset({ProbeKind.LOG}),
        frozenset(),
        "5.132.0",
        15,
        25,
        "dd-trace takes logs at a line, with or without a snapshot, and nothing else.",
    ),
    "java": Support("dd-java-agent", _AT_LINES, _ON_METHODS, "", 100, 100),
    "dotnet": Support("dd-trace-dotnet", _AT_LINES, _ON_METHODS),
    "go": Support(
        "dd-trace-go",
        frozenset(),
        frozenset(),
        says="Go programs are probed by the system-probe of the host, which Sealwire's agent is not.",
    ),
}


def refusals(probe: Probe) -> tuple[Problem, ...]:
    """Why the tracer of the language would refuse it; nothing if it takes it."""
    found = list(_uncompiled(probe))
    support = SUPPORT[probe.language]
    is_line = isinstance(probe.where, AtLine)
    if probe.kind in (support.at_lines if is_line else support.on_methods):
        return tuple(found)
    where = "at a line" if is_line else "on a method"
    if probe.kind in (support.on_methods if is_line else support.at_lines):
        other = "on a method" if is_line else "at a line"
        message = f"{support.tracer} takes a {probe.kind} {other}, not {where}. {support.says}"
        return (Problem("$.where", message.strip()), *found)
    message = f"{support.tracer} takes no {probe.kind} {where}. {support.says}"
    return (Problem("$.kind", message.strip()), *found)


def _uncompiled(probe: Probe) -> Iterator[Problem]:
    for node in probe.expressions:
        if (why := evaluator.refused(node, operations.dialect(probe.language))) is not None:
            yield Problem("$", f"{printer.text_of(node)}: {why[0]}")


def warnings(probe: Probe) -> tuple[Problem, ...]:
    """What the author should know, though it is allowed."""
    return tuple(_warnings(probe))


def _warnings(probe: Probe) -> Iterator[Problem]:
    seen: set[str] = set()
    for node in probe.expressions:
        for name in sorted(members(node)):
            if redaction.is_redacted(name) and name not in seen:
                seen.add(name)
                text = f"{name} is redacted by the tracer: what reads it gives {redaction.SHOWN} or fails."
                yield Problem("$", text)
        yield from _of_expression(node, probe.language)
    if probe.language == "python":
        for number, tag in enumerate(probe.tags):
            if tag.startswith(("env:", "version:")):
                says = "ddtrace drops a probe with this tag in a program that has another value for it."
                yield Problem(f"$.tags[{number}]", says)


def _of_expression(node: Node, language: str) -> Iterator[Problem]:
    for each in walk(node):
        if not isinstance(each, Call):
            continue
        text = printer.text_of(each)
        if language == "python" and each.op == "isDefined" and names_of_element(each):
            yield Problem("$", f"{text}: ddtrace says false to this, whatever the element is.")
        if language == "python" and each.op == "matches":
            yield Problem("$", f"{text}: ddtrace looks at the beginning only; begin with .* for anywhere.")
        if language == "python" and each.op == "instanceof" and _lacks_module(each):
            yield Problem("$", f"{text}: ddtrace needs the module too, as in shop.orders.Order.")
        if each.op == "eq" and all(isinstance(operand, Literal) for operand in each.args):
            yield Problem("$", f"{text}: this is always the same.")


_BUILTINS: Final = frozenset({"bool", "bytes", "complex", "dict", "float", "frozenset", "int", "list"}) | {
    "set",
    "str",
    "tuple",
}


def _lacks_module(call: Call) -> bool:
    name = call.args[1]
    if not isinstance(name, Literal) or not isinstance(name.value, str):
        return False
    is_builtin = name.value in _BUILTINS or name.value.endswith(("Error", "Exception"))
    return "." not in name.value and not is_builtin


class Cost(NamedTuple):
    """What a probe takes of a program.

    Attributes:
        per_second: How often at most it gives something, per process.
        says: Sentences for the author.
    """

    per_second: float
    says: tuple[str, ...]


def cost(probe: Probe, *, processes: int = 1) -> Cost:
    """Say what a probe costs, in the worst case."""
    support = SUPPORT[probe.language]
    usual = 1.0 if probe.takes_values else 5_000.0
    rate = probe.per_second if probe.per_second is not None else usual
    said: list[str] = []
    what = "snapshot" if probe.takes_values else {"log": "message", "metric": "value"}.get(probe.kind, "span")
    many = "" if rate == 1 else "s"
    said.append(f"At most {rate:g} {what}{many} per second and process.")
    if probe.takes_values and support.snapshots_per_s is not None:
        said.append(
            f"All snapshot probes of a process together: at most {support.snapshots_per_s} per second."
        )
    if probe.takes_values and support.capture_ms is not None:
        said.append(f"A capture stops after {support.capture_ms} ms; what is not there by then is left out.")
    if probe.when is not None:
        said.append("The condition is evaluated each time; if it fails, that is reported once in 5 minutes.")
    elif not probe.takes_values and probe.kind is not ProbeKind.SPAN:
        said.append("Without a condition it runs each time the place is reached.")
    if probe.takes_values and processes > 1:
        said.append(f"{processes} processes: at most {rate * processes:g} snapshots per second together.")
    return Cost(rate, tuple(said))
