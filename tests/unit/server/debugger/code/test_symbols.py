"""Symbols: what tracers upload is read, kept and searched, whatever they send."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import tracemalloc
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealwire.errors import MalformedError, OversizeError, UnavailableError, UntrustedError
from sealwire.server.debugger.authoring.probes import AtLine, OnMethod
from sealwire.server.debugger.code import symbol_upload, symbols
from sealwire.server.debugger.code.symbol_index import FileHit, FunctionHit, Index, Name
from sealwire.server.debugger.code.symbols import Symbols
from sealwire.server.store import symbols as store
from sealwire.server.store.database import Database
from tests.support.symbols import SHOP, Sender, attachment, cls, event, function, module

DAY_MS = 86_400_000
ORG = 2


# What a batch says --------------------------------------------------------------------------------------


def shop_index() -> Index:
    batch = symbol_upload.read(event(), attachment(SHOP))
    return Index(symbol_upload.unpack(symbol_upload.pack(batch.modules)), language=batch.language)


def test_functions_are_named_as_a_probe_wants_them_and_each_once() -> None:
    file = "/srv/app/shop.py"
    assert shop_index().complete_functions("", "", 50) == [
        FunctionHit("shop", "checkout", file, 12, 30),
        FunctionHit("shop", "Order.__init__", file, 4, 6),
        FunctionHit("shop", "Order.decorated", file, 10, 11),
        FunctionHit("shop", "Order.due", file, 8, 9),
    ]


def test_the_likeliest_comes_first() -> None:
    names = ("cart.checkout", "cart.check", "checks.run", "cart.recheck")
    modules = [module(name.split(".")[0], function(name.split(".")[1], (1, 2))) for name in names]
    batch = symbol_upload.read(event(), attachment(*modules))
    index = Index(batch.modules, language="python")

    def found(text: str, file: str = "") -> list[str]:
        return [f"{hit.type}.{hit.method}" for hit in index.complete_functions(text, file, 50)]

    # Modules of one name and file are one; here the first wins.
    assert found("check") == ["cart.checkout", "checks.run"]
    assert found("CART out") == ["cart.checkout"]
    assert found("nothing") == []
    assert found("", "checks.py") == ["checks.run"]
    assert index.complete_functions("", "", 1) == [FunctionHit("cart", "checkout", "/srv/app/cart.py", 1, 2)]
    assert index.complete_files("check", 5) == [FileHit("/srv/app/checks.py", "checks", 1)]
    assert [hit.file for hit in index.complete_files("app\\CART.py", 5)] == ["/srv/app/cart.py"]


def test_lines_belong_to_the_innermost_function() -> None:
    lines = {hit.line: hit.function for hit in shop_index().lines("app/shop.py") if hit.is_injectible}

    assert lines[5] == "Order.__init__"
    assert (lines[12], lines[16], lines[20]) == ("checkout", "checkout.<locals>.price_of", "checkout")
    assert 3 not in lines


@pytest.mark.parametrize("file", ["shop.py", "/srv/app/shop.py", "app\\shop.py", "src/of/author/app/shop.py"])
def test_a_file_is_known_by_the_end_of_its_path(file: str) -> None:
    assert shop_index().files_like(file) == ["/srv/app/shop.py"]
    assert shop_index().files_like("p.py") == []


def test_names_are_those_an_expression_may_use_there() -> None:
    index = shop_index()
    rates = Name("RATES", "static", "")

    assert index.names_at(AtLine("shop.py", 20)) == [
        Name("order", "argument", ""), Name("user", "argument", ""), Name("price", "local", ""), rates,
    ]  # fmt: skip
    assert index.names_at(OnMethod("shop", "Order.__init__")) == [
        Name("self", "argument", ""), Name("total", "argument", ""),
        Name("self.total", "field", ""), Name("self.lines", "field", ""), rates,
    ]  # fmt: skip
    assert index.names_at(AtLine("shop.py", 16))[0] == Name("line", "argument", "")
    assert index.names_at(AtLine("shop.py", 2)) == index.names_at(OnMethod("shop", "nothing")) == []


def test_classes_in_files_of_their_own_are_modules_of_their_own() -> None:
    order = cls(
        "com.shop.Order", function("pay", (3, 9), kind="METHOD", arguments=("cents",)), fields=("id",)
    )
    order["source_file"] = order["scopes"][0]["source_file"] = "Order.java"
    jar = {"scope_type": "JAR", "name": "shop.jar", "scopes": [order, cls("com.shop.User")]}
    batch = symbol_upload.read(event(), attachment(jar, language="JAVA"))
    index = Index(batch.modules, language=batch.language)

    assert index.complete_functions("pay", "", 5) == [
        FunctionHit("com.shop.Order", "pay", "Order.java", 3, 9)
    ]
    assert index.names_at(OnMethod("com.shop.Order", "pay")) == [
        Name("cents", "argument", ""), Name("id", "field", ""), Name("KIND", "static", ""),
    ]  # fmt: skip


def test_what_the_attachment_says_of_itself_counts() -> None:
    batch = symbol_upload.read(
        event("other", 7, service="announced", attachmentSize=-1),
        attachment(SHOP, upload_id="own", batch_num=3, env=None),
        env="tagged",
    )
    again = symbol_upload.read(event("own", 3), attachment(SHOP, env="tagged"))

    assert (batch.service, batch.env, batch.number) == ("shop", "tagged", 3)
    assert batch.upload_key == again.upload_key
    other = symbol_upload.read(event("own", 3), attachment(SHOP, env="staging"))
    assert other.upload_key != again.upload_key, "an upload is of one program"


def test_a_tracer_that_numbers_nothing_is_told_apart_by_its_process_and_what_it_sends() -> None:
    old = {"service": "shop", "runtimeId": "r1"}
    first, same, next_ = (
        symbol_upload.read(old, attachment(*modules)) for modules in ([SHOP], [SHOP], [SHOP, module("more")])
    )

    assert first.upload_key == same.upload_key == next_.upload_key
    assert first.number == same.number != next_.number


# What is hostile ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "file",
    [
        b"",
        b"\x1f\x8b",
        gzip.compress(b"{}")[:-4],
        gzip.compress(b"[]"),
        gzip.compress(b'{"scopes":{}}'),
        gzip.compress(b'{"scopes":' + b"[" * 5000),
        gzip.compress(b'{"service":"\\n\\ud800","scopes":[]}'),
        b"PK\x03\x04",
    ],
)
def test_what_holds_no_symbols_is_refused(file: bytes) -> None:
    with pytest.raises(MalformedError):
        symbol_upload.read({"service": "shop"}, file)


@pytest.mark.parametrize("service", [None, "", "a\nb", "x" * 301])
def test_without_a_service_nothing_is_taken(service: str | None) -> None:
    with pytest.raises(MalformedError):
        symbol_upload.read({}, attachment(SHOP, service=service))


def test_a_file_whose_name_is_no_unicode_costs_nothing_but_its_name() -> None:
    strange = module("strange", function("f", (1, 2)), file="/srv/\udcff.py")
    batch = symbol_upload.read(event(), attachment(SHOP, strange))

    assert [each.file for each in batch.modules] == ["/srv/app/shop.py", "/srv/\ufffd.py"]


def test_too_much_is_not_unpacked() -> None:
    with pytest.raises(OversizeError):
        symbol_upload.read(event(), gzip.compress(bytes(symbol_upload.MAX_DOCUMENT_BYTES + 1), 1))
    with pytest.raises(OversizeError):
        symbol_upload.read(event(), b"\x1f\x8b" + bytes(symbol_upload.MAX_FILE_BYTES))


@pytest.mark.parametrize("one", [b"1", b"{}", b'{"scopes":[1]}'])
def test_millions_of_scopes_are_refused_before_they_take_memory(one: bytes) -> None:
    document = b'{"service":"s","scopes":[' + b",".join([one] * (1024 * 1024 // (len(one) + 1))) + b"]}"
    tracemalloc.start()
    try:
        with pytest.raises((MalformedError, OversizeError)):
            symbol_upload.read(event(), document)
        assert tracemalloc.get_traced_memory()[1] < 4 * 1024 * 1024
    finally:
        tracemalloc.stop()


def test_a_module_that_makes_no_sense_spoils_no_other() -> None:
    bad: list[Any] = [
        None, 7, [], "x", {}, {"scope_type": None}, {"scope_type": "MODULE", "start_line": "x"},
        {"scope_type": "MODULE", "name": "no file"}, {**module("x"), "source_file": "a\x00b"},
        {**module("x"), "source_file": "f" * 2000}, {**module("x"), "scopes": [{}]},
        {**module("x"), "start_line": 1e30},
    ]  # fmt: skip
    batch = symbol_upload.read(event(), attachment(*bad[:6], SHOP, *bad[6:]))

    assert [each.name for each in batch.modules] == ["shop"]
    assert batch.skipped == len(bad)


def test_names_that_are_none_are_left_out_and_numbers_are_bounded() -> None:
    hostile = module(
        "shop",
        function("a\x1b[31m", (1, 2)),
        function("x" * 400, (1, 2)),
        function("good", (-5, 10**9), arguments=("\x00", "y" * 400, *(f"n{n}" for n in range(500)))),
    )
    (found,) = symbol_upload.read(event(), attachment(hostile)).modules

    (good,) = found.functions
    assert (good.name, good.start_line, good.end_line) == ("good", 0, 0)
    assert len(good.arguments) == symbol_upload.MAX_NAMES
    assert Index([found], language="python").lines("shop.py") == []


def test_scopes_inside_scopes_are_read_so_deep() -> None:
    deep = function("f", (1, 1))
    for depth in range(2, 200):
        deep = function("f", (1, depth), inner=(deep,))
    (found,) = symbol_upload.read(event(), attachment(module("shop", deep))).modules
    assert 1 < len(found.functions) <= symbol_upload.MAX_DEPTH

    text = b'{"scope_type":"FUNCTION","name":"f","scopes":['
    document = b'{"service":"shop","scopes":[' + text * 20_000 + b"]}" * 20_000 + b"]}"
    with pytest.raises(MalformedError):
        symbol_upload.read(event(), document)


def test_a_million_scopes_are_too_many() -> None:
    many = b'{"scope_type":"MODULE","name":"m","source_file":"m.py","scopes":[' + b",".join(
        [b'{"scope_type":"FUNCTION"}'] * 1_000_000
    )
    batch = symbol_upload.read(event(), gzip.compress(b'{"scopes":[' + many + b"]}]}", 1))
    assert (batch.modules, batch.skipped) == ((), 1)

    modules = b",".join([b'{"scope_type":"MODULE","source_file":"m"}'] * 1_000_000)
    with pytest.raises(OversizeError):
        symbol_upload.read(event(), gzip.compress(b'{"scopes":[' + modules + b"]}", 1))
    modules = b",".join([b'{"scope_type":"MODULE","source_file":"m"}'] * symbol_upload.MAX_SCOPES)
    batch = symbol_upload.read(event(), gzip.compress(b'{"scopes":[' + modules + b"]}", 1))
    assert len(batch.modules) == symbol_upload.MAX_MODULES
    assert batch.skipped == symbol_upload.MAX_SCOPES - symbol_upload.MAX_MODULES


def test_a_thousand_functions_that_each_have_all_lines_are_not_walked() -> None:
    wide = [function(f"f{n}", (1, 15_000 + n)) for n in range(1_000)]
    (found,) = symbol_upload.read(event(), attachment(module("shop", *wide))).modules

    assert len(Index([found], language="python").lines("shop.py")) <= 20_000


@given(
    st.recursive(
        st.none() | st.integers() | st.text(max_size=5) | st.booleans(),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(
                st.sampled_from(
                    ["scopes", "scope_type", "name", "symbols", "start_line", "source_file", "service"]
                ),
                inner,
                max_size=5,
            )
        ),
        max_leaves=30,
    )
)
def test_no_document_does_anything_but_be_refused(document: Any) -> None:
    with suppress(UntrustedError):
        symbol_upload.read(event(), json.dumps(document).encode())


# What is kept -------------------------------------------------------------------------------------------


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.loopback)])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    url = f"sqlite:///{tmp_path / 'sealwire.db'}"
    if request.param == "postgresql":
        url = request.getfixturevalue("postgres_dsn")
    made = Database(url)
    made.migrate()
    yield made
    made.close()


@pytest.fixture
def quick(tmp_path: Path) -> Iterator[Database]:
    made = Database(f"sqlite:///{tmp_path / 'quick.db'}")
    made.migrate()
    yield made
    made.close()


def played(database: Database, play: Callable[[Symbols], Awaitable[None]]) -> None:
    async def alone() -> None:
        await play(Symbols(database, ORG))

    asyncio.run(alone())


async def methods(kept: Symbols, env: str = "prod", service: str = "shop") -> list[str]:
    return [hit.method for hit in await kept.complete_functions(service, env, "")]


def one(name: str, **more: Any) -> dict[str, Any]:
    return module(more.pop("of", name), function(name, (1, 3)), **more)


def test_batches_count_once_in_whatever_order_they_come(database: Database) -> None:
    async def play(kept: Symbols) -> None:
        for number in (3, 1, 3, 2, 1):
            taken = await kept.take(event(number=number), attachment(one(f"f{number}")), source=Sender())
            assert (taken.functions, taken.is_repeated) in ((1, False), (0, True))
        assert await methods(kept) == ["f1", "f2", "f3"]
        summary = await kept.summary("SHOP", "prod")
        assert summary is not None
        assert (summary.modules, summary.functions, summary.version, summary.uploaded_ms) == (
            3,
            3,
            "1.2.3",
            1_000_000,
        )
        assert (summary.env, summary.language) == ("prod", "python")

    played(database, play)

    async def after_a_restart(kept: Symbols) -> None:
        assert await methods(kept) == ["f1", "f2", "f3"]

    played(database, after_a_restart)


def test_a_service_whose_name_is_longer_in_lower_case_is_kept_and_found(database: Database) -> None:
    name = "\u0130" * symbol_upload.MAX_NAME_CHARS

    async def play(kept: Symbols) -> None:
        await kept.take(event(service=name), attachment(one("f"), service=name), source=Sender())
        assert await methods(kept, service=name) == ["f"]
        await kept.forget_old(now_ms=1_000_001)
        assert await kept.summary("sh\0op", "prod") is None
        assert await methods(kept, service=name) == ["f"]

    played(database, play)


def test_of_an_environment_the_newest_version_that_has_something_is_asked(quick: Database) -> None:
    async def put(kept: Symbols, upload: str, at_ms: int, *modules: dict[str, Any], **said: Any) -> None:
        await kept.take(event(upload), attachment(*modules, **said), source=Sender(arrived_ms=at_ms))

    async def play(kept: Symbols) -> None:
        assert await kept.summary("shop", "prod") is None
        assert await methods(kept) == await kept.lines("shop", "", "x.py") == []
        await put(kept, "u1", 1, one("old"), version="1")
        await put(kept, "u2", 2, one("new"), version="2")
        await put(kept, "u3", 3, module("empty"), version="3")
        await put(kept, "u4", 4, one("staged"), env="staging", version="9")
        assert await methods(kept) == ["new"]
        assert await methods(kept, "staging") == ["staged"]
        assert await methods(kept, "") == ["staged"], "the newest of any"
        assert await methods(kept, "nowhere") == ["staged"]
        assert await methods(kept, "prod", "other") == []

        await put(
            kept,
            "u5",
            5,
            one("second", of="more"),
            one("newer", of="new", file="/srv/app/new.py"),
            version="2",
        )
        assert await methods(kept) == ["second", "newer"], "of a module the newest upload"

    played(quick, play)


def test_one_organisation_sees_nothing_of_another(quick: Database) -> None:
    async def play(kept: Symbols) -> None:
        await kept.take(event(), attachment(SHOP), source=Sender())
        assert await Symbols(quick, ORG + 1).summary("shop", "prod") is None

    played(quick, play)


def test_what_another_took_the_place_of_goes_after_a_week(quick: Database) -> None:
    async def play(kept: Symbols) -> None:
        for upload, day in (("u1", 0), ("u2", 1), ("u3", 20)):
            taken = one(upload) if upload != "u3" else module("empty")
            await kept.take(event(upload), attachment(taken), source=Sender(arrived_ms=day * DAY_MS))
        await kept.forget_old(now_ms=7 * DAY_MS)
        with quick.read() as c:
            assert len(store.uploads(c, ORG, "shop")) == 3
        await kept.forget_old(now_ms=9 * DAY_MS)
        with quick.read() as c:
            assert [each.first_ms for each in store.uploads(c, ORG, "shop")] == [20 * DAY_MS, DAY_MS], (
                "an upload without functions takes nobody's place"
            )
        await kept.forget_old(now_ms=200 * DAY_MS)
        with quick.read() as c:
            assert store.services(c, ORG) == []
            assert list(store.packed(c, ORG, "x")) == []

    played(quick, play)


def test_a_fleet_that_starts_is_not_read_a_thousand_times(
    quick: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = 0.0

    async def alone() -> None:
        nonlocal now_s
        kept = Symbols(quick, ORG, monotonic=lambda: now_s)
        same = attachment(one("f"))

        async def read(*uploads: str, **said: Any) -> int:
            taken = [await kept.take(event(upload, **said), same, source=Sender()) for upload in uploads]
            return len(taken) - sum(each.is_left_out for each in taken)

        assert await read(*(f"u{number}" for number in range(100))) == symbols.ADMITTED_AT_ONCE
        assert kept.left_out == 100 - symbols.ADMITTED_AT_ONCE
        assert (await kept.take(event("u0", 2), attachment(one("g")), source=Sender())).functions == 1
        assert await read("u99") == 0
        assert await read("other", version="2") == 1
        now_s += symbols.ADMITTED_EVERY_S
        assert await read("u98", "u99") == 1
        assert await methods(kept) == ["f", "g"]

    asyncio.run(alone())


def test_uploads_without_end_fill_nothing(quick: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(symbols, "ADMITTED_AT_ONCE", 1_000)
    monkeypatch.setattr(store, "MAX_BATCHES", 3)
    monkeypatch.setattr(store, "MAX_SERVICE_UPLOADS", 4)
    monkeypatch.setattr(store, "MAX_UPLOADS", 6)

    async def play(kept: Symbols) -> None:
        for number in range(3):
            await kept.take(event(number=number), attachment(one(f"f{number}")), source=Sender())
        with pytest.raises(OversizeError):
            await kept.take(event(number=3), attachment(one("f3")), source=Sender())
        for number in range(10):
            source = Sender(arrived_ms=2_000_000 + number)
            await kept.take(event(f"u{number}"), attachment(one(f"g{number}")), source=source)
        for number in range(3):
            source = Sender(arrived_ms=3_000_000 + number)
            await kept.take(event(), attachment(one("h"), service=f"other{number}"), source=source)
        with quick.read() as c:
            assert len(store.uploads(c, ORG, "shop")) == 3
            assert len(store.services(c, ORG)) == 4

    played(quick, play)


def test_bytes_that_are_kept_are_bounded(quick: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(symbols, "ADMITTED_AT_ONCE", 1_000)
    monkeypatch.setattr(store, "MAX_UPLOAD_BYTES", 8_000)
    monkeypatch.setattr(store, "MAX_SERVICE_BYTES", 20_000)
    noise = [module("m", *(function(os.urandom(16).hex(), (n, n)) for n in range(150))) for _ in range(12)]

    async def play(kept: Symbols) -> None:
        for number, each in enumerate(noise):
            source = Sender(arrived_ms=number)
            await kept.take(event(f"u{number}"), attachment(each), source=source)
            with quick.read() as c:
                assert sum(upload.size for upload in store.uploads(c, ORG, "shop")) <= 20_000
        more = [kept.take(event("u11", n), attachment(noise[0]), source=Sender()) for n in range(100, 110)]
        assert any(
            isinstance(each, OversizeError) for each in await asyncio.gather(*more, return_exceptions=True)
        )

    played(quick, play)


def test_who_sends_too_much_at_once_is_told_to_come_back(
    quick: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(symbols, "MAX_WAITING", 2)

    async def play(kept: Symbols) -> None:
        sent = [kept.take(event(number=n), attachment(one(f"f{n}")), source=Sender()) for n in range(4)]
        answers = await asyncio.gather(*sent, return_exceptions=True)
        assert [type(each) for each in answers[2:]] == [UnavailableError] * 2
        assert await methods(kept) == ["f0", "f1"]
        await kept.take(event(number=3), attachment(one("f3")), source=Sender())
        assert await methods(kept) == ["f0", "f1", "f3"]

    played(quick, play)


def test_fifty_thousand_functions_are_searched_and_few_programs_are_held(
    quick: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(symbols, "MAX_HELD", 2)
    modules = [
        module(f"pkg{n % 50}.module{n}", *(function(f"f{n}_{k}", (k * 9 + 1, k * 9 + 8)) for k in range(40)))
        for n in range(1_250)
    ]

    async def play(kept: Symbols) -> None:
        for number in range(4):
            part = attachment(*modules[number * 400 : number * 400 + 400])
            await kept.take(event(number=number), part, source=Sender())
        summary = await kept.summary("shop", "prod")
        assert summary is not None
        assert summary.functions == 50_000
        assert [hit.method for hit in await kept.complete_functions("shop", "prod", "f1249_7")] == ["f1249_7"]
        assert len(await kept.complete_functions("shop", "prod", "f", limit=10_000)) == symbols.MAX_LIMIT
        for number in range(5):
            assert await methods(kept, service=f"other{number}") == []
        assert len(kept._held) <= 2

    played(quick, play)
