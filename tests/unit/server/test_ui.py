"""The parts of the pages that need no browser: filters, tables, charts, live changes, answers."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealwire.errors import NotFoundError, UnavailableError
from sealwire.server.ui import charts, live, render, tables
from sealwire.server.ui.answers import POLICY
from sealwire.server.ui.assets import STATIC, assets
from sealwire.server.ui.filters import Field, Grammar
from sealwire.server.ui.forms import local_path
from sealwire.server.ui.live import Rows, Viewers


@dataclass(frozen=True)
class Thing:
    name: str
    state: str = "connected"
    size: int = 0


GRAMMAR: Grammar[Thing] = Grammar(
    name=Field(lambda thing: (thing.name,), is_name=True),
    state=Field(lambda thing: (thing.state,), values={"connected": "connected", "failing": "degraded"}),
)
SHOP, WORKER, SEARCH = Thing("shop"), Thing("shop-worker", "degraded"), Thing("search", size=3)
ALL = (SHOP, WORKER, SEARCH)


def found(text: str) -> list[str]:
    asked = GRAMMAR.parse(text)
    assert asked.problems == ()
    return [thing.name for thing in ALL if asked.matches(thing)]


# Filters ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ["shop", "shop-worker", "search"]),
        ("name:shop", ["shop"]),
        ("name:SHOP,search", ["shop", "search"]),
        ("name:shop*", ["shop", "shop-worker"]),
        ("-name:shop*", ["search"]),
        ("work", ["shop-worker"]),
        ("-work", ["shop", "search"]),
        ('name:"shop-worker" state:failing', ["shop-worker"]),
        ("state:connected se", ["search"]),
    ],
)
def test_a_filter_shows_what_it_says(text: str, expected: list[str]) -> None:
    assert found(text) == expected


@pytest.mark.parametrize(
    ("text", "where", "message"),
    [
        ("nam:shop", "nam:", "Did you mean name?"),
        ("state:failling", "state:", "Did you mean failing?"),
        ("state:", "state:", "needs a value, as in state:connected"),
        ('name:"shop', "filter", "not closed"),
        ("- name:shop", "-", "something after it"),
        ("x" * 501, "filter", "at most 500 characters"),
    ],
)
def test_a_filter_that_makes_no_sense_says_so_and_shows_nothing(text: str, where: str, message: str) -> None:
    asked = GRAMMAR.parse(text)

    assert asked.problems[0].path == where
    assert message in asked.problems[0].message
    assert not any(asked.matches(thing) for thing in ALL)


@given(st.text(max_size=60))
def test_no_text_breaks_a_filter(text: str) -> None:
    asked = GRAMMAR.parse(text)

    for thing in ALL:
        asked.matches(thing)


# Tables -------------------------------------------------------------------------------------------------

COLUMNS: dict[str, tables.Column[Thing]] = {
    "name": tables.Column("Name", lambda thing: thing.name),
    "size": tables.Column("Size", lambda thing: thing.size, numeric=True),
    "note": tables.Column("Note"),
}


def one_page(things: list[Thing], href: str = "/t", *, size: int = 3) -> tables.Page[Thing]:
    query = dict(parse_qsl(urlsplit(href).query))
    return tables.page(
        things, COLUMNS, identity=lambda thing: thing.name, path="/t", query=query, default_sort="size",
        size=size,
    )  # fmt: skip


@given(st.lists(st.integers(0, 5), max_size=20), st.booleans(), st.integers(1, 5))
def test_pages_forward_show_each_row_once_and_back_the_same(
    sizes: list[int], descends: bool, size: int
) -> None:
    things = [Thing(f"t{number:02d}", size=value) for number, value in enumerate(sizes)]
    start = "/t?sort=-size&q=x" if descends else "/t?q=x"
    forward: list[tuple[Thing, ...]] = []
    page = one_page(things, start, size=size)
    while True:
        forward.append(page.rows)
        if page.next_href is None:
            break
        assert "q=x" in page.next_href
        page = one_page(things, page.next_href, size=size)
    backward = [page.rows]
    while page.previous_href is not None:
        page = one_page(things, page.previous_href, size=size)
        backward.append(page.rows)

    ordered = sorted(things, key=lambda thing: (thing.size, thing.name), reverse=descends)
    assert [thing for rows in forward for thing in rows] == ordered
    assert list(reversed(backward)) == forward


def test_a_row_that_goes_away_is_not_missed_at_the_edge_of_a_page() -> None:
    things = [Thing(f"t{number}", size=number) for number in range(9)]
    first = one_page(things)

    del things[2]
    second = one_page(things, first.next_href or "")

    assert [thing.name for thing in second.rows] == ["t3", "t4", "t5"]


def test_headings_say_how_a_table_is_sorted_and_lead_to_the_other_way() -> None:
    name, size, note = one_page(list(ALL), "/t?sort=name").headings

    assert (name.sorted, name.href) == ("ascending", "/t?sort=-name")
    assert (size.sorted, size.href) == ("", "/t?sort=size")
    assert note.href is None


@pytest.mark.parametrize("after", ["x", "WyJhIl0", "W10", "bnVsbA", "WzEsMV0", "WyJuYW1lIiwgInQiXQ", "é"])
def test_a_place_that_is_none_gives_the_first_page(after: str) -> None:
    assert one_page(list(ALL), f"/t?after={after}").rows == one_page(list(ALL)).rows


# Charts -------------------------------------------------------------------------------------------------


def test_a_histogram_says_in_words_what_it_shows() -> None:
    chart = charts.took([0.4, 0.6, 2.5, 12.0])

    assert chart.caption.startswith("3 of 4 deliveries were confirmed within 10 seconds")
    assert sum(bar.count for bar in chart.bars) == chart.total == 4
    assert max(bar.height for bar in chart.bars) <= charts.HEIGHT


def test_a_histogram_of_nothing_is_one_sentence() -> None:
    assert charts.took([]).caption == "No change was confirmed by a client yet."


# Live ---------------------------------------------------------------------------------------------------


def table(**rows: str) -> Rows:
    return Rows(
        '<tbody id="rows">', {key: f'<tr id="{key}">{text}</tr>' for key, text in rows.items()}, "</tbody>"
    )


def part(name: str, how: str, html: str) -> str:
    return f'<template hx type="partial" hx-target="#{name}" hx-swap="{how}">{html}</template>'


def test_only_rows_that_differ_are_sent() -> None:
    sent = {"rows": table(a="1", b="2"), "count": '<b id="count">2</b>'}

    html = live.changes(sent, {"rows": table(a="1", b="3"), "count": '<b id="count">2</b>'})

    assert html == part("b", "outerMorph", '<tr id="b">3</tr>')


def test_rows_that_move_or_go_from_the_middle_bring_the_whole_table() -> None:
    sent = {"rows": table(a="1", b="2", c="3")}

    for rows in (table(b="2", a="1", c="3"), table(a="1", c="3"), table(d="4", b="2", c="3"), table()):
        assert live.changes(sent, {"rows": rows}) == part("rows", "outerMorph", rows.html())


def test_rows_on_top_are_put_there_and_old_ones_taken_from_the_end() -> None:
    sent = {"rows": table(a="1", b="2", c="3")}

    html = live.changes(sent, {"rows": table(e="5", d="4", a="1", b="9")})

    assert html == (
        part("c", "delete", "")
        + part("b", "outerMorph", '<tr id="b">9</tr>')
        + part("rows", "afterbegin", '<tr id="e">5</tr><tr id="d">4</tr>')
    )


def test_a_new_viewer_gets_everything_and_nothing_twice() -> None:
    fragments = {"rows": table(a="1"), "count": '<b id="count">1</b>'}

    assert 'id="count"' in live.changes({}, fragments)
    assert live.changes(fragments, fragments) == ""


def test_lines_of_html_stay_lines_of_one_event() -> None:
    assert live.event("<p>a\nb</p>", 7) == b"id: 7\ndata: <p>a\ndata: b</p>\n\n"


def test_viewers_are_counted_bounded_and_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "MAX_VIEWERS", 1)

    async def run() -> None:
        async def screen() -> dict[str, str]:
            return {"count": '<b id="count">1</b>'}

        stopping = asyncio.Event()
        viewers = Viewers(stopping)
        events = viewers._events(screen, await screen())
        await anext(events)
        assert viewers.count == 1
        with pytest.raises(UnavailableError):
            await viewers.stream(screen)

        assert b'id="count"' in await anext(events)
        stopping.set()
        rest = [event async for event in events]

        assert rest == []
        assert viewers.count == 0

    asyncio.run(run())


def test_a_live_screen_of_a_thing_that_is_not_there_is_not_found() -> None:
    async def run() -> None:
        async def screen() -> dict[str, str]:
            raise NotFoundError("There is no such thing.")

        with pytest.raises(NotFoundError):
            await Viewers(asyncio.Event()).stream(screen)

    asyncio.run(run())


# Answers ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    ["//evil.example", "/\\evil.example", "https://evil.example", "evil", "", "/a\r\nSet-Cookie: x", "/ a"],
)
def test_nobody_is_sent_elsewhere_after_signing_in(path: str) -> None:
    assert local_path(path) == "/"


def test_a_path_of_ours_is_kept() -> None:
    assert local_path("/fleet?q=service:shop") == "/fleet?q=service:shop"


def test_the_policy_allows_nothing_inline_and_nobody_else() -> None:
    assert "unsafe" not in POLICY
    assert "http" not in POLICY
    assert "default-src 'none'" in POLICY


def test_no_template_has_inline_script_style_or_an_address_elsewhere() -> None:
    wrong = re.compile(
        r"<style|\sstyle=|<script(?![^>]*\ssrc=)|hx-on|javascript:|=[\"']https?://|\|\s*safe\b"
        r"|\son(?:click|load|error|submit|change|input|focus|blur|toggle|(?:key|mouse|pointer|touch)\w+)\s*="
    )
    for file in (STATIC.parent / "templates").rglob("*.html"):
        assert wrong.findall(file.read_text()) == [], file.name


def test_every_static_file_a_page_names_is_there_and_every_icon_is_in_the_sprite() -> None:
    sprite = next(file for path, file in assets().files.items() if "vendor/lucide-" in path)
    drawn = set(re.findall(r'symbol id="([a-z0-9-]+)"', sprite.content.decode()))
    used: set[str] = set()
    for file in (STATIC.parent / "templates").rglob("*.html"):
        used |= set(re.findall(r'(?:icon|empty)\("([a-z0-9-]+)"', file.read_text()))
    for module in STATIC.parent.glob("*.py"):
        used |= set(re.findall(r'(?:"(?:ok|wait|bad|mute|info)", )"([a-z0-9-]+)"', module.read_text()))
    used |= {icon for _, _, _, icon, *_ in render.NAVIGATION}

    assert used
    assert used <= drawn


def test_a_change_of_any_static_file_changes_every_address() -> None:
    assert re.fullmatch(r"/static/[0-9a-f]{16}/app\.css", assets().url("app.css"))
    with pytest.raises(RuntimeError):
        assets().url("missing.css")


# Templates ----------------------------------------------------------------------------------------------


def test_every_template_can_be_read() -> None:
    """A server reads them after its start, so a mistake in one must be found here."""
    asyncio.run(render.read_templates(after_s=0, rest_s=0))

    names = render.environment.list_templates()
    assert len(names) > 100
    assert all(render.environment.get_template(name).name == name for name in names)
