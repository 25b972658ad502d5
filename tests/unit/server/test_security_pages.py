"""The small pure parts of the pages of signals and rules."""

from __future__ import annotations

import pytest

from sealwire.server.security.builtin import BUILTIN
from sealwire.server.security.query import parse
from sealwire.server.security.rule_documents import checked, plain
from sealwire.server.ui import safe_markdown
from sealwire.server.ui import security_rule_draft as drafts
from sealwire.server.ui.security_signal_words import percent, term
from sealwire.server.ui.security_timeline import MAX_MARKS, Happened, timeline


@pytest.mark.parametrize("rule_id", BUILTIN)
def test_a_document_goes_through_the_form_without_loss(rule_id: str) -> None:
    draft = drafts.of_document(BUILTIN[rule_id])

    assert draft.mode == drafts.FORM
    assert checked(drafts.document_of(draft))[0] == plain(BUILTIN[rule_id])
    assert drafts.as_form(drafts.as_json(draft)) == draft


def test_what_the_form_has_no_field_for_stays_json() -> None:
    odd = {**BUILTIN["attack-tool"], "extra": [1, {"deep": None}]}

    draft = drafts.of_document(odd)

    assert draft.mode == drafts.JSON
    assert drafts.document_of(draft) == plain(odd)


def test_markdown_of_others_holds_no_code_and_leads_to_the_web_only() -> None:
    html = safe_markdown.render(
        "# Top\n<img src=x onerror=1> ![p](https://e.example/p.png) [a](javascript:1) [b](//evil) "
        '[c](https://x.example/ "t") \u202eturned\0'
    )

    assert "<img" not in html
    assert html.count("href=") == 2  # the picture is a link like the other
    assert "//evil" not in html
    assert "<h3>Top</h3>" in html
    assert "\u202e" not in html


def test_a_timeline_counts_every_request_and_bounds_its_marks() -> None:
    by_minute = {29_000_000 + minute: minute % 7 + 1 for minute in range(1_440)}
    happened = [Happened(29_000_000 * 60 + at * 60, "comment", "file-pen", "Comment") for at in range(90)]

    line = timeline(by_minute, happened)

    assert sum(bar.count for bar in line.bars) == sum(by_minute.values())
    assert len(line.bars) <= 61
    assert sum(mark.number > 0 for mark in line.marks) == MAX_MARKS
    assert line.more_marks == 30
    assert timeline({}, []).top == 0


def test_a_value_of_anybody_is_one_term_of_a_query() -> None:
    for value in ('a" OR service:shop', "back\\slash", "::1", "x y", '"'):
        node = parse(term("@http.useragent", value))
        assert getattr(node, "value", None) == value.lower()


def test_a_share_is_never_nothing_for_something_nor_all_for_less() -> None:
    assert [percent(*pair) for pair in ((0, 9), (1, 999), (998, 999), (9, 9), (0, 0))] == [
        "0 %", "1 %", "99 %", "100 %", "0 %",
    ]  # fmt: skip
