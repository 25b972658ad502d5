"""Symbols from the intake to what the admin API completes; whatever tracers and people send."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx

from tests.support.console import Console, run
from tests.support.symbols import SHOP, attachment, event, function, module

BOUNDARY = "===============6275786591107023340=="
FORM = f'multipart/form-data; boundary="{BOUNDARY}"'


class Uploader:
    """A tracer's symbols by way of an agent."""

    def __init__(self, it: Console, key: str) -> None:
        self._it = it
        self._headers = {"DD-Api-Key": key, "Content-Type": FORM}

    async def send(self, announced: dict[str, Any], file: bytes) -> httpx.Response:
        head = "Content-Type: application/{}\r\nContent-Disposition: form-data; name={}; filename=x\r\n\r\n"
        body = b"".join(
            b"--" + BOUNDARY.encode() + b"\r\n" + head.format(kind, name).encode() + each + b"\r\n"
            for kind, name, each in (
                ("json", "event", json.dumps(announced).encode()),
                ("gzip", "file", file),
            )
        )
        return await self._it.client.post(
            "/api/v2/debugger?ddtags=host%3Aweb-1%2Cenv%3Aprod",
            content=body + f"--{BOUNDARY}--\r\n".encode(),
            headers=self._headers,
        )


async def uploader(it: Console) -> Uploader:
    made = await it.post("/keys", {"name": "agent", "remote_config": False})
    return Uploader(it, made["key"])


def asking(what: str, **query: object) -> str:
    return f"/debugger/symbols/{what}?{urlencode({'service': 'shop', 'env': 'prod', **query})}"


def test_what_a_tracer_uploads_is_completed(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        assert await it.get(asking("summary")) == {"symbols": None}
        assert await it.get(asking("files", text="shop")) == {"files": []}
        agent = await uploader(it)
        assert (await agent.send(event(), attachment(SHOP))).status_code == 202

        file = "/srv/app/shop.py"
        assert (await it.get(asking("files", text="SHOP")))["files"] == [
            {"file": file, "module": "shop", "functions": 4}
        ]
        assert (await it.get(asking("functions", text="checkout", file="shop.py", limit=1)))["functions"] == [
            {"type": "shop", "method": "checkout", "file": file, "start_line": 12, "end_line": 30}
        ]
        lines = (await it.get(asking("lines", file="app/shop.py")))["lines"]
        assert lines[0] == {"line": 4, "function": "Order.__init__", "is_injectible": True}
        at_line = (await it.get(asking("names", file=file, line=20)))["names"]
        in_method = (await it.get(asking("names", type="shop", method="checkout")))["names"]
        assert at_line == in_method
        assert at_line[0] == {"name": "order", "kind": "argument", "type": ""}
        known = (await it.get(asking("summary")))["symbols"]
        assert known.pop("uploaded_at") is not None
        assert known == {
            "modules": 1, "functions": 4, "env": "prod", "version": "1.2.3", "language": "python",
        }  # fmt: skip

    run(tmp_path, case)


def test_uploads_that_are_hostile_are_refused_and_what_is_known_stays(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        agent = await uploader(it)
        for number in (2, 1, 2):
            sent = await agent.send(event(number=number, attachmentSize=10**12), attachment(SHOP))
            assert sent.status_code == 202
        bomb = gzip.compress(b" " * 80_000_000, 9)
        scopes = gzip.compress(
            b'{"service":"shop","scopes":[' + b",".join([b'{"scope_type":""}'] * 10**6) + b"]}"
        )
        for file, status in ((b"no gzip", 400), (bomb, 413), (gzip.compress(b"{}")[:-3], 400), (scopes, 413)):
            assert (await agent.send(event("hostile"), file)).status_code == status
        strange = module("<script>alert(1)</script>", function("a'b\"<img>", (1, 2)))
        assert (await agent.send(event("strange"), attachment(strange))).status_code == 202

        found = [each["method"] for each in (await it.get(asking("functions")))["functions"]]
        assert found == ["a'b\"<img>", "checkout", "Order.__init__", "Order.decorated", "Order.due"]

    run(tmp_path, case)


def test_questions_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        for query in (
            "files?env=prod", "files?service=", "functions?service=shop&limit=0", "lines?service=shop",
            "functions?service=shop&limit=1000", "files?service=shop&text=" + "x" * 1001,
            "names?service=shop&file=a.py&line=-1", "files?service=%00", "summary?service=shop&env=%00",
            "functions?service=shop&text=%00", "names?service=shop&type=a&method=%00",
        ):  # fmt: skip
            reply = await it.client.get(f"/api/admin/v1/debugger/symbols/{query}", headers=it.headers)
            assert reply.status_code in (400, 422), query
        for query in ("", "&file=a.py", "&line=3", "&file=a.py&line=3&method=m"):
            reply = await it.client.get(
                f"/api/admin/v1/debugger/symbols/names?service=shop{query}", headers=it.headers
            )
            assert reply.status_code == 422, query
        reply = await it.client.get(
            f"/api/admin/v1{asking('lines', file='a.py' + chr(0))}", headers=it.headers
        )
        assert reply.status_code in (400, 422)
        assert await it.get(asking("lines", file="../../" * 50)) == {"lines": []}

    run(tmp_path, case)
