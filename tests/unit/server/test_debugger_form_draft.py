"""A probe between the fields of the form and its document: nothing is lost, nothing is too much."""

from __future__ import annotations

from typing import Any

import pytest

from sealwire.server.debugger.authoring import probes
from sealwire.server.debugger.expressions.parser import Place
from sealwire.server.ui import debugger_form_draft as drafts
from sealwire.server.ui import debugger_form_views as shown
from sealwire.server.ui.debugger_form_draft import Draft
from sealwire.server.ui.forms import Form

LINE = {"language": "python", "where": {"file": "shop/orders.py", "line": 42}}
METHOD = {"language": "java", "where": {"type": "a.B", "method": "c", "signature": "(int)"}}
DOCUMENTS: list[dict[str, Any]] = [
    {
        **LINE, "kind": "log", "when": "a > 1", "tags": ["a:b", "c:d"], "template": "x {a}\ny",
        "snapshot": True, "limits": {"depth": 2, "elements": 5, "length": 10, "fields": 4}, "per_second": 0.5,
        "expires_in_minutes": 60,
    },
    {
        **METHOD, "kind": "log", "at": "entry", "template": "", "snapshot": False, "expires_in_minutes": 7,
        "expressions": [
            {"name": "a", "expression": "a.b", "limits": {"depth": 0}}, {"name": "b", "expression": "len(c)"}
        ],
    },
    {
        **METHOD, "kind": "metric", "at": "exit", "expires_in_minutes": 43_200,
        "metric": {"name": "a.b", "kind": "gauge", "value": "@duration"},
    },
    {**METHOD, "kind": "span", "when": "a == 1", "expires_in_minutes": 43_200},
    {
        **LINE, "kind": "decoration", "span": "root", "expires_in_minutes": 43_200,
        "decorations": [
            {"tags": [{"name": "a", "template": "{a}"}, {"name": "b", "template": "b"}], "when": "a > 1"},
            {"tags": [{"name": "c", "template": "c"}]},
        ],
    },
]  # fmt: skip


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda it: f"{it['kind']}-{it['language']}")
def test_a_document_survives_the_form(document: dict[str, Any]) -> None:
    assert probes.to_document(probes.parse(document)) == document

    assert drafts.document_of(drafts.of_document(document)) == document


def test_what_is_not_of_the_chosen_kind_stays_in_the_form_and_out_of_the_document() -> None:
    form = Form(
        {
            "kind": ["span"], "place": ["method"], "type": ["shop"], "method": ["sell"], "template": ["{x"],
            "captures": ["everything"], "metric_name": ["m"], "d-0-t-0-name": ["tag"], "per_second": ["1"],
        }
    )  # fmt: skip
    draft = drafts.read(form)

    assert (draft.template, draft.metric_name, draft.decorations[0].tags[0].name) == ("{x", "m", "tag")
    assert drafts.document_of(draft, language="python") == {
        "kind": "span", "language": "python", "where": {"type": "shop", "method": "sell"},
    }  # fmt: skip


def test_rows_are_bounded_whatever_is_posted() -> None:
    form = Form(
        {
            "x-999-name": ["a"],
            "d-999-t-999-name": ["b"],
            "x--1-name": ["c"],
            "d-0-t-5-name": ["d"],
            "line": ["9" * 50],
        }
    )
    draft = drafts.read(form)

    assert len(draft.asked) == len(draft.decorations) == drafts.MAX_ROWS
    assert len(draft.decorations[0].tags) == 6
    for do in ("remove-tag:99:9", "add-tag:77", "remove-expression:x", "add-expression", "nothing:1:2:3"):
        drafts.edited(draft, do)
    tidied = drafts.tidied(draft)
    assert [each.name for each in tidied.decorations[0].tags] == ["d"]
    assert tidied.asked == ()


def test_rows_are_added_and_removed_where_the_button_is() -> None:
    draft, focus = drafts.edited(Draft(), "add-expression")
    assert (len(draft.asked), draft.captures, focus) == (1, drafts.SOME, "in-x-0-name")
    draft, focus = drafts.edited(draft, "add-tag:0")
    assert (len(draft.decorations[0].tags), focus) == (2, "in-d-0-t-1-name")
    draft, _ = drafts.edited(draft, "remove-tag:0:0")
    draft, _ = drafts.edited(draft, "remove-expression:0")
    assert (len(draft.decorations[0].tags), draft.asked) == (1, ())


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("$.document.where.line", "in-line"),
        ("$.when", "in-when"),
        ("$.document.expressions[1].expression", "in-x-1-expression"),
        ("$.document.expressions[1].limits.depth", "in-x-1-depth"),
        ("$.document.decorations[2].tags[3].template", "in-d-2-t-3-template"),
        ("$.document.decorations[2].when", "in-d-2-when"),
        ("$.document.tags[0]", "in-tags"),
        ("$.service[0]", "in-service"),
        ("$.document.limits.depth", "in-limit-depth"),
        ("$", ""),
        ("$.state", ""),
    ],
)
def test_a_problem_stands_at_its_field(path: str, field: str) -> None:
    assert drafts.field_of(path) == field
    assert not field or shown.label_of(field)


def test_a_file_with_its_line_is_taken_apart_and_an_address_prefills() -> None:
    draft = drafts.prefilled(
        Draft(),
        {"file": "shop/a.py:42", "kind": "nonsense", "snapshot": "1", "when": "a", "service": " shop "},
    )
    assert (draft.file, draft.line, draft.kind, draft.captures) == ("shop/a.py", "42", "log", "everything")
    assert (draft.service, draft.when) == ("shop", "a")
    assert drafts.prefilled(Draft(), {"type": "a", "method": "b"}).place == drafts.METHOD
    assert drafts.read(Form({"file": ["a.py:3"], "line": ["4"]})).file == "a.py:3"


def test_a_mistake_is_marked_at_its_character_where_the_rest_is_not_there_yet() -> None:
    draft = Draft(template="a {b c}", when="x >", kind="log", file="")

    marks = shown.marks(draft)

    assert (marks["in-template"].before, marks["in-template"].wrong) == ("a {b ", "c")
    assert marks["in-when"].before == "x >"
    assert shown.place_of(draft) is Place.LINE
    assert shown.marks(Draft(kind="metric", template="{")) == {}
    assert shown.tidy(draft, "a>1", is_template=False) == "a > 1"
    assert shown.tidy(draft, "a >", is_template=False) == "a >"
