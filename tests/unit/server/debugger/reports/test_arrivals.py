"""What agents pass on: each part of a body goes where it belongs."""

from __future__ import annotations

import asyncio
import gzip
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import orjson
import pytest

from sealwire.errors import MalformedError, OversizeError, UntrustedError
from sealwire.server.debugger.code.symbols import Symbols
from sealwire.server.debugger.reports import arrivals
from sealwire.server.debugger.reports.arrivals import Arrivals, Outcome, Upload
from tests.support.debugger_keep import Keep
from tests.support.messages import PROBE, body, event, form, message, status, value

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

JSON = "application/json"
VECTORS = Path(__file__).parents[4] / "vectors" / "debugger"


class TakenSymbols:
    """Symbols that only note what they are given."""

    def __init__(self) -> None:
        self.taken: list[tuple[Mapping[str, object], bytes]] = []

    async def take(self, announced: Mapping[str, object], file: bytes, *, source: Any) -> None:
        self.taken.append((announced, file))


class Door:
    """Arrivals of one organisation."""

    def __init__(self, folder: Path) -> None:
        self.keep = Keep(folder)
        self.symbols = TakenSymbols()
        self.arrivals = Arrivals(self.keep.snapshots, self.keep.statuses, cast(Symbols, self.symbols))

    def send(self, content_type: str, content: bytes, *, encoding: str = "", tags: str = "") -> Outcome:
        upload = Upload(content, content_type, encoding, tags, "key", self.keep.now_ms)
        return asyncio.run(self.arrivals.take(upload))


def test_messages_and_statuses_mixed_in_a_list_each_go_their_way(tmp_path: Path) -> None:
    door = Door(tmp_path)
    lot = body(message(captured={"diagnostics": value("x")}), status("EMITTING"), b"{}", status("NONSENSE"))

    assert door.send(JSON, lot) == Outcome(snapshots=1, statuses=1, refused=2)
    assert door.keep.snapshots.counts(PROBE).kept == 1
    assert len(door.keep.statuses.of(PROBE)) == 1


def test_messages_among_statuses_in_form_data_are_taken_too(tmp_path: Path) -> None:
    door = Door(tmp_path)

    assert door.send(*event(status("EMITTING"), message(), b"7")) == Outcome(1, statuses=1, refused=1)
    assert door.send(JSON, message()) == Outcome(snapshots=1)  # not even a list


def test_symbols_go_to_the_symbols(tmp_path: Path) -> None:
    door = Door(tmp_path)
    packed = gzip.compress(b"{}")
    parts = form(
        ("event", "event.json", JSON, b'{"type":"symdb","uploadId":"u"}'),
        ("file", "symbols_1.json.gz", "application/gzip", packed),
    )

    assert door.send(*parts) == Outcome(symbols=1)
    assert door.symbols.taken == [({"type": "symdb", "uploadId": "u"}, packed)]


@pytest.mark.parametrize("version", ["ddtrace_4.16", "dd_trace_5.132"])
def test_what_real_tracers_say_of_probes_is_understood(tmp_path: Path, version: str) -> None:
    door = Door(tmp_path)
    for said in json.loads((VECTORS / f"{version}_diagnostics.json").read_bytes()):
        found = door.send(*event(*map(orjson.dumps, said)))
        assert (found.refused, found.unknown) == (0, len(said))  # nobody set these probes here


def test_packed_bodies_are_unpacked_within_bounds(tmp_path: Path) -> None:
    door = Door(tmp_path)
    lot = body(message())
    assert door.send(JSON, gzip.compress(lot), encoding="gzip").snapshots == 1
    assert door.send(JSON, zstd.compress(body(message())), encoding="zstd").snapshots == 1
    bomb = bytes(arrivals.MAX_UPLOAD_BYTES + 1)
    for packed, encoding in ((gzip.compress(bomb), "gzip"), (zstd.compress(bomb), "zstd")):
        with pytest.raises(OversizeError):
            door.send(JSON, packed, encoding=encoding)
    for packed, encoding in (
        (lot, "gzip"), (lot, "zstd"), (gzip.compress(lot)[:-4], "gzip"), (zstd.compress(lot)[:-4], "zstd"),
        (lot, "br"),
    ):  # fmt: skip
        with pytest.raises(MalformedError):
            door.send(JSON, packed, encoding=encoding)


@pytest.mark.parametrize(
    ("content_type", "content"),
    [
        (JSON, b""),
        (JSON, b"nonsense"),
        (JSON, b"null"),
        (JSON, b"[" * 100_000),
        (JSON, body(*[b"{}"] * 5_001)),
        (JSON, b"[" + b" " * (9 * 1024 * 1024) + b"]"),
        ("multipart/form-data", b"x"),
        ("multipart/form-data; boundary=x", b"--x--\r\n"),
        ("multipart/form-data; boundary=x", b"--x\r\n\r\nhalf a part"),
        form(("other", "", "", b"")),
        form(("event", "", "", b"nonsense")),
        form(("event", "", "", b"{nonsense"), ("file", "", "", b"x")),
    ],
    ids=range(12),
)
def test_what_cannot_be_read_at_all_is_refused(tmp_path: Path, content_type: str, content: bytes) -> None:
    with pytest.raises(UntrustedError):
        Door(tmp_path).send(content_type, content)


def test_of_several_tags_of_a_name_the_agents_counts(tmp_path: Path) -> None:
    def source(tags: str) -> tuple[str, str, str]:
        found = arrivals.source_of(Upload(b"", "", "", tags, "key", 0))
        return found.host, found.env, found.version

    assert source("host:web-1,default_env:none,env:prod,version:1.2,host:vm") == ("web-1", "prod", "1.2")
    assert source("default_env:none,host_name:vm") == ("vm", "", "")
    assert source("default_env:dev") == ("", "dev", "")
    assert source(",,:,a,\x00:b,env:\u202e" + "x" * 10_000)[1].isprintable()


def test_a_large_body_is_taken_whole(tmp_path: Path) -> None:
    door = Door(tmp_path)
    lot = body(*(message(captured={"big": value("x" * 5_000)}) for _ in range(120)))

    assert door.send(JSON, lot).snapshots == 120
