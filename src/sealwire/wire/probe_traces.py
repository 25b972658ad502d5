"""What the tags of a span say of probes: that one made it, that others put tags on it, or failed to.

Hides how tracers mark this: ``debugger.probeid`` on a span that a probe made; for each tag that a probe put
on a span ``_dd.di.<tag>.probe_id``, or ``_dd.di.<tag>.evaluation_error`` alone where it could not, which does
not say whose tag that was. Texts are anybody's, cut where they are long.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from sealwire.wire.probe_batch import (
    MAX_NAME_CHARS,
    MAX_TAG_CHARS,
    MAX_TEXT_CHARS,
    MAX_TEXTS,
    ProbeSpan,
    SpanKind,
)

MARKS: Final = (b"debugger.probeid", b"_dd.di.")  # a trace without these bytes says nothing of probes
_MADE_BY: Final = "debugger.probeid"
DECORATED: Final = "_dd.di."
_BY: Final = ".probe_id"
_FAILED: Final = ".evaluation_error"
_ID_CHARS: Final = 64
# Of a span that a probe made; the second half may hold values of the program.
ORIGIN_TAGS: Final = (
    "_dd.code_origin.frames.0.file", "_dd.code_origin.frames.0.line", "_dd.code_origin.frames.0.method",
    "error.type",
)  # fmt: skip
VALUE_TAGS: Final = ("error.message",)


def is_marked(names: Iterable[str]) -> bool:
    """Whether names of tags say something of probes."""
    return any(name == _MADE_BY or name.startswith(DECORATED) for name in names)


def without_decorations(tags: Mapping[str, str]) -> dict[str, str]:
    """Tags, without those that probes put on."""
    put_on = {
        tag[len(DECORATED) : -len(_BY)] for tag in tags if tag.startswith(DECORATED) and tag.endswith(_BY)
    }
    return {tag: text for tag, text in tags.items() if tag not in put_on}


def of_span(
    tags: Mapping[str, str],
    *,
    service: str,
    env: str,
    version: str,
    runtime_id: str,
    trace_id: str,
    span_id: int,
    start_ns: int,
    duration_ns: int,
    name: str,
    resource: str,
    error: bool,
) -> Iterator[ProbeSpan]:
    """What one span says: nothing, or one entry for each probe that had to do with it.

    Args:
        trace_id: 32 hexadecimal digits.
    """

    def entry(
        probe_id: str, kind: SpanKind, put_on: Mapping[str, str], failed: Mapping[str, str]
    ) -> ProbeSpan:
        return ProbeSpan(
            probe_id, kind, service[:MAX_NAME_CHARS], env[:MAX_NAME_CHARS], version[:MAX_NAME_CHARS],
            runtime_id[:MAX_NAME_CHARS], "", trace_id, span_id,
            start_ns, duration_ns, name[:MAX_NAME_CHARS], resource[:MAX_NAME_CHARS], error,
            _few(put_on), _few(failed),
        )  # fmt: skip

    made_by = tags.get(_MADE_BY)
    if made_by:
        origin = {tag: tags[tag] for tag in ORIGIN_TAGS + VALUE_TAGS if tag in tags}
        yield entry(made_by[:_ID_CHARS], "span", origin, {})
    put_on: dict[str, dict[str, str]] = {}
    failed: dict[str, dict[str, str]] = {}
    for each, value in tags.items():
        if not each.startswith(DECORATED):
            continue
        if each.endswith(_BY):
            tag = each[len(DECORATED) : -len(_BY)]
            if tag and value:
                put_on.setdefault(value[:_ID_CHARS], {})[tag] = tags.get(tag, "")
        elif each.endswith(_FAILED):
            tag = each[len(DECORATED) : -len(_FAILED)]
            if tag:
                by = tags.get(f"{DECORATED}{tag}{_BY}", "")[:_ID_CHARS]
                failed.setdefault(by, {})[tag] = value
    for probe_id in put_on | failed:
        yield entry(probe_id, "decoration", put_on.get(probe_id, {}), failed.get(probe_id, {}))


def _few(texts: Mapping[str, str]) -> dict[str, str]:
    return {name[:MAX_TAG_CHARS]: text[:MAX_TEXT_CHARS] for name, text in list(texts.items())[:MAX_TEXTS]}
