"""One line of DogStatsD as a tracer sends it for a metric probe: what it measured, and which probe asked.

    dynamic.instrumentation.metric.probe.<metric>:<value>[:<value>...]|<kind>[|@<rate>][|#<tag>,...][|c:..][|T..]

Hides the grammar. A line is taken apart in two steps, as all but its values is the same each time: ``split``
is quick, and what ``described`` says of the rest can be kept. Invariants: lengths and numbers are bounded;
what comes out as text is printable; what is hostile raises ``MalformedError`` and nothing else.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

from sealwire.errors import MalformedError
from sealwire.wire.probe_batch import MAX_NAME_CHARS, MAX_TAG_CHARS, MAX_TAGS, MetricKind

PREFIX: Final = b"dynamic.instrumentation.metric.probe."
MAX_REST_BYTES: Final = 2 * 1024
MAX_VALUES: Final = 1_000  # of one line
MAX_WEIGHT: Final = 1_000_000  # what one value may stand for
LARGEST: Final = 1e200  # so that sums stay finite
_PROBE_ID: Final = "debugger.probeid:"
_KINDS: Final[dict[bytes, MetricKind]] = {b"c": "c", b"g": "g", b"h": "h", b"ms": "h", b"d": "d"}


class Described(NamedTuple):
    """What a line says besides its values.

    Attributes:
        probe_id: Empty where no probe asked for it.
        tags: Sorted, without the probe's id, each once.
        weight: What one value stands for, as only some were sent.
    """

    probe_id: str
    metric: str
    kind: MetricKind
    tags: tuple[str, ...]
    weight: int


def split(line: bytes) -> tuple[bytes, bytes]:
    """A line without its values, and its values.

    Raises:
        MalformedError: It has none.
    """
    colon = line.find(b":")
    bar = line.find(b"|", colon)
    if colon < 0 or bar < 0:
        raise MalformedError("A metric is name:value|kind.")
    return line[:colon] + line[bar:], line[colon + 1 : bar]


def numbers(values: bytes) -> list[float]:
    """The values of a line.

    Raises:
        MalformedError: One is no number, or none that can be counted with.
    """
    try:
        found = [float(value) for value in values.split(b":", MAX_VALUES)]
    except ValueError as error:
        raise MalformedError("A value is a number.") from error
    if len(found) > MAX_VALUES or not all(-LARGEST <= value <= LARGEST for value in found):
        raise MalformedError("A value is a finite number.")
    return found


def described(rest: bytes) -> Described:
    """What the rest of a line says.

    Raises:
        MalformedError: It is no metric of a kind that probes have.
    """
    if len(rest) > MAX_REST_BYTES or not rest.startswith(PREFIX):
        raise MalformedError("This is no metric of a probe.")
    name, kind, *extras = rest[len(PREFIX) :].split(b"|")
    if kind not in _KINDS:
        raise MalformedError("A metric of a probe is a count, a gauge, a histogram or a distribution.")
    weight, probe_id, tags = 1, "", set[str]()
    for extra in extras:
        if extra.startswith(b"@"):
            weight = _weight(extra[1:])
        elif extra.startswith(b"#"):
            for tag in _text(extra[1:], MAX_REST_BYTES).split(","):
                if tag.startswith(_PROBE_ID):
                    probe_id = tag.removeprefix(_PROBE_ID)[:64]
                elif tag:
                    tags.add(tag[:MAX_TAG_CHARS])
    if len(tags) > MAX_TAGS:
        raise MalformedError(f"A metric of a probe has at most {MAX_TAGS} tags.")
    # A gauge is as high as it is, however seldom somebody says so.
    return Described(
        probe_id,
        _text(name, MAX_NAME_CHARS),
        _KINDS[kind],
        tuple(sorted(tags)),
        1 if kind == b"g" else weight,
    )


def _weight(rate: bytes) -> int:
    try:
        share = float(rate)
    except ValueError:
        share = math.nan
    if not 1 / MAX_WEIGHT <= share <= 1:
        raise MalformedError("A rate is above 0 and at most 1.")
    return round(1 / share)


def _text(raw: bytes, most: int) -> str:
    text = raw.decode(errors="replace")[:most]
    return text if text.isprintable() else "".join(char if char.isprintable() else "?" for char in text)
